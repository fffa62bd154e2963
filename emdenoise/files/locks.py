"""Keeping two tasks out of each other's folders and files: one may write, or several may read.

A lock is one of the system (`flock`) on a small file that is opened for writing, since network file systems know no
other ones. It ends with the process, however that ends. Who lets go last removes the file; one that was left behind by
a process that was killed holds nothing. A system without `flock` has no locks.
"""

import functools
import hashlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from emdenoise.errors import StorageError, explain_os_errors
from emdenoise.processes import find_processes

try:
    import fcntl
except ImportError:  # neither Linux nor macOS
    fcntl = None  # type: ignore[assignment]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
LOCK_FILE = ".emdenoise-lock"
NUM_TRIES, SECONDS_BETWEEN_TRIES = 10, 0.02
"""Who lets go of a lock may be removing its file at this moment."""
SECONDS_OF_WAITING = 0.2
"""Between two looks at a lock that somebody holds."""


class HeldError(StorageError):
    """Another task holds the folder or the file."""


@contextmanager
def lock_folder(folder: Path, *, is_written: bool, is_awaited: bool = False) -> Iterator[None]:
    """Hold a folder.

    Parameters
    ----------
    folder : Path
        One that is to be read may be absent.
    is_written : bool
        Whether nobody else may read or write it meanwhile; else others may read it.
    is_awaited : bool
        Whether to wait until no other task uses it.

    Raises
    ------
    HeldError
        If another task uses the folder.
    StorageError
        If it cannot be made or written.
    """
    if is_written:
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        yield  # the task says what is missing
        return
    with _hold(folder / LOCK_FILE, is_written=is_written, is_awaited=is_awaited, name=folder.name, other="folder"):
        yield


@contextmanager
def lock_file(path: Path, *, is_awaited: bool = False) -> Iterator[None]:
    """Hold a file that is to be written into a folder where others write, too; its folder is made if it is absent.

    Parameters
    ----------
    path : Path
    is_awaited : bool
        Whether to wait until no other task writes it.

    Raises
    ------
    HeldError
        If another task writes the file.
    StorageError
        If the folder cannot be made or written.
    """
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
    place = path.with_name(f"{LOCK_FILE}-{digest[:16]}")
    with _hold(place, is_written=True, is_awaited=is_awaited, name=path.name, other="file"):
        yield


@contextmanager
def _hold(place: Path, *, is_written: bool, is_awaited: bool, name: str, other: str) -> Iterator[None]:
    descriptor = None
    for number in itertools.count(1) if fcntl is not None else ():
        try:
            descriptor = _take(place, is_written=is_written)
            break
        except BlockingIOError as error:
            if number >= NUM_TRIES and not is_awaited:
                raise HeldError(
                    f"{name} is in use by another task; wait until it ends, or give another {other}."
                ) from error
            time.sleep(SECONDS_BETWEEN_TRIES if number < NUM_TRIES else SECONDS_OF_WAITING)
    try:
        yield
    finally:
        if descriptor is not None:
            _let_go(place, descriptor)


def _take(place: Path, *, is_written: bool) -> int | None:
    """Take a lock; gives its descriptor, or None where locks do not work, or nobody can write.

    Raises
    ------
    BlockingIOError
        If somebody else has it.
    """
    try:
        with explain_os_errors(place.parent):
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except StorageError:
        if is_written:
            raise
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if is_written else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        _tell_of_no_locks(place.parent.name, error.strerror or str(error))
        return None
    if not _is_there(place, descriptor):
        os.close(descriptor)
        raise BlockingIOError(f"{place.name} was removed by the one who held it")
    return descriptor


def _is_there(place: Path, descriptor: int) -> bool:
    """Tell whether a file is still the one that was opened: who let go of it may have removed it since."""
    with suppress(OSError):
        return os.path.samestat(place.stat(), os.fstat(descriptor))
    return False


def _let_go(place: Path, descriptor: int) -> None:
    """Let go of a lock, and remove its file unless others hold it."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        place.unlink(missing_ok=True)
    os.close(descriptor)


@functools.cache
def _tell_of_no_locks(name: str, reason: str) -> None:
    """Say in the log, once, that nothing keeps two tasks apart."""
    logging.getLogger("emdenoise").warning(
        "the file system of %s has no locks (%s): do not let two tasks use it at the same time", name, reason
    )


def _can_be_made(folder: Path) -> bool:
    """Make a folder; where that fails the task says so, after it has read its settings."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True


def hold_folders(
    *, reads: tuple[str, ...] = (), writes: tuple[str, ...], is_shared: bool = False
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Make a task hold the folders that it reads and writes, given as names of its parameters.

    Parameters
    ----------
    reads, writes : tuple of str
    is_shared : bool
        Whether several processes do the task together; the first one holds the folders for all.

    Returns
    -------
    callable
        Decorator.
    """

    def decorate(task: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @functools.wraps(task)
        def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
            folders: dict[str, Any] = dict(options)
            # One folder may stand for several parameters; who writes it holds it once.
            names = () if is_shared and not find_processes().is_leader else (*reads, *writes)
            held = {folders[name].resolve(): name in writes for name in names}
            with ExitStack() as stack:
                for folder, is_written in held.items():
                    if not is_written or _can_be_made(folder):
                        stack.enter_context(lock_folder(folder, is_written=is_written))
                return task(*arguments, **options)

        return run

    return decorate
