"""What RosettaSciIO leaves out of a TIFF: what its numbers mean, units, channels, and pages that tifffile drops."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emdenoise.errors import DataError
from emdenoise.files.signals import LUMINANCE, Signal

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

COMPLAINTS = re.compile(r"invalid.* offset|series.* (corrupted|missing|expected|failed|out of range)")
"""What tifffile logs where images are missing, which it leaves out or fills with zeros."""
IMAGE_AXES = ("height", "width")
CHANNEL_CODE = "C"
STRAIGHT_LINE = 0
"""ImageJ's calibration ``cf`` by which a value is ``c0`` + ``c1`` × the stored number."""
LARGEST_ANNOTATION = 0.01
"""A palette is grey if at most this share of the pixels has colours: Zeiss draws on images."""
AXIS_NAMES = {"Y": "height", "X": "width"}


def check_tiff(path: Path) -> None:
    """Refuse a TIFF that was cut short, of which tifffile leaves pages out, fills strips with zeros and only logs it.

    Raises
    ------
    ValueError
        If bytes are missing.
    DataError
        If tifffile takes a page for a smaller copy of another one, and the page does not say so.
    """
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
            copies = [level.keyframe for series in tiff.series for level in series.levels[1:]]
            wanted = [series for series in tiff.series if series.dataoffset is None]
            missing = [series for series in wanted if len(series) * series.keyframe.size < series.size]
    finally:
        logger.removeHandler(complaints)
    if max(ends, default=0) > num_bytes:
        raise ValueError(f"its images end at byte {max(ends)}")
    if troubles := [message for message in complaints.messages if COMPLAINTS.search(message)]:
        raise ValueError(troubles[0].rpartition("> ")[2])
    if missing:
        raise ValueError(f"it names {missing[0].shape} numbers and has {len(missing[0])} pages of them")
    if unsaid := [page for page in copies if not page.is_reduced and isinstance(page.index, int)]:
        raise DataError(
            f"{path.parent.name}/{path.name}: page {unsaid[0].index} of {unsaid[0].shape[1]} × {unsaid[0].shape[0]} px "
            "may be an image or a smaller copy of another; expected pages of one size; save it to a file of its own."
        )


def read_described_series(path: Path) -> list[dict[str, Any] | None]:
    """Read each series of pages as RosettaSciIO describes it; None for one whose description is missing."""
    from rsciio.tiff._api import _read_tiff
    from tifffile import TiffFile

    found: list[dict[str, Any] | None] = []
    with TiffFile(path) as tiff:
        for series in tiff.series:
            try:
                found.append(_read_tiff(tiff, series, str(path)))
            except KeyError:
                found.append(None)
    return found


def interpret_tiff(path: Path, signals: Sequence[Signal | None] | None, *, as_labels: bool) -> list[Signal]:
    """Give the signals of a TIFF as its tags say they are meant.

    Parameters
    ----------
    path : Path
    signals : sequence of (Signal or None), or None
        What RosettaSciIO read of each series of pages. A series of which it read nothing is a preview, and left out;
        None for all is colours in planes, which are read here.
    as_labels : bool
        Whether numbers are labels, which palettes and inverted grey do not change.

    Raises
    ------
    DataError
        If false colours of a palette stand for intensities.
    """
    from tifffile import TiffFile

    with TiffFile(path) as tiff:
        given = [_read_series(series) for series in tiff.series] if signals is None else signals
        found = []
        for index, (series, signal) in enumerate(zip(tiff.series, given, strict=True)):
            if signal is None:
                continue
            axes = [dict(axis, navigate=axis.get("name") not in IMAGE_AXES) for axis in signal.axes]
            calibrated = _calibrate(tiff, index, replace(signal, axes=axes))
            grey = calibrated if as_labels else _interpret_numbers(path, tiff, series, calibrated)
            found += _split_channels(tiff, index, series, grey)
    return found


def has_planar_colours(path: Path) -> bool:
    """Tell whether a TIFF holds red, green and blue as images of their own, which RosettaSciIO does not read."""
    from tifffile import TiffFile

    with TiffFile(path) as tiff:
        return any(_is_planar(series) for series in tiff.series)


def _is_planar(series: "TiffPageSeries") -> bool:
    return "S" in series.axes and not series.axes.endswith("S")


