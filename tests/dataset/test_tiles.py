"""Tiles: they cover the image, and together they are the image."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emdenoise.dataset.record import Record
from emdenoise.dataset.tiles import assemble_tiles, cut_record, cut_tiles, plan_tiles, scale_record


def assemble(cut: list, shape: tuple[int, int]) -> np.ndarray:
    return assemble_tiles([tile for *_, tile in cut], [(row, column) for row, column, _ in cut], shape)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 2**31))
def test_tiles_put_together_are_the_image_to_the_bit(height: int, width: int, tile_size_px: int, seed: int) -> None:
    image = np.random.default_rng(seed).random((height, width), np.float32) - np.float32(0.3)
    cut = cut_tiles(image, tile_size_px)
    assert {tile.shape for *_, tile in cut} == {(tile_size_px, tile_size_px)}
    np.testing.assert_array_equal(assemble(cut, image.shape), image)


@given(st.integers(1, 5000), st.integers(1, 600))
def test_tiles_cover_a_side_with_as_few_as_possible(length_px: int, tile_size_px: int) -> None:
    starts = plan_tiles(length_px, tile_size_px)
    assert len(starts) == -(-length_px // tile_size_px)
    assert starts[0] == 0
    assert starts[-1] + tile_size_px == max(length_px, tile_size_px)
    assert all(0 < second - first <= tile_size_px for first, second in pairwise(starts))


def test_only_the_last_tile_overlaps() -> None:
    assert plan_tiles(512, 256) == [0, 256]
    assert plan_tiles(513, 256) == [0, 256, 257]
    assert plan_tiles(256, 256) == [0]


def test_images_smaller_than_a_tile_are_padded_by_reflection() -> None:
    ((row, column, tile),) = cut_tiles(np.array([[1, 2], [3, 4]]), 4)
    assert (row, column) == (0, 0)
    np.testing.assert_array_equal(tile, [[1, 2, 2, 1], [3, 4, 4, 3], [3, 4, 4, 3], [1, 2, 2, 1]])


def test_masks_put_together_are_masks() -> None:
    tiles = [np.full((2, 2), 3, np.uint8), np.full((2, 2), 5, np.uint8)]
    assembled = assemble_tiles(tiles, [(0, 0), (0, 1)], (2, 3))
    np.testing.assert_array_equal(assembled, [[3, 5, 5], [3, 5, 5]])
    assert assembled.dtype == np.uint8


def test_a_missing_tile_is_an_error() -> None:
    with pytest.raises(ValueError, match="4 pixels are in no tile; all tiles of the image are needed"):
        assemble_tiles([np.zeros((2, 2), np.float32)], [(0, 0)], (2, 4))


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0)])
def test_empty_images_and_tiles_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="both must be at least 1"):
        plan_tiles(*sizes)


@settings(max_examples=20)
@given(st.integers(1, 70), st.integers(1, 70))
def test_records_of_tiles_are_put_together_from_their_attributes_alone(height: int, width: int) -> None:
    rng = np.random.default_rng(height * 100 + width)
    noisy, clean = rng.random((2, height, width), np.float32)
    mask = rng.integers(0, 3, (height, width)).astype(np.uint8)
    whole = Record({"noisy": noisy, "clean": clean, "mask": mask}, specimen="s", name="a.dm4", attributes={"dose": 3.0})
    tiles = list(cut_record(whole, 32))
    corners = [(int(tile.attributes["tile_row_px"]), int(tile.attributes["tile_column_px"])) for tile in tiles]
    shape = (int(tiles[0].attributes["image_height_px"]), int(tiles[0].attributes["image_width_px"]))
    for name, image in (("noisy", noisy), ("clean", clean), ("mask", mask)):
        np.testing.assert_array_equal(assemble_tiles([tile.images[name] for tile in tiles], corners, shape), image)
    assert {tile.specimen for tile in tiles} == {"s"}
    assert {tile.attributes["dose"] for tile in tiles} == {3.0}
    assert len({tile.name for tile in tiles}) == len(tiles)
    assert {tile.images["mask"].dtype for tile in tiles} == {np.dtype(np.uint8)}


def test_records_without_truth_give_tiles_without_truth() -> None:
    (tile,) = cut_record(Record({"noisy": np.zeros((8, 8), np.float32)}, specimen="s", name="a"), 8)
    assert set(tile.images) == {"noisy"}


def test_records_with_atoms_or_of_two_shapes_are_refused() -> None:
    image = np.zeros((8, 8), np.float32)
    with pytest.raises(ValueError, match="a has atoms, which are not cut"):
        list(cut_record(Record({"noisy": image}, specimen="s", name="a", atoms=np.zeros((1, 2), np.float32)), 8))
    with pytest.raises(ValueError, match=r"a: clean is \(8, 7\), noisy is \(8, 8\); must be equal"):
        list(cut_record(Record({"noisy": image, "clean": image[:, 1:]}, specimen="s", name="a"), 8))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_another_magnification_keeps_labels_and_means_and_changes_the_pixel_size(factor: float) -> None:
    rows, columns = np.mgrid[:96, :64]
    image = (0.5 + 0.3 * np.sin(rows / 16) * np.cos(columns / 16)).astype(np.float32)
    mask = (columns >= 32).astype(np.uint8) * 2
    record = Record(
        {"noisy": image, "clean": image / 2, "mask": mask},
        specimen="a",
        name="a",
        attributes={"pixel_size_angstrom": 0.5},
    )
    scaled = scale_record(record, factor)
    assert {image.shape for image in scaled.images.values()} == {(96 * factor, 64 * factor)}
    assert (scaled.noisy.dtype, scaled.images["mask"].dtype) == (np.float32, np.uint8)
    assert set(np.unique(scaled.images["mask"])) == {0, 2}
    assert (scaled.images["mask"] == 2).mean() == 0.5
    assert scaled.noisy.mean() == pytest.approx(image.mean(), abs=2e-3)
    assert scaled.images["clean"] == pytest.approx(scaled.noisy / 2, abs=1e-6)
    assert scaled.attributes["pixel_size_angstrom"] == 0.5 / factor
    assert record.noisy is image


def test_waves_finer_than_the_new_pixels_do_not_fold_over() -> None:
    stripes = np.tile(np.float32([0, 1]), (64, 32))
    scaled = scale_record(Record({"noisy": stripes}, specimen="a", name="a"), 0.4)
    assert scaled.noisy == pytest.approx(np.full_like(scaled.noisy, 0.5), abs=0.1)


def test_a_magnification_of_one_leaves_all_as_it_is() -> None:
    record = Record({"noisy": np.zeros((3, 5), np.float32)}, specimen="a", name="a")
    assert scale_record(record, 1.0) is record
