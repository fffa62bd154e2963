"""What the tags of a TIFF say its numbers mean, against the arrays that were written and the TIFF 6.0 definition."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from emdenoise.errors import DataError
from emdenoise.files.formats import read_masks, read_micrographs

IMAGE = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)


@pytest.mark.parametrize("shape", [(12, 16, 1), (1, 12, 16), (1, 12, 16, 1), (1, 1, 12, 16)])
def test_axes_of_length_one_are_no_frames(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE.reshape(shape))
    (micrograph,) = read_micrographs(tmp_path / "a.tif")
    np.testing.assert_array_equal(micrograph.image, IMAGE)
    assert micrograph.name == "a.tif"


def test_frames_of_a_stack_with_axes_of_length_one_stay_frames(tmp_path: Path) -> None:
    stack = np.arange(5 * 12 * 16, dtype=np.uint16).reshape(5, 1, 12, 16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    np.testing.assert_array_equal(
        [micrograph.image for micrograph in read_micrographs(tmp_path / "a.tif")], stack[:, 0]
    )


def test_more_than_three_axes_are_refused_by_their_names(tmp_path: Path) -> None:
    stack = np.ones((2, 3, 12, 16), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(DataError, match=r"4-dimensional data \(time 2, depth 3, height 12, width 16\)"):
        read_micrographs(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [8, 16])
def test_where_the_smallest_number_is_white_the_image_is_inverted(tmp_path: Path, bits: int) -> None:
    # TIFF 6.0, PhotometricInterpretation 0: "0 is imaged as white".
    stored = IMAGE.astype(f"uint{bits}")
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.tif")[0].image, 2**bits - 1 - stored.astype(int))
    if bits == 8:
        np.testing.assert_array_equal(read_masks(tmp_path / "a.tif")[0], stored)  # labels are numbers, not grey


def test_signed_numbers_of_which_the_smallest_is_white_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE.astype(np.float32), photometric="miniswhite", metadata=None)
    with pytest.raises(DataError, match="float32 numbers of which the smallest is white; save it with black as 0"):
        read_micrographs(tmp_path / "a.tif")


def write_palette(path: Path, image: np.ndarray, colours: np.ndarray) -> None:
    """Write an image with a palette, uint16 (3, 256)."""
    tifffile.imwrite(path, image, photometric="palette", colormap=colours, metadata=None)


def test_a_grey_palette_gives_its_grey(tmp_path: Path) -> None:
    falling = 257 * np.arange(255, -1, -1, dtype=np.uint16)
    write_palette(tmp_path / "a.tif", IMAGE, np.stack([falling] * 3))
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.tif")[0].image, 255 - IMAGE.astype(int))
    np.testing.assert_array_equal(read_masks(tmp_path / "a.tif")[0], IMAGE)


def test_false_colours_of_a_palette_are_no_intensities(tmp_path: Path) -> None:
    colours = 257 * np.stack([np.arange(256), np.arange(255, -1, -1), np.full(256, 9)]).astype(np.uint16)
    write_palette(tmp_path / "a.tif", IMAGE, colours)
    with pytest.raises(DataError, match="false colours of a palette; expected intensities; save the image in grey"):
        read_micrographs(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_masks(tmp_path / "a.tif")[0], IMAGE)


def test_a_coloured_scale_bar_on_a_grey_palette_is_allowed(tmp_path: Path) -> None:
    grey = np.stack([257 * np.arange(256, dtype=np.uint16)] * 3)
    grey[:, 200] = 0, 65535, 0
    image = np.full((40, 50), 7, np.uint8)
    image[3, 4] = 200
    write_palette(tmp_path / "a.tif", image, grey)
    expected = image.astype(np.float32)
    expected[3, 4] = 0.7154 * 255
    np.testing.assert_allclose(read_micrographs(tmp_path / "a.tif")[0].image, expected, rtol=1e-6)


def test_a_palette_of_imagej_changes_the_display_alone(tmp_path: Path) -> None:
    colours = np.stack([np.arange(256), np.arange(255, -1, -1), np.full(256, 9)]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, colormap=colours.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.tif")[0].image, IMAGE)


def test_a_second_page_of_half_the_size_is_not_dropped(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(IMAGE, metadata=None)
        file.write(IMAGE[::2, ::2] + 1, metadata=None)
    with pytest.raises(DataError, match=r"page 1 of 8 × 6 px may be an image or a smaller copy.*file of its own"):
        read_micrographs(tmp_path / "a.tif")


def test_a_page_that_says_it_is_a_smaller_copy_is_left_out(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(IMAGE, metadata=None)
        file.write(IMAGE[::2, ::2], metadata=None, subfiletype=1)
    (micrograph,) = read_micrographs(tmp_path / "a.tif")
    np.testing.assert_array_equal(micrograph.image, IMAGE)


@pytest.mark.parametrize("num_bytes", [1, 12 * 16 * 2, 12 * 16 * 2 * 3])
def test_a_cut_stack_of_imagej_with_one_page_is_refused(tmp_path: Path, num_bytes: int) -> None:
    stack = np.arange(4 * 12 * 16, dtype=np.uint16).reshape(4, 12, 16)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        directory, start = file.pages[0].offset, file.pages[0].dataoffsets[0]
    content = (tmp_path / "a.tif").read_bytes()
    end = directory + 2 + 12 * int.from_bytes(content[directory : directory + 2], "little")
    # One directory before all pixels, as ImageJ writes it for more than 4 GiB: the first has no next.
    alone = (content[:end] + bytes(4) + content[end + 4 :])[: start + stack.nbytes]
    (tmp_path / "a.tif").write_bytes(alone)
    np.testing.assert_array_equal([micrograph.image for micrograph in read_micrographs(tmp_path / "a.tif")], stack)
    (tmp_path / "a.tif").write_bytes(alone[:-num_bytes])
    with pytest.raises(DataError, match=r"ImageJ series metadata invalid or corrupted.*copy it again"):
        read_micrographs(tmp_path / "a.tif")


def break_chain(path: Path) -> None:
    """Let the second page be the last, as where a program stopped while it wrote."""
    with tifffile.TiffFile(path) as file:
        place = file.pages[1].offset
    content = bytearray(path.read_bytes())
    end = place + 2 + 12 * int.from_bytes(content[place : place + 2], "little")
    content[end : end + 4] = bytes(4)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ome.tif", {"metadata": {"axes": "ZYX"}}),
        ("a.tif", {"compression": "zlib", "imagej": True, "metadata": {"axes": "ZYX"}}),
    ],
)
def test_pages_that_are_missing_are_not_zeros(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    # https://github.com/cgohlke/tifffile/issues/199: "OME series expected 24 frames, got 16"
    stack = np.arange(1, 4 * 12 * 16 + 1, dtype=np.uint16).reshape(4, 12, 16)
    tifffile.imwrite(tmp_path / name, stack, photometric="minisblack", **options)
    assert len(read_micrographs(tmp_path / name)) == 4
    break_chain(tmp_path / name)
    with pytest.raises(DataError, match=r"bytes that cannot be read \(.+\); expected a whole TIFF file; copy it again"):
        read_micrographs(tmp_path / name)


def test_a_file_of_ome_that_is_missing_is_named(tmp_path: Path) -> None:
    stack = np.ones((4, 12, 16), np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "ZYX"}, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        notes = str(file.ome_metadata)
    places = [
        f'<TiffData IFD="0" FirstZ="{first}" PlaneCount="2"><UUID FileName="{name}">urn:uuid:{first}</UUID></TiffData>'
        for first, name in ((0, "a.ome.tif"), (2, "b.ome.tif"))
    ]
    notes = re.sub("<TiffData[^>]*/>", "".join(places), notes)
    tifffile.imwrite(tmp_path / "a.ome.tif", stack[:2], description=notes.encode(), metadata=None)
    with pytest.raises(DataError, match=r"failed to read 'b\.ome\.tif'.*; expected a whole TIFF file"):
        read_micrographs(tmp_path / "a.ome.tif")


def test_three_frames_that_tifffile_took_for_colours_are_frames(tmp_path: Path) -> None:
    stack = np.arange(3 * 12 * 16, dtype=np.uint16).reshape(3, 12, 16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal([micrograph.image for micrograph in read_micrographs(tmp_path / "a.tif")], stack)


def test_colours_in_planes_become_luminance(tmp_path: Path) -> None:
    planes = np.stack([np.full((12, 16), value, np.uint8) for value in (200, 50, 10)])
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", metadata=None)
    (micrograph,) = read_micrographs(tmp_path / "a.tif")
    np.testing.assert_allclose(micrograph.image, 0.2125 * 200 + 0.7154 * 50 + 0.0721 * 10, rtol=1e-6)


def test_a_page_of_jeol_is_read_beside_one_without_a_description(tmp_path: Path) -> None:
    notes = {
        "Eos": "<EosMode>eosTEM</EosMode>",
        "IlluminationSystem": "<ImageField>TEM-BF</ImageField>",
        "ImageFormingSystem": "<ImageFormingMode>TEM-MAG</ImageFormingMode><SelectorString>X150k</SelectorString>"
        "<ModeString>MAG</ModeString><SelectorValue>150000</SelectorValue>",
    }
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in notes.items())
    image, maker = IMAGE.astype(np.uint16), [(271, 2, 0, "JEOL Ltd.", True)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(
            image,
            description=f"<TemReporter>{inner}</TemReporter>",
            metadata=None,
            extratags=maker,
            resolution=(93, 93),
            resolutionunit="INCH",
        )
        file.write(IMAGE, metadata=None, extratags=maker)
    (micrograph,) = read_micrographs(tmp_path / "a.tif")
    np.testing.assert_array_equal(micrograph.image, image)
    # 93 pixels an inch on the screen, magnified 150,000 times.
    assert micrograph.pixel_size_angstrom == pytest.approx(0.0254 / 93 / 150000 * 1e10)


def test_the_pixel_size_and_the_channels_of_ome_are_read(tmp_path: Path) -> None:
    channels = np.stack([IMAGE, IMAGE + 1])
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["BF", "HAADF"]},
        **{f"PhysicalSize{side}": 0.25 for side in "XY"},
        **{f"PhysicalSize{side}Unit": "nm" for side in "XY"},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", channels, metadata=metadata)
    micrographs = read_micrographs(tmp_path / "a.ome.tif")
    assert [micrograph.signal for micrograph in micrographs] == ["BF", "HAADF"]
    np.testing.assert_array_equal([micrograph.image for micrograph in micrographs], channels)
    assert micrographs[0].pixel_size_angstrom == pytest.approx(2.5)


def test_ome_without_a_unit_means_micrometres(tmp_path: Path) -> None:
    metadata = {"axes": "YX", "PhysicalSizeX": 0.002, "PhysicalSizeY": 0.002}
    tifffile.imwrite(tmp_path / "a.ome.tif", IMAGE, metadata=metadata)
    assert read_micrographs(tmp_path / "a.ome.tif")[0].pixel_size_angstrom == pytest.approx(20)


@pytest.mark.parametrize(("unit", "angstrom"), [("\\u00C5", 0.25), ("\\u00B5m", 2500), ("pixel", None), ("inch", None)])
def test_units_that_imagej_escapes_are_read(tmp_path: Path, unit: str, angstrom: float | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, imagej=True, resolution=(4, 4), metadata={"unit": unit})
    assert read_micrographs(tmp_path / "a.tif")[0].pixel_size_angstrom == (angstrom and pytest.approx(angstrom))


def test_channels_of_imagej_are_signals(tmp_path: Path) -> None:
    stack = np.arange(2 * 3 * 12 * 16, dtype=np.uint16).reshape(2, 3, 12, 16)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TCYX"})
    micrographs = read_micrographs(tmp_path / "a.tif")
    assert [micrograph.signal for micrograph in micrographs[::2]] == ["channel 0", "channel 1", "channel 2"]
    np.testing.assert_array_equal([micrograph.image for micrograph in micrographs[:2]], stack[:, 0])


def test_signed_numbers_that_imagej_stores_with_an_offset_are_read_as_they_are_meant(tmp_path: Path) -> None:
    # ImageJ's Calibration.setSigned16BitCalibration: stored 0 … 65535 mean -32768 … 32767, by function 0, a line.
    signed = np.array([[-32768, -3, 0], [1, 2, 32767]], np.int16)
    notes = {"cf": 0, "c0": -32768.0, "c1": 1.0, "vunit": "gray value"}
    stored = (signed.astype(np.int32) + 32768).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata=notes)
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.tif")[0].image, signed)


def test_an_array_of_events_that_tifffile_wrote_is_not_inverted(tmp_path: Path) -> None:
    events = np.eye(20, 30, dtype=bool)  # tifffile stores it with 0 as white, and reads it as it was
    tifffile.imwrite(tmp_path / "a.tif", events)
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.tif")[0].image, events)
