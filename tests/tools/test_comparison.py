"""Comparing runs: seed by seed, with the interval of a few runs; what no run has is one line, and has no time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from emdenoise.config.schema import RunConfig
from emdenoise.config.studies import RunKey
from emdenoise.errors import DataError, SettingsError
from emdenoise.results.task_record import TaskRecorder
from emdenoise.tools import comparison
from emdenoise.tools.comparison import Run, compare_runs
from emdenoise.tools.study_files import write_comparison


def test_an_unknown_metric_lists_the_known_ones(tmp_path: Path) -> None:
    network = {"images_per_second": 3.0, "dice": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    (tmp_path / "scores.json").write_text(json.dumps({"methods": {"network": network}}))
    with pytest.raises(
        SettingsError, match="metric is dicee; the runs of this study have images_per_second, dice; corr"
    ):
        compare_runs([Run(RunKey("scratch", "", 4, 0), "", tmp_path)], metrics=["dice", "dicee"], reference="scratch")


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"[]", b'{"methods": {"network": {"dice": 3}}}', b"\xff"])
def test_damaged_scores_are_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_bytes(content)
    with pytest.raises(DataError, match=r"^scores.json: missing or damaged; run the test task again\.$"):
        compare_runs([Run(RunKey("scratch", "", 4, 0), "", tmp_path)], metrics=["dice"], reference="scratch")


SCORES = {"scratch": [0.50, 0.62, 0.55], "denoise": [0.58, 0.69, 0.65]}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Give the runs of two variants with three seeds."""

    def read(run: Run, metrics: Any) -> dict[str, Any]:
        scores = dict.fromkeys(metrics, SCORES[run.key.variant][run.key.seed])
        return {"scores": scores, "history": [], "pretraining_s": 0.0}

    monkeypatch.setattr(comparison, "_read_run", read)
    return [Run(RunKey(variant, "", 4, seed), "", Path()) for variant in SCORES for seed in range(3)]


def test_intervals_over_seeds_are_students_and_those_of_differences_are_paired(runs: list[Run]) -> None:
    scratch, denoise = compare_runs(runs, metrics=["dice"], reference="scratch").rows
    for row, values in ((scratch, SCORES["scratch"]), (denoise, SCORES["denoise"])):
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (row.score.low, row.score.high) == pytest.approx((expected.low, expected.high))
    paired = stats.ttest_rel(SCORES["denoise"], SCORES["scratch"]).confidence_interval(0.95)
    assert denoise.difference is not None
    assert (denoise.difference.low, denoise.difference.high) == pytest.approx((paired.low, paired.high))
    assert denoise.difference.low > 0, "what the seed does to both is no part of the difference"
    assert scratch.score.high > denoise.score.low


def test_a_single_seed_has_a_mean_and_no_interval(runs: list[Run], tmp_path: Path) -> None:
    found = compare_runs([run for run in runs if run.key.seed == 0], metrics=["dice"], reference="scratch")
    heading, scratch, denoise = found.make_table()
    assert scratch[heading.index("dice")] == "0.500"
    assert denoise[heading.index("over scratch")] == "+0.080"
    write_comparison(found, tmp_path, {})
    row = json.loads((tmp_path / "study.json").read_text(), parse_constant=pytest.fail)["rows"][1]
    assert row["score"] == {"mean": 0.58, "low": None, "high": None}


def write_run(folder: Path, config: RunConfig, psnr_db: list[float | None]) -> Path:
    """Write what a comparison reads of a run: scores, and a history of epochs of 10 s."""
    history = [
        {"epoch": number, "train_s": 10.0, "validation_loss": 1.0, "validation_psnr_db": value}
        for number, value in enumerate(psnr_db, start=1)
    ]
    TaskRecorder("train", config).finish(folder, {}, {"weights": 64 * "0"}, {"history": history}, [])
    network = {"images_per_second": 3.0, "psnr_db": {"mean": 30.0, "low": 29.0, "high": 31.0}}
    (folder / "scores.json").write_text(json.dumps({"methods": {"network": network}}))
    return folder


@pytest.mark.parametrize(
    ("second_seed", "seconds", "shown"),
    [([29.0, 31.0], 15.0, "15.0"), ([28.0, 29.0], None, "– (1 of 2)"), ([None, None], None, "– (1 of 2)")],
)
def test_a_variant_of_which_a_seed_is_never_as_good_has_no_mean_time(
    second_seed: list[float | None],
    seconds: float | None,
    shown: str,
    tmp_path: Path,
    tiny_config: Callable[..., RunConfig],
) -> None:
    histories = {"base": ([29.0, 30.0], [29.0, 30.0]), "own": ([30.0, 31.0], second_seed)}
    runs = [
        Run(RunKey(variant, "", None, seed), "", write_run(tmp_path / f"{variant}-{seed}", tiny_config(), values))
        for variant, seeds in histories.items()
        for seed, values in enumerate(seeds)
    ]
    comparison = compare_runs(runs, metrics=["psnr_db"], reference="base")
    row = next(row for row in comparison.rows if row.variant == "own")
    assert row.seconds_to_reference == seconds
    assert row.num_reached == (2 if seconds else 1)
    assert shown in comparison.make_table()[-1]
