"""Defective graphene as atoms: the specimens that the microscope of this benchmark looks at.

Atoms only, at their mean positions: how heat smears them is in `potential.py`, how they are imaged in `microscope.py`.
Structures are geometric, not relaxed: the forces that would move atoms around a defect are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.spatial import cKDTree

LATTICE_CONSTANT_ANGSTROM = 2.46
BOND_LENGTH_ANGSTROM = LATTICE_CONSTANT_ANGSTROM / np.sqrt(3)
ADATOM_HEIGHT_ANGSTROM = 1.87  # carbon on a bridge site, doi:10.1103/PhysRevLett.91.017202

Points = npt.NDArray[np.float64]
NO_DEFECTS = np.empty((0, 3))


@dataclass(frozen=True)
class Sheet:
    """A square carbon sheet and where it deviates from the perfect lattice.

    Attributes
    ----------
    side_angstrom : float
        Side of the square [Å].
    angle : float
        Rotation of the lattice [rad].
    positions : ndarray of float64, shape (num_atoms, 3)
        Row, column and height of each atom [Å].
    defects : ndarray of float64, shape (num_sites, 3)
        Row, column and radius of each disc that belongs to a defect [Å].
    """

    side_angstrom: float
    angle: float
    positions: Points
    defects: Points

    @property
    def flat(self) -> Points:
        """Row and column of each atom [Å], shape (num_atoms, 2)."""
        return self.positions[:, :2]


def make_lattice(side_angstrom: float, angle: float, offset: Points) -> Sheet:
    """Cover a square with perfect graphene.

    Parameters
    ----------
    side_angstrom : float
        Side of the square [Å].
    angle : float
        Rotation of the lattice [rad].
    offset : ndarray of float64, shape (2,)
        Shift of the lattice [Å].

    Returns
    -------
    Sheet
        Flat, at height 0; every atom lies in [0, side) in both directions.
    """
    first = np.array([LATTICE_CONSTANT_ANGSTROM, 0.0])
    second = LATTICE_CONSTANT_ANGSTROM * np.array([0.5, np.sqrt(3) / 2])
    reach = int(np.ceil(1.2 * side_angstrom / LATTICE_CONSTANT_ANGSTROM)) + 2
    steps = np.stack(np.meshgrid(*2 * [np.arange(-reach, reach + 1)], indexing="ij"), axis=-1).reshape(-1, 2)
    cells = steps @ np.stack([first, second])
    flat = np.concatenate([cells, cells + (first + second) / 3])
    flat = flat @ _rotation(-angle) + side_angstrom / 2 + offset
    flat = flat[((flat >= 0) & (flat < side_angstrom)).all(axis=1)]
    return Sheet(side_angstrom, angle, np.column_stack([flat, np.zeros(len(flat))]), NO_DEFECTS)


def _rotation(angle: float) -> Points:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _choose_inner_point(sheet: Sheet, rng: np.random.Generator) -> Points:
    """Draw a point of the inner 70 % of the square, so that the defect is in the picture."""
    return rng.uniform(0.15 * sheet.side_angstrom, 0.85 * sheet.side_angstrom, 2)


def _choose_bond(sheet: Sheet, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw two neighbouring atoms; returns their indices, shape (2,)."""
    tree = cKDTree(sheet.flat)
    atom = tree.query(_choose_inner_point(sheet, rng))[1]
    pair: npt.NDArray[np.intp] = tree.query(sheet.flat[atom], k=2)[1]
    return pair


def _as_discs(centres: list[Points], radius_angstrom: float) -> Points:
    return np.array([[*centre, radius_angstrom] for centre in centres])


def _remove_dangling_atoms(sheet: Sheet) -> Sheet:
    """Remove atoms with fewer than two neighbours, until none is left but at the border of the square."""
    reach = 1.3 * BOND_LENGTH_ANGSTROM
    while True:
        num_neighbours = cKDTree(sheet.flat).query_ball_point(sheet.flat, reach, return_length=True) - 1
        is_inner = ((sheet.flat > reach) & (sheet.flat < sheet.side_angstrom - reach)).all(axis=1)
        keep = (num_neighbours >= 2) | ~is_inner
        if keep.all():
            return sheet
        sheet = replace(sheet, positions=sheet.positions[keep])


