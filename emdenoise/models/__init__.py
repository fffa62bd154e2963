"""MODELS: the networks by name. A new network is a module of its own, its settings, and a line here."""

from collections.abc import Callable
from typing import Any

import keras

from emdenoise.config.architectures import ModelSettings
from emdenoise.models.dncnn import build_dncnn
from emdenoise.models.unet import build_unet

MODELS: dict[str, Callable[..., keras.Model]] = {
    "unet": build_unet,
    "dncnn": build_dncnn,
}


def build_model(settings: ModelSettings, *, output_channels: int) -> keras.Model:
    """Build the untrained network that the settings name.

    Parameters
    ----------
    settings : UNetSettings or DnCNNSettings
    output_channels : int
        Channels of the result.

    Returns
    -------
    keras.Model
        float32 (batch, height, width, 1) → float32 (batch, height, width, output_channels).
    """
    return MODELS[settings.name](settings, output_channels=output_channels)


def count_parameters(model: Any) -> int:
    """Count all numbers of a network, trained or running means, as the STFC benchmark counts them."""
    return int(model.count_params())
