"""Testing the weights of a stranger: in a process of its own, with bounds of memory, time and disk, without a network.

What the process computes from the weights and from images made here is compared with what the package says.
"""

import json
import math
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from emdenoise.errors import EMDenoiseError, StorageError
from emdenoise.progress import SilentProgress

TEST_TIMEOUT_S = 3600
MAX_MEMORY_BYTES = 24 * 2**30
MAX_FILE_BYTES = 2**32
"""Of each file that the process writes: report and scores."""
MAX_PROBLEMS, MAX_PROBLEM_LENGTH = 50, 300
"""Of the findings, so that they fit into a pipe that nobody reads before the process has ended."""
BEGIN = """
import sys
folders, sys.path[:] = sys.argv[2:5], sys.argv[5:]
from emdenoise.tools.weights import write_findings
write_findings(int(sys.argv[1]), *folders)
"""
LOSS_TOLERANCE, RATE_TOLERANCE = 0.01, 1e-5
"""Largest relative difference of a loss, whose sums round differently on another machine, and of a learning rate."""


def check_weights(run_dir: Path, work_dir: Path) -> list[str]:
    """Test the weights of a run on images made here.

    Parameters
    ----------
    run_dir : Path
        Of the package: records and model.
    work_dir : Path
        Has ``data``; gets the result in ``runs``.

    Returns
    -------
    list of str
        What differs from the package, or why the weights cannot be tested.

    Raises
    ------
    StorageError
        If our disk is full, which says nothing of the package.
    """
    from emdenoise.results.task_record import copy_records, forget_record

    own = work_dir / "runs" / run_dir.name
    copy_records(run_dir, run_dir / "model")
    forget_record(run_dir / "model", "test")  # it would stand beside our results before there are any
    folders = [str(folder.resolve()) for folder in (run_dir, own, work_dir / "data")]
    start = [*find_isolation(), sys.executable, "-P", "-c", BEGIN]
    reading, writing = os.pipe()  # not a file, for which the disk may have no room
    with os.fdopen(reading, encoding="utf-8") as pipe:
        try:
            command = [*start, str(writing), *folders, *map(str, sys.path)]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=TEST_TIMEOUT_S, pass_fds=[writing]
            )
        except subprocess.TimeoutExpired:
            return [f"its weights were not tested within {TEST_TIMEOUT_S} s"]
        finally:
            os.close(writing)
        answer = pipe.read()
    if done.returncode != 0 or not answer:
        said = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
        return [f"its weights cannot be tested: {said[:MAX_PROBLEM_LENGTH]}"]
    findings: dict[str, Any] = json.loads(answer)
    if findings["storage"]:
        raise StorageError(findings["storage"])
    return list(findings["problems"])


def find_isolation() -> list[str]:
    """Find the beginning of a command that runs without a network; empty where the system does not let us."""
    command = ["unshare", "--map-root-user", "--net", "--"]
    if shutil.which(command[0]) is None:
        return []
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else []


def write_findings(descriptor: int, *folders: str) -> None:
    """Do the work of the process: test, compare, and write what was found into a pipe."""
    _bound_resources()
    run_dir, own, data_dir = map(Path, folders)
    problems: list[str] = []
    storage = ""
    try:
        problems = [*_test(run_dir, own, data_dir), *_compare_training(run_dir / "model", data_dir)]
    except StorageError as error:
        storage = str(error)
    except EMDenoiseError as error:
        problems = [f"its weights cannot be tested: {error}"]
    shown = [problem[:MAX_PROBLEM_LENGTH] for problem in problems[:MAX_PROBLEMS]]
    with os.fdopen(descriptor, "w", encoding="utf-8") as pipe:
        json.dump({"problems": shown, "storage": storage}, pipe)


