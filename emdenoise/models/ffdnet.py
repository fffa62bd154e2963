"""FFDNet, a fast network that is told the noise level; one of the seven that STFC announced for ``em_denoise``.

It works on cells of 2 × 2 px, so it costs a quarter of a DnCNN, and a map of the noise level is its second input: one
network serves many doses. Records hold no noise level, so the network finds the map in the image itself, by a formula
without weights (`noise_level.py`). Where a workload has the noise level as a field among its inputs, it goes in as the
other fields do, as pixels of the cells; set `noise_window_px` to 0 then.
"""

from typing import Literal

from pydantic import Field

from emdenoise.config.base import NetworkSettings
from emdenoise.models.contract import Architecture, Network, Ports
from emdenoise.models.unet import Initializer

CELL_PX = 2


class FFDNetSettings(NetworkSettings):
    """FFDNet (doi:10.1109/TIP.2018.2839891), a stack of convolutions on cells of 2 × 2 px, with a noise-level map."""

    name: Literal["ffdnet"] = "ffdnet"
    """FFDNet: convolutions and ReLU on cells of pixels; predicts the image, not the noise."""
    depth: int = Field(15, ge=3, le=64)
    """Number of convolutions."""
    filters: int = Field(64, ge=1, le=1024)
    """Filters of each convolution but the last."""
    noise_window_px: int = Field(32, ge=0, le=256, multiple_of=2)
    """Side of the window in which the noise level is found from the image [px]; 0 leaves the noise-level map out."""
    initializer: Initializer = "orthogonal"
    """How the kernels of the convolutions start."""

    @property
    def step_px(self) -> int:
        """Cells divide the image."""
        return CELL_PX


def build_ffdnet(settings: FFDNetSettings, ports: Ports) -> Network:
    """Build an untrained FFDNet (doi:10.1109/TIP.2018.2839891).

    There is no normalisation: the paper merges it into the convolutions after training, the authors' later code has
    none.

    Parameters
    ----------
    settings : FFDNetSettings
    ports : Ports

    Returns
    -------
    Network
        For images of even height and width. It has no encoder: all layers work on cells.

    Examples
    --------
    >>> from emdenoise.models.heads import HEADS
    >>> network = build_ffdnet(FFDNetSettings(), Ports({"noisy": 1}, 1, HEADS["intensity"]))
    >>> network.model.count_params(), network.step_px, network.reach_px
    (485316, 2, 47)
    """
    import keras

    from emdenoise.models.blocks import close_ports, open_ports
    from emdenoise.models.noise_level import NoiseLevel
    from emdenoise.models.pixel_shuffle import PixelShuffle, PixelUnshuffle

    convolution = {"kernel_size": 3, "padding": "same", "kernel_initializer": settings.initializer}
    inputs, images = open_ports(ports, settings)
    cells = PixelUnshuffle(CELL_PX, name="unshuffle")(images)
    if settings.noise_window_px:
        image_channels = next(iter(ports.inputs.values()))
        level = NoiseLevel(settings.noise_window_px, CELL_PX, image_channels, name="noise_level")(images)
        cells = keras.layers.Concatenate(name="cells")([cells, level])
    for number in range(1, settings.depth):
        cells = keras.layers.Conv2D(settings.filters, activation="relu", name=f"convolution_{number}", **convolution)(
            cells
        )
    # float32 whatever the precision of the layers before: scores must not depend on a rounded output.
    cells = keras.layers.Conv2D(CELL_PX**2 * ports.output_channels, dtype="float32", name="output", **convolution)(
        cells
    )
    images = PixelShuffle(CELL_PX, dtype="float32", name="shuffle")(cells)
    model = close_ports(inputs, images, ports, settings, name="ffdnet")
    return Network(
        model,
        tuple(ports.inputs),
        step_px=settings.step_px,
        reach_px=find_reach(settings.depth, settings.noise_window_px),
    )


def find_reach(depth: int, noise_window_px: int) -> int:
    """Find how far a pixel of an FFDNet sees [px].

    Each convolution reaches a cell farther; the pixel on the other side of its own cell is one px away. The noise level
    of a cell is found from half a window around it, and second differences reach one px more.

    Examples
    --------
    >>> find_reach(15, 0)
    31
    """
    return CELL_PX * depth + 1 + noise_window_px // 2


FFDNET = Architecture(
    description="FFDNet: a stack of convolutions on cells of 2 × 2 px that is told how noisy each place is.",
    settings=FFDNetSettings,
    build=build_ffdnet,
)
