"""Atoms at known places are found there, and F1 and error are what counting by hand gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from emdenoise.evaluation.metrics.atoms import MIN_DISTANCE_ANGSTROM, DetectionScore, detect_atoms, score_atoms
from emdenoise.seeding import make_generator

BOND = 1.42
SIZE_ANGSTROM = 15.0
TOLERANCE = 0.5
HOLLOW = np.array([BOND, 0.0])
"""From an atom of the first kind to the centre of a hexagon [Å]."""

angles, offsets = st.floats(0, 2 * np.pi), st.floats(0, 3)


def make_lattice(
    angle: float = 0.1, offset: float = 0.0, *, pixel_size: float = 0.15, has_border: bool = False
) -> np.ndarray:
    """Give the atoms of graphene, row and column [px]; without those near the line where atoms begin to count."""
    first, second = BOND * np.sqrt(3) * np.array([[0, 1], [np.sqrt(3) / 2, 0.5]])
    steps = np.arange(-15, 16)
    cells = (steps[:, None, None] * first + steps[:, None] * second).reshape(-1, 2)
    atoms = np.concatenate([cells, cells - HOLLOW]) + offset
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    atoms = atoms @ turn.T + SIZE_ANGSTROM / 2
    if has_border:
        whole: np.ndarray = atoms[(atoms > -3).all(axis=1) & (atoms < SIZE_ANGSTROM + 3).all(axis=1)] / pixel_size
        return whole
    depth = np.minimum(atoms, SIZE_ANGSTROM - pixel_size - atoms).min(axis=1)
    is_clear = (depth > -1) & (abs(depth - 2 * TOLERANCE) > pixel_size)
    lattice: np.ndarray = atoms[is_clear] / pixel_size
    return lattice


def draw_atoms(atoms: np.ndarray, *, pixel_size: float = 0.15, width: float = 0.35) -> np.ndarray:
    """Draw each atom as a Gaussian of `width` [Å] on a grey background."""
    size = round(SIZE_ANGSTROM / pixel_size)
    rows, columns = (
        np.exp(-((np.arange(size) - atoms[:, axis, None]) ** 2) / 2 / (width / pixel_size) ** 2) for axis in (0, 1)
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


@pytest.mark.parametrize("pixel_size", [0.1, 0.15, 0.2, 0.31])
def test_no_two_found_atoms_are_closer_than_the_smallest_distance(pixel_size: float) -> None:
    noise = make_generator(0, "test").random((128, 128), np.float32)
    found = detect_atoms(noise, pixel_size_angstrom=pixel_size)
    assert len(found) > 20
    assert pdist(found).min() * pixel_size >= MIN_DISTANCE_ANGSTROM


@pytest.mark.parametrize(("distance", "num_found"), [(0.7, 1), (0.85, 1), (0.95, 2), (1.42, 2)])
@pytest.mark.parametrize("direction", [0.0, 0.4, np.pi / 4, 1.3])
def test_two_atoms_are_two_from_the_smallest_distance_on_whatever_the_direction(
    direction: float, distance: float, num_found: int
) -> None:
    step = distance / 0.15 * np.array([np.sin(direction), np.cos(direction)])
    image = draw_atoms(np.array([50, 50]) + np.array([[0, 0], step]), width=0.2)
    assert len(detect_atoms(image, pixel_size_angstrom=0.15)) == num_found


def test_of_atoms_that_are_too_close_the_brightest_is_kept_and_hides_no_other_than_its_neighbours() -> None:
    """Four in a row, 0.8 Å apart, falling in brightness: the second is too close to the first, the third is not."""
    atoms = np.array([[50, 40 + index * 0.8 / 0.15] for index in range(4)])
    image = sum((1 - 0.1 * index) * draw_atoms(atom[None], width=0.2) for index, atom in enumerate(atoms))
    found = detect_atoms(np.asarray(image, np.float32), pixel_size_angstrom=0.15)
    assert sorted(found[:, 1]) == pytest.approx(atoms[[0, 2], 1], abs=0.7)


@settings(max_examples=20)
@given(angle=angles, offset=offsets, direction=angles)
def test_atoms_on_both_sides_of_the_border_line_are_pairs_like_all_others(
    angle: float, offset: float, direction: float
) -> None:
    atoms = make_lattice(angle, offset, has_border=True)
    shift = 0.3 / 0.15 * np.array([np.cos(direction), np.sin(direction)])
    result = score(draw_atoms(atoms), atoms + shift)
    assert (result.f1, result.recall, result.false_per_nm2) == (1, 1, 0)


def test_recall_is_the_share_of_the_true_atoms_that_were_found() -> None:
    atoms = keep_counted(make_lattice())
    atoms = atoms[: len(atoms) // 2 * 2]
    assert score(draw_atoms(atoms[::2]), atoms).recall == pytest.approx(1 / 2)
    assert score(draw_atoms(atoms), atoms[::2]).recall == 1
    assert np.isnan(score(draw_atoms(atoms), NO_ATOMS).recall)


def test_lattice_over_a_hole_is_false_with_the_density_of_graphene() -> None:
    """Two atoms in each cell of 2.46² sin 60° Å²: 38.2 per nm²."""
    lattice = make_lattice(has_border=True)
    density = 2 / (2.46**2 * np.sin(np.pi / 3) / 100)
    assert density == pytest.approx(38.2, abs=0.1)
    assert score(draw_atoms(lattice), NO_ATOMS).false_per_nm2 == pytest.approx(density, rel=0.1)
    left = lattice[lattice[:, 1] < 50]
    result = score(draw_atoms(lattice), left)
    assert result.false_per_nm2 == pytest.approx(density / 2, rel=0.1)
    assert result.recall == 1
    assert score(draw_atoms(left), lattice).false_per_nm2 == 0


def test_the_rate_of_false_atoms_counts_those_alone_that_no_true_atom_is_near() -> None:
    place, side_nm = np.array([[50.0, 50.0]]), (15 - 0.15 - 4 * TOLERANCE) / 10
    for distance, num_false in ((0.45, 0), (0.55, 1)):
        found = score(draw_atoms(place), place + np.array([[distance / 0.15, 0]]))
        assert found.false_per_nm2 == pytest.approx(num_false / side_nm**2)


def test_an_image_without_an_inside_has_no_rate_of_false_atoms() -> None:
    small = np.random.default_rng(0).random((12, 12), np.float32)
    assert np.isnan(score(small, NO_ATOMS).false_per_nm2)


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
