"""Several views of an image, of which a network answers the mean: at several sizes, turned and mirrored."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from emdenoise.models.contract import Views
from emdenoise.resampling import plan_canvas, plan_return, resample

Images: TypeAlias = npt.NDArray[Any]
"""Of shape (num_images, height, width, channels)."""
Predict: TypeAlias = Callable[[Sequence[Images]], Images]
"""From the inputs of a network to outputs of their height and width."""
SYMMETRIES = [(num_turns, is_mirrored) for is_mirrored in (False, True) for num_turns in range(4)]
"""Those of the square: quarter turns, and whether the turned image is mirrored."""


def average_views(predict: Predict, inputs: Sequence[Images], views: Views) -> Images:
    """Average what a network answers to several views of images, each brought back to the images.

    Parameters
    ----------
    predict : callable
        Gives what may be averaged: probabilities, or intensities.
    inputs : sequence of ndarray, shape (num_images, height, width, channels)
        Whole images, the fields in the order that `predict` takes.
    views : Views
        For each of its long sides the image is fitted into a square whose border mirrors it.

    Returns
    -------
    ndarray, shape (num_images, height, width, output_channels)

    Examples
    --------
    >>> image = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)[None, ..., None]
    >>> average_views(lambda inputs: inputs[0].cumsum(axis=2), [image], Views(symmetries=True))[0, ..., 0].tolist()
    [[2.25, 3.25], [4.25, 5.25]]
    """
    see = partial(_average_symmetries, predict) if views.symmetries else predict
    if not views.long_sides_px:
        return see(inputs)
    sizes = (_see_at(side, see, inputs) for side in views.long_sides_px)
    return _average(sizes, len(views.long_sides_px))


def _see_at(side_px: int, see: Predict, inputs: Sequence[Images]) -> Images:
    height, width = inputs[0].shape[1:3]
    canvas = plan_canvas(height, width, side_px)
    outputs = see([_resample_all(images, *canvas) for images in inputs])
    return _resample_all(outputs, *plan_return(height, width, side_px))


def _resample_all(images: Images, rows: sparse.csr_array, columns: sparse.csr_array) -> Images:
    """Resample each channel of each image."""
    resampled = np.empty((len(images), rows.shape[0], columns.shape[0], images.shape[-1]), np.float32)
    for index, channel in np.ndindex(len(images), images.shape[-1]):
        resampled[index, ..., channel] = resample(images[index, ..., channel], rows, columns)
    return resampled


def _average_symmetries(predict: Predict, inputs: Sequence[Images]) -> Images:
    def see_turned(num_turns: int, is_mirrored: bool) -> Images:
        outputs = predict([_turn(images, num_turns, is_mirrored) for images in inputs])
        return np.rot90(outputs[:, :, ::-1] if is_mirrored else outputs, -num_turns, axes=(1, 2))

    return _average((see_turned(*symmetry) for symmetry in SYMMETRIES), len(SYMMETRIES))


def _turn(images: Images, num_turns: int, is_mirrored: bool) -> Images:
    turned = np.rot90(images, num_turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if is_mirrored else turned)


def _average(answers: Iterable[Images], num_answers: int) -> Images:
    """Average answers of which no more than two are in the memory at a time."""
    mean: Images = reduce(np.add, answers) / np.float32(num_answers)
    return mean
