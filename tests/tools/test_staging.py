"""An image file as a network expects it: the intensities of preprocess, read by slices, one line where it cannot be."""

from collections.abc import Callable
from pathlib import Path

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.dataset import intensity
from emdenoise.errors import DataError, MissingInputError, PackageError
from emdenoise.sources.folder import read_folder
from emdenoise.tools import staging
from emdenoise.tools.staging import stage_images

Config = Callable[..., RunConfig]
COUNTS = np.random.default_rng(0).poisson(90, (3, 40, 56)).astype(np.uint16)


def write_hdf5(path: Path, **images: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in images.items():
            file[name] = values
            file[name].attrs["pixel_size_angstrom"] = 0.25
    return path


def stage(path: Path, config: RunConfig) -> np.ndarray:
    scratch = path.with_name("scratch.h5")
    with stage_images(path, scratch, config) as (staged,):
        images = staged.noisy[()]
    assert not scratch.exists()
    return images


@pytest.mark.parametrize("factor", [1.0, 0.5])
@pytest.mark.parametrize("form", ["tif", "h5"])
def test_images_are_stored_as_preprocess_stores_them(
    form: str, factor: float, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intensity, "BLOCK_PIXELS", 100)
    monkeypatch.setattr(staging, "read_sandboxed", lambda read, path: read(path))  # in this process, with small blocks
    config = tiny_config(
        data={"source": "folder", "tile_size_px": 64, "scale_factor": factor}, simulation={"image_size_px": 256}
    )
    folder = tmp_path / "raw" / "folder"
    folder.mkdir(parents=True)
    for number, image in enumerate(COUNTS):
        imageio.imwrite(folder / f"{number}.tif", image)
    records = {record.specimen: record for split in read_folder(config, tmp_path / "raw").values() for record in split}
    for number, image in enumerate(COUNTS):
        path = folder / f"{number}.tif"
        given = write_hdf5(tmp_path / "a.h5", counts=image) if form == "h5" else path
        (staged,) = stage(given, config)
        height, width = staged.shape
        assert np.array_equal(staged, records[path.name].noisy[:height, :width])


def test_the_contrast_window_of_simulated_images_is_found_from_the_mean(tiny_config: Config, tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", counts=COUNTS)
    scratch = tmp_path / "scratch.h5"
    with stage_images(path, scratch, tiny_config()) as (staged,):
        assert staged.noisy[()] == pytest.approx(
            (COUNTS / COUNTS.mean(axis=(1, 2), keepdims=True) - 0.6) / 0.8, abs=1e-5
        )
        restored = [scale.restore(image) for scale, image in zip(staged.scales, staged.noisy[()], strict=True)]
        assert np.array(restored) == pytest.approx(COUNTS, rel=1e-5)
        assert staged.pixel_size_angstrom == 0.25


@pytest.mark.parametrize(
    ("source", "images", "message"),
    [
        ("graphene", {"a": COUNTS - 95.0}, r"a\.h5: its mean intensity is -.*; expected counts, above 0, .*; undo"),
        ("graphene", {"a": np.full((4, 4), np.nan)}, r"a\.h5 frame 0: 16 pixels are NaN or infinite; all must be"),
        ("graphene", {"a": np.full((4, 4), 1e300)}, r"a\.h5 frame 0: 16 pixels are NaN or infinite"),
        (
            "graphene",
            {"a": COUNTS, "b": COUNTS},
            r"holds 2 data sets of images .*; expected one, .*; choose one with --signal, or write the",
        ),
        ("graphene", {"a": np.zeros(4)}, r"holds 0 data sets of images \(data sets: a \(4,\)\); expected one"),
        ("emps", {"a": COUNTS * 9}, r"values from .* to .*; the network was trained with source emps, from 0 to 255"),
        ("em_graphene_sim", {"a": COUNTS}, r"trained with source em_graphene_sim, from -4 to 8; bring the image"),
    ],
)
def test_images_that_the_network_cannot_know_are_one_line(
    source: str, images: dict[str, np.ndarray], message: str, tiny_config: Config, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        stage(write_hdf5(tmp_path / "a.h5", **images), tiny_config(data={"source": source}))


def test_files_that_are_no_images_are_one_line(tiny_config: Config, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"/a\.tif is not there; give a file that exists\."):
        stage(tmp_path / "a.tif", tiny_config())
    for name, message in (
        ("a.txt", r"/a\.txt: \.txt is no format of micrographs; give"),
        ("a.h5", r"/a\.h5: cannot be read .*; expected whole HDF5; copy it again"),
        ("a.tif", r"/a\.tif: 5 bytes that cannot be read"),
    ):
        (tmp_path / name).write_bytes(b"wrong")
        with pytest.raises(DataError, match=message):
            stage(tmp_path / name, tiny_config())


def test_data_that_need_a_filter_name_it(tiny_config: Config, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((5, 6))
        properties.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 2))
        space = h5py.h5s.create_simple((5, 6))
        dataset = h5py.h5d.create(file.id, b"image", h5py.h5t.IEEE_F32LE, space, dcpl=properties)
        dataset.write_direct_chunk((0, 0), bytes(120), 0)  # as if it had been compressed
    with pytest.raises(
        PackageError, match=r"a\.h5: image needs HDF5 filter 32008 \(bitshuffle\), which is not installed"
    ):
        stage(tmp_path / "a.h5", tiny_config())


@pytest.mark.parametrize("shape", [(40, 50, 1), (1, 40, 50), (1, 1, 40, 50)])
def test_axes_of_length_one_of_a_data_set_are_no_frames(
    shape: tuple[int, ...], tiny_config: Config, tmp_path: Path
) -> None:
    config, image = tiny_config(data={"source": "folder"}), np.random.default_rng(0).random((40, 50), np.float32)
    found = []
    for number, of_shape in enumerate(((40, 50), shape)):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["image"] = image.reshape(of_shape)
        found.append(stage(tmp_path / f"{number}.h5", config))
    np.testing.assert_array_equal(found[1], found[0])


def never_written(file: h5py.File) -> None:
    file.create_dataset("image", (40, 50), np.float32, fillvalue=3)


def partly_written(file: h5py.File) -> None:
    file.create_dataset("image", (4, 40, 50), np.float32, chunks=(1, 40, 50))[:3] = 1


def packed(file: h5py.File) -> None:
    file["image"] = np.ones((40, 50), np.int16)  # netCDF: the value is 0.5 × the number
    file["image"].attrs["scale_factor"] = 0.5


def with_colours_last(file: h5py.File) -> None:
    file["image"] = np.ones((40, 50, 3), np.uint8)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (never_written, r"image: 1 of its 1 parts were never written"),
        (partly_written, r"image: 1 of its 4 parts were never written"),
        (packed, r"image is packed by its attribute scale_factor; expected the values"),
        (with_colours_last, r"image has the shape \(40, 50, 3\), as where colours or channels stand last"),
    ],
)
def test_numbers_of_a_data_set_that_are_no_frames_or_not_all_there_are_refused(
    write: Callable[[h5py.File], None], message: str, tiny_config: Config, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write(file)
    with pytest.raises(DataError, match=message):
        stage(tmp_path / "a.h5", tiny_config(data={"source": "folder"}))
