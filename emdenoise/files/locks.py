"""Keeping two tasks out of each other's folders: one may write, or several may read.

Locks are those of the system (`flock`): they end with the process, however it ends, and leave no file behind. A system
without `flock` has no locks.
"""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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


@contextmanager
def lock_folder(folder: Path, *, is_written: bool) -> Iterator[None]:
    """Hold a folder; on file systems without locks, do nothing.

    Parameters
    ----------
    folder : Path
        One that is to be read may be absent.
    is_written : bool
        Whether nobody else may read or write it meanwhile; else others may read it.

    Raises
    ------
    StorageError
        If another task uses the folder, or it cannot be made.
    """
    descriptor = _open_folder(folder, is_written=is_written)
    if descriptor is None:
        yield  # the task says what is missing
        return
    try:
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, (fcntl.LOCK_EX if is_written else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{folder.name} is in use by another task; wait until it ends, or give another folder."
            ) from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def _open_folder(folder: Path, *, is_written: bool) -> int | None:
    """Open a folder, made if it is to be written; None for one that is to be read and cannot be."""
    if not is_written:
        try:
            return os.open(folder, os.O_RDONLY)
        except OSError:
            return None
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY)


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
