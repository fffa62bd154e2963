"""Writing predicted images of any size, row by row: TIFF as ImageJ writes it, or HDF5; the pixel size is kept.

Pictures in colour, for people to look at, are PNG, or TIFF where there are several.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.errors import SettingsError
from emdenoise.files.atomic import write_atomically
from emdenoise.files.full_disk import create_hdf5

HDF5_SUFFIXES = (".h5", ".hdf5")
PIXEL_SIZE = "pixel_size_angstrom"
"""Attribute of the data set, [Å]."""
TIFF_SUFFIXES = (".tif", ".tiff")
MAX_TIFF_BYTES = 2**32 - 2**16
"""Offsets in a TIFF have 32 bits; ImageJ does not read the form with 64."""


def check_picture(path: Path, shape: tuple[int, ...] = (), dtype: Any = np.float32) -> None:
    """Check that `write_pictures` can write images of a shape to a file of this name.

    Raises
    ------
    SettingsError
        If the ending is unknown, or a TIFF cannot hold as much.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES + HDF5_SUFFIXES:
        raise SettingsError(f"--output is {path.name}; its ending must be .tif or .h5; give another name to the file.")
    if path.suffix.lower() in TIFF_SUFFIXES and np.dtype(dtype).kind == "c":
        raise SettingsError(
            f"--output is {path.name}; a TIFF cannot hold the complex numbers of a wave; give a file that ends in .h5."
        )
    if path.suffix.lower() in TIFF_SUFFIXES and np.dtype(dtype) == np.uint32:
        raise SettingsError(
            f"the result {path.name} has numbers above 65535, which a TIFF of ImageJ cannot hold; give an --output "
            "that ends in .h5."
        )
    num_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if path.suffix.lower() in TIFF_SUFFIXES and num_bytes > MAX_TIFF_BYTES:
        raise SettingsError(
            f"the result {path.name} has {num_bytes / 2**30:.1f} GiB, a TIFF holds 4; give an --output that ends in "
            ".h5."
        )


def write_pictures(
    path: Path,
    strips: Iterable[npt.NDArray[Any]],
    *,
    shape: tuple[int, int, int],
    dtype: Any,
    pixel_size_angstrom: float | None,
) -> None:
    """Write images of one size, whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in .tif, .tiff, .h5 or .hdf5.
    strips : iterable of ndarray, shape (strip_height, width)
        Of all images, one after the other, each from top to bottom.
    shape : (int, int, int)
        Number of images, height, width. A single image is written without the first axis.
    dtype : numpy dtype
        float32, uint8 for labels, or uint16 or uint32 for numbers.
    pixel_size_angstrom : float or None
        Pixel size in the specimen [Å].

    Raises
    ------
    SettingsError
        As `check_picture`.
    StorageError
        If there is no room, or the folder cannot be written.
    """
    check_picture(path, shape, dtype)
    stacked = shape if shape[0] > 1 else shape[1:]
    is_tiff = path.suffix.lower() in TIFF_SUFFIXES
    with write_atomically(path) as partial:
        if is_tiff:
            _write_tiff(partial, strips, stacked, np.dtype(dtype).newbyteorder(">"), pixel_size_angstrom)
        else:
            _write_hdf5(partial, strips, stacked, np.dtype(dtype), pixel_size_angstrom)


def write_colours(path: Path, pictures: Iterable[npt.NDArray[np.uint8]], *, shape: tuple[int, ...]) -> None:
    """Write pictures in colour, whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in .png for one picture, in .tif for several.
    pictures : iterable of ndarray of uint8, shape (height, width, 3)
        Red, green and blue.
    shape : (int, int, int)
        Number of pictures, height, width.

    Raises
    ------
    StorageError
        If there is no room, or the folder cannot be written.
    """
    with write_atomically(path) as partial:
        if path.suffix.lower() in TIFF_SUFFIXES:
            from tifffile import imwrite

            imwrite(partial, iter(pictures), shape=(*shape, 3), dtype=np.uint8, photometric="rgb", metadata=None)
        else:
            from PIL import Image

            for picture in pictures:
                Image.fromarray(picture).save(partial)


def _write_tiff(
    path: Path,
    strips: Iterable[npt.NDArray[Any]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    pixel_size_angstrom: float | None,
) -> None:
    """Let the library write all but the pixels, which it leaves room for, then the pixels one after the other."""
    from tifffile import imwrite

    options: dict[str, Any] = {"metadata": {"axes": "ZYX"[-len(shape) :]}}
    if pixel_size_angstrom:
        options["metadata"] |= {"unit": "nm", "spacing": 1.0}
        options["resolution"] = (10 / pixel_size_angstrom,) * 2
    place = imwrite(path, shape=shape, dtype=dtype, imagej=True, returnoffset=True, **options)
    with path.open("r+b") as file:
        file.seek(place[0] if place else 0)
        for strip in strips:
            file.write(np.ascontiguousarray(strip, dtype).data)


def _write_hdf5(
    path: Path,
    strips: Iterable[npt.NDArray[Any]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    pixel_size_angstrom: float | None,
) -> None:
    with create_hdf5(path) as (file, raw):
        dataset = file.create_dataset("image", shape, dtype)
        if pixel_size_angstrom:
            dataset.attrs[PIXEL_SIZE] = pixel_size_angstrom
        done = 0
        for strip in strips:
            index, row = divmod(done, shape[-2])
            rows = slice(row, row + len(strip))
            dataset[rows if len(shape) == 2 else (index, rows)] = strip
            done += len(strip)
            raw.check()
