"""Which of several processes this one is: by each launcher's variables, and in one line where these are wrong."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.cli import main
from emdenoise.errors import SettingsError
from emdenoise.processes import ALONE, ProcessGroup, find_processes

WORKERS = {"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 2}}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ALONE),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, ALONE),  # the script of a job is no step of it
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}, ProcessGroup(3, 4)),
        ({"JAX_PROCESS_ID": "1", "JAX_NUM_PROCESSES": "2"}, ProcessGroup(1, 2)),
        ({"TF_CONFIG": json.dumps(WORKERS)}, ProcessGroup(2, 3)),
        # Who started the processes inside a step of Slurm knows better.
        ({"TF_CONFIG": json.dumps(WORKERS), "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, ProcessGroup(2, 3)),
    ],
)
def test_the_launcher_is_believed(variables: dict[str, str], expected: ProcessGroup) -> None:
    assert find_processes(variables) == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"TF_CONFIG": "nonsense"},
        {"TF_CONFIG": "[]"},
        {"TF_CONFIG": '{"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}'},
        {"TF_CONFIG": json.dumps(WORKERS | {"task": {"type": "evaluator", "index": 0}})},
        {"TF_CONFIG": json.dumps(WORKERS | {"task": {"type": "worker", "index": 3}})},
        {"SLURM_PROCID": "x", "SLURM_STEP_NUM_TASKS": "2"},
        {"JAX_PROCESS_ID": "2", "JAX_NUM_PROCESSES": "2"},
        {"JAX_PROCESS_ID": "-1", "JAX_NUM_PROCESSES": "2"},
    ],
)
def test_variables_that_say_nothing_sound_are_one_line(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="do not say which process this is"):
        find_processes(variables)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, ["train"])
    assert result.exit_code == SettingsError.exit_code
    (line,) = result.stderr.splitlines()
    assert line.startswith("emdenoise train: the launcher's variables do not say which process this is")


@given(size=st.integers(1, 64), num_items=st.integers(0, 500))
def test_shares_are_all_items_once_and_equal_but_for_one(size: int, num_items: int) -> None:
    items = range(num_items)
    shares = [items[ProcessGroup(rank, size).find_share(num_items)] for rank in range(size)]
    assert [item for share in shares for item in share] == list(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
