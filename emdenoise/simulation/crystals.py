"""Specimens of many materials: slabs, particles, grain boundaries and films, as atoms above the field of view.

A specimen is an `ase.Atoms` in a box: x and y are the rows and columns of the image, the beam goes along z, and all
atoms lie between z = 0 and the height of the box. The lattice need not fit the box, so the border of the field is no
specimen and is cut off later.
"""

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from emdenoise.simulation.materials import Material, build_cell, count_per_volume, find_spacing, list_numbers

ZONE_AXES = {
    "cubic": ((0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 1, 2), (0, 1, 2)),
    "tetragonal": ((0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1)),
    "hexagonal": ((0, 0, 1), (1, 0, 0), (1, 2, 0), (1, 1, 1)),
}
"""Directions of the lattice along which microscopists look, by family."""
FACETS = {
    "cubic": ((1, 0, 0), (1, 1, 0), (1, 1, 1)),
    "tetragonal": ((0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1)),
    "hexagonal": ((0, 0, 1), (1, 0, 0), (1, 0, 1)),
}
"""Planes that bound particles, by family; those that symmetry makes of them belong to each."""
CLOSEST_SHARE = 0.7
"""Atoms nearer to one of another grain than this share of the usual distance leave."""
NUM_RELAXATIONS = 6

Points = npt.NDArray[np.float64]


def orient(material: Material, zone_axis: Sequence[int], *, turn_deg: float, tilt: Rotation) -> Rotation:
    """Find the rotation that brings a direction of the lattice along the beam.

    Parameters
    ----------
    material : Material
    zone_axis : sequence of int, shape (3,)
        Direction in units of the cell vectors.
    turn_deg : float
        By how much the crystal is turned about the beam, afterwards [deg].
    tilt : scipy.spatial.transform.Rotation
        What is added last; ``Rotation.identity()`` leaves the crystal in its zone axis.

    Examples
    --------
    >>> from emdenoise.simulation.materials import MATERIALS
    >>> up = orient(MATERIALS["Si"], (1, 1, 0), turn_deg=20, tilt=Rotation.identity()).apply([1, 1, 0])
    >>> np.round(up, 6) + 0.0
    array([0.      , 0.      , 1.414214])
    """
    direction = np.asarray(zone_axis, float) @ build_cell(material).cell.array
    direction /= np.linalg.norm(direction)
    azimuth, polar = np.arctan2(direction[1], direction[0]), np.arccos(np.clip(direction[2], -1, 1))
    upright = Rotation.from_euler("y", -polar) * Rotation.from_euler("z", -azimuth)
    return tilt * Rotation.from_euler("z", turn_deg, degrees=True) * upright


def cut_block(material: Material, rotation: Rotation, size_angstrom: Sequence[float], shift: npt.ArrayLike) -> Atoms:
    """Cut a block with sides along x, y and z out of an endless crystal.

    Parameters
    ----------
    material : Material
        A crystal.
    rotation : scipy.spatial.transform.Rotation
        How it lies.
    size_angstrom : sequence of float, shape (3,)
        Sides of the block, which is the box [Å].
    shift : sequence of float, shape (3,)
        Where the crystal begins, in units of its cell.

    Returns
    -------
    ase.Atoms
    """
    cell = build_cell(material)
    vectors = rotation.apply(cell.cell.array)
    size = np.asarray(size_angstrom, float)
    corners = np.array(list(product((0.0, 1.0), repeat=3))) * size
    reach = corners @ np.linalg.inv(vectors)
    ranges = [
        np.arange(low, high) for low, high in zip(np.floor(reach.min(0)) - 2, np.ceil(reach.max(0)) + 2, strict=True)
    ]
    nodes = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3) @ vectors
    slack = np.linalg.norm(vectors, axis=1).sum()
    nodes = nodes[((nodes > -slack) & (nodes < size + slack)).all(1)]
    positions, numbers = [], []
    for site, number in zip(cell.get_scaled_positions() + np.asarray(shift) % 1, cell.numbers, strict=True):
        points = nodes + site @ vectors
        points = points[((points >= 0) & (points < size)).all(1)]
        positions.append(points)
        numbers.append(np.full(len(points), number))
    return Atoms(np.concatenate(numbers), np.concatenate(positions), cell=size)


