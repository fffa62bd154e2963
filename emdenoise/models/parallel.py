"""What several processes that train one network do together, by the engines of the backends.

TensorFlow: the multi-worker strategy with an explicit step, since Keras' own loop does not work in it (keras issue
20585). JAX: `keras.distribution.DataParallel`. One process has one accelerator, or one share of the cores.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Values
from emdenoise.errors import SettingsError
from emdenoise.processes import ProcessGroup

Images = npt.NDArray[np.generic]


class Engine(Protocol):
    """What connects the processes that train together; every call but `predict` must be made by all of them."""

    size: int
    """How many there are."""

    def scope(self) -> AbstractContextManager[Any]:
        """Give the context in which networks are built and loaded."""

    def make_step(self, model: keras.Model) -> Callable[[Images, Images], Any]:
        """Make the step of a compiled network: from the share of this process to the mean loss of the batch."""

    def predict(self, model: keras.Model, images: Images) -> Images:
        """Apply the network to images of this process alone."""

    def sum(self, values: Values) -> Values:
        """Add up the values of all processes."""


def connect(group: ProcessGroup) -> Engine | None:
    """Find the other processes, before the first network is built; None where there is only this one.

    Raises
    ------
    SettingsError
        If the backend has no engine for that.
    """
    if group.size == 1:
        return None
    engines: dict[str, Callable[[int], Engine]] = {"tensorflow": TensorFlowProcesses, "jax": JaxProcesses}
    backend = keras.backend.backend()
    if backend not in engines:
        raise SettingsError(
            f"num_processes is {group.size} and KERAS_BACKEND {backend}; several processes need {' or '.join(engines)}."
        )
    return engines[backend](group.size)


def open_scope(engine: Engine | None) -> AbstractContextManager[Any]:
    """Give the context in which networks are built and loaded, for one process or several."""
    return nullcontext() if engine is None else engine.scope()


class TensorFlowProcesses:
    """Processes that TensorFlow's multi-worker strategy connects, found by ``TF_CONFIG`` or Slurm's variables."""

    def __init__(self, size: int) -> None:
        import os

        import tensorflow

        cluster = tensorflow.distribute.cluster_resolver
        resolver = cluster.TFConfigClusterResolver()
        if "TF_CONFIG" not in os.environ:
            resolver = cluster.SlurmClusterResolver(gpus_per_node=1, gpus_per_task=1, auto_set_gpu=False)
        self.size, self._tensorflow = size, tensorflow
        self._strategy = tensorflow.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        self._add_up = tensorflow.function(self._sum_replicas)

    def scope(self) -> AbstractContextManager[Any]:
        """Give the scope of the strategy."""
        scope: AbstractContextManager[Any] = self._strategy.scope()
        return scope

    def make_step(self, model: keras.Model) -> Callable[[Images, Images], Any]:
        """Make the step: gradients of the mean over the whole batch, normalisation by the whole batch."""
        tensorflow, strategy = self._tensorflow, self._strategy
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True

        def learn(inputs: Any, targets: Any) -> Any:
            with tensorflow.GradientTape() as tape:
                predicted = model(inputs, training=True)
                loss = model.compute_loss(inputs, targets, predicted)  # divided by the number of processes
            weights = model.trainable_weights
            model.optimizer.apply(tape.gradient(loss, weights), weights)  # which adds up those of all processes
            return loss

        @tensorflow.function  # type: ignore[untyped-decorator]
        def step(inputs: Any, targets: Any) -> Any:
            return strategy.reduce("SUM", strategy.run(learn, args=(inputs, targets)), axis=None)

        return lambda inputs, targets: step(tensorflow.constant(inputs), tensorflow.constant(targets))

    def predict(self, model: keras.Model, images: Images) -> Images:
        """Apply the network to images of this process alone."""
        outputs: Images = np.asarray(self._strategy.run(lambda batch: model(batch, training=False), args=(images,)))
        return outputs

    def sum(self, values: Values) -> Values:
        """Add up the values of all processes."""
        return np.asarray(self._add_up(self._tensorflow.constant(values)))

    def _sum_replicas(self, values: Any) -> Any:
        return self._strategy.reduce("SUM", self._strategy.run(lambda own: own + 0, args=(values,)), axis=None)


class JaxProcesses:
    """Processes that JAX connects, found by its own variables or Slurm's."""

    def __init__(self, size: int) -> None:
        self.size = size
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))

    def scope(self) -> AbstractContextManager[Any]:
        """Give no context: the distribution holds for all that Keras does."""
        return nullcontext()

    def make_step(self, model: keras.Model) -> Callable[[Images, Images], Any]:
        """Make the step of Keras itself, which sees the whole batch."""
        import jax

        def step(inputs: Images, targets: Images) -> float:
            loss = float(model.train_on_batch(inputs, targets, return_dict=True)["loss"])
            # What the processes say to each other next must not overtake the gradients that are still on their way.
            jax.block_until_ready([variable.value for variable in (*model.variables, *model.optimizer.variables)])
            return loss

        return step

    def predict(self, model: keras.Model, images: Images) -> Images:
        """Apply the network to images of this process alone."""
        variables = (model.trainable_variables, model.non_trainable_variables)
        trained, other = ([np.asarray(variable.value) for variable in kind] for kind in variables)
        outputs, _ = model.stateless_call(trained, other, images, training=False)
        return np.asarray(outputs)

    def sum(self, values: Values) -> Values:
        """Add up the values of all processes."""
        from jax.experimental.multihost_utils import process_allgather

        return np.asarray(process_allgather(values)).reshape(-1, *values.shape).sum(axis=0)
