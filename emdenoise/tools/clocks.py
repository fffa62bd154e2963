"""Judging when things happened: clocks of tasks and epochs, the log of a training, and trainings side by side."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from emdenoise.results.mllog import check_log, format_log
from emdenoise.results.task_record import TaskRecord
from emdenoise.tools.packages import SubmittedRun, parse_json
from emdenoise.tools.packing import LOG_FILE, TASK_NAMES, SystemDescription, make_events
from emdenoise.training.targets import Target

CLOCK_SLACK_S = 2.0
"""By how much the sum of the parts may exceed the whole: rounding, and starting the clock."""
LINE_START = ":::MLLOG "
NOT_COMPARED = ("file", "lineno")
"""Of the metadata of a line: where in the code it was written."""


def judge_clock(run: SubmittedRun) -> Iterator[str]:
    """Find tasks and epochs whose times do not go together."""
    records = [run.records[task] for task in TASK_NAMES]
    for record in records:
        times_s = [record.duration_s, *record.phases_s.values()]
        if not all(0 <= time_s < math.inf for time_s in times_s):
            yield f"a clock of {record.task} shows no time"
        elif sum(record.phases_s.values()) > record.duration_s + CLOCK_SLACK_S:
            yield f"the parts of {record.task} take longer than the whole"
    starts = [read_start(record) for record in records]
    if None in starts:
        yield "a task has no time at which it started, with its time zone"
        return
    begun = [start for start in starts if start is not None]
    for before, after, start, next_start in zip(records, records[1:], begun, begun[1:], strict=False):
        if not next_start >= start + before.duration_s - CLOCK_SLACK_S:
            yield f"{after.task} started before {before.task} ended"
    train = run.records["train"]
    history = train.results["history"]
    yield from _judge_epochs(history, begun[2], begun[2] + train.duration_s)
    yield from _judge_pretraining(run)
    if [epoch["epoch"] for epoch in history] != list(range(1, len(history) + 1)) or not _is_whole(run):
        yield f"has {len(history)} of {run.config.training.epochs} epochs"
    best = train.results["best_epoch"]
    if best != (expected := _find_best(run)):
        yield f"has the weights of epoch {best}, which must be those of epoch {expected}"


def read_start(record: TaskRecord) -> float | None:
    """Read when a task started, in seconds since 1970; None where the record does not say it for all time zones."""
    try:
        started = datetime.fromisoformat(record.started_at)
        return None if started.tzinfo is None else started.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _judge_epochs(history: Sequence[dict[str, Any]], begun_s: float, ended_s: float) -> Iterator[str]:
    end_ms = begun_s * 1000
    for epoch in history:
        if epoch["started_at_ms"] < end_ms - 1000 * CLOCK_SLACK_S:
            yield f"epoch {epoch['epoch']} started before the one before it ended"
        end_ms = epoch["started_at_ms"] + 1000 * (epoch["train_s"] + epoch["validation_s"])
        if not math.isclose(epoch["images_per_second"] * epoch["train_s"], epoch["num_images"], rel_tol=1e-6):
            yield f"epoch {epoch['epoch']}: images, seconds and images/s do not agree"
    if end_ms > 1000 * (ended_s + CLOCK_SLACK_S):
        yield "the epochs end after the training"


def _judge_pretraining(run: SubmittedRun) -> Iterator[str]:
    """Find a pretraining whose clock does not count all of its epochs, or that the record of the training hides."""
    train, settings = run.records["train"], run.config.pretraining
    found = train.results.get("pretraining")
    if (found is None) != (settings.method == "none"):
        recorded = "no" if found is None else "a"
        yield f"pretraining.method is {settings.method}, and the record has {recorded} pretraining"
    if found is None:
        return
    history = found["history"]
    if [epoch["epoch"] for epoch in history] != list(range(1, settings.epochs + 1)):
        yield f"has {len(history)} of {settings.epochs} epochs of pretraining"
    if not math.isclose(found["duration_s"], measure_history(history), rel_tol=1e-6):
        yield "the pretraining takes another time than its epochs"
    if not found["is_reused"] and train.phases_s.get("pretrain", 0.0) < found["duration_s"] - CLOCK_SLACK_S:
        yield "the pretraining takes longer than its part of the training"


def measure_history(history: Sequence[dict[str, Any]]) -> float:
    """Add up the times of all epochs, with their validations [s]."""
    return math.fsum(epoch["train_s"] + epoch["validation_s"] for epoch in history)


def measure_pretraining(train: TaskRecord) -> float:
    """Give the time of a pretraining, which counts as if it came before the first step [s]; 0 without one."""
    return float(train.results.get("pretraining", {}).get("duration_s", 0.0))


def _is_whole(run: SubmittedRun) -> bool:
    """Say whether the epochs are as many as the settings want: all, or until the loss has not fallen for some."""
    settings, losses = run.config.training, _list_losses(run)
    if settings.early_stopping_epochs is None:
        return len(losses) == settings.epochs
    stalled = [
        number
        for number in range(1, len(losses) + 1)
        if number - 1 - losses.index(min(losses[:number])) >= settings.early_stopping_epochs
    ]
    return stalled == [len(losses)] or (not stalled and len(losses) == settings.epochs)


def _find_best(run: SubmittedRun) -> int:
    losses = _list_losses(run)
    if run.config.training.early_stopping_epochs is None or not losses:
        return len(losses)
    return losses.index(min(losses)) + 1


def _list_losses(run: SubmittedRun) -> list[float]:
    return [epoch["validation_loss"] for epoch in run.records["train"].results["history"]]


def judge_log(run: SubmittedRun, system: SystemDescription, target: Target | None) -> Iterator[str]:
    """Compare the log of a training with its record, and check it by the rules of MLPerf."""
    path = run.folder / LOG_FILE
    if not path.is_file():
        yield f"has no {LOG_FILE}: the training was interrupted or has no epochs"
        return
    try:
        expected = _read_lines(format_log(make_events(run.records["train"], system, target)))
        found = _read_lines(path.read_text(encoding="utf-8"))
        for problem in check_log(path):
            yield f"{LOG_FILE}: {problem}"
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        yield f"{LOG_FILE} cannot be compared with the record: {error}"
        return
    if found != expected:
        yield f"{LOG_FILE} does not follow from the record of the training"


def _read_lines(text: str) -> list[dict[str, Any]]:
    """Read the lines of a log, whole, but for where in the code they were written."""
    lines: list[dict[str, Any]] = [parse_json(line.removeprefix(LINE_START)) for line in text.splitlines()]
    for line in lines:
        line["metadata"] = {name: value for name, value in line["metadata"].items() if name not in NOT_COMPARED}
    return lines


def find_overlaps(runs: Sequence[SubmittedRun], system: SystemDescription) -> Iterator[str]:
    """Find trainings at the same time on a system of one node: none of them had the machine for itself."""
    if system.number_of_nodes > 1:
        return
    records = {run.name: run.records["train"] for run in runs}
    starts = {name: read_start(record) for name, record in records.items()}
    spans = sorted((start, records[name].duration_s, name) for name, start in starts.items() if start is not None)
    for (start, duration_s, name), (next_start, _, next_name) in pairwise(spans):
        if next_start < start + duration_s - CLOCK_SLACK_S:
            yield f"{next_name} was trained while {name} was, on a system of one node"
