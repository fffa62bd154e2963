"""Images of any shape on a canvas: laws of resampling, and nothing of what fills tiles up."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.sampler import InOrder
from emdenoise.dataset.tiles import cut_record
from emdenoise.dataset.whole_images import ResizedRecords, WholeImages, show_for_validation
from emdenoise.errors import DataError
from emdenoise.evaluation.scoring import OutputJudge

SHAPES = [(48, 48), (24, 40), (40, 20), (17, 33)]
SIDE = 48


def draw_image(shape: tuple[int, int], seed: int) -> Record:
    """Draw blocks whose intensity says which label and which particle they are."""
    blocks = np.random.default_rng(seed).integers(0, 2, (5, 5)).astype(np.uint8)
    mask = np.kron(blocks, np.ones((10, 10), np.uint8))[: shape[0], : shape[1]]
    images = {"noisy": mask.astype(np.float32), "mask": mask, "instances": mask.astype(np.int32) * 70_000}
    attributes = {"pixel_size_angstrom": 2.0}
    return Record(images, specimen="one", name=f"image {seed}", attributes=attributes)


def spoil_padding(record: Record) -> Record:
    """Put numbers that nobody may see where the tile is filled up."""
    height, width = (int(record.attributes[f"image_{side}_px"]) for side in ("height", "width"))
    for image in record.images.values():
        image[height:], image[:, width:] = 99, 99
    return record


@pytest.fixture
def open_tiles(tmp_path: Path) -> Iterator[Callable[..., RecordFile]]:
    """Give a function that cuts the images into tiles of a size, and opens their file."""
    opened: list[RecordFile] = []

    def write(tile_size_px: int, shapes: list[tuple[int, int]] = SHAPES) -> RecordFile:
        path = tmp_path / f"train{len(opened)}.h5"
        tiles = [
            tile for seed, shape in enumerate(shapes) for tile in cut_record(draw_image(shape, seed), tile_size_px)
        ]
        write_records(path, map(spoil_padding, tiles), attributes={"mask_labels": '["background", "particle"]'})
        opened.append(RecordFile(path))
        return opened[-1]

    yield write
    for file in opened:
        with file:
            pass


def test_a_whole_image_has_its_own_shape_and_pixels(open_tiles: Any) -> None:
    images = WholeImages(open_tiles(64))
    assert images.shapes.tolist() == [list(shape) for shape in SHAPES]
    for index, shape in enumerate(SHAPES):
        assert np.array_equal(images.read("mask", index), draw_image(shape, index).images["mask"])


def test_images_without_tiles_have_the_shape_of_the_file(drawn_files: dict[str, RecordFile]) -> None:
    images = WholeImages(drawn_files["train"])
    assert images.shapes.tolist() == 10 * [[32, 32]]
    assert np.array_equal(images.read("noisy", 3), drawn_files["train"].read("noisy", [3])[0])


@pytest.mark.parametrize(("tile_size_px", "expected"), [(40, 48), (32, 48)])
def test_an_image_in_several_tiles_is_refused_with_the_size_that_is_needed(
    open_tiles: Any, tile_size_px: int, expected: int
) -> None:
    with pytest.raises(
        DataError,
        match=rf"^train0\.h5: images of up to 48 px were cut into tiles of {tile_size_px} px, .* set "
        rf"data\.tile_size_px to {expected}, and run preprocess again\.$",
    ):
        WholeImages(open_tiles(tile_size_px))
    assert len(WholeImages(open_tiles(expected)).shapes) == len(SHAPES)


def test_an_image_as_large_as_the_canvas_is_shown_as_it_is(open_tiles: Any) -> None:
    shown = ResizedRecords(open_tiles(64), SIDE)
    for name, image in draw_image(SHAPES[0], 0).images.items():
        found = shown.read(name, [0])[0]
        assert found.dtype == image.dtype
        assert np.array_equal(found, image)


@pytest.mark.parametrize("index", [1, 2])
def test_the_long_side_fills_the_canvas_and_the_short_one_is_mirrored(open_tiles: Any, index: int) -> None:
    image = ResizedRecords(open_tiles(64), 80).read_sample(["mask"], [index])["mask"][0, ..., 0]
    image = image if SHAPES[index][0] < SHAPES[index][1] else image.T
    short = 2 * min(SHAPES[index])
    border = (80 - short) // 2
    assert np.array_equal(image[:border], image[border : 2 * border][::-1])
    assert np.array_equal(image[-border:], image[-2 * border : -border][::-1])
    stored = draw_image(SHAPES[index], index).images["mask"]
    stored = stored if SHAPES[index][0] < SHAPES[index][1] else stored.T
    assert np.array_equal(image[border:-border], np.kron(stored, np.ones((2, 2), np.uint8)))  # twice as large


@pytest.mark.parametrize("side_px", [16, 48, 112])
def test_labels_and_numbers_lie_where_the_intensity_says(open_tiles: Any, side_px: int) -> None:
    shown = ResizedRecords(open_tiles(64), side_px)
    noisy, mask, instances = (shown.read(name) for name in ("noisy", "mask", "instances"))
    is_clear = abs(noisy - 0.5) > 1e-3
    assert np.array_equal(mask[is_clear], (noisy > 0.5)[is_clear])
    assert np.array_equal(instances, 70_000 * mask.astype(np.int32))
    assert is_clear.mean() > 0.9


def test_a_pixel_is_as_large_as_it_is_on_the_canvas(open_tiles: Any) -> None:
    records = open_tiles(64)
    shown = ResizedRecords(records, 24)
    expected = [2.0 * max(shape) / 24 for shape in SHAPES]
    np.testing.assert_allclose(shown.read_attribute("pixel_size_angstrom"), expected)
    assert records.read_attribute("pixel_size_angstrom").tolist() == [2.0] * len(SHAPES)
    assert np.isnan(shown.read_attribute("image_height_px")).all()
    assert np.isnan(shown.read_attribute("dose_e_per_angstrom2")).all()


def test_images_on_a_canvas_are_judged_like_those_of_a_file(open_tiles: Any) -> None:
    shown = ResizedRecords(open_tiles(64), SIDE)
    truth = np.concatenate([InOrder(shown, ["noisy", "mask"], 3).read(0, step)["mask"] for step in range(2)])
    assert truth.shape == (len(SHAPES), SIDE, SIDE, 1)
    judge = OutputJudge(shown, "mask", ("dice",), lambda outputs: outputs[..., 0], 0.5)
    assert judge([truth])["dice"].tolist() == [1.0] * len(SHAPES)
    assert (judge([1 - truth])["dice"] < 0.1).all()


def test_there_are_no_atoms_on_a_canvas(drawn_files: dict[str, RecordFile]) -> None:
    shown = ResizedRecords(drawn_files["validation"], 64)
    assert [name in shown for name in ("noisy", "instances", "atoms")] == [True, False, False]
    with pytest.raises(ValueError, match="has no atoms"):
        shown.read_atoms(0)


def test_only_a_training_with_zoom_validates_on_a_canvas(open_tiles: Any) -> None:
    records = open_tiles(64)
    assert show_for_validation(records, TrainingSettings(crop_size_px=32)) is records
    shown = show_for_validation(records, TrainingSettings(crop_size_px=32, zoom=(0.6, 1.7)))
    assert shown.read("noisy").shape == (len(SHAPES), 32, 32)
