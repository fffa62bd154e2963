"""The log of a training as MLPerf wants it (mlperf-logging), made from the record of the training.

Keys and their order are those of the HPC 3.0 rules; `rules.yaml` beside this module is the ruleset for the compliance
checker of MLCommons.
"""

import io
import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from emdenoise.files.atomic import write_atomically
from emdenoise.results.task_record import TaskRecord
from emdenoise.training.targets import Target

RULES_FILE = Path(__file__).with_name("rules.yaml")
NUM_RUNS = 5
"""Runs with seeds of their own that a time to quality needs, and the closed division asks for."""
BENCHMARK_OF_WORKLOAD = "emdenoise_{}"
Kind = Literal["start", "end", "event"]


@dataclass(frozen=True)
class Event:
    """One line of the log.

    Attributes
    ----------
    time_ms : int
        Since 1970, UTC [ms].
    kind : {'start', 'end', 'event'}
    key : str
        Of the rules of MLPerf.
    value : object
        JSON value.
    metadata : dict
        JSON values.
    """

    time_ms: int
    kind: Kind
    key: str
    value: object = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Submitter:
    """Who ran a training, and on what.

    Attributes
    ----------
    organisation, system : str
    status : str
        ``onprem``, ``cloud``, ``preview`` or ``research``.
    num_nodes : int
    """

    organisation: str
    system: str
    status: str
    num_nodes: int


def list_events(train: TaskRecord, submitter: Submitter, *, target: Target | None) -> list[Event]:
    """List what happened in a training, in order.

    Parameters
    ----------
    train : TaskRecord
        With at least one epoch, not continued after an interruption: the clock of a part is not the clock of the whole.
    submitter : Submitter
    target : Target or None
        What ends the run with success; None where the workload has no target yet: the run then ends with its last
        epoch.

    Returns
    -------
    list of Event

    Raises
    ------
    ValueError
        If there is no epoch, or the training was continued.
    """
    history = train.results.get("history", [])
    if not history or train.results.get("num_continued_epochs"):
        raise ValueError(f"the training has {len(history)} epochs, or was interrupted and continued; run it as a whole")
    facts = {
        "submission_org": submitter.organisation,
        "submission_platform": submitter.system,
        "submission_status": submitter.status,
        "number_of_nodes": submitter.num_nodes,
        **_collect_facts(train),
    }
    return list(_tell(train, history, facts, target))


def _collect_facts(train: TaskRecord) -> dict[str, object]:
    """Collect what the rules want to know of a training before it starts."""
    settings, training = train.settings, train.settings["training"]
    return {
        "submission_division": settings["division"],
        "submission_benchmark": BENCHMARK_OF_WORKLOAD.format(settings["workload"]),
        "cache_clear": True,
        "seed": settings["seed"],
        "accelerators_per_node": len(train.environment.get("accelerators", [])),
        "global_batch_size": training["batch_size"],
        "gradient_accumulation_steps": 1,
        "opt_name": training["optimizer"],
        "opt_base_learning_rate": training["learning_rate"],
        "opt_learning_rate_warmup_fraction": training["warmup_fraction"],
        "opt_learning_rate_decay_schedule": training["schedule"],
        "opt_weight_decay": training["weight_decay"] or 0.0,
        "train_samples": train.results["history"][0]["num_images"],
        "eval_samples": train.results["num_validation_images"],
    }


