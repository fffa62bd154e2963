"""Images kept on the device: batches and trainings have the bits of those that are read."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig, TrainingSettings
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.sampler import Sampler
from emdenoise.errors import ResourceError
from emdenoise.progress import SilentProgress
from emdenoise.results.task_record import read_record
from emdenoise.tasks import TASKS
from emdenoise.training import kept_images
from emdenoise.training.kept_images import KeptImages, keep_images
from emdenoise.training.learners import PreparedBatches
from emdenoise.training.objectives import OBJECTIVES

ROOT = Path(__file__).parents[2]
FIELDS = ("noisy", "mask", "wave")
SIDE = 64
SETTINGS = """
division: open
simulation: {num_train: 10, num_validation: 3, num_test: 3, image_size_px: 64}
model: {name: dncnn, depth: 3, filters: 4}
training: {epochs: 2, batch_size: 4, crop_size_px: 32, flip: true, crops_per_epoch: 14,
           loss: log_squared_error, label_balance: 0.6}
"""


@pytest.fixture(scope="module", params=[(SIDE, SIDE), (24, 40)], ids=str)
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give an open file of images, masks and waves of one shape."""
    shape, path = request.param, tmp_path_factory.mktemp("kept") / "train.h5"
    rng = np.random.default_rng(7)
    records = [
        Record(
            {
                "noisy": rng.random(shape, np.float32),
                "mask": rng.integers(3, size=shape).astype(np.uint8),
                "wave": (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64),
            },
            specimen=str(number),
            name=str(number),
        )
        for number in range(9)
    ]
    write_records(path, records, attributes={})
    with RecordFile(path) as file:
        yield file


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"flip": True},
        {"crop_size_px": 16},
        {"crop_size_px": 16, "flip": True},
        {"crop_size_px": 24, "flip": True, "num_images": 5, "crops_per_epoch": 22},
        {"flip": True, "last_batch": "filled"},
    ],
    ids=str,
)
def test_a_batch_of_kept_images_has_the_bits_of_one_that_is_read(images: RecordFile, settings: dict[str, Any]) -> None:
    sampler = Sampler(images, FIELDS, TrainingSettings(batch_size=4, **settings), seed=3)
    kept = KeptImages(sampler, images, FIELDS)
    assert len(kept) == len(sampler)
    for epoch in range(3):
        for step in range(len(sampler)):
            expected = sampler.read(epoch, step)
            found = {name: np.asarray(stack) for name, stack in kept.read(epoch, step).items()}
            assert list(found) == list(expected)
            for name in FIELDS:
                assert found[name].dtype == expected[name].dtype
                assert found[name].shape == expected[name].shape
                assert found[name].tobytes() == expected[name].tobytes(), name


def test_only_the_images_that_are_learned_from_are_kept(drawn_files: dict[str, RecordFile]) -> None:
    for num_images in (None, 3):
        sampler = Sampler(drawn_files["train"], ("noisy", "mask"), TrainingSettings(num_images=num_images), seed=0)
        kept = KeptImages(sampler, drawn_files["train"], ("noisy", "mask"))
        assert kept.num_bytes == (num_images or 10) * 32 * 32 * (4 + 1)  # float32 and uint8


def test_images_that_do_not_fit_are_refused_before_they_are_read(
    drawn_files: dict[str, RecordFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(drawn_files["train"], ("noisy",), TrainingSettings(), seed=0)
    needed = 10 * 32 * 32 * 4
    monkeypatch.setattr(kept_images, "find_free_bytes", lambda: 2 * needed)
    KeptImages(sampler, drawn_files["train"], ("noisy",))
    monkeypatch.setattr(kept_images, "find_free_bytes", lambda: 2 * needed - 2)
    monkeypatch.setattr(RecordFile, "read", lambda *_: pytest.fail("was read"))
    with pytest.raises(ResourceError, match=r"images take 4\.1e-05 GB, and this machine has 8\.19e-05 GB free; .* 50%"):
        KeptImages(sampler, drawn_files["train"], ("noisy",))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"num_processes": 2}, "num_processes is 2, expected 1"),
        ({"workload": "segment", "training": {"augmentation": {"inversion": 0.5}}}, "training.augmentation is set"),
        ({"training": {"zoom": (0.5, 2.0), "crop_size_px": 64}}, "training.zoom is set"),
    ],
)
def test_what_needs_the_images_on_the_processor_is_refused(settings: dict[str, Any], problem: str) -> None:
    training = {"keep_on_device": True, **settings.pop("training", {})}
    if settings.get("workload") == "segment":
        training["loss"] = "dice_cross_entropy"
    with pytest.raises(ValueError, match=f"keep_on_device is true, but {problem}; set it to false"):
        RunConfig.model_validate({"division": "open", **settings, "training": training})


@pytest.mark.parametrize("balance", [0.0, 0.6])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_makes_the_same_of_kept_images(
    name: str, balance: float, drawn_files: dict[str, RecordFile]
) -> None:
    settings = TrainingSettings(loss=name, label_balance=balance, batch_size=4, crop_size_px=16, flip=True)
    truth = "mask" if "labels" in OBJECTIVES[name].kinds else "clean"
    objective = OBJECTIVES[name].make(settings, ("noisy",), truth)
    sampler = Sampler(drawn_files["train"], objective.needs, settings, seed=1)
    kept = keep_images(sampler, drawn_files["train"], objective)
    for step in range(len(sampler)):
        found, expected = (PreparedBatches(reader, objective, 0).read(0, step) for reader in (kept, sampler))
        for one, other in zip(found, expected, strict=True):
            assert not isinstance(one, np.ndarray)
            assert np.asarray(one).dtype == other.dtype
            assert np.asarray(one).tobytes() == other.tobytes()


def test_settings_that_keep_nothing_on_the_device_do_not_name_it() -> None:
    assert "keep_on_device" not in RunConfig().model_dump()["training"]
    assert RunConfig.model_validate({"training": {"keep_on_device": True}}).model_dump()["training"]["keep_on_device"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the images that the trainings of this file learn from."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "settings.yaml").write_text(SETTINGS)
    paths = {"parameters_file": folder / "settings.yaml", "raw_data_dir": folder / "raw_data"}
    TASKS["download"](**paths, progress=SilentProgress())
    TASKS["preprocess"](**paths, data_dir=folder / "data", progress=SilentProgress())
    return folder


def train(folder: Path, data: Path, backend: str, *options: str) -> tuple[str, list[float]]:
    """Train in a process of its own; gives the hash of the weights, and all losses."""
    paths = [f"--parameters_file={data / 'settings.yaml'}", f"--data_dir={data / 'data'}", f"--model_dir={folder}"]
    command = [sys.executable, "-m", "emdenoise", "train", *paths, f"--log_dir={folder / 'logs'}", *options]
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr + done.stdout
    assert ("are kept on this machine" in done.stdout) is bool(options)
    record = read_record(folder, "train")
    history = record.results["history"]
    return record.outputs["weights"], [epoch[name] for epoch in history for name in ("loss", "validation_loss")]


@pytest.mark.long
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_training_with_kept_images_ends_with_the_same_bits(backend: str, data: Path, tmp_path: Path) -> None:
    read = train(tmp_path / "read", data, backend)
    assert train(tmp_path / "kept", data, backend, "--set", "training.keep_on_device=true") == read
