"""Errors that the person who runs a task can cause and mend.

Each becomes one line on stderr and an exit code of its own; the traceback goes to the log.
A wrong call inside the code is a `ValueError` or `TypeError`, never one of these.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_REFUTED = 10
"""Exit code of a command that judges a result, where the result is wrong."""
HDF5_WRITE_ERROR = "file write failed"
"""In the text of the errors with which HDF5 says that the disk is full; some of them are RuntimeErrors."""

MEMORY_MESSAGES = re.compile(
    "RESOURCE_EXHAUSTED|out of memory|OOM when allocating|No algorithm worked|failed to map segment", re.IGNORECASE
)
"""How the libraries under the backends say that an accelerator or the machine has too little memory."""
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
"""Errors of the system that a larger limit of the process mends."""
REMEDIES = {errno.ENAMETOOLONG: "give it a shorter name", errno.EISDIR: "give the name of a file"}
"""What to do after errors of the system that tell it."""
WRITING_REMEDY = "free space or give a folder that you may write"
SHORTAGE_REMEDY = "close other programs or raise the limit (`ulimit -a` shows it), and run the task again."


class EMDenoiseError(Exception):
    """Base of all errors with a remedy; the message says received, expected, what to do."""

    exit_code = 1


class SettingsError(EMDenoiseError):
    """The parameters file cannot be read, or asks for something that is not allowed."""

    exit_code = 3


class MissingInputError(EMDenoiseError):
    """The output of an earlier task is not there."""

    exit_code = 4


class DataError(EMDenoiseError):
    """A data file is damaged, of another layout, or not what was recorded."""

    exit_code = 5


class DownloadError(EMDenoiseError):
    """A source cannot be reached, or what arrived is not what it announced."""

    exit_code = 6


class StorageError(EMDenoiseError):
    """The workspace cannot be written: no space, no permission, or in use by another run."""

    exit_code = 7


class ModelError(EMDenoiseError):
    """A trained model is damaged, of another architecture, or not trained for this data."""

    exit_code = 8


class StoppedError(EMDenoiseError):
    """The system asked a task to stop before its end; what is done is kept, and the same command goes on.

    The exit code is EX_TEMPFAIL of ``sysexits.h``: a scheduler may start the job again.
    """

    exit_code = 75


class PackageError(EMDenoiseError):
    """An optional package is not installed."""

    exit_code = 9


class DivergenceError(EMDenoiseError):
    """The loss of a training is no finite number any more, so what the network has learned is lost."""

    exit_code = 11


class ResourceError(EMDenoiseError):
    """The machine lacks what a task needs while it runs: memory, memory of its accelerator, or open files."""

    exit_code = 12


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn an error of the system while `path` is written into a `StorageError` that says what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and HDF5_WRITE_ERROR not in str(error):
            raise
        shown = f"{path.parent.name}/{path.name}"
        raise explain_system_error(error, f"{shown} cannot be written", WRITING_REMEDY) from error


def explain_system_error(
    error: OSError | RuntimeError, problem: str = "", remedy: str = "check it and its permissions"
) -> EMDenoiseError:
    """Say in one line what the system refuses.

    Parameters
    ----------
    error : OSError or RuntimeError
    problem : str
        What cannot be done; by default, that the file of the error cannot be used.
    remedy : str
        What to do, where the error does not tell.

    Returns
    -------
    StorageError or ResourceError
    """
    code = error.errno or 0 if isinstance(error, OSError) else 0
    said = f"{problem or f'{_name_file(error)} cannot be used'}: {_explain_os_error(error)}"
    if code in SHORTAGES:
        return ResourceError(f"{said}; {SHORTAGE_REMEDY}")
    return StorageError(f"{said}; {REMEDIES.get(code, remedy)}, and run the task again.")


def _name_file(error: OSError | RuntimeError) -> str:
    name = getattr(error, "filename", None)
    return "a file" if name is None else str(name)


def _explain_os_error(error: OSError | RuntimeError) -> str:
    hidden = re.search(r"error message = '([^']*)'", str(error))  # HDF5 hides the system's words in a long text
    return hidden[1] if hidden else getattr(error, "strerror", None) or str(error)
