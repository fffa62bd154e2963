"""Bins of the dose hold every image once, and the mean over the logarithm of the dose is an area."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.results.breakdown import MAX_DOSE_BINS, average_over_log_dose, group_by_dose
from emdenoise.seeding import make_generator

dose_lists = st.lists(st.floats(1, 1e5), min_size=1, max_size=60)


@given(doses=dose_lists)
def test_every_image_is_in_one_bin_and_bins_rise(doses: list[float]) -> None:
    bins = group_by_dose(doses)
    if bins:
        assert sorted(np.concatenate(bins).tolist()) == list(range(len(doses)))
        assert len(bins) <= MAX_DOSE_BINS
    for lower, higher in pairwise(bins):
        assert max(doses[index] for index in lower) <= min(doses[index] for index in higher)


@given(doses=dose_lists, factor=st.floats(0.1, 10))
def test_bins_are_those_of_doses_in_any_unit(doses: list[float], factor: float) -> None:
    """A factor shifts the logarithm; an image on an edge may go either way by rounding, so doses are well apart."""
    logarithms = np.log(doses)
    edges = np.linspace(logarithms.min(), logarithms.max(), min(6, max(1, len(doses) // 4)) + 1)[1:-1]
    if len(edges) and np.abs(logarithms[:, None] - edges).min() < 1e-9:
        return
    first, second = (group_by_dose(list(one)) for one in (doses, factor * np.array(doses)))
    assert [one.tolist() for one in first] == [one.tolist() for one in second]


@pytest.mark.parametrize("doses", [[], [100.0], [100.0, 200.0, 300.0], [100.0] * 50])
def test_few_images_or_a_single_dose_have_no_bins(doses: list[float]) -> None:
    assert group_by_dose(doses) == []


def test_forty_images_of_twenty_fold_doses_have_six_bins_with_two_in_each_third() -> None:
    doses = np.exp(make_generator(0, "test").uniform(*np.log((400, 8000)), 40))
    bins = group_by_dose(list(doses))
    assert len(bins) == 6
    thirds = np.quantile(np.log([doses.min(), doses.max()]), [1 / 3, 2 / 3])
    assert np.log(doses[np.concatenate(bins[:2])]).max() < thirds[0]
    assert np.log(doses[np.concatenate(bins[4:])]).min() > thirds[1]


@given(slope=st.floats(-5, 5), offset=st.floats(-50, 50), doses=st.sets(st.integers(1, 10**5), min_size=2, max_size=8))
def test_of_a_score_that_rises_with_the_logarithm_it_is_the_value_in_the_middle(
    slope: float, offset: float, doses: set[int]
) -> None:
    """The trapezoidal rule is exact for a straight line, wherever its points are."""
    places = np.log(sorted(doses))
    found = average_over_log_dose(sorted(doses), list(offset + slope * places))
    assert found == pytest.approx(offset + slope * (places[0] + places[-1]) / 2, abs=1e-6)


def test_points_without_a_score_are_left_out() -> None:
    assert average_over_log_dose([10, 100, 1000], [1.0, None, 2.0]) == pytest.approx(1.5)
    assert np.isnan(average_over_log_dose([10, 100], [1.0, None]))
