"""The readers of RosettaSciIO and Pillow, what they need beside them, and their failures in one line."""

import gc
import importlib
import lzma
import pickle
import struct
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import h5py
import numpy as np

from emdenoise.errors import DataError, PackageError
from emdenoise.files.hdf5 import check_filters, check_parts
from emdenoise.files.mrc import MRC_SUFFIXES, check_mrc, correct_mrc, find_byte_order, has_mrc_stamp
from emdenoise.files.raster import RASTER_SUFFIXES, load_raster
from emdenoise.files.signals import Signal, tidy_axes
from emdenoise.files.tiff import check_tiff, has_planar_colours, interpret_tiff, read_described_series
from emdenoise.files.velox import is_velox, read_velox_images

NEVER_MICROGRAPHS = ("csv", "xml", "h5", "hdf5")
"""Endings that RosettaSciIO knows and that name tables, notes and any kind of array far more often than images."""


def has_reader(path: Path) -> bool:
    """Tell by the ending of its name whether there is a reader for a file."""
    return path.suffix.lower() in RASTER_SUFFIXES or bool(_find_plugins(path))


def load_signals(path: Path, *, as_labels: bool) -> list[Signal]:
    """Let the readers of this ending try, and translate the first one's failure.

    Raises
    ------
    DataError
        If the file is damaged, incomplete or of no format of images.
    PackageError
        If its compression needs a package that is not installed.
    """
    name = f"{path.parent.name}/{path.name}"
    readers: dict[str, Callable[[], list[Signal]]] = {
        str(plugin["name"]): partial(_load_with_plugin, path, plugin, as_labels=as_labels)
        for plugin in _find_plugins(path)
    }
    if path.suffix.lower() in RASTER_SUFFIXES:
        readers = {"image": partial(load_raster, path, as_labels=as_labels)}
    if not readers:
        raise DataError(f"{name}: {path.suffix or 'no ending'} is no format of micrographs; save it as .tif or .png.")
    reader_errors, failures = _list_reader_errors(), list[tuple[str, Exception]]()
    for reader, read in readers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that is not used here, and files that readers leave open
            try:
                return [tidy_axes(signal) for signal in read()]
            except reader_errors as error:
                traceback.clear_frames(error.__traceback__)
                gc.collect()  # closes what the reader left open
                failures.append((reader, error))
    raise _explain_failure(path, name, *failures[0])


def _explain_failure(path: Path, name: str, reader: str, failure: Exception) -> DataError | PackageError:
    """Say why a file cannot be read."""
    reason = (str(failure).splitlines() or [""])[0].strip()[:150].rstrip(".") or type(failure).__name__
    error: DataError | PackageError
    if isinstance(failure, ImportError) or "requires the 'imagecodecs' package" in reason:
        error = PackageError(f"{name}: {reason}; install the package, or save the image as .tif without compression.")
    else:
        if path.is_file() and h5py.is_hdf5(path):
            check_filters(path, name)
        error = DataError(
            f"{name}: {path.stat().st_size if path.exists() else 0} bytes that cannot be read ({reason}); "
            f"expected a whole {reader} file; copy it again or save it in another format."
        )
    error.__cause__ = failure
    return error


def _find_plugins(path: Path) -> list[dict[str, Any]]:
    """Find the readers of RosettaSciIO for an ending; MRCZ reads .mrc too, with a package that is seldom there."""
    from rsciio import IO_PLUGINS

    suffix = path.suffix.lower().removeprefix(".")
    if not suffix or suffix in NEVER_MICROGRAPHS:
        return []
    plugins = [
        plugin
        for plugin in IO_PLUGINS
        if plugin["name"] != "Image" and suffix in [extension.lower() for extension in plugin["file_extensions"]]
    ]
    if f".{suffix}" in MRC_SUFFIXES and suffix != "mrc":
        mrc = [plugin for plugin in IO_PLUGINS if plugin["name"] == "MRC"]
        plugins = mrc + plugins if path.is_file() and has_mrc_stamp(path) else plugins + mrc
    return sorted(plugins, key=lambda plugin: plugin["name"] == "MRCZ")


def _list_reader_errors() -> tuple[type[Exception], ...]:
    """List what readers raise on damaged files: they check little, so that wrong bytes become wrong calls."""
    from box.exceptions import BoxError
    from PIL.Image import DecompressionBombError
    from pint.errors import PintError
    from rsciio import exceptions
    from rsciio.pantarhei._restricted_unpickling import InvalidPickleError

    own = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    python = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, ImportError)
    python_rare = (RuntimeError, AssertionError, MemoryError, NameError, SyntaxError, BufferError)
    codecs = (struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pickle.UnpicklingError, ExpatError)
    return (*own, *python, *python_rare, *codecs, BoxError, PintError, InvalidPickleError, DecompressionBombError)


def _load_with_plugin(path: Path, plugin: dict[str, Any], *, as_labels: bool) -> list[Signal]:
    name = plugin["name"]
    if h5py.is_hdf5(path):
        check_parts(path, f"{path.parent.name}/{path.name}")
    if name == "TIFF":
        check_tiff(path)
        return interpret_tiff(path, _read_tiff_series(path, plugin), as_labels=as_labels)
    if name == "MRC":
        check_mrc(path)
        return correct_mrc(path, _read_signals(path, plugin, endianness=find_byte_order(path)))
    if name == "EMD" and is_velox(path):
        return [_make_signal(found) for found in read_velox_images(path)]
    signals = _read_signals(path, plugin)
    return [_order_axes(signal) for signal in signals] if name == "EMD" else signals


def _read_signals(path: Path, plugin: dict[str, Any], **options: Any) -> list[Signal]:
    return [_make_signal(found) for found in importlib.import_module(plugin["api"]).file_reader(str(path), **options)]


def _read_tiff_series(path: Path, plugin: dict[str, Any]) -> list[Signal | None] | None:
    """Read each series of pages; None where RosettaSciIO cannot."""
    if has_planar_colours(path):
        return None
    with suppress(KeyError):  # JEOL writes a second page without the description that RosettaSciIO wants of it
        return list(_read_signals(path, plugin))
    gc.collect()  # closes what the reader left open
    found = [_make_signal(found) if found else None for found in read_described_series(path)]
    if not any(found):
        raise ValueError("its pages lack the description that their maker gives them")
    return found


def _make_signal(found: dict[str, Any]) -> Signal:
    data = np.asarray(found["data"])
    colours = [name for name in data.dtype.names or () if name in "RGB"]
    if colours:
        data = np.stack([data[name] for name in colours], axis=-1)
    title = found.get("metadata", {}).get("General", {}).get("title") or ""
    return Signal(data, [dict(axis) for axis in found["axes"]], str(title).strip(), bool(colours))


def _order_axes(signal: Signal) -> Signal:
    """Bring rows (y) and columns (x) to the end: RosettaSciIO transposes what Berkeley EMD files of old versions hold.

    Readers of other formats may name the rows x (Semper), so names decide nothing there.
    """
    names = ["" if axis.get("navigate") else str(axis.get("name")).lower() for axis in signal.axes]
    if "x" not in names or "y" not in names:
        return signal
    first, second = names.index("y"), names.index("x")
    order = [index for index in range(len(names)) if index not in (first, second)] + [first, second]
    data = signal.data.transpose([*order, *range(len(names), signal.data.ndim)])
    return replace(signal, data=data, axes=[signal.axes[index] for index in order])
