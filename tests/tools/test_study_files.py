"""The figure of a study explains itself: what is compared, in which unit, over how many seeds, by which interval."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from emdenoise.evaluation.statistics import Interval
from emdenoise.results.figures import Panel
from emdenoise.tools import study_files
from emdenoise.tools.comparison import Comparison, Row
from emdenoise.tools.study_files import write_comparison

VARIANTS: dict[str, dict[str, Any]] = {"scratch": {}, "denoise": {"pretraining": {"method": "denoise", "epochs": 48}}}


def make_row(variant: str, num_seeds: int = 3, tested_on: str = "", epochs: float | None = None) -> Row:
    has_interval = num_seeds > 1
    score = Interval(0.002, 0.001, 0.003) if has_interval else Interval(0.002, math.nan, math.nan)
    return Row(
        variant=variant,
        trained_on=tested_on,
        tested_on=tested_on,
        num_images=4,
        num_seeds=num_seeds,
        score=score,
        other_scores={},
        other_differences={},
        difference=None if variant == "scratch" else Interval(-0.001, -0.002, 0.0),
        epochs_to_reference=epochs,
        seconds_to_reference=None,
        num_reached=0,
        pretraining_s=0.0,
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """Keep what is drawn."""
    kept: dict[str, tuple[Any, ...]] = {}
    for name in ("draw_comparison", "draw_matrices"):
        monkeypatch.setattr(study_files, name, lambda *given, name=name: kept.update({name: given}) or b"PNG")
    return kept


def test_the_figure_says_what_is_compared_over_how_many_seeds(
    drawn: dict[str, tuple[Sequence[Panel], str, str]], tmp_path: Path
) -> None:
    rows = [make_row("scratch", epochs=8.0), make_row("denoise", num_seeds=2, epochs=5.0)]
    write_comparison(Comparison("mse", "scratch", rows), tmp_path, VARIANTS)
    panels, title, caption = drawn["draw_comparison"]
    assert title == "MSE by the number of training images: scratch against denoise"
    assert [panel.heading for panel in panels] == [
        *("MSE [10⁻³]", "difference of MSE [10⁻³]", "epochs, mean over seeds"),
    ]
    assert panels[0].curves["scratch"] == [(4, 2.0, 1.0, 3.0)], "in the unit of the axis"
    assert panels[1].curves == {"denoise": [(4, -1.0, -2.0, 0.0)]}
    assert [panel.has_zero_line for panel in panels] == [False, True, False]
    assert [points[0][1] for points in panels[2].curves.values()] == [8.0, 5.0]
    first, *others = caption.splitlines()
    assert "Means over 2 to 3 seeds." in first
    assert "95% intervals over seeds (Student's t); those of differences are paired by seed" in first
    assert others == [
        "scratch: the settings that all have in common",
        "denoise: pretraining.method denoise, pretraining.epochs 48",
    ]


def test_one_seed_has_no_interval_to_speak_of(drawn: dict[str, tuple[Any, ...]], tmp_path: Path) -> None:
    write_comparison(Comparison("dice_defect", "scratch", [make_row("scratch", num_seeds=1)]), tmp_path, {})
    panels, title, caption = drawn["draw_comparison"]
    assert [panel.heading for panel in panels] == ["Dice of label defect"]
    assert title == "Dice of label defect by the number of training images"
    assert "One seed each, so there is no interval." in caption
    assert "Student" not in caption


def test_conditions_are_matrices_that_name_their_images(drawn: dict[str, tuple[Any, ...]], tmp_path: Path) -> None:
    rows = [make_row("scratch", tested_on=condition) for condition in ("fine", "coarse")]
    write_comparison(Comparison("mse", "scratch", rows), tmp_path, VARIANTS)
    matrices, conditions, heading, title, caption = drawn["draw_matrices"]
    assert (list(matrices), conditions, heading) == (["scratch, 4 training images"], ["fine", "coarse"], "MSE [10⁻³]")
    assert matrices["scratch, 4 training images"].diagonal().tolist() == [2.0, 2.0]
    assert title == "MSE by the images that a network learned from (rows) and is tested on (columns)"
    assert "Means over 3 seeds." in caption


def test_long_settings_are_cut(drawn: dict[str, tuple[Any, ...]], tmp_path: Path) -> None:
    variants = {"scratch": {"training": {f"setting_{number}": number for number in range(40)}}}
    write_comparison(Comparison("dice", "scratch", [make_row("scratch")]), tmp_path, variants)
    line = drawn["draw_comparison"][2].splitlines()[1]
    assert line.startswith("scratch: training.setting_0 0, training.setting_1 1, ")
    assert line.endswith(", …")
    assert len(line) < 180
