"""Crops of any scale: what they show of an image, how they are drawn, and that they follow from the seed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from emdenoise.config.schema import AugmentationSettings, TrainingSettings
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.sampler import Sampler
from emdenoise.dataset.tiles import cut_record
from emdenoise.dataset.zooming import Window, ZoomedCrops
from emdenoise.errors import DataError
from emdenoise.processes import ProcessGroup

SHAPES = [(48, 48), (60, 40), (36, 64), (50, 50), (40, 44)]
FIELDS = ("noisy", "mask")
AUGMENTATION = AugmentationSettings(inversion=0.5, log_gamma=0.2, noise=0.1)


def draw_tiles(tile_size_px: int) -> Iterator[Record]:
    """Draw ramps whose intensity says row and column, with a square particle; what fills tiles up is not a number."""
    for number, shape in enumerate(SHAPES):
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        mask = ((abs(rows - 25) < 12) & (abs(columns - 20) < 9)).astype(np.uint8)
        images = {"noisy": (rows + 1000 * columns).astype(np.float32), "clean": mask.astype(np.float32), "mask": mask}
        for tile in cut_record(Record(images, specimen="one", name=f"image {number}"), tile_size_px):
            for image in (tile.images["noisy"], tile.images["clean"]):
                image[shape[0] :], image[:, shape[1] :] = np.nan, np.nan
            yield tile


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordFile]:
    path = tmp_path_factory.mktemp("zoom") / "train.h5"
    write_records(path, draw_tiles(64), attributes={})
    with RecordFile(path) as file:
        yield file


def make_sampler(records: RecordFile, group: ProcessGroup | None = None, **changes: Any) -> Sampler:
    values = {"batch_size": 4, "crop_size_px": 32, "zoom": (0.5, 2.0), "crops_per_epoch": 8, **changes}
    return Sampler(records, FIELDS, TrainingSettings(**values), 0, group or ProcessGroup())


def draw(records: RecordFile, num_windows: int, zoom: tuple[float, float], seed: int = 0) -> list[Window]:
    indices = np.arange(num_windows) % len(SHAPES)
    return ZoomedCrops(records, FIELDS, zoom, 32).draw(indices, np.random.default_rng(seed))


def test_a_window_that_is_the_image_gives_the_image(records: RecordFile) -> None:
    (window,) = draw(records, 1, (1.0, 1.0))
    assert window == Window(0, 0.0, 0.0, 48.0)
    crop = ZoomedCrops(records, FIELDS, (1.0, 1.0), 48).read([window])
    for name in FIELDS:
        assert np.array_equal(crop[name][0], records.read(name, [0])[0, :48, :48])


@given(seed=st.integers(0, 1000), zoom=st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)).map(sorted))
def test_a_window_lies_in_its_image_or_the_image_in_it(records: RecordFile, seed: int, zoom: Any) -> None:
    for window in draw(records, 10, tuple(zoom), seed):
        shape = SHAPES[window.index]
        assert max(shape) / zoom[1] - 1e-9 <= window.side_px <= max(shape) / zoom[0] + 1e-9
        for start, length in zip((window.top_px, window.left_px), shape, strict=True):
            low, high = sorted((0.0, length - window.side_px))
            assert low - 1e-9 <= start <= high + 1e-9


def test_zoom_is_log_uniform_and_places_are_uniform(records: RecordFile) -> None:
    windows = draw(records, 2000, (0.6, 1.7))
    zooms = [max(SHAPES[window.index]) / window.side_px for window in windows]
    assert kstest(np.log(zooms), "uniform", args=(np.log(0.6), np.log(1.7 / 0.6))).pvalue > 0.01
    places = [
        (start / (length - window.side_px))
        for window in windows
        for start, length in zip((window.top_px, window.left_px), SHAPES[window.index], strict=True)
    ]
    assert kstest(places, "uniform").pvalue > 0.01


def test_a_crop_shows_its_window_in_pixels_of_the_size_that_the_zoom_says(records: RecordFile) -> None:
    """Of a ramp a crop is a ramp, whose values say where its pixels lie."""
    windows = draw(records, 20, (2.0, 4.0))
    crops = ZoomedCrops(records, FIELDS, (2.0, 4.0), 32).read(windows)["noisy"]
    inner = slice(2, -2)  # at the border of an image a ramp is mirrored
    for window, crop in zip(windows, crops, strict=True):
        centres = (np.arange(32) + 0.5) * window.side_px / 32 - 0.5
        expected = np.add.outer(window.top_px + centres, 1000 * (window.left_px + centres))
        np.testing.assert_allclose(crop[inner, inner], expected[inner, inner], rtol=1e-5)


def test_labels_lie_where_the_image_of_them_says(records: RecordFile) -> None:
    windows = draw(records, 40, (0.4, 3.0))
    crops = ZoomedCrops(records, ("clean", "mask"), (0.4, 3.0), 32).read(windows)
    clean, mask = np.stack(crops["clean"]), np.stack(crops["mask"])
    is_clear = abs(clean - 0.5) > 1e-3
    assert mask.dtype == np.uint8
    assert np.array_equal(mask[is_clear], (clean > 0.5)[is_clear])
    assert 0.05 < mask.mean() < 0.95
    assert is_clear.mean() > 0.9


@pytest.mark.parametrize("flip", [False, True])
def test_what_fills_a_tile_up_is_never_seen(records: RecordFile, flip: bool) -> None:
    sampler = make_sampler(records, zoom=(0.3, 2.0), flip=flip, crops_per_epoch=40)
    for step in range(len(sampler)):
        sample = sampler.read(0, step)
        assert np.isfinite(sample["noisy"]).all()
        assert (sample["noisy"].shape, sample["mask"].dtype) == ((4, 32, 32, 1), np.uint8)


def test_crops_are_turned_by_the_eight_symmetries(records: RecordFile) -> None:
    sampler = make_sampler(records, zoom=(1.0, 1.0), crop_size_px=48, flip=True, crops_per_epoch=400, batch_size=10)
    image = records.read("noisy", [0])[0, :48, :48]
    symmetries = {np.rot90(view, turn).tobytes() for view in (image, image[::-1]) for turn in range(4)}
    crops = (crop.tobytes() for step in range(len(sampler)) for crop in sampler.read(0, step)["noisy"])
    assert symmetries <= set(crops)


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
def test_a_batch_follows_from_seed_epoch_and_step_alone(records: RecordFile, augmentation: Any) -> None:
    settings = {"flip": True, "augmentation": augmentation}
    sampler = make_sampler(records, **settings)
    first, second = sampler.read(1, 0), sampler.read(1, 1)
    again = make_sampler(records, **settings).read(1, 1)
    assert all(np.array_equal(second[name], again[name]) for name in FIELDS)
    assert not np.array_equal(first["noisy"], second["noisy"])
    assert not np.array_equal(second["noisy"], make_sampler(records, **settings).read(2, 1)["noisy"])


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
def test_processes_share_the_batch_of_one(records: RecordFile, augmentation: Any) -> None:
    settings = {"flip": True, "augmentation": augmentation}
    alone = make_sampler(records, **settings).read(3, 1)
    shared = [make_sampler(records, ProcessGroup(rank, 2), **settings).read(3, 1) for rank in range(2)]
    for name in FIELDS:
        assert np.array_equal(np.concatenate([sample[name] for sample in shared]), alone[name])


def test_augmentation_changes_the_image_and_neither_its_place_nor_its_labels(records: RecordFile) -> None:
    plain, inverted = (
        make_sampler(records, flip=True, augmentation=augmentation).read(0, 0)
        for augmentation in (None, AugmentationSettings(inversion=1.0))
    )
    assert np.array_equal(inverted["noisy"], 1 - plain["noisy"])
    assert np.array_equal(inverted["mask"], plain["mask"])


def test_each_crop_of_a_training_is_augmented_by_itself(records: RecordFile) -> None:
    changed = AugmentationSettings(brightness=0.5)
    plain, brighter = (
        [
            make_sampler(records, augmentation=augmentation).read(epoch, step)["noisy"]
            for epoch in (0, 1)
            for step in (0, 1)
        ]
        for augmentation in (None, changed)
    )
    added = np.concatenate(brighter).max(axis=(1, 2, 3)) - np.concatenate(plain).max(axis=(1, 2, 3))
    assert len(added) == 16
    assert len(set(added.tolist())) > 10


def test_augmented_crops_of_stored_pixels_are_those_crops(records: RecordFile) -> None:
    plain, inverted = (
        make_sampler(records, zoom=None, augmentation=augmentation).read(0, 1)["noisy"]
        for augmentation in (None, AugmentationSettings(inversion=1.0))
    )
    assert np.array_equal(inverted, 1 - plain, equal_nan=True)


def test_images_in_several_tiles_are_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "train.h5", draw_tiles(32), attributes={})
    with (
        RecordFile(tmp_path / "train.h5") as cut,
        pytest.raises(DataError, match=r"cut into tiles of 32 px, .* set data\.tile_size_px to 64,"),
    ):
        make_sampler(cut)
