"""The four tasks in real containers by each launcher: the numbers of the bare machine, files of the caller."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emdenoise.files.atomic import hash_file
from tests.container.engine import (
    FAST,
    ROOT,
    TASKS,
    USER,
    copy_checkout,
    find_image,
    needs,
    read_images,
    read_results,
    run,
)

PROBE = """
env | cut -d= -f1
for path in $OUTSIDE; do [ ! -e "$path" ] || echo "sees $path"; done
for folder in /emdenoise/workspace /emdenoise/parameters; do ! touch "$folder/probe" || echo "wrote $folder"; done
"""
SPY = """#!/usr/bin/env python3
import os, sys
arguments = sys.argv[1:]
if arguments[0] == "run":  # the launcher's own options; a look around in the place of the task
    arguments = ["exec", *arguments[1:-2], "sh", "-c", os.environ["PROBE"]]
os.execv("{program}", ["apptainer", *arguments])
"""
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


@needs("apptainer")
def test_apptainer_sees_nothing_of_the_caller_but_the_workspace_and_the_parameters(
    apptainer: dict[str, str], workspace: Path, tmp_path: Path
) -> None:
    spy = tmp_path / "apptainer"
    spy.write_text(SPY.format(program=shutil.which("apptainer")))
    spy.chmod(0o755)
    (tmp_path / "mine").mkdir()
    parameters = shutil.copy(workspace / "parameters" / "tiny.parameters.yaml", tmp_path / "mine")
    probe = f"OUTSIDE='{spy} {ROOT / 'README.md'}'{PROBE}"
    environment = {**apptainer, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PROBE": probe, "SECRET": "1"}
    result = run("run/apptainer.sh", "download", workspace, parameters, env=environment)
    assert result.returncode == 0, result.stderr
    seen = result.stdout.splitlines()
    assert "EMDENOISE_IMAGE" in seen
    assert "SECRET" not in seen
    assert [line for line in seen if line.startswith(("sees", "wrote"))] == ["wrote /emdenoise/workspace"]


@pytest.mark.slow
@needs("apptainer")
def test_a_sif_of_a_docker_archive_is_one_of_the_docker_image(
    image: str, apptainer: dict[str, str], tmp_path: Path
) -> None:
    archive, sif = tmp_path / "emdenoise.tar", tmp_path / "emdenoise.sif"
    assert run("docker", "save", "--output", archive, f"{image}:latest").returncode == 0
    source = ("--build-arg", "bootstrap=docker-archive", "--build-arg", f"from={archive}")
    built = run("apptainer", "build", FAST, *source, sif, "build/apptainer.def", env=apptainer)
    archive.unlink()
    assert built.returncode == 0, built.stderr
    assert run("run/sif.sh", sif, env=apptainer).stdout.strip() == f"sha256:{hash_file(sif)}"
    sif.unlink()


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("# changed\n")


CHANGES: dict[str, Callable[[Path], object]] = {
    "emdenoise/tasks.py": append,
    "emdenoise/models/another.py": append,
    "emdenoise/notes.txt": Path.touch,
    "emdenoise/cli.py": Path.unlink,
    "requirements.txt": append,
}


@needs("apptainer")
@pytest.mark.parametrize("name", CHANGES)
def test_a_sif_of_other_code_is_refused_in_one_line(
    name: str, apptainer: dict[str, str], workspace: Path, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path)
    CHANGES[name](checkout / name)
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    result = run(checkout / "run" / "apptainer.sh", "download", workspace, parameters, env=apptainer)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"was made of other code than what lies here: {name} differs" in result.stderr
    assert "make image" in result.stderr
    assert not (workspace / "logs").exists()


@needs("apptainer")
def test_a_sif_of_the_same_code_is_used_where_pages_and_caches_differ(
    apptainer: dict[str, str], tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path)
    append(checkout / "README.md")
    (checkout / "emdenoise" / "__pycache__").mkdir()
    (checkout / "emdenoise" / "__pycache__" / "tasks.cpython-311.pyc").touch()
    result = run(checkout / "run" / "sif.sh", apptainer["SIF"], env=apptainer)
    assert (result.returncode, result.stdout.strip()) == (0, f"sha256:{hash_file(Path(apptainer['SIF']))}")


@needs("apptainer")
def test_half_a_sif_is_refused_in_one_line(apptainer: dict[str, str], workspace: Path, tmp_path: Path) -> None:
    sif = tmp_path / "emdenoise.sif"
    with Path(apptainer["SIF"]).open("rb") as whole:
        sif.write_bytes(whole.read(1_000_000))
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    result = run("run/apptainer.sh", "train", workspace, parameters, env={**apptainer, "SIF": str(sif)})
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"cannot look into {sif}" in result.stderr


@needs("apptainer")
@pytest.mark.parametrize("name", ["a,b", "a:b"])
def test_a_folder_that_apptainer_cannot_bind_is_one_line(name: str, tmp_path: Path) -> None:
    result = run("run/apptainer.sh", "train", tmp_path / name)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"no folder with : or , in its name: {tmp_path / name}" in result.stderr


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
