"""The command line as people type it: images by position, changed settings, named files, lists, the wheel."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from emdenoise import cli
from emdenoise.cli import main
from emdenoise.config.loading import find_settings_file, load_config, read_change
from emdenoise.errors import MissingInputError, SettingsError
from emdenoise.sources import SOURCES
from emdenoise.tables import FINDERS
from emdenoise.tasks import TASKS
from emdenoise.tools.listing import list_names
from emdenoise.tools.predict import name_results, predict

ROOT = Path(__file__).parents[1]
PARAMETERS = ROOT / "workspace" / "parameters"
A, B = Path("run/a.dm4"), Path("run/b.dm4")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Keep the options of each task that a command would run."""
    calls: list[dict[str, Any]] = []

    def hear(name: str, task: Any, log_dir: Path | None, options: dict[str, Any]) -> int:
        calls.append(options)
        return 0

    monkeypatch.setattr(cli, "run_task", hear)
    return calls


def test_predict_takes_images_by_position_and_short_names(heard: list[dict[str, Any]]) -> None:
    arguments = ["predict", "a.dm4", "b.dm4", "--network", "net", "--output", "out"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    (options,) = heard
    assert options["images"] == (Path("a.dm4"), Path("b.dm4"))
    assert (options["model_dir"], options["predicted_file"]) == (Path("net"), Path("out"))


def test_results_lie_beside_their_images_or_in_a_folder(tmp_path: Path) -> None:
    beside = name_results([A, B], None, "segmented.tif")
    assert beside == {A: Path("run/a.segmented.tif"), B: Path("run/b.segmented.tif")}
    assert name_results([A], tmp_path, "denoised.tif") == {A: tmp_path / "a.denoised.tif"}
    assert name_results([A], tmp_path / "new", "denoised.tif") == {A: tmp_path / "new" / "a.denoised.tif"}
    assert name_results([A], tmp_path / "new.h5", "denoised.tif") == {A: tmp_path / "new.h5"}


@pytest.mark.parametrize(
    ("images", "output", "message"),
    [
        (["a.tif", "a.denoised.tif"], None, r"would be written over a\.denoised\.tif, which is an image to read"),
        (["a.tif", "a.dm4"], None, r"a\.tif and a\.dm4 would both become a\.denoised\.tif; give them in two commands"),
        (["x/a.tif", "y/a.tif"], "out", r"would both become a\.denoised\.tif"),
        (["a.tif"], "a.tif", "is the image file itself, which stays as it is"),
    ],
)
def test_a_result_never_takes_the_place_of_another_file(images: list[str], output: str | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        name_results([Path(image) for image in images], output and Path(output), "denoised.tif")


def test_what_predict_cannot_know_is_one_line(tmp_path: Path) -> None:
    image = tmp_path / "a.tif"
    image.touch()
    (tmp_path / "b.tif").touch()

    def refuse(kind: type[Exception], message: str, **options: Any) -> None:
        with pytest.raises(kind, match=message):
            predict(model_dir=tmp_path / "no", **options, progress=None)

    refuse(SettingsError, "no image is given; give what shall be read")
    refuse(SettingsError, "IMAGE and --image_file are both given", images=(image,), image_file=image)
    refuse(MissingInputError, r"no\.tif is not there", images=(image, tmp_path / "no.tif"))
    refuse(MissingInputError, "is a folder; give the images in it", images=(tmp_path,))
    two = (image, tmp_path / "b.tif")
    refuse(SettingsError, r"--output is the file c\.tif for 2 images", images=two, predicted_file=tmp_path / "c.tif")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_takes_changes_of_settings(name: str, heard: list[dict[str, Any]]) -> None:
    arguments = [name, "--set", "training.epochs=5", "--set=model.filters=[4, 8]"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert heard[0]["changes"] == {"training.epochs": 5, "model.filters": [4, 8]}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["training.epochs"], "--set training.epochs is no change; give NAME=VALUE"),
        (["=5"], "--set =5 is no change"),
        (["a.b=[1"], "--set a.b=[1 has no value in YAML"),
        (["seed=*x"], "is an alias"),
        (["seed=1", "seed=2"], "--set seed stands twice; give it once"),
    ],
)
def test_a_change_that_cannot_be_read_is_a_wrong_option(
    texts: list[str], message: str, heard: list[dict[str, Any]]
) -> None:
    result = CliRunner().invoke(main, ["train", *(f"--set={text}" for text in texts)])
    assert result.exit_code == 2
    assert message in result.output
    assert heard == []


def test_a_change_takes_the_place_of_what_the_file_says() -> None:
    path = PARAMETERS / "smoke.parameters.yaml"
    plain = load_config(path)
    changed = load_config(path, {"training.epochs": 7, "data.seed": 3})
    assert (changed.training.epochs, changed.data.seed) == (7, 3)
    assert changed.model_copy(update={"training": plain.training, "data": plain.data}) == plain
    assert load_config(path, {"model": {"name": "dncnn"}, "division": "open"}).model.name == "dncnn"


