"""A search for good settings: many short trainings, each judged on validation images, and the best parameters file.

A search may be killed at any time, and several processes may work at one search at once, on several machines: each
takes the next trial. Test images are never looked at, so that a test of what was found still means something.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from emdenoise import __version__
from emdenoise.config.loading import load_config, load_settings
from emdenoise.config.schema import RunConfig
from emdenoise.config.searches import SearchConfig, choose_as_the_file, find_whole_numbers, list_extremes
from emdenoise.errors import SettingsError
from emdenoise.files.locks import HeldError, lock_folder
from emdenoise.progress import Progress
from emdenoise.results.environment import check_backend
from emdenoise.tables import look_up
from emdenoise.tasks import Outcome
from emdenoise.tools.study import has_data, prepare_data
from emdenoise.tools.trials import JOURNAL_FILE, Journal, Space, import_optuna

if TYPE_CHECKING:
    from emdenoise.tools.search_files import FoundTrials

SECONDS_PER_HOUR = 3600.0


def run_search(*, search_file: Path, search_dir: Path, progress: Progress) -> Outcome:
    """Search for better settings by trainings that are judged on validation images; goes on where it was stopped."""
    started = time.monotonic()
    search = load_settings(search_file, SearchConfig, "search")
    base = load_config(Path(search.parameters_file))
    import_optuna()
    check_backend()

    from emdenoise.tools.search_files import describe_trial
    from emdenoise.tools.trial_run import IMAGES_FOLDER, check_metric, name_metric, run_trial

    space = _make_space(search, base)
    if (search_dir / JOURNAL_FILE).exists():  # of another search, it is refused before its images are replaced
        Journal(space, search_dir)
    _prepare_images(base, search_dir / IMAGES_FOLDER, progress)
    check_metric(name_metric(search, base), base, search_dir)
    journal = Journal(space, search_dir)
    if search.speed and search.prune:
        progress.say("No trial ends early: with speed as a second aim, Optuna cannot tell which one is hopeless.")
    if space.first is None:
        progress.say(f"{search.parameters_file} itself is no trial: the search may not give all of its values.")
    exit_code = 0
    while search.hours is None or time.monotonic() - started < search.hours * SECONDS_PER_HOUR:
        with journal.begin_trial() as trial:
            if trial is None:
                break
            exit_code = run_trial(trial, search, base, search_dir, progress) or exit_code
        found = _write_found(search, base, journal, search_dir)
        progress.say(describe_trial(found, trial.number))
    found = _write_found(search, base, journal, search_dir)
    if not found.best:
        reason = "see search.html for the reasons" if exit_code else "give more hours, or wait for the other workers"
        return Outcome(f"No trial is complete in {search_dir}; {reason}.", exit_code=exit_code)
    message = f"{len(found.trials)} trials; the best settings are {search_dir / 'best.parameters.yaml'}"
    return Outcome(message, found.make_table(max_rows=10))


def _make_space(search: SearchConfig, base: RunConfig) -> Space:
    """Check all settings of a search, and say what it may try."""
    from emdenoise.tools.trial_run import find_judging_metric, name_metric
    from emdenoise.workloads.contract import check_division

    if base.num_processes > 1:
        raise SettingsError(
            f"num_processes is {base.num_processes}; a trial is trained by one process; set it to 1 and start several "
            "workers of the search."
        )
    for _, config in list_extremes(search, base):
        check_division(config, look_up("workloads", config.workload))
    metric, _ = find_judging_metric(name_metric(search, base), look_up("workloads", base.workload))
    content = {
        "base": base.model_dump(mode="json"),
        "metric": name_metric(search, base),
        "speed": search.speed,
        "settings": search.model_dump(mode="json")["settings"],
        "version": __version__.split(".")[:2],
    }
    return Space(
        search=search,
        whole_numbers=find_whole_numbers(search, base),
        first=choose_as_the_file(search, base),
        identity=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        is_larger_better=metric.is_larger_better,
    )


def _prepare_images(base: RunConfig, images_dir: Path, progress: Progress) -> None:
    """Download and preprocess once for all trials, or wait until another worker has done so."""
    if has_data(base, images_dir):
        return
    try:
        with lock_folder(images_dir, is_written=True):
            prepare_data(base, images_dir, progress)
    except HeldError:
        progress.say("Another worker prepares the images; this one waits until they are there.")
        with lock_folder(images_dir, is_written=True, is_awaited=True):
            prepare_data(base, images_dir, progress)


def _write_found(search: SearchConfig, base: RunConfig, journal: Journal, search_dir: Path) -> "FoundTrials":
    """Write what all workers have found so far."""
    from emdenoise.tools.search_files import FoundTrials, write_found
    from emdenoise.tools.trial_run import name_metric

    with journal.hold():
        found = FoundTrials(
            search=search,
            base=base,
            metric=name_metric(search, base),
            trials=journal.list_trials(),
            best=journal.find_best(),
            shares=[journal.weigh_settings(index) for index in range(2 if search.speed else 1)],
        )
        write_found(found, search_dir)
    return found
