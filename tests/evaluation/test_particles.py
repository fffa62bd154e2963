"""Particles by laws: touching ones become several, single ones of any shape stay one, sizes follow the scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage.measure import regionprops_table

from emdenoise.evaluation.particles import MIN_AREA_PX, measure_particles, separate_particles
from emdenoise.seeding import make_generator


def draw_disc(
    shape: tuple[int, int], row: float, column: float, radius: float, *, axis_ratio: float = 1.0, turn: float = 0.0
) -> np.ndarray:
    """Draw an ellipse whose longer half axis is `radius`, turned by an angle [rad]."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    down, right = rows - row, columns - column
    along = down * np.sin(turn) + right * np.cos(turn)
    across = down * np.cos(turn) - right * np.sin(turn)
    return along**2 + (axis_ratio * across) ** 2 <= radius**2


def count(mask: np.ndarray) -> int:
    return int(separate_particles(mask).max())


@pytest.mark.parametrize("radius", [6, 12, 30])
@pytest.mark.parametrize("turn", [0.0, 0.4, np.pi / 4, np.pi / 2])
def test_two_overlapping_discs_become_two_of_their_own_pixels(radius: int, turn: float) -> None:
    side = 6 * radius
    step = 0.75 * radius * np.array([np.sin(turn), np.cos(turn)])  # the neck is 2/3 as wide as the discs
    centres = [side / 2 - step, side / 2 + step]
    discs = [draw_disc((side, side), *centre, radius) for centre in centres]
    particles = separate_particles(discs[0] | discs[1])
    assert particles.max() == 2
    numbers = [particles[tuple(np.round(centre).astype(int))] for centre in centres]
    for number, disc, other in zip(numbers, discs, discs[::-1], strict=True):
        assert (particles[disc & ~other] == number).mean() > 0.98
    table = measure_particles(particles)
    assert table["area_px"] == pytest.approx((discs[0] | discs[1]).sum() / 2, rel=0.06)  # the middle goes to one side


@pytest.mark.parametrize("radius", [6, 9, 25])
def test_a_large_disc_keeps_a_small_one_beside_it(radius: int) -> None:
    shape = (12 * radius, 12 * radius)
    large = draw_disc(shape, 6 * radius, 5 * radius, 3 * radius)
    small = draw_disc(shape, 6 * radius, 8.8 * radius, radius)
    assert count(large | small) == 2


@pytest.mark.parametrize("axis_ratio", [1.0, 1.3, 2.0, 4.0])
@pytest.mark.parametrize("turn", [0.0, 0.3, np.pi / 4, 1.2])
@pytest.mark.parametrize("radius", [8, 20.5, 45])
def test_a_single_disc_or_ellipse_stays_one(axis_ratio: float, turn: float, radius: float) -> None:
    assert count(draw_disc((100, 100), 49.5, 50, radius, axis_ratio=axis_ratio, turn=turn)) == 1


@pytest.mark.parametrize("shape", ["square", "triangle", "rod", "thin rod"])
def test_crystals_with_faces_stay_one(shape: str) -> None:
    rows, columns = np.mgrid[:80, :80]
    shapes = {
        "square": (abs(rows - 40) + abs(columns - 40)) <= 25,
        "triangle": (rows > 10) & (rows < 60) & (abs(columns - 40) < (rows - 10) * 0.577),
        "rod": (abs(rows - columns) < 8) & (rows + columns > 40) & (rows + columns < 120),
        "thin rod": (abs(2 * rows - columns) < 4) & (rows > 5) & (rows < 36),
    }
    assert count(shapes[shape]) == 1


@pytest.mark.parametrize("inner", [1, 6, 15, 17.5])
def test_a_ring_is_one_and_its_hole_belongs_to_it(inner: float) -> None:
    disc = draw_disc((50, 50), 25, 24, 20)
    particles = separate_particles(disc & ~draw_disc((50, 50), 25, 24, inner))
    assert np.array_equal(particles, disc.astype(np.int32))


