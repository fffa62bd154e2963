"""A trained network with the settings that it was trained with."""

from pathlib import Path
from typing import TYPE_CHECKING

from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig
from emdenoise.results.environment import check_backend
from emdenoise.results.task_record import TaskRecord, read_record

if TYPE_CHECKING:
    from emdenoise.models.checkpoints import TrainedModel


def load_trained(model_dir: Path) -> tuple[RunConfig, "TrainedModel"]:
    """Load a network and the settings that it was trained with, in a process that does nothing else.

    Raises
    ------
    MissingInputError
        If the folder lacks the network or the record of its training.
    ModelError, DataError
        If they are damaged or do not belong together.
    PackageError
        If the backend of Keras is missing.
    """
    check_backend()

    from emdenoise.models.backend import prepare_backend

    config, record = read_training(model_dir)
    prepare_backend(config.training, config.seed)
    return config, load_checked(model_dir, config, record)


def read_training(model_dir: Path) -> tuple[RunConfig, TaskRecord]:
    """Read the settings of a training and its record; raises as `load_trained`."""
    record = read_record(model_dir, "train")
    return check_settings(record.settings, RunConfig, "the settings in records/train.json"), record


def load_checked(model_dir: Path, config: RunConfig, record: TaskRecord) -> "TrainedModel":
    """Load the network of a training that was read; raises as `load_trained`."""
    from emdenoise.models.checkpoints import load_model
    from emdenoise.results.preconditions import check_model

    trained = load_model(model_dir)
    check_model(config, trained.description, record)
    return trained
