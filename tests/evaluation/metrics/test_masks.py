"""Overlaps obey their algebra, and scikit-learn counts the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from emdenoise.evaluation.metrics.masks import (
    count_confusion,
    count_regions,
    dice_per_label,
    iou_per_label,
    score_assignments,
    score_masks,
)
from emdenoise.seeding import make_generator

NUM_LABELS = 4
masks = arrays(np.uint8, (3, 4, 5), elements=st.integers(0, NUM_LABELS - 1))


@pytest.mark.parametrize("num_present", range(1, NUM_LABELS + 1))
def test_scikit_learn_gives_the_same_numbers(num_present: int) -> None:
    predicted_mask, mask = make_generator(num_present, "test").integers(num_present, size=(2, 3, 4, 2), dtype=np.uint8)
    confusion = count_confusion(predicted_mask, mask, num_labels=NUM_LABELS)
    assert confusion.dtype == np.int64
    expected = confusion_matrix(mask.ravel(), predicted_mask.ravel(), labels=list(range(NUM_LABELS)))
    assert np.array_equal(confusion, expected)
    for overlap, reference in ((dice_per_label, f1_score), (iou_per_label, jaccard_score)):
        values = overlap(predicted_mask, mask, num_labels=NUM_LABELS)
        for one, predicted, true in zip(values, predicted_mask, mask, strict=True):
            present = np.union1d(predicted, true)
            numbers = reference(true.ravel(), predicted.ravel(), labels=present, average=None)
            assert one[present] == pytest.approx(numbers)
            assert np.isnan(np.delete(one, present)).all()


@given(masks, masks)
def test_iou_follows_from_dice_and_both_are_shares(predicted_mask: np.ndarray, mask: np.ndarray) -> None:
    dice = dice_per_label(predicted_mask, mask, num_labels=NUM_LABELS)
    iou = iou_per_label(predicted_mask, mask, num_labels=NUM_LABELS)
    assert dice.shape == iou.shape == (3, NUM_LABELS)
    assert dice.dtype == iou.dtype == np.float64
    assert iou == pytest.approx(dice / (2 - dice), nan_ok=True)
    assert ((dice >= 0) & (dice <= 1) | np.isnan(dice)).all()


@given(masks, masks)
def test_prediction_and_truth_may_be_exchanged(predicted_mask: np.ndarray, mask: np.ndarray) -> None:
    for overlap in (dice_per_label, iou_per_label):
        one, other = (
            overlap(*pair, num_labels=NUM_LABELS) for pair in ((predicted_mask, mask), (mask, predicted_mask))
        )
        assert np.array_equal(one, other, equal_nan=True)
    one = count_confusion(predicted_mask, mask, num_labels=NUM_LABELS)
    assert np.array_equal(one.T, count_confusion(mask, predicted_mask, num_labels=NUM_LABELS))


@given(masks, masks, st.permutations(range(NUM_LABELS)))
def test_other_names_for_the_labels_move_the_scores_with_them(
    predicted_mask: np.ndarray, mask: np.ndarray, order: list[int]
) -> None:
    renamed = np.array(order, np.uint8)
    for overlap in (dice_per_label, iou_per_label):
        before = overlap(predicted_mask, mask, num_labels=NUM_LABELS)
        after = overlap(renamed[predicted_mask], renamed[mask], num_labels=NUM_LABELS)
        assert np.array_equal(after[:, renamed], before, equal_nan=True)


@given(masks)
def test_equal_masks_overlap_fully_where_they_have_the_label(mask: np.ndarray) -> None:
    for overlap in (dice_per_label, iou_per_label):
        values = overlap(mask, mask.copy(), num_labels=NUM_LABELS)
        for one, image in zip(values, mask, strict=True):
            assert list(np.flatnonzero(one == 1)) == list(np.unique(image))
            assert np.isnan(np.delete(one, np.unique(image))).all()
    confusion = count_confusion(mask, mask, num_labels=NUM_LABELS)
    assert np.array_equal(confusion, np.diag(np.bincount(mask.ravel(), minlength=NUM_LABELS)))


@given(masks, masks)
def test_means_are_over_the_labels_that_the_true_mask_of_an_image_has(
    predicted_mask: np.ndarray, mask: np.ndarray
) -> None:
    names = ["vacuum", "lattice", "defect", "dirt"]
    scores = score_masks(predicted_mask, mask, names)
    assert set(scores) == {"dice", "iou"} | {f"{kind}_{name}" for kind in ("dice", "iou") for name in names}
    for index in range(len(mask)):
        present = [names[label] for label in np.unique(mask[index])]
        for kind in ("dice", "iou"):
            mean = sum(scores[f"{kind}_{name}"][index] for name in present) / len(present)
            assert scores[kind][index] == pytest.approx(mean)
            assert all(np.isnan(scores[f"{kind}_{name}"][index]) for name in set(names) - set(present))


def test_one_wrong_pixel_of_a_label_that_the_image_has_not_costs_that_pixel_alone() -> None:
    mask = np.zeros((1, 10, 10), np.uint8)
    predicted_mask = mask.copy()
    predicted_mask[0, 5, 5] = 1
    assert score_masks(predicted_mask, mask, ["lattice", "defect"])["dice"] == pytest.approx([2 * 99 / (99 + 100)])


def test_two_shifted_squares_have_the_overlap_of_their_areas() -> None:
    predicted_mask, mask = np.zeros((2, 1, 10, 10), np.uint8)
    mask[0, 2:6, 2:6] = 1
    predicted_mask[0, 2:6, 4:8] = 1  # half of each is shared: 8 of 16
    scores = score_masks(predicted_mask, mask, ["background", "particle"])
    assert scores["dice_particle"] == pytest.approx([0.5])
    assert scores["iou_particle"] == pytest.approx([8 / 24])
    assert scores["dice_background"] == pytest.approx([2 * 76 / (84 + 84)])


@given(arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 2)), masks)
def test_an_assignment_of_regions_scores_as_the_mask_that_it_makes(regions: np.ndarray, mask: np.ndarray) -> None:
    counts = count_regions(regions, mask, num_regions=3, num_labels=NUM_LABELS)
    assert counts.sum() == mask.size
    assignments = np.array([[0, 1, 2], [3, 3, 0], [2, 2, 2]])
    names = list("abcd")
    expected = [score_masks(labels[regions], mask, names)["dice"].mean() for labels in assignments]
    assert score_assignments(counts, assignments) == pytest.approx(expected)


@pytest.mark.parametrize("function", [dice_per_label, iou_per_label, count_confusion])
@pytest.mark.parametrize(
    ("predicted_mask", "mask", "message"),
    [
        (np.zeros((1, 4, 4), int), np.zeros((1, 4, 5), int), r"int64 \(1, 4, 4\).*\(1, 4, 5\).*equal 3-D"),
        (np.zeros((4, 4), int), np.zeros((4, 4), int), "equal 3-D"),
        (np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), int), "predicted_mask is float32.*integer labels"),
        (np.zeros((1, 4, 4), int), np.zeros((1, 4, 4), bool), "mask is bool.*integer labels"),
        (np.full((1, 4, 4), 2), np.zeros((1, 4, 4), int), "predicted_mask has labels from 2 to 2; expected 0 to 1"),
        (np.zeros((1, 4, 4), int), np.full((1, 4, 4), -1), "mask has labels from -1 to -1; expected 0 to 1"),
    ],
)
def test_wrong_masks_are_refused(function, predicted_mask: np.ndarray, mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(predicted_mask, mask, num_labels=2)


def test_images_without_pixels_have_no_mean() -> None:
    empty = np.zeros((1, 0, 4), np.uint8)
    with pytest.raises(ValueError, match="at least one pixel"):
        score_masks(empty, empty, ["a", "b"])
