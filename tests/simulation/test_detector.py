"""The noise follows the statistics of counting: what its docstrings promise, over many conditions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import (
    apply_dead_pixels,
    apply_readout_noise,
    apply_shot_noise,
    make_beam_profile,
    spread_electrons,
)

SIZE = 200
STANDARD_ERRORS = 5
"""Chance of a false alarm per comparison: 6e-7."""


@given(clean=st.floats(0.05, 1), electrons=st.floats(0.5, 500), seed=st.integers(0, 2**31))
def test_shot_noise_keeps_the_mean_intensity(clean: float, electrons: float, seed: int) -> None:
    flat = np.full((SIZE, SIZE), clean, np.float32)
    noisy = apply_shot_noise(flat, electrons_per_pixel=electrons, rng=make_generator(seed, "test"))
    standard_error = np.sqrt(clean / electrons) / SIZE
    assert noisy.mean(dtype=np.float64) == pytest.approx(clean, abs=STANDARD_ERRORS * standard_error + 1e-6)


@given(clean=st.floats(0.05, 1), electrons=st.floats(0.5, 500), seed=st.integers(0, 2**31))
def test_shot_noise_has_the_variance_of_counting(clean: float, electrons: float, seed: int) -> None:
    flat = np.full((SIZE, SIZE), clean, np.float32)
    noisy = apply_shot_noise(flat, electrons_per_pixel=electrons, rng=make_generator(seed, "test"))
    counts = clean * electrons
    # Var of a sample variance: (κ + 2)/n in units of the variance squared; κ = 1/λ for Poisson.
    relative_error = np.sqrt((2 + 1 / counts) / SIZE**2)
    assert noisy.var(dtype=np.float64) == pytest.approx(clean / electrons, rel=STANDARD_ERRORS * relative_error)


def test_shot_noise_counts_whole_electrons_with_poisson_frequencies() -> None:
    flat = np.full((SIZE, SIZE), 0.5, np.float32)
    counts = apply_shot_noise(flat, electrons_per_pixel=4.0, rng=make_generator(0, "test")) * 4
    assert np.array_equal(counts, np.round(counts))
    observed = np.bincount(counts.astype(int).ravel(), minlength=9)[:9]
    expected = stats.poisson(2.0).pmf(np.arange(9)) * SIZE**2
    chi_squared = ((observed - expected) ** 2 / expected).sum()
    assert chi_squared < stats.chi2(9).isf(1e-6)


def test_shot_noise_of_neighbouring_pixels_is_independent() -> None:
    noise = apply_shot_noise(np.ones((400, 400), np.float32), electrons_per_pixel=10, rng=make_generator(1, "test")) - 1
    for shifted in (np.roll(noise, 1, axis=0), np.roll(noise, 1, axis=1)):
        assert abs(np.corrcoef(noise.ravel(), shifted.ravel())[0, 1]) < STANDARD_ERRORS / 400


def test_where_no_electron_can_arrive_none_is_counted() -> None:
    assert not apply_shot_noise(np.zeros((9, 9)), electrons_per_pixel=1e3, rng=make_generator(0, "test")).any()


@given(
    height=st.integers(4, 64),
    width=st.integers(4, 64),
    width_fraction=st.floats(0.2, 10),
    row=st.floats(-1, 1),
    column=st.floats(-1, 1),
)
def test_the_beam_has_mean_one_and_is_positive(
    height: int, width: int, width_fraction: float, row: float, column: float
) -> None:
    profile = make_beam_profile((height, width), width_fraction=width_fraction, centre_fraction=(row, column))
    assert profile.shape == (height, width)
    assert profile.dtype == np.float32
    assert profile.mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert (profile > 0).all()


def test_the_beam_is_a_gaussian_of_the_given_width_and_centre() -> None:
    profile = make_beam_profile((100, 100), width_fraction=0.5, centre_fraction=(0.1, -0.2)).astype(np.float64)
    # ln of a Gaussian is a parabola: curvature -1/σ², top at the centre.
    curvature = np.diff(np.log(profile), 2, axis=0)
    assert curvature == pytest.approx(-1 / 50**2, rel=0.01)
    assert np.unravel_index(profile.argmax(), profile.shape) in {(59, 29), (59, 30), (60, 29), (60, 30)}


def test_an_infinitely_wide_beam_is_even() -> None:
    assert np.array_equal(make_beam_profile((8, 9), width_fraction=np.inf, centre_fraction=(0, 0)), np.ones((8, 9)))


@given(mtf=st.floats(0, 1), rows=st.integers(0, 31), columns=st.integers(0, 39))
def test_the_detector_damps_each_wave_by_its_transfer_function(mtf: float, rows: int, columns: int) -> None:
    """A wave that is even at the borders stays a wave; (1 + M) / 2 + (1 - M) / 2 cos(π q / q_N) along each axis."""
    height, width = 32, 40
    waves = [
        np.cos(np.pi * number * (np.arange(size) + 0.5) / size) for number, size in ((rows, height), (columns, width))
    ]
    gains = [
        (1 + mtf) / 2 + (1 - mtf) / 2 * np.cos(np.pi * number / size)
        for number, size in ((rows, height), (columns, width))
    ]
    wave = np.outer(*waves)
    spread = spread_electrons((1 + wave).astype(np.float32), mtf_at_nyquist=mtf)
    assert spread.dtype == np.float32
    assert abs(spread - (1 + gains[0] * gains[1] * wave)).max() < 1e-6


@given(mtf=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_the_detector_loses_and_invents_no_electrons(mtf: float, seed: int) -> None:
    intensity = make_generator(seed, "test").random((17, 24), np.float32) ** 8
    intensity[3:9] = 0
    spread = spread_electrons(intensity, mtf_at_nyquist=mtf)
    assert spread.sum(dtype=np.float64) == pytest.approx(intensity.sum(dtype=np.float64), rel=1e-6)
    assert spread.min() >= 0, "a probability of arriving"


def test_at_the_nyquist_frequency_the_transfer_function_has_the_value_that_names_it() -> None:
    stripes = np.tile(np.array([1.5, 0.5], np.float32), (8, 8))
    for mtf in (0.0, 0.25, 0.64, 1.0):
        assert np.ptp(spread_electrons(stripes, mtf_at_nyquist=mtf)[:, 1:-1]) == pytest.approx(mtf)


def test_a_perfect_detector_changes_no_bit() -> None:
    intensity = make_generator(0, "test").random((9, 9), np.float32)
    assert np.array_equal(spread_electrons(intensity, mtf_at_nyquist=1.0), intensity)


def test_counting_after_the_spread_leaves_the_noise_white() -> None:
    even = spread_electrons(np.ones((400, 400), np.float32), mtf_at_nyquist=0.3)
    noise = apply_shot_noise(even, electrons_per_pixel=10, rng=make_generator(2, "test")) - 1
    for shifted in (np.roll(noise, 1, axis=0), np.roll(noise, 1, axis=1)):
        assert abs(np.corrcoef(noise.ravel(), shifted.ravel())[0, 1]) < STANDARD_ERRORS / 400


@given(fraction=st.floats(0, 1), height=st.integers(1, 40), width=st.integers(1, 40))
def test_dead_pixels_are_as_many_as_asked_for_and_the_others_stay(fraction: float, height: int, width: int) -> None:
    image = np.arange(1, height * width + 1, dtype=np.float32).reshape(height, width)
    result = apply_dead_pixels(image, dead_fraction=fraction, rng=make_generator(0, "test"))
    assert (result == 0).sum() == round(fraction * image.size)
    assert np.array_equal(result[result != 0], image[result != 0])
    assert image.all(), "the image that was handed over must not change"


def test_dead_pixels_are_anywhere() -> None:
    hits = sum(
        apply_dead_pixels(np.ones((8, 8), np.float32), dead_fraction=0.25, rng=make_generator(0, "test", index)) == 0
        for index in range(400)
    )
    assert hits.sum() == 16 * 400
    assert abs(hits - 100).max() < 6 * np.sqrt(400 * 0.25 * 0.75)


@given(readout_noise=st.floats(0, 10), seed=st.integers(0, 2**31))
def test_the_readout_has_mean_zero_and_the_given_standard_deviation(readout_noise: float, seed: int) -> None:
    noise = apply_readout_noise(
        np.zeros((SIZE, SIZE), np.float32), readout_noise=readout_noise, rng=make_generator(seed, "test")
    )
    assert noise.dtype == np.float32
    assert noise.mean(dtype=np.float64) == pytest.approx(0, abs=STANDARD_ERRORS * readout_noise / SIZE + 1e-12)
    assert noise.std(dtype=np.float64) == pytest.approx(readout_noise, rel=STANDARD_ERRORS / SIZE / np.sqrt(2))


def test_the_readout_is_normal() -> None:
    noise = apply_readout_noise(np.zeros((100, 100), np.float32), readout_noise=1.0, rng=make_generator(3, "test"))
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-4


IMAGE = np.ones((4, 4), np.float32)


@pytest.mark.parametrize("electrons", [0, -1, np.nan])
def test_a_dose_that_is_not_positive_is_refused(electrons: float) -> None:
    with pytest.raises(ValueError, match=f"electrons_per_pixel is {electrons}; it must be positive"):
        apply_shot_noise(IMAGE, electrons_per_pixel=electrons, rng=make_generator(0, "test"))


@pytest.mark.parametrize("fraction", [-0.1, 1.1, np.nan])
def test_a_share_of_dead_pixels_outside_zero_to_one_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"dead_fraction is .*; it must be in \[0, 1\]"):
        apply_dead_pixels(IMAGE, dead_fraction=fraction, rng=make_generator(0, "test"))


@pytest.mark.parametrize("readout_noise", [-1, np.nan])
def test_a_negative_readout_noise_is_refused(readout_noise: float) -> None:
    with pytest.raises(ValueError, match=r"readout_noise is .*; it must be at least 0"):
        apply_readout_noise(IMAGE, readout_noise=readout_noise, rng=make_generator(0, "test"))


@pytest.mark.parametrize("mtf", [-0.1, 1.1, np.nan])
def test_a_transfer_function_outside_zero_to_one_is_refused(mtf: float) -> None:
    with pytest.raises(ValueError, match=r"mtf_at_nyquist is .*; it must be in \[0, 1\]"):
        spread_electrons(IMAGE, mtf_at_nyquist=mtf)


@pytest.mark.parametrize("width", [0, -1, np.nan])
def test_a_beam_without_width_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match=r"width_fraction is .*; it must be positive"):
        make_beam_profile((4, 4), width_fraction=width, centre_fraction=(0, 0))
