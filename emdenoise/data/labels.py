"""Pixel labels of simulated graphene, painted from the known atoms."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from emdenoise.arrays import Mask
from emdenoise.data.records import DEFECT, LATTICE, VACUUM

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
    border = int(np.ceil(LATTICE_RADIUS_ANGSTROM / pixel_size_angstrom)) + 1
    is_empty = np.ones((size_px + 2 * border,) * 2, bool)
    indices = np.round(atoms).astype(int) + border
    indices = indices[((indices >= 0) & (indices < is_empty.shape[0])).all(axis=1)]
    is_empty[tuple(indices.T)] = False
    mask = np.full((size_px, size_px), VACUUM, np.uint8)
    if len(indices):
        distance = distance_transform_edt(is_empty)[border:-border, border:-border]
        mask[distance * pixel_size_angstrom <= LATTICE_RADIUS_ANGSTROM] = LATTICE
    for row, column, radius in defects:
        window = tuple(
            slice(max(0, int(centre - radius)), min(size_px, int(centre + radius) + 2)) for centre in (row, column)
        )
        rows, columns = np.ogrid[window]
        mask[window][(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = DEFECT
    return mask
