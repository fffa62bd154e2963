"""Training in several processes: the numbers of one process, each process with its share, and one that writes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emdenoise.models.checkpoints import load_model
from emdenoise.progress import SilentProgress
from emdenoise.results.task_record import read_record
from emdenoise.tasks import TASKS

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SETTINGS = """
division: open
num_processes: {num_processes}
simulation: {{num_train: 16, num_validation: 5, num_test: 4, image_size_px: 64}}
model: {{name: dncnn, depth: 5, filters: 8}}  # no max-pooling: its ties are decided by rounding, gradients jump
training: {{epochs: 2, batch_size: 4, crop_size_px: 32, flip: true, optimizer: sgd, learning_rate: 0.02}}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the images that all trainings of this file learn from."""
    folder = tmp_path_factory.mktemp("images")
    write_settings(folder, 1)
    paths = {"parameters_file": folder / "1.yaml", "raw_data_dir": folder / "raw_data"}
    TASKS["download"](**paths, progress=SilentProgress())
    TASKS["preprocess"](**paths, data_dir=folder / "data", progress=SilentProgress())
    return folder / "data"


def write_settings(folder: Path, num_processes: int) -> Path:
    path = folder / f"{num_processes}.yaml"
    path.write_text(SETTINGS.format(num_processes=num_processes))
    return path


def find_port() -> int:
    """Find a port of this machine that nobody listens at."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def start(folder: Path, data: Path, settings: Path, num_processes: int, **variables: str) -> subprocess.Popen[str]:
    """Start a training in a workspace of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "data").symlink_to(data)
    command = ["run/bare.sh", "train"] if num_processes == 1 else ["run/processes.sh", str(num_processes)]
    own = {"EMDENOISE": str(Path(sys.executable).with_name("emdenoise")), "PORT": str(find_port())}
    return subprocess.Popen(
        [*command, folder, settings],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **own, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train(folder: Path, data: Path, backend: str, num_processes: int) -> str:
    """Train in some processes to the end; returns what they printed."""
    folder.mkdir()
    settings = write_settings(folder, num_processes)
    process = start(folder, data, settings, num_processes, KERAS_BACKEND=backend)
    printed = process.communicate(timeout=240)[0]
    assert process.returncode == 0, printed
    return printed


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_processes_have_the_losses_of_one_and_the_same_weights_as_each_other(
    backend: str, data: Path, tmp_path: Path
) -> None:
    train(tmp_path / "one", data, backend, 1)
    printed = train(tmp_path / "two", data, backend, 2)
    one, two = (read_record(tmp_path / name / "model", "train") for name in ("one", "two"))
    for figure in ("loss", "validation_loss", "validation_psnr_db"):
        expected = [epoch[figure] for epoch in one.results["history"]]
        assert [epoch[figure] for epoch in two.results["history"]] == pytest.approx(expected, rel=1e-5)
    assert [epoch["num_images"] for epoch in two.results["history"]] == [16, 16]
    # Process 0 alone prints and writes; the other one says in its log which weights it has.
    assert printed.count("in 2 processes") == 1
    assert "Process 1" not in printed
    weights = load_model(tmp_path / "two" / "model").weights_sha256
    assert two.outputs["weights"] == weights
    found = re.search(
        "Process 1 of 2 ends with weights ([0-9a-f]+)", (tmp_path / "two" / "logs" / "train.1.log").read_text()
    )
    assert found is not None
    assert weights.startswith(found[1])
    assert not (tmp_path / "two" / "model" / "checkpoint").exists()


@pytest.mark.parametrize(("wanted", "started"), [(2, 1), (1, 2)])
def test_another_number_of_processes_than_wanted_is_one_line(
    wanted: int, started: int, data: Path, tmp_path: Path
) -> None:
    process = start(tmp_path, data, write_settings(tmp_path, wanted), started)
    printed = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 3
    line = f"emdenoise train: num_processes is {wanted}, the launcher started {started}"
    assert line in printed[0], printed
    assert not [each for each in printed if not each.startswith(("run/processes.sh: ", line))], printed
    assert not (tmp_path / "model" / "model.json").exists()


def is_alive(number: str) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_end_of_one_process_ends_all(data: Path, tmp_path: Path) -> None:
    settings = write_settings(tmp_path, 2)
    settings.write_text(settings.read_text().replace("epochs: 2", "epochs: 400"))
    process = start(tmp_path, data, settings, 2)
    while not (tmp_path / "model" / "checkpoint" / "state.json").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 137
    assert "a process ended with exit code 137, which ends the others" in printed
    deadline = time.monotonic() + 20  # what is killed needs a moment to end
    while left := [number for number in children if is_alive(number)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_tasks_that_are_not_shared_keep_a_second_process_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emdenoise.errors import StorageError
    from emdenoise.files.locks import lock_folder

    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    raw_data = tmp_path / "raw_data"
    with lock_folder(raw_data, is_written=True), pytest.raises(StorageError, match="in use by another task"):
        TASKS["download"](parameters_file=write_settings(tmp_path, 1), raw_data_dir=raw_data, progress=SilentProgress())
