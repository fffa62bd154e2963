"""Masks label what is there: discs around atoms and defects, nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.dataset.record import DEFECT, LATTICE, VACUUM
from emdenoise.simulation.labels import LATTICE_RADIUS_ANGSTROM, paint_mask
from emdenoise.simulation.specimens import BOND_LENGTH_ANGSTROM, make_lattice

NO_DEFECTS = np.empty((0, 3))
positions = st.floats(-20, 84)


@given(points=st.lists(st.tuples(positions, positions), max_size=12), pixel=st.floats(0.1, 0.4))
def test_lattice_is_what_lies_within_the_radius_of_an_atom(points: list[tuple[float, float]], pixel: float) -> None:
    atoms = np.array(points).reshape(-1, 2)
    mask = paint_mask(atoms, NO_DEFECTS, size_px=64, pixel_size_angstrom=pixel)
    rows, columns = np.mgrid[:64, :64]
    distance = np.full((64, 64), np.inf)
    for row, column in np.round(atoms):
        distance = np.minimum(distance, np.hypot(rows - row, columns - column))
    near = distance * pixel <= LATTICE_RADIUS_ANGSTROM - 1e-9
    far = distance * pixel > LATTICE_RADIUS_ANGSTROM + 1e-9
    assert (mask[near] == LATTICE).all()
    assert (mask[far] == VACUUM).all()


@given(angle=st.floats(0, 1), pixel=st.floats(0.1, 0.3))
def test_a_perfect_sheet_has_no_vacuum_in_its_hexagons(angle: float, pixel: float) -> None:
    sheet = make_lattice(96 * pixel, angle, np.zeros(2))
    mask = paint_mask(sheet.flat / pixel - 16, NO_DEFECTS, size_px=64, pixel_size_angstrom=pixel)
    assert (mask == LATTICE).all()


def test_a_missing_atom_leaves_no_vacuum_but_a_pore_does() -> None:
    sheet, pixel = make_lattice(30.0, 0.1, np.zeros(2)), 0.15
    distance = np.linalg.norm(sheet.flat - 15, axis=1)
    for radius, has_vacuum in ((5.0, True), (0.0, False)):
        atoms = sheet.flat[distance >= radius] / pixel
        mask = paint_mask(atoms, NO_DEFECTS, size_px=200, pixel_size_angstrom=pixel)
        assert (mask[100, 100] == VACUUM) is np.bool_(has_vacuum)
        if has_vacuum:
            area = (mask[50:150, 50:150] == VACUUM).sum() * pixel**2
            inner, outer = radius - LATTICE_RADIUS_ANGSTROM, radius + BOND_LENGTH_ANGSTROM - LATTICE_RADIUS_ANGSTROM
            assert np.pi * inner**2 < area < np.pi * outer**2


@given(row=st.floats(-30, 94), column=st.floats(-30, 94), radius=st.floats(0.5, 25))
def test_a_defect_is_a_disc_over_everything_else(row: float, column: float, radius: float) -> None:
    everywhere = np.stack(np.meshgrid(np.arange(0, 64, 4), np.arange(0, 64, 4)), axis=-1).reshape(-1, 2)
    disc = np.array([[row, column, radius]])
    mask = paint_mask(everywhere, disc, size_px=64, pixel_size_angstrom=0.3)
    rows, columns = np.mgrid[:64, :64]
    inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    assert np.array_equal(mask == DEFECT, inside)


def test_nothing_is_all_vacuum() -> None:
    mask = paint_mask(np.empty((0, 2)), NO_DEFECTS, size_px=16, pixel_size_angstrom=0.2)
    assert mask.dtype == np.uint8
    assert not mask.any()
