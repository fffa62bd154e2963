"""Training one network, in one process or in several."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from emdenoise.arrays import Values
from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.sampler import InOrder, Sampler
from emdenoise.models.backend import choose_compilation, learn_batch
from emdenoise.models.parallel import Engine, open_scope
from emdenoise.progress import Progress
from emdenoise.seeding import make_generator
from emdenoise.training.epochs import Batches, Learner, validate
from emdenoise.training.objectives import Images, Objective
from emdenoise.training.schedules import make_optimizer

PURPOSE = "noise for pretraining"
"""Of the random numbers of objectives; the name is older than the other objectives, and its numbers stay."""


class PreparedBatches:
    """Batches as a network learns from them: inputs and targets, made by an objective.

    Parameters
    ----------
    sampler : Sampler or InOrder
    objective : Objective
    seed : int
        Seed of the run.
    """

    def __init__(self, sampler: Sampler | InOrder, objective: Objective, seed: int) -> None:
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
            All of shape (batch, height, width, channels).
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
    partners : tuple
        Empty.
    num_processes : int
        One.
    """

    model: keras.Model
    partners: tuple[keras.Model, ...] = ()
    num_processes: int = 1

    def take_step(self, inputs: Any, targets: Any) -> dict[str, Any]:
        """Learn from one batch; gives its ``loss``, on the device."""
        return {"loss": learn_batch(self.model, inputs, targets)["loss"]}

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
    engine : Engine
    """

    def __init__(self, model: keras.Model, loss: Callable[[Any, Any], Any], engine: Engine) -> None:
        self.model, self.partners, self.num_processes = model, (), engine.size
        self._loss, self._engine, self._step = loss, engine, engine.make_step(model)

    def take_step(self, inputs: Any, targets: Any) -> dict[str, Any]:
        """Learn from one batch; gives the ``loss`` of all processes, on the device with TensorFlow."""
        return {"loss": self._step(inputs, targets)}

    def validate(self, validation: Batches) -> dict[str, float]:
        """Compute the loss over the validation images of all processes."""
        started, own = time.perf_counter(), np.zeros(2)
        for step in range(len(validation)):
            inputs, targets = validation.read(0, step)
            losses = self._loss(targets, self._engine.predict(self.model, inputs))
            own += np.asarray(losses, np.float64).mean() * len(targets), len(targets)
        total, num_images = self._engine.sum(own)
        return {"validation_loss": float(total / num_images), "validation_s": time.perf_counter() - started}

    def add_up(self, values: Values) -> Values:
        """Add up the values of all processes."""
        return self._engine.sum(values)


def make_learner(
    model: keras.Model,
    objective: Objective,
    settings: TrainingSettings,
    num_steps: int,
    engine: Engine | None = None,
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

    Returns
    -------
    Learner
    """
    with open_scope(engine):
        optimizer = make_optimizer(settings, max(1, settings.epochs * num_steps))
        metrics = [keras.metrics.MeanMetricWrapper(compute, name=name) for name, compute in objective.metrics.items()]
        model.compile(optimizer=optimizer, loss=objective.loss, metrics=metrics, jit_compile=choose_compilation())
        optimizer.build(model.trainable_variables)  # with the layers that are frozen now and may thaw
    if engine is None:
        return NetworkLearner(model)
    return SharedLearner(model, keras.losses.get(objective.loss), engine)
