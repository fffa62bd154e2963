"""What the tests on a real Slurm share: that it answers, an image, and a workspace whose jobs end with the test."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.conftest import apptainer, bare_results, image
from tests.container.engine import run

__all__ = ["apptainer", "bare_results", "image"]  # fixtures


@pytest.fixture(scope="session")
def slurm() -> None:
    """Skip where no controller answers."""
    answer = run("sinfo", "--noheader")
    if answer.returncode != 0:
        pytest.skip(f"Slurm does not answer: {answer.stderr.strip()}")


@pytest.fixture(scope="session")
def sif(apptainer: dict[str, str]) -> Path:
    """Give an Apptainer image of this code."""
    return Path(apptainer["SIF"])


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """Give a workspace that is on all nodes, and end what the test left in the queue."""
    yield tmp_path
    for job in (tmp_path / "jobs").read_text().split() if (tmp_path / "jobs").exists() else []:
        subprocess.run(["scancel", job], check=False, capture_output=True)
