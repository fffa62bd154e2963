"""``scores.json``: the stable result that other people's tools read, and the table made of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.statistics import bootstrap_mean
from emdenoise.seeding import make_generator

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Column:
    """How a metric is shown: heading, number of decimals, factor."""

    heading: str
    decimals: int
    factor: float = 1.0


COLUMNS = {
    "mse": Column("MSE [10⁻³]", 2, 1e3),
    "psnr_db": Column("PSNR [dB]", 2),
    "ssim": Column("SSIM", 3),
    "atom_f1": Column("atom F1", 3),
    "atom_error_angstrom": Column("atom error [Å]", 3),
    "dice": Column("Dice", 3),
    "iou": Column("IoU", 3),
}
CONSOLE_METRICS = ("mse", "psnr_db", "ssim", "atom_f1", "dice", "iou")


class MethodScores(Protocol):
    """Scores per image of one method, as `evaluation.score.ImageScores`."""

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
        rate = None if name == "noisy" else _round(scores.images_per_second)
        summary[name] = {"images_per_second": rate}
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
    columns = dict(COLUMNS)
    for name in next(iter(methods.values())):
        if name.startswith("dice_"):
            columns[name] = Column(f"Dice {name.removeprefix('dice_')}", 3)
    is_wanted = {name: not is_compact or name in CONSOLE_METRICS or name.startswith("dice_") for name in columns}
    metrics = [name for name in columns if is_wanted[name] and any(name in method for method in methods.values())]
    rows = [["method", *(columns[name].heading for name in metrics), "images/s"]]
    show = _show_compact if is_compact else _show_interval
    for name, method in methods.items():
        cells = [show(method.get(metric), columns[metric]) for metric in metrics]
        rate = method["images_per_second"]
        rows.append([name, *cells, "–" if rate is None else f"{rate:.3g}"])
    return rows


def find_best_classical(scores: dict[str, Any], metric: str) -> str | None:
    """Name the classical method with the largest mean of a metric; None if no classical method has one."""
    means = {name: method[metric]["mean"] for name, method in scores["methods"].items()}
    classical = [name for name, mean in means.items() if name not in ("noisy", "network") and mean is not None]
    return max(classical, key=lambda name: float(means[name]), default=None)


def _show_interval(
    value: dict[str, float | None] | None, column: Column, separator: str = " ", dropped: int = 0
) -> str:
    if value is None or value["mean"] is None:
        return "–"
    mean, low, high = ((value[bound] or 0.0) * column.factor for bound in ("mean", "low", "high"))
    decimals = column.decimals - dropped
    return f"{mean:.{column.decimals}f}{separator}[{low:.{decimals}f}, {high:.{decimals}f}]"


def _show_compact(value: dict[str, float | None] | None, column: Column) -> str:
    return _show_interval(value, column, separator="\n", dropped=1)


def _round(value: float) -> float | None:
    """Keep eight significant digits; JSON has no NaN and no infinity."""
    return float(f"{value:.8g}") if math.isfinite(value) else None
