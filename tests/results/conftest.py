"""A finished run without its tasks: scores, pictures and the four records."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.results.tables import summarise_scores
from emdenoise.results.task_record import TaskRecorder
from emdenoise.seeding import make_generator

HASH = "0123456789abcdef" * 4
HASH_OF_NOTHING = hashlib.sha256(b"").hexdigest()
METHODS = ("noisy", "gaussian", "median", "network")


@pytest.fixture
def config(tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config()


@pytest.fixture
def methods() -> dict[str, ImageScores]:
    """Give scores of six images; the methods are the better the later they come."""
    rng = make_generator(0, "test")
    return {
        name: ImageScores(
            {
                "mse": rng.uniform(0.001, 0.002, 6) / (1 + number),
                "psnr_db": rng.uniform(20, 22, 6) + 3 * number,
                "ssim": rng.uniform(0.2, 0.3, 6) + 0.1 * number,
                "atom_f1": rng.uniform(0.6, 0.7, 6) + 0.05 * number,
                "atom_error_angstrom": np.array([0.1, np.nan, 0.2, 0.1, 0.15, 0.12]),
            },
            images_per_second=100.0 * (number + 1),
        )
        for number, name in enumerate(METHODS)
    }


@pytest.fixture
def specimens() -> list[str]:
    return ["a", "a", "b", "b", "c", "c"]


@pytest.fixture
def scores(config: RunConfig, methods: dict[str, ImageScores], specimens: list[str]) -> dict[str, Any]:
    return summarise_scores(config, methods, specimens)


@pytest.fixture
def pictures() -> dict[str, np.ndarray]:
    images = make_generator(1, "test").random((len(METHODS) + 1, 2, 16, 16), np.float32)
    return dict(zip((*METHODS, "clean"), images, strict=True))


@pytest.fixture
def write_run(config: RunConfig, tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes the records of tasks into the output folder, as a finished run has them."""

    def write(*tasks: Any, run: RunConfig = config) -> Path:
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
            TaskRecorder(task, run).finish(tmp_path / "output", inputs, outputs, results.get(task), ["GPU 9000"])
        return tmp_path / "output"

    return write
