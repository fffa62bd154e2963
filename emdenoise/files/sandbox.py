"""Reading files that nothing vouches for yet, in a process of its own with bounds of memory and time.

The libraries that read microscope files and HDF5 believe what a header says: where a byte is wrong they may ask for
any memory, walk in a circle in C, where no exception ends them, or bring the process down. Here that is the end of
the reading process alone, and one line for the person who runs the task. Files whose hash is known need none of this.
"""

import functools
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from emdenoise.errors import DataError, ResourceError
from emdenoise.files.worker import Worker, WorkerDiedError, WorkerNotStartedError

Result = TypeVar("Result")

MEMORY_BYTES, MEMORY_PER_BYTE = 3 * 2**30, 16
"""Memory that reading a file may take: this and as many bytes for each of the file, which may be compressed."""
SECONDS, BYTES_PER_SECOND = 60, 2**22
"""Time that reading a file may take: this and what a slow disk needs for its bytes."""
SUFFIXES_WITH_PARTNERS = (".emi", ".rpl")
"""Formats that keep their pixels in other files with the same beginning of the name."""


def call_sandboxed(
    call: Callable[[], Result], *, name: str, num_bytes: int = 0, extra_s: int = 0, remedy: str
) -> Result:
    """Call a function in the reading process and give its result, or raise its exception.

    Parameters
    ----------
    call : callable
        Of a module, or `functools.partial` of one; it, what it returns and what it raises travel between processes.
    name : str
        Of the file, for the message.
    num_bytes : int
        How much is to be read; memory and time are bounded in proportion.
    extra_s : int
        More time than for reading a file, for a call that also computes [s].
    remedy : str
        End of the message: what to do with the file.

    Raises
    ------
    DataError
        If the call needs more memory or time than a whole file would, or crashes.
    ResourceError
        If the process does not start.

    Examples
    --------
    >>> call_sandboxed(os.getpid, name="a.dm3", remedy="copy it again") == os.getpid()
    False
    """
    cause: Exception
    memory_bytes = MEMORY_BYTES + MEMORY_PER_BYTE * num_bytes
    seconds = SECONDS + num_bytes // BYTES_PER_SECOND + extra_s
    try:
        return _find_reader(os.getpid()).call(partial(_call_within, call, memory_bytes, seconds))
    except MemoryError as error:
        reason, cause = f"reading it takes more than {memory_bytes / 2**30:.3g} GiB of memory", error
    except WorkerNotStartedError as error:
        raise ResourceError(
            f"{name}: the process that reads files does not start; expected a second Python, {sys.executable or '?'}; "
            "the log says why: free memory, raise a limit (`ulimit -a` shows it), or mend the installation."
        ) from error
    except WorkerDiedError as error:
        reason, cause = f"reading it crashed or took longer than {seconds} s", error
    raise DataError(f"{name}: is damaged ({reason}); expected a whole file; {remedy}.") from cause


def read_sandboxed(read: Callable[[Path], Result], path: Path) -> Result:
    """Call ``read(path)`` as `call_sandboxed` does.

    Bounds follow the size of the file, and of those that are read with it, as ``a_1.ser`` is with ``a.emi``.

    Raises
    ------
    DataError
        As `call_sandboxed`.
    """
    files = [path]
    if path.suffix.lower() in SUFFIXES_WITH_PARTNERS:
        files = [other for other in path.parent.iterdir() if other.name.startswith(path.stem)]
    return call_sandboxed(
        partial(read, path),
        name=f"{path.parent.name}/{path.name}",
        num_bytes=sum(file.stat().st_size for file in files if file.is_file()),
        remedy="copy it again or save it in another format",
    )


@functools.cache
def _find_reader(process: int) -> Worker:
    """Give the one reading process of this process, whose forks have readers of their own."""
    return Worker()


def _call_within(call: Callable[[], Result], memory_bytes: int, seconds: int) -> Result:
    """Call within bounds: memory beyond them is a `MemoryError`; the alarm ends the process, in whatever loop it is."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _measure_address_space() + memory_bytes
    with suppress(ValueError, OSError):  # the system does not bound memory (macOS), or bounds it more tightly
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    signal.alarm(seconds)
    try:
        return call()
    finally:
        signal.alarm(0)


def _measure_address_space() -> int:
    """Measure what is reserved before the call: libraries of linear algebra reserve much for each processor [bytes]."""
    try:
        num_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux
        return 2**32
    return num_pages * resource.getpagesize()
