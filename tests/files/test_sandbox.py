"""The process in which unknown files are read: what it may not do, and that it comes back."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from emdenoise.errors import DataError, ResourceError
from emdenoise.files import sandbox, worker
from emdenoise.files.sandbox import BYTES_PER_SECOND, call_sandboxed, read_sandboxed
from emdenoise.files.worker import Worker

REMEDY = "copy it again"


def read(call: partial) -> object:
    return call_sandboxed(call, name="images/a.emd", remedy=REMEDY)


def test_results_and_errors_come_back() -> None:
    assert read(partial(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ValueError, match="invalid literal"):
        read(partial(int, "x"))


def test_one_process_does_all_the_work_and_it_is_another() -> None:
    assert read(partial(os.getpid)) == read(partial(os.getpid)) != os.getpid()


@pytest.mark.parametrize("call", [partial(os._exit, 3), partial(os.abort)])
def test_a_crash_is_one_line_and_the_next_file_is_read(call: partial) -> None:
    with pytest.raises(
        DataError, match=r"^images/a\.emd: is damaged \(reading it crashed or took .*\); expected .*; copy"
    ):
        read(call)
    assert read(partial(len, "abc")) == 3


def test_a_process_that_died_while_idle_is_replaced() -> None:
    os.kill(read(partial(os.getpid)), signal.SIGKILL)
    time.sleep(1)
    assert read(partial(len, "abc")) == 3


@pytest.mark.parametrize("call", [partial(time.sleep, 600), partial(pow, 7, 10**10)])  # the second one deaf to signals
def test_a_loop_without_end_is_ended(call: partial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    with pytest.raises(DataError, match=r"took longer than 1 s\); expected a whole file; copy it again\.$"):
        read(call)


def test_memory_is_bounded_in_proportion_to_the_file() -> None:
    assert read(partial(len, bytes(2**20))) == 2**20
    with pytest.raises(DataError, match=r"reading it takes more than 3 GiB of memory\); expected a whole file; copy"):
        read(partial(bytes, 2**33))
    assert len(call_sandboxed(partial(bytes, 2**20), name="large.emd", num_bytes=2**33, remedy=REMEDY)) == 2**20


def test_the_pixels_beside_a_file_count_as_its_own(tmp_path: Path) -> None:
    asked = []
    (tmp_path / "a.emi").write_bytes(bytes(10))
    (tmp_path / "a_1.ser").write_bytes(bytes(3 * BYTES_PER_SECOND))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "call_sandboxed", lambda call, **options: asked.append(options["num_bytes"]))
        read_sandboxed(Path.read_bytes, tmp_path / "a.emi")
        read_sandboxed(Path.read_bytes, tmp_path / "a_1.ser")
    assert asked == [10 + 3 * BYTES_PER_SECOND, 3 * BYTES_PER_SECOND]
    assert read_sandboxed(Path.read_bytes, tmp_path / "a.emi") == bytes(10)


def test_a_reader_that_never_started_is_no_damaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_find_reader", lambda process: Worker())
    monkeypatch.setattr(worker, "BEGIN", "raise SystemExit('no memory')")
    with pytest.raises(ResourceError, match=r"^images/a\.emd: the process that reads files does not start; expected"):
        read(partial(len, "abc"))


def test_a_script_without_a_guard_reads_files(tmp_path: Path) -> None:
    """A process of `multiprocessing` would run the script again, and so fail."""
    (tmp_path / "script.py").write_text(
        "from pathlib import Path; from emdenoise.files.sandbox import read_sandboxed\n"
        "print(read_sandboxed(Path.exists, Path('script.py')))"
    )
    result = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "True\n", result.stderr
