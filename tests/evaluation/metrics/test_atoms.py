"""Atoms at known places are found there, and F1 and error are what counting by hand gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emdenoise.evaluation.metrics.atoms import DetectionScore, detect_atoms, score_atoms
from emdenoise.seeding import make_generator

BOND = 1.42
SIZE_ANGSTROM = 15.0
TOLERANCE = 0.5
HOLLOW = np.array([BOND, 0.0])
"""From an atom of the first kind to the centre of a hexagon [Å]."""

angles, offsets = st.floats(0, 2 * np.pi), st.floats(0, 3)


def make_lattice(angle: float = 0.1, offset: float = 0.0, *, pixel_size: float = 0.15) -> np.ndarray:
    """Give the atoms of graphene, row and column [px], without those near the line where atoms begin to count."""
    first, second = BOND * np.sqrt(3) * np.array([[0, 1], [np.sqrt(3) / 2, 0.5]])
    steps = np.arange(-15, 16)
    cells = (steps[:, None, None] * first + steps[:, None] * second).reshape(-1, 2)
    atoms = np.concatenate([cells, cells - HOLLOW]) + offset
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    atoms = atoms @ turn.T + SIZE_ANGSTROM / 2
    depth = np.minimum(atoms, SIZE_ANGSTROM - pixel_size - atoms).min(axis=1)
    is_clear = (depth > -1) & (abs(depth - 2 * TOLERANCE) > pixel_size)
    lattice: np.ndarray = atoms[is_clear] / pixel_size
    return lattice


def draw_atoms(atoms: np.ndarray, *, pixel_size: float = 0.15) -> np.ndarray:
    """Draw each atom as a Gaussian of 0.35 Å on a grey background."""
    size = round(SIZE_ANGSTROM / pixel_size)
    rows, columns = (
        np.exp(-((np.arange(size) - atoms[:, axis, None]) ** 2) / 2 / (0.35 / pixel_size) ** 2) for axis in (0, 1)
    )
    return (0.3 + 0.5 * np.einsum("ar,ac->rc", rows, columns)).astype(np.float32)


def score(image: np.ndarray, atoms: np.ndarray, *, pixel_size: float = 0.15) -> DetectionScore:
    return score_atoms(image, atoms, pixel_size_angstrom=pixel_size, tolerance_angstrom=TOLERANCE)


def keep_counted(atoms: np.ndarray, pixel_size: float = 0.15) -> np.ndarray:
    border, size = 2 * TOLERANCE / pixel_size, round(SIZE_ANGSTROM / pixel_size)
    counted: np.ndarray = atoms[((atoms >= border) & (atoms <= size - 1 - border)).all(axis=1)]
    return counted


@settings(max_examples=20)
@given(angle=angles, offset=offsets, pixel_size=st.sampled_from([0.1, 0.15, 0.2]))
def test_all_atoms_of_a_lattice_are_found_to_a_tenth_of_a_pixel(angle: float, offset: float, pixel_size: float) -> None:
    atoms = make_lattice(angle, offset, pixel_size=pixel_size)
    result = score(draw_atoms(atoms, pixel_size=pixel_size), atoms, pixel_size=pixel_size)
    assert result.f1 == 1
    assert result.error_angstrom < 0.1 * pixel_size


def test_an_atom_alone_is_found_where_it_is() -> None:
    for row, column in make_generator(0, "test").uniform(20, 80, (20, 2)):
        found = detect_atoms(draw_atoms(np.array([[row, column]])), pixel_size_angstrom=0.15)
        assert found.shape == (1, 2)
        assert found[0] == pytest.approx((row, column), abs=0.05)


@settings(max_examples=15)
@given(angle=angles, factor=st.floats(0.01, 1000), shift=st.floats(-10, 10))
def test_neither_brightness_nor_contrast_moves_an_atom(angle: float, factor: float, shift: float) -> None:
    image = draw_atoms(make_lattice(angle)).astype(np.float64)
    found = detect_atoms(image, pixel_size_angstrom=0.15)
    changed = detect_atoms(factor * image + shift, pixel_size_angstrom=0.15)
    assert sorted(changed.tolist()) == pytest.approx(np.array(sorted(found.tolist())), abs=1e-5)


def test_dark_atoms_are_not_found_at_their_places() -> None:
    atoms = make_lattice()
    assert score(1 - draw_atoms(atoms), atoms).f1 == 0


@settings(max_examples=10)
@given(angle=angles, direction=angles, distance=st.floats(0.05, 0.45))
def test_the_error_is_the_distance_by_which_the_truth_is_shifted(
    angle: float, direction: float, distance: float
) -> None:
    # Far from the border line, as a shift must not carry an atom across it.
    atoms = keep_counted(make_lattice(angle))
    inner = atoms[(abs(atoms - 49.5) < 35).all(axis=1)]
    shift = distance / 0.15 * np.array([np.cos(direction), np.sin(direction)])
    result = score(draw_atoms(inner), inner + shift)
    assert result.f1 == 1
    assert result.error_angstrom == pytest.approx(distance, abs=0.015)


@given(direction=angles, distance=st.floats(0.52, 0.7))
@settings(max_examples=10)
def test_a_truth_shifted_by_more_than_the_tolerance_is_missed(direction: float, distance: float) -> None:
    atoms = make_lattice()
    result = score(draw_atoms(atoms), atoms + distance / 0.15 * np.array([np.cos(direction), np.sin(direction)]))
    assert result.f1 == 0
    assert np.isnan(result.error_angstrom)


def test_f1_is_two_thirds_where_half_of_the_true_atoms_are_not_in_the_image() -> None:
    atoms = keep_counted(make_lattice())
    missing = atoms[::2]
    shown = atoms[1::2][: len(missing)]
    # Recall 1/2 at precision 1.
    assert score(draw_atoms(shown), np.concatenate([shown, missing[: len(shown)]])).f1 == pytest.approx(2 / 3)


def test_f1_is_two_thirds_where_half_of_the_atoms_in_the_image_are_not_true() -> None:
    atoms = keep_counted(make_lattice())
    atoms = atoms[: len(atoms) // 2 * 2]
    # Precision 1/2 at recall 1.
    assert score(draw_atoms(atoms), atoms[::2]).f1 == pytest.approx(2 / 3)


def test_a_found_atom_counts_for_one_true_atom_only() -> None:
    atoms = keep_counted(make_lattice())
    result = score(draw_atoms(atoms), np.concatenate([atoms, atoms]))
    assert result.f1 == pytest.approx(2 / 3)


def test_the_nearest_of_two_true_atoms_is_the_one_that_was_found() -> None:
    place = np.array([[50.0, 50.0]])
    shift = np.array([[0.0, 1.0]]) / 0.15
    for order in ([0.2, -0.4], [-0.4, 0.2]):
        result = score(draw_atoms(place), np.concatenate([place + distance * shift for distance in order]))
        assert result.f1 == pytest.approx(2 / 3)
        assert result.error_angstrom == pytest.approx(0.2, abs=0.01)


def test_the_order_of_the_true_atoms_does_not_matter() -> None:
    atoms = make_lattice()
    image = draw_atoms(atoms)
    shuffled = make_generator(0, "test").permutation(atoms)
    assert score(image, shuffled) == score(image, atoms)


@pytest.mark.parametrize(
    ("near_border", "expected"), [(2 * TOLERANCE / 0.15 - 2, 1.0), (2 * TOLERANCE / 0.15 + 2, 2 / 3)]
)
def test_an_atom_at_the_border_counts_neither_as_found_nor_as_missed(near_border: float, expected: float) -> None:
    shown = np.array([[50.0, 50.0]])
    assert score(draw_atoms(shown), np.array([[50.0, 50.0], [near_border, 30.0]])).f1 == pytest.approx(expected)
    assert score(draw_atoms(np.array([[50.0, 50.0], [near_border, 30.0]])), shown).f1 == pytest.approx(expected)


NO_ATOMS = np.empty((0, 2), np.float32)
EVEN = np.full((100, 100), 0.5, np.float32)


@pytest.mark.parametrize("image", [EVEN, np.zeros_like(EVEN)])
def test_an_even_image_has_no_atoms(image: np.ndarray) -> None:
    found = detect_atoms(image, pixel_size_angstrom=0.15)
    assert found.shape == (0, 2)
    assert score(image, NO_ATOMS).f1 == 1
    assert score(image, make_lattice()).f1 == 0
    assert np.isnan(score(image, make_lattice()).error_angstrom)


def test_atoms_where_there_are_none_are_false() -> None:
    result = score(draw_atoms(make_lattice()), NO_ATOMS)
    assert result.f1 == 0
    assert np.isnan(result.error_angstrom)


def test_noise_of_single_pixels_does_not_hide_the_atoms() -> None:
    atoms = make_lattice()
    noisy = draw_atoms(atoms) + make_generator(0, "test").normal(0, 0.1, (100, 100)).astype(np.float32)
    result = score(noisy, atoms)
    assert result.f1 > 0.95
    assert result.error_angstrom < 0.1
