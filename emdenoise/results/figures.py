"""All figures, as PNG in memory; the only module that knows matplotlib."""

import io
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
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
VARIANT_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Those of Okabe and Ito, which the colour-blind tell apart; markers tell apart what has the same colour."""
MARKERS = "osD^v"
OUTLINE_COLOURS = ((240, 228, 66), (86, 180, 233), (213, 94, 0), (0, 158, 115), (204, 121, 167))
"""The bright ones of Okabe and Ito."""
DPI, GAP_PX, TITLE_PX, LEGEND_PX, MIN_PANEL_PX = 100, 14, 22, 34, 360
"""Of pictures that are shown pixel by pixel."""


class Panel(NamedTuple):
    """A quantity against the number of training images.

    Attributes
    ----------
    title, heading : str
        What is shown, in words; and the label of the axis, with the unit.
    curves : mapping of str to sequence of (num_images, mean, low, high)
        By variant, in rising order; None images stand for all and are drawn last. Bounds that are NaN are left out.
    has_zero_line : bool
    """

    title: str
    heading: str
    curves: Mapping[str, Sequence[Point]]
    has_zero_line: bool = False


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


def draw_comparison(panels: Sequence[Panel], title: str, caption: str) -> bytes:
    """Draw quantities against the number of training images, side by side, one curve a variant.

    Parameters
    ----------
    panels : sequence of Panel
    title, caption : str
        What is compared, above; and how to read it, below.

    Returns
    -------
    bytes
        PNG.
    """
    curves = [points for panel in panels for points in panel.curves.values()]
    numbers = sorted({point[0] for points in curves for point in points}, key=lambda number: number or float("inf"))
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.7 * len(panels), 4.2), layout="constrained")
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for name, points in panel.curves.items():
                index = names.index(name)
                places = [numbers.index(point[0]) + 0.06 * (index - (len(names) - 1) / 2) for point in points]
                means, lows, highs = (np.array([point[column] for point in points], float) for column in (1, 2, 3))
                line = {"color": VARIANT_COLOURS[index % len(VARIANT_COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
                axis.errorbar(places, means, yerr=[means - lows, highs - means], ms=4, capsize=3, label=name, **line)
            if panel.has_zero_line:
                axis.axhline(0, color="#888888", lw=0.8)
            axis.set_xticks(range(len(numbers)), ["all" if number is None else str(number) for number in numbers])
            axis.set(xlabel="number of training images", ylabel=panel.heading)
            axis.set_title(panel.title, fontsize=9, loc="left")
        handles = {
            str(label): line
            for axis in figure.axes
            for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend([handles[name] for name in names], names, loc="outside right upper", frameon=False)
        return _to_png(_describe(figure, title, caption))


def draw_matrices(
    matrices: Mapping[str, npt.NDArray[np.float64]], conditions: Sequence[str], heading: str, title: str, caption: str
) -> bytes:
    """Draw a score by the images that were learned from (rows) and tested on (columns), one matrix a variant.

    Parameters
    ----------
    matrices : mapping of str to ndarray of float64, shape (num_conditions, num_conditions)
        By variant; NaN is left white.
    conditions : sequence of str
    heading : str
        What the score is, with its unit.
    title, caption : str
        As for `draw_comparison`.

    Returns
    -------
    bytes
        PNG.
    """
    low, high = (function([function(matrix) for matrix in matrices.values()]) for function in (np.nanmin, np.nanmax))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 2.9 * len(matrices), 4.8), layout="constrained")
        axes = figure.subplots(1, len(matrices), squeeze=False)[0]
        for axis, (name, matrix) in zip(axes, matrices.items(), strict=True):
            scores = axis.imshow(matrix, cmap="viridis", vmin=low, vmax=high)
            axis.set(xlabel="tested on", ylabel="trained on")
            axis.set_title(name, fontsize=9)
            axis.set_xticks(range(len(conditions)), conditions)
            axis.set_yticks(range(len(conditions)), conditions)
            for (row, column), value in np.ndenumerate(matrix):
                if np.isnan(value):
                    continue
                is_dark = value < (low + high) / 2
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if is_dark else "black")
        figure.colorbar(scores, ax=list(axes), shrink=0.7, label=heading)
        return _to_png(_describe(figure, title, caption))


def draw_sizes(diameters: Mapping[str, npt.NDArray[np.float64]], unit: str, title: str) -> bytes:
    """Draw histograms of the diameters of particles over the same bins, with their medians.

    Parameters
    ----------
    diameters : mapping of str to ndarray of float64, shape (num_particles,)
        By what they are of; there may be none.
    unit : str
        Of the diameters.
    title : str
        Over the figure.

    Returns
    -------
    bytes
        PNG.
    """
    largest = max(map(len, diameters.values()))
    num_bins = int(np.clip(np.ceil(2 * np.cbrt(largest)), 1, 50))
    edges = np.histogram_bin_edges(np.concatenate(list(diameters.values())), num_bins)
    bars: tuple[dict[str, Any], ...] = (
        {"color": TRAINING_COLOUR, "edgecolor": "white"},
        {"color": VALIDATION_COLOUR, "histtype": "step", "lw": 2},
    )
    lines = (VALIDATION_COLOUR,) if len(diameters) == 1 else ("#333333", VALIDATION_COLOUR)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axis = figure.subplots()
        for (name, values), style, colour in zip(diameters.items(), bars, lines, strict=False):
            if len(values):
                axis.hist(values, bins=edges.tolist(), label=name, **style)
                label = f"median {name}".strip()
                axis.axvline(float(np.median(values)), color=colour, lw=2, ls="--", label=label)
        if largest:
            axis.legend(frameon=False)
        axis.set(xlabel=f"equivalent diameter [{unit}]", ylabel="particles")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_title(title, fontsize=9, color="#333333")
        return _to_png(figure)


def draw_panels(
    rows: Sequence[Sequence[tuple[str, npt.NDArray[np.uint8]]]], legend: Mapping[str, tuple[int, int, int]]
) -> bytes:
    """Show pictures in colour pixel by pixel, in rows, each with its title, below a legend.

    Parameters
    ----------
    rows : sequence of sequence of (str, ndarray of uint8, shape (height, width, 3))
        Title and picture; as many in each row.
    legend : mapping of str to (int, int, int)
        What each colour means.

    Returns
    -------
    bytes
        PNG.
    """
    widths = [max(MIN_PANEL_PX, *(picture.shape[1] for _, picture in column)) for column in zip(*rows, strict=True)]
    heights = [max(picture.shape[0] for _, picture in row) + TITLE_PX + GAP_PX for row in rows]
    width, height = sum(widths) + GAP_PX * (len(widths) - 1), LEGEND_PX + sum(heights)
    lines = [Line2D([], [], color="#{:02x}{:02x}{:02x}".format(*colour), lw=4) for colour in legend.values()]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        figure.legend(lines, legend, loc="upper left", ncols=len(lines), frameon=False, borderaxespad=0.2)
        top = height - LEGEND_PX
        for row, row_height in zip(rows, heights, strict=True):
            left = 0
            for (title, picture), column_width in zip(row, widths, strict=True):
                figure.text(left / width, (top - TITLE_PX + 6) / height, title, color="#333333")
                figure.figimage(picture, left, top - TITLE_PX - picture.shape[0], origin="upper")
                left += column_width + GAP_PX
            top -= row_height
        return _to_png(figure)


def choose_colours(number: int) -> list[tuple[int, int, int]]:
    """Choose colours for outlines over grey: those of Okabe and Ito that are bright, or a rainbow if there are more."""
    if number <= len(OUTLINE_COLOURS):
        return list(OUTLINE_COLOURS[:number])
    shades = np.rint(255 * matplotlib.colormaps["turbo"](np.linspace(0, 1, number))[:, :3]).astype(int)
    return [(red, green, blue) for red, green, blue in shades.tolist()]


def _describe(figure: Figure, title: str, caption: str) -> Figure:
    """Write a title above and a caption below, in lines as wide as the figure."""
    num_letters = int(15 * figure.get_figwidth())
    figure.suptitle(fill(title, int(0.8 * num_letters)), x=0.01, ha="left", fontsize=11)
    lines = [fill(line, num_letters) for line in caption.splitlines()]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color="#333333")
    return figure


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
