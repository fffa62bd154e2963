"""Training one network, in one process or in several."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from emdenoise.arrays import Values
from emdenoise.config.schema import TrainingSettings
from emdenoise.models.backend import choose_compilation
from emdenoise.models.parallel import Processes, open_scope
from emdenoise.progress import Progress
from emdenoise.training.epochs import Batches, Learner, TrainingResult, run_epochs, take_step, validate
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.objectives import choose_loss, choose_metrics
from emdenoise.training.schedules import make_optimizer
from emdenoise.training.transfer import Freeze

NOTHING_FROZEN = Freeze()


@dataclass(frozen=True)
class NetworkLearner:
    """One compiled network that learns from pairs, in one process.

    Attributes
    ----------
    model : keras.Model
    partners : tuple
        Empty.
    num_processes : int
        One.
    """

    model: keras.Model
    partners: tuple[keras.Model, ...] = ()
    num_processes: int = 1

    def take_step(self, inputs: Any, targets: Any) -> dict[str, float]:
        """Learn from one batch; gives its ``loss``."""
        return {"loss": take_step(self.model, inputs, targets)["loss"]}

    def validate(self, validation: Batches) -> dict[str, float]:
        """Compute loss and metrics over all validation images."""
        return validate(self.model, validation)

    def add_up(self, values: Values) -> Values:
        """Give the values of this process, the only one."""
        return values


class SharedLearner:
    """One compiled network that learns in several processes, each with its share of every batch.

    Parameters
    ----------
    model : keras.Model
    loss : callable
        Of Keras: targets, outputs → loss of each pixel.
    processes : Processes
    """

    def __init__(self, model: keras.Model, loss: Callable[[Any, Any], Any], processes: Processes) -> None:
        self.model, self.partners, self.num_processes = model, (), processes.size
        self._loss, self._processes, self._step = loss, processes, processes.make_step(model)

    def take_step(self, inputs: Any, targets: Any) -> dict[str, float]:
        """Learn from one batch; gives the ``loss`` of all processes."""
        return {"loss": self._step(inputs, targets)}

    def validate(self, validation: Batches) -> dict[str, float]:
        """Compute the loss over the validation images of all processes."""
        started, own = time.perf_counter(), np.zeros(2)
        for step in range(len(validation)):
            inputs, targets = validation.read(0, step)
            losses = self._loss(targets, self._processes.predict(self.model, inputs))
            own += np.asarray(losses, np.float64).mean() * len(inputs), len(inputs)
        total, num_images = self._processes.sum(own)
        return {"validation_loss": float(total / num_images), "validation_s": time.perf_counter() - started}

    def add_up(self, values: Values) -> Values:
        """Add up the values of all processes."""
        return self._processes.sum(values)


def make_learner(
    model: keras.Model, settings: TrainingSettings, num_steps: int, processes: Processes | None = None
) -> Learner:
    """Compile a network and make it learn as the settings say.

    Parameters
    ----------
    model : keras.Model
    settings : TrainingSettings
    num_steps : int
        Steps of the whole training.
    processes : Processes or None
        Those that train together; None for this one alone.

    Returns
    -------
    Learner
    """
    with open_scope(processes):
        optimizer = make_optimizer(settings, max(1, num_steps))
        loss, metrics = choose_loss(settings), choose_metrics(settings)
        model.compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=choose_compilation())
        optimizer.build(model.trainable_variables)  # with the layers that are frozen now and may thaw
    if processes is None:
        return NetworkLearner(model)
    return SharedLearner(model, keras.losses.get(settings.loss), processes)


def train_model(
    model: keras.Model,
    batches: Batches,
    validation: Batches,
    settings: TrainingSettings,
    *,
    checkpoint: CheckpointFolder,
    progress: Progress,
    freeze: Freeze = NOTHING_FROZEN,
) -> TrainingResult:
    """Compile a network and train it, or go on where an interrupted training of the same settings and data ended.

    `model` is untrained and has the trained weights afterwards; the other parameters, the result and the errors are
    those of `run_epochs`.
    """
    learner = make_learner(model, settings, settings.epochs * len(batches))
    return run_epochs(learner, batches, validation, settings, checkpoint=checkpoint, progress=progress, freeze=freeze)
