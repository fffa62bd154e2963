"""What a baseline declares: how a classical method is fitted to examples, and what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Sample
from emdenoise.dataset.fields import Kind

Images = Sequence[npt.NDArray[Any]] | npt.NDArray[Any]
"""Images of any sizes, or a stack of images."""


@dataclass(frozen=True)
class Examples:
    """Validation images with their truth, on which everything about a classical method is chosen.

    Attributes
    ----------
    inputs : dict of str to sequence of ndarray, shape (height, width, channels)
        By field, of each image; images may differ in size.
    truth : sequence of ndarray, shape (height, width)
        Of each image, of the type of the field that is answered.
    label_names : list of str
        Of the labels 0, 1, … in masks.
    black_level : float
        Stored intensity of a pixel that no electron reached.
    read_training : callable or None
        Reads a sample of the images that the network learned from, for methods that learn (`Baseline.learns`); None
        where there are none, and such methods learn from these images.
    """

    inputs: Mapping[str, Images]
    truth: Images
    label_names: list[str] = field(default_factory=list)
    black_level: float = 0.0
    read_training: Callable[[], "Examples"] | None = field(default=None, compare=False, repr=False)
    _known: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    _locks: dict[str, Lock] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def noisy(self) -> list[FloatImage]:
        """The detector images, each float32 (height, width)."""
        return [image[..., 0] for image in self.inputs["noisy"]]

    def once(self, name: str, compute: Callable[["Examples"], Any]) -> Any:
        """Compute something that several methods share once, also where they are fitted at the same time."""
        with self._locks.setdefault(name, Lock()):
            if name not in self._known:
                self._known[name] = compute(self)
        return self._known[name]


class FittedMethod(Protocol):
    """A classical method with everything chosen: a method like a network, and what was chosen."""

    def __call__(self, sample: Sample) -> npt.NDArray[Any]:
        """Give the results of a sample, (num_images, height, width)."""

    def describe(self) -> str:
        """Say in words what was chosen."""


class Describable(Protocol):
    """A method of detector images alone."""

    def __call__(self, noisy: FloatImage) -> npt.NDArray[Any]:
        """Give the results of images, both (num_images, height, width)."""

    def describe(self) -> str:
        """Say in words what was chosen."""


@dataclass(frozen=True)
class OfDetectorImage:
    """A method of detector images as a method of samples.

    Attributes
    ----------
    method : Describable
    """

    method: Describable

    def __call__(self, sample: Sample) -> npt.NDArray[Any]:
        """Give the results of the detector images."""
        return self.method(np.asarray(sample["noisy"])[..., 0])

    def describe(self) -> str:
        """Say in words what was chosen."""
        return self.method.describe()


@dataclass(frozen=True)
class Baseline:
    """A classical method: an entry of `BASELINES`.

    Attributes
    ----------
    description : str
        One sentence, with its source.
    kind : str
        Of the field that it answers (`dataset/fields.py`).
    fit : callable
        ``Examples -> FittedMethod``. Raises `PackageError` where it needs a package that is not installed.
    learns : bool
        Whether it reads the images that the network learned from (`Examples.read_training`).
    """

    description: str
    kind: Kind
    fit: Callable[[Examples], FittedMethod]
    learns: bool = False
