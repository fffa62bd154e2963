"""The class-aware fully convolutional network, one of the seven that STFC announced for ``em_denoise``.

It removes noise in small steps: each layer gives one map straight to the output and the others to the next layer, and
the output is the sum of these maps. What makes it class-aware is its training, on images of one class (here: electron
micrographs); the network itself knows of no classes. There is no normalisation.
"""

from typing import Literal

from pydantic import Field

from emdenoise.config.base import NetworkSettings
from emdenoise.models.contract import Architecture, Network, Ports
from emdenoise.models.unet import Initializer

STEP_SCALE = 0.1
"""The sum of the maps is multiplied by it, and a bias starts at a tenth of it, as in the authors' code."""


class ClassAwareFCNSettings(NetworkSettings):
    """Class-aware fully convolutional network (doi:10.48550/arXiv.1808.06562; for shot noise arXiv:1701.01687)."""

    name: Literal["class_aware_fcn"] = "class_aware_fcn"
    """Class-aware FCN: a stack of convolutions, each of which adds a step of its own to the output."""
    predict_residual: bool = True
    """Let the network predict what to add to the noisy image, as the paper does, instead of the image."""
    depth: int = Field(20, ge=3, le=64)
    """Number of layers."""
    filters: int = Field(64, ge=2, le=1024)
    """Maps of each layer but the last: one goes straight to the output, the others to the next layer."""
    initializer: Initializer = "glorot_uniform"
    """How the kernels of the convolutions start."""


def build_class_aware_fcn(settings: ClassAwareFCNSettings, ports: Ports) -> Network:
    """Build an untrained class-aware FCN (doi:10.48550/arXiv.1808.06562).

    All layers but the last two end in a ReLU; the maps that go to the output have none. A layer is written as two
    convolutions, one for the output and one for the next layer. They have the weights of the single one of the paper,
    but the kernels of the first start as if they stood alone. Each channel of the output gets a map of each layer.

    Parameters
    ----------
    settings : ClassAwareFCNSettings
    ports : Ports

    Returns
    -------
    Network
        For images of any height and width. It has no encoder: all layers work at full resolution. All layers whose
        names begin with ``output`` make the result.

    Examples
    --------
    >>> from emdenoise.models.heads import HEADS
    >>> network = build_class_aware_fcn(ClassAwareFCNSettings(), Ports({"noisy": 1}, 1, HEADS["intensity"]))
    >>> network.model.count_params(), network.reach_px
    (655544, 20)
    """
    import keras

    from emdenoise.models.blocks import close_ports, open_ports

    convolution = {
        "kernel_size": 3,
        "padding": "same",
        "kernel_initializer": settings.initializer,
        "bias_initializer": keras.initializers.Constant(STEP_SCALE / 10),
    }
    inputs, images = open_ports(ports, settings)
    steps = []
    for number in range(1, settings.depth + 1):
        is_last = number == settings.depth
        name = "output" if is_last else f"output_{number}"
        # float32 whatever the precision of the layers before: scores must not depend on a rounded output.
        steps.append(keras.layers.Conv2D(ports.output_channels, dtype="float32", name=name, **convolution)(images))
        if not is_last:
            images = keras.layers.Conv2D(
                settings.filters - 1,
                activation="relu" if number < settings.depth - 1 else None,
                name=f"convolution_{number}",
                **convolution,
            )(images)
    outputs = keras.layers.Add(dtype="float32", name="sum")(steps)
    outputs = keras.layers.Rescaling(STEP_SCALE, dtype="float32", name="scale")(outputs)
    model = close_ports(inputs, outputs, ports, settings, name="class_aware_fcn")
    return Network(model, tuple(ports.inputs), step_px=1, reach_px=settings.depth)


CLASS_AWARE_FCN = Architecture(
    description="Class-aware FCN: a plain stack of convolutions, each of which adds a step to the output.",
    settings=ClassAwareFCNSettings,
    build=build_class_aware_fcn,
)