def list_facets(material: Material, indices: Sequence[int]) -> Points:
    """List the unit normals of a plane and of all that symmetry makes of it, as the crystal's cell lies.

    Returns
    -------
    ndarray of float64, shape (num_facets, 3)

    Examples
    --------
    >>> from emdenoise.simulation.materials import MATERIALS
    >>> [len(list_facets(MATERIALS["Au"], plane)) for plane in FACETS["cubic"]]
    [6, 12, 8]
    """
    normal = np.asarray(indices, float) @ build_cell(material).cell.reciprocal()
    if material.family == "cubic":
        order = np.array([[*places] for places in permutations(range(3))])
        signs = np.array(list(product((-1, 1), repeat=3)))
        normals = (normal[order][:, None] * signs).reshape(-1, 3)
    else:
        num_turns = 4 if material.family == "tetragonal" else 6
        turns = Rotation.from_euler("z", np.arange(num_turns)[:, None] * 360 / num_turns, degrees=True)
        normals = np.concatenate([turns.apply(normal * [1, 1, sign]) for sign in (-1, 1)])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.unique(np.round(normals, 9) + 0.0, axis=0)


def cut_particle(
    material: Material, rotation: Rotation, distances_angstrom: Sequence[float], shift: npt.ArrayLike
) -> Atoms:
    """Cut a particle that facets bound: Wulff's construction for surface energies in proportion to these distances.

    Parameters
    ----------
    material : Material
        A crystal.
    rotation : scipy.spatial.transform.Rotation
    distances_angstrom : sequence of float
        Of each family of `FACETS` from the centre [Å].
    shift : sequence of float, shape (3,)

    Returns
    -------
    ase.Atoms
        In a box that holds it, whose middle is the centre of the particle.
    """
    families = FACETS[material.family]
    side = 2 * max(distances_angstrom) * np.sqrt(3)
    atoms = cut_block(material, rotation, 3 * [side], shift)
    from_centre = atoms.positions - side / 2
    is_inside = np.ones(len(atoms), bool)
    for plane, distance in zip(families, distances_angstrom, strict=True):
        is_inside &= (from_centre @ rotation.apply(list_facets(material, plane)).T <= distance).all(1)
    return atoms[is_inside]


def fill_with_glass(material: Material, size_angstrom: Sequence[float], rng: np.random.Generator) -> Atoms:
    """Fill a block with atoms at random, pushed apart until hardly any are closer than neighbours in a glass.

    Parameters
    ----------
    material : Material
        Its formula and density count; a crystal becomes a glass of its own density.
    size_angstrom : sequence of float, shape (3,)
    rng : numpy.random.Generator
    """
    size = np.asarray(size_angstrom, float)
    density = count_per_volume(material)
    points = rng.uniform(0, size, (rng.poisson(density * size.prod()), 3))
    nearest = 0.85 * density ** (-1 / 3)
    for _ in range(NUM_RELAXATIONS):
        pairs = cKDTree(points).query_pairs(nearest, output_type="ndarray")
        if not len(pairs):
            break
        between = points[pairs[:, 1]] - points[pairs[:, 0]]
        length = np.linalg.norm(between, axis=1, keepdims=True) + 1e-9
        push = between / length * (nearest - length) / 2
        for axis in range(3):
            points[:, axis] -= np.bincount(pairs[:, 0], push[:, axis], len(points))
            points[:, axis] += np.bincount(pairs[:, 1], push[:, axis], len(points))
        points = np.clip(points, 0, np.nextafter(size, 0))
    return Atoms(rng.choice(list_numbers(material), len(points)), points, cell=size)


def join_grains(first: Atoms, second: Atoms, is_second: npt.NDArray[np.bool_], spacing_angstrom: float) -> Atoms:
    """Put two grains of one box together.

    Parameters
    ----------
    first, second : ase.Atoms
        Each fills the box as far as it goes; `first` gives way where the two meet.
    is_second : ndarray of bool, shape (len(first),)
        Which atoms of the first grain lie in the region of the second.
    spacing_angstrom : float
        Distance of neighbours [Å].
    """
    first = first[~is_second]
    if len(first) and len(second):
        distance, _ = cKDTree(second.positions).query(first.positions, distance_upper_bound=spacing_angstrom)
        first = first[distance >= CLOSEST_SHARE * spacing_angstrom]
    return first + second


def remove_at_random(atoms: Atoms, share: float, rng: np.random.Generator) -> Atoms:
    """Leave vacancies: take each atom away with this probability."""
    return atoms[rng.random(len(atoms)) >= share]


def measure_neighbours(atoms: Atoms, material: Material) -> npt.NDArray[np.int64]:
    """Count the neighbours of each atom within 1.15 of the smallest distance of the material."""
    tree = cKDTree(atoms.positions)
    reach = 1.15 * find_spacing(material)
    return np.array([len(found) - 1 for found in tree.query_ball_point(atoms.positions, reach)])
