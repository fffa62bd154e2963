"""From the name of a loss to what Keras makes small."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import keras

from emdenoise.config.schema import TrainingSettings

Loss: TypeAlias = str | Callable[[Any, Any], Any]

SMOOTHING = 1.0
"""Pixels added to both sides of the Dice ratio, so that a label that is absent has a finite loss."""
SMALLEST_SHARE = 1e-4
"""A label with a smaller share of the pixels weighs no more than this one."""


def choose_loss(settings: TrainingSettings) -> Loss:
    """Choose the loss that the settings name."""
    if settings.loss != "dice_cross_entropy":
        return settings.loss
    return partial(compute_dice_cross_entropy, balance=settings.label_balance)


def choose_metrics(settings: TrainingSettings) -> list[keras.metrics.Metric]:
    """Choose what is computed beside the loss: the Dice score of masks, by which trainings of masks are compared."""
    if settings.loss != "dice_cross_entropy":
        return []
    return [keras.metrics.MeanMetricWrapper(compute_dice, name="dice")]


def compute_dice(mask: Any, logits: Any) -> Any:
    """Compute the Dice score of each image, the mean over the labels that it has (`evaluation.masks.score_masks`).

    Parameters
    ----------
    mask : tensor of integers or float32, shape (batch, height, width, 1)
    logits : tensor of float32, shape (batch, height, width, num_labels)

    Returns
    -------
    tensor of float32, shape (batch,)
    """
    ops, num_labels = keras.ops, logits.shape[-1]
    truth = ops.one_hot(ops.cast(mask[..., 0], "int32"), num_labels, dtype="float32")
    predicted = ops.one_hot(ops.argmax(logits, axis=-1), num_labels, dtype="float32")
    overlap = ops.sum(predicted * truth, axis=(1, 2))
    true = ops.sum(truth, axis=(1, 2))
    is_there = ops.cast(true > 0, "float32")
    dice = 2 * overlap / ops.maximum(ops.sum(predicted, axis=(1, 2)) + true, 1.0)
    return ops.sum(dice * is_there, axis=1) / ops.sum(is_there, axis=1)


def compute_dice_cross_entropy(mask: Any, logits: Any, *, balance: float) -> Any:
    """Add up the cross-entropy of the pixels and 1 − the mean Dice of the labels (arXiv:1809.10486).

    Cross-entropy has a gradient everywhere; Dice counts every label alike, however few pixels it has. Where one label
    has a hundredth of the pixels, Dice alone does not find it: `balance` gives its pixels more weight.

    Parameters
    ----------
    mask : tensor of integers or float32, shape (batch, height, width, 1)
        Labels from 0.
    logits : tensor of float32, shape (batch, height, width, num_labels)
    balance : float
        In the cross-entropy a pixel weighs 1 / the share of its label in the batch, to this power: 0 to 1.

    Returns
    -------
    tensor of float32, shape ()
        At least 0; 0 where the logits are sure and right.

    Examples
    --------
    >>> mask = keras.ops.convert_to_tensor([[[[0], [1]]]])
    >>> logits = keras.ops.convert_to_tensor([[[[20.0, -20.0], [-20.0, 20.0]]]])
    >>> bool(compute_dice_cross_entropy(mask, logits, balance=1.0) < 1e-6)
    True
    """
    ops = keras.ops
    truth = ops.one_hot(ops.cast(mask[..., 0], "int32"), logits.shape[-1], dtype="float32")
    share = ops.mean(truth, axis=(0, 1, 2))
    weight = ops.sum(truth * ops.power(ops.maximum(share, SMALLEST_SHARE), -balance), axis=-1)
    cross_entropy = ops.categorical_crossentropy(truth, logits, from_logits=True)
    probability = ops.softmax(logits, axis=-1)
    overlap = ops.sum(probability * truth, axis=(0, 1, 2))
    total = ops.sum(probability, axis=(0, 1, 2)) + ops.sum(truth, axis=(0, 1, 2))
    dice = (2 * overlap + SMOOTHING) / (total + SMOOTHING)
    return ops.sum(weight * cross_entropy) / ops.sum(weight) + 1 - ops.mean(dice)
