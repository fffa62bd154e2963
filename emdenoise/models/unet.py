"""The U-Net of the STFC benchmark, the network of the closed division.

With the default settings it is the network of mlcube_examples' ``emdenoise``: blocks of 8, 16, 32 and 64 filters,
nearest-neighbour upsampling, 123,441 parameters. That of sciml-bench's ``em_denoise`` has the same weights and
upsamples bilinearly; ``benchmarks/comparability`` compares all three.
"""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from emdenoise.config.base import NormalisedNetworkSettings
from emdenoise.models.contract import Architecture, Network, Ports

Initializer = Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "orthogonal"]


class UNetSettings(NormalisedNetworkSettings):
    """U-Net (doi:10.1007/978-3-319-24574-4_28); the defaults are the network of the closed division."""

    name: Literal["unet"] = "unet"
    """U-Net: encoder, bottom, decoder with skip connections."""
    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((8, 16, 32), min_length=1, max_length=6)
    """Filters of each level from full resolution down; each level halves the image."""
    bottom_filters: int = Field(64, ge=1, le=4096)
    """Filters at the lowest resolution."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of feature maps that are dropped after each block in training."""
    initializer: Initializer = "glorot_uniform"
    """How the kernels of the convolutions start."""

    @property
    def step_px(self) -> int:
        """Each level halves the image."""
        return 2 ** len(self.filters)


def build_unet(settings: UNetSettings, ports: Ports) -> Network:
    """Build an untrained U-Net (doi:10.1007/978-3-319-24574-4_28).

    Parameters
    ----------
    settings : UNetSettings
    ports : Ports

    Returns
    -------
    Network
        Height and width are any multiples of ``2 ** len(settings.filters)``.

    Examples
    --------
    >>> from emdenoise.models.heads import HEADS
    >>> network = build_unet(UNetSettings(), Ports({"noisy": 1}, 1, HEADS["intensity"]))
    >>> network.model.count_params(), network.step_px, network.reach_px
    (123441, 8, 59)
    """
    import keras

    from emdenoise.models.blocks import close_ports, double_convolution, open_ports

    block = partial(
        double_convolution,
        initializer=settings.initializer,
        batch_norm_momentum=settings.batch_norm_momentum,
        dropout=settings.dropout,
    )
    inputs, images = open_ports(ports, settings)
    skips = []
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
        ports.output_channels,
        3,
        padding="same",
        kernel_initializer=settings.initializer,
        dtype="float32",
        name="output",
    )(images)
    model = close_ports(inputs, images, ports, settings, name="unet")
    return Network(
        model,
        tuple(ports.inputs),
        step_px=settings.step_px,
        reach_px=find_reach(len(settings.filters)),
        encoder=("encoder", "bottom"),
    )


def find_reach(num_levels: int) -> int:
    """Find how far a pixel of a U-Net sees [px].

    At each scale a block of two convolutions of 3 × 3 reaches 2 of its pixels, on the way down and on the way up, and
    pooling and upsampling one less than their factor; the last convolution reaches one pixel more.

    Examples
    --------
    >>> find_reach(3)
    59
    """
    strides = [2**level for level in range(num_levels)]
    blocks = sum(2 * 2 * stride for stride in strides) + 2 * 2**num_levels
    return blocks + 2 * sum(strides) + 1


UNET = Architecture(
    description="U-Net: encoder, bottom and decoder with skip connections; the network of the closed division.",
    settings=UNetSettings,
    build=build_unet,
)
