"""Pixel labels of simulated graphene, painted from the known atoms."""

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Mask
from emdenoise.dataset.record import DEFECT, LATTICE, VACUUM

LATTICE_RADIUS_ANGSTROM = 1.75
"""Reaches the centre of a hexagon (1.42 Å from its atoms) and not that of a pore."""


def paint_mask(
    atoms: npt.NDArray[np.floating], defects: npt.NDArray[np.floating], *, size_px: int, pixel_size_angstrom: float
) -> Mask:
    """Label each pixel as vacuum, lattice or defect.

    Parameters
    ----------
    atoms : ndarray of float, shape (num_atoms, 2)
        Row and column of each atom [px]; may lie outside the image.
    defects : ndarray of float, shape (num_sites, 3)
        Row, column and radius of the discs of the defects [px].
    size_px : int
        Side of the image [px].
    pixel_size_angstrom : float
        Pixel size [Å].

    Returns
    -------
    ndarray of uint8, shape (size_px, size_px)
        `VACUUM`, `LATTICE` or `DEFECT`.

    Examples
    --------
    >>> paint_mask(np.array([[4.0, 4.0]]), np.empty((0, 3)), size_px=8, pixel_size_angstrom=1.0)[4]
    array([0, 0, 0, 1, 1, 1, 0, 0], dtype=uint8)
    """
    mask = np.full((size_px, size_px), VACUUM, np.uint8)
    mask[_find_near(atoms, size_px=size_px, radius_px=LATTICE_RADIUS_ANGSTROM / pixel_size_angstrom)] = LATTICE
    for row, column, radius in defects:
        window = tuple(
            slice(max(0, int(centre - radius)), min(size_px, int(centre + radius) + 2)) for centre in (row, column)
        )
        rows, columns = np.ogrid[window]
        mask[window][(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = DEFECT
    return mask


def _find_near(points: npt.NDArray[np.floating], *, size_px: int, radius_px: float) -> npt.NDArray[np.bool_]:
    """Find the pixels within a radius of the pixel of any point: discs as runs of pixels, which add up row by row.

    The same pixels as by the distance transform of the image, in a third of its time.
    """
    reach = int(np.ceil(radius_px)) + 1
    side = size_px + 4 * reach  # a disc at the border of what is looked at still fits
    centres = np.round(points).astype(int) + 2 * reach
    centres = centres[((centres >= reach) & (centres < side - reach)).all(axis=1)]
    steps = np.arange(-reach, reach + 1)
    disc = steps[:, None] ** 2 + steps**2 <= radius_px**2
    rows_of_disc, halves = steps[disc.any(axis=1)], disc[disc.any(axis=1)].sum(axis=1) // 2
    middles = (centres[:, :1] + rows_of_disc) * side + centres[:, 1:]
    starts, ends = (
        np.bincount(places.ravel(), minlength=side**2) for places in (middles - halves, middles + halves + 1)
    )
    is_near = np.cumsum(starts - ends).reshape(side, side) > 0
    return is_near[2 * reach : -2 * reach, 2 * reach : -2 * reach]
