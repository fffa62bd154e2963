"""A model on paper of data-parallel training on 1 to 1,024 accelerators: ``python benchmarks/scaling.py``.

Each accelerator has a batch of its own (weak scaling). A step is its computation, one sum of all gradients, and for
each batch normalisation one sum of statistics forwards and one of their gradients backwards, which wait for each other.
Nothing overlaps, nobody waits for images, all accelerators are equally fast: limits of the model, the first one
pessimistic. What a sum costs is the model by which NCCL chooses its algorithms (tree, protocol LL128; latencies and
corrections of bandwidth from its src/graph/tuning.cc): eight accelerators in a node with NVLink, one port of
InfiniBand NDR (400 Gb/s) for each of them.
"""

import math

import keras

from emdenoise.models import build_network
from emdenoise.models.unet import UNetSettings
from emdenoise.training.pretraining import RESTORATION

PER_NODE = 8
START_US, LINK_US, NETWORK_US = 4.4, 1.2, 8.5
"""Latency of a tree: of the call, of a hop by NVLink, of a level of the network [µs]."""
BYTES_PER_US = 50e3 * 0.9 * 0.915 / 2
"""Bandwidth of a tree: 50 GB/s of a port, less what NCCL takes off; everything goes up and comes down [byte/µs]."""
STEPS_MS = (500.0, 20.0, 2.0)
"""Computation of one step [ms]: one core of a processor of 2024 with a batch of 10, and two guesses."""


def sum_up(num_bytes: float, num_accelerators: int) -> float:
    """Estimate the time of one sum over all accelerators [µs]."""
    if num_accelerators == 1:
        return 0.0
    num_nodes = max(1, num_accelerators // PER_NODE)
    hops = (min(num_accelerators, PER_NODE) - 1) * LINK_US + math.log2(num_nodes) * NETWORK_US
    return START_US + 2 * hops + num_bytes / BYTES_PER_US


def main() -> None:
    """Print the table of docs/clusters/processes.md."""
    model = build_network(UNetSettings(), RESTORATION).model
    gradient_bytes = 4 * sum(math.prod(weights.shape) for weights in model.trainable_weights)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    statistics = [2 * 4 * layer.gamma.shape[0] for layer in layers]
    print(f"gradients {gradient_bytes:,} bytes; {len(layers)} batch normalisations, {sum(statistics):,} bytes\n")
    print("| accelerators | sums of a step [ms] | " + " | ".join(f"efficiency, {ms:g} ms" for ms in STEPS_MS) + " |")
    print("| --- " * (2 + len(STEPS_MS)) + "|")
    for number in (2**power for power in range(11)):
        sums = [sum_up(gradient_bytes, number), *(2 * sum_up(size, number) for size in statistics)]
        cost_ms = sum(sums) / 1000
        efficiencies = " | ".join(f"{ms / (ms + cost_ms):.1%}" for ms in STEPS_MS)
        print(f"| {number:,} | {cost_ms:.2f} | {efficiencies} |")


if __name__ == "__main__":
    main()
