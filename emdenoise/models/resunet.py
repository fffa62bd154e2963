"""ResUNet, the network of the open division's own runs: residual blocks behind a stem of large strides.

Micrographs are sampled several times more finely than the microscope resolves. The first convolution therefore takes
patches of pixels to one cell each, all blocks of layers work on cells, and the last layer gives each cell its pixels
back. Cells cost 1/16 of the memory traffic of pixels, so the network may be fourteen times as large as the closed one.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from emdenoise.config.base import NormalisedNetworkSettings
from emdenoise.models.contract import Architecture, Network, Ports
from emdenoise.models.unet import Initializer

if TYPE_CHECKING:
    import keras


class ResUNetSettings(NormalisedNetworkSettings):
    """Residual U-Net (doi:10.1109/LGRS.2018.2802944) on cells of several pixels."""

    name: Literal["resunet"] = "resunet"
    """ResUNet: a stem with a stride, residual blocks down and up, output by sub-pixels."""
    stem_px: int = Field(4, ge=1, le=16)
    """Side of the cells: stride of the first convolution and of the last, transposed one [px]."""
    kernel_cells: Literal[1, 2] = 2
    """Side of the kernels of these two, in cells; with 2 neighbouring cells overlap by half."""
    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((48, 80, 128, 176), min_length=1, max_length=6)
    """Filters of each level from the cells down; each level but the first halves the image."""
    blocks: int = Field(1, ge=1, le=8)
    """Residual blocks of each level, on the way down and on the way up."""
    initializer: Initializer = "he_normal"
    """How the kernels of the convolutions start."""

    @property
    def strides_px(self) -> tuple[int, ...]:
        """Side of a cell of each level [px]."""
        return tuple(self.stem_px * 2**level for level in range(len(self.filters)))

    @property
    def step_px(self) -> int:
        """The stem and each level but the first divide the image."""
        return self.strides_px[-1]


def build_resunet(settings: ResUNetSettings, ports: Ports) -> Network:
    """Build an untrained residual U-Net (doi:10.1109/LGRS.2018.2802944).

    Blocks are those of a ResNet (doi:10.1109/CVPR.2016.90). The output is made of sub-pixels
    (doi:10.1109/CVPR.2016.207), written as a transposed convolution.

    Parameters
    ----------
    settings : ResUNetSettings
    ports : Ports

    Returns
    -------
    Network
        Height and width are any multiples of `settings.step_px`.

    Examples
    --------
    >>> from emdenoise.models.heads import HEADS
    >>> network = build_resunet(ResUNetSettings(), Ports({"noisy": 1}, 1, HEADS["intensity"]))
    >>> network.model.count_params(), network.step_px, network.reach_px
    (1765937, 32, 211)
    """
    import keras

    from emdenoise.models.blocks import close_ports, open_ports

    strided = {"padding": "same", "kernel_initializer": settings.initializer}
    stem, levels = settings.stem_px, list(enumerate(settings.filters, start=1))
    kernel = settings.kernel_cells * stem
    inputs, images = open_ports(ports, settings)
    skips = []
    for level, filters in levels:
        side, stride, name = (kernel, stem, "stem") if level == 1 else (2, 2, f"encoder_{level}_down")
        images = keras.layers.Conv2D(filters, side, strides=stride, name=name, **strided)(images)
        images = _add_blocks(images, settings, filters, f"encoder_{level}")
        skips.append(images)
    skips.pop()
    for level, filters in reversed(levels[:-1]):
        images = keras.layers.Conv2DTranspose(filters, 2, strides=2, name=f"decoder_{level}_up", **strided)(images)
        images = keras.layers.Add(name=f"decoder_{level}_skip")([images, skips.pop()])
        images = _add_blocks(images, settings, filters, f"decoder_{level}")
    # float32 whatever the precision of the layers before: scores must not depend on a rounded output.
    images = keras.layers.Conv2DTranspose(
        ports.output_channels, kernel, strides=stem, padding="same", dtype="float32", name="output"
    )(images)
    model = close_ports(inputs, images, ports, settings, name="resunet")
    return Network(
        model,
        tuple(ports.inputs),
        step_px=settings.step_px,
        reach_px=find_reach(settings.strides_px, settings.blocks, settings.kernel_cells),
        encoder=("stem", "encoder"),
    )


def _add_blocks(images: "keras.KerasTensor", settings: ResUNetSettings, filters: int, name: str) -> "keras.KerasTensor":
    """Apply residual blocks: convolution, normalisation, ReLU, the first two again, the sum with the input, ReLU."""
    import keras

    from emdenoise.models.normalisation import BatchNormalization

    for number in range(1, settings.blocks + 1):
        block, residual = f"{name}_block_{number}", images
        for part in (1, 2):
            residual = keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                use_bias=False,
                kernel_initializer=settings.initializer,
                name=f"{block}_convolution_{part}",
            )(residual)
            residual = BatchNormalization(momentum=settings.batch_norm_momentum, name=f"{block}_normalisation_{part}")(
                residual
            )
            if part == 1:
                residual = keras.layers.Activation("relu", name=f"{block}_inner_activation")(residual)
        images = keras.layers.Add(name=f"{block}_sum")([images, residual])
        images = keras.layers.Activation("relu", name=f"{block}_activation")(images)
    return images


def find_reach(strides_px: tuple[int, ...], blocks: int, kernel_cells: int) -> int:
    """Find how far a pixel of a ResUNet sees [px].

    A block of two convolutions of 3 × 3 reaches 2 cells of its level, on the way down and on the way up; halving and
    doubling reach no farther than the cell of the lowest level. Kernels of two cells see half a cell more on each side,
    in the stem and in the output.

    Examples
    --------
    >>> find_reach((4, 8, 16, 32), 1, 1)
    207
    """
    *higher, lowest = strides_px
    return lowest - 1 + 2 * blocks * (2 * sum(higher) + lowest) + (kernel_cells - 1) * strides_px[0]


RESUNET = Architecture(
    description="ResUNet: residual U-Net on cells of 4 × 4 px; the network of the open division's own runs.",
    settings=ResUNetSettings,
    build=build_resunet,
)
