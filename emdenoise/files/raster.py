"""Reading .png and .jpg with Pillow; nothing else in the package imports it to read."""

from pathlib import Path

import numpy as np

from emdenoise.errors import DataError
from emdenoise.files.signals import Signal

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Read with Pillow; the reader of RosettaSciIO takes one colour channel where green and blue are equal."""
PNG_START, PNG_BITS_OFFSET = b"\x89PNG", 24
PNG_COLOURS = (2, 4, 6)
"""Kinds of colour in a PNG header that Pillow reduces to 8 bits: RGB, grey with opacity, RGB with opacity."""

EXIF_ORIENTATION, AS_STORED = 274, 1


def load_raster(path: Path, *, as_labels: bool) -> list[Signal]:
    """Read an image in grey or colour, or the labels of a palette.

    Raises
    ------
    DataError
        If Pillow would change the values: of 16 bits a colour, of a palette of colours, of several frames. If programs
        differ about which way is up.
    """
    from PIL import Image

    name = f"{path.parent.name}/{path.name}"
    num_bits, kind = _read_png_header(path)
    if num_bits == 16 and kind in PNG_COLOURS:
        raise DataError(f"{name}: a PNG of 16 bits in each colour, of which 8 can be read; save it as 16-bit .tif.")
    with Image.open(path) as file:
        if (orientation := file.getexif().get(EXIF_ORIENTATION, AS_STORED)) != AS_STORED:
            raise DataError(
                f"{name}: says in its EXIF notes (orientation {orientation}) that it shall be turned, which not all "
                "programs do; expected an image as it is stored; turn it and save it as .tif."
            )
        if getattr(file, "n_frames", 1) > 1 and file.format == "PNG":
            raise DataError(f"{name}: an animation; expected one image; save its frames as .tif.")
        if file.mode in ("1", "L", "I", "F") or file.mode.startswith("I;") or (as_labels and file.mode == "P"):
            data = np.asarray(file)
        elif file.mode == "P":
            colours = np.asarray(file.convert("RGB"))
            if (colours != colours[..., :1]).any():
                raise DataError(f"{name}: false colours of a palette; expected intensities; save the image in grey.")
            data = colours[..., 0]
        else:
            data = np.asarray(file.convert("L" if file.mode == "LA" else "RGB"))
    if num_bits in (2, 4) and kind == 0:
        data = data // (255 // (2**num_bits - 1))  # Pillow stretches grey of few bits to 0 … 255
    return [Signal(data, axes=({}, {}), is_colour=data.ndim == 3)]


def _read_png_header(path: Path) -> tuple[int, int]:
    """Read the number of bits and the kind of colour; both 0 where the file is no PNG."""
    with path.open("rb") as file:
        header = file.read(PNG_BITS_OFFSET + 2)
    is_png = header.startswith(PNG_START) and len(header) == PNG_BITS_OFFSET + 2
    return (header[PNG_BITS_OFFSET], header[PNG_BITS_OFFSET + 1]) if is_png else (0, 0)
