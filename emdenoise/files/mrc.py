"""What RosettaSciIO leaves out of an MRC header: byte order, signed bytes, and cells that mean "unknown".

Words are those of the MRC2014 definition (doi:10.1016/j.jsb.2015.04.002), the stamp is IMOD's.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from emdenoise.errors import DataError
from emdenoise.files.signals import Signal

MRC_SUFFIXES = (".mrc", ".mrcs", ".st", ".ali", ".rec", ".map")
"""Endings of one format: micrographs, stacks of them, tilt series, aligned ones, reconstructions, maps."""
STAMP_OFFSET, STAMP = 208, b"MAP "
HEADER_BYTES = 1024
MODES = (0, 1, 2, 3, 4, 6, 12, 101)
BYTES_PER_NUMBER = {0: 1, 1: 2, 2: 4, 4: 8, 6: 2, 12: 2}
"""Of the modes that are read; 4 is a wave, which is no image."""
NUM_EXTENDED_BYTES, FEI_EXTENDED_BYTES = 23, 131072
"""Word that tells the length of the extended header, and the length of FEI's, which holds the pixel size itself."""
INTERVALS, CELL, COLUMN_AXIS = 7, 10, 16
"""First words of the intervals of the grid and of the cell [Å] by axis, and of which axes columns and rows are."""
IMOD_STAMP, IMOD_SIGNED_BYTES = 1146047817, 1
MAX_SIGNED = 127


def has_mrc_stamp(path: Path) -> bool:
    """Tell whether a file says that it is MRC; old ones do not."""
    with path.open("rb") as file:
        return file.read(STAMP_OFFSET + len(STAMP))[STAMP_OFFSET:] == STAMP


def find_byte_order(path: Path) -> Literal["<", ">"]:
    """Find the byte order in which an MRC file has a mode that there is, else the one with the smaller image.

    The machine stamp tells it too, but many programs leave it empty.
    """
    header = _read_header(path)
    little, big = header.view("<i4"), header.view(">i4")
    has_little, has_big = int(little[3]) in MODES, int(big[3]) in MODES
    if has_little and has_big:
        return ">" if np.abs(big[:2]).max() < np.abs(little[:2]).max() else "<"
    return ">" if has_big else "<"


def check_mrc(path: Path) -> None:
    """Refuse an MRC file of which numbers would be left out or not understood.

    Raises
    ------
    DataError
        If its mode is none that is read, or it has more sections than its header says.
    """
    integers = _read_header(path).view(f"{find_byte_order(path)}i4")
    width, height, num_sections, mode = (int(word) for word in integers[:4])
    name = f"{path.parent.name}/{path.name}"
    if mode in MODES and mode not in BYTES_PER_NUMBER:
        raise DataError(
            f"{name}: MRC mode {mode}; expected one of {', '.join(map(str, BYTES_PER_NUMBER))}; convert it to mode 2, "
            "as newstack of IMOD does."
        )
    section_bytes = width * height * BYTES_PER_NUMBER.get(mode, 1)
    more_bytes = path.stat().st_size - HEADER_BYTES - int(integers[NUM_EXTENDED_BYTES]) - num_sections * section_bytes
    if 0 < section_bytes <= more_bytes:
        raise DataError(
            f"{name}: its header says {num_sections} sections, but there are {more_bytes // section_bytes} more; "
            "expected as many; write it anew with the program that made it."
        )


def correct_mrc(path: Path, signals: Sequence[Signal]) -> list[Signal]:
    """Correct what RosettaSciIO read: it takes the byte order of this machine, unsigned bytes, and any cell."""
    order = find_byte_order(path)
    header = _read_header(path)
    integers, numbers = header.view(f"{order}i4"), header.view(f"{order}f4")
    is_signed = integers[3] == 0 and _has_signed_bytes(integers, numbers)
    corrected = []
    for signal in signals:
        data = signal.data.view(signal.data.dtype.newbyteorder(order))
        axes = [dict(axis) for axis in signal.axes]
        if integers[NUM_EXTENDED_BYTES] != FEI_EXTENDED_BYTES:
            for axis, place in zip(axes[-2:], _find_rows_and_columns(integers), strict=False):
                cell, num_intervals = numbers[CELL + place], integers[INTERVALS + place]
                if axis.get("units") == "nm":  # else notes beside the file have told that it is diffraction
                    is_known = cell > 0 and num_intervals > 0
                    axis.update({"scale": cell / num_intervals, "units": "Å"} if is_known else {"units": None})
        corrected.append(replace(signal, data=data.view(np.int8) if is_signed else data, axes=axes))
    return corrected


def _find_rows_and_columns(integers: npt.NDArray[np.int32]) -> tuple[int, int]:
    """Find which axes of the cell rows and columns are: y and x (1 and 0) where the header does not say."""
    columns, rows = (int(axis) - 1 for axis in integers[COLUMN_AXIS : COLUMN_AXIS + 2])
    return (rows, columns) if {rows, columns} <= {0, 1, 2} and rows != columns else (1, 0)


def _read_header(path: Path) -> npt.NDArray[np.uint8]:
    header = np.fromfile(path, np.uint8, HEADER_BYTES)
    if header.size < HEADER_BYTES:
        raise ValueError(f"an MRC header has {HEADER_BYTES} bytes")
    return header


def _has_signed_bytes(integers: npt.NDArray[np.int32], numbers: npt.NDArray[np.float32]) -> bool:
    """Tell whether mode 0 is signed: as MRC2014 says, unless IMOD's flags or the header's maximum say otherwise."""
    if integers[38] == IMOD_STAMP:
        return bool(integers[39] & IMOD_SIGNED_BYTES)
    smallest, largest = numbers[19:21]
    return not (smallest >= 0 and largest > MAX_SIGNED)
