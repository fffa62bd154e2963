"""From settings to a network that is ready to learn: its processes, its weights, what it takes over."""

from typing import Any

from emdenoise.config.schema import RunConfig
from emdenoise.data.pipeline import TrainingBatches
from emdenoise.models import build_model
from emdenoise.models.backend import prepare_backend
from emdenoise.models.processes import connect, open_scope
from emdenoise.progress import Progress
from emdenoise.training.epochs import Learner
from emdenoise.training.fit import make_learner
from emdenoise.training.pretraining import Pretrained, take_over
from emdenoise.world import World


def start_learner(
    config: RunConfig,
    batches: TrainingBatches,
    pretrained: Pretrained | None,
    *,
    num_outputs: int,
    world: World,
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
    world : World
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
    processes = connect(world)
    prepare_backend(config.training, config.seed)
    with open_scope(processes):
        model = build_model(config.model, output_channels=num_outputs)
    learned = take_over(pretrained, model, progress)
    training = config.training
    progress.say(
        f"Training {config.model.name}, {model.count_params():,} parameters, on {batches.num_images} images in "
        f"{world.describe()}: batch size {training.batch_size}, {len(batches)} steps an epoch, "
        f"{training.epochs} epochs."
    )
    return make_learner(model, training, training.epochs * len(batches), processes), learned
