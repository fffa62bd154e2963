"""Each filter, with what is done before it."""

import sys
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.errors import PackageError
from emdenoise.evaluation.baselines import filters, fourier
from emdenoise.evaluation.baselines.filters import (
    GAUSSIAN,
    TV,
    Filter,
    Preparation,
    Strength,
    TunedFilter,
    denoise_bm3d,
    denoise_bmnd,
)
from emdenoise.evaluation.metrics import mse, psnr
from emdenoise.seeding import make_generator


def make_noisy(electrons: float = 20.0) -> np.ndarray:
    rows, columns = np.mgrid[:32, :32]
    clean = 0.5 + 0.2 * np.sin(2 * np.pi * rows / 32) * np.cos(2 * np.pi * columns / 32)
    noisy: np.ndarray = make_generator(0, "test").poisson(clean * electrons) / electrons
    return noisy.astype(np.float32)[None]


@pytest.mark.parametrize("is_stabilised", [False, True])
@pytest.mark.parametrize("black_level", [-0.75, 0.25])
def test_the_black_level_is_taken_off_before_and_put_back_after(black_level: float, is_stabilised: bool) -> None:
    noisy = make_noisy()
    preparation = Preparation(4.0, is_stabilised=is_stabilised)
    denoised = TunedFilter(GAUSSIAN, Strength(2.0), preparation)(noisy)
    shifted = TunedFilter(GAUSSIAN, Strength(2.0), preparation, black_level)(noisy + np.float32(black_level))
    assert shifted - black_level == pytest.approx(denoised, abs=1e-4)
    assert denoised.mean() == pytest.approx(noisy.mean(), rel=0.02)


def test_images_are_denoised_one_by_one() -> None:
    noisy = np.concatenate([make_noisy(), make_noisy(5.0), 3 * make_noisy()])
    method = TunedFilter(TV, Strength(1.0, 0.5, 0.1), Preparation(is_stabilised=True))
    expected = np.concatenate([method(image[None]) for image in noisy])
    assert np.array_equal(method(noisy), expected)


def test_stabilising_lets_dark_and_bright_regions_keep_equally_much_noise() -> None:
    clean = np.full((64, 64), 0.1, np.float32)
    clean[:, 32:] = 1.0
    noisy = (make_generator(0, "test").poisson(clean * 100) / 100).astype(np.float32)

    def compare_noise(is_stabilised: bool) -> float:
        error = TunedFilter(TV, Strength(1.0), Preparation(is_stabilised=is_stabilised))(noisy[None])[0] - clean
        share = [error[:, part].std() / noisy[:, part].std() for part in (np.s_[:28], np.s_[36:])]
        return float(share[1] / share[0])

    assert compare_noise(True) < compare_noise(False)
    assert compare_noise(True) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("name", "denoise"), [("bm3d", denoise_bm3d), ("bmnd", denoise_bmnd)])
def test_an_extra_that_is_not_installed_is_explained(
    monkeypatch: pytest.MonkeyPatch, name: str, denoise: Callable[..., np.ndarray]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    message = rf"evaluation.baselines names {name}, which is not installed; .*emdenoise\[{name}\]"
    with pytest.raises(PackageError, match=message):
        denoise(make_noisy()[0], 0.1, 1.0)


@given(noise=st.floats(0.001, 10), exponent=st.floats(0, 1))
def test_the_strength_rises_with_the_noise_and_stays_among_those_to_choose_from(noise: float, exponent: float) -> None:
    strengths = (1.0, 2.0, 4.0, 8.0)
    weak, strong = (Strength(2.0, exponent, 0.1).find(one, strengths) for one in (noise, 2 * noise))
    assert {weak, strong} <= set(strengths)
    assert weak <= strong
    assert Strength(2.0, exponent, 0.1).find(0.1, strengths) == 2
    assert Strength(2.0, 0.0, 0.1).find(noise, strengths) == 2


@pytest.mark.parametrize("noise", [0.0, np.inf])
def test_an_image_whose_noise_is_not_known_gets_the_strength_of_a_typical_one(noise: float) -> None:
    assert Strength(2.0, 0.5, 0.1).find(noise, (1.0, 2.0, 4.0)) == 2


def test_a_filter_says_what_was_chosen() -> None:
    always = TunedFilter(GAUSSIAN, Strength(2.0), Preparation(None, is_repaired=False))
    assert always.describe() == "strength 2, beam left in, dead pixels left in"
    by_noise = TunedFilter(GAUSSIAN, Strength(2.0, 0.5, 0.123), Preparation(8.0, is_stabilised=True))
    assert by_noise.describe() == (
        "strength 2 · (noise / 0.12 of the mean)^0.5, beam flattened over 8 px, dead pixels repaired, counts stabilised"
    )


def test_dead_pixels_are_left_in_on_request() -> None:
    noisy = make_noisy(1000.0)
    noisy[0, 5, 5] = 0
    repaired, left = (
        TunedFilter(GAUSSIAN, Strength(0.7), Preparation(is_repaired=one))(noisy) for one in (True, False)
    )
    assert left[0, 5, 5] < 0.8 * repaired[0, 5, 5]


EXTRAS = {
    name: pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is an extra that is not installed")
    for name in ("bm3d", "bmnd")
}
FILTERS = {name: value for name, value in (vars(filters) | vars(fourier)).items() if isinstance(value, Filter)}
every_filter = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=EXTRAS.get(name.lower(), ())) for name in FILTERS]
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
    strength = Strength(strengths[len(strengths) // 2])
    return TunedFilter(FILTERS[name], strength, Preparation(flatten_px, is_stabilised=is_stabilised))


@every_filter
def test_its_strengths_rise(name: str) -> None:
    strengths = FILTERS[name].strengths
    assert list(strengths) == sorted(set(strengths))
    assert strengths[0] > 0


@every_filter
def test_every_strength_gives_images_of_the_same_shape_and_type(name: str) -> None:
    noisy, _ = draw_pair()
    results = [
        TunedFilter(FILTERS[name], Strength(strength), Preparation(4.0))(noisy) for strength in FILTERS[name].strengths
    ]
    for denoised in results:
        assert denoised.dtype == np.float32
        assert denoised.shape == noisy.shape
        assert np.isfinite(denoised).all()


@every_filter
def test_more_strength_leaves_less_of_the_noise(name: str) -> None:
    noisy, _ = draw_pair()
    strengths = FILTERS[name].strengths
    weak, strong = (
        TunedFilter(FILTERS[name], Strength(strength), Preparation(is_stabilised=True))(noisy)
        for strength in (strengths[0], strengths[-1])
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
    noisy, _ = draw_pair(electrons=1000.0)
    damaged = noisy.copy()
    damaged[0, 5, 5] = damaged[0, 20, 30] = 0
    assert make_method(name)(damaged) == pytest.approx(make_method(name)(noisy), abs=0.05)
