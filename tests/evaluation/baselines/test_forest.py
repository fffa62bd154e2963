"""What becomes of the probabilities of a random forest."""

import numpy as np

from emdenoise.evaluation.baselines.forest import choose_labels, drop_spots


def test_small_spots_are_dropped_and_those_of_the_frequent_label_stay() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[1:3, 1:3] = 1  # 4 px
    mask[5:10, 5:10] = 2  # 25 px, less the hole
    mask[7, 7] = 0
    assert np.array_equal(drop_spots(mask, 4, 0), mask)
    dropped = drop_spots(mask, 5, 0)
    assert not dropped[1:3, 1:3].any()
    assert np.array_equal(dropped[4:], mask[4:])
    assert not drop_spots(mask, 25, 0).any()


def test_a_forest_gives_a_rare_label_its_share_back() -> None:
    probabilities = np.array([[[0.4, 0.6]]], np.float32)
    frequencies = np.array([0.9, 0.1])
    assert choose_labels(probabilities, frequencies, 0.0) == 1
    assert choose_labels(probabilities, frequencies, 1.0) == 0
