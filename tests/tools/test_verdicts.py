"""Comparing two runs: equal bits, other bits on another machine, and every way of being different."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emdenoise.tools.verdicts import Finding, compare_results, find_worst

WriteRun = Callable[..., Path]
TASKS = ("download", "preprocess", "train", "test")


@pytest.fixture
def change(write_run: WriteRun, tmp_path: Path) -> Callable[..., list[Finding]]:
    """Give a function that changes a copy of a result and compares it with the original."""

    def compare(edit: Callable[[dict[str, Any]], None], *, is_trained_again: bool = True) -> list[Finding]:
        original = write_run(*TASKS)
        records = {task: json.loads((original / "records" / f"{task}.json").read_text()) for task in TASKS}
        records["test"]["results"]["per_image"] = {
            name: {"psnr_db": [20.5, 21.5, 22.0], "atom_f1": [None, 0.5, 0.75]} for name in ("gaussian", "network")
        }
        write(original, records)
        edit(records)
        copy = tmp_path / "copy"
        write(copy, records)
        return compare_results(original, copy, copy, is_trained_again=is_trained_again)

    return compare


def write(folder: Path, records: dict[str, Any]) -> None:
    (folder / "records").mkdir(parents=True, exist_ok=True)
    for task, record in records.items():
        unsealed = record | {"record_sha256": None}
        (folder / "records" / f"{task}.json").write_text(json.dumps(unsealed))


def set_machine(records: dict[str, Any], name: str = "another processor") -> None:
    for record in records.values():
        record["environment"]["cpu_model"] = name


def get_scores(records: dict[str, Any], method: str = "network", metric: str = "psnr_db") -> list[Any]:
    scores: list[Any] = records["test"]["results"]["per_image"][method][metric]
    return scores


def find(findings: list[Finding], part: str) -> Finding:
    return next(finding for finding in findings if finding.part == part)


def test_a_result_equals_itself_in_every_part(change: Callable[..., list[Finding]]) -> None:
    findings = change(lambda records: None)
    assert {finding.verdict for finding in findings} == {"equal"}
    assert {"settings", "test.h5", "weights", "network psnr_db"} <= {finding.part for finding in findings}


def test_times_and_commits_do_not_count(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        for record in records.values():
            record |= {"duration_s": 99.0, "commit": "f" * 40, "started_at": "2031-01-01T00:00:00+00:00"}

    assert find_worst(change(edit)) == "equal"


def test_other_weights_on_the_same_type_of_machine_are_different(change: Callable[..., list[Finding]]) -> None:
    findings = change(lambda records: records["train"]["outputs"].update(weights="f" * 64))
    assert find(findings, "weights").verdict == "different"
    assert "SHA-256 ffffffffffff instead of" in find(findings, "weights").detail


def test_other_weights_on_another_type_of_machine_leave_it_to_the_scores(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        set_machine(records)
        records["train"]["outputs"]["weights"] = "f" * 64
        get_scores(records)[0] += 0.5

    findings = change(edit)
    assert find_worst(findings) == "within tolerance"
    assert "another type of machine" in find(findings, "weights").detail
    assert "image 0 +0.5" in find(findings, "network psnr_db").detail


@pytest.mark.parametrize(
    ("method", "difference", "is_trained_again", "verdict"),
    [
        ("network", 1.4, True, "within tolerance"),
        ("network", 1.6, True, "different"),
        ("network", 0.5, False, "different"),
        ("network", 0.01, False, "within tolerance"),
        ("gaussian", 0.01, True, "within tolerance"),
        ("gaussian", 0.5, True, "different"),
    ],
)
def test_on_another_machine_a_trained_network_may_differ_by_more_than_what_is_only_tested(
    method: str, difference: float, is_trained_again: bool, verdict: str, change: Callable[..., list[Finding]]
) -> None:
    def edit(records: dict[str, Any]) -> None:
        set_machine(records)
        scores = get_scores(records, method)
        scores[:] = [score + difference for score in scores]

    finding = find(change(edit, is_trained_again=is_trained_again), f"{method} psnr_db")
    assert finding.verdict == verdict
    assert f"mean {difference:+.3g}" in finding.detail


def test_the_smallest_difference_on_the_same_machine_is_different(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        get_scores(records)[-1] += 1e-12

    assert find(change(edit), "network psnr_db").verdict == "different"


def test_a_score_that_is_defined_in_one_run_only_is_different(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        set_machine(records)
        get_scores(records)[0] = None

    assert find(change(edit), "network psnr_db").verdict == "different"


def test_a_method_or_image_that_is_missing_is_different(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        del records["test"]["results"]["per_image"]["gaussian"]
        get_scores(records).pop()

    findings = change(edit)
    assert find(findings, "gaussian psnr_db").detail == "is only in the given result"
    assert "images instead of" in find(findings, "network psnr_db").detail


@pytest.mark.parametrize("name", ["specimens", "doses_e_per_angstrom2", "classes"])
def test_images_taken_under_other_conditions_are_different(name: str, change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        records["test"]["results"][name] = ["another"]

    assert find(change(edit), name).verdict == "different"


def test_other_settings_are_named(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        records["test"]["settings"]["training"]["learning_rate"] = 0.5

    finding = find(change(edit), "settings")
    assert finding.verdict == "different"
    assert "training.learning_rate 0.5 instead of 0.01" in finding.detail


def test_data_that_are_missing_are_different_whatever_the_machine(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        set_machine(records)
        del records["preprocess"]["outputs"]["test.h5"]

    assert find(change(edit), "test.h5").verdict == "different"


def test_scores_that_agree_in_the_mean_alone_are_different(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        set_machine(records)
        scores = get_scores(records, "gaussian")
        scores[0], scores[1] = scores[0] + 2, scores[1] - 2

    assert find(change(edit), "gaussian psnr_db").verdict == "different"


def test_a_method_that_the_given_result_leaves_out_is_different(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        records["test"]["results"]["per_image"]["wiener"] = {"psnr_db": [28.0, 28.0, 28.0]}

    assert find(change(edit), "wiener psnr_db").detail == "is only in the new result"


@pytest.mark.parametrize("task", ["download", "preprocess"])
def test_files_that_one_result_alone_has_are_different(task: str, change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        records[task]["outputs"]["extra.h5"] = "f" * 64

    assert find(change(edit), "extra.h5").verdict == "different"


@pytest.mark.parametrize(
    ("is_same_machine", "verdict"), [(True, "different"), (False, "within tolerance")], ids=["same", "other"]
)
@pytest.mark.parametrize("name", ["choices", "captions"])
def test_choices_and_captions_are_equal_on_the_same_type_of_machine(
    name: str, is_same_machine: bool, verdict: str, change: Callable[..., list[Finding]]
) -> None:
    def edit(records: dict[str, Any]) -> None:
        records["test"]["results"][name]["gaussian"] = "another"
        if not is_same_machine:
            set_machine(records)

    assert find(change(edit), f"{name} of gaussian").verdict == verdict


def test_choices_of_another_method_are_different_on_every_machine(change: Callable[..., list[Finding]]) -> None:
    def edit(records: dict[str, Any]) -> None:
        set_machine(records)
        records["test"]["results"]["choices"]["mine"] = "the best"

    assert find(change(edit), "choices of mine").verdict == "different"


@pytest.mark.parametrize(
    ("confusion", "is_same_machine", "verdict"),
    [
        ([[900, 100], [10, 90]], True, "equal"),
        ([[899, 101], [10, 90]], True, "different"),
        ([[899, 101], [10, 90]], False, "within tolerance"),
        ([[800, 200], [10, 90]], False, "different"),
        ([[890, 100], [20, 90]], False, "different"),
        ([[900, 100, 0], [10, 90, 0]], False, "different"),
        (None, False, "different"),
    ],
)
def test_a_confusion_has_the_same_truth_everywhere_and_the_same_answers_on_the_same_type_of_machine(
    confusion: Any, is_same_machine: bool, verdict: str, write_run: WriteRun, tmp_path: Path
) -> None:
    original = write_run(*TASKS)
    records = {task: json.loads((original / "records" / f"{task}.json").read_text()) for task in TASKS}
    records["test"]["results"]["confusion"] = [[900, 100], [10, 90]]
    write(original, records)
    records["test"]["results"]["confusion"] = confusion
    if not is_same_machine:
        set_machine(records)
    write(tmp_path / "copy", records)
    findings = compare_results(original, tmp_path / "copy", tmp_path / "copy", is_trained_again=False)
    assert find(findings, "confusion").verdict == verdict
