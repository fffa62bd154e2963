"""Particles are found, missed and invented by a case that is counted by hand."""

import numpy as np
import pytest

from emdenoise.evaluation.particle_tally import ParticleTally, detect_particles

SHAPE = (40, 60)


def draw_squares(*squares: tuple[int, int, int]) -> np.ndarray:
    """Number squares of row, column and side."""
    particles = np.zeros(SHAPE, np.int32)
    for number, (row, column, side) in enumerate(squares, start=1):
        particles[row : row + side, column : column + side] = number
    return particles


TRUE = draw_squares((5, 5, 8), (20, 20, 8), (30, 50, 10))
"""The second is missed, the border cuts the third."""
PREDICTED = draw_squares((5, 25, 6), (5, 6, 8), (30, 50, 10))
"""The first is invented; the second overlaps a true one by 56 of 72 px."""


def test_a_matched_a_missed_and_an_invented_particle_are_told_apart() -> None:
    detection = detect_particles(PREDICTED, TRUE)
    assert detection.count_each() == (2, 1, 1)
    assert np.array_equal(detection.found, np.where(PREDICTED > 1, PREDICTED, 0))
    assert np.array_equal(detection.missed, np.where(TRUE == 2, 2, 0))
    assert np.array_equal(detection.invented, np.where(PREDICTED == 1, 1, 0))


@pytest.mark.parametrize(("side", "counts"), [(8, (1, 0, 0)), (6, (1, 0, 0)), (5, (0, 1, 1))])
def test_a_match_overlaps_by_half(side: int, counts: tuple[int, int, int]) -> None:
    # 36 of 64 px are more than half, 25 are less.
    assert detect_particles(draw_squares((5, 5, side)), draw_squares((5, 5, 8))).count_each() == counts


def test_exactly_half_is_a_match() -> None:
    true = np.zeros(SHAPE, np.int32)
    true[5:9, 5:13] = 3
    assert detect_particles(np.where(np.arange(60) < 9, true, 0), true).count_each() == (1, 0, 0)


@pytest.mark.parametrize(("pixel_size_angstrom", "unit", "step"), [(np.nan, "px", 1.0), (5.0, "nm", 0.5)])
def test_a_tally_adds_counts_and_the_sizes_of_particles_that_no_border_cuts(
    pixel_size_angstrom: float, unit: str, step: float
) -> None:
    tally = ParticleTally()
    tally.add(PREDICTED > 0, TRUE, pixel_size_angstrom)
    tally.add(np.zeros(SHAPE, np.bool_), draw_squares((5, 5, 4)), 5.0)
    assert (tally.num_images, tally.num_found, tally.num_missed, tally.num_invented) == (2, 2, 2, 1)
    assert tally.num_cut == {"true": 1, "predicted": 1}
    assert tally.unit == unit
    sizes = tally.list_diameters()
    disc = step * 2 / np.sqrt(np.pi)  # of the diameter, for a square of side 1
    assert sorted(sizes["true"]) == pytest.approx([4 * disc, 8 * disc, 8 * disc])
    assert sorted(sizes["predicted"]) == pytest.approx([6 * disc, 8 * disc])


def test_a_tally_of_nothing_is_empty() -> None:
    tally = ParticleTally()
    tally.add(np.zeros(SHAPE, np.bool_), np.zeros(SHAPE, np.int32), np.nan)
    assert {name: len(sizes) for name, sizes in tally.list_diameters().items()} == {"true": 0, "predicted": 0}
