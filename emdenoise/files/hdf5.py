"""What an HDF5 file does not hold itself: data of other files, and filters that this installation cannot undo."""

import math
from contextlib import suppress
from pathlib import Path

import h5py

from emdenoise.errors import DataError, PackageError
from emdenoise.files.pictures import PIXEL_SIZE
from emdenoise.files.signals import MAX_CHANNELS, PIXEL_SIZES_ANGSTROM

FILTERS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32017: "sz", 32026: "blosc2"}
"""Names of filters that detectors use, by their registered number."""
PACKING = ("scale_factor", "add_offset")
"""Attributes of netCDF by which its readers change the stored numbers."""


def check_parts(path: Path, name: str) -> None:
    """Check that all data of an HDF5 file can be read: HDF5 gives zeros where another file is missing.

    Raises
    ------
    DataError
        If data are in another file that is not there, or stored outside HDF5.
    """
    with h5py.File(path) as file:
        for place, item in _walk(file):
            for other, wanted in _list_sources(item):
                source = path.parent / other
                if not _is_there(source, wanted):
                    raise DataError(
                        f"{name}: {place} is kept in {other}, which is missing or lacks it; expected all data; put "
                        f"{Path(other).name} beside it, or write the images into one file."
                    )
            if isinstance(item, h5py.Dataset) and item.external:
                raise DataError(
                    f"{name}: {place} is kept in {item.external[0][0]}, outside HDF5; write the images into one file."
                )


def read_pixel_size(dataset: h5py.Dataset, name: str) -> float | None:
    """Read the pixel size of a data set [Å]; None where it has none.

    Raises
    ------
    DataError
        If it is no number, or one that no micrograph has.
    """
    given = dataset.attrs.get(PIXEL_SIZE)
    if given is None:
        return None
    smallest, largest = PIXEL_SIZES_ANGSTROM
    try:
        size = float(given)
    except (TypeError, ValueError):
        size = 0.0
    if not smallest <= size <= largest:
        raise DataError(
            f"{name}: attribute {PIXEL_SIZE} is {str(given)[:50]!r}; expected a number of Å from {smallest:g} to "
            f"{largest:g}; correct or remove the attribute."
        )
    return size


def find_image_axes(dataset: h5py.Dataset) -> list[int]:
    """Find the axes of a data set of images: those of length one beyond the second do not count."""
    single = [axis for axis, length in enumerate(dataset.shape) if length == 1][: max(0, dataset.ndim - 2)]
    return [axis for axis in range(dataset.ndim) if axis not in single]


def check_dataset(dataset: h5py.Dataset, name: str) -> None:
    """Check that the numbers of a data set are all there, mean what they are, and are frames.

    Raises
    ------
    DataError
        If parts were never written, which HDF5 fills, numbers are packed, or colours stand last.
    """
    place = f"{name}: {dataset.name.strip('/')}"
    if packed := [attribute for attribute in PACKING if attribute in dataset.attrs]:
        raise DataError(f"{place} is packed by its attribute {packed[0]}; expected the values; write them unpacked.")
    if not dataset.is_virtual:
        num_written = dataset.id.get_num_chunks() if dataset.chunks else int(dataset.id.get_storage_size() > 0)
        sides = zip(dataset.shape, dataset.chunks or dataset.shape, strict=True)
        num_parts = math.prod(-(-length // side) for length, side in sides)
        if num_written < num_parts:
            raise DataError(
                f"{place}: {num_parts - num_written} of its {num_parts} parts were never written; expected all data; "
                "copy the file again, or leave the missing frames out."
            )
    *frames, height, width = (dataset.shape[axis] for axis in find_image_axes(dataset))
    if frames and width <= MAX_CHANNELS < min(*frames, height):
        raise DataError(
            f"{place} has the shape {dataset.shape}, as where colours or channels stand last; expected (height, width) "
            "or (num_images, height, width); write the channels apart."
        )


def check_filters(path: Path, name: str) -> None:
    """Raise `PackageError` if a data set was compressed with a filter that is not installed.

    A file that is damaged besides is left to its reader.
    """
    with suppress(OSError, RuntimeError, LookupError), h5py.File(path) as file:
        for place, item in _walk(file):
            if not isinstance(item, h5py.Dataset):
                continue
            properties = item.id.get_create_plist()
            for code in (properties.get_filter(index)[0] for index in range(properties.get_nfilters())):
                if not h5py.h5z.filter_avail(code):
                    raise PackageError(
                        f"{name}: {place} needs HDF5 filter {code} ({FILTERS.get(code, 'unknown')}), which is not "
                        "installed; set HDF5_PLUGIN_PATH to the filters of package hdf5plugin, or write the file "
                        "anew with h5repack -f GZIP=4."
                    )


def _walk(file: h5py.File) -> list[tuple[str, h5py.Dataset | h5py.ExternalLink]]:
    """Give all data sets and links to other files, each once; links within the file are left alone."""
    found: list[tuple[str, h5py.Dataset | h5py.ExternalLink]] = []

    def take(place: str, link: object) -> None:
        item = file[place] if isinstance(link, h5py.HardLink) else link
        if isinstance(item, h5py.Dataset | h5py.ExternalLink):
            found.append((place, item))

    file.visititems_links(take)
    return found


def _list_sources(item: h5py.Dataset | h5py.ExternalLink) -> list[tuple[str, str]]:
    """List the files and data sets that something refers to."""
    if isinstance(item, h5py.ExternalLink):
        return [(item.filename, item.path)]
    if not item.is_virtual:
        return []
    sources = item.virtual_sources()
    return list(dict.fromkeys((source.file_name, source.dset_name) for source in sources if source.file_name != "."))


def _is_there(source: Path, wanted: str) -> bool:
    try:
        with h5py.File(source) as file:
            return wanted in file
    except OSError:
        return False
