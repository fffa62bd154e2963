"""Scores by the conditions of the images: curves against the dose with the area below them, and means by class."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Bounds = dict[str, float | None]
"""``mean``, ``low`` and ``high``; None where they are not defined."""
Summarise = Callable[[str, Values, Sequence[str]], Bounds]
"""``(purpose, values, specimens) -> bounds``; the purpose names the random numbers of the interval."""
Scores = Mapping[str, Mapping[str, Values]]
"""Scores of each image by method and metric."""

MAX_DOSE_BINS = 6
"""Two for each third of the doses."""
MIN_IMAGES_PER_BIN = 4
"""On average; with fewer images there are fewer bins."""


def group_by_dose(doses_e_per_angstrom2: Sequence[float]) -> list[npt.NDArray[np.intp]]:
    """Group images into bins of equal width in the logarithm of the dose, from the lowest dose to the highest.

    Parameters
    ----------
    doses_e_per_angstrom2 : sequence of float
        Positive, one an image.

    Returns
    -------
    list of ndarray of int
        Indices of the images of each bin that has some; empty where there are too few images, or one dose, for a curve.

    Examples
    --------
    >>> [bin.tolist() for bin in group_by_dose([100, 800, 120, 700, 110, 130, 640, 650])]
    [[0, 2, 4, 5], [1, 3, 6, 7]]
    """
    logarithms = np.log(doses_e_per_angstrom2)
    num_bins = min(MAX_DOSE_BINS, len(logarithms) // MIN_IMAGES_PER_BIN)
    if num_bins < 2 or np.ptp(logarithms) == 0:
        return []
    inner_edges = np.linspace(logarithms.min(), logarithms.max(), num_bins + 1)[1:-1]
    bins = np.searchsorted(inner_edges, logarithms, side="right")
    return [np.flatnonzero(bins == number) for number in range(num_bins) if (bins == number).any()]


def average_over_log_dose(doses_e_per_angstrom2: Sequence[float], means: Sequence[float | None]) -> float:
    """Compute the mean of a curve over the logarithm of the dose: the area below it, divided by its width.

    Parameters
    ----------
    doses_e_per_angstrom2 : sequence of float
        Rising.
    means : sequence of float or None
        Of a score at these doses; points that are None are left out.

    Returns
    -------
    float
        ``Σ ½ (s_i + s_{i+1}) ln(D_{i+1} / D_i) / ln(D_n / D_1)``, the trapezoidal rule; NaN with fewer than two points.

    Examples
    --------
    >>> round(average_over_log_dose([100, 1000, 10000], [0.0, 1.0, 1.0]), 9)
    0.75
    """
    known = [(np.log(dose), mean) for dose, mean in zip(doses_e_per_angstrom2, means, strict=True) if mean is not None]
    if len(known) < 2:
        return np.nan
    places, heights = np.array(known, np.float64).T
    return float(np.trapezoid(heights, places) / (places[-1] - places[0]))


def summarise_by_dose(
    groups: Mapping[str, Scores], specimens: Sequence[str], doses_e_per_angstrom2: Sequence[float], summarise: Summarise
) -> dict[str, Any] | None:
    """Summarise scores in bins of the dose.

    Parameters
    ----------
    groups : mapping of str to mapping
        Scores of each image by method and metric, in groups: ``methods``, ``differences``.
    specimens : sequence of str
        Of each image.
    doses_e_per_angstrom2 : sequence of float
        Of each image [e⁻/Å²].
    summarise : callable

    Returns
    -------
    dict or None
        ``bins``, each with the geometric mean ``dose_e_per_angstrom2`` and ``num_images``; for each group, method and
        metric the ``curve``, one mean with its interval a bin, and its ``mean_over_log_dose``. None without bins.
    """
    bins = group_by_dose(doses_e_per_angstrom2)
    if not bins:
        return None
    centres = [float(np.exp(np.log(np.asarray(doses_e_per_angstrom2)[images]).mean())) for images in bins]

    def summarise_curve(name: str, values: Values) -> dict[str, Any]:
        curve = [
            summarise(f"{name} dose {number}", values[images], [specimens[index] for index in images])
            for number, images in enumerate(bins)
        ]
        mean = average_over_log_dose(centres, [point["mean"] for point in curve])
        return {"curve": curve, "mean_over_log_dose": round_number(mean)}

    described = [
        {"dose_e_per_angstrom2": round_number(centre), "num_images": len(images)}
        for centre, images in zip(centres, bins, strict=True)
    ]
    return {"bins": described} | {
        group: {
            method: {metric: summarise_curve(f"{group} {method} {metric}", values) for metric, values in scores.items()}
            for method, scores in methods.items()
        }
        for group, methods in groups.items()
    }


def summarise_by_class(
    methods: Scores, specimens: Sequence[str], classes: Sequence[str], summarise: Summarise
) -> dict[str, Any] | None:
    """Summarise scores by the class of the images.

    Parameters
    ----------
    methods : mapping of str to mapping
        Scores of each image by method and metric.
    specimens, classes : sequence of str
        Of each image; an empty class is not known.
    summarise : callable

    Returns
    -------
    dict or None
        By class: ``num_images``, ``num_specimens`` and, by method and metric, means with intervals. None where no class
        is known.
    """
    found: dict[str, Any] = {}
    for name in sorted(set(classes) - {""}):
        images = [index for index, other in enumerate(classes) if other == name]
        of_class = [specimens[index] for index in images]
        found[name] = {
            "num_images": len(images),
            "num_specimens": len(set(of_class)),
            "methods": {
                method: {
                    metric: summarise(f"{method} {metric} class {name}", values[images], of_class)
                    for metric, values in scores.items()
                }
                for method, scores in methods.items()
            },
        }
    return found or None


def round_number(value: float) -> float | None:
    """Keep eight significant digits; JSON has no NaN and no infinity."""
    return float(f"{value:.8g}") if np.isfinite(value) else None
