"""The source `em_graphene_sim`: simulated graphene of the STFC SciML benchmark, in public object stores.

Its file layout is read and written here, so that the STFC codes can see the same images as this benchmark.

Its folders of experimental images (`inference/`) have no use in training and are not fetched.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.intensity import IntensityScale, RowImage, keep_scale
from emdenoise.dataset.record import Record, Source, Split
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import DataError, MissingInputError
from emdenoise.files.atomic import write_atomically
from emdenoise.files.full_disk import create_hdf5
from emdenoise.files.sandbox import call_sandboxed
from emdenoise.progress import Progress
from emdenoise.seeding import make_generator
from emdenoise.sources.fetching import TIMEOUT_S, Location, fetch_files, find_locations

FOLDER = "em_graphene_sim"
ENDPOINTS = ("https://s3.echo.stfc.ac.uk", "https://sdsc.osn.xsede.org")
ADDRESS = "s3://sciml-datasets/ms/em_graphene_sim"
FILES = tuple(f"{folder}/graphene_img_{kind}.h5" for folder in ("train", "test") for kind in ("noise", "clean"))
IMAGE_SHAPE = (256, 256, 1)
FIELDS_OF_FILES = {"noise": "noisy", "clean": "clean"}
"""What a record calls the images of each kind of file."""
VALUE_BOUNDS = (-1.0, 3.0)
"""Intensity is near [0, 1]; beyond these bounds it has another scale."""
NOISY_BOUNDS = (-4.0, 8.0)
"""The same for noisy images: at 8 electrons a pixel, counts of 0 and of 35 are stored as -0.75 and as 4.8."""
NUM_READ_TOGETHER = 4
"""Images of a file; few, so that memory does not grow."""
REMEDY = "delete the file and run the download task again, with another data.mirror if it stays so"


def download_em_graphene_sim(
    config: RunConfig,
    raw_dir: Path,
    progress: Progress,
    *,
    endpoints: Sequence[str] = ENDPOINTS,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, str]:
    """Fetch the four files that are not there yet and verify all of them.

    Parameters
    ----------
    config : RunConfig
        `data.mirror` names another place than the endpoints; it holds ``train/`` and ``test/``.
    raw_dir : Path
        Files go to ``em_graphene_sim/`` in it.
    progress : Progress
    endpoints : sequence of str
        URLs of S3 endpoints that hold the bucket, tried in order.
    timeout_s : float
        Longest wait for an answer.

    Returns
    -------
    dict of str to str
        SHA-256 of each file, by its path relative to `raw_dir`.

    Raises
    ------
    DownloadError, DataError, StorageError
        As `fetch_files`; a file that is not of this source's layout is a `DataError`.
    """
    locations = find_locations(config.data.mirror, raw_dir, [Location(ADDRESS, endpoint) for endpoint in endpoints])
    hashes = fetch_files(
        dict.fromkeys(FILES), locations, raw_dir / FOLDER, progress, check=_check_layout, timeout_s=timeout_s
    )
    return {f"{FOLDER}/{name}": digest for name, digest in hashes.items()}


def read_em_graphene_sim(config: RunConfig, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    """Read the pairs of each split, image by image.

    The source does not say which images show the same specimen, so each counts as a specimen of its own. The
    validation images are drawn from ``train/``.

    Parameters
    ----------
    config : RunConfig
        `data.validation_fraction` and `data.seed` choose the validation images.
    raw_dir : Path
        Of the download task.

    Raises
    ------
    MissingInputError
        If a file is not there.
    DataError
        If a file is damaged or of another layout; while images are read also if one holds NaN, has another scale or
        is its own truth.
    """
    num_train, num_test = (_count_pairs(raw_dir / FOLDER, folder) for folder in ("train", "test"))
    num_validation = max(1, round(config.data.validation_fraction * num_train))
    if num_validation >= num_train:
        raise DataError(f"{FILES[0]}: has {num_train} images; at least 2 are needed, one for validation; {REMEDY}.")
    order = make_generator(config.data.seed, "validation split").permutation(num_train)
    return {
        "train": _read_pairs(raw_dir / FOLDER, "train", np.sort(order[num_validation:])),
        "validation": _read_pairs(raw_dir / FOLDER, "train", np.sort(order[:num_validation])),
        "test": _read_pairs(raw_dir / FOLDER, "test", np.arange(num_test)),
    }


def _count_pairs(root: Path, folder: str) -> int:
    noisy_name, clean_name = (name for name in FILES if name.startswith(folder))
    num_noisy, num_clean = (_check_layout(root / name, name) for name in (noisy_name, clean_name))
    if num_noisy != num_clean:
        raise DataError(
            f"{clean_name}: has {num_clean} images, {noisy_name} has {num_noisy}; expected as many; {REMEDY}."
        )
    return num_noisy


def _check_layout(path: Path, name: str) -> int:
    """Check everything but the pixels; give the number of images."""
    return call_sandboxed(partial(count_images, path, name), name=name, remedy=REMEDY)


def count_images(path: Path, name: str) -> int:
    """Count the images of a file after its layout was checked; `name` is for messages.

    Raises
    ------
    MissingInputError, DataError
        As `read_em_graphene_sim`.
    """
    with _open(path, name) as file, _explain_damage(name, "the description of the images"):
        images = file.get("images")
        if not isinstance(images, h5py.Dataset):
            found = ", ".join(sorted(file)) or "nothing"
            raise DataError(f"{name}: holds {found}; expected the data set images; {REMEDY}.")
        if images.dtype != np.float32:
            raise DataError(f"{name}: images are {images.dtype}; expected float32; {REMEDY}.")
        if images.shape[1:] != IMAGE_SHAPE or not len(images):
            raise DataError(f"{name}: images have shape {images.shape}; expected (n, 256, 256, 1), n ≥ 1; {REMEDY}.")
        return len(images)


@contextmanager
def _explain_damage(name: str, part: str) -> Iterator[None]:
    """Turn what h5py raises on damaged files into a `DataError`; it says little, and of many kinds."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{name}: {part} cannot be read; expected a whole HDF5 file; {REMEDY}.") from error


