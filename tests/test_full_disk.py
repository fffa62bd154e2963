"""Disks that are full or read-only, and two runs at once: one line, nothing half, and a rerun ends as undisturbed."""

import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml
from tifffile import imwrite

from emdenoise.cli import COUNTS, DEFAULTS, TOOLS, WORDS, list_paths, run_task
from emdenoise.errors import StorageError
from emdenoise.files.atomic import hash_file
from emdenoise.progress import SilentProgress
from emdenoise.results.environment import COMMIT_VARIABLE
from emdenoise.tasks import TASKS
from emdenoise.tools import study
from emdenoise.tools.export import export

COMMANDS = {name: command for name, command in {**TASKS, **TOOLS}.items() if name != "list"}
SYSTEM_FILE = Path(__file__).parents[1] / "workspace" / "parameters" / "example.system.yaml"
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
Settings = dict[str, Any]
Description = dict[str, Any]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("no_pool", "logs_of_this_test_alone", "same_commit")]


@dataclass
class Disk:
    """A small file system in memory, whose room can be changed."""

    path: Path
    begun: tuple[int, int] = (0, 0)
    """What was taken at first [KiB], [files]."""

    def mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "emdenoise-test", str(self.path)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def count(self) -> tuple[int, int]:
        state = os.statvfs(self.path)
        return (state.f_blocks - state.f_bfree) * state.f_frsize // 1024, state.f_files - state.f_ffree

    def leave(self, *, kib: int = 65536, files: int = 10_000) -> None:
        """Leave this room for content and this many new files and folders, on top of what was there at first."""
        (self.path / "ballast").unlink(missing_ok=True)
        sizes, numbers = zip(self.begun, self.count(), strict=True)
        size_kib, num_files = max(sizes[0] + kib, sizes[1]), max(numbers[0] + files, numbers[1])
        self.mount(f"remount,size={size_kib or PAGE_KIB}k,nr_inodes={num_files}")
        if size_kib == 0:  # that would be no limit
            (self.path / "ballast").write_bytes(bytes(1024 * PAGE_KIB))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount a disk for one test; skipped where a test may not do that."""
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    try:
        disk.mount("size=64m,nr_inodes=10000")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"may not mount a file system: {getattr(error, 'stderr', None) or error}")
    try:
        yield disk
    finally:
        # Lazily: what a failed test left open must not keep the disk.
        subprocess.run(["umount", "-l", str(disk.path)], check=True)


@pytest.fixture(scope="module")
def same_commit() -> Iterator[None]:
    """Let all records name one clean commit, as packages must, also those of processes that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(COMMIT_VARIABLE, "a" * 40)
        yield


@dataclass(frozen=True)
class Workplace:
    """Where each option of the commands points to: below `root`, or on a disk."""

    root: Path
    disk: Disk | None = None
    on_disk: tuple[str, ...] = ()

    def __getitem__(self, option: str) -> Path:
        if option in ("system_file", "result_dir"):
            return SYSTEM_FILE if option == "system_file" else self["output_dir"]
        place = self.disk.path if self.disk and option in self.on_disk else self.root
        if option == "runs_dir":
            return self["study_dir"] / "runs"
        names = {"parameters_file": "tiny.yaml", "study_file": "tiny.study.yaml"}
        names |= {"search_file": "tiny.search.yaml", "image_file": "image.tif", "predicted_file": "predicted.tif"}
        return place / (names.get(option) or DEFAULTS[option].name)

    def run(self, name: str) -> int:
        task = COMMANDS[name]
        others = WORDS | COUNTS
        given = {option: others[option] for option in inspect.signature(task).parameters if option in others}
        return run_task(name, task, self["log_dir"], {option: self[option] for option in list_paths(task)} | given)

    def must_run(self, *names: str) -> None:
        for name in names:
            assert self.run(name) == 0, name

    def take(self, source: "Workplace", *options: str) -> None:
        """Take over files and folders as they are in another workplace."""
        for option in options:
            if source[option].is_dir():
                shutil.rmtree(self[option], ignore_errors=True)
                shutil.copytree(source[option], self[option])
            elif source[option].exists():
                shutil.copyfile(source[option], self[option])


