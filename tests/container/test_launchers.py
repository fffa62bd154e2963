"""The four tasks in real containers by each launcher: the numbers of the bare machine, files of the caller."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from emdenoise.data.storage import hash_file
from tests.container.engine import ROOT, TASKS, USER, find_image, needs, read_images, read_results, run

pytestmark = [pytest.mark.container, needs("docker")]


def list_owners(workspace: Path) -> set[int]:
    """List who owns what the tasks wrote."""
    return {path.stat().st_uid for path in workspace.rglob("*") if path.relative_to(workspace).parts[0] != "parameters"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_docker_gives_the_numbers_of_the_bare_machine_and_files_of_the_caller(
    image: str, workspace: Path, bare_results: dict[str, Any]
) -> None:
    os.chown(workspace, USER, USER)
    launcher = shutil.copy(ROOT / "run" / "docker.sh", workspace / "parameters")
    group = Path("/var/run/docker.sock").stat().st_gid
    caller = ("setpriv", f"--reuid={USER}", f"--regid={USER}", f"--groups={group}", "--inh-caps=-all")
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    result = run(*caller, launcher, TASKS, workspace, parameters, env={**os.environ, "HOME": "/nonexistent"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert read_results(workspace) == bare_results
    assert read_images(workspace) == {find_image()}
    assert list_owners(workspace) == {USER}


@needs("podman")
def test_podman_gives_the_numbers_of_the_bare_machine(
    podman_image: dict[str, str], workspace: Path, bare_results: dict[str, Any]
) -> None:
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    result = run("run/docker.sh", TASKS, workspace, parameters, env={**podman_image, "ENGINE": "podman"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert read_results(workspace) == bare_results
    assert read_images(workspace) == {find_image("podman", env=podman_image)}
    assert list_owners(workspace) == {os.geteuid()}


@needs("apptainer")
def test_apptainer_gives_the_numbers_of_the_bare_machine(
    apptainer: dict[str, str], workspace: Path, bare_results: dict[str, Any]
) -> None:
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    result = run("run/apptainer.sh", TASKS, workspace, parameters, env=apptainer)
    assert result.returncode == 0, result.stdout + result.stderr
    assert read_results(workspace) == bare_results
    assert read_images(workspace) == {f"sha256:{hash_file(Path(apptainer['SIF']))}"}


def test_a_launcher_ends_with_the_exit_code_of_the_task_that_failed(image: str, workspace: Path) -> None:
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    result = run("run/docker.sh", "preprocess,train", workspace, parameters)
    assert result.returncode == 4
    assert "run the download task first" in result.stderr
    assert "emdenoise train" not in result.stderr


def test_a_launcher_says_in_one_line_that_the_image_is_missing(workspace: Path) -> None:
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    result = run("run/docker.sh", "train", workspace, parameters, env={**os.environ, "IMAGE": "emdenoise:absent"})
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "has no image emdenoise:absent" in result.stderr
    assert "make image" in result.stderr
