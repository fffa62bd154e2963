"""What a run ran on: versions, processor, code. Never host names, users or absolute paths."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from emdenoise.errors import PackageError, SettingsError
from emdenoise.processes import count_processors

PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "jax", "numpy", "scipy", "scikit-image", "h5py", "abtem", "ase")
COMMIT_VARIABLE = "EMDENOISE_COMMIT"
"""Set in the container image, which has no git."""
IMAGE_VARIABLE = "EMDENOISE_IMAGE"
"""Set by the launchers: an image does not know its own hash."""

BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch", "openvino": "openvino", "numpy": "numpy"}
"""Backends that Keras knows, with the package of each."""
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_ENABLE_X64",
    "JAX_PLATFORMS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)
"""Variables by which the environment chooses how the backend computes."""


def describe_environment(accelerators: list[str]) -> dict[str, object]:
    """Describe machine and software for a record.

    Parameters
    ----------
    accelerators : list of str
        Model names, from the backend; empty on a CPU.

    Returns
    -------
    dict
        ``python``, ``system``, ``machine``, ``cpu_model``, ``cpu_count``, ``memory_gib``, ``accelerators``,
        ``packages``; ``backend`` of Keras; ``variables`` that are set and choose how the backend computes; ``image``,
        the hash of the container image, ``unknown`` where the launcher did not say it, None on a bare machine.
    """
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_model": _read_cpu_model(),
        "cpu_count": count_processors(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "accelerators": accelerators,
        "packages": {name: found for name in PACKAGES if (found := _find_version(name)) is not None},
        "backend": find_backend(),
        "variables": {name: _hide_paths(os.environ[name]) for name in VARIABLES if name in os.environ},
        "image": (os.environ.get(IMAGE_VARIABLE) or "unknown") if COMMIT_VARIABLE in os.environ else None,
    }


def describe_code() -> tuple[str, bool]:
    """Find the commit of the code that runs and whether files were changed since.

    Returns
    -------
    (str, bool)
        ``("unknown", False)`` where neither git nor the image knows.
    """
    if commit := os.environ.get(COMMIT_VARIABLE):
        return commit.removesuffix("-dirty"), commit.endswith("-dirty")
    here = Path(__file__).parent
    try:
        commit = _run_git(here, "rev-parse", "HEAD")
        return commit, _run_git(here, "status", "--porcelain", "--untracked-files=no") != ""
    except (OSError, subprocess.SubprocessError):
        return "unknown", False


def _run_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _read_cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def find_backend() -> str:
    """Find which backend Keras takes: that of ``KERAS_BACKEND``, else that of the user's ``keras.json``."""
    chosen: object = os.environ.get("KERAS_BACKEND")
    if not chosen:
        folder = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
        try:
            chosen = json.loads((folder / "keras.json").read_text(encoding="utf-8"))["backend"]
        except (OSError, ValueError, LookupError, TypeError):  # Keras ignores it, too
            chosen = None
    return str(chosen or "tensorflow")


def check_backend() -> None:
    """Check that the backend of Keras is there; must come before Keras is imported, which fails without it.

    Raises
    ------
    SettingsError
        If Keras has no such backend.
    PackageError
        If it is not installed.
    """
    backend = find_backend()
    if backend not in BACKENDS:
        raise SettingsError(
            f"the backend of Keras is {backend}, by KERAS_BACKEND or keras.json; expected {' or '.join(BACKENDS)}; "
            "set KERAS_BACKEND=tensorflow."
        )
    if find_spec(BACKENDS[backend]) is None:
        raise PackageError(
            f"the backend of Keras is {backend}, by KERAS_BACKEND or keras.json, but the package {BACKENDS[backend]} "
            "is not installed; install it, or set KERAS_BACKEND to one that is."
        )


def _hide_paths(text: str) -> str:
    return " ".join("…" if "/" in word else word for word in text.split())
