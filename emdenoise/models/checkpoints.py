"""A trained network as files: weights in HDF5, which cannot run code, and JSON that says what they are."""

import hashlib
import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import h5py
import keras
import numpy as np
from pydantic import Field, TypeAdapter

from emdenoise.config.base import NetworkSettings
from emdenoise.config.choices import choose_network_settings
from emdenoise.errors import MissingInputError, ModelError, explain_os_errors
from emdenoise.files.atomic import copy_file, hash_file, write_atomically, write_json
from emdenoise.models import build_network
from emdenoise.models.contract import Network, Ports
from emdenoise.models.heads import HEADS
from emdenoise.progress import Progress

WEIGHTS_FILE = "model.weights.h5"
DESCRIPTION_FILE = "model.json"
PREVIOUS_FOLDER = "previous"
OutputChannels = Annotated[int, Field(ge=1, le=256, strict=True)]
"""One, or one for each label of a mask of 8 bits."""
InputChannels = Annotated[dict[str, Annotated[int, Field(ge=1, le=16, strict=True)]], Field(min_length=1)]
"""By field."""
MAX_BYTES_PER_VALUE = 8
MAX_HDF5_BYTES_PER_ARRAY = 8192
"""More than HDF5 writes around the values of one array in the layout of Keras: groups, headers, names."""


@dataclass(frozen=True)
class TrainedModel:
    """A network with its weights and what is known of them.

    Attributes
    ----------
    network : Network
    ports : Ports
    weights_sha256 : str
        Hash of all weights in the order of the layers.
    description : dict
        What the training task wrote: settings, their hash, hashes of the data.
    """

    network: Network
    ports: Ports
    weights_sha256: str
    description: dict[str, Any]


