"""All figures, as PNG in memory; the only module that knows matplotlib."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}
TRAINING_COLOUR, VALIDATION_COLOUR = "#9aa5b1", "#0b6e99"


def draw_learning_curve(history: Sequence[Mapping[str, float]]) -> bytes:
    """Draw training and validation loss over the epochs, with the learning rate beside them.

    Parameters
    ----------
    history : sequence of dict
        ``epoch``, ``loss``, ``validation_loss``, ``learning_rate`` of each epoch.

    Returns
    -------
    bytes
        PNG.
    """
    epochs = [figures["epoch"] for figures in history]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        losses, rates = figure.subplots(1, 2, width_ratios=(2, 1))
        losses.semilogy(
            epochs, [figures["loss"] for figures in history], "o-", color=TRAINING_COLOUR, label="training", ms=3
        )
        losses.semilogy(
            epochs,
            [figures["validation_loss"] for figures in history],
            "o-",
            color=VALIDATION_COLOUR,
            label="validation",
            ms=3,
        )
        losses.set(xlabel="epoch", ylabel="loss")
        losses.legend(frameon=False)
        rates.plot(epochs, [figures["learning_rate"] for figures in history], "o-", color=TRAINING_COLOUR, ms=3)
        rates.set(xlabel="epoch", ylabel="learning rate at the end")
        rates.set_ylim(bottom=0)
        return _to_png(figure)


def draw_pictures(pictures: Mapping[str, npt.NDArray[np.floating]], scores: Mapping[str, Sequence[float]]) -> bytes:
    """Draw the same images by several methods side by side, one row an image.

    Each row has one grey scale, from the 0.1 to the 99.9 percentile of its last column, the truth.

    Parameters
    ----------
    pictures : mapping of str to ndarray of float, shape (num_images, height, width)
        By method, the truth last.
    scores : mapping of str to sequence of float
        PSNR of each image by method [dB]; methods without are the truth.

    Returns
    -------
    bytes
        PNG.
    """
    names = list(pictures)
    truth = pictures[names[-1]]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * len(names), 2.55 * len(truth)), layout="constrained")
        axes = figure.subplots(len(truth), len(names), squeeze=False)
        for row in range(len(truth)):
            low, high = np.percentile(truth[row], [0.1, 99.9])
            for column, name in enumerate(names):
                axis = axes[row, column]
                axis.imshow(pictures[name][row], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
                axis.set_axis_off()
                caption = f"{name}  {scores[name][row]:.1f} dB" if name in scores else name
                axis.set_title(caption, fontsize=9, color="#333333")
        return _to_png(figure)


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
