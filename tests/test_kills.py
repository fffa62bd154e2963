"""Tasks that are killed at any moment: run again, they end as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emdenoise.cli import DEFAULTS, list_paths
from emdenoise.tasks import TASKS
from emdenoise.tools.study import run_study

NUM_KILLS = int(os.environ.get("EMDENOISE_NUM_KILLS", "50"))

pytestmark = pytest.mark.slow


def command(name: str, root: Path) -> list[str]:
    options = list_paths({**TASKS, "study": run_study}[name])
    paths = {option: root / DEFAULTS[option].name for option in [*options, "log_dir"]}
    for option, file in (("parameters_file", "tiny.parameters.yaml"), ("study_file", "tiny.study.yaml")):
        if option in paths:
            paths[option] = root / file
    return [sys.executable, "-m", "emdenoise", name, *(f"--{option}={path}" for option, path in paths.items())]


def run(name: str, root: Path, *, killed_after_s: float | None = None) -> float:
    """Run a task, or kill it with all its workers after some time; returns how long it ran [s]."""
    started = time.monotonic()
    process = subprocess.Popen(
        command(name, root), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=killed_after_s if killed_after_s is not None else 300)
        assert process.returncode == 0, f"{name}: {errors}"
    except subprocess.TimeoutExpired:
        assert killed_after_s is not None, f"{name} does not end"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return time.monotonic() - started


@pytest.fixture(scope="module")
def write_settings(tiny_settings: Callable[..., dict[str, Any]]) -> Callable[[Path], None]:
    """Give a function that writes the parameters file and the study file."""

    def write(root: Path) -> None:
        root.mkdir(parents=True)
        settings = tiny_settings(
            training={"epochs": 4}, pretraining={"method": "denoise", "epochs": 2, "batch_size": 4}
        )
        (root / "tiny.parameters.yaml").write_text(yaml.safe_dump(settings))
        study = {"base": settings, "variants": {"a": {}}, "seeds": [0, 1], "metric": "psnr_db"}
        (root / "tiny.study.yaml").write_text(yaml.safe_dump(study))

    return write


def test_a_task_that_was_killed_at_a_random_moment_ends_as_undisturbed(
    write_settings: Callable[[Path], None], tmp_path: Path, describe: Callable[[Path], dict[str, Any]]
) -> None:
    names = [*TASKS, "study"]
    write_settings(tmp_path / "calm")
    durations = {name: run(name, tmp_path / "calm") for name in names}
    expected = describe(tmp_path / "calm")
    moments = random.Random(0)
    kills = 0
    for number in range(1_000):
        root = tmp_path / f"killed-{number}"
        write_settings(root)
        for name in names:
            if kills < NUM_KILLS:
                kills += 1
                run(name, root, killed_after_s=moments.uniform(0, durations[name]))
            run(name, root)
        assert describe(root) == expected, f"round {number}"
        if kills >= NUM_KILLS:
            return
