"""What a training leaves on disk after each epoch, so that the same training goes on after it was killed.

One folder holds the weights with the optimizer's state of the last epoch, of every network where several learn
together, the best weights where training may end early, and ``state.json``, which is written last and holds the
hashes of the files that belong together.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from emdenoise.data.storage import hash_file, write_json
from emdenoise.errors import ModelError
from emdenoise.models.checkpoints import load_weights, write_weights

STATE_FILE = "state.json"
BEST_FILE = "best.weights.h5"

History = list[dict[str, float]]
"""Figures of each epoch so far, by name."""


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoint of one training.

    Attributes
    ----------
    path : Path
        Folder for the files of this training alone.
    run_key : str
        Hash of everything that decides the result: settings and data. A checkpoint of another key is not continued.
    """

    path: Path
    run_key: str

    def save(self, model: keras.Model, history: History, *partners: keras.Model) -> None:
        """Keep weights, optimizer and history after an epoch; files of earlier epochs are removed.

        `partners` are networks that learn together with the model.

        Raises
        ------
        StorageError
            If the folder cannot be written.
        """
        weights = self._name_weights(len(history), partners)
        for network, path in zip((model, *partners), weights, strict=True):
            write_weights(network, path)
        state = {
            "run_key": self.run_key,
            "sha256": [hash_file(path) for path in weights],
            "random_states": [
                keras.ops.convert_to_numpy(state).tolist() for state in _list_random_states(model, *partners)
            ],
            "history": history,
        }
        write_json(self.path / STATE_FILE, state)
        for old in self.path.glob("epoch-*.weights.h5"):
            if old not in weights:
                old.unlink()

    def save_best(self, model: keras.Model) -> None:
        """Keep the weights of the best epoch so far."""
        write_weights(model, self.path / BEST_FILE)

    def restore(self, model: keras.Model, *partners: keras.Model) -> History:
        """Load the last epoch into a compiled model, and into those that learn together with it.

        Returns
        -------
        list of dict
            History of the epochs that are done; empty where there is no whole checkpoint of this training.

        Raises
        ------
        ModelError
            If the weights do not fit the model; the checkpoint is removed, so that the next training starts anew.
        """
        try:
            state = json.loads((self.path / STATE_FILE).read_text(encoding="utf-8"))
            history: History = state["history"]
            weights = self._name_weights(len(history), partners)
            is_whole = state["run_key"] == self.run_key and state["sha256"] == [hash_file(path) for path in weights]
            random_states = state["random_states"]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        if not is_whole:
            return []
        for network, path in zip((model, *partners), weights, strict=True):
            network.optimizer.build(network.trainable_variables)
            self._load(network, path)
        for variable, value in zip(_list_random_states(model, *partners), random_states, strict=True):
            variable.assign(np.asarray(value, variable.dtype))
        return history

    def restore_best(self, model: keras.Model) -> None:
        """Load the weights of the best epoch; raises like `restore`."""
        self._load(model, self.path / BEST_FILE)

    def _name_weights(self, num_epochs: int, partners: tuple[keras.Model, ...]) -> list[Path]:
        names = ["", *(f"-{partner.name}" for partner in partners)]
        return [self.path / f"epoch-{num_epochs:05d}{name}.weights.h5" for name in names]

    def _load(self, model: keras.Model, weights: Path) -> None:
        try:
            load_weights(model, weights)
        except ModelError:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove the files after the training is complete."""
        shutil.rmtree(self.path, ignore_errors=True)


def _list_random_states(*models: keras.Model) -> list[keras.Variable]:
    """List where each dropout is in its random numbers; Keras does not keep that with the weights."""
    variables = [variable for model in models for variable in model.variables]
    return [variable for variable in variables if variable.path.endswith("seed_generator_state")]
