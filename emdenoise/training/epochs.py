"""The loop over epochs that all trainings share: steps, validation, checkpoints, early end, an orderly stop.

Plain steps of Keras instead of `Model.fit`: the order of the images is a function of epoch and step, which
makes a continued training equal to an undisturbed one.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Values
from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.read_ahead import ReadAhead
from emdenoise.errors import DivergenceError, StoppedError
from emdenoise.models.backend import explain_memory, fetch
from emdenoise.progress import Progress
from emdenoise.training.interruption import BegunEpoch, CheckpointFolder, History, heed_signals
from emdenoise.training.transfer import Freeze

Images = npt.NDArray[np.generic]
Judge = Callable[[Iterable[Images]], Mapping[str, Values]]
"""Scores the validation images of this process from the outputs of the network, batch by batch in their order: by
metric, the score of each image. It takes every batch. What judges stands above this layer, and is given to it."""
NOTHING_FROZEN = Freeze()
SHOWN_LOSSES = ("loss", "discriminator_loss")
"""What the progress shows, where there is such a loss."""
STEPS_BETWEEN_LOSSES = 10
"""After so many steps the losses are fetched from the device. In between it computes, and nobody waits for it."""
REMEDY = "lower learning_rate or set warmup_fraction, and run the task again"


class Batches(Protocol):
    """What training reads: `PreparedBatches`."""

    def __len__(self) -> int:
        """Count the steps of an epoch."""

    def read(self, epoch: int, step: int) -> tuple[Any, npt.NDArray[np.generic]]:
        """Read one batch: inputs and targets."""


class Learner(Protocol):
    """One network that learns, or several that learn together."""

    @property
    def model(self) -> keras.Model:
        """The compiled network that is validated and kept."""

    @property
    def partners(self) -> tuple[keras.Model, ...]:
        """Compiled networks that learn together with it."""

    @property
    def num_processes(self) -> int:
        """How many processes learn together, each with an equal share of every batch."""

    def take_step(self, inputs: Any, targets: Any) -> Mapping[str, Any]:
        """Learn from one batch; gives ``loss`` and other losses, means over the batch, for `fetch`."""

    def validate(self, validation: Batches) -> dict[str, float]:
        """Compute ``validation_loss`` and the metrics of a judge over all validation images, and ``validation_s``."""

    def add_up(self, values: Values) -> Values:
        """Add up the values of all processes that learn together; they wait for each other."""


@dataclass(frozen=True)
class TrainingResult:
    """What came out of a training besides the weights in the model.

    Attributes
    ----------
    history : list of dict
        One entry an epoch: ``epoch``, ``loss``, ``validation_loss``, ``learning_rate``, ``train_s``, ``validation_s``,
        ``images_per_second``, ``num_images``, ``first_step_s`` and ``started_at_ms`` (since 1970, UTC); with a judge
        its metrics, as `validation_psnr_db`. Losses and metrics are means over the images.
    num_continued_epochs : int
        Epochs that an interrupted run had done before, with the one that it had begun.
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


