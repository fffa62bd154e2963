"""Batches for training, straight from the canonical file: plain NumPy, whatever the backend.

Order and crops of each epoch follow from the seed, the epoch and the step alone, so that a training that goes on after
an interruption sees the same images. Memory does not grow with the data: images are read when they are needed.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Sample
from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.augmentation import augment
from emdenoise.dataset.blocks import Blocks
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.whole_images import ShownRecords
from emdenoise.dataset.zooming import ZoomedCrops
from emdenoise.errors import DataError
from emdenoise.processes import ALONE, ProcessGroup
from emdenoise.seeding import make_generator

Pieces: TypeAlias = npt.NDArray[np.generic] | list[npt.NDArray[np.generic]]
"""Images of one field, in one array or as views."""


class Sampler:
    """The training images in random order, cropped, turned and augmented as the settings say.

    Parameters
    ----------
    records : RecordFile
    fields : sequence of str
        Entries of `FIELDS` that are read.
    settings : TrainingSettings
    seed : int
        Seed of the run.
    group : ProcessGroup
        The processes that share each batch; every one draws for all and reads its own.

    Raises
    ------
    DataError
        If there are fewer images than wanted, a batch that the processes cannot share equally, or images in several
        tiles, which cannot be zoomed.
    """

    def __init__(
        self,
        records: RecordFile,
        fields: Sequence[str],
        settings: TrainingSettings,
        seed: int,
        group: ProcessGroup = ALONE,
    ) -> None:
        self._records, self._fields, self._settings, self._seed = records, fields, settings, seed
        self._group, self._blocks = group, Blocks()
        self._order: tuple[int, npt.NDArray[np.intp]] = -1, np.array([], np.intp)
        self._zoomed = None
        if settings.zoom is not None and settings.crop_size_px is not None:
            self._zoomed = ZoomedCrops(records, fields, settings.zoom, settings.crop_size_px)
        whole_images = records.list_whole_images()
        chosen = choose_training_images(len(whole_images), settings.num_images, seed)
        self.num_images = len(chosen)
        self._tiles = np.concatenate([whole_images[index] for index in chosen])
        self.num_items = settings.crops_per_epoch or len(self._tiles)
        if settings.last_batch == "filled":
            self.num_items = settings.batch_size * len(self)
        num_last = self.num_items % settings.batch_size
        if num_last % group.size:
            raise DataError(
                f"an epoch of {self.num_items} images ends with a batch of {num_last}, which {group.size} processes "
                "cannot share equally; choose another training.batch_size, or set training.crops_per_epoch to a "
                "multiple of num_processes."
            )

    def __len__(self) -> int:
        """Count the steps of an epoch; the last batch may be smaller."""
        return -(-self.num_items // self._settings.batch_size)

    @property
    def has_smaller_batch(self) -> bool:
        """Whether the last batch of an epoch has fewer images than those before it."""
        return len(self) > 1 and self.num_items % self._settings.batch_size > 0

    def read(self, epoch: int, step: int) -> Sample:
        """Read one batch.

        Parameters
        ----------
        epoch, step : int
            From 0.

        Returns
        -------
        dict of str to ndarray, shape (batch, size, size, channels)
            The share of this process, by field.
        """
        size = self._settings.batch_size
        if self._order[0] != epoch:
            self._order = epoch, self._draw_order(epoch)
        indices = self._order[1][step * size : (step + 1) * size]
        own = self._group.find_share(len(indices))
        rng = make_generator(self._seed, "augmentation", epoch * len(self) + step)
        pieces = self._read_pieces(indices, own, rng)
        if self._settings.flip:
            height, width = pieces[self._fields[0]][0].shape
            turns = _draw_turns(len(indices), rng, is_square=height == width)[own]
            pieces = {name: _turn(stack, turns) for name, stack in pieces.items()}
        stacks = {name: self._stack(stack) for name, stack in pieces.items()}
        self._augment(stacks, epoch * self.num_items + step * size + np.arange(len(indices))[own])
        return {name: FIELDS[name].to_sample(stack) for name, stack in stacks.items()}

    def _read_pieces(self, indices: npt.NDArray[np.intp], own: slice, rng: np.random.Generator) -> dict[str, Pieces]:
        """Read images or crops; random numbers are drawn for those of all processes."""
        if self._zoomed is not None:
            return dict(self._zoomed.read(self._zoomed.draw(indices, rng)[own]))
        images = {name: self._records.read(name, indices[own]) for name in self._fields}
        crop_size = self._settings.crop_size_px
        if crop_size is None:
            return dict(images)
        shape = images[self._fields[0]].shape[1:3]
        rows, columns = (rng.integers(side - crop_size + 1, size=len(indices))[own] for side in shape)
        return {name: _crop(stack, rows, columns, crop_size) for name, stack in images.items()}

    def _augment(self, stacks: dict[str, npt.NDArray[np.generic]], numbers: npt.NDArray[np.intp]) -> None:
        """Change intensities in place; each crop of the training has random numbers of its own."""
        changes = self._settings.augmentation
        if changes is None:
            return
        for place, number in enumerate(numbers.tolist()):
            rng = make_generator(self._seed, "intensity", number)
            for name, stack in stacks.items():
                if FIELDS[name].kind == "intensity":
                    stack[place] = augment(stack[place], changes, rng)

    def _stack(self, pieces: Pieces) -> npt.NDArray[np.generic]:
        """Copy views of images into one array; whole images are one already."""
        if not isinstance(pieces, list):
            return pieces
        stack = self._blocks.make_empty((len(pieces), *pieces[0].shape), pieces[0].dtype)
        return np.stack(pieces, out=stack)

    def _draw_order(self, epoch: int) -> npt.NDArray[np.intp]:
        """Draw the tiles of an epoch: all of them before one comes again."""
        rng = make_generator(self._seed, "order", epoch)
        num_rounds = -(-self.num_items // len(self._tiles))
        return np.concatenate([rng.permutation(self._tiles) for _ in range(num_rounds)])[: self.num_items]


class InOrder:
    """All images of a file in order, whole; for validation.

    Parameters
    ----------
    records : RecordFile or ResizedRecords
    fields : sequence of str
        Entries of `FIELDS` that are read.
    batch_size : int
    group : ProcessGroup
        The processes that share the images, as equally as it goes; no image is cut in two.
    """

    def __init__(
        self, records: ShownRecords, fields: Sequence[str], batch_size: int, group: ProcessGroup = ALONE
    ) -> None:
        self._records, self._fields, self._batch_size = records, fields, batch_size
        whole_images = records.list_whole_images()
        own = whole_images[group.find_share(len(whole_images))]
        self._own = range(own[0][0], own[-1][-1] + 1) if own else range(0)

    def __len__(self) -> int:
        """Count the batches."""
        return -(-len(self._own) // self._batch_size)

    def read(self, epoch: int, step: int) -> Sample:
        """Read one batch; the same in every epoch."""
        indices = self._own[step * self._batch_size : (step + 1) * self._batch_size]
        return self._records.read_sample(self._fields, slice(indices.start, indices.stop))


def choose_training_images(num_images: int, num_wanted: int | None, seed: int) -> npt.NDArray[np.intp]:
    """Choose the images that are learned from; a smaller choice of the same seed is a part of a larger one.

    Parameters
    ----------
    num_images : int
        In the file.
    num_wanted : int or None
        None for all.
    seed : int
        Seed of the run.

    Returns
    -------
    ndarray of int, shape (min(num_wanted, num_images),)
        Indices in rising order.

    Raises
    ------
    DataError
        If there are fewer images than wanted.

    Examples
    --------
    >>> choose_training_images(3, None, seed=0)
    array([0, 1, 2])
    """
    if num_wanted is None:
        return np.arange(num_images)
    if num_wanted > num_images:
        raise DataError(f"num_images is {num_wanted}, the training file has {num_images} images; ask for fewer.")
    return np.sort(make_generator(seed, "training images").permutation(num_images)[:num_wanted])


def _crop(
    images: Iterable[npt.NDArray[np.generic]], rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], size: int
) -> list[npt.NDArray[np.generic]]:
    """Give views of the crops."""
    corners = zip(images, rows, columns, strict=True)
    return [image[row : row + size, column : column + size] for image, row, column in corners]


def _draw_turns(num_images: int, rng: np.random.Generator, *, is_square: bool) -> list[tuple[int, bool]]:
    """Draw one of the eight symmetries of the square for each image, of four where quarter turns do not fit."""
    turns = []
    for _ in range(num_images):
        quarter_turns = int(rng.integers(4)) if is_square else 2 * int(rng.integers(2))
        turns.append((quarter_turns, bool(rng.integers(2))))
    return turns


def _turn(images: Iterable[npt.NDArray[np.generic]], turns: list[tuple[int, bool]]) -> list[npt.NDArray[np.generic]]:
    """Give views that are turned."""
    pairs = zip(images, turns, strict=True)
    return [np.rot90(image[::-1] if is_mirrored else image, turn) for image, (turn, is_mirrored) in pairs]
