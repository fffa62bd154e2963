"""A parameters file becomes settings, or one line with every problem of the file."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from emdenoise.config.loading import hash_settings, load_config
from emdenoise.config.schema import DataSettings, EvaluationSettings, PretrainingSettings, RunConfig, TrainingSettings
from emdenoise.config.simulation import CrystalSettings, SimulationSettings
from emdenoise.errors import MissingInputError, SettingsError
from emdenoise.models import MODELS
from emdenoise.simulation.specimens import DEFECTS

SECTIONS = {
    "data": DataSettings,
    "simulation": SimulationSettings,
    "crystals": CrystalSettings,
    "pretraining": PretrainingSettings,
    "training": TrainingSettings,
    "evaluation": EvaluationSettings,
}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load_text(text: str | bytes) -> RunConfig:
        path = tmp_path / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path)

    return load_text


def test_an_absent_section_has_its_defaults(load: Any) -> None:
    config = load("training:\n  epochs: 3\n")
    assert config.training.epochs == 3
    assert config.evaluation == EvaluationSettings()


@pytest.mark.parametrize("text", ["1e-07", "1E-7", "1e-7", "1.e-7", "0.0000001", "+1e-7"])
def test_every_way_to_write_a_small_number_is_a_number(load: Any, text: str) -> None:
    assert load(f"training:\n  epsilon: {text}\n").training.epsilon == 1e-7


def test_a_whole_number_is_also_a_float(load: Any) -> None:
    assert load("training:\n  learning_rate: 1\n").training.learning_rate == 1.0


@pytest.mark.parametrize(("text", "number"), [("010", 10), ("+08", 8), ("0099", 99), ("0", 0)])
def test_zeros_in_front_of_a_number_change_nothing(load: Any, text: str, number: int) -> None:
    # YAML 1.2.2, section 10.3.2: digits alone are decimal; octal numbers begin with 0o.
    assert load(f"data: {{seed: {text}}}\n").data.seed == number


def test_no_is_text_and_not_false(load: Any) -> None:
    with pytest.raises(SettingsError, match=r'training.flip is "no"; it must be true or false'):
        load("training:\n  flip: no\n")


def test_a_date_is_text(load: Any) -> None:
    assert load("data:\n  mirror: 2024-01-01\n").data.mirror == "2024-01-01"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainin: {}", r"run\.yaml: trainin is not a setting; did you mean training\?"),
        ("training: {batchsize: 1}", r"training\.batchsize is not a setting; did you mean batch_size\?"),
        ("training: {zzz: 1}", r"training\.zzz is not a setting; known here: epochs, num_images"),
        ("model: {name: unet, filter: [8]}", r"model\.filter is not a setting; did you mean filters\?"),
        ("model: {name: dncnn, dept: 5}", r"model\.dept is not a setting; did you mean depth\?"),
        ("model: {filter: [8]}", r"model\.filter is not a setting; did you mean filters\?"),
        ("model: {name: vit}", r'model\.name is "vit"; it must be one of unet, resunet, dncnn'),
        ("model: {name: [unet]}", r"model\.name is .*; it must be one of unet, resunet, dncnn"),
        ("model: 3", r"model is 3; it must be a section with names of its own"),
        ("training: {batch_size: 0}", r"training\.batch_size is 0; it must be at least 1"),
        ("training: {beta_1: 1}", r"training\.beta_1 is 1; it must be less than 1"),
        ("training: {learning_rate: 0}", r"training\.learning_rate is 0; it must be greater than 0"),
        ("simulation: {voltage_kv: 5000}", r"simulation\.voltage_kv is 5000; it must be at most 1000"),
        ("simulation: {image_size_px: 100}", r"simulation\.image_size_px is 100; it must be a multiple of 8"),
        (
            "training: {augmentation: {blur: 1}}",
            r"training\.augmentation\.blur is not a setting; known here: log_gamma|did you mean blur_px\?",
        ),
        ("training: {augmentation: {inversion: 2}}", r"training\.augmentation\.inversion is 2; it must be at most 1"),
        ("training: {augmentation: {noise: 0.1}}", r"training\.augmentation is set, but workload denoise restores im"),
        ("training: {border_weight: 3}", r"training\.border_weight is 3, but workload denoise learns no masks; set it"),
        ("training: {zoom: [1, 2]}", r"training\.zoom is set, but training\.crop_size_px is null; set the side of"),
        ("training: {zoom: [0, 2]}", r"training\.zoom\.0 is 0; it must be greater than 0"),
        (
            "training: {zoom: [1, 2], crop_size_px: 64}\npretraining: {method: denoise}",
            r"training\.zoom is set, but pretraining\.crop_size_px is null; set the side of the crops",
        ),
        ("training: {epochs: 1.5}", r"training\.epochs is 1\.5; it must be a whole number"),
        ("training: {epochs: '3'}", r'training\.epochs is "3"; it must be a whole number'),
        ("training: {epochs: true}", r"training\.epochs is true; it must be a whole number"),
        ("training: {learning_rate: fast}", r'training\.learning_rate is "fast"; it must be a number'),
        ("training: {learning_rate: .inf}", r"training\.learning_rate is .*Inf.*; it must be a (finite )?number"),
        ("training: {learning_rate: .nan}", r"training\.learning_rate is .*NaN.*; it must be a (finite )?number"),
        (
            "training: {loss: mse}",
            r'training\.loss is "mse"; it must be one of mean_squared_error, mean_absolute_error, balanced_squ',
        ),
        ("pretraining: {loss: dice}", r'pretraining\.loss is "dice"; it must be .mean_squared_error. or .mean_abs'),
        ("pretraining: {epochs: 0}", r"pretraining\.epochs is 0; it must be at least 1"),
        ("pretraining: {optimizer: sgd}", r"pretraining\.optimizer is not a setting"),
        ("pretraining: {crop_size_px: 512}", r"pretraining\.crop_size_px is 512; it must be at most the image size, 2"),
        ("data: {mirror: 3}", r"data\.mirror is 3; it must be text"),
        ("evaluation: {baselines: nlm}", r'evaluation\.baselines is "nlm"; it must be a list'),
        ("simulation: {defects: []}", r"simulation\.defects is \[\]; it must be a list of at least 1"),
        ("model: {name: unet, filters: [1,1,1,1,1,1,1]}", r"model\.filters is .*; it must be a list of at most 6"),
        ("model: {name: unet, filters: [8, 0]}", r"model\.filters\.1 is 0; it must be at least 1"),
        ("simulation: {defocus_scherzer: [1]}", r"simulation\.defocus_scherzer.* must be given"),
        ("simulation: {defocus_scherzer: [1.2, 0.9]}", r"simulation\.defocus_scherzer must be \[low, high\]"),
        ("simulation: {dose_e_per_angstrom2: [0, 9]}", r"dose_e_per_angstrom2\.0 is 0; it must be greater than 0"),
        ("training: 3", r"training is 3; it must be a section with names of its own"),
        ("training:", r"training is null; it must be a section with names of its own"),
        ("training: {crop_size_px: 512}", r"training\.crop_size_px is 512; it must be at most the image size, 256"),
        (
            "simulation: {image_size_px: 40}\nmodel: {name: unet, filters: [8, 8, 8, 8]}",
            r"size is 40; network unet needs a multiple of 16",
        ),
        (
            "model: {name: unet, long_sides_px: [256, 500]}",
            r"model\.long_sides_px is 500; network unet needs a multiple of 8",
        ),
        ("model: {name: dncnn, long_sides_px: [0]}", r"model\.long_sides_px\.0 is 0; it must be at least 16"),
        ("data: {validation_fraction: 0.5, test_fraction: 0.5}", r"leave no images for training"),
        ("data: {source: imagenet}", r'data\.source is "imagenet"; it must be one of graphene, crystals, em_'),
    ],
)
def test_a_wrong_setting_says_received_expected_and_remedy(load: Any, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_all_problems_are_reported_together(load: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        load("seed: -1\ntraining: {batch_size: 0, epohcs: 3}\nevaluation: {confidence: 2}\n")
    for part in ("seed is -1", "training.batch_size is 0", "did you mean epochs?", "evaluation.confidence is 2"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {epochs: 1, epochs: 2}", "epochs stands twice"),
        ("seed: 1\nseed: 1\n", "seed stands twice"),
        ("training: [", "not a YAML file"),
        ("seed: !!python/object/apply:os.getcwd []", "not a YAML file"),
        ("3: 4", "3 is not a name"),
        (b"\xff\xfe\x00\x01\x02", "not a YAML file"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", "not a YAML file"),
        ("{" * 4000, "not a YAML file"),
        ("- training", "holds list, not sections; expected names such as workload"),
        ("hello", "holds str, not sections"),
        ("", "holds NoneType, not sections"),
    ],
)
def test_a_file_that_is_no_parameters_file_is_one_line(load: Any, text: str | bytes, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_where_parameters_files_are(tmp_path: Path) -> None:
    with pytest.raises(
        MissingInputError, match=r"none\.yaml: no such parameters file; give the path of a file, or a name: default, "
    ):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(MissingInputError, match="no such parameters file"):
        load_config(tmp_path)


def test_settings_cannot_be_changed_after_loading(load: Any) -> None:
    config = load("seed: 1")
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 2
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 2


def test_equal_settings_in_another_order_have_an_equal_hash(load: Any) -> None:
    first = load("seed: 3\ntraining: {epochs: 4, batch_size: 2}\nmodel: {name: unet, filters: [8, 16, 32]}\n")
    second = load("model:\n  filters: [8, 16, 32]\n  name: unet\ntraining:\n  batch_size: 2\n  epochs: 4\nseed: 3\n")
    assert hash_settings(first) == hash_settings(second)


def test_a_default_written_out_does_not_change_the_hash(load: Any) -> None:
    everything = yaml.safe_dump(RunConfig().model_dump(mode="json"))
    assert hash_settings(load(everything)) == hash_settings(RunConfig())


def test_views_of_a_network_change_the_hash_and_their_defaults_leave_it_as_it_was(load: Any) -> None:
    before = RunConfig().model_dump(mode="json")
    assert not {"long_sides_px", "symmetries"} & set(before["model"])
    written = [load(text) for text in ("model: {long_sides_px: [256, 512]}", "model: {symmetries: true}")]
    assert len({hash_settings(config) for config in (RunConfig(), *written)}) == 3
    assert [load(yaml.safe_dump(config.model_dump(mode="json"))) for config in written] == written


@given(seed=st.integers(0, 2**31 - 1), rate=st.floats(1e-12, 1e3), size=st.sampled_from([32, 64, 128]))
def test_settings_survive_being_written_and_read(tmp_path_factory: Any, seed: int, rate: float, size: int) -> None:
    config = RunConfig(
        seed=seed,
        training=TrainingSettings(learning_rate=rate),
        simulation=SimulationSettings(image_size_px=size),
    )
    path = tmp_path_factory.mktemp("settings") / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    assert load_config(path) == config


@given(seeds=st.lists(st.integers(0, 2**31 - 1), min_size=2, max_size=2, unique=True))
def test_other_settings_have_another_hash(seeds: list[int]) -> None:
    assert hash_settings(RunConfig(seed=seeds[0])) != hash_settings(RunConfig(seed=seeds[1]))


def test_settings_that_came_later_move_no_hash_until_they_are_set(load: Any) -> None:
    later = {"zoom": None, "augmentation": None, "border_weight": 0.0}
    training = RunConfig().model_dump(mode="json")["training"]
    assert not set(later) & set(training)
    text = "workload: segment\ntraining: {loss: dice_cross_entropy, crop_size_px: 64, %s}"
    same, *others = (
        load(text % change)
        for change in ("zoom: null, augmentation: null", "zoom: [1, 2]", "augmentation: {}", "border_weight: 3")
    )
    assert len({hash_settings(config) for config in (same, *others)}) == 4


def test_every_single_setting_changes_the_hash() -> None:
    defaults = RunConfig().model_dump(mode="json")
    hashes = {hash_settings(RunConfig())}
    num_changed = 0
    for section in SECTIONS:
        if section not in defaults:  # left out where no run looks at it
            defaults[section] = getattr(RunConfig(), section).model_dump(mode="json")
        for name, value in defaults[section].items():
            if isinstance(value, bool):
                other: Any = not value
            elif isinstance(value, int):
                other = value + 8
            elif isinstance(value, float):
                other = value * 0.97 + 0.0013
            else:
                continue
            changed = json.loads(json.dumps(defaults))
            changed[section][name] = other
            hashes.add(hash_settings(RunConfig.model_validate_json(json.dumps(changed))))
            num_changed += 1
    assert len(hashes) == num_changed + 1


def test_every_setting_has_one_line_of_meaning() -> None:
    for settings in (*SECTIONS.values(), *(network.settings for network in MODELS.values()), RunConfig):
        for name, field in settings.model_fields.items():
            if name in ("data", "simulation", "crystals", "model", "pretraining", "training", "evaluation"):
                continue
            assert field.description, f"{settings.__name__}.{name} has no docstring"
            assert "\n" not in field.description


def test_every_kind_of_specimen_may_be_named_and_no_other() -> None:
    properties = SimulationSettings.model_json_schema()["properties"]
    assert properties["defects"]["items"]["enum"] == list(DEFECTS)
