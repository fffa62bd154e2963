"""All figures, as PNG in memory; the only module that knows matplotlib."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}
Point = tuple[int | None, float, float, float]
"""Number of images, mean, lower and upper bound."""
Bounds = tuple[float, float, float]
"""Mean, lower and upper bound."""
TRAINING_COLOUR, VALIDATION_COLOUR = "#9aa5b1", "#0b6e99"
LINES = {"training": ("loss", TRAINING_COLOUR), "validation": ("validation_loss", VALIDATION_COLOUR)}
ADVERSARIAL_LINES = {
    "training, absolute error": ("l1_loss", TRAINING_COLOUR),
    "validation, absolute error": ("validation_loss", VALIDATION_COLOUR),
    "generator, adversarial": ("adversarial_loss", "#c2703d"),
    "discriminator": ("discriminator_loss", "#6b4c9a"),
}
"""Labels, losses and colours of a learning curve."""


def draw_learning_curve(history: Sequence[Mapping[str, float]]) -> bytes:
    """Draw training and validation loss over the epochs, with the learning rate beside them.

    Parameters
    ----------
    history : sequence of dict
        ``epoch``, ``loss``, ``validation_loss``, ``learning_rate`` of each epoch; of Pix2Pix also ``l1_loss``,
        ``adversarial_loss`` and ``discriminator_loss``, which are drawn instead of their sum.

    Returns
    -------
    bytes
        PNG.
    """
    epochs = [figures["epoch"] for figures in history]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        losses, rates = figure.subplots(1, 2, width_ratios=(2, 1))
        lines = ADVERSARIAL_LINES if "discriminator_loss" in history[0] else LINES
        for label, (name, colour) in lines.items():
            losses.plot(epochs, [figures[name] for figures in history], "o-", color=colour, label=label, ms=3)
        is_positive = all(figures[name] > 0 for figures in history for name, _ in lines.values())
        losses.set(xlabel="epoch", ylabel="loss", yscale="log" if is_positive else "linear")  # some losses are in dB
        losses.legend(frameon=False)
        rates.plot(epochs, [figures["learning_rate"] for figures in history], "o-", color=TRAINING_COLOUR, ms=3)
        rates.set(xlabel="epoch", ylabel="learning rate at the end")
        rates.set_ylim(bottom=0)
        return _to_png(figure)


def draw_pictures(
    pictures: Mapping[str, Sequence[npt.NDArray[Any]]],
    captions: Mapping[str, Sequence[str]],
    colours: Mapping[str, str],
) -> bytes:
    """Draw the same images by several methods side by side, one row an image.

    The images of a row have one grey scale, from the 0.1 to the 99.9 percentile of the last of them, the truth; masks
    have one colour a label.

    Parameters
    ----------
    pictures : mapping of str to sequence of ndarray, shape (height, width)
        By method, the truth last.
    captions : mapping of str to sequence of str
        Text over each picture; where there is none, the name.
    colours : mapping of str to str
        By name: ``gray`` on the scale of the row, ``own gray``, or ``labels``; gray where a name is not there.

    Returns
    -------
    bytes
        PNG.
    """
    names = list(pictures)
    num_images = len(pictures[names[-1]])
    shades = {name: colours.get(name, "gray") for name in names}
    grey = [name for name in names if shades[name] == "gray"]
    largest = max((int(mask.max()) for name in names if shades[name] == "labels" for mask in pictures[name]), default=0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * len(names), 2.55 * num_images), layout="constrained")
        axes = figure.subplots(num_images, len(names), squeeze=False)
        for row in range(num_images):
            low, high = np.percentile(pictures[grey[-1]][row], [0.1, 99.9]) if grey else (0, 1)
            for column, name in enumerate(names):
                axis = axes[row, column]
                scale = {"cmap": "gray", "vmin": low, "vmax": high}
                if shades[name] == "own gray":
                    scale = {"cmap": "gray"}
                elif shades[name] == "labels":
                    scale = {"cmap": "viridis", "vmin": 0, "vmax": max(1, largest)}
                axis.imshow(pictures[name][row], interpolation="nearest", **scale)
                axis.set_axis_off()
                axis.set_title(captions[name][row] if name in captions else name, fontsize=9, color="#333333")
        return _to_png(figure)


def draw_dose_curves(
    doses_e_per_angstrom2: Sequence[float], panels: Mapping[str, Mapping[str, Sequence[Bounds]]]
) -> bytes:
    """Draw scores against the dose on a logarithmic axis, a panel a score, one curve a method with its interval.

    Parameters
    ----------
    doses_e_per_angstrom2 : sequence of float
        Of the points [e⁻/Å²].
    panels : mapping of str to mapping of str to sequence of (mean, lower bound, upper bound)
        By what is drawn and by method; NaN is left out. The curve of ``network`` is drawn last and strongest.

    Returns
    -------
    bytes
        PNG.
    """
    methods = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.9 * columns, 2.9 * rows + 0.5), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis, (label, curves) in zip(axes, panels.items(), strict=False):
            for name, points in curves.items():
                means, lows, highs = np.array(points, np.float64).T
                is_network = name == "network"
                colour = VALIDATION_COLOUR if is_network else f"C{1 + methods.index(name) % 9}"
                line = {"color": colour, "lw": 2.4 if is_network else 1.1, "zorder": 3 if is_network else 2}
                axis.plot(doses_e_per_angstrom2, means, "o-", ms=3, label=name, **line)
                if is_network:
                    axis.fill_between(doses_e_per_angstrom2, lows, highs, color=colour, alpha=0.18, lw=0)
            axis.set_xscale("log")
            axis.set(xlabel="dose [e⁻/Å²]", ylabel=label)
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        handles = {
            str(label): line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside upper center", ncols=min(6, len(handles)), frameon=False)
        return _to_png(figure)


def draw_comparison(panels: Mapping[str, Mapping[str, Sequence[Point]]]) -> bytes:
    """Draw quantities against the number of training images, a panel each, one curve a variant.

    Parameters
    ----------
    panels : mapping of str to mapping of str to sequence of (num_images, mean, low, high)
        By what is drawn and by variant, in rising order; None images stand for all and are drawn last. Bounds that are
        NaN are left out.

    Returns
    -------
    bytes
        PNG.
    """
    curves = [points for variants in panels.values() for points in variants.values()]
    numbers = sorted({point[0] for points in curves for point in points}, key=lambda number: number or float("inf"))
    names = list(dict.fromkeys(name for variants in panels.values() for name in variants))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1 + 3.9 * len(panels), 3.4), layout="constrained")
        for axis, (label, variants) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            for name, points in variants.items():
                index = names.index(name)
                places = [numbers.index(point[0]) + 0.06 * (index - (len(names) - 1) / 2) for point in points]
                means, lows, highs = (np.array([point[column] for point in points], float) for column in (1, 2, 3))
                bars = {"fmt": "o-", "ms": 4, "capsize": 3, "label": name, "color": f"C{index}"}
                axis.errorbar(places, means, yerr=[means - lows, highs - means], **bars)
            if label.startswith("over "):
                axis.axhline(0, color="#888888", lw=0.8)
            axis.set_xticks(range(len(numbers)), ["all" if number is None else str(number) for number in numbers])
            axis.set(xlabel="training images", ylabel=label)
        figure.axes[0].legend(frameon=False)
        return _to_png(figure)


def draw_matrices(matrices: Mapping[str, npt.NDArray[np.float64]], conditions: Sequence[str], metric: str) -> bytes:
    """Draw a score by the images that were learned from (rows) and tested on (columns), one matrix a variant.

    Parameters
    ----------
    matrices : mapping of str to ndarray of float64, shape (num_conditions, num_conditions)
        By variant; NaN is left white.
    conditions : sequence of str
    metric : str
        What the score is.

    Returns
    -------
    bytes
        PNG.
    """
    low, high = (function([function(matrix) for matrix in matrices.values()]) for function in (np.nanmin, np.nanmax))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 2.9 * len(matrices), 3.2), layout="constrained")
        for axis, (name, matrix) in zip(
            figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True
        ):
            axis.imshow(matrix, cmap="viridis", vmin=low, vmax=high)
            axis.set(title=f"{name}: {metric}", xlabel="tested on", ylabel="trained on")
            axis.set_xticks(range(len(conditions)), conditions)
            axis.set_yticks(range(len(conditions)), conditions)
            for (row, column), value in np.ndenumerate(matrix):
                if np.isnan(value):
                    continue
                is_dark = value < (low + high) / 2
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if is_dark else "black")
        return _to_png(figure)


def draw_sizes(diameters: npt.NDArray[np.float64], unit: str, title: str) -> bytes:
    """Draw the histogram of the diameters of particles, with their median.

    Parameters
    ----------
    diameters : ndarray of float64, shape (num_particles,)
        There may be none.
    unit : str
        Of the diameters.
    title : str
        Over the figure.

    Returns
    -------
    bytes
        PNG.
    """
    num_bins = int(np.clip(np.ceil(2 * np.cbrt(len(diameters))), 1, 50))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axis = figure.subplots()
        if len(diameters):
            axis.hist(diameters, bins=num_bins, color=TRAINING_COLOUR, edgecolor="white")
            axis.axvline(float(np.median(diameters)), color=VALIDATION_COLOUR, lw=2, label="median")
            axis.legend(frameon=False)
        axis.set(xlabel=f"equivalent diameter [{unit}]", ylabel="particles")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_title(title, fontsize=9, color="#333333")
        return _to_png(figure)


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
