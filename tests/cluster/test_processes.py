"""Training in several processes on the nodes of a real Slurm."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from emdenoise.results.task_record import read_record
from tests.cluster.jobs import is_ended, show, wait
from tests.cluster.test_slurm import submit
from tests.container.engine import needs, run

PARAMETERS = """
division: open
num_processes: {num_processes}
simulation: {{num_train: 16, num_validation: 5, num_test: 4, image_size_px: 64}}
model: {{name: dncnn, depth: 5, filters: 8}}  # as in tests/training/test_parallel.py
training: {{epochs: {epochs}, batch_size: 4, crop_size_px: 32, flip: true, optimizer: sgd, learning_rate: 0.02}}
evaluation: {{num_tuning_images: 1, baselines: [gaussian], num_latency_images: 10}}
"""
pytestmark = [pytest.mark.cluster, needs("sbatch"), pytest.mark.usefixtures("slurm")]


def write_parameters(num_processes: int, epochs: int = 2) -> str:
    return PARAMETERS.format(num_processes=num_processes, epochs=epochs)


def submit_processes(workspace: Path, parameters: str, **environment: str) -> list[str]:
    """Submit a whole run whose training has a process on each of two nodes."""
    options = f"--output={workspace}/%j.log --nodes=2 --ntasks=2"
    return submit(workspace, parameters, GPU_OPTIONS=options, **environment)


def train_alone(folder: Path, data: Path, backend: str) -> list[dict[str, Any]]:
    """Train in one process without Slurm on the same images; returns the figures of each epoch."""
    folder.mkdir()
    (folder / "data").symlink_to(data)
    (folder / "tiny.parameters.yaml").write_text(write_parameters(1))
    done = run(
        "run/bare.sh", "train", folder, folder / "tiny.parameters.yaml", env={**os.environ, "KERAS_BACKEND": backend}
    )
    assert done.returncode == 0, done.stderr
    return read_record(folder / "model", "train").results["history"]


def check_run(workspace: Path, job: str) -> list[dict[str, Any]]:
    """Check that the processes of a run ended with the same weights; returns the figures of each epoch."""
    log = (workspace / f"{job}.log").read_text()
    assert wait(job, is_ended)["JobState"] == "COMPLETED", log
    assert "in 2 processes" in log
    record = read_record(workspace / "model", "train")
    other = (workspace / "logs" / "train.1.log").read_text()
    found = re.findall("Process 1 of 2 ends with weights ([0-9a-f]+)", other)
    assert [record.outputs["weights"].startswith(weights) for weights in found] == [True]
    assert (workspace / "output" / "scores.json").is_file()
    return record.results["history"]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_nodes_have_the_losses_of_one_process(backend: str, workspace: Path) -> None:
    _, job = submit_processes(workspace, write_parameters(2), KERAS_BACKEND=backend)
    wait(job, is_ended)
    figures = check_run(workspace, job)
    expected = train_alone(workspace / "alone", workspace / "data", backend)
    for loss in ("loss", "validation_loss"):
        assert [epoch[loss] for epoch in figures] == pytest.approx([epoch[loss] for epoch in expected], rel=1e-5)


@needs("docker")
@needs("apptainer")
def test_two_nodes_train_in_apptainer(apptainer: dict[str, str], workspace: Path) -> None:
    _, job = submit_processes(workspace, write_parameters(2), **apptainer)
    wait(job, is_ended)
    check_run(workspace, job)
    assert read_record(workspace / "model", "train").environment["image"].startswith("sha256:")


@pytest.mark.slow
def test_a_job_of_two_nodes_that_is_told_to_stop_ends_with_the_bits_of_an_undisturbed_one(workspace: Path) -> None:
    runs = []
    for name in ("disturbed", "undisturbed"):
        folder = workspace / name
        folder.mkdir()
        _, job = submit_processes(folder, write_parameters(2, epochs=40))
        with (workspace / "jobs").open("a") as jobs:
            jobs.write(f"{job}\n")
        if name == "disturbed":
            state = folder / "model" / "checkpoint" / "state.json"
            wait(job, lambda found, state=state: state.exists() or is_ended(found))
            subprocess.run(["scancel", "--signal=USR1", job], check=True)
            wait(job, lambda found: found["Restarts"] == "1" or is_ended(found))
        wait(job, is_ended)
        assert show(job)["Restarts"] == ("1" if name == "disturbed" else "0"), (folder / f"{job}.log").read_text()
        check_run(folder, job)
        runs.append(read_record(folder / "model", "train"))
    assert runs[0].outputs == runs[1].outputs
    assert runs[0].results["num_continued_epochs"] > 0


def find_process(job: str, rank: int) -> int:
    """Find a process of a training by the variables that Slurm gave it."""
    wanted = {f"SLURM_JOB_ID={job}", f"SLURM_PROCID={rank}"}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            variables = set((folder / "environ").read_text(errors="replace").split("\0"))
        except OSError:
            continue
        if b"train" in command and b"python" in command[0] and wanted <= variables:
            return int(folder.name)
    raise AssertionError(f"no process {rank} of job {job}")


@pytest.mark.parametrize(
    ("rank", "backend"),
    [
        pytest.param(0, "tensorflow", marks=pytest.mark.slow),
        (1, "tensorflow"),
        pytest.param(1, "jax", marks=pytest.mark.slow),
    ],
)
def test_a_process_that_dies_ends_the_job_within_a_minute(rank: int, backend: str, workspace: Path) -> None:
    _, job = submit_processes(workspace, write_parameters(2, epochs=400), KERAS_BACKEND=backend)
    state = workspace / "model" / "checkpoint" / "state.json"
    wait(job, lambda found: state.exists() or is_ended(found))
    os.kill(find_process(job, rank), signal.SIGKILL)
    started = time.monotonic()
    ended = wait(job, is_ended)
    assert time.monotonic() - started < 60
    log = (workspace / f"{job}.log").read_text()
    assert ended["JobState"] == "FAILED", log
    assert "train ended with exit code" in log.splitlines()[-1]
    assert not (workspace / "model" / "model.json").exists()


def test_more_processes_than_the_settings_name_are_refused(workspace: Path) -> None:
    _, job = submit_processes(workspace, write_parameters(1))
    ended = wait(job, is_ended)
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "3:0")
    assert "num_processes is 1, the launcher started 2" in (workspace / f"{job}.log").read_text()
