"""What the tests of training share: drawn batches in memory, small networks, interruptions."""

import ctypes
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from emdenoise.config.schema import TrainingSettings
from emdenoise.models.backend import prepare_backend
from emdenoise.progress import SilentProgress
from emdenoise.training.epochs import NOTHING_FROZEN, Judge, TrainingResult, judge_nothing, run_epochs
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.learners import make_learner
from emdenoise.training.objectives import Supervised
from emdenoise.training.transfer import Freeze

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
RUN_KEY = "settings and data"


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.fixture(autouse=True)
def own_stack_for_signals() -> None:
    """Let signals use the ordinary stack.

    What exports networks leaves the process with a stack for signals that is gone, and the next signal, as tests of
    stops raise it, is a segmentation fault. A training never follows an export in one process but here.
    """
    disabled = 2  # SS_DISABLE
    ctypes.CDLL(None).sigaltstack(ctypes.byref(SignalStack(None, disabled, 0)), None)


class DrawnBatches:
    """Normal noise that depends on seed, epoch and step; targets are `gain` times the images plus `offset`.

    At `interrupt_at` the training dies; at `stop_at` the system asks it to stop.
    """

    stop_signal = signal.SIGTERM

    def __init__(
        self, *, sizes: tuple[int, ...] = (3, 2), seed: int = 0, gain: float = 0.5, offset: float = 0.1
    ) -> None:
        self.sizes, self.seed, self.gain, self.offset = sizes, seed, gain, offset
        self.interrupt_at: tuple[int, int] | None = None
        self.stop_at: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, epoch: int, step: int) -> Batch:
        if (epoch, step) == self.interrupt_at:
            raise KeyboardInterrupt
        if (epoch, step) == self.stop_at:
            signal.raise_signal(self.stop_signal)
        shape = (self.sizes[step], 8, 8, 1)
        images = np.random.default_rng([self.seed, epoch, step]).normal(size=shape).astype(np.float32)
        return images, np.float32(self.gain) * images + np.float32(self.offset)


@pytest.fixture(autouse=True)
def put_precision_back() -> Iterator[None]:
    """Leave the dtype policy as it was before the test."""
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="session")
def draw_batches() -> type[DrawnBatches]:
    """Give the class of the drawn batches."""
    return DrawnBatches


def build_network(seed: int = 0, precision: Any = "float32") -> keras.Model:
    """Build a network with everything that has a state: running means, dropout, weights."""
    prepare_backend(TrainingSettings(precision=precision), seed)
    noisy = keras.Input((None, None, 1))
    images = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(noisy)
    images = keras.layers.BatchNormalization(momentum=0.5)(images)
    images = keras.layers.SpatialDropout2D(0.4)(images)
    return keras.Model(noisy, keras.layers.Conv2D(1, 3, padding="same", name="output")(images), name="small")


def build_line() -> keras.Model:
    """Build gain · image + offset, both starting at 0."""
    noisy = keras.Input((None, None, 1))
    return keras.Model(noisy, keras.layers.Conv2D(1, 1, kernel_initializer="zeros")(noisy), name="line")


@pytest.fixture(scope="session")
def networks() -> dict[str, Callable[..., keras.Model]]:
    """Give the functions that build networks for training: `small` and `line`."""
    return {"small": build_network, "line": build_line}


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., TrainingResult]:
    """Give a function that trains a network on drawn batches, with a checkpoint in `tmp_path`."""

    def train_network(
        model: keras.Model,
        batches: Any = None,
        validation: Any = None,
        *,
        folder: str = "checkpoint",
        checkpoint: CheckpointFolder | None = None,
        run_key: str = RUN_KEY,
        progress: Any = None,
        freeze: Freeze = NOTHING_FROZEN,
        judge: Judge = judge_nothing,
        **settings: Any,
    ) -> TrainingResult:
        # Without reading ahead an interruption comes in the step that it is meant for.
        training, batches = TrainingSettings.model_validate({"read_ahead": 0, **settings}), batches or DrawnBatches()
        objective = Supervised(("noisy",), "clean", training.loss)
        return run_epochs(
            make_learner(model, objective, training, len(batches), judge=judge),
            batches,
            validation or DrawnBatches(sizes=(2,), seed=99),
            training,
            checkpoint=checkpoint or CheckpointFolder(tmp_path / folder, run_key),
            progress=progress or SilentProgress(),
            freeze=freeze,
        )

    return train_network
