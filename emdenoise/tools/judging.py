"""Judging a package as an outsider: everything that can be seen without running the network.

Each check adds its problems to one list; none of them trusts another.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from emdenoise import __version__
from emdenoise.arrays import choose_evenly
from emdenoise.config.loading import hash_settings
from emdenoise.errors import SettingsError
from emdenoise.evaluation.conditions import CONDITIONS
from emdenoise.evaluation.metrics import METRICS, find_metric
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.files.atomic import hash_file
from emdenoise.results.mllog import NUM_RUNS
from emdenoise.results.tables import summarise_scores
from emdenoise.sources import SOURCES
from emdenoise.tools.clocks import find_overlaps, judge_clock, judge_log
from emdenoise.tools.packages import Submission, SubmittedRun, parse_json, read_submission
from emdenoise.tools.packing import MODEL_FILES, Package, name_folder
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.contract import Workload, check_division

MAX_RATE = 1e12
"""Images per second; more are no number."""
ROUNDING = 1e-4
"""By how much the score under a picture may differ from that of its image, which another batch rounded."""


def judge_package(folder: Path) -> tuple[Submission | None, list[str]]:
    """Read and judge an unpacked package; for the reading process, where a hostile file does no harm.

    Returns
    -------
    Submission or None, list of str
        None where nothing can be judged; and everything that is wrong.
    """
    submission, problems = read_submission(folder)
    if submission is None:
        return None, problems
    try:
        return submission, problems + judge_submission(submission, WORKLOADS[submission.package.workload])
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        return None, [*problems, f"cannot be judged: {type(error).__name__}: {error}"]


def judge_submission(submission: Submission, workload: Workload) -> list[str]:
    """List everything that is wrong with a package, as far as its files tell.

    Parameters
    ----------
    submission : Submission
    workload : Workload
        That of the package.

    Returns
    -------
    list of str
        One problem each; empty for an honest package.
    """
    package, runs = submission.package, submission.runs
    problems = []
    if package.emdenoise_version.split(".")[:2] != __version__.split(".")[:2]:
        problems.append(
            f"made with EMDenoise {package.emdenoise_version}; this is {__version__}, scores do not compare"
        )
    needed = NUM_RUNS if package.division == "closed" else 1
    if len(runs) < needed:
        problems.append(f"{len(runs)} whole runs; division {package.division} needs {needed}")
    for run in runs:
        found, stated = (
            len(run.records["train"].environment.get("accelerators") or []),
            submission.system.accelerators_per_node,
        )
        if found != stated:
            problems.append(f"{run.name}: {found} accelerators, the system has {stated}")
    if (
        submission.system.submitter != package.organisation
        or name_folder(submission.system.system_name) != package.system
    ):
        problems.append("the system description is of another organisation or system")
    problems += _compare_runs(runs)
    problems += find_overlaps(runs, submission.system)
    problems += _judge_target(submission, workload)
    for run in runs:
        checks = (
            _judge_settings(run, package, workload),
            _judge_chain(run),
            _judge_methods(run, workload),
            _judge_captions(run, workload),
            _judge_scores(run),
            judge_clock(run),
            judge_log(run, submission.system, workload.find_target(run.config)),
        )
        problems += [f"{run.name}: {problem}" for check in checks for problem in check]
    return problems


def _compare_runs(runs: list[SubmittedRun]) -> Iterator[str]:
    """Find runs that are no runs of their own."""
    own: dict[str, Callable[[SubmittedRun], object]] = {
        "the seed": lambda run: run.config.seed,
        "the weights": lambda run: run.records["train"].outputs.get("weights"),
        "the start of the training": lambda run: run.records["train"].started_at,
    }
    for what, read in own.items():
        seen: dict[object, str] = {}
        for run in runs:
            other = seen.setdefault(read(run), run.name)
            if other != run.name:
                yield f"{run.name} has {what} of {other}"
    shared: dict[str, Callable[[SubmittedRun], object]] = {
        "settings": lambda run: hash_settings(run.config.model_copy(update={"seed": 0})),
        "commit": lambda run: run.records["train"].commit,
        "processor": lambda run: str(run.records["train"].environment.get("cpu_model")),
        "test images": lambda run: run.records["test"].inputs.get("test.h5"),
    }
    for what, read in shared.items():
        if len({read(run) for run in runs}) > 1:
            yield f"the runs differ in {what}"


def _judge_target(submission: Submission, workload: Workload) -> Iterator[str]:
    """Find out whether a package of the closed division has a time to quality, which is what that division compares."""
    missed = list_missed(submission, workload)
    if submission.package.division == "closed" and len(missed) > 1:
        yield (
            f"{', '.join(missed)} missed the target; division closed needs a time to quality, for which all runs but "
            "one must reach it"
        )


def list_missed(submission: Submission, workload: Workload) -> list[str]:
    """List the runs that did not reach their target; none where there is no target."""
    targets = {run.name: workload.find_target(run.config) for run in submission.runs}
    return [
        run.name
        for run in submission.runs
        if (target := targets[run.name]) is not None
        and not any(target.is_reached(epoch) for epoch in run.records["train"].results["history"])
    ]


def _judge_settings(run: SubmittedRun, package: Package, workload: Workload) -> Iterator[str]:
    config = run.config
    if config.division != package.division or config.workload != package.workload:
        yield f"is of division {config.division} and workload {config.workload}"
    try:
        check_division(config, workload)
    except SettingsError as error:
        yield str(error)
    tested = run.records["test"]
    for task, record in run.records.items():
        # A study makes its images once, with the settings of its first run.
        of_images = SOURCES[config.data.source].settings_sections
        sections = of_images if task in ("download", "preprocess") else tuple(tested.settings)
        if any(record.settings.get(section) != tested.settings.get(section) for section in sections):
            yield f"{task} ran with other settings than test"
        if record.emdenoise_version != package.emdenoise_version:
            yield f"{task} ran with EMDenoise {record.emdenoise_version}"
        if record.commit != package.commit or record.commit == "unknown":
            yield f"{task} ran with commit {record.commit[:12]}, the package names {package.commit[:12]}"
        if record.is_dirty:
            yield f"{task} ran with files that differ from their commit"
    is_simulated = SOURCES[config.data.source].simulate is not None
    if config.data.mirror is not None and config.division == "closed" and is_simulated:
        yield f"data.mirror is set; the images of source {config.data.source} are simulated"
    is_hidden = "(path " in (config.data.mirror or "")  # a path of the submitter's machine, which is in no record
    if hash_settings(config) != tested.settings_sha256 and not is_hidden:
        yield "the hash of its settings is not that of its settings"


def _judge_chain(run: SubmittedRun) -> Iterator[str]:
    """Follow the hashes from the images to the scores."""
    records = run.records
    if records["preprocess"].inputs != records["download"].outputs:
        yield "preprocess read other files than download left"
    made = records["preprocess"].outputs
    learned = {"train.h5"} & set(records["test"].inputs)  # by classical methods
    for task, names in (("train", ("train.h5", "validation.h5")), ("test", (*learned, "validation.h5", "test.h5"))):
        for name in names:
            if records[task].inputs.get(name) != made.get(name) or name not in made:
                yield f"{task} read another {name} than preprocess wrote"
    if len(set(made.values())) < len(made):
        yield "two of the files for training, validation and test are the same: trained on test images"
    if set(records["train"].inputs) - {"train.h5", "validation.h5"}:
        yield "train read more than training and validation images"
    weights = records["train"].outputs.get("weights")
    description = _read_description(run.folder)
    if (
        weights is None
        or records["test"].inputs.get("weights") != weights
        or description.get("weights_sha256") != weights
    ):
        yield "weights, training and test do not belong together"
    if description.get("file_sha256") != hash_file(run.folder / "model" / MODEL_FILES[1]):
        yield f"{MODEL_FILES[1]} is not the file that {MODEL_FILES[0]} names"


def _read_description(folder: Path) -> dict[str, Any]:
    try:
        content = parse_json((folder / "model" / MODEL_FILES[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _judge_methods(run: SubmittedRun, workload: Workload) -> Iterator[str]:
    """Find methods that are missing or too many: the network is compared with all that the settings name."""
    results, baselines = run.records["test"].results, set(workload.choose_baselines(run.config))
    expected = baselines | {"network"} | ({workload.inputs[0]} if workload.is_restoration else set())
    for what, found, wanted in (
        ("scores", set(results["per_image"]), expected),
        ("choices", set(results["choices"]), baselines),
    ):
        if found != wanted:
            yield f"{what} are of {', '.join(sorted(found)) or 'nothing'}, expected {', '.join(sorted(wanted))}"
    of_network = set(results["per_image"].get("network", {}))
    wrong = [name for name, metrics in results["per_image"].items() if set(metrics) != of_network]
    if wrong or workload.main_metric not in of_network or results["main_metric"] != workload.main_metric:
        yield f"its metrics are not those of workload {workload.name}, the same for all methods"
    if unknown := [name for name in of_network if find_metric(name) is None]:
        yield f"{unknown[0]} is no metric"


def _judge_captions(run: SubmittedRun, workload: Workload) -> Iterator[str]:
    """Compare what stands over the pictures of the report with the scores of these images."""
    results, metric = run.records["test"].results, METRICS[workload.main_metric]
    shown = choose_evenly(len(results["specimens"]), run.config.evaluation.num_pictures).tolist()
    for method, metrics in results["per_image"].items():
        scores = metrics.get(metric.name, [])
        captions = results["captions"].get(method, [])
        if metric.caption and len(captions) != len(shown):
            yield f"{method} has {len(captions)} captions of {len(shown)}"
            continue
        for caption, index in zip(captions, shown, strict=False):
            score = math.nan if index >= len(scores) or scores[index] is None else scores[index]
            allowed = {metric.caption.format(score + change) for change in (-ROUNDING, 0.0, ROUNDING)}
            if caption not in {f"{method}  {text}" for text in allowed}:
                yield f"the caption {caption!r} is not the score of image {index}"


def _judge_scores(run: SubmittedRun) -> Iterator[str]:
    """Average the scores of the images again."""
    per_image, specimens = run.records["test"].results["per_image"], run.records["test"].results["specimens"]
    for method, metrics in per_image.items():
        for metric, values in metrics.items():
            if len(values) != len(specimens):
                yield f"{method} {metric} has {len(values)} images of {len(specimens)}"
                return
    methods = {
        name: ImageScores(
            {
                metric: np.array([np.nan if value is None else value for value in values])
                for metric, values in metrics.items()
            },
            images_per_second=_read_speed(run.scores, name),
        )
        for name, metrics in per_image.items()
    }
    results = run.records["test"].results
    expected = summarise_scores(run.config, methods, specimens, **{name: results.get(name) for name in CONDITIONS})
    if expected != run.scores:
        wrong = [
            name for name in expected["methods"] if expected["methods"][name] != run.scores.get("methods", {}).get(name)
        ]
        wrong += [part for part in ("differences", "by_dose", "by_class") if expected[part] != run.scores.get(part)]
        yield f"scores.json does not follow from the scores of the images{': ' + ', '.join(wrong) if wrong else ''}"


def _read_speed(scores: dict[str, Any], name: str) -> float:
    """Read the speed of a method; infinite, which is written as null, where it is no positive number."""
    rate = scores["methods"].get(name, {}).get("images_per_second")
    return float(rate) if isinstance(rate, int | float) and 0 < rate < MAX_RATE else math.inf
