"""DnCNN, a network without pooling for the open division."""

import keras

from emdenoise.config.architectures import DnCNNSettings
from emdenoise.models.blocks import normalise, restore_intensity
from emdenoise.models.normalisation import BatchNormalization


def build_dncnn(settings: DnCNNSettings, *, output_channels: int) -> keras.Model:
    """Build an untrained DnCNN (doi:10.1109/TIP.2017.2662206).

    Parameters
    ----------
    settings : DnCNNSettings
    output_channels : int
        Channels of the result: 1 for an image.

    Returns
    -------
    keras.Model
        float32 (batch, height, width, 1) → float32 (batch, height, width, output_channels), any height and width.

    Examples
    --------
    >>> build_dncnn(DnCNNSettings(name="dncnn", depth=3, filters=4), output_channels=1).output.shape
    (None, None, None, 1)
    """
    convolution = {"kernel_size": 3, "padding": "same", "kernel_initializer": settings.initializer}
    noisy = keras.Input((None, None, 1), name="noisy")
    images = normalise(noisy, settings)
    images = keras.layers.Conv2D(settings.filters, activation="relu", name="convolution_1", **convolution)(images)
    for number in range(2, settings.depth):
        images = keras.layers.Conv2D(settings.filters, use_bias=False, name=f"convolution_{number}", **convolution)(
            images
        )
        images = BatchNormalization(momentum=settings.batch_norm_momentum, name=f"normalisation_{number}")(images)
        images = keras.layers.ReLU(name=f"relu_{number}")(images)
    images = keras.layers.Conv2D(output_channels, dtype="float32", name="output", **convolution)(images)
    return keras.Model(noisy, restore_intensity(images, noisy, settings), name="dncnn")
