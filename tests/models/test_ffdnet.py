"""FFDNet works on cells of pixels and is told the noise level, which it finds without weights."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from emdenoise.models.contract import Ports
from emdenoise.models.ffdnet import FFDNetSettings, build_ffdnet
from emdenoise.models.heads import HEADS
from emdenoise.models.noise_level import NoiseLevel
from emdenoise.models.pixel_shuffle import PixelShuffle, PixelUnshuffle

MakeModel = Callable[..., keras.Model]
IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])


def count_convolution(inputs: int, outputs: int) -> int:
    return 3**2 * inputs * outputs + outputs


def test_the_default_network_has_the_485316_parameters_of_the_paper() -> None:
    inner = 13 * count_convolution(64, 64)
    assert count_convolution(4 + 1, 64) + inner + count_convolution(64, 4) == 485_316
    assert build_ffdnet(FFDNetSettings(), IMAGE).model.count_params() == 485_316
    without_map = build_ffdnet(FFDNetSettings(noise_window_px=0), IMAGE).model.count_params()
    assert without_map == 485_316 - 3**2 * 64


@pytest.mark.parametrize("channels", [1, 3])
def test_a_shuffled_image_has_its_pixels_as_channels_of_the_cells_and_comes_back_to_the_bit(channels: int) -> None:
    images = np.random.default_rng(0).random((2, 6, 10, channels), np.float32)
    cells = np.asarray(PixelUnshuffle(2)(images))
    assert cells.shape == (2, 3, 5, 4 * channels)
    expected = [*images[1, 2, 4], *images[1, 2, 5], *images[1, 3, 4], *images[1, 3, 5]]
    assert list(cells[1, 1, 2]) == expected
    assert np.array_equal(np.asarray(PixelShuffle(2)(cells)), images)


@pytest.mark.parametrize("level", [0.02, 0.3])
def test_the_noise_level_of_white_noise_on_a_slope_is_its_standard_deviation(level: float) -> None:
    rows, columns = np.mgrid[:128, :128]
    noisy = 0.5 + rows / 128 - 2 * columns / 128 + np.random.default_rng(0).normal(0, level, (2, 128, 128))
    found = np.asarray(NoiseLevel(32, 2, 1)(noisy[..., None].astype(np.float32)))
    assert found.shape == (2, 64, 64, 1)
    # 1,024 values that neighbours share: about 5 % of statistical error in a window.
    assert found[:, 8:-8, 8:-8] == pytest.approx(level, rel=0.2)
    assert found[:, 8:-8, 8:-8].mean() == pytest.approx(level, rel=0.02)


def test_the_noise_level_follows_noise_that_is_stronger_on_one_side() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (1, 64, 128, 1)).astype(np.float32)
    noise[:, :, 64:] *= 3
    found = np.asarray(NoiseLevel(16, 2, 1)(noise))[0, 8:-8, :, 0]
    assert found[:, 8:24].mean() == pytest.approx(1, rel=0.05)
    assert found[:, 40:56].mean() == pytest.approx(3, rel=0.05)


def test_an_image_without_noise_has_no_noise_level_but_at_its_corners() -> None:
    found = np.array(NoiseLevel(4, 2, 1)(np.full((1, 32, 32, 1), 0.5, np.float32)))[0, ..., 0]
    found[:2, :2] = found[:2, -2:] = found[-2:, :2] = found[-2:, -2:] = 0
    assert not found.any()


def test_the_noise_level_is_that_of_the_image_alone_and_not_of_other_inputs(make_model: MakeModel) -> None:
    model = make_model("ffdnet", ports=Ports({"noisy": 1, "clean": 1}, 1, HEADS["intensity"]))
    level = keras.Model(model.inputs, model.get_layer("noise_level").output)
    rng = np.random.default_rng(0)
    noisy, clean, other = (rng.random((1, 16, 16, 1), np.float32) for _ in range(3))
    before = np.asarray(level({"noisy": noisy, "clean": clean}))
    assert np.array_equal(level({"noisy": noisy, "clean": other}), before)
    assert not np.array_equal(level({"noisy": other, "clean": clean}), before)