def _read_series(series: "TiffPageSeries") -> Signal:
    """Read a series: planar colours are frames where tifffile wrote an array of this shape, for so it guesses."""
    from tifffile import PHOTOMETRIC

    data = series.asarray()
    is_guess = series.kind == "shaped"
    is_colour = not is_guess and series.keyframe.photometric == PHOTOMETRIC.RGB
    axes = [{"name": AXIS_NAMES.get(code)} for code in series.axes if code != "S" or not is_colour]
    if is_colour:
        data = np.moveaxis(data, series.axes.index("S"), -1)[..., :3]  # the fourth is opacity
    return Signal(data, axes, is_colour=is_colour)


def _interpret_numbers(path: Path, tiff: "TiffFile", series: "TiffPageSeries", signal: Signal) -> Signal:
    """Turn stored numbers into intensities.

    ImageJ stores intensities with any palette; those of a line, as it stores signed numbers, are its values.
    """
    if not tiff.is_imagej:
        return _apply_palette(path, series, signal)
    notes = tiff.imagej_metadata or {}
    if notes.get("cf") != STRAIGHT_LINE:
        return signal
    return replace(signal, data=float(notes.get("c0", 0)) + float(notes.get("c1", 1)) * signal.data.astype(np.float64))


def _apply_palette(path: Path, series: "TiffPageSeries", signal: Signal) -> Signal:
    """Give the grey of palettes and of numbers of which the smallest is white."""
    from tifffile import PHOTOMETRIC

    page, data = series.keyframe, signal.data
    name = f"{path.parent.name}/{path.name}"
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        if series.kind == "shaped" and data.dtype.kind == "b":
            return signal  # tifffile's own choice for an array of bool, which it reads as it was
        if data.dtype.kind not in "ub":
            raise DataError(f"{name}: {data.dtype} numbers of which the smallest is white; save it with black as 0.")
        return replace(signal, data=(2**page.bitspersample - 1 - data.astype(np.int64)).astype(data.dtype))
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        has_colour = (page.colormap != page.colormap[0]).any(axis=0)
        if has_colour[data].mean() > LARGEST_ANNOTATION:
            raise DataError(f"{name}: false colours of a palette; expected intensities; save the image in grey.")
        grey = np.where(has_colour, np.array(LUMINANCE) @ page.colormap, page.colormap[0])
        return replace(signal, data=(grey / 257)[data] if len(grey) <= 2**8 else grey[data])
    return signal


def _calibrate(tiff: "TiffFile", index: int, signal: Signal) -> Signal:
    """Take the pixel size from OME, the unit from ImageJ; RosettaSciIO 0.15 knows only ImageJ's ``micron``."""
    axes = [dict(axis) for axis in signal.axes]
    pixels = _find_ome(tiff, index)
    for axis in axes:
        if pixels and axis["name"] in IMAGE_AXES:
            side = "X" if axis["name"] == "width" else "Y"
            size = re.search(rf'PhysicalSize{side}="([^"]+)"', pixels)
            unit = re.search(rf'PhysicalSize{side}Unit="([^"]+)"', pixels)
            axis |= {"scale": _read_number(size[1] if size else ""), "units": unit[1] if unit else "µm"}
        elif tiff.is_imagej and not axis["navigate"] and not axis.get("units"):
            axis["units"] = str((tiff.imagej_metadata or {}).get("unit") or "")
    return replace(signal, axes=axes)


def _split_channels(tiff: "TiffFile", index: int, series: "TiffPageSeries", signal: Signal) -> list[Signal]:
    """Make each channel a signal: detectors of one scan have scales of their own."""
    place = series.axes.find(CHANNEL_CODE)
    if place < 0 or signal.is_colour or signal.data.ndim != len(series.axes) or signal.data.shape[place] == 1:
        return [signal]
    names = re.findall(r'<(?:\w+:)?Channel\b[^>]*?\bName="([^"]+)"', _find_ome(tiff, index))
    channels = np.moveaxis(signal.data, place, 0)
    axes = [axis for number, axis in enumerate(signal.axes) if number != place]
    if len(names) != len(channels):
        names = [f"channel {number}" for number in range(len(channels))]
    return [replace(signal, data=data, axes=axes, title=name) for data, name in zip(channels, names, strict=True)]


def _find_ome(tiff: "TiffFile", index: int) -> str:
    """Find what OME-XML says of an image; "" where it says nothing."""
    images = re.findall(r"<(?:\w+:)?Pixels\b.*?</(?:\w+:)?Pixels>", tiff.ome_metadata or "", re.DOTALL)
    return images[index] if index < len(images) else ""


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


class _Complaints(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.messages.append(record.getMessage())
