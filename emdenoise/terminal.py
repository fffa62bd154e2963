"""What a person sees: text from anywhere, shown as it is, as long as somebody looks.

Names, messages and scores may come from a stranger's file. Control characters in them could move the cursor, begin a
line of their own, or write over what was said before.
"""

import errno
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO

NOBODY_THERE = (errno.EPIPE, errno.EIO, errno.EBADF)
"""Errors of writing where a reader has ended, a terminal is closed, or there never was a stream."""


def show_plainly(text: str) -> str:
    r"""Give one line that a terminal shows as it is: control characters, line feeds among them, become escapes.

    Examples
    --------
    >>> print(show_plainly("5 Å\x1b[2K\nACCEPTED"))
    5 Å\x1b[2K\nACCEPTED
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def show_lines(text: str) -> str:
    r"""Show each line of a text plainly, all but the first one indented: what begins a line is ours.

    Examples
    --------
    >>> print(show_lines("REFUSED\nACCEPTED"))
    REFUSED
      ACCEPTED
    """
    return "\n  ".join(map(show_plainly, text.split("\n")))


class PlainFormatter(logging.Formatter):
    """Writes a log that a terminal can show: tracebacks have several lines, and no line has control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Write what was logged."""
        return show_lines(super().format(record))


class Audience:
    """A text file where a person looks; a task does its work all the same when nobody does (``| head -1``).

    Parameters
    ----------
    stream : text file
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._is_there = True

    def write(self, text: str) -> int:
        """Write, or drop the text where nobody reads."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Send what was written."""
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._stream.fileno()

    def close(self) -> None:
        """Close the stream."""
        with suppress(OSError):
            self._stream.close()

    def _try(self, act: Callable[[], object]) -> None:
        if self._is_there:
            try:
                act()
            except OSError as error:
                if error.errno not in NOBODY_THERE:
                    raise
                self._is_there = False


def open_closed_streams() -> None:
    """Open standard streams that the caller closed (``>&-``), for nothing, before another file takes their place."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest descriptor that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w", closefd=False))
