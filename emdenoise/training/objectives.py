"""OBJECTIVES: what is learned. An objective makes inputs and targets of samples, and names what becomes small."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Sample
from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.fields import FIELDS, Kind
from emdenoise.simulation.detector import apply_shot_noise

Images: TypeAlias = npt.NDArray[np.generic]
Loss: TypeAlias = str | Callable[[Any, Any], Any]

SMOOTHING = 1.0
"""Pixels added to both sides of the Dice ratio, so that a label that is absent has a finite loss."""
BORDER_PX = 2
"""Up to this distance from another label, along each axis, a pixel is at a border [px]."""
SMALLEST_SHARE = 1e-4
"""A label with a smaller share of the pixels weighs no more than this one."""
SMALLEST_ERROR = 1e-5
"""Squared error, 50 dB, below which `compute_log_error` asks for no more."""


class Objective(Protocol):
    """What a training is given and what it makes small."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields that a sample must have."""

    @property
    def computes_with(self) -> tuple[str, ...]:
        """Those of them that `prepare` needs as arrays; the others may be tensors on the device."""

    def prepare(self, sample: Sample, rng: np.random.Generator) -> tuple[Sample, Images]:
        """Make the inputs of the network, by field, and the targets, each (batch, height, width, channels)."""

    @property
    def loss(self) -> Loss:
        """What Keras makes small: a name that it knows, or ``(targets, outputs) -> loss``."""


