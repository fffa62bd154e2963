"""Every road through the program: raw files, download, preprocess, train, test, by the command line and in tiny form.

Roads are made of every source with every workload, and of every parameters file that ships; a pair that leads nowhere
is a dead end, which one line says. A new source or workload without a road fails here and says where to add it.
"""

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from emdenoise.cli import main
from emdenoise.dataset.sampler import Sampler
from emdenoise.sources import SOURCES
from emdenoise.workloads import WORKLOADS
from tests.raw_files import RAW_FILES, write_micrographs

FOLDER = Path(__file__).parents[1] / "workspace" / "parameters"
PARAMETERS_FILES = sorted(FOLDER.glob("*.parameters.yaml"))
STUDIES = sorted(FOLDER.glob("*.study.yaml"))
EXIT_DATA_ERROR = 5
TASKS = ("download", "preprocess", "train", "test")
TINY_MODELS: dict[str, dict[str, Any]] = {
    "unet": {"name": "unet", "filters": [4], "bottom_filters": 4},
    "resunet": {"name": "resunet", "stem_px": 2, "filters": [4, 8]},
}
TINY: dict[str, Any] = {
    "division": "open",
    "data": {"tile_size_px": 32},
    "simulation": {"num_train": 4, "num_validation": 2, "num_test": 2, "image_size_px": 64},
    "crystals": {
        "num_train": 4,
        "num_validation": 2,
        "num_test": 2,
        "images_per_specimen": 2,
        "image_size_px": 64,
        "pixel_size_angstrom": [0.15, 0.3],
        "thickness_angstrom": [10.0, 15.0],
    },
    "model": TINY_MODELS["unet"],
    "training": {"epochs": 1, "batch_size": 2, "crop_size_px": 32, "crops_per_epoch": 4},
    "evaluation": {
        "num_tuning_images": 1,
        "num_resamples": 100,
        "num_latency_images": 10,
        "num_pictures": 1,
    },
}
CAPS = {
    **{name: value for section in TINY.values() if isinstance(section, dict) for name, value in section.items()},
    "discriminator_filters": [4, 4],
}
"""Largest number or list of numbers that a parameters file keeps, by the name of the setting."""

Settings = dict[str, Any]
Command = Callable[..., Result]


class Task(NamedTuple):
    """What a workload needs, the quick methods that it is compared with, and what else is found in its scores."""

    settings: Settings
    baselines: list[str]
    others: set[str]
    metric: str

    @property
    def methods(self) -> set[str]:
        return {*self.baselines, *self.others}


WORKLOAD_SETTINGS = {
    "denoise": Task({}, ["gaussian", "median"], {"noisy", "network"}, "psnr_db"),
    "segment": Task({"training": {"loss": "dice_cross_entropy"}}, ["otsu", "multi_otsu"], {"network"}, "dice"),
}
WHOLE: Settings = {"data": {"tile_size_px": 256}}
"""For `em_graphene_sim`, whose images have one size: they stay whole, as in the closed division."""
WITH_ADDED_NOISE: Settings = {"data": {"added_noise_electrons_per_pixel": 50.0}}

ZOOMED: Settings = {
    "data": {"tile_size_px": 136},
    "training": {
        "epochs": 2,
        "zoom": [0.6, 1.7],
        "flip": True,
        "read_ahead": 0,
        "border_weight": 3.0,
        "augmentation": {
            "log_gamma": 0.4,
            "inversion": 0.5,
            "log_contrast": 0.3,
            "brightness": 0.1,
            "blur_px": 1.5,
            "noise": 0.08,
        },
    },
}
"""For `emps`: every image is one tile, and learned from at any scale."""


class Road(NamedTuple):
    """A source with a workload; `write` fills the mirror, as `RAW_FILES` has it where it is None."""

    source: str
    workload: str
    settings: Settings | None = None
    write: Callable[[Path], None] | None = None
    title: str = ""

    def __str__(self) -> str:
        return " ".join(word for word in (self.source, self.workload, self.title) if word)


class DeadEnd(NamedTuple):
    """A road that ends in one line of one task."""

    road: Road
    task: str
    line: str


