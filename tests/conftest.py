"""What tests of several folders share: tiny settings, tiny images, what a task says."""

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import settings as hypothesis_settings

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.results.task_record import TaskRecorder

HASH = "0123456789abcdef" * 4
HASH_OF_NOTHING = hashlib.sha256(b"").hexdigest()
METHODS = ("noisy", "gaussian", "median", "network")

# The same examples in every run; a slow machine is no failure.
hypothesis_settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=40)
hypothesis_settings.load_profile("repeatable")

TINY: dict[str, Any] = {
    "division": "open",
    "simulation": {"num_train": 4, "num_validation": 2, "num_test": 4, "image_size_px": 64},
    "model": {"name": "unet", "filters": [4], "bottom_filters": 4, "batch_norm_momentum": 0.5},
    "training": {"epochs": 2, "batch_size": 2, "crop_size_px": 32, "flip": True},
    "evaluation": {
        "batch_size": 3,
        "baselines": ["gaussian", "median"],
        "num_tuning_images": 2,
        "num_resamples": 100,
        "num_latency_images": 10,
        "num_pictures": 2,
    },
}


class HeardProgress:
    """Keeps what a task says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[str, int, int, str]] = []

    def say(self, message: str) -> None:
        """Keep a line."""
        self.lines.append(message)

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Keep a step."""
        self.steps.append((phase, done, total, note))


@pytest.fixture
def progress() -> HeardProgress:
    """Give a listener whose `lines` and `steps` a test can look at."""
    return HeardProgress()


def merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Put changes over settings, section by section."""
    return settings | {
        name: merge(settings[name], value) if isinstance(value, dict) and name in settings else value
        for name, value in changes.items()
    }


@pytest.fixture(scope="session")
def tiny_settings() -> Callable[..., dict[str, Any]]:
    """Give a function from changes, as ``training={"epochs": 3}``, to the content of a tiny parameters file."""
    return lambda **changes: merge(TINY, changes)


@pytest.fixture(scope="session")
def tiny_config(tiny_settings: Callable[..., dict[str, Any]]) -> Callable[..., RunConfig]:
    """Give a function from changes to the settings of a tiny run."""
    return lambda **changes: RunConfig.model_validate_json(json.dumps(tiny_settings(**changes)))


@pytest.fixture
def write_parameters(tmp_path: Path, tiny_settings: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Give a function from changes to a tiny parameters file."""

    def write(name: str = "tiny.parameters.yaml", **changes: Any) -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(tiny_settings(**changes)), encoding="utf-8")
        return path

    return write


def make_records(num_images: int, *, size: int = 32, seed: int = 0, specimen: str = "specimen") -> Iterator[Record]:
    """Draw smooth waves with Gaussian noise; two images of a specimen; one bright atom in the middle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    for index in range(num_images):
        wave_rows, wave_columns = rng.uniform(0.2, 0.8, 2)
        clean = (0.5 + 0.1 * np.sin(wave_rows * rows) * np.cos(wave_columns * columns)).astype(np.float32)
        yield Record(
            {
                "noisy": clean + rng.normal(0, 0.1, clean.shape).astype(np.float32),
                "clean": clean,
                "mask": (clean > 0.5).astype(np.uint8),
            },
            atoms=np.full((1 + index % 3, 2), size / 2, np.float32),
            class_id=index % 2,
            specimen=f"{specimen} {index // 2}",
            name=f"image {index}",
            attributes={"pixel_size_angstrom": 0.15, "electrons_per_unit_intensity": 50.0 + index},
        )


@pytest.fixture(scope="session")
def draw_records() -> Callable[..., Iterator[Record]]:
    """Give the function that draws records without a simulation."""
    return make_records


@pytest.fixture(scope="session")
def drawn_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RecordFile]]:
    """Give open files of drawn records: 10 for training, 4 for validation, 6 for the test."""
    folder = tmp_path_factory.mktemp("drawn")
    files = {}
    for number, (split, num_images) in enumerate({"train": 10, "validation": 4, "test": 6}.items()):
        path = folder / f"{split}.h5"
        records = make_records(num_images, seed=number, specimen=split)
        write_records(path, records, attributes={"mask_labels": '["dark", "bright"]'})
        files[split] = RecordFile(path)
    yield files
    for file in files.values():
        with file:
            pass


@pytest.fixture
def simulation_in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the download simulate without worker processes; gives the list of calls that asked for workers."""
    from emdenoise.simulation import simulate

    asked: list[str] = []

    @contextmanager
    def open_no_pool(num_workers: int | None = None) -> Iterator[None]:
        asked.append("pool")
        yield None

    monkeypatch.setattr(simulate, "open_pool", open_no_pool)
    return asked


