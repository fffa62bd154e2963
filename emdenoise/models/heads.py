"""HEADS: what the outputs of a network mean, by the kind of field that they answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.dataset.fields import Kind


@dataclass(frozen=True)
class Head:
    """How outputs become results.

    Attributes
    ----------
    kind : str
        Of the field that is answered, as in `dataset/fields.py`.
    dtype : str
        Of the results.
    count_channels : callable
        ``(label_names) -> output channels`` that a network needs.
    decode : callable
        ``outputs -> results``: (batch, height, width, channels) → (batch, height, width).
    activate : callable
        ``outputs -> outputs`` of which a mean makes sense, and which `decode` takes, too: probabilities of labels.
    has_intensity : bool
        Whether results are intensities like those of the image, which go back to the units of its file.
    colours : str
        How results are drawn: ``gray`` by the grey values of the truth, ``labels`` with one colour each.
    verb : str
        What a network with this head does to an image, in a file name: ``denoised``.
    ending : str
        Of the file that a result goes to unless its user says otherwise.
    """

    kind: Kind
    dtype: str
    count_channels: Callable[[Sequence[str]], int]
    decode: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    activate: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    has_intensity: bool
    colours: str
    verb: str
    ending: str


def decode_intensity(outputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Take the only channel."""
    return np.asarray(outputs, dtype=np.float32)[..., 0]


def decode_labels(logits: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Take the label of the largest logit or probability."""
    return logits.argmax(axis=-1).astype(np.uint8)


def decode_wave(outputs: npt.NDArray[Any]) -> npt.NDArray[np.complex64]:
    """Take the two channels as real and imaginary part."""
    return (outputs[..., 0] + 1j * outputs[..., 1]).astype(np.complex64)


def keep_outputs(outputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Take the outputs as they are."""
    return outputs


def compute_probabilities(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Compute the probability of each label, the softmax that the losses of masks take.

    Examples
    --------
    >>> compute_probabilities(np.log([[1.0, 3.0]])).round(6).tolist()
    [[0.25, 0.75]]
    """
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: npt.NDArray[Any] = shares / shares.sum(axis=-1, keepdims=True)
    return probabilities


HEADS: dict[Kind, Head] = {
    "intensity": Head(
        "intensity", "float32", lambda names: 1, decode_intensity, keep_outputs, True, "gray", "denoised", ".tif"
    ),
    "labels": Head("labels", "uint8", len, decode_labels, compute_probabilities, False, "labels", "segmented", ".tif"),
    "complex": Head(
        "complex", "complex64", lambda names: 2, decode_wave, keep_outputs, False, "gray", "restored", ".h5"
    ),
}
