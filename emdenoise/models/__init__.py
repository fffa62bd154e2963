"""MODELS: the networks by name. A new network is a module of its own, with its settings, and a line here.

Keras is imported where a network is built, so that the settings are known without it.
"""

from dataclasses import replace

from emdenoise.config.base import NetworkSettings
from emdenoise.models.class_aware_fcn import CLASS_AWARE_FCN
from emdenoise.models.contract import Architecture, Network, Ports, Views
from emdenoise.models.dncnn import DNCNN
from emdenoise.models.ffdnet import FFDNET
from emdenoise.models.mixed_scale_dense import MIXED_SCALE_DENSE
from emdenoise.models.multiscale import MULTISCALE
from emdenoise.models.rednet import REDNET
from emdenoise.models.resunet import RESUNET
from emdenoise.models.unet import UNET

MODELS: dict[str, Architecture] = {
    "unet": UNET,
    "resunet": RESUNET,
    "dncnn": DNCNN,
    "class_aware_fcn": CLASS_AWARE_FCN,
    "ffdnet": FFDNET,
    "rednet": REDNET,
    "multiscale": MULTISCALE,
    "mixed_scale_dense": MIXED_SCALE_DENSE,
}


def build_network(settings: NetworkSettings, ports: Ports) -> Network:
    """Build the untrained network that the settings name.

    Parameters
    ----------
    settings : NetworkSettings
        Of an entry of `MODELS`.
    ports : Ports

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        If network and settings declare different steps.
    """
    network = MODELS[settings.name].build(settings, ports)
    if network.step_px != settings.step_px:
        raise ValueError(f"{settings.name} has a step of {network.step_px} px, its settings of {settings.step_px}")
    return replace(network, views=Views(settings.long_sides_px, settings.symmetries))
