"""What each method can choose is chosen where it is needed, and by the best mean Dice."""

from itertools import product

import numpy as np
import pytest
from emdenoise.evaluation.baselines.segmenters import SEGMENTERS, tune_segmenters
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import threshold_otsu

from emdenoise.evaluation.baselines.forest import choose_labels, drop_spots
from emdenoise.evaluation.baselines.thresholds import FLATTEN_PX, SMOOTHINGS_PX, ThresholdSegmenter, split_regions
from emdenoise.evaluation.baselines.views import TEXTURES_PX, View, measure_texture
from emdenoise.evaluation.metrics.masks import score_masks
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import make_beam_profile

NAMES = ["ground", "object"]


def count_electrons(clean: np.ndarray, electrons: float, seed: int = 0) -> np.ndarray:
    return (make_generator(seed, "test").poisson(clean * electrons) / electrons).astype(np.float32)


def make_square(size: int = 48) -> np.ndarray:
    mask = np.zeros((1, size, size), np.uint8)
    mask[0, size // 4 : size // 2, size // 4 : 3 * size // 4] = 1
    return mask


def test_the_choice_has_the_best_dice_of_all_candidates() -> None:
    mask = make_square()
    noisy = count_electrons(0.5 + 0.2 * mask, 5)
    chosen = tune_segmenters(["otsu"], noisy, mask, num_labels=2)["otsu"]
    maps = [*((smooth_px, None) for smooth_px in SMOOTHINGS_PX), *TEXTURES_PX]
    candidates = [
        ThresholdSegmenter(View(flatten_px, *one), 2, None, labels, is_by_area, 0.0, 0)
        for flatten_px, one, labels, is_by_area in product(FLATTEN_PX, maps, product((0, 1), repeat=2), (False, True))
    ]
    dice = [float(score_masks(one(noisy), mask, NAMES)["dice"].mean()) for one in candidates]
    assert chosen in candidates
    assert dice[candidates.index(chosen)] == pytest.approx(max(dice))


def test_much_noise_asks_for_smoothing_and_none_for_none() -> None:
    mask = make_square()
    smoothing = [
        tune_segmenters(["otsu"], noisy, mask, num_labels=2)["otsu"].view.smooth_px
        for noisy in ((0.2 + 0.5 * mask).astype(np.float32), count_electrons(0.2 + 0.5 * mask, 2))
    ]
    assert smoothing[0] == 0
    assert smoothing[1] >= 1


def test_a_lattice_of_the_mean_intensity_of_the_vacuum_is_told_by_its_texture() -> None:
    rows, columns = np.mgrid[:96, :96]
    waves = np.cos(2 * np.pi * rows / 12) * np.cos(2 * np.pi * columns / 12)
    mask = (columns >= 48).astype(np.uint8)[None]
    noisy = count_electrons(0.5 + 0.2 * waves * mask, 50)
    otsu = tune_segmenters(["otsu"], noisy, mask, num_labels=2)["otsu"]
    assert otsu.view.texture_px is not None
    fresh = count_electrons(0.5 + 0.2 * waves * mask, 50, seed=1)
    assert score_masks(otsu(fresh), mask, NAMES)["dice"].min() > 0.9


def test_objects_of_either_polarity_in_one_set_are_told_by_their_area() -> None:
    mask = np.concatenate([make_square()] * 2)
    noisy = count_electrons(np.stack([0.3 + 0.5 * mask[0], 0.8 - 0.5 * mask[1]]), 100)
    otsu = tune_segmenters(["otsu"], noisy, mask, num_labels=2)["otsu"]
    assert otsu.is_by_area
    assert score_masks(otsu(noisy), mask, NAMES)["dice"].min() > 0.95


@pytest.mark.parametrize("name", ["otsu", "multi_otsu", "local_threshold"])
def test_an_uneven_beam_does_not_hide_the_objects(name: str) -> None:
    rows, columns = np.mgrid[:96, :96]
    mask = ((rows % 24 - 12) ** 2 + (columns % 24 - 12) ** 2 <= 5**2).astype(np.uint8)[None]
    beam = make_beam_profile((96, 96), width_fraction=0.6, centre_fraction=(0.1, 0.1))
    noisy = count_electrons((0.4 + 0.2 * mask) * beam, 500)
    predicted_mask = tune_segmenters([name], noisy, mask, num_labels=2)[name](noisy)
    assert score_masks(predicted_mask, mask, NAMES)["dice_object"].min() > 0.9
    plain = (noisy > threshold_otsu(noisy)).astype(np.uint8)
    assert score_masks(plain, mask, NAMES)["dice_object"].max() < 0.5


def test_dead_pixels_are_no_objects() -> None:
    mask = make_square()
    noisy = count_electrons(0.8 - 0.4 * mask, 1000)
    otsu = tune_segmenters(["otsu"], noisy, mask, num_labels=2)["otsu"]
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


@given(gain=st.floats(0.1, 10), offset=st.floats(-1, 1))
def test_texture_does_not_depend_on_contrast_and_level(gain: float, offset: float) -> None:
    image = make_generator(0, "test").normal(0, 1, (24, 24)).astype(np.float32)
    changed = (gain * image + offset).astype(np.float32)
    assert measure_texture(changed, 1.0, 4.0) == pytest.approx(measure_texture(image, 1.0, 4.0), abs=1e-3)


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


def test_every_method_is_announced_before_it_is_tuned_and_none_needs_nothing() -> None:
    mask = make_square(32)
    noisy = (0.2 + 0.5 * mask).astype(np.float32)
    heard: list[tuple[int, str]] = []
    tuned = tune_segmenters(
        ["multi_otsu", "otsu"], noisy, mask, num_labels=2, on_method=lambda *step: heard.append(step)
    )
    assert heard == [(0, "multi_otsu"), (1, "otsu")]
    assert list(tuned) == ["multi_otsu", "otsu"]
    assert tune_segmenters([], noisy, mask, num_labels=2) == {}
    assert len(SEGMENTERS) == 4


@pytest.mark.parametrize(
    ("noisy", "mask", "message"),
    [
        (np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 9), np.uint8), "equal 3-D shapes"),
        (np.zeros((1, 8, 8), np.float32), np.full((1, 8, 8), 2, np.uint8), "mask has label 2; expected 0 to 1"),
        (np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), np.uint8), "without any contrast"),
    ],
)
def test_images_that_cannot_be_tuned_on_are_refused(noisy: np.ndarray, mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tune_segmenters(["otsu"], noisy, mask, num_labels=2)
