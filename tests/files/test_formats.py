"""Reading of micrographs, against what other programs and the bytes of the files themselves say."""

import json
import re
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from emdenoise.errors import DataError, PackageError
from emdenoise.files.formats import is_image_file, read_masks, read_micrographs

SHARED = Path(__file__).parents[2].parent / "shared/data"
RAW = SHARED / "raw_microscope_files"

# Frames, height, width, pixel size [Å] and type in the file. Sizes in pixels and Å: from the tags and headers, as the
# tests below read them, and from the tag lists that DigitalMicrograph files hold in plain bytes.
IMAGES = {
    "lukmuk_r_em/REBCO-ROI_raw.dm3": (1, 128, 128, 0.5408200, "<u2"),
    "lukmuk_r_em/REBCO.tif": (1, 943, 1024, 19.0805, None),
    "lukmuk_r_em/Tecnai_Osiris_SrTiO3.tif": (1, 512, 512, 0.1351722, ">u2"),
    "openncem/16_STOimage_1.ser": (1, 1024, 1024, 0.1001270, "<u2"),
    "openncem/Acquisition_18.emd": (1, 1024, 1024, 0.1224652, None),
    "openncem/Camera Ceta Imaging Micro.emd": (1, 512, 512, 31.38837, None),
    "openncem/STEM HAADF Diffraction Micro.emd": (1, 128, 128, 873.70796, None),
    "openncem/temp.mrc": (3, 128, 128, 2.0, "<f4"),
    "particlespy/JEOL HAADF Image.dm4": (1, 112, 112, 12.490136, "<f4"),
    "rsciio/03_Scanning Preview.emi": (5, 128, 128, 3.8435249, None),
    "rsciio/03_Scanning Preview_1.ser": (5, 128, 128, 3.8435249, "<u2"),
    "rsciio/128x128_TEM_acquire-sum1.emi": (1, 128, 128, 214.79318, None),
    "rsciio/128x128_TEM_acquire-sum1_1.ser": (1, 128, 128, 214.79318, "<i4"),
    "rsciio/64x64x5_TEM_preview_1.ser": (5, 64, 64, 62.818336, "<f4"),
    "rsciio/HAADFscan.mrc": (1, 16, 16, 56.791313, "<u2"),
    "rsciio/fei_example_tem_stack.emd": (2, 3, 3, 0.081728832, None),
    "rsciio/olympus_SIS.tif": (1, 101, 112, 0.239279, "<u2"),
    "rsciio/test-1.dm4": (1, 2, 2, None, "<i2"),
    "rsciio/test-6.dm3": (1, 2, 2, None, "<u1"),
    "rsciio/test_STEM_image.dm3": (1, 68, 68, 2.4853802, "<u4"),
}
REFUSED = {
    "openncem/dmTest_float32_nonSquare_diffPixelSize.dm3": "pixels are 2 Å high and 10 Å wide; expected square ones",
    "openncem/dmTest_float32_nonSquare_diffPixelSize.dm4": "pixels are 2 Å high and 10 Å wide; expected square ones",
    "rsciio/test-EELS_spectrum.dm3": "holds a spectrum or line scan; expected an image",
}
NOTES = ("LICENSE", "COPYING.txt")


def find(path: Path) -> Path:
    if not path.is_file():
        pytest.skip(f"the third-party file {path.name} is not beside this checkout (shared/data)")
    if path.name in ("olympus_SIS.tif", "0001.tif"):
        pytest.importorskip("imagecodecs", reason="compressed TIFF needs imagecodecs (rosettasciio[tiff])")
    return path


@pytest.mark.parametrize("name", IMAGES)
def test_every_microscope_image_has_the_size_and_pixel_size_of_its_header(name: str) -> None:
    num_frames, height, width, pixel_size_angstrom, _ = IMAGES[name]
    micrographs = read_micrographs(find(RAW / name))
    assert [micrograph.image.shape for micrograph in micrographs] == [(height, width)] * num_frames
    for micrograph in micrographs:
        assert micrograph.image.dtype == np.float32
        if pixel_size_angstrom is None:
            assert micrograph.pixel_size_angstrom is None
        else:
            assert micrograph.pixel_size_angstrom == pytest.approx(pixel_size_angstrom, rel=1e-5)


