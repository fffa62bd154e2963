"""The ends of a training in one process or several: from settings to a network that learns, and from that to files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np

from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.sampler import TrainingBatches
from emdenoise.errors import ModelError
from emdenoise.models import build_model
from emdenoise.models.backend import prepare_backend
from emdenoise.models.checkpoints import hash_weights, save_model
from emdenoise.models.parallel import connect, open_scope
from emdenoise.processes import ProcessGroup
from emdenoise.progress import Progress
from emdenoise.training.epochs import Learner
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.learners import make_learner
from emdenoise.training.pretraining import Pretrained, take_over


def start_learner(
    config: RunConfig,
    batches: TrainingBatches,
    pretrained: Pretrained | None,
    num_outputs: int,
    *,
    group: ProcessGroup,
    progress: Progress,
) -> tuple[Learner, dict[str, Any]]:
    """Build the network of a run and compile it.

    Parameters
    ----------
    config : RunConfig
    batches : TrainingBatches
        What it will learn from.
    pretrained : Pretrained or None
        What it takes over.
    num_outputs : int
        Output channels.
    group : ProcessGroup
        The processes that train it together.
    progress : Progress

    Returns
    -------
    Learner, dict
        And what a record keeps of the pretraining, as JSON values.

    Raises
    ------
    SettingsError
        If the backend has no engine for several processes.
    """
    processes = connect(group)
    prepare_backend(config.training, config.seed)
    with open_scope(processes):
        model = build_model(config.model, output_channels=num_outputs)
    learned = take_over(pretrained, model, progress)
    training = config.training
    progress.say(
        f"Training {config.model.name}, {model.count_params():,} parameters, on {batches.num_images} images in "
        f"{group.describe()}: batch size {training.batch_size}, {len(batches)} steps an epoch, "
        f"{training.epochs} epochs."
    )
    return make_learner(model, training, training.epochs * len(batches), processes), learned


def open_checkpoint(
    config: RunConfig, group: ProcessGroup, model_dir: Path, inputs: dict[str, str]
) -> CheckpointFolder:
    """Give the folder with the state of the training of these settings on these images, which process 0 writes."""
    key = "".join([hash_settings(config), *inputs.values()])
    return CheckpointFolder(model_dir / "checkpoint", key, is_kept=group.is_leader)


def agree_on_weights(learner: Learner, group: ProcessGroup) -> str:
    """Compare the weights of all processes; each of them must call this.

    Parameters
    ----------
    learner : Learner
    group : ProcessGroup

    Returns
    -------
    str
        SHA-256 of the weights.

    Raises
    ------
    ModelError
        If those of two processes differ.
    """
    weights = hash_weights(learner.model)
    values = np.frombuffer(bytes.fromhex(weights), np.uint8).astype(np.float64)
    if (learner.add_up(values) != group.size * values).any():
        raise ModelError(
            f"process {group.rank} of {group.size} ends with weights {weights[:12]}, another with different ones; "
            "nothing is kept. Train in one process, and report this."
        )
    return weights


def keep_network(
    model: keras.Model,
    config: RunConfig,
    group: ProcessGroup,
    model_dir: Path,
    *,
    num_outputs: int,
    inputs: dict[str, str],
) -> None:
    """Write the network that all processes have; each of them must call this, and the first one writes.

    Parameters
    ----------
    model : keras.Model
    config : RunConfig
    group : ProcessGroup
    model_dir : Path
    num_outputs : int
        Output channels.
    inputs : dict of str to str
        Content hashes of the images.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    facts = {"workload": config.workload, "settings_sha256": hash_settings(config), "inputs": inputs}
    with TemporaryDirectory() as nowhere:  # where JAX reads weights, all processes must read them
        folder = model_dir if group.is_leader else Path(nowhere)
        save_model(model, folder, config.model, output_channels=num_outputs, facts=facts)
