"""Speeds measured side by side in one run: ``make bench``, or ``python benchmarks/run.py training simulate``.

Rows of one benchmark take turns, so that a change of the machine's load meets all of them; what counts is the ratio of
medians. Values go to ``benchmarks/results/NAME.json``; the variable NUM_REPEATS says how often. Times are no tests:
nothing fails here.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from data import bench_loading, bench_preprocess, bench_simulate
from prediction import bench_networks, bench_predict, bench_smoke
from quality import bench_quality
from side_by_side import Benchmark, report
from starting import bench_container, bench_first_step, bench_startup
from training import (
    bench_determinism,
    bench_memory,
    bench_precision,
    bench_processes,
    bench_read_ahead,
    bench_training,
)

BENCHMARKS = {
    "training": Benchmark(bench_training, "images/s"),
    "read_ahead": Benchmark(bench_read_ahead, "images/s"),
    "quality": Benchmark(bench_quality, "s"),
    "precision": Benchmark(bench_precision, "images/s"),
    "memory": Benchmark(bench_memory, "MiB"),
    "determinism": Benchmark(bench_determinism, "images/s"),
    "processes": Benchmark(bench_processes, "images/s"),
    "predict": Benchmark(bench_predict, "images/s"),
    "predict_smoke": Benchmark(bench_smoke, "images/s"),
    "networks": Benchmark(bench_networks, "images/s"),
    "simulate": Benchmark(bench_simulate, "images/s"),
    "preprocess": Benchmark(bench_preprocess, "MB/s"),
    "loading": Benchmark(bench_loading, "images/s"),
    "startup": Benchmark(bench_startup, "runs/s"),
    "first_step": Benchmark(bench_first_step, "s"),
    "container": Benchmark(bench_container, "s"),
}


def main() -> None:
    """Run the named benchmarks, or all."""
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
    for name in names:
        report(name, BENCHMARKS[name])


if __name__ == "__main__":
    main()
