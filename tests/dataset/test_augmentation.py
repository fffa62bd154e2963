"""Changes of intensity: each by its law, each by itself, and the same ones of the same seed."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from emdenoise.config.schema import AugmentationSettings
from emdenoise.dataset.augmentation import augment

IMAGE = np.random.default_rng(0).random((32, 24), np.float32)
ALL: dict[str, float] = {
    "log_gamma": 0.4,
    "inversion": 0.5,
    "log_contrast": 0.3,
    "brightness": 0.1,
    "blur_px": 1.5,
    "noise": 0.08,
}


def change(image: np.ndarray, seed: int = 0, **settings: Any) -> np.ndarray:
    return augment(image, AugmentationSettings(**settings), np.random.default_rng(seed))


def test_nothing_changes_where_nothing_is_set() -> None:
    image = np.array([[-0.5, 0.0, 0.3, 1.7]], np.float32)
    for seed in range(20):
        assert np.array_equal(change(image, seed), image)


@pytest.mark.parametrize("seed", range(5))
def test_a_change_leaves_the_others_as_they_are(seed: int) -> None:
    """Gamma and brightness have one answer each, so that the other draws must not have moved theirs."""
    with_gamma = change(IMAGE, seed, log_gamma=0.4)
    both = change(IMAGE, seed, log_gamma=0.4, brightness=0.1)
    added = change(np.zeros_like(IMAGE), seed, brightness=0.1)
    np.testing.assert_allclose(both, with_gamma + added, rtol=1e-6, atol=1e-7)
    assert np.ptp(added) == 0 != added[0, 0]


@pytest.mark.parametrize("name", ALL)
def test_a_change_is_that_of_the_seed(name: str) -> None:
    drawn = [change(IMAGE, seed, **{name: ALL[name]}) for seed in range(20)]
    assert all(image.dtype == np.float32 and image.shape == IMAGE.shape for image in drawn)
    assert all(np.array_equal(image, change(IMAGE, seed, **{name: ALL[name]})) for seed, image in enumerate(drawn))
    assert len({image.tobytes() for image in drawn}) > 1


def test_every_inverted_image_is_one_minus_the_image() -> None:
    for seed in range(20):
        assert np.array_equal(change(IMAGE, seed, inversion=1.0), 1 - IMAGE)


def test_as_many_images_are_inverted_as_the_share_says() -> None:
    is_inverted = [not np.array_equal(change(IMAGE, seed, inversion=0.3), IMAGE) for seed in range(2000)]
    assert np.mean(is_inverted) == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 2000))


def test_the_logarithm_of_gamma_is_uniform() -> None:
    pixel = np.array([[0.5]], np.float32)
    found = [np.log(np.log(change(pixel, seed, log_gamma=0.4)[0, 0]) / np.log(0.5)) for seed in range(1000)]
    assert kstest(found, "uniform", args=(-0.4, 0.8)).pvalue > 0.01


def test_gamma_keeps_black_and_white_and_the_order_of_intensities() -> None:
    ramp = np.linspace(-0.2, 1.2, 141, dtype=np.float32)[None]
    for seed in range(20):
        changed = change(ramp, seed, log_gamma=1.0)[0]
        assert (np.diff(changed) >= 0).all()
        assert changed[-1] == 1
        assert 0 < changed[0] < 0.1


def test_contrast_turns_around_one_half_by_a_factor_whose_logarithm_is_uniform() -> None:
    pixels = np.array([[0.5, 0.7, 0.3]], np.float32)
    changed = np.array([change(pixels, seed, log_contrast=0.3)[0] for seed in range(1000)])
    assert np.ptp(changed[:, 0]) == 0
    np.testing.assert_allclose(changed[:, 1] - 0.5, 0.5 - changed[:, 2], rtol=1e-5)
    assert kstest(np.log((changed[:, 1] - 0.5) / 0.2), "uniform", args=(-0.3, 0.6)).pvalue > 0.01


def test_brightness_is_uniform() -> None:
    found = [change(np.zeros((1, 1), np.float32), seed, brightness=0.1)[0, 0] for seed in range(1000)]
    assert kstest(found, "uniform", args=(-0.1, 0.2)).pvalue > 0.01


def test_half_of_the_images_are_blurred_which_keeps_their_sum_and_spreads_a_point_by_the_variance() -> None:
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 1
    changed = [change(point, seed, blur_px=2.0) for seed in range(600)]
    blurred = [image for image in changed if not np.array_equal(image, point)]
    assert len(blurred) / 600 == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(600))
    np.testing.assert_allclose([image.sum() for image in blurred], 1, rtol=1e-4)
    spread = np.sqrt([((np.arange(41) - 20) ** 2 * image.sum(axis=1)).sum() for image in blurred])
    assert kstest(spread[spread > 0.5], "uniform", args=(0.5, 1.5)).pvalue > 0.01  # narrower ones miss most pixels
    assert spread.max() < 2.01


def test_half_of_the_images_have_white_noise_of_uniform_strength() -> None:
    grey = np.full((64, 64), 0.5, np.float32)
    added = np.array([change(grey, seed, noise=0.08) for seed in range(400)]) - 0.5
    strength = added.std(axis=(1, 2))
    assert (strength > 0).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(400))
    noisy = added[strength > 0]
    assert kstest(noisy.std(axis=(1, 2)), "uniform", args=(0, 0.08)).pvalue > 0.01
    relative = (noisy / noisy.std(axis=(1, 2), keepdims=True)).reshape(len(noisy), -1)
    assert kstest(relative[:, 0], "norm").pvalue > 0.01
    assert abs(np.mean(relative[:, 1:] * relative[:, :-1])) < 0.01
