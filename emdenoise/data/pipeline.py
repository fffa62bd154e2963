"""Batches for training, straight from the canonical file: plain NumPy, whatever the backend.

Order and crops of each epoch follow from the seed, the epoch and the step alone, so that a training that goes on after
an interruption sees the same images. Memory does not grow with the data: images are read when they are needed.
"""

import numpy as np
import numpy.typing as npt

from emdenoise.config.schema import TrainingSettings
from emdenoise.data.storage import RecordFile
from emdenoise.seeding import make_generator

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.generic]]
"""Inputs and targets, each (batch, height, width, 1)."""


class TrainingBatches:
    """The training images in random order, cropped and turned as the settings say.

    Parameters
    ----------
    records : RecordFile
    fields : (str, str)
        Which fields are input and target.
    settings : TrainingSettings
    seed : int
        Seed of the run.
    """

    def __init__(self, records: RecordFile, fields: tuple[str, str], settings: TrainingSettings, seed: int) -> None:
        self._records, self._fields, self._settings, self._seed = records, fields, settings, seed
        self.num_items = len(records) * settings.crops_per_image

    def __len__(self) -> int:
        """Count the steps of an epoch; the last batch may be smaller."""
        return -(-self.num_items // self._settings.batch_size)

    def read(self, epoch: int, step: int) -> Batch:
        """Read one batch.

        Parameters
        ----------
        epoch, step : int
            From 0.

        Returns
        -------
        inputs, targets : ndarray, shape (batch, size, size, 1)
        """
        size = self._settings.batch_size
        order = make_generator(self._seed, "order", epoch).permutation(self.num_items)
        indices = order[step * size : (step + 1) * size] % len(self._records)
        inputs, targets = (self._records.read(field, indices) for field in self._fields)
        rng = make_generator(self._seed, "augmentation", epoch * len(self) + step)
        if self._settings.crop_size_px is not None:
            inputs, targets = _crop(inputs, targets, self._settings.crop_size_px, rng)
        if self._settings.flip:
            inputs, targets = _flip(inputs, targets, rng)
        return inputs[..., None], targets[..., None]


class WholeImages:
    """All images of a file in order, whole; for validation.

    Parameters
    ----------
    records : RecordFile
    fields : (str, str)
        Which fields are input and target.
    batch_size : int
    """

    def __init__(self, records: RecordFile, fields: tuple[str, str], batch_size: int) -> None:
        self._records, self._fields, self._batch_size = records, fields, batch_size

    def __len__(self) -> int:
        """Count the batches."""
        return -(-len(self._records) // self._batch_size)

    def read(self, epoch: int, step: int) -> Batch:
        """Read one batch; the same in every epoch."""
        window = slice(step * self._batch_size, (step + 1) * self._batch_size)
        inputs, targets = (self._records.read(field, window) for field in self._fields)
        return inputs[..., None], targets[..., None]


def _crop(
    inputs: npt.NDArray[np.generic], targets: npt.NDArray[np.generic], size: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    rows = rng.integers(inputs.shape[1] - size + 1, size=len(inputs))
    columns = rng.integers(inputs.shape[2] - size + 1, size=len(inputs))
    cropped = [
        np.stack(
            [
                image[row : row + size, column : column + size]
                for image, row, column in zip(images, rows, columns, strict=True)
            ]
        )
        for images in (inputs, targets)
    ]
    return cropped[0], cropped[1]


def _flip(
    inputs: npt.NDArray[np.generic], targets: npt.NDArray[np.generic], rng: np.random.Generator
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """Apply one of the eight symmetries of the square to each pair; needs square images for quarter turns."""
    is_square = inputs.shape[1] == inputs.shape[2]
    turned = []
    for pair in zip(inputs, targets, strict=True):
        quarter_turns = int(rng.integers(4)) if is_square else 2 * int(rng.integers(2))
        is_mirrored = rng.integers(2)
        turned.append([np.rot90(image[::-1] if is_mirrored else image, quarter_turns) for image in pair])
    return np.stack([pair[0] for pair in turned]), np.stack([pair[1] for pair in turned])
