"""What is done before every filter: beam, dead pixels, counting noise made even."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from emdenoise.evaluation.baselines.preparation import (
    estimate_electrons,
    flatten_beam,
    repair_dead_pixels,
    restore_counts,
    stabilise_variance,
)
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import apply_dead_pixels, make_beam_profile


def compute_moments(mean_counts: float) -> tuple[float, float]:
    """Sum mean and variance of stabilised Poisson counts over their probabilities."""
    counts = np.arange(int(mean_counts + 20 * np.sqrt(mean_counts) + 20))
    weights = stats.poisson(mean_counts).pmf(counts)
    values = stabilise_variance(counts.astype(np.float64))
    mean = float(weights @ values)
    return mean, float(weights @ (values - mean) ** 2)


@given(mean_counts=st.floats(4, 2000))
def test_stabilised_counts_have_variance_one(mean_counts: float) -> None:
    assert compute_moments(mean_counts)[1] == pytest.approx(1, abs=0.03)


@given(mean_counts=st.floats(50, 2000))
def test_the_variance_of_stabilised_counts_approaches_one_with_the_square_of_the_counts(mean_counts: float) -> None:
    # Anscombe 1948, eq. 2.19: Var = 1 + 1/(16 m²).
    assert compute_moments(mean_counts)[1] - 1 == pytest.approx(1 / 16 / mean_counts**2, rel=0.2)


@given(mean_counts=st.floats(0.3, 1000))
def test_restored_counts_have_no_bias(mean_counts: float) -> None:
    # The moments are exact; what is left is the error of the closed form (doi:10.1109/TIP.2010.2056693).
    assert restore_counts(np.array(compute_moments(mean_counts)[0])) == pytest.approx(mean_counts, abs=0.025)


def test_restoring_by_algebra_alone_would_be_biased() -> None:
    mean, _ = compute_moments(4.0)
    assert (mean / 2) ** 2 - 3 / 8 < 4 - 0.2
    assert brentq(lambda value: restore_counts(np.array(value)) - 4, 2, 6) == pytest.approx(mean, abs=0.01)


def test_stabilised_counts_rise_with_the_counts_and_never_fail() -> None:
    counts = np.linspace(-5, 100, 1000, dtype=np.float32)
    stabilised = stabilise_variance(counts)
    assert np.isfinite(stabilised).all()
    assert (np.diff(stabilised) >= 0).all()
    assert np.isfinite(restore_counts(stabilised)).all()
    assert stabilised.dtype == np.float32


@given(row=st.floats(-0.2, 0.2), column=st.floats(-0.2, 0.2), width_fraction=st.floats(0.8, 2))
def test_flattening_takes_away_a_gaussian_beam(row: float, column: float, width_fraction: float) -> None:
    beam = make_beam_profile((64, 64), width_fraction=width_fraction, centre_fraction=(row, column))
    flat = flatten_beam(0.5 * beam, 3.0)
    assert flat.std() < 0.15 * (0.5 * beam).std()
    assert flat.dtype == np.float32


def test_flattening_keeps_the_specimen_and_the_mean() -> None:
    rows, columns = np.mgrid[:128, :128]
    waves = (1 + 0.1 * np.sin(2 * np.pi * rows / 8) * np.sin(2 * np.pi * columns / 8)).astype(np.float32)
    beam = make_beam_profile((128, 128), width_fraction=0.8, centre_fraction=(0.1, 0.1))
    flat = flatten_beam(0.5 * beam * waves, 8.0)
    assert flat.mean() == pytest.approx((0.5 * beam * waves).mean(), rel=0.01)
    inner = np.s_[16:-16, 16:-16]  # a smoothed beam is wrong at the border
    assert np.corrcoef(flat[inner].ravel(), waves[inner].ravel())[0, 1] > 0.97
    assert flat[inner] / flat[inner].mean() == pytest.approx(waves[inner], abs=0.03)


@pytest.mark.parametrize("flatten_px", [None, 4.0])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_an_even_image_is_flat_already(flatten_px: float | None, value: float) -> None:
    image = np.full((16, 16), value, np.float32)
    assert flatten_beam(image, flatten_px) == pytest.approx(image, rel=1e-6)


def test_without_a_length_the_beam_is_left_in() -> None:
    image = make_beam_profile((16, 16), width_fraction=0.5, centre_fraction=(0, 0))
    assert flatten_beam(image, None) is image


@given(seed=st.integers(0, 2**31))
def test_dead_pixels_are_repaired_and_the_others_stay_as_they_are(seed: int) -> None:
    rng = make_generator(seed, "test")
    image = rng.uniform(0.6, 1.4, (40, 40)).astype(np.float32)
    damaged = apply_dead_pixels(image, dead_fraction=0.01, rng=rng)
    before = damaged.copy()
    repaired = repair_dead_pixels(damaged)
    is_dead = damaged == 0
    assert is_dead.sum() == 16
    assert np.array_equal(repaired[~is_dead], image[~is_dead])
    assert (repaired[is_dead] >= 0.6).all()
    assert (repaired[is_dead] <= 1.4).all()
    assert np.array_equal(damaged, before), "the image that was handed over must not change"


def test_a_dark_region_is_no_dead_pixel() -> None:
    image = np.full((12, 12), 0.9, np.float32)
    image[4:8, 4:8] = 0.5
    assert np.array_equal(repair_dead_pixels(image), image)


@pytest.mark.parametrize("electrons", [4.0, 8.0, 30.0, 200.0])
def test_of_the_pixels_that_work_hardly_one_in_a_thousand_is_repaired(electrons: float) -> None:
    image = (make_generator(0, "test").poisson(np.full((256, 256), electrons)) / electrons).astype(np.float32)
    assert np.mean(repair_dead_pixels(image, electrons) != image) < 2e-3


def test_without_the_counts_two_honest_pixels_of_a_hundred_would_be_repaired_at_8_electrons() -> None:
    # Poisson counts of mean 8 are 0, 1 or 2 with a probability of 1.4 %; the median of neighbours varies, too.
    image = (make_generator(0, "test").poisson(np.full((256, 256), 8.0)) / 8).astype(np.float32)
    assert np.mean(repair_dead_pixels(image) != image) > 0.014
    assert np.mean(repair_dead_pixels(image, 8.0) != image) < 0.1 * 0.014


@pytest.mark.parametrize("electrons", [12.0, 30.0, 200.0])
def test_where_chance_is_ruled_out_every_dead_pixel_is_repaired(electrons: float) -> None:
    rng = make_generator(0, "test")
    image = (rng.poisson(np.full((128, 128), electrons)) / electrons).astype(np.float32)
    damaged = apply_dead_pixels(image, dead_fraction=0.002, rng=rng)
    is_dead = (damaged == 0) & (image > 0)
    assert is_dead.sum() > 20
    assert np.mean(repair_dead_pixels(damaged, electrons)[is_dead] > 0.5) > 0.95


@given(electrons=st.floats(5, 500), scale=st.floats(0.01, 100))
def test_the_electrons_are_found_from_the_noise(electrons: float, scale: float) -> None:
    counts = make_generator(0, "test").poisson(np.full((256, 256), electrons)).astype(np.float32)
    found = estimate_electrons(counts / np.float32(scale))
    assert found == pytest.approx(scale, rel=0.1)


def test_an_image_without_noise_or_light_counts_without_end() -> None:
    assert estimate_electrons(np.ones((16, 16), np.float32)) == np.inf
    assert estimate_electrons(-make_generator(0, "test").uniform(1, 2, (16, 16)).astype(np.float32)) == np.inf
