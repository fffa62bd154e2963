"""The choice for each filter is the best of all candidates, which brute force finds as well."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.evaluation.baselines.contract import Examples, OfDetectorImage
from emdenoise.evaluation.baselines.filters import GAUSSIAN, MEDIAN, TV, Filter, TunedFilter
from emdenoise.evaluation.baselines.tuning import FLATTEN_PX, choose_tuning_images, fit_filter
from emdenoise.evaluation.metrics.intensity import mse
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import make_beam_profile


def draw_pairs(*, beam_width: float = np.inf, electrons: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw two images of fine waves, lit by a beam, with Poisson noise."""
    rows, columns = np.mgrid[:48, :48]
    waves = 0.5 + 0.1 * np.sin(2 * np.pi * rows / 12) * np.cos(2 * np.pi * columns / 12)
    clean = np.stack([waves, np.roll(waves, 3)]).astype(np.float32)
    beam = make_beam_profile((48, 48), width_fraction=beam_width, centre_fraction=(0.1, 0.1))
    return (make_generator(0, "test").poisson(clean * beam * electrons) / electrons).astype(np.float32), clean


def compute_error(noisy: np.ndarray, clean: np.ndarray, *settings: Any) -> float:
    return float(mse(TunedFilter(*settings)(noisy), clean).mean())


def tune(kind: Filter, noisy: np.ndarray, clean: np.ndarray, black_level: float = 0.0) -> TunedFilter:
    fitted = fit_filter(kind, Examples({"noisy": noisy[..., None]}, clean, black_level=black_level))
    assert isinstance(fitted, OfDetectorImage)
    assert isinstance(fitted.method, TunedFilter)
    return fitted.method


@pytest.mark.parametrize("kind", [GAUSSIAN, MEDIAN, TV], ids=["gaussian", "median", "tv"])
@pytest.mark.parametrize("beam_width", [0.6, np.inf])
def test_the_choice_has_the_least_error_of_all_candidates(beam_width: float, kind: Filter) -> None:
    noisy, clean = draw_pairs(beam_width=beam_width)
    flatten_px = min(
        FLATTEN_PX,
        key=lambda flatten: min(
            compute_error(noisy, clean, GAUSSIAN, one, flatten, False, -0.1) for one in GAUSSIAN.strengths
        ),
    )
    errors = {
        choice: compute_error(noisy, clean, kind, choice[0], flatten_px, choice[1], -0.1)
        for choice in product(kind.strengths, (False, True))
    }
    best = min(errors, key=lambda choice: errors[choice])
    assert tune(kind, noisy, clean, -0.1) == TunedFilter(kind, best[0], flatten_px, best[1], -0.1)


def test_the_beam_is_flattened_where_there_is_one_and_left_in_where_there_is_none() -> None:
    # A specimen that is uneven itself: flattening would take it for the beam.
    slope = np.tile(np.linspace(0.1, 0.9, 48, dtype=np.float32), (1, 48, 1))
    noisy = (make_generator(0, "test").poisson(slope * 100) / 100).astype(np.float32)
    assert tune(GAUSSIAN, noisy, slope).flatten_px is None
    assert tune(GAUSSIAN, *draw_pairs(beam_width=0.5)).flatten_px is not None


def test_more_noise_asks_for_more_strength() -> None:
    chosen = [tune(GAUSSIAN, *draw_pairs(electrons=dose)).strength for dose in (1000, 1)]
    assert chosen[0] < chosen[1]


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
