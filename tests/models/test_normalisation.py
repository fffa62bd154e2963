"""The fused kernel is Keras' batch normalisation: the same numbers, gradients and running statistics."""

import keras
import numpy as np
import pytest

from emdenoise.models.normalisation import BatchNormalization

SHAPES = [(1, 2, 3, 1), (3, 7, 5, 4), (10, 32, 32, 8)]


def learn(layer: keras.layers.Layer, images: np.ndarray, steps: int = 3) -> list[np.ndarray]:
    """Train a layer after a fixed convolution; gives all its weights, the convolution's and the last loss."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, images.shape[-1]))
    model = keras.Model(inputs, layer(keras.layers.Conv2D(images.shape[-1], 3, padding="same")(inputs)))
    model.compile(keras.optimizers.SGD(0.5), loss="mean_squared_error")
    losses = [model.train_on_batch(images, np.roll(images, 1, axis=1)) for _ in range(steps)]
    return [*model.get_weights(), np.array(losses), model.predict(images, verbose=0)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_learns_what_keras_learns(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(1).normal(3.0, 2.0, shape).astype(np.float32)
    ours, theirs = (learn(kind(momentum=0.7), images) for kind in (BatchNormalization, keras.layers.BatchNormalization))
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-4)


def test_the_running_variance_is_that_of_the_batch() -> None:
    images = np.random.default_rng(2).normal(size=(2, 2, 1, 3)).astype(np.float32)
    layer = BatchNormalization(momentum=0.0)
    layer(images, training=True)
    np.testing.assert_allclose(layer.moving_variance, images.var(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, images.mean(axis=(0, 1, 2)), rtol=1e-5)


def test_a_frozen_layer_keeps_its_statistics() -> None:
    layer = BatchNormalization()
    layer.trainable = False
    images = np.full((2, 4, 4, 1), 5.0, np.float32)
    np.testing.assert_allclose(layer(images, training=True), images / np.sqrt(1.001), rtol=1e-6)
    assert float(layer.moving_mean[0]) == 0.0


def test_half_precision_comes_out_as_it_went_in() -> None:
    layer = BatchNormalization(dtype="mixed_bfloat16")
    images = np.random.default_rng(3).normal(size=(4, 8, 8, 2)).astype(np.float32)
    outputs = layer(images, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    expected = (images - images.mean(axis=(0, 1, 2))) / images.std(axis=(0, 1, 2))
    np.testing.assert_allclose(np.asarray(keras.ops.cast(outputs, "float32")), expected, atol=0.03)
