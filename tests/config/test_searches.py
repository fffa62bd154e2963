"""A search file becomes ranges and choices that a parameters file can take, or one line that says what is wrong."""

from pathlib import Path
from typing import Any

import pytest

from emdenoise.config.loading import load_config, load_settings
from emdenoise.config.schema import RunConfig
from emdenoise.config.searches import (
    SearchConfig,
    change_settings,
    choose_as_the_file,
    find_whole_numbers,
    read_setting,
)
from emdenoise.errors import SettingsError

FOLDER = Path(__file__).parents[2] / "workspace" / "parameters"
SEARCH = """
parameters_file: smoke
trials: 3
settings:
  training.learning_rate: {low: 1, high: 2, log: true}
  training.optimizer: {choices: [adam, sgd]}
  training.beta_2: {low: 0.9, high: 0.999, when: {training.optimizer: adam}}
  training.epochs: {low: 2, high: 10, step: 4}
"""


def load(folder: Path, text: str) -> SearchConfig:
    path = folder / "mine.search.yaml"
    path.write_text(text)
    return load_settings(path, SearchConfig, "search")


@pytest.fixture(scope="module")
def base() -> RunConfig:
    return load_config(Path("smoke"))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.search.yaml")), ids=lambda path: path.name)
def test_a_search_file_of_the_project_fits_its_parameters_file_and_begins_with_its_values(path: Path) -> None:
    search = load_settings(path, SearchConfig, "search")
    begun = load_config(Path(search.parameters_file))
    find_whole_numbers(search, begun)
    assert choose_as_the_file(search, begun)
    assert f"emdenoise search --search_file=workspace/parameters/{path.name}" in path.read_text()


def test_whether_numbers_are_whole_is_a_matter_of_the_setting_and_not_of_how_they_are_written(
    tmp_path: Path, base: RunConfig
) -> None:
    """A learning rate from 1 to 2 has all numbers between them, though 1 and 2 are whole."""
    assert find_whole_numbers(load(tmp_path, SEARCH), base) == {"training.epochs"}


def test_the_values_of_the_file_are_chosen_where_the_search_may_give_them(tmp_path: Path, base: RunConfig) -> None:
    search = load(tmp_path, SEARCH)
    assert choose_as_the_file(search, base) is None  # its learning rate is below 1, and its epochs are between steps
    text = SEARCH.replace("low: 1, high: 2", "low: 0.001, high: 0.1").replace("low: 2, high: 10", "low: 1, high: 9")
    expected = {"learning_rate": 0.006, "optimizer": "adam", "beta_2": 0.999, "epochs": 5}
    found = choose_as_the_file(load(tmp_path, text), base)
    assert found == {f"training.{name}": value for name, value in expected.items()}


def test_a_setting_counts_only_where_its_condition_holds(tmp_path: Path) -> None:
    search = load(tmp_path, SEARCH)
    assert search.is_open("training.beta_2", {"training.optimizer": "adam"})
    assert not search.is_open("training.beta_2", {"training.optimizer": "sgd"})
    assert not search.is_open("training.beta_2", {})


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.parameters.yaml")), ids=lambda path: path.name)
def test_a_file_without_changes_is_the_same_run(path: Path) -> None:
    config = load_config(path)
    assert change_settings(config, {}, "file") == config


def test_a_change_is_made_in_its_place_and_nowhere_else(base: RunConfig) -> None:
    changed = change_settings(base, {"training.epochs": 9, "model.filters": [8, 16]}, "trial")
    assert (changed.training.epochs, read_setting(changed, "model.filters")) == (9, (8, 16))
    undone = {"training.epochs": 5, "model.filters": list(read_setting(base, "model.filters"))}
    assert change_settings(changed, undone, "trial") == base
    noisy = change_settings(load_config(Path("segment")), {"training.augmentation.noise": 0.1}, "trial")
    assert read_setting(noisy, "training.augmentation.noise") == 0.1


def test_another_network_keeps_what_all_have_in_common_and_begins_else_with_its_defaults(base: RunConfig) -> None:
    changed = change_settings(base, {"model.name": "unet"}, "trial")
    assert read_setting(changed, "model.intensity_mean") == 0.5
    assert read_setting(changed, "model.filters") == read_setting(RunConfig(), "model.filters")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("training.epochs:", "training.epochz:"), r"training\.epochz is not a setting; did you mean epochs\?"),
        (("training.epochs:", "trainin.epochs:"), r"trainin is not a setting; did you mean training\?"),
        (("[adam, sgd]", "[adam, magic]"), r'training\.optimizer is "magic"; it must be'),
        (("low: 0.9,", "low: -0.9,"), r"settings\.training\.beta_2: with .* training\.beta_2 is -0\.9; it must be at"),
        (("step: 4", "step: 0.5"), r"settings\.training\.epochs\.step is 0\.5; it must be a whole number"),
        (("step: 4", "step: 3"), r"training\.epochs has step 3; high must be low plus a multiple of it"),
        (("low: 1,", "low: 0,"), r"training\.learning_rate has log, which needs a low above 0"),
        (("low: 2, high: 10", "low: 10, high: 2"), r"has low 10 and high 2; low must be less than high"),
        (("low: 2, high: 10, step: 4", ""), r"training\.epochs has no values; give low and high, or choices"),
        (("step: 4", "choices: [2]"), r"training\.epochs has choices and a range; give one of them"),
        (("[adam, sgd]", "[adam, adam]"), r"training\.optimizer names a choice twice"),
        (("optimizer: adam}", "optimizer: sgdd}"), r"training\.optimizer sgdd; it must be one of adam, sgd"),
        (("{training.optimizer: adam}", "{training.epochs: 2}"), r"names training\.epochs; it must stand above it"),
        (("training.epochs:", "data.seed:"), r"settings\.data\.seed is what is asked, the same for all trials; set it"),
        (("training.epochs:", "seed:"), r"settings\.seed is a matter of luck, the same for all trials"),
        (("trials: 3", "trialz: 3"), r"trialz is not a setting; did you mean trials\?"),
        (("trials: 3\n", ""), r"trials and hours are null; give one of them, or both"),
        (("step: 4", "stp: 4"), r"settings\.training\.epochs\.stp is not a setting; did you mean step\?"),
    ],
)
def test_a_wrong_search_file_is_one_line(
    tmp_path: Path, base: RunConfig, changed: tuple[str, str], message: str
) -> None:
    assert changed[0] in SEARCH
    with pytest.raises(SettingsError, match=message) as caught:
        find_whole_numbers(load(tmp_path, SEARCH.replace(*changed)), base)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "is_held"), [(2, True), (6, True), (10.0, True), (4, False), (12, False)])
def test_a_range_holds_its_steps(tmp_path: Path, value: Any, is_held: bool) -> None:
    assert load(tmp_path, SEARCH).settings["training.epochs"].holds(value) is is_held
