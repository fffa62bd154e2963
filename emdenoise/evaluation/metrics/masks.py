"""Scores of predicted masks against the true ones, one number per image and label, in float64.

Overlaps of a label are 0/0 where neither mask of an image has it. What a method is scored and tuned by, `score_masks`,
leaves out every label that the true mask does not have (docs/decisions/0008-scores-of-masks.md).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Mask, describe
from emdenoise.evaluation.metrics.contract import Case, Metric, Scores

Labels = npt.NDArray[np.integer]
"""Masks of any integer type, shape (num_images, height, width)."""
Counts = npt.NDArray[np.int64]


def dice_per_label(predicted_mask: Labels, mask: Labels, *, num_labels: int) -> Scores:
    """Compute the Dice coefficient of each label in each image (doi:10.2307/1932409).

    Parameters
    ----------
    predicted_mask, mask : ndarray of integers, shape (num_images, height, width)
        Labels from 0 to ``num_labels - 1``.
    num_labels : int

    Returns
    -------
    ndarray of float64, shape (num_images, num_labels)
        ``2 |A ∩ B| / (|A| + |B|)`` in [0, 1]; NaN where the label is in neither mask of the image.

    Raises
    ------
    ValueError
        If the shapes differ or are not three-dimensional, a type is not an integer, or a label is out of range.

    Examples
    --------
    >>> dice_per_label(np.array([[[0, 1, 1, 1]]]), np.array([[[0, 0, 1, 1]]]), num_labels=3).round(3)
    array([[0.667, 0.8  ,   nan]])
    """
    counts = _count_each(predicted_mask, mask, num_labels)
    hits, predicted, true = _count_areas(counts)
    return _divide(2 * hits, predicted + true)


def iou_per_label(predicted_mask: Labels, mask: Labels, *, num_labels: int) -> Scores:
    """Compute the intersection over union of each label in each image (doi:10.1111/j.1469-8137.1912.tb05611.x).

    Parameters
    ----------
    predicted_mask, mask : ndarray of integers, shape (num_images, height, width)
        Labels from 0 to ``num_labels - 1``.
    num_labels : int

    Returns
    -------
    ndarray of float64, shape (num_images, num_labels)
        ``|A ∩ B| / |A ∪ B|`` in [0, 1]; NaN where the label is in neither mask of the image.

    Raises
    ------
    ValueError
        As `dice_per_label`.

    Examples
    --------
    >>> iou_per_label(np.array([[[0, 1, 1, 1]]]), np.array([[[0, 0, 1, 1]]]), num_labels=2).round(3)
    array([[0.5  , 0.667]])
    """
    counts = _count_each(predicted_mask, mask, num_labels)
    hits, predicted, true = _count_areas(counts)
    return _divide(hits, predicted + true - hits)


def count_confusion(predicted_mask: Labels, mask: Labels, *, num_labels: int) -> Counts:
    """Count the pixels of all images by true and predicted label.

    Parameters
    ----------
    predicted_mask, mask : ndarray of integers, shape (num_images, height, width)
        Labels from 0 to ``num_labels - 1``.
    num_labels : int

    Returns
    -------
    ndarray of int64, shape (num_labels, num_labels)
        Rows are the true labels, columns the predicted ones.

    Raises
    ------
    ValueError
        As `dice_per_label`.

    Examples
    --------
    >>> count_confusion(np.array([[[0, 1, 1, 1]]]), np.array([[[0, 0, 1, 1]]]), num_labels=2)
    array([[1, 1],
           [0, 2]])
    """
    return _count_each(predicted_mask, mask, num_labels).sum(axis=0)


def score_masks(predicted_mask: Labels, mask: Labels, label_names: Sequence[str]) -> dict[str, Scores]:
    """Compute all scores of masks against their truth.

    Parameters
    ----------
    predicted_mask, mask : ndarray of integers, shape (num_images, height, width)
        Labels, which number the entries of `label_names`.
    label_names : sequence of str

    Returns
    -------
    dict of str to ndarray of float64, shape (num_images,)
        ``dice_NAME`` and ``iou_NAME`` for each label, NaN where the true mask does not have it; ``dice`` and ``iou``,
        their means over the labels of the image. A pixel that is wrongly given a label that the image does not have
        counts against the label that it should have; scored as a label of its own with Dice 0, one such pixel would
        weigh as much as half the image, and never naming a rare label would score best.

    Raises
    ------
    ValueError
        As `dice_per_label`, or if the images have no pixels.

    Examples
    --------
    >>> scores = score_masks(np.array([[[0, 1, 1, 1]]]), np.array([[[0, 0, 1, 1]]]), ["vacuum", "lattice"])
    >>> {name: float(values[0].round(3)) for name, values in scores.items() if name.startswith("dice")}
    {'dice': 0.733, 'dice_vacuum': 0.667, 'dice_lattice': 0.8}
    """
    if mask.size == 0:
        raise ValueError(f"mask is {describe(mask)}; expected at least one pixel")
    case = Case(predicted_mask, mask, label_names)
    return DICE.collect(case) | IOU.collect(case)


def _leave_out_absent(scores: Scores, mask: Labels) -> Scores:
    """Make the scores of labels NaN that the true mask of an image does not have."""
    is_absent = np.stack([(mask != label).all(axis=(1, 2)) for label in range(scores.shape[1])], axis=1)
    scores[is_absent] = np.nan
    return scores


def compute_dice(case: Case) -> Scores:
    """Compute the Dice coefficient of the labels that each image has, float64 (num_images, num_labels)."""
    dice = dice_per_label(case.result, case.truth, num_labels=len(case.label_names))
    return _leave_out_absent(dice, case.truth)


def compute_iou(case: Case) -> Scores:
    """Compute the intersection over union of the labels that each image has, float64 (num_images, num_labels)."""
    iou = iou_per_label(case.result, case.truth, num_labels=len(case.label_names))
    return _leave_out_absent(iou, case.truth)


DICE = Metric(
    name="dice",
    heading="Dice",
    description="Dice is the mean over the labels that an image has (doi:10.2307/1932409).",
    kinds=("labels",),
    compute=compute_dice,
    is_larger_better=True,
    decimals=3,
    tolerance=0.02,
    retrained_tolerance=0.1,
    is_by_label=True,
    shows_labels=True,
    caption="Dice {:.2f}",
)
IOU = Metric(
    name="iou",
    heading="IoU",
    description="IoU, intersection over union, is the mean over the labels that an image has.",
    kinds=("labels",),
    compute=compute_iou,
    is_larger_better=True,
    decimals=3,
    tolerance=0.02,
    retrained_tolerance=0.1,
    is_by_label=True,
)


MAX_VALUES = 2**22
"""Values of an array that may be made at once: 32 MiB."""


def count_regions(regions: Sequence[Mask], masks: Sequence[Labels], *, num_regions: int, num_labels: int) -> Counts:
    """Count the pixels of each region that have each label, before it is known which label a region gets.

    Parameters
    ----------
    regions : sequence of ndarray of uint8, shape (height, width)
        Numbers from 0 to ``num_regions - 1``, of each image.
    masks : sequence of ndarray of integers, shape (height, width)
        Labels from 0 to ``num_labels - 1``.
    num_regions, num_labels : int

    Returns
    -------
    ndarray of int64, shape (num_images, num_regions, num_labels)
    """
    size = num_regions * num_labels
    pairs = [one.astype(np.intp) * num_labels + mask for one, mask in zip(regions, masks, strict=True)]
    counts = np.stack([np.bincount(one.ravel(), minlength=size) for one in pairs])
    return counts.reshape(-1, num_regions, num_labels).astype(np.int64)


def score_assignments(counts: Counts, assignments: npt.NDArray[np.intp]) -> Scores:
    """Compute the mean Dice of the masks that come of giving each region a label.

    Parameters
    ----------
    counts : ndarray of int64, shape (num_images, num_regions, num_labels)
        See `count_regions`.
    assignments : ndarray of int, shape (num_assignments, num_regions)
        The label of each region.

    Returns
    -------
    ndarray of float64, shape (num_assignments,)
        The mean over the images of what `score_masks` calls ``dice``.

    Examples
    --------
    >>> score_assignments(np.array([[[9, 1], [0, 10]]]), np.array([[0, 1], [1, 0]])).round(3)
    array([0.95 , 0.048])
    """
    num_at_once = max(1, MAX_VALUES // counts.size)
    parts = [assignments[first : first + num_at_once] for first in range(0, len(assignments), num_at_once)]
    return np.concatenate([_score_some(counts, part) for part in parts])


def _score_some(counts: Counts, assignments: npt.NDArray[np.intp]) -> Scores:
    is_given = assignments[:, None, :, None] == np.arange(counts.shape[2])  # assignment, image, region, label
    hits = (counts * is_given).sum(axis=2)
    predicted = (counts.sum(axis=2, keepdims=True) * is_given).sum(axis=2)
    true = counts.sum(axis=1)
    dice = np.where(true > 0, _divide(2 * hits, predicted + true), np.nan)
    return np.nanmean(dice, axis=2).mean(axis=1)


def _count_each(predicted_mask: Labels, mask: Labels, num_labels: int) -> Counts:
    """Count pixels by image, true label and predicted label, after checking the masks."""
    if predicted_mask.ndim != 3 or predicted_mask.shape != mask.shape:
        raise ValueError(
            f"predicted_mask is {describe(predicted_mask)}, mask {describe(mask)}; expected equal 3-D shapes"
        )
    for name, labels in (("predicted_mask", predicted_mask), ("mask", mask)):
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{name} is {describe(labels)}; expected integer labels")
        if labels.size and not 0 <= labels.min() <= labels.max() < num_labels:
            raise ValueError(f"{name} has labels from {labels.min()} to {labels.max()}; expected 0 to {num_labels - 1}")
    size = num_labels**2
    counts = [
        np.bincount((true.astype(np.intp) * num_labels + predicted).ravel(), minlength=size)
        for true, predicted in zip(mask, predicted_mask.astype(np.intp), strict=True)
    ]
    return np.array(counts, np.int64).reshape(-1, num_labels, num_labels)


def _count_areas(counts: Counts) -> tuple[Counts, Counts, Counts]:
    """Give the pixels of each label in both masks, in the predicted and in the true one, by image."""
    return np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=1), counts.sum(axis=2)


def _divide(numerator: Counts, denominator: Counts) -> Scores:
    """Divide; NaN where both are zero."""
    nothing = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=nothing, where=denominator > 0, dtype=np.float64)
