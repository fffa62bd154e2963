"""How fast a denoiser is: images per second in batches, and the latency of single images."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emdenoise.arrays import FloatImage, Mask

Denoiser = Callable[[FloatImage], FloatImage]
"""Images float32 (num_images, height, width) → the same, denoised."""
Segmenter = Callable[[FloatImage], Mask]
"""Images float32 (num_images, height, width) → labels uint8 of the same shape."""

NUM_WARMUP_CALLS = 3


@dataclass(frozen=True)
class Latency:
    """Time for one image, handed over alone, after warm-up [ms]."""

    p50_ms: float
    p99_ms: float


def measure_latency(denoise: Denoiser | Segmenter, images: FloatImage, num_images: int) -> Latency:
    """Time single images.

    Parameters
    ----------
    denoise : callable
    images : ndarray of float32, shape (any, height, width)
        Taken in turn.
    num_images : int
        Timed calls, after three that are not counted.

    Returns
    -------
    Latency
    """
    durations = []
    for number in range(NUM_WARMUP_CALLS + num_images):
        image = images[number % len(images)][None]
        started = time.perf_counter()
        denoise(image)
        durations.append(time.perf_counter() - started)
    p50, p99 = np.percentile(durations[NUM_WARMUP_CALLS:], [50, 99]) * 1e3
    return Latency(float(p50), float(p99))
