"""What holds for every entry of SEGMENTERS."""

from functools import cache
from typing import get_args

import numpy as np
import pytest
from emdenoise.evaluation.baselines.segmenters import SEGMENTERS, TunedSegmenter, tune_segmenters

from emdenoise.config.schema import EvaluationSettings
from emdenoise.evaluation.metrics.masks import score_masks
from emdenoise.seeding import make_generator

pytestmark = pytest.mark.parametrize("name", SEGMENTERS)


def draw_discs(
    seed: int, *, num_images: int = 2, shape: tuple[int, int] = (64, 64), is_bright: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Draw discs of three times the intensity of the ground, or a third of it, counted with Poisson noise."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros((num_images, *shape), np.uint8)
    rng = make_generator(seed, "test")
    for one in mask:
        for row, column in rng.uniform(0.2, 0.8, (2, 2)) * shape:
            one[(rows - row) ** 2 + (columns - column) ** 2 <= 11**2] = 1
    clean = np.where(mask == is_bright, 0.75, 0.25)
    return (rng.poisson(clean * 40) / 40).astype(np.float32), mask


@cache
def tune(name: str, is_bright: bool = True, black_level: float = 0.0) -> TunedSegmenter:
    noisy, mask = draw_discs(0, is_bright=is_bright)
    return tune_segmenters([name], noisy + np.float32(black_level), mask, num_labels=2, black_level=black_level)[name]


def test_it_can_be_named_in_the_parameters_file(name: str) -> None:
    choices, *_ = get_args(EvaluationSettings.model_fields["segmentation_baselines"].annotation)
    assert name in get_args(choices)


@pytest.mark.parametrize("is_bright", [True, False])
def test_it_finds_discs_of_either_polarity_in_counting_noise(name: str, is_bright: bool) -> None:
    noisy, mask = draw_discs(1, num_images=4, is_bright=is_bright)
    scores = score_masks(tune(name, is_bright)(noisy), mask, ["ground", "disc"])
    assert scores["dice_disc"].min() > 0.9
    assert scores["dice_ground"].min() > 0.9


@pytest.mark.parametrize("shape", [(64, 64), (40, 56)])
def test_masks_have_the_shape_of_the_images_and_known_labels(name: str, shape: tuple[int, int]) -> None:
    noisy, _ = draw_discs(2, shape=shape)
    predicted_mask = tune(name)(noisy)
    assert predicted_mask.dtype == np.uint8
    assert predicted_mask.shape == noisy.shape
    assert predicted_mask.max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_an_even_image_gets_the_most_frequent_label(name: str, value: float) -> None:
    assert not tune(name)(np.full((1, 40, 40), value, np.float32)).any()


def test_the_same_images_give_the_same_choice_and_the_same_masks(name: str) -> None:
    noisy, _ = draw_discs(3)
    once = tune(name)
    tune.cache_clear()
    again = tune(name)
    assert once.describe() == again.describe()
    assert np.array_equal(once(noisy), again(noisy))


def test_an_image_has_the_same_mask_in_any_batch_and_stays_as_it_was(name: str) -> None:
    noisy, _ = draw_discs(3)
    before = noisy.copy()
    assert np.array_equal(tune(name)(noisy)[1:], tune(name)(noisy[1:]))
    assert np.array_equal(noisy, before)


def test_brightness_does_not_matter(name: str) -> None:
    noisy, _ = draw_discs(3)
    assert np.mean(tune(name)(4 * noisy) != tune(name)(noisy)) < 1e-3


def test_a_stored_black_level_does_not_matter(name: str) -> None:
    noisy, _ = draw_discs(3)
    shifted = tune(name, black_level=-0.25)(noisy - np.float32(0.25))
    assert np.mean(shifted != tune(name)(noisy)) < 0.01


def test_three_labels_of_one_tuning_image_are_told_apart_as_far_as_regions_reach(name: str) -> None:
    steps = np.repeat(np.arange(3, dtype=np.uint8), 16)
    mask = np.tile(steps, (1, 48, 1))
    noisy = (make_generator(0, "test").poisson((mask + 1) * 20) / 60).astype(np.float32)
    dice = score_masks(tune_segmenters([name], noisy, mask, num_labels=3)[name](noisy), mask, list("abc"))["dice"][0]
    # Two regions hold at best two of three labels: (1 + 2/3 + 0) / 3.
    assert dice > (0.5 if name in ("otsu", "local_threshold") else 0.95)


def test_images_without_any_contrast_teach_nothing_but_stop_nothing(name: str) -> None:
    noisy, mask = draw_discs(0)
    dead = np.zeros((1, 64, 64))
    with_dead = np.concatenate([noisy, dead.astype(np.float32)]), np.concatenate([mask, dead.astype(np.uint8)])
    assert np.array_equal(tune_segmenters([name], *with_dead, num_labels=2)[name](noisy), tune(name)(noisy))


def test_it_says_what_was_chosen(name: str) -> None:
    assert tune(name).describe().startswith("beam ")
