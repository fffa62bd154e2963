"""Training one network."""

from dataclasses import dataclass
from typing import Any

import keras

from emdenoise.config.schema import TrainingSettings
from emdenoise.models.backend import choose_compilation
from emdenoise.progress import Progress
from emdenoise.training.epochs import Batches, TrainingResult, run_epochs, take_step
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.losses import choose_loss, choose_metrics
from emdenoise.training.schedules import make_optimizer
from emdenoise.training.transfer import Freeze

NOTHING_FROZEN = Freeze()


@dataclass(frozen=True)
class NetworkLearner:
    """One compiled network that learns from pairs.

    Attributes
    ----------
    model : keras.Model
    partners : tuple
        Empty.
    """

    model: keras.Model
    partners: tuple[keras.Model, ...] = ()

    def take_step(self, inputs: Any, targets: Any) -> dict[str, float]:
        """Learn from one batch; gives its ``loss``."""
        return {"loss": take_step(self.model, inputs, targets)["loss"]}


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
    optimizer = make_optimizer(settings, max(1, settings.epochs * len(batches)))
    loss, metrics = choose_loss(settings), choose_metrics(settings)
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=choose_compilation())
    optimizer.build(model.trainable_variables)  # with the layers that are frozen now and may thaw
    learner = NetworkLearner(model)
    return run_epochs(learner, batches, validation, settings, checkpoint=checkpoint, progress=progress, freeze=freeze)
