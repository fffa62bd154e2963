"""What holds for every entry of BASELINES."""

from importlib.util import find_spec
from typing import get_args

import numpy as np
import pytest

from emdenoise.config.schema import EvaluationSettings
from emdenoise.evaluation.baselines.filters import BASELINES, TunedBaseline
from emdenoise.evaluation.metrics.intensity import mse, psnr
from emdenoise.seeding import make_generator

needs_bm3d = pytest.mark.skipif(find_spec("bm3d") is None, reason="bm3d is an extra that is not installed")
NAMES = [pytest.param(name, marks=needs_bm3d if name == "bm3d" else ()) for name in BASELINES]
SHAPE = (32, 40)

ROUNDING = {"bm3d": 1e-5}
"""Its threads add in any order; all other methods give the same bits."""

pytestmark = pytest.mark.parametrize("name", NAMES)


def draw_pair(seed: int = 0, *, electrons: float = 20.0, num_images: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw one wave over the image, counted with Poisson noise."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    clean = 0.5 + 0.2 * np.sin(2 * np.pi * rows / SHAPE[0]) * np.cos(2 * np.pi * columns / SHAPE[1])
    clean = np.stack([clean.astype(np.float32)] * num_images)
    noisy = make_generator(seed, "test").poisson(clean * electrons) / electrons
    return noisy.astype(np.float32), clean


def make_baseline(name: str, *, flatten_px: float | None = None, is_stabilised: bool = False) -> TunedBaseline:
    strengths = BASELINES[name].strengths
    return TunedBaseline(name, strengths[len(strengths) // 2], flatten_px, is_stabilised)


def test_it_can_be_named_in_the_parameters_file(name: str) -> None:
    choices, *_ = get_args(EvaluationSettings.model_fields["baselines"].annotation)
    assert name in get_args(choices)


def test_its_strengths_rise(name: str) -> None:
    strengths = BASELINES[name].strengths
    assert list(strengths) == sorted(set(strengths))
    assert strengths[0] > 0


def test_every_strength_gives_images_of_the_same_shape_and_type(name: str) -> None:
    noisy, _ = draw_pair()
    results = [TunedBaseline(name, strength, 4.0, False)(noisy) for strength in BASELINES[name].strengths]
    for denoised in results:
        assert denoised.dtype == np.float32
        assert denoised.shape == noisy.shape
        assert np.isfinite(denoised).all()


def test_more_strength_leaves_less_of_the_noise(name: str) -> None:
    noisy, _ = draw_pair()
    strengths = BASELINES[name].strengths
    weak, strong = (TunedBaseline(name, strength, None, True)(noisy) for strength in (strengths[0], strengths[-1]))
    assert mse(strong, noisy)[0] > mse(weak, noisy)[0]


@pytest.mark.parametrize("is_stabilised", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_an_even_image_stays_as_it_is(name: str, value: float, is_stabilised: bool) -> None:
    even = np.full((1, *SHAPE), value, np.float32)
    for flatten_px in (None, 4.0):
        denoised = make_baseline(name, flatten_px=flatten_px, is_stabilised=is_stabilised)(even)
        assert denoised.dtype == np.float32
        assert denoised == pytest.approx(even, abs=1e-6)


@pytest.mark.parametrize("is_stabilised", [False, True])
def test_it_takes_counting_noise_off_a_smooth_image(name: str, is_stabilised: bool) -> None:
    noisy, clean = draw_pair()
    denoised = make_baseline(name, is_stabilised=is_stabilised)(noisy)
    gain = psnr(denoised, clean, data_range=1) - psnr(noisy, clean, data_range=1)
    assert gain[0] > 3
    assert denoised.mean() == pytest.approx(clean.mean(), rel=0.03)


@pytest.mark.parametrize("is_stabilised", [False, True])
def test_twice_the_intensity_gives_twice_the_result(name: str, is_stabilised: bool) -> None:
    noisy, _ = draw_pair()
    baseline = make_baseline(name, flatten_px=4.0, is_stabilised=is_stabilised)
    assert baseline(2 * noisy) / 2 == pytest.approx(baseline(noisy), abs=2e-4)


def test_it_gives_an_image_the_same_result_again_in_any_batch_and_leaves_its_input_alone(name: str) -> None:
    noisy, _ = draw_pair(num_images=2)
    before = noisy.copy()
    baseline = make_baseline(name, flatten_px=4.0, is_stabilised=True)
    assert baseline(noisy)[1:] == pytest.approx(baseline(noisy[1:]), rel=0, abs=ROUNDING.get(name, 0))
    assert np.array_equal(noisy, before)


def test_dead_pixels_are_repaired_first(name: str) -> None:
    noisy, clean = draw_pair(electrons=1000.0)
    damaged = noisy.copy()
    damaged[0, 5, 5] = damaged[0, 20, 30] = 0
    denoised = make_baseline(name)(damaged)
    for row, column in ((5, 5), (20, 30)):
        assert denoised[0, row, column] == pytest.approx(clean[0, row, column], abs=0.1)
