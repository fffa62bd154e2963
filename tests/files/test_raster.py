"""PNG images of any depth, against the bytes that a small writer put into them."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emdenoise.errors import DataError
from emdenoise.files.formats import read_masks, read_micrographs


def write_png(path: Path, rows: list[bytes], width: int, bits: int, kind: int) -> None:
    """Write a PNG of rows that are packed already (ISO/IEC 15948)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize(
    ("bits", "row", "values"), [(2, b"\x1b", [0, 1, 2, 3]), (4, b"\x01\x8f", [0, 1, 8, 15]), (1, b"\x50", [0, 1, 0, 1])]
)
def test_grey_of_few_bits_is_not_stretched(tmp_path: Path, bits: int, row: bytes, values: list[int]) -> None:
    write_png(tmp_path / "a.png", [row], 4, bits, 0)
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.png")[0].image, [values])
    np.testing.assert_array_equal(read_masks(tmp_path / "a.png")[0], [values])


@pytest.mark.parametrize(("kind", "num_channels"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_16_bits_are_refused_since_half_of_them_would_be_lost(
    tmp_path: Path, kind: int, num_channels: int
) -> None:
    write_png(tmp_path / "a.png", [b"\x12\x34" * num_channels], 1, 16, kind)
    with pytest.raises(DataError, match="a PNG of 16 bits in each colour, of which 8 can be read; save it as 16-bit"):
        read_micrographs(tmp_path / "a.png")


def test_false_colours_of_a_palette_are_refused_and_grey_ones_read(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2), "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "a.png")
    with pytest.raises(DataError, match="false colours of a palette; expected intensities"):
        read_micrographs(tmp_path / "a.png")
    image.putpalette([value for grey in (90, 70, 50, 30) for value in (grey, grey, grey)])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.png")[0].image, [[90, 70], [50, 30]])


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((3, 3), value, np.uint8)) for value in (9, 99)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"an animation; expected one image; save its frames as \.tif"):
        read_micrographs(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_that_shall_be_turned_to_be_seen_is_refused(tmp_path: Path, suffix: str) -> None:
    notes = Image.Exif()
    notes[274] = 6  # EXIF: Orientation, where 1 is as stored
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(tmp_path / f"a{suffix}", exif=notes)
    for read in (read_micrographs, read_masks) if suffix == ".png" else (read_micrographs,):
        with pytest.raises(DataError, match=rf"a\{suffix}: says in its EXIF notes \(orientation 6\) that it shall be"):
            read(tmp_path / f"a{suffix}")
