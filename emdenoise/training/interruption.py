"""What a training leaves on disk after each epoch, so that the same training goes on after it was killed or stopped.

One folder holds the weights with the optimizer's state of the last epoch, of every network where several learn
together, the best weights where training may end early, and ``state.json``, which is written last and holds the
hashes of the files that belong together, and of itself: HDF5 never sees a damaged file, which can bring it down.
"""

import hashlib
import json
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from emdenoise.errors import ModelError
from emdenoise.files.atomic import hash_file, write_json
from emdenoise.models.checkpoints import load_weights, write_weights

STATE_FILE = "state.json"

History = list[dict[str, float]]
"""Figures of each epoch so far, by name."""

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
"""What schedulers send ahead of the end of a job's time, or before they give its place to another, and the system when
a terminal closes; not every system has all of them."""


@dataclass
class BegunEpoch:
    """An epoch of which some steps are done.

    Attributes
    ----------
    started_at_ms : int
        Since 1970, UTC [ms].
    num_steps, num_images : int
        Done so far.
    train_s, first_step_s : float
        Time of all steps so far and of the first one [s].
    loss_sums : dict of str to float
        Sums over the images.
    """

    started_at_ms: int
    num_steps: int = 0
    num_images: int = 0
    train_s: float = 0.0
    first_step_s: float = 0.0
    loss_sums: dict[str, float] = field(default_factory=dict)

    def mean(self, name: str) -> float:
        """Give the mean of a loss over the images so far."""
        return self.loss_sums[name] / self.num_images

    def describe(self, epoch: int) -> dict[str, float]:
        """Give the figures of epoch `epoch`, counted from 0, for the history."""
        return {name: self.mean(name) for name in self.loss_sums} | {
            "epoch": epoch + 1,
            "started_at_ms": self.started_at_ms,
            "num_images": self.num_images,
            "train_s": self.train_s,
            "first_step_s": self.first_step_s,
            "images_per_second": self.num_images / self.train_s,
        }


class Kept(NamedTuple):
    """How far an interrupted training came: epochs that are done, and the one that was stopped in the middle."""

    history: History
    begun: BegunEpoch | None


@contextmanager
def heed_signals() -> Iterator[Callable[[], bool]]:
    """Turn the signals that ask for the end into a request that is heard between two steps.

    Yields
    ------
    callable
        Whether the end was requested. Outside the main thread signals are left as they are.
    """
    request = threading.Event()
    before = {}
    if threading.current_thread() is threading.main_thread():
        heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup asks
        before = {number: signal.signal(number, lambda *details: request.set()) for number in heeded}
    try:
        yield request.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoint of one training.

    Attributes
    ----------
    path : Path
        Folder for the files of this training alone.
    run_key : str
        Hash of everything that decides the result: settings and data. A checkpoint of another key is not continued.
    is_kept : bool
        Whether this process writes; of several that train together one does, and the others write to nowhere, since
        on JAX they must read the weights together.
    """

    path: Path
    run_key: str
    is_kept: bool = True

    def save(
        self, model: keras.Model, history: History, *partners: keras.Model, begun: BegunEpoch | None = None
    ) -> None:
        """Keep weights, optimizer and history after an epoch, or in the middle of one; files of before are removed.

        `partners` are networks that learn together with the model.

        Raises
        ------
        StorageError
            If the folder cannot be written.
        """
        if not self.is_kept:
            _write_to_nowhere(model, *partners)
            return
        weights = self._name_weights(len(history), begun, partners)
        for network, path in zip((model, *partners), weights, strict=True):
            write_weights(network, path)
        kept = [*weights, *self._list_best()[-1:]]
        state = {
            "run_key": self.run_key,
            "files": {path.name: hash_file(path) for path in kept},
            "random_states": [
                keras.ops.convert_to_numpy(state).tolist() for state in _list_random_states(model, *partners)
            ],
            "history": history,
            "begun": None if begun is None else asdict(begun),
        }
        write_json(self.path / STATE_FILE, state | {"state_sha256": _hash_state(state)})
        self._remove_others({path.name for path in kept})

    def save_best(self, model: keras.Model, history: History) -> None:
        """Keep the weights of the last epoch of a history as the best so far; `save` must follow."""
        if not self.is_kept:
            _write_to_nowhere(model)
            return
        write_weights(model, self.path / f"best-{len(history):05d}.weights.h5")

    def restore(self, model: keras.Model, *partners: keras.Model) -> Kept:
        """Load the last state into a compiled model, and into those that learn together with it.

        Returns
        -------
        Kept
            Empty where there is no whole checkpoint of this training.

        Raises
        ------
        ModelError
            If the weights do not fit the model; the checkpoint is removed, so that the next training starts anew.
        """
        try:
            state = json.loads((self.path / STATE_FILE).read_text(encoding="utf-8"))
            is_whole = state.pop("state_sha256") == _hash_state(state) and state["run_key"] == self.run_key
            is_whole = is_whole and all(hash_file(self.path / name) == sha for name, sha in state["files"].items())
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return Kept([], None)
        if not is_whole:
            return Kept([], None)
        history: History = state["history"]
        begun = None if state["begun"] is None else BegunEpoch(**state["begun"])
        weights = self._name_weights(len(history), begun, partners)
        for network, path in zip((model, *partners), weights, strict=True):
            if not network.optimizer.built:
                network.optimizer.build(network.trainable_variables)
            self._load(network, path)
        for variable, value in zip(_list_random_states(model, *partners), state["random_states"], strict=True):
            variable.assign(np.asarray(value, variable.dtype))
        self._remove_others(set(state["files"]))  # of an epoch that was not finished
        return Kept(history, begun)

    def restore_best(self, model: keras.Model) -> None:
        """Load the weights of the best epoch; raises like `restore`."""
        self._load(model, max(self._list_best(), default=self.path / "best.weights.h5"))

    def _list_best(self) -> list[Path]:
        return sorted(self.path.glob("best-*.weights.h5"))

    def _remove_others(self, names: set[str]) -> None:
        for path in self.path.glob("*.weights.h5") if self.is_kept else ():
            if path.name not in names:
                path.unlink()

    def _name_weights(self, num_epochs: int, begun: BegunEpoch | None, partners: tuple[keras.Model, ...]) -> list[Path]:
        step = "" if begun is None else f"-step-{begun.num_steps:06d}"
        names = ["", *(f"-{partner.name}" for partner in partners)]
        return [self.path / f"epoch-{num_epochs:05d}{step}{name}.weights.h5" for name in names]

    def _load(self, model: keras.Model, weights: Path) -> None:
        try:
            load_weights(model, weights)
        except ModelError:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove the files after the training is complete."""
        if self.is_kept:
            shutil.rmtree(self.path, ignore_errors=True)


def _write_to_nowhere(*models: keras.Model) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            write_weights(model, Path(folder) / "nowhere.weights.h5")


def _hash_state(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _list_random_states(*models: keras.Model) -> list[keras.Variable]:
    """List where each dropout is in its random numbers; Keras does not keep that with the weights."""
    variables = [variable for model in models for variable in model.variables]
    return [variable for variable in variables if variable.path.endswith("seed_generator_state")]