def _bound_resources() -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bounds = {
        resource.RLIMIT_DATA: min(MAX_MEMORY_BYTES, physical),
        resource.RLIMIT_FSIZE: MAX_FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in bounds.items():
        with suppress(ValueError, OSError):  # the system does not bound it (macOS), or bounds it more tightly
            resource.setrlimit(kind, (most, most))


def _test(run_dir: Path, own: Path, data_dir: Path) -> list[str]:
    from emdenoise.tasks import test
    from emdenoise.tools.verdicts import compare_results
    from emdenoise.tools.verify import write_settings

    folders: dict[str, Any] = {"data_dir": data_dir, "model_dir": run_dir / "model", "output_dir": own / "output"}
    test(parameters_file=write_settings(run_dir, own), **folders, progress=SilentProgress())
    findings = compare_results(run_dir, own / "output", data_dir, is_trained_again=False)
    return [f"{finding.part} is different: {finding.detail}" for finding in findings if finding.verdict == "different"]


def _compare_training(model_dir: Path, data_dir: Path) -> Iterator[str]:
    """Compute what images and weights say of the training, and compare it with the record."""
    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.dataset.sampler import InOrder, Sampler
    from emdenoise.dataset.whole_images import show_for_validation
    from emdenoise.results.task_record import read_record
    from emdenoise.tools.trained import load_trained
    from emdenoise.training.learners import PreparedBatches, validate_network
    from emdenoise.workloads import WORKLOADS

    config, trained = load_trained(model_dir)
    workload, results = WORKLOADS[config.workload], read_record(model_dir, "train").results
    objective = workload.make_objective(config.training)
    with RecordFile(data_dir / "train.h5") as images, RecordFile(data_dir / "validation.h5") as validation:
        sampler = Sampler(images, objective.needs, config.training, config.seed)
        counts = {
            "num_parameters": (results["num_parameters"], trained.network.model.count_params()),
            "num_validation_images": (results["num_validation_images"], len(validation)),
        }
        counts |= {
            f"num_images of epoch {epoch['epoch']}": (epoch["num_images"], sampler.num_items)
            for epoch in results["history"]
        }
        yield from (f"{name} is {found}, not {right}" for name, (found, right) in counts.items() if found != right)
        if not results["history"]:
            return
        yield from _compare_rates(config.training, results["history"], len(sampler))
        shown = show_for_validation(validation, config.training)
        batches = PreparedBatches(InOrder(shown, objective.needs, config.evaluation.batch_size), objective, config.seed)
        judge = workload.make_judge(config, shown)
        figures = validate_network(trained.network.model, objective, batches, judge=judge)
    yield from _compare_figures(results["history"][results["best_epoch"] - 1], figures)


def _compare_rates(settings: Any, history: list[dict[str, Any]], num_steps: int) -> Iterator[str]:
    from emdenoise.training.schedules import list_learning_rates

    if settings.precision == "mixed_float16" and settings.schedule != "constant":
        return  # a step that overflowed is not counted, and no record says how many did
    slack = RATE_TOLERANCE * settings.learning_rate
    for epoch, rate in zip(history, list_learning_rates(settings, num_steps), strict=False):
        if abs(epoch["learning_rate"] - rate) > slack:
            yield f"learning_rate of epoch {epoch['epoch']} is {epoch['learning_rate']:.6g}, not {rate:.6g}"


def _compare_figures(epoch: dict[str, Any], figures: dict[str, float]) -> Iterator[str]:
    """Compare the figures of the epoch whose weights are given with those that the weights have."""
    from emdenoise.evaluation.metrics import METRICS

    for name, figure in figures.items():
        if name == "validation_s":
            continue
        metric, found = METRICS.get(name.removeprefix("validation_")), epoch.get(name)
        slack = LOSS_TOLERANCE * abs(figure) if metric is None else metric.tolerance
        if found is None or not math.isclose(found, figure, rel_tol=0.0, abs_tol=slack):
            yield f"{name} of epoch {epoch['epoch']} is {found}, the weights have {figure:.6g}"
