"""The bundle for sites without internet: installed and run without a network, and refused when it is damaged."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.engine import TASKS, copy_checkout, find_image, needs, read_results, run

OFFLINE = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
pytestmark = [pytest.mark.slow, needs("git"), needs("unshare")]


def commit_checkout(folder: Path) -> Path:
    """Copy the project as it lies here, as a commit of its own: a bundle is made of a commit."""
    checkout = copy_checkout(folder)
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (("init", "--quiet"), ("add", "--all"), (*author, "commit", "--quiet", "--message=all")):
        subprocess.run(["git", "-C", checkout, *command], check=True)
    return checkout


def make_bundle(folder: Path, ways: str, environment: dict[str, str]) -> Path:
    """Make a bundle with some raw data in a new folder; gives its path."""
    checkout = commit_checkout(folder / "checkout")
    (folder / "workspace" / "raw_data" / "folder").mkdir(parents=True)
    (folder / "workspace" / "raw_data" / "folder" / "mine.tif").write_text("mine")
    made = run(
        *(checkout / "build" / "bundle.sh", ways, folder / "bundle", folder / "workspace"),
        env={**environment, "PYTHON": sys.executable},
    )
    assert made.returncode == 0, made.stderr
    return folder / "bundle"


@pytest.fixture(scope="module")
def site(
    image: str, apptainer: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Install a whole bundle without a network and with an empty home; gives the folder and its environment."""
    folder = tmp_path_factory.mktemp("site")
    bundle = make_bundle(folder, "bare,mlcube,docker,apptainer", apptainer)
    bundled = find_image()
    assert run("make", "image").returncode == 0
    assert find_image() != bundled
    (folder / "home").mkdir()
    kept = ("PATH", "APPTAINER_NO_PRIVS", "OMP_NUM_THREADS")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HOME": str(folder / "home"), "PYTHON": getattr(sys, "_base_executable", sys.executable)}
    environment |= {name: apptainer[name] for name in kept if name in apptainer}
    done = run(
        *(*OFFLINE, bundle / "install.sh", "bare,mlcube,docker,apptainer", folder / "emdenoise"), env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert find_image() == bundled
    shutil.rmtree(bundle)
    yield folder / "emdenoise", environment
    assert run("make", "image").returncode == 0


@needs("docker")
@needs("apptainer")
@pytest.mark.parametrize("launcher", ["bare", "apptainer"])
def test_a_site_without_network_gets_the_numbers_of_the_bare_machine(
    launcher: str, site: tuple[Path, dict[str, str]], workspace: Path, bare_results: dict[str, Any]
) -> None:
    installed, environment = site
    parameters = workspace / "parameters" / "tiny.parameters.yaml"
    done = run(*OFFLINE, installed / "run" / f"{launcher}.sh", TASKS, workspace, parameters, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_results(workspace) == bare_results
    commit = run("git", "-C", installed, "rev-parse", "HEAD").stdout.strip()
    assert f'"commit": "{commit}"' in (workspace / "output" / "records" / "test.json").read_text() or launcher != "bare"


@needs("docker")
@needs("apptainer")
def test_a_site_without_network_runs_a_task_by_mlcube(site: tuple[Path, dict[str, str]]) -> None:
    installed, environment = site
    shutil.copy(Path(__file__).parents[2] / "platforms" / "settings.yaml", installed.parent / "settings.yaml")
    (installed / "workspace" / "parameters" / "tiny.parameters.yaml").write_text(
        "division: open\nsimulation: {num_train: 2, num_validation: 2, num_test: 2, image_size_px: 64}\n"
    )
    run(
        *(*OFFLINE, installed / ".venv-mlcube" / "bin" / "mlcube", "run", f"--mlcube={installed}", "--task=download"),
        *("--platform=singularity", "parameters_file=parameters/tiny.parameters.yaml"),
        env={**environment, "MLCUBE_SYSTEM_SETTINGS": str(installed.parent / "settings.yaml")},
    )
    assert (installed / "workspace" / "raw_data" / "records" / "download.json").exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a bundle of the least packages."""
    return make_bundle(tmp_path_factory.mktemp("small"), "mlcube", dict(os.environ))


def test_raw_data_go_along(small: Path, tmp_path: Path) -> None:
    done = run(*OFFLINE, small / "install.sh", "mlcube", tmp_path / "emdenoise")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "emdenoise" / "workspace" / "raw_data" / "folder" / "mine.tif").read_text() == "mine"


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "changed": ("mlcube/mlcube-0.0.9-py3-none-any.whl", change, "mlcube/mlcube-0.0.9-py3-none-any.whl is damaged"),
    "missing": ("emdenoise.gitbundle", Path.unlink, "emdenoise.gitbundle is missing"),
    "too many": ("mlcube/other.whl", Path.touch, "mlcube/other.whl is not in SHA256SUMS"),
    "no list": ("SHA256SUMS", Path.unlink, "SHA256SUMS is missing"),
    "short list": ("SHA256SUMS", shorten, "emdenoise.gitbundle is not in SHA256SUMS"),
    "damaged list": ("SHA256SUMS", lambda path: path.write_bytes(path.read_bytes()[:-80]), "SHA256SUMS is damaged"),
    "empty list": ("SHA256SUMS", lambda path: path.write_text(""), "is not in SHA256SUMS"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_one_line_and_installs_nothing(damage: str, small: Path, tmp_path: Path) -> None:
    name, spoil, said = DAMAGES[damage]
    bundle = shutil.copytree(small, tmp_path / "bundle")
    spoil(bundle / name)
    done = run(bundle / "install.sh", "mlcube", tmp_path / "emdenoise")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "emdenoise").exists()


@pytest.mark.parametrize(
    ("ways", "folder", "said"),
    [
        ("apptainer", "emdenoise", "this bundle is not for apptainer"),
        ("podman", "emdenoise", "podman is no way; known are bare, mlcube, docker, apptainer"),
        ("mlcube", "bundle", "is there already"),
    ],
)
def test_what_a_bundle_cannot_do_is_one_line(ways: str, folder: str, said: str, small: Path) -> None:
    done = run(small / "install.sh", ways, small.parent / folder)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_the_packages_of_another_python_are_refused_in_one_line(small: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(small, tmp_path / "bundle")
    old, new = (bundle / "mlcube" / "python").read_text(), "2.7 linux-vax\n"
    (bundle / "mlcube" / "python").write_text(new)
    sums = {text: subprocess.check_output(["sha256sum"], input=text.encode())[:64].decode() for text in (old, new)}
    listed = (bundle / "SHA256SUMS").read_text()
    (bundle / "SHA256SUMS").write_text(listed.replace(sums[old], sums[new]))
    done = run(bundle / "install.sh", "mlcube", tmp_path / "emdenoise")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the packages of this bundle are for 2.7 linux-vax: set PYTHON" in done.stderr


def test_what_is_not_committed_is_not_bundled(tmp_path: Path) -> None:
    checkout = commit_checkout(tmp_path / "checkout")
    (checkout / "README.md").write_text("changed")
    done = run(checkout / "build" / "bundle.sh", "mlcube", tmp_path / "bundle")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "a bundle is made of a commit" in done.stderr
    assert not (tmp_path / "bundle").exists()
