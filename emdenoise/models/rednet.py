"""RED-Net, a residual encoder-decoder; one of the seven that STFC announced for ``em_denoise``.

The paper has it with 10, 20 and 30 layers: 296,641, 665,921 and 1,035,201 parameters.
"""

from typing import Literal

from pydantic import Field

from emdenoise.config.base import NetworkSettings
from emdenoise.models.contract import Architecture, Network, Ports
from emdenoise.models.unet import Initializer


class REDNetSettings(NetworkSettings):
    """RED-Net (doi:10.48550/arXiv.1603.09056), convolutions and transposed ones with symmetric skip connections."""

    name: Literal["rednet"] = "rednet"
    """RED-Net: convolutions, transposed convolutions, and a skip connection for every second pair of them."""
    predict_residual: bool = True
    """Let the network predict what to add to the noisy image, as the paper does, instead of the image."""
    depth: int = Field(30, ge=4, le=64, multiple_of=2)
    """Number of layers: half of them are convolutions, half transposed ones."""
    filters: int = Field(64, ge=1, le=1024)
    """Filters of each layer but the last."""
    initializer: Initializer = "he_normal"
    """How the kernels start."""


def build_rednet(settings: REDNetSettings, ports: Ports) -> Network:
    """Build an untrained RED-Net (doi:10.48550/arXiv.1603.09056).

    Neither half changes the size of the image; there is no normalisation. Of the mirrored pairs every second one, from
    the image inwards, is linked: the maps of the convolution are added before the ReLU of the transposed one. The first
    link, from the image to the output, is `predict_residual`.

    Parameters
    ----------
    settings : REDNetSettings
    ports : Ports

    Returns
    -------
    Network
        For images of any height and width.

    Examples
    --------
    >>> from emdenoise.models.heads import HEADS
    >>> network = build_rednet(REDNetSettings(), Ports({"noisy": 1}, 1, HEADS["intensity"]))
    >>> network.model.count_params(), network.reach_px
    (1035201, 30)
    """
    import keras

    from emdenoise.models.blocks import close_ports, open_ports

    kernel = {"kernel_size": 3, "padding": "same", "kernel_initializer": settings.initializer}
    inputs, images = open_ports(ports, settings)
    half = settings.depth // 2
    skips = {}
    for level in range(1, half + 1):
        images = keras.layers.Conv2D(settings.filters, activation="relu", name=f"encoder_{level}", **kernel)(images)
        if level % 2 == 0 and level < half:
            skips[level] = images
    for level in range(half - 1, 0, -1):
        images = keras.layers.Conv2DTranspose(settings.filters, name=f"decoder_{level}", **kernel)(images)
        if level in skips:
            images = keras.layers.Add(name=f"decoder_{level}_skip")([images, skips[level]])
        images = keras.layers.ReLU(name=f"decoder_{level}_relu")(images)
    # float32 whatever the precision of the layers before: scores must not depend on a rounded output.
    images = keras.layers.Conv2DTranspose(ports.output_channels, dtype="float32", name="output", **kernel)(images)
    model = close_ports(inputs, images, ports, settings, name="rednet")
    return Network(model, tuple(ports.inputs), step_px=1, reach_px=settings.depth, encoder=("encoder",))


REDNET = Architecture(
    description="RED-Net: convolutions and transposed convolutions at full resolution with symmetric skip connections.",
    settings=REDNetSettings,
    build=build_rednet,
)
