"""Pix2Pix: a denoiser learns against a discriminator that tells clean images from denoised ones.

Two graphs share both networks; in each one network learns and the other keeps its weights. Both normalise by the
batch in either graph, as in the original, so the running means of a network are updated while the other learns, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Values
from emdenoise.config.schema import PretrainingSettings, TrainingSettings
from emdenoise.models.backend import choose_compilation, learn_batch
from emdenoise.models.patchgan import build_patchgan
from emdenoise.training.epochs import Batches, validate
from emdenoise.training.schedules import make_optimizer

Images = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Adversaries:
    """The two networks and the graphs in which they learn.

    Attributes
    ----------
    generator, discriminator : keras.Model
        Compiled with an optimizer each.
    generator_step : keras.Model
        noisy → the generated image and its logits.
    discriminator_step : keras.Model
        [noisy, clean] → the logits of the clean and of the generated image.
    """

    generator: keras.Model
    discriminator: keras.Model
    generator_step: keras.Model
    discriminator_step: keras.Model

    @property
    def model(self) -> keras.Model:
        """The network that is validated and kept."""
        return self.generator

    @property
    def partners(self) -> tuple[keras.Model, ...]:
        """The network that learns together with it."""
        return (self.discriminator,)

    @property
    def num_processes(self) -> int:
        """One."""
        return 1

    def validate(self, validation: Batches) -> dict[str, float]:
        """Compute the mean absolute error of the generator."""
        return validate(self.generator.predict_on_batch, keras.losses.mean_absolute_error, validation)

    def add_up(self, values: Values) -> Values:
        """Give the values of this process, the only one."""
        return values

    def take_step(self, noisy: Images, clean: Images) -> dict[str, Any]:
        """Let the discriminator learn, then the generator.

        Parameters
        ----------
        noisy, clean : ndarray of float32, shape (batch, height, width, 1)

        Returns
        -------
        dict
            ``loss`` of the generator and its parts ``adversarial_loss`` and ``l1_loss`` (unweighted), and
            ``discriminator_loss``; means over the batch, on the device.
        """
        is_clean, is_generated = (np.full((len(noisy), 1, 1, 1), label, np.float32) for label in (1, 0))
        with _hold(self.generator):
            judged = learn_batch(
                self.discriminator_step, [noisy, clean], {"clean": is_clean, "generated": is_generated}
            )
        with _hold(self.discriminator):
            generated = learn_batch(self.generator_step, noisy, {"image": clean, "logits": is_clean})
        return {
            "loss": generated["loss"],
            "adversarial_loss": generated["logits_loss"],
            "l1_loss": generated["image_loss"],
            "discriminator_loss": judged["loss"],
        }


def make_adversaries(
    generator: keras.Model, settings: PretrainingSettings, training: TrainingSettings, num_steps: int
) -> Adversaries:
    """Make a denoiser learn against a PatchGAN (doi:10.1109/CVPR.2017.632).

    The generator makes small ``adversarial + l1_weight · mean absolute error``, where adversarial is the cross-entropy
    of its images taken for clean ones; the discriminator the mean of the cross-entropies of clean and generated images.
    The history has ``adversarial_loss``, ``l1_loss`` and ``discriminator_loss`` besides; ``loss`` is the generator's,
    ``validation_loss`` its mean absolute error.

    Parameters
    ----------
    generator : keras.Model
        Untrained: noisy → image, both (batch, height, width, 1).
    settings : PretrainingSettings
        `discriminator_filters` and `l1_weight`; `loss` does not apply.
    training : TrainingSettings
        How both learn.
    num_steps : int
        Steps of an epoch.

    Returns
    -------
    Adversaries

    Raises
    ------
    ValueError
        If the generator does not make one image.
    """
    discriminator = build_patchgan(settings.discriminator_filters)
    return join_adversaries(
        generator, discriminator, training, l1_weight=settings.l1_weight, num_steps=training.epochs * num_steps
    )


def join_adversaries(
    generator: keras.Model,
    discriminator: keras.Model,
    training: TrainingSettings,
    *,
    l1_weight: float,
    num_steps: int,
) -> Adversaries:
    """Compile two networks, so that each learns against the other.

    Parameters
    ----------
    generator : keras.Model
        noisy → image, both (batch, height, width, 1).
    discriminator : keras.Model
        [noisy, image] → logits.
    training : TrainingSettings
    l1_weight : float
        Of the mean absolute error.
    num_steps : int
        Steps of the whole training.

    Returns
    -------
    Adversaries

    Raises
    ------
    ValueError
        If the generator does not make one image.
    """
    if generator.output_shape[-1] != 1:
        raise ValueError(f"{generator.name} has {generator.output_shape[-1]} output channels; Pix2Pix needs 1")
    compilation = choose_compilation()
    for network in (generator, discriminator):
        optimizer = make_optimizer(training, num_steps)
        optimizer.build(network.trainable_variables)
        network.compile(optimizer=optimizer, loss="mean_absolute_error", jit_compile=compilation)
    noisy, clean = (keras.Input((None, None, 1), name=name) for name in ("noisy", "clean"))
    image = generator(noisy)
    judged = {"clean": discriminator([noisy, clean]), "generated": discriminator([noisy, image])}
    discriminator_step = keras.Model([noisy, clean], judged, name="discriminator_step")
    discriminator_step.compile(
        optimizer=discriminator.optimizer,
        loss=dict.fromkeys(judged, compute_cross_entropy),
        loss_weights=dict.fromkeys(judged, 0.5),
        jit_compile=compilation,
    )
    generator_step = keras.Model(noisy, {"image": image, "logits": judged["generated"]}, name="generator_step")
    generator_step.compile(
        optimizer=generator.optimizer,
        loss={"image": "mean_absolute_error", "logits": compute_cross_entropy},
        loss_weights={"image": l1_weight, "logits": 1.0},
        jit_compile=compilation,
    )
    return Adversaries(generator, discriminator, generator_step, discriminator_step)


def compute_cross_entropy(labels: Any, logits: Any) -> Any:
    """Compute the binary cross-entropy of each patch.

    Parameters
    ----------
    labels : tensor of float32, shape (batch, 1, 1, 1)
        1 for clean images, 0 for generated ones.
    logits : tensor of float32, shape (batch, height, width, 1)

    Returns
    -------
    tensor of float32, shape (batch, height, width, 1)
        At least 0 [nat]; log 2 where the logit is 0.

    Examples
    --------
    >>> logits = keras.ops.zeros((1, 2, 2, 1))
    >>> round(float(keras.ops.mean(compute_cross_entropy(keras.ops.ones((1, 1, 1, 1)), logits))), 4)
    0.6931
    """
    labels = keras.ops.broadcast_to(labels, keras.ops.shape(logits))
    return keras.ops.binary_crossentropy(labels, logits, from_logits=True)


@contextmanager
def _hold(network: keras.Model) -> Iterator[None]:
    """Keep the weights of a network out of the training; its layers go on normalising by the batch.

    ``network.trainable = False`` would make them normalise by their running means instead.
    """
    weights = network.trainable_variables
    for weight in weights:
        weight.trainable = False
    try:
        yield
    finally:
        for weight in weights:
            weight.trainable = True
