"""A trained network as a denoiser or a segmenter: a function from images of any size to images or masks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Mask
from emdenoise.models.backend import choose_compilation

TILE_SIZE_PX = 512
"""Side of the pieces in which larger images are predicted [px]: about 0.3 GB of memory with the closed network."""


def find_reach(model: keras.Model) -> tuple[int, int]:
    """Find out how a network must be given a piece of an image so that the rest of the image does not matter.

    Parameters
    ----------
    model : keras.Model
        Convolutions, poolings and upsamplings of one path, as all of `MODELS` have.

    Returns
    -------
    step_px, reach_px : int
        Sides and positions must be multiples of `step_px`; pixels farther than `reach_px`, a multiple of `step_px`,
        do not change a pixel of the result.

    Examples
    --------
    >>> images = keras.Input((None, None, 1))
    >>> find_reach(keras.Model(images, keras.layers.Conv2D(1, 5, padding="same")(images)))
    (1, 2)
    """
    stride, step_px, reach_px = 1, 1, 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            reach_px += stride * (max(layer.kernel_size) // 2)
        elif isinstance(layer, keras.layers.MaxPooling2D):
            reach_px += stride
            stride *= 2
            step_px = max(step_px, stride)
        elif isinstance(layer, keras.layers.UpSampling2D):
            stride //= 2
            reach_px += stride
    return step_px, -(-reach_px // step_px) * step_px


def predict_in_tiles(
    predict: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    noisy: FloatImage,
    *,
    step_px: int,
    reach_px: int,
    tile_size_px: int = TILE_SIZE_PX,
) -> npt.NDArray[Any]:
    """Predict images of any size in tiles that overlap by the reach of the network, so that no seam shows.

    Parameters
    ----------
    predict : callable
        Images (num_images, height, width) → the same shape; sides are multiples of `step_px`.
    noisy : ndarray, shape (num_images, height, width)
        Sides that are no multiple of `step_px` are padded below and on the right by reflection.
    step_px, reach_px : int
        See `find_reach`.
    tile_size_px : int
        Largest side that is predicted at once [px], a multiple of `step_px` above twice `reach_px`.

    Returns
    -------
    ndarray, shape (num_images, height, width)
        What `predict` gives for the padded images at once, up to rounding; memory does not grow with their size.

    Raises
    ------
    ValueError
        If the tiles are too small for the reach.
    """
    height, width = noisy.shape[1:]
    padded = np.pad(noisy, [(0, 0), (0, -height % step_px), (0, -width % step_px)], mode="symmetric")
    if max(padded.shape[1:]) <= tile_size_px:
        return predict(padded)[:, :height, :width]
    if tile_size_px <= 2 * reach_px or tile_size_px % step_px:
        raise ValueError(f"tiles are {tile_size_px} px; expected a multiple of {step_px} above {2 * reach_px}")
    rows, columns = (_plan_pieces(length, tile_size_px, reach_px) for length in padded.shape[1:])
    result: npt.NDArray[Any] = np.empty(0)
    for row, inner_rows in rows:
        for column, inner_columns in columns:
            piece = predict(padded[:, row : row + tile_size_px, column : column + tile_size_px])
            if result.size == 0:
                result = np.empty(padded.shape, piece.dtype)
            result[:, inner_rows, inner_columns] = piece[
                :,
                inner_rows.start - row : inner_rows.stop - row,
                inner_columns.start - column : inner_columns.stop - column,
            ]
    return result[:, :height, :width]


def _choose_tile(reach_px: int) -> int:
    """Choose the side of the tiles, so that at least half of it is more than overlap."""
    return max(TILE_SIZE_PX, 4 * reach_px)


def _plan_pieces(length_px: int, tile_size_px: int, reach_px: int) -> list[tuple[int, slice]]:
    """Plan where the pieces along a side begin, and which pixels each decides: those it sees enough around."""
    last = max(length_px - tile_size_px, 0)
    starts = [*range(0, last, tile_size_px - 2 * reach_px), last]
    first_inner = [start + reach_px if start else 0 for start in starts]
    return [
        (start, slice(first, end))
        for start, first, end in zip(starts, first_inner, [*first_inner[1:], length_px], strict=True)
    ]


def make_denoiser(model: keras.Model) -> Callable[[FloatImage], FloatImage]:
    """Wrap a network of one output channel.

    Parameters
    ----------
    model : keras.Model
        (batch, height, width, 1) → the same shape.

    Returns
    -------
    callable
        float32 (num_images, height, width) → float32 of the same shape; all images in one batch.
    """
    model.compile(jit_compile=choose_compilation())
    step_px, reach_px = find_reach(model)

    def denoise(noisy: FloatImage) -> FloatImage:
        return np.asarray(model.predict_on_batch(noisy[..., None]), dtype=np.float32)[..., 0]

    return partial(predict_in_tiles, denoise, step_px=step_px, reach_px=reach_px, tile_size_px=_choose_tile(reach_px))


def make_segmenter(model: keras.Model) -> Callable[[FloatImage], Mask]:
    """Wrap a network of one output channel per label.

    Parameters
    ----------
    model : keras.Model
        (batch, height, width, 1) → logits (batch, height, width, num_labels).

    Returns
    -------
    callable
        float32 (num_images, height, width) → uint8 of the same shape: the label of the largest logit.
    """
    model.compile(jit_compile=choose_compilation())
    step_px, reach_px = find_reach(model)

    def segment(noisy: FloatImage) -> Mask:
        logits = np.asarray(model.predict_on_batch(noisy[..., None]))
        return logits.argmax(axis=-1).astype(np.uint8)

    return partial(predict_in_tiles, segment, step_px=step_px, reach_px=reach_px, tile_size_px=_choose_tile(reach_px))


def make_method(model: keras.Model, target_field: str) -> Callable[[FloatImage], Any]:
    """Wrap a network as what its workload scores: a segmenter where the target is ``mask``, else a denoiser."""
    return make_segmenter(model) if target_field == "mask" else make_denoiser(model)
