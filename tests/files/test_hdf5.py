"""HDF5 files that do not hold all their data themselves: HDF5 gives zeros for what is missing."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from emdenoise.errors import DataError, PackageError
from emdenoise.files.formats import read_micrographs
from emdenoise.files.hdf5 import check_filters, check_parts

IMAGE = np.arange(5 * 6, dtype=np.float32).reshape(5, 6)


def link(file: h5py.File) -> None:
    file["data/stack/data"] = h5py.ExternalLink("source.h5", "/image")


def compose(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(IMAGE.shape, IMAGE.dtype)
    layout[:] = h5py.VirtualSource("source.h5", "image", IMAGE.shape)
    file.create_virtual_dataset("data/stack/data", layout)


def write_emd(path: Path, refer: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        file.create_group("data/stack").attrs["emd_group_type"] = 1
        refer(file)
        for index, name in enumerate("yx"):
            file[f"data/stack/dim{index + 1}"] = 0.5 * np.arange(IMAGE.shape[index])
            file[f"data/stack/dim{index + 1}"].attrs.update({"name": name, "units": "[n_m]"})


def test_a_data_set_made_of_another_file_is_read_where_that_lies_beside_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["image"] = IMAGE
    write_emd(tmp_path / "a.emd", compose)
    np.testing.assert_array_equal(read_micrographs(tmp_path / "a.emd")[0].image, IMAGE)


@pytest.mark.parametrize("refer", [link, compose])
def test_data_of_a_file_that_is_missing_are_named(tmp_path: Path, refer: Callable[[h5py.File], None]) -> None:
    write_emd(tmp_path / "a.emd", refer)
    with pytest.raises(DataError, match=r"a\.emd: data/stack/data is kept in source\.h5, which is missing or lacks it"):
        read_micrographs(tmp_path / "a.emd")


def test_data_outside_hdf5_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        outside = [(str(tmp_path / "a.raw"), 0, IMAGE.nbytes)]
        file.create_dataset("image", IMAGE.shape, IMAGE.dtype, external=outside)
    with pytest.raises(DataError, match=r"image is kept in .*a\.raw, outside HDF5; write the images into one file"):
        check_parts(tmp_path / "a.h5", "a.h5")


def test_a_filter_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((5, 6))
        properties.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 2))
        h5py.h5d.create(file.id, b"image", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((5, 6)), dcpl=properties)
    with pytest.raises(PackageError, match=r"image needs HDF5 filter 32008 \(bitshuffle\), which is not installed"):
        check_filters(tmp_path / "a.h5", "a.h5")
