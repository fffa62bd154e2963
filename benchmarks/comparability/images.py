"""Images in the file layout of the STFC: ``{train,test}/graphene_img_{noise,clean}.h5``, which all codes read."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from emdenoise.dataset.record_file import RecordFile
from emdenoise.sources.em_graphene_sim import FILES, IMAGE_SHAPE

FIELDS = {"noise": "noisy", "clean": "clean"}
"""Fields of our records, by the word in the names of STFC's files."""
NUM_READ_TOGETHER = 32


def write_stfc_files(folder: Path, data_dir: Path) -> None:
    """Write the training and test images of the task `preprocess` as the four files of the STFC.

    Parameters
    ----------
    folder : Path
        Gets ``train/`` and ``test/``.
    data_dir : Path
        With ``train.h5`` and ``test.h5``; images are 256 × 256 px.
    """
    for name in FILES:
        split, _, file_name = name.partition("/")
        field = FIELDS[file_name.removeprefix("graphene_img_").removesuffix(".h5")]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with RecordFile(data_dir / f"{split}.h5") as records, h5py.File(path, "w") as file:
            images = file.create_dataset("images", (len(records), *IMAGE_SHAPE), np.float32, chunks=(1, *IMAGE_SHAPE))
            for window in _list_windows(len(records)):
                images[window] = records.read(field, window)[..., None]


def read_stfc_images(folder: Path, split: str, kind: str) -> npt.NDArray[np.float32]:
    """Read all images of a file, float32 (num_images, 256, 256); `kind` is ``noise`` or ``clean``."""
    with h5py.File(folder / split / f"graphene_img_{kind}.h5") as file:
        images: npt.NDArray[np.float32] = file["images"][..., 0]
    return images


def write_pictures(folder: Path, images: npt.NDArray[np.float32]) -> None:
    """Write images as TIFF files of 32-bit numbers, as sciml-bench's inference reads them."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:05}.tif")


def find_total(num_train: int, validation_fraction: float) -> int:
    """Find how many images `preprocess` needs in ``train/`` to leave so many after it took the validation images.

    Examples
    --------
    >>> find_total(600, 0.1)
    667
    """
    total = num_train + 1
    while total - max(1, round(validation_fraction * total)) < num_train:
        total += 1
    return total


def _list_windows(num_images: int) -> Iterator[slice]:
    for first in range(0, num_images, NUM_READ_TOGETHER):
        yield slice(first, min(first + NUM_READ_TOGETHER, num_images))
