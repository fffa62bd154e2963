"""Results as files for a microscopist: what is read back is what was written, with the pixel size."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from emdenoise.errors import SettingsError
from emdenoise.files.formats import read_masks, read_micrographs
from emdenoise.files.pictures import check_picture, write_pictures


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("num_images", [1, 3])
@pytest.mark.parametrize("pixel_size_angstrom", [None, 0.25])
def test_pictures_are_read_back_with_their_pixel_size(
    num_images: int, dtype: Any, pixel_size_angstrom: float | None, tmp_path: Path
) -> None:
    images = (np.random.default_rng(0).random((num_images, 11, 7)) * 200).astype(dtype)
    for name in ("a.tif", "a.h5"):
        strips = [strip for image in images for strip in np.split(image, [4, 8])]
        write_pictures(
            tmp_path / name, strips, shape=images.shape, dtype=dtype, pixel_size_angstrom=pixel_size_angstrom
        )
    micrographs = read_micrographs(tmp_path / "a.tif")
    assert np.array_equal([micrograph.image for micrograph in micrographs], images)
    assert [micrograph.pixel_size_angstrom for micrograph in micrographs] == num_images * [
        None if pixel_size_angstrom is None else pytest.approx(0.25)
    ]
    if dtype == np.uint8:
        assert np.array_equal(read_masks(tmp_path / "a.tif"), images)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["image"].dtype == dtype
        assert np.array_equal(file["image"], images if num_images > 1 else images[0])
        assert file["image"].attrs.get("pixel_size_angstrom") == pixel_size_angstrom


def test_a_strip_that_cannot_be_made_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> Any:
        yield np.zeros((2, 4), np.float32)
        raise ZeroDivisionError

    for name in ("a.tif", "a.h5"):
        with pytest.raises(ZeroDivisionError):
            write_pictures(tmp_path / name, fail(), shape=(1, 4, 4), dtype="float32", pixel_size_angstrom=None)
    assert list(tmp_path.iterdir()) == []


def test_names_and_sizes_that_cannot_be_written_are_one_line() -> None:
    with pytest.raises(SettingsError, match=r"--output is a\.jpg; its ending must be \.tif or \.h5; give"):
        check_picture(Path("a.jpg"))
    with pytest.raises(
        SettingsError, match=r"the result a\.tif has 5\.0 GiB, a TIFF holds 4; give an --output that ends in \.h5"
    ):
        check_picture(Path("a.tif"), (5, 2**14, 2**14))
    check_picture(Path("a.h5"), (5, 2**14, 2**14))
    check_picture(Path("a.tif"), (5, 2**14, 2**14), np.uint8)