@pytest.mark.parametrize("name", [name for name, row in IMAGES.items() if row[-1]])
def test_pixels_stand_in_the_file_as_they_were_read(name: str) -> None:
    *_, kind = IMAGES[name]
    content = find(RAW / name).read_bytes()
    for micrograph in read_micrographs(RAW / name):
        rows = micrograph.image.astype(kind)
        assert rows.tobytes() in content or all(row.tobytes() in content for row in rows)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_with_square_pixels_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"{re.escape(Path(name).name)}: {REFUSED[name]}"):
        read_micrographs(find(RAW / name))


def test_every_raw_file_is_expected_to_be_read_or_refused() -> None:
    names = {path.relative_to(RAW).as_posix() for path in RAW.rglob("*") if path.is_file() and path.name not in NOTES}
    if not names:
        pytest.skip("the third-party files are not beside this checkout (shared/data)")
    assert names == set(IMAGES) | set(REFUSED)


@pytest.mark.parametrize("name", ["openncem/temp.mrc", "rsciio/HAADFscan.mrc"])
def test_mrc_pixel_size_is_the_length_of_the_cell_over_its_grid(name: str) -> None:
    header = find(RAW / name).read_bytes()[:1024]
    width, height, num_frames = struct.unpack_from("<3i", header, 0)
    grid, cell_angstrom = struct.unpack_from("<i", header, 28)[0], struct.unpack_from("<f", header, 40)[0]
    micrographs = read_micrographs(RAW / name)
    assert len(micrographs) == num_frames
    assert micrographs[0].image.shape == (height, width)
    assert micrographs[0].pixel_size_angstrom == pytest.approx(cell_angstrom / grid, rel=1e-6)


@pytest.mark.parametrize("name", [name for name in IMAGES if name.endswith(".ser")])
def test_ser_pixel_size_is_the_calibration_of_its_first_image(name: str) -> None:
    # TIA series format: the version at byte 4 decides the width of offsets; CalibrationDeltaX [m] follows an offset.
    content = find(RAW / name).read_bytes()
    version, num_frames = struct.unpack_from("<h", content, 4)[0], struct.unpack_from("<i", content, 18)[0]
    table = struct.unpack_from("<q" if version >= 0x220 else "<i", content, 22)[0]
    first = struct.unpack_from("<q" if version >= 0x220 else "<i", content, table)[0]
    micrographs = read_micrographs(RAW / name)
    assert len(micrographs) == num_frames
    assert micrographs[0].pixel_size_angstrom == pytest.approx(struct.unpack_from("<d", content, first + 8)[0] * 1e10)


@pytest.mark.parametrize("name", [name for name in IMAGES if "Micro.emd" in name or name.endswith("stack.emd")])
def test_velox_images_and_pixel_sizes_are_those_of_the_hdf5_file(name: str) -> None:
    with h5py.File(find(RAW / name)) as file:
        (group,) = file["Data/Image"].values()
        frames = np.moveaxis(group["Data"][()], -1, 0)
        notes = json.loads(bytes(group["Metadata"][:, 0]).decode().split("\0")[0])
    micrographs = read_micrographs(RAW / name)
    np.testing.assert_array_equal([micrograph.image for micrograph in micrographs], frames)
    width_m = float(notes["BinaryResult"]["PixelSize"]["width"])
    assert micrographs[0].pixel_size_angstrom == pytest.approx(width_m * 1e10)


def test_berkeley_emd_image_is_that_of_the_hdf5_file() -> None:
    path = find(RAW / "openncem/Acquisition_18.emd")
    with h5py.File(path) as file:
        groups: list[h5py.Group] = []
        file.visititems(lambda _, item: groups.append(item) if "emd_group_type" in item.attrs else None)
        data, columns = groups[0]["data"][()], groups[0]["dim2"][:2]
    (micrograph,) = read_micrographs(path)
    np.testing.assert_array_equal(micrograph.image, data.squeeze())
    assert micrograph.pixel_size_angstrom == pytest.approx(10 * (columns[1] - columns[0]), rel=1e-4)


