"""A trained network with the settings that it was trained with."""

from pathlib import Path
from typing import TYPE_CHECKING

from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig

if TYPE_CHECKING:
    from emdenoise.models.checkpoints import TrainedModel


def load_trained(model_dir: Path) -> tuple[RunConfig, "TrainedModel"]:
    """Load a network and the settings that it was trained with.

    Raises
    ------
    MissingInputError
        If the folder lacks the network or the record of its training.
    ModelError, DataError
        If they are damaged or do not belong together.
    """
    from emdenoise.models.backend import prepare_backend
    from emdenoise.models.checkpoints import load_model
    from emdenoise.results.preconditions import check_model
    from emdenoise.results.task_record import read_record

    record = read_record(model_dir, "train")
    config = check_settings(record.settings, RunConfig, "the settings in records/train.json")
    prepare_backend(config.training, config.seed)
    trained = load_model(model_dir)
    check_model(config, trained.description, record)
    return config, trained
