"""What is chosen for each filter: no other choice beside it is better, and few images make no rule."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.arrays import choose_evenly
from emdenoise.evaluation.baselines.contract import Examples, OfDetectorImage
from emdenoise.evaluation.baselines.filters import GAUSSIAN, MEDIAN, TV, Filter, TunedFilter
from emdenoise.evaluation.baselines.tuning import FLATTEN_PX, fit_filter
from emdenoise.evaluation.metrics import psnr
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import make_beam_profile


def draw_pairs(*, beam_width: float = np.inf, electrons: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw two images of fine waves, lit by a beam, with Poisson noise."""
    rows, columns = np.mgrid[:48, :48]
    waves = 0.5 + 0.1 * np.sin(2 * np.pi * rows / 12) * np.cos(2 * np.pi * columns / 12)
    clean = np.stack([waves, np.roll(waves, 3)]).astype(np.float32)
    beam = make_beam_profile((48, 48), width_fraction=beam_width, centre_fraction=(0.1, 0.1))
    return (make_generator(0, "test").poisson(clean * beam * electrons) / electrons).astype(np.float32), clean


def tune(kind: Filter, noisy: np.ndarray, clean: np.ndarray, black_level: float = 0.0) -> TunedFilter:
    fitted = fit_filter(kind, Examples({"noisy": noisy[..., None]}, clean, black_level=black_level))
    assert isinstance(fitted, OfDetectorImage)
    assert isinstance(fitted.method, TunedFilter)
    return fitted.method


def list_neighbours(method: TunedFilter) -> list[TunedFilter]:
    """List the methods that differ in one choice from this one."""
    before, strengths = method.preparation, method.kind.strengths
    position = FLATTEN_PX.index(before.flatten_px)
    preparations = [
        *(replace(before, flatten_px=flatten_px) for flatten_px in FLATTEN_PX[max(position - 1, 0) : position + 2]),
        replace(before, is_repaired=not before.is_repaired),
        replace(before, is_stabilised=not before.is_stabilised),
    ]
    return [
        *(replace(method, preparation=preparation) for preparation in preparations),
        *(replace(method, strength=replace(method.strength, value=strength)) for strength in strengths),
    ]


@pytest.mark.parametrize("kind", [GAUSSIAN, MEDIAN, TV], ids=["gaussian", "median", "tv"])
@pytest.mark.parametrize("beam_width", [0.6, np.inf])
def test_no_change_of_one_choice_is_better(beam_width: float, kind: Filter) -> None:
    noisy, clean = draw_pairs(beam_width=beam_width)
    chosen = tune(kind, noisy, clean, -0.1)
    reached = psnr(chosen(noisy), clean, data_range=1.0).mean()
    others = [psnr(other(noisy), clean, data_range=1.0).mean() for other in list_neighbours(chosen)]
    assert reached >= max(others) - 1e-6


def test_the_strength_follows_the_noise_only_where_that_helps_images_that_are_left_out() -> None:
    doses = (4.0, 10.0, 25.0, 60.0, 150.0, 400.0, 1000.0, 2500.0)
    pairs = [draw_pairs(electrons=electrons) for electrons in doses]
    noisy, clean = (np.stack([pair[index][0] for pair in pairs]) for index in (0, 1))
    assert tune(GAUSSIAN, noisy, clean).strength.exponent > 0
    noisy, clean = (np.concatenate([pairs[3][index]] * 4) for index in (0, 1))
    assert tune(GAUSSIAN, noisy, clean).strength.exponent == 0


def test_few_images_make_no_rule() -> None:
    pairs = [draw_pairs(electrons=electrons) for electrons in (5.0, 500.0)]
    noisy, clean = (np.stack([pair[index][0] for pair in pairs]) for index in (0, 1))
    assert tune(GAUSSIAN, noisy, clean).strength.exponent == 0


def test_the_beam_is_flattened_where_there_is_one_and_left_in_where_there_is_none() -> None:
    # A specimen that is uneven itself: flattening would take it for the beam.
    slope = np.tile(np.linspace(0.1, 0.9, 48, dtype=np.float32), (1, 48, 1))
    noisy = (make_generator(0, "test").poisson(slope * 100) / 100).astype(np.float32)
    assert tune(GAUSSIAN, noisy, slope).preparation.flatten_px is None
    assert tune(GAUSSIAN, *draw_pairs(beam_width=0.5)).preparation.flatten_px is not None


def test_more_noise_asks_for_more_strength() -> None:
    chosen = [tune(GAUSSIAN, *draw_pairs(electrons=dose)).strength.value for dose in (1000, 1)]
    assert chosen[0] < chosen[1]


@given(num_images=st.integers(1, 500), num_wanted=st.integers(1, 500))
def test_tuning_images_are_different_and_evenly_spread(num_images: int, num_wanted: int) -> None:
    chosen = choose_evenly(num_images, num_wanted)
    assert len(chosen) == min(num_images, num_wanted)
    assert chosen[0] == 0
    assert chosen[-1] < num_images
    if len(chosen) > 1:
        steps = np.diff(chosen)
        assert chosen[-1] == num_images - 1
        assert steps.min() >= 1
        assert steps.max() - steps.min() <= 1
