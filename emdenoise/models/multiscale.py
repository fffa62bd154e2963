"""The multi-scale CNN (MCNN), one of the seven that STFC announced for ``em_denoise``, by the likely meaning.

STFC names a "Multiscale CNN" without a source. The one for electron micrographs is that of Wang, Koch and others, whose
first use was to denoise them: a U-Net with strided convolutions that, in the first stage of its training, also gives an
image at each coarser scale, each with a loss of its own. In the second stage it is the U-Net alone. A network has one
output here, so this is the network of the second stage; the six coarser outputs (63,494 of the 41.9 million parameters
at full width) and their losses are left out. The sigmoid of the output is left out, too: intensities may exceed [0, 1].
"""

from typing import Annotated, Literal

from pydantic import Field

from emdenoise.config.base import NormalisedNetworkSettings
from emdenoise.models.contract import Architecture, Network, Ports
from emdenoise.models.unet import Initializer


class MultiscaleSettings(NormalisedNetworkSettings):
    """Multi-scale CNN (doi:10.1038/s41598-020-62484-z), a U-Net with strided convolutions and kernels of 4 × 4."""

    name: Literal["multiscale"] = "multiscale"
    """Multi-scale CNN: strided convolutions down seven scales, upsampling and skip connections back."""
    batch_norm_momentum: float = Field(0.8, ge=0, lt=1)
    """Weight of the past in the running mean and variance of batch normalisation."""
    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        (8, 16, 32, 64, 64, 64, 64), min_length=1, max_length=7
    )
    """Filters of each scale; each halves the image. The paper's are eight times as many: 64, 128, 256, 512, 512, …"""
    initializer: Initializer = "glorot_uniform"
    """How the kernels of the convolutions start."""

    @property
    def step_px(self) -> int:
        """Each scale halves the image."""
        return 2 ** len(self.filters)


def build_multiscale(settings: MultiscaleSettings, ports: Ports) -> Network:
    """Build an untrained multi-scale CNN (doi:10.1038/s41598-020-62484-z).

    Down: convolution with stride 2 and leaky ReLU. Up: nearest-neighbour upsampling, convolution, ReLU, normalisation,
    and the maps of the same scale joined to it.

    Parameters
    ----------
    settings : MultiscaleSettings
    ports : Ports

    Returns
    -------
    Network
        Height and width are any multiples of `settings.step_px`.

    Examples
    --------
    >>> from emdenoise.models.heads import HEADS
    >>> network = build_multiscale(MultiscaleSettings(), Ports({"noisy": 1}, 1, HEADS["intensity"]))
    >>> network.model.count_params(), network.step_px, network.reach_px
    (655249, 128, 508)
    """
    import keras

    from emdenoise.models.blocks import close_ports, open_ports
    from emdenoise.models.normalisation import BatchNormalization

    convolution = {"kernel_size": 4, "padding": "same", "kernel_initializer": settings.initializer}
    inputs, images = open_ports(ports, settings)
    skips = []
    for scale, filters in enumerate(settings.filters, start=1):
        images = keras.layers.Conv2D(filters, strides=2, name=f"encoder_{scale}", **convolution)(images)
        images = keras.layers.LeakyReLU(negative_slope=0.2, name=f"encoder_{scale}_relu")(images)
        skips.append(images)
    skips.pop()
    for scale, filters in reversed(list(enumerate(settings.filters[:-1], start=1))):
        images = keras.layers.UpSampling2D(name=f"decoder_{scale}_upsampling")(images)
        images = keras.layers.Conv2D(filters, activation="relu", name=f"decoder_{scale}", **convolution)(images)
        images = BatchNormalization(momentum=settings.batch_norm_momentum, name=f"decoder_{scale}_normalisation")(
            images
        )
        images = keras.layers.Concatenate(name=f"decoder_{scale}_skip")([images, skips.pop()])
    images = keras.layers.UpSampling2D(name="output_upsampling")(images)
    # float32 whatever the precision of the layers before: scores must not depend on a rounded output.
    images = keras.layers.Conv2D(ports.output_channels, dtype="float32", name="output", **convolution)(images)
    model = close_ports(inputs, images, ports, settings, name="multiscale")
    return Network(
        model,
        tuple(ports.inputs),
        step_px=settings.step_px,
        reach_px=find_reach(len(settings.filters)),
        encoder=("encoder",),
    )


def find_reach(num_scales: int) -> int:
    """Find how far a pixel of a multi-scale CNN sees [px]: from the output back to the input by its lowest scale.

    A convolution of 4 × 4 sees one pixel before and two after; with stride 2, pixel p sees 2 p − 1 to 2 p + 2.

    Examples
    --------
    >>> find_reach(1)
    4
    """
    reaches = []
    for pixel in range(2**num_scales):
        first = last = pixel
        for _ in range(num_scales):
            first, last = (first - 1) // 2, (last + 2) // 2
        for _ in range(num_scales):
            first, last = 2 * first - 1, 2 * last + 2
        reaches += [pixel - first, last - pixel]
    return max(reaches)


MULTISCALE = Architecture(
    description="Multi-scale CNN: a U-Net with strided convolutions over seven scales.",
    settings=MultiscaleSettings,
    build=build_multiscale,
)
