"""Resampling: laws of linear interpolation, and the resize of scikit-image where both mean the same."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from emdenoise.resampling import make_weights, plan_canvas, plan_return, resample, resample_labels

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("start", "stop", "size"), [(0, 31, 31), (-40, 71, 13), (3.3, 9.1, 40)])
def test_a_constant_stays_what_it_is(start: float, stop: float, size: int) -> None:
    weights = make_weights(31, start, stop, size)
    np.testing.assert_allclose(weights @ np.full(31, 0.7, np.float32), 0.7, rtol=1e-6)


def test_the_whole_line_at_its_own_size_is_the_line() -> None:
    np.testing.assert_array_equal(make_weights(9, 0, 9, 9).toarray(), np.eye(9, dtype=np.float32))


def test_a_part_beyond_the_ends_shows_the_mirrored_line() -> None:
    line = RNG.random(7).astype(np.float32)
    np.testing.assert_allclose(make_weights(7, -9, 15, 24) @ line, np.pad(line, (9, 8), mode="symmetric"), rtol=1e-6)


@pytest.mark.parametrize("size", [12, 50])
def test_a_ramp_stays_a_ramp_away_from_the_ends(size: int) -> None:
    step = 100 / size
    found = make_weights(100, 0, 100, size) @ np.arange(100, dtype=np.float32)
    expected = (np.arange(size) + 0.5) * step - 0.5
    inner = slice(int(np.ceil(step)), -int(np.ceil(step)))
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-5)


def test_an_enlarged_image_is_interpolated_as_scipy_does_it() -> None:
    image = RNG.random((8, 11)).astype(np.float32)
    rows, columns = make_weights(8, 0, 8, 20), make_weights(11, 0, 11, 33)
    places = np.meshgrid((np.arange(20) + 0.5) * 8 / 20 - 0.5, (np.arange(33) + 0.5) / 3 - 0.5, indexing="ij")
    expected = map_coordinates(image, places, order=1, mode="reflect")  # what NumPy calls symmetric
    np.testing.assert_allclose(resample(image, rows, columns), expected, atol=1e-6)


def test_detail_finer_than_the_result_becomes_its_mean() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), 120)
    found = make_weights(240, 0, 240, 20) @ stripes
    np.testing.assert_allclose(found[1:-1], 0.5, atol=0.01)  # at the ends, the mirror doubles a stripe


def test_labels_get_the_largest_share_and_no_label_in_between() -> None:
    labels = np.array([[0, 0, 5, 5], [0, 0, 5, 5], [0, 0, 9, 9], [0, 0, 9, 9]], np.int32)
    half = make_weights(4, 0, 4, 2)
    found = resample_labels(labels, half, half)
    assert found.dtype == np.int32
    assert found.tolist() == [[0, 5], [0, 9]]


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50), (1, 7)])
def test_a_smooth_image_comes_back_from_its_canvas(shape: tuple[int, int]) -> None:
    rows, columns = np.indices(shape)
    image = np.sin(rows / 15) + np.cos(columns / 17)
    canvas = resample(image, *plan_canvas(*shape, 64))
    assert canvas.shape == (64, 64)
    back = resample(canvas, *plan_return(*shape, 64))
    assert back.shape == shape
    np.testing.assert_allclose(back, image, atol=0.06)


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(ValueError, match="from 3 to 3 px"):
        make_weights(8, 3, 3, 4)
