"""How fast a denoiser is: images per second in batches, and the latency of single images."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Sample

Method = Callable[[Sample], npt.NDArray[Any]]
"""Fields (num_images, height, width, channels) → results (num_images, height, width), by a network or otherwise."""

NUM_WARMUP_CALLS = 3


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
