"""Putting the intensity of a file into [0, 1] and back into its own units, to the bit.

The factor is a power of two, so that scaling changes no digit. An offset is taken off only where values are negative;
counts keep their zero, which the statistics of electrons need.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, describe
from emdenoise.errors import DataError

TAIL_PERCENT = 0.1
"""Share of the pixels at either end that does not decide the scale of a noisy image: hot pixels and X-rays [%]."""
SMALLEST_RANGE = 2.0**-126
"""Below it float32 lacks digits, and the factor that brings it to 1 is infinite."""
LARGEST_STORED = 2.0**100
"""No pixel is stored as more than this, which leaves a network room for its own products."""
BLOCK_PIXELS = 2**22
"""Pixels of a large image that are handled at once."""

RANGE_IN_DEVIATIONS = 8
"""Standard deviations of a noisy image that `choose_contrast` brings into [0, 1]."""
MAX_EXPONENT = 126
"""Of the factor of a scale, which is a float32: an image of smaller values than 2⁻¹²⁶ does not fill [0, 1]."""
SMALLEST = float(np.finfo(np.float32).tiny)
"""Values below it have fewer digits."""


class RowImage(Protocol):
    """An image that may be larger than the memory and is read by rows: an array, or what reads a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width [px]."""

    def __getitem__(self, rows: slice, /) -> FloatImage:
        """Read some rows, float32 (num_rows, width)."""


def read_blocks(image: RowImage) -> Iterator[tuple[slice, FloatImage]]:
    """Read an image, whole rows at a time; gives the rows and their pixels."""
    height, width = image.shape
    num_rows = max(1, BLOCK_PIXELS // width)
    for row in range(0, height, num_rows):
        rows = slice(row, min(row + num_rows, height))
        yield rows, image[rows]


@dataclass(frozen=True)
class IntensityScale:
    """How the intensity of a file was scaled: stored = (own - offset) · scale.

    Attributes
    ----------
    offset : float
        In the units of the file.
    scale : float
        Factor from the file's own intensity to the stored one; for files a power of two.
    """

    offset: float = 0.0
    scale: float = 1.0

    @classmethod
    def from_window(cls, low: float, high: float) -> Self:
        """Make the scale that stores `low` as 0 and `high` as 1."""
        return cls(low, 1 / (high - low))

    def apply(self, image: FloatImage) -> FloatImage:
        """Scale an image, float32 (height, width), for storage."""
        return ((image - np.float32(self.offset)) * np.float32(self.scale)).astype(np.float32)

    def restore(self, stored: FloatImage) -> FloatImage:
        """Bring a stored image back to the units of its file.

        Exact where the offset is 0 or the values are whole numbers below 2²⁴, else to one float32 rounding.
        """
        return (stored / np.float32(self.scale) + np.float32(self.offset)).astype(np.float32)

    def to_attributes(self) -> dict[str, float]:
        """Give what a record stores of it."""
        return {"intensity_offset": self.offset, "intensity_scale": self.scale}


def choose_scale(noisy: Sequence[FloatImage], clean: Sequence[FloatImage] = ()) -> IntensityScale:
    """Choose one scale for all images of a file.

    Clean images come into [0, 1]. Of noisy ones the brightest and darkest 0.1 % may lie outside.

    Parameters
    ----------
    noisy, clean : sequence of ndarray of float32, shape (height, width)
        In the units of the file.

    Returns
    -------
    IntensityScale
        So that the largest value considered is at least 0.5 and at most 1.

    Examples
    --------
    >>> choose_scale([np.array([[0, 100], [200, 130]], np.float32)])
    IntensityScale(offset=0.0, scale=0.00390625)
    """
    lows = [_find_percentile(image, TAIL_PERCENT) for image in noisy] + [float(image.min()) for image in clean]
    highs = [_find_percentile(image, 100 - TAIL_PERCENT) for image in noisy] + [float(image.max()) for image in clean]
    return _make_scale(min(0.0, *lows), max(highs), max(float(image.max()) for image in (*noisy, *clean)))


def choose_scale_by_blocks(images: Sequence[RowImage]) -> IntensityScale:
    """Choose the scale of noisy images that are larger than the memory, the same as `choose_scale`."""
    tails = [_find_tails(partial(_read_values, image)) for image in images]
    lows, highs, largest = zip(*tails, strict=True)
    return _make_scale(min(0.0, *lows), max(highs), max(largest))


def keep_scale(
    images: Sequence[RowImage], scale: IntensityScale, bounds: tuple[float, float], *, name: str, source: str
) -> tuple[IntensityScale, ...]:
    """Give each image the scale of a source whose images all have the same one.

    Raises
    ------
    DataError
        If a value is out of the source's bounds.
    """
    low, high = bounds
    for block in (block for image in images for block in _read_values(image)):
        if block.min() < low or block.max() > high:
            raise DataError(
                f"{name}: {describe(block)} with values from {block.min():g} to {block.max():g}; the network was "
                f"trained with source {source}, from {low:g} to {high:g}; bring the image to that scale."
            )
    return len(images) * (scale,)


def choose_window(image: RowImage, window: tuple[float, float], *, name: str) -> IntensityScale:
    """Choose the contrast window around the mean, which for a thin specimen is the intensity of vacuum.

    Raises
    ------
    DataError
        If the mean is not above 0, or so small that its inverse is no float32.
    """
    total = sum(float(block.sum(dtype=np.float64)) for block in _read_values(image))
    mean = total / (image.shape[0] * image.shape[1])
    if mean <= SMALLEST:
        raise DataError(
            f"{name}: its mean intensity is {mean:g}; expected counts, above 0, since the network knows intensities "
            "relative to vacuum; undo the subtraction of the background."
        )
    return IntensityScale.from_window(window[0] * mean, window[1] * mean)


def choose_contrast(image: RowImage) -> IntensityScale:
    """Choose the scale of a noisy image from its mean and standard deviation, without its tails.

    The mean is stored near 0.5, and 0 and 1 are some four standard deviations away. So gain and offset of the detector
    drop out, and a faint pattern on a bright ground is stored as large as one on a dark ground. The factor is a power
    of two, and the offset a multiple of a sixteenth of the range, so that counts come back to the bit.

    Examples
    --------
    >>> image = np.random.default_rng(0).poisson(100, (64, 64)).astype(np.float32)
    >>> choose_contrast(image) == choose_contrast(image)
    True
    >>> scale = choose_contrast(image)
    >>> bool(abs(scale.apply(image).mean() - 0.5) < 0.04), scale.scale
    (True, 0.015625)
    """
    low, high, largest = _find_tails(partial(_read_values, image))
    num_pixels = image.shape[0] * image.shape[1]
    middle = (low + high) / 2
    mean = middle + sum(_sum_clipped(block, low, high, middle, 1) for block in _read_values(image)) / num_pixels
    variance = sum(_sum_clipped(block, low, high, mean, 2) for block in _read_values(image)) / num_pixels
    if not variance > SMALLEST_RANGE**2:  # hardly any pixel has counted
        return _make_scale(min(0.0, low), high, largest)
    exponent = min(round(-math.log2(RANGE_IN_DEVIATIONS * math.sqrt(variance))), MAX_EXPONENT)
    if (largest - low) * 2.0**exponent > LARGEST_STORED:
        return _make_scale(min(0.0, low), high, largest)
    scale = math.ldexp(1.0, exponent)
    step = 1 / (16 * scale)
    return IntensityScale(float(np.float32(round((mean - 0.5 / scale) / step) * step)), scale)


def _sum_clipped(block: FloatImage, low: float, high: float, middle: float, power: int) -> float:
    """Sum a power of the distances from the middle, in double precision."""
    return float(((np.clip(block, low, high).astype(np.float64) - middle) ** power).sum())


def _read_values(image: RowImage) -> Iterator[FloatImage]:
    return (block for _, block in read_blocks(image))


def _make_scale(offset: float, high: float, largest: float) -> IntensityScale:
    smallest = max(SMALLEST_RANGE, (largest - offset) / LARGEST_STORED)
    if high - offset < smallest:  # hardly any pixel of the image has counted, or one beyond all others would overflow
        high = largest
    if high - offset < SMALLEST_RANGE:
        return IntensityScale(offset)
    mantissa, exponent = math.frexp(high - offset)
    return IntensityScale(offset, math.ldexp(1.0, min(-exponent + (mantissa == 0.5), MAX_EXPONENT)))


def _find_percentile(image: FloatImage, percent: float) -> float:
    """Find a value of the image itself, rounded towards its middle."""
    return float(np.percentile(image, percent, method="higher" if percent < 50 else "lower"))


def _find_tails(read: Callable[[], Iterable[FloatImage]]) -> tuple[float, float, float]:
    """Find what `_find_percentile` gives for both ends, and the largest value, without sorting.

    The bits of floats, as whole numbers, are in the order of the floats: their upper half is counted, then the lower
    half of those that share the upper half of the pixel that is looked for.
    """
    upper = np.sum([np.bincount(_order(block) >> 16, minlength=2**16) for block in read()], axis=0)
    last = np.float32(int(np.sum(upper)) - 1)
    share_low, share_high = (np.float32(percent) / np.float32(100) for percent in (TAIL_PERCENT, 100 - TAIL_PERCENT))
    found = []
    for rank in (int(np.ceil(last * share_low)), int(np.floor(last * share_high)), int(np.sum(upper)) - 1):
        place = int(np.searchsorted(np.cumsum(upper), rank, side="right"))
        before = int(np.sum(upper[:place]))
        keys = (_order(block) for block in read())
        lower = np.sum([np.bincount(block[block >> 16 == place] & 0xFFFF, minlength=2**16) for block in keys], axis=0)
        key = place << 16 | int(np.searchsorted(np.cumsum(lower), rank - before, side="right"))
        bits = key - 2**31 if key >= 2**31 else 2**32 - 1 - key
        found.append(float(np.uint32(bits).view(np.float32)))
    return found[0], found[1], found[2]


def _order(block: FloatImage) -> npt.NDArray[np.uint32]:
    """Turn floats into whole numbers of the same order."""
    bits = np.ascontiguousarray(block, np.float32).ravel().view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
