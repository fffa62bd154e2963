"""The command line: a command for each task, one line for each error, and nothing else on the screen."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import emdenoise
from emdenoise import cli, errors
from emdenoise.cli import ConsoleProgress, list_paths, main, run_task
from emdenoise.errors import EMDenoiseError
from emdenoise.tasks import TASKS, Outcome

ROOT = Path(__file__).parents[1]
ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EMDenoiseError)]
Task = Callable[..., Outcome]

pytestmark = pytest.mark.usefixtures("logs_of_this_test_alone")


def failing(error: BaseException) -> Task:
    def task(*, progress: Any) -> Outcome:
        raise error

    return task


def run_process(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a task made of lines of Python, as the program would, in a process of its own."""
    script = [
        "import os, sys; from pathlib import Path; from emdenoise.cli import run_task",
        "from emdenoise.errors import StorageError; from emdenoise.tasks import Outcome",
        "def task(*, progress):",
        *(f"    {line}" for line in code.splitlines()),
        "    return Outcome('the end')",
        "sys.exit(run_task('train', task, Path('logs'), {}))",
    ]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(script)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Keep name and options, the log folder among them, of each task that a command would run."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def hear(name: str, task: Task, log_dir: Path, options: dict[str, Any]) -> int:
        assert task is {**TASKS, **cli.TOOLS}[name]
        calls.append((name, {**options, "log_dir": log_dir}))
        return 0

    monkeypatch.setattr(cli, "run_task", hear)
    return calls


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_every_task_and_tool_is_a_command_and_nothing_else_is() -> None:
    assert list(main.commands) == [*TASKS, *cli.TOOLS]


@pytest.mark.parametrize("name", {**TASKS, **cli.TOOLS})
def test_the_help_of_a_command_tells_each_option_with_its_default(name: str) -> None:
    task = {**TASKS, **cli.TOOLS}[name]
    result = call(name, "--help")
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert (task.__doc__ or "missing").split("\n")[0] in words
    for option in [*list_paths(task), *(["log_dir"] if name != "list" else [])]:
        assert f"--{option}" in words
        assert f"--{option.replace('_', '-')}" in words
        assert cli.MEANINGS[option] in words
        default = cli.DEFAULTS[option]
        assert default is None or f"[default: {default}]" in words


def test_a_study_has_its_own_file_and_folder(heard: list[Any]) -> None:
    assert call("study", "--study_file=a.study.yaml").exit_code == 0
    ((_, paths),) = heard
    assert paths == {
        "study_file": Path("a.study.yaml"),
        "study_dir": Path("workspace/study"),
        "part": "all",
        "log_dir": cli.DEFAULTS["log_dir"],
    }


def test_the_version_is_that_of_the_package() -> None:
    assert call("--version").output == f"emdenoise, version {emdenoise.__version__}\n"


@pytest.mark.parametrize("name", TASKS)
def test_without_options_a_task_works_in_the_workspace(name: str, heard: list[Any]) -> None:
    assert call(name).exit_code == 0
    defaults = {option: cli.DEFAULTS[option] for option in [*list_paths(TASKS[name]), "log_dir"]}
    assert heard == [(name, defaults | {"changes": {}})]


@pytest.mark.parametrize("name", TASKS)
def test_options_are_the_same_with_underscores_and_with_hyphens(name: str, heard: list[Any]) -> None:
    options = [*list_paths(TASKS[name]), "log_dir"]
    for change in (str, lambda option: option.replace("_", "-")):
        assert call(name, *(f"--{change(option)}=some/{option}" for option in options)).exit_code == 0
        assert (
            call(name, *(part for option in options for part in (f"--{change(option)}", f"some/{option}"))).exit_code
            == 0
        )
    assert heard == 4 * [(name, {option: Path("some") / option for option in options} | {"changes": {}})]


