"""Images of any size as the stored intensities that a trained network expects: those of a file, or arrays.

It does to them what `preprocess` does to a source, without cutting tiles. Images in HDF5 may be larger than the memory;
files of other formats are read whole, in the reading process. What comes out of a file lies in a file that is read by
slices.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
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
from emdenoise.errors import SHORTAGES, DataError, MissingInputError, explain_os_errors
from emdenoise.files.formats import Micrograph, check_values, is_image_file, read_micrographs
from emdenoise.files.full_disk import create_hdf5
from emdenoise.files.hdf5 import check_dataset, check_filters, check_parts, find_image_axes, read_pixel_size
from emdenoise.files.pictures import HDF5_SUFFIXES
from emdenoise.files.sandbox import read_sandboxed
from emdenoise.sources import SOURCES


@dataclass(frozen=True)
class StagedImages:
    """Images that are ready for a network.

    Attributes
    ----------
    noisy : ndarray or h5py.Dataset of float32, shape (num_images, height, width)
        Stored intensity.
    scales : tuple of IntensityScale
        Of each image; brings a result back to the units of the image.
    pixel_size_angstrom : float or None
        As in the file, or after the magnification [Å].
    own_shape : (int, int)
        Height and width before the magnification [px].
    signal : str
        Which detector or map of the file it is; ``""`` where it holds one.
    """

    noisy: Any
    scales: tuple[IntensityScale, ...]
    pixel_size_angstrom: float | None
    own_shape: tuple[int, int]
    signal: str = ""


@dataclass(frozen=True)
class Frames:
    """The images of one signal, of one size, in their own units.

    Attributes
    ----------
    images : list of ndarray of float32 or of what HDF5 reads by slices, shape (height, width)
    pixel_size_angstrom : float or None
        As in the file [Å].
    name : str
        For messages.
    signal : str
        As `StagedImages` has it.
    """

    images: list[Any]
    pixel_size_angstrom: float | None
    name: str
    signal: str = ""


class _Slice:
    """One image of a data set, read by rows when they are asked for."""

    def __init__(self, dataset: h5py.Dataset, axes: Sequence[int], index: int) -> None:
        self._dataset, self._axes, self._index = dataset, axes, index
        self.shape = tuple(dataset.shape[axis] for axis in axes[-2:])

    def __getitem__(self, rows: slice) -> FloatImage:
        place: list[int | slice] = [0] * self._dataset.ndim
        wanted: list[int | slice] = [slice(None), rows, self._index]
        for axis, chosen in zip(reversed(self._axes), wanted, strict=False):
            place[axis] = chosen
        with np.errstate(over="ignore"):  # becomes infinite and is refused
            values: FloatImage = self._dataset[tuple(place)].astype(np.float32)
        return values


@contextmanager
def stage_images(
    path: Path, scratch: Path, config: RunConfig, *, zoom: float = 1.0, signal: str | None = None
) -> Iterator[list[StagedImages]]:
    """Bring the images of a file into the form that a network was trained with, each signal by itself.

    Parameters
    ----------
    path : Path
        Of a format that source ``folder`` reads, or HDF5 with one data set (height, width) or (num_images, height,
        width), of which the attribute ``pixel_size_angstrom`` is read.
    scratch : Path
        File that holds the images meanwhile, four bytes a pixel; removed in the end.
    config : RunConfig
        Of the training: source, magnification and contrast window.
    zoom : float
        By how much to make the images larger, besides `data.scale_factor`.
    signal : str or None
        Which signal of the file to take: a detector, a map, a data set of HDF5. None takes all; of HDF5 there must be
        one.

    Yields
    ------
    list of StagedImages

    Raises
    ------
    MissingInputError
        If there is no such file.
    DataError
        If it cannot be read, or its intensity is not what the network knows.
    StorageError
        If there is no room for the scratch file.
    """
    check_is_file(path)
    try:
        described = read_sandboxed(partial(_stage, scratch, config, zoom, signal), path)
        with h5py.File(scratch) as file:
            yield [replace(staged, noisy=file[staged.noisy]) for staged in described]
    finally:
        with suppress(OSError):  # where nothing may be written, nothing was
            scratch.unlink(missing_ok=True)


def stage_arrays(
    images: npt.NDArray[np.float32], config: RunConfig, *, zoom: float = 1.0, is_stored: bool = False
) -> StagedImages:
    """Bring arrays into that form, in memory.

    Parameters
    ----------
    images : ndarray of float32, shape (num_images, height, width)
    config, zoom
        As `stage_images` takes them.
    is_stored : bool
        Whether the intensity is already that of a record.

    Raises
    ------
    DataError
        As `stage_images`.
    """
    frames = Frames(list(images), None, "image")
    for index, image in enumerate(images):
        check_values([image], f"image frame {index}")
    scales = len(images) * (IntensityScale(),) if is_stored else _choose_scales(frames, config)
    stored = _store(frames, scales, config.data.scale_factor * zoom, lambda shape: np.empty(shape, np.float32))
    return StagedImages(stored, scales, None, images.shape[1:])


def check_is_file(path: Path) -> None:
    """Raise `MissingInputError` if there is no such file, `DataError` if it may not be read."""
    if not path.is_file():
        raise MissingInputError(f"{path} is not there; give a file that exists.")
    try:
        path.open("rb").close()
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        raise DataError(f"{path} cannot be read: {error.strerror}; check its permissions.") from error


def _stage(scratch: Path, config: RunConfig, zoom: float, signal: str | None, path: Path) -> list[StagedImages]:
    """Write the stored intensities, and give them by the names of their data sets; runs in the reading process."""
    factor = config.data.scale_factor * zoom
    with open_frames(path, signal) as signals:
        scales = [_check_and_scale(frames, config) for frames in signals]
        with explain_os_errors(scratch):
            scratch.parent.mkdir(parents=True, exist_ok=True)
            with create_hdf5(scratch) as (file, raw):
                staged = []
                for number, (frames, own) in enumerate(zip(signals, scales, strict=True)):
                    make = partial(file.create_dataset, str(number), dtype=np.float32)
                    _store(frames, own, factor, make, on_block=raw.check)
                    size = frames.pixel_size_angstrom
                    own_shape = frames.images[0].shape
                    staged.append(
                        StagedImages(str(number), own, size / factor if size else None, own_shape, frames.signal)
                    )
                return staged


def _check_and_scale(frames: Frames, config: RunConfig) -> tuple[IntensityScale, ...]:
    for index, image in enumerate(frames.images):
        check_values((block for _, block in read_blocks(image)), f"{frames.name} frame {index}")
    return _choose_scales(frames, config)


def _choose_scales(frames: Frames, config: RunConfig) -> tuple[IntensityScale, ...]:
    return SOURCES[config.data.source].choose_scales(frames.images, config, frames.name)


def _store(
    frames: Frames,
    scales: tuple[IntensityScale, ...],
    factor: float,
    make: Callable[[tuple[int, ...]], Any],
    on_block: Callable[[], None] = lambda: None,
) -> Any:
    """Put the stored intensities, magnified, into what `make` gives for their shape."""
    stored: Any = None
    for index, (own, scale) in enumerate(zip(frames.images, scales, strict=True)):
        image = own if factor == 1 else _magnify(scale.apply(own[:]), factor)
        if stored is None:
            stored = make((len(frames.images), *image.shape))
        for rows, block in read_blocks(image):
            stored[index, rows] = block if factor != 1 else scale.apply(block)
            on_block()
    return stored


@contextmanager
def open_frames(path: Path, signal: str | None = None) -> Iterator[list[Frames]]:
    """Open the images of a file, where the reading process may: those of HDF5 are read by slices.

    Parameters
    ----------
    path : Path
    signal : str or None
        Which of them to take; None takes all.

    Yields
    ------
    list of Frames
        One for each signal of the file.

    Raises
    ------
    DataError
        If the file holds no images, or not that signal.
    """
    name = f"{path.parent.name}/{path.name}"
    if path.suffix.lower() not in HDF5_SUFFIXES:
        if not is_image_file(path):
            raise DataError(
                f"{name}: {path.suffix or 'no ending'} is no format of micrographs; give .dm4, .tif or .h5."
            )
        yield _choose_signal(_group_signals(read_micrographs(path), name), signal, name)
        return
    try:
        check_parts(path, name)
        with h5py.File(path) as file:
            yield [_open_dataset(_find_dataset(file, signal, name), name)]
    except OSError as error:
        check_filters(path, name)
        raise DataError(f"{name}: cannot be read ({error}); expected whole HDF5; copy it again.") from error


def _group_signals(micrographs: list[Micrograph], name: str) -> list[Frames]:
    groups: dict[str, list[Micrograph]] = {}
    for micrograph in micrographs:
        groups.setdefault(micrograph.signal, []).append(micrograph)
    return [
        Frames(
            [micrograph.image for micrograph in members],
            members[0].pixel_size_angstrom,
            f"{name} {signal}".rstrip(),
            signal,
        )
        for signal, members in groups.items()
    ]


def _choose_signal(signals: list[Frames], signal: str | None, name: str) -> list[Frames]:
    chosen = [frames for frames in signals if signal in (None, frames.signal)]
    if not chosen:
        names = ", ".join(frames.signal for frames in signals)
        trouble = f"holds the signals {names}; give one of them" if names else "holds one signal without a name"
        raise DataError(f"{name}: has no signal {signal}; it {trouble}, or leave --signal out.")
    return chosen


def _open_dataset(dataset: h5py.Dataset, name: str) -> Frames:
    check_dataset(dataset, name)
    axes = find_image_axes(dataset)
    num_frames = dataset.shape[axes[0]] if len(axes) == 3 else 1
    images = [_Slice(dataset, axes, index) for index in range(num_frames)]
    return Frames(images, read_pixel_size(dataset, name), name)


def _find_dataset(file: h5py.File, signal: str | None, name: str) -> h5py.Dataset:
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    images = [
        item for item in found if item.size and item.dtype.kind in "buif" and len(find_image_axes(item)) in (2, 3)
    ]
    if signal is not None:
        images = [item for item in images if item.name.strip("/") == signal.strip("/")]
    if len(images) != 1:
        listed = ", ".join(f"{item.name.strip('/')} {item.shape}" for item in found[:5]) or "none"
        wanted = "data sets of images" if signal is None else f"data sets {signal} of images"
        remedy = "choose one with --signal, or write" if images else "write"
        raise DataError(
            f"{name}: holds {len(images)} {wanted} (data sets: {listed}); expected one, (height, width) or "
            f"(num_images, height, width); {remedy} the images to a file of their own."
        )
    return images[0]


def _magnify(image: FloatImage, factor: float) -> npt.NDArray[Any]:
    return scale_record(Record({"noisy": image}, specimen="", name=""), factor).noisy
