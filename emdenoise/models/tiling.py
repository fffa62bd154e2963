"""A trained network as a denoiser or a segmenter: a function from images of any size to images or masks."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Mask
from emdenoise.models.backend import choose_compilation
from emdenoise.models.export import Run

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


def predict_strips(
    predict: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    noisy: Any,
    *,
    step_px: int,
    reach_px: int,
    tile_size_px: int = TILE_SIZE_PX,
) -> Iterator[npt.NDArray[Any]]:
    """Predict images of any size in tiles that overlap by the reach of the network, so that no seam shows.

    Parameters
    ----------
    predict : callable
        Images (num_images, height, width) → the same shape; sides are multiples of `step_px`.
    noisy : ndarray or HDF5 data set, shape (num_images, height, width)
        Read tile by tile. Sides that are no multiple of `step_px` are padded below and on the right by reflection.
    step_px, reach_px : int
        See `find_reach`.
    tile_size_px : int
        Largest side that is predicted at once [px], a multiple of `step_px` above twice `reach_px`.

    Yields
    ------
    ndarray, shape (num_images, strip_height, width)
        From top to bottom. Together what `predict` gives for the padded images at once, up to rounding; memory does not
        grow with their height.

    Raises
    ------
    ValueError
        If the tiles are too small for the reach.
    """
    height, width = noisy.shape[1:]
    padded = [-(-length // step_px) * step_px for length in (height, width)]
    if max(padded) > tile_size_px and (tile_size_px <= 2 * reach_px or tile_size_px % step_px):
        raise ValueError(f"tiles are {tile_size_px} px; expected a multiple of {step_px} above {2 * reach_px}")
    rows, columns = (_plan_pieces(length, tile_size_px, reach_px) for length in padded)
    for row, inner_rows in rows:
        strip: npt.NDArray[Any] = np.empty(0)
        for column, inner_columns in columns:
            piece = np.asarray(noisy[:, row : row + tile_size_px, column : column + tile_size_px])
            found = predict(
                np.pad(piece, [(0, 0), *((0, -length % step_px) for length in piece.shape[1:])], "symmetric")
            )
            if column == 0:
                strip = np.empty((len(found), inner_rows.stop - inner_rows.start, padded[1]), found.dtype)
            strip[:, :, inner_columns] = found[
                :,
                inner_rows.start - row : inner_rows.stop - row,
                inner_columns.start - column : inner_columns.stop - column,
            ]
        yield strip[:, : height - inner_rows.start, :width]


def predict_in_tiles(
    predict: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], noisy: npt.NDArray[Any], **options: int
) -> npt.NDArray[Any]:
    """Predict images of any size at once, as `predict_strips` does with the same arguments.

    Returns
    -------
    ndarray, shape (num_images, height, width)
    """
    return np.concatenate(list(predict_strips(predict, noisy, **options)), axis=1)


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


class TiledMethod:
    """A network as a function of images of any size.

    Parameters
    ----------
    predict : callable
        Images (num_images, height, width) → the same shape, for sides that fit the network.
    model : keras.Model
        The network, for its reach.
    """

    def __init__(self, predict: Callable[[FloatImage], npt.NDArray[Any]], model: keras.Model) -> None:
        step_px, reach_px = find_reach(model)
        self._predict = predict
        self._options = {"step_px": step_px, "reach_px": reach_px, "tile_size_px": _choose_tile(reach_px)}

    def __call__(self, noisy: FloatImage) -> npt.NDArray[Any]:
        """Predict images, float32 (num_images, height, width), all in one batch."""
        return predict_in_tiles(self._predict, noisy, **self._options)

    def predict_strips(self, noisy: Any) -> Iterator[npt.NDArray[Any]]:
        """Predict images that may be larger than the memory, strip by strip; see the function of this name."""
        return predict_strips(self._predict, noisy, **self._options)


def make_denoiser(model: keras.Model, run: Run | None = None) -> TiledMethod:
    """Wrap a network of one output channel.

    Parameters
    ----------
    model : keras.Model
        (batch, height, width, 1) → the same shape.
    run : callable or None
        The same network in another engine, which then does the work.

    Returns
    -------
    TiledMethod
        float32 (num_images, height, width) → float32 of the same shape.
    """
    run = run or run_keras(model)

    def denoise(noisy: FloatImage) -> FloatImage:
        return np.asarray(run(noisy[..., None]), dtype=np.float32)[..., 0]

    return TiledMethod(denoise, model)


def make_segmenter(model: keras.Model, run: Run | None = None) -> TiledMethod:
    """Wrap a network of one output channel per label.

    Parameters
    ----------
    model : keras.Model
        (batch, height, width, 1) → logits (batch, height, width, num_labels).
    run : callable or None
        The same network in another engine, which then does the work.

    Returns
    -------
    TiledMethod
        float32 (num_images, height, width) → uint8 of the same shape: the label of the largest logit.
    """
    run = run or run_keras(model)

    def segment(noisy: FloatImage) -> Mask:
        return np.asarray(run(noisy[..., None])).argmax(axis=-1).astype(np.uint8)

    return TiledMethod(segment, model)


def run_keras(model: keras.Model) -> Run:
    """Give a network as a function of batches, run by Keras."""
    model.compile(jit_compile=choose_compilation())
    predict: Run = model.predict_on_batch
    return predict


def make_method(model: keras.Model, target_field: str, run: Run | None = None) -> TiledMethod:
    """Wrap a network as what its workload scores: a segmenter where the target is ``mask``, else a denoiser."""
    return make_segmenter(model, run) if target_field == "mask" else make_denoiser(model, run)
