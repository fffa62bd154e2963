"""Putting the intensity of a file into [0, 1] and back into its own units, to the bit.

The factor is a power of two, so that scaling changes no digit. An offset is taken off only where values are negative;
counts keep their zero, which the statistics of electrons need.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from emdenoise.arrays import FloatImage

TAIL_PERCENT = 0.1
"""Share of the pixels at either end that does not decide the scale of a noisy image: hot pixels and X-rays [%]."""


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
    """Choose one scale for all images of a file and for their truth.

    Truth comes into [0, 1]. Of noisy images without truth the brightest and darkest 0.1 % may lie outside.

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
    offset, high = min(0.0, *lows), max(highs)
    if high <= offset:  # hardly any pixel of the image has counted
        high = max(float(image.max()) for image in (*noisy, *clean))
    if high <= offset:
        return IntensityScale(offset)
    mantissa, exponent = math.frexp(high - offset)
    return IntensityScale(offset, math.ldexp(1.0, -exponent + (mantissa == 0.5)))


def _find_percentile(image: FloatImage, percent: float) -> float:
    """Find a value of the image itself, rounded towards its middle."""
    return float(np.percentile(image, percent, method="higher" if percent < 50 else "lower"))
