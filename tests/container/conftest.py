"""What the tests in real containers share: the image, a tiny run, and the same run on the bare machine."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.engine import IMAGE, PARAMETERS, ROOT, TASKS, make_sif, read_results, run


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image that is tested."""
    result = run("make", "image")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return IMAGE


@pytest.fixture(scope="session")
def podman_image(image: str) -> dict[str, str]:
    """Give Podman the image; returns the environment in which it works on this machine."""
    environment = dict(os.environ)
    tuning = ROOT.parent / "shared" / "tools" / "podman-containers.conf"
    if tuning.exists() and os.geteuid() == 0:
        environment.setdefault("CONTAINERS_CONF", str(tuning))
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        subprocess.run(["podman", "load", "--quiet"], check=True, env=environment, stdin=saving.stdout)
    return environment


@pytest.fixture(scope="session")
def apptainer(image: str) -> Iterator[dict[str, str]]:
    """Make a SIF of the image; gives the environment that names it for the launcher.

    A file that TEST_SIF names is made once and stays; the launchers refuse it where it is of other code.
    """
    with tempfile.TemporaryDirectory() as folder:
        yield make_sif(Path(os.environ.get("TEST_SIF", f"{folder}/emdenoise.sif")))


@pytest.fixture
def workspace() -> Iterator[Path]:
    """Make a workspace with a tiny parameters file, in a folder that any user may look into."""
    with tempfile.TemporaryDirectory(prefix="emdenoise-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        (path / "parameters").mkdir()
        (path / "parameters" / "tiny.parameters.yaml").write_text(PARAMETERS)
        yield path


@pytest.fixture(scope="session")
def bare_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the tiny parameters file without a container."""
    folder = tmp_path_factory.mktemp("bare")
    parameters = folder / "tiny.parameters.yaml"
    parameters.write_text(PARAMETERS)
    program = Path(sys.executable).with_name("emdenoise")
    result = run("run/bare.sh", TASKS, folder, parameters, env={**os.environ, "EMDENOISE": str(program)})
    assert result.returncode == 0, result.stdout + result.stderr
    return read_results(folder)
