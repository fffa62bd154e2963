"""Outlines of labels and particles over an image in grey: pictures that the report and `emdenoise predict` share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import find_boundaries

from emdenoise.arrays import FloatImage

GREY_PERCENTILES = (0.1, 99.9)
PX_PER_LINE_WIDTH = 1024
"""An outline grows by a pixel to each side for each so many pixels of the longer side of the image."""
Colour = tuple[int, int, int]
"""Red, green and blue."""
Picture = npt.NDArray[np.uint8]
"""Shape (height, width, 3): red, green and blue."""


class Outlines(NamedTuple):
    """Regions whose outlines are drawn in one colour.

    Attributes
    ----------
    regions : ndarray of int, shape (height, width)
        Number or label of the region of each pixel, 0 for none.
    colour : (int, int, int)
    is_wide : bool
        Whether the line is one pixel wider to each side.
    """

    regions: npt.NDArray[np.integer[Any]]
    colour: Colour
    is_wide: bool = False


def draw_outlines(image: FloatImage, layers: Sequence[Outlines], longer_side_px: int | None = None) -> Picture:
    """Draw outlines over an image in grey; later ones cover earlier ones.

    Outlines are inside of their regions, so that those of touching regions lie side by side. However small the picture
    is, no outline is lost.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    layers : sequence of Outlines
    longer_side_px : int or None
        Pixels of the longer side of the picture; None for those of the image.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Examples
    --------
    >>> particle = np.pad(np.ones((3, 3), np.int32), 1)
    >>> picture = draw_outlines(np.zeros((5, 5), np.float32), [Outlines(particle, (255, 0, 0))])
    >>> picture[..., 0].tolist()[2]
    [0, 255, 0, 255, 0]
    """
    scale = 1.0 if longer_side_px is None else longer_side_px / max(image.shape)
    height, width = (max(1, round(scale * side)) for side in image.shape)
    low, high = np.percentile(image, GREY_PERCENTILES)
    shown = _shrink(image, height, width) if scale < 1 else _enlarge(image, height, width)
    grey = np.clip((shown - low) / (high - low if high > low else 1.0), 0, 1)
    picture = np.repeat((255 * grey).round().astype(np.uint8)[..., None], 3, axis=-1)
    num_more = max(height, width) // PX_PER_LINE_WIDTH
    for regions, colour, is_wide in layers:
        if scale < 1:
            is_line = _shrink(find_boundaries(regions, mode="inner"), height, width) > 0
        else:
            is_line = find_boundaries(_enlarge(regions, height, width), mode="inner")
        iterations = num_more + is_wide
        picture[ndimage.binary_dilation(is_line, iterations=iterations) if iterations else is_line] = colour
    return picture


def _enlarge(image: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Repeat pixels."""
    rows, columns = (np.arange(new) * old // new for new, old in zip((height, width), image.shape, strict=True))
    return image if image.shape == (height, width) else image[np.ix_(rows, columns)]


def _shrink(image: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.float64]:
    """Average the pixels that become one."""
    means = image
    for axis, size in enumerate((height, width)):
        starts = np.arange(size) * image.shape[axis] // size
        num_pixels = np.diff([*starts, image.shape[axis]])
        sums = np.add.reduceat(means, starts, axis=axis, dtype=np.float64)
        means = sums / (num_pixels[:, None] if axis == 0 else num_pixels)
    return means
