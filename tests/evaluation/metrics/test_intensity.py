"""Errors of restored images against their formulas, written a second time, and against scikit-image."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio

from emdenoise.evaluation.metrics.intensity import mse, psnr, ssim
from emdenoise.seeding import make_generator

seeds = st.integers(0, 2**31)


def draw_pair(seed: int, *, num_images: int = 3, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = make_generator(seed, "test")
    clean = rng.random((num_images, 16, 20), np.float32)
    return clean + rng.normal(0, noise, clean.shape).astype(np.float32), clean


def compute_ssim(one: np.ndarray, other: np.ndarray, *, data_range: float) -> float:
    """Wang et al. 2004, eq. 13, with the 11 × 11 circular Gaussian window of 1.5 px, where the window fits."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def average(image: np.ndarray) -> np.ndarray:
        averaged: np.ndarray = convolve2d(image, window, mode="valid")
        return averaged

    one, other = one.astype(np.float64), other.astype(np.float64)
    mean_one, mean_other = average(one), average(other)
    variance_one, variance_other = average(one**2) - mean_one**2, average(other**2) - mean_other**2
    covariance = average(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_one * mean_other + c1) / (mean_one**2 + mean_other**2 + c1)
    return float((luminance * (2 * covariance + c2) / (variance_one + variance_other + c2)).mean())


@given(first=st.floats(-1, 1, width=32), second=st.floats(-1, 1, width=32))
def test_mse_of_even_images_is_the_squared_difference(first: float, second: float) -> None:
    images = (np.full((2, 8, 8), value, np.float32) for value in (first, second))
    assert mse(*images) == pytest.approx((first - second) ** 2, rel=1e-12, abs=1e-300)


def test_mse_of_one_wrong_pixel_is_shared_by_all_pixels_of_its_image_alone() -> None:
    clean = np.zeros((3, 4, 5), np.float32)
    denoised = clean.copy()
    denoised[1, 2, 3] = 2
    assert mse(denoised, clean).tolist() == [0, 4 / 20, 0]


@given(seed=seeds, noise=st.floats(1e-4, 10), data_range=st.floats(0.1, 255))
def test_psnr_is_that_of_scikit_image(seed: int, noise: float, data_range: float) -> None:
    denoised, clean = draw_pair(seed, noise=noise)
    expected = [
        peak_signal_noise_ratio(one, other, data_range=data_range) for one, other in zip(clean, denoised, strict=True)
    ]
    assert psnr(denoised, clean, data_range=data_range) == pytest.approx(expected, abs=1e-3)


@given(error=st.floats(1e-3, 10), data_range=st.floats(0.1, 255))
def test_psnr_of_an_even_error_is_twenty_times_the_logarithm_of_range_over_error(
    error: float, data_range: float
) -> None:
    clean = np.zeros((1, 8, 8), np.float32)
    expected = 20 * np.log10(data_range / float(np.float32(error)))
    assert psnr(clean + np.float32(error), clean, data_range=data_range) == pytest.approx(expected, abs=1e-9)


@given(seed=seeds, factor=st.floats(0.25, 8))
def test_psnr_falls_by_twenty_times_the_logarithm_of_the_factor_of_the_error(seed: int, factor: float) -> None:
    noise = make_generator(seed, "test").normal(0, 0.1, (2, 9, 9))
    clean = np.zeros_like(noise)
    lost = psnr(noise, clean, data_range=1) - psnr(factor * noise, clean, data_range=1)
    assert lost == pytest.approx(20 * np.log10(factor), abs=1e-9)


@given(seed=seeds, data_range=st.sampled_from([0.5, 1.0, 255.0]))
def test_ssim_is_the_formula_of_wang_and_others(seed: int, data_range: float) -> None:
    denoised, clean = draw_pair(seed)
    expected = [compute_ssim(one, other, data_range=data_range) for one, other in zip(denoised, clean, strict=True)]
    assert ssim(denoised, clean, data_range=data_range) == pytest.approx(expected, abs=1e-9)


