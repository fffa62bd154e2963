"""Judging a package as an outsider: everything that can be seen without running the network.

Each check adds its problems to one list; none of them trusts another.
"""

import json
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from emdenoise import __version__
from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig
from emdenoise.errors import SettingsError
from emdenoise.evaluation.conditions import CONDITIONS
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.files.atomic import hash_file
from emdenoise.results.mllog import NUM_RUNS, check_log
from emdenoise.results.tables import summarise_scores
from emdenoise.sources import SOURCES
from emdenoise.tools.packages import Submission, SubmittedRun
from emdenoise.tools.packing import (
    LOG_FILE,
    MODEL_FILES,
    TASK_NAMES,
    Package,
    SystemDescription,
    make_events,
    name_folder,
)
from emdenoise.training.targets import Target

CLOCK_SLACK_S = 2.0
"""By how much the sum of the parts may exceed the whole: rounding, and starting the clock."""


def judge_submission(
    submission: Submission,
    find_target: Callable[[RunConfig], Target | None],
    check_division: Callable[[RunConfig], None],
) -> list[str]:
    """List everything that is wrong with a package, as far as its files tell.

    Parameters
    ----------
    submission : Submission
    find_target : callable
        Gives what a run must reach, or None.
    check_division : callable
        Raises `SettingsError` where a run does not keep the rules of its division.

    Returns
    -------
    list of str
        One problem each; empty for an honest package.
    """
    package, runs = submission.package, submission.runs
    problems = []
    if package.emdenoise_version.split(".")[:2] != __version__.split(".")[:2]:
        problems.append(
            f"made with EMDenoise {package.emdenoise_version}; this is {__version__}, scores do not compare"
        )
    needed = NUM_RUNS if package.division == "closed" else 1
    if len(runs) < needed:
        problems.append(f"{len(runs)} whole runs; division {package.division} needs {needed}")
    for run in runs:
        found, stated = (
            len(run.records["train"].environment.get("accelerators") or []),
            submission.system.accelerators_per_node,
        )
        if found != stated:
            problems.append(f"{run.name}: {found} accelerators, the system has {stated}")
    if (
        submission.system.submitter != package.organisation
        or name_folder(submission.system.system_name) != package.system
    ):
        problems.append("the system description is of another organisation or system")
    problems += _compare_runs(runs)
    for run in runs:
        checks = (
            _judge_settings(run, package, check_division),
            _judge_chain(run),
            _judge_scores(run),
            _judge_clock(run),
            _judge_log(run, submission.system, find_target(run.config)),
        )
        problems += [f"{run.name}: {problem}" for check in checks for problem in check]
    return problems


def _compare_runs(runs: list[SubmittedRun]) -> Iterator[str]:
    """Find runs that are no runs of their own."""
    own: dict[str, Callable[[SubmittedRun], object]] = {
        "the seed": lambda run: run.config.seed,
        "the weights": lambda run: run.records["train"].outputs.get("weights"),
        "the start of the training": lambda run: run.records["train"].started_at,
    }
    for what, read in own.items():
        seen: dict[object, str] = {}
        for run in runs:
            other = seen.setdefault(read(run), run.name)
            if other != run.name:
                yield f"{run.name} has {what} of {other}"
    shared: dict[str, Callable[[SubmittedRun], object]] = {
        "settings": lambda run: hash_settings(run.config.model_copy(update={"seed": 0})),
        "commit": lambda run: run.records["train"].commit,
        "processor": lambda run: str(run.records["train"].environment.get("cpu_model")),
        "test images": lambda run: run.records["test"].inputs.get("test.h5"),
    }
    for what, read in shared.items():
        if len({read(run) for run in runs}) > 1:
            yield f"the runs differ in {what}"


def _judge_settings(run: SubmittedRun, package: Package, check_division: Callable[[RunConfig], None]) -> Iterator[str]:
    config = run.config
    if config.division != package.division or config.workload != package.workload:
        yield f"is of division {config.division} and workload {config.workload}"
    try:
        check_division(config)
    except SettingsError as error:
        yield str(error)
    tested = run.records["test"]
    for task, record in run.records.items():
        # A study makes its images once, with the settings of its first run.
        sections = ("data", "simulation") if task in ("download", "preprocess") else tuple(tested.settings)
        if any(record.settings.get(section) != tested.settings.get(section) for section in sections):
            yield f"{task} ran with other settings than test"
        if record.emdenoise_version != package.emdenoise_version:
            yield f"{task} ran with EMDenoise {record.emdenoise_version}"
        if record.commit != package.commit or record.commit == "unknown":
            yield f"{task} ran with commit {record.commit[:12]}, the package names {package.commit[:12]}"
        if record.is_dirty:
            yield f"{task} ran with files that differ from their commit"
    is_simulated = SOURCES[config.data.source].simulate is not None
    if config.data.mirror is not None and config.division == "closed" and is_simulated:
        yield f"data.mirror is set; the images of source {config.data.source} are simulated"
    is_hidden = "(path " in (config.data.mirror or "")  # a path of the submitter's machine, which is in no record
    if hash_settings(config) != tested.settings_sha256 and not is_hidden:
        yield "the hash of its settings is not that of its settings"