@explain_memory("a smaller batch_size or crop_size_px")
def run_epochs(
    learner: Learner,
    batches: Batches,
    validation: Batches,
    settings: TrainingSettings,
    *,
    checkpoint: CheckpointFolder,
    progress: Progress,
    freeze: Freeze = NOTHING_FROZEN,
) -> TrainingResult:
    """Train all epochs, or those that an interrupted training of the same settings and data left.

    Parameters
    ----------
    learner : Learner
        Has the trained weights afterwards.
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
    StoppedError
        If the system asked for the end (SIGTERM, SIGUSR1, SIGHUP); the state is kept, to the step.
    DivergenceError
        If a loss is NaN or infinite; what was kept before is left as it is.
    ResourceError
        If the memory of the machine or its accelerator is too small.
    StorageError
        If a checkpoint cannot be written.
    ModelError
        If the checkpoint is damaged.
    """
    model, partners = learner.model, learner.partners
    history, begun = checkpoint.restore(model, *partners)
    num_continued, first_step_s = len(history) + (begun is not None), 0.0
    if num_continued:
        steps = f"{begun.num_steps} of {len(batches)} steps of epoch {len(history) + 1}" if begun else None
        after = steps or f"epoch {len(history)}"
        progress.say(f"An interrupted training of these settings is continued after {after}.")
    with heed_signals() as is_stopped, ReadAhead(batches, settings.read_ahead, settings.epochs) as read_batches:
        while len(history) < settings.epochs and not _is_stalled(history, settings):
            epoch = len(history)
            if freeze.apply(model, epoch):
                model.make_train_function(force=True)
            if begun is not None:
                # TensorFlow's graphs depend on the sizes of the batches before: the first batch comes first, as in an
                # undisturbed epoch, and what it teaches is forgotten.
                learner.take_step(*read_batches.read(epoch, 0))
                checkpoint.restore(model, *partners)
            state, begun = begun or BegunEpoch(started_at_ms=time.time_ns() // 1_000_000), None
            if not _train_epoch(
                learner, read_batches, epoch, settings.epochs, state=state, progress=progress, is_stopped=is_stopped
            ):
                checkpoint.save(model, history, *partners, begun=state)
                learner.add_up(np.zeros(1))  # nobody ends before the state is kept
                raise StoppedError(
                    f"the system asked for the end; the training is kept after {state.num_steps} of {len(batches)} "
                    f"steps of epoch {epoch + 1}. Run the task again and it goes on."
                )
            first_step_s = first_step_s or state.first_step_s
            figures = state.describe(epoch) | learner.validate(validation)
            _check_loss("the validation loss", figures["validation_loss"], f"after epoch {epoch + 1}")
            figures["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
            history.append(figures)
            if settings.early_stopping_epochs is not None and _find_best(history) == epoch:
                checkpoint.save_best(model, history)
            checkpoint.save(model, history, *partners)
            progress.end_epoch(history)
    best = len(history) - 1
    if settings.early_stopping_epochs is not None and history:
        best = _find_best(history)
        checkpoint.restore_best(model)
    return TrainingResult(history, num_continued, first_step_s, best_epoch=best + 1)


def _train_epoch(
    learner: Learner,
    batches: Batches,
    epoch: int,
    num_epochs: int,
    *,
    state: BegunEpoch,
    progress: Progress,
    is_stopped: Callable[[], bool],
) -> bool:
    """Take the steps of an epoch that `state` lacks; gives False where a stop is requested before.

    Several processes ask each other now and then only, since that, too, waits for the device.
    """
    started, done_s = time.perf_counter(), state.train_s
    pending: list[tuple[int, Mapping[str, Any]]] = []
    shown = ""
    for step in range(state.num_steps, len(batches)):
        is_asked = learner.num_processes == 1 or step % STEPS_BETWEEN_LOSSES == 0
        if is_asked and learner.add_up(np.array([is_stopped()], np.float64)).any():
            _add_losses(state, pending, epoch, len(batches))
            state.train_s = done_s + time.perf_counter() - started
            return False
        inputs, targets = batches.read(epoch, step)
        num_images = learner.num_processes * len(targets)
        pending.append((num_images, learner.take_step(inputs, targets)))
        state.num_steps, state.num_images = step + 1, state.num_images + num_images
        is_last = state.num_steps == len(batches)
        if is_last or not state.first_step_s or len(pending) == STEPS_BETWEEN_LOSSES:
            _add_losses(state, pending, epoch, len(batches))
            shown = _show_losses(state)
        state.train_s = done_s + time.perf_counter() - started
        state.first_step_s = state.first_step_s or state.train_s
        note = f"epoch {epoch + 1}/{num_epochs}{shown}"
        progress.step("train", epoch * len(batches) + step + 1, num_epochs * len(batches), note)
    return True


def _add_losses(state: BegunEpoch, pending: list[tuple[int, Mapping[str, Any]]], epoch: int, num_steps: int) -> None:
    """Fetch the losses of the last steps and add them up in the order of the steps; empties the list."""
    values = iter(fetch([loss for _, losses in pending for loss in losses.values()]))
    for step, (num_images, losses) in enumerate(pending, state.num_steps - len(pending) + 1):
        for name in losses:
            value = next(values)
            _check_loss(f"the {name.replace('_', ' ')}", value, f"in epoch {epoch + 1}, step {step} of {num_steps}")
            state.loss_sums[name] = state.loss_sums.get(name, 0.0) + num_images * value
    pending.clear()


def _check_loss(name: str, value: float, place: str) -> None:
    if not math.isfinite(value):
        raise DivergenceError(f"{name} is {value} {place}; expected a finite number; {REMEDY}.")


def _show_losses(state: BegunEpoch) -> str:
    shown = [f"{name.replace('_', ' ')} {state.mean(name):.3g}" for name in SHOWN_LOSSES if name in state.loss_sums]
    return "".join(f", {text}" for text in shown)


def judge_nothing(outputs: Iterable[Images]) -> dict[str, Values]:
    """Take every batch of outputs and score none, where the loss alone is wanted: a `Judge`."""
    for _ in outputs:
        pass
    return {}


def validate(
    predict: Callable[[Any], Images],
    loss: Callable[[Any, Any], Any],
    validation: Batches,
    *,
    judge: Judge = judge_nothing,
    add_up: Callable[[Values], Values] = lambda values: values,
) -> dict[str, float]:
    """Predict every validation image once, and compute the loss and the metrics of a judge from that.

    Parameters
    ----------
    predict : callable
        inputs → outputs.
    loss : callable
        targets, outputs → loss of each pixel, or of the batch.
    validation : Batches
        Of this process.
    judge : callable
    add_up : callable
        See `Learner.add_up`.

    Returns
    -------
    dict
        ``validation_loss``, one entry a metric, and ``validation_s`` [s]. The loss is the mean over the batches,
        weighed by their images; a metric is the mean over the images, so the batch size does not move it.
    """
    started, of_loss = time.perf_counter(), np.zeros(2)

    def predict_all() -> Iterator[Images]:
        for step in range(len(validation)):
            inputs, targets = validation.read(0, step)
            outputs = predict(inputs)
            of_loss[:] += np.asarray(loss(targets, outputs), np.float64).mean() * len(targets), len(targets)
            yield outputs

    scores = judge(predict_all())
    of_metrics = [(values.sum(), len(values)) for values in scores.values()]
    totals, counts = add_up(np.stack([of_loss, *of_metrics])).T
    names = [f"validation_{name}" for name in ("loss", *scores)]
    means = dict(zip(names, map(float, totals / counts), strict=True))
    return means | {"validation_s": time.perf_counter() - started}


def _find_best(history: History) -> int:
    losses = [figures["validation_loss"] for figures in history]
    return losses.index(min(losses))


def _is_stalled(history: History, settings: TrainingSettings) -> bool:
    if settings.early_stopping_epochs is None or not history:
        return False
    return len(history) - 1 - _find_best(history) >= settings.early_stopping_epochs