ROADS = [
    Road("crystals", "denoise"),
    Road("em_graphene_sim", "denoise", WHOLE),
    Road("emps", "denoise", WITH_ADDED_NOISE),
    Road("folder", "denoise", None, partial(write_micrographs, has_truth=True), "truth"),
    Road("folder", "denoise", WITH_ADDED_NOISE, None, "added noise"),
    Road("folder", "segment", None, partial(write_micrographs, has_masks=True), "masks"),
]
NO_MASKS = (
    "train.h5: has no mask images, which workload segment needs: Semantic labels. Choose a source that has them, or "
    "put masks beside your images, and run download and preprocess again."
)
NO_TRUTH = (
    "train.h5: has no clean images, which workload denoise needs: Noise-free intensity in [0, 1]. Choose a source that "
    "has them, put the truth beside your images, or set data.added_noise_electrons_per_pixel, and run"
)
PRETRAINED = {"pretraining": {"method": "denoise", "added_noise_electrons_per_pixel": 50.0, "epochs": 1}}
IN_TILES = (
    "validation.h5: images of up to 100 px were cut into tiles of 32 px, but training.zoom needs one tile each; set "
    "data.tile_size_px to 104, and run preprocess again."
)
DEAD_ENDS = [
    DeadEnd(Road("emps", "segment", {"training": ZOOMED["training"]}, title="zoomed tiles"), "train", IN_TILES),
    DeadEnd(Road("crystals", "segment"), "train", NO_MASKS),
    DeadEnd(Road("em_graphene_sim", "segment", WHOLE), "train", NO_MASKS),
    DeadEnd(Road("folder", "segment", title="no masks"), "train", NO_MASKS),
    DeadEnd(Road("emps", "denoise", title="no truth"), "train", NO_TRUTH),
    DeadEnd(Road("folder", "denoise", title="no truth"), "train", NO_TRUTH),
    DeadEnd(Road("folder", "denoise", PRETRAINED, title="no truth, after pretraining without"), "train", NO_TRUTH),
]


@pytest.fixture(scope="module", autouse=True)
def _no_workers(no_pool: None) -> None:
    """Let the download simulate in this process."""


@pytest.fixture
def command(tmp_path: Path, logs_of_one_command: Callable[[], AbstractContextManager[None]]) -> Command:
    """Give a function that runs a command of the program, as ``command("train", parameters_file=path)``."""

    def run(name: str, **options: Path | str) -> Result:
        arguments = [f"--{option}={value}" for option, value in options.items()]
        with logs_of_one_command():
            return CliRunner().invoke(main, [name, *arguments, f"--log_dir={tmp_path / 'logs'}"])

    return run


@pytest.fixture
def walk(tmp_path: Path, command: Command) -> Callable[[Settings], Iterator[tuple[str, Result]]]:
    """Give a function that runs task after task on a parameters file of these settings, in `tmp_path`."""

    def walk_on(settings: Settings) -> Iterator[tuple[str, Result]]:
        parameters_file = tmp_path / "tiny.parameters.yaml"
        parameters_file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        for task in TASKS:
            folders = [option.name for option in main.commands[task].params if str(option.name).endswith("_dir")]
            paths = {str(name): tmp_path / str(name).removesuffix("_dir") for name in folders if name != "log_dir"}
            yield task, command(task, parameters_file=parameters_file, **paths)

    return walk_on


def merge(settings: Settings, changes: Settings) -> Settings:
    """Put changes over settings, section by section."""
    return settings | {
        name: merge(settings[name], value) if isinstance(value, dict) and name in settings else value
        for name, value in changes.items()
    }


def shrink(value: Any, name: str = "") -> Any:
    """Make the settings of a shipped file small, and leave all others as they are."""
    cap = CAPS.get(name)
    if isinstance(value, dict):
        return {key: shrink(inner, key) for key, inner in value.items()}
    if name == "division":
        return "open"
    if name in ("filters", "discriminator_filters"):
        return list(cap)  # a list of its own: the program refuses YAML with aliases
    if name == "blocks" and isinstance(value, list):
        return value[-len(CAPS["filters"]) :]
    return min(value, cap) if isinstance(value, int) and isinstance(cap, int) else value


def make_settings(road: Road, tmp_path: Path) -> Settings:
    """Make the settings of a road, and fill the mirror that they name."""
    settings = merge(TINY, WORKLOAD_SETTINGS[road.workload].settings)
    settings = merge(settings, {"workload": road.workload, "data": {"source": road.source}})
    return add_mirror(choose_baselines(merge(settings, road.settings or {})), tmp_path / "mirror", road.write)


def choose_baselines(settings: Settings) -> Settings:
    """Compare with the quick methods of the workload."""
    return merge(settings, {"evaluation": {"baselines": WORKLOAD_SETTINGS[find_pair(settings)[1]].baselines}})