@pytest.mark.parametrize(
    "arguments",
    [["train", "--epochs=3"], ["train", "surplus"], ["train", "--data_dir"], ["fly"], ["download", "--data_dir=x"]],
    ids=" ".join,
)
def test_a_wrong_option_ends_with_exit_code_2_and_says_which(arguments: list[str], heard: list[Any]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert arguments[-1].split("=")[0].lstrip("-") in result.output
    assert heard == []


def test_the_exit_codes_of_all_errors_differ_from_each_other_and_from_those_in_use() -> None:
    codes = [kind.exit_code for kind in ERRORS if kind is not EMDenoiseError]
    assert len(set(codes)) == len(codes) >= 7
    assert not {0, EMDenoiseError.exit_code, 2, cli.EXIT_INTERRUPTED} & set(codes)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_is_one_line_with_its_exit_code_and_its_traceback_is_in_the_log(
    kind: type[EMDenoiseError], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_task("train", failing(kind("a.h5 is damaged; run it again.")), tmp_path / "logs", {}) == kind.exit_code
    shown = capfd.readouterr()
    assert shown.err == "emdenoise train: a.h5 is damaged; run it again.\n"
    assert shown.out == ""
    log = (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in log
    assert f"{kind.__name__}: a.h5 is damaged" in log


def test_an_interruption_is_one_line_and_exit_code_130(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_task("train", failing(KeyboardInterrupt()), tmp_path, {}) == 130
    assert capfd.readouterr().err == "emdenoise train: interrupted; run the task again and it goes on.\n"


def test_a_fault_of_the_program_shows_its_traceback_and_asks_for_a_report(tmp_path: Path) -> None:
    result = run_process(tmp_path, "raise ZeroDivisionError('of the program')")
    assert result.returncode == 1
    assert result.stderr.startswith("emdenoise train: this is a fault of the program; please report it with")
    assert "logs/train.log" in result.stderr.splitlines()[0]
    assert result.stderr.rstrip().endswith("ZeroDivisionError: of the program")
    assert "ZeroDivisionError" in (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")


def test_a_log_that_cannot_be_written_is_one_line_that_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder shall be")
    result = run_process(tmp_path, "pass")
    assert result.returncode == errors.StorageError.exit_code
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "logs/train.log cannot be written" in result.stderr
    assert "give a --log_dir that you may write" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' full device")
def test_a_full_disk_that_takes_the_log_too_is_still_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").symlink_to("/dev/full")
    result = run_process(
        tmp_path,
        "progress.say('begun')\nprint('a library')\nraise StorageError('the disk is full; free space.')",
        PYTHONUNBUFFERED="",
    )
    assert result.stderr == "emdenoise train: the disk is full; free space.\n"
    assert result.returncode == errors.StorageError.exit_code
    assert result.stdout.startswith("begun\n")


def test_what_libraries_print_goes_to_the_log_and_what_we_say_to_the_screen(tmp_path: Path) -> None:
    result = run_process(
        tmp_path,
        "print('from Python')\nos.write(1, b'from C++\\n')\nos.write(2, b'a warning from C++\\n')\n"
        "os.system('echo from a child')\nsys.stderr.write('to stderr\\n')\nprogress.say('from us')",
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "from us\nthe end\n", "")
    log = (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
    for text in ("from Python", "from C++", "a warning from C++", "from a child", "to stderr", "from us", "the end"):
        assert text in log


def test_what_we_say_is_whole_where_the_locale_knows_no_symbols(tmp_path: Path) -> None:
    code = "progress.say('\\u2192 3 \\xc5')\nraise StorageError('5 \\xc5.')"
    result = run_process(tmp_path, code, LC_ALL="C", PYTHONUTF8="0")
    assert result.stdout == "→ 3 Å\n"
    assert result.returncode == errors.StorageError.exit_code
    assert len(result.stderr.splitlines()) == 1


def test_the_log_of_a_second_run_is_added_to_the_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for message in ("first", "second"):
        assert run_task("train", failing(errors.DataError(message)), tmp_path, {}) == errors.DataError.exit_code
    log = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert log.index("first") < log.index("second")
    assert f"emdenoise {emdenoise.__version__}" in log


def test_both_output_streams_are_back_after_a_task(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_task("train", failing(errors.DataError("damaged")), tmp_path, {})
    os.write(1, b"out")
    os.write(2, b"err")
    shown = capfd.readouterr()
    assert shown.out == "out"
    assert shown.err.endswith("err")


def test_a_message_in_brackets_is_shown_as_it_is() -> None:
    stream = StringIO()
    with ConsoleProgress(stream) as progress:
        progress.say("[bold]intensity in [0, 1][/nonsense]")
    assert stream.getvalue() == "[bold]intensity in [0, 1][/nonsense]\n"


def test_a_long_message_is_not_broken_into_lines() -> None:
    stream, message = StringIO(), " ".join(100 * ["word"])
    with ConsoleProgress(stream) as progress:
        progress.say(message)
    assert stream.getvalue() == message + "\n"


def test_where_no_terminal_is_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(cli.time, "monotonic", lambda: now)
    stream = StringIO()
    with ConsoleProgress(stream) as progress:
        for done in range(1, 101):
            now += 1.0
            progress.step("train", done, 100, "loss 0.1")
    lines = stream.getvalue().splitlines()
    assert lines[-1] == "train: 100 of 100 loss 0.1"
    assert 100 / cli.SECONDS_BETWEEN_LINES - 1 <= len(lines) <= 100 / cli.SECONDS_BETWEEN_LINES + 1


def test_a_table_of_many_columns_is_as_wide_as_it_needs() -> None:
    cell = "0.503 (+0.246 [+0.223, +0.270])"
    stream = StringIO()
    with ConsoleProgress(stream) as progress:
        progress.show_table([[f"column {number}" for number in range(12)], 12 * [cell]])
    assert stream.getvalue().count(cell) == 12


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_number_of_a_table_is_cut_off_whatever_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    interval = "28.11\n[27.7, 28.5]"
    rows = [["method", "MSE [10⁻³]", "PSNR [dB]", "SSIM", "atom F1", "images/s"]]
    rows += [[name, *(4 * [interval]), "1.23e+03"] for name in ("noisy", "gaussian", "wavelet", "network")]
    stream = StringIO()
    with ConsoleProgress(stream) as progress:
        progress.show_table(rows)
    shown = stream.getvalue()
    assert "…" not in shown
    for cell in [cell for row in rows for cell in row]:
        for text in cell.splitlines():
            assert text in shown
    assert shown.count("[27.7, 28.5]") == 16
    assert max(map(len, shown.splitlines())) <= 80


STRANGE = "a.h5\x1b[2K\r\u202e\nACCEPTED: nothing\x07 is wrong"
PLAIN = r"a.h5\x1b[2K\r\u202e\nACCEPTED: nothing\x07 is wrong"


def test_names_from_a_strangers_file_cannot_move_the_cursor_or_begin_a_line(tmp_path: Path) -> None:
    code = "\n".join(
        [
            f"strange = {STRANGE!r}",
            "progress.say(strange)",
            "progress.step(strange, 1, 1, strange)",
            "progress.show_table([['', strange], ['1', strange]])",
            "raise StorageError(strange)",
        ]
    )
    result = run_process(tmp_path, code)
    assert result.returncode == errors.StorageError.exit_code
    assert result.stderr == f"emdenoise train: {PLAIN}\n"
    assert result.stdout.count(PLAIN) == 5
    log = (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
    for text in (result.stdout, result.stderr, log):
        assert not set("\x1b\r\x07\u202e") & set(text)
        assert not any(line.startswith("ACCEPTED") for line in text.split("\n"))


def test_a_fault_of_the_program_shows_no_control_characters_either(tmp_path: Path) -> None:
    result = run_process(tmp_path, f"raise ZeroDivisionError({STRANGE!r})")
    assert result.returncode == 1
    assert PLAIN.partition(r"\n")[0] in result.stderr
    assert "\x1b" not in result.stderr


def test_a_name_is_no_markup_for_the_progress_bar() -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ConsoleProgress(stream) as progress:
        progress.step("read", 1, 2, "[link=https://example.org]a:smile:.tif")
        progress.say(":smile:.tif")
    assert "[link=https://example.org]a:smile:.tif" in stream.getvalue()
    assert "\x1b]8;" not in stream.getvalue(), "that begins a link"
    assert "\N{SMILING FACE WITH OPEN MOUTH AND SMILING EYES}" not in stream.getvalue()
    assert stream.getvalue().count(":smile:.tif") >= 2


def test_an_interval_stands_below_its_mean() -> None:
    stream = StringIO()
    with ConsoleProgress(stream) as progress:
        progress.show_table([["method", "PSNR"], ["network", "+31.2\n[30.1, 32.2]"]])
    assert [line.split()[-1] for line in stream.getvalue().splitlines() if line.strip()][-2:] == ["+31.2", "32.2]"]


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "| true"])
def test_the_verdict_is_in_the_exit_code_also_where_nobody_reads_the_lines(redirection: str, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from emdenoise.cli import run_task; from emdenoise.tasks import Outcome\n"
        "def task(*, progress):\n"
        "    import time; time.sleep(0.2)\n"
        "    for number in range(9): progress.say(9999 * 'a')\n"
        "    return Outcome('REFUSED: 1 problems.', [['', 'problem'], ['1', 'a' * 99999]], exit_code=10)\n"
        "sys.exit(run_task('check', task, Path('logs'), {}))\n"
    )
    (tmp_path / "script.py").write_text(script)
    command = f"set -o pipefail; {sys.executable} script.py {redirection}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (10, "")
    assert "REFUSED: 1 problems." in (tmp_path / "logs" / "check.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "error",  # the words of TensorFlow, of the loader of libraries and of Python
    [
        RuntimeError("{{function_node f}} OOM when allocating tensor with shape[9]"),
        ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_line_whoever_says_so(
    error: Exception, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_task("train", failing(error), tmp_path, {}) == errors.ResourceError.exit_code
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "emdenoise train: out of memory; use a smaller training.batch_size or smaller images."


@pytest.mark.parametrize(
    ("error", "line", "exit_code"),
    [
        (
            OSError(errno.EACCES, "Permission denied", "a.h5"),
            "a.h5 cannot be used: Permission denied; check it",
            7,
        ),
        (OSError(errno.EMFILE, "Too many open files", "a.h5"), "a.h5 cannot be used: Too many open files; close", 12),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "a file cannot be used: Cannot allocate memory; close", 12),
    ],
)
def test_what_the_system_refuses_is_one_line_wherever_it_happens(
    error: OSError, line: str, exit_code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_task("train", failing(error), tmp_path, {}) == exit_code
    (shown,) = capfd.readouterr().err.splitlines()
    assert shown.startswith(f"emdenoise train: {line}")


def test_an_error_that_travels_on_from_a_missing_file_stays_a_fault_of_the_program(tmp_path: Path) -> None:
    result = run_process(tmp_path, "open('nowhere')")
    assert result.returncode == 1
    assert "this is a fault of the program" in result.stderr


VERDICT = "for line in range(2000): progress.say('x' * 100)\nreturn Outcome('REFUSED', exit_code=10)"


@pytest.mark.parametrize("redirection", ["| head -1", ">&-", ">/dev/null 2>&-", "<&- >&- 2>&-"])
def test_a_verdict_is_kept_where_nobody_looks_any_more(redirection: str, tmp_path: Path) -> None:
    """The exit code is that of the verdict, and the log has what was said."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys; from pathlib import Path; from emdenoise.cli import run_task\n"
        "from emdenoise.tasks import Outcome\ndef task(*, progress):\n"
        + "\n".join(f"    {line}" for line in VERDICT.splitlines())
        + "\nsys.exit(run_task('check', task, Path('logs'), {}))",
        encoding="utf-8",
    )
    result = subprocess.run(
        ["bash", "-c", f'"$0" script.py {redirection}; exit ${{PIPESTATUS[0]}}', sys.executable],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 10, result.stderr
    assert result.stderr == ""
    assert (tmp_path / "logs" / "check.log").read_text(encoding="utf-8").rstrip().endswith("REFUSED")


def test_a_line_with_a_name_that_is_no_text_is_shown(tmp_path: Path) -> None:
    result = run_process(tmp_path, "progress.say(os.fsdecode(b'Wrote scan-\\xe4.tif'))")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == "Wrote scan-\\udce4.tif"


@pytest.mark.parametrize("value", ["{", '{"cluster": {"worker": ["a"]}, "task": {"type": "ps", "index": 0}}'])
def test_the_variables_of_a_launcher_stop_only_what_several_processes_do(value: str, tmp_path: Path) -> None:
    result = run_process(tmp_path, "pass", TF_CONFIG=value)
    assert result.returncode == errors.SettingsError.exit_code
    script = "import sys; from pathlib import Path; from emdenoise.cli import run_task\n"
    script += "from emdenoise.tasks import Outcome"
    script += "\nsys.exit(run_task('predict', lambda progress: Outcome('the end'), Path('logs'), {}))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CONFIG": value},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "the end\n")