def test_fei_and_imagej_tif_have_the_pixel_size_of_their_tags() -> None:
    path = find(RAW / "lukmuk_r_em/REBCO.tif")
    width_m = float(re.search(rb"PixelWidth=(\S+)", path.read_bytes())[1])
    (micrograph,) = read_micrographs(path)
    assert micrograph.pixel_size_angstrom == pytest.approx(width_m * 1e10)
    with Image.open(path) as file:
        np.testing.assert_array_equal(micrograph.image, np.asarray(file))
    path = find(RAW / "lukmuk_r_em/Tecnai_Osiris_SrTiO3.tif")
    with Image.open(path) as file:
        pixels_per_nm = float(file.tag_v2[282])
        assert "unit=nm" in file.tag_v2[270]
    assert read_micrographs(path)[0].pixel_size_angstrom == pytest.approx(10 / pixels_per_nm)


def test_compressed_tif_in_units_of_a_japanese_system_is_read() -> None:
    path = find(SHARED / "katsuno_lowdose/0001.tif")
    (micrograph,) = read_micrographs(path)
    with Image.open(path) as file:
        np.testing.assert_array_equal(micrograph.image, np.asarray(file))
        assert micrograph.pixel_size_angstrom == pytest.approx(file.tag_v2[65009] * 1e4)


def test_the_colour_preview_beside_a_grey_image_is_left_out() -> None:
    path = find(RAW / "rsciio/olympus_SIS.tif")
    with Image.open(path) as file:
        assert file.mode == "RGB"
        file.seek(1)
        np.testing.assert_array_equal(read_micrographs(path)[0].image, np.asarray(file))


def test_negative_values_are_kept() -> None:
    (micrograph,) = read_micrographs(find(RAW / "rsciio/128x128_TEM_acquire-sum1_1.ser"))
    assert micrograph.image.min() == -473


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_tif_of_any_number_type_keeps_its_values(tmp_path: Path, kind: str) -> None:
    image = np.arange(35).reshape(5, 7).astype(kind)
    tifffile.imwrite(tmp_path / "a.TIF", image)
    (micrograph,) = read_micrographs(tmp_path / "a.TIF")
    np.testing.assert_array_equal(micrograph.image, image)
    assert (micrograph.name, micrograph.pixel_size_angstrom) == ("a.TIF", None)


@pytest.mark.parametrize(("unit", "factor"), [("nm", 10), ("micron", 1e4), ("um", 1e4), ("pm", 0.01), ("Angstrom", 1)])
def test_pixel_size_is_converted_to_angstrom(tmp_path: Path, unit: str, factor: float) -> None:
    image = np.ones((8, 8), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, resolution=(4, 4), metadata={"unit": unit})
    assert read_micrographs(tmp_path / "a.tif")[0].pixel_size_angstrom == pytest.approx(factor / 4)


def test_dots_per_inch_of_a_screen_are_no_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 8), np.uint8), resolution=(72, 72), resolutionunit="INCH")
    assert read_micrographs(tmp_path / "a.tif")[0].pixel_size_angstrom is None


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colour_becomes_luminance(tmp_path: Path, suffix: str) -> None:
    # Green and blue are equal: a trap, since the reader of RosettaSciIO takes such images for grey.
    colours = np.zeros((4, 4, 3), np.uint8) + np.array([200, 50, 50], np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(colours).save(path)
    expected = 0.2125 * 200 + 0.7154 * 50 + 0.0721 * 50
    np.testing.assert_allclose(read_micrographs(path)[0].image, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "LA", "1"])
def test_png_of_any_mode_gives_its_grey_values(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.eye(4, dtype=np.uint8) * 255)
    image = Image.fromarray(np.eye(4, dtype=np.uint16) * 255) if mode == "I;16" else grey.convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.eye(4) * (1 if mode == "1" else 255)
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.png")[0].image, expected)


def test_frames_of_a_stack_are_images_with_numbers(tmp_path: Path) -> None:
    stack = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    micrographs = read_micrographs(tmp_path / "a.tif")
    np.testing.assert_array_equal([micrograph.image for micrograph in micrographs], stack)
    assert [micrograph.name for micrograph in micrographs] == [f"a.tif frame {index}" for index in range(5)]


