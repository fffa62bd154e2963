"""From settings to the optimizer and its learning rate."""

from typing import TypeAlias

import keras

from emdenoise.config.schema import TrainingSettings

LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def make_learning_rate(settings: TrainingSettings, num_steps: int) -> LearningRate:
    """Make the learning rate over all steps of a training.

    Parameters
    ----------
    settings : TrainingSettings
    num_steps : int
        Steps of the whole training.

    Returns
    -------
    float or keras LearningRateSchedule
        A number for the constant schedule without warm-up.
    """
    warmup_steps = min(round(settings.warmup_fraction * num_steps), num_steps - 1)
    if settings.schedule == "constant" and warmup_steps == 0:
        return settings.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else settings.learning_rate,
        decay_steps=num_steps - warmup_steps,
        alpha=0.0 if settings.schedule == "cosine" else 1.0,
        warmup_target=settings.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def list_learning_rates(settings: TrainingSettings, num_steps: int) -> list[float]:
    """List the learning rate after each epoch, as the history of a training has it.

    Parameters
    ----------
    settings : TrainingSettings
    num_steps : int
        Steps of an epoch.

    Returns
    -------
    list of float
        One an epoch. Of a schedule in mixed_float16 these are the lowest: steps that overflow do not count.
    """
    rate = make_learning_rate(settings, max(1, settings.epochs * num_steps))
    steps = [number * num_steps for number in range(1, settings.epochs + 1)]
    return [float(rate if isinstance(rate, float) else keras.ops.convert_to_numpy(rate(step))) for step in steps]


def make_optimizer(settings: TrainingSettings, num_steps: int) -> keras.optimizers.Optimizer:
    """Make the optimizer that the settings describe.

    Parameters
    ----------
    settings : TrainingSettings
    num_steps : int
        Steps of the whole training.

    Returns
    -------
    keras.optimizers.Optimizer
    """
    shared = {
        "learning_rate": make_learning_rate(settings, num_steps),
        "weight_decay": settings.weight_decay,
        "global_clipnorm": settings.gradient_clip_norm,
    }
    optimizer: keras.optimizers.Optimizer
    if settings.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=settings.beta_1, **shared)
    else:
        numbers = {"beta_1": settings.beta_1, "beta_2": settings.beta_2, "epsilon": settings.epsilon}
        optimizer = keras.optimizers.Adam(**numbers, **shared)
    if settings.precision == "mixed_float16":  # whose smallest number is 6e-8: gradients would be rounded to zero
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
