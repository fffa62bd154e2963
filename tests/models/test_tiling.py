"""A network as a denoiser: what comes out for an image does not depend on its neighbours."""

from collections.abc import Callable
from functools import cache

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emdenoise.arrays import FloatImage
from emdenoise.models import MODELS
from emdenoise.models.checkpoints import hash_weights
from emdenoise.models.tiling import (
    find_reach,
    make_denoiser,
    make_method,
    make_segmenter,
    predict_in_tiles,
    predict_strips,
)

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


@pytest.mark.parametrize("name", MODELS)
def test_no_pixel_beyond_the_reach_changes_a_result(
    name: str, make_network: Network, disturb: Callable[[keras.Model], keras.Model]
) -> None:
    model = disturb(make_network(name))
    step_px, reach_px = find_reach(model)
    size = 4 * reach_px
    image = np.random.default_rng(0).random((1, size, size, 1), dtype=np.float32)
    plain = np.asarray(model(image))
    place = size // 2 + step_px // 2
    changed = image.copy()
    changed[:, place, place] += 100
    rows, columns = np.nonzero(np.asarray(model(changed))[0, ..., 0] != plain[0, ..., 0])
    distance = max(np.abs(rows - place).max(), np.abs(columns - place).max())
    assert 0 < distance <= reach_px


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 150), st.integers(1, 150), st.integers(32, 64), st.integers(0, 2**31))
def test_strips_of_an_image_of_any_size_are_the_image_predicted_at_once(
    name: str,
    make_network: Network,
    disturb: Callable[[keras.Model], keras.Model],
    height: int,
    width: int,
    inner_px: int,
    seed: int,
) -> None:
    model = normalised(make_network, disturb, name)
    step_px, reach_px = find_reach(model)
    noisy = np.random.default_rng(seed).random((2, height, width), dtype=np.float32)
    padded = np.pad(noisy, [(0, 0), (0, -height % step_px), (0, -width % step_px)], mode="symmetric")
    at_once = np.asarray(model(padded[..., None]))[:, :height, :width, 0]
    read = WatchedImage(noisy)
    tile_size_px = 2 * reach_px + inner_px // step_px * step_px
    strips = list(
        predict_strips(
            lambda images: np.asarray(model(images[..., None]))[..., 0],
            read,
            step_px=step_px,
            reach_px=reach_px,
            tile_size_px=tile_size_px,
        )
    )
    assert np.abs(np.concatenate(strips, axis=1) - at_once).max() <= 1e-5
    assert max(*(strip.shape[1] for strip in strips), *read.sides) <= tile_size_px


@cache
def normalised(make_network: Network, disturb: Callable[[keras.Model], keras.Model], name: str) -> keras.Model:
    """Make a network whose output for noise in [0, 1] is about 1, as that of a trained one is."""
    model = disturb(make_network(name))
    noisy = np.random.default_rng(0).random((1, 64, 64, 1), dtype=np.float32)
    largest = float(np.abs(np.asarray(model(noisy))).max())
    model.get_layer("output").set_weights([weights / largest for weights in model.get_layer("output").get_weights()])
    return model


class WatchedImage:
    """An image that can only be read in pieces, and remembers how large they were."""

    def __init__(self, image: FloatImage) -> None:
        self._image, self.shape, self.sides = image, image.shape, [0]

    def __getitem__(self, place: tuple[slice, slice, slice]) -> FloatImage:
        piece = self._image[place]
        self.sides += piece.shape[1:]
        return piece


def test_tiles_that_are_smaller_than_the_reach_are_refused() -> None:
    large = np.zeros((1, 128, 128), np.float32)
    with pytest.raises(ValueError, match="tiles are 64 px; expected a multiple of 8 above 112"):
        predict_in_tiles(lambda images: images, large, step_px=8, reach_px=56, tile_size_px=64)


def test_an_image_whose_sides_do_not_fit_the_network_is_predicted_whole(make_network: Network) -> None:
    noisy = np.random.default_rng(2).random((1, 37, 41), dtype=np.float32)
    assert make_denoiser(make_network("unet"))(noisy).shape == noisy.shape
    assert make_segmenter(make_network("unet", output_channels=3))(noisy).shape == noisy.shape


def test_a_network_of_many_levels_is_tested_on_small_images_and_in_larger_tiles(make_network: Network) -> None:
    denoise = make_denoiser(make_network("unet", filters=(2, 2, 2, 2, 2)))
    for size in (64, 600):
        noisy = np.random.default_rng(3).random((1, size, size), dtype=np.float32)
        assert denoise(noisy).shape == noisy.shape
