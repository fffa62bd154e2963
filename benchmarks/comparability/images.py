"""Images in the file layout of the STFC: ``{train,test}/graphene_img_{noise,clean}.h5``, which all codes read."""

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from emdenoise.dataset.record_file import RecordFile
from emdenoise.progress import SilentProgress
from emdenoise.sources.em_graphene_sim import write_pairs


def write_stfc_files(folder: Path, data_dir: Path) -> None:
    """Write the training and test images of the task `preprocess` as the four files of the STFC.

    Parameters
    ----------
    folder : Path
        Gets ``train/`` and ``test/``.
    data_dir : Path
        With ``train.h5`` and ``test.h5``; images are 256 × 256 px.
    """
    for split in ("train", "test"):
        with RecordFile(data_dir / f"{split}.h5") as records:
            write_pairs(folder, split, records, SilentProgress())


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
