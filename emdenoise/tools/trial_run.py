"""One trial of a search: a training, ended early where it is hopeless, and its score on the validation images."""

import math
import shutil
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from emdenoise.config.schema import RunConfig
from emdenoise.config.searches import SearchConfig, change_settings
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import DivergenceError, EMDenoiseError, ResourceError, SettingsError
from emdenoise.evaluation.metrics import METRICS, Metric, find_metric
from emdenoise.evaluation.scoring import choose_metrics, score_method
from emdenoise.progress import Progress, SilentProgress
from emdenoise.results.task_record import read_record
from emdenoise.tasks import train
from emdenoise.tools.study import is_done, write_parameters
from emdenoise.tools.trials import TRIALS_FOLDER, PrunedError, RunningTrial
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.contract import Workload

IMAGES_FOLDER = "images"


def name_metric(search: SearchConfig, base: RunConfig) -> str:
    """Name what a search makes better."""
    return search.metric or WORKLOADS[base.workload].main_metric


def find_judging_metric(name: str, workload: Workload) -> tuple[Metric, str]:
    """Find a metric that judges the truth of a workload, with the label that follows.

    Raises
    ------
    SettingsError
        If there is none of that name; names the known ones and the nearest.
    """
    found = find_metric(name)
    if found is None or workload.head.kind not in found[0].kinds:
        known = [metric.name for metric in METRICS.values() if workload.head.kind in metric.kinds]
        nearest = get_close_matches(name, known, n=1)
        meant = f"; did you mean {nearest[0]}?" if nearest else "."
        raise SettingsError(
            f'metric is "{name}"; it must be one that judges workload {workload.name}: {", ".join(known)}{meant}'
        )
    return found


def check_metric(name: str, base: RunConfig, search_dir: Path) -> None:
    """Check that the validation images have what a metric needs, as atoms or a label.

    Raises
    ------
    SettingsError
        If they do not; names the metrics that they allow.
    """
    workload = WORKLOADS[base.workload]
    metric, label = find_judging_metric(name, workload)
    with RecordFile(search_dir / IMAGES_FOLDER / "data" / "validation.h5") as images:
        known = [metric.name for metric in choose_metrics(images, workload.truth)]
        if metric.name not in known or label not in ("", *images.label_names):
            labels = f" (labels {', '.join(images.label_names)})" if label else ""
            raise SettingsError(
                f"metric is {name}, which the validation images do not allow{labels}; choose one of {', '.join(known)}."
            )


class TrialProgress(SilentProgress):
    """Shows the steps of the training of a trial, and lets the search look at its score after each epoch."""

    def __init__(self, trial: RunningTrial, search: SearchConfig, config: RunConfig, progress: Progress) -> None:
        self._trial, self._progress, self._num_epochs = trial, progress, config.training.epochs
        workload = WORKLOADS[config.workload]
        name, main = name_metric(search, config), METRICS[workload.main_metric]
        is_same_way = find_judging_metric(name, workload)[0].is_larger_better == main.is_larger_better
        self._signs = {f"validation_{main.name}": 1 if is_same_way else -1, f"validation_{name}": 1}

    def step(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Show a step."""
        self._progress.step("trial", done, total, f"{self._trial.number}: {phase}, {note}")

    def end_epoch(self, history: Sequence[Mapping[str, float]]) -> None:
        """Report the score that training computes: that of the search, or else the main one of the workload."""
        name = next(name for name in reversed(self._signs) if name in history[-1])
        if len(history) < self._num_epochs:  # a trial that has done all its epochs is worth its score
            self._trial.report([self._signs[name] * figures[name] for figures in history])


def run_trial(trial: RunningTrial, search: SearchConfig, base: RunConfig, search_dir: Path, progress: Progress) -> int:
    """Train and score one trial; what is done already is not done again.

    Parameters
    ----------
    trial : RunningTrial
        Ends complete, pruned or failed.
    search : SearchConfig
    base : RunConfig
        Settings that trials begin with.
    search_dir : Path
        With the images.
    progress : Progress

    Returns
    -------
    int
        Exit code of its failure, or 0.
    """
    folder = search_dir / TRIALS_FOLDER / trial.name
    try:
        config = change_settings(base, trial.chosen, f"trial {trial.number}")
        values = _train_and_score(trial, search, config, folder, progress)
    except PrunedError:
        shutil.rmtree(folder / "model", ignore_errors=True)
        trial.prune()
    except (DivergenceError, ResourceError, SettingsError) as error:  # of this trial; the others may do better
        trial.fail(str(error))
        return error.exit_code
    else:
        if not math.isfinite(values[0]):
            trial.fail(f"its score is {values[0]} on the validation images; expected a finite number")
            return EMDenoiseError.exit_code
        trial.complete(values)
    return 0


def _train_and_score(
    trial: RunningTrial, search: SearchConfig, config: RunConfig, folder: Path, progress: Progress
) -> tuple[float, ...]:
    """Give the score of a trial, and its speed where that counts."""
    from emdenoise.models.checkpoints import load_model
    from emdenoise.models.tiling import TiledMethod

    data_dir = folder.parents[1] / IMAGES_FOLDER / "data"
    folders: dict[str, Any] = {"data_dir": data_dir, "model_dir": folder / "model", "output_dir": folder / "output"}
    own_progress = TrialProgress(trial, search, config, progress)
    if not is_done(config, folder / "model", "train"):
        train(parameters_file=write_parameters(config, folder), **folders, progress=own_progress)
    record = read_record(folder / "model", "train")
    history, environment = record.results["history"], record.environment
    trial.keep(
        {
            "num_epochs": len(history),
            "train_s": sum(epoch["train_s"] + epoch["validation_s"] for epoch in history),
            "machine": f"{environment['cpu_count']} × {environment['cpu_model']}",
            "accelerators": environment["accelerators"],
        }
    )
    workload, trained = WORKLOADS[config.workload], load_model(folder / "model")
    with RecordFile(data_dir / "validation.h5") as images:
        scores = score_method(
            TiledMethod(trained.network, trained.ports.head),
            images,
            workload.inputs,
            workload.truth,
            batch_size=config.evaluation.batch_size,
            atom_tolerance_angstrom=config.evaluation.atom_tolerance_angstrom,
        )
    known = scores.metrics[name_metric(search, config)]
    known = known[~np.isnan(known)]
    score = float(known.mean()) if known.size else math.nan
    trial.keep({"images_per_second": scores.images_per_second})
    return (score, scores.images_per_second) if search.speed else (score,)
