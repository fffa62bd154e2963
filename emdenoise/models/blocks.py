"""Layers that several networks are made of; all are plain Keras 3, whatever the backend."""

import keras

from emdenoise.config.architectures import NetworkSettings
from emdenoise.models.normalisation import BatchNormalization


def double_convolution(
    images: keras.KerasTensor, *, filters: int, initializer: str, batch_norm_momentum: float, dropout: float, name: str
) -> keras.KerasTensor:
    """Apply convolution, ReLU and batch normalisation twice, as the STFC network does.

    Parameters
    ----------
    images : KerasTensor, shape (batch, height, width, channels)
    filters : int
        Feature maps of both convolutions.
    initializer : str
        Keras name of the initializer of the kernels; they draw from Keras' global seed in the order of creation.
    batch_norm_momentum : float
    dropout : float
        Share of feature maps dropped at the end; 0 adds no layer.
    name : str
        Prefix of the layers' names.

    Returns
    -------
    KerasTensor, shape (batch, height, width, filters)
    """
    for number in (1, 2):
        images = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            kernel_initializer=initializer,
            name=f"{name}_convolution_{number}",
        )(images)
        images = BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_normalisation_{number}")(images)
    if dropout > 0:
        images = keras.layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(images)
    return images


def normalise(noisy: keras.KerasTensor, settings: NetworkSettings) -> keras.KerasTensor:
    """Scale the intensity to (noisy − mean) / std of the settings; no layer where that changes nothing."""
    if settings.intensity_mean == 0 and settings.intensity_std == 1:
        return noisy
    scale = 1 / settings.intensity_std
    return keras.layers.Rescaling(scale, -settings.intensity_mean * scale, name="normalise")(noisy)


def restore_intensity(
    images: keras.KerasTensor, noisy: keras.KerasTensor, settings: NetworkSettings
) -> keras.KerasTensor:
    """Undo `normalise` and add the noisy image where the network predicts the residual.

    Several channels are the logits of labels, which have no intensity: they are left alone. The arithmetic is float32
    whatever the precision of the layers before: scores must not depend on a rounded output.
    """
    if images.shape[-1] > 1:
        return images
    if settings.intensity_mean != 0 or settings.intensity_std != 1:
        offset = 0.0 if settings.predict_residual else settings.intensity_mean
        images = keras.layers.Rescaling(settings.intensity_std, offset, dtype="float32", name="restore")(images)
    if settings.predict_residual:
        images = keras.layers.Add(dtype="float32", name="add_noisy")([noisy, images])
    return images
