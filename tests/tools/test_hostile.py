"""Files from strangers that would bring a judge down, hold it or cheat it: one row and exit code 10."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.errors import EXIT_REFUTED, MissingInputError, StorageError
from emdenoise.files import sandbox
from emdenoise.progress import SilentProgress
from emdenoise.tools import bounds
from emdenoise.tools import check as checking
from emdenoise.tools.check import check


def add(*names: str) -> Callable[[zipfile.ZipFile], None]:
    def write(archive: zipfile.ZipFile) -> None:
        for name in names:
            entry = zipfile.ZipInfo("placeholder")
            entry.filename = name
            archive.writestr(entry, "{}")

    return write


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (add("a" * 300), "is none that a package has"),
        (add("a/" * 200 + "b"), "is none that a package has"),
        (add("./package.json"), "is none that a package has"),
        (add("closed//a.json"), "is none that a package has"),
        (add("closed/Ä.json"), "is none that a package has"),
        (add("closed/a\x1b[2K\nACCEPTED.json"), "is none that a package has"),
        (add("a", "a/b"), "a stands twice, or is a file and a folder"),
        (add("a/b/c", "A/B"), "A/B stands twice, or is a file and a folder"),
        (add("package.json/a"), "package.json stands twice, or is a file and a folder"),
        (lambda archive: archive.mkdir("package.json"), "package.json/ stands twice"),
    ],
)
def test_an_archive_that_no_disk_would_take_is_refused_and_no_fault_of_the_disk(
    write: Callable[[zipfile.ZipFile], None], reason: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("package.json", "{}")
        write(archive)
    outcome = check(package_file=tmp_path / "bad.zip", work_dir=tmp_path / "work", progress=SilentProgress())
    assert outcome.exit_code == EXIT_REFUTED
    assert outcome.message.startswith("REFUSED")
    assert reason in outcome.table[1][1]
    assert outcome.table[2][1] == "its weights were not tested"


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", bytes(1000), b"PK\x05\x06" + bytes(4) + 14 * b"\xff"])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(content)
    outcome = check(package_file=tmp_path / "bad.zip", work_dir=tmp_path / "work", progress=SilentProgress())
    assert outcome.exit_code == EXIT_REFUTED
    assert "is no whole archive" in outcome.table[1][1]


def test_a_package_that_is_not_there_is_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"absent\.zip: no such package; give the file that the submit command"):
        check(package_file=tmp_path / "absent.zip", work_dir=tmp_path / "work", progress=SilentProgress())


def spin(folder: Path) -> None:
    while True:
        pass


def test_a_package_that_would_hold_the_judge_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one with work that no bound foresees."""
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("package.json", "{}")
    monkeypatch.setattr(checking, "JUDGE_S", 0)
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    monkeypatch.setattr("emdenoise.tools.judging.judge_package", spin)
    outcome = check(package_file=tmp_path / "bad.zip", work_dir=tmp_path / "work", progress=SilentProgress())
    assert outcome.exit_code == EXIT_REFUTED
    assert "took longer than 1 s" in outcome.table[1][1]


def test_images_for_which_the_disk_has_no_room_are_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = bounds.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(bounds.shutil, "disk_usage", lambda folder: usage._replace(free=10**9 // 2))
    # 800 images of 256 × 256 px, noisy and clean in 4 bytes and a mask in one, as downloaded and as preprocessed.
    assert 800 * 256**2 * 9 * 2 == 943_718_400
    with pytest.raises(StorageError, match=r"the images of the package need 0\.879 GiB, .* has 0\.466 GiB free; free"):
        bounds.check_room(RunConfig(), tmp_path)


def test_honest_runs_are_within_all_bounds() -> None:
    assert list(bounds.list_excesses(RunConfig(), 100)) == []
    large = RunConfig().simulation.model_copy(update={"num_train": 20_000, "num_validation": 500, "num_test": 500})
    assert list(bounds.list_excesses(RunConfig(division="open", simulation=large), 500)) == []
