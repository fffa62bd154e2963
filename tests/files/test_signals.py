"""What of a file is an image of the specimen, with which pixel size, and under which name."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from emdenoise.errors import DataError
from emdenoise.files.formats import read_micrographs
from emdenoise.files.signals import Signal, explain_no_image, find_pixel_size, tidy_axes

IMAGE = np.arange(4 * 6, dtype=np.float32).reshape(4, 6)


def make_axis(units: object = None, scale: float = 0.5, name: str = "", *, navigate: bool = False) -> dict[str, Any]:
    return {"units": units, "scale": scale, "name": name, "navigate": navigate}


def make_signal(*axes: dict[str, Any], data: np.ndarray = IMAGE) -> Signal:
    return tidy_axes(Signal(data, axes))


@pytest.mark.parametrize(
    "unit", ["1/nm", "1 / nm", "nm^-1", "nm^{-1}", "nm⁻¹", "nm-1", "1/m", "mrad", "rad", "deg", "°"]
)
def test_reciprocal_units_of_any_spelling_are_diffraction(unit: str) -> None:
    assert explain_no_image(make_signal(make_axis(unit), make_axis(unit))).startswith(
        "a diffraction pattern (pixels in"
    )


@pytest.mark.parametrize("names", [("ky", "kx"), ("Q_y", "Q_x")])
def test_reciprocal_axes_without_a_unit_are_diffraction_and_named(names: tuple[str, str]) -> None:
    reason = explain_no_image(make_signal(*(make_axis(name=name) for name in names)))
    assert reason == f"a diffraction pattern (axes {names[0].lower().replace('_', '')} and {names[1].lower()[0]}x)"


def test_a_pixel_of_a_kilometre_is_a_reciprocal_length() -> None:
    # TIA stores 1e8 1/m = 0.1 1/nm as a number alone; RosettaSciIO takes it for metres.
    axis = make_axis("nm", 1e8 * 1e9)
    assert "reciprocal lengths" in explain_no_image(make_signal(axis, axis))


@pytest.mark.parametrize("scale_nm", [1e-5, 1e7, 1e9])
def test_a_pixel_size_that_no_microscope_has_is_none(scale_nm: float) -> None:
    signal = make_signal(make_axis("nm", scale_nm), make_axis("nm", scale_nm))
    assert explain_no_image(signal) == ""
    assert find_pixel_size(signal, "a.tif") is None


def test_frames_at_several_angles_are_images() -> None:
    signal = make_signal(make_axis("mrad", navigate=True), *2 * [make_axis("nm")], data=np.ones((3, 4, 6)))
    assert explain_no_image(signal) == ""


@pytest.mark.parametrize(
    "axes",
    [
        (make_axis("nm", name="Wavelength", navigate=True), make_axis("nm"), make_axis("nm")),
        (make_axis("nm"), make_axis("nm", name="Wavelength")),
        (make_axis("ps"), make_axis("nm")),
        (make_axis("keV", navigate=True), make_axis("nm"), make_axis("nm")),
    ],
)
def test_maps_of_spectra_and_streaks_are_no_images(axes: tuple[dict[str, Any], ...]) -> None:
    assert explain_no_image(make_signal(*axes, data=np.ones((3, 4, 6)[-len(axes) :]))) == "a spectrum or line scan"


def test_a_map_at_one_energy_is_an_image_and_a_line_of_spectra_is_none() -> None:
    places = 2 * [make_axis("nm", navigate=True)]
    assert explain_no_image(make_signal(*places, make_axis(), data=IMAGE[..., None])) == ""
    assert explain_no_image(make_signal(*places, make_axis(), data=IMAGE[:, None])) == "a spectrum or line scan"


@pytest.mark.parametrize("navigate", [True, False])
def test_two_axes_of_one_kind_are_those_of_an_image(*, navigate: bool) -> None:
    signal = make_signal(*2 * [make_axis("µm", navigate=navigate)])
    assert explain_no_image(signal) == ""
    assert find_pixel_size(signal, "a.elid") == pytest.approx(5000)


def test_axes_of_length_one_are_left_out() -> None:
    frames = make_axis("s", navigate=True)
    signal = make_signal(frames, make_axis("nm"), make_axis("nm"), make_axis(), data=np.ones((3, 4, 6, 1)))
    assert signal.data.shape == (3, 4, 6)
    assert explain_no_image(signal) == ""
    assert make_signal(make_axis(), make_axis(), data=np.ones((1, 6))).data.shape == (1, 6)


def test_more_axes_than_a_stack_has_are_named() -> None:
    axes = [make_axis(name=name, navigate=name in "tz") for name in "tzyx"]
    assert explain_no_image(make_signal(*axes, data=np.ones((2, 3, 4, 6)))) == "4-dimensional data (t 2, z 3, y 4, x 6)"


def write_berkeley(path: Path, **images: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        for name, image in images.items():
            group = file.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            group["data"] = image
            for index, axis in enumerate("yx"):
                group[f"dim{index + 1}"] = 0.5 * np.arange(image.shape[index])
                group[f"dim{index + 1}"].attrs.update({"name": axis, "units": "[n_m]"})


def test_the_detectors_of_a_file_have_names(tmp_path: Path) -> None:
    write_berkeley(tmp_path / "a.emd", BF=IMAGE, HAADF=2549 + IMAGE)
    micrographs = {micrograph.signal: micrograph for micrograph in read_micrographs(tmp_path / "a.emd")}
    assert micrographs["HAADF"].name == "a.emd HAADF"
    np.testing.assert_array_equal(micrographs["HAADF"].image, 2549 + IMAGE)
    np.testing.assert_array_equal(micrographs["BF"].image, IMAGE)


def test_the_one_image_of_a_file_needs_no_name(tmp_path: Path) -> None:
    write_berkeley(tmp_path / "a.emd", HAADF=IMAGE)
    assert [micrograph.signal for micrograph in read_micrographs(tmp_path / "a.emd")] == [""]


def write_velox(path: Path, frames: np.ndarray, *, has_map: bool) -> None:
    """Write the least that Velox writes: an image of several frames, and the place of a map of spectra."""
    notes = {
        "BinaryResult": {"Detector": "HAADF", "PixelSize": {"width": "1e-10", "height": "1e-10"}, "PixelUnitX": "m"},
        "Scan": {"FrameTime": "1"},
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "0"}},
        "Detectors": {},
        "CustomProperties": {},
    }
    text = np.frombuffer(json.dumps(notes).encode(), np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("Version", data=[json.dumps({"format": "Velox", "version": "1.10"}).encode()])
        file["Data/Image/0a/Data"] = np.moveaxis(frames, 0, -1)
        file["Data/Image/0a/Metadata"] = text[:, None]
        if has_map:
            file.create_group("Data/SpectrumImage")
            file.create_group("Data/SpectrumStream")


@pytest.mark.parametrize("has_map", [False, True])
def test_all_frames_of_velox_images_are_read_beside_a_map_of_spectra(tmp_path: Path, *, has_map: bool) -> None:
    frames = np.arange(2 * 4 * 6, dtype=np.uint16).reshape(2, 4, 6)
    write_velox(tmp_path / "a.emd", frames, has_map=has_map)
    micrographs = read_micrographs(tmp_path / "a.emd")
    np.testing.assert_array_equal([micrograph.image for micrograph in micrographs], frames)
    assert micrographs[0].pixel_size_angstrom == pytest.approx(1)


def test_rows_of_semper_files_stay_rows(tmp_path: Path) -> None:
    from rsciio.semper import file_writer

    axes = [{"size": size, "scale": 1.0, "offset": 0.0, "units": "", "navigate": False} for size in IMAGE.shape]
    signal = {"data": IMAGE, "axes": [axis | {"name": name} for axis, name in zip(axes, "xy", strict=True)]}
    signal |= {"metadata": {"General": {"title": ""}, "Signal": {}}, "original_metadata": {}}
    file_writer(str(tmp_path / "a.unf"), signal)
    assert all(row.tobytes() in (tmp_path / "a.unf").read_bytes() for row in IMAGE)
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.unf")[0].image, IMAGE)


@pytest.mark.parametrize("value", [1e-40, 1e-45])
def test_numbers_that_float32_holds_without_all_their_digits_are_refused(tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "a.npy", np.full((4, 6), value, np.float32))
    with pytest.raises(DataError, match=r"a\.npy: its largest value is .*e-4\d, which float32 cannot hold with all"):
        read_micrographs(tmp_path / "a.npy")


@pytest.mark.parametrize("num_channels", [2, 3, 4])
def test_channels_that_stand_last_are_no_frames(tmp_path: Path, num_channels: int) -> None:
    np.save(tmp_path / "a.npy", np.ones((8, 6, num_channels), np.float32))
    with pytest.raises(DataError, match=rf"8 frames of {num_channels} × 6 px, as where colours or channels stand last"):
        read_micrographs(tmp_path / "a.npy")
