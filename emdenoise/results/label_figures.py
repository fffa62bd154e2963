"""What a report shows of labels: outlines over the images, particles that are found, missed and invented, and sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.dataset.record import PARTICLE_LABEL
from emdenoise.evaluation.metrics.instances import FOUND_IOU, compare_sizes
from emdenoise.evaluation.particle_tally import ParticleTally, detect_particles
from emdenoise.evaluation.particles import Particles, separate_particles
from emdenoise.results.figures import choose_colours, draw_panels, draw_sizes
from emdenoise.results.outlines import Outlines, draw_outlines

TRUE_COLOUR, PREDICTED_COLOUR = (230, 159, 0), (86, 180, 233)
FATES = {"found": (86, 180, 233), "missed": (240, 228, 66), "invented": (213, 94, 0)}
"""What becomes of particles, as `Detection` names it, and the colours of their outlines: of Okabe and Ito."""
ROW_PX = 1120
"""Pixels that the pictures of a row share, about the width of the page."""


@dataclass(frozen=True)
class Exhibit:
    """A figure with its words.

    Attributes
    ----------
    heading : str
    alt : str
        For those who do not see it.
    png : bytes
    note : str
        How to read it.
    """

    heading: str
    alt: str
    png: bytes
    note: str


def show_outlines(
    images: Sequence[npt.NDArray[Any]],
    masks: Mapping[str, Sequence[npt.NDArray[Any]]],
    captions: Mapping[str, Sequence[str]],
    label_names: Sequence[str],
) -> Exhibit:
    """Draw the outlines of the labels over each image.

    Of two labels, those of the truth and of a method lie over each other in two colours; more labels have one colour
    each, and the truth has a picture of its own.

    Parameters
    ----------
    images : sequence of ndarray of float32, shape (height, width)
    masks : mapping of str to sequence of ndarray of int, shape (height, width)
        By method, the truth last.
    captions : mapping of str to sequence of str
        Text over each picture; where there is none, the name.
    label_names : sequence of str
        The first is drawn only as what lies outside of the others.

    Returns
    -------
    Exhibit
    """
    *methods, truth = masks
    drawn = label_names[1:]
    if len(drawn) == 1:
        shown, legend = methods, {"true": TRUE_COLOUR, "predicted": PREDICTED_COLOUR}
        note = (
            f"Each row is one test image. Outlines of the label {drawn[0]}: orange is the true outline, the thin blue "
            "line on top of it the predicted one. Orange alone is missed, blue alone is invented."
        )
    else:
        shown, legend = [*methods, truth], dict(zip(drawn, choose_colours(len(drawn)), strict=True))
        note = (
            f"Each row is one test image. Each label has one colour, but for {label_names[0]}, which is the rest; the "
            "last column is the truth."
        )

    def layer(name: str, row: int) -> list[Outlines]:
        mask = masks[name][row]
        if len(drawn) == 1:
            return [Outlines(masks[truth][row], TRUE_COLOUR, is_wide=True), Outlines(mask, PREDICTED_COLOUR)]
        return [
            Outlines((mask == label).astype(np.uint8), legend[label_name])
            for label, label_name in enumerate(drawn, start=1)
        ]

    rows = [
        [
            (
                captions[name][row] if name in captions else name,
                draw_outlines(image, layer(name, row), _fit(len(shown))),
            )
            for name in shown
        ]
        for row, image in enumerate(images)
    ]
    return Exhibit(
        "Outlines", "Outlines of true and predicted labels over test images", draw_panels(rows, legend), note
    )


def show_particles(
    images: Sequence[npt.NDArray[Any]],
    masks: Mapping[str, Sequence[npt.NDArray[Any]]],
    truth: Sequence[Particles],
    label_names: Sequence[str],
    tally: ParticleTally,
) -> Exhibit:
    """Draw the outlines of the particles that each method found, missed and invented.

    Parameters
    ----------
    images : sequence of ndarray of float32, shape (height, width)
    masks : mapping of str to sequence of ndarray of int, shape (height, width)
        Labels of each image, by method.
    truth : sequence of ndarray of int, shape (height, width)
        Number of the true particle of each pixel, 0 for none.
    label_names : sequence of str
        One is `particle`.
    tally : ParticleTally
        Of the network over all test images.

    Returns
    -------
    Exhibit
    """
    particle = list(label_names).index(PARTICLE_LABEL)
    rows = []
    for row, image in enumerate(images):
        panels = []
        for name, predicted in masks.items():
            detection = detect_particles(separate_particles(predicted[row] == particle), truth[row])
            layers = [Outlines(getattr(detection, fate), colour, is_wide=True) for fate, colour in FATES.items()]
            counts = ", ".join(f"{count} {fate}" for count, fate in zip(detection.count_each(), FATES, strict=True))
            panels.append((f"{name}: {counts}", draw_outlines(image, layers, _fit(len(masks)))))
        rows.append(panels)
    note = (
        "Particles are counted as in emdenoise predict. A true and a predicted particle are a match if their "
        f"intersection over union is at least {FOUND_IOU:g}, as AP50 (COCO) counts. Blue: predicted particles that "
        "match (found); yellow: true ones that nothing matches (missed); red: predicted ones that match nothing "
        "(invented). "
        f"In all {tally.num_images} test images the network found {tally.num_found} of "
        f"{tally.num_found + tally.num_missed} particles, missed {tally.num_missed} and invented {tally.num_invented}."
    )
    return Exhibit("Particles", "Particles that are found, missed and invented", draw_panels(rows, FATES), note)


def show_sizes(tally: ParticleTally) -> Exhibit:
    """Draw the histograms of the diameters of true and predicted particles of all test images."""
    diameters = tally.list_diameters()
    true, predicted = diameters["true"], diameters["predicted"]
    sentences = [
        f"Diameters of the discs of the same area as the particles in all {tally.num_images} test images.",
        "Bars are the true ones, the line those that the network predicts.",
        *(
            f"{len(values)} {name} ones have the median {np.median(values):.3g} {tally.unit}."
            for name, values in diameters.items()
            if len(values)
        ),
    ]
    if len(true) and len(predicted):
        sentences.append(f"The Kolmogorov-Smirnov distance of the two is {compare_sizes(predicted, true):.3f}.")
    else:
        empty = "true" if not len(true) else "predicted"
        sentences.append(f"No {empty} particle is whole, so the two are not compared.")
    sentences.append(
        f"Particles that the border of the image cuts are left out: {tally.num_cut['true']} true and "
        f"{tally.num_cut['predicted']} predicted ones."
    )
    if tally.unit == "px":
        sentences.append("The pixel size of some images is not known, so sizes are in pixels.")
    title = f"Particles in {tally.num_images} test images"
    return Exhibit(
        "Sizes of the particles",
        "Histograms of the diameters of true and predicted particles",
        draw_sizes(diameters, tally.unit, title),
        " ".join(sentences),
    )


def _fit(num_columns: int) -> int:
    """Divide the width of the page."""
    return ROW_PX // num_columns if num_columns > 1 else ROW_PX * 2 // 3
