"""What the tests on a real Slurm share: that it answers, an image, and a workspace whose jobs end with the test."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.engine import run

TAG = "emdenoise:cluster"


@pytest.fixture(scope="session")
def slurm() -> None:
    """Skip where no controller answers."""
    answer = run("sinfo", "--noheader")
    if answer.returncode != 0:
        pytest.skip(f"Slurm does not answer: {answer.stderr.strip()}")


@pytest.fixture(scope="session")
def sif() -> Iterator[Path]:
    """Make an image of this code."""
    for command in ("docker", "apptainer"):
        if shutil.which(command) is None:
            pytest.skip(f"no {command} command")
    if run("docker", "info").returncode != 0:
        pytest.skip("no Docker engine answers")
    built = run("docker", "build", "--network=host", f"--tag={TAG}", ".")
    assert built.returncode == 0, built.stderr[-1000:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "emdenoise.sif"
        fast = "--mksquashfs-args=-comp zstd -Xcompression-level 3"
        made = run("apptainer", "build", fast, path, f"docker-daemon:{TAG}")
        run("docker", "image", "rm", TAG)
        assert made.returncode == 0, made.stderr[-1000:]
        yield path


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """Give a workspace that is on all nodes, and end what the test left in the queue."""
    yield tmp_path
    for job in (tmp_path / "jobs").read_text().split() if (tmp_path / "jobs").exists() else []:
        subprocess.run(["scancel", job], check=False, capture_output=True)
