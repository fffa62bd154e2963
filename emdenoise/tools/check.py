"""`emdenoise check`: judges a package as an outsider would."""

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emdenoise.errors import EXIT_REFUTED, DataError, EMDenoiseError, MissingInputError, StorageError
from emdenoise.files.atomic import open_scratch
from emdenoise.files.locks import hold_folders
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome
from emdenoise.tools.verify import make_data

if TYPE_CHECKING:
    from emdenoise.tools.packages import Submission

JUDGE_S = 600
"""For everything that can be seen without making images."""
PACKAGE = "package"
"""What the package is unpacked for, in the working folder."""
MISSED = "missed"
"""A run that did not reach the target."""
NOT_CONVERGED = "did not converge"
"""Runs of which two or more missed the target."""
CLOCK = "from the first step of training to the end of the epoch that reaches the target, with every validation"


@hold_folders(writes=("work_dir",))
def check(*, package_file: Path, work_dir: Path, progress: Progress) -> Outcome:
    """Judge a package: files, hashes, settings, seeds, clocks and logs, and its weights on images made here."""
    from emdenoise.tools.bounds import check_room
    from emdenoise.tools.weights import check_weights, find_isolation

    if not package_file.is_file():
        raise MissingInputError(f"{package_file.name}: no such package; give the file that the submit command wrote.")
    with open_scratch(work_dir / PACKAGE) as folder:
        submission, problems = _judge_files(package_file, folder)
        if submission is None or problems:  # what is wrong already does not decide what this machine computes
            return _refuse([*problems, "its weights were not tested"])
        check_room(submission.runs[0].config, work_dir)
        if not find_isolation():
            progress.say("This system does not let the weights be tested without a network (unshare).")
        try:
            make_data(submission.runs[0].folder, work_dir, progress)
            for number, run in enumerate(submission.runs):
                progress.step("test weights", number, len(submission.runs), run.name)
                problems += [f"{run.name}: {problem}" for problem in check_weights(run.folder, work_dir)]
        except StorageError:
            raise  # a full disk of ours says nothing of the package
        except EMDenoiseError as error:
            problems.append(f"its images cannot be made: {error}")
        progress.step("test weights", len(submission.runs), len(submission.runs))
        return _refuse(problems) if problems else _accept(submission, progress)


def _judge_files(package_file: Path, folder: Path) -> tuple["Submission | None", list[str]]:
    """Unpack and judge in the reading process, which bounds what a hostile file may cost."""
    from emdenoise.files.sandbox import call_sandboxed
    from emdenoise.tools.archive import extract_archive
    from emdenoise.tools.judging import judge_package

    name, num_bytes = package_file.name, package_file.stat().st_size
    remedy = "pack it again by the submit command"
    try:
        extract = partial(extract_archive, package_file, folder)
        call_sandboxed(extract, name=name, num_bytes=num_bytes, remedy=remedy)
        return call_sandboxed(partial(judge_package, folder), name=name, extra_s=JUDGE_S, remedy=remedy)
    except DataError as error:
        return None, [str(error)]


def _refuse(problems: list[str]) -> Outcome:
    rows = [[str(number), problem] for number, problem in enumerate(problems, start=1)]
    return Outcome(f"REFUSED: {len(problems)} problems.", [["", "problem"], *rows], exit_code=EXIT_REFUTED)


def _accept(submission: "Submission", progress: Progress) -> Outcome:
    package, data = submission.package, submission.runs[0].config.data
    for line in describe_rules(submission):
        progress.say(line)
    message = (
        f"ACCEPTED: nothing is wrong with the package. {package.organisation}, {package.workload}, "
        f"division {package.division}, source {data.source}, commit {package.commit[:12]}."
    )
    return Outcome(message, tabulate_runs(submission))


def describe_rules(submission: "Submission") -> list[str]:
    """Say by which target, against which baselines and with which clock a package was judged, a line each."""
    from emdenoise.tools.clocks import measure_pretraining
    from emdenoise.tools.judging import list_missed
    from emdenoise.workloads import WORKLOADS

    workload, runs, config = WORKLOADS[submission.package.workload], submission.runs, submission.runs[0].config
    target = workload.find_target(config)
    reached = f"reached by {len(runs) - len(list_missed(submission, workload))} of {len(runs)} runs"
    pretrained = ", and the pretraining" if any(measure_pretraining(run.records["train"]) for run in runs) else ""
    baselines = ", ".join(workload.choose_baselines(config)) or "none"
    compared = f"Baselines: {baselines}; tuned on {config.evaluation.num_tuning_images} validation images."
    if target is None:
        return [
            "Target: none for these images, so there is no time to quality.",
            compared,
            f"Clock: of the whole training{pretrained}; it is compared with nothing.",
        ]
    return [f"Target: {target.describe()}, {reached}.", compared, f"Clock: {CLOCK}{pretrained}."]


def tabulate_runs(submission: "Submission") -> list[list[str]]:
    """Make the table of an accepted package: score and time of each run, and the times by the rules.

    Parameters
    ----------
    submission : Submission

    Returns
    -------
    list of list of str
        Heading, one row a run, and the average: ``did not converge`` where two runs or more missed the target, nothing
        where there is no target.
    """
    from emdenoise.results.mllog import average_times, measure_time_to_quality
    from emdenoise.tools.clocks import measure_pretraining
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
        if time_s is not None:
            time_s += measure_pretraining(run.records["train"])
        times_s.append((None, None) if time_s is None else (time_s, time_s + staging_s))
        score = run.scores["methods"]["network"][workload.main_metric]["mean"]
        shown = [MISSED if time_s is None else f"{time_s:.4g}" for time_s in times_s[-1]]
        rows.append([run.name, str(run.config.seed), "–" if score is None else f"{score:.4g}", *shown])
    averages_s = [None if target is None else average_times(clock) for clock in zip(*times_s, strict=True)]
    return [*rows, ["by the rules", "", "", *map(_show_average, averages_s)]]


def _show_average(time_s: float | None) -> str:
    if time_s is None:
        return "–"
    return f"{time_s:.4g}" if math.isfinite(time_s) else NOT_CONVERGED
