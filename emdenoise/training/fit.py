"""The training loop: epochs, validation, checkpoints, early end.

Plain steps of Keras instead of `Model.fit`: the order of the images is a function of epoch and step, which
makes a continued training equal to an undisturbed one.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy.typing as npt

from emdenoise.config.schema import TrainingSettings
from emdenoise.data.pipeline import Batch
from emdenoise.models.backend import choose_compilation
from emdenoise.progress import Progress
from emdenoise.training.interruption import CheckpointFolder, History
from emdenoise.training.losses import choose_loss, choose_metrics
from emdenoise.training.schedules import make_optimizer
from emdenoise.training.transfer import Freeze

NOTHING_FROZEN = Freeze()
SHOWN_LOSSES = ("loss", "discriminator_loss")
"""What the progress shows, where there is such a loss."""


class Batches(Protocol):
    """What training reads: `TrainingBatches` or `WholeImages`."""

    def __len__(self) -> int:
        """Count the steps of an epoch."""

    def read(self, epoch: int, step: int) -> Batch:
        """Read one batch."""


@dataclass(frozen=True)
class TrainingResult:
    """What came out of a training besides the weights in the model.

    Attributes
    ----------
    history : list of dict
        One entry an epoch: ``epoch``, ``loss``, ``validation_loss``, ``learning_rate``, ``train_s``, ``validation_s``,
        ``images_per_second``, ``num_images``, ``first_step_s``, ``started_at_ms`` (since 1970, UTC) and
        `validation_dice` of masks; losses are means over the images.
    num_continued_epochs : int
        Epochs that an interrupted run had done before.
    first_step_s : float
        Time of the first step, in which the backend compiles [s].
    best_epoch : int
        Epoch whose weights the model has now.
    """

    history: History
    num_continued_epochs: int
    first_step_s: float
    best_epoch: int

    @property
    def images_per_second(self) -> float:
        """Training speed over all epochs but the first, in which the backend compiles; 0 without epochs."""
        epochs = self.history[1:] or self.history
        if not epochs:
            return 0.0
        return sum(epoch["num_images"] for epoch in epochs) / sum(epoch["train_s"] for epoch in epochs)

    def summarise(self) -> str:
        """Say in one line what was done."""
        if not self.history:
            return "The pretrained network was left as it is"
        return (
            f"Trained {len(self.history)} epochs at {self.images_per_second:.1f} images/s; "
            f"validation loss {self.history[-1]['validation_loss']:.3g}"
        )

    def describe(self, model: keras.Model) -> dict[str, Any]:
        """Say what a record keeps of the training, as JSON values."""
        return {
            "num_parameters": model.count_params(),
            "images_per_second": self.images_per_second,
            "first_step_s": self.first_step_s,
            "best_epoch": self.best_epoch,
            "num_continued_epochs": self.num_continued_epochs,
            "history": self.history,
        }


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
    """Train a network, or go on where an interrupted training of the same settings and data ended.

    Parameters
    ----------
    model : keras.Model
        Untrained; has the trained weights afterwards.
    batches, validation : Batches
        Training images by epoch and step; validation images.
    settings : TrainingSettings
    checkpoint : CheckpointFolder
        Where to keep the state after each epoch.
    progress : Progress
    freeze : Freeze
        Layers that do not learn, or not from the start.

    Returns
    -------
    TrainingResult

    Raises
    ------
    StorageError
        If a checkpoint cannot be written.
    ModelError
        If the checkpoint is damaged.
    """
    optimizer = make_optimizer(settings, max(1, settings.epochs * len(batches)))
    loss, metrics = choose_loss(settings), choose_metrics(settings)
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=choose_compilation())
    optimizer.build(model.trainable_variables)  # with the layers that are frozen now and may thaw
    history = checkpoint.restore(model)
    num_continued, first_step_s = len(history), 0.0
    if num_continued:
        progress.say(f"An interrupted training of these settings is continued after epoch {num_continued}.")

    def learn(inputs: npt.NDArray[Any], targets: npt.NDArray[Any]) -> dict[str, float]:
        return {"loss": take_step(model, inputs, targets)["loss"]}

    for epoch in range(num_continued, settings.epochs):
        if _is_stalled(history, settings):
            break
        if freeze.apply(model, epoch):
            model.make_train_function(force=True)
        figures = train_epoch(learn, batches, epoch, settings.epochs, progress)
        first_step_s = first_step_s or figures["first_step_s"]
        figures |= validate(model, validation)
        figures["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        history.append(figures)
        if settings.early_stopping_epochs is not None and _find_best(history) == epoch:
            checkpoint.save_best(model)
        checkpoint.save(model, history)
    best = len(history) - 1
    if settings.early_stopping_epochs is not None and history:
        best = _find_best(history)
        checkpoint.restore_best(model)
    return TrainingResult(history, num_continued, first_step_s, best_epoch=best + 1)


def train_epoch(
    take_step: Callable[..., Mapping[str, float]], batches: Batches, epoch: int, num_epochs: int, progress: Progress
) -> dict[str, float]:
    """Take all steps of one epoch.

    Parameters
    ----------
    take_step : callable
        Inputs, targets → ``loss`` and other losses, means over the batch.
    batches : Batches
    epoch, num_epochs : int
        From 0; how many there are.
    progress : Progress

    Returns
    -------
    dict
        Losses as means over the images, and what else `TrainingResult` says of an epoch of training.
    """
    started_at_ms, started = time.time_ns() // 1_000_000, time.perf_counter()
    num_images, first_step_s = 0, 0.0
    sums: dict[str, float] = {}
    for step in range(len(batches)):
        inputs, targets = batches.read(epoch, step)
        for name, loss in take_step(inputs, targets).items():
            sums[name] = sums.get(name, 0.0) + len(inputs) * loss
        num_images += len(inputs)
        if step == 0:
            first_step_s = time.perf_counter() - started
        shown = [f"{name.replace('_', ' ')} {sums[name] / num_images:.3g}" for name in SHOWN_LOSSES if name in sums]
        note = ", ".join([f"epoch {epoch + 1}/{num_epochs}", *shown])
        progress.step("train", epoch * len(batches) + step + 1, num_epochs * len(batches), note)
    train_s = time.perf_counter() - started
    return {name: total / num_images for name, total in sums.items()} | {
        "epoch": epoch + 1,
        "started_at_ms": started_at_ms,
        "num_images": num_images,
        "train_s": train_s,
        "first_step_s": first_step_s,
        "images_per_second": num_images / train_s,
    }


def validate(model: keras.Model, validation: Batches) -> dict[str, float]:
    """Compute loss and metrics of a compiled model over all validation images, and how long that takes."""
    started, num_images = time.perf_counter(), 0
    sums: dict[str, float] = {}
    for step in range(len(validation)):
        inputs, targets = validation.read(0, step)
        model.reset_metrics()
        for name, value in model.test_on_batch(inputs, targets, return_dict=True).items():
            sums[name] = sums.get(name, 0.0) + len(inputs) * float(value)
        num_images += len(inputs)
    means = {f"validation_{name}": total / num_images for name, total in sums.items()}
    return means | {"validation_s": time.perf_counter() - started}


def take_step(model: keras.Model, inputs: Any, targets: Any) -> dict[str, float]:
    """Train on one batch and give its losses alone; whether Keras adds up the batches before does not matter."""
    model.reset_metrics()
    return {name: float(value) for name, value in model.train_on_batch(inputs, targets, return_dict=True).items()}


def _find_best(history: History) -> int:
    losses = [figures["validation_loss"] for figures in history]
    return losses.index(min(losses))


def _is_stalled(history: History, settings: TrainingSettings) -> bool:
    if settings.early_stopping_epochs is None or not history:
        return False
    return len(history) - 1 - _find_best(history) >= settings.early_stopping_epochs
