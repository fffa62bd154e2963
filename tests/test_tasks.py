"""The four tasks of a run, one after the other: what they leave, what they refuse, what survives their end."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from emdenoise.cli import DEFAULTS, list_paths
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import EMDenoiseError, MissingInputError, ModelError, SettingsError, StorageError
from emdenoise.progress import SilentProgress
from emdenoise.tasks import TASKS, Outcome

ROOT = Path(__file__).parents[1]
NAMES = list(TASKS)
Settings = dict[str, Any]


@dataclass(frozen=True)
class Workspace:
    """Folders and parameters file of a run."""

    root: Path
    settings: Settings

    @property
    def parameters_file(self) -> Path:
        return self.root / "tiny.parameters.yaml"

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def change(self, **settings: Any) -> None:
        """Write the parameters file with sections changed."""
        changed = {**self.settings}
        for section, value in settings.items():
            changed[section] = {**changed.get(section, {}), **value} if isinstance(value, dict) else value
        self.parameters_file.write_text(yaml.safe_dump(changed), encoding="utf-8")

    def run(self, name: str, progress: Any = None) -> Outcome:
        task = TASKS[name]
        paths = {option: self.root / str(DEFAULTS[option].name) for option in list_paths(task)}
        paths["parameters_file"] = self.parameters_file
        return task(**paths, progress=progress or SilentProgress())

    def copy(self, root: Path) -> "Workspace":
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return Workspace(root, self.settings)

    def list_files(self) -> dict[str, bytes]:
        files = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}

    def read_json(self, name: str) -> Any:
        return json.loads((self.root / name).read_text(encoding="utf-8"))


def run_all(root: Path, settings: Settings) -> Workspace:
    from emdenoise.simulation import simulate

    workspace = Workspace(root, settings)
    workspace.change()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "open_pool", nullcontext)
        for name in TASKS:
            workspace.run(name)
    return workspace


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Callable[..., Settings]) -> Workspace:
    """Run all tasks once; tests look at it and change copies."""
    return run_all(tmp_path_factory.mktemp("finished"), tiny_settings())


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory, finished: Workspace) -> Workspace:
    """Run all tasks a second time, in another folder."""
    return run_all(tmp_path_factory.mktemp("repeated"), finished.settings)


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    return finished.copy(tmp_path / "copy")


def remove_speeds(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: remove_speeds(value) for name, value in content.items() if name != "images_per_second"}
    return content


def remove_forgotten(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the record that preprocess removes before it begins."""
    return {name: content for name, content in files.items() if name != "data/records/preprocess.json"}


