"""What a reader of image files gives, and whether it is an image of the specimen."""

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import describe
from emdenoise.errors import DataError

LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue (ITU-R BT.709, as in `skimage.color.rgb2gray`)."""
MAX_CHANNELS = 4
"""A stack of frames no wider than this is an array (height, width, channels) that somebody saved."""
LARGEST_ASPECT = 1.01
"""Pixels are square when their sides differ by at most this factor: scan calibrations differ by parts of a percent."""
PIXEL_SIZES_ANGSTROM = (1e-3, 1e7)
"""Smallest and largest pixel size that a micrograph can have [Å]; other numbers mean that nobody calibrated."""
RECIPROCAL_ANGSTROM = 1e13
"""A pixel of a kilometre is a reciprocal length without its name: of a .ser file alone, 1/m is read as m [Å]."""

ANGSTROM_PER_UNIT = {
    **dict.fromkeys(("pm", "picometer", "picometers"), 1e-2),
    **dict.fromkeys(("å", "a", "ang", "angstrom", "angstroms"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e1),
    **dict.fromkeys(("μm", "um", "micron", "microns", "micrometer", "micrometers"), 1e4),
    "ƒêm": 1e4,  # µm of a Japanese system, read as Western text
    "mm": 1e7,
    "cm": 1e8,
    "m": 1e10,
}
RECIPROCAL_MARKS = ("1/", "^-1", "-1", "rad", "deg", "°")
RECIPROCAL_NAMES = ("kx", "ky", "qx", "qy")
SPECTRAL_UNITS = ("ev", "kev", "channel", "channels", "s", "ms", "μs", "ns", "ps", "fs")
"""Along an axis of an image; the frames of a stack may have times."""
SPECTRAL_NAMES = ("wavelength", "energy", "energyloss", "x-rayenergy", "wavenumber", "ramanshift", "frequency")


@dataclass(frozen=True)
class Signal:
    """One array of a file: frames first, colours last.

    Attributes
    ----------
    data : ndarray
    axes : sequence of mapping
        As RosettaSciIO describes them: ``name``, ``scale``, ``units``, and ``navigate`` for an axis that counts frames.
    title : str
        What the file calls it, such as the name of a detector.
    is_colour : bool
        Whether the last axis, which `axes` leaves out, holds red, green and blue.
    """

    data: npt.NDArray[np.generic]
    axes: Sequence[Mapping[str, Any]]
    title: str = ""
    is_colour: bool = False


def tidy_axes(signal: Signal) -> Signal:
    """Leave out axes of length one beyond the second, and say which axes are those of the image where readers do not.

    Some readers (Phenom, NeXus) call both axes of an image navigation, some (Berkeley EMD) none of three.
    """
    axes = [dict(axis) for axis in signal.axes]
    if signal.data.ndim != len(axes) + signal.is_colour:
        return signal
    num_image_axes = sum(not axis.get("navigate") for axis in axes)
    single = [index for index in range(len(axes)) if signal.data.shape[index] == 1][: max(0, len(axes) - 2)]
    data = signal.data.squeeze(tuple(single))
    axes = [axis for index, axis in enumerate(axes) if index not in single]
    is_line_of_spectra = num_image_axes == 1 and any(not axis.get("navigate") for axis in axes)
    if len(axes) == 2 and not is_line_of_spectra:
        axes = [axis | {"navigate": False} for axis in axes]
    if len(axes) == 3 and num_image_axes == 3:
        axes[0]["navigate"] = True
    return replace(signal, data=data, axes=axes)


def explain_no_image(signal: Signal) -> str:
    """Say what a signal is if it is no image of the specimen or a stack of them, else nothing."""
    image_axes = [axis for axis in signal.axes if not axis.get("navigate")]
    units = [clean_unit(axis.get("units")) for axis in image_axes]
    names = [_clean_name(axis) for axis in image_axes]
    is_spectral = any(_clean_name(axis) in SPECTRAL_NAMES or _has_energy(axis) for axis in signal.axes)
    if len(image_axes) == 1 or is_spectral or any(unit in SPECTRAL_UNITS for unit in units):
        return "a spectrum or line scan"
    if len(image_axes) != 2 or len(signal.axes) > 3:
        return f"{signal.data.ndim - signal.is_colour}-dimensional data ({_describe_axes(signal)})"
    sizes = [size for size in _measure_pixel(signal) if size is not None]
    marked = [unit for unit in units if any(mark in unit for mark in RECIPROCAL_MARKS)]
    if marked or any(name in RECIPROCAL_NAMES for name in names) or max(sizes, default=0) >= RECIPROCAL_ANGSTROM:
        return f"a diffraction pattern ({_describe_calibration(image_axes, names)})"
    return _explain_values(signal)


def _explain_values(signal: Signal) -> str:
    """Say why what has the axes of an image or a stack is none all the same, else nothing."""
    is_described = signal.data.ndim == len(signal.axes) + signal.is_colour
    if not is_described or any(axis.get("name") == "sample" for axis in signal.axes):
        return "an image with more than one value a pixel that are no colours"
    if signal.data.dtype.kind not in "buif":
        return f"{describe(signal.data)} values, such as a wave or a Fourier transform"
    num_frames, height, width = split_frames(signal).shape[:3]
    if width <= MAX_CHANNELS < min(num_frames, height):
        return f"{num_frames} frames of {width} × {height} px, as where colours or channels stand last"
    return "" if signal.data.size else "an empty image"


def find_pixel_size(signal: Signal, name: str) -> float | None:
    """Find the pixel size [Å].

    Raises
    ------
    DataError
        If pixels are not square.
    """
    smallest, largest = PIXEL_SIZES_ANGSTROM
    sides = [side for side in _measure_pixel(signal) if side is not None and smallest <= side <= largest]
    if len(sides) != 2:
        return None
    height, width = sides
    if max(height, width) > LARGEST_ASPECT * min(height, width):
        raise DataError(
            f"{name}: pixels are {height:g} Å high and {width:g} Å wide; expected square ones; "
            "resample the image with the program that took it."
        )
    return (height + width) / 2


def split_frames(signal: Signal) -> npt.NDArray[np.generic]:
    """Bring the frames to the front: (frames, height, width), with colours as a fourth axis."""
    stacked = [index for index, axis in enumerate(signal.axes) if axis.get("navigate")]
    return np.moveaxis(signal.data, stacked[0], 0) if stacked else signal.data[np.newaxis]


def clean_unit(unit: object) -> str:
    r"""Bring a unit into the form of `ANGSTROM_PER_UNIT`.

    Examples
    --------
    >>> clean_unit("[n_m]"), clean_unit("nm⁻¹"), clean_unit(r"\u00C5")
    ('nm', 'nm-1', 'å')
    """
    text = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda code: chr(int(code[1], 16)), str(unit or ""))  # as ImageJ writes it
    text = unicodedata.normalize("NFKC", text).lower().replace("\N{MINUS SIGN}", "-")
    return "".join(letter for letter in text if letter not in " _[](){}")


def _clean_name(axis: Mapping[str, Any]) -> str:
    return str(axis.get("name")).lower().replace("_", "").replace(" ", "")


def _has_energy(axis: Mapping[str, Any]) -> bool:
    """Tell whether an axis of any kind, that of the frames included, counts energies or channels."""
    return clean_unit(axis.get("units")) in SPECTRAL_UNITS[:4]


def _describe_axes(signal: Signal) -> str:
    if signal.data.ndim != len(signal.axes) + signal.is_colour:
        return " × ".join(map(str, signal.data.shape)) or "a single number"
    return ", ".join(
        f"{axis.get('name') or 'axis'} {size}" for axis, size in zip(signal.axes, signal.data.shape, strict=False)
    )


def _describe_calibration(image_axes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    unit = image_axes[-1].get("units")
    if not unit:
        return f"axes {' and '.join(names)}"
    if clean_unit(unit) in ANGSTROM_PER_UNIT:
        return f"pixels of {float(image_axes[-1].get('scale') or 0):g} {unit}, which are reciprocal lengths"
    return f"pixels in {unit}"


def _measure_pixel(signal: Signal) -> Iterator[float | None]:
    for axis in signal.axes:
        if not axis.get("navigate"):
            scale = abs(float(axis.get("scale") or 0))
            unit = clean_unit(axis.get("units"))
            is_known = unit in ANGSTROM_PER_UNIT and scale > 0 and math.isfinite(scale)
            yield scale * ANGSTROM_PER_UNIT[unit] if is_known else None
