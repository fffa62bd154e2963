"""Layers that several networks are made of; all are plain Keras 3, whatever the backend."""

from typing import TypeAlias

import keras

from emdenoise.config.base import NetworkSettings
from emdenoise.models.contract import Ports
from emdenoise.models.normalisation import BatchNormalization

Inputs: TypeAlias = dict[str, keras.KerasTensor]


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


def open_ports(ports: Ports, settings: NetworkSettings) -> tuple[Inputs, keras.KerasTensor]:
    """Make the inputs of a network, and the feature maps of all of them that its first layer gets.

    Only the image, the first input, has an intensity that `intensity_mean` and `intensity_std` scale.

    Returns
    -------
    inputs : dict of str to KerasTensor
        By field.
    features : KerasTensor, shape (batch, height, width, channels of all inputs)
    """
    inputs = {name: keras.Input((None, None, channels), name=name) for name, channels in ports.inputs.items()}
    image, *others = inputs.values()
    features = normalise(image, settings)
    return inputs, keras.layers.Concatenate(name="inputs")([features, *others]) if others else features


def close_ports(
    inputs: Inputs, outputs: keras.KerasTensor, ports: Ports, settings: NetworkSettings, *, name: str
) -> keras.Model:
    """Make the model from `open_ports` to the last layer; intensities come back in the units of the image.

    Returns
    -------
    keras.Model
        Takes an array where there is one input, and a dict of arrays by field where there are several.
    """
    image, *others = inputs.values()
    return keras.Model(inputs if others else image, restore_intensity(outputs, image, ports, settings), name=name)


def normalise(image: keras.KerasTensor, settings: NetworkSettings) -> keras.KerasTensor:
    """Scale the intensity to (image − mean) / std of the settings; no layer where that changes nothing."""
    if settings.intensity_mean == 0 and settings.intensity_std == 1:
        return image
    scale = 1 / settings.intensity_std
    return keras.layers.Rescaling(scale, -settings.intensity_mean * scale, name="normalise")(image)


def restore_intensity(
    outputs: keras.KerasTensor, image: keras.KerasTensor, ports: Ports, settings: NetworkSettings
) -> keras.KerasTensor:
    """Undo `normalise` and add the image where the network predicts the residual.

    What is no intensity is left alone. The arithmetic is float32 whatever the precision of the layers before: scores
    must not depend on a rounded output.
    """
    if not ports.head.has_intensity:
        return outputs
    if settings.intensity_mean != 0 or settings.intensity_std != 1:
        offset = 0.0 if settings.predict_residual else settings.intensity_mean
        outputs = keras.layers.Rescaling(settings.intensity_std, offset, dtype="float32", name="restore")(outputs)
    if settings.predict_residual:
        outputs = keras.layers.Add(dtype="float32", name="add_noisy")([image, outputs])
    return outputs
