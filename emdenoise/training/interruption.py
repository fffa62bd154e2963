"""What a training leaves on disk after each epoch, so that the same training goes on after it was killed.

One folder holds the weights with the optimizer's state of the last epoch, the best weights where training may end
early, and ``state.json``, which is written last and says which files belong together.
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

    def save(self, model: keras.Model, history: History) -> None:
        """Keep weights, optimizer and history after an epoch; files of earlier epochs are removed.

        Raises
        ------
        StorageError
            If the folder cannot be written.
        """
        weights = self.path / f"epoch-{len(history):05d}.weights.h5"
        write_weights(model, weights)
        state = {
            "run_key": self.run_key,
            "weights": weights.name,
            "sha256": hash_file(weights),
            "random_states": [keras.ops.convert_to_numpy(state).tolist() for state in _list_random_states(model)],
            "history": history,
        }
        write_json(self.path / STATE_FILE, state)
        for old in self.path.glob("epoch-*.weights.h5"):
            if old != weights:
                old.unlink()

    def save_best(self, model: keras.Model) -> None:
        """Keep the weights of the best epoch so far."""
        write_weights(model, self.path / BEST_FILE)

    def restore(self, model: keras.Model) -> History:
        """Load the last epoch into a compiled model.

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
            weights = self.path / str(state["weights"])
            is_whole = state["run_key"] == self.run_key and hash_file(weights) == state["sha256"]
            history: History = state["history"]
            random_states = state["random_states"]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        if not is_whole:
            return []
        model.optimizer.build(model.trainable_variables)
        self._load(model, weights)
        for variable, value in zip(_list_random_states(model), random_states, strict=True):
            variable.assign(np.asarray(value, variable.dtype))
        return history

    def restore_best(self, model: keras.Model) -> None:
        """Load the weights of the best epoch; raises like `restore`."""
        self._load(model, self.path / BEST_FILE)

    def _load(self, model: keras.Model, weights: Path) -> None:
        try:
            load_weights(model, weights)
        except ModelError:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove the files after the training is complete."""
        shutil.rmtree(self.path, ignore_errors=True)


def _list_random_states(model: keras.Model) -> list[keras.Variable]:
    """List where each dropout is in its random numbers; Keras does not keep that with the weights."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
