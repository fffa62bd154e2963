"""Scaling of the intensity: into [0, 1] and back to the bit."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emdenoise.dataset import intensity
from emdenoise.dataset.intensity import choose_scale, choose_scale_by_blocks, choose_window
from emdenoise.errors import DataError

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
COUNTS = st.integers(-(2**22), 2**22).map(np.float32)
NON_NEGATIVE = st.one_of(st.just(0.0), st.floats(2.0**-40, 2.0**40, width=32))


@given(arrays(np.float32, SHAPES, elements=NON_NEGATIVE))
def test_values_without_negative_ones_come_back_to_the_bit(image: np.ndarray) -> None:
    scale = choose_scale([], [image])
    np.testing.assert_array_equal(scale.restore(scale.apply(image)), image)
    assert scale.offset == 0


@given(arrays(np.float32, SHAPES, elements=COUNTS))
def test_counts_come_back_to_the_bit(image: np.ndarray) -> None:
    for scale in (choose_scale([image]), choose_scale([], [image])):
        np.testing.assert_array_equal(scale.restore(scale.apply(image)), image)


@given(arrays(np.float32, SHAPES, elements=st.one_of(NON_NEGATIVE, COUNTS)))
def test_truth_fills_at_least_half_of_the_unit_interval(image: np.ndarray) -> None:
    scale = choose_scale([], [image])
    stored = scale.apply(image)
    assert stored.dtype == np.float32
    assert stored.min() >= 0
    assert stored.max() <= 1
    assert stored.max() >= 0.5 or image.max() == min(0, image.min())
    assert math.log2(scale.scale) % 1 == 0


def test_hot_and_dead_pixels_of_a_noisy_image_do_not_decide_its_scale() -> None:
    image = np.random.default_rng(0).poisson(100, (100, 100)).astype(np.float32)
    alone = choose_scale([image])
    image[0, 0], image[0, 1] = 65535, -3000
    scale = choose_scale([image])
    assert scale == alone
    assert scale.apply(image)[0, 0] > 100  # kept, not clipped
    assert 0.5 < np.percentile(scale.apply(image), 99.9) <= 1


def test_noisy_and_clean_share_one_scale_that_brings_the_truth_below_one() -> None:
    clean = np.full((10, 10), 300, np.float32)
    scale = choose_scale([clean / 3], [clean])
    assert scale.apply(clean).max() == 300 / 512


def test_an_offset_is_taken_only_where_values_are_negative() -> None:
    assert choose_scale([np.full((4, 4), 1000, np.float32)]).offset == 0
    assert choose_scale([], [np.array([[-5, 10]], np.float32)]).offset == -5


@pytest.mark.parametrize("value", [0.0, 7.0, -7.0])
def test_an_image_of_one_value_is_scaled_without_warning(value: float) -> None:
    image = np.full((4, 4), value, np.float32)
    for scale in (choose_scale([image]), choose_scale([], [image])):
        assert 0 <= scale.apply(image).max() <= 1


def test_an_image_with_a_single_electron_is_scaled_by_it() -> None:
    image = np.zeros((100, 100), np.float32)
    image[3, 4] = 1
    assert choose_scale([image]).scale == 1


@pytest.mark.parametrize("value", [1e-45, 1e-40, 1e-38, 3e38])
@pytest.mark.parametrize("outlier", [None, 1.0, 3e38])
def test_no_range_of_values_gives_infinite_or_no_numbers(value: float, outlier: float | None) -> None:
    image = np.full((100, 100), value, np.float32)
    image[0, 0] = outlier or value
    for scale in (choose_scale([image]), choose_scale([], [image]), choose_scale_by_blocks([image])):
        assert np.isfinite(scale.apply(image)).all()
        np.testing.assert_allclose(scale.restore(scale.apply(image)), image, rtol=0, atol=1e-7 * image.max())


def test_attributes_say_how_to_restore() -> None:
    assert choose_scale([], [np.array([[-1, 3]], np.float32)]).to_attributes() == {
        "intensity_offset": -1.0,
        "intensity_scale": 0.25,
    }


@given(
    st.lists(arrays(np.float32, SHAPES, elements=st.one_of(NON_NEGATIVE, COUNTS)), min_size=1, max_size=3),
    st.integers(1, 9),
)
def test_the_scale_of_images_that_are_read_block_by_block_is_the_same(images: list[np.ndarray], num_rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intensity, "BLOCK_PIXELS", num_rows * max(image.shape[1] for image in images))
        assert choose_scale_by_blocks(images) == choose_scale(images)


@pytest.mark.parametrize("num_pixels", [999, 1000, 1001, 54321])
def test_the_tails_of_many_pixels_are_left_out_block_by_block_too(
    num_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intensity, "BLOCK_PIXELS", num_pixels // 5)
    image = np.random.default_rng(num_pixels).standard_cauchy((num_pixels, 1)).astype(np.float32)
    assert choose_scale_by_blocks([image]) == choose_scale([image])


@pytest.mark.parametrize("largest", [1e-45, 1e-40, 1e-38, 1e38, 3.4e38])
def test_the_smallest_and_the_largest_values_are_scaled_to_finite_ones_and_come_back(largest: float) -> None:
    image = np.array([[0, largest], [largest / 2, largest]], np.float32)
    for scale in (choose_scale([image]), choose_scale([], [image])):
        stored = scale.apply(image)
        assert np.isfinite(stored).all()
        assert 0 < stored.max() <= 1
        np.testing.assert_array_equal(scale.restore(stored), image)


def test_a_mean_whose_inverse_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match=r"a\.tif: its mean intensity is 9.*e-41; expected counts, above 0"):
        choose_window(np.full((4, 4), 1e-40, np.float32), (0.6, 1.4), name="a.tif")