FOUR = ("raw_data_dir", "data_dir", "model_dir", "output_dir")
FILES = ("parameters_file", "study_file", "search_file")
PLACES = (
    *FILES,
    *FOUR,
    *(
        "study_dir",
        "search_dir",
        "work_dir",
        "package_file",
        "crate_file",
        "image_file",
        "predicted_file",
        "export_dir",
    ),
)


def make_workplace(root: Path, settings: Settings) -> Workplace:
    workplace = Workplace(root)
    workplace["parameters_file"].write_text(yaml.safe_dump(settings))
    study = {"base": settings, "variants": {"a": {}}, "seeds": [settings["seed"]], "metric": "psnr_db"}
    workplace["study_file"].write_text(yaml.safe_dump(study))
    search = {"parameters_file": str(workplace["parameters_file"]), "trials": 1}
    search["settings"] = {"training.learning_rate": {"low": 0.001, "high": 0.1}}
    workplace["search_file"].write_text(yaml.safe_dump(search))
    workplace.must_run(*TASKS)
    return workplace


@pytest.fixture(scope="module")
def choose_settings(tiny_settings: Callable[..., Settings]) -> Callable[[int], Settings]:
    """Give a function from a seed to settings with a pretraining and with early stopping, which write most files."""
    return lambda seed: tiny_settings(
        seed=seed,
        data={"seed": seed},
        training={"early_stopping_epochs": 5},
        pretraining={"method": "denoise", "epochs": 1, "batch_size": 4},
    )


@pytest.fixture(scope="module")
def calm(
    tmp_path_factory: pytest.TempPathFactory,
    choose_settings: Callable[[int], Settings],
    no_pool: None,
    same_commit: None,
) -> Workplace:
    """Run all tasks undisturbed."""
    return make_workplace(tmp_path_factory.mktemp("calm"), choose_settings(0))


@pytest.fixture(scope="module")
def former(
    tmp_path_factory: pytest.TempPathFactory,
    choose_settings: Callable[[int], Settings],
    no_pool: None,
    same_commit: None,
) -> Workplace:
    """Run all tasks with other seeds: a result that is there already when the disk is full."""
    return make_workplace(tmp_path_factory.mktemp("former"), choose_settings(1))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def check_model(folder: Path) -> None:
    """Check that weights, description and record are of one training, where they are there."""
    if not (folder / "model.json").exists():
        return
    description = read_json(folder / "model.json")
    assert hash_file(folder / "model.weights.h5") == description["file_sha256"], folder
    if (folder / "records" / "train.json").exists():
        record = read_json(folder / "records" / "train.json")
        assert record["outputs"]["weights"] == description["weights_sha256"], folder


def check_data(folder: Path) -> None:
    """Check that images and record are of one run, where there is a record."""
    if folder.name == "data" and (folder / "records" / "preprocess.json").exists():
        hashes = read_json(folder / "records" / "preprocess.json")["results"]["file_sha256"]
        assert {name: hash_file(folder / name) for name in hashes} == hashes, folder


def check_output(folder: Path) -> None:
    """Check that records, scores, report and pictures are of one test, where there is its record."""
    if (folder / "records" / "test.json").exists():
        test, train = (read_json(folder / "records" / f"{task}.json") for task in ("test", "train"))
        assert test["inputs"]["weights"] == train["outputs"]["weights"], folder
        assert test["settings_sha256"] == train["settings_sha256"], folder
        values = test["results"]["per_image"]["network"]["psnr_db"]
        mean = read_json(folder / "scores.json")["methods"]["network"]["psnr_db"]["mean"]
        assert mean == pytest.approx(sum(values) / len(values)), folder
        assert test["inputs"]["weights"][:16] in (folder / "report.html").read_text(encoding="utf-8"), folder
        assert (folder / "pictures.png").exists(), folder


def check_package(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        package = json.loads(archive.read("package.json"))
        assert set(archive.namelist()) == {*package["files"], "package.json"}
        for name, digest in package["files"].items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest


def check_that_nothing_is_half(*places: Path) -> None:
    """Check that each file is whole, and that files which vouch for each other are of one run."""
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            assert not path.name.startswith(".partial"), path
            if path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".h5":
                with h5py.File(path) as file:
                    assert len(file) > 0, path
            elif path.suffix == ".zip":
                check_package(path)
            elif path.is_dir():
                check_model(path)
                check_data(path)
                check_output(path)


@dataclass(frozen=True)
class Case:
    """A command that shall meet a full disk: options on the disk, and which of them are as of another run at first."""

    name: str
    on_disk: tuple[str, ...]
    reads: tuple[str, ...] = ()
    written: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}-{'-'.join(self.on_disk)}"


