"""What a run ran on, and from which commit."""

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from emdenoise.errors import EMDenoiseError, PackageError, SettingsError
from emdenoise.results import environment
from emdenoise.results.environment import COMMIT_VARIABLE, IMAGE_VARIABLE, describe_code, describe_environment


def test_the_machine_is_described_by_json_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)
    found = describe_environment(["GPU 9000"])
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {
        "python",
        "system",
        "machine",
        "cpu_model",
        "cpu_count",
        "memory_gib",
        "accelerators",
        "packages",
        "backend",
        "variables",
        "image",
    }
    assert found["python"] == platform.python_version()
    assert found["accelerators"] == ["GPU 9000"]
    assert found["cpu_count"] == len(os.sched_getaffinity(0))
    assert found["image"] is None
    assert found["cpu_model"]


def test_the_memory_is_that_of_the_kernel() -> None:
    (total,) = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")]
    assert describe_environment([])["memory_gib"] == pytest.approx(int(total.split()[1]) / 2**20, abs=0.06)


def test_installed_packages_have_their_version_and_others_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "keras", "no-such-package"))
    assert describe_environment([])["packages"] == {"numpy": np.__version__, "keras": version("keras")}


@pytest.mark.parametrize(("value", "expected"), [("c0ffee", ("c0ffee", False)), ("c0ffee-dirty", ("c0ffee", True))])
def test_in_a_container_the_image_says_the_commit(
    value: str, expected: tuple[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, value)
    assert describe_code() == expected


@pytest.mark.parametrize(("value", "expected"), [("sha256:5f4d", "sha256:5f4d"), ("", "unknown"), (None, "unknown")])
def test_in_a_container_the_launcher_says_the_image(
    value: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "c0ffee")
    monkeypatch.delenv(IMAGE_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(IMAGE_VARIABLE, value)
    assert describe_environment([])["image"] == expected


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with one committed file, as if it were the place of this package."""
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    (tmp_path / "code.py").write_text("1\n", encoding="utf-8")
    identity = ("-c", "user.name=test", "-c", "user.email=test", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "code.py"), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_from_a_checkout_git_says_the_commit(checkout: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True)
    assert describe_code() == (head.stdout.strip(), False)
    (checkout / "notes.txt").write_text("not code\n", encoding="utf-8")
    assert describe_code() == (head.stdout.strip(), False)
    (checkout / "code.py").write_text("2\n", encoding="utf-8")
    assert describe_code() == (head.stdout.strip(), True)


def test_without_git_the_commit_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout / "nowhere"))
    assert describe_code() == ("unknown", False)


def test_outside_a_repository_the_commit_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(checkout / "nowhere"))
    assert describe_code() == ("unknown", False)


def test_the_record_says_what_the_environment_chose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert describe_environment([])["backend"] == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert describe_environment([])["backend"] == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=0 --xla_dump_to=/home/somebody")
    found = describe_environment([])
    assert found["backend"] == "torch"
    assert found["variables"]["XLA_FLAGS"] == "--xla_gpu_autotune_level=0 …"


@pytest.mark.parametrize(
    ("backend", "kind", "message"),
    [
        (
            "none",
            SettingsError,
            r"^the backend of Keras is none, .*; expected tensorflow or jax .*; set KERAS_",
        ),
        (
            "missing",
            PackageError,
            r"^the backend of Keras is missing, .* the package no_such is not installed; in",
        ),
    ],
)
def test_a_backend_that_is_not_there_is_one_line(
    backend: str, kind: type[EMDenoiseError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "BACKENDS", {**environment.BACKENDS, "missing": "no_such"})
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(kind, match=message):
        environment.check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    environment.check_backend()
