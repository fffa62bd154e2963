"""Reading micrographs and label images of any format, in the units of the file.

Formats of microscopes are read by RosettaSciIO, .png and .jpg by Pillow; nothing else in the package imports them.
Putting the intensity into [0, 1] is `intensity`, cutting is `tiles`, what belongs together is `folder`.
"""

import gc
import importlib
import logging
import lzma
import math
import pickle
import struct
import traceback
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Mask, describe
from emdenoise.errors import DataError, PackageError

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Read with Pillow; the reader of RosettaSciIO takes one colour channel where green and blue are equal."""
NEVER_MICROGRAPHS = ("csv", "xml", "h5", "hdf5")
"""Endings that RosettaSciIO knows and that name tables, notes and any kind of array far more often than images."""
LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue (ITU-R BT.709, as in `skimage.color.rgb2gray`)."""
LARGEST_ASPECT = 1.01
"""Pixels are square when their sides differ by at most this factor: scan calibrations differ by parts of a percent."""
MAX_LABEL = 255

ANGSTROM_PER_UNIT = {
    **dict.fromkeys(("pm", "picometer"), 1e-2),
    **dict.fromkeys(("å", "a", "ang", "angstrom", "angstroms"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e1),
    **dict.fromkeys(("μm", "um", "micron", "microns", "micrometer", "micrometers"), 1e4),
    "ƒêm": 1e4,  # µm of a Japanese system, read as Western text
    "mm": 1e7,
    "cm": 1e8,
    "m": 1e10,
}
RECIPROCAL_MARKS = ("1/", "^-1", "-1", "⁻1", "rad")
SPECTRAL_UNITS = ("ev", "kev", "channel", "channels")


@dataclass(frozen=True)
class Micrograph:
    """One image of a file.

    Attributes
    ----------
    image : ndarray of float32, shape (height, width)
        Intensity in the units of the file; colours are their luminance.
    pixel_size_angstrom : float or None
        Pixel size in the specimen [Å], None where the file does not say.
    name : str
        File name, with the title and the number of the frame where the file holds several images.
    """

    image: FloatImage
    pixel_size_angstrom: float | None
    name: str


@dataclass(frozen=True)
class _Signal:
    """What a reader gave: frames first, colours last."""

    data: npt.NDArray[np.generic]
    axes: Sequence[Mapping[str, Any]]
    title: str = ""
    is_colour: bool = False
    unit_hint: str = ""


def is_image_file(path: Path) -> bool:
    """Tell by the ending of its name whether a file is of a format that `read_micrographs` reads.

    Examples
    --------
    >>> is_image_file(Path("sample.DM4")), is_image_file(Path("notes.txt"))
    (True, False)
    """
    return path.suffix.lower() in RASTER_SUFFIXES or bool(_find_plugins(path))


def read_micrographs(path: Path) -> list[Micrograph]:
    """Read the images of a file.

    Spectra, diffraction patterns and the like are left out where the file also holds images, and so are
    colour images beside grey ones (previews that the acquisition program drew). Images are not resampled:
    pixels that are not square are refused.

    Parameters
    ----------
    path : Path
        File of a format that `is_image_file` knows.

    Returns
    -------
    list of Micrograph
        At least one; the frames of a stack one by one. All are of one specimen.

    Raises
    ------
    DataError
        If the file is damaged or holds no real-space image, pixels are not square, or a value is not finite.
    PackageError
        If its compression needs a package that is not installed.
    """
    micrographs = []
    signals = _keep_images(path, _load(path, as_labels=False))
    for signal in signals:
        pixel_size_angstrom = _find_pixel_size(path, signal)
        frames = _split_frames(signal)
        for index, frame in enumerate(frames):
            parts = [path.name, signal.title if len(signals) > 1 else "", f"frame {index}" if len(frames) > 1 else ""]
            name = " ".join(part for part in parts if part)
            with np.errstate(over="ignore"):  # becomes infinite and is refused below
                image = (frame @ np.array(LUMINANCE) if signal.is_colour else frame).astype(np.float32)
            if not np.isfinite(image).all():
                raise DataError(
                    f"{path.parent.name}/{name}: {np.count_nonzero(~np.isfinite(image))} pixels are NaN or infinite; "
                    "all must be finite; repair the image or remove the file."
                )
            micrographs.append(Micrograph(image, pixel_size_angstrom, name))
    return micrographs


def read_masks(path: Path) -> list[Mask]:
    """Read the label images of a file: whole numbers from 0 to 255, in grey or as the indices of a palette.

    Raises
    ------
    DataError
        If the file is damaged, was compressed with loss, is coloured, or holds other numbers.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise DataError(f"{_name(path)}: JPEG changes the labels of a mask; save it as .png or .tif.")
    masks = []
    for signal in _keep_images(path, _load(path, as_labels=True)):
        for frame in _split_frames(signal):
            if signal.is_colour and (frame != frame[..., :1]).any():
                raise DataError(f"{_name(path)}: a mask in colour; expected whole numbers from 0 to {MAX_LABEL}.")
            labels = frame[..., 0] if signal.is_colour else frame
            if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
                raise DataError(
                    f"{_name(path)}: a mask in {labels.dtype} with values that are not integer; expected whole numbers "
                    f"from 0 to {MAX_LABEL}; save labels, not probabilities."
                )
            if labels.min() < 0 or labels.max() > MAX_LABEL:
                raise DataError(
                    f"{_name(path)}: a mask with labels from {labels.min():g} to {labels.max():g}; "
                    f"expected 0 to {MAX_LABEL}; number the classes anew."
                )
            masks.append(labels.astype(np.uint8))
    return masks


def _name(path: Path) -> str:
    """Name a file in messages: images and their truth have the same name in two folders."""
    return f"{path.parent.name}/{path.name}"


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
    return sorted(plugins, key=lambda plugin: plugin["name"] == "MRCZ")


def _load(path: Path, *, as_labels: bool) -> list[_Signal]:
    """Let the readers of this ending try, and translate the first one's failure."""
    readers: dict[str, Callable[[], list[_Signal]]] = {
        str(plugin["name"]): partial(_load_with_plugin, path, plugin) for plugin in _find_plugins(path)
    }
    if path.suffix.lower() in RASTER_SUFFIXES:
        readers = {"image": partial(_load_raster, path, as_labels=as_labels)}
    if not readers:
        raise DataError(
            f"{_name(path)}: {path.suffix or 'no ending'} is no format of micrographs; save it as .tif or .png."
        )
    reader_errors, failures = _list_reader_errors(), list[tuple[str, Exception]]()
    for name, read in readers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that is not used here, and files that readers leave open
            try:
                return read()
            except reader_errors as error:
                traceback.clear_frames(error.__traceback__)
                gc.collect()  # closes what the reader left open
                failures.append((name, error))
    name, failure = failures[0]
    reason = (str(failure).splitlines() or [""])[0].strip()[:150].rstrip(".") or type(failure).__name__
    if isinstance(failure, ImportError) or "requires the 'imagecodecs' package" in reason:
        raise PackageError(
            f"{_name(path)}: {reason}; install the package, or save the image as .tif without compression."
        ) from failure
    raise DataError(
        f"{_name(path)}: {path.stat().st_size if path.exists() else 0} bytes that cannot be read ({reason}); "
        f"expected a whole {name} file; copy it again or save it in another format."
    ) from failure


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


def _load_raster(path: Path, *, as_labels: bool) -> list[_Signal]:
    from PIL import Image

    with Image.open(path) as file:
        if file.mode in ("1", "L", "I", "F") or file.mode.startswith("I;") or (as_labels and file.mode == "P"):
            data = np.asarray(file)
        else:
            data = np.asarray(file.convert("L" if file.mode == "LA" else "RGB"))
    return [_Signal(data, axes=({}, {}), is_colour=data.ndim == 3)]


def _load_with_plugin(path: Path, plugin: dict[str, Any]) -> list[_Signal]:
    # Velox files hold hours of spectra beside the images; they are not even decoded.
    options = {"select_type": "images"} if plugin["name"] == "EMD" else {}
    if plugin["name"] == "TIFF":
        _check_tiff(path)
    signals = []
    for found in importlib.import_module(plugin["api"]).file_reader(str(path), **options):
        data = np.asarray(found["data"])
        colours = [name for name in data.dtype.names or () if name in "RGB"]
        if colours:
            data = np.stack([data[name] for name in colours], axis=-1)
        data, axes = _order_axes(data, [dict(axis) for axis in found["axes"]])
        title = found.get("metadata", {}).get("General", {}).get("title") or ""
        unit_hint = _find_imagej_unit(found.get("original_metadata", {}))
        signals.append(_Signal(data, axes, str(title), bool(colours), unit_hint))
    return signals


def _order_axes(
    data: npt.NDArray[np.generic], axes: list[dict[str, Any]]
) -> tuple[npt.NDArray[np.generic], list[dict[str, Any]]]:
    """Bring rows (y) and columns (x) to the end: RosettaSciIO transposes what Berkeley EMD files of old versions hold.

    It also does not say that the third axis of such a file counts frames.
    """
    names = ["" if axis.get("navigate") else str(axis.get("name")).lower() for axis in axes]
    if "x" in names and "y" in names:
        first, second = names.index("y"), names.index("x")
        order = [index for index in range(len(axes)) if index not in (first, second)] + [first, second]
        data = data.transpose([*order, *range(len(axes), data.ndim)])
        axes = [axes[index] for index in order]
    if len(axes) == 3 and not any(axis.get("navigate") for axis in axes):
        axes[0]["navigate"] = True
    return data, axes


def _check_tiff(path: Path) -> None:
    """Refuse a TIFF that was cut short: tifffile only logs it, leaves pages out and fills strips with zeros."""
    from tifffile import TiffFile

    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    try:
        with TiffFile(path) as tiff:
            num_bytes = tiff.filehandle.size
            ends = [
                offset + count
                for page in tiff.pages
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
    finally:
        logger.removeHandler(complaints)
    if max(ends, default=0) > num_bytes:
        raise ValueError(f"its images end at byte {max(ends)}")
    if offsets := [message for message in complaints.messages if "invalid" in message and "offset" in message]:
        raise ValueError(offsets[0])


class _Complaints(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.messages.append(record.getMessage())


def _find_imagej_unit(tags: Mapping[str, Any]) -> str:
    """Find the unit in the description that ImageJ writes; RosettaSciIO 0.15 knows only its ``micron``."""
    description = tags.get("ImageDescription")
    if not isinstance(description, str) or not description.startswith("ImageJ="):
        return ""
    lines = dict(line.split("=", 1) for line in description.splitlines() if "=" in line)
    return lines.get("unit", "").replace("\\u00B5", "µ")


def _keep_images(path: Path, signals: list[_Signal]) -> list[_Signal]:
    reasons = [_explain_no_image(signal) for signal in signals]
    images = [signal for signal, reason in zip(signals, reasons, strict=True) if not reason]
    if not images:
        raise DataError(
            f"{_name(path)}: holds {' and '.join(dict.fromkeys(reasons)) or 'no image'}; "
            "expected an image of the specimen or a stack of them; remove the file."
        )
    grey = [signal for signal in images if not signal.is_colour]
    return grey or images


def _explain_no_image(signal: _Signal) -> str:
    """Say what a signal is if it is no image of the specimen, else nothing."""
    image_axes = [axis for axis in signal.axes if not axis.get("navigate")]
    units = [_clean_unit(axis.get("units"), signal.unit_hint) for axis in signal.axes]
    if len(image_axes) == 1 or any(unit in SPECTRAL_UNITS for unit in units):
        return "a spectrum or line scan"
    if len(image_axes) != 2 or len(signal.axes) > 3:
        return f"{len(signal.axes)}-dimensional data, such as a scan of diffraction patterns"
    if any(mark in unit for unit in units for mark in RECIPROCAL_MARKS):
        return f"a diffraction pattern (pixels in {image_axes[0].get('units')})"
    is_described = signal.data.ndim == len(signal.axes) + signal.is_colour
    if not is_described or any(axis.get("name") == "sample" for axis in signal.axes):
        return "an image with more than one value a pixel that are no colours"
    if signal.data.dtype.kind not in "buif":
        return f"{describe(signal.data)} values, such as a wave or a Fourier transform"
    return "" if signal.data.size else "an empty image"


def _find_pixel_size(path: Path, signal: _Signal) -> float | None:
    """Find the pixel size [Å]; refuse pixels that are not square."""
    sides = list(_measure_pixel(signal))
    if None in sides or not sides:
        return None
    height, width = (side for side in sides if side is not None)
    if max(height, width) > LARGEST_ASPECT * min(height, width):
        raise DataError(
            f"{_name(path)}: pixels are {height:g} Å high and {width:g} Å wide; expected square ones; "
            "resample the image with the program that took it."
        )
    return (height + width) / 2


def _measure_pixel(signal: _Signal) -> Iterator[float | None]:
    for axis in signal.axes:
        if not axis.get("navigate"):
            scale = abs(float(axis.get("scale") or 0))
            unit = _clean_unit(axis.get("units"), signal.unit_hint)
            is_known = unit in ANGSTROM_PER_UNIT and scale > 0 and math.isfinite(scale)
            yield scale * ANGSTROM_PER_UNIT[unit] if is_known else None


def _clean_unit(unit: object, hint: str) -> str:
    """Bring a unit into the form of `ANGSTROM_PER_UNIT`: ``"[n_m]"`` (Berkeley EMD) and ``"nm "`` are ``"nm"``."""
    text = unicodedata.normalize("NFKC", str(unit or hint)).lower()
    return "".join(letter for letter in text if letter not in " _[]")


def _split_frames(signal: _Signal) -> npt.NDArray[np.generic]:
    """Bring the frames to the front: (frames, height, width), with colours as a fourth axis."""
    stacked = [index for index, axis in enumerate(signal.axes) if axis.get("navigate")]
    return np.moveaxis(signal.data, stacked[0], 0) if stacked else signal.data[np.newaxis]