@contextmanager
def limit_file_size(num_bytes: int) -> Iterator[None]:
    """Let the system refuse larger files; a task meets it as it meets a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_leaves_what_the_readme_promises(finished: Workspace) -> None:
    files = {name for name in finished.list_files() if not name.startswith("raw_data/graphene/")}
    assert files == {
        "tiny.parameters.yaml",
        "raw_data/records/download.json",
        *(f"data/{name}" for name in ("train.h5", "validation.h5", "test.h5", "croissant.json")),
        *(f"data/records/{task}.json" for task in NAMES[:2]),
        *(f"model/{name}" for name in ("model.weights.h5", "model.json")),
        *(f"model/records/{task}.json" for task in NAMES[:3]),
        *(f"output/{name}" for name in ("scores.json", "report.html", "pictures.png")),
        *(f"output/records/{task}.json" for task in NAMES),
    }


def test_each_record_names_what_the_task_before_it_made(finished: Workspace) -> None:
    records = {task: finished.read_json(f"output/records/{task}.json") for task in NAMES}
    assert {record["settings_sha256"] for record in records.values()} == {records["test"]["settings_sha256"]}
    assert records["download"]["inputs"] == {}
    assert records["preprocess"]["inputs"] == records["download"]["outputs"]
    made = records["preprocess"]["outputs"]
    assert records["train"]["inputs"] == {name: made[name] for name in ("train.h5", "validation.h5")}
    assert records["test"]["inputs"] == {
        **{name: made[name] for name in ("validation.h5", "test.h5")},
        "weights": finished.read_json("model/model.json")["weights_sha256"],
    }


def test_the_hashes_in_the_records_are_those_of_the_files(finished: Workspace) -> None:
    for folder, task in (("raw_data", "download"), ("data", "preprocess")):
        outputs = finished.read_json(f"{folder}/records/{task}.json")["outputs"]
        assert len(outputs) == 3
        for name, content_sha256 in outputs.items():
            with RecordFile(finished / folder / name) as records:
                assert records.hash_content() == content_sha256


def test_the_score_of_the_noisy_images_follows_from_the_test_file(finished: Workspace) -> None:
    with h5py.File(finished / "data/test.h5") as file:
        error = file["noisy"][()].astype(np.float64) - file["clean"][()].astype(np.float64)
    mse = (error**2).mean(axis=(1, 2))
    noisy = finished.read_json("output/scores.json")["methods"]["noisy"]
    assert noisy["mse"]["mean"] == pytest.approx(mse.mean(), rel=1e-6)
    assert noisy["psnr_db"]["mean"] == pytest.approx((-10 * np.log10(mse)).mean(), rel=1e-6)


def test_every_method_has_its_scores_and_its_place_in_the_report(finished: Workspace) -> None:
    scores = finished.read_json("output/scores.json")
    assert list(scores["methods"]) == ["gaussian", "median", "network", "noisy"]
    assert (scores["num_images"], scores["num_specimens"], scores["division"]) == (4, 2, "open")
    report = (finished / "output/report.html").read_text(encoding="utf-8")
    assert all(name in report for name in scores["methods"])
    assert (finished / "output/pictures.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_that_a_run_leaves_names_a_path_of_the_machine(finished: Workspace) -> None:
    for name, content in finished.list_files().items():
        assert os.fsencode(finished.root) not in content, name
        assert os.fsencode(ROOT) not in content, name


def test_a_second_run_gives_the_same_data_weights_and_scores(finished: Workspace, repeated: Workspace) -> None:
    for task in ("download", "preprocess"):
        first, second = (run.read_json(f"output/records/{task}.json")["outputs"] for run in (finished, repeated))
        assert first == second
    first, second = (run.read_json("model/model.json")["weights_sha256"] for run in (finished, repeated))
    assert first == second
    first, second = (remove_speeds(run.read_json("output/scores.json")) for run in (finished, repeated))
    assert first == second


def test_a_second_training_moves_the_model_aside_and_says_so(workspace: Workspace, progress: Any) -> None:
    """It has another seed, hence other weights on the same data."""
    names = ("model.weights.h5", "model.json", "records/train.json")
    before = {name: (workspace / "model" / name).read_bytes() for name in names}
    former = workspace.read_json("model/model.json")
    workspace.change(seed=1)
    workspace.run("train", progress)
    assert sum("moved to previous/1 in the model folder" in line for line in progress.lines) == 1
    assert {name: (workspace / "model/previous/1" / name).read_bytes() for name in names} == before
    latter = workspace.read_json("model/model.json")
    assert latter["inputs"] == former["inputs"]
    assert latter["weights_sha256"] != former["weights_sha256"]


@pytest.mark.slow
def test_an_interrupted_training_goes_on_to_the_same_weights_without_the_test_images(
    workspace: Workspace, progress: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = workspace.read_json("model/model.json")["weights_sha256"]
    shutil.rmtree(workspace / "model")
    (workspace / "data/test.h5").unlink()

    def interrupt(phase: str, done: int, total: int, note: str = "") -> None:
        if done == 3:  # the first step of the second epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progress, "step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workspace.run("train", progress)
    assert not (workspace / "model/model.json").exists()
    workspace.run("train", progress)
    assert "An interrupted training of these settings is continued after epoch 1." in progress.lines
    assert workspace.read_json("model/model.json")["weights_sha256"] == expected
    assert not (workspace / "model/checkpoint").exists()


def test_the_test_does_not_need_the_training_images(workspace: Workspace) -> None:
    before = remove_speeds(workspace.read_json("output/scores.json"))
    (workspace / "data/train.h5").unlink()
    workspace.run("test")
    assert remove_speeds(workspace.read_json("output/scores.json")) == before


def test_a_test_without_classical_methods_has_a_report_too(workspace: Workspace) -> None:
    workspace.change(evaluation={"baselines": []})
    outcome = workspace.run("test")
    assert [row[0] for row in outcome.table] == ["method", "noisy", "network", "network − noisy"]
    assert "over the best classical method" not in (workspace / "output/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("task", "gone", "message"),
    [
        ("preprocess", "raw_data", r"download\.json is missing; run the download task first"),
        ("preprocess", "raw_data/graphene", r"train\.h5 .* is not in the raw data folder; run the download task first"),
        ("train", "data", r"preprocess\.json is missing; run the preprocess task first"),
        ("train", "data/train.h5", r"train\.h5 is not in the data folder; run the preprocess task first"),
        ("test", "data", r"preprocess\.json is missing; run the preprocess task first"),
        ("test", "data/test.h5", r"test\.h5 is not in the data folder; run the preprocess task first"),
        ("test", "model", r"model\.weights\.h5 is not in the model folder; run the train task first"),
        ("test", "model/model.json", r"is not in the model folder; run the train task first"),
        (
            "download",
            "tiny.parameters.yaml",
            r"tiny\.parameters\.yaml: no such parameters file; give the path of a file, or a name: default,",
        ),
    ],
)
def test_a_task_whose_predecessor_is_missing_names_the_task_to_run(
    workspace: Workspace, task: str, gone: str, message: str
) -> None:
    path = workspace / gone
    path.unlink() if path.is_file() else shutil.rmtree(path)
    before = workspace.list_files()
    with pytest.raises(MissingInputError, match=message) as caught:
        workspace.run(task)
    assert "\n" not in str(caught.value)
    assert remove_forgotten(workspace.list_files()) == remove_forgotten(before)


@pytest.mark.parametrize(
    ("task", "changes", "kind", "message"),
    [
        (
            "preprocess",
            {"data": {"source": "emps"}},
            MissingInputError,
            "has source graphene, .* names emps; run the d",
        ),
        ("preprocess", {"simulation": {"num_test": 5}}, MissingInputError, "run the download task first"),
        (
            "train",
            {"simulation": {"num_train": 5}},
            MissingInputError,
            "simulation.num_train was 4, .* has 5; run down",
        ),
        ("test", {"data": {"seed": 3}}, MissingInputError, "data.seed was 0, the parameters file has 3; run download"),
        ("test", {"model": {"filters": [8]}}, ModelError, "architecture is .* run the train task with this param"),
        ("train", {"division": "closed"}, SettingsError, "division closed: .*training.flip is True, fixed to False"),
        ("train", {"epochz": 3}, SettingsError, "epochz is not a setting"),
    ],
)
def test_a_parameters_file_changed_between_tasks_is_one_line(
    workspace: Workspace, task: str, changes: Settings, kind: type[EMDenoiseError], message: str
) -> None:
    workspace.change(**changes)
    before = workspace.list_files()
    with pytest.raises(kind, match=message) as caught:
        workspace.run(task)
    assert "\n" not in str(caught.value)
    assert remove_forgotten(workspace.list_files()) == remove_forgotten(before)


class StopAfter(SilentProgress):
    """Interrupts a task in the given phase."""

    def __init__(self, phase: str) -> None:
        self.phase = phase

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        if phase == self.phase:
            raise KeyboardInterrupt


def test_data_that_was_half_replaced_does_not_pass_for_the_former(workspace: Workspace) -> None:
    """The training images are then new, and the record of the former run would vouch for them."""
    with pytest.raises(KeyboardInterrupt):
        workspace.run("preprocess", StopAfter("preprocess test"))
    with pytest.raises(MissingInputError, match=r"preprocess\.json is missing; run the preprocess task first"):
        workspace.run("train")
    workspace.run("preprocess")
    assert not list(workspace.root.rglob(".partial-*"))


@pytest.mark.parametrize(
    ("task", "num_bytes", "name"),
    [
        ("download", 500, "records/download.json"),
        ("preprocess", 500, "data/train.h5"),
        ("preprocess", 100_000, "data/train.h5"),
        ("test", 1_000, "records/download.json"),
        ("test", 20_000, "output/pictures.png"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_no_half_file(
    workspace: Workspace, task: str, num_bytes: int, name: str
) -> None:
    before = workspace.list_files()
    message = f"{re.escape(name)} cannot be written: File too large; free space or give a folder"
    with limit_file_size(num_bytes), pytest.raises(StorageError, match=message) as caught:
        workspace.run(task)
    assert "\n" not in str(caught.value)
    after = workspace.list_files()
    assert after.keys() <= before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"output/scores.json", "output/records/test.json"}
    for name in changed:
        workspace.read_json(name)


@pytest.mark.slow
def test_a_training_on_a_full_disk_ends_in_one_line_and_not_in_a_crash(workspace: Workspace) -> None:
    """HDF5 would end the process with a segmentation fault."""
    before = workspace.list_files()
    # The disk is full for the network's weights, 60 kB, and not yet for the log.
    code = (
        "import resource, sys; from emdenoise.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY)); main()"
    )
    options = [f"--{folder}_dir={workspace / folder}" for folder in ("data", "model", "output")]
    options += [f"--parameters_file={workspace.parameters_file}", f"--log_dir={workspace / 'logs'}"]
    result = subprocess.run(
        [sys.executable, "-c", code, "train", *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == StorageError.exit_code, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "weights.h5 cannot be written: File too large; free space" in result.stderr
    assert {name: content for name, content in workspace.list_files().items() if name != "logs/train.log"} == before
