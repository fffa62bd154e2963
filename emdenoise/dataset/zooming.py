"""Crops of any scale: a drawn part of a whole image, resampled to the size that the network sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.whole_images import WholeImages
from emdenoise.resampling import make_weights


@dataclass(frozen=True)
class Window:
    """A square part of an image, which may reach beyond it.

    Attributes
    ----------
    index : int
        Of the image.
    top_px, left_px : float
        Where it begins, from the corner of the image [px].
    side_px : float
        In pixels of the image.
    """

    index: int
    top_px: float
    left_px: float
    side_px: float


class ZoomedCrops:
    """Crops that show a random part of whole images, with mirrored borders.

    Parameters
    ----------
    records : RecordFile
    fields : sequence of str
        Entries of `FIELDS` that are read.
    zoom : (float, float)
        A crop shows 1 / zoom of the long side of its image; log-uniform in this range.
    size_px : int
        Side of the crops [px].

    Raises
    ------
    DataError
        If an image was cut into several tiles.
    """

    def __init__(self, records: RecordFile, fields: Sequence[str], zoom: tuple[float, float], size_px: int) -> None:
        self._images, self._fields, self._zoom, self._size_px = WholeImages(records), fields, zoom, size_px

    def draw(self, indices: npt.NDArray[np.intp], rng: np.random.Generator) -> list[Window]:
        """Draw a window for each image: along each axis it lies in the image, or the image in it where that is shorter.

        Parameters
        ----------
        indices : ndarray of int, shape (num_crops,)
            Of images.
        rng : numpy.random.Generator
        """
        shapes = self._images.shapes[indices]
        low, high = np.log(self._zoom).tolist()
        zooms = np.exp(rng.uniform(low, high, len(indices)))
        sides = shapes.max(axis=1) / zooms
        corners = rng.random((len(indices), 2)) * (shapes - sides[:, None])
        drawn = zip(indices.tolist(), corners.tolist(), sides.tolist(), strict=True)
        return [Window(index, top, left, side) for index, (top, left), side in drawn]

    def read(self, windows: Sequence[Window]) -> dict[str, list[npt.NDArray[Any]]]:
        """Read what windows show.

        Returns
        -------
        dict of str to list of ndarray, shape (size_px, size_px)
            By field, as stored.
        """
        crops: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in self._fields}
        for window in windows:
            height, width = self._images.shapes[window.index].tolist()
            rows = make_weights(height, window.top_px, window.top_px + window.side_px, self._size_px)
            columns = make_weights(width, window.left_px, window.left_px + window.side_px, self._size_px)
            for name, read in crops.items():
                read.append(FIELDS[name].resample(self._images.read(name, window.index), rows, columns))
        return crops
