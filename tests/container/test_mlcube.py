"""The README's line, `mlcube run`, with each platform: the numbers of the bare machine."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from emdenoise.files.atomic import hash_file
from tests.container.engine import ROOT, TASKS, copy_checkout, find_image, needs, read_images, read_results, run

MLCUBE = os.environ.get("MLCUBE", "mlcube")
pytestmark = [pytest.mark.container, needs("docker"), needs(MLCUBE)]


def run_cube(platform: str, workspace: Path, environment: dict[str, str], *overrides: str) -> None:
    """Run the four tasks as the README says."""
    settings = shutil.copy(ROOT / "platforms" / "settings.yaml", workspace / "parameters" / "settings.yaml")
    result = run(
        *(MLCUBE, "run", "--mlcube=.", f"--platform={platform}", f"--workspace={workspace}", f"--task={TASKS}"),
        *("parameters_file=parameters/tiny.parameters.yaml", *overrides),
        env={**environment, "MLCUBE_SYSTEM_SETTINGS": settings},
    )
    # The exit code says nothing when MLCube did not understand its arguments: the results are looked at.
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


def test_docker(image: str, workspace: Path, bare_results: dict[str, Any]) -> None:
    run_cube("docker", workspace, dict(os.environ))
    assert read_results(workspace) == bare_results
    assert read_images(workspace) == {find_image()}
    assert run("docker", "ps", "--all", "--quiet", "--filter", f"ancestor={image}").stdout == ""


@needs("podman")
def test_podman(podman_image: dict[str, str], workspace: Path, bare_results: dict[str, Any]) -> None:
    # The image is there already: `auto` does not build it a second time.
    run_cube("podman", workspace, podman_image, "--", "-Prunner.build_strategy=auto")
    assert read_results(workspace) == bare_results
    assert read_images(workspace) == {find_image("podman", env=podman_image)}


@needs("apptainer")
def test_singularity(apptainer: dict[str, str], workspace: Path, bare_results: dict[str, Any]) -> None:
    (workspace / ".image").mkdir()
    (workspace / ".image" / "emdenoise.sif").symlink_to(apptainer["SIF"])
    run_cube("singularity", workspace, apptainer)
    assert read_results(workspace) == bare_results
    assert read_images(workspace) == {f"sha256:{hash_file(Path(apptainer['SIF']))}"}


@needs("apptainer")
def test_singularity_refuses_a_sif_of_other_code(apptainer: dict[str, str], workspace: Path, tmp_path: Path) -> None:
    (workspace / ".image").mkdir()
    (workspace / ".image" / "emdenoise.sif").symlink_to(apptainer["SIF"])
    checkout = copy_checkout(tmp_path)
    (checkout / "emdenoise" / "tasks.py").write_text("# changed\n")
    result = run(
        *(MLCUBE, "run", f"--mlcube={checkout}", "--platform=singularity", f"--workspace={workspace}"),
        *("--task=download", "parameters_file=parameters/tiny.parameters.yaml"),
        env=apptainer,
    )
    assert result.returncode != 0
    assert "was made of other code than what lies here: emdenoise/tasks.py differs" in result.stderr
    assert not (workspace / "logs" / "download.log").exists()


def test_a_task_without_the_one_before_it_ends_with_its_exit_code(image: str, workspace: Path) -> None:
    result = run(
        *(MLCUBE, "run", "--mlcube=.", "--platform=docker", f"--workspace={workspace}", "--task=train"),
        "parameters_file=parameters/tiny.parameters.yaml",
    )
    assert result.returncode != 0
    assert "run the preprocess task first" in result.stdout + result.stderr
