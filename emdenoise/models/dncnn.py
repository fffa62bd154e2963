"""DnCNN, a network without pooling; one of the seven that STFC announced for ``em_denoise``.

The defaults are DnCNN-S, for one noise level: 17 convolutions, 556,097 trained parameters and 1,920 of running
statistics. DnCNN-B, for all noise levels, has ``depth: 20``. Convolutions that a normalisation follows have no bias.
"""

from typing import Literal

from pydantic import Field

from emdenoise.config.base import NormalisedNetworkSettings
from emdenoise.models.contract import Architecture, Network, Ports
from emdenoise.models.unet import Initializer


class DnCNNSettings(NormalisedNetworkSettings):
    """DnCNN (doi:10.1109/TIP.2017.2662206), a plain stack of convolutions without pooling."""

    name: Literal["dncnn"] = "dncnn"
    """DnCNN: convolution, batch normalisation and ReLU; predicts the noise."""
    predict_residual: bool = True
    """Let the network predict what to add to the noisy image, as the paper does, instead of the image."""
    depth: int = Field(17, ge=3, le=64)
    """Number of convolutions."""
    filters: int = Field(64, ge=1, le=1024)
    """Filters of each convolution but the last."""
    initializer: Initializer = "he_normal"
    """How the kernels of the convolutions start."""


def build_dncnn(settings: DnCNNSettings, ports: Ports) -> Network:
    """Build an untrained DnCNN (doi:10.1109/TIP.2017.2662206).

    Parameters
    ----------
    settings : DnCNNSettings
    ports : Ports

    Returns
    -------
    Network
        For images of any height and width. It has no encoder: all layers work at full resolution.

    Examples
    --------
    >>> from emdenoise.models.heads import HEADS
    >>> build_dncnn(DnCNNSettings(depth=3, filters=4), Ports({"noisy": 1}, 1, HEADS["intensity"])).reach_px
    3
    """
    import keras

    from emdenoise.models.blocks import close_ports, open_ports
    from emdenoise.models.normalisation import BatchNormalization

    convolution = {"kernel_size": 3, "padding": "same", "kernel_initializer": settings.initializer}
    inputs, images = open_ports(ports, settings)
    images = keras.layers.Conv2D(settings.filters, activation="relu", name="convolution_1", **convolution)(images)
    for number in range(2, settings.depth):
        images = keras.layers.Conv2D(settings.filters, use_bias=False, name=f"convolution_{number}", **convolution)(
            images
        )
        images = BatchNormalization(momentum=settings.batch_norm_momentum, name=f"normalisation_{number}")(images)
        images = keras.layers.ReLU(name=f"relu_{number}")(images)
    images = keras.layers.Conv2D(ports.output_channels, dtype="float32", name="output", **convolution)(images)
    model = close_ports(inputs, images, ports, settings, name="dncnn")
    return Network(model, tuple(ports.inputs), step_px=1, reach_px=settings.depth)


DNCNN = Architecture(
    description="DnCNN: a plain stack of convolutions without pooling.",
    settings=DnCNNSettings,
    build=build_dncnn,
)
