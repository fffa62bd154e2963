"""The specimens are graphene: bond lengths, coordination, density and defects as textbooks have them."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from emdenoise.seeding import make_generator
from emdenoise.simulation.specimens import (
    ADATOM_HEIGHT_ANGSTROM,
    BOND_LENGTH_ANGSTROM,
    DEFECTS,
    NO_DEFECTS,
    Points,
    Sheet,
    add_adatoms,
    add_grain_boundary,
    add_pores,
    add_stone_wales,
    add_vacancies,
    make_lattice,
    ripple,
    to_atoms,
)

ATOMS_PER_SQUARE_ANGSTROM = 0.3818
"""Of graphene: 2 atoms in a cell of (√3/2) · (2.46 Å)²; 3.82e19 per m² (doi:10.1103/RevModPhys.81.109)."""
SIDE = 40.0
REACH = 1.3 * BOND_LENGTH_ANGSTROM
seeds = st.integers(0, 10_000)


def make_sheet(seed: int = 0, side: float = SIDE) -> Sheet:
    rng = make_generator(seed, "lattice")
    return make_lattice(side, rng.uniform(0, np.pi / 3), rng.uniform(-1, 1, 2))


def find_inner(sheet: Sheet, border: float) -> np.ndarray:
    return ((sheet.flat > border) & (sheet.flat < sheet.side_angstrom - border)).all(axis=1)


def count_neighbours(flat: Points) -> np.ndarray:
    return cKDTree(flat).query_ball_point(flat, REACH, return_length=True) - 1


def find_rings(flat: Points, centre: Points, radius: float) -> Counter[int]:
    """Count the smallest rings by size around a point: faces of the bond network, each walked once."""
    tree = cKDTree(flat)
    neighbours = [
        [other for other in tree.query_ball_point(point, REACH) if (flat[other] != point).any()] for point in flat
    ]
    faces = set()
    for start in tree.query_ball_point(centre, radius):
        for following in neighbours[start]:
            walk = [start, following]
            while walk[-1] != start and len(walk) < 20:
                before, here = walk[-2:]
                back = np.arctan2(*(flat[before] - flat[here]))
                turns = {
                    other: (np.arctan2(*(flat[other] - flat[here])) - back) % (2 * np.pi)
                    for other in neighbours[here]
                    if other != before
                }
                if not turns:
                    break
                walk.append(min(turns, key=lambda other: turns[other]))
            if walk[-1] == start:
                faces.add(frozenset(walk))
    return Counter(len(face) for face in faces)


@given(seed=seeds)
def test_inner_atoms_of_pristine_graphene_have_three_neighbours_at_the_bond_length(seed: int) -> None:
    sheet = make_sheet(seed)
    inner = find_inner(sheet, 2.0)
    distances, _ = cKDTree(sheet.flat).query(sheet.flat[inner], k=5)
    assert distances[:, 1:4] == pytest.approx(1.42, abs=0.002)
    assert distances[:, 4] == pytest.approx(2.46, abs=1e-6)


@given(seed=seeds)
def test_neighbours_stand_at_120_degrees(seed: int) -> None:
    sheet = make_sheet(seed)
    tree = cKDTree(sheet.flat)
    for atom in np.flatnonzero(find_inner(sheet, 5.0))[:10]:
        others = tree.query(sheet.flat[atom], k=4)[1][1:]
        angles = np.sort(np.arctan2(*(sheet.flat[others] - sheet.flat[atom]).T))
        assert np.diff(angles) == pytest.approx(2 * np.pi / 3, abs=1e-6)


@given(seed=seeds, side=st.floats(20, 60))
def test_the_density_is_that_of_graphene(seed: int, side: float) -> None:
    sheet = make_sheet(seed, side)
    # Atoms whose cell the border cuts are in or out: about one part in the perimeter.
    assert len(sheet.positions) == pytest.approx(ATOMS_PER_SQUARE_ANGSTROM * side**2, abs=1.2 * side)
    big = make_sheet(seed, 300.0)
    inner = find_inner(big, 0.5)
    assert inner.sum() / 299**2 == pytest.approx(ATOMS_PER_SQUARE_ANGSTROM, rel=0.005)


@given(seed=seeds)
def test_every_atom_of_the_lattice_lies_in_the_square(seed: int) -> None:
    sheet = make_sheet(seed)
    assert (sheet.flat >= 0).all()
    assert (sheet.flat < SIDE).all()
    assert not sheet.positions[:, 2].any()


def test_the_lattice_turns_with_the_angle_and_shifts_with_the_offset() -> None:
    offset = np.array([0.3, -0.2])
    still, shifted = make_lattice(SIDE, 0.2, np.zeros(2)), make_lattice(SIDE, 0.2, offset)
    inner = find_inner(still, 3.0)
    assert cKDTree(shifted.flat).query(still.flat[inner] + offset)[0].max() < 1e-9
    turned = make_lattice(SIDE, 0.2 + 2 * np.pi / 3, np.zeros(2))
    assert cKDTree(turned.flat).query(still.flat[inner])[0].max() < 1e-9, "an atom of graphene is on a threefold axis"
    turned = make_lattice(SIDE, 0.3, np.zeros(2))
    assert cKDTree(turned.flat).query(still.flat[inner])[0].max() > 0.3


@given(seed=seeds)
def test_vacancies_remove_atoms_and_leave_the_others_where_they_were(seed: int) -> None:
    sheet = make_sheet(seed)
    result = add_vacancies(sheet, make_generator(seed, "defect"))
    num_removed = len(sheet.positions) - len(result.positions)
    assert 1 <= num_removed <= 8 * 4
    assert cKDTree(sheet.positions).query(result.positions)[0].max() == 0
    assert len(result.defects) >= 1


@given(seed=seeds)
def test_pores_remove_discs_of_their_radius_and_no_atom_hangs(seed: int) -> None:
    sheet = make_sheet(seed)
    result = add_pores(sheet, make_generator(seed, "defect"))
    removed = len(sheet.positions) - len(result.positions)
    # At least one whole pore of 4 Å, at most two of 10 Å with their ragged edge.
    assert ATOMS_PER_SQUARE_ANGSTROM * np.pi * 3.5**2 < removed < ATOMS_PER_SQUARE_ANGSTROM * 2 * np.pi * 11.5**2
    assert result.defects.shape == (0, 3), "the inside of a pore is vacuum, not defect"


@given(seed=seeds, kind=st.sampled_from(["vacancies", "pores"]))
def test_no_atom_inside_hangs_on_a_single_bond(seed: int, kind: str) -> None:
    result = DEFECTS[kind](make_sheet(seed), make_generator(seed, "defect"))
    inner = find_inner(result, 2 * REACH)
    assert count_neighbours(result.flat)[inner].min() >= 2


@given(seed=seeds)
def test_a_stone_wales_defect_keeps_every_atom_and_turns_pairs_only(seed: int) -> None:
    sheet = make_sheet(seed)
    result = add_stone_wales(sheet, make_generator(seed, "defect"))
    assert len(result.positions) == len(sheet.positions)
    moved = np.linalg.norm(result.flat - sheet.flat, axis=1)
    # Turning a bond by 90 degrees about its middle moves each end by √2 times half a bond.
    assert moved[moved > 0] == pytest.approx(BOND_LENGTH_ANGSTROM / np.sqrt(2), rel=1e-6)
    assert (moved > 0).sum() == 2 * len(result.defects)
    assert 1 <= len(result.defects) <= 4


@given(seed=seeds)
def test_a_stone_wales_defect_is_two_pentagons_and_two_heptagons(seed: int) -> None:
    sheet = make_sheet(seed)
    result = add_stone_wales(sheet, make_generator(seed, "defect"))
    for row, column, _ in result.defects:
        centre = np.array([row, column])
        if (np.abs(centre - SIDE / 2) > SIDE / 2 - 8).any():
            continue
        assert find_rings(sheet.flat, centre, 1.0) == {6: 4}
        assert find_rings(result.flat, centre, 1.0) == {5: 2, 7: 2}
        near = np.linalg.norm(result.flat - centre, axis=1) < 4
        assert set(count_neighbours(result.flat)[near]) == {3}


@given(seed=seeds)
def test_adatoms_sit_on_bridge_sites_above_the_sheet(seed: int) -> None:
    sheet = make_sheet(seed)
    result = add_adatoms(sheet, make_generator(seed, "defect"))
    added = result.positions[len(sheet.positions) :]
    assert np.array_equal(result.positions[: len(sheet.positions)], sheet.positions)
    assert 1 <= len(added) <= 8
    assert added[:, 2] == pytest.approx(ADATOM_HEIGHT_ANGSTROM)
    distances, _ = cKDTree(sheet.flat).query(added[:, :2], k=2)
    assert distances == pytest.approx(1.42 / 2, abs=0.002), "a bridge site is the middle of a bond"
    assert len(result.defects) == len(added)


@given(seed=seeds)
def test_a_grain_boundary_has_two_lattices_and_no_atoms_on_top_of_each_other(seed: int) -> None:
    sheet = make_sheet(seed)
    result = add_grain_boundary(sheet, make_generator(seed, "defect"))
    distances, _ = cKDTree(result.flat).query(result.flat, k=2)
    assert distances[:, 1].min() > 0.74 * BOND_LENGTH_ANGSTROM
    kept = cKDTree(sheet.flat).query(result.flat)[0] < 1e-9
    assert 0 < kept.sum() < len(result.flat)
    density = len(result.positions) / SIDE**2
    assert 0.85 * ATOMS_PER_SQUARE_ANGSTROM < density < 1.1 * ATOMS_PER_SQUARE_ANGSTROM
    assert len(result.defects) >= 2


@given(seed=seeds, kind=st.sampled_from(list(DEFECTS)))
def test_every_kind_of_specimen_is_the_same_for_the_same_generator(seed: int, kind: str) -> None:
    first, second = (DEFECTS[kind](make_sheet(seed), make_generator(seed, "defect")) for _ in range(2))
    assert np.array_equal(first.positions, second.positions)
    assert np.array_equal(first.defects, second.defects)
    assert first.defects.shape[1] == 3


def follow(points: Points, sheet: Sheet, **wave: float) -> Points:
    return ripple(
        replace(sheet, positions=points, defects=NO_DEFECTS), rng=make_generator(5, "ripple"), **wave
    ).positions


@given(height=st.floats(0, 1.0), wavelength=st.floats(20, 60))
def test_a_ripple_keeps_the_length_along_the_sheet_to_second_order(height: float, wavelength: float) -> None:
    sheet = make_sheet()
    slope = 2 * np.pi * height / wavelength
    for direction in ([1.0, 0, 0], [0, 1.0, 0], [0.6, 0.8, 0]):
        line = 20 + np.linspace(-15, 15, 3001)[:, None] * direction * np.array([1, 1, 0])
        rippled = follow(line, sheet, height_angstrom=height, wavelength_angstrom=wavelength)
        length = sum(np.linalg.norm(second - first) for first, second in pairwise(rippled))
        # What is left over is of fourth order in the slope; the flat projection would be slope²/4 shorter.
        assert length == pytest.approx(30, rel=1.5 * slope**4 + 1e-9)


def test_a_ripple_without_foreshortening_would_fail_that_test() -> None:
    slope = 2 * np.pi * 1.0 / 20
    assert slope**2 / 4 > 1.5 * slope**4


@given(height=st.floats(0.1, 1.0), wavelength=st.floats(20, 60))
def test_a_ripple_has_the_given_height_and_wavelength(height: float, wavelength: float) -> None:
    sheet = make_sheet(side=200.0)
    positions = ripple(
        sheet, height_angstrom=height, wavelength_angstrom=wavelength, rng=make_generator(1, "ripple")
    ).positions
    assert positions[:, 2].max() == pytest.approx(height, rel=0.02)
    assert positions[:, 2].min() == pytest.approx(-height, rel=0.02)
    # A sine: the mean square is half the square of the amplitude.
    assert positions[:, 2].std() == pytest.approx(height / np.sqrt(2), rel=0.15)


def test_a_ripple_of_no_height_changes_nothing() -> None:
    sheet = make_sheet()
    flat = ripple(sheet, height_angstrom=0, wavelength_angstrom=30, rng=make_generator(0, "ripple"))
    assert flat.positions == pytest.approx(sheet.positions, abs=1e-12)


def test_the_discs_of_defects_move_with_their_atoms() -> None:
    sheet = make_sheet()
    sheet = replace(sheet, defects=np.column_stack([sheet.flat, np.full(len(sheet.flat), 2.0)]))
    result = ripple(sheet, height_angstrom=1, wavelength_angstrom=25, rng=make_generator(0, "ripple"))
    assert result.defects[:, :2] == pytest.approx(result.flat, abs=1e-12)
    assert np.array_equal(result.defects[:, 2], sheet.defects[:, 2])


def test_atoms_stand_in_the_middle_of_a_periodic_box_of_carbon() -> None:
    sheet = ripple(make_sheet(), height_angstrom=0.5, wavelength_angstrom=30, rng=make_generator(0, "ripple"))
    atoms = to_atoms(sheet, 12.0)
    assert set(atoms.get_chemical_symbols()) == {"C"}
    assert atoms.cell.lengths() == pytest.approx([SIDE, SIDE, 12])
    assert atoms.pbc.all()
    assert atoms.positions[:, 2].mean() == pytest.approx(6)
    assert atoms.positions[:, :2] == pytest.approx(sheet.flat)