def _tell(
    train: TaskRecord, history: Sequence[dict[str, Any]], facts: dict[str, object], target: Target | None
) -> Iterator[Event]:
    started_ms = round(datetime.fromisoformat(train.started_at).timestamp() * 1000)
    run_started_ms = int(history[0]["started_at_ms"])
    yield Event(started_ms, "start", "init_start")
    for key, value in facts.items():
        yield Event(started_ms, "event", key, value)
    yield Event(run_started_ms, "end", "init_stop")
    yield Event(run_started_ms, "start", "run_start")
    judged = "validation_loss" if target is None else target.quantity
    key = "eval_accuracy" if target is not None and target.is_larger_better else "eval_error"
    for epoch in history:
        number = {"epoch_num": epoch["epoch"]}
        begun_ms = int(epoch["started_at_ms"])
        trained_ms = begun_ms + round(1000 * epoch["train_s"])
        judged_ms = trained_ms + round(1000 * epoch["validation_s"])
        yield Event(begun_ms, "start", "epoch_start", metadata=number)
        yield Event(trained_ms, "end", "epoch_stop", metadata=number)
        yield Event(trained_ms, "start", "eval_start", metadata=number)
        yield Event(judged_ms, "event", key, epoch.get(judged), number)
        yield Event(judged_ms, "end", "eval_stop", metadata=number)
        is_reached = target is not None and target.is_reached(epoch)
        if is_reached or epoch is history[-1]:
            status = "success" if is_reached or target is None else "aborted"
            yield Event(judged_ms, "end", "run_stop", metadata=number | {"status": status})
            return


def format_log(events: Sequence[Event]) -> str:
    """Write the lines of the log by mlperf-logging."""
    from mlperf_logging.mllog.mllog import MLLogger

    lines = io.StringIO()  # a logger keeps to itself that its disk is full
    logger = logging.Logger("mllog", logging.INFO)
    logger.addHandler(logging.StreamHandler(lines))
    log = MLLogger(logger, root_dir=re.escape(str(Path(__file__).parents[2])))
    for event in events:
        write = {"start": log.start, "end": log.end, "event": log.event}[event.kind]
        write(event.key, event.value, metadata=event.metadata, time_ms=event.time_ms)
    return lines.getvalue()


def write_log(path: Path, events: Sequence[Event]) -> None:
    """Write the log, whole or not at all.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    with write_atomically(path) as partial:
        partial.write_text(format_log(events), encoding="utf-8")


def check_log(path: Path) -> list[str]:
    """Check a log by MLCommons' compliance checker with the rules of this benchmark.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of str
        Problems; empty for a log that complies.
    """
    from mlperf_logging.compliance_checker import mlp_parser
    from mlperf_logging.compliance_checker.mlp_compliance import make_checker

    lines, errors = mlp_parser.parse_file(str(path), ruleset="3.0.0")
    if errors:
        return [f"{len(errors)} lines are no events: {errors[0][0][:60]}"]
    checker = make_checker("hpc", "3.0.0", quiet=True, werror=False)
    checker.check_loglines(lines, str(RULES_FILE))
    messages = [*checker.overwritable.values(), *checker.not_overwritable]
    return [message.splitlines()[0] for message in messages]


def measure_time_to_quality(events: Sequence[Event]) -> float | None:
    """Measure the time from the start of the run to its success [s]; None where it did not reach the target."""
    times = {event.key: event for event in events if event.key in ("run_start", "run_stop")}
    if times["run_stop"].metadata["status"] != "success":
        return None
    return (times["run_stop"].time_ms - times["run_start"].time_ms) / 1000


def average_times(times_s: Sequence[float | None]) -> float | None:
    """Average the times of several runs as MLPerf does: without the fastest and the slowest.

    A run that missed the target is infinitely slow: one of them is dropped as the slowest, and with two there is no
    time.

    Parameters
    ----------
    times_s : sequence of float or None
        Of all runs [s]; None for a run that missed the target.

    Returns
    -------
    float or None
        Infinite where two or more runs missed the target; None for fewer than five runs.

    Examples
    --------
    >>> average_times([9.0, 10.0, 11.0, 12.0, 90.0])
    11.0
    >>> average_times([9.0, 10.0, None, 11.0, 12.0]), average_times([9.0, None, None, 11.0, 12.0])
    (11.0, inf)
    """
    if len(times_s) < NUM_RUNS:
        return None
    kept = sorted(math.inf if time_s is None else time_s for time_s in times_s)[1:-1]
    return sum(kept) / len(kept)
