"""Figures of a search: what its trials tried and reached, and which settings mattered."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from emdenoise.results.figures import STYLE, TRAINING_COLOUR, VALIDATION_COLOUR, to_png

NOT_SET = -0.12
"""Where a line passes an axis whose setting the trial does not have, below its lowest value."""
MAX_TICKS = 5


class Axis(NamedTuple):
    """An axis of parallel coordinates.

    Attributes
    ----------
    label : str
        With the unit.
    values : sequence of float, str or None
        One of each trial: numbers, or text of a few kinds; None where the trial has none.
    is_log : bool
        Whether the logarithms of the numbers are drawn.
    """

    label: str
    values: Sequence[Any]
    is_log: bool = False


def draw_parallel_coordinates(axes: Sequence[Axis], is_complete: Sequence[bool], is_larger_better: bool) -> bytes:
    """Draw each trial as a line over its settings to its score, which is the last axis and gives the colour.

    Parameters
    ----------
    axes : sequence of Axis
    is_complete : sequence of bool
        Of each trial; the others are thin and grey, and end before the last axis.
    is_larger_better : bool
        Of the last axis; the best trial is drawn thick.

    Returns
    -------
    bytes
        PNG.
    """
    places = np.array([_place(axis)[0] for axis in axes])
    scores = np.array([value if done else math.nan for value, done in zip(axes[-1].values, is_complete, strict=True)])
    low, high = np.nanmin(scores), np.nanmax(scores)
    colours = matplotlib.colormaps["viridis_r" if is_larger_better else "viridis"]  # the best are dark
    best = int(np.nanargmax(scores) if is_larger_better else np.nanargmin(scores))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(6.0, 1.7 * len(axes)), 4.2), layout="constrained")
        canvas = figure.subplots()
        for number in sorted(range(len(is_complete)), key=lambda number: (number == best, is_complete[number])):
            if is_complete[number]:
                colour = colours((scores[number] - low) / (high - low) if high > low else 1.0)
                canvas.plot(places[:, number], color=colour, lw=3 if number == best else 1, alpha=0.9)
            else:
                canvas.plot(places[:-1, number], color=TRAINING_COLOUR, lw=0.6, alpha=0.5)
        for index, axis in enumerate(axes):
            canvas.axvline(index, color="#888888", lw=0.8)
            for place, text in _place(axis)[1].items():
                canvas.text(
                    index + 0.03,
                    place,
                    text,
                    fontsize=8,
                    va="center",
                    bbox={"color": "white", "alpha": 0.7, "lw": 0, "pad": 1},
                )
        canvas.set_xticks(range(len(axes)), [axis.label.replace(".", ".\n") for axis in axes])
        canvas.set_xlim(-0.1, len(axes) - 0.5)
        canvas.set_ylim(NOT_SET - 0.08, 1.08)
        canvas.set_yticks([])
        canvas.spines[["left", "bottom"]].set_visible(False)
        return to_png(figure)


def _place(axis: Axis) -> tuple[list[float], dict[float, str]]:
    """Place the values of an axis between 0 and 1, those that are None below it; and its labels by their place."""
    known = [value for value in axis.values if value is not None]
    labels = {NOT_SET: "not set"} if len(known) < len(axis.values) else {}
    if any(isinstance(value, str) for value in known):
        texts = list(dict.fromkeys(map(str, known)))
        spread = {text: index / max(1, len(texts) - 1) for index, text in enumerate(texts)}
        places = [NOT_SET if value is None else spread[str(value)] for value in axis.values]
        return places, labels | {place: text for text, place in spread.items()}
    if not known:
        return [NOT_SET] * len(axis.values), labels
    ends = [math.log(end) if axis.is_log else float(end) for end in (min(known), max(known))]
    width = ends[1] - ends[0] or 1.0
    places = [
        NOT_SET if value is None else ((math.log(value) if axis.is_log else value) - ends[0]) / width
        for value in axis.values
    ]
    marks = np.linspace(0, 1, MAX_TICKS if ends[1] > ends[0] else 1)
    numbers = [ends[0] + mark * width for mark in marks]
    return places, labels | {
        float(mark): f"{math.exp(number) if axis.is_log else number:.4g}"
        for mark, number in zip(marks, numbers, strict=True)
    }


def draw_shares(shares: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw which share of the spread of each value each setting explains, as bars.

    Parameters
    ----------
    shares : mapping of str to mapping of str to float
        By what is explained and by setting.

    Returns
    -------
    bytes
        PNG.
    """
    names = list(next(iter(shares.values())))[::-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.0 + 3.0 * len(shares), 1.0 + 0.3 * len(names)), layout="constrained")
        for axis, (label, found) in zip(figure.subplots(1, len(shares), squeeze=False)[0], shares.items(), strict=True):
            bars = axis.barh(names, [100 * found[name] for name in names], color=VALIDATION_COLOUR)
            axis.bar_label(bars, fmt="%.0f %%", padding=3)
            axis.set(xlabel=f"share of the spread of {label} [%]", xlim=(0, 110))
        return to_png(figure)
