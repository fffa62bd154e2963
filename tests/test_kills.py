"""Commands that are killed at any moment: run again, they end as if nothing had happened."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tifffile import imwrite

from emdenoise.cli import DEFAULTS, TOOLS, list_paths
from emdenoise.results.environment import COMMIT_VARIABLE
from emdenoise.tasks import TASKS

NUM_KILLS = 4
"""Of each step: two at moments of its time, and two just before it changes the folder."""
SYSTEM_FILE = Path(__file__).parents[1] / "workspace" / "parameters" / "example.system.yaml"
STEPS = {
    "simulate a part": ("simulate-part", "--part=1", "--num_parts=2"),
    "download": ("download",),
    "preprocess": ("preprocess",),
    "train with Pix2Pix first": ("train", "--set=pretraining.method=pix2pix"),
    "train with added noise first": ("train", "--set=pretraining.method=denoise"),
    "train": ("train",),
    "test": ("test",),
    "predict": ("predict",),
    "export": ("export",),
    "rescore": ("rescore",),
    "verify": ("verify",),
    "crate": ("crate",),
    "study": ("study",),
    "submit": ("submit",),
    "check": ("check",),
}
"""Each starts from what those before it left; a training replaces the one before it."""
PROGRAM = """
import os, signal, sys
from pathlib import Path

root, counter, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv.pop(3))
del sys.argv[1:3]
num_changes = 0

def see(event, details):
    global num_changes
    is_change = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate") or (
        event == "open" and (details[2] or 0) & (os.O_WRONLY | os.O_RDWR)
    )
    path = os.fspath(details[0]) if is_change and not isinstance(details[0], int) else ""
    if os.fsdecode(path).startswith(root) and "/logs/" not in os.fsdecode(path):
        num_changes += 1
        if num_changes == last:
            os.killpg(0, signal.SIGKILL)

sys.addaudithook(see)
from emdenoise.cli import main
try:
    main(prog_name="emdenoise")
finally:
    counter.write_text(str(num_changes))
"""
"""The command line that kills itself before its change number `last` of the files below `root`, and counts them."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Calm:
    """What an undisturbed step began with and left, how long it ran [s], and how often it changed the folder."""

    before: Path
    after: Path
    duration_s: float
    num_changes: int


def find_counter(root: Path) -> Path:
    return root.with_suffix(".txt")


def write_command(step: str, root: Path, last: int) -> list[str]:
    name, *words = STEPS[step]
    paths = {
        option: root / DEFAULTS[option].name
        for option in [*list_paths({**TASKS, **TOOLS}[name]), "log_dir"]
        if DEFAULTS.get(option)
    }
    others = {"parameters_file": root / "tiny.yaml", "study_file": root / "tiny.study.yaml", "system_file": SYSTEM_FILE}
    others |= {"runs_dir": root / "study" / "runs"}
    paths |= {option: path for option, path in others.items() if option in paths}
    if name == "predict":
        paths |= {"image_file": root / "image.tif", "predicted_file": root / "predicted.tif"}
    start = [sys.executable, "-c", PROGRAM, str(root), str(find_counter(root)), str(last)]
    return [*start, name, *words, *(f"--{option}={path}" for option, path in paths.items())]


def run(step: str, root: Path, *, killed_after_s: float = 300, last: int = 0) -> bool:
    """Run a step, or kill it with its workers after some time or before a change; tells whether it ended by itself."""
    process = subprocess.Popen(
        write_command(step, root, last),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {COMMIT_VARIABLE: "a" * 40},
    )
    try:
        _, errors = process.communicate(timeout=killed_after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    assert process.returncode == 0 or (last and process.returncode == -signal.SIGKILL), f"{step}: {errors}"
    return process.returncode == 0


@pytest.fixture(scope="module")
def run_calmly(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: Callable[..., dict[str, Any]]
) -> Callable[[str], Calm]:
    """Give a function that runs a step undisturbed, once, in a copy of what those before it left."""
    folder = tmp_path_factory.mktemp("calm")
    begin = folder / "begin"
    begin.mkdir()
    settings = tiny_settings(
        training={"epochs": 3},
        pretraining={"epochs": 2, "batch_size": 2, "crop_size_px": 32, "discriminator_filters": [3, 4]},
    )
    study = {"base": settings, "variants": {"a": {}}, "seeds": [0], "metric": "psnr_db"}
    (begin / "tiny.yaml").write_text(yaml.safe_dump(settings))
    (begin / "tiny.study.yaml").write_text(yaml.safe_dump(study))
    imwrite(begin / "image.tif", np.random.default_rng(0).random((64, 64), np.float32))
    names = list(STEPS)

    @cache
    def run_step(step: str) -> Calm:
        number = names.index(step)
        before = run_step(names[number - 1]).after if number else begin
        after = shutil.copytree(before, folder / step.replace(" ", "-"))
        started = time.monotonic()
        assert run(step, after)
        return Calm(before, after, time.monotonic() - started, int(find_counter(after).read_text()))

    return run_step


@pytest.mark.parametrize("number", range(NUM_KILLS))
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_killed_ends_as_undisturbed(
    step: str,
    number: int,
    run_calmly: Callable[[str], Calm],
    tmp_path: Path,
    describe: Callable[[Path], dict[str, Any]],
) -> None:
    calm = run_calmly(step)
    root = shutil.copytree(calm.before, tmp_path / "killed")
    # Each half of the step is met once by the clock and once by a change.
    share = (number // 2 + random.Random(f"{step} {number}").random()) / 2
    if number % 2:
        assert not run(step, root, last=1 + int(share * calm.num_changes)), "it ended before it was killed"
    else:
        run(step, root, killed_after_s=share * calm.duration_s)
    assert run(step, root)
    assert describe(root) == describe(calm.after)
