"""An image file of any size as the stored intensities that a trained network expects, in a file that is read by slices.

It does to one file what `preprocess` does to a source, without cutting tiles. Images in HDF5 may be larger than the
memory; files of other formats are read whole, in the reading process.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.intensity import IntensityScale, read_blocks
from emdenoise.dataset.record import Record
from emdenoise.dataset.tiles import scale_record
from emdenoise.errors import DataError, MissingInputError, explain_os_errors
from emdenoise.files.formats import is_image_file, read_micrographs
from emdenoise.files.full_disk import create_hdf5
from emdenoise.files.pictures import HDF5_SUFFIXES, PIXEL_SIZE
from emdenoise.files.sandbox import read_sandboxed
from emdenoise.sources import SOURCES


@dataclass(frozen=True)
class StagedImages:
    """Images that are ready for a network.

    Attributes
    ----------
    noisy : h5py.Dataset of float32, shape (num_images, height, width)
        Stored intensity.
    scales : tuple of IntensityScale
        Of each image; brings a result back to the units of the file.
    pixel_size_angstrom : float or None
        As in the file, or after `data.scale_factor` [Å].
    """

    noisy: h5py.Dataset
    scales: tuple[IntensityScale, ...]
    pixel_size_angstrom: float | None


@dataclass(frozen=True)
class _Frames:
    """Images of one size in the units of their file: arrays, or what HDF5 reads by slices."""

    images: list[Any]
    pixel_size_angstrom: float | None


class _Slice:
    """One image of a data set, read by rows when they are asked for."""

    def __init__(self, dataset: h5py.Dataset, index: int | None) -> None:
        self._dataset, self._index = dataset, index
        self.shape = dataset.shape[-2:]

    def __getitem__(self, rows: slice) -> FloatImage:
        place = rows if self._index is None else np.s_[self._index, rows]
        with np.errstate(over="ignore"):  # becomes infinite and is refused
            values: FloatImage = self._dataset[place].astype(np.float32)
        return values


@contextmanager
def stage_images(path: Path, scratch: Path, config: RunConfig) -> Iterator[StagedImages]:
    """Bring the images of a file into the form that a network was trained with.

    Parameters
    ----------
    path : Path
        Of a format that source ``folder`` reads, or HDF5 with one data set (height, width) or (num_images, height,
        width), of which the attribute ``pixel_size_angstrom`` is read.
    scratch : Path
        File that holds the images meanwhile, four bytes a pixel; removed in the end.
    config : RunConfig
        Of the training: source, magnification and contrast window.

    Yields
    ------
    StagedImages

    Raises
    ------
    MissingInputError
        If there is no such file.
    DataError
        If it cannot be read, or its intensity is not what the network knows.
    StorageError
        If there is no room for the scratch file.
    """
    if not path.is_file():
        raise MissingInputError(f"{path.parent.name}/{path.name} is not there; give a file that exists.")
    try:
        scales, pixel_size_angstrom = read_sandboxed(partial(_stage, scratch, config), path)
        with h5py.File(scratch) as file:
            yield StagedImages(file["noisy"], scales, pixel_size_angstrom)
    finally:
        with suppress(OSError):  # where nothing may be written, nothing was
            scratch.unlink(missing_ok=True)


def _stage(scratch: Path, config: RunConfig, path: Path) -> tuple[tuple[IntensityScale, ...], float | None]:
    """Write the stored intensities; runs in the reading process."""
    with _open_frames(path) as frames:
        _check_finite(frames, path)
        name = f"{path.parent.name}/{path.name}"
        scales = SOURCES[config.data.source].choose_scales(frames.images, config, name)
        factor, pixel_size_angstrom = config.data.scale_factor, frames.pixel_size_angstrom
        with explain_os_errors(scratch):
            scratch.parent.mkdir(parents=True, exist_ok=True)
            with create_hdf5(scratch) as (file, raw):
                for index, (own, scale) in enumerate(zip(frames.images, scales, strict=True)):
                    image = own if factor == 1 else _magnify(scale.apply(own[:]), factor)
                    shape = (len(frames.images), *image.shape)
                    noisy = file["noisy"] if index else file.create_dataset("noisy", shape, np.float32)
                    for rows, block in read_blocks(image):
                        noisy[index, rows] = block if factor != 1 else scale.apply(block)
                        raw.check()
    return scales, pixel_size_angstrom / factor if pixel_size_angstrom else None


@contextmanager
def _open_frames(path: Path) -> Iterator[_Frames]:
    name = f"{path.parent.name}/{path.name}"
    if path.suffix.lower() not in HDF5_SUFFIXES:
        if not is_image_file(path):
            raise DataError(
                f"{name}: {path.suffix or 'no ending'} is no format of micrographs; give .dm4, .tif or .h5."
            )
        micrographs = read_micrographs(path)
        shapes = {micrograph.image.shape for micrograph in micrographs}
        if len(shapes) > 1:
            raise DataError(f"{name}: holds images of {len(shapes)} sizes; expected one size; save them apart.")
        yield _Frames([micrograph.image for micrograph in micrographs], micrographs[0].pixel_size_angstrom)
        return
    try:
        with h5py.File(path) as file:
            dataset = _find_dataset(file, name)
            size = dataset.attrs.get(PIXEL_SIZE)
            numbers = range(len(dataset)) if dataset.ndim == 3 else [None]
            yield _Frames([_Slice(dataset, number) for number in numbers], None if size is None else float(size))
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error}); expected whole HDF5; copy it again.") from error


def _find_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    images = [item for item in found if item.ndim in (2, 3) and item.dtype.kind in "buif" and item.size]
    if len(images) != 1:
        listed = ", ".join(f"{item.name} {item.shape}" for item in found[:5]) or "none"
        raise DataError(
            f"{name}: holds {len(images)} data sets of images (data sets: {listed}); expected one, (height, width) or "
            "(num_images, height, width); write the images to a file of their own."
        )
    return images[0]


def _check_finite(frames: _Frames, path: Path) -> None:
    for index, image in enumerate(frames.images):
        num_wrong = sum(int(np.count_nonzero(~np.isfinite(block))) for _, block in read_blocks(image))
        if num_wrong:
            raise DataError(
                f"{path.parent.name}/{path.name} frame {index}: {num_wrong} pixels are NaN or infinite; all must be "
                "finite; repair the image."
            )


def _magnify(image: FloatImage, factor: float) -> npt.NDArray[Any]:
    return scale_record(Record({"noisy": image}, specimen="", name=""), factor).noisy
