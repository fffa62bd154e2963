"""What all benchmarks share: rows that take turns, and short runs of the launchers."""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emdenoise.results.environment import describe_code, describe_environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NUM_REPEATS = int(os.environ.get("NUM_REPEATS", "5"))
SHORT_RUN = """
division: open
simulation: {num_train: 64, num_validation: 4, num_test: 4}
training: {epochs: 2, batch_size: 10, crop_size_px: 128}
"""

Values = dict[str, list[float]]
"""The value of each repeat, by row; the first row is what the others are compared with."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: what runs it, and in which unit its values are."""

    measure: Callable[[], Values]
    unit: str


def alternate(rows: Mapping[str, Callable[[], object]], num_items: int) -> Values:
    """Run the rows in turn; returns items per second of each repeat."""
    rates: Values = {name: [] for name in rows}
    for _ in range(NUM_REPEATS):
        for name, run in rows.items():
            started = time.perf_counter()
            run()
            rates[name].append(num_items / (time.perf_counter() - started))
    return rates


def launch(command: list[Any], **variables: str) -> None:
    """Run a launcher of this project to its end."""
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, **variables})


def read_training(workspace: Path) -> dict[str, Any]:
    """Read what the record of a training found."""
    record = json.loads((workspace / "model" / "records" / "train.json").read_text())
    results: dict[str, Any] = record["results"]
    return results


def report(name: str, benchmark: Benchmark) -> None:
    """Run a benchmark, print its table and keep its values."""
    values = benchmark.measure()
    medians = {row: statistics.median(found) for row, found in values.items()}
    first = next(iter(medians.values()))
    print(f"{name} [{benchmark.unit}]: {(benchmark.measure.__doc__ or '').strip()}")
    for row, found in values.items():
        spread = f"{min(found):.4g} to {max(found):.4g}"
        print(f"  {row:<60} {medians[row]:8.4g}  ratio {medians[row] / first:.3f}  ({spread})", flush=True)
    commit, is_dirty = describe_code()
    result = {"benchmark": name, "unit": benchmark.unit, "values": values, "commit": commit, "is_dirty": is_dirty}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(
        json.dumps(result | {"environment": describe_environment([])}, indent=2) + "\n"
    )
