"""The process in which unknown files are read: what it may not do, and that it comes back."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from emdenoise.errors import DataError
from emdenoise.files import sandbox
from emdenoise.files.sandbox import BYTES_PER_SECOND, call_sandboxed, read_sandboxed

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
