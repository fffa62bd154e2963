"""``scores.json``: the stable result that other people's tools read, and the table made of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.metrics import METRICS, Metric, find_metric
from emdenoise.evaluation.statistics import bootstrap_mean
from emdenoise.results.breakdown import Bounds, Scores, round_number, summarise_by_class, summarise_by_dose
from emdenoise.seeding import make_generator

SCHEMA_VERSION = 2
"""Raised by every change of the form of ``scores.json``; before 2 there were means alone, no differences or curves."""


class MethodScores(Protocol):
    """Scores per image of one method, as `evaluation/scoring.py:ImageScores`."""

    @property
    def metrics(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Per image, by metric."""

    @property
    def images_per_second(self) -> float:
        """Speed."""


def summarise_scores(
    config: RunConfig,
    methods: Mapping[str, MethodScores],
    specimens: Sequence[str],
    *,
    doses_e_per_angstrom2: Sequence[float] | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Average scores over images, with intervals, into the content of ``scores.json``.

    Parameters
    ----------
    config : RunConfig
    methods : mapping of str to MethodScores
    specimens : sequence of str
        Specimen of each test image.
    doses_e_per_angstrom2 : sequence of float or None
        Dose of each test image [e⁻/Å²]; None where it is not known.
    classes : sequence of str or None
        Class of each test image; None where it is not known.

    Returns
    -------
    dict
        ``schema_version, workload, division, split, num_images, num_specimens, confidence, methods, differences,
        by_dose, by_class``; a metric that is not defined for any image is null, and so are curves against dose and
        means by class where images have none. ``differences`` are network − method, image by image.
    """

    def summarise(purpose: str, values: npt.NDArray[np.float64], of: Sequence[str]) -> Bounds:
        interval = bootstrap_mean(
            values,
            of,
            num_resamples=config.evaluation.num_resamples,
            confidence=config.evaluation.confidence,
            rng=make_generator(config.seed, f"bootstrap {purpose}"),
        )
        bounds = {"mean": interval.mean, "low": interval.low, "high": interval.high}
        return {bound: round_number(value) for bound, value in bounds.items()}

    def summarise_all(scores: Scores, prefix: str = "") -> dict[str, dict[str, Bounds]]:
        return {
            name: {metric: summarise(f"{prefix}{name} {metric}", values, specimens) for metric, values in one.items()}
            for name, one in scores.items()
        }

    each = {name: scores.metrics for name, scores in methods.items()}
    differences = _subtract_from_network(each)
    groups, doses = {"methods": each, "differences": differences}, doses_e_per_angstrom2
    speeds = {name: {"images_per_second": round_number(scores.images_per_second)} for name, scores in methods.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "workload": config.workload,
        "division": config.division,
        "split": "test",
        "num_images": len(specimens),
        "num_specimens": len(set(specimens)),
        "confidence": config.evaluation.confidence,
        "methods": {name: speeds[name] | found for name, found in summarise_all(each).items()},
        "differences": summarise_all(differences, "network - "),
        "by_dose": None if doses is None else summarise_by_dose(groups, specimens, doses, summarise),
        "by_class": None if classes is None else summarise_by_class(each, specimens, classes, summarise),
    }


def _subtract_from_network(methods: Scores) -> Scores:
    """Subtract the scores of each method from those of the network, image by image; NaN where one has none."""
    network = methods.get("network", {})
    with np.errstate(invalid="ignore"):  # two perfect results differ by nothing that is known
        return {
            name: {metric: network[metric] - values for metric, values in scores.items() if metric in network}
            for name, scores in methods.items()
            if name != "network" and network
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
    for name, method in methods.items():
        cells = [
            _show_interval(method.get(column), metric, is_compact=is_compact) for column, (_, metric) in columns.items()
        ]
        rate = method["images_per_second"]
        rows.append([name, *cells, "–" if rate is None else f"{rate:.3g}"])
    return rows


def make_difference_rows(scores: dict[str, Any], *, is_compact: bool = False) -> list[list[str]]:
    """Make rows that fit below those of `make_table`: network − each other method, image by image, with intervals.

    Parameters
    ----------
    scores : dict
        Content of ``scores.json``.
    is_compact : bool
        As `make_table`.

    Returns
    -------
    list of list of str
    """
    columns = _list_columns(scores["methods"], is_compact=is_compact)
    return [
        [
            f"network − {name}",
            *(
                _show_interval(difference.get(column), metric, is_compact=is_compact, sign="+")
                for column, (_, metric) in columns.items()
            ),
            "",
        ]
        for name, difference in scores["differences"].items()
    ]


def make_dose_table(scores: dict[str, Any]) -> list[list[str]]:
    """Make the table of the means over the logarithm of the dose: a heading, then one row a method, then differences.

    Parameters
    ----------
    scores : dict
        Content of ``scores.json``.

    Returns
    -------
    list of list of str
        Empty where the doses are not known.
    """
    by_dose = scores["by_dose"]
    if by_dose is None:
        return []
    columns = _list_columns(by_dose["methods"])
    rows = [["method", *(heading for heading, _ in columns.values())]]
    for prefix, group, sign in (("", "methods", ""), ("network − ", "differences", "+")):
        for name, found in by_dose[group].items():
            means = [
                (found.get(column, {}).get("mean_over_log_dose"), metric) for column, (_, metric) in columns.items()
            ]
            cells = ["–" if mean is None else f"{mean * one.factor:{sign}.{one.decimals}f}" for mean, one in means]
            rows.append([prefix + name, *cells])
    return rows


def make_class_tables(scores: dict[str, Any], main_metric: str) -> list[tuple[str, list[list[str]]]]:
    """Make a table of each metric by the class of the images: a heading, then one row a method.

    Parameters
    ----------
    scores : dict
        Content of ``scores.json``.
    main_metric : str
        Comes first.

    Returns
    -------
    list of (str, list of list of str)
        Heading of the metric and its table; empty where no classes are known.
    """
    by_class = scores["by_class"]
    if by_class is None:
        return []
    columns = _list_columns(scores["methods"])
    heading = ["method", *(f"{name} ({found['num_images']})" for name, found in by_class.items())]
    tables = []
    for column in sorted(columns, key=lambda name: name != main_metric):
        label, metric = columns[column]
        rows = [heading]
        for method in next(iter(by_class.values()))["methods"]:
            means = [found["methods"][method].get(column) for found in by_class.values()]
            rows.append([method, *(_show_interval(mean, metric) for mean in means)])
        tables.append((label, rows))
    return tables


def _list_columns(methods: Mapping[str, Any], *, is_compact: bool = False) -> dict[str, tuple[str, Metric]]:
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


def _show_interval(value: Bounds | None, metric: Metric, *, is_compact: bool = False, sign: str = "") -> str:
    """Show a mean with its interval, if it has one; compact: below it, with a decimal less."""
    if value is None or value["mean"] is None:
        return "–"
    shown, low, high = f"{value['mean'] * metric.factor:{sign}.{metric.decimals}f}", value["low"], value["high"]
    if low is None or high is None:
        return shown
    decimals, separator = (metric.decimals - 1, "\n") if is_compact else (metric.decimals, " ")
    bounds = (f"{bound * metric.factor:{sign}.{decimals}f}" for bound in (low, high))
    return f"{shown}{separator}[{', '.join(bounds)}]"
