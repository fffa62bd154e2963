"""A process that works for this one: it comes back after its death, and ends with this one."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from emdenoise.files.worker import Worker, WorkerDiedError, WorkerPool

ROOT = Path(__file__).parents[2]


def test_an_error_comes_back_with_the_lines_where_it_was_raised() -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        Worker().call(partial(int, "x"))
    assert "In another process" in caught.value.__notes__[0]


def test_what_cannot_travel_is_an_error_of_its_own_and_the_worker_goes_on() -> None:
    worker = Worker()
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        worker.call(partial(iter, lambda: 1, 0))
    assert worker.call(partial(divmod, 7, 2)) == (3, 1)
    with pytest.raises(TypeError, match="pickle"):
        worker.call(partial(open, os.devnull))
    assert worker.call(partial(divmod, 9, 2)) == (4, 1)


CHAIN = """
import tblib.pickling_support
tblib.pickling_support.install()
class Cause(Exception):
    def __init__(self, first, second): super().__init__(first)
try: raise Cause("a", "b")
except Cause as cause: raise ValueError("the error itself") from cause
"""


def test_an_error_arrives_whatever_caused_it() -> None:
    pytest.importorskip("tblib")
    with pytest.raises(ValueError, match="the error itself"):
        Worker().call(partial(exec, CHAIN, {"__name__": "chain"}))


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    code = "class Far(Exception):\n    def __init__(self, first, second): super().__init__(first)\nraise Far('1', '2')"
    with pytest.raises(WorkerDiedError, match="the call failed with Far: 1"):
        Worker().call(partial(exec, code, {"__name__": "far"}))


def test_a_worker_that_died_says_so_and_begins_anew() -> None:
    worker = Worker()
    first = worker.call(os.getpid)
    with pytest.raises(WorkerDiedError):
        worker.call(partial(os._exit, 1))
    assert worker.call(os.getpid) not in (first, os.getpid())


def test_a_pool_keeps_the_order_and_has_processes_of_its_own() -> None:
    with WorkerPool(2) as pool:
        assert list(pool.map(divmod, range(5), [2] * 5)) == [divmod(number, 2) for number in range(5)]
        assert list(pool.map(divmod, range(5), [2] * 5, chunksize=2)) == [divmod(number, 2) for number in range(5)]
        assert os.getpid() not in set(pool.map(eval, ["__import__('os').getpid()"] * 4))


def test_a_worker_ends_when_its_parent_is_killed() -> None:
    code = (
        "import os; from emdenoise.files.worker import Worker; w = Worker(); print(w.call(os.getpid), flush=True)\n"
        "from functools import partial; import time; w.call(partial(time.sleep, 100))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)
        parent.kill()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker goes on")