def test_rows_and_frames_of_a_berkeley_emd_stack_are_in_their_order(tmp_path: Path) -> None:
    stack = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        group = file.create_group("data/stack")
        group.attrs["emd_group_type"] = 1
        group["data"] = stack
        for index, (name, unit) in enumerate([("time", "[s]"), ("y", "[n_m]"), ("x", "[n_m]")]):
            group[f"dim{index + 1}"] = 0.5 * np.arange(stack.shape[index])
            group[f"dim{index + 1}"].attrs.update({"name": name, "units": unit})
    micrographs = read_micrographs(tmp_path / "a.emd")
    np.testing.assert_array_equal([micrograph.image for micrograph in micrographs], stack)
    assert micrographs[0].pixel_size_angstrom == pytest.approx(5)


def test_images_of_a_file_that_also_holds_a_spectrum_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.emd", "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        for name, shape, units in (("eels", (7,), ["[eV]"]), ("haadf", (4, 4), ["[n_m]"] * 2)):
            group = file.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            group["data"] = np.ones(shape)
            for index, unit in enumerate(units):
                group[f"dim{index + 1}"] = np.arange(float(shape[index]))
                group[f"dim{index + 1}"].attrs.update({"name": f"axis {index}", "units": unit})
    assert [micrograph.image.shape for micrograph in read_micrographs(tmp_path / "a.emd")] == [(4, 4)]


def write_signal(path: Path, data: np.ndarray, units: list[str], num_navigation: int) -> None:
    """Write an .hspy file, which can hold data of any dimension and unit."""
    from rsciio.hspy import file_writer

    axes = [
        {
            "size": size,
            "name": f"axis {index}",
            "scale": 0.5,
            "offset": 0.0,
            "units": unit,
            "navigate": index < num_navigation,
        }
        for index, (size, unit) in enumerate(zip(data.shape, units, strict=True))
    ]
    empty = ("original_metadata", "learning_results", "models", "package_info", "tmp_parameters")
    metadata = {"General": {"title": ""}, "Signal": {"signal_type": ""}}
    signal = {"data": data, "axes": axes, "metadata": metadata, "attributes": {"_lazy": False}}
    signal |= {name: {} for name in empty}
    file_writer(str(path), signal, show_progressbar=False)


@pytest.mark.parametrize(
    ("shape", "units", "num_navigation", "message"),
    [
        ((9,), ["eV"], 0, "holds a spectrum or line scan"),
        ((4, 5, 9), ["nm", "nm", "eV"], 2, "holds a spectrum or line scan"),
        ((6, 6), ["1/nm", "1/nm"], 0, r"holds a diffraction pattern \(pixels in 1/nm\)"),
        ((6, 6), ["mrad", "mrad"], 0, r"holds a diffraction pattern \(pixels in mrad\)"),
        (
            (4, 5, 6, 6),
            ["nm", "nm", "1/nm", "1/nm"],
            2,
            "holds 4-dimensional data \\(axis 0 4, axis 1 5, axis 2 6, axis 3 6\\)",
        ),
        ((6, 6), ["nm", "µm"], 0, "pixels are 5 Å high and 5000 Å wide; expected square ones"),
    ],
)
def test_spectra_diffraction_and_oblong_pixels_are_refused(
    tmp_path: Path, shape: tuple[int, ...], units: list[str], num_navigation: int, message: str
) -> None:
    write_signal(tmp_path / "a.hspy", np.ones(shape, np.float32), units, num_navigation)
    with pytest.raises(DataError, match=f"a.hspy: {message}"):
        read_micrographs(tmp_path / "a.hspy")


def test_complex_images_are_refused(tmp_path: Path) -> None:
    write_signal(tmp_path / "a.hspy", np.ones((6, 6), np.complex64), ["nm", "nm"], 0)
    with pytest.raises(DataError, match=r"complex64 \(6, 6\) values, such as a wave or a Fourier transform"):
        read_micrographs(tmp_path / "a.hspy")