def add_mirror(settings: Settings, mirror: Path, write: Callable[[Path], None] | None = None) -> Settings:
    write = write or RAW_FILES[find_pair(settings)[0]]
    if write is None:
        return settings
    write(mirror)
    return merge(settings, {"data": {"mirror": str(mirror)}})


def read_json(path: Path) -> Any:
    def refuse(constant: str) -> None:
        pytest.fail(f"{path.name} holds {constant}, which is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def check_results(root: Path, workload: str, source: str) -> None:
    """Check scores, report and record of a test: every method is there, every number finite."""
    task = WORKLOAD_SETTINGS[workload]
    scores = read_json(root / "output" / "scores.json")
    assert (scores["workload"], set(scores["methods"])) == (workload, task.methods)
    for name, metrics in scores["methods"].items():
        # Null is what is not defined for any image, such as the error of atoms that nobody marked.
        intervals = {metric: bounds for metric, bounds in metrics.items() if isinstance(bounds, dict)}
        assert intervals[task.metric]["mean"] is not None, (name, intervals)
        for metric, bounds in intervals.items():
            numbers = [bounds[end] for end in ("low", "mean", "high") if bounds[end] is not None]
            assert len(numbers) in (0, 1, 3), (name, metric, bounds)  # a single specimen has a mean without an interval
            assert all(math.isfinite(number) for number in numbers), (name, metric, bounds)
            assert numbers == sorted(numbers), (name, metric, bounds)
    record = read_json(root / "output" / "records" / "test.json")
    assert (record["settings"]["workload"], record["settings"]["data"]["source"]) == (workload, source)
    page = (root / "output" / "report.html").read_text(encoding="utf-8")
    assert all(method in page for method in task.methods)


def walk_to_the_end(walk: Callable[..., Any], settings: Settings) -> None:
    for task, result in walk(settings):
        assert result.exit_code == 0, f"{task}: {result.stderr or repr(result.exception)}"


def shrink_file(path: Path) -> Settings:
    content = shrink(yaml.safe_load(path.read_text(encoding="utf-8")))
    model = TINY_MODELS[content.get("model", {}).get("name", "unet")]
    settings = merge(TINY | {"model": model}, content)
    if find_pair(settings)[0] == "em_graphene_sim":
        settings = merge(settings, WHOLE)
    if "zoom" in settings["training"]:
        settings = merge(settings, {"data": ZOOMED["data"]})
    return choose_baselines(settings)


def find_pair(settings: Settings) -> tuple[str, str]:
    return settings["data"].get("source", "graphene"), settings.get("workload", "denoise")


def test_every_source_has_a_road_or_a_dead_end_with_every_workload() -> None:
    known = {(road.source, road.workload) for road in [*ROADS, *(end.road for end in DEAD_ENDS)]}
    known |= {find_pair(shrink_file(path)) for path in PARAMETERS_FILES}
    missing = [f"{source} with {name}" for source in SOURCES for name in WORKLOADS if (source, name) not in known]
    assert not missing, (
        f"no test goes these roads: {', '.join(missing)}; add them to ROADS or DEAD_ENDS in tests/test_roads.py, a new "
        "workload also to WORKLOAD_SETTINGS there, and the raw files of a new source to tests/raw_files.py"
    )


@pytest.mark.long
@pytest.mark.parametrize("road", ROADS, ids=str)
def test_a_source_serves_a_workload_from_raw_files_to_the_report(road: Road, walk: Any, tmp_path: Path) -> None:
    walk_to_the_end(walk, make_settings(road, tmp_path))
    check_results(tmp_path, road.workload, road.source)


@pytest.mark.parametrize("end", DEAD_ENDS, ids=lambda end: str(end.road))
def test_a_source_without_what_a_workload_learns_from_is_refused_in_one_line(
    end: DeadEnd, walk: Any, tmp_path: Path
) -> None:
    ended = ((task, result) for task, result in walk(make_settings(end.road, tmp_path)) if result.exit_code != 0)
    task, result = next(ended)
    assert (task, result.exit_code) == (end.task, EXIT_DATA_ERROR), result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"emdenoise {end.task}: {end.line}")
    assert not list(tmp_path.glob("model/**/*.h5")), "it was refused after it had learned for a while"


