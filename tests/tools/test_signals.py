"""Several signals of one file: each has an intensity, a pixel size, a name and a result of its own."""

from pathlib import Path

import h5py
import numpy as np
import pytest

import emdenoise
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.intensity import choose_scale
from emdenoise.dataset.record import Record
from emdenoise.errors import DataError, SettingsError
from emdenoise.files.formats import read_micrographs
from emdenoise.progress import SilentProgress
from emdenoise.sources.folder import read_folder
from emdenoise.tools.predict import predict
from emdenoise.tools.staging import stage_images
from tests.untrained import write_network

SIDE = 64
DETECTORS = {
    "BF": np.random.default_rng(0).integers(0, 4, (SIDE, SIDE)).astype(np.uint16),
    "DF": np.random.default_rng(1).integers(2549, 2799, (SIDE, SIDE)).astype(np.uint16),
}
STEPS_NM = {"BF": 0.5, "DF": 0.25}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = {"source": "folder", "tile_size_px": SIDE}
    return write_network(tmp_path_factory.mktemp("network") / "model", data=data)


def write_scan(path: Path, names: tuple[str, ...] = ("BF", "DF")) -> Path:
    """Write detectors of a scan as Berkeley EMD."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        for name in names:
            group = file.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            group["data"] = DETECTORS[name]
            for index, axis in enumerate("yx"):
                group[f"dim{index + 1}"] = STEPS_NM[name] * np.arange(SIDE)
                group[f"dim{index + 1}"].attrs.update({"name": axis, "units": "[n_m]"})
    return path


def run(model: Path, image: Path, **options: object) -> str:
    return predict(images=(image,), model_dir=model, progress=SilentProgress(), **options).message


def test_each_signal_of_a_file_becomes_what_it_would_alone(model: Path, tmp_path: Path) -> None:
    message = run(model, write_scan(tmp_path / "scan.emd"))
    assert message == "Wrote 2 results, one for each signal."
    for name in DETECTORS:
        run(model, write_scan(tmp_path / name / "scan.emd", (name,)))
        (alone,) = read_micrographs(tmp_path / name / "scan.denoised.tif")
        (found,) = read_micrographs(tmp_path / f"scan.{name}.denoised.tif")
        np.testing.assert_array_equal(found.image, alone.image)
        assert found.pixel_size_angstrom == pytest.approx(10 * STEPS_NM[name])
    assert len(list(tmp_path.glob("*.denoised.tif"))) == 2


def test_one_signal_is_chosen_by_its_name(model: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.emd")
    run(model, scan, signal="DF", predicted_file=tmp_path / "a.tif")
    run(model, scan, signal="DF")
    (one,), (other,) = (read_micrographs(tmp_path / name) for name in ("a.tif", "scan.DF.denoised.tif"))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(emdenoise.denoise(scan, network=model, signal="DF"), one.image)


def test_what_cannot_be_chosen_is_one_line_with_the_names(model: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.emd")
    with pytest.raises(SettingsError, match=r"scan\.emd holds the signals BF, DF, and --output is the file a\.tif"):
        run(model, scan, predicted_file=tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"has no signal HAADF; it holds the signals BF, DF; give one of them"):
        run(model, scan, signal="HAADF")
    with pytest.raises(DataError, match=r"scan\.emd: holds the signals BF, DF; expected one; choose with signal"):
        emdenoise.denoise(scan, network=model)
    with pytest.raises(DataError, match=r"signal is DF, but the image is no file"):
        emdenoise.denoise(DETECTORS["DF"], network=model, signal="DF")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.emd"]


def test_the_result_of_a_signal_is_written_over_no_image(model: Path, tmp_path: Path) -> None:
    scan, other = write_scan(tmp_path / "scan.emd"), tmp_path / "scan.DF.denoised.tif"
    run(model, scan, signal="DF")
    content = other.read_bytes()
    with pytest.raises(SettingsError, match=r"signal DF of scan\.emd would be written over scan\.DF\.denoised\.tif"):
        predict(images=(scan, other), model_dir=model, progress=SilentProgress())
    assert other.read_bytes() == content


def test_a_data_set_of_hdf5_is_chosen_by_its_name(model: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, image in DETECTORS.items():
            file[f"scan/{name}"] = image
    run(model, tmp_path / "a.h5", signal="scan/DF", predicted_file=tmp_path / "h5.tif")
    run(model, write_scan(tmp_path / "a.emd"), signal="DF", predicted_file=tmp_path / "emd.tif")
    (one,), (other,) = (read_micrographs(tmp_path / name) for name in ("h5.tif", "emd.tif"))
    np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("size", ["1.5 Å", -1.0, 0.0, float("inf"), float("nan"), 1e30, [1.0, 2.0]])
def test_a_pixel_size_that_is_none_is_refused_before_anything_is_computed(size: object, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = DETECTORS["DF"]
        file["image"].attrs["pixel_size_angstrom"] = size
    with (
        pytest.raises(
            DataError, match=r"a\.h5: attribute pixel_size_angstrom is '.*'; expected a number of Å from 0\.001"
        ),
        stage_images(tmp_path / "a.h5", tmp_path / "scratch.h5", RunConfig()),
    ):
        pass


def test_a_pixel_size_in_text_is_a_number_all_the_same(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = DETECTORS["DF"]
        file["image"].attrs["pixel_size_angstrom"] = "1.5"
    with stage_images(tmp_path / "a.h5", tmp_path / "scratch.h5", RunConfig()) as (staged,):
        assert staged.pixel_size_angstrom == 1.5


def read_records(raw_dir: Path, **data: object) -> list[Record]:
    settings = {"source": "folder", "tile_size_px": SIDE, **data}
    config = RunConfig.model_validate({"division": "open", "data": settings})
    return [record for split in read_folder(config, raw_dir).values() for record in split]


def test_source_folder_mixes_no_signals_unless_the_settings_say_so(tmp_path: Path) -> None:
    for index in range(3):
        write_scan(tmp_path / f"folder/{index}.emd")
    with pytest.raises(DataError, match=r"\.emd: holds the signals BF, DF, and data\.signal is null; set it to one of"):
        read_records(tmp_path)
    with pytest.raises(DataError, match=r"BF, DF, and data\.signal is HAADF; set it to one"):
        read_records(tmp_path, signal="HAADF")
    write_scan(tmp_path / "folder/2.emd", ("DF",))  # one signal leaves no choice
    records = read_records(tmp_path, signal="DF")
    expected = choose_scale([DETECTORS["DF"].astype(np.float32)])
    assert len(records) == 3
    for record in records:
        np.testing.assert_array_equal(record.noisy, expected.apply(DETECTORS["DF"].astype(np.float32)))


def test_source_folder_scales_each_signal_by_itself(tmp_path: Path) -> None:
    for index in range(3):
        write_scan(tmp_path / f"folder/{index}.emd")
    records = read_records(tmp_path, signal="all")
    assert len(records) == 6
    for record in records:
        name = next(name for name in DETECTORS if name in record.name)
        expected = choose_scale([DETECTORS[name].astype(np.float32)])
        assert record.attributes["intensity_scale"] == expected.scale
        np.testing.assert_array_equal(record.noisy, expected.apply(DETECTORS[name].astype(np.float32)))
