"""Scores of particles: small cases by hand, other people's programs, and what a particle in two tiles is."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import ks_2samp
from sklearn.metrics import adjusted_rand_score

from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.tiles import cut_record
from emdenoise.evaluation.metrics import METRICS, Case
from emdenoise.evaluation.metrics.instances import (
    adjusted_rand_index,
    average_precision_coco,
    average_precision_emps,
    find_overlaps,
    median_diameter_error,
    panoptic_quality,
    size_distance,
)
from emdenoise.evaluation.particles import measure_particles
from emdenoise.evaluation.scoring import score_method

NAMES = ("ap50_coco", "ap75_coco", "ap50_emps", "ap75_emps", "pq", "ari", "median_diameter_error", "size_distance")
numbers = arrays.arrays(np.int32, (6, 7), elements=st.integers(0, 4))


def make_row(*lengths: tuple[int, int]) -> np.ndarray:
    """Make an image of one row from numbers of particles and their lengths."""
    return np.concatenate([np.full(length, number, np.int32) for number, length in lengths])[None]


TRUE = make_row((1, 10), (0, 5), (2, 10), (0, 5), (3, 10))
HALF = make_row((1, 10), (0, 5), (4, 8), (5, 2), (0, 5), (0, 10))
"""The first particle as it is, the second in parts of 8 and 2 px of 10, the third one missed."""


def test_half_of_the_particles_score_by_hand() -> None:
    overlaps = find_overlaps(HALF, TRUE)
    # Two of three predicted particles are right at 0.75, and two of three true ones found; 67 of COCO's 101 recalls
    # 0, 0.01, … are at most 2/3.
    for threshold in (0.5, 0.75):
        assert average_precision_coco(overlaps, threshold) == pytest.approx(2 / 3 * 67 / 101)
        assert average_precision_emps(overlaps, threshold) == pytest.approx(2 / 3)
    assert average_precision_coco(overlaps, 0.9) == pytest.approx(1 / 3 * 34 / 101)
    assert panoptic_quality(overlaps) == pytest.approx((1 + 0.8) / (2 + 1 / 2 + 1 / 2))


def test_of_two_halves_coco_takes_one_and_emps_none() -> None:
    overlaps = find_overlaps(make_row((1, 5), (2, 5)), make_row((1, 10)))  # both have an IoU of exactly 0.5
    assert average_precision_coco(overlaps, 0.5) == pytest.approx(1 / 2)
    assert average_precision_emps(overlaps, 0.5) == 0
    assert panoptic_quality(overlaps) == 0


def test_missed_particles_lower_the_score_of_coco_and_not_that_of_emps() -> None:
    overlaps = find_overlaps(make_row((1, 10), (0, 30)), TRUE)
    assert average_precision_coco(overlaps, 0.5) == pytest.approx(34 / 101)
    assert average_precision_emps(overlaps, 0.5) == 1


@given(predicted=numbers, true=numbers)
def test_scores_are_those_of_brute_force(predicted: np.ndarray, true: np.ndarray) -> None:
    overlaps = find_overlaps(predicted, true)
    ours, theirs = ([number for number in np.unique(one) if number > 0] for one in (predicted, true))
    ious = np.array(
        [[((predicted == one) & (true == other)).sum() / ((predicted == one) | (true == other)).sum()
          for other in theirs] for one in ours]
    ).reshape(len(ours), len(theirs))  # fmt: skip
    if not theirs:
        assert np.isnan(panoptic_quality(overlaps))
        assert np.isnan(average_precision_coco(overlaps, 0.5))
        assert np.isnan(average_precision_emps(overlaps, 0.5))
        return
    for threshold in (0.5, 0.75):
        small, large = sorted((ious, ious.T), key=len)
        hits = max(sum(small[i, j] >= threshold for i, j in enumerate(order))
                   for order in permutations(range(large.shape[0]), len(small)))  # fmt: skip
        precision = hits / len(ours) if ours else 0
        recalls = sum(step / 100 <= hits / len(theirs) for step in range(101)) / 101
        assert average_precision_coco(overlaps, threshold) == pytest.approx(precision * recalls)
        expected = (ious > threshold).any(axis=0).sum() / len(ours) if ours else 0
        assert average_precision_emps(overlaps, threshold) == pytest.approx(expected)
    hits = (ious > 0.5).sum()
    expected = ious[ious > 0.5].sum() / (hits + (len(ours) - hits) / 2 + (len(theirs) - hits) / 2)
    assert panoptic_quality(overlaps) == pytest.approx(expected)


@given(predicted=numbers, true=numbers)
def test_the_rand_index_is_that_of_scikit_learn(predicted: np.ndarray, true: np.ndarray) -> None:
    expected = adjusted_rand_score(true.ravel(), predicted.ravel())
    assert adjusted_rand_index(find_overlaps(predicted, true)) == pytest.approx(expected)


@given(predicted=numbers, true=numbers)
def test_the_size_distance_is_that_of_scipy_and_the_median_that_of_the_areas(
    predicted: np.ndarray, true: np.ndarray
) -> None:
    predicted, true = (np.pad(image, 1) for image in (predicted, true))
    found, expected = (measure_particles(image)["area_px"] for image in (predicted, true))
    if not len(expected):
        assert np.isnan(size_distance(predicted, true))
        assert np.isnan(median_diameter_error(predicted, true))
    elif not len(found):
        assert size_distance(predicted, true) == median_diameter_error(predicted, true) == 1
    else:
        assert size_distance(predicted, true) == pytest.approx(ks_2samp(found, expected, method="exact").statistic)
        ratio = np.median(np.sqrt(found)) / np.median(np.sqrt(expected))
        assert median_diameter_error(predicted, true) == pytest.approx(abs(ratio - 1))


def test_particles_that_the_border_cuts_have_no_size() -> None:
    true, found = np.zeros((2, 20, 20), np.int32)
    true[5:9, 5:9], found[5:9, 5:9], found[0:9, 12:20] = 1, 1, 2
    assert median_diameter_error(found, true) == size_distance(found, true) == 0
    assert np.isnan(size_distance(true, np.where(found == 2, found, 0)))


def draw_truth() -> tuple[np.ndarray, np.ndarray]:
    """Draw the numbers of two discs that overlap and of one alone, and the mask."""
    rows, columns = np.mgrid[:60, :100]
    instances = np.zeros((60, 100), np.int32)
    for number, (row, column, radius) in enumerate([(30, 25, 12), (30, 43, 12), (32, 75, 10)], start=300):
        instances[((rows - row) ** 2 + (columns - column) ** 2 <= radius**2) & (instances == 0)] = number
    return instances, (instances > 0).astype(np.uint8)


def test_a_predicted_mask_is_separated_before_it_is_scored() -> None:
    instances, mask = draw_truth()
    case = Case(mask[None], mask[None], ["background", "particle"], instances=instances[None])
    scores = {name: float(METRICS[name].collect(case)[name][0]) for name in NAMES}
    assert scores["ap50_coco"] == scores["ap75_coco"] == scores["ap50_emps"] == scores["ap75_emps"] == 1
    assert min(scores["pq"], scores["ari"]) > 0.9  # the first disc keeps what both cover
    assert max(scores["median_diameter_error"], 0) < 0.05


def test_a_particle_in_two_tiles_is_one(tmp_path: Path) -> None:
    instances, mask = draw_truth()
    whole = Record({"noisy": mask.astype(np.float32), "mask": mask, "instances": instances}, specimen="a", name="a")
    attributes: dict[str, str | float] = {"mask_labels": json.dumps(["background", "particle"])}
    write_records(tmp_path / "test.h5", cut_record(whole, 32), attributes=attributes)
    with RecordFile(tmp_path / "test.h5") as records:
        scores = score_method(
            lambda sample: (sample["noisy"][..., 0] > 0.5).astype(np.uint8),
            records,
            ["noisy"],
            "mask",
            batch_size=1,
            atom_tolerance_angstrom=0.5,
        ).metrics
    assert set(NAMES) <= set(scores)
    assert scores["ap75_coco"] == scores["ap75_emps"] == 1


def test_other_shapes_and_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"predicted is int32 \(1, 40\), true int32 \(1, 10\); expected equal 2-D"):
        find_overlaps(TRUE, make_row((1, 10)))
    with pytest.raises(ValueError, match=r"true is float64 \(1, 40\)"):
        find_overlaps(TRUE, TRUE.astype(float))
