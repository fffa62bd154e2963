"""What a report shows of labels names its numbers and repeats to the byte."""

import numpy as np
import pytest

from emdenoise.evaluation.particle_tally import ParticleTally
from emdenoise.results import label_figures
from emdenoise.results.label_figures import (
    FATES,
    PREDICTED_COLOUR,
    TRUE_COLOUR,
    show_outlines,
    show_particles,
    show_sizes,
)

SHAPE = (40, 60)
LABELS = ["background", "particle"]
IMAGES = [np.zeros(SHAPE, np.float32)]


def draw_squares(*squares: tuple[int, int, int]) -> np.ndarray:
    """Number squares of row, column and side."""
    particles = np.zeros(SHAPE, np.int32)
    for number, (row, column, side) in enumerate(squares, start=1):
        particles[row : row + side, column : column + side] = number
    return particles


TRUE = draw_squares((5, 5, 8), (20, 20, 8))
MASK = (draw_squares((5, 6, 8), (5, 40, 6)) > 0).astype(np.uint8)
"""One particle is found, one missed and one invented."""
TALLY = ParticleTally()
TALLY.add(MASK == 1, TRUE, 20.0)


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, np.ndarray]]]:
    """Keep the rows that are drawn."""
    kept: list[list[tuple[str, np.ndarray]]] = []
    monkeypatch.setattr(label_figures, "draw_panels", lambda rows, legend: kept.extend(rows) or b"PNG")
    return kept


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(axis=-1).any())


def test_found_missed_and_invented_particles_are_counted_and_drawn(
    panels: list[list[tuple[str, np.ndarray]]],
) -> None:
    exhibit = show_particles(IMAGES, {"network": [MASK], "otsu": [0 * MASK]}, [TRUE], LABELS, TALLY)
    (network, otsu) = panels[0]
    assert network[0] == "network: 1 found, 1 missed, 1 invented"
    assert otsu[0] == "otsu: 0 found, 2 missed, 0 invented"
    assert [has(network[1], colour) for colour in FATES.values()] == [True, True, True]
    assert [has(otsu[1], colour) for colour in FATES.values()] == [False, True, False]
    assert "In all 1 test images the network found 1 of 2 particles, missed 1 and invented 1." in exhibit.note
    assert len(set(FATES.values())) == 3


def test_two_labels_are_drawn_over_each_other_and_more_beside_the_truth(
    panels: list[list[tuple[str, np.ndarray]]],
) -> None:
    masks = {"network": [MASK], "mask": [(TRUE > 0).astype(np.uint8)]}
    exhibit = show_outlines(IMAGES, masks, {"network": ["network  Dice 0.50"]}, LABELS)
    assert [title for title, _ in panels[0]] == ["network  Dice 0.50"]
    assert has(panels[0][0][1], TRUE_COLOUR)
    assert has(panels[0][0][1], PREDICTED_COLOUR)
    assert "label particle: orange is the true outline" in exhibit.note
    panels.clear()
    exhibit = show_outlines(IMAGES, {"network": [MASK], "mask": [TRUE]}, {}, ["vacuum", "lattice", "defect"])
    assert [title for title, _ in panels[0]] == ["network", "mask"]
    colours = label_figures.choose_colours(2)
    assert [[has(picture, colour) for colour in colours] for _, picture in panels[0]] == [[True, False], [True, True]]
    assert "but for vacuum" in exhibit.note


def test_sizes_are_told_in_words() -> None:
    note = show_sizes(TALLY).note
    disc = 4 / np.sqrt(np.pi)  # nm, for a square of 1 px of 2 nm
    assert f"2 true ones have the median {8 * disc:.3g} nm." in note
    assert f"2 predicted ones have the median {7 * disc:.3g} nm." in note
    assert "distance of the two is 0.500." in note, "half of the predicted ones is smaller than all true ones"
    assert "left out: 0 true and 0 predicted ones" in note
    assert "pixel size" not in note
    empty = ParticleTally()
    empty.add(MASK == 1, 0 * TRUE, np.nan)
    assert "No true particle is whole" in show_sizes(empty).note
    assert "The pixel size of some images is not known" in show_sizes(empty).note


def test_the_same_labels_give_the_same_bytes() -> None:
    first, second = (
        [
            show_outlines(IMAGES, {"network": [MASK], "mask": [MASK]}, {}, LABELS),
            show_particles(IMAGES, {"network": [MASK]}, [TRUE], LABELS, TALLY),
            show_sizes(TALLY),
        ]
        for _ in range(2)
    )
    assert first == second
    assert all(exhibit.png.startswith(b"\x89PNG") for exhibit in first)