CASES = {
    str(case): case
    for case in (
        Case("download", ("raw_data_dir",), written=("raw_data_dir",)),
        Case("preprocess", ("data_dir",), reads=("raw_data_dir",), written=("data_dir",)),
        Case("train", ("model_dir",), reads=("data_dir",), written=("model_dir", "output_dir")),
        Case("train", ("output_dir",), reads=("data_dir",), written=("model_dir", "output_dir")),
        Case("test", ("output_dir",), reads=("data_dir", "model_dir"), written=("output_dir",)),
        Case("rescore", ("work_dir",), reads=("data_dir", "model_dir", "output_dir"), written=("work_dir",)),
        Case("verify", ("work_dir",), reads=("output_dir",), written=("work_dir",)),
        Case("study", ("study_dir",), written=("study_dir",)),
        Case("submit", ("package_file",), reads=("study_dir",), written=("package_file",)),
        Case("check", ("work_dir",), reads=("package_file",), written=("work_dir",)),
    )
}


@dataclass(frozen=True)
class Trial:
    """One command on one disk."""

    case: Case
    place: Workplace
    expect: Callable[[], Description]
    describe: Callable[[Path], Description]
    capfd: pytest.CaptureFixture[str]
    named: list[str] = field(default_factory=list)
    """Files and folders that could not be written, one for each failure."""

    @property
    def disk(self) -> Disk:
        assert self.place.disk is not None
        return self.place.disk

    def fails_as_it_should(self) -> bool:
        """Run the command; where it fails, check what it says and leaves."""
        self.capfd.readouterr()
        code = self.place.run(self.case.name)
        shown = self.capfd.readouterr().err
        check_that_nothing_is_half(*(self.place[option] for option in self.case.written if self.place[option].exists()))
        if code == 0:
            assert shown == ""
            return False
        assert code == StorageError.exit_code, shown
        assert len(shown.splitlines()) == 1, shown
        assert shown.startswith(f"emdenoise {self.case.name}: "), shown
        found = re.search(r"[^/ ]+/([^/ ]+) cannot be written: No space left on device; free space or give a ", shown)
        assert found, shown
        if self.case.name in ("train", "study"):  # however often it fails, it keeps no more than the model before it
            assert {path.name for path in self.place.root.rglob("previous/*")} <= {"1"}
        self.named.append(re.sub(r"-\d{5}\.", ".", found[1]))  # checkpoints without the number of the epoch
        return True

    def leave(self, **room: int) -> None:
        """Leave this room, as `Disk.leave` does, for the next trial."""
        if self.case.name == "verify":  # each repetition keeps the model of the one before, which takes more room
            shutil.rmtree(self.place["work_dir"] / "model" / "previous", ignore_errors=True)
        self.disk.leave(**room)

    def ends_as_undisturbed(self) -> None:
        self.leave()
        if self.fails_as_it_should():
            pytest.fail("the disk is free")
        assert describe_written(self.case, self.place, self.describe) == self.expect()


def describe_written(case: Case, place: Workplace, describe: Callable[[Path], Description]) -> Description:
    found: Description = {}
    for option in case.written:
        if case.name == "train" and option == "output_dir":
            records = describe(place[option] / "records")
            found |= {name: value for name, value in records.items() if name != "test.json"}
            continue
        if place[option].is_file():
            found[option] = hash_file(place[option])
            continue
        content = describe(place[option])
        found |= {f"{option}/{name}": value for name, value in content.items()}
    return found


Begin = Callable[..., Trial]


