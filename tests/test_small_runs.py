"""Every parameters file of the project runs from end to end, made small: few images, one epoch."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from emdenoise.cli import list_paths
from emdenoise.models.checkpoints import load_model
from emdenoise.progress import SilentProgress
from emdenoise.simulation import simulate
from emdenoise.tasks import TASKS

FOLDER = Path(__file__).parents[1] / "workspace" / "parameters"
SMALL: dict[str, dict[str, Any]] = {
    "simulation": {"num_train": 8, "num_validation": 4, "num_test": 4, "image_size_px": 64},
    "evaluation": {"num_tuning_images": 2, "num_latency_images": 10, "num_resamples": 100, "num_pictures": 2},
}
SHAPES = [(150, 230), (97, 131), (128, 128), (300, 140), (60, 200)]


def draw_particles(folder: Path) -> None:
    """Draw micrographs of any size and polarity, with a burnt-in scale bar, in the layout of EMPS."""
    names = [f"{index:010x}" for index in range(10)]
    for kind in ("images", "segmaps"):
        (folder / kind).mkdir(parents=True)
    (folder / "train.csv").write_text("\n".join(names) + "\n")
    (folder / "test.csv").write_text("ffffffffff\n")
    for index, name in enumerate(names):
        rng = np.random.default_rng(index)
        height, width = SHAPES[index % len(SHAPES)]
        rows, columns = np.mgrid[:height, :width]
        particles = np.zeros((height, width), np.uint16)
        for number in range(1, 7):
            row, column, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(8, 20)
            particles[np.hypot(rows - row, columns - column) < radius] = number
        bright, dark = (200, 60) if index % 2 else (60, 200)
        image = np.where(particles > 0, bright, dark) + rng.normal(0, 20, (height, width))
        image[-12:-6, 10:60] = 255
        Image.fromarray(image.clip(1, 255).astype(np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(particles).save(folder / "segmaps" / f"{name}.png")


def make_small(path: Path, folder: Path) -> Path:
    """Write a parameters file with few images and epochs, and give its path."""
    settings = yaml.safe_load(path.read_text())
    settings["division"] = "open"
    for section, values in SMALL.items():
        settings[section] = settings.get(section, {}) | values
    for section in ("training", "pretraining"):
        values = settings.get(section, {})
        if section == "pretraining" and values.get("method", "none") == "none":
            continue
        settings[section] = values | {"epochs": min(1, values.get("epochs", 1)), "batch_size": 4, "crop_size_px": 32}
        settings[section]["crops_per_epoch"] = 8
    if settings.get("data", {}).get("source") == "emps":
        draw_particles(folder / "mirror")
        settings["data"] |= {"mirror": str(folder / "mirror"), "tile_size_px": 64}
    small = folder / path.name
    small.write_text(yaml.safe_dump(settings))
    return small


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Give a function that runs the four tasks of a parameters file and returns the workspace."""
    monkeypatch.setattr(simulate, "open_pool", nullcontext)

    def run_all(name: str) -> Path:
        parameters_file = make_small(FOLDER / name, tmp_path)
        folders = {f"{folder}_dir": tmp_path / folder for folder in ("raw_data", "data", "model", "output")}
        paths = {**folders, "parameters_file": parameters_file}
        for task in TASKS.values():
            task(**{option: paths[option] for option in list_paths(task)}, progress=SilentProgress())
        return tmp_path

    return run_all


def read_scores(workspace: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((workspace / "output" / "scores.json").read_text())
    return scores


def test_segmentation_with_pretraining_runs(run: Callable[[str], Path]) -> None:
    workspace = run("segment.parameters.yaml")
    methods = read_scores(workspace)["methods"]
    assert set(methods) == {"otsu", "multi_otsu", "local_threshold", "random_forest", "network"}
    assert 0 < methods["network"]["dice"]["mean"] < 1
    page = (workspace / "output" / "report.html").read_text()
    for words in ("<h2>Pretraining</h2>", "Method denoise, 1 epochs", "output began anew", "Confusion of the network"):
        assert words in page


def test_the_generator_of_pix2pix_is_scored_as_a_denoiser_to_the_bit(run: Callable[[str], Path]) -> None:
    workspace = run("pix2pix.parameters.yaml")
    assert read_scores(workspace)["methods"]["network"]["psnr_db"]["mean"] > 0
    generator, network = (load_model(workspace / name).model for name in ("model/pretrained", "model"))
    for one, other in zip(generator.get_weights(), network.get_weights(), strict=True):
        assert np.array_equal(one, other)
    results = json.loads((workspace / "output" / "records" / "train.json").read_text())["results"]
    assert results["history"] == []
    assert all(layer["is_taken"] for layer in results["pretraining"]["transfer"])
    (epoch,) = results["pretraining"]["history"]
    assert np.isfinite([epoch[name] for name in ("adversarial_loss", "l1_loss", "discriminator_loss")]).all()
    page = (workspace / "output" / "report.html").read_text()
    assert "Method pix2pix, 1 epochs" in page
    assert "<h2>Training</h2>" not in page


def test_particles_in_images_of_any_size_and_polarity_are_segmented_whole(run: Callable[[str], Path]) -> None:
    workspace = run("emps.parameters.yaml")
    scores = read_scores(workspace)
    assert scores["num_images"] == scores["num_specimens"] == 1
    record = json.loads((workspace / "output" / "records" / "test.json").read_text())
    sizes = {round(height / 2) * round(width / 2) for height, width in SHAPES}
    assert np.sum(record["results"]["confusion"]) in sizes


def test_the_smoke_run_has_a_small_variant_too(run: Callable[[str], Path]) -> None:
    assert "network" in read_scores(run("smoke.parameters.yaml"))["methods"]
