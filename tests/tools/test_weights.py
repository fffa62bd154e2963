"""A stranger's weights: tested without a network, within bounds; what brings the process down is one line."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from emdenoise.errors import StorageError
from emdenoise.tools import weights
from emdenoise.tools.weights import check_weights, find_isolation


@pytest.mark.skipif(not find_isolation(), reason="this system does not let processes leave the network")
def test_the_process_reaches_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)"
        with_network, without = (
            subprocess.run([*start, sys.executable, "-c", code], capture_output=True, check=False).returncode
            for start in ([], find_isolation())
        )
    assert with_network == 0
    assert without != 0


WRITE_TOO_MUCH = """
from pathlib import Path
from emdenoise.tools import weights
weights.MAX_FILE_BYTES = 1000
weights._bound_resources()
Path(own, "a.bin").write_bytes(bytes(20_000))
"""


def run_instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    begin = f"import sys; pipe, run_dir, own, data_dir, *_ = sys.argv[1:]; sys.path[:] = sys.argv[5:]\n{code}\n"
    monkeypatch.setattr(weights, "BEGIN", begin)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for name in ("run_0/records", "run_0/model", "work/runs/run_0"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "run_0"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError(9000 * 'a')", "its weights cannot be tested: ValueError: aaa"),
        ("import os; os.abort()", "its weights cannot be tested: the process ended with -6"),
        ("pass", "its weights cannot be tested: the process ended with 0"),
        (
            "from emdenoise.tools.weights import _bound_resources; _bound_resources(); print(len(bytearray(2**36)))",
            "its weights cannot be tested: MemoryError",
        ),
        (
            WRITE_TOO_MUCH,
            "its weights cannot be tested: OSError: [Errno 27] File too large",
        ),
    ],
)
def test_a_process_that_ends_in_any_way_is_one_line_about_the_package(
    code: str, said: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(monkeypatch, code)
    (problem,) = check_weights(run_dir, run_dir.parent / "work")
    assert problem.startswith(said)
    assert len(problem) < 400


def test_a_process_without_end_is_ended(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "while True: pass")
    monkeypatch.setattr(weights, "TEST_TIMEOUT_S", 1)
    assert check_weights(run_dir, run_dir.parent / "work") == ["its weights were not tested within 1 s"]


def test_a_full_disk_of_the_judge_is_no_fault_of_the_package(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(
        monkeypatch,
        'import os; os.write(int(pipe), b\'{"problems": [], "storage": "output is full"}\')',
    )
    with pytest.raises(StorageError, match="output is full"):
        check_weights(run_dir, run_dir.parent / "work")
