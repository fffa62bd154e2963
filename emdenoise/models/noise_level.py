"""The noise level of an image as a map, found without weights."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

SECOND_DIFFERENCE = np.array([1, -2, 1], np.float32)
SCALE = math.sqrt(math.pi / 2) / 6
"""From the mean |second difference along both axes| of white Gaussian noise to its standard deviation."""


class NoiseLevel(keras.layers.Layer):
    """Find the standard deviation of the noise around each cell (doi:10.1006/cviu.1996.0060).

    The mean absolute second difference along both axes, within a window: images of slowly changing slope have none,
    white noise has it in proportion to its standard deviation. So the map is too high where the image changes from
    pixel to pixel, and too low where neighbouring pixels have common noise.

    Parameters
    ----------
    window_px : int
        Side of the window [px], a multiple of 2.
    stride_px : int
        Side of the cells [px].
    channels : int
        Of the images, the first ones that the noise is found of; their mean is given.
    """

    def __init__(self, window_px: int, stride_px: int, channels: int, **options: Any) -> None:
        super().__init__(**options)
        self.window_px, self.stride_px, self.channels = window_px, stride_px, channels

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` needs."""
        config: dict[str, Any] = super().get_config()
        return config | {"window_px": self.window_px, "stride_px": self.stride_px, "channels": self.channels}

    def call(self, images: Any) -> Any:
        """(batch, height, width, channels) → (batch, height / stride, width / stride, 1), in the images' unit."""
        kernel = np.tile(np.outer(SECOND_DIFFERENCE, SECOND_DIFFERENCE)[..., None, None], (1, 1, self.channels, 1))
        differences = ops.depthwise_conv(
            images[..., : self.channels], ops.convert_to_tensor(kernel, dtype=images.dtype), padding="same"
        )
        size = ops.mean(ops.abs(differences), axis=-1, keepdims=True)
        return SCALE * ops.average_pool(size, self.window_px, strides=self.stride_px, padding="same")
