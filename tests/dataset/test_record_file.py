"""Files of records: what is written is read, files appear whole or not at all, damage is named."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.tiles import cut_record
from emdenoise.errors import DataError, MissingInputError, StorageError
from emdenoise.files.atomic import hash_file, write_atomically, write_json

DrawRecords = Callable[..., Iterator[Record]]


@pytest.fixture
def path(tmp_path: Path, draw_records: DrawRecords) -> Path:
    """A good file of six images."""
    path = tmp_path / "train.h5"
    write_records(path, draw_records(6), attributes={"source": "drawn", "answer": 42.0})
    return path


def test_records_come_back_as_they_were_written(path: Path, draw_records: DrawRecords) -> None:
    with RecordFile(path) as records:
        assert len(records) == 6
        assert records.image_shape == (32, 32)
        assert records.attributes == {"schema_version": 1.0, "source": "drawn", "answer": 42.0}
        for found, expected in zip(records.read_records(), draw_records(6), strict=True):
            for field in fields(Record):
                one, other = getattr(found, field.name), getattr(expected, field.name)
                if field.name == "images":
                    assert set(one) == set(other)
                    for name in other:
                        check_equal_arrays(one[name], other[name])
                elif isinstance(other, np.ndarray):
                    check_equal_arrays(one, other)
                else:
                    assert one == other


def check_equal_arrays(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    assert np.array_equal(one, other)


@pytest.fixture
def cut(tmp_path: Path) -> Iterator[tuple[list[Record], RecordFile]]:
    """Three whole images of different sizes, one smaller than a tile, and the file of their tiles."""
    rng = np.random.default_rng(0)
    whole = [
        Record(
            {"noisy": rng.random(shape, dtype=np.float32), "mask": rng.integers(0, 3, shape).astype(np.uint8)},
            specimen=str(index),
            name=f"image {index}",
        )
        for index, shape in enumerate([(70, 33), (20, 10), (32, 96)])
    ]
    tiles = (tile for record in whole for tile in cut_record(record, 32))
    write_records(tmp_path / "cut.h5", tiles, attributes={})
    with RecordFile(tmp_path / "cut.h5") as records:
        yield whole, records


def test_images_that_were_cut_are_read_whole_to_the_bit(cut: tuple[list[Record], RecordFile]) -> None:
    whole, records = cut
    indices = records.list_whole_images()
    assert [len(tiles) for tiles in indices] == [3 * 2, 1, 3]
    assert np.array_equal(np.concatenate(indices), np.arange(len(records)))
    for record, tiles in zip(whole, indices, strict=True):
        assert np.array_equal(records.read_whole("noisy", tiles), record.noisy)
        assert np.array_equal(records.read_whole("mask", tiles), record.images["mask"])


def test_a_tile_is_read_without_what_continues_its_image_by_reflection(cut: tuple[list[Record], RecordFile]) -> None:
    whole, records = cut
    indices = records.list_whole_images()
    small = records.read_inside("mask", int(indices[1][0]))
    assert np.array_equal(small, whole[1].images["mask"])
    last = records.read_inside("noisy", int(indices[0][-1]))
    assert np.array_equal(last, whole[0].noisy[-32:, -32:])
    assert [records.read_inside("noisy", index).shape for index in range(len(records))] == [
        (min(32, height), min(32, width))
        for (height, width), tiles in zip([(70, 33), (20, 10), (32, 96)], indices, strict=True)
        for _ in tiles
    ]


def test_images_that_were_not_cut_are_whole_each(drawn_files: dict[str, RecordFile]) -> None:
    records = drawn_files["train"]
    indices = records.list_whole_images()
    assert [tiles.tolist() for tiles in indices] == [[index] for index in range(len(records))]
    assert np.array_equal(records.read_whole("noisy", indices[3]), records.read("noisy")[3])
    assert np.array_equal(records.read_inside("noisy", 3), records.read("noisy")[3])


@given(indices=st.lists(st.integers(0, 5), max_size=10))
def test_images_are_read_in_any_order_and_as_often_as_asked_for(
    drawn_files: dict[str, RecordFile], draw_records: DrawRecords, indices: list[int]
) -> None:
    expected = [record.noisy for record in draw_records(6, seed=2, specimen="test")]
    found = drawn_files["test"].read("noisy", indices)
    assert found.shape == (len(indices), 32, 32)
    assert all(np.array_equal(image, expected[index]) for image, index in zip(found, indices, strict=True))


def test_ragged_atoms_belong_to_their_image(path: Path, draw_records: DrawRecords) -> None:
    with RecordFile(path) as records:
        for index, record in enumerate(draw_records(6)):
            assert np.array_equal(records.read_atoms(index), record.atoms)


def test_an_attribute_that_the_source_does_not_know_is_not_a_number(path: Path) -> None:
    with RecordFile(path) as records:
        assert np.isnan(records.read_attribute("tilt_mrad")).all()
        assert records.read_attribute("electrons_per_unit_intensity").tolist() == [50, 51, 52, 53, 54, 55]


def drop_clean(record: Record) -> Record:
    return replace(record, images={name: image for name, image in record.images.items() if name != "clean"})


def test_a_field_that_is_missing_is_named_with_a_remedy(tmp_path: Path, draw_records: DrawRecords) -> None:
    bare = map(drop_clean, draw_records(2))
    write_records(tmp_path / "bare.h5", bare, attributes={})
    with (
        RecordFile(tmp_path / "bare.h5") as records,
        pytest.raises(DataError, match=r"bare\.h5: has no clean images; choose a source that has them"),
    ):
        records.read("clean")


def test_no_records_are_an_error_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.h5: the source has no images for it; expected at least one"):
        write_records(tmp_path / "none.h5", [], attributes={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            drop_clean,
            "image 2: has mask, noisy, the images before it clean, mask, noisy",
        ),
        (lambda record: replace(record, attributes={}), "all images of a source must have the same fields"),
        (
            lambda record: replace(record, images=record.images | {"noisy": record.noisy[:16]}),
            r"image 2: noisy is float32 \(16, 32\), expected shape \(32, 32\)",
        ),
    ],
)
def test_a_record_unlike_the_first_is_named_and_leaves_no_file(
    tmp_path: Path, draw_records: DrawRecords, change: Callable[[Record], Record], message: str
) -> None:
    records = [change(record) if index == 2 else record for index, record in enumerate(draw_records(4))]
    with pytest.raises(DataError, match=message):
        write_records(tmp_path / "mixed.h5", records, attributes={})
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_leaves_the_old_file_as_it_was(path: Path, draw_records: DrawRecords) -> None:
    before = hash_file(path)

    def break_off() -> Iterator[Record]:
        yield from draw_records(3)
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        write_records(path, break_off(), attributes={})
    assert hash_file(path) == before
    assert [found.name for found in path.parent.iterdir()] == ["train.h5"]


def test_an_interruption_inside_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with write_atomically(tmp_path / "folder" / "a.txt") as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list((tmp_path / "folder").iterdir()) == []


def test_the_file_does_not_exist_before_it_is_whole(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_that_a_killed_run_left_half_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".partial-scores.json").write_text('{"half')
    write_json(tmp_path / "scores.json", {"a": 1})
    assert json.loads((tmp_path / "scores.json").read_text()) == {"a": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["scores.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' full device")
def test_a_full_disk_is_one_line_with_a_remedy_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "scores.json", {"a": 1})
    (tmp_path / ".partial-scores.json").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"scores\.json cannot be written: No space left on device; free space or"):
        write_json(tmp_path / "scores.json", {"a": 2})
    assert json.loads((tmp_path / "scores.json").read_text()) == {"a": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["scores.json"]


@contextmanager
def limit_file_size(num_bytes: int) -> Iterator[None]:
    """Let the system refuse larger files; HDF5 meets it as it meets a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_records_that_do_not_fit_are_one_line_with_a_remedy_and_leave_the_old_file(
    path: Path, draw_records: DrawRecords
) -> None:
    before = hash_file(path)
    with (
        limit_file_size(60_000),
        pytest.raises(StorageError, match=r"train\.h5 cannot be written: .*; free space or give a folder") as caught,
    ):
        write_records(path, draw_records(40), attributes={})
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    assert hash_file(path) == before
    assert [found.name for found in path.parent.iterdir()] == ["train.h5"]


