"""Jobs of a real Slurm: the numbers of the bare machine, also where a job is stopped and queues again."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from emdenoise.files.atomic import hash_file
from tests.cluster.jobs import is_ended, show, wait
from tests.container.engine import PARAMETERS, ROOT, needs, read_images, read_results, run

LONG = PARAMETERS.replace("epochs: 1", "epochs: 60")
pytestmark = [pytest.mark.cluster, needs("sbatch"), pytest.mark.usefixtures("slurm")]


def submit(workspace: Path, parameters: str, **environment: str) -> list[str]:
    """Submit a whole run; returns the numbers of its jobs."""
    file = workspace / "tiny.parameters.yaml"
    file.write_text(parameters)
    output = f"--output={workspace}/%j.log"
    options = {"CPU_OPTIONS": output, "GPU_OPTIONS": output, **environment}
    done = run("run/slurm.sh", workspace, file, env={**os.environ, **options})
    assert done.returncode == 0, done.stderr
    jobs = [line.split()[1] for line in done.stdout.splitlines()]
    (workspace / "jobs").write_text("\n".join(jobs))
    return jobs


def run_bare(folder: Path) -> Path:
    """Run the long training without Slurm."""
    folder.mkdir()
    (folder / "tiny.parameters.yaml").write_text(LONG)
    done = run("run/bare.sh", "download,preprocess,train,test", folder, folder / "tiny.parameters.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def test_two_jobs_that_wait_for_each_other_give_the_numbers_of_the_bare_machine(
    workspace: Path, bare_results: dict[str, Any]
) -> None:
    jobs = submit(workspace, PARAMETERS)
    states = [wait(job, is_ended)["JobState"] for job in jobs]
    assert states == ["COMPLETED", "COMPLETED"], "\n".join(path.read_text() for path in workspace.glob("*.log"))
    assert read_results(workspace) == bare_results
    assert not list((workspace / "logs").glob("*.done"))


@needs("docker")
@needs("apptainer")
def test_jobs_in_apptainer_give_the_numbers_of_the_bare_machine(
    workspace: Path, apptainer: dict[str, str], bare_results: dict[str, Any]
) -> None:
    jobs = submit(workspace, PARAMETERS, **apptainer)
    states = [wait(job, is_ended)["JobState"] for job in jobs]
    assert states == ["COMPLETED", "COMPLETED"], "\n".join(path.read_text() for path in workspace.glob("*.log"))
    assert read_images(workspace) == {f"sha256:{hash_file(Path(apptainer['SIF']))}"}
    assert read_results(workspace) == bare_results


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["USR1", "TERM"])
def test_a_job_that_is_told_to_stop_queues_again_and_ends_with_the_same_bits(signal: str, workspace: Path) -> None:
    first, second = submit(workspace, LONG)
    state = workspace / "model" / "checkpoint" / "state.json"
    wait(second, lambda job: state.exists() or is_ended(job))
    subprocess.run(["scancel", f"--signal={signal}", second], check=True)
    stopped = wait(second, lambda job: job["Restarts"] == "1" or is_ended(job))
    assert stopped["JobState"] in ("PENDING", "RUNNING"), (workspace / f"{second}.log").read_text()
    # Slurm starts it again after two minutes; earlier, its nodes would take the new job for the one that was ended.
    assert wait(second, is_ended)["JobState"] == "COMPLETED"
    log = (workspace / f"{second}.log").read_text()
    assert "the system asked for the end; the training is kept after" in log
    assert "An interrupted training of these settings is continued after" in log
    assert read_results(workspace) == read_results(run_bare(workspace / "bare"))
    assert show(first)["Restarts"] == "0"


def test_a_task_that_fails_ends_its_job_with_its_exit_code_and_cancels_the_next(workspace: Path) -> None:
    first, second = submit(workspace, "epochz: 3")
    failed = wait(first, is_ended)
    assert (failed["JobState"], failed["ExitCode"], failed["Restarts"]) == ("FAILED", "3:0", "0")
    assert "epochz is not a setting" in (workspace / f"{first}.log").read_text()
    assert wait(second, is_ended)["JobState"] == "CANCELLED"
    assert not (workspace / "model").exists()


def test_a_job_from_another_folder_is_one_line(workspace: Path) -> None:
    script = ROOT / "run" / "slurm.sbatch"
    output = workspace / "job.log"
    done = subprocess.run(["sbatch", "--wait", f"--output={output}", script, "train"], cwd=workspace, check=False)
    assert done.returncode == 2
    assert "submit from the project's folder" in output.read_text().splitlines()[-1]
