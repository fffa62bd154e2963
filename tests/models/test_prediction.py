"""A network as a denoiser: what comes out for an image does not depend on its neighbours."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.models import MODELS
from emdenoise.models.checkpoints import hash_weights
from emdenoise.models.prediction import find_reach, make_denoiser, make_method, make_segmenter, predict_in_tiles

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
@pytest.mark.parametrize(("height", "width"), [(200, 331), (64, 300), (129, 17)])
def test_tiles_show_no_seam(
    name: str, height: int, width: int, make_network: Network, disturb: Callable[[keras.Model], keras.Model]
) -> None:
    model = disturb(make_network(name))
    step_px, reach_px = find_reach(model)
    noisy = np.random.default_rng(1).random((2, height, width), dtype=np.float32)

    def predict(images: FloatImage) -> FloatImage:
        assert images.shape[1] % step_px == images.shape[2] % step_px == 0
        return np.asarray(model(images[..., None]))[..., 0]

    options = {"step_px": step_px, "reach_px": reach_px}
    at_once = predict_in_tiles(predict, noisy, tile_size_px=512, **options)
    tiled = predict_in_tiles(predict, noisy, tile_size_px=2 * reach_px + 4 * step_px, **options)
    assert at_once.shape == tiled.shape == noisy.shape
    assert tiled == pytest.approx(at_once, abs=1e-5 * float(np.abs(at_once).max()))


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
