"""How long it takes until something happens: of the command, of the first step, of a container."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from side_by_side import NUM_REPEATS, ROOT, SHORT_RUN, Values, alternate, launch, read_training


def bench_startup() -> Values:
    """Answer ``--help``: the whole process."""
    command = [sys.executable, "-m", "emdenoise", "--help"]
    return alternate({"--help": lambda: subprocess.run(command, check=True, capture_output=True)}, 1)


def bench_first_step() -> Values:
    """Train 2 steps on whole images: the first step, in which TensorFlow makes its graph, and the whole task."""
    found: Values = {"first step": [], "train task of 2 steps": []}
    with tempfile.TemporaryDirectory() as name:
        parameters = Path(name) / "short.parameters.yaml"
        parameters.write_text(SHORT_RUN.replace("num_train: 64", "num_train: 20").replace("epochs: 2,", "epochs: 1,"))
        launch(["run/bare.sh", "download,preprocess", name, parameters])
        for _ in range(NUM_REPEATS):
            started = time.perf_counter()
            launch(["run/bare.sh", "train", name, parameters])
            found["train task of 2 steps"].append(time.perf_counter() - started)
            found["first step"].append(read_training(Path(name))["first_step_s"])
    return found


def bench_container() -> Values:
    """Run a short `train` task by each launcher: the whole process; needs the image and MLCube."""
    mlcube = shutil.which("mlcube", path=f"{ROOT / '.venv-mlcube' / 'bin'}:{os.environ['PATH']}")
    launchers: dict[str, list[str]] = {"bare machine": ["run/bare.sh"]}
    launchers |= {"docker": ["run/docker.sh"]} if shutil.which("docker") else {}
    with tempfile.TemporaryDirectory() as folder:
        parameters = Path(folder) / "parameters" / "short.parameters.yaml"
        parameters.parent.mkdir()
        parameters.write_text(SHORT_RUN)
        launch(["run/bare.sh", "download,preprocess", folder, parameters])
        options = ["--mlcube=.", "--platform=docker", "--task=train", f"--workspace={folder}"]
        cube = [mlcube, "run", *options, f"parameters_file=parameters/{parameters.name}"]
        rows: dict[str, Callable[[], object]] = {
            name: partial(launch, [*command, "train", folder, parameters]) for name, command in launchers.items()
        }
        rows |= {"mlcube, docker": partial(launch, cube)} if mlcube and "docker" in launchers else {}
        rates = alternate(rows, 1)
    return {row: [1 / rate for rate in found] for row, found in rates.items()}
