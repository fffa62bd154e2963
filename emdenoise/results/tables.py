"""``scores.json``: the stable result that other people's tools read, and the table made of it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.metrics import METRICS, Metric, find_metric
from emdenoise.evaluation.statistics import bootstrap_mean
from emdenoise.seeding import make_generator

SCHEMA_VERSION = 1


class MethodScores(Protocol):
    """Scores per image of one method, as `evaluation/scoring.py:ImageScores`."""

    @property
    def metrics(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Per image, by metric."""

    @property
    def images_per_second(self) -> float:
        """Speed."""


def summarise_scores(
    config: RunConfig, methods: Mapping[str, MethodScores], specimens: Sequence[str]
) -> dict[str, Any]:
    """Average scores over images, with intervals, into the content of ``scores.json``.

    Parameters
    ----------
    config : RunConfig
    methods : mapping of str to MethodScores
    specimens : sequence of str
        Specimen of each test image.

    Returns
    -------
    dict
        ``schema_version, workload, division, split, num_images, num_specimens, confidence, methods``; a metric that is
        not defined for any image is null.
    """
    summary: dict[str, Any] = {}
    for name, scores in methods.items():
        summary[name] = {"images_per_second": _round(scores.images_per_second)}
        for metric, values in scores.metrics.items():
            interval = bootstrap_mean(
                values,
                specimens,
                num_resamples=config.evaluation.num_resamples,
                confidence=config.evaluation.confidence,
                rng=make_generator(config.seed, f"bootstrap {name} {metric}"),
            )
            bounds = {"mean": interval.mean, "low": interval.low, "high": interval.high}
            summary[name][metric] = {bound: _round(value) for bound, value in bounds.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "workload": config.workload,
        "division": config.division,
        "split": "test",
        "num_images": len(specimens),
        "num_specimens": len(set(specimens)),
        "confidence": config.evaluation.confidence,
        "methods": summary,
    }


def make_table(scores: dict[str, Any], *, is_compact: bool = False) -> list[list[str]]:
    """Make the table of all methods: a heading, then one row each, means with intervals.

    Parameters
    ----------
    scores : dict
        Content of ``scores.json``.
    is_compact : bool
        For a terminal: fewer columns, intervals on a line of their own.

    Returns
    -------
    list of list of str
    """
    methods = scores["methods"]
    columns = _list_columns(methods, is_compact=is_compact)
    rows = [["method", *(heading for heading, _ in columns.values()), "images/s"]]
    show = _show_compact if is_compact else _show_interval
    for name, method in methods.items():
        cells = [show(method.get(column), metric) for column, (_, metric) in columns.items()]
        rate = method["images_per_second"]
        rows.append([name, *cells, "–" if rate is None else f"{rate:.3g}"])
    return rows


def _list_columns(methods: Mapping[str, Any], *, is_compact: bool) -> dict[str, tuple[str, Metric]]:
    """List what is shown, in the order of `METRICS`, scores by label last: heading and metric by name."""
    names = list(dict.fromkeys(name for method in methods.values() for name in method))
    of_images, of_labels = {}, {}
    for metric in METRICS.values():
        if is_compact and not metric.is_compact:
            continue
        for name in names:
            found = find_metric(name)
            if found is None or found[0] is not metric:
                continue
            label = found[1]
            if not label:
                of_images[name] = (metric.heading, metric)
            elif metric.shows_labels:
                of_labels[name] = (f"{metric.heading} {label}", metric)
    return of_images | of_labels


def find_best(scores: dict[str, Any], metric: str, names: Iterable[str]) -> str | None:
    """Name the method with the best mean of a metric among some; None if none of them has one."""
    means = {name: scores["methods"][name][metric]["mean"] for name in names}
    known = [name for name, mean in means.items() if mean is not None]
    sign = 1 if METRICS[metric].is_larger_better else -1
    return max(known, key=lambda name: sign * float(means[name]), default=None)


def _show_interval(
    value: dict[str, float | None] | None, metric: Metric, separator: str = " ", dropped: int = 0
) -> str:
    if value is None or value["mean"] is None:
        return "–"
    mean, low, high = ((value[bound] or 0.0) * metric.factor for bound in ("mean", "low", "high"))
    decimals = metric.decimals - dropped
    return f"{mean:.{metric.decimals}f}{separator}[{low:.{decimals}f}, {high:.{decimals}f}]"


def _show_compact(value: dict[str, float | None] | None, metric: Metric) -> str:
    return _show_interval(value, metric, separator="\n", dropped=1)


def _round(value: float) -> float | None:
    """Keep eight significant digits; JSON has no NaN and no infinity."""
    return float(f"{value:.8g}") if math.isfinite(value) else None
