"""What thresholds can choose is chosen where it is needed, and by the best mean Dice."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import threshold_otsu

from emdenoise.evaluation.baselines import BASELINES
from emdenoise.evaluation.baselines.contract import Examples, OfDetectorImage
from emdenoise.evaluation.baselines.thresholds import FLATTEN_PX, SMOOTHINGS_PX, ThresholdSegmenter, split_regions
from emdenoise.evaluation.baselines.views import TEXTURES_PX, View
from emdenoise.evaluation.metrics import masks
from emdenoise.evaluation.metrics.masks import score_assignments, score_masks
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import make_beam_profile

NAMES = ["ground", "object"]


def count_electrons(clean: np.ndarray, electrons: float, seed: int = 0) -> np.ndarray:
    return (make_generator(seed, "test").poisson(clean * electrons) / electrons).astype(np.float32)


def make_square(size: int = 48) -> np.ndarray:
    mask = np.zeros((1, size, size), np.uint8)
    mask[0, size // 4 : size // 2, size // 4 : 3 * size // 4] = 1
    return mask


def tune(name: str, noisy: np.ndarray, mask: np.ndarray) -> ThresholdSegmenter:
    fitted = BASELINES[name].fit(Examples({"noisy": noisy[..., None]}, mask, NAMES))
    assert isinstance(fitted, OfDetectorImage)
    assert isinstance(fitted.method, ThresholdSegmenter)
    return fitted.method


def test_the_choice_has_the_best_dice_of_all_candidates() -> None:
    mask = make_square()
    noisy = count_electrons(0.5 + 0.2 * mask, 5)
    chosen = tune("otsu", noisy, mask)
    maps = [*((smooth_px, None) for smooth_px in SMOOTHINGS_PX), *TEXTURES_PX]
    candidates = [
        ThresholdSegmenter(View(flatten_px, *one, None, is_border_low), 2, None, labels, is_by_area, 0.0, 0)
        for is_border_low, flatten_px, one, labels, is_by_area in product(
            (False, True), FLATTEN_PX, maps, product((0, 1), repeat=2), (False, True)
        )
    ]
    dice = [float(score_masks(one(noisy), mask, NAMES)["dice"].mean()) for one in candidates]
    assert chosen in candidates
    assert dice[candidates.index(chosen)] == pytest.approx(max(dice))


def test_much_noise_asks_for_smoothing_and_none_for_none() -> None:
    mask = make_square()
    smoothing = [
        tune("otsu", noisy, mask).view.smooth_px
        for noisy in ((0.2 + 0.5 * mask).astype(np.float32), count_electrons(0.2 + 0.5 * mask, 2))
    ]
    assert smoothing[0] == 0
    assert smoothing[1] >= 1


def test_a_lattice_of_the_mean_intensity_of_the_vacuum_is_told_by_its_texture() -> None:
    rows, columns = np.mgrid[:96, :96]
    waves = np.cos(2 * np.pi * rows / 12) * np.cos(2 * np.pi * columns / 12)
    mask = (columns >= 48).astype(np.uint8)[None]
    noisy = count_electrons(0.5 + 0.2 * waves * mask, 50)
    otsu = tune("otsu", noisy, mask)
    assert otsu.view.texture_px is not None
    fresh = count_electrons(0.5 + 0.2 * waves * mask, 50, seed=1)
    assert score_masks(otsu(fresh), mask, NAMES)["dice"].min() > 0.9


def test_objects_of_either_polarity_in_one_set_are_told_by_their_area() -> None:
    mask = np.concatenate([make_square()] * 2)
    noisy = count_electrons(np.stack([0.3 + 0.5 * mask[0], 0.8 - 0.5 * mask[1]]), 100)
    otsu = tune("otsu", noisy, mask)
    assert otsu.is_by_area
    assert score_masks(otsu(noisy), mask, NAMES)["dice"].min() > 0.95


@pytest.mark.parametrize("name", ["otsu", "multi_otsu", "local_threshold"])
def test_an_uneven_beam_does_not_hide_the_objects(name: str) -> None:
    rows, columns = np.mgrid[:96, :96]
    mask = ((rows % 24 - 12) ** 2 + (columns % 24 - 12) ** 2 <= 5**2).astype(np.uint8)[None]
    beam = make_beam_profile((96, 96), width_fraction=0.6, centre_fraction=(0.1, 0.1))
    noisy = count_electrons((0.4 + 0.2 * mask) * beam, 500)
    predicted_mask = tune(name, noisy, mask)(noisy)
    assert score_masks(predicted_mask, mask, NAMES)["dice_object"].min() > 0.9
    plain = (noisy > threshold_otsu(noisy)).astype(np.uint8)
    assert score_masks(plain, mask, NAMES)["dice_object"].max() < 0.5


def test_dead_pixels_are_no_objects() -> None:
    mask = make_square()
    noisy = count_electrons(0.8 - 0.4 * mask, 1000)
    otsu = tune("otsu", noisy, mask)
    damaged = noisy.copy()
    damaged[0, 4::16, 4] = 0
    assert np.array_equal(otsu(damaged)[0, :, :8], otsu(noisy)[0, :, :8])


def test_thresholds_of_two_regions_are_those_of_otsu_in_scikit_image() -> None:
    image = count_electrons(0.3 + 0.4 * make_square(), 50)[0]
    image = ndimage.gaussian_filter(image, 1.0)
    low, high = np.percentile(image, (0.1, 99.9))
    expected = image > threshold_otsu(np.clip(image, low, high))
    assert np.mean(split_regions(image, 2, None) != expected) < 0.005  # one bin of 256


@given(values=st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=4, max_size=16), num_regions=st.integers(2, 4))
def test_few_values_are_split_between_them(values: list[float], num_regions: int) -> None:
    feature = np.array([values], np.float32)
    regions = split_regions(feature, num_regions, None)
    assert regions.max() < num_regions
    assert (np.diff(regions[0, np.argsort(feature[0], kind="stable")].astype(int)) >= 0).all()
    if np.unique(feature).size <= num_regions:
        assert np.unique(regions).size == np.unique(feature).size


def test_so_many_labels_that_not_all_can_be_tried_take_little_memory_and_the_frequent_ones_are_found() -> None:
    """Four stripes of one brightness each, with four of 30 labels, and a pixel of every other one."""
    labels, names = (3, 17, 8, 29), [str(number) for number in range(30)]
    mask = np.repeat(np.array(labels, np.uint8), 12)[None, None].repeat(48, axis=1)
    noisy = np.select([mask == label for label in labels], [0.2, 0.4, 0.6, 0.8]).astype(np.float32)
    mask[0, 0, :26] = [number for number in range(30) if number not in labels]
    examples = Examples({"noisy": noisy.repeat(2, axis=0)[..., None]}, mask.repeat(2, axis=0), names)
    tracemalloc.start()
    fitted = BASELINES["multi_otsu"].fit(examples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**28
    assert (fitted(examples.inputs)[:, 1:] == mask[:, 1:]).all()


def test_the_parts_of_many_assignments_are_scored_as_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(0).integers(0, 50, (3, 4, 5))
    assignments = np.array(list(product(range(5), repeat=4)), np.intp)
    whole = score_assignments(counts, assignments)
    monkeypatch.setattr(masks, "MAX_VALUES", 7 * counts.size)
    np.testing.assert_array_equal(score_assignments(counts, assignments), whole)
