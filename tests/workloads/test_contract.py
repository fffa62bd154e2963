"""The closed division keeps what it fixes; a workload without what it needs says so in one line."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emdenoise.config.schema import RunConfig, TrainingSettings
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.errors import DataError, SettingsError
from emdenoise.training.targets import Target
from emdenoise.workloads import WORKLOADS, contract
from emdenoise.workloads.contract import Workload, check_division, list_fixed_settings

TARGET = Target("psnr_db", 30.0)
FREE = {
    "": {"workload", "division", "seed", "num_processes"},
    "data": {"mirror"},
    "training": {
        *("epochs", "batch_size", "precision", "deterministic", "early_stopping_epochs", "read_ahead", "last_batch"),
        "keep_on_device",  # the same bits
        *("learning_rate", "schedule", "warmup_fraction", "beta_1", "beta_2", "epsilon"),
        *("weight_decay", "gradient_clip_norm"),
    },
    "evaluation": {"batch_size", "num_latency_images", "num_pictures"},
}
"""What the closed division leaves free. Whoever adds a setting decides whether it belongs here."""


def make_closed(**changes: Any) -> RunConfig:
    return RunConfig.model_validate_json(json.dumps({"division": "closed", **changes}))


def check(config: RunConfig) -> None:
    check_division(config, WORKLOADS[config.workload])


def test_the_defaults_are_a_run_of_the_closed_division() -> None:
    assert RunConfig().division == "closed"
    check(RunConfig())


@pytest.mark.parametrize(
    "free",
    [
        {"seed": 7},
        {"training": {"epochs": 99, "batch_size": 32, "learning_rate": 0.1, "schedule": "cosine"}},
        {"training": {"weight_decay": 0.1, "gradient_clip_norm": 1.0, "warmup_fraction": 0.1, "beta_1": 0.5}},
        {"training": {"precision": "mixed_bfloat16", "deterministic": False, "early_stopping_epochs": 3}},
        {"evaluation": {"batch_size": 1, "num_latency_images": 10, "num_pictures": 1}},
        {"num_processes": 2, "data": {"mirror": "https://mirror.example.org"}},
    ],
)
def test_the_closed_division_leaves_the_recipe_free(free: dict[str, Any]) -> None:
    check(make_closed(**free))


@pytest.mark.parametrize("mirror", [None, "mirror", "https://example.org/em_graphene_sim"])
def test_the_images_of_the_stfc_are_a_second_data_set_of_the_closed_division_from_any_mirror(mirror: str) -> None:
    config = make_closed(data={"source": "em_graphene_sim", "mirror": mirror})
    check(config)
    assert replace(WORKLOADS["denoise"], target=TARGET).find_target(config) is None, "it is the target of other images"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"seed": 1}}, "data.seed is 1, fixed to 0"),
        ({"data": {"validation_fraction": 0.8}}, r"data\.validation_fraction is 0\.8, fixed to 0\.1"),
        ({"training": {"flip": True}}, r"training\.flip is True, fixed to False"),
    ],
)
def test_on_the_images_of_the_stfc_the_closed_division_fixes_what_it_fixes_on_its_own(
    changes: dict[str, Any], said: str
) -> None:
    data = {"source": "em_graphene_sim", **changes.get("data", {})}
    with pytest.raises(SettingsError, match=f"^division closed: {said}; keep these"):
        check(make_closed(**{**changes, "data": data}))


def test_a_workload_without_masks_of_the_stfc_does_not_have_its_images_in_the_closed_division() -> None:
    training = {"loss": WORKLOADS["segment"].closed["training.loss"]}
    with pytest.raises(SettingsError, match=r"data\.source is em_graphene_sim, fixed to graphene; keep"):
        check(make_closed(workload="segment", training=training, data={"source": "em_graphene_sim"}))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_target_holds_where_the_images_are_those_of_the_closed_division(name: str) -> None:
    workload = replace(WORKLOADS[name], target=TARGET)
    training = {"loss": workload.closed["training.loss"]}
    assert workload.find_target(make_closed(workload=name, training=training)) == TARGET
    free = make_closed(workload=name, division="open", training={**training, "flip": True})
    assert workload.find_target(free) == TARGET
    for other in ({"simulation": {"num_test": 10}}, {"data": {"seed": 1}}):
        config = make_closed(workload=name, division="open", training=training, **other)
        assert workload.find_target(config) is None


def test_a_run_with_another_loss_can_reach_the_target_which_is_no_loss() -> None:
    config = make_closed(division="open", training={"loss": "mean_absolute_error"})
    assert replace(WORKLOADS["denoise"], target=TARGET).find_target(config) == TARGET


def test_a_mirror_has_the_same_images_and_the_same_target() -> None:
    config = make_closed(data={"mirror": "https://mirror.example.org"})
    assert replace(WORKLOADS["denoise"], target=TARGET).find_target(config) == TARGET


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_every_setting_is_fixed_in_the_closed_division_or_free_for_a_reason(workload: Workload) -> None:
    found = set(list_fixed_settings(workload, "graphene"))
    expected = set()
    for section, value in RunConfig():
        names = set(type(value).model_fields) if hasattr(type(value), "model_fields") else set()
        expected |= {f"{section}.{name}" for name in names - FREE.get(section, set())}
        expected |= {section} - FREE[""] if not names else set()
    assert found == expected


def test_a_setting_that_somebody_adds_is_fixed_until_it_is_declared_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "FREE_SETTINGS", tuple(set(contract.FREE_SETTINGS) - {"training.epsilon"}))
    with pytest.raises(SettingsError, match=r"^division closed: training\.epsilon is 0\.1, fixed to 1e-07; keep"):
        check(make_closed(training={"epsilon": 0.1}))


def test_a_section_that_may_be_absent_is_fixed_as_a_whole() -> None:
    training = {"loss": "dice_cross_entropy", "augmentation": {"inversion": 0.5}}
    with pytest.raises(
        SettingsError, match=r"^division closed: training\.augmentation is .*inversion.*, fixed to None"
    ):
        check(make_closed(workload="segment", training=training))


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize(
    "free",
    [
        {"evaluation": {"batch_size": 1}},
        {"evaluation": {"num_latency_images": 10, "num_pictures": 1}},
        {"training": {"epochs": 1, "batch_size": 600, "early_stopping_epochs": 1, "precision": "mixed_bfloat16"}},
        {"data": {"mirror": "https://mirror.example.org"}, "seed": 7},
    ],
)
def test_what_is_free_moves_neither_the_target_nor_the_comparison(name: str, free: dict[str, Any]) -> None:
    workload = WORKLOADS[name]
    training = {"loss": workload.closed["training.loss"], **free.pop("training", {})}
    config = make_closed(workload=name, training=training, **free)
    check(config)
    assert workload.find_target(config) == workload.target is not None
    assert workload.choose_baselines(config) == workload.baselines
    assert config.evaluation.num_tuning_images == RunConfig().evaluation.num_tuning_images
    assert config.training.crops_per_epoch is None


FIXED: list[tuple[str, Any, str]] = [
    ("data.source", "emps", "emps, fixed to graphene or em_graphene_sim"),
    ("data.seed", 1, "1, fixed to 0"),
    ("data.validation_fraction", 0.5, r"0\.5, fixed to 0\.1"),
    ("data.tile_size_px", 128, "128, fixed to 256"),
    ("data.added_noise_electrons_per_pixel", 50.0, r"50\.0, fixed to None"),
    ("training.loss", "mean_absolute_error", "mean_absolute_error, fixed to mean_squared_error"),
    ("training.optimizer", "sgd", "sgd, fixed to adam"),
    ("training.crop_size_px", 128, "128, fixed to None"),
    ("training.flip", True, "True, fixed to False"),
    ("training.crops_per_epoch", 10, "10, fixed to None"),
    ("evaluation.baselines", [], r"\(\), fixed to None"),
    ("evaluation.baselines", ["median"], r"\('median',\), fixed to None"),
    ("evaluation.num_tuning_images", 1, "1, fixed to 8"),
    ("evaluation.atom_tolerance_angstrom", 2.0, r"2\.0, fixed to 0\.5"),
    ("data.tile_size_px", 128, "128, fixed to 256"),
    ("data.validation_fraction", 0.5, r"0\.5, fixed to 0\.1"),
    ("model.filters", [16, 32, 64], r"\(16, 32, 64\), fixed to \(8, 16, 32\)"),
    ("model.bottom_filters", 32, "32, fixed to 64"),
    ("model.dropout", 0.5, r"0\.5, fixed to 0\.0"),
    ("model.predict_residual", True, "True, fixed to False"),
    ("model.intensity_std", 0.1, r"0\.1, fixed to 1\.0"),
    ("model.long_sides_px", [256, 512], r"\(256, 512\), fixed to \(\)"),
    ("model.symmetries", True, "True, fixed to False"),
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
        check(make_closed(**{section: content}))


def test_all_that_is_broken_is_told_together() -> None:
    changes: dict[str, dict[str, Any]] = {}
    fixed = {setting: value for setting, value, _ in FIXED}
    for setting, value in fixed.items():
        section, name = setting.split(".")
        changes.setdefault(section, {"name": "unet"} if section == "model" else {})[name] = value
    with pytest.raises(SettingsError) as caught:
        check(make_closed(**changes))
    message = str(caught.value)
    assert "\n" not in message
    assert message.count(", fixed to ") == len(fixed)
    for setting in fixed:
        assert f"{setting} is " in message


def test_another_network_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"model.name is dncnn, fixed to unet"):
        check(make_closed(model={"name": "dncnn"}))


def test_the_open_division_allows_everything(tiny_config: Callable[..., RunConfig]) -> None:
    check(tiny_config())
    check(make_closed(division="open", data={"source": "folder"}, model={"name": "dncnn"}))
    with pytest.raises(SettingsError, match="division closed"):
        check(tiny_config(division="closed"))


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_closed_division_has_no_pretraining_whose_time_no_clock_counts(name: str) -> None:
    training = {"loss": WORKLOADS[name].closed["training.loss"], "flip": True}
    config = make_closed(workload=name, pretraining={"method": "denoise"}, training=training)
    with pytest.raises(SettingsError, match=r"pretraining\.method is denoise, fixed to none.*training\.flip is True"):
        check(config)


@pytest.mark.parametrize(
    ("workload", "missing", "message"),
    [
        ("segment", "mask", r"train\.h5: has no mask images, which workload segment needs: .*put masks beside your"),
        ("denoise", "clean", r"train\.h5: has no clean images, which workload denoise needs: .*put the truth beside"),
    ],
)
def test_images_without_a_field_that_the_workload_needs_are_refused_in_one_line(
    workload: str, missing: str, message: str, tmp_path: Path, draw_records: Callable[..., Iterator[Record]]
) -> None:
    records = []
    for record in draw_records(2):
        images = {name: image for name, image in record.images.items() if name != missing}
        records.append(replace(record, images=images))
    write_records(tmp_path / "train.h5", records, attributes={})
    with RecordFile(tmp_path / "train.h5") as images, pytest.raises(DataError, match=message) as caught:
        WORKLOADS[workload].make_ports(images, TrainingSettings(loss=WORKLOADS[workload].list_objectives()[0]))
    assert "\n" not in str(caught.value)


def test_a_network_that_is_kept_as_it_is_needs_no_truth() -> None:
    class NoTruth:
        name, label_names = "train.h5", []

        def __contains__(self, field: str) -> bool:
            return field == "noisy"

    assert WORKLOADS["denoise"].make_ports(NoTruth(), TrainingSettings(epochs=0)).inputs == {"noisy": 1}  # type: ignore[arg-type]
