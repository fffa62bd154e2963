"""How a running task tells the person in front of it where it is.

Layers below the command line never print: they get a `Progress` as an argument.
"""

from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Receives what a task has to say."""

    def say(self, message: str) -> None:
        """Show one line."""

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` parts of a phase are finished; `note` may hold figures."""


class SilentProgress:
    """Says nothing; for tests and for use as a library."""

    def say(self, message: str) -> None:
        """Drop the line."""

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Drop the step."""


@dataclass(frozen=True)
class RenamedProgress:
    """Shows the steps of any phase under another name.

    Attributes
    ----------
    progress : Progress
    phase : str
        The name that is shown.
    """

    progress: Progress
    phase: str

    def say(self, message: str) -> None:
        """Show one line."""
        self.progress.say(message)

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Show a step under the other name."""
        self.progress.step(self.phase, done, total, note)


class CountedProgress:
    """Turns what is said of each file into one step of many, for sources of many small files."""

    def __init__(self, progress: Progress, phase: str, total: int) -> None:
        self._progress, self._phase, self._done, self._total = progress, phase, 0, total

    def say(self, message: str) -> None:
        """Count one file."""
        self._done += 1
        self._progress.step(self._phase, self._done, self._total, message.partition(":")[0])

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Drop the bytes of a single file."""