@pytest.fixture
def begin(
    calm: Workplace,
    former: Workplace,
    disk: Disk,
    tmp_path: Path,
    describe: Callable[[Path], Description],
    capfd: pytest.CaptureFixture[str],
) -> Begin:
    """Give a function that makes a command ready to meet a full disk.

    What it reads is there; what it writes is as a former run with other seeds left it, or empty.
    """

    def prepare(case: Case, *, is_new: bool = False) -> Trial:
        run_what_is_missing(calm, *case.reads)
        place = Workplace(tmp_path, disk, case.on_disk)
        place.take(calm, *FILES, *case.reads)
        if not is_new:
            run_what_is_missing(former, *case.written, tool=case.name)
            place.take(former, *case.written)
        disk.begun = disk.count()

        def expect() -> Description:
            run_what_is_missing(calm, *case.written, tool=case.name)
            found = describe_written(case, calm, describe)
            if is_new or case.name not in ("download", "verify", "check", "study"):
                return found
            # Images of the former recipe stay beside those of the new one, and so do run and network of another seed.
            kept = ("/graphene/", "runs/a-all-1/", "study_dir/pretrained/")
            old = describe_written(case, former, describe)
            return {name: value for name, value in old.items() if any(part in name for part in kept)} | found

        return Trial(case, place, expect, describe, capfd)

    return prepare


def run_what_is_missing(workplace: Workplace, *options: str, tool: str = "") -> None:
    """Run the tools that make these folders and files, once for all tests."""
    if {"study_dir", "package_file"} & set(options) and not workplace["study_dir"].exists():
        workplace.must_run("study")
    if "package_file" in options and not workplace["package_file"].exists():
        workplace.must_run("submit")
    tool_file = workplace.root / "work_dir.txt"
    if "work_dir" in options and not (tool_file.exists() and tool_file.read_text() == tool):
        shutil.rmtree(workplace["work_dir"], ignore_errors=True)
        if tool == "check":
            run_what_is_missing(workplace, "package_file")
        workplace.must_run(tool)
        tool_file.write_text(tool)


TABLES_AND_PICTURES = {"study.json", "study.md", "study.png"}
RECORDS = {f"{task}.json" for task in TASKS}
TESTED = {"scores.json", "pictures.png", "report.html"}
TRAINED = {"epoch.weights.h5", "best.weights.h5", "state.json", "model.weights.h5", "model.json", "train.json"}
PREPROCESSED = {"train.h5", "validation.h5", "test.h5", "croissant.json"}
WRITERS: dict[str, set[str]] = {
    "download-raw_data_dir": {"train.h5", "validation.h5", "test.h5", "download.json"},
    "preprocess-data_dir": PREPROCESSED | {"download.json", "preprocess.json"},
    "train-model_dir": TRAINED | {"download.json", "preprocess.json"},
    "train-output_dir": RECORDS - {"test.json"},
    "test-output_dir": TESTED | RECORDS,
    "rescore-work_dir": TESTED | RECORDS | {"verify.parameters.yaml"},
    # Files of a test that take the room of the checkpoint, which the training before it removed, are not met.
    "verify-work_dir": PREPROCESSED | TRAINED | {"verify.parameters.yaml", "download.json", "preprocess.json"},
    "study-study_dir": PREPROCESSED
    | TRAINED
    | RECORDS
    | {"pictures.png", "report.html", "run.parameters.yaml"}
    | TABLES_AND_PICTURES,
    "submit-package_file": {"submission.zip", "scores.json", "result.txt", "package.json", "model.weights.h5"}
    | RECORDS,
    "check-work_dir": PREPROCESSED | TESTED | {"model.weights.h5", "result.txt", "verify.parameters.yaml"},
}
"""What each command must have met a full disk at, when it was tried with room for no file, one file, two, …"""
QUICK = ("download-raw_data_dir", "preprocess-data_dir", "submit-package_file")


def mark(name: str, *, is_new: bool) -> Any:
    is_quick = name in QUICK and (is_new or name != "submit-package_file")
    return pytest.param(name, is_new, marks=[] if is_quick else pytest.mark.slow, id=f"{name}-{is_new}")


@pytest.mark.parametrize(("name", "is_new"), [mark(name, is_new=True) for name in CASES])
def test_every_file_that_finds_no_room_is_one_line_and_the_rerun_ends_as_undisturbed(
    name: str, is_new: bool, begin: Begin
) -> None:
    """One more file fits at each trial, until all do."""
    trial = begin(CASES[name], is_new=is_new)
    for files in range(100):
        trial.leave(files=files)
        if not trial.fails_as_it_should():
            break
    else:
        pytest.fail("each trial takes more room than the one before")
    assert WRITERS[name] - set(trial.named) == set()
    trial.ends_as_undisturbed()


