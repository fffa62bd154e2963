"""The image: its size, its user, its entry point, and what it says when something is wrong."""

import json
from pathlib import Path

import pytest

from emdenoise.tasks import TASKS
from tests.container.engine import HARDENED, USER, needs, run

pytestmark = [pytest.mark.container, needs("docker")]

MAX_BYTES = 2.5e9


def test_the_image_is_no_larger_than_promised(image: str) -> None:
    assert int(run("docker", "image", "inspect", image, "--format", "{{.Size}}").stdout) <= MAX_BYTES


def test_the_image_knows_its_commit_and_does_not_run_as_root(image: str) -> None:
    settings = json.loads(run("docker", "image", "inspect", image, "--format", "{{json .Config}}").stdout)
    assert settings["User"] not in ("", "0", "root", "0:0")
    commit = run("git", "rev-parse", "HEAD").stdout.strip()
    assert f"EMDENOISE_COMMIT={commit}" in [value.removesuffix("-dirty") for value in settings["Env"]]


@pytest.mark.parametrize("task", TASKS)
def test_the_entry_point_is_the_command_line_of_a_bare_machine(image: str, task: str) -> None:
    inside = run("docker", "run", *HARDENED, image, task, "--help").stdout
    assert inside.split() == run("python3", "-m", "emdenoise", task, "--help").stdout.split() != []


def test_a_wrong_parameters_file_ends_in_one_line_and_its_exit_code(image: str, workspace: Path) -> None:
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    parameters.write_text("epochz: 3")
    mount = f"--volume={workspace}:/emdenoise:ro"
    options = ("--parameters_file=/emdenoise/parameters/tiny.parameters.yaml", "--log_dir=/tmp/logs")
    result = run("docker", "run", *HARDENED, f"--user={USER}", mount, image, "download", *options)
    assert result.returncode == 3
    assert len(result.stderr.strip().splitlines()) == 1
    assert "epochz is not a setting" in result.stderr


def test_an_unwritable_workspace_ends_in_one_line_and_its_exit_code(image: str, workspace: Path) -> None:
    mount = f"--volume={workspace}:/emdenoise:ro"
    options = ("--parameters_file=/emdenoise/parameters/tiny.parameters.yaml", "--log_dir=/emdenoise/logs")
    result = run("docker", "run", *HARDENED, f"--user={USER}", mount, image, "download", *options)
    assert result.returncode == 7
    assert len(result.stderr.strip().splitlines()) == 1
    assert "give a --log_dir that you may write" in result.stderr
