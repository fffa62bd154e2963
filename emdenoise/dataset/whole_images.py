"""Images at their true size, and all of them on a square canvas of one size, as a training with `zoom` sees them."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Sample
from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import DataError
from emdenoise.resampling import plan_canvas

OF_TILES = ("tile_row_px", "tile_column_px", "image_height_px", "image_width_px")
"""Attributes that say where a tile lies in its image."""


class WholeImages:
    """The images of a file, one tile each, without the pixels that fill the tile up.

    Parameters
    ----------
    records : RecordFile

    Attributes
    ----------
    shapes : ndarray of int, shape (num_images, 2)
        Height and width of each image [px].

    Raises
    ------
    DataError
        If an image was cut into several tiles.
    """

    def __init__(self, records: RecordFile) -> None:
        self._records = records
        shape, size = records.image_shape, (len(records), 2)
        self.shapes: npt.NDArray[np.intp] = np.broadcast_to(np.array(shape, np.intp), size)
        if not records.has_tiles:
            return
        known = np.stack([records.read_attribute(f"image_{side}_px") for side in ("height", "width")], axis=1)
        self.shapes = known.astype(np.intp)
        is_larger = (self.shapes > shape).any(axis=1)
        if is_larger.any():
            longest = int(self.shapes.max())
            raise DataError(
                f"{records.name}: images of up to {longest} px were cut into tiles of {shape[0]} px, but training.zoom "
                f"needs one tile each; set data.tile_size_px to {-(-longest // 8) * 8}, and run preprocess again."
            )

    def read(self, field: str, index: int) -> npt.NDArray[Any]:
        """Read one field of one image, of its shape in `shapes`; raises as `RecordFile.read`."""
        height, width = self.shapes[index]
        image: npt.NDArray[Any] = self._records.read(field, [index])[0, :height, :width]
        return image


class ResizedRecords:
    """A file whose images are brought to a square canvas, so that their long sides fill it; borders are mirrored.

    It has what validation needs of a `RecordFile`, with the same meaning, and nothing else. There are no atoms: which
    of them the mirrored borders show is not known.

    Parameters
    ----------
    records : RecordFile
    side_px : int
        Side of the canvas [px].

    Raises
    ------
    DataError
        If an image was cut into several tiles.
    """

    has_tiles = False

    def __init__(self, records: RecordFile, side_px: int) -> None:
        self._records, self._images, self._side_px = records, WholeImages(records), side_px
        self.name, self.label_names = records.name, records.label_names

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, field: str) -> bool:
        return field != "atoms" and field in self._records

    def list_whole_images(self) -> list[npt.NDArray[np.intp]]:
        """List the index of each image, in an array of its own."""
        return list(np.arange(len(self))[:, None])

    def read(self, field: str, indices: npt.ArrayLike | slice = slice(None)) -> npt.NDArray[Any]:
        """Read one field of some images."""
        chosen = np.arange(len(self))[indices if isinstance(indices, slice) else np.asarray(indices, np.intp)]
        images = np.empty((len(chosen), self._side_px, self._side_px), FIELDS[field].dtype)
        for image, index in zip(images, chosen.tolist(), strict=True):
            height, width = self._images.shapes[index].tolist()
            rows, columns = plan_canvas(height, width, self._side_px)
            image[:] = FIELDS[field].resample(self._images.read(field, index), rows, columns)
        return images

    def read_sample(self, fields: Iterable[str], indices: npt.ArrayLike | slice) -> Sample:
        """Read several fields of some images, each with its channels."""
        return {name: FIELDS[name].to_sample(self.read(name, indices)) for name in fields}

    def read_whole(self, field: str, tiles: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Read one field of one image, given by its index alone in an array."""
        return self.assemble(self.read(field, tiles), tiles)

    def assemble(self, images: npt.NDArray[Any], tiles: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Give the one image of a stack of one."""
        (whole,) = images
        return np.asarray(whole)

    def read_attribute(self, name: str) -> npt.NDArray[np.float64]:
        """Read one condition of all images; a pixel is as large as it is on the canvas."""
        values = self._records.read_attribute(name)
        if name in OF_TILES:
            return np.full(len(self), np.nan)
        if name == "pixel_size_angstrom":
            return values * self._images.shapes.max(axis=1) / self._side_px
        return values

    def read_atoms(self, index: int) -> npt.NDArray[np.float32]:
        """Raise `ValueError`: there are none."""
        raise ValueError(f"{self.name} has no atoms on a canvas; leave out what needs them")


ShownRecords: TypeAlias = RecordFile | ResizedRecords
"""What validation during training is shown."""


def show_for_validation(records: RecordFile, settings: TrainingSettings) -> ShownRecords:
    """Show images as the validation of a training sees them: at its scale with `zoom`, and else as they are.

    Parameters
    ----------
    records : RecordFile
    settings : TrainingSettings

    Raises
    ------
    DataError
        If the training needs whole images, and one was cut into several tiles.
    """
    if settings.zoom is None or settings.crop_size_px is None:
        return records
    return ResizedRecords(records, settings.crop_size_px)