@dataclass(frozen=True)
class Supervised:
    """Learn the truth of a sample from its inputs.

    Attributes
    ----------
    inputs : tuple of str
    truth : str
        Entries of `FIELDS`.
    loss : str or callable
    """

    inputs: tuple[str, ...]
    truth: str
    loss: Loss

    @property
    def needs(self) -> tuple[str, ...]:
        """Inputs and truth."""
        return *self.inputs, self.truth

    @property
    def computes_with(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def prepare(self, sample: Sample, rng: np.random.Generator) -> tuple[Sample, Images]:
        """Give inputs and truth as they are."""
        return {name: sample[name] for name in self.inputs}, sample[self.truth]


@dataclass(frozen=True)
class Balanced:
    """Learn an intensity by errors that weigh more where a label is rare, as defects in a lattice are.

    Attributes
    ----------
    inputs : tuple of str
    truth, labels : str
        Entries of `FIELDS`.
    balance : float
        A pixel weighs 1 / the share of its label in the batch, to this power; 0 counts pixels alike without labels.
    loss : callable
        Targets have the weights as last channel.
    """

    inputs: tuple[str, ...]
    truth: str
    labels: str
    balance: float
    loss: Loss

    @property
    def needs(self) -> tuple[str, ...]:
        """Inputs, truth and, where they weigh, labels."""
        return *self.inputs, self.truth, *self.computes_with

    @property
    def computes_with(self) -> tuple[str, ...]:
        """The labels, where they weigh."""
        return (self.labels,) if self.balance > 0 else ()

    def prepare(self, sample: Sample, rng: np.random.Generator) -> tuple[Sample, Images]:
        """Give inputs, and the truth with weights of mean 1."""
        truth = sample[self.truth]
        weights = np.ones((*truth.shape[:-1], 1), np.float32)
        if self.balance > 0:
            weights = self._weigh(sample[self.labels])
        return {name: sample[name] for name in self.inputs}, _join_channels(truth, weights)

    def _weigh(self, mask: Images) -> npt.NDArray[np.float32]:
        labels = mask.astype(np.intp)
        of_label = np.maximum(np.bincount(labels.ravel()) / labels.size, SMALLEST_SHARE) ** -self.balance
        return (of_label / of_label[labels].mean()).astype(np.float32)[labels]


def _join_channels(truth: Any, weights: npt.NDArray[np.float32]) -> Any:
    """Put weights behind the channels of a truth, which stays where it is: an array or a tensor on the device."""
    if isinstance(truth, np.ndarray):
        return np.concatenate([truth, weights], axis=-1, dtype=np.float32)
    from keras import ops

    return ops.concatenate([truth, ops.convert_to_tensor(weights)], axis=-1)


@dataclass(frozen=True)
class AddedNoise:
    """Learn an image from itself with Poisson noise; needs no truth.

    Attributes
    ----------
    image : str
        Entry of `FIELDS`.
    electrons_per_pixel : float
        Mean counts where the intensity is 1 [e⁻/px].
    loss : str or callable
    """

    image: str
    electrons_per_pixel: float
    loss: Loss

    @property
    def needs(self) -> tuple[str, ...]:
        """The image alone."""
        return (self.image,)

    @property
    def computes_with(self) -> tuple[str, ...]:
        """The image."""
        return (self.image,)

    def prepare(self, sample: Sample, rng: np.random.Generator) -> tuple[Sample, Images]:
        """Add the noise."""
        images = sample[self.image]
        clipped = np.maximum(images, 0).astype(np.float32)  # a rate of electrons is not negative
        noisy = [
            apply_shot_noise(image, electrons_per_pixel=self.electrons_per_pixel, rng=rng) for image in clipped[..., 0]
        ]
        return {self.image: np.stack(noisy)[..., None]}, images


@dataclass(frozen=True)
class ObjectiveSpec:
    """An objective that a parameters file can name as `training.loss`.

    Attributes
    ----------
    description : str
        One sentence.
    kinds : tuple of str
        Kinds of truth that it learns (`dataset/fields.py`).
    make : callable
        ``(settings, inputs, truth) -> Objective``.
    is_shared : bool
        Whether several processes can learn it together: the loss of a batch must be the mean over its images.
    """

    description: str
    kinds: tuple[Kind, ...]
    make: Callable[[TrainingSettings, tuple[str, ...], str], Objective]
    is_shared: bool = False


def make_squared_error(settings: TrainingSettings, inputs: tuple[str, ...], truth: str) -> Objective:
    """Make the objective of the least mean squared error."""
    return Supervised(inputs, truth, "mean_squared_error")


def make_absolute_error(settings: TrainingSettings, inputs: tuple[str, ...], truth: str) -> Objective:
    """Make the objective of the least mean absolute error."""
    return Supervised(inputs, truth, "mean_absolute_error")


def make_balanced_squared_error(settings: TrainingSettings, inputs: tuple[str, ...], truth: str) -> Objective:
    """Make the objective of squared errors with `training.label_balance`."""
    return Balanced(inputs, truth, "mask", settings.label_balance, compute_weighted_error)


def make_log_squared_error(settings: TrainingSettings, inputs: tuple[str, ...], truth: str) -> Objective:
    """Make the objective of the logarithm of each image's squared error, with `training.label_balance`."""
    return Balanced(inputs, truth, "mask", settings.label_balance, compute_log_error)


def make_dice_cross_entropy(settings: TrainingSettings, inputs: tuple[str, ...], truth: str) -> Objective:
    """Make the objective of masks: cross-entropy with `label_balance` and `border_weight`, and Dice."""

    def compute_loss(mask: Any, logits: Any) -> Any:
        weights = {"balance": settings.label_balance, "border_weight": settings.border_weight}
        return compute_dice_cross_entropy(mask, logits, **weights)

    return Supervised(inputs, truth, compute_loss)


OBJECTIVES: dict[str, ObjectiveSpec] = {
    "mean_squared_error": ObjectiveSpec(
        "The mean squared error of every pixel.", ("intensity", "complex"), make_squared_error, is_shared=True
    ),
    "mean_absolute_error": ObjectiveSpec(
        "The mean absolute error of every pixel.", ("intensity", "complex"), make_absolute_error, is_shared=True
    ),
    "balanced_squared_error": ObjectiveSpec(
        "The squared error, which weighs more where the label of a pixel is rare; needs masks.",
        ("intensity",),
        make_balanced_squared_error,
    ),
    "log_squared_error": ObjectiveSpec(
        "The logarithm of each image's squared error [dB], balanced likewise: images of every dose count alike.",
        ("intensity",),
        make_log_squared_error,
    ),
    "dice_cross_entropy": ObjectiveSpec(
        "Cross-entropy + 1 − Dice of masks (arXiv:1809.10486).", ("labels",), make_dice_cross_entropy
    ),
}


def list_objectives(truth: str) -> list[str]:
    """List the objectives that can learn a field."""
    return [name for name, objective in OBJECTIVES.items() if FIELDS[truth].kind in objective.kinds]


def compute_weighted_error(targets: Any, outputs: Any) -> Any:
    """Compute the mean of weight × squared error.

    Parameters
    ----------
    targets : tensor of float32, shape (batch, height, width, channels + 1)
        The truth, and the weights as last channel.
    outputs : tensor of float32, shape (batch, height, width, channels)

    Returns
    -------
    tensor of float32, shape ()

    Examples
    --------
    >>> import keras
    >>> targets = keras.ops.convert_to_tensor([[[[1.0, 0.5], [1.0, 1.5]]]])
    >>> float(compute_weighted_error(targets, keras.ops.zeros((1, 1, 2, 1))))
    1.0
    """
    from keras import ops

    return ops.mean(targets[..., -1:] * ops.square(targets[..., :-1] - outputs))


def compute_log_error(targets: Any, outputs: Any) -> Any:
    """Compute the mean over images of 10 log10(weighted mean squared error + `SMALLEST_ERROR`).

    The mean squared error of a batch is that of its noisiest images. Microscopists read PSNR, a logarithm: with it an
    image of high dose teaches as much as one of low dose. Without weights this is −PSNR of intensities in [0, 1].

    Parameters
    ----------
    targets : tensor of float32, shape (batch, height, width, channels + 1)
        The truth, and the weights as last channel.
    outputs : tensor of float32, shape (batch, height, width, channels)

    Returns
    -------
    tensor of float32, shape ()
        [dB]; lower is better, usually negative.

    Examples
    --------
    >>> import keras
    >>> targets = keras.ops.convert_to_tensor([[[[0.1, 1.0]]], [[[0.01, 1.0]]]])
    >>> round(float(compute_log_error(targets, keras.ops.zeros((2, 1, 1, 1)))), 1)
    -29.8
    """
    from keras import ops

    truth, weights = targets[..., :-1], targets[..., -1:]
    errors = ops.sum(weights * ops.square(truth - outputs), axis=(1, 2, 3)) / ops.sum(weights, axis=(1, 2, 3))
    return ops.mean(ops.log10(errors + SMALLEST_ERROR)) * 10


def compute_dice_cross_entropy(mask: Any, logits: Any, *, balance: float, border_weight: float = 0.0) -> Any:
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
    border_weight : float
        A pixel at most `BORDER_PX` from another label counts 1 + this often in the cross-entropy. The sum of weights
        that divides it does not grow with them, so borders count more against Dice, too.

    Returns
    -------
    tensor of float32, shape ()
        At least 0; 0 where the logits are sure and right.

    Examples
    --------
    >>> import keras
    >>> mask = keras.ops.convert_to_tensor([[[[0], [1]]]])
    >>> logits = keras.ops.convert_to_tensor([[[[20.0, -20.0], [-20.0, 20.0]]]])
    >>> bool(compute_dice_cross_entropy(mask, logits, balance=1.0) < 1e-6)
    True
    """
    from keras import ops

    truth = ops.one_hot(ops.cast(mask[..., 0], "int32"), logits.shape[-1], dtype="float32")
    share = ops.mean(truth, axis=(0, 1, 2))
    weight = ops.sum(truth * ops.power(ops.maximum(share, SMALLEST_SHARE), -balance), axis=-1)
    cross_entropy = ops.categorical_crossentropy(truth, logits, from_logits=True)
    if border_weight > 0:
        num_labels = ops.sum(ops.max_pool(truth, 2 * BORDER_PX + 1, strides=1, padding="same"), axis=-1)
        cross_entropy *= 1 + border_weight * ops.minimum(num_labels - 1, 1)
    probability = ops.softmax(logits, axis=-1)
    overlap = ops.sum(probability * truth, axis=(0, 1, 2))
    total = ops.sum(probability, axis=(0, 1, 2)) + ops.sum(truth, axis=(0, 1, 2))
    dice = (2 * overlap + SMOOTHING) / (total + SMOOTHING)
    return ops.sum(weight * cross_entropy) / ops.sum(weight) + 1 - ops.mean(dice)
