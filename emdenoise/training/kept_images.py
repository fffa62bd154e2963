"""Training images that stay on the device: a step hands over which pieces of them it wants, and nothing else.

The sampler draws and cuts as for batches that are read, so the bits are the same. What it cuts here are the numbers of
the pixels of one image, and the device looks the pixels up.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.sampler import Sampler
from emdenoise.errors import ResourceError
from emdenoise.models.backend import describe_device, explain_memory, find_free_bytes, make_cutter
from emdenoise.training.objectives import Objective

LARGEST_SHARE = 0.5
"""Of the free memory that the images may take; the training needs the rest."""
REMEDY = "training.keep_on_device: false, or a smaller training.num_images"


class KeptImages:
    """The batches of a sampler, cut on the device out of images that are there.

    Parameters
    ----------
    sampler : Sampler
    records : RecordFile
        Those of the sampler.
    fields : sequence of str
        Entries of `FIELDS` that are kept.
    read_fields : sequence of str
        Those that are read from the file for each batch, as arrays: what an objective computes with.

    Raises
    ------
    ResourceError
        If the images do not fit.
    DataError
        If the file lacks a field or cannot be read.
    """

    def __init__(
        self, sampler: Sampler, records: RecordFile, fields: Sequence[str], read_fields: Sequence[str] = ()
    ) -> None:
        self._sampler, self._tiles, self._read_fields = sampler, sampler.tiles, read_fields
        height, width = records.image_shape
        self._pixels = np.arange(height * width).reshape(height, width)
        itemsizes = [np.dtype(FIELDS[name].dtype).itemsize for name in fields]
        self.num_bytes = len(self._tiles) * height * width * sum(itemsizes)
        _check_room(self.num_bytes)
        self._images: dict[str, Any] = {}
        with explain_memory(REMEDY):
            for name in fields:
                images = FIELDS[name].to_sample(records.read(name, self._tiles))
                self._images[name] = keras.ops.convert_to_tensor(images.reshape(len(images), height * width, -1))
        self._cut = make_cutter(sampler.piece_shape)

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return len(self._sampler)

    def read(self, epoch: int, step: int) -> dict[str, Any]:
        """Cut one batch.

        Returns
        -------
        dict of str to tensor or ndarray, shape (batch, size, size, channels)
            By field, with the numbers of `Sampler.read`; tensors on the device of fields that are kept.
        """
        cuts = self._sampler.draw(epoch, step)
        numbers = np.searchsorted(self._tiles, cuts.indices)
        views = cuts.cut(np.broadcast_to(self._pixels, (len(numbers), *self._pixels.shape)))
        pieces = [
            (number, view[0, 0], *(stride // view.itemsize for stride in view.strides))
            for number, view in zip(numbers, views, strict=True)
        ]
        read = self._sampler.read_cuts(cuts, self._read_fields)
        return self._cut(self._images, np.array(pieces, np.int64)) | read


def keep_images(sampler: Sampler, records: RecordFile, objective: Objective) -> KeptImages:
    """Keep on the device what an objective needs there; raises as `KeptImages`."""
    kept = [name for name in objective.needs if name not in objective.computes_with]
    return KeptImages(sampler, records, kept, objective.computes_with)


def _check_room(num_bytes: int) -> None:
    free = find_free_bytes()
    if free is not None and num_bytes > LARGEST_SHARE * free:
        raise ResourceError(
            f"training.keep_on_device: the training images take {num_bytes / 1e9:.3g} GB, and {describe_device()} has "
            f"{free / 1e9:.3g} GB free; expected at most {LARGEST_SHARE:.0%} of it. Use {REMEDY}."
        )
