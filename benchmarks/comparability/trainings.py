"""One training of one code: where it runs, what it leaves, and whether it was done before."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codes import Code
from images import read_stfc_images
from layers import compare_network
from ours import train_ours
from scores import measure_speed, score_run

from emdenoise.files.atomic import hash_file
from emdenoise.results.environment import describe_code
from emdenoise.sources.em_graphene_sim import FILES


@dataclass(frozen=True)
class Side:
    """One of the codes that are compared: what runs its training, None for ours."""

    name: str
    code: Code | None = None
    folder: Path | None = None
    command: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


def train_other(side: Side, settings: dict[str, Any]) -> dict[str, Any]:
    """Train by a public code in a process of its own; gives what was found."""
    work = Path(settings["work_dir"])
    log = work / "log.txt"
    with log.open("w") as file:
        done = subprocess.run(
            [*side.command, json.dumps(settings | {"code": str(side.folder)})],
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, **dict(side.variables)},
            cwd=work,
        )
    if done.returncode:
        last = (log.read_text().strip().splitlines() or ["nothing said"])[-1]
        if done.returncode < 0:
            last = f"stopped by signal {-done.returncode}, call again to go on"
        sys.exit(f"comparability: {side.name} failed: {last}; its log is {log}")
    found: dict[str, Any] = json.loads((work / "found.json").read_text())
    return found


def run(side: Side, settings: dict[str, Any], mirror: Path) -> dict[str, Any]:
    """Train one seed of one code, and score it."""
    images, work = Path(settings["images"]), Path(settings["work_dir"])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    found = train_ours(settings, mirror) if side.code is None else train_other(side, settings)
    scored = score_run(work, images, found["loss_by_epoch"])
    if side.code is not None:
        found["comparison_with_ours"] = compare_network(found["layers"], work / "probe.npz")
    num_images = len(read_stfc_images(images, "train", "clean"))
    return {
        "code": side.name,
        "commit": side.code.commit if side.code else describe_code()[0],
        "seed": settings["seed"],
        "images_per_second": measure_speed(found["epoch_s"], num_images),
        **found,
        **scored,
        "legacy": {**scored["legacy"], "printed_by_the_code": found["legacy"]},
    }


def hash_images(images: Path) -> str:
    """Compute one SHA-256 of the four files."""
    return hashlib.sha256("".join(hash_file(images / name) for name in FILES).encode()).hexdigest()


def is_done(path: Path, key: dict[str, Any]) -> bool:
    """Say whether a file holds a training with this recipe on these images."""
    if not path.exists():
        return False
    found = json.loads(path.read_text())
    return all(found.get(name) == value for name, value in key.items())
