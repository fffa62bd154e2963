"""`emdenoise submit`: packs runs, each a folder with output and model as a study leaves them, into one file."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from emdenoise.config.loading import check_settings, load_settings
from emdenoise.config.schema import RunConfig
from emdenoise.errors import DataError
from emdenoise.files.atomic import open_scratch
from emdenoise.files.locks import lock_folder
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome

if TYPE_CHECKING:
    from emdenoise.training.targets import Target


def submit(*, runs_dir: Path, system_file: Path, package_file: Path, progress: Progress) -> Outcome:
    """Pack runs, each a folder with output and model as a study leaves them, into one file to hand in."""
    from emdenoise.tools.archive import write_archive
    from emdenoise.tools.packing import SystemDescription, build_package

    system = load_settings(system_file, SystemDescription, "system")
    runs = sorted(path.parent for path in runs_dir.glob("*/output") if path.is_dir())
    with ExitStack() as stack:
        place = package_file.resolve().parent
        stack.enter_context(lock_folder(place, is_written=True))
        for run, part in product(runs, ("output", "model")):
            stack.enter_context(lock_folder(run / part, is_written=False))
        folder = stack.enter_context(open_scratch(package_file))
        target = _find_target(runs[0]) if runs else None
        package = build_package(runs, system, target, folder)
        _read_again(folder)
        write_archive(folder, package_file)
    progress.say(f"{len(runs)} runs of workload {package.workload}, division {package.division}.")
    if target is not None and (num_missed := _count_missed(runs, target)):
        progress.say(
            f"{num_missed} of {len(runs)} runs missed {target.describe()}; each counts as infinitely slow. With two or "
            "more there is no time to quality, and division closed refuses the package."
        )
    return Outcome(f"The package is {package_file}; `emdenoise check` says whether it will be accepted.")


def _read_again(folder: Path) -> None:
    """Read a package as a judge does: a damaged file of a run is better found here."""
    from emdenoise.tools.packages import read_submission

    _, problems = read_submission(folder)
    if problems:
        raise DataError(f"{problems[0]}; expected whole files of finished runs; run the test task of this run again.")


def _find_target(run: Path) -> "Target | None":
    from emdenoise.results.task_record import read_record
    from emdenoise.workloads import WORKLOADS

    settings = read_record(run / "output", "test").settings
    config = check_settings(settings, RunConfig, f"the settings in the records of {run.name}")
    return WORKLOADS[config.workload].find_target(config)


def _count_missed(runs: Sequence[Path], target: "Target") -> int:
    from emdenoise.results.task_record import read_record

    histories = [read_record(run / "output", "train").results.get("history", []) for run in runs]
    return sum(not any(target.is_reached(epoch) for epoch in history) for history in histories)
