"""What a network declares, and nothing else guesses: its ports, how far it sees, its encoder and its views."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdenoise.config.base import NetworkSettings
from emdenoise.models.heads import Head

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Ports:
    """What goes into a network and what comes out.

    Attributes
    ----------
    inputs : dict of str to int
        Channels of each field that it is given, by name; the first one is the image.
    output_channels : int
    head : Head
        What the outputs mean. Where they are an intensity, it has the units of the first input, and the network may
        scale it or give it as a residual.
    """

    inputs: dict[str, int]
    output_channels: int
    head: Head


@dataclass(frozen=True)
class Views:
    """Which views of an image a network is shown; what it answers is their mean, see `models/views.py`.

    Attributes
    ----------
    long_sides_px : tuple of int
        Sizes that the long side of an image is brought to; empty for the image as it is.
    symmetries : bool
        Whether it is also turned and mirrored by the eight symmetries of the square.
    """

    long_sides_px: tuple[int, ...] = ()
    symmetries: bool = False


@dataclass(frozen=True)
class Network:
    """A Keras model with what others must know of it.

    Attributes
    ----------
    model : keras.Model
        Inputs are named after their fields, each float32 (batch, height, width, channels); the output is float32
        (batch, height, width, output_channels). Where there are several inputs, Keras sorts them by name.
        The last layer with weights is named ``output``; of a sum of several layers that make the result, all names
        begin with it.
    inputs : tuple of str
        Fields, the image first.
    step_px : int
        Sides and positions of images must be multiples of it; that of its settings.
    reach_px : int or None
        Pixels farther away than this do not change a pixel of the result; None where every pixel does.
    encoder : tuple of str
        Beginnings of the names of the layers that see the image first and may be frozen; empty where the network has no
        encoder.
    views : Views
        Those of its settings; `build_network` puts them here. The Keras model itself has none.
    """

    model: "keras.Model"
    inputs: tuple[str, ...]
    step_px: int
    reach_px: int | None
    encoder: tuple[str, ...] = ()
    views: Views = Views()


@dataclass(frozen=True)
class Architecture:
    """A kind of network: an entry of `MODELS`.

    Attributes
    ----------
    description : str
        One sentence.
    settings : type
        Class of its settings.
    build : callable
        ``(settings, ports) -> Network``, untrained.
    """

    description: str
    settings: type[NetworkSettings]
    build: Callable[[Any, Ports], Network]
