"""Dropout at test time: a network as many, each of which lacks other feature maps, as in training with dropout.

Their answers are about those of an ensemble, and where they differ the network is not sure (Gal and Ghahramani 2016,
arXiv:1506.02142). Here each of them lacks the same feature maps in all images and tiles, so that tiles show no seam and
an image has the same answer in any batch; the draws follow from the sizes of the network alone.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.seeding import make_generator


class Gate(keras.layers.Layer):
    """Multiply each feature map by a number, 1 until `set_factors` sets another."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make one number for each feature map."""
        self._factors = self.add_weight(shape=(input_shape[-1],), initializer="ones", trainable=False, name="factors")

    def call(self, images: Any) -> Any:
        """(batch, height, width, channels) → the same shape."""
        return images * keras.ops.cast(self._factors, images.dtype)

    def set_factors(self, factors: npt.NDArray[np.float32]) -> None:
        """Set the numbers, float32 (channels,)."""
        self._factors.assign(factors)


class DropoutPasses:
    """Networks that lack some feature maps each, as a function of batches that gives the outputs of each of them.

    Parameters
    ----------
    model : keras.Model
        With dropout of whole feature maps; it stays as it is.
    num_passes : int
    prepare : callable
        Makes a function of batches from a Keras model.
    """

    def __init__(
        self, model: keras.Model, num_passes: int, prepare: Callable[[keras.Model], Callable[[Any], npt.NDArray[Any]]]
    ) -> None:
        gated = keras.models.clone_model(model, clone_function=_open_gate)
        dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.SpatialDropout2D)]
        for layer in model.layers:
            if layer not in dropouts:
                gated.get_layer(layer.name).set_weights(layer.get_weights())
        self._gates: list[Gate] = [gated.get_layer(layer.name) for layer in dropouts]
        rngs = [make_generator(0, "dropout at test time", index) for index in range(num_passes)]
        self._draws = [[_draw_factors(layer, rng) for layer in dropouts] for rng in rngs]
        self._run = prepare(gated)

    def __call__(self, inputs: Any) -> Iterator[npt.NDArray[Any]]:
        """Give the outputs of each network."""
        for factors in self._draws:
            for gate, numbers in zip(self._gates, factors, strict=True):
                gate.set_factors(numbers)
            yield self._run(inputs)


def _open_gate(layer: keras.Layer) -> keras.Layer:
    if isinstance(layer, keras.layers.SpatialDropout2D):
        return Gate(name=layer.name, dtype=layer.dtype_policy)
    return type(layer).from_config(layer.get_config())


def _draw_factors(layer: keras.layers.SpatialDropout2D, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw which feature maps are left, and raise those by as much as training does."""
    is_left = rng.random(layer.output.shape[-1]) >= layer.rate
    return (is_left / (1 - layer.rate)).astype(np.float32)