def test_a_particle_inside_a_ring_stays_a_particle_of_its_own() -> None:
    ring = draw_disc((60, 60), 30, 30, 25) & ~draw_disc((60, 60), 30, 30, 20)
    core = draw_disc((60, 60), 30, 30, 9)
    particles = separate_particles(ring | core)
    assert particles.max() == 2
    assert np.array_equal(particles > 0, ring | core)


def test_discs_that_lie_close_are_themselves_and_the_gaps_between_them_are_none() -> None:
    radius, expected = 10, 0
    mask = np.zeros((130, 130), np.bool_)
    for line, row in enumerate(np.arange(15, 120, np.sqrt(3) * radius)):
        for column in np.arange(15 + radius * (line % 2), 120, 2 * radius):
            mask |= draw_disc(mask.shape, row, column, radius)
            expected += 1
    particles = separate_particles(mask)
    assert particles.max() == expected > 30
    assert ((particles > 0) == mask).mean() > 0.999  # single pixels are no gaps
    assert np.median(measure_particles(particles)["equivalent_diameter_px"]) == pytest.approx(2 * radius, rel=0.02)


def test_pixels_that_a_classifier_missed_do_not_cut_a_particle() -> None:
    disc = draw_disc((80, 80), 40, 40, 30)
    is_missed = np.zeros_like(disc)
    is_missed[13:70:5, 12:70:3] = True
    particles = separate_particles(disc & ~is_missed)
    assert particles.max() == 1
    assert particles.sum() == pytest.approx(disc.sum(), rel=0.005)  # a pixel at the edge is no hole


def test_specks_are_no_particles() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[2:4, 2:6] = True
    assert mask.sum() == MIN_AREA_PX - 1
    assert count(mask) == 0
    mask[4, 2] = True
    assert count(mask) == 1


@pytest.mark.parametrize(("value", "shape", "expected"), [(False, (12, 15), 0), (True, (12, 15), 1), (True, (2, 4), 0)])
def test_a_mask_of_one_value_is_nothing_or_one_particle(value: bool, shape: tuple[int, int], expected: int) -> None:
    assert np.array_equal(separate_particles(np.full(shape, value)), np.full(shape, expected))


def test_a_disc_that_the_border_cuts_is_one_particle() -> None:
    particles = separate_particles(draw_disc((60, 60), 30, 2, 20) | draw_disc((60, 60), 30, 50, 7))
    assert particles.max() == 2
    assert measure_particles(particles)["touches_border"].tolist() == [1, 0]


masks = arrays.arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)))


@given(mask=masks)
def test_numbers_have_no_gaps_and_every_particle_is_in_one_piece(mask: np.ndarray) -> None:
    particles = separate_particles(mask)
    assert (particles.dtype, particles.shape) == (np.int32, mask.shape)
    numbers, firsts, areas = np.unique(particles, return_index=True, return_counts=True)
    found = numbers > 0
    assert numbers[found].tolist() == list(range(1, found.sum() + 1))
    assert (np.diff(firsts[found]) > 0).all()
    assert (areas[found] >= MIN_AREA_PX).all()
    for number in numbers[found]:
        assert ndimage.label(particles == number, np.ones((3, 3)))[1] == 1


@given(mask=masks)
def test_particles_are_inside_the_outer_edges_of_the_mask(mask: np.ndarray) -> None:
    assert not (separate_particles(mask)[~ndimage.binary_fill_holes(mask)]).any()


def draw_many() -> np.ndarray:
    """Draw discs at random, some of which touch or are cut by the border."""
    rng = make_generator(3, "test")
    places = rng.uniform((0, 0, 6), (160, 170, 14), (25, 3))
    return np.any([draw_disc((160, 170), *place) for place in places], axis=0)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_turned_image_has_turned_particles_up_to_their_numbers(quarter_turns: int, is_mirrored: bool) -> None:
    def turn(image: np.ndarray) -> np.ndarray:
        return np.rot90(image[:, ::-1] if is_mirrored else image, quarter_turns)

    mask = draw_many()
    expected, found = turn(separate_particles(mask)), separate_particles(turn(mask))
    assert found.max() == expected.max() > 10
    for number in range(1, found.max() + 1):
        inside = expected[found == number]
        twin = np.bincount(inside).argmax()
        union = ((found == number) | (expected == twin)).sum()
        assert (inside == twin).sum() / union > 0.95  # pixels at equal distances go to either side