def _open(path: Path, name: str) -> h5py.File:
    if not path.is_file():
        raise MissingInputError(f"{FOLDER}/{name} is not in the raw data folder; run the download task first.")
    size = path.stat().st_size
    if not h5py.is_hdf5(path):
        raise DataError(f"{name}: is not HDF5 ({size:,} bytes); expected an HDF5 file; {REMEDY}.")
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{name}: is cut off or damaged ({size:,} bytes); expected a whole HDF5 file; {REMEDY}."
        ) from error


def _read_pairs(root: Path, folder: str, indices: npt.NDArray[np.int64]) -> Iterator[Record]:
    noisy_name, clean_name = (name for name in FILES if name.startswith(folder))
    for first in range(0, len(indices), NUM_READ_TOGETHER):
        block = indices[first : first + NUM_READ_TOGETHER].tolist()
        pairs = [
            call_sandboxed(partial(read_images, root / name, name, block), name=name, remedy=REMEDY)
            for name in (noisy_name, clean_name)
        ]
        for index, noisy, clean in zip(block, *pairs, strict=True):
            if np.array_equal(noisy, clean):
                raise DataError(
                    f"{clean_name}: image {index} is identical to that of {noisy_name}; expected its noise-free truth; "
                    f"{REMEDY}."
                )
            yield Record(
                {"noisy": noisy, "clean": clean}, specimen=f"{folder} {index}", name=f"{noisy_name} image {index}"
            )


def read_images(path: Path, name: str, indices: Sequence[int]) -> list[FloatImage]:
    """Read some images of a file, float32 (256, 256); `name` is for messages.

    Raises
    ------
    MissingInputError, DataError
        As `read_em_graphene_sim`.
    """
    with _open(path, name) as file:
        return [_read_image(file, name, index) for index in indices]


def _read_image(file: h5py.File, name: str, index: int) -> FloatImage:
    with _explain_damage(name, f"image {index}"):
        image: FloatImage = file["images"][index][..., 0]
    _check_values(image, f"{name}: image {index}", remedy=REMEDY, is_noisy="noise" in name)
    return image


def _check_values(image: FloatImage, name: str, *, remedy: str, is_noisy: bool) -> None:
    low, high = float(image.min()), float(image.max())
    lowest, highest = NOISY_BOUNDS if is_noisy else VALUE_BOUNDS
    if not np.isfinite(image).all():
        raise DataError(f"{name} holds NaN or infinite values; expected finite ones; {remedy}.")
    if low < lowest or high > highest:
        raise DataError(f"{name} spans [{low:g}, {high:g}]; expected values near [0, 1]; {remedy}.")


def write_pairs(folder: Path, part: str, records: RecordFile, progress: Progress) -> None:
    """Write the noisy and clean images of a file of records, image by image, as this source stores them.

    Parameters
    ----------
    folder : Path
        Gets ``PART/graphene_img_noise.h5`` and ``PART/graphene_img_clean.h5``.
    part : str
        ``"train"`` or ``"test"``.
    records : RecordFile
        Whole images of 256 × 256 pixels, with noise-free ones.
    progress : Progress

    Raises
    ------
    DataError
        If the images have another size, no noise-free ones, or values that the layout's readers would refuse.
    StorageError
        If the files cannot be written.
    """
    if records.image_shape != IMAGE_SHAPE[:2] or records.has_tiles:
        height, width = records.image_shape
        found = f"tiles of {height} × {width} pixels" if records.has_tiles else f"{height} × {width} pixels"
        raise DataError(
            f"{records.name}: images are {found}; the layout of {FOLDER} holds whole images of 256 × 256; choose such "
            "a source, or set simulation.image_size_px to 256, and run download and preprocess again."
        )
    remedy = "choose a simulation.intensity_window and doses that keep it there, and run download and preprocess again"
    for name in (name for name in FILES if name.startswith(part)):
        kind = name.rsplit("_", 1)[1].removesuffix(".h5")
        with write_atomically(folder / name) as partial, create_hdf5(partial) as (file, raw):
            images = file.create_dataset("images", (len(records), *IMAGE_SHAPE), np.float32)
            for index in range(len(records)):
                image = records.read(FIELDS_OF_FILES[kind], slice(index, index + 1))[0]
                label = f"{records.name}: {FIELDS_OF_FILES[kind]} image {index}"
                _check_values(image, label, remedy=remedy, is_noisy=kind == "noise")
                images[index] = image[..., np.newaxis]
                raw.check()
                progress.step(f"write {name}", index + 1, len(records))


def choose_em_graphene_sim_scales(
    images: Sequence[RowImage], config: RunConfig, name: str
) -> tuple[IntensityScale, ...]:
    """Leave intensities as they are; raises `DataError` where they have another scale."""
    return keep_scale(images, IntensityScale(), NOISY_BOUNDS, name=name, source=FOLDER)


EM_GRAPHENE_SIM = Source(
    description="Simulated pairs of noisy and noise-free images of graphene (MULTEM), 256 × 256 pixels.",
    licence="Not stated by the publisher.",
    citation="STFC SciML-Bench, data set em_graphene_sim (doi:10.1038/s42254-022-00441-7)",
    download=download_em_graphene_sim,
    read=read_em_graphene_sim,
    image_size_px=lambda config: IMAGE_SHAPE[0],
    choose_scales=choose_em_graphene_sim_scales,
    needs_network=True,
)
