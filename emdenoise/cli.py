"""The command line: one command per entry of `TASKS` and `TOOLS`; exit codes, and everything that is printed.

What libraries print goes to the log of the task; a person sees our lines, a progress bar and, after an error, one
line that says what to do. Names, messages and scores may come from a stranger's file: what would move the cursor of a
terminal, or begin a line, is shown as Python writes it in a string.
"""

import errno
import inspect
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import IO, Any, cast

import click

from emdenoise import __version__
from emdenoise.config.loading import read_change
from emdenoise.errors import (
    MEMORY_MESSAGES,
    EMDenoiseError,
    ResourceError,
    SettingsError,
    StorageError,
    explain_system_error,
)
from emdenoise.processes import ALONE, ProcessGroup, find_processes
from emdenoise.tables import FINDERS
from emdenoise.tasks import TASKS, Outcome
from emdenoise.terminal import Audience, PlainFormatter, open_closed_streams, show_lines, show_plainly
from emdenoise.tools import TOOLS
from emdenoise.tools.study import DEFAULT_PART

WORKSPACE = Path("workspace")
DEFAULTS: dict[str, Path | None] = {
    "parameters_file": Path("default"),
    "raw_data_dir": WORKSPACE / "raw_data",
    "data_dir": WORKSPACE / "data",
    "model_dir": WORKSPACE / "model",
    "output_dir": WORKSPACE / "output",
    "log_dir": WORKSPACE / "logs",
    "study_file": Path("labels"),
    "study_dir": WORKSPACE / "study",
    "search_file": Path("smoke"),
    "search_dir": WORKSPACE / "search",
    "result_dir": WORKSPACE / "output",
    "work_dir": WORKSPACE / "verify",
    "runs_dir": WORKSPACE / "study" / "runs",
    "system_file": Path("example"),
    "package_file": WORKSPACE / "submission.zip",
    "crate_file": WORKSPACE / "crate.zip",
    "image_file": None,
    "predicted_file": None,
    "export_dir": WORKSPACE / "export",
    "stfc_dir": WORKSPACE / "stfc",
}
"""Options that are paths; None where the command chooses. A file of settings may be named, as ``default``."""
WORDS = {"part": DEFAULT_PART, "export_format": "openvino", "signal": None}
"""Options that are no paths, with their defaults; None takes all."""
COUNTS = {"part_number": 1, "num_parts": 1}
"""Options that are whole numbers, with their defaults."""
MEANINGS = {
    "parameters_file": "Settings of the run: a YAML file, or the name of one that ships, as smoke.",
    "raw_data_dir": "Images as their source gives them.",
    "data_dir": "Images in the form that training and test read.",
    "model_dir": "Weights of the trained network.",
    "output_dir": "Scores, report and records.",
    "log_dir": "Logs of the tasks.",
    "study_file": "Settings of the runs to compare: a YAML file, or the name of one that ships.",
    "study_dir": "Data, runs and comparison of the study.",
    "search_file": "What is searched, and for how long: a YAML file, or the name of one that ships.",
    "search_dir": "Images, trials, best parameters file and page of the search.",
    "part": "What to do of it: all, images, or one run by its name; list shows the runs.",
    "result_dir": "Output folder of the run in question.",
    "work_dir": "Where the run is done again.",
    "runs_dir": "Folders of the runs, with output and model in each.",
    "system_file": "The machine and its software: a YAML file, or the name of one that ships.",
    "package_file": "The package (zip).",
    "crate_file": "The RO-Crate (zip).",
    "image_file": "Another way to give one IMAGE.",
    "export_dir": "The network for inference engines, and what it loses.",
    "stfc_dir": "Images in the file layout of the STFC codes.",
    "export_format": "openvino, openvino-int8 or onnx.",
    "signal": "Which signal to take of a file with several: the name of a detector, or the data set of an .h5.",
    "part_number": "Which part: 1, 2, … up to the number of parts.",
    "num_parts": "How many parts there are, at most one for each specimen.",
    "predicted_file": "The result (.tif or .h5), or a folder for the results; by default they lie beside the images.",
    "changes": "Change a setting of the parameters file, as training.epochs=5; may be given several times.",
}
OTHER_NAMES = {
    "predict": {"model_dir": "--network", "predicted_file": "--output"},
    "simulate-part": {"part_number": "--part"},
}
"""Shorter names of options, by command."""
EXIT_INTERRUPTED = 130
SHARED_TASKS = ("train",)
"""What several processes do together."""
SYSTEM_ERRORS = {*errno.errorcode} - {errno.ENOENT, errno.EBADF, errno.EINVAL, errno.EFAULT}
"""Errors of the system that are its state, and no fault of the program."""
SECONDS_BETWEEN_LINES = 10.0
NUMBERS = re.compile(r"[\d.,\[\]+\-−–% e\n]*")
"""What may stand on several lines of a cell: a mean and its interval below it."""


