"""What becomes of the probabilities of a classifier."""

import time
from dataclasses import replace

import numpy as np
import pytest

from emdenoise.evaluation.baselines import fit_baselines
from emdenoise.evaluation.baselines.classifiers import (
    GRADIENT_BOOSTING,
    RANDOM_FOREST,
    Learner,
    PixelSegmenter,
    choose_labels,
    drop_spots,
    fit_classifier,
)
from emdenoise.evaluation.baselines.contract import Examples, OfDetectorImage
from emdenoise.seeding import make_generator


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


def draw_examples(seed: int, share: float, num_images: int = 2) -> Examples:
    """Draw images whose left part of this share of the width is bright, of label 1."""
    mask = np.zeros((num_images, 40, 40), np.uint8)
    mask[:, :, : round(40 * share)] = 1
    noisy = (make_generator(seed, "test").poisson(10 + 30 * mask) / 40).astype(np.float32)
    return Examples({"noisy": noisy[..., None]}, mask, ["dark", "bright"])


def test_two_classifiers_that_are_fitted_at_a_time_read_the_training_images_once() -> None:
    num_read = []

    def read() -> Examples:
        num_read.append(1)
        time.sleep(0.05)
        return draw_examples(1, 0.25)

    validation = draw_examples(2, 0.5)
    examples = replace(validation, read_training=read)
    fitted = fit_baselines(["random_forest", "gradient_boosting"], examples)
    assert len(num_read) == 1
    for method in fitted.values():
        assert np.mean(method({"noisy": np.array(validation.inputs["noisy"])}) == validation.truth) > 0.9


every_learner = pytest.mark.parametrize("learner", [RANDOM_FOREST, GRADIENT_BOOSTING], ids=["forest", "boosting"])


@every_learner
def test_images_of_one_label_alone_can_be_half_of_what_it_learns_from(learner: Learner) -> None:
    empty, full = draw_examples(0, 0.0, num_images=1), draw_examples(1, 0.5, num_images=1)
    examples = Examples(
        {"noisy": [empty.inputs["noisy"][0], full.inputs["noisy"][0]]},
        [empty.truth[0], full.truth[0]],
        empty.label_names,
    )
    # What half of the images teach says nothing of the others, so that nothing is known of how well it does.
    predicted_mask = fit_classifier(learner, examples)({"noisy": np.array(full.inputs["noisy"])})
    assert predicted_mask.shape == full.truth.shape
    assert set(np.unique(predicted_mask)) <= {0, 1}


@every_learner
def test_the_first_size_of_a_tree_is_inside_the_sizes_to_choose_from(learner: Learner) -> None:
    assert min(learner.sizes) < learner.sizes[0] < max(learner.sizes)


def test_a_forest_learns_from_the_training_images_and_reads_them_once() -> None:
    num_read = []

    def read() -> Examples:
        num_read.append(1)
        return draw_examples(1, 0.25, num_images=3)

    validation = draw_examples(2, 0.5)
    fitted = fit_classifier(
        RANDOM_FOREST, Examples(validation.inputs, validation.truth, validation.label_names, 0.0, read)
    )
    assert isinstance(fitted, OfDetectorImage)
    assert isinstance(fitted.method, PixelSegmenter)
    assert len(num_read) == 1
    assert fitted.method.frequencies == pytest.approx([0.75, 0.25])
    alone = fit_classifier(RANDOM_FOREST, validation)
    assert alone.method.frequencies == pytest.approx([0.5, 0.5])  # type: ignore[attr-defined]
    assert np.mean(fitted(validation.inputs) == validation.truth) > 0.9
