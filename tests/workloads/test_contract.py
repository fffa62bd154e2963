"""The closed division keeps what it fixes; the record of a test is JSON."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.config.schema import RunConfig
from emdenoise.errors import SettingsError
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.evaluation.throughput import Latency
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.contract import CLOSED_LOSSES, Evaluation, check_division, choose_pictures


def make_closed(**changes: Any) -> RunConfig:
    return RunConfig.model_validate_json(json.dumps({"division": "closed", **changes}))


def test_the_defaults_are_a_run_of_the_closed_division() -> None:
    assert RunConfig().division == "closed"
    check_division(RunConfig())


@pytest.mark.parametrize(
    "free",
    [
        {"seed": 7},
        {"training": {"epochs": 99, "batch_size": 32, "learning_rate": 0.1, "schedule": "cosine"}},
        {"training": {"weight_decay": 0.1, "gradient_clip_norm": 1.0, "warmup_fraction": 0.1, "beta_1": 0.5}},
        {"training": {"precision": "mixed_bfloat16", "deterministic": False, "early_stopping_epochs": 3}},
        {"evaluation": {"batch_size": 1, "baselines": []}},
    ],
)
def test_the_closed_division_leaves_the_recipe_free(free: dict[str, Any]) -> None:
    check_division(make_closed(**free))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_target_holds_where_images_and_loss_are_those_of_the_closed_division(name: str) -> None:
    workload = replace(WORKLOADS[name], target_loss=0.25)
    training = {"loss": CLOSED_LOSSES[name]}
    assert workload.find_target(make_closed(workload=name, training=training)) == 0.25
    assert (
        workload.find_target(make_closed(workload=name, division="open", training={**training, "flip": True})) == 0.25
    )
    for other in ({"simulation": {"num_test": 10}}, {"data": {"seed": 1}}):
        config = make_closed(workload=name, division="open", training=training, **other)
        assert workload.find_target(config) is None


def test_another_loss_cannot_reach_the_target() -> None:
    config = make_closed(division="open", training={"loss": "mean_absolute_error"})
    assert replace(WORKLOADS["denoise"], target_loss=0.25).find_target(config) is None


FIXED: list[tuple[str, Any, str]] = [
    ("data.source", "emps", "emps, fixed to graphene"),
    ("data.seed", 1, "1, fixed to 0"),
    ("training.loss", "mean_absolute_error", "mean_absolute_error, fixed to mean_squared_error"),
    ("training.optimizer", "sgd", "sgd, fixed to adam"),
    ("training.crop_size_px", 128, "128, fixed to None"),
    ("training.flip", True, "True, fixed to False"),
    ("model.filters", [16, 32, 64], r"\(16, 32, 64\), fixed to \(8, 16, 32\)"),
    ("model.bottom_filters", 32, "32, fixed to 64"),
    ("model.dropout", 0.5, r"0\.5, fixed to 0\.0"),
    ("model.predict_residual", True, "True, fixed to False"),
    ("model.intensity_std", 0.1, r"0\.1, fixed to 1\.0"),
    ("simulation.num_train", 601, "601, fixed to 600"),
    ("simulation.num_test", 10, "10, fixed to 100"),
    ("simulation.dose_e_per_angstrom2", [400, 9000], r"\(400\.0, 9000\.0\), fixed to \(400\.0, 8000\.0\)"),
    ("simulation.store_wave", True, "True, fixed to False"),
]


@pytest.mark.parametrize(("setting", "value", "said"), FIXED)
def test_each_setting_that_is_fixed_is_refused_by_name(setting: str, value: Any, said: str) -> None:
    section, name = setting.split(".")
    content = {"name": "unet", name: value} if section == "model" else {name: value}
    with pytest.raises(
        SettingsError, match=f"^division closed: {setting} is {said}; keep these, or set division to open.$"
    ):
        check_division(make_closed(**{section: content}))


def test_all_that_is_broken_is_told_together() -> None:
    changes: dict[str, dict[str, Any]] = {}
    for setting, value, _ in FIXED:
        section, name = setting.split(".")
        changes.setdefault(section, {"name": "unet"} if section == "model" else {})[name] = value
    with pytest.raises(SettingsError) as caught:
        check_division(make_closed(**changes))
    message = str(caught.value)
    assert "\n" not in message
    assert message.count(", fixed to ") == len(FIXED)
    for setting, _, _ in FIXED:
        assert f"{setting} is " in message


def test_another_network_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"model.name is dncnn, fixed to unet"):
        check_division(make_closed(model={"name": "dncnn"}))


def test_the_open_division_allows_everything(tiny_config: Callable[..., RunConfig]) -> None:
    check_division(tiny_config())
    check_division(make_closed(division="open", data={"source": "folder"}, model={"name": "dncnn"}))
    with pytest.raises(SettingsError, match="division closed"):
        check_division(tiny_config(division="closed"))


@given(num_images=st.integers(1, 300), num_wanted=st.integers(1, 32))
def test_pictures_are_different_images_evenly_spread(num_images: int, num_wanted: int) -> None:
    chosen = choose_pictures(num_images, num_wanted)
    assert len(chosen) == min(num_images, num_wanted)
    assert chosen[0] == 0
    assert chosen[-1] == (num_images - 1 if len(chosen) > 1 else 0)
    assert len(chosen) == 1 or (np.diff(chosen).min() >= 1 and np.ptp(np.diff(chosen)) <= 1)


def test_the_record_of_a_test_is_json_without_nan() -> None:
    clean = np.zeros((2, 16, 16), np.float32)
    pictures = {"noisy": clean + np.float32(0.1), "network": clean + np.float32(0.01), "clean": clean}
    metrics = {"psnr_db": np.array([20.0, np.inf]), "atom_error_angstrom": np.array([np.nan, 0.125])}
    found = Evaluation(
        {"network": ImageScores(metrics, 1.0)},
        {"tv": "strength 1"},
        Latency(1.5, 2.5),
        pictures,
        {"network": ["network  40.0 dB"]},
        {"confusion": [[1]]},
    ).describe()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["per_image"] == {"network": {"psnr_db": [20.0, None], "atom_error_angstrom": [None, 0.125]}}
    assert found["latency"] == {"p50_ms": 1.5, "p99_ms": 2.5}
    assert found["choices"] == {"tv": "strength 1"}
    assert found["captions"] == {"network": ["network  40.0 dB"]}
    assert found["confusion"] == [[1]]


def test_the_closed_division_of_denoise_has_no_pretraining_and_says_so_beside_all_else() -> None:
    config = make_closed(pretraining={"method": "denoise"}, training={"flip": True})
    with pytest.raises(SettingsError, match=r"training\.flip is True.*pretraining\.method is denoise, fixed to none"):
        check_division(config)
