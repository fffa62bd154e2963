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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Part:
    """One process: what it measures, on which platform of JAX, and how long it may take [s]."""

    name: str
    limit_s: float
    platform: str | None = None
    variant: str = ""

    @property
    def key(self) -> str:
        """Its name in the JSON while it runs."""
        return f"{self.name} {self.variant}".strip()


PARTS = (
    Part("device", 60),
    Part("limit", 60),
    Part("target", 150),
    Part("agreement", 90, variant="accelerator"),
    Part("agreement", 60, variant="accelerator, default precision"),
    Part("agreement", 180, platform="cpu", variant="cpu"),
    Part("training", 300),
    Part("prediction", 240),
)
REFERENCE = "agreement cpu"


def main() -> None:
    """Run the parts that were asked for and write what they found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--small", action="store_true", help="a rehearsal: tiny images, networks and batches")
    parser.add_argument("--parts", default=",".join(dict.fromkeys(part.name for part in PARTS)))
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--seed", type=int, default=0, help="of the training of the part target")
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
            left_s = options.limit_s - (time.monotonic() - started)
            if part.name in wanted:
                run_part(part, Path(name), options, report, min(part.limit_s, left_s))
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


def run_part(part: Part, folder: Path, options: argparse.Namespace, report: dict[str, Any], limit_s: float) -> None:
    """Run one part in a process of its own; what it has found goes into the report at once."""
    found: dict[str, Any] = {}
    report["parts"][part.key] = found
    if limit_s <= 0:
        found["left_out"] = "no time was left"
        write_report(options.out_dir, report)
        return
    result = folder / f"{part.key}.json"
    variables = {"KERAS_BACKEND": "jax", "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    variables |= {} if part.platform is None else {"JAX_PLATFORMS": part.platform}
    script = Path(__file__).with_name("accelerator_parts.py")
    command = [
        sys.executable,
        script,
        part.name,
        part.variant,
        folder,
        result,
        f"{0.9 * limit_s:.0f}",
        str(options.seed),
    ]
    print(f"{part.key}: at most {limit_s:.0f} s", flush=True)
    started = time.monotonic()
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen([*command, *["--small"][: options.small]], env=os.environ | variables, stderr=log)
        while process.poll() is None and time.monotonic() - started < limit_s:
            time.sleep(POLL_S)
            update(found, result, options.out_dir, report)
        if process.poll() is None:
            process.kill()
            found["stopped_after_s"] = limit_s
        process.wait()
        update(found, result, options.out_dir, report)
        log.seek(0)
        lines = log.read().splitlines()
    found["duration_s"] = time.monotonic() - started
    if process.returncode:
        found["failed"] = [f"exit code {process.returncode}", *lines[-8:]]
        print("\n".join(lines[-30:]), flush=True)
    write_report(options.out_dir, report)


def update(found: dict[str, Any], result: Path, out_dir: Path, report: dict[str, Any]) -> None:
    """Take over what a part has written; writes the report where that is new."""
    content = json.loads(result.read_text()) if result.exists() else {}
    if any(found.get(name) != value for name, value in content.items()):
        found |= content
        write_report(out_dir, report)


def write_report(out_dir: Path, report: dict[str, Any]) -> None:
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
