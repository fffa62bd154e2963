"""Reading micrographs and label images of any format, in the units of the file.

`readers` gives the arrays of a file, `signals` says which of them are images of the specimen. Putting the intensity
into [0, 1] is `intensity`, cutting is `tiles`, what belongs together is `folder`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emdenoise.arrays import FloatImage, Mask
from emdenoise.errors import DataError
from emdenoise.files.readers import has_reader, load_signals
from emdenoise.files.signals import LUMINANCE, Signal, explain_no_image, find_pixel_size, split_frames

MAX_LABEL = 255


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
        File name, with the signal and the number of the frame where the file holds several images.
    signal : str
        Which detector or map of the file it is, ``""`` where the file holds one. Signals have intensities of their own.
    """

    image: FloatImage
    pixel_size_angstrom: float | None
    name: str
    signal: str = ""


def is_image_file(path: Path) -> bool:
    """Tell by the ending of its name whether a file is of a format that `read_micrographs` reads.

    Examples
    --------
    >>> is_image_file(Path("sample.DM4")), is_image_file(Path("notes.txt"))
    (True, False)
    """
    return has_reader(path)


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
        At least one, signal by signal; the frames of a stack one by one. All are of one specimen.

    Raises
    ------
    DataError
        If the file is damaged or holds no real-space image, pixels are not square, or a value is not finite.
    PackageError
        If its compression needs a package that is not installed.
    """
    micrographs = []
    signals = _keep_images(path, load_signals(path, as_labels=False))
    for signal, title in zip(signals, name_signals([signal.title for signal in signals]), strict=True):
        pixel_size_angstrom = find_pixel_size(signal, _name(path))
        frames = split_frames(signal)
        for index, frame in enumerate(frames):
            parts = [path.name, title, f"frame {index}" if len(frames) > 1 else ""]
            name = " ".join(part for part in parts if part)
            with np.errstate(over="ignore"):  # becomes infinite and is refused below
                image = (frame @ np.array(LUMINANCE) if signal.is_colour else frame).astype(np.float32)
            check_values([image], f"{path.parent.name}/{name}")
            micrographs.append(Micrograph(image, pixel_size_angstrom, name, title))
    return micrographs


def name_signals(titles: Sequence[str]) -> list[str]:
    """Give each of several signals a name of its own; one alone needs none.

    Examples
    --------
    >>> name_signals(["HAADF"]), name_signals(["BF", "", "BF"])
    ([''], ['BF', 'signal 2', 'BF 2'])
    """
    if len(titles) == 1:
        return [""]
    names: list[str] = []
    for number, title in enumerate(titles, start=1):
        name, count = title or f"signal {number}", 2
        while name in names:
            name, count = f"{title} {count}", count + 1
        names.append(name)
    return names


def check_values(blocks: Iterable[FloatImage], name: str) -> None:
    """Check that the pixels of an image, block by block, are numbers that can be scaled.

    Raises
    ------
    DataError
        If a value is not finite, or the largest one is too small for float32 to hold all its digits.
    """
    num_wrong, largest = 0, 0.0
    for block in blocks:
        num_wrong += int(np.count_nonzero(~np.isfinite(block)))
        largest = max(largest, float(np.abs(block).max(initial=0, where=np.isfinite(block))))
    if num_wrong:
        raise DataError(
            f"{name}: {num_wrong} pixels are NaN or infinite; all must be finite; repair the image or remove the file."
        )
    if 0 < largest < np.finfo(np.float32).tiny:
        raise DataError(
            f"{name}: its largest value is {largest:g}, which float32 cannot hold with all digits; the bytes may be in "
            "another order; write the image anew, or multiply it."
        )


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
    for signal in _keep_images(path, load_signals(path, as_labels=True)):
        for frame in split_frames(signal):
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


def _keep_images(path: Path, signals: Sequence[Signal]) -> list[Signal]:
    reasons = [explain_no_image(signal) for signal in signals]
    images = [signal for signal, reason in zip(signals, reasons, strict=True) if not reason]
    if not images:
        raise DataError(
            f"{_name(path)}: holds {' and '.join(dict.fromkeys(reasons)) or 'no image'}; "
            "expected an image of the specimen or a stack of them; remove the file."
        )
    grey = [signal for signal in images if not signal.is_colour]
    return grey or images
