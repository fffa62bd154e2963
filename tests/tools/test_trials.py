"""The journal of a search: several workers take different trials, and a trial whose process was killed goes on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from emdenoise.config.searches import SearchConfig
from emdenoise.errors import SettingsError
from emdenoise.tools.trials import JOURNAL_FILE, MAX_STARTS, WAS_KILLED, Journal, PrunedError, Space

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "training.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "training.optimizer": {"choices": ["adam", "sgd"]},
    "training.beta_2": {"low": 0.9, "high": 0.99, "when": {"training.optimizer": "adam"}},
    "model.filters": {"choices": [[4], [8, 16]]},
    "training.epochs": {"low": 2, "high": 10, "step": 4},
}
FIRST = {
    "training.learning_rate": 0.01,
    "training.optimizer": "sgd",
    "model.filters": [8, 16],
    "training.epochs": 6,
}
WORKER = """
import json, sys, time
from pathlib import Path
from tests.tools.test_trials import make_space
from emdenoise.tools.trials import Journal

journal = Journal(make_space(trials=int(sys.argv[2])), Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
while True:
    with journal.begin_trial() as trial:
        if trial is None:
            break
        trial.report([1.0])
        print(json.dumps([trial.number, trial.chosen]), flush=True)
        if sys.argv[3] == "hangs":
            time.sleep(600)
        time.sleep(0.05)
        trial.complete([trial.chosen["training.learning_rate"]])
"""
"""A worker whose score is the learning rate; or one that takes a trial and does not come back."""
Start = Callable[..., subprocess.Popen[str]]

pytest.importorskip("optuna", reason="the extra search is not installed")


def make_space(**changes: Any) -> Space:
    values = {"parameters_file": "smoke", "trials": 3, "warmup_trials": 1, "settings": SETTINGS} | changes
    search = SearchConfig.model_validate_json(json.dumps(values))
    return Space(search, frozenset({"training.epochs"}), FIRST, "a hash", is_larger_better=True)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a worker of the search in `tmp_path`, which waits for a line before it begins."""
    workers: list[subprocess.Popen[str]] = []

    def start_worker(num_trials: int, way: str = "works") -> subprocess.Popen[str]:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(num_trials), way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        workers.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        return worker

    yield start_worker
    for worker in workers:
        worker.kill()
        worker.communicate()


def go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def complete(journal: Journal, value: Callable[[Any], float]) -> list[int]:
    """Do all trials that are left; returns their numbers."""
    numbers = []
    while True:
        with journal.begin_trial() as trial:
            if trial is None:
                return numbers
            numbers.append(trial.number)
            trial.complete([value(trial)])


def test_the_first_trial_is_the_parameters_file_and_all_keep_to_ranges_and_conditions(tmp_path: Path) -> None:
    journal = Journal(make_space(trials=12), tmp_path)
    assert complete(journal, lambda trial: trial.number) == list(range(12))
    found = journal.list_trials()
    assert found[0].chosen == FIRST
    for trial in found:
        assert 0.001 <= trial.chosen["training.learning_rate"] <= 0.1
        assert ("training.beta_2" in trial.chosen) == (trial.chosen["training.optimizer"] == "adam")
        assert trial.chosen["model.filters"] in ([4], [8, 16])
        assert trial.chosen["training.epochs"] in (2, 6, 10)
    assert {trial.chosen["training.optimizer"] for trial in found} == {"adam", "sgd"}
    assert journal.find_best() == [11]


def test_values_follow_from_the_seed(tmp_path: Path) -> None:
    chosen = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        journal = Journal(make_space(seed=seed), tmp_path / name)
        complete(journal, lambda trial: trial.number)
        chosen.append([trial.chosen for trial in journal.list_trials()])
    assert chosen[0] == chosen[1] != chosen[2]
    assert len({str(one) for one in chosen[0]}) == 3


@pytest.mark.long
def test_two_workers_share_the_trials_and_none_is_done_twice(tmp_path: Path, start: Start) -> None:
    workers = [start(8), start(8)]
    for worker in workers:
        go(worker)
    lines = [worker.communicate()[0].splitlines() for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    done = [[json.loads(line)[0] for line in own] for own in lines]
    assert sorted(done[0] + done[1]) == list(range(8))
    assert all(done)
    found = Journal(make_space(trials=8), tmp_path).list_trials()
    assert [trial.state for trial in found] == 8 * ["complete"]
    assert all(trial.values == (trial.chosen["training.learning_rate"],) for trial in found)
    assert len({trial.values for trial in found}) == 8


@pytest.mark.long
def test_a_trial_whose_process_was_killed_goes_on_with_its_values_and_one_that_lives_is_left_alone(
    tmp_path: Path, start: Start
) -> None:
    worker = start(3, "hangs")
    go(worker)
    assert worker.stdout is not None
    number, chosen = json.loads(worker.stdout.readline())
    journal = Journal(make_space(), tmp_path)
    with journal.begin_trial() as other:
        assert other is not None
        assert other.number != number
        other.complete([0.5])
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    with journal.begin_trial() as again:
        assert again is not None
        assert (again.number, json.loads(json.dumps(again.chosen))) == (number, chosen)
        again.report([1.0, 2.0])
        again.complete([0.7])
    assert complete(journal, lambda trial: 0.1) == [2]
    found = journal.list_trials()
    assert [trial.state for trial in found] == 3 * ["complete"]
    assert [trial.facts["starts"] for trial in found] == [2, 1, 1]
    assert found[number].num_epochs == 2


def test_a_trial_that_brings_its_process_down_each_time_is_given_up(tmp_path: Path) -> None:
    for _ in range(MAX_STARTS):
        with Journal(make_space(trials=1), tmp_path).begin_trial() as trial:  # which nobody ends
            assert trial is not None
            assert trial.number == 0
    journal = Journal(make_space(trials=1), tmp_path)
    with journal.begin_trial() as trial:
        assert trial is None
    (found,) = journal.list_trials()
    assert (found.state, found.facts["reason"]) == ("failed", WAS_KILLED)


def test_a_trial_that_ends_just_before_its_worker_lets_go_is_not_taken_for_an_abandoned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Journal(make_space(trials=2), tmp_path) for _ in range(2))
    hold = Journal._hold_trial
    with ExitStack() as stack:
        trial = stack.enter_context(first.begin_trial())
        assert trial is not None

        def end_and_hold(journal: Journal, number: int, own: ExitStack) -> None:
            if number == 0:
                trial.complete([1.0])
                stack.close()
            hold(journal, number, own)

        monkeypatch.setattr(Journal, "_hold_trial", end_and_hold)
        with second.begin_trial() as other:
            assert other is not None
            assert other.number == 1
            other.complete([2.0])
    assert [found.facts["starts"] for found in second.list_trials()] == [1, 1]


def test_the_half_of_a_line_that_a_full_disk_left_is_removed(tmp_path: Path) -> None:
    complete(Journal(make_space(trials=2), tmp_path), lambda trial: trial.number)
    with (tmp_path / JOURNAL_FILE).open("ab") as file:
        file.write(b'{"op_code":5,"worker')
    journal = Journal(make_space(trials=3), tmp_path)
    assert complete(journal, lambda trial: trial.number) == [2]
    assert [trial.state for trial in Journal(make_space(trials=3), tmp_path).list_trials()] == 3 * ["complete"]


def test_a_trial_worse_than_the_median_ends_early_but_not_while_it_warms_up(tmp_path: Path) -> None:
    journal = Journal(make_space(trials=3, warmup_trials=2), tmp_path)
    for value in (10.0, 11.0):
        with journal.begin_trial() as trial:
            assert trial is not None
            trial.report([value, value])
            trial.complete([value])
    with journal.begin_trial() as trial:
        assert trial is not None
        trial.report([1.0])  # after the first epoch none ends
        with pytest.raises(PrunedError):
            trial.report([1.0, 2.0])
        trial.prune()
    pruned = journal.list_trials()[2]
    assert (pruned.state, pruned.values, pruned.num_epochs) == ("pruned", (), 2)
    assert journal.find_best() == [1]


@pytest.mark.parametrize("changes", [{"prune": False}, {"speed": True}])
def test_no_trial_ends_early_where_the_search_says_so_or_speed_counts(tmp_path: Path, changes: dict[str, Any]) -> None:
    journal = Journal(make_space(trials=3, warmup_trials=1, **changes), tmp_path)
    for value in (10.0, 11.0, 1.0):
        with journal.begin_trial() as trial:
            assert trial is not None
            trial.report([value, value, value])
            trial.complete([value, 100 - value] if "speed" in changes else [value])
    assert [trial.state for trial in journal.list_trials()] == 3 * ["complete"]
    assert journal.find_best() == ([1, 0, 2] if "speed" in changes else [1])


def test_the_setting_that_decides_the_score_has_the_largest_share(tmp_path: Path) -> None:
    journal = Journal(make_space(trials=20), tmp_path)
    complete(journal, lambda trial: trial.chosen["training.epochs"] + 0.01 * trial.chosen["training.learning_rate"])
    shares = journal.weigh_settings(0)
    assert next(iter(shares)) == "training.epochs"
    assert shares["training.epochs"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert "training.beta_2" not in shares  # which not all trials have


def test_without_two_scores_no_setting_has_a_share(tmp_path: Path) -> None:
    journal = Journal(make_space(trials=2), tmp_path)
    assert journal.weigh_settings(0) == {}
    complete(journal, lambda trial: 1.0)
    assert journal.weigh_settings(0) == {}


def test_trials_of_another_search_are_refused_in_one_line(tmp_path: Path) -> None:
    space = make_space()
    Journal(space, tmp_path)
    other = Space(space.search, space.whole_numbers, space.first, "another hash", is_larger_better=True)
    with pytest.raises(SettingsError, match=r"holds trials of another search: .*; give another --search_dir") as caught:
        Journal(other, tmp_path)
    assert "\n" not in str(caught.value)