@pytest.fixture(scope="module")
def no_pool() -> Iterator[None]:
    """Let all downloads of a module simulate without worker processes."""
    from emdenoise.simulation import simulate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "open_pool", nullcontext)
        yield


@contextmanager
def close_logs() -> Iterator[None]:
    """Close the logs that tasks open meanwhile; a real process runs one task and ends."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
            if isinstance(handler, logging.StreamHandler):
                with suppress(OSError):  # its disk may be full
                    handler.stream.close()
        root.setLevel(level)


@pytest.fixture(scope="session")
def logs_of_one_command() -> Callable[[], AbstractContextManager[None]]:
    """Give the context in which a command runs, at whose end its logs are closed."""
    return close_logs


@pytest.fixture
def logs_of_this_test_alone() -> Iterator[None]:
    """Close the logs that the tasks of a test opened."""
    with close_logs():
        yield


@pytest.fixture
def write_run(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes the records of tasks into the output folder, as a finished run has them."""

    def write(*tasks: Any, run: RunConfig | None = None) -> Path:
        history = [
            {"epoch": epoch, "loss": 1 / epoch, "validation_loss": 1.1 / epoch, "learning_rate": 0.01}
            | {"train_s": 2.0, "validation_s": 0.5, "images_per_second": 50.0}
            for epoch in (1, 2, 3)
        ]
        results: dict[str, dict[str, Any]] = {
            "preprocess": {"file_sha256": dict.fromkeys(("train.h5", "test.h5"), HASH_OF_NOTHING)},
            "train": {
                "num_parameters": 12345,
                "images_per_second": 50.0,
                "first_step_s": 1.5,
                "best_epoch": 3,
                "num_continued_epochs": 0,
                "history": history,
            },
            "test": {
                "choices": {"gaussian": "strength 2, beam left in", "median": "strength 3, beam left in"},
                "captions": {name: [f"{name}  20.5 dB", f"{name}  21.5 dB"] for name in METHODS},
                "latency": {"p50_ms": 1.0, "p99_ms": 2.0},
            },
        }
        for task in tasks:
            outputs = {"preprocess": {"train.h5": HASH, "test.h5": HASH}, "train": {"weights": HASH}}.get(task, {})
            inputs = {"weights": HASH} if task == "test" else {}
            TaskRecorder(task, run or tiny_config()).finish(
                tmp_path / "output", inputs, outputs, results.get(task), ["GPU 9000"]
            )
        return tmp_path / "output"

    return write


RUN_TIMES = {
    "images_per_second",
    "started_at",
    "duration_s",
    "phases_s",
    "latency",
    "commit",
    "is_dirty",
    "is_reused",
    "record_sha256",
}
EPOCH_TIMES = {"train_s", "validation_s", "first_step_s", "started_at_ms", "num_continued_epochs"}
STUDY_TIMES = {"pretraining_s", "seconds_to_reference"}


def forget_times(content: Any) -> Any:
    """Leave out what differs between two equal runs."""
    if isinstance(content, dict):
        return {
            name: forget_times(value)
            for name, value in content.items()
            if name not in RUN_TIMES | EPOCH_TIMES | STUDY_TIMES
        }
    return [forget_times(value) for value in content] if isinstance(content, list) else content


HASHED = (".h5", ".tif", ".bin")
"""Files that two equal runs write to the bit: images, results, exported weights."""


def describe_results(root: Path) -> dict[str, Any]:
    """Describe all results: content without times, hashes of images and weights; of other files that they are there."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or name.startswith("logs/") or "previous/" in name:
            continue
        if path.suffix == ".json":
            found[name] = forget_times(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix in HASHED:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                content = {member: archive.read(member) for member in sorted(archive.namelist())}
            hashes = {member: hashlib.sha256(data).hexdigest() for member, data in content.items()}
            found[name] = {member: hashes[member] if member.endswith(HASHED) else "there" for member in content}
        else:
            found[name] = "left behind" if path.name.startswith(".partial") else "there"
    return found


@pytest.fixture(scope="session")
def describe() -> Callable[[Path], dict[str, Any]]:
    """Give the function that describes the results in a folder, equal for equal runs."""
    return describe_results
