"""The ends of a training in one process or several: from settings to a network that learns, and from that to files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np

from emdenoise.arrays import choose_evenly
from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig, TrainingSettings
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.sampler import InOrder, Sampler
from emdenoise.dataset.whole_images import ShownRecords, show_for_validation
from emdenoise.errors import ModelError
from emdenoise.models import build_network
from emdenoise.models.backend import describe_device, let_memory_grow, prepare_backend
from emdenoise.models.checkpoints import hash_weights, save_model
from emdenoise.models.contract import Network, Ports
from emdenoise.models.parallel import connect, open_scope
from emdenoise.processes import ProcessGroup
from emdenoise.progress import Progress
from emdenoise.training.epochs import Judge, Learner, TrainingResult, judge_nothing, run_epochs
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.kept_images import KeptImages, keep_images
from emdenoise.training.learners import PreparedBatches, make_learner, tell_of_shapes
from emdenoise.training.objectives import Objective
from emdenoise.training.pretraining import Pretrained, take_over
from emdenoise.training.statistics import find_normalisations, recompute_statistics
from emdenoise.training.transfer import Freeze, choose_freeze


@dataclass(frozen=True)
class Lesson:
    """What a network is taught.

    Attributes
    ----------
    objective : Objective
    ports : Ports
        Of the network that answers.
    images : RecordFile
    validation : RecordFile or ResizedRecords
        As `show_for_validation` shows it.
    judge : callable
        Scores the validation images of this process after each epoch, see `Judge`.
    """

    objective: Objective
    ports: Ports
    images: RecordFile
    validation: ShownRecords
    judge: Judge = judge_nothing


@dataclass(frozen=True)
class Start:
    """A network that is ready to learn.

    Attributes
    ----------
    network : Network
    learner : Learner
    batches, held_out : PreparedBatches
        To learn from, and to validate with.
    freeze : Freeze
        Layers that do not learn, or not from the start.
    facts : dict
        What a record keeps of the pretraining and of the data, as JSON values.
    recompute : callable or None
        Gives the trained network the statistics of whole images, see `recompute_statistics`.
    """

    network: Network
    learner: Learner
    batches: PreparedBatches
    held_out: PreparedBatches
    freeze: Freeze
    facts: dict[str, Any]
    recompute: Callable[[], None] | None = None

    def run(self, settings: TrainingSettings, checkpoint: CheckpointFolder, progress: Progress) -> TrainingResult:
        """Train all epochs, see `run_epochs`; the last one has the validation of the network that is kept."""
        learner, batches, held_out = self.learner, self.batches, self.held_out
        result = run_epochs(
            learner, batches, held_out, settings, checkpoint=checkpoint, progress=progress, freeze=self.freeze
        )
        if self.recompute is not None and result.history:
            self.recompute()
            result.history[-1].update(learner.validate(held_out))
        return result


def start_learner(
    config: RunConfig, lesson: Lesson, pretrained: Pretrained | None, *, group: ProcessGroup, progress: Progress
) -> Start:
    """Build the network of a run and compile it.

    Parameters
    ----------
    config : RunConfig
    lesson : Lesson
    pretrained : Pretrained or None
        What it takes over.
    group : ProcessGroup
        The processes that train it together.
    progress : Progress

    Returns
    -------
    Start

    Raises
    ------
    SettingsError
        If the backend has no engine for several processes, an encoder shall be frozen that is not there, or statistics
        be computed anew where there are none.
    DataError
        If there are fewer images than wanted, or a batch that the processes cannot share equally.
    ResourceError
        If the images shall be kept on the device and do not fit.
    """
    objective, training = lesson.objective, config.training
    sampler = Sampler(lesson.images, objective.needs, training, config.seed, group)
    whole = InOrder(lesson.validation, objective.needs, config.evaluation.batch_size, group)
    let_memory_grow()
    engine = connect(group)
    prepare_backend(training, config.seed)
    with open_scope(engine):
        network = build_network(config.model, lesson.ports)
    facts = take_over(pretrained, network.model, progress)
    progress.say(
        f"Training {config.model.name}, {network.model.count_params():,} parameters, on {sampler.num_images} images in "
        f"{group.describe()}: batch size {training.batch_size}, {len(sampler)} steps an epoch, "
        f"{training.epochs} epochs."
    )
    tell_of_shapes(sampler, progress)
    learner = make_learner(network.model, objective, training, len(sampler), engine, judge=lesson.judge)
    recompute = None
    if training.statistics_images:
        chosen = sampler.tiles[choose_evenly(len(sampler.tiles), training.statistics_images)]
        progress.say(f"Afterwards its batch normalisation gets the statistics of {len(chosen)} whole images.")
        recompute = partial(
            recompute_statistics,
            find_normalisations(network),
            network.model,
            objective,
            show_for_validation(lesson.images, training),
            chosen,
            batch_size=training.batch_size,
            seed=config.seed,
        )
    reader: Sampler | KeptImages = sampler
    if training.keep_on_device:
        reader = keep_images(sampler, lesson.images, objective)
        progress.say(f"The training images, {reader.num_bytes / 1e9:.3g} GB, are kept on {describe_device()}.")
    return Start(
        network,
        learner,
        PreparedBatches(reader, objective, config.seed),
        PreparedBatches(whole, objective, config.seed),
        choose_freeze(config.model.name, config.pretraining, network.encoder),
        facts | {"num_validation_images": len(lesson.validation)},
        recompute,
    )


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
    ports: Ports,
    inputs: dict[str, str],
) -> None:
    """Write the network that all processes have; each of them must call this, and the first one writes.

    Parameters
    ----------
    model : keras.Model
    config : RunConfig
    group : ProcessGroup
    model_dir : Path
    ports : Ports
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
        save_model(model, folder, config.model, ports=ports, facts=facts)
