"""How the tests in real containers run commands, and what they compare."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "emdenoise"
USER = 1234
HARDENED = (
    "--rm",
    "--network=none",
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
FAST = "--mksquashfs-args=-comp zstd -Xcompression-level 3"
TASKS = "download,preprocess,train,test"
PARAMETERS = """
division: open
simulation: {num_train: 8, num_validation: 4, num_test: 4, image_size_px: 64}
training: {epochs: 1, batch_size: 4}
evaluation: {num_tuning_images: 1, baselines: [gaussian], num_latency_images: 10}
"""


def needs(command: str) -> pytest.MarkDecorator:
    """Skip a test where a command is not installed."""
    return pytest.mark.skipif(shutil.which(command) is None, reason=f"no {command} command")


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder; returns its output as text."""
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False, **options)


def make_sif(sif: Path) -> dict[str, str]:
    """Make a SIF of the image where none is yet; returns the environment that names it for the launcher."""
    environment = dict(os.environ)
    if os.geteuid() == 0:
        environment["APPTAINER_NO_PRIVS"] = "1"
    if not sif.exists():
        result = run("apptainer", "build", FAST, sif, "build/apptainer.def", env=environment)
        assert result.returncode == 0, result.stderr
    return {**environment, "SIF": str(sif)}


def copy_checkout(folder: Path) -> Path:
    """Copy the project as it lies here, with what is not committed and without what git ignores."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    for name in filter(None, names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def read_images(workspace: Path) -> set[str]:
    """Read the image that each task ran in, by its record."""
    records = [json.loads(path.read_text()) for path in (workspace / "output" / "records").glob("*.json")]
    return {record["environment"]["image"] for record in records}


def find_image(engine: str = "docker", **options: Any) -> str:
    """Ask the engine for the hash of the image."""
    found = run(engine, "image", "inspect", IMAGE, "--format", "{{.Id}}", **options).stdout.strip()
    return f"sha256:{found.removeprefix('sha256:')}"


def read_results(workspace: Path) -> dict[str, Any]:
    """Read what must not depend on where it ran: hashes of data and weights, and the scores."""
    records = [json.loads((workspace / "output" / "records" / f"{task}.json").read_text()) for task in TASKS.split(",")]
    methods = json.loads((workspace / "output" / "scores.json").read_text())["methods"]
    for scores in methods.values():
        del scores["images_per_second"]
    return {"outputs": [record["outputs"] for record in records], "methods": methods}
