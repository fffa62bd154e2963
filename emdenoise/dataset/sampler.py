"""Batches for training, straight from the canonical file: plain NumPy, whatever the backend.

Order and crops of each epoch follow from the seed, the epoch and the step alone, so that a training that goes on after
an interruption sees the same images. Memory does not grow with the data: images are read when they are needed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Cuts:
    """Which pieces of which images make up a batch, and how they are turned.

    Attributes
    ----------
    indices : ndarray of int, shape (batch,)
        Of the images in their file.
    corners : sequence of ndarray of int, shape (batch,)
        First row and first column of each piece; empty for whole images.
    size_px : int or None
        Side of the pieces; None for whole images.
    turns : list of (int, bool)
        Quarter turns of each piece, and whether it is mirrored before; empty where none is turned.
    """

    indices: npt.NDArray[np.intp]
    corners: Sequence[npt.NDArray[np.intp]]
    size_px: int | None
    turns: list[tuple[int, bool]]

    def cut(self, images: npt.NDArray[np.generic]) -> Pieces:
        """Give views of the pieces, or the images where they stay as they are.

        Parameters
        ----------
        images : ndarray, shape (batch, height, width)
            Those of `indices`.
        """
        pieces: Pieces = images
        if self.size_px is not None:
            pieces = _crop(pieces, self.corners, self.size_px)
        if self.turns:
            pieces = _turn(pieces, self.turns)
        return pieces


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

    @property
    def tiles(self) -> npt.NDArray[np.intp]:
        """Indices of the images that are learned from in their file, in rising order."""
        return self._tiles

    @property
    def piece_shape(self) -> tuple[int, int]:
        """Height and width of what is cut out of each image [px]."""
        size = self._settings.crop_size_px
        return self._records.image_shape if size is None else (size, size)

    def draw(self, epoch: int, step: int) -> Cuts:
        """Draw one batch.

        Parameters
        ----------
        epoch, step : int
            From 0.

        Returns
        -------
        Cuts
            The share of this process.
        """
        indices, own, rng = self._start(epoch, step)
        crop_size, (height, width) = self._settings.crop_size_px, self._records.image_shape
        corners: Sequence[npt.NDArray[np.intp]] = ()
        if crop_size is not None:
            corners = [rng.integers(side - crop_size + 1, size=len(indices))[own] for side in (height, width)]
        is_square = crop_size is not None or height == width
        return Cuts(indices[own], corners, crop_size, self._draw_turns(len(indices), rng, is_square=is_square)[own])

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
        if self._zoomed is not None:
            stacks = self._read_zoomed(self._zoomed, epoch, step)
        else:
            stacks = self._read_stacks(self.draw(epoch, step), self._fields)
        self._augment(stacks, epoch, step)
        return {name: FIELDS[name].to_sample(stack) for name, stack in stacks.items()}

    def read_cuts(self, cuts: Cuts, fields: Iterable[str]) -> Sample:
        """Read some fields of the pieces that were drawn; gives arrays as `read`."""
        return {name: FIELDS[name].to_sample(stack) for name, stack in self._read_stacks(cuts, fields).items()}

    def _start(self, epoch: int, step: int) -> tuple[npt.NDArray[np.intp], slice, np.random.Generator]:
        """Give the images of a batch, the share of this process, and the random numbers of the batch."""
        size = self._settings.batch_size
        if self._order[0] != epoch:
            self._order = epoch, self._draw_order(epoch)
        indices = self._order[1][step * size : (step + 1) * size]
        rng = make_generator(self._seed, "augmentation", epoch * len(self) + step)
        return indices, self._group.find_share(len(indices)), rng

    def _draw_turns(self, num_images: int, rng: np.random.Generator, *, is_square: bool) -> list[tuple[int, bool]]:
        return _draw_turns(num_images, rng, is_square=is_square) if self._settings.flip else []

    def _read_stacks(self, cuts: Cuts, fields: Iterable[str]) -> dict[str, npt.NDArray[np.generic]]:
        return {name: self._stack(cuts.cut(self._records.read(name, cuts.indices))) for name in fields}

    def _read_zoomed(self, crops: ZoomedCrops, epoch: int, step: int) -> dict[str, npt.NDArray[np.generic]]:
        """Read crops of any scale; random numbers are drawn for those of all processes."""
        indices, own, rng = self._start(epoch, step)
        windows = crops.draw(indices, rng)[own]
        turns = self._draw_turns(len(indices), rng, is_square=True)[own]
        read = crops.read(windows)
        return {name: self._stack(_turn(stack, turns) if turns else stack) for name, stack in read.items()}

    def _augment(self, stacks: dict[str, npt.NDArray[np.generic]], epoch: int, step: int) -> None:
        """Change intensities in place; each crop of the training has random numbers of its own."""
        changes = self._settings.augmentation
        if changes is None:
            return
        batch = range(self.num_items)[step * self._settings.batch_size :][: self._settings.batch_size]
        for place, number in enumerate(batch[self._group.find_share(len(batch))]):
            rng = make_generator(self._seed, "intensity", epoch * self.num_items + number)
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
    images: Iterable[npt.NDArray[np.generic]], corners: Sequence[npt.NDArray[np.intp]], size: int
) -> list[npt.NDArray[np.generic]]:
    """Give views of the crops."""
    pairs = zip(images, *corners, strict=True)
    return [image[row : row + size, column : column + size] for image, row, column in pairs]


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
