"""The mixed-scale dense network, one of the seven that STFC announced for ``em_denoise``.

Each layer adds one map to a growing pile, from all maps before it, with a dilated convolution: layer by layer the
dilation is 1, 2, … 10, 1, 2, … Few parameters learn from few images.
"""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from emdenoise.config.base import NetworkSettings
from emdenoise.models.contract import Architecture, Network, Ports

if TYPE_CHECKING:
    import keras


class MixedScaleDenseSettings(NetworkSettings):
    """Mixed-scale dense network (doi:10.1073/pnas.1715832114): dilated convolutions, each of all maps before it."""

    name: Literal["mixed_scale_dense"] = "mixed_scale_dense"
    """Mixed-scale dense network: dilated convolutions of all earlier maps, at full resolution."""
    depth: int = Field(100, ge=1, le=400)
    """Number of layers before the last."""
    width: int = Field(1, ge=1, le=64)
    """Maps that each layer adds."""
    max_dilation: int = Field(10, ge=1, le=32)
    """Layers take the dilations 1, 2, … up to this in turn [px]."""


def build_mixed_scale_dense(settings: MixedScaleDenseSettings, ports: Ports) -> Network:
    """Build an untrained mixed-scale dense network (doi:10.1073/pnas.1715832114).

    Weights start from the normal distribution of the paper, biases from 0. Beyond the image the paper mirrors it; here
    it is 0, as in all networks of this package. The last layer, which combines all maps pixel by pixel, starts from the
    same distribution; in the authors' code it starts from 0.

    A convolution of joined maps is the sum of the convolutions of its parts. A layer is therefore written as two: one
    of the maps up to the last layer of dilation `max_dilation`, which are joined once for the next `max_dilation`
    layers, and one of the few maps since then. Otherwise 100 layers would copy 5,150 maps and keep them for the
    gradient; this way it is 1,000.

    Parameters
    ----------
    settings : MixedScaleDenseSettings
    ports : Ports

    Returns
    -------
    Network
        For images of any height and width. It has no encoder: all layers see the image.

    Examples
    --------
    >>> from emdenoise.models.heads import HEADS
    >>> network = build_mixed_scale_dense(MixedScaleDenseSettings(), Ports({"noisy": 1}, 1, HEADS["intensity"]))
    >>> network.model.count_params(), network.reach_px
    (45652, 550)
    """
    import keras

    from emdenoise.models.blocks import close_ports, open_ports

    inputs, maps = open_ports(ports, settings)
    num_inputs = sum(ports.inputs.values()) + settings.width * (settings.depth - 1)
    deviation = math.sqrt(2 / (9 * num_inputs + ports.output_channels))
    dilations = list_dilations(settings)
    for start in range(0, settings.depth, settings.max_dilation):
        recent: list[keras.KerasTensor] = []
        for number, dilation in enumerate(dilations[start : start + settings.max_dilation], start=start + 1):
            layer = _add_layer(
                maps, recent, width=settings.width, dilation=dilation, deviation=deviation, name=f"layer_{number}"
            )
            recent.append(layer)
        maps = keras.layers.Concatenate(name=f"maps_{start + len(recent)}")([maps, *recent])
    # float32 whatever the precision of the layers before: scores must not depend on a rounded output.
    images = keras.layers.Conv2D(
        ports.output_channels,
        1,
        kernel_initializer=keras.initializers.RandomNormal(stddev=deviation),
        dtype="float32",
        name="output",
    )(maps)
    model = close_ports(inputs, images, ports, settings, name="mixed_scale_dense")
    return Network(model, tuple(ports.inputs), step_px=1, reach_px=sum(dilations))


def list_dilations(settings: MixedScaleDenseSettings) -> list[int]:
    """List the dilation of each layer, which is also how much farther it reaches [px].

    Examples
    --------
    >>> list_dilations(MixedScaleDenseSettings(depth=5, max_dilation=3))
    [1, 2, 3, 1, 2]
    """
    return [number % settings.max_dilation + 1 for number in range(settings.depth)]


def _add_layer(
    maps: "keras.KerasTensor",
    recent: "list[keras.KerasTensor]",
    *,
    width: int,
    dilation: int,
    deviation: float,
    name: str,
) -> "keras.KerasTensor":
    import keras

    def convolve(images: "keras.KerasTensor", part: str, *, use_bias: bool) -> "keras.KerasTensor":
        initializer = keras.initializers.RandomNormal(stddev=deviation)
        return keras.layers.Conv2D(
            width,
            3,
            dilation_rate=dilation,
            padding="same",
            use_bias=use_bias,
            kernel_initializer=initializer,
            name=f"{name}_{part}",
        )(images)

    total = convolve(maps, "earlier", use_bias=True)
    if recent:
        joined = keras.layers.Concatenate(name=f"{name}_join")(recent) if len(recent) > 1 else recent[0]
        total = keras.layers.Add(name=f"{name}_sum")([total, convolve(joined, "recent", use_bias=False)])
    return keras.layers.ReLU(name=f"{name}_relu")(total)


MIXED_SCALE_DENSE = Architecture(
    description="Mixed-scale dense network: dilated convolutions of all earlier maps, with few parameters.",
    settings=MixedScaleDenseSettings,
    build=build_mixed_scale_dense,
)
