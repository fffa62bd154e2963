"""What only Linux has is not needed: where a call of the system is absent, as on macOS, another one does."""

import importlib
import os
import resource
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import pytest

from emdenoise.files import locks, sandbox
from emdenoise.models import export
from emdenoise.processes import count_processors
from emdenoise.training import interruption


def test_processors_are_those_that_the_process_may_use_or_all_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_processors() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert count_processors() == 12


def test_room_on_the_disk_is_looked_up_where_it_cannot_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: namedtuple("Usage", "free")(1000))
    export._make_sure_of_room(tmp_path, num_bytes=1000)
    with pytest.raises(OSError, match="No space left on device"):
        export._make_sure_of_room(tmp_path, num_bytes=1001)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_the_system_does_not_have_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interruption.STOP_SIGNALS == (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    with monkeypatch.context() as patch:
        patch.delattr(signal, "SIGUSR1")
        importlib.reload(interruption)
        assert interruption.STOP_SIGNALS == (signal.SIGTERM, signal.SIGHUP)
    importlib.reload(interruption)


def test_without_locks_tasks_run_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with locks.lock_folder(tmp_path / "new", is_written=True), locks.lock_folder(tmp_path / "new", is_written=True):
        assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize("error", [ValueError("current limit exceeds maximum limit"), OSError(22, "Invalid argument")])
def test_a_file_is_read_where_memory_cannot_be_bounded(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert sandbox._call_within(lambda: 3, 2**30, 60) == 3
