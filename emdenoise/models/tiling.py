"""A trained network as a method: a function from samples of any size to results, in tiles where images are large."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Sample
from emdenoise.errors import ModelError
from emdenoise.models.backend import choose_compilation, explain_memory
from emdenoise.models.contract import Network, Views
from emdenoise.models.export import Run
from emdenoise.models.heads import Head
from emdenoise.models.views import average_views
from emdenoise.seeding import make_generator

ROUNDING = 1e-5
"""Differences below this share of the largest output are rounding."""
TILE_SIZE_PX = 512
"""Side of the pieces in which larger images are predicted [px]: about 0.3 GB of memory with the closed network."""
LESS_MEMORY = "smaller images, or fewer at a time (evaluation.batch_size)"
MIN_STRIP_WIDTH_PX = 16
"""Of the strips by which `check_reach` tries a network [px]."""


def predict_strips(
    predict: Callable[[list[npt.NDArray[Any]]], npt.NDArray[Any]],
    inputs: Sequence[Any],
    *,
    step_px: int,
    reach_px: int,
    tile_size_px: int = TILE_SIZE_PX,
) -> Iterator[npt.NDArray[Any]]:
    """Predict images of any size in tiles that overlap by the reach of the network, so that no seam shows.

    Parameters
    ----------
    predict : callable
        Inputs (num_images, height, width, channels) → results (num_images, height, width) or (num_images, height,
        width, channels); sides are multiples of `step_px`.
    inputs : sequence of ndarray or HDF5 data set, shape (num_images, height, width, channels)
        Read tile by tile. Sides that are no multiple of `step_px` are padded below and on the right by reflection.
    step_px, reach_px : int
        See `models/contract.py`; `reach_px` is a multiple of `step_px`.
    tile_size_px : int
        Largest side that is predicted at once [px], a multiple of `step_px` above twice `reach_px`.

    Yields
    ------
    ndarray, shape (num_images, strip_height, width) or (num_images, strip_height, width, channels)
        From top to bottom. Together what `predict` gives for the padded images at once, up to rounding; memory does not
        grow with their height.

    Raises
    ------
    ValueError
        If the tiles are too small for the reach.
    """
    height, width = inputs[0].shape[1:3]
    padded = [-(-length // step_px) * step_px for length in (height, width)]
    if max(padded) > tile_size_px and (tile_size_px <= 2 * reach_px or tile_size_px % step_px):
        raise ValueError(f"tiles are {tile_size_px} px; expected a multiple of {step_px} above {2 * reach_px}")
    rows, columns = (_plan_pieces(length, tile_size_px, reach_px) for length in padded)
    for row, inner_rows in rows:
        strip: npt.NDArray[Any] = np.empty(0)
        for column, inner_columns in columns:
            window = np.s_[:, row : row + tile_size_px, column : column + tile_size_px]
            found = predict([_pad(np.asarray(images[window]), step_px) for images in inputs])
            if column == 0:
                shape = (len(found), inner_rows.stop - inner_rows.start, padded[1], *found.shape[3:])
                strip = np.empty(shape, found.dtype)
            strip[:, :, inner_columns] = found[
                :,
                inner_rows.start - row : inner_rows.stop - row,
                inner_columns.start - column : inner_columns.stop - column,
            ]
        yield strip[:, : height - inner_rows.start, :width]


def _pad(piece: npt.NDArray[Any], step_px: int) -> npt.NDArray[Any]:
    sides = [(0, -length % step_px) for length in piece.shape[1:3]]
    return np.pad(piece, [(0, 0), *sides, (0, 0)], "symmetric")


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
    """A network as a function of images of any size: `Sample` → results, the mean over the views of the network.

    Parameters
    ----------
    network : Network
        With `views`.
    head : Head
        What its outputs mean, `Ports.head`.
    run : callable or None
        The network in another engine, which then does the work, without the views; None runs Keras.

    Raises
    ------
    ModelError
        When an image is cut into tiles that the network's declared reach does not allow, or the network gives NaN.
    ResourceError
        When the memory is too small.
    """

    def __init__(self, network: Network, head: Head, run: Run | None = None) -> None:
        self.head, self.inputs = head, network.inputs
        self._network, self._run = network, run or run_keras(network.model)
        self._is_checked = False

    def __call__(self, sample: Sample) -> npt.NDArray[Any]:
        """Predict images of any size, all in one batch; gives (num_images, height, width)."""
        return np.concatenate(list(self.predict_strips(sample)), axis=1)

    def predict_strips(self, sample: Mapping[str, Any]) -> Iterator[npt.NDArray[Any]]:
        """Predict images that may be larger than the memory, strip by strip; see the function of this name.

        A network with views is shown whole images: they must fit into the memory and are one strip.

        Parameters
        ----------
        sample : mapping of str to array-like, shape (num_images, height, width, channels)
            Read by slices.
        """
        inputs = [sample[name] for name in self._network.inputs]
        if self._network.views == Views():
            yield from self._predict_tiles(inputs, self.head.decode)
        else:
            yield self._predict_views(inputs)

    @explain_memory(LESS_MEMORY)
    def _predict_views(self, inputs: Sequence[Any]) -> npt.NDArray[Any]:
        """Predict whole images as the mean over their views: of probabilities and intensities."""

        def predict(images: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
            return np.concatenate(list(self._predict_tiles(images, self.head.activate)), axis=1)

        whole = [np.asarray(images[:, :, :]) for images in inputs]
        return self.head.decode(average_views(predict, whole, self._network.views))

    def _predict_tiles(
        self, inputs: Sequence[Any], finish: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    ) -> Iterator[npt.NDArray[Any]]:
        return predict_strips(lambda pieces: finish(self._predict(pieces)), inputs, **self._plan(inputs[0].shape[1:3]))

    def _plan(self, size: tuple[int, int]) -> dict[str, int]:
        step_px, reach_px = self._network.step_px, self._network.reach_px
        if reach_px is None:  # every pixel sees every other one: one tile
            return {"step_px": step_px, "reach_px": 0, "tile_size_px": _round_up(max(size), step_px)}
        reach_px = _round_up(reach_px, step_px)
        tile_size_px = _choose_tile_size(step_px, reach_px)
        if max(size) > tile_size_px and not self._is_checked:
            check_reach(self._network)
            self._is_checked = True
        return {"step_px": step_px, "reach_px": reach_px, "tile_size_px": tile_size_px}

    @explain_memory(LESS_MEMORY)
    def _predict(self, inputs: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        outputs = np.asarray(self._run(pack_inputs(self._network, inputs)))
        num_wrong = outputs.size - int(np.count_nonzero(np.isfinite(outputs)))
        if num_wrong:  # of logits that are not finite, the labels would not tell
            raise ModelError(
                f"network {self._network.model.name} gives {num_wrong} of {outputs.size} values that are NaN or "
                "infinite; expected finite ones; its weights are useless or the image is far from those that it "
                "learned from. Train it again with a lower training.learning_rate."
            )
        return outputs


def _round_up(length_px: int, step_px: int) -> int:
    return -(-length_px // step_px) * step_px


def _choose_tile_size(step_px: int, reach_px: int) -> int:
    """Choose the side of the tiles [px]: at least half of one is more than overlap."""
    return _round_up(max(TILE_SIZE_PX, 4 * reach_px), step_px)


def pack_inputs(network: Network, inputs: Sequence[npt.NDArray[Any]]) -> Any:
    """Give the inputs as the Keras model takes them: one array, or a dict where there are several."""
    return inputs[0] if len(inputs) == 1 else dict(zip(network.inputs, inputs, strict=True))


def check_reach(network: Network) -> None:
    """Check by trial that a network keeps the step and the reach that it declares.

    Random strips, longer than a tile, are joined at every position within a step: what lies beyond the reach of the
    joint must not change. Strips that are moved by a step must give results that are moved by a step.

    Raises
    ------
    ModelError
        If a result changes that must not.
    """
    if network.reach_px is None:
        return
    rng = make_generator(0, "check of the reach")
    for axis in (1, 2):
        _check_along(axis, network, network.reach_px, rng)


def _check_along(axis: int, network: Network, reach_px: int, rng: np.random.Generator) -> None:
    step_px, length = network.step_px, 2 * _choose_tile_size(network.step_px, reach_px)
    width = _round_up(max(MIN_STRIP_WIDTH_PX, 2 * step_px), step_px)
    shape = (1, length, width) if axis == 1 else (1, width, length)
    channels = {tensor.name: tensor.shape[-1] for tensor in network.model.inputs}
    # Of other mean and extremes, so that global pooling is seen, too.
    first, second = (
        [rng.uniform(0, highest, (*shape, channels[name])).astype(np.float32) for name in network.inputs]
        for highest in (1, 3)
    )

    def predict(images: list[npt.NDArray[np.float32]]) -> npt.NDArray[Any]:
        return np.moveaxis(np.asarray(network.model(pack_inputs(network, images))), axis, 0)

    def refuse_change(found: npt.NDArray[Any], right: npt.NDArray[Any], declared: str) -> None:
        deviation = float(np.abs(found - right).max())
        if deviation > rounding:
            raise ModelError(
                f"network {network.model.name} declares a {declared} change its result by {deviation:.2g}; "
                "tiles would show seams. Correct the reach and the step in its module."
            )

    before, after = predict(first), predict(second)
    rounding = ROUNDING * float(max(np.abs(before).max(), np.abs(after).max()))
    far = f"reach of {reach_px} px, but pixels farther away"
    for place in range(length // 2, length // 2 + step_px):
        is_before = np.arange(length).reshape((-1, 1, 1) if axis == 1 else (-1, 1)) < place
        joined = predict([np.where(is_before, one, other) for one, other in zip(first, second, strict=True)])
        refuse_change(joined[: place - reach_px], before[: place - reach_px], far)
        refuse_change(joined[place + reach_px :], after[place + reach_px :], far)
    moved = predict([np.roll(image, -step_px, axis) for image in first])
    inner = slice(reach_px, length - step_px - reach_px)
    refuse_change(moved[inner], before[step_px:][inner], f"step of {step_px} px, but moves by it")


def run_keras(model: keras.Model) -> Run:
    """Give a network as a function of batches, run by Keras."""
    model.compile(jit_compile=choose_compilation())
    predict: Run = model.predict_on_batch
    return predict
