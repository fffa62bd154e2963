"""A trained network as a denoiser: a function from images to images."""

from collections.abc import Callable

import keras
import numpy as np

from emdenoise.arrays import FloatImage
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
