"""Comparing the runs of a study in one table, from records and scores alone."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emdenoise.config.studies import RunKey
from emdenoise.errors import DataError, SettingsError
from emdenoise.evaluation.metrics import find_metric
from emdenoise.evaluation.statistics import Interval, average_runs
from emdenoise.results.task_record import read_record

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Run:
    """Where the results of one run of a study are.

    Attributes
    ----------
    key : RunKey
    tested_on : str
        Condition of the test images; that of the training images is in `key`.
    output_dir : Path
    """

    key: RunKey
    tested_on: str
    output_dir: Path


@dataclass(frozen=True)
class Row:
    """A variant with a number of training images, over all seeds.

    Attributes
    ----------
    variant : str
    trained_on, tested_on : str
        Conditions of the images; empty in a study that names none.
    num_images : int or None
    num_seeds : int
    score : Interval
        Mean of the metric on the test images; the interval is Student's t over seeds, NaN with one seed.
    other_scores, other_differences : dict of str to Interval
        The same of other metrics; differences are empty for the first variant.
    difference : Interval or None
        To the first variant with as many images, seed by seed; None for the first variant itself.
    epochs_to_reference, seconds_to_reference : float or None
        Mean over seeds of the epochs and the time of training [s] until the validation score is what the first variant
        ends with; None where a seed does not get there, which is infinitely slow.
    num_reached : int
        Seeds that get there.
    pretraining_s : float
        Mean time of pretraining [s], which `seconds_to_reference` does not count.
    """

    variant: str
    trained_on: str
    tested_on: str
    num_images: int | None
    num_seeds: int
    score: Interval
    other_scores: dict[str, Interval]
    other_differences: dict[str, Interval]
    difference: Interval | None
    epochs_to_reference: float | None
    seconds_to_reference: float | None
    num_reached: int
    pretraining_s: float


@dataclass(frozen=True)
class Comparison:
    """All rows of a study.

    Attributes
    ----------
    metric : str
    reference : str
        The variant that the others are compared with.
    rows : list of Row
    failures : dict of RunKey to str
        Runs that have no result, and why.
    """

    metric: str
    reference: str
    rows: list[Row]
    failures: dict[RunKey, str] = field(default_factory=dict)

    def make_table(self) -> list[list[str]]:
        """Make the table: a heading, then one row each."""
        has_conditions = any(row.trained_on for row in self.rows) or any(key.condition for key in self.failures)
        conditions = ["trained on", "tested on"] if has_conditions else []
        others = list(self.rows[0].other_scores) if self.rows else []
        figures = ["seeds", self.metric, *others, f"over {self.reference}", "epochs", "s", "pretraining s"]
        return [
            ["variant", *conditions, "images", *figures],
            *(
                [
                    row.variant,
                    *([row.trained_on, row.tested_on] if conditions else []),
                    str(row.num_images or "all"),
                    str(row.num_seeds),
                    _show(row.score),
                    *(_show_with_difference(row, name) for name in others),
                    "–" if row.difference is None else _show(row.difference, sign="+"),
                    _show_reached(row.epochs_to_reference, row),
                    _show_reached(row.seconds_to_reference, row),
                    f"{row.pretraining_s:.0f}" if row.pretraining_s else "–",
                ]
                for row in self.rows
            ),
            *(
                [
                    key.variant,
                    *([key.condition, "–"] if conditions else []),
                    str(key.num_images or "all"),
                    f"seed {key.seed} failed",
                    reason,
                    *["–"] * (len(figures) - 2),
                ]
                for key, reason in self.failures.items()
            ),
        ]


def compare_runs(
    runs: Sequence[Run], *, metrics: Sequence[str], reference: str, failures: Mapping[RunKey, str] | None = None
) -> Comparison:
    """Compare the variants of a study.

    Parameters
    ----------
    runs : sequence of Run
        Complete ones; variants with fewer seeds than others are compared over the seeds that both have.
    metrics : sequence of str
        Names in ``scores.json``; variants are compared by the first.
    reference : str
        Variant that the others are compared with.
    failures : mapping of RunKey to str, optional
        Runs that have no result, and why.

    Returns
    -------
    Comparison
    """
    groups: dict[tuple[str, str, str, int | None], dict[int, dict[str, Any]]] = {}
    for run in runs:
        group = (run.key.variant, run.key.condition, run.tested_on, run.key.num_images)
        groups.setdefault(group, {})[run.key.seed] = _read_run(run, metrics)
    rows = []
    for (variant, trained_on, tested_on, num_images), own in groups.items():
        known_base = groups.get((reference, trained_on, tested_on, num_images), {})
        base = {seed: known_base[seed] for seed in own if seed in known_base}
        reached = [_find_epoch(own[seed], base[seed], metrics[0]) for seed in base]
        known = [figures for figures in reached if figures is not None]
        is_time_known = bool(known) and len(known) == len(reached)
        scores = {name: _average([figures["scores"][name] for figures in own.values()]) for name in metrics}
        differences = {
            name: _average([own[seed]["scores"][name] - base[seed]["scores"][name] for seed in base])
            for name in metrics
            if variant != reference and base
        }
        rows.append(
            Row(
                variant=variant,
                trained_on=trained_on,
                tested_on=tested_on,
                num_images=num_images,
                num_seeds=len(own),
                score=scores[metrics[0]],
                other_scores={name: scores[name] for name in metrics[1:]},
                difference=differences.get(metrics[0]),
                other_differences={name: differences[name] for name in metrics[1:] if name in differences},
                epochs_to_reference=float(np.mean([epochs for epochs, _ in known])) if is_time_known else None,
                seconds_to_reference=float(np.mean([seconds for _, seconds in known])) if is_time_known else None,
                num_reached=len(known),
                pretraining_s=float(np.mean([figures["pretraining_s"] for figures in own.values()])),
            )
        )
    return Comparison(metrics[0], reference, rows, dict(failures or {}))


def _read_run(run: Run, metrics: Sequence[str]) -> dict[str, Any]:
    network = _read_means(run.output_dir / "scores.json")
    for name in metrics:
        if name not in network:
            raise SettingsError(
                f"metric is {name}; the runs of this study have {', '.join(network)}; correct the study file."
            )
        if network[name] is None:
            raise SettingsError(f"metric is {name}; no test image has it; take another metric in the study file.")
    results = read_record(run.output_dir, "train").results
    return {
        "scores": {name: network[name] for name in metrics},
        "history": results["history"],
        "pretraining_s": results.get("pretraining", {}).get("duration_s", 0.0),
    }


def _read_means(path: Path) -> dict[str, float | None]:
    """Read the mean of each metric of the network, and its speed, which has no interval."""
    try:
        network = json.loads(path.read_text(encoding="utf-8"))["methods"]["network"]
        scores = {name: value if name == "images_per_second" else value["mean"] for name, value in network.items()}
        return {name: None if mean is None else float(mean) for name, mean in scores.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path.name}: missing or damaged; run the test task again.") from error


def _find_epoch(own: dict[str, Any], base: dict[str, Any], metric: str) -> tuple[int, float] | None:
    """Find the first epoch in which a run is as good on validation images as another ends; with the time until then."""
    if not own["history"] or not base["history"]:
        return None
    name, sign = f"validation_{metric}", 1
    if any(name not in run["history"][0] for run in (own, base)):
        name, sign = "validation_loss", -1
    elif (found := find_metric(metric)) is not None and not found[0].is_larger_better:
        sign = -1
    seconds, wanted = 0.0, base["history"][-1][name]
    for figures in own["history"]:
        seconds += figures["train_s"]
        # A record has null where a score was no number.
        if None not in (figures[name], wanted) and sign * figures[name] >= sign * wanted:
            return figures["epoch"], seconds
    return None


def _average(values: Sequence[float]) -> Interval:
    return average_runs(np.array(values), confidence=CONFIDENCE)


def _show(interval: Interval, sign: str = "") -> str:
    """Show a mean with its interval; a single run has none."""
    if math.isnan(interval.low):
        return f"{interval.mean:{sign}.3f}"
    return f"{interval.mean:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _show_with_difference(row: Row, name: str) -> str:
    shown = f"{row.other_scores[name].mean:.3f}"
    difference = row.other_differences.get(name)
    return shown if difference is None else f"{shown} ({_show(difference, sign='+')})"


def _show_reached(value: float | None, row: Row) -> str:
    if value is not None:
        return f"{value:.1f}"
    return f"– ({row.num_reached} of {row.num_seeds})" if row.num_reached else "–"
