"""A study file becomes the settings of every run, or one line that says what is wrong."""

from pathlib import Path

import pytest

from emdenoise.config.loading import load_settings
from emdenoise.config.studies import RunKey, StudyConfig, list_runs
from emdenoise.errors import SettingsError

FOLDER = Path(__file__).parents[2] / "workspace" / "parameters"
STUDY = """
base: {division: open, training: {epochs: 3, batch_size: 4}}
variants:
  scratch: {}
  denoise: {pretraining: {method: denoise, epochs: 2}}
num_images: [null, 4]
seeds: [0, 1]
"""


def load(folder: Path, text: str) -> StudyConfig:
    path = folder / "labels.study.yaml"
    path.write_text(text)
    return load_settings(path, StudyConfig, "study")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.study.yaml")), ids=lambda path: path.name)
def test_a_study_file_of_the_project_loads_and_says_its_command(path: Path) -> None:
    assert list_runs(load_settings(path, StudyConfig, "study"))
    assert f"emdenoise study --study_file=workspace/parameters/{path.name}" in path.read_text()


def test_every_variant_runs_with_every_number_of_images_and_every_seed(tmp_path: Path) -> None:
    runs = list_runs(load(tmp_path, STUDY))
    assert len(runs) == 2 * 2 * 2
    assert list(runs)[:2] == [("scratch", "", 4, 0), ("denoise", "", 4, 0)]
    for key, config in runs.items():
        assert config.seed == key.seed
        assert config.training.num_images == key.num_images
        assert config.training.epochs == 3
        assert config.pretraining.method == ("none" if key.variant == "scratch" else "denoise")
    assert {key.name for key in runs} >= {"scratch-4-0", "denoise-all-1"}


def test_conditions_change_the_images_and_nothing_else(tmp_path: Path) -> None:
    conditions = """conditions:
  fine: {simulation: {pixel_size_angstrom: [0.1, 0.1]}}
  coarse: {simulation: {pixel_size_angstrom: [0.2, 0.2]}}
"""
    runs = list_runs(load(tmp_path, STUDY + conditions))
    assert len(runs) == 2 * 2 * 2 * 2
    assert RunKey("denoise", "fine", 4, 0).name == "denoise-fine-4-0"
    for key, config in runs.items():
        size = 0.1 if key.condition == "fine" else 0.2
        assert config.simulation.pixel_size_angstrom == (size, size)
        other = runs[key._replace(condition="coarse" if key.condition == "fine" else "fine")]
        assert config.model_copy(update={"simulation": other.simulation}) == other


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("epochs: 3", "epochz: 3"), r"variant scratch: training\.epochz is not a setting; did you mean epochs\?"),
        (("method: denoise", "method: magic"), r'variant denoise: pretraining\.method is "magic"'),
        (("seeds: [0, 1]", "seeds: [1, 1]"), r"labels\.study\.yaml: seeds names a value twice"),
        (("seeds: [0, 1]", "seeds: []"), r"labels\.study\.yaml: seeds is \[\]; it must be a list of at least 1"),
        (("seeds: [0, 1]", "seedz: [0]"), r"seedz is not a setting; did you mean seeds\?"),
        (("scratch: {}", "a/b: {}"), r"variants\.a/b must be made of letters, digits and _"),
    ],
)
def test_a_wrong_study_file_is_one_line(tmp_path: Path, changed: tuple[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        list_runs(load(tmp_path, STUDY.replace(*changed)))
    assert "\n" not in str(caught.value)