def test_pixels_that_are_nearly_square_are_accepted(tmp_path: Path) -> None:
    image = np.ones((8, 8), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, resolution=(4, 4.02), metadata={"unit": "nm"})
    assert read_micrographs(tmp_path / "a.tif")[0].pixel_size_angstrom == pytest.approx(2.5, rel=0.01)


def test_nan_is_refused(tmp_path: Path) -> None:
    image = np.ones((4, 4), np.float32)
    image[1, 2] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", image)
    with pytest.raises(DataError, match=r"a\.tif: 1 pixels are NaN or infinite; all must be finite"):
        read_micrographs(tmp_path / "a.tif")


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 4), 1e300))
    with pytest.raises(DataError, match="16 pixels are NaN or infinite"):
        read_micrographs(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".dm3", ".dm4", ".ser", ".emi", ".emd", ".mrc", ".tif", ".png", ".jpg", ".hspy"])
@pytest.mark.parametrize("content", [b"", b"<html>404 not found</html>"])
def test_a_file_of_other_content_is_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    expected = (
        rf"{tmp_path.name}/a{suffix}: ({len(content)} bytes that cannot be read|holds no image).*; expected.*; \w+"
    )
    with pytest.raises(DataError, match=expected) as caught:
        read_micrographs(path)
    assert "\n" not in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in IMAGES if "olympus" not in name])
def test_a_microscope_file_that_was_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    source = find(RAW / name)
    content = source.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / source.name
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match=re.escape(source.name)):
            read_micrographs(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_tif_that_was_cut_short_is_refused(tmp_path: Path, compression: str | None, share: float) -> None:
    stack = np.random.default_rng(0).integers(0, 999, (4, 64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", compression=compression)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"bytes that cannot be read \(.+\); expected a whole TIFF file; copy it again"):
        read_micrographs(tmp_path / "a.tif")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "<COMPRESSION.LZW: 5> requires the 'imagecodecs' package"

    def fail(*_: object, **__: object) -> None:
        raise ValueError(message)

    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 8), np.uint8))
    monkeypatch.setattr("rsciio.tiff.file_reader", fail)
    with pytest.raises(PackageError, match=r"a\.tif: .* requires the 'imagecodecs' package; install the package, or"):
        read_micrographs(tmp_path / "a.tif")


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"notes\.txt: \.txt is no format of micrographs; save it as"):
        read_micrographs(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("name", "is_image"),
    [
        ("a.dm3", True),
        ("a.DM4", True),
        ("a.tiff", True),
        ("a.JPG", True),
        ("a.csv", False),
        ("a.h5", False),
        ("a", False),
    ],
)
def test_images_are_known_by_their_ending(name: str, is_image: bool) -> None:
    assert is_image_file(Path(name)) is is_image


@pytest.mark.parametrize("kind", ["bool", "uint8", "uint16", "int32", "float32"])
def test_masks_of_any_type_with_whole_numbers_are_read(tmp_path: Path, kind: str) -> None:
    labels = (np.arange(16).reshape(4, 4) % 2).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", labels)
    (mask,) = read_masks(tmp_path / "a.tif")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, labels)


def test_indices_of_a_palette_are_the_labels(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2), "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_masks(tmp_path / "a.png")[0], [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            np.full((4, 4), 0.5, np.float32),
            "a mask in float32 with values that are not integer; expected whole numbers",
        ),
        (np.full((4, 4), np.nan, np.float32), "a mask in float32 with values that are not integer"),
        (np.full((4, 4), 300, np.uint16), "a mask with labels from 300 to 300; expected 0 to 255"),
        (np.full((4, 4), -1, np.int16), "a mask with labels from -1 to -1; expected 0 to 255"),
        (np.zeros((4, 4, 3), np.uint8) + np.array([9, 0, 0], np.uint8), "a mask in colour; expected whole numbers"),
    ],
)
def test_masks_of_other_numbers_are_refused(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", labels)
    with pytest.raises(DataError, match=rf"a\.tif: {message}"):
        read_masks(tmp_path / "a.tif")


def test_masks_compressed_with_loss_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jpg: JPEG changes the labels of a mask; save it as \.png or \.tif"):
        read_masks(tmp_path / "a.jpg")
