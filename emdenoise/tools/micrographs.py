"""Reading somebody's own image files, in the process that may do so (`files/sandbox.py`)."""

import os
from pathlib import Path

from emdenoise.errors import DataError
from emdenoise.files import formats
from emdenoise.files.formats import Micrograph
from emdenoise.files.pictures import HDF5_SUFFIXES
from emdenoise.files.sandbox import read_sandboxed
from emdenoise.tools.staging import check_is_file, open_frames


def read_micrograph(path: str | os.PathLike[str]) -> Micrograph:
    """Read a file that holds one image.

    Parameters
    ----------
    path : str or Path
        A .dm3, .dm4, .ser, .emd, .mrc, .tif, .png and more, or an .h5 with one data set.

    Returns
    -------
    Micrograph
        `image` is float32 (height, width) in the units of the file, `pixel_size_angstrom` is the pixel size, or None
        where the file does not say, `name` names the image, and `signal` its detector where the file holds several.

    Raises
    ------
    DataError
        If the file holds more than one image, is damaged, or holds no image of a specimen.
    MissingInputError
        If there is no such file.

    Examples
    --------
    >>> micrograph = read_micrograph("scan.tif")
    >>> micrograph.image.shape, micrograph.pixel_size_angstrom
    ((40, 30), 0.15)
    """
    micrographs = read_micrographs(path)
    if len(micrographs) > 1:
        file = Path(path).absolute()
        raise DataError(
            f"{file.parent.name}/{file.name}: holds {len(micrographs)} images; expected one; call read_micrographs."
        )
    return micrographs[0]


def read_micrographs(path: str | os.PathLike[str]) -> list[Micrograph]:
    """Read all images of a file, such as the frames of a stack.

    Parameters
    ----------
    path : str or Path
        As `read_micrograph` takes it.

    Returns
    -------
    list of Micrograph
        At least one.

    Raises
    ------
    DataError, MissingInputError
        As `read_micrograph`, but for any number of images.

    Examples
    --------
    >>> [micrograph.name for micrograph in read_micrographs("scan.tif")]
    ['scan.tif']
    """
    check_is_file(Path(path))
    return read_sandboxed(_read, Path(path).absolute())


def _read(path: Path) -> list[Micrograph]:
    """Read a file, in the reading process."""
    if path.suffix.lower() not in HDF5_SUFFIXES:
        return formats.read_micrographs(path)
    with open_frames(path) as (frames,):
        size, images = frames.pixel_size_angstrom, [frame[:] for frame in frames.images]
    names = [path.name] if len(images) == 1 else [f"{path.name} frame {index}" for index in range(len(images))]
    return [Micrograph(image, size, name) for image, name in zip(images, names, strict=True)]