@given(first=st.floats(0, 1, width=32), second=st.floats(0, 1, width=32))
def test_ssim_of_even_images_compares_their_means_alone(first: float, second: float) -> None:
    images = (np.full((1, 12, 12), value, np.float32) for value in (first, second))
    expected = (2 * first * second + 1e-4) / (first**2 + second**2 + 1e-4)
    assert ssim(*images, data_range=1) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_an_inverted_contrast_is_negative() -> None:
    checks = np.indices((16, 16)).sum(axis=0) % 2
    clean = (0.5 + 0.1 * (2 * checks - 1)).astype(np.float32)[None]
    assert ssim(1 - clean, clean, data_range=1)[0] < -0.8


@given(seed=seeds)
def test_equal_images_have_no_error_infinite_psnr_and_ssim_one(seed: int) -> None:
    _, clean = draw_pair(seed)
    assert mse(clean, clean).tolist() == [0] * 3
    assert psnr(clean, clean, data_range=1).tolist() == [np.inf] * 3
    assert ssim(clean, clean, data_range=1) == pytest.approx(1, abs=1e-12)


@given(seed=seeds)
def test_metrics_do_not_care_which_image_is_the_truth(seed: int) -> None:
    denoised, clean = draw_pair(seed)
    assert np.array_equal(mse(denoised, clean), mse(clean, denoised))
    for metric in (psnr, ssim):
        assert metric(denoised, clean, data_range=1) == pytest.approx(metric(clean, denoised, data_range=1), abs=1e-12)


@given(seed=seeds, shift=st.sampled_from([-2.0, 0.25, 1.0, 1024.0]))
def test_mse_does_not_change_when_both_images_are_shifted(seed: int, shift: float) -> None:
    denoised, clean = (images.astype(np.float64) for images in draw_pair(seed))
    assert mse(denoised + shift, clean + shift) == pytest.approx(mse(denoised, clean), rel=1e-9)


@given(seed=seeds, factor=st.sampled_from([0.5, 2.0, 255.0]))
def test_psnr_and_ssim_do_not_change_when_images_and_range_are_scaled(seed: int, factor: float) -> None:
    denoised, clean = (images.astype(np.float64) for images in draw_pair(seed))
    for metric in (psnr, ssim):
        scaled = metric(factor * denoised, factor * clean, data_range=factor)
        assert scaled == pytest.approx(metric(denoised, clean, data_range=1), abs=1e-9)


@given(seed=seeds, noise=st.floats(0.01, 2))
def test_ssim_is_between_minus_one_and_one(seed: int, noise: float) -> None:
    denoised, clean = draw_pair(seed, noise=noise)
    assert (abs(ssim(denoised, clean, data_range=1)) <= 1).all()


def test_errors_are_added_in_float64() -> None:
    # In float32 the difference of the means of these squares is lost: 1 + 1e-9 = 1.
    clean = np.zeros((1, 100, 100), np.float32)
    denoised = np.full_like(clean, 1e-4)
    denoised[0, 0, 0] = 1
    exact = (1 + (clean.size - 1) * float(np.float32(1e-4)) ** 2) / clean.size
    assert mse(denoised, clean)[0] == pytest.approx(exact, rel=1e-14)
    for values in (mse(denoised, clean), psnr(denoised, clean, data_range=1), ssim(denoised, clean, data_range=1)):
        assert values.dtype == np.float64
        assert values.shape == (1,)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_the_data_range_is_never_guessed(metric: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'data_range'"):
        metric(*draw_pair(0))


@pytest.mark.parametrize("metric", [mse, partial(psnr, data_range=1), partial(ssim, data_range=1)])
@pytest.mark.parametrize(
    ("shape", "other"), [((1, 16, 16), (1, 16, 17)), ((2, 16, 16), (1, 16, 16)), ((16, 16), (16, 16))]
)
def test_images_that_do_not_fit_their_truth_are_refused(
    metric: Callable[..., Any], shape: tuple[int, ...], other: tuple[int, ...]
) -> None:
    with pytest.raises(
        ValueError, match=r"denoised is float32 \(.*\), clean float32 \(.*\); expected equal 3-D shapes"
    ):
        metric(np.ones(shape, np.float32), np.ones(other, np.float32))


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    assert ssim(np.ones((1, 11, 11), np.float32), np.ones((1, 11, 11), np.float32), data_range=1) == pytest.approx(1)
    with pytest.raises(ValueError, match="exceeds image extent"):
        ssim(np.ones((1, 10, 16), np.float32), np.ones((1, 10, 16), np.float32), data_range=1)
