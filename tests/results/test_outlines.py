"""Outlines lie inside of their regions, and none is lost however small the picture is."""

import numpy as np
import pytest

from emdenoise.results.outlines import Outlines, draw_outlines

RED, BLUE = (255, 0, 0), (0, 0, 255)


def find(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    found: np.ndarray = (picture == colour).all(axis=-1)
    return found


def test_touching_regions_have_lines_of_their_own_and_the_border_of_the_image_is_no_edge() -> None:
    regions = np.zeros((6, 8), np.int32)
    regions[:, :4], regions[:, 4:] = 1, 2
    picture = draw_outlines(np.zeros((6, 8), np.float32), [Outlines(regions, RED)])
    assert np.flatnonzero(find(picture, RED).all(axis=0)).tolist() == [3, 4]
    assert find(picture, RED).sum() == 12


def test_later_outlines_cover_earlier_ones_and_wide_ones_are_three_pixels() -> None:
    regions = np.zeros((20, 20), np.uint8)
    regions[:, 10:] = 1
    picture = draw_outlines(np.zeros((20, 20), np.float32), [Outlines(regions, RED, True), Outlines(regions, BLUE)])
    assert np.flatnonzero(find(picture, RED).all(axis=0)).tolist() == [9, 11]
    assert np.flatnonzero(find(picture, BLUE).all(axis=0)).tolist() == [10]


@pytest.mark.parametrize("place", [(0, 0), (997, 1), (500, 743)])
def test_a_speck_in_a_large_image_keeps_its_outline(place: tuple[int, int]) -> None:
    regions = np.zeros((1000, 800), np.int32)
    regions[place[0] : place[0] + 3, place[1] : place[1] + 3] = 7
    picture = draw_outlines(np.zeros((1000, 800), np.float32), [Outlines(regions, RED)], 100)
    assert picture.shape == (100, 80, 3)
    assert 1 <= find(picture, RED).sum() <= 4
    assert find(picture, RED)[place[0] // 10, place[1] // 10]


def test_a_small_image_is_enlarged_with_thin_lines() -> None:
    image = np.arange(16, dtype=np.float32).reshape(4, 4)
    picture = draw_outlines(image, [Outlines(np.pad(np.ones((2, 2), np.uint8), 1), RED)], 40)
    assert picture.shape == (40, 40, 3)
    lines = find(picture, RED)
    assert np.flatnonzero(lines[20]).tolist() == [10, 29]
    assert lines.sum() == 4 * 19
    assert len(np.unique(picture[:10, :, 0])) == 4, "each pixel is a square of one grey"


def test_a_small_picture_shows_the_mean_of_the_pixels() -> None:
    image = np.kron([[0.0, 1.0], [1.0, 0.0]], [[0.9, 1.1], [1.1, 0.9]]).astype(np.float32)
    assert draw_outlines(image, [], 2)[..., 0].tolist() == [[0, 232], [232, 0]]
    assert (draw_outlines(np.ones((4, 4), np.float32), [], 2) == 0).all()
