"""The two public STFC codes, taken from their own repositories at run time, and the Python environments that they need.

Nothing of them is part of EMDenoise: a pinned commit is cloned into a cache folder and runs from there, unchanged.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

TORCH_PACKAGES = (
    *("torch", "h5py", "numpy", "scikit-image", "pyyaml"),
    *("beautifulsoup4", "lxml", "psutil", "py-cpuinfo", "gputil", "tabulate", "setuptools"),
)
"""What sciml-bench imports; its requirements.txt also names what only its downloads and installers use."""
DONE = ".installed"
"""Marks an environment that is complete."""


@dataclass(frozen=True)
class Code:
    """A public code: its address, and the commit that docs/benchmark/comparability.md speaks of."""

    name: str
    address: str
    commit: str


MLCUBE_EXAMPLES = Code(
    "mlcube_examples",
    "https://github.com/mlcommons/mlcube_examples",
    "4c52d4164d5746a170c3f41a67599db64e7646c2",
)
SCIML_BENCH = Code(
    "sciml_bench",
    "https://github.com/stfc-sciml/sciml-bench",
    "3fbaaa0c2ce1adafd3c831e20d39c4a292743a42",
)


def fetch_code(code: Code, address: str, cache: Path) -> Path:
    """Clone the pinned commit of a code into the cache, unless it is there; gives the folder of its files."""
    folder = cache / f"{code.name}-{code.commit[:12]}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        run_or_end(["git", "clone", "--quiet", "--no-checkout", address, partial], f"cannot clone {address}")
        wrong = f"{address} has no commit {code.commit[:12]}; give a repository that has it"
        run_or_end(["git", "-C", partial, "checkout", "--quiet", "--detach", code.commit], wrong)
        partial.rename(folder)
    return folder


def make_torch(cache: Path) -> Path:
    """Make an environment with PyTorch, unless it is there; gives its Python."""
    folder = cache / "torch"
    python = folder / "bin" / "python"
    if not (folder / DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        run_or_end([sys.executable, "-m", "venv", folder], f"cannot make {folder}")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run_or_end([*pip, *TORCH_PACKAGES], "cannot install PyTorch; give --torch_python=PYTHON that has it")
        (folder / DONE).touch()
    return python


def make_legacy_keras(cache: Path) -> Path:
    """Install Keras 2 for the TensorFlow that EMDenoise runs with, and TinyDB, beside it; gives the folder.

    The code of mlcube_examples was written for Keras 2 (TensorFlow 2.3): Keras 3 refuses its arguments.
    """
    series = ".".join(version_of_tensorflow().split(".")[:2])
    folder = cache / f"legacy_keras-{series}"
    if not (folder / DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wanted = [f"tf-keras=={series}.*", "tinydb"]
        run_or_end([*pip, f"--target={folder}", *wanted], f"cannot install {' and '.join(wanted)}")
        (folder / DONE).touch()
    return folder


def version_of_tensorflow() -> str:
    """Find the version of TensorFlow, which is installed under one of two names."""
    import importlib.util

    name = "tensorflow" if importlib.util.find_spec("tensorflow") is None else "tensorflow_cpu"
    try:
        return version(name)
    except ModuleNotFoundError:
        return version("tensorflow")


def run_or_end(command: list[object], problem: str, **variables: str) -> str:
    """Run a command; where it fails, end with one line that says what went wrong."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        sys.exit(f"comparability: {problem}: {said}")
    return done.stdout
