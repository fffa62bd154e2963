"""Logs in the form of MLPerf: honest ones comply with MLCommons' own checker, and every way of breaking one is seen."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from emdenoise.config.schema import RunConfig
from emdenoise.results.mllog import (
    NUM_RUNS,
    RULES_FILE,
    Submitter,
    average_times,
    check_log,
    list_events,
    measure_time_to_quality,
    write_log,
)
from emdenoise.results.task_record import TaskRecord, read_record
from emdenoise.training.targets import Target

TARGET = Target("psnr_db", 26.0)
SUBMITTER = Submitter("Institute of Tests", "two cores", "research", num_nodes=1)
PSNR_DB = (-3.0, 20.0, 26.5)
Lines = list[dict[str, Any]]


@pytest.fixture
def train(write_run: Callable[..., Path], config: RunConfig) -> TaskRecord:
    """Give the record of a training of three epochs with validation PSNR -3, 20 and 26.5 dB."""
    record = read_record(write_run("train"), "train")
    start = 1_900_000_000_000
    history = [
        epoch | {"started_at_ms": start + 2600 * number, "num_images": 8, "validation_psnr_db": PSNR_DB[number]}
        for number, epoch in enumerate(record.results["history"])
    ]
    results = record.results | {"history": history, "num_validation_images": 4}
    return record.model_copy(update={"results": results, "started_at": "2030-03-17T17:46:30.000+00:00"})


@pytest.fixture
def log(train: TaskRecord, tmp_path: Path) -> Path:
    path = tmp_path / "result_0.txt"
    write_log(path, list_events(train, SUBMITTER, target=TARGET))
    return path


def read_lines(path: Path) -> Lines:
    return [json.loads(line.removeprefix(":::MLLOG ")) for line in path.read_text().splitlines()]


def write_lines(path: Path, lines: Lines) -> None:
    path.write_text("".join(f":::MLLOG {json.dumps(line)}\n" for line in lines))


def find(lines: Lines, key: str) -> dict[str, Any]:
    return next(line for line in lines if line["key"] == key)


def test_an_honest_log_complies(log: Path) -> None:
    assert check_log(log) == []


def test_the_checker_of_mlcommons_accepts_it_from_its_own_command_line(log: Path) -> None:
    command = [sys.executable, "-m", "mlperf_logging.compliance_checker", "--usage=hpc", "--ruleset=3.0.0"]
    done = subprocess.run(
        [*command, f"--config={RULES_FILE}", f"--log_output={log.parent / 'c.log'}", str(log)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout + done.stderr


def test_the_log_has_every_key_that_the_rules_of_mlperf_hpc_require_of_all_benchmarks(log: Path) -> None:
    required = {
        *("submission_org", "submission_platform", "submission_division", "submission_status", "submission_benchmark"),
        *("cache_clear", "init_start", "init_stop", "run_start", "run_stop", "epoch_start", "epoch_stop", "eval_start"),
        *("eval_stop", "train_samples", "eval_samples", "number_of_nodes", "accelerators_per_node"),
        *("global_batch_size", "opt_name", "opt_base_learning_rate", "seed"),
    }
    assert required <= {line["key"] for line in read_lines(log)}


def test_no_path_of_this_machine_is_in_the_log(log: Path) -> None:
    assert str(Path(__file__).parents[2]) not in log.read_text()


def test_the_clock_runs_from_the_start_of_the_run_to_the_epoch_that_reaches_the_target(train: TaskRecord) -> None:
    events = list_events(train, SUBMITTER, target=TARGET)
    assert measure_time_to_quality(events) == pytest.approx(2 * 2.6 + 2.5)
    early = list_events(train, SUBMITTER, target=replace(TARGET, value=20.0))
    assert measure_time_to_quality(early) == pytest.approx(2.6 + 2.5)
    assert sum(event.key == "epoch_start" for event in early) == 2


def test_a_run_that_misses_the_target_has_no_time_and_its_log_says_so(train: TaskRecord, tmp_path: Path) -> None:
    events = list_events(train, SUBMITTER, target=replace(TARGET, value=27.0))
    assert measure_time_to_quality(events) is None
    write_log(tmp_path / "log.txt", events)
    assert find(read_lines(tmp_path / "log.txt"), "run_stop")["metadata"]["status"] == "aborted"
    assert check_log(tmp_path / "log.txt") == []


def test_a_loss_reaches_no_target(train: TaskRecord) -> None:
    history = [{**epoch, "validation_loss": 0.0} for epoch in train.results["history"]]
    for epoch in history:
        del epoch["validation_psnr_db"]
    record = train.model_copy(update={"results": train.results | {"history": history}})
    assert measure_time_to_quality(list_events(record, SUBMITTER, target=TARGET)) is None


@pytest.mark.parametrize("target", [TARGET, Target("psnr_db", 1.0, is_larger_better=False), None])
def test_what_shall_be_large_is_called_accuracy_and_what_shall_be_small_error(
    target: Target | None, train: TaskRecord, tmp_path: Path
) -> None:
    events = list_events(train, SUBMITTER, target=target)
    judged = [event for event in events if event.key in ("eval_accuracy", "eval_error")]
    if target is TARGET:
        assert [(event.key, event.value) for event in judged] == [("eval_accuracy", value) for value in PSNR_DB]
    else:
        figure = "validation_loss" if target is None else target.quantity
        values = [epoch[figure] for epoch in train.results["history"]]
        assert [(event.key, event.value) for event in judged] == [("eval_error", value) for value in values][
            : len(judged)
        ]


@given(times_s=st.lists(st.floats(1, 1e4), min_size=NUM_RUNS, max_size=12), num_missed=st.integers(0, 12))
def test_missed_runs_are_infinitely_slow(times_s: list[float], num_missed: int) -> None:
    """One is dropped as the slowest, and two or more leave no time, however many others there are."""
    average_s = average_times([*times_s, *num_missed * [None]])
    assert average_s is not None
    if num_missed == 0:
        assert average_s == pytest.approx(trim_mean(times_s, 1.001 / len(times_s)))
    elif num_missed == 1:
        assert average_s == pytest.approx(np.mean(sorted(times_s)[1:]))
    else:
        assert math.isinf(average_s)


def test_missed_runs_count_as_runs_and_too_few_runs_have_no_time() -> None:
    assert average_times([1.0, 2.0, 3.0, 4.0, None]) == 3.0
    assert average_times([1.0, 2.0, 3.0, 4.0]) is None
    assert average_times(4 * [None]) is None


@pytest.mark.parametrize("changes", [{"history": []}, {"num_continued_epochs": 2}])
def test_a_training_without_a_clock_of_its_own_has_no_log(changes: dict[str, Any], train: TaskRecord) -> None:
    record = train.model_copy(update={"results": train.results | changes})
    with pytest.raises(ValueError, match="run it as a whole"):
        list_events(record, SUBMITTER, target=TARGET)


BREAK: dict[str, Callable[[Lines], object]] = {
    "cut off before the end": lambda lines: lines.__delitem__(slice(-1, None)),
    "without its start": lambda lines: lines.__delitem__(0),
    "an epoch left out": lambda lines: lines.remove(next(x for x in lines if x["metadata"].get("epoch_num") == 2)),
    "two seeds": lambda lines: lines.insert(1, find(lines, "seed") | {"value": 77}),
    "another benchmark": lambda lines: find(lines, "submission_benchmark").update(value="cosmoflow"),
    "an unknown division": lambda lines: find(lines, "submission_division").update(value="secret"),
    "nobody's": lambda lines: find(lines, "submission_org").update(value=""),
    "no error": lambda lines: [x.update(value=float("nan")) for x in lines if x["key"] == "eval_accuracy"],
    "a negative error": lambda lines: [
        x.update(key="eval_error", value=-1.0) for x in lines if x["key"] == "eval_accuracy"
    ],
    "never judged": lambda lines: lines.__setitem__(slice(None), [x for x in lines if x["key"] != "eval_accuracy"]),
    "given up": lambda lines: find(lines, "run_stop")["metadata"].update(status="given up"),
    "clock backwards": lambda lines: find(lines, "run_stop").update(time_ms=find(lines, "run_start")["time_ms"] - 1),
    "an epoch before it starts": lambda lines: find(lines, "epoch_stop").update(time_ms=0),
    "judged before it ends": lambda lines: lines.insert(3, find(lines, "eval_stop")),
    "no samples": lambda lines: find(lines, "train_samples").update(value=0),
}


@pytest.mark.parametrize("name", BREAK)
def test_a_log_that_was_changed_does_not_comply(name: str, log: Path) -> None:
    lines = read_lines(log)
    BREAK[name](lines)
    write_lines(log, lines)
    assert check_log(log)


def test_a_file_that_is_no_log_does_not_comply(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("nothing\n")
    assert "No log lines detected" in check_log(path)
    path.write_text(":::MLLOG {not json\n")
    assert "lines are no events" in check_log(path)[0]
