"""``scores.json``: what other tools read, and the table that people read."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.metrics import METRICS
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.results.tables import (
    find_best,
    make_class_tables,
    make_difference_rows,
    make_dose_table,
    make_table,
    summarise_scores,
)
from emdenoise.seeding import make_generator


def summarise(config: RunConfig, values: list[float], *, rate: float = 10.0) -> dict[str, Any]:
    methods = {"network": ImageScores({"psnr_db": np.array(values)}, rate)}
    return summarise_scores(config, methods, [str(index) for index in range(len(values))])


def test_scores_are_json_and_say_what_they_are_of(
    scores: dict[str, Any], config: RunConfig, methods: dict[str, ImageScores]
) -> None:
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    parts = ("methods", "differences", "by_dose", "by_class")
    assert {name: value for name, value in scores.items() if name not in parts} == {
        "schema_version": 2,
        "workload": "denoise",
        "division": "open",
        "split": "test",
        "num_images": 8,
        "num_specimens": 4,
        "confidence": config.evaluation.confidence,
    }
    assert list(scores["methods"]) == list(methods)


def test_each_mean_is_that_of_the_images_and_within_its_interval(
    scores: dict[str, Any], methods: dict[str, ImageScores]
) -> None:
    for name, method in methods.items():
        for metric, values in method.metrics.items():
            found = scores["methods"][name][metric]
            assert found["mean"] == pytest.approx(np.nanmean(values), rel=1e-7)
            assert np.nanmin(values) * (1 - 1e-7) <= found["low"] <= found["mean"] <= found["high"]
            assert found["high"] <= np.nanmax(values) * (1 + 1e-7)


def test_the_interval_follows_from_the_seed(
    tiny_config: Callable[..., RunConfig], methods: dict[str, ImageScores], specimens: list[str]
) -> None:
    first, again, other = (
        summarise_scores(tiny_config(seed=seed), methods, specimens)["methods"]["network"]["psnr_db"]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first["mean"] == other["mean"]
    assert (first["low"], first["high"]) != (other["low"], other["high"])


def test_one_method_does_not_move_the_interval_of_another(
    config: RunConfig, methods: dict[str, ImageScores], specimens: list[str], scores: dict[str, Any]
) -> None:
    alone = summarise_scores(config, {"network": methods["network"]}, specimens)
    assert alone["methods"]["network"] == scores["methods"]["network"]


@pytest.mark.parametrize("values", [[np.nan, np.nan], [20.0, np.inf], [np.inf, np.inf]])
def test_what_is_not_a_number_is_null(values: list[float], config: RunConfig) -> None:
    scores = summarise(config, values, rate=np.inf)
    assert scores["methods"]["network"]["psnr_db"] == {"mean": None, "low": None, "high": None}
    assert scores["methods"]["network"]["images_per_second"] is None
    json.dumps(scores, allow_nan=False)
    assert make_table(scores)[1] == ["network", "–", "–"]


@pytest.mark.parametrize("is_compact", [False, True])
def test_the_table_has_a_row_for_each_method_and_cells_for_each_column(
    is_compact: bool, scores: dict[str, Any]
) -> None:
    heading, *rows = make_table(scores, is_compact=is_compact)
    assert [row[0] for row in rows] == ["noisy", "gaussian", "median", "network"]
    assert {len(row) for row in rows} == {len(heading)}
    metrics = [name for name in METRICS if name in scores["methods"]["noisy"]]
    metrics = [name for name in metrics if not (is_compact and name == "atom_error_angstrom")]
    assert heading == ["method", *(METRICS[name].heading for name in metrics), "images/s"]


def make_scores(**metrics: dict[str, float]) -> dict[str, Any]:
    return {"methods": {"network": {"images_per_second": 1234.5, **metrics}}}


def test_cells_show_mean_and_interval_in_the_unit_of_the_heading() -> None:
    scores = make_scores(
        mse={"mean": 0.00123456, "low": 0.001, "high": 0.0015}, psnr_db={"mean": 29.125, "low": 28.0, "high": 30.06}
    )
    assert make_table(scores) == [
        ["method", "MSE [10⁻³]", "PSNR [dB]", "images/s"],
        ["network", "1.23 [1.00, 1.50]", "29.12 [28.00, 30.06]", "1.23e+03"],
    ]


def test_in_a_terminal_the_interval_has_a_line_of_its_own() -> None:
    scores = make_scores(
        psnr_db={"mean": 29.125, "low": 28.0, "high": 30.06}, atom_error_angstrom={"mean": 0.1, "low": 0, "high": 1}
    )
    assert make_table(scores, is_compact=True) == [
        ["method", "PSNR [dB]", "images/s"],
        ["network", "29.12\n[28.0, 30.1]", "1.23e+03"],
    ]


def test_a_mean_without_an_interval_stands_alone() -> None:
    scores = make_scores(psnr_db={"mean": 29.125, "low": None, "high": None})  # type: ignore[dict-item]
    for is_compact in (False, True):
        assert make_table(scores, is_compact=is_compact)[1] == ["network", "29.12", "1.23e+03"]


def test_a_metric_that_one_method_lacks_is_a_dash_and_one_that_all_lack_no_column() -> None:
    scores = make_scores(psnr_db={"mean": 29.0, "low": 28.0, "high": 30.0})
    scores["methods"]["noisy"] = {"images_per_second": None, "ssim": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    heading, network, noisy = make_table(scores)
    assert heading == ["method", "PSNR [dB]", "SSIM", "images/s"]
    assert network[2] == "–"
    assert noisy == ["noisy", "–", "0.500 [0.400, 0.600]", "–"]


def test_the_best_method_is_one_of_those_that_are_asked_for(scores: dict[str, Any]) -> None:
    assert find_best(scores, "psnr_db", ["gaussian", "median"]) == "median"
    assert find_best(scores, "psnr_db", ["gaussian"]) == "gaussian"
    assert find_best(scores, "psnr_db", []) is None


def test_a_classical_method_without_a_finite_mean_is_not_the_best(scores: dict[str, Any]) -> None:
    scores["methods"]["median"]["psnr_db"]["mean"] = None
    assert find_best(scores, "psnr_db", ["gaussian", "median"]) == "gaussian"


def test_differences_are_those_of_the_network_image_by_image(
    scores: dict[str, Any], methods: dict[str, ImageScores]
) -> None:
    assert list(scores["differences"]) == ["noisy", "gaussian", "median"]
    for name, found in scores["differences"].items():
        for metric, bounds in found.items():
            values = methods["network"].metrics[metric] - methods[name].metrics[metric]
            assert bounds["mean"] == pytest.approx(np.nanmean(values), rel=1e-7)
            assert bounds["low"] <= bounds["mean"] <= bounds["high"]


def test_a_paired_interval_tells_methods_apart_whose_own_intervals_overlap(config: RunConfig) -> None:
    """Images differ by 3 dB, and the network is 0.5 dB better on each of them, give or take 0.1."""
    rng = make_generator(0, "test")
    images = rng.normal(28, 3, 40)
    methods = {
        "wiener": ImageScores({"psnr_db": images}, 1.0),
        "network": ImageScores({"psnr_db": images + rng.normal(0.5, 0.1, 40)}, 1.0),
    }
    scores = summarise_scores(config, methods, [str(index) for index in range(40)])
    wiener, network = (scores["methods"][name]["psnr_db"] for name in methods)
    assert network["low"] < wiener["high"]
    difference = scores["differences"]["wiener"]["psnr_db"]
    assert 0.4 < difference["low"] < 0.5 < difference["high"] < 0.6


def test_images_that_one_of_two_methods_cannot_score_are_no_part_of_their_difference(config: RunConfig) -> None:
    values = {"median": [np.nan, 0.2, 0.3, np.inf], "network": [0.5, 0.1, np.nan, np.inf]}
    methods = {name: ImageScores({"atom_error_angstrom": np.array(one)}, 1.0) for name, one in values.items()}
    scores = summarise_scores(config, methods, ["a", "b", "c", "d"])
    assert scores["differences"]["median"]["atom_error_angstrom"]["mean"] == pytest.approx(-0.1)


def test_without_a_network_there_are_no_differences(config: RunConfig) -> None:
    scores = summarise_scores(config, {"tv": ImageScores({"ssim": np.ones(2)}, 1.0)}, ["a", "b"])
    assert scores["differences"] == {}
    assert make_difference_rows(scores) == []


@pytest.mark.parametrize("is_compact", [False, True])
def test_rows_of_differences_fit_below_the_table(is_compact: bool, scores: dict[str, Any]) -> None:
    heading, *_ = make_table(scores, is_compact=is_compact)
    rows = make_difference_rows(scores, is_compact=is_compact)
    assert [row[0] for row in rows] == ["network − noisy", "network − gaussian", "network − median"]
    for row in rows:
        assert len(row) == len(heading)
        assert row[heading.index("PSNR [dB]")].startswith("+")


def test_without_doses_and_classes_there_are_no_curves_and_no_tables(
    config: RunConfig, methods: dict[str, ImageScores], specimens: list[str]
) -> None:
    scores = summarise_scores(config, methods, specimens)
    assert (scores["by_dose"], scores["by_class"]) == (None, None)
    assert make_dose_table(scores) == []
    assert make_class_tables(scores, "psnr_db") == []


def test_every_score_has_a_curve_and_a_mean_over_the_logarithm_of_the_dose(
    scores: dict[str, Any], methods: dict[str, ImageScores]
) -> None:
    """Two bins, below and above √(500 · 8000) = 2000 e⁻/Å²."""
    low, high = [0, 2, 4, 5], [1, 3, 6, 7]
    by_dose = scores["by_dose"]
    assert [point["num_images"] for point in by_dose["bins"]] == [4, 4]
    doses = [point["dose_e_per_angstrom2"] for point in by_dose["bins"]]
    assert doses == pytest.approx([(500 * 1000 * 600 * 700) ** 0.25, (4000 * 2000 * 3000 * 8000) ** 0.25])
    for name, method in methods.items():
        for metric, values in method.metrics.items():
            found = by_dose["methods"][name][metric]
            means = [np.nanmean(values[images]) for images in (low, high)]
            assert [point["mean"] for point in found["curve"]] == pytest.approx(means)
            known = [point for point in found["curve"] if point["low"] is not None]
            assert known
            assert all(point["low"] <= point["mean"] <= point["high"] for point in known)
            assert found["mean_over_log_dose"] == pytest.approx(np.mean(means))
    heading, *rows = make_dose_table(scores)
    assert {len(row) for row in rows} == {len(heading)}
    assert [row[0] for row in rows] == [*methods, *(f"network − {name}" for name in methods if name != "network")]
    mean = by_dose["methods"]["network"]["mse"]["mean_over_log_dose"]
    assert rows[3][heading.index("MSE [10⁻³]")] == f"{1e3 * mean:.2f}"


def test_the_gain_over_the_logarithm_of_the_dose_is_the_difference_of_two_areas(scores: dict[str, Any]) -> None:
    by_dose = scores["by_dose"]
    network, median = (by_dose["methods"][name]["psnr_db"]["mean_over_log_dose"] for name in ("network", "median"))
    assert by_dose["differences"]["median"]["psnr_db"]["mean_over_log_dose"] == pytest.approx(network - median)


def test_each_class_has_the_mean_of_its_images(scores: dict[str, Any], methods: dict[str, ImageScores]) -> None:
    by_class = scores["by_class"]
    assert {name: (one["num_images"], one["num_specimens"]) for name, one in by_class.items()} == {
        "pores": (4, 2),
        "pristine": (2, 1),
    }
    for name, images in (("pores", [0, 1, 6, 7]), ("pristine", [4, 5])):
        found = by_class[name]["methods"]["network"]["psnr_db"]["mean"]
        assert found == pytest.approx(methods["network"].metrics["psnr_db"][images].mean())
    assert by_class["pristine"]["methods"]["network"]["psnr_db"]["low"] is None, "of a single specimen"
    (first, rows), *_ = make_class_tables(scores, "ssim")
    assert first == "SSIM"
    assert rows[0] == ["method", "pores (4)", "pristine (2)"]
    assert [row[0] for row in rows[1:]] == list(methods)