@pytest.mark.parametrize(("name", "is_new"), [mark(name, is_new=is_new) for name in CASES for is_new in (True, False)])
def test_every_size_that_is_too_small_is_one_line_and_the_rerun_ends_as_undisturbed(
    name: str, is_new: bool, begin: Begin
) -> None:
    """The disk grows by two pages; for slow commands by twice as much, and so on, until another file meets its end."""
    trial, kib, num_pages = begin(CASES[name], is_new=is_new), 0, 2
    trial.leave(kib=kib)
    while trial.fails_as_it_should():
        is_same = name not in QUICK and trial.named[-2:] == 2 * trial.named[-1:]
        num_pages = min(2 * num_pages, 32) if is_same else 2
        kib += PAGE_KIB * num_pages
        trial.leave(kib=kib)
    # A training removes a larger record from the former output than those that it writes one by one.
    always_has_room = (name, is_new) == ("train-output_dir", False)
    assert bool(trial.named) is not always_has_room
    trial.ends_as_undisturbed()


@pytest.mark.parametrize(
    ("name", "kib", "file"),
    [
        ("train-model_dir", 16, "epoch.weights.h5"),
        ("test-output_dir", 16, "pictures.png"),
        ("rescore-work_dir", 0, "verify.parameters.yaml"),
        ("verify-work_dir", 64, "train.h5"),
        ("study-study_dir", 0, "run.parameters.yaml"),
        ("check-work_dir", 16, "model.weights.h5"),
        pytest.param("check-work_dir", 200, "train.h5", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_one_line_and_the_former_result_is_whole_or_absent(
    name: str, kib: int, file: str, begin: Begin
) -> None:
    has_former = name in ("train-model_dir", "test-output_dir")
    trial = begin(CASES[name], is_new=not has_former)
    trial.leave(kib=kib)
    assert trial.fails_as_it_should()
    assert trial.named == [file]
    if has_former:
        trial.ends_as_undisturbed()


@pytest.mark.parametrize("name", ["preprocess", pytest.param("train", marks=pytest.mark.slow)])
def test_a_task_whose_log_finds_no_room_does_its_work(
    name: str, calm: Workplace, disk: Disk, tmp_path: Path, capfd: pytest.CaptureFixture[str], describe: Any
) -> None:
    place = Workplace(tmp_path, disk, ("log_dir",))
    case = next(case for case in CASES.values() if case.name == name)
    place.take(calm, *FILES, *case.reads)
    disk.leave(files=0)
    assert place.run(name) == StorageError.exit_code
    (line,) = capfd.readouterr().err.splitlines()
    assert re.search(
        r"\.log cannot be written: No space left on device; free space or give a --log_dir that you may", line
    )
    disk.leave(kib=0)
    assert place.run(name) == 0
    assert capfd.readouterr().err == ""
    assert describe_written(case, place, describe) == describe_written(case, calm, describe)


@pytest.mark.parametrize(
    "name", [name for name in COMMANDS if name != "export-stfc"]
)  # it wants images of 256 px first
def test_a_workspace_that_may_only_be_read_is_one_line_and_stays_as_it_was(
    name: str, calm: Workplace, disk: Disk, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if name == "search":
        pytest.importorskip("optuna", reason="the extra search is not installed")
    place = Workplace(tmp_path, disk, PLACES)
    needed = {"study": ("study_dir",), "submit": ("study_dir",), "check": ("package_file",)}.get(name, ())
    run_what_is_missing(calm, *needed)
    place.take(calm, *FILES, *FOUR, *needed)
    with h5py.File(calm["data_dir"] / "test.h5") as images:
        imwrite(place["image_file"], images["noisy"][0])
    if name == "simulate-part":  # else there is nothing to simulate
        shutil.rmtree(place["raw_data_dir"] / "graphene")
    before = {path: path.read_bytes() for path in disk.path.rglob("*") if path.is_file()}
    disk.mount("remount,ro")
    capfd.readouterr()
    assert place.run(name) == StorageError.exit_code
    (line,) = capfd.readouterr().err.splitlines()
    assert "cannot be written: Read-only file system; free space or give a folder that you may write" in line
    assert {path: path.read_bytes() for path in disk.path.rglob("*") if path.is_file()} == before


class Interloper(SilentProgress):
    """Runs other commands in the midst of a task, and keeps what they say."""

    def __init__(self, place: Workplace, names: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
        self.place, self.names, self.capfd = place, names, capfd
        self.said: dict[str, tuple[int, str]] = {}

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        if not self.said:
            self.capfd.readouterr()
            for name in self.names:
                code = self.place.run(name)
                self.said[name] = (code, self.capfd.readouterr().err)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("download", ("download", "preprocess")),
        ("preprocess", ("download", "preprocess", "train", "test")),
        ("train", ("preprocess", "train", "test", "rescore")),
        ("test", ("preprocess", "train", "test", "verify")),
        ("study", ("study", "submit")),
        pytest.param("check", ("check",), marks=pytest.mark.slow),
        pytest.param("verify", ("verify", "rescore"), marks=pytest.mark.slow),
    ],
)
def test_a_run_in_the_midst_of_another_is_refused_and_disturbs_nothing(
    name: str,
    others: tuple[str, ...],
    calm: Workplace,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    describe: Callable[[Path], Description],
) -> None:
    case = next(case for case in CASES.values() if case.name == name)
    run_what_is_missing(calm, *case.reads, *case.written, tool=name)
    place = Workplace(tmp_path)
    place.take(calm, *FILES, *FOUR, "package_file", *case.reads, *case.written)
    if name == "download":
        shutil.rmtree(place["raw_data_dir"] / "graphene")
    if name == "study":
        (place["runs_dir"] / "a-all-0" / "output" / "records" / "test.json").unlink()
    progress, task = Interloper(place, others, capfd), COMMANDS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "SilentProgress", lambda: progress)
        own = SilentProgress() if name == "study" else progress
        task(**{option: place[option] for option in list_paths(task)}, progress=own)
    assert set(progress.said) == set(others)
    for other, (code, said) in progress.said.items():
        assert code == StorageError.exit_code, (other, said)
        assert re.fullmatch(rf"emdenoise {other}: \S+ is in use by another task; wait until it ends, or .*\n", said), (
            said
        )
    assert describe_written(case, place, describe) == describe_written(case, calm, describe)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TASKS, "study"])
