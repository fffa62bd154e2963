"""Comparing two runs: whether data, weights and scores are equal to the bit, within tolerance, or different."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emdenoise.evaluation.conditions import CONDITIONS
from emdenoise.evaluation.metrics import find_metric
from emdenoise.results.task_record import TaskRecord, read_record

Verdict = Literal["equal", "within tolerance", "different"]
VERDICTS: tuple[Verdict, ...] = ("equal", "within tolerance", "different")
"""From the best to the worst."""

MACHINE = ("machine", "cpu_model", "cpu_count", "accelerators", "packages")
"""Facts of the environment that together are a type of machine; where they are equal, so are the bits."""

MAX_SHARE_OF_ONE_IMAGE = 10
"""By how many tolerances of the mean the score of one image may differ."""
MAX_SHARE_OF_PIXELS = 0.01
"""That given weights may label otherwise on another machine."""


@dataclass(frozen=True)
class Finding:
    """What was found of one part of the result.

    Attributes
    ----------
    part : str
        For example ``weights`` or ``network psnr_db``.
    verdict : {'equal', 'within tolerance', 'different'}
    detail : str
        The difference, and where; empty where there is none.
    """

    part: str
    verdict: Verdict
    detail: str = ""


def compare_results(expected_dir: Path, found_dir: Path, data_dir: Path, *, is_trained_again: bool) -> list[Finding]:
    """Compare the records of two runs.

    Bits may differ on another type of machine; then the scores must agree within tolerance. On the same type of machine
    every bit must be equal.

    Parameters
    ----------
    expected_dir, found_dir : Path
        Output folders with the records of the tasks.
    data_dir : Path
        The data of the second run, with the record of its own preprocessing.
    is_trained_again : bool
        Whether the network of `found_dir` was trained again, or is the same one tested again.

    Returns
    -------
    list of Finding
        Settings, data, weights, then each method and metric, choices, captions and the confusion of labels.

    Raises
    ------
    MissingInputError
        If a record is missing.
    DataError
        If a record is damaged or of another version.
    """
    expected = {task: read_record(expected_dir, task) for task in ("download", "preprocess", "train", "test")}
    found = {task: read_record(data_dir, task) for task in ("download", "preprocess")}
    found |= {task: read_record(found_dir, task) for task in ("train", "test")}
    is_same_machine = all(_is_same_machine(expected[task], found[task]) for task in expected)
    findings = [_compare_settings(expected["test"], found["test"])]
    for task in ("download", "preprocess"):
        one, other = expected[task].outputs, found[task].outputs
        findings += [_compare_hashes(name, one.get(name), other.get(name), is_same_machine) for name in one | other]
    for name in ("specimens", "label_names", "main_metric", *CONDITIONS):
        facts = [records["test"].results.get(name) for records in (expected, found)]
        if facts != [None, None]:
            findings.append(Finding(name, "equal" if facts[0] == facts[1] else "different"))
    weights = [records["train"].outputs.get("weights") for records in (expected, found)]
    findings.append(_compare_hashes("weights", weights[0], weights[1], is_same_machine))
    findings += _compare_scores(expected["test"], found["test"], is_same_machine, is_trained_again)
    findings += _compare_details(expected["test"], found["test"], is_same_machine, is_trained_again)
    return findings


def find_worst(findings: Sequence[Finding]) -> Verdict:
    """Give the verdict on the whole: the worst of all parts."""
    return VERDICTS[max(VERDICTS.index(finding.verdict) for finding in findings)]


def make_verdict_table(findings: Sequence[Finding]) -> list[list[str]]:
    """Make the table of all parts: a heading, then one row each."""
    return [["part", "verdict", "difference"], *([found.part, found.verdict, found.detail] for found in findings)]


def _is_same_machine(expected: TaskRecord, found: TaskRecord) -> bool:
    return all(expected.environment.get(name) == found.environment.get(name) for name in MACHINE)


def _compare_settings(expected: TaskRecord, found: TaskRecord) -> Finding:
    one, other = (_flatten(record.settings) for record in (expected, found))
    changed = [name for name in one | other if one.get(name) != other.get(name) and name != "data.mirror"]
    if not changed:
        return Finding("settings", "equal")
    shown = ", ".join(f"{name} {other.get(name)} instead of {one.get(name)}" for name in changed[:3])
    return Finding("settings", "different", shown)


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _compare_hashes(part: str, expected: str | None, found: str | None, is_same_machine: bool) -> Finding:
    if expected == found and expected is not None:
        return Finding(part, "equal")
    shown = " instead of ".join("nothing" if digest is None else digest[:12] for digest in (found, expected))
    if is_same_machine or expected is None or found is None:
        return Finding(part, "different", f"SHA-256 {shown}")
    return Finding(part, "within tolerance", f"SHA-256 {shown}, on another type of machine; the scores decide")


def _compare_scores(
    expected: TaskRecord, found: TaskRecord, is_same_machine: bool, is_trained_again: bool
) -> Iterator[Finding]:
    known: dict[str, dict[str, list[float | None]]] = expected.results.get("per_image", {})
    given: dict[str, dict[str, list[float | None]]] = found.results.get("per_image", {})
    for method in known | given:
        one, other = known.get(method, {}), given.get(method, {})
        for metric in one | other:
            tolerance = 0.0 if is_same_machine else _find_tolerance(metric, method == "network" and is_trained_again)
            yield _compare_values(f"{method} {metric}", one.get(metric), other.get(metric), tolerance)


def _compare_details(
    expected: TaskRecord, found: TaskRecord, is_same_machine: bool, is_trained_again: bool
) -> Iterator[Finding]:
    """Compare what was chosen, what stands over pictures, and the confusion: what follows from images and methods."""
    for name in ("choices", "captions"):
        one, other = (record.results.get(name, {}) for record in (expected, found))
        for method in one | other:
            if one.get(method) == other.get(method):
                yield Finding(f"{name} of {method}", "equal")
            elif is_same_machine or method not in one or method not in other:
                yield Finding(f"{name} of {method}", "different", f"{other.get(method)} instead of {one.get(method)}")
            else:
                yield Finding(
                    f"{name} of {method}", "within tolerance", "on another type of machine; the scores decide"
                )
    one, other = (record.results.get("confusion") for record in (expected, found))
    if one is None and other is None:
        return
    if one == other:
        yield Finding("confusion", "equal")
        return
    most = 0.0 if is_same_machine else MAX_SHARE_OF_PIXELS if not is_trained_again else 1.0
    share = _find_moved_share(one or [], other or [])
    verdict: Verdict = "within tolerance" if share <= most else "different"
    yield Finding("confusion", verdict, f"{share:.2%} of the pixels are counted elsewhere")


def _find_moved_share(one: list[list[int]], other: list[list[int]]) -> float:
    """Find the share of the pixels that two confusions count in different places; infinite for other pixels."""
    sizes = [[len(row) for row in rows] for rows in (one, other)]
    sums = [[sum(row) for row in rows] for rows in (one, other)]
    total = sum(sums[0])
    if sizes[0] != sizes[1] or sums[0] != sums[1] or total == 0:  # the rows are those of the truth
        return math.inf
    pairs = ((a, b) for row, twin in zip(one, other, strict=True) for a, b in zip(row, twin, strict=True))
    return sum(abs(a - b) for a, b in pairs) / 2 / total


def _find_tolerance(name: str, is_trained_again: bool) -> float:
    """Find by how much a mean score may differ on another machine; a name that is no metric may not."""
    found = find_metric(name)
    if found is None:
        return 0.0
    return found[0].retrained_tolerance if is_trained_again else found[0].tolerance


def _compare_values(
    part: str, expected: list[float | None] | None, found: list[float | None] | None, tolerance: float
) -> Finding:
    if expected is None or found is None:
        return Finding(part, "different", f"is only in the {'new' if expected is None else 'given'} result")
    if expected == found:
        return Finding(part, "equal")
    if len(expected) != len(found):
        return Finding(part, "different", f"{len(found)} images instead of {len(expected)}")
    differences = [_subtract(one, other) for one, other in zip(found, expected, strict=True)]
    worst = max(range(len(differences)), key=lambda index: abs(differences[index]))
    change = _average(found) - _average(expected)
    detail = f"mean {change:+.3g}, image {worst} {differences[worst]:+.3g}"
    is_within = abs(change) <= tolerance and abs(differences[worst]) <= MAX_SHARE_OF_ONE_IMAGE * tolerance
    return Finding(
        part, "within tolerance" if is_within else "different", f"{detail}; tolerance of the mean {tolerance:g}"
    )


def _subtract(found: float | None, expected: float | None) -> float:
    """Subtract scores; a score that is defined in one run only is infinitely far."""
    if found is None or expected is None:
        return 0.0 if found is expected else math.inf
    return found - expected


def _average(values: Sequence[float | None]) -> float:
    """Average the scores that are defined; 0 where none is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else 0.0
