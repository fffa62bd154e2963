"""Particles one by one: touching ones are separated, and each is measured.

A network of workload `segment` says which pixels are particle. A chemist asks how many particles there are, and how
large. The metrics of particles and `emdenoise predict` take the answer from here, so that both count alike.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from emdenoise.arrays import Values, describe

Particles = npt.NDArray[np.int32]
"""Number of the particle of each pixel, shape (height, width); 0 for none."""
Table = dict[str, npt.NDArray[Any]]
"""Columns of one length, by name."""
MIN_AREA_PX = 9
"""Whatever has fewer pixels is a speck of noise: a shape of less than 3 × 3 px cannot be told."""
NECK_RATIO, NECK_PX = 1.2, 2.0
"""Two peaks of the distance are two particles where (smaller peak + NECK_PX) / (neck + NECK_PX) is at least the ratio.
The second number keeps the steps of single pixels from cutting small particles."""
CORNERS = np.ones((3, 3), np.bool_)
"""Pixels of a particle touch each other by their corners, too; those of a hole do not."""
NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.bool_)
ANGSTROM_PER_NM = 10.0


def separate_particles(mask: npt.NDArray[np.bool_]) -> Particles:
    """Give each particle of a mask a number; those that touch or overlap are cut at their necks.

    The watershed of the distance to the background (doi:10.1109/34.87344), flooded from the peaks of the logarithm of
    the distance that are separated by a neck: the thickness of a particle then does not matter. The border of the image
    is no edge of a particle.

    Parameters
    ----------
    mask : ndarray of bool, shape (height, width)
        Whether a pixel is particle.

    Returns
    -------
    ndarray of int32, shape (height, width)
        1, 2, … from top to bottom; 0 is background. A hole that one particle encloses belongs to it; a gap between
        several particles is background. Specks of fewer than 9 pixels are background.

    Raises
    ------
    ValueError
        If the mask is not of this type or shape.

    Examples
    --------
    >>> rows, columns = np.ogrid[:40, :60]
    >>> discs = [(rows - 20) ** 2 + (columns - centre) ** 2 < 144 for centre in (20, 39)]
    >>> int(separate_particles(discs[0] | discs[1]).max())
    2
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"mask is {describe(mask)}; expected bool (height, width)")
    if mask.all() or not mask.any():  # there is no distance to the background, or no peak
        return np.full(mask.shape, mask.sum() >= MIN_AREA_PX, np.int32)
    # A single pixel that a classifier missed would cut a particle; larger holes may be gaps between particles.
    filled = mask | ndimage.binary_erosion(mask, NEIGHBOURS)
    distance = ndimage.distance_transform_edt(filled)
    height = np.log(distance + NECK_PX)
    levels = reconstruction(height - np.log(NECK_RATIO), height, footprint=CORNERS)
    peaks, _ = ndimage.label(local_maxima(levels, connectivity=2) & filled, CORNERS)
    particles = watershed(-distance, peaks, mask=filled, connectivity=2)
    return _number(_fill_enclosed(_leave_out_specks(particles)))


