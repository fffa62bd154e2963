"""Comparing runs: a metric that no run has is one line."""

import json
from pathlib import Path

import pytest

from emdenoise.config.studies import RunKey
from emdenoise.errors import DataError, SettingsError
from emdenoise.tools.comparison import Run, compare_runs


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
