"""Reading past HDF5: the same bytes, and HDF5 itself wherever the bytes do not lie there as they are."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.dataset import record_file
from emdenoise.dataset.direct_reading import find_chunks, read_chunks
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.errors import DataError

NUM_IMAGES = 70  # more than the file makes room for at a time


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of images of three types, interleaved as `write_records` does it."""
    path, rng = tmp_path_factory.mktemp("direct") / "train.h5", np.random.default_rng(0)

    def draw() -> Iterator[Record]:
        for index in range(NUM_IMAGES):
            noisy, mask = rng.random((8, 12), np.float32), rng.integers(0, 4, (8, 12)).astype(np.uint8)
            wave = (noisy + 1j).astype(np.complex64)
            yield Record({"noisy": noisy, "mask": mask, "wave": wave}, specimen=str(index), name=str(index))

    write_records(path, draw(), attributes={})
    return path


@given(indices=st.lists(st.integers(0, NUM_IMAGES - 1), max_size=12), field=st.sampled_from(["noisy", "mask"]))
def test_the_bytes_are_those_that_hdf5_reads(indices: list[int], field: str, path: Path) -> None:
    with h5py.File(path) as file:
        dataset = file[field]
        offsets = find_chunks(dataset)
        assert offsets is not None
        found = np.empty((len(indices), *dataset.shape[1:]), dataset.dtype)
        read_chunks(file, offsets[np.array(indices, np.intp)], found)
        assert np.array_equal(found, dataset[()][np.array(indices, np.intp)])


@pytest.mark.parametrize("part", [slice(None), slice(3, 9), slice(60, 99), slice(5, 5)], ids=str)
@pytest.mark.parametrize("field", ["noisy", "wave"])
def test_slices_are_those_of_hdf5(field: str, part: slice, path: Path) -> None:
    with RecordFile(path) as records, h5py.File(path) as file:
        assert np.array_equal(records.read(field, part), file[field][part])


def test_images_of_a_canonical_file_are_read_past_hdf5(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_read: list[int] = []

    def watch(file: h5py.File, offsets: Any, images: Any) -> None:
        num_read.append(len(offsets))
        read_chunks(file, offsets, images)

    monkeypatch.setattr(record_file, "read_chunks", watch)
    with RecordFile(path) as records:
        records.read("noisy", [3, 1, 3])
        records.read("mask", slice(0, 5))
        records.read("class_id")
    assert num_read == [3, 5]


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (1, 8, 12), "compression": "gzip"},
        {"chunks": (1, 8, 12), "fletcher32": True},
        {"chunks": (2, 8, 12)},
        {"chunks": (1, 8, 12), "dtype": ">f4"},
        {"chunks": None},
    ],
    ids=str,
)
def test_another_layout_is_read_through_hdf5_to_the_same_values(options: dict[str, Any], tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((6, 8, 12), np.float32)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["schema_version"] = 1
        file.create_dataset("noisy", data=images, **options)
    with h5py.File(tmp_path / "other.h5") as file:
        assert find_chunks(file["noisy"]) is None
    with RecordFile(tmp_path / "other.h5") as records:
        assert np.array_equal(records.read("noisy", [4, 0, 4]), images[[4, 0, 4]])
        assert np.array_equal(records.read("noisy", slice(1, 3)), images[1:3])


def test_an_image_that_was_never_written_is_left_to_hdf5_which_fills_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "gap.h5", "w") as file:
        file.attrs["schema_version"] = 1
        file.create_dataset("noisy", (3, 8, 12), "float32", chunks=(1, 8, 12), fillvalue=7)[1] = 0.5
    with RecordFile(tmp_path / "gap.h5") as records:
        assert records.read("noisy", [0, 1, 2])[:, 0, 0].tolist() == [7, 0.5, 7]


def test_a_system_that_cannot_read_like_this_reads_through_hdf5(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordFile(path) as records:
        expected = records.read("noisy", [5, 2])
    monkeypatch.delattr(os, "preadv")
    with RecordFile(path) as records:
        assert np.array_equal(records.read("noisy", [5, 2]), expected)


def test_a_read_that_the_system_cuts_short_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, parts, offset: read(file, [parts[0][:100]], offset))
    with RecordFile(path) as records, h5py.File(path) as file:
        assert np.array_equal(records.read("noisy", [5, 2]), file["noisy"][()][[5, 2]])


def test_a_file_that_ends_too_early_is_one_line_with_a_remedy(path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.h5"
    cut.write_bytes(path.read_bytes())
    with RecordFile(cut) as records:
        records.read("noisy", [0])
        os.truncate(cut, 20_000)
        with pytest.raises(DataError, match=r"^cut\.h5: noisy is damaged; run the preprocess task again\.$"):
            records.read("noisy", [0, NUM_IMAGES - 1])
