"""A trained network as a denoiser or a segmenter: a function from images to images or masks."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from emdenoise.arrays import FloatImage, Mask
from emdenoise.models.backend import choose_compilation


def make_denoiser(model: keras.Model) -> Callable[[FloatImage], FloatImage]:
    """Wrap a network of one output channel.

    Parameters
    ----------
    model : keras.Model
        (batch, height, width, 1) → the same shape.

    Returns
    -------
    callable
        float32 (num_images, height, width) → float32 of the same shape; all images in one batch.
    """
    model.compile(jit_compile=choose_compilation())

    def denoise(noisy: FloatImage) -> FloatImage:
        return np.asarray(model.predict_on_batch(noisy[..., None]), dtype=np.float32)[..., 0]

    return denoise


def make_segmenter(model: keras.Model) -> Callable[[FloatImage], Mask]:
    """Wrap a network of one output channel per label.

    Parameters
    ----------
    model : keras.Model
        (batch, height, width, 1) → logits (batch, height, width, num_labels).

    Returns
    -------
    callable
        float32 (num_images, height, width) → uint8 of the same shape: the label of the largest logit.
    """
    model.compile(jit_compile=choose_compilation())

    def segment(noisy: FloatImage) -> Mask:
        logits = np.asarray(model.predict_on_batch(noisy[..., None]))
        return logits.argmax(axis=-1).astype(np.uint8)

    return segment


def make_method(model: keras.Model, target_field: str) -> Callable[[FloatImage], Any]:
    """Wrap a network as what its workload scores: a segmenter where the target is ``mask``, else a denoiser."""
    return make_segmenter(model) if target_field == "mask" else make_denoiser(model)
