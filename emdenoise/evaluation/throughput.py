"""How fast a denoiser is: images per second in batches, and the latency of single images."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Sample

Method = Callable[[Sample], npt.NDArray[Any]]
"""Fields (num_images, height, width, channels) → results (num_images, height, width), by a network or otherwise."""


@runtime_checkable
class UncertainMethod(Protocol):
    """A method of labels that also says how sure it is of them: one that computes probabilities."""

    def __call__(self, sample: Sample) -> npt.NDArray[Any]:
        """Give the labels of a sample, (num_images, height, width)."""

    def measure_uncertainty(self, sample: Sample) -> FloatImage:
        """Measure the entropy of the probabilities of each pixel [nats], float32 (num_images, height, width)."""


NUM_WARMUP_CALLS = 3
NUM_PASSES = (5, 3, 1)
"""Over the images of a test: as many as fit into `MAX_TIMED_S`; odd, so that the median is one of them."""
MAX_TIMED_S = 3.0


class TimedMethod:
    """A method whose calls are timed, each shape of its inputs after a call that is not: compilation, caches.

    Parameters
    ----------
    method : callable
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self._known_shapes: set[tuple[tuple[int, ...], ...]] = set()
        self._seconds = 0.0

    def __call__(self, sample: Sample) -> npt.NDArray[Any]:
        """Apply the method."""
        shapes = tuple(images.shape for images in sample.values())
        if shapes not in self._known_shapes:
            self._method(sample)
            self._known_shapes.add(shapes)
        started = time.perf_counter()
        result = self._method(sample)
        self._seconds += time.perf_counter() - started
        return result

    def measure_passes(self, read: Callable[[], Iterable[Sample]]) -> float:
        """Time further passes over images that the calls so far have gone through once.

        Parameters
        ----------
        read : callable
            Gives all samples again; the time that this takes does not count.

        Returns
        -------
        float
            Median time of a pass [s].
        """
        passes_s = [self._seconds]
        num_passes = next((number for number in NUM_PASSES if number * self._seconds <= MAX_TIMED_S), 1)
        for _ in range(num_passes - 1):
            self._seconds = 0.0
            for sample in read():
                self(sample)
            passes_s.append(self._seconds)
        return float(np.median(passes_s))


@dataclass(frozen=True)
class Latency:
    """Time for one image, handed over alone, after warm-up [ms]."""

    p50_ms: float
    p99_ms: float


def measure_latency(method: Method, sample: Sample, num_images: int) -> Latency:
    """Time single images.

    Parameters
    ----------
    method : callable
    sample : dict of str to ndarray, shape (any, height, width, channels)
        Images are taken in turn.
    num_images : int
        Timed calls, after three that are not counted.

    Returns
    -------
    Latency
    """
    durations = []
    for number in range(NUM_WARMUP_CALLS + num_images):
        index = number % len(next(iter(sample.values())))
        image = {name: images[index : index + 1] for name, images in sample.items()}
        started = time.perf_counter()
        method(image)
        durations.append(time.perf_counter() - started)
    p50, p99 = np.percentile(durations[NUM_WARMUP_CALLS:], [50, 99]) * 1e3
    return Latency(float(p50), float(p99))