def test_a_file_in_place_of_the_folder_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("a file")
    with pytest.raises(StorageError, match=r"output/scores\.json cannot be written: (Not a directory|File exists)"):
        write_json(tmp_path / "output" / "scores.json", {})


def test_a_missing_file_names_the_task_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"train\.h5 is not in the data folder; run the preprocess task first"):
        RecordFile(tmp_path / "train.h5")


def damage_no_hdf5(path: Path) -> None:
    path.write_bytes(b"This is not HDF5." * 100)


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def damage_no_version(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file.attrs["schema_version"]


def damage_no_noisy(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["noisy"]


def damage_scalar_noisy(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["noisy"]
        file["noisy"] = 3.0


@pytest.mark.parametrize(
    "damage",
    [damage_no_hdf5, damage_empty, damage_truncated, damage_no_version, damage_no_noisy, damage_scalar_noisy],
)
def test_a_damaged_file_is_one_line_with_a_remedy(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    with pytest.raises(
        DataError, match=r"train\.h5: damaged or not a file of the preprocess task; run that task again"
    ):
        RecordFile(path)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_file_of_another_version_is_refused(path: Path, version: int) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = version
    with pytest.raises(DataError, match=rf"schema version {version}, expected 1; run preprocess again"):
        RecordFile(path)


def hash_content(path: Path) -> str:
    with RecordFile(path) as records:
        return records.hash_content()


def test_the_content_hash_does_not_depend_on_what_hdf5_writes_around_it(
    path: Path, tmp_path: Path, draw_records: DrawRecords
) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(path) as old, h5py.File(other, "w", libver="latest") as new:
        new.attrs.update({"schema_version": 1, "made_by": "somebody else", "creation": 1.0})
        for name in reversed(list(old)):
            if name == "attributes":
                old.copy(name, new)
            elif old[name].dtype.kind == "O":
                new.create_dataset(name, data=old[name][()], dtype=old[name].dtype, maxshape=(None,), chunks=(4,))
            else:
                new.create_dataset(name, data=old[name][()], chunks=True, compression="gzip", fletcher32=True)
    assert hash_file(other) != hash_file(path)
    assert hash_content(other) == hash_content(path)


def change_pixel(file: h5py.File) -> None:
    file["noisy"][3, 4, 5] = np.nextafter(file["noisy"][3, 4, 5], np.float32(9))


def change_specimen(file: h5py.File) -> None:
    file["specimen"][0] = "another"


def change_attribute(file: h5py.File) -> None:
    file["attributes/pixel_size_angstrom"][2] = 0.2


def change_field_name(file: h5py.File) -> None:
    file.move("attributes/pixel_size_angstrom", "attributes/pixel_size_nm")


def swap_images(file: h5py.File) -> None:
    file["noisy"][...] = file["noisy"][()][[1, 0, 2, 3, 4, 5]]


def change_type(file: h5py.File) -> None:
    masks = file["mask"][()].astype(np.int8)
    del file["mask"]
    file["mask"] = masks


@pytest.mark.parametrize(
    "change", [change_pixel, change_specimen, change_attribute, change_field_name, swap_images, change_type]
)
def test_any_change_of_the_content_changes_its_hash(path: Path, change: Callable[[h5py.File], None]) -> None:
    before = hash_content(path)
    with h5py.File(path, "a") as file:
        change(file)
    assert hash_content(path) != before


def test_text_is_hashed_by_its_parts(tmp_path: Path, draw_records: DrawRecords) -> None:
    hashes = set()
    for names in (("ab", "c"), ("a", "bc")):
        records = [
            replace(record, specimen="s", name=name) for record, name in zip(draw_records(2), names, strict=True)
        ]
        write_records(tmp_path / "a.h5", records, attributes={})
        hashes.add(hash_content(tmp_path / "a.h5"))
    assert len(hashes) == 2


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-4, the example of its appendix.
    assert hash_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_is_the_same_whatever_the_order_of_its_names(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": {"d": 2, "c": "Å"}})
    write_json(tmp_path / "b.json", {"a": {"c": "Å", "d": 2}, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert "Å" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_images_are_chunked_one_by_one_for_random_access(path: Path) -> None:
    with h5py.File(path) as file:
        assert {file[name].chunks for name in ("noisy", "clean", "mask")} == {(1, 32, 32)}


WRITE = """
import sys
from pathlib import Path
import numpy as np
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import write_records
from emdenoise.errors import EMDenoiseError

image = np.random.default_rng(0).random((32, 32), np.float32)
records = (Record({"noisy": image}, specimen="a", name="b") for _ in range(int(sys.argv[2])))
try:
    write_records(Path(sys.argv[1]) / "train.h5", records, attributes={})
except EMDenoiseError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def has_own_mounts() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.long
@pytest.mark.skipif(shutil.which("unshare") is None or not has_own_mounts(), reason="may not mount a file system")
def test_a_disk_that_is_really_full_ends_with_the_exit_code_and_no_crash(tmp_path: Path) -> None:
    """HDF5 ends the process with a segmentation fault where it cannot write what it holds back."""
    (tmp_path / "write.py").write_text(WRITE)
    (tmp_path / "disk").mkdir()
    # 128 KiB hold 28 images; the metadata does not fit with 30, nothing does with 2000.
    write_files = 'for n in 20 30 31 33 2000; do "$0" write.py disk $n; echo "$n: $?"; done'
    command = f"mount -t tmpfs -o size=128k none disk; {write_files}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, sys.executable],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    line = "disk/train.h5 cannot be written: No space left on device; free space or give a folder that you may write"
    assert done.stdout.count(line) == 4
    assert [text for text in done.stdout.splitlines() if ": " in text and text[0].isdigit()] == [
        "20: 0",
        "30: 7",
        "31: 7",
        "33: 7",
        "2000: 7",
    ]
