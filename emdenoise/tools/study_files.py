"""What a study writes: its table, as JSON and for reading, and a figure that explains itself."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.evaluation.metrics import find_metric
from emdenoise.evaluation.statistics import Interval
from emdenoise.files.atomic import write_atomically, write_json
from emdenoise.results.figures import Panel, Point, draw_comparison, draw_matrices
from emdenoise.tools.comparison import CONFIDENCE, Comparison, Row

Variants = Mapping[str, Mapping[str, Any]]
MAX_LETTERS = 160
"""Of the settings of a variant in a caption; the study file has all."""


def write_comparison(comparison: Comparison, study_dir: Path, variants: Variants) -> None:
    """Write ``study.json``, ``study.md`` and ``study.png``: curves over the images, or conditions against each other.

    Parameters
    ----------
    comparison : Comparison
    study_dir : Path
    variants : mapping of str to mapping
        What each variant changes of the settings that all have, as in the study file.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    failures = {key.name: reason for key, reason in comparison.failures.items()}
    write_json(study_dir / "study.json", _to_json({**asdict(replace(comparison, failures={})), "failures": failures}))
    heading, *rows = comparison.make_table()
    lines = [heading, ["---"] * len(heading), *rows]
    with write_atomically(study_dir / "study.md") as partial:
        partial.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), encoding="utf-8")
    if not comparison.rows:
        return
    with write_atomically(study_dir / "study.png") as partial:
        partial.write_bytes(_draw(comparison, variants))


def _to_json(content: Any) -> Any:
    """Put null in the place of NaN, which JSON does not have: a single run has no interval."""
    if isinstance(content, dict):
        return {name: _to_json(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_to_json(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def _draw(comparison: Comparison, variants: Variants) -> bytes:
    conditions = list(dict.fromkeys(row.tested_on for row in comparison.rows))
    heading, factor = _describe_metric(comparison.metric)
    score = heading.partition(" [")[0]
    names = list(dict.fromkeys(row.variant for row in comparison.rows))
    caption = [
        f"The score is that of the network, the mean over its test images. {_describe_seeds(comparison.rows)}",
        *(_describe_variant(name, variants.get(name, {})) for name in names),
    ]
    if len(conditions) > 1:
        matrices: dict[str, npt.NDArray[np.float64]] = {}
        for row in comparison.rows:
            name = f"{row.variant}, {_describe_number(row.num_images)}"
            matrix = matrices.setdefault(name, np.full((len(conditions), len(conditions)), np.nan))
            matrix[conditions.index(row.trained_on), conditions.index(row.tested_on)] = factor * row.score.mean
        title = f"{score} by the images that a network learned from (rows) and is tested on (columns)"
        caption[0] += " Each number is the mean over seeds; study.md has the intervals."
        return draw_matrices(matrices, conditions, heading, title, "\n".join(caption))
    if any(not math.isnan(row.score.low) for row in comparison.rows):
        caption[0] += (
            f" Bars are {CONFIDENCE:.0%} intervals over seeds (Student's t); those of differences are paired by seed."
        )
    others = [name for name in names if name != comparison.reference]
    title = f"{score} by the number of training images"
    if others:
        title += f": {comparison.reference} against {', '.join(others)}"
    return draw_comparison(list(_make_panels(comparison, heading, factor)), title, "\n".join(caption))


def _make_panels(comparison: Comparison, heading: str, factor: float) -> Iterator[Panel]:
    """Make the panels of the score, of its difference to the reference, and of the epochs to be as good."""
    rows, reference = comparison.rows, comparison.reference
    yield Panel("Test images", heading, _make_curves(rows, [row.score for row in rows], factor))
    differences = _make_curves(rows, [row.difference for row in rows], factor)
    if differences:
        title = f"Difference to {reference} of the same seed"
        yield Panel(title, f"difference of {heading}", differences, has_zero_line=True)
    epochs = [
        None if row.epochs_to_reference is None else Interval(row.epochs_to_reference, math.nan, math.nan)
        for row in rows
    ]
    if any(epochs):
        title = f"Training until as good as {reference} in the end\n(validation images; no point: a seed is not)"
        yield Panel(title, "epochs, mean over seeds", _make_curves(rows, epochs))


def _make_curves(rows: list[Row], values: list[Interval | None], factor: float = 1.0) -> dict[str, list[Point]]:
    curves: dict[str, list[Point]] = {}
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            point = (row.num_images, factor * value.mean, factor * value.low, factor * value.high)
            curves.setdefault(row.variant, []).append(point)
    return curves


def _describe_metric(name: str) -> tuple[str, float]:
    """Say what a score is, with its unit, and give the factor to that unit."""
    found = find_metric(name)
    if found is None:
        return name.replace("_", " "), 1.0
    metric, label = found
    words, bracket, unit = metric.heading.partition(" [")
    return f"{words} of label {label}{bracket}{unit}" if label else metric.heading, metric.factor


def _describe_seeds(rows: list[Row]) -> str:
    """Say over how many seeds the means are.

    Examples
    --------
    >>> _describe_seeds([])
    'There are no runs.'
    """
    numbers = sorted({row.num_seeds for row in rows})
    if not numbers:
        return "There are no runs."
    if numbers == [1]:
        return "One seed each, so there is no interval."
    if len(numbers) == 1:
        return f"Means over {numbers[0]} seeds."
    return f"Means over {numbers[0]} to {numbers[-1]} seeds."


def _describe_number(num_images: int | None) -> str:
    return "all training images" if num_images is None else f"{num_images} training images"


def _describe_variant(name: str, changes: Mapping[str, Any]) -> str:
    """Say what a variant changes."""
    words = ", ".join(_list_changes(changes)) or "the settings that all have in common"
    return f"{name}: {words if len(words) <= MAX_LETTERS else words[: MAX_LETTERS - 2].rpartition(',')[0] + ', …'}"


def _list_changes(changes: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in changes.items():
        if isinstance(value, Mapping):
            yield from _list_changes(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} {'null' if value is None else value}"
