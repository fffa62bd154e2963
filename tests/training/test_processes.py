"""Training in several processes: the numbers of one process, each process with its share, and one that writes."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from emdenoise.models.checkpoints import load_model
from emdenoise.progress import SilentProgress
from emdenoise.results.manifest import read_record
from emdenoise.tasks import TASKS

SETTINGS = """
division: open
num_processes: {num_processes}
simulation: {{num_train: 16, num_validation: 5, num_test: 4, image_size_px: 64}}
model: {model}
training: {{epochs: 2, batch_size: 4, crop_size_px: 32, flip: true, learning_rate: 0.0001}}
"""
NETWORKS = {"tensorflow": "{name: unet}", "jax": "{name: dncnn, depth: 5, filters: 8}"}
"""On JAX rounding decides ties of the U-Net's max-pooling, and a float32 gradient jumps with them."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the images that all trainings of this file learn from."""
    folder = tmp_path_factory.mktemp("images")
    write_settings(folder, 1)
    paths = {"parameters_file": folder / "1.yaml", "raw_data_dir": folder / "raw_data"}
    TASKS["download"](**paths, progress=SilentProgress())
    TASKS["preprocess"](**paths, data_dir=folder / "data", progress=SilentProgress())
    return folder / "data"


def write_settings(folder: Path, num_processes: int, model: str = "{name: unet}") -> Path:
    path = folder / f"{num_processes}.yaml"
    path.write_text(SETTINGS.format(num_processes=num_processes, model=model))
    return path


def find_ports(number: int) -> list[int]:
    """Find ports of this machine that nobody listens at."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def name_processes(backend: str, number: int) -> list[dict[str, str]]:
    """Give the variables by which each process finds the others."""
    if number == 1:
        return [{}]
    addresses = [f"127.0.0.1:{port}" for port in find_ports(number)]
    if backend == "jax":
        common = {"JAX_COORDINATOR_ADDRESS": addresses[0], "JAX_NUM_PROCESSES": str(number)}
        return [common | {"JAX_PROCESS_ID": str(rank)} for rank in range(number)]
    workers = {"cluster": {"worker": addresses}}
    tasks = [{"task": {"type": "worker", "index": rank}} for rank in range(number)]
    return [{"TF_CONFIG": json.dumps(workers | task)} for task in tasks]


def start(folder: Path, data: Path, variables: dict[str, str], backend: str, settings: Path) -> subprocess.Popen[str]:
    """Start one process of a training."""
    folders = {"data_dir": data, "model_dir": folder / "model", "output_dir": folder / "output", "log_dir": folder}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "emdenoise", "train", f"--parameters_file={settings}"),
            *(f"--{name}={path}" for name, path in folders.items()),
        ],
        env={**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train(folder: Path, data: Path, backend: str, num_processes: int) -> list[str]:
    """Train in some processes to the end; returns what each one printed."""
    folder.mkdir()
    settings = write_settings(folder, num_processes, NETWORKS[backend])
    processes = [start(folder, data, names, backend, settings) for names in name_processes(backend, num_processes)]
    printed = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * num_processes, printed
    return printed


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_processes_have_the_losses_of_one_and_the_same_weights_as_each_other(
    backend: str, data: Path, tmp_path: Path
) -> None:
    train(tmp_path / "one", data, backend, 1)
    printed = train(tmp_path / "two", data, backend, 2)
    one, two = (read_record(tmp_path / name / "model", "train") for name in ("one", "two"))
    for loss in ("loss", "validation_loss"):
        expected = [epoch[loss] for epoch in one.results["history"]]
        assert [epoch[loss] for epoch in two.results["history"]] == pytest.approx(expected, rel=1e-5)
    assert [epoch["num_images"] for epoch in two.results["history"]] == [16, 16]
    # Process 0 alone prints and writes; the other one says in its log which weights it has.
    assert "in 2 processes" in printed[0]
    assert printed[1] == ""
    weights = load_model(tmp_path / "two" / "model").weights_sha256
    assert two.outputs["weights"] == weights
    found = re.search("Process 1 of 2 ends with weights ([0-9a-f]+)", (tmp_path / "two" / "train.1.log").read_text())
    assert found is not None
    assert weights.startswith(found[1])
    assert not (tmp_path / "two" / "model" / "checkpoint").exists()


@pytest.mark.parametrize(("wanted", "started"), [(2, 1), (1, 2)])
def test_another_number_of_processes_than_wanted_is_one_line(
    wanted: int, started: int, data: Path, tmp_path: Path
) -> None:
    settings = write_settings(tmp_path, wanted)
    variables = name_processes("tensorflow", started)[0]
    process = start(tmp_path, data, variables, "tensorflow", settings)
    printed = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 3
    assert len(printed) == 1
    assert f"num_processes is {wanted}, the launcher started {started}" in printed[0]
    assert not (tmp_path / "model" / "model.json").exists()


def test_tasks_that_are_not_shared_keep_a_second_process_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emdenoise.data.locking import lock_folder
    from emdenoise.errors import StorageError

    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    raw_data = tmp_path / "raw_data"
    with lock_folder(raw_data, is_written=True), pytest.raises(StorageError, match="in use by another task"):
        TASKS["download"](parameters_file=write_settings(tmp_path, 1), raw_data_dir=raw_data, progress=SilentProgress())
