"""Training images as an array of a real Slurm: the file of one process, and only what is missing is done again."""

import os
from pathlib import Path

import pytest

from emdenoise.files.atomic import hash_file
from tests.cluster.jobs import is_ended, wait
from tests.container.engine import PARAMETERS, needs, run

pytestmark = [pytest.mark.cluster, needs("sbatch"), pytest.mark.usefixtures("slurm")]


def submit(workspace: Path, num_parts: str) -> list[str]:
    """Submit the parts and the download; returns the numbers of both jobs."""
    file = workspace / "tiny.parameters.yaml"
    file.write_text(PARAMETERS)
    environment = {**os.environ, "CPU_OPTIONS": f"--output={workspace}/%j.log"}
    done = run("run/slurm_parts.sh", file, workspace, num_parts, env=environment)
    assert done.returncode == 0, done.stderr
    names, jobs = zip(*map(str.split, done.stdout.splitlines()), strict=True)
    assert names == ("simulate-part", "download")
    with (workspace / "jobs").open("a") as known:
        known.write("\n".join([*jobs, ""]))
    return list(jobs)


def hash_images(raw_dir: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in raw_dir.rglob("*.h5")}


def read_logs(workspace: Path) -> str:
    return "\n".join(path.read_text() for path in workspace.glob("*.log"))


def test_two_parts_and_a_download_give_the_images_of_one_process(workspace: Path) -> None:
    parts, download = submit(workspace, "2")
    assert wait(download, is_ended)["JobState"] == "COMPLETED", read_logs(workspace)
    said = read_logs(workspace)
    for part in (1, 2):
        assert wait(f"{parts}_{part}", is_ended)["JobState"] == "COMPLETED"
        assert said.count(f"Part {part} of 2 (4 training images) is simulated.") == 1
    assert "graphene train: 8 of 8 images are from 2 parts." in said
    assert not list(workspace.glob("raw_data/graphene/*/parts"))
    done = run("run/bare.sh", "download", workspace / "bare", workspace / "tiny.parameters.yaml")
    assert done.returncode == 0, done.stderr
    assert hash_images(workspace / "raw_data") == hash_images(workspace / "bare" / "raw_data")
    before = {path: path.stat().st_mtime_ns for path in workspace.glob("raw_data/graphene/*/*.h5")}
    _, download = submit(workspace, "2")
    assert wait(download, is_ended)["JobState"] == "COMPLETED", read_logs(workspace)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert read_logs(workspace).count("are together already; nothing was simulated.") == 2


def test_a_part_that_fails_ends_with_its_exit_code_and_cancels_the_download(workspace: Path) -> None:
    parts, download = submit(workspace, "5")  # there are four specimens
    failed = wait(f"{parts}_5", is_ended)
    assert (failed["JobState"], failed["ExitCode"], failed["Restarts"]) == ("FAILED", "3:0", "0")
    assert "num_parts is 5; it must be from 1 to 4, the number of training specimens." in read_logs(workspace)
    assert wait(download, is_ended)["JobState"] == "CANCELLED"
