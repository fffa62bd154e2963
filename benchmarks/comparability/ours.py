"""Our side of the comparison: the tasks of EMDenoise on the parameters file for STFC's images."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from images import find_total, read_stfc_images, write_stfc_files

ROOT = Path(__file__).parents[2]
PARAMETERS_FILE = ROOT / "workspace" / "parameters" / "stfc.parameters.yaml"
VALIDATION_FRACTION = 0.1
"""What the closed division takes from the training images."""
NUM_OTHER = 1
"""Validation images of the simulation, which nobody looks at."""


def run_task(task: str, folder: Path, parameters_file: Path, **changes: Any) -> None:
    """Run one task of EMDenoise in `folder`; where it fails, end with what it said."""
    folders = {"download": ["raw_data"], "preprocess": ["raw_data", "data"]}.get(task, ["data", "model", "output"])
    options = [f"--{name}_dir={folder / name}" for name in [*folders, "logs"] if name != "logs"]
    settings = [f"--set={name}={json.dumps(value)}" for name, value in changes.items()]
    command = [sys.executable, "-m", "emdenoise", task, f"--parameters_file={parameters_file}", *options, *settings]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *_list_paths()])}
    done = subprocess.run(
        [*command, f"--log_dir={folder / 'logs'}"], capture_output=True, text=True, check=False, env=variables
    )
    if done.returncode:
        sys.exit(f"comparability: {(done.stderr.strip().splitlines() or [task])[-1]}")


def _list_paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def simulate_images(work: Path, num_train: int, num_test: int) -> Path:
    """Simulate graphene and write it in STFC's layout, with as many images more as the validation takes."""
    mirror = work / "mirror"
    if not mirror.exists():
        total = find_total(num_train, VALIDATION_FRACTION)
        numbers = {"num_train": total, "num_validation": NUM_OTHER, "num_test": num_test}
        parameters = work / "simulated.parameters.yaml"
        parameters.write_text(yaml.safe_dump({"division": "open", "simulation": numbers}))
        for task in ("download", "preprocess"):
            run_task(task, work / "simulated", parameters)
        write_stfc_files(work / "mirror.partial", work / "simulated" / "data")
        (work / "mirror.partial").rename(mirror)
    return mirror


def prepare_images(work: Path, mirror: Path) -> Path:
    """Take images in STFC's layout through `download` and `preprocess`, and give all codes what `train` reads.

    Returns
    -------
    Path
        A folder in STFC's layout: the training images that are left after the validation images were taken, and the
        test images.
    """
    images = work / "images"
    if not images.exists():
        for task in ("download", "preprocess"):
            run_task(task, work / "ours", PARAMETERS_FILE, **{"data.mirror": str(mirror)})
        write_stfc_files(work / "images.partial", work / "ours" / "data")
        (work / "images.partial").rename(images)
    return images


def train_ours(settings: dict[str, Any], mirror: Path) -> dict[str, Any]:
    """Train and test with EMDenoise on the images of `prepare_images`; gives what was found."""
    work, images, recipe = Path(settings["work_dir"]), Path(settings["images"]), settings["recipe"]
    (work / "data").symlink_to(images.parent / "ours" / "data", target_is_directory=True)
    changes = {f"training.{name}": value for name, value in recipe.items()} | {"seed": settings["seed"]}
    # Open, so that classical methods can be left out; network and recipe are those of the closed division all the same.
    changes |= {"division": "open", "data.mirror": str(mirror), "evaluation.baselines": []}
    for task in ("train", "test"):
        run_task(task, work, PARAMETERS_FILE, **changes)
    network, parameters = load_network(work / "model")
    for split in ("train", "test"):
        np.save(work / f"{split}.npy", network(read_stfc_images(images, split, "noise")))
    record = json.loads((work / "model" / "records" / "train.json").read_text())
    scores = json.loads((work / "output" / "scores.json").read_text())
    history = record["results"]["history"]
    packages = record["environment"]["packages"]
    versions = {name: packages[name] for name in ("keras", "tensorflow", "tensorflow-cpu") if name in packages}
    return {
        "loss_by_epoch": [epoch["loss"] for epoch in history],
        "epoch_s": [epoch["train_s"] for epoch in history],
        "layers": parameters,
        "versions": {"emdenoise": record["emdenoise_version"], **versions},
        "test_task": {"mse": scores["methods"]["network"]["mse"]["mean"]},
        "legacy": {},
    }


def load_network(model_dir: Path) -> tuple[Any, list[tuple[str, int]]]:
    """Load a trained network: a function of images (num_images, height, width), and its layers with their weights."""
    from emdenoise.models.checkpoints import load_model
    from emdenoise.models.tiling import TiledMethod

    trained = load_model(model_dir)
    method = TiledMethod(trained.network, trained.ports.head)

    def denoise(noisy: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        parts = [method({"noisy": image[None, ..., None]}) for image in noisy]
        return np.concatenate(parts).astype(np.float32)

    return denoise, [(type(layer).__name__, layer.count_params()) for layer in trained.network.model.layers]


def build_ours() -> Any:
    """Build the network of the closed division, untrained; a Keras model."""
    from emdenoise.models import build_network
    from emdenoise.models.contract import Ports
    from emdenoise.models.heads import HEADS
    from emdenoise.models.unet import UNetSettings

    return build_network(UNetSettings(), Ports({"noisy": 1}, 1, HEADS["intensity"])).model
