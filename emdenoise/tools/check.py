"""`emdenoise check`: judges a package as an outsider would."""

import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emdenoise.errors import EXIT_REFUTED, EMDenoiseError, StorageError
from emdenoise.files.locks import hold_folders
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome
from emdenoise.tools.archive import open_package
from emdenoise.tools.verify import make_data, write_settings

if TYPE_CHECKING:
    from emdenoise.tools.packages import Submission

TEST_TIMEOUT_S = 3600
MISSED = "missed"
"""A run that did not reach the target."""
NOT_CONVERGED = "did not converge"
"""Runs of which two or more missed the target."""


@hold_folders(writes=("work_dir",))
def check(*, package_file: Path, work_dir: Path, progress: Progress) -> Outcome:
    """Judge a package: files, hashes, settings, seeds, clocks and logs, and its weights on images made here."""
    from emdenoise.tools.archive import extract_archive
    from emdenoise.tools.judging import judge_submission
    from emdenoise.tools.packages import read_submission
    from emdenoise.workloads import WORKLOADS
    from emdenoise.workloads.contract import check_division

    with open_package(work_dir) as folder:
        extract_archive(package_file, folder)
        submission, problems = read_submission(folder)
        if submission is not None:
            workload = WORKLOADS[submission.package.workload]
            problems += judge_submission(
                submission, workload.find_target, lambda config: check_division(config, workload)
            )
        if submission is None or problems:  # what is wrong already does not decide what this machine computes
            return _refuse([*problems, "its weights were not tested"])
        try:
            make_data(submission.runs[0].folder, work_dir, progress)
            for number, run in enumerate(submission.runs):
                progress.step("test weights", number, len(submission.runs), run.name)
                problems += [f"{run.name}: {problem}" for problem in _rescore(run.folder, work_dir)]
        except StorageError:
            raise  # a full disk of ours says nothing of the package
        except EMDenoiseError as error:
            problems.append(f"its images cannot be made: {error}")
        progress.step("test weights", len(submission.runs), len(submission.runs))
        return _refuse(problems) if problems else _accept(submission)


def _refuse(problems: list[str]) -> Outcome:
    rows = [[str(number), problem] for number, problem in enumerate(problems, start=1)]
    return Outcome(f"REFUSED: {len(problems)} problems.", [["", "problem"], *rows], exit_code=EXIT_REFUTED)


def _accept(submission: "Submission") -> Outcome:
    package, data = submission.package, submission.runs[0].config.data
    message = (
        f"ACCEPTED: nothing is wrong with the package. {package.organisation}, {package.workload}, "
        f"division {package.division}, source {data.source}, commit {package.commit[:12]}."
    )
    return Outcome(message, tabulate_runs(submission))


def tabulate_runs(submission: "Submission") -> list[list[str]]:
    """Make the table of an accepted package: score and time of each run, and the times by the rules.

    Parameters
    ----------
    submission : Submission

    Returns
    -------
    list of list of str
        Heading, one row a run, and the average: ``did not converge`` where two runs or more missed the target.
    """
    from emdenoise.results.mllog import average_times, measure_time_to_quality
    from emdenoise.tools.packing import make_events
    from emdenoise.workloads import WORKLOADS

    workload = WORKLOADS[submission.package.workload]
    target = workload.find_target(submission.runs[0].config)
    clock = "training [s]" if target is None else f"time to {target.describe()} [s]"
    rows = [["run", "seed", workload.main_metric, clock, "with staging [s]"]]
    times_s: list[tuple[float | None, float | None]] = []
    for run in submission.runs:
        time_s = measure_time_to_quality(make_events(run.records["train"], submission.system, target))
        staging_s = run.records["download"].duration_s + run.records["preprocess"].duration_s
        times_s.append((None, None) if time_s is None else (time_s, time_s + staging_s))
        score = run.scores["methods"]["network"][workload.main_metric]["mean"]
        shown = [MISSED if time_s is None else f"{time_s:.4g}" for time_s in times_s[-1]]
        rows.append([run.name, str(run.config.seed), "–" if score is None else f"{score:.4g}", *shown])
    averages_s = [average_times(clock) for clock in zip(*times_s, strict=True)]
    return [*rows, ["by the rules", "", "", *map(_show_average, averages_s)]]


def _show_average(time_s: float | None) -> str:
    if time_s is None:
        return "–"
    return f"{time_s:.4g}" if math.isfinite(time_s) else NOT_CONVERGED


def _rescore(run_dir: Path, work_dir: Path) -> list[str]:
    """Test the weights of a run on our own images; a process of its own meets what a stranger's file may do."""
    from emdenoise.results.task_record import copy_records, forget_record
    from emdenoise.tools.verdicts import compare_results

    own = work_dir / "runs" / run_dir.name
    parameters_file, data_dir, output_dir = write_settings(run_dir, own), work_dir / "data", own / "output"
    copy_records(run_dir, run_dir / "model")
    forget_record(run_dir / "model", "test")  # it would stand beside our results before there are any
    folders = {"data_dir": data_dir, "model_dir": run_dir / "model", "output_dir": output_dir, "log_dir": own / "logs"}
    options = [f"--{name}={path}" for name, path in ({"parameters_file": parameters_file} | folders).items()]
    command = [sys.executable, "-m", "emdenoise", "test", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TEST_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return [f"its weights were not tested within {TEST_TIMEOUT_S} s"]
    said = (done.stderr.strip().splitlines() or ["the process died"])[-1]
    if done.returncode == StorageError.exit_code:
        raise StorageError(said.removeprefix("emdenoise test: "))
    if done.returncode != 0:
        return [f"its weights cannot be tested: {said}"]
    findings = compare_results(run_dir, output_dir, data_dir, is_trained_again=False)
    return [f"{finding.part} is different: {finding.detail}" for finding in findings if finding.verdict == "different"]
