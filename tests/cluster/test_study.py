"""A study as an array of a real Slurm: the numbers of one process; what failed is done again, and nothing else."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emdenoise.files.atomic import hash_file
from tests.cluster.jobs import is_ended, show, wait
from tests.container.engine import needs, read_images, read_results, run

pytestmark = [pytest.mark.cluster, needs("sbatch"), pytest.mark.usefixtures("slurm")]
IMAGES = "{num_train: 8, num_validation: 4, num_test: 4, image_size_px: 64}"
EVALUATION = "{num_tuning_images: 1, baselines: [], num_latency_images: 10}"
SHARED = f"""
base:
  workload: segment
  division: open
  simulation: {IMAGES}
  training: {{epochs: 1, batch_size: 4, loss: dice_cross_entropy}}
  evaluation: {EVALUATION}
variants:
  trained: {{pretraining: {{method: denoise, epochs: 1, batch_size: 4}}}}
  frozen: {{pretraining: {{method: denoise, epochs: 1, batch_size: 4, encoder: frozen}}}}
seeds: [0, 1]
"""
LONG = f"""
base:
  division: open
  simulation: {IMAGES}
  training: {{epochs: 1, batch_size: 4}}
  evaluation: {EVALUATION}
variants:
  short: {{}}
  long: {{training: {{epochs: 100}}}}
seeds: [0, 1]
metric: psnr_db
"""


def submit(workspace: Path, study: str, **environment: str) -> dict[str, list[str]]:
    """Submit a study; returns the parts that each job does, by its number."""
    file = workspace / "tiny.study.yaml"
    file.write_text(study)
    options = dict.fromkeys(("CPU_OPTIONS", "GPU_OPTIONS"), f"--output={workspace}/%A_%a.log")
    done = run("run/slurm_study.sh", file, workspace / "study", env={**os.environ, **options, **environment})
    assert done.returncode == 0, done.stderr
    jobs = {job: parts for job, *parts in map(str.split, done.stdout.splitlines()[1:])}
    with (workspace / "jobs").open("a") as known:
        known.write("\n".join([*jobs, ""]))
    return jobs


def read_logs(workspace: Path) -> str:
    return "\n".join(path.read_text() for path in workspace.glob("*.log"))


def read_records(study: Path) -> dict[str, tuple[int, bytes]]:
    """Read the records of all tests, with the time of the last change of each, by run."""
    paths = study.glob("runs/*/output/records/test.json")
    return {path.parents[2].name: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def test_an_array_gives_the_numbers_of_one_process(workspace: Path, describe: Callable[[Path], dict[str, Any]]) -> None:
    jobs = submit(workspace, SHARED)
    first, second = ["trained-all-0", "trained-all-1"], ["frozen-all-0", "frozen-all-1"]
    assert list(jobs.values()) == [["images"], first, second, ["all"]]
    last = wait(list(jobs)[-1], is_ended)
    assert last["JobState"] == "COMPLETED", read_logs(workspace)
    alone = workspace / "alone"
    done = run("run/study.sh", "all", workspace / "tiny.study.yaml", alone)
    assert done.returncode == 0, done.stderr
    assert describe(workspace / "study") == describe(alone)
    assert len(list(workspace.glob("study/pretrained/*/model.json"))) == 2
    assert list(submit(workspace, SHARED).values()) == [["images"], ["all"]]


@pytest.mark.slow
def test_a_run_that_failed_is_done_again_alone_and_one_that_was_stopped_goes_on(workspace: Path) -> None:
    jobs = submit(workspace, LONG)
    _, runs, last = jobs
    assert jobs[runs] == ["short-all-0", "long-all-0", "short-all-1", "long-all-1"]
    study = workspace / "study"
    for index, options in ((1, []), (3, ["--signal=USR1"])):
        state = study / "runs" / jobs[runs][index] / "model" / "checkpoint" / "state.json"
        wait(last, lambda job, state=state: state.exists() or is_ended(job))
        subprocess.run(["scancel", *options, f"{runs}_{index}"], check=True)
    # The last element has the number of the whole array.
    stopped = wait(f"{runs}_3", lambda job: job["Restarts"] == "1" or is_ended(job))
    assert stopped["JobState"] in ("PENDING", "RUNNING"), read_logs(workspace)
    # It cannot succeed any more, since one of those that it needs was cancelled.
    assert wait(last, is_ended)["JobState"] == "CANCELLED"
    states = [(job["JobState"], job["Restarts"]) for job in (show(f"{runs}_{index}") for index in range(4))]
    assert states == [("COMPLETED", "0"), ("CANCELLED", "0"), ("COMPLETED", "0"), ("COMPLETED", "1")]
    assert "An interrupted training of these settings is continued after" in (workspace / f"{runs}_3.log").read_text()
    before = read_records(study)
    assert set(before) == {"short-all-0", "short-all-1", "long-all-1"}

    jobs = submit(workspace, LONG)
    assert list(jobs.values()) == [["images"], ["long-all-0"], ["all"]]
    assert wait(list(jobs)[-1], is_ended)["JobState"] == "COMPLETED", read_logs(workspace)
    after = read_records(study)
    assert set(after) - set(before) == {"long-all-0"}
    assert {name: after[name] for name in before} == before
    assert (study / "study.md").read_text().count("\n") == 2 + 2


@pytest.mark.slow
def test_a_study_in_apptainer_gives_the_numbers_of_the_bare_machine(workspace: Path, sif: Path) -> None:
    study = LONG.replace("epochs: 100", "epochs: 2").replace("[0, 1]", "[0]")
    environment = {"APPTAINER_NO_PRIVS": "1"} if os.geteuid() == 0 else {}
    jobs = submit(workspace, study, SIF=str(sif), **environment)
    assert list(jobs.values()) == [["images"], ["short-all-0", "long-all-0"], ["all"]]
    assert wait(list(jobs)[-1], is_ended)["JobState"] == "COMPLETED", read_logs(workspace)
    done = run("run/study.sh", "all", workspace / "tiny.study.yaml", workspace / "alone")
    assert done.returncode == 0, done.stderr
    for name in ("short-all-0", "long-all-0"):
        folders = [workspace / folder / "runs" / name for folder in ("study", "alone")]
        assert read_results(folders[0]) == read_results(folders[1])
        assert read_images(folders[0]) >= {f"sha256:{hash_file(sif)}"}


def test_a_wrong_study_file_is_one_line_and_no_job(workspace: Path) -> None:
    file = workspace / "tiny.study.yaml"
    file.write_text(LONG.replace("seeds", "seedz"))
    done = run("run/slurm_study.sh", file, workspace / "study")
    assert done.returncode == 3
    assert "seedz is not a setting; did you mean seeds?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