def test_an_image_twice_as_large_has_the_same_particles_of_twice_the_diameter() -> None:
    mask = draw_many()
    tables = [
        measure_particles(separate_particles(one)) for one in (mask, np.kron(mask, np.ones((2, 2), np.bool_)) > 0)
    ]
    assert len(tables[0]["particle"]) == len(tables[1]["particle"])
    for name, tolerance in (("equivalent_diameter_px", 0.02), ("centroid_row_px", 0.05), ("centroid_column_px", 0.05)):
        offset = 0.5 if name.startswith("centroid") else 0.0
        one, other = tables[0][name] + offset, tables[1][name] + offset
        assert np.sort(other) == pytest.approx(np.sort(2 * one), rel=tolerance)


@pytest.mark.parametrize("radius", [5.0, 10.0, 33.3])
def test_a_disc_has_its_diameter_its_centre_and_no_eccentricity(radius: float) -> None:
    table = measure_particles(draw_disc((80, 90), 40.25, 45.5, radius).astype(np.int32), pixel_size_angstrom=2.5)
    assert table["equivalent_diameter_px"] == pytest.approx([2 * radius], rel=0.02)
    assert table["equivalent_diameter_nm"] == pytest.approx([2 * radius * 0.25], rel=0.02)
    assert table["area_nm2"] == pytest.approx([np.pi * (radius * 0.25) ** 2], rel=0.04)
    assert table["centroid_row_px"] == pytest.approx([40.25], abs=0.1)
    assert table["centroid_column_nm"] == pytest.approx([45.5 * 0.25], abs=0.03)
    assert table["eccentricity"] == pytest.approx([0], abs=0.25)


def test_an_ellipse_has_the_eccentricity_of_its_axes() -> None:
    table = measure_particles(draw_disc((90, 90), 45, 45, 40, axis_ratio=2, turn=0.5).astype(np.int32))
    assert table["eccentricity"] == pytest.approx([np.sqrt(1 - 1 / 4)], rel=0.01)
    assert table["equivalent_diameter_px"] == pytest.approx([2 * np.sqrt(40 * 20)], rel=0.02)


def test_places_and_shapes_are_those_of_scikit_image() -> None:
    particles = separate_particles(draw_many())
    table = measure_particles(particles)
    expected = regionprops_table(particles, properties=("label", "area", "centroid", "eccentricity"))
    names = ("particle", "area_px", "centroid_row_px", "centroid_column_px", "eccentricity")
    for name, values in zip(names, expected.values(), strict=True):
        assert table[name] == pytest.approx(values)


def test_numbers_that_are_left_out_are_no_particles_and_no_particles_are_an_empty_table() -> None:
    particles = np.zeros((9, 9), np.int32)
    assert {len(column) for column in measure_particles(particles, 1.0).values()} == {0}
    particles[2:4, 2:5], particles[8, 8] = 7, 400
    table = measure_particles(particles)
    assert table["particle"].tolist() == [7, 400]
    assert table["area_px"].tolist() == [6, 1]
    assert table["touches_border"].tolist() == [0, 1]
    assert "area_nm2" not in table


def test_another_type_or_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mask is uint8 \(3, 3\); expected bool"):
        separate_particles(np.ones((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"mask is bool \(1, 3, 3\); expected bool"):
        separate_particles(np.ones((1, 3, 3), np.bool_))
    with pytest.raises(ValueError, match=r"particles are float64 \(3, 3\); expected integers"):
        measure_particles(np.ones((3, 3)))
