"""The files in `examples`: what they call exists, and a workflow may do no more than it needs."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from emdenoise import __version__
from emdenoise.cli import main

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / "examples").glob("*.workflow.yaml"))


def read_jobs(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values())


def list_commands(path: Path) -> list[list[str]]:
    """List the words of every command line of a workflow, with the name of the program alone."""
    lines = [
        line for job in read_jobs(path) for step in job["steps"] for line in step.get("run", "").splitlines() if line
    ]
    return [[Path(program).name, *words] for program, *words in map(shlex.split, lines)]


def find_unknown(words: list[str]) -> list[str]:
    """Find what the command line or the Makefile would not take of a command."""
    program, name, *arguments = words
    if program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        return [word for word in [name, *arguments] if word not in targets]
    if program != "emdenoise" or name not in main.commands:
        return [f"{program} {name}"]
    known = {option for parameter in main.commands[name].params for option in parameter.opts}
    return [word for word in arguments if word.split("=")[0] not in known]


def test_there_is_a_workflow() -> None:
    assert WORKFLOWS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_command_of_a_workflow_exists_with_its_options(path: Path) -> None:
    commands = list_commands(path)
    assert {program for program, *_ in commands} == {"make", "emdenoise"}
    for words in commands:
        assert find_unknown(words) == [], shlex.join(words)


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("make setup", []),
        ("make set-up", ["set-up"]),
        ("emdenoise verify --result_dir=a --work-dir=b", []),
        ("emdenoise verify --result=a", ["--result=a"]),
        ("emdenoise verfy", ["emdenoise verfy"]),
        ("curl x", ["curl x"]),
    ],
)
def test_what_does_not_exist_is_found(line: str, unknown: list[str]) -> None:
    assert find_unknown(shlex.split(line)) == unknown


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_ends_in_time_and_names_actions_by_commit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    for job in read_jobs(path):
        assert job["timeout-minutes"] <= 60
        assert "permissions" not in job
    assert len(re.findall(r"uses:", text)) == len(
        re.findall(r"uses: actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n", text)
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_takes_this_version(path: Path) -> None:
    """Scores compare only within a version."""
    assert re.findall(r"ref: (\S+)", path.read_text(encoding="utf-8")) == [f"v{__version__}"]
