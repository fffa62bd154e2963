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
