"""The image: its size, and the four tasks in it as a user without rights and without network."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "emdenoise:test"
MAX_BYTES = 2.5e9
USER = 1234
TASKS = {
    "download": ("raw_data",),
    "preprocess": ("raw_data", "data"),
    "train": ("data", "model", "output"),
    "test": ("data", "model", "output"),
}
PARAMETERS = """
division: open
simulation: {num_train: 8, num_validation: 4, num_test: 4, image_size_px: 64}
training: {epochs: 1, batch_size: 4}
evaluation: {num_tuning_images: 1, baselines: [gaussian], num_latency_images: 10}
"""

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command"),
]


@pytest.fixture(scope="session")
def image() -> str:
    subprocess.run(["docker", "build", "--quiet", "--network=host", "--tag", IMAGE, str(ROOT)], check=True)
    return IMAGE


def run_task(image: str, workspace: Path, task: str) -> subprocess.CompletedProcess[str]:
    options = [f"--{name}_dir=/workspace/{name}" for name in TASKS[task]]
    hardening = ["--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]
    command = ["docker", "run", "--rm", f"--user={USER}:{USER}", *hardening, "--security-opt=no-new-privileges"]
    command += [f"--volume={workspace}:/workspace", image, task, "--parameters_file=/workspace/run.yaml"]
    return subprocess.run(
        [*command, *options, "--log_dir=/workspace/logs"], capture_output=True, text=True, check=False
    )


def test_the_image_is_no_larger_than_promised(image: str) -> None:
    size = subprocess.check_output(["docker", "image", "inspect", image, "--format", "{{.Size}}"], text=True)
    assert int(size) <= MAX_BYTES


def test_the_four_tasks_run_without_rights_and_without_network(image: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(PARAMETERS)
    os.chown(tmp_path, USER, USER)
    for task in TASKS:
        result = run_task(image, tmp_path, task)
        assert result.returncode == 0, result.stdout + result.stderr
    scores = json.loads((tmp_path / "output" / "scores.json").read_text())
    assert {"noisy", "gaussian", "network"} == set(scores["methods"])
    made = [path for path in tmp_path.rglob("*") if path.name != "run.yaml"]
    assert {path.stat().st_uid for path in made} == {USER}


def test_a_wrong_parameters_file_ends_in_one_line_and_its_exit_code(image: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("epochz: 3")
    os.chown(tmp_path, USER, USER)
    result = run_task(image, tmp_path, "download")
    assert result.returncode == 3
    assert len(result.stderr.strip().splitlines()) == 1
    assert "epochz is not a setting" in result.stderr