def measure_particles(particles: Particles, pixel_size_angstrom: float | None = None) -> Table:
    """Measure each particle of an image.

    Parameters
    ----------
    particles : ndarray of int, shape (height, width)
        Number of the particle of each pixel, 0 for none; a number that is left out is no particle.
    pixel_size_angstrom : float or None
        Pixel size [Å]; None where it is not known.

    Returns
    -------
    dict of str to ndarray, shape (num_particles,)
        ``particle``, its number; ``area_px``; ``equivalent_diameter_px``, of the disc of that area;
        ``centroid_row_px`` and ``centroid_column_px``, from the centre of the first pixel; ``eccentricity`` of the
        ellipse of the same second moments, 0 for a disc; ``touches_border``, 1 where the border of the image cuts the
        particle, else 0. Where the pixel size is known also ``area_nm2``, ``equivalent_diameter_nm``,
        ``centroid_row_nm`` and ``centroid_column_nm``.

    Raises
    ------
    ValueError
        If the array is not of this type or shape.

    Examples
    --------
    >>> table = measure_particles(np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 2]]), 5.0)
    >>> table["area_px"].tolist(), table["touches_border"].tolist(), table["area_nm2"].tolist()
    ([4, 1], [0, 1], [1.0, 0.25])
    """
    if particles.ndim != 2 or not np.issubdtype(particles.dtype, np.integer):
        raise ValueError(f"particles are {describe(particles)}; expected integers (height, width)")
    rows, columns = np.nonzero(particles)
    numbers, members = np.unique(particles[rows, columns], return_inverse=True)
    area = np.bincount(members, minlength=len(numbers))
    row, column = (np.bincount(members, places, len(numbers)) / area for places in (rows, columns))
    edges = np.concatenate([particles[[0, -1]].ravel(), particles[:, [0, -1]].ravel()])
    table: Table = {
        "particle": numbers.astype(np.int64),
        "area_px": area.astype(np.int64),
        "equivalent_diameter_px": np.sqrt(4 * area / np.pi),
        "centroid_row_px": row,
        "centroid_column_px": column,
        "eccentricity": _find_eccentricity(members, rows - row[members], columns - column[members], area),
        "touches_border": np.isin(numbers, edges).astype(np.int64),
    }
    if pixel_size_angstrom is not None:
        step_nm = pixel_size_angstrom / ANGSTROM_PER_NM
        table["area_nm2"] = area * step_nm**2
        for name in ("equivalent_diameter", "centroid_row", "centroid_column"):
            table[f"{name}_nm"] = table[f"{name}_px"] * step_nm
    return table


def count_particles(particles: Particles) -> int:
    """Count the numbers of an image but 0, which is no particle."""
    return len(np.unique(particles[particles > 0]))


def _find_eccentricity(
    members: npt.NDArray[np.intp], rows: Values, columns: Values, area: npt.NDArray[np.intp]
) -> Values:
    """Find the eccentricity of the ellipses of the same second moments, from each pixel's place by its centroid."""
    down, right, both = (
        np.bincount(members, products, len(area)) / area for products in (rows**2, columns**2, rows * columns)
    )
    mean, spread = (down + right) / 2, np.hypot((down - right) / 2, both)  # the axes' variances are mean ± spread
    longer, shorter = mean + spread, np.maximum(mean - spread, 0)
    ratio = np.divide(shorter, longer, out=np.ones_like(longer), where=longer > 0)
    return np.sqrt(1 - ratio)


def _leave_out_specks(particles: Particles) -> Particles:
    is_speck = np.bincount(particles.ravel()) < MIN_AREA_PX
    return np.where(is_speck[particles], 0, particles)


def _fill_enclosed(particles: Particles) -> Particles:
    """Give each hole to the particle that alone encloses it."""
    holes, num_holes = ndimage.label(ndimage.binary_fill_holes(particles > 0) & (particles == 0))
    if num_holes == 0:
        return particles
    numbers = np.arange(1, num_holes + 1)
    nothing = np.iinfo(particles.dtype).max
    largest = ndimage.maximum(ndimage.grey_dilation(particles, footprint=CORNERS), holes, numbers)
    others = np.where(particles > 0, particles, nothing)
    smallest = ndimage.minimum(ndimage.grey_erosion(others, footprint=CORNERS), holes, numbers)
    owners = np.concatenate([[0], np.where(largest == smallest, largest, 0)]).astype(particles.dtype)
    return np.where(holes > 0, owners[holes], particles)


def _number(particles: Particles) -> Particles:
    """Give numbers without gaps, in the order of the first pixels."""
    numbers, firsts = np.unique(particles, return_index=True)
    order = np.argsort(firsts[numbers > 0])
    new = np.zeros(int(numbers[-1]) + 1, np.int32)
    new[numbers[numbers > 0][order]] = np.arange(1, len(order) + 1)
    return new[particles]
