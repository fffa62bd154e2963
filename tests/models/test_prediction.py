"""A network as a denoiser: what comes out for an image does not depend on its neighbours."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.models import MODELS
from emdenoise.models.checkpoints import hash_weights
from emdenoise.models.prediction import make_denoiser, make_method, make_segmenter

Network = Callable[..., keras.Model]


@pytest.mark.parametrize("name", MODELS)
def test_an_image_alone_and_in_a_batch_is_denoised_alike(
    name: str, make_network: Network, disturb: Callable[[keras.Model], keras.Model], noisy: FloatImage
) -> None:
    denoise = make_denoiser(disturb(make_network(name)))
    together = denoise(noisy)
    assert together.shape == noisy.shape
    assert together.dtype == np.float32
    for index in range(len(noisy)):
        alone = denoise(noisy[index : index + 1])[0]
        assert together[index] == pytest.approx(alone, rel=1e-6, abs=1e-6 * float(np.abs(alone).max()))


def test_the_order_of_the_images_is_kept(make_network: Network, noisy: FloatImage) -> None:
    denoise = make_denoiser(make_network("dncnn"))
    assert denoise(noisy[::-1])[::-1] == pytest.approx(denoise(noisy), abs=1e-6)


def test_denoising_changes_neither_the_weights_nor_the_images(make_network: Network, noisy: FloatImage) -> None:
    model = make_network("unet")
    before, images = hash_weights(model), noisy.copy()
    denoise = make_denoiser(model)
    assert np.array_equal(denoise(noisy), denoise(noisy))
    assert hash_weights(model) == before
    assert np.array_equal(noisy, images)


def test_a_network_that_returns_the_image_denoises_nothing(noisy: FloatImage) -> None:
    images = keras.Input((None, None, 1))
    convolution = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros")
    model = keras.Model(images, convolution(images))
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = 1
    convolution.set_weights([kernel, np.zeros(1, np.float32)])
    assert np.array_equal(make_denoiser(model)(noisy), noisy)


@pytest.mark.parametrize("name", MODELS)
def test_a_segmenter_names_the_largest_output_of_each_pixel(
    name: str, make_network: Network, disturb: Callable[[keras.Model], keras.Model], noisy: FloatImage
) -> None:
    model = disturb(make_network(name, output_channels=3))
    outputs = np.asarray(model(noisy[..., None]))
    mask = make_segmenter(model)(noisy)
    assert mask.dtype == np.uint8
    assert mask.shape == noisy.shape
    assert np.array_equal(mask, outputs.argmax(axis=-1))


def test_a_workload_of_masks_gets_a_segmenter_and_others_a_denoiser(make_network: Network, noisy: FloatImage) -> None:
    model = make_network("unet", output_channels=2)
    assert make_method(model, "mask")(noisy).dtype == np.uint8
    assert make_method(model, "clean")(noisy).dtype == np.float32