@pytest.mark.long
@pytest.mark.parametrize("path", PARAMETERS_FILES, ids=lambda path: path.name)
def test_a_parameters_file_of_the_project_leads_from_raw_files_to_the_report(
    path: Path, walk: Any, tmp_path: Path
) -> None:
    settings = add_mirror(shrink_file(path), tmp_path / "mirror")
    walk_to_the_end(walk, settings)
    source, workload = find_pair(settings)
    check_results(tmp_path, workload, source)
    page = (tmp_path / "output" / "report.html").read_text(encoding="utf-8")
    method = settings.get("pretraining", {}).get("method", "none")
    assert ("<h2>Pretraining</h2>" in page) == (method != "none")
    if method != "none":
        assert f"Method {method}, 1 epochs" in page
        assert ("output began anew" in page) == (workload == "segment")
    assert ("<h2>Training</h2>" in page) == (settings["training"]["epochs"] > 0)
    assert ("Confusion of the network" in page) == (workload == "segment")
    if settings["training"]["epochs"] == 0:
        check_network_is_the_pretrained_one(tmp_path / "model")


def check_network_is_the_pretrained_one(model_dir: Path) -> None:
    """Check that a run without training, as pix2pix, scores its generator to the bit."""
    generator, network = (read_weights(folder) for folder in (model_dir / "pretrained", model_dir))
    assert len(generator) == len(network) > 0
    for one, other in zip(generator, network, strict=True):
        assert np.array_equal(one, other)


def read_weights(folder: Path) -> list[np.ndarray]:
    weights: list[np.ndarray] = []
    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(lambda _, item: weights.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return weights


@pytest.mark.long
def test_a_zoomed_training_goes_on_after_a_stop_to_the_same_bits(
    walk: Any, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(Road("emps", "segment", ZOOMED), tmp_path)
    walk_to_the_end(walk, settings)
    check_results(tmp_path, "segment", "emps")
    with h5py.File(tmp_path / "data" / "train.h5") as file:
        assert len(set(zip(*(file[f"attributes/image_{side}_px"] for side in ("height", "width")), strict=True))) > 1
    expected = read_weights(tmp_path / "model")
    read = Sampler.read

    def stop_there(sampler: Sampler, epoch: int, step: int) -> Any:
        if (epoch, step) == (1, 0):
            os.kill(os.getpid(), signal.SIGTERM)
        return read(sampler, epoch, step)

    folders = {name: tmp_path / name.removesuffix("_dir") for name in ("data_dir", "output_dir")}
    folders |= {"parameters_file": tmp_path / "tiny.parameters.yaml", "model_dir": tmp_path / "again"}
    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "read", stop_there)
        stopped = command("train", **folders)
    assert "the training is kept after" in stopped.stderr  # the step depends on how far ahead batches are read
    assert command("train", **folders).exit_code == 0
    for one, other in zip(expected, read_weights(tmp_path / "again"), strict=True):
        assert np.array_equal(one, other)


def list_expected_runs(study: Settings) -> set[str]:
    parts = [study["variants"], study.get("conditions", {"": {}}), study.get("num_images", [None]), study["seeds"]]
    names = [""]
    for values in parts:
        words = ["all" if value is None else str(value) for value in values]
        names = [f"{name}-{word}" if name and word else name or word for name in names for word in words]
    return set(names)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_run_of_a_study_of_the_project_is_listed(
    path: Path, command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = command("study", study_file=path, study_dir=tmp_path / "study", part="list")
    assert result.exit_code == 0, result.stderr
    listed = {line.split()[0] for line in capfd.readouterr().out.splitlines() if " open " in line}
    assert listed == list_expected_runs(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_the_files_of_the_stfc_are_read_from_the_workspace_too(walk: Any, tmp_path: Path) -> None:
    """A container sees nothing but the workspace: a mirror is a folder of the raw data, or the files are in place."""
    settings = shrink_file(FOLDER / "stfc.parameters.yaml")
    RAW_FILES["em_graphene_sim"](tmp_path / "raw_data" / "mirror")  # type: ignore[misc]
    with_mirror = merge(settings, {"data": {"mirror": "mirror"}})
    _, result = next(iter(walk(with_mirror)))
    assert result.exit_code == 0, result.stderr
    (tmp_path / "raw_data" / "em_graphene_sim" / "checksums.json").unlink()
    _, result = next(iter(walk(settings)))
    assert result.exit_code == 0, result.stderr


def test_there_are_files_to_try() -> None:
    assert len(PARAMETERS_FILES) >= 5
    assert len(STUDIES) >= 10
