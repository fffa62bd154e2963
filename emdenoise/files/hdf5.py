"""What an HDF5 file does not hold itself: data of other files, and filters that this installation cannot undo."""

from contextlib import suppress
from pathlib import Path

import h5py

from emdenoise.errors import DataError, PackageError
from emdenoise.files.pictures import PIXEL_SIZE
from emdenoise.files.signals import PIXEL_SIZES_ANGSTROM

FILTERS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32017: "sz", 32026: "blosc2"}
"""Names of filters that detectors use, by their registered number."""


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
