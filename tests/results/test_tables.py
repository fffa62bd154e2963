"""``scores.json``: what other tools read, and the table that people read."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.metrics import METRICS
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.results.tables import find_best, make_table, summarise_scores


def summarise(config: RunConfig, values: list[float], *, rate: float = 10.0) -> dict[str, Any]:
    methods = {"network": ImageScores({"psnr_db": np.array(values)}, rate)}
    return summarise_scores(config, methods, [str(index) for index in range(len(values))])


def test_scores_are_json_and_say_what_they_are_of(
    scores: dict[str, Any], config: RunConfig, methods: dict[str, ImageScores]
) -> None:
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert {name: value for name, value in scores.items() if name != "methods"} == {
        "schema_version": 1,
        "workload": "denoise",
        "division": "open",
        "split": "test",
        "num_images": 6,
        "num_specimens": 3,
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
