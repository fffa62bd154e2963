"""The U-Net of the STFC benchmark, the network of the closed division.

With the default settings it has the layers of sciml-bench's ``em_denoise`` and mlcube_examples' ``emdenoise``:
blocks of 8, 16, 32 and 64 filters, nearest-neighbour upsampling, 123,441 parameters.
"""

from functools import partial

import keras

from emdenoise.config.architectures import UNetSettings
from emdenoise.models.blocks import double_convolution, normalise, restore_intensity


def build_unet(settings: UNetSettings, *, output_channels: int) -> keras.Model:
    """Build an untrained U-Net (doi:10.1007/978-3-319-24574-4_28).

    Parameters
    ----------
    settings : UNetSettings
    output_channels : int
        Channels of the result: 1 for an image.

    Returns
    -------
    keras.Model
        float32 (batch, height, width, 1) → float32 (batch, height, width, output_channels); height and width
        are any multiples of ``2 ** len(settings.filters)``.

    Examples
    --------
    >>> build_unet(UNetSettings(), output_channels=1).count_params()
    123441
    """
    block = partial(
        double_convolution,
        initializer=settings.initializer,
        batch_norm_momentum=settings.batch_norm_momentum,
        dropout=settings.dropout,
    )
    noisy = keras.Input((None, None, 1), name="noisy")
    images, skips = normalise(noisy, settings), []
    for level, filters in enumerate(settings.filters, start=1):
        images = block(images, filters=filters, name=f"encoder_{level}")
        skips.append(images)
        images = keras.layers.MaxPooling2D(name=f"encoder_{level}_pooling")(images)
    images = block(images, filters=settings.bottom_filters, name="bottom")
    for level, filters in reversed(list(enumerate(settings.filters, start=1))):
        images = keras.layers.UpSampling2D(name=f"decoder_{level}_upsampling")(images)
        images = keras.layers.Concatenate(name=f"decoder_{level}_skip")([images, skips.pop()])
        images = block(images, filters=filters, name=f"decoder_{level}")
    # float32 whatever the precision of the layers before: scores must not depend on a rounded output.
    images = keras.layers.Conv2D(
        output_channels, 3, padding="same", kernel_initializer=settings.initializer, dtype="float32", name="output"
    )(images)
    return keras.Model(noisy, restore_intensity(images, noisy, settings), name="unet")
