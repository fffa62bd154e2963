"""How the tests on a real Slurm look at jobs and wait for them."""

import time
from collections.abc import Callable

from tests.container.engine import run

TIMEOUT_S = 600


def show(job: str) -> dict[str, str]:
    """Give what the controller knows of a job."""
    fields = run("scontrol", "show", "--oneliner", "job", job).stdout.split()
    return dict(field.split("=", 1) for field in fields if "=" in field)


def wait(job: str, is_there: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """Wait until a job is as it shall be."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if is_there(found := show(job)):
            return found
        time.sleep(0.5)
    raise AssertionError(f"job {job} is {found}")


def is_ended(job: dict[str, str]) -> bool:
    return job["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