def _judge_chain(run: SubmittedRun) -> Iterator[str]:
    """Follow the hashes from the images to the scores."""
    records = run.records
    if records["preprocess"].inputs != records["download"].outputs:
        yield "preprocess read other files than download left"
    made = records["preprocess"].outputs
    learned = {"train.h5"} & set(records["test"].inputs)  # by classical methods
    for task, names in (("train", ("train.h5", "validation.h5")), ("test", (*learned, "validation.h5", "test.h5"))):
        for name in names:
            if records[task].inputs.get(name) != made.get(name) or name not in made:
                yield f"{task} read another {name} than preprocess wrote"
    if len(set(made.values())) < len(made):
        yield "two of the files for training, validation and test are the same: trained on test images"
    if set(records["train"].inputs) - {"train.h5", "validation.h5"}:
        yield "train read more than training and validation images"
    weights = records["train"].outputs.get("weights")
    description = _read_description(run.folder)
    if (
        weights is None
        or records["test"].inputs.get("weights") != weights
        or description.get("weights_sha256") != weights
    ):
        yield "weights, training and test do not belong together"
    if description.get("file_sha256") != hash_file(run.folder / "model" / MODEL_FILES[1]):
        yield f"{MODEL_FILES[1]} is not the file that {MODEL_FILES[0]} names"


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "model" / MODEL_FILES[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _judge_scores(run: SubmittedRun) -> Iterator[str]:
    """Average the scores of the images again."""
    per_image = run.records["test"].results.get("per_image", {})
    specimens = run.records["test"].results.get("specimens", [])
    if not per_image.get("network") or not specimens:
        yield "the record of the test has no scores of images"
        return
    for method, metrics in per_image.items():
        for metric, values in metrics.items():
            if len(values) != len(specimens):
                yield f"{method} {metric} has {len(values)} images of {len(specimens)}"
                return
    methods = {
        name: ImageScores(
            {
                metric: np.array([np.nan if value is None else value for value in values])
                for metric, values in metrics.items()
            },
            images_per_second=_read_speed(run.scores, name),
        )
        for name, metrics in per_image.items()
    }
    results = run.records["test"].results
    expected = summarise_scores(run.config, methods, specimens, **{name: results.get(name) for name in CONDITIONS})
    if expected != run.scores:
        wrong = [
            name for name in expected["methods"] if expected["methods"][name] != run.scores.get("methods", {}).get(name)
        ]
        wrong += [part for part in ("differences", "by_dose", "by_class") if expected[part] != run.scores.get(part)]
        yield f"scores.json does not follow from the scores of the images{': ' + ', '.join(wrong) if wrong else ''}"


def _read_speed(scores: dict[str, Any], name: str) -> float:
    """Read the speed of a method; infinite, which is written as null, where it is no positive number."""
    rate = scores["methods"].get(name, {}).get("images_per_second")
    return float(rate) if isinstance(rate, int | float) and rate > 0 else math.inf


def _judge_clock(run: SubmittedRun) -> Iterator[str]:
    records = [run.records[task] for task in TASK_NAMES]
    for record in records:
        if sum(record.phases_s.values()) > record.duration_s + CLOCK_SLACK_S:
            yield f"the parts of {record.task} take longer than the whole"
    try:
        starts = [datetime.fromisoformat(record.started_at).timestamp() for record in records]
    except ValueError:
        yield "a task has no time at which it started"
        return
    for before, after, begun, next_begun in zip(records, records[1:], starts, starts[1:], strict=False):
        if next_begun < begun + before.duration_s - CLOCK_SLACK_S:
            yield f"{after.task} started before {before.task} ended"
    history = run.records["train"].results.get("history", [])
    end = starts[2] * 1000
    for epoch in history:
        if epoch["started_at_ms"] < end - 1000 * CLOCK_SLACK_S or min(epoch["train_s"], epoch["validation_s"]) < 0:
            yield f"epoch {epoch['epoch']} started before the one before it ended"
        end = epoch["started_at_ms"] + 1000 * (epoch["train_s"] + epoch["validation_s"])
        if not math.isclose(epoch["images_per_second"] * epoch["train_s"], epoch["num_images"], rel_tol=1e-6):
            yield f"epoch {epoch['epoch']}: images, seconds and images/s do not agree"
    if end > 1000 * (starts[2] + records[2].duration_s + CLOCK_SLACK_S):
        yield "the epochs end after the training"
    training = run.config.training
    is_whole = len(history) == training.epochs or (training.early_stopping_epochs and len(history) < training.epochs)
    if [epoch["epoch"] for epoch in history] != list(range(1, len(history) + 1)) or not is_whole:
        yield f"has {len(history)} of {training.epochs} epochs"


def _judge_log(run: SubmittedRun, system: SystemDescription, target: Target | None) -> Iterator[str]:
    path = run.folder / LOG_FILE
    if not path.is_file():
        yield f"has no {LOG_FILE}: the training was interrupted or has no epochs"
        return
    try:
        for problem in check_log(path):
            yield f"{LOG_FILE}: {problem}"
        events = make_events(run.records["train"], system, target)
        expected = [(event.time_ms, event.key, event.value, event.metadata) for event in events]
        lines = [json.loads(line.removeprefix(":::MLLOG ")) for line in path.read_text(encoding="utf-8").splitlines()]
        found = [
            (
                line["time_ms"],
                line["key"],
                line["value"],
                {k: v for k, v in line["metadata"].items() if k not in ("file", "lineno")},
            )
            for line in lines
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{LOG_FILE} cannot be compared with the record: {error}"
        return
    if found != expected:
        yield f"{LOG_FILE} does not follow from the record of the training"
