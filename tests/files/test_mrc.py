"""MRC files against the MRC2014 definition: signed bytes, byte order, cells that mean unknown."""

from pathlib import Path

import numpy as np
import pytest

from emdenoise.errors import DataError
from emdenoise.files.formats import is_image_file, read_micrographs

SHAPE = (5, 7)


def write_mrc(
    path: Path, mode: int, image: np.ndarray, *, order: str = "<", cell: float = 14.0, **words: float
) -> Path:
    """Write an image; `words` are those of the definition, counted from 1, as ``word_20=3.0``."""
    header = np.zeros(256, f"{order}i4")
    header[:4], header[7:10], header[16:19] = (image.shape[1], image.shape[0], 1, mode), (7, 5, 1), (1, 2, 3)
    floats = header.view(f"{order}f4")
    floats[10:13] = cell, cell * 5 / 7, 1
    floats[19:22] = 0, -1, -2  # smallest above largest: nobody has measured them
    header[52:54] = np.frombuffer(b"MAP " + (b"DD\0\0" if order == "<" else b"\x11\x11\0\0"), f"{order}i4")
    for name, value in words.items():
        target = floats if isinstance(value, float) else header
        target[int(name.removeprefix("word_")) - 1] = value
    path.write_bytes(header.tobytes() + image.astype(image.dtype.newbyteorder(order)).tobytes())
    return path


def read(path: Path) -> np.ndarray:
    (micrograph,) = read_micrographs(path)
    return micrograph.image


@pytest.mark.parametrize(
    ("words", "is_signed"),
    [
        ({}, True),  # MRC2014: mode 0 is 8-bit signed integer
        ({"word_39": 1146047817, "word_40": 1}, True),  # IMOD: bit 0 of its flags says signed
        ({"word_39": 1146047817, "word_40": 0}, False),
        ({"word_20": 0.0, "word_21": 255.0}, False),  # no signed byte is 255
        ({"word_20": -104.0, "word_21": -31.0}, True),
    ],
)
def test_bytes_have_the_sign_that_the_header_gives_them(
    tmp_path: Path, words: dict[str, float], is_signed: bool
) -> None:
    image = np.arange(35, dtype=np.int8).reshape(SHAPE) - 104
    path = write_mrc(tmp_path / "a.mrc", 0, image, **words)
    np.testing.assert_array_equal(read(path), image if is_signed else image.view(np.uint8))


@pytest.mark.parametrize(("mode", "kind"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")])
@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_of_either_byte_order_are_read(tmp_path: Path, mode: int, kind: str, order: str) -> None:
    image = (np.arange(35).reshape(SHAPE) + 3).astype(kind)
    path = write_mrc(tmp_path / "a.mrc", mode, image, order=order)
    np.testing.assert_array_equal(read(path), image)
    assert read_micrographs(path)[0].pixel_size_angstrom == pytest.approx(2)


@pytest.mark.parametrize("cell", [0.0, -70.0, float("nan")])
def test_a_cell_that_has_no_length_is_no_pixel_size(tmp_path: Path, cell: float) -> None:
    path = write_mrc(tmp_path / "a.mrc", 1, np.ones(SHAPE, np.int16), cell=cell)
    assert read_micrographs(path)[0].pixel_size_angstrom is None


def test_a_grid_without_intervals_is_no_pixel_size(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", 1, np.ones(SHAPE, np.int16), word_8=0, word_9=0)
    assert read_micrographs(path)[0].pixel_size_angstrom is None


@pytest.mark.parametrize("suffix", [".mrcs", ".st", ".ali", ".rec", ".map"])
def test_other_endings_of_the_format_are_read(tmp_path: Path, suffix: str) -> None:
    image = np.arange(35, dtype=np.int16).reshape(SHAPE)
    path = write_mrc(tmp_path / f"a{suffix}", 1, image)
    assert is_image_file(path)
    np.testing.assert_array_equal(read(path), image)


def test_sections_that_the_header_does_not_count_are_not_dropped(tmp_path: Path) -> None:
    image = np.arange(35, dtype=np.int16).reshape(SHAPE)
    path = write_mrc(tmp_path / "a.mrcs", 1, image)
    path.write_bytes(path.read_bytes() + image.tobytes())
    with pytest.raises(DataError, match=r"a\.mrcs: its header says 1 sections, but there are 1 more; expected as many"):
        read_micrographs(path)


def test_the_extended_header_is_no_section(tmp_path: Path) -> None:
    image = np.arange(35, dtype=np.int16).reshape(SHAPE)
    path = write_mrc(tmp_path / "a.mrc", 1, image, word_24=768)
    content = path.read_bytes()
    path.write_bytes(content[:1024] + bytes(768) + content[1024:])
    np.testing.assert_array_equal(read(path), image)


@pytest.mark.parametrize("mode", [3, 101])
def test_modes_that_are_not_read_are_named(tmp_path: Path, mode: int) -> None:
    path = write_mrc(tmp_path / "a.mrc", mode, np.ones(SHAPE, np.int16))
    with pytest.raises(DataError, match=rf"MRC mode {mode}; expected one of 0, 1, 2, 4, 6, 12; convert it to mode 2"):
        read_micrographs(path)


def test_the_pixel_size_is_that_of_the_axes_that_the_header_calls_columns_and_rows(tmp_path: Path) -> None:
    # MRC2014: words 17 to 19 say which axis of the cell (words 11 to 13) columns, rows and sections are.
    words = {"word_8": 1, "word_9": 5, "word_10": 7, "word_17": 3, "word_18": 2, "word_19": 1, "word_13": 14.0}
    path = write_mrc(tmp_path / "a.mrc", 2, np.ones(SHAPE, np.float32), **words)
    assert read_micrographs(path)[0].pixel_size_angstrom == pytest.approx(2)
    path = write_mrc(tmp_path / "b.mrc", 2, np.ones(SHAPE, np.float32), word_17=0, word_18=0)  # nobody wrote them
    assert read_micrographs(path)[0].pixel_size_angstrom == pytest.approx(2)
