"""The interval of a mean covers the truth as often as it says, where images of one specimen are alike."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emdenoise.evaluation.statistics import Interval, average_runs, bootstrap_mean
from emdenoise.seeding import make_generator

NUM_DATA_SETS, NUM_SPECIMENS, NUM_IMAGES_EACH = 500, 50, 4
CONFIDENCE = 0.95


def count_hits(specimens: list[str]) -> int:
    """Count the data sets whose interval holds the true mean, 7; specimens differ by 1, their images by 0.5."""
    hits = 0
    for index in range(NUM_DATA_SETS):
        rng = make_generator(0, "data set", index)
        values = 7 + np.repeat(rng.normal(0, 1, NUM_SPECIMENS), NUM_IMAGES_EACH)
        values += rng.normal(0, 0.5, values.shape)
        interval = bootstrap_mean(values, specimens, num_resamples=500, confidence=CONFIDENCE, rng=rng)
        hits += interval.low <= 7 <= interval.high
    return hits


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    specimens = [f"specimen {index // NUM_IMAGES_EACH}" for index in range(NUM_SPECIMENS * NUM_IMAGES_EACH)]
    hits = count_hits(specimens)
    # The percentile interval of n normal values is ±z σ √((n-1)/n)/√n and not Student's: 0.94 for n = 50.
    width = stats.norm.isf((1 - CONFIDENCE) / 2) * np.sqrt((NUM_SPECIMENS - 1) / NUM_SPECIMENS)
    coverage = 1 - 2 * stats.t(NUM_SPECIMENS - 1).sf(width)
    low, high = stats.binom(NUM_DATA_SETS, coverage).ppf([1e-4, 1 - 1e-4])
    assert abs(coverage - CONFIDENCE) < 0.015
    assert low <= hits <= high


def test_drawing_image_by_image_would_be_too_sure() -> None:
    hits = count_hits([f"image {index}" for index in range(NUM_SPECIMENS * NUM_IMAGES_EACH)])
    # Var of the mean: (1 + 0.25/4)/50, but (1 + 0.25)/200 is assumed; z shrinks by their root ratio, 0.54.
    share = 1 - 2 * stats.norm.sf(1.96 * np.sqrt((1.25 / 4) / (1 + 0.25 / 4)))
    low, high = stats.binom(NUM_DATA_SETS, share).ppf([1e-5, 1 - 1e-5])
    assert low <= hits <= high
    assert high < 0.85 * NUM_DATA_SETS


def bootstrap(values: list[float], specimens: list[str], *, seed: int = 0, confidence: float = 0.95) -> Interval:
    rng = make_generator(seed, "test")
    return bootstrap_mean(np.array(values), specimens, num_resamples=400, confidence=confidence, rng=rng)


def test_the_interval_of_independent_images_is_that_of_the_normal_law() -> None:
    values = make_generator(0, "values").normal(0, 1, 400)
    interval = bootstrap_mean(
        values, [str(index) for index in range(400)], num_resamples=4000, confidence=0.9, rng=make_generator(0, "test")
    )
    half_width = 1.645 * values.std() / 20
    assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=0.08)


@given(
    values=st.lists(st.floats(-100, 100), min_size=2, max_size=20),
    num_specimens=st.integers(2, 5),
    seed=st.integers(0, 2**31),
)
def test_the_interval_lies_within_the_values_and_follows_from_the_generator(
    values: list[float], num_specimens: int, seed: int
) -> None:
    specimens = [f"specimen {index % num_specimens}" for index in range(len(values))]
    interval = bootstrap(values, specimens, seed=seed)
    assert interval.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert interval == bootstrap(values, specimens, seed=seed)


def test_another_generator_gives_another_interval() -> None:
    values, specimens = list(make_generator(0, "test").normal(size=9)), list("abcdefghi")
    assert bootstrap(values, specimens) != bootstrap(values, specimens, seed=1)


@given(seed=st.integers(0, 2**31), shift=st.floats(-10, 10), factor=st.floats(0.1, 10))
def test_shifted_and_scaled_values_have_a_shifted_and_scaled_interval(seed: int, shift: float, factor: float) -> None:
    values, specimens = make_generator(seed, "values").normal(size=6), list("aabbcd")
    first = bootstrap(list(values), specimens)
    second = bootstrap(list(factor * values + shift), specimens)
    for name in ("mean", "low", "high"):
        assert getattr(second, name) == pytest.approx(factor * getattr(first, name) + shift, abs=1e-8)


def test_more_confidence_needs_a_wider_interval() -> None:
    values, specimens = list(make_generator(0, "test").normal(size=30)), [str(index) for index in range(30)]
    widths = [
        interval.high - interval.low
        for interval in (bootstrap(values, specimens, confidence=confidence) for confidence in (0.6, 0.9, 0.99))
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_one_specimen_alone_has_a_mean_and_no_interval() -> None:
    interval = bootstrap([1.0, 2.0, 6.0], ["a"] * 3)
    assert interval.mean == 3
    assert np.isnan([interval.low, interval.high]).all()


def test_specimens_with_more_images_weigh_more() -> None:
    interval = bootstrap([0.0, 0.0, 0.0, 1.0], ["many"] * 3 + ["one"])
    assert interval == Interval(0.25, 0.0, 1.0)


def test_images_without_a_value_are_left_out() -> None:
    known = bootstrap([1.0, 2.0, 4.0], ["a", "b", "c"])
    assert bootstrap([np.nan, 1.0, 2.0, np.nan, 4.0], ["x", "a", "b", "b", "c"]) == known


@pytest.mark.parametrize("values", [[], [np.nan], [np.nan, np.nan]])
def test_nothing_to_average_gives_nan(values: list[float]) -> None:
    interval = bootstrap(values, ["a"] * len(values))
    assert np.isnan([interval.mean, interval.low, interval.high]).all()


def test_an_infinite_value_has_an_infinite_mean_and_no_interval() -> None:
    interval = bootstrap([1.0, np.inf, 2.0], ["a", "b", "c"])
    assert interval.mean == np.inf
    assert np.isnan([interval.low, interval.high]).all()


def test_values_and_specimens_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 values for 1 images"):
        bootstrap([1.0, 2.0], ["a"])


def average(values: np.ndarray, rng: np.random.Generator) -> Interval:
    return average_runs(values, confidence=0.95)


def resample(values: np.ndarray, rng: np.random.Generator) -> Interval:
    """Give the interval that studies had before: percentiles of the means of runs drawn anew."""
    return bootstrap_mean(values, list("abcde"[: len(values)]), num_resamples=300, confidence=0.95, rng=rng)


def measure_coverage(find: Callable[[np.ndarray, np.random.Generator], Interval], num_runs: int) -> float:
    """Give the share of many comparisons of a few runs whose interval holds the true difference.

    Two variants share what the seed does to both; their scores differ by 0.3 dB and scatter by as much.
    """
    rng = make_generator(num_runs, "test")
    num_right = 0
    for _ in range(NUM_COMPARISONS):
        shared = rng.normal(0, 1, num_runs)
        first, second = (mean + shared + rng.normal(0, 0.2, num_runs) for mean in (28.0, 28.3))
        interval = find(second - first, rng)
        num_right += interval.low <= 0.3 <= interval.high
    return num_right / NUM_COMPARISONS


NUM_COMPARISONS = 2000


@pytest.mark.parametrize("num_runs", [2, 3, 5])
def test_the_interval_of_a_few_runs_holds_the_truth_as_often_as_it_says(num_runs: int) -> None:
    assert measure_coverage(average, num_runs) >= 0.93


@pytest.mark.parametrize(("num_runs", "expected"), [(2, 0.50), (3, 0.75), (5, 0.84)])
def test_percentiles_of_a_bootstrap_of_a_few_runs_do_not(num_runs: int, expected: float) -> None:
    """Of two runs the interval is their range, which holds the mean in one of two cases; of three in three of four."""
    coverage = measure_coverage(resample, num_runs)
    assert coverage < 0.93
    assert coverage == pytest.approx(expected, abs=0.04)


def test_the_interval_of_runs_is_that_of_the_textbook() -> None:
    """The data of Student's own example, the extra hours of sleep of ten patients (doi:10.2307/2331554), paired.

    R's `t.test(extra ~ group, sleep, paired = TRUE)` gives 1.58 [0.7001142, 2.4598858].
    """
    extra = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    interval = average_runs(extra, confidence=0.95)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-6)


def test_a_single_run_has_no_interval() -> None:
    interval = average_runs(np.array([28.0]), confidence=0.95)
    assert interval.mean == 28
    assert np.isnan([interval.low, interval.high]).all()


@given(shift=st.floats(-100, 100), factor=st.floats(0.1, 100))
def test_the_interval_of_runs_moves_and_stretches_with_their_scores(shift: float, factor: float) -> None:
    values = np.array([1.0, 2.5, 2.0])
    first, second = (average_runs(one, confidence=0.9) for one in (values, factor * values + shift))
    expected = [factor * bound + shift for bound in (first.mean, first.low, first.high)]
    assert (second.mean, second.low, second.high) == pytest.approx(expected, abs=1e-9)
