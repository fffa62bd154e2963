"""What an accelerator does with our networks in JAX: ``python benchmarks/accelerator.py OUT_DIR``.

`run/accelerator.sh` prepares the machine and calls it. Each part runs in a process of its own, so that one that crashes
or takes too long costs no other. Everything goes into ``accelerator.json``, which is written anew whenever a part has
something new. The training images are simulated here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerator_parts import FULL, SMALL, Sizes

from emdenoise.config.loading import load_config
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import MASK_LABELS
from emdenoise.dataset.record_file import write_records
from emdenoise.files.atomic import write_json
from emdenoise.results.environment import describe_code
from emdenoise.simulation.simulate import open_pool, simulate_split

LIMIT_S = 560.0
"""Of all parts together; what is not done by then is left out."""
POLL_S = 1.0

Report = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One process: what it measures, on which platform of JAX, and how long it may take [s]."""

    name: str
    limit_s: float
    platform: str | None = None
    variant: str = ""
    seed: int = 0

    @property
    def key(self) -> str:
        """Its name in the JSON while it runs."""
        return f"{self.name} {self.variant}".strip()


PARTS = (
    Part("device", 60),
    Part("limit", 60),
    Part("training", 300),
    Part("prediction", 240),
    Part("agreement", 90, variant="accelerator"),
    Part("agreement", 60, variant="accelerator, default precision"),
    Part("agreement", 180, platform="cpu", variant="cpu"),
    Part("target", 300),
)
REFERENCE = "agreement cpu"


@dataclass(frozen=True)
class Running:
    """A part that runs, and where it writes what it finds and what it complains of."""

    part: Part
    process: subprocess.Popen[bytes]
    result: Path
    log: Path


def main() -> None:
    """Run the parts that were asked for and write what they found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--small", action="store_true", help="a rehearsal: tiny images, networks and batches")
    parser.add_argument("--parts", default=",".join(dict.fromkeys(part.name for part in PARTS)))
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[0])
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := set(wanted) - {part.name for part in PARTS}:
        parser.error(f"--parts names {', '.join(sorted(unknown))}; known are {parser.get_default('parts')}")
    started = time.monotonic()
    options.out_dir.mkdir(parents=True, exist_ok=True)
    commit, is_dirty = describe_code()
    report: dict[str, Any] = {"commit": commit, "is_dirty": is_dirty, "is_small": options.small, "parts": {}}
    with tempfile.TemporaryDirectory() as name:
        report["simulation_s"] = simulate_files(Path(name), SMALL if options.small else FULL)
        for part in PARTS:
            if part.name not in wanted:
                continue
            together = [part]
            if part.name == "target":  # one training for each seed, all at a time
                together = [replace(part, variant=f"seed {seed}", seed=seed) for seed in options.seeds]
            left_s = options.limit_s - (time.monotonic() - started)
            run_parts(together, Path(name), options, report, min(part.limit_s, left_s))
    print(f"{options.out_dir / 'accelerator.json'} after {time.monotonic() - started:.0f} s", flush=True)


def simulate_files(folder: Path, sizes: Sizes) -> float:
    """Simulate the training and validation images of the default parameters file on all cores; gives the time [s]."""
    started = time.monotonic()
    config: RunConfig = load_config(Path("default"), sizes.data)
    attributes: dict[str, str | float] = {"source": "graphene", "mask_labels": json.dumps(list(MASK_LABELS))}
    with open_pool() as pool:
        for split in ("train", "validation"):
            records = simulate_split(config, split, pool)  # type: ignore[arg-type]
            write_records(folder / f"{split}.h5", records, attributes=attributes)
    return time.monotonic() - started


def run_parts(parts: list[Part], folder: Path, options: argparse.Namespace, report: Report, limit_s: float) -> None:
    """Run parts at the same time, each in a process of its own; what they have found goes into the report at once."""
    for part in parts:
        report["parts"][part.key] = {} if limit_s > 0 else {"left_out": "no time was left"}
    write_report(options.out_dir, report)
    if limit_s <= 0:
        return
    started = time.monotonic()
    running = [start_part(part, folder, limit_s, is_small=options.small) for part in parts]
    while any(one.process.poll() is None for one in running) and time.monotonic() - started < limit_s:
        time.sleep(POLL_S)
        update(running, options.out_dir, report)
    for one in running:
        found = report["parts"][one.part.key]
        if one.process.poll() is None:
            one.process.kill()
            found["stopped_after_s"] = limit_s
        found["duration_s"] = time.monotonic() - started
        if one.process.wait():
            lines = one.log.read_text().splitlines()
            found["failed"] = [f"exit code {one.process.returncode}", *lines[-8:]]
            print("\n".join(lines[-30:]), flush=True)
    update(running, options.out_dir, report)
    write_report(options.out_dir, report)


def start_part(part: Part, folder: Path, limit_s: float, *, is_small: bool) -> Running:
    """Start the process of a part."""
    result, log = folder / f"{part.key}.json", folder / f"{part.key}.log"
    variables = {
        "KERAS_BACKEND": "jax",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # parts at the same time share the memory
    }
    if part.platform is not None:
        variables["JAX_PLATFORMS"] = part.platform
    script = Path(__file__).with_name("accelerator_parts.py")
    command = [sys.executable, script, part.name, part.variant, folder, result, f"{0.9 * limit_s:.0f}", str(part.seed)]
    print(f"{part.key}: at most {limit_s:.0f} s", flush=True)
    with log.open("w") as file:
        process = subprocess.Popen([*command, *["--small"][:is_small]], env=os.environ | variables, stderr=file)
    return Running(part, process, result, log)


def update(running: list[Running], out_dir: Path, report: Report) -> None:
    """Take over what parts have written; writes the report where that is new."""
    is_new = False
    for one in running:
        found = report["parts"][one.part.key]
        content = json.loads(one.result.read_text()) if one.result.exists() else {}
        is_new = is_new or any(found.get(name) != value for name, value in content.items())
        found |= content
    if is_new:
        write_report(out_dir, report)


def write_report(out_dir: Path, report: Report) -> None:
    """Write the JSON, with the comparison of what the devices have learned so far."""
    parts = report["parts"]
    runs = {key: part for key, part in parts.items() if key.startswith("agreement ") and "networks" in part}
    compared = {
        key: compare(runs[REFERENCE]["networks"], part["networks"]) for key, part in runs.items() if REFERENCE in runs
    }
    write_json(out_dir / "accelerator.json", report | {"agreement": compared})


def compare(reference: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Compare the same run on two devices, network by network."""
    found: dict[str, Any] = {}
    for name in sorted(reference.keys() & other.keys()):
        pairs = list(zip(reference[name]["losses"], other[name]["losses"], strict=False))  # one may have been stopped
        differences = [abs(one - two) / abs(one) for one, two in pairs]
        found[name] = {
            "num_steps": len(pairs),
            "first_relative_difference": differences[0],
            "largest_relative_difference": max(differences),
        }
        if "psnr_db" in reference[name] and "psnr_db" in other[name]:
            found[name]["psnr_difference_db"] = other[name]["psnr_db"] - reference[name]["psnr_db"]
    return found


if __name__ == "__main__":
    main()
