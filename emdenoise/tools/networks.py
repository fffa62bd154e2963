"""Trained networks by their folders: loading one as a guest in somebody's process, and using it in one call."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, overload

from emdenoise.arrays import FloatImage, Mask
from emdenoise.errors import MissingInputError
from emdenoise.files.locks import lock_folder
from emdenoise.tools.restoration import AnySignal, ArrayLike, TrainedNetwork

NUM_KEPT_NETWORKS = 4
"""Networks that were given as folders are kept in memory for the next call, the last ones of so many folders."""
AnyNetwork: TypeAlias = str | os.PathLike[str] | TrainedNetwork
"""The folder of a model, or the network in it."""


def load_network(network: str | os.PathLike[str]) -> TrainedNetwork:
    """Load a trained network once, for many images.

    The first call in a process takes seconds, because it starts Keras. Your random numbers and the settings of Keras
    stay as they are. TensorFlow's messages are kept back, unless you set ``TF_CPP_MIN_LOG_LEVEL`` yourself.

    Parameters
    ----------
    network : str or Path
        Folder of a model, which `emdenoise train` wrote: ``workspace/model``.

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    MissingInputError
        If there is no trained network in the folder.
    ModelError, DataError
        If a file is damaged, or the files do not belong together.
    StorageError
        If a training writes the folder at this moment.

    Examples
    --------
    >>> network = load_network("workspace/model")
    >>> network.name, network.workload
    ('unet', 'denoise')
    """
    folder = Path(network)
    if not folder.is_dir():
        raise MissingInputError(f"{folder} is no folder; give the model folder of a training, such as workspace/model.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _keep_random_numbers(), lock_folder(folder, is_written=False):
        from emdenoise.results.environment import check_backend

        check_backend()

        from emdenoise.models.backend import borrow_backend
        from emdenoise.tools.trained import load_checked, read_training

        settings, record = read_training(folder)
        with borrow_backend(settings.training.precision):
            return TrainedNetwork(settings, load_checked(folder, settings, record))


@contextmanager
def _keep_random_numbers() -> Iterator[None]:
    """Leave the caller's generator as it was: the start of Keras and weights that are replaced draw from it."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@overload
def denoise(
    image: ArrayLike,
    *,
    network: AnyNetwork,
    pixel_size_angstrom: float | None = None,
    signal: str | None = None,
) -> FloatImage: ...
@overload
def denoise(
    image: AnySignal,
    *,
    network: AnyNetwork,
    pixel_size_angstrom: float | None = None,
) -> AnySignal: ...
def denoise(
    image: Any, *, network: AnyNetwork, pixel_size_angstrom: float | None = None, signal: str | None = None
) -> Any:
    """Remove the noise of an image or of a stack of images.

    Parameters
    ----------
    image : ndarray, str, Path, Record, or an object with `data` and `axes_manager`
        An array of shape (height, width) or (num_images, height, width), of any size, in units of your own, such as
        counts. Or a file of any format that `emdenoise predict` reads. Or a signal of HyperSpy. Or a record that
        `simulate` gave; its intensity is in the contrast window already, so do not take the array out of it.
    network : str, Path or TrainedNetwork
        Folder of a trained model, or what `load_network` gave. A folder is read at the first call and kept in memory.
    pixel_size_angstrom : float or None
        Pixel size of the image [Å]. A network loses much at pixel sizes that it was not trained for. If yours differs
        by more than 3 %, the image is resampled to the nearest trained pixel size, linearly and without aliasing, and
        the result is resampled back. That costs sharpness and changes the noise: a network that was trained for your
        pixel size is better. None takes the image as it is, also where a file or a signal says its pixel size.
    signal : str or None
        Which signal of a file to take where it holds several: the name of a detector, or the data set of an .h5.

    Returns
    -------
    ndarray of float32, or an object like `image`
        Of the same shape and in the same units; whole numbers become float32. A file gives an array: (height, width) if
        it holds one image, else (num_images, height, width). A signal gives a copy of itself with new `data`, a record
        an array that compares with its ``clean`` image.

    Raises
    ------
    DataError
        If the image has another shape, a value is not finite, or the network does not know such an intensity.
    ModelError
        If the network does not denoise.
    SettingsError
        If nobody knows for which pixel size the network was trained, or it is too far from yours.
    MissingInputError
        If there is no such file, or no network in the folder.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.full((40, 30), 90, np.uint16)
    >>> restored = denoise(counts, network="workspace/model", pixel_size_angstrom=0.2)
    >>> restored.shape, restored.dtype
    ((40, 30), dtype('float32'))
    """
    return _find_network(network).denoise(image, pixel_size_angstrom=pixel_size_angstrom, signal=signal)


@overload
def segment(
    image: ArrayLike,
    *,
    network: AnyNetwork,
    pixel_size_angstrom: float | None = None,
    signal: str | None = None,
) -> Mask: ...
@overload
def segment(
    image: AnySignal,
    *,
    network: AnyNetwork,
    pixel_size_angstrom: float | None = None,
) -> AnySignal: ...
def segment(
    image: Any, *, network: AnyNetwork, pixel_size_angstrom: float | None = None, signal: str | None = None
) -> Any:
    """Label each pixel of an image or of a stack of images.

    Parameters
    ----------
    image, network, pixel_size_angstrom, signal
        As `denoise` takes them; labels are resampled back to the nearest pixel.

    Returns
    -------
    ndarray of uint8, or an object like `image`
        Labels, of the shape of the image. `denoise` says what files and signals give.

    Raises
    ------
    ModelError
        If the network does not segment.
    DataError, SettingsError, MissingInputError
        As `denoise`.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.full((2, 40, 30), 90.0)
    >>> mask = segment(counts, network="workspace/model_segment")
    >>> mask.shape, mask.dtype
    ((2, 40, 30), dtype('uint8'))
    """
    return _find_network(network).segment(image, pixel_size_angstrom=pixel_size_angstrom, signal=signal)


def _find_network(network: AnyNetwork) -> TrainedNetwork:
    """Give the network of a folder, from memory if its files are those of the call before."""
    if isinstance(network, TrainedNetwork):
        return network
    folder = Path(network)
    files = [folder / "records" / "train.json", folder / "model.json", folder / "model.weights.h5"]
    stamps = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists())
    return _load_once(folder.resolve() if folder.is_dir() else folder, stamps)


@lru_cache(NUM_KEPT_NETWORKS)
def _load_once(folder: Path, stamps: tuple[tuple[int, int], ...]) -> TrainedNetwork:
    return load_network(folder)
