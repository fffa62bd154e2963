"""How fast this machine could be at best: ``python benchmarks/limits.py`` computes it for the closed network.

Operations are those of the convolutions, a multiplication and an addition counted as two; all else is small beside
them. Bytes are what passes between the processor and its memory where each layer runs alone: forwards a layer reads its
inputs and writes its output; backwards it reads the gradient of the output and the inputs again, and writes the
gradient of the inputs. Batch normalisation reads its input twice each way. The machine's peaks are measured: operations
by large matrix products, bytes by sums of arrays as large as the activations of a batch of 10.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from emdenoise.models import build_network
from emdenoise.models.fusion import fuse_upsampling
from emdenoise.models.unet import UNetSettings
from emdenoise.training.pretraining import RESTORATION

SIDE_PX = 256
MATRIX_SIDE = 2048
ARRAY_SHAPE = (10, SIDE_PX, SIDE_PX, 8)
NUM_REPEATS = 20
ELEMENTWISE = (keras.layers.Activation, keras.layers.Add, keras.layers.BatchNormalization)
"""What an inference engine computes within the convolution before."""


def count_operations(layer: keras.Layer, output: tuple[int, ...]) -> float:
    """Count the operations of one layer for one image, forwards."""
    if not isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
        return 0.0
    strides = math.prod(layer.strides) if isinstance(layer, keras.layers.Conv2DTranspose) else 1
    return 2.0 * math.prod(output[1:3]) * math.prod(layer.kernel.shape) / strides


def find_best_time(run: Callable[[], Any]) -> float:
    """Find the shortest time of several calls [s]."""
    durations = []
    for _ in range(NUM_REPEATS):
        started = time.perf_counter()
        run()
        durations.append(time.perf_counter() - started)
    return min(durations)


@dataclass(frozen=True)
class Cost:
    """What one image costs: operations, and bytes forwards and in a training step."""

    operations: float
    forwards: float
    both: float


def count_cost(model: keras.Model, within: tuple[type[keras.Layer], ...] = (), side_px: int = SIDE_PX) -> Cost:
    """Count what one image costs in float32 where each layer runs alone, but for those computed within others."""
    layers = model.layers[1:]
    images = keras.Input(batch_shape=(1, side_px, side_px, 1))  # shapes alone; nothing is computed
    outputs = keras.Model(model.input, [layer.output for layer in layers])(images)
    shapes = [tuple(output.shape) for output in outputs]
    sizes = {layer.output.name: 4.0 * math.prod(shape) for layer, shape in zip(layers, shapes, strict=True)}
    sizes[model.input.name] = 4.0 * side_px**2
    operations, forwards, both = 0.0, 0.0, 0.0
    for layer, shape in zip(layers, shapes, strict=True):
        if isinstance(layer, within):
            continue
        operations += count_operations(layer, shape)
        read = sum(sizes[tensor.name] for tensor in keras.tree.flatten(layer.input))
        written, again = sizes[layer.output.name], read * isinstance(layer, keras.layers.BatchNormalization)
        forwards += read + written
        both += (read + written + again) + (written + 2 * read + again)
    return Cost(operations, forwards, both)


def find_limits(peak_operations: float, peak_bytes: float, operations: float, moved: float) -> tuple[float, ...]:
    """Find the images/s that operations allow, that bytes allow, and where one waits for the other."""
    by_operations, by_bytes = peak_operations / operations, peak_bytes / moved
    return by_operations, by_bytes, 1 / (1 / by_operations + 1 / by_bytes)


def main() -> None:
    """Print what one image costs, what the machine can do, and the images per second that follow."""
    import tensorflow as tf

    model = build_network(UNetSettings(), RESTORATION).model
    plain, fused = count_cost(model), count_cost(fuse_upsampling(model), ELEMENTWISE)
    square = tf.random.normal((MATRIX_SIDE, MATRIX_SIDE))
    first, second = tf.random.normal(ARRAY_SHAPE), tf.random.normal(ARRAY_SHAPE)
    peak_operations = 2.0 * MATRIX_SIDE**3 / find_best_time(lambda: tf.matmul(square, square).numpy())
    peak_bytes = 3 * 4.0 * math.prod(ARRAY_SHAPE) / find_best_time(lambda: tf.add(first, second))
    print(f"machine: {peak_operations / 1e9:.0f} GFLOP/s in float32, {peak_bytes / 1e9:.1f} GB/s")
    for name, cost, moved in (
        ("prediction", plain.operations, plain.forwards),
        ("prediction, exported", fused.operations, fused.forwards),
        ("training", 3 * plain.operations, plain.both),
    ):
        by_operations, by_bytes, together = find_limits(peak_operations, peak_bytes, cost, moved)
        print(f"{name}: {cost / 1e9:.2f} GFLOP and {moved / 1e6:.0f} MB an image; images/s at most")
        print(
            f"  {by_operations:.0f} by operations, {by_bytes:.0f} by bytes, {together:.0f} if the processor does not "
            "compute while it waits for memory"
        )


if __name__ == "__main__":
    main()