def hash_weights(model: keras.Model) -> str:
    """Compute the SHA-256 of all weights, float32 in the order of the layers."""
    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.asarray(keras.ops.convert_to_numpy(weight), dtype=np.float32)
        digest.update(f"{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def set_aside(model_dir: Path, weights_sha256: str, progress: Progress) -> None:
    """Move the model of an earlier run to ``previous/NUMBER`` and say so; do nothing where there is none.

    The description moves last: a move that was interrupted is finished by the next call, in the same folder. A model
    without a record that has the weights of its successor is left where it is: the training that wrote it did not
    end, on a full disk for example, where each trial would else keep one more copy.

    Parameters
    ----------
    model_dir : Path
    weights_sha256 : str
        Of the network that will be saved there.
    progress : Progress

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    description = model_dir / DESCRIPTION_FILE
    if not description.exists():
        return
    has_record = (model_dir / "records" / "train.json").exists()
    if not has_record and _find_weights_hash(description) == weights_sha256:
        return
    earlier = [int(path.name) for path in (model_dir / PREVIOUS_FOLDER).glob("*") if path.name.isdigit()]
    folder = model_dir / PREVIOUS_FOLDER / str(max(earlier, default=1))
    if (folder / DESCRIPTION_FILE).exists():
        folder = folder.with_name(str(int(folder.name) + 1))
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in (model_dir / "records").glob("*.json"):
            copy_file(path, folder / "records" / path.name)
        for path in (model_dir / WEIGHTS_FILE, description):
            if path.exists():
                path.rename(folder / path.name)
    progress.say(f"The model of the run before was moved to {PREVIOUS_FOLDER}/{folder.name} in the model folder.")


def _find_weights_hash(description: Path) -> str | None:
    try:
        return str(json.loads(description.read_text(encoding="utf-8"))["weights_sha256"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def save_model(
    model: keras.Model, model_dir: Path, settings: NetworkSettings, *, ports: Ports, facts: dict[str, Any]
) -> str:
    """Write the weights and their description, each whole or not at all, the description last.

    Parameters
    ----------
    model : keras.Model
    model_dir : Path
    settings : NetworkSettings
        With `ports` all that is needed to build the network again.
    ports : Ports
    facts : dict
        What else to remember; JSON values.

    Returns
    -------
    str
        SHA-256 of the weights.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    weights_sha256 = hash_weights(model)
    with explain_os_errors(model_dir / DESCRIPTION_FILE):
        (model_dir / DESCRIPTION_FILE).unlink(missing_ok=True)  # it must not vouch for weights that it does not know
    bare = keras.Model(model.inputs, model.outputs, name=model.name)  # without the optimizer's variables
    write_weights(bare, model_dir / WEIGHTS_FILE)
    description = {
        "architecture": settings.model_dump(mode="json"),
        "ports": {"inputs": ports.inputs, "output_channels": ports.output_channels, "head": ports.head.kind},
        "weights_sha256": weights_sha256,
        "file_sha256": hash_file(model_dir / WEIGHTS_FILE),
        **facts,
    }
    write_json(model_dir / DESCRIPTION_FILE, description)
    return weights_sha256


def has_model(folder: Path) -> bool:
    """Tell whether a folder has a network with all of its files: the description is written last."""
    return (folder / DESCRIPTION_FILE).exists()


def copy_model(source: Path, destination: Path) -> None:
    """Copy weights and their description, each whole or not at all, the description last: half a copy is no model.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
        copy_file(source / name, destination / name)


def write_weights(model: keras.Model, path: Path) -> None:
    """Write the weights of a network, and the state of its optimizer if it has one, whole or not at all.

    Raises
    ------
    StorageError
        If there is no room, or the folder cannot be written.
    """
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else ())]
    num_values = sum(math.prod(variable.shape) for variable in variables)
    with write_atomically(path) as partial:
        # HDF5 ends the process with a segmentation fault where the disk is full, so the room is tried out before.
        partial.write_bytes(bytes(MAX_BYTES_PER_VALUE * num_values + MAX_HDF5_BYTES_PER_ARRAY * len(variables)))
        model.save_weights(partial)


def load_model(model_dir: Path) -> TrainedModel:
    """Build the network of a model folder and load its weights.

    Raises
    ------
    MissingInputError
        If no network was trained there.
    ModelError
        If a file is damaged, or the weights are not those that the description names.
    """
    description_path, weights_path = model_dir / DESCRIPTION_FILE, model_dir / WEIGHTS_FILE
    for path in (weights_path, description_path):
        if not path.is_file():
            raise MissingInputError(f"{path.name} is not in the model folder; run the train task first.")
    damaged = f"{DESCRIPTION_FILE}: damaged, or of another version; run the train task again."
    try:
        description = json.loads(description_path.read_text(encoding="utf-8"))
        settings: NetworkSettings = choose_network_settings({**description["architecture"]})
        given = description["ports"]
        ports = Ports(
            TypeAdapter(InputChannels).validate_python(given["inputs"]),
            TypeAdapter(OutputChannels).validate_python(given["output_channels"]),
            HEADS[given["head"]],
        )
        expected, file_sha256 = str(description["weights_sha256"]), str(description["file_sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(damaged) from error
    if hash_file(weights_path) != file_sha256:  # before HDF5 sees it, which a damaged file can bring down
        raise ModelError(f"{WEIGHTS_FILE}: damaged, or not the file of {DESCRIPTION_FILE}; run the train task again.")
    try:
        network = build_network(settings, ports)
    except ValueError as error:
        raise ModelError(damaged) from error
    load_weights(network.model, weights_path)
    found = hash_weights(network.model)
    if found != expected:
        raise ModelError(
            f"{WEIGHTS_FILE}: SHA-256 of the weights is {found[:12]}, expected {expected[:12]}; "
            "run the train task again."
        )
    return TrainedModel(network, ports, found, description)


def load_weights(model: keras.Model, path: Path) -> None:
    """Load weights into a network of the same architecture.

    Raises
    ------
    ModelError
        If the file is damaged or belongs to another architecture.
    """
    try:
        _check_layout(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # so Keras says that it skipped a layer
            model.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, UserWarning) as error:
        raise ModelError(
            f"{path.name}: damaged, or not weights of this {model.name}; run the train task again."
        ) from error


def _check_layout(path: Path) -> None:
    """Check that a file of weights holds its values as Keras writes them: whole, uncompressed, in this file.

    A compressed data set of a few kilobytes may unpack to more than any memory holds, and a link may lead anywhere.

    Raises
    ------
    ValueError
        If it does not.
    """
    num_bytes = 0

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal num_bytes
        if isinstance(item, h5py.Dataset):
            num_bytes += item.nbytes
            if item.chunks or item.is_virtual or item.external:
                raise ValueError(f"{name} is compressed, or its values are in another file")
        elif not all(isinstance(item.get(child, getlink=True), h5py.HardLink) for child in item):
            raise ValueError(f"{name or 'the file'} has a link to another place")

    with h5py.File(path) as file:
        visit("", file)
        file.visititems(visit)
    if num_bytes > path.stat().st_size:
        raise ValueError(f"its {num_bytes} bytes of values are more than the file has")
