"""A process that works for this one and does not run the caller's program.

The processes of `multiprocessing` begin by importing the script that started them. A script without
``if __name__ == "__main__"`` would start itself again and again there, so Python refuses. A worker imports what it is
asked to call, and nothing else.
"""

import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain, islice, starmap
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from emdenoise.errors import EMDenoiseError

Result = TypeVar("Result")

BEGIN = """
import sys
sys.path[:] = sys.argv[2:]
from emdenoise.files.worker import serve
serve(descriptor=int(sys.argv[1]))
"""
"""What a worker runs; its arguments are the descriptor of its pipe, and where this process finds modules."""


READY = b"ready"
"""What a worker says first."""


class WorkerDiedError(RuntimeError):
    """The process ended before it answered."""


class WorkerNotStartedError(WorkerDiedError):
    """The process ended before it could be asked anything, which is no fault of what it should be asked."""


class Worker:
    """A process that does one call after the other; it starts with the first one, and anew after its death.

    Examples
    --------
    >>> Worker().call(partial(divmod, 7, 2))
    (3, 1)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._stop: Callable[[], object] = lambda: None

    def call(self, call: Callable[[], Result]) -> Result:
        """Call a function in the process and give its result, or raise its exception.

        Parameters
        ----------
        call : callable
            Of a module, or `functools.partial` of one; it, what it returns and what it raises travel between processes.

        Raises
        ------
        WorkerDiedError
            If the process ends before it has answered; a `WorkerNotStartedError` if it ends before it was asked.
        """
        message = pickle.dumps(call)
        with self._lock:
            connection = self._find_connection()
            is_answered = False
            try:
                connection.send_bytes(message)
                result, error = connection.recv()
                is_answered = True
            except (EOFError, OSError) as ended:
                raise WorkerDiedError("the process ended before it answered") from ended
            finally:
                if not is_answered:  # interrupted: its late answer would be taken for that of the next call
                    self._stop()
        if error is not None:
            raise error
        return result

    def _find_connection(self) -> Connection:
        """Give the connection to the process; start it if there is none, or it died while it had nothing to do."""
        if self._connection is None or self._connection.closed or not self._process or self._process.poll() is not None:
            self._stop()
            ours, theirs = Pipe()
            with theirs:
                descriptor = theirs.fileno()
                arguments = [sys.executable, "-P", "-c", BEGIN, str(descriptor), *map(str, sys.path)]
                self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, pass_fds=[descriptor])
            self._connection = ours
            self._stop = weakref.finalize(self, _stop, os.getpid(), self._process, ours)
            try:
                ours.recv_bytes()
            except (EOFError, OSError) as ended:
                raise WorkerNotStartedError("the process ended before it could be asked anything") from ended
        return self._connection


def _stop(owner: int, process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    """End a worker; a fork of the process that it works for leaves it alone."""
    if os.getpid() != owner:
        return
    connection.close()
    process.kill()
    if process.stdin:
        process.stdin.close()
    process.wait()


class WorkerPool(ThreadPoolExecutor):
    """Several workers as an executor: each thread of this process waits for a worker of its own.

    Parameters
    ----------
    num_workers : int
    """

    def __init__(self, num_workers: int) -> None:
        super().__init__(num_workers)
        self._of_thread = threading.local()

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Let a worker call a function, as `Worker.call` does."""
        return super().submit(self._call, partial(call, *arguments, **options))

    def map(
        self, fn: Callable[..., Result], *iterables: Any, timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Result]:
        """Call a function for each task, so many in one message; gives the results in the order of the tasks."""
        tasks = zip(*iterables, strict=False)
        chunks = iter(lambda: list(islice(tasks, chunksize)), [])
        return chain.from_iterable(super().map(partial(_call_each, fn), chunks, timeout=timeout))

    def _call(self, call: Callable[[], Any]) -> Any:
        if not hasattr(self._of_thread, "worker"):
            self._of_thread.worker = Worker()
        return self._of_thread.worker.call(call)


def _call_each(call: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> list[Result]:
    return list(starmap(call, tasks))


def serve(*, descriptor: int) -> None:
    """Do the work of a worker: answer each call with its result or its exception, until the parent ends.

    Parameters
    ----------
    descriptor : int
        Of the pipe through which calls come.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no dump of the memory after a crash
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption ends
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(descriptor)
    connection.send_bytes(READY)
    with ThreadPoolExecutor(1) as caller, suppress(EOFError, BrokenPipeError):
        while True:
            answer = caller.submit(_answer, connection.recv_bytes())
            error = answer.exception()
            if error is None:
                connection.send_bytes(answer.result())
            else:
                connection.send((None, _prepare_error(error)))


def _prepare_error(error: BaseException) -> BaseException:
    """Make an exception fit to travel: one that cannot be built again there is a death with its words."""
    if not isinstance(error, EMDenoiseError):  # those tell a person all in one line
        error.add_note("".join(["In another process:\n", *traceback.format_exception(error)]))
    error.__cause__ = error.__context__ = error.__traceback__ = None  # some would travel along, and cannot
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301, it is our own
    except (pickle.PickleError, TypeError, AttributeError, ValueError):
        return WorkerDiedError(f"the call failed with {type(error).__name__}: {error}")
    return error


def _answer(message: bytes) -> bytes:
    call = pickle.loads(message)  # noqa: S301, the parent wrote it
    return pickle.dumps((call(), None))


def _end_with_parent() -> None:
    """End with the parent, in whatever call: nobody writes to the standard input, which ends when the parent does."""
    sys.stdin.buffer.read()
    os._exit(1)
