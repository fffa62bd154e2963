"""Each filter, and what is done before it: beam, dead pixels, counting noise made even."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from emdenoise.errors import PackageError
from emdenoise.evaluation.baselines import filters, fourier
from emdenoise.evaluation.baselines.filters import (
    GAUSSIAN,
    TV,
    Filter,
    TunedFilter,
    denoise_bm3d,
    flatten_beam,
    repair_dead_pixels,
    restore_counts,
    stabilise_variance,
)
from emdenoise.evaluation.metrics import mse, psnr
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


def make_noisy(electrons: float = 20.0) -> np.ndarray:
    rows, columns = np.mgrid[:32, :32]
    clean = 0.5 + 0.2 * np.sin(2 * np.pi * rows / 32) * np.cos(2 * np.pi * columns / 32)
    noisy: np.ndarray = make_generator(0, "test").poisson(clean * electrons) / electrons
    return noisy.astype(np.float32)[None]


@pytest.mark.parametrize("is_stabilised", [False, True])
@pytest.mark.parametrize("black_level", [-0.75, 0.25])
def test_the_black_level_is_taken_off_before_and_put_back_after(black_level: float, is_stabilised: bool) -> None:
    noisy = make_noisy()
    denoised = TunedFilter(GAUSSIAN, 2.0, 4.0, is_stabilised)(noisy)
    shifted = TunedFilter(GAUSSIAN, 2.0, 4.0, is_stabilised, black_level)(noisy + np.float32(black_level))
    assert shifted - black_level == pytest.approx(denoised, abs=1e-4)
    assert denoised.mean() == pytest.approx(noisy.mean(), rel=0.02)


def test_images_are_denoised_one_by_one() -> None:
    noisy = np.concatenate([make_noisy(), make_noisy(5.0), 3 * make_noisy()])
    method = TunedFilter(TV, 1.0, None, True)
    expected = np.concatenate([method(image[None]) for image in noisy])
    assert np.array_equal(method(noisy), expected)


def test_stabilising_lets_dark_and_bright_regions_keep_equally_much_noise() -> None:
    clean = np.full((64, 64), 0.1, np.float32)
    clean[:, 32:] = 1.0
    noisy = (make_generator(0, "test").poisson(clean * 100) / 100).astype(np.float32)

    def compare_noise(is_stabilised: bool) -> float:
        error = TunedFilter(TV, 1.0, None, is_stabilised)(noisy[None])[0] - clean
        share = [error[:, part].std() / noisy[:, part].std() for part in (np.s_[:28], np.s_[36:])]
        return float(share[1] / share[0])

    assert compare_noise(True) < compare_noise(False)
    assert compare_noise(True) == pytest.approx(1, abs=0.3)


def test_bm3d_that_is_not_installed_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(
        PackageError, match=r"evaluation.baselines names bm3d, which is not installed; .*emdenoise\[bm3d\]"
    ):
        denoise_bm3d(make_noisy()[0], 0.1, 1.0)


needs_bm3d = pytest.mark.skipif(find_spec("bm3d") is None, reason="bm3d is an extra that is not installed")
FILTERS = {name: value for name, value in (vars(filters) | vars(fourier)).items() if isinstance(value, Filter)}
every_filter = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_bm3d if name == "BM3D" else ()) for name in FILTERS]
)
SHAPE = (32, 40)


def draw_pair(*, electrons: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw one wave over the image, counted with Poisson noise."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    clean = 0.5 + 0.2 * np.sin(2 * np.pi * rows / SHAPE[0]) * np.cos(2 * np.pi * columns / SHAPE[1])
    clean = clean.astype(np.float32)[None]
    noisy = make_generator(0, "test").poisson(clean * electrons) / electrons
    return noisy.astype(np.float32), clean


def make_method(name: str, *, flatten_px: float | None = None, is_stabilised: bool = False) -> TunedFilter:
    strengths = FILTERS[name].strengths
    return TunedFilter(FILTERS[name], strengths[len(strengths) // 2], flatten_px, is_stabilised)


@every_filter
def test_its_strengths_rise(name: str) -> None:
    strengths = FILTERS[name].strengths
    assert list(strengths) == sorted(set(strengths))
    assert strengths[0] > 0


@every_filter
def test_every_strength_gives_images_of_the_same_shape_and_type(name: str) -> None:
    noisy, _ = draw_pair()
    results = [TunedFilter(FILTERS[name], strength, 4.0, False)(noisy) for strength in FILTERS[name].strengths]
    for denoised in results:
        assert denoised.dtype == np.float32
        assert denoised.shape == noisy.shape
        assert np.isfinite(denoised).all()


@every_filter
def test_more_strength_leaves_less_of_the_noise(name: str) -> None:
    noisy, _ = draw_pair()
    strengths = FILTERS[name].strengths
    weak, strong = (
        TunedFilter(FILTERS[name], strength, None, True)(noisy) for strength in (strengths[0], strengths[-1])
    )
    assert mse(strong, noisy)[0] > mse(weak, noisy)[0]


@every_filter
@pytest.mark.parametrize("is_stabilised", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_an_even_image_stays_as_it_is(name: str, value: float, is_stabilised: bool) -> None:
    even = np.full((1, *SHAPE), value, np.float32)
    for flatten_px in (None, 4.0):
        denoised = make_method(name, flatten_px=flatten_px, is_stabilised=is_stabilised)(even)
        assert denoised.dtype == np.float32
        assert denoised == pytest.approx(even, abs=1e-6)


@every_filter
@pytest.mark.parametrize("is_stabilised", [False, True])
def test_it_takes_counting_noise_off_a_smooth_image(name: str, is_stabilised: bool) -> None:
    noisy, clean = draw_pair()
    denoised = make_method(name, is_stabilised=is_stabilised)(noisy)
    gain = psnr(denoised, clean, data_range=1) - psnr(noisy, clean, data_range=1)
    assert gain[0] > 3
    assert denoised.mean() == pytest.approx(clean.mean(), rel=0.03)


@every_filter
@pytest.mark.parametrize("is_stabilised", [False, True])
def test_twice_the_intensity_gives_twice_the_result(name: str, is_stabilised: bool) -> None:
    noisy, _ = draw_pair()
    method = make_method(name, flatten_px=4.0, is_stabilised=is_stabilised)
    assert method(2 * noisy) / 2 == pytest.approx(method(noisy), abs=2e-4)


@every_filter
def test_dead_pixels_are_repaired_first(name: str) -> None:
    noisy, clean = draw_pair(electrons=1000.0)
    damaged = noisy.copy()
    damaged[0, 5, 5] = damaged[0, 20, 30] = 0
    denoised = make_method(name)(damaged)
    for row, column in ((5, 5), (20, 30)):
        assert denoised[0, row, column] == pytest.approx(clean[0, row, column], abs=0.1)
