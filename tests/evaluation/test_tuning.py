"""The choice for each classical method is the best of all candidates, which brute force finds as well."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.evaluation.baselines.filters import BASELINES, TunedBaseline
from emdenoise.evaluation.baselines.tuning import FLATTEN_PX, choose_tuning_images, tune_baselines
from emdenoise.evaluation.metrics.intensity import mse
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import make_beam_profile

NAMES = ("gaussian", "median", "tv")


def draw_pairs(*, beam_width: float = np.inf, electrons: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw two images of fine waves, lit by a beam, with Poisson noise."""
    rows, columns = np.mgrid[:48, :48]
    waves = 0.5 + 0.1 * np.sin(2 * np.pi * rows / 12) * np.cos(2 * np.pi * columns / 12)
    clean = np.stack([waves, np.roll(waves, 3)]).astype(np.float32)
    beam = make_beam_profile((48, 48), width_fraction=beam_width, centre_fraction=(0.1, 0.1))
    return (make_generator(0, "test").poisson(clean * beam * electrons) / electrons).astype(np.float32), clean


def compute_error(noisy: np.ndarray, clean: np.ndarray, *settings: Any) -> float:
    return float(mse(TunedBaseline(*settings)(noisy), clean).mean())


@pytest.mark.parametrize("beam_width", [0.6, np.inf])
def test_the_choice_has_the_least_error_of_all_candidates(beam_width: float) -> None:
    noisy, clean = draw_pairs(beam_width=beam_width)
    tuned = tune_baselines(NAMES, noisy, clean, black_level=-0.1)
    strengths = BASELINES["gaussian"].strengths
    flatten_px = min(
        FLATTEN_PX,
        key=lambda flatten: min(
            compute_error(noisy, clean, "gaussian", one, flatten, False, -0.1) for one in strengths
        ),
    )
    assert list(tuned) == list(NAMES)
    for name in NAMES:
        errors = {
            choice: compute_error(noisy, clean, name, choice[0], flatten_px, choice[1], -0.1)
            for choice in product(BASELINES[name].strengths, (False, True))
        }
        best = min(errors, key=lambda choice: errors[choice])
        assert tuned[name] == TunedBaseline(name, best[0], flatten_px, best[1], -0.1)


def test_the_beam_is_flattened_where_there_is_one_and_left_in_where_there_is_none() -> None:
    # A specimen that is uneven itself: flattening would take it for the beam.
    slope = np.tile(np.linspace(0.1, 0.9, 48, dtype=np.float32), (1, 48, 1))
    noisy = (make_generator(0, "test").poisson(slope * 100) / 100).astype(np.float32)
    assert tune_baselines(["gaussian"], noisy, slope)["gaussian"].flatten_px is None
    assert tune_baselines(["gaussian"], *draw_pairs(beam_width=0.5))["gaussian"].flatten_px is not None


def test_more_noise_asks_for_more_strength() -> None:
    chosen = [tune_baselines(["gaussian"], *draw_pairs(electrons=dose))["gaussian"].strength for dose in (1000, 1)]
    assert chosen[0] < chosen[1]


def test_the_choice_does_not_depend_on_the_other_methods() -> None:
    noisy, clean = draw_pairs()
    together = tune_baselines(["median", "gaussian"], noisy, clean)
    assert tune_baselines(["median"], noisy, clean)["median"] == together["median"]


def test_every_method_is_announced_before_it_is_tuned() -> None:
    heard: list[tuple[int, str]] = []
    tune_baselines(["median", "gaussian"], *draw_pairs(), on_method=lambda *step: heard.append(step))
    assert heard == [(0, "median"), (1, "gaussian")]


def test_no_method_needs_no_choice() -> None:
    assert tune_baselines([], *draw_pairs()) == {}


@given(num_images=st.integers(1, 500), num_wanted=st.integers(1, 500))
def test_tuning_images_are_different_and_evenly_spread(num_images: int, num_wanted: int) -> None:
    chosen = choose_tuning_images(num_images, num_wanted)
    assert len(chosen) == min(num_images, num_wanted)
    assert chosen[0] == 0
    assert chosen[-1] < num_images
    if len(chosen) > 1:
        steps = np.diff(chosen)
        assert chosen[-1] == num_images - 1
        assert steps.min() >= 1
        assert steps.max() - steps.min() <= 1