def test_two_processes_at_once_end_as_one(
    name: str, calm: Workplace, tmp_path: Path, describe: Callable[[Path], Description]
) -> None:
    case = next(case for case in CASES.values() if case.name == name)
    run_what_is_missing(calm, *case.reads, *case.written, tool=name)
    place = Workplace(tmp_path)
    place.take(calm, *FILES, *case.reads)
    options = [f"--{option}={place[option]}" for option in [*list_paths(COMMANDS[name]), "log_dir"]]
    command = [sys.executable, "-m", "emdenoise", name, *options]
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    assert ("", 0) in ends
    for said, code in ends:
        assert code in (0, StorageError.exit_code), said
        assert code == 0 or re.fullmatch(rf"emdenoise {name}: \S+ is in use by another task; wait .*\n", said), said
    check_that_nothing_is_half(*(place[option] for option in case.written))
    assert describe_written(case, place, describe) == describe_written(case, calm, describe)


def test_an_8_bit_export_ends_in_one_line_wherever_the_disk_is_full(calm: Workplace, disk: Disk) -> None:
    """ONNX Runtime cuts a file short where there is no room, and says nothing."""
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    warnings.simplefilter("default")  # tf2onnx and its adapter in Keras use names that NumPy gave up
    folders = {"model_dir": calm["model_dir"], "data_dir": calm["data_dir"], "export_dir": disk.path / "export"}
    for size_kib in (40, 320):
        disk.leave(kib=size_kib)
        with pytest.raises(StorageError, match="No space left on device"):
            export(**folders, export_format="openvino-int8", progress=SilentProgress())
        assert not list(folders["export_dir"].iterdir())
    disk.leave(kib=4000)
    assert export(**folders, export_format="openvino-int8", progress=SilentProgress()).exit_code == 0
