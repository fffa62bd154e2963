"""Scores of particles one by one: which are found, how well, and whether their sizes are right.

The truth is the number of the particle of each pixel. A predicted mask is separated into particles as `emdenoise
predict` does it (`evaluation/particles.py`). All scores are NaN where an image has no true particle; sizes are in
pixels, of the particles that the border of the image does not cut.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Values, describe
from emdenoise.dataset.record import PARTICLE_LABEL
from emdenoise.evaluation.metrics.contract import Case, Metric, Scores
from emdenoise.evaluation.particles import Particles, measure_particles, separate_particles

Counts = npt.NDArray[np.int64]
RECALLS = np.linspace(0, 1, 101)
"""At these recalls COCO averages the precision."""
FOUND_IOU = 0.5
"""A true particle is found by a predicted one of at least this intersection over union, as AP50 counts."""


@dataclass(frozen=True)
class Overlaps:
    """How the particles of two images overlap.

    Attributes
    ----------
    pairs : ndarray of int64, shape (num_pairs, 2)
        Number of the true and of the predicted particle of pixels, 0 for background.
    num_pixels : ndarray of int64, shape (num_pairs,)
        Pixels of each pair.
    """

    pairs: Counts
    num_pixels: Counts

    def list_ious(self) -> tuple[Counts, Values]:
        """List the pairs of particles that share pixels, and their intersection over union."""
        areas = [np.bincount(self.pairs[:, side], self.num_pixels) for side in (0, 1)]
        is_shared = (self.pairs > 0).all(axis=1)
        pairs, shared = self.pairs[is_shared], self.num_pixels[is_shared]
        return pairs, shared / (areas[0][pairs[:, 0]] + areas[1][pairs[:, 1]] - shared)

    def count_particles(self) -> tuple[int, int]:
        """Count the true and the predicted particles."""
        true, predicted = (np.unique(self.pairs[:, side]) for side in (0, 1))
        return int((true > 0).sum()), int((predicted > 0).sum())


def find_overlaps(predicted: Particles, true: Particles) -> Overlaps:
    """Count the pixels of each pair of a true and a predicted particle.

    Parameters
    ----------
    predicted, true : ndarray of int, shape (height, width)
        Number of the particle of each pixel, 0 for none.

    Raises
    ------
    ValueError
        If the shapes differ, a type is not an integer, or a number is negative.
    """
    if predicted.ndim != 2 or predicted.shape != true.shape:
        raise ValueError(f"predicted is {describe(predicted)}, true {describe(true)}; expected equal 2-D shapes")
    for name, particles in (("predicted", predicted), ("true", true)):
        if not np.issubdtype(particles.dtype, np.integer) or particles.min(initial=0) < 0:
            raise ValueError(f"{name} is {describe(particles)} from {particles.min()}; expected integers from 0")
    width = int(predicted.max(initial=0)) + 1
    codes, num_pixels = np.unique(true.astype(np.int64) * width + predicted, return_counts=True)
    return Overlaps(np.stack(np.divmod(codes, width), axis=1), num_pixels.astype(np.int64))


def match_particles(overlaps: Overlaps, threshold: float = FOUND_IOU) -> Counts:
    """Match true and predicted particles one to one, the largest intersections over union first.

    Parameters
    ----------
    overlaps : Overlaps
    threshold : float
        Least intersection over union of a pair.

    Returns
    -------
    ndarray of int64, shape (num_matches, 2)
        Number of the true and of the predicted particle of each match.

    Examples
    --------
    >>> match_particles(find_overlaps(np.array([[1, 1, 0, 4]]), np.array([[3, 3, 0, 0]]))).tolist()
    [[3, 1]]
    """
    pairs, ious = overlaps.list_ious()
    used: tuple[set[int], set[int]] = (set(), set())
    matches = []
    for index in np.argsort(-ious, kind="stable"):
        true, predicted = pairs[index].tolist()
        if ious[index] >= threshold and true not in used[0] and predicted not in used[1]:
            used[0].add(true)
            used[1].add(predicted)
            matches.append((true, predicted))
    return np.array(matches, np.int64).reshape(-1, 2)


def average_precision_coco(overlaps: Overlaps, threshold: float) -> float:
    """Compute the average precision at one intersection over union as COCO does (doi:10.1007/978-3-319-10602-1_48).

    Pairs are matched one to one, the best first, where their intersection over union is at least the threshold. The
    average precision is the area under the curve of precision against recall, at 101 recalls. Labels have no
    confidence, so that the curve has one point: the area is the precision, up to the recall that is reached.

    Examples
    --------
    >>> overlaps = find_overlaps(np.array([[1, 1, 0, 0]]), np.array([[1, 1, 0, 2]]))
    >>> round(average_precision_coco(overlaps, 0.5), 3)
    0.505
    """
    num_true, num_predicted = overlaps.count_particles()
    if num_true == 0 or num_predicted == 0:
        return 0.0 if num_true else np.nan
    num_matched = len(match_particles(overlaps, threshold))
    precision, recall = num_matched / num_predicted, num_matched / num_true
    return float(precision * (recall >= RECALLS).mean()) if num_matched else 0.0


def average_precision_emps(overlaps: Overlaps, threshold: float) -> float:
    """Compute what the code of the EMPS paper calls AP50 and AP75 (doi:10.1021/acs.jcim.0c01455).

    It is the precision: the share of the predicted particles whose intersection over union with a true one is above the
    threshold. True particles that are missed do not count.

    Examples
    --------
    >>> average_precision_emps(find_overlaps(np.array([[1, 1, 0, 0]]), np.array([[1, 1, 0, 2]])), 0.5)
    1.0
    """
    num_true, num_predicted = overlaps.count_particles()
    if num_true == 0 or num_predicted == 0:
        return 0.0 if num_true else np.nan
    pairs, ious = overlaps.list_ious()
    return len(np.unique(pairs[ious > threshold, 0])) / num_predicted


def panoptic_quality(overlaps: Overlaps) -> float:
    """Compute the panoptic quality of the particles (doi:10.1109/CVPR.2019.00963).

    The sum of the intersections over union above 0.5, over the mean of the numbers of true and predicted particles.

    Examples
    --------
    >>> round(panoptic_quality(find_overlaps(np.array([[1, 1, 0, 0]]), np.array([[1, 1, 0, 2]]))), 3)
    0.667
    """
    num_true, num_predicted = overlaps.count_particles()
    _, ious = overlaps.list_ious()
    return float(ious[ious > 0.5].sum() / ((num_true + num_predicted) / 2)) if num_true else np.nan


def adjusted_rand_index(overlaps: Overlaps) -> float:
    """Compute the adjusted Rand index of all pixels, with the background as one more particle (doi:10.1007/BF01908075).

    Examples
    --------
    >>> adjusted_rand_index(find_overlaps(np.array([[2, 2, 0, 0]]), np.array([[1, 1, 0, 0]])))
    1.0
    """
    true, predicted = (np.bincount(overlaps.pairs[:, side], overlaps.num_pixels) for side in (0, 1))
    together, of_true, of_predicted = (
        float((counts * (counts - 1) / 2).sum()) for counts in (overlaps.num_pixels.astype(np.float64), true, predicted)
    )
    total = float(overlaps.num_pixels.sum())
    by_chance = of_true * of_predicted / max(total * (total - 1) / 2, 1.0)
    largest = (of_true + of_predicted) / 2
    return 1.0 if largest == by_chance else (together - by_chance) / (largest - by_chance)


def median_diameter_error(predicted: Particles, true: Particles) -> float:
    """Compute the relative error of the median equivalent diameter, |found − true| / true.

    Returns
    -------
    float
        1 where nothing is found; NaN where the truth has no particle that the border does not cut.

    Examples
    --------
    >>> true = np.pad([[1, 1], [1, 1]], 1)
    >>> median_diameter_error(np.pad([[1, 0], [0, 0]], 1), true)
    0.5
    """
    found, expected = list_diameters(predicted), list_diameters(true)
    if not len(expected):
        return np.nan
    median = float(np.median(expected))
    return abs(float(np.median(found)) - median) / median if len(found) else 1.0


def size_distance(predicted: Particles, true: Particles) -> float:
    """Compute the Kolmogorov-Smirnov distance of the equivalent diameters (doi:10.1214/aoms/1177730256).

    The largest difference of the shares of the particles that are smaller than a diameter.

    Returns
    -------
    float
        In [0, 1]; 1 where nothing is found, NaN where the truth has no particle that the border does not cut.

    Examples
    --------
    >>> particles = np.pad([[1, 1], [1, 1]], 1)
    >>> size_distance(particles, particles)
    0.0
    """
    return compare_sizes(list_diameters(predicted), list_diameters(true))


def compare_sizes(found: Values, expected: Values) -> float:
    """Compute the Kolmogorov-Smirnov distance of two lists of diameters, of one unit; see `size_distance`.

    Examples
    --------
    >>> compare_sizes(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0]))
    0.5
    """
    if not len(expected):
        return np.nan
    if not len(found):
        return 1.0
    places = np.concatenate([found, expected])
    shares = [np.searchsorted(np.sort(sizes), places, side="right") / len(sizes) for sizes in (found, expected)]
    return float(np.abs(shares[0] - shares[1]).max())


def list_diameters(particles: Particles) -> Values:
    """List the equivalent diameters [px] of the particles that the border of the image does not cut."""
    table = measure_particles(particles)
    return table["equivalent_diameter_px"][table["touches_border"] == 0]


def _separate(case: Case) -> list[tuple[Particles, Particles]]:
    """Give the predicted and the true particles of each image."""
    if case.instances is None:
        raise ValueError("the instances are not known; the metric names them in `needs`")
    masks = case.result == list(case.label_names).index(PARTICLE_LABEL)
    return [(separate_particles(mask), true) for mask, true in zip(masks, case.instances, strict=True)]


def _overlap(case: Case) -> list[Overlaps]:
    return [find_overlaps(*pair) for pair in case.once("particles", _separate)]


def _score_overlaps(score: Callable[[Overlaps], float]) -> Callable[[Case], Scores]:
    return lambda case: np.array([score(overlaps) for overlaps in case.once("overlaps", _overlap)], np.float64)


def _score_sizes(score: Callable[[Particles, Particles], float]) -> Callable[[Case], Scores]:
    return lambda case: np.array([score(*pair) for pair in case.once("particles", _separate)], np.float64)


_make_metric = partial(
    Metric,
    kinds=("labels",),
    decimals=3,
    tolerance=0.02,
    retrained_tolerance=0.1,
    needs=("instances",),
    needs_label=PARTICLE_LABEL,
)
AP50_COCO = _make_metric(
    name="ap50_coco",
    heading="AP50 (COCO)",
    description=(
        "AP50 (COCO) is the precision times the recall of the particles whose intersection over union with a true one "
        "is at least 0.5 (doi:10.1007/978-3-319-10602-1_48)."
    ),
    compute=_score_overlaps(lambda overlaps: average_precision_coco(overlaps, FOUND_IOU)),
    is_larger_better=True,
)
AP75_COCO = _make_metric(
    name="ap75_coco",
    heading="AP75 (COCO)",
    description="AP75 (COCO) is the same at 0.75.",
    compute=_score_overlaps(lambda overlaps: average_precision_coco(overlaps, 0.75)),
    is_larger_better=True,
    is_compact=False,
)
AP50_EMPS = _make_metric(
    name="ap50_emps",
    heading="AP50 (EMPS)",
    description="AP50 (EMPS) is the precision alone, as in the code of the EMPS paper (doi:10.1021/acs.jcim.0c01455).",
    compute=_score_overlaps(lambda overlaps: average_precision_emps(overlaps, 0.5)),
    is_larger_better=True,
    is_compact=False,
)
AP75_EMPS = _make_metric(
    name="ap75_emps",
    heading="AP75 (EMPS)",
    description="AP75 (EMPS) is the same at 0.75.",
    compute=_score_overlaps(lambda overlaps: average_precision_emps(overlaps, 0.75)),
    is_larger_better=True,
    is_compact=False,
)
PQ = _make_metric(
    name="pq",
    heading="PQ",
    description="PQ is the panoptic quality of the particles (doi:10.1109/CVPR.2019.00963).",
    compute=_score_overlaps(panoptic_quality),
    is_larger_better=True,
)
ARI = _make_metric(
    name="ari",
    heading="ARI",
    description="ARI is the adjusted Rand index of particles and background (doi:10.1007/BF01908075).",
    compute=_score_overlaps(adjusted_rand_index),
    is_larger_better=True,
    is_compact=False,
)
MEDIAN_DIAMETER_ERROR = _make_metric(
    name="median_diameter_error",
    heading="median diameter error [%]",
    description="The error of the median diameter is relative, of the particles that the border does not cut.",
    compute=_score_sizes(median_diameter_error),
    is_larger_better=False,
    factor=100.0,
)
SIZE_DISTANCE = _make_metric(
    name="size_distance",
    heading="size distance",
    description=(
        "The size distance is that of Kolmogorov and Smirnov between the distributions of the diameters of these "
        "particles (doi:10.1214/aoms/1177730256)."
    ),
    compute=_score_sizes(size_distance),
    is_larger_better=False,
    is_compact=False,
)
