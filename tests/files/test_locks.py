"""Locks of folders: one writer or many readers, and nothing left behind."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emdenoise.errors import StorageError
from emdenoise.files import locks
from emdenoise.files.locks import LOCK_FILE, hold_folders, lock_file, lock_folder


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [(True, True, True), (True, False, True), (False, True, True), (False, False, False)],
)
def test_a_folder_has_one_writer_or_many_readers(first: bool, second: bool, is_refused: bool, tmp_path: Path) -> None:
    with lock_folder(tmp_path, is_written=first):
        if is_refused:
            with pytest.raises(StorageError, match="is in use by another task; wait until it ends"):
                lock_folder(tmp_path, is_written=second).__enter__()
        else:
            with lock_folder(tmp_path, is_written=second):
                pass
    with lock_folder(tmp_path, is_written=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from emdenoise.files.locks import lock_folder\n"
        "with lock_folder(Path(sys.argv[1]), is_written=True):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match="is in use"):
            lock_folder(tmp_path, is_written=False).__enter__()
        process.kill()
        process.wait()
    with lock_folder(tmp_path, is_written=True):
        pass


def test_a_task_makes_what_it_writes_and_misses_nothing_that_it_reads(tmp_path: Path) -> None:
    @hold_folders(reads=("data_dir",), writes=("model_dir",))
    def task(*, data_dir: Path, model_dir: Path) -> str:
        with pytest.raises(StorageError, match="model is in use"):
            lock_folder(model_dir, is_written=False).__enter__()
        return f"{data_dir.exists()} {model_dir.exists()}"

    assert task(data_dir=tmp_path / "data", model_dir=tmp_path / "model") == "False True"


def test_one_folder_may_stand_for_several_parameters(tmp_path: Path) -> None:
    @hold_folders(reads=("data_dir",), writes=("model_dir", "output_dir"))
    def task(*, data_dir: Path, model_dir: Path, output_dir: Path) -> str:
        return "done"

    assert task(data_dir=tmp_path, model_dir=tmp_path, output_dir=tmp_path / "." / "") == "done"


def test_a_task_whose_folder_cannot_be_made_speaks_for_itself(tmp_path: Path) -> None:
    @hold_folders(writes=("model_dir",))
    def task(*, model_dir: Path) -> str:
        return "wrong settings"

    (tmp_path / "file").write_text("in the way")
    assert task(model_dir=tmp_path / "file" / "model") == "wrong settings"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        StorageError, match="file/model cannot be written: Not a directory; free space or give a folder"
    ):
        lock_folder(tmp_path / "file" / "model", is_written=True).__enter__()


def test_the_file_of_a_lock_is_opened_for_writing_because_network_file_systems_need_that(tmp_path: Path) -> None:
    """NFS turns `flock` into a lock of the server, which for writing is refused to a file that is open for reading."""
    with lock_folder(tmp_path, is_written=True):
        (number,) = [path.name for path in Path("/proc/self/fd").iterdir() if str(path.resolve()).endswith(LOCK_FILE)]
        flags = int(Path(f"/proc/self/fdinfo/{number}").read_text().split("flags:")[1].split()[0], 8)
        assert flags & os.O_ACCMODE == os.O_RDWR


def test_many_readers_come_and_go_and_none_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from emdenoise.files.locks import lock_folder\n"
        "for _ in range(300):\n    with lock_folder(Path(sys.argv[1]), is_written=False): pass"
    )
    readers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [reader.wait() for reader in readers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_where_locks_do_not_work_the_log_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    for _ in range(2):
        with lock_folder(tmp_path / "data", is_written=True):
            pass
    (record,) = caplog.records
    assert "the file system of data has no locks (No locks available)" in record.getMessage()


def test_a_folder_that_may_not_be_written_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with lock_folder(tmp_path, is_written=False):
        pass
    with pytest.raises(StorageError, match="cannot be written: Permission denied"):
        lock_folder(tmp_path, is_written=True).__enter__()


def test_one_file_has_one_writer_and_its_neighbour_another(tmp_path: Path) -> None:
    with (
        lock_file(tmp_path / "new" / "a.tif"),
        lock_file(tmp_path / "new" / "b.tif"),
        pytest.raises(StorageError, match=r"^a\.tif is in use by another task; wait until it ends, or give another f"),
    ):
        lock_file(tmp_path / "new" / "a.tif").__enter__()
    assert list((tmp_path / "new").iterdir()) == []
