"""Training one network, in one process or in several."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from emdenoise.arrays import Sample, Values
from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.read_ahead import Reader
from emdenoise.dataset.sampler import Sampler
from emdenoise.models.backend import choose_compilation, learn_batch
from emdenoise.models.parallel import Engine, open_scope
from emdenoise.progress import Progress
from emdenoise.seeding import make_generator
from emdenoise.training.epochs import Batches, Judge, Learner, judge_nothing, validate
from emdenoise.training.objectives import Images, Objective
from emdenoise.training.schedules import make_optimizer

PURPOSE = "noise for pretraining"
"""Of the random numbers of objectives; the name is older than the other objectives, and its numbers stay."""


class PreparedBatches:
    """Batches as a network learns from them: inputs and targets, made by an objective.

    Parameters
    ----------
    sampler : Sampler, InOrder or KeptImages
    objective : Objective
    seed : int
        Seed of the run.
    """

    def __init__(self, sampler: Reader[Sample], objective: Objective, seed: int) -> None:
        self._sampler, self._objective, self._seed = sampler, objective, seed

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return len(self._sampler)

    def read(self, epoch: int, step: int) -> tuple[Any, Images]:
        """Read one batch; random numbers are others in each epoch.

        Returns
        -------
        inputs : ndarray, or dict of str to ndarray where there are several
        targets : ndarray
            All of shape (batch, height, width, channels); tensors where the images are kept on the device.
        """
        rng = make_generator(self._seed, PURPOSE, epoch * len(self) + step)
        inputs, targets = self._objective.prepare(self._sampler.read(epoch, step), rng)
        return inputs if len(inputs) > 1 else next(iter(inputs.values())), targets


def tell_of_shapes(sampler: Sampler, progress: Progress) -> None:
    """Say where a smaller batch at the end of an epoch costs time: XLA compiles a program for each size."""
    if sampler.has_smaller_batch and choose_compilation():
        progress.say(
            "The last batch of an epoch is smaller, and XLA compiles a second program for it, once; "
            "training.last_batch: filled fills it up with images that come again."
        )


@dataclass(frozen=True)
class NetworkLearner:
    """One compiled network that learns from pairs, in one process.

    Attributes
    ----------
    model : keras.Model
    loss : callable
        Of Keras: targets, outputs → loss.
    judge : callable
        Scores the validation images, see `Judge`.
    partners : tuple
        Empty.
    num_processes : int
        One.
    """

    model: keras.Model
    loss: Callable[[Any, Any], Any]
    judge: Judge = judge_nothing
    partners: tuple[keras.Model, ...] = ()
    num_processes: int = 1

    def take_step(self, inputs: Any, targets: Any) -> dict[str, Any]:
        """Learn from one batch; gives its ``loss``, on the device."""
        return {"loss": learn_batch(self.model, inputs, targets)["loss"]}

    def validate(self, validation: Batches) -> dict[str, float]:
        """Compute loss and metrics over all validation images."""
        return validate(self.model.predict_on_batch, self.loss, validation, judge=self.judge)

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
    engine : Engine
    judge : callable
        Scores the validation images of this process, see `Judge`.
    """

    def __init__(
        self, model: keras.Model, loss: Callable[[Any, Any], Any], engine: Engine, judge: Judge = judge_nothing
    ) -> None:
        self.model, self.partners, self.num_processes = model, (), engine.size
        self._loss, self._engine, self._judge, self._step = loss, engine, judge, engine.make_step(model)

    def take_step(self, inputs: Any, targets: Any) -> dict[str, Any]:
        """Learn from one batch; gives the ``loss`` of all processes, on the device with TensorFlow."""
        return {"loss": self._step(inputs, targets)}

    def validate(self, validation: Batches) -> dict[str, float]:
        """Compute loss and metrics over the validation images of all processes."""
        predict = partial(self._engine.predict, self.model)
        return validate(predict, self._loss, validation, judge=self._judge, add_up=self._engine.sum)

    def add_up(self, values: Values) -> Values:
        """Add up the values of all processes."""
        return self._engine.sum(values)


def validate_network(
    model: keras.Model, objective: Objective, validation: Batches, *, judge: Judge = judge_nothing
) -> dict[str, float]:
    """Compute loss and metrics of a trained network over all validation images, as its training did after an epoch."""
    return NetworkLearner(model, keras.losses.get(objective.loss), judge).validate(validation)


def make_learner(
    model: keras.Model,
    objective: Objective,
    settings: TrainingSettings,
    num_steps: int,
    engine: Engine | None = None,
    *,
    judge: Judge = judge_nothing,
) -> Learner:
    """Compile a network and make it learn as the settings say.

    Parameters
    ----------
    model : keras.Model
    objective : Objective
    settings : TrainingSettings
    num_steps : int
        Steps of an epoch.
    engine : Engine or None
        Of the processes that train together; None for this one alone.
    judge : callable
        Scores the validation images after each epoch, see `Judge`.

    Returns
    -------
    Learner
    """
    with open_scope(engine):
        optimizer = make_optimizer(settings, max(1, settings.epochs * num_steps))
        model.compile(optimizer=optimizer, loss=objective.loss, jit_compile=choose_compilation())
        optimizer.build(model.trainable_variables)  # with the layers that are frozen now and may thaw
    loss = keras.losses.get(objective.loss)
    return NetworkLearner(model, loss, judge) if engine is None else SharedLearner(model, loss, engine, judge)