def test_a_change_of_an_unknown_setting_names_the_option_and_the_nearest_name() -> None:
    with pytest.raises(
        SettingsError, match=r"^smoke\.parameters\.yaml with --set training\.epoch: .* did you mean epochs\?$"
    ):
        load_config(PARAMETERS / "smoke.parameters.yaml", {"training.epoch": 5})
    with pytest.raises(SettingsError, match=r"with --set seed\.x: seed is"):
        load_config(PARAMETERS / "smoke.parameters.yaml", dict([read_change("seed.x=1")]))


def test_a_name_is_the_callers_own_file_before_the_one_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_settings_file(Path("smoke"), "parameters") == PARAMETERS / "smoke.parameters.yaml"
    own = Path("workspace/parameters/smoke.parameters.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("seed: 5\n")
    assert load_config(Path("smoke")).seed == 5
    Path("smoke").write_text("seed: 6\n")
    assert load_config(Path("smoke")).seed == 6


def test_an_unknown_name_of_a_file_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(MissingInputError, match=r"^smok: no such parameters file; did you mean smoke\? .* default, "):
        find_settings_file(Path("smok"), "parameters")
    with pytest.raises(MissingInputError, match=r"^x: no such study file; give the path of a file, or a name: closed"):
        find_settings_file(Path("x"), "study")


def test_the_files_of_settings_that_options_name_by_default_are_there() -> None:
    for option in ("parameters_file", "study_file", "search_file", "system_file"):
        assert find_settings_file(cli.DEFAULTS[option] or Path(), option.removesuffix("_file")).is_file()


@pytest.mark.parametrize("table", FINDERS)
def test_every_entry_of_a_list_has_one_line_that_says_what_it_is(table: str) -> None:
    heading, *rows = list_names(table=table).table
    assert rows
    for row in rows:
        assert len(row) == len(heading)
        assert len(row[-1]) > 10
        assert "\n" not in "".join(row)


def test_the_list_of_sources_says_which_need_a_network() -> None:
    assert {name: needed for name, needed, _ in list_names(table="sources").table[1:]} == {
        name: "yes" if source.needs_network else "no" for name, source in SOURCES.items()
    }


def test_an_unknown_list_is_one_line_that_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"there is no list of metric; did you mean metrics\?"):
        list_names(table="metric")
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["list", "metric"]).exit_code == SettingsError.exit_code
    assert list(tmp_path.iterdir()) == [], "a list needs no log"


ENGINE = """#!/bin/sh
case "$*" in
    *inspect*) echo sha256:0 ;;
    *"list sources"*) printf '\\n name network description\\n here no x\\n far yes x\\n' ;;
    *) echo "$*" ;;
esac
"""


@pytest.mark.parametrize(
    ("settings", "is_offline"),
    [("data: {source: far}", False), ("data: {source: here}", True), ("data: {source: 'here'}", True), ("{}", True)],
)
def test_docker_gives_a_network_to_a_download_whose_source_needs_one(
    settings: str, is_offline: bool, tmp_path: Path
) -> None:
    (tmp_path / "engine").write_text(ENGINE)
    (tmp_path / "engine").chmod(0o755)
    (tmp_path / "a.yaml").write_text(settings)
    command = [ROOT / "run" / "docker.sh", "download,preprocess", tmp_path / "workspace", tmp_path / "a.yaml"]
    given = subprocess.check_output(command, env={**os.environ, "ENGINE": str(tmp_path / "engine")}, text=True)
    assert ["--network none" in line for line in given.splitlines()] == [is_offline, True]


@pytest.mark.slow
def test_the_wheel_runs_away_from_the_checkout(tmp_path: Path) -> None:
    """The packages are those of this Python; only the benchmark itself is installed anew."""
    built = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run(built, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    place = tmp_path / "empty"
    place.mkdir()
    sizes = {f"simulation.num_{split}": 2 for split in ("train", "validation", "test")}
    changes = sizes | {"simulation.image_size_px": 64, "training.crop_size_px": 32}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        command = [tmp_path / "venv" / "bin" / "emdenoise", *arguments]
        result = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    for task in ("download", "preprocess"):
        run(task, "--parameters_file", "smoke", *(f"--set={name}={value}" for name, value in changes.items()))
    record = json.loads((place / "workspace" / "data" / "records" / "preprocess.json").read_text())
    smoke = yaml.safe_load((PARAMETERS / "smoke.parameters.yaml").read_text())
    assert record["settings"]["simulation"]["num_train"] == 2
    assert record["settings"]["training"]["epochs"] == smoke["training"]["epochs"]
    assert "graphene" in run("list", "sources")
    assert not (place / "parameters").exists()