def leave_pristine(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """Leave the lattice perfect."""
    return sheet


def add_vacancies(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """Remove one to eight single atoms or pairs of neighbours (divacancies)."""
    centres: list[Points] = []
    for _ in range(rng.integers(1, 9)):
        gone = _choose_bond(sheet, rng)[: rng.integers(1, 3)]
        centres.extend(sheet.flat[gone])
        sheet = replace(sheet, positions=np.delete(sheet.positions, gone, axis=0))
    return _remove_dangling_atoms(replace(sheet, defects=_as_discs(centres, 1.5 * BOND_LENGTH_ANGSTROM)))


def add_pores(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """Cut one or two round pores of 4 to 10 Å radius; their inside is vacuum, not defect."""
    for _ in range(rng.integers(1, 3)):
        distance = np.linalg.norm(sheet.flat - _choose_inner_point(sheet, rng), axis=1)
        sheet = replace(sheet, positions=sheet.positions[distance > rng.uniform(4, 10)])
    return _remove_dangling_atoms(sheet)


def add_stone_wales(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """Turn one to four bonds by 90 degrees: two pentagons and two heptagons each (doi:10.1016/0009-2614(86)80661-3)."""
    centres: list[Points] = []
    for _ in range(rng.integers(1, 5)):
        pair = _choose_bond(sheet, rng)
        centre = sheet.flat[pair].mean(axis=0)
        if all(np.linalg.norm(centre - other) > 8 for other in centres):
            positions = sheet.positions.copy()
            positions[pair, :2] = (positions[pair, :2] - centre) @ _rotation(np.pi / 2) + centre
            sheet = replace(sheet, positions=positions)
            centres.append(centre)
    return replace(sheet, defects=_as_discs(centres, 2.5 * BOND_LENGTH_ANGSTROM))


def add_adatoms(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """Put one to eight carbon atoms on bridge sites above the sheet."""
    centres = [sheet.flat[_choose_bond(sheet, rng)].mean(axis=0) for _ in range(rng.integers(1, 9))]
    centres = list(np.unique(np.round(centres, 6), axis=0))
    adatoms = _as_discs(centres, ADATOM_HEIGHT_ANGSTROM)
    discs = _as_discs(centres, BOND_LENGTH_ANGSTROM)
    return replace(sheet, positions=np.concatenate([sheet.positions, adatoms]), defects=discs)


def add_grain_boundary(sheet: Sheet, rng: np.random.Generator) -> Sheet:
    """Turn the lattice by 5 to 30 degrees on one side of a line; atoms that come too close are left out."""
    point, direction = _choose_inner_point(sheet, rng), rng.uniform(0, 2 * np.pi)
    along, across = _rotation(direction).T
    turned = make_lattice(sheet.side_angstrom, sheet.angle + np.deg2rad(rng.uniform(5, 30)), rng.uniform(-1, 1, 2))
    first = sheet.positions[(sheet.flat - point) @ across < 0]
    second = turned.positions[(turned.flat - point) @ across >= 0]
    distance, _ = cKDTree(first[:, :2]).query(second[:, :2])
    second = second[distance > 0.75 * BOND_LENGTH_ANGSTROM]
    line = point + np.arange(-1.5 * sheet.side_angstrom, 1.5 * sheet.side_angstrom)[:, None] * along
    line = line[((line >= 0) & (line < sheet.side_angstrom)).all(axis=1)]
    discs = _as_discs(list(line), 1.5 * BOND_LENGTH_ANGSTROM)
    return replace(sheet, positions=np.concatenate([first, second]), defects=discs)


DEFECTS: dict[str, Callable[[Sheet, np.random.Generator], Sheet]] = {
    "pristine": leave_pristine,
    "vacancies": add_vacancies,
    "pores": add_pores,
    "stone_wales": add_stone_wales,
    "adatoms": add_adatoms,
    "grain_boundary": add_grain_boundary,
}


def ripple(sheet: Sheet, *, height_angstrom: float, wavelength_angstrom: float, rng: np.random.Generator) -> Sheet:
    """Bend the sheet into a standing wave of constant arc length.

    A free sheet bends but hardly stretches, so seen from above it is foreshortened: to second order in the
    slope, a point at distance s along the wave moves by ``-A²k²/4 (s + sin(2ks + 2φ) / 2k)``.

    Parameters
    ----------
    sheet : Sheet
    height_angstrom : float
        Amplitude A of the wave [Å]; suspended graphene has a few tenths to one Å (doi:10.1038/nature05545).
    wavelength_angstrom : float
        Wavelength 2π/k [Å]. Positive.
    rng : numpy.random.Generator
        Draws direction and phase.

    Returns
    -------
    Sheet
        Defect discs move with the atoms.
    """
    wavenumber, phase = 2 * np.pi / wavelength_angstrom, rng.uniform(0, 2 * np.pi)
    along = _rotation(rng.uniform(0, np.pi))[0]
    middle = sheet.side_angstrom / 2

    def foreshorten(flat: Points) -> Points:
        arc = (flat - middle) @ along
        shift = arc + np.sin(2 * (wavenumber * arc + phase)) / (2 * wavenumber)
        moved: Points = flat - (height_angstrom * wavenumber) ** 2 / 4 * shift[:, None] * along
        return moved

    height = height_angstrom * np.sin(wavenumber * (sheet.flat - middle) @ along + phase)
    positions = np.column_stack([foreshorten(sheet.flat), sheet.positions[:, 2] + height])
    discs = np.column_stack([foreshorten(sheet.defects[:, :2]), sheet.defects[:, 2]])
    return replace(sheet, positions=positions, defects=discs)


def to_atoms(sheet: Sheet, height_angstrom: float) -> Atoms:
    """Convert to ASE atoms in the middle of a box of the given height [Å]."""
    positions = sheet.positions + np.array([0, 0, height_angstrom / 2 - sheet.positions[:, 2].mean()])
    cell = (sheet.side_angstrom, sheet.side_angstrom, height_angstrom)
    return Atoms(numbers=np.full(len(positions), 6), positions=positions, cell=cell, pbc=True)