class ConsoleProgress:
    """Shows lines and a progress bar on a terminal; in a file or a container's log, a line every few seconds.

    Parameters
    ----------
    stream : text file
        Where a person looks.
    """

    def __init__(self, stream: IO[str] | Audience) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._console = Console(file=cast("IO[str]", stream), highlight=False, soft_wrap=True, emoji=False)
        self._bars = Bars(
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._rows: dict[str, Any] = {}
        self._last_line: dict[str, float] = {}
        self._log = logging.getLogger("emdenoise")

    def __enter__(self) -> "ConsoleProgress":
        self._bars.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._bars.stop()

    def say(self, message: str) -> None:
        """Show one line, and keep it in the log."""
        self._log.info(message)
        self._console.print(show_plainly(message), markup=False)

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Move the bar of a phase; a total of 0 is unknown."""
        phase, note = show_plainly(phase), show_plainly(note)
        if not self._console.is_terminal:
            self._print_now_and_then(phase, done, total, note)
            return
        if phase not in self._rows:
            self._rows[phase] = self._bars.add_task(phase, total=total or None, note=note)
        self._bars.update(self._rows[phase], completed=done, total=total or None, note=note)

    def end_epoch(self, history: Sequence[Mapping[str, float]]) -> None:
        """Drop the figures; the steps have shown the loss."""

    def show_table(self, rows: list[list[str]]) -> None:
        """Show a table whose first row is the heading."""
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        rows = [[cell if NUMBERS.fullmatch(cell) else show_plainly(cell) for cell in row] for row in rows]
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for number, (heading, *cells) in enumerate(zip(*rows, strict=True)):
            is_text = number == 0 or not any(re.match(r"[^\w]?\d", cell) for cell in cells)
            table.add_column(escape(heading), justify="left" if is_text else "right", no_wrap=True)
        for row in rows[1:]:
            table.add_row(*map(escape, row), style="bold" if row[0] == "network" else None)
        self._bars.stop()
        # As wide as its numbers need, whatever the terminal: a number that is cut off is wrong.
        widths = [
            max(len(line) for cell in column for line in cell.splitlines() or [""])
            for column in zip(*rows, strict=True)
        ]
        self._console.width = sum(widths) + 2 * len(widths)
        self._console.print(table)

    def _print_now_and_then(self, phase: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if done != total and now - self._last_line.setdefault(phase, now) < SECONDS_BETWEEN_LINES:
            return
        self._last_line[phase] = now
        of_total = f" of {total}" if total else ""
        self._console.print(f"{phase}: {done}{of_total} {note}".rstrip(), markup=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="emdenoise")
def main() -> None:
    """Denoise and segment electron micrographs, as a benchmark: download, preprocess, train, test; and more."""


def _make_command(name: str, task: Callable[..., Outcome]) -> click.Command:
    """Make the command of a task; its options are the parameters of the function, and ``--log_dir``."""

    def run(log_dir: Path | None = None, **options: Any) -> None:
        sys.exit(run_task(name, task, log_dir, options))

    parameters = inspect.signature(task).parameters
    # What shows no progress answers at once, and needs no log.
    names = ["log_dir" if parameter == "progress" else parameter for parameter in parameters]
    made = [_make_option(name, option) for option in names]
    return click.Command(name, params=made, callback=run, help=inspect.getdoc(task))


def _make_option(command: str, name: str) -> click.Parameter:
    """Make the option or argument for a parameter of a task, with underscores and with hyphens."""
    if name == "images":
        return click.Argument([name], type=click.Path(path_type=Path), nargs=-1, metavar="[IMAGE]...")
    if name == "table":
        return click.Argument([name], metavar="|".join(FINDERS))
    if name == "changes":
        read = _read_changes
        return click.Option(["--set", name], multiple=True, metavar="NAME=VALUE", callback=read, help=MEANINGS[name])
    names = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}", name))
    other = OTHER_NAMES.get(command, {}).get(name)
    kind = str if name in WORDS else int if name in COUNTS else click.Path(path_type=Path)
    default = {**DEFAULTS, **WORDS, **COUNTS}[name]
    return click.Option(
        [other, *names] if other else [*names], type=kind, default=default, show_default=True, help=MEANINGS[name]
    )


def _read_changes(context: click.Context, option: click.Parameter, texts: Sequence[str]) -> dict[str, Any]:
    """Read what ``--set`` was given."""
    changes: dict[str, Any] = {}
    try:
        for text in texts:
            name, value = read_change(text)
            if name in changes:
                raise SettingsError(f"--set {name} stands twice; give it once.")
            changes[name] = value
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    return changes


def list_paths(task: Callable[..., Outcome]) -> list[str]:
    """List the paths that a task takes, in the order of its parameters."""
    return [name for name in inspect.signature(task).parameters if name in DEFAULTS]


def run_task(name: str, task: Callable[..., Outcome], log_dir: Path | None, options: Mapping[str, Any]) -> int:
    """Run a task with its log; returns the exit code.

    Parameters
    ----------
    name : str
        Entry of `TASKS` or `TOOLS`.
    task : callable
    log_dir : Path or None
        Gets ``NAME.log``; None for a task that shows no progress and needs no log.
    options : mapping of str to Any
        Arguments of the task.

    Returns
    -------
    int
        That of the outcome or of the error, or 130 after an interruption.
    """
    log_path = Path(os.devnull) if log_dir is None else log_dir / f"{name}.log"
    log = logging.getLogger("emdenoise")
    log.addHandler(logging.NullHandler())  # where there is no log, logging would show the traceback on the screen
    open_closed_streams()
    try:
        group = _find_group(name)
        if log_dir is not None and not group.is_leader:
            log_path = log_dir / f"{name}.{group.rank}.log"
        with (
            _capture_output(log_path) as stream,
            ConsoleProgress(stream if group.is_leader else StringIO()) as progress,
        ):
            log.info("emdenoise %s %s", __version__, " ".join(sys.argv[1:]))
            outcome = task(**options) if log_dir is None else task(**options, progress=progress)
            progress.say(outcome.message)
            if outcome.table:
                progress.show_table(outcome.table)
            return outcome.exit_code
    except EMDenoiseError as error:
        log.exception("%s failed", name)
        _complain(f"emdenoise {name}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        log.exception("%s was interrupted", name)
        _complain(f"emdenoise {name}: interrupted; run the task again and it goes on.")
        return EXIT_INTERRUPTED
    except Exception as error:
        log.exception("%s failed", name)
        if (found := _explain(error)) is not None:
            _complain(f"emdenoise {name}: {found}")
            return found.exit_code
        _complain(f"emdenoise {name}: this is a fault of the program; please report it with {log_path}.")
        _complain(traceback.format_exc().rstrip(), show_lines)
        return EMDenoiseError.exit_code


def _find_group(name: str) -> ProcessGroup:
    """Find the processes that do a task together; only a training needs the launcher's variables to be right."""
    try:
        return find_processes()
    except SettingsError:
        if name in SHARED_TASKS:
            raise
        return ALONE


def _explain(error: Exception) -> EMDenoiseError | None:
    """Explain an error that is no fault of the program, from whatever library it comes."""
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS:
        return explain_system_error(error)
    if isinstance(error, MemoryError) or MEMORY_MESSAGES.search(str(error)):
        return ResourceError("out of memory; use a smaller training.batch_size or smaller images.")
    return None


def _complain(text: str, show: Callable[[str], str] = show_plainly) -> None:
    """Show a text on the error stream, if somebody reads it."""
    with suppress(OSError):
        click.echo(show(text), err=True)


@contextmanager
def _capture_output(log_path: Path) -> Iterator[Audience]:
    """Send what libraries write to both output streams to the log; gives a stream to the person instead.

    File descriptors are moved, because the libraries that matter write from C++.
    """
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log_file = log_path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise StorageError(
            f"{log_path} cannot be written: {error.strerror}; free space or give a --log_dir that you may write."
        ) from error
    handler = logging.StreamHandler(log_file)
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.raiseExceptions = False  # a log on a full disk must not hide the line that says so
    _flush_standard_streams()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    stream = Audience(os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace", buffering=1))
    try:
        for descriptor in (1, 2):
            os.dup2(log_file.fileno(), descriptor)
        yield stream
    finally:
        _flush_standard_streams()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        stream.close()


def _flush_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the disk of the log may be full, or nobody looks any more
            if stream is not None:  # the caller closed it
                stream.flush()


for _name, _task in [*TASKS.items(), *TOOLS.items()]:
    main.add_command(_make_command(_name, _task))
