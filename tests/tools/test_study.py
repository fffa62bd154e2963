"""A study of tiny runs: what is done is not done again, and the comparison follows from the scores."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from emdenoise.config.studies import RunKey
from emdenoise.errors import DivergenceError, MissingInputError, SettingsError, StorageError
from emdenoise.files.locks import lock_folder
from emdenoise.progress import SilentProgress
from emdenoise.tools import study
from emdenoise.tools.comparison import Run, compare_runs
from emdenoise.tools.study import run_study

pytestmark = pytest.mark.long


def make_study(tiny_settings: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    base = tiny_settings(
        workload="segment",
        training={"loss": "dice_cross_entropy", "epochs": 2},
        evaluation={"baselines": []},
    )
    variants = {
        "scratch": {},
        "denoise": {"pretraining": {"method": "denoise", "epochs": 1, "batch_size": 2}},
        "frozen": {"pretraining": {"method": "denoise", "epochs": 1, "batch_size": 2, "encoder": "frozen"}},
    }
    metrics = {"metric": "dice", "other_metrics": ["dice_lattice"]}
    return {"base": base, "variants": variants, "num_images": [2], "seeds": [0], **metrics}


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: Callable[..., dict[str, Any]], no_pool: None
) -> Path:
    """Run the study once."""
    path = tmp_path_factory.mktemp("study")
    (path / "labels.study.yaml").write_text(yaml.safe_dump(make_study(tiny_settings), sort_keys=False))
    run_study(study_file=path / "labels.study.yaml", study_dir=path / "study", progress=SilentProgress())
    return path


def read_scores(folder: Path) -> dict[str, float]:
    return {
        path.parents[1].name: json.loads(path.read_text())["methods"]["network"]["dice"]["mean"]
        for path in (folder / "study" / "runs").glob("*/output/scores.json")
    }


def test_the_table_has_the_scores_of_the_runs_and_their_differences(folder: Path) -> None:
    scores = read_scores(folder)
    assert set(scores) == {"scratch-2-0", "denoise-2-0", "frozen-2-0"}
    rows = {row["variant"]: row for row in json.loads((folder / "study" / "study.json").read_text())["rows"]}
    for variant, row in rows.items():
        assert row["score"]["mean"] == pytest.approx(scores[f"{variant}-2-0"])
    assert rows["scratch"]["difference"] is None
    expected = scores["denoise-2-0"] - scores["scratch-2-0"]
    assert rows["denoise"]["difference"]["mean"] == pytest.approx(expected)
    assert set(rows["denoise"]["other_differences"]) == set(rows["scratch"]["other_scores"]) == {"dice_lattice"}
    assert rows["scratch"]["other_differences"] == {}
    assert rows["scratch"]["pretraining_s"] == 0 < rows["denoise"]["pretraining_s"]
    assert (folder / "study" / "study.md").read_text().count("\n") == 2 + 3
    assert (folder / "study" / "study.png").read_bytes().startswith(b"\x89PNG")


def test_the_speed_of_the_network_can_stand_beside_its_quality(folder: Path) -> None:
    output_dir = folder / "study" / "runs" / "scratch-2-0" / "output"
    run = Run(RunKey("scratch", "", 2, 0), "", output_dir)
    row = compare_runs([run], metrics=["dice", "images_per_second"], reference="scratch").rows[0]
    network = json.loads((output_dir / "scores.json").read_text())["methods"]["network"]
    assert row.other_scores["images_per_second"].mean == network["images_per_second"] > 0


def test_pretrained_weights_are_shared_and_the_record_says_layer_by_layer_what_was_taken(folder: Path) -> None:
    records = {
        name: json.loads((folder / "study" / "runs" / f"{name}-2-0" / "output" / "records" / "train.json").read_text())
        for name in ("scratch", "denoise", "frozen")
    }
    assert "pretraining" not in records["scratch"]["results"]
    first, second = (records[name]["results"]["pretraining"] for name in ("denoise", "frozen"))
    assert first["weights_sha256"] == second["weights_sha256"]
    assert (first["is_reused"], second["is_reused"]) == (False, True)
    assert {layer["layer"]: layer["is_taken"] for layer in first["transfer"]}["output"] is False
    assert sum(layer["is_taken"] for layer in first["transfer"]) == len(first["transfer"]) - 1
    history = records["denoise"]["results"]["history"]
    assert all(0 <= epoch["validation_dice"] <= 1 for epoch in history)
    assert np.isfinite([epoch["loss"] for epoch in first["history"]]).all()


def test_what_is_done_is_not_done_again_and_what_is_missing_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_scores(folder)
    shutil.rmtree(folder / "study" / "runs" / "frozen-2-0" / "model")
    (folder / "study" / "runs" / "denoise-2-0" / "output" / "records" / "test.json").unlink()
    done: list[tuple[str, str]] = []

    def watch(name: str) -> None:
        task = getattr(study, name)

        def run(**arguments: Any) -> Any:
            done.append((name, arguments["model_dir"].parent.name))
            return task(**arguments)

        monkeypatch.setattr(study, name, run)

    watch("train")
    watch("test")
    run_study(study_file=folder / "labels.study.yaml", study_dir=folder / "study", progress=SilentProgress())
    assert done == [("test", "denoise-2-0"), ("train", "frozen-2-0"), ("test", "frozen-2-0")]
    assert read_scores(folder) == before


def test_other_images_are_made_where_the_study_asks_for_them(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "study", tmp_path / "study")
    settings = yaml.safe_load((folder / "labels.study.yaml").read_text())
    settings["base"].setdefault("data", {})["seed"] = 1
    (tmp_path / "other.study.yaml").write_text(yaml.safe_dump(settings | {"variants": {"scratch": {}}}))
    paths = {"study_file": tmp_path / "other.study.yaml", "study_dir": tmp_path / "study"}
    with pytest.raises(MissingInputError, match="run the study with --part=images first"):
        run_study(**paths, part="scratch-2-0", progress=SilentProgress())
    run_study(**paths, progress=SilentProgress())
    test = json.loads((tmp_path / "study" / "runs" / "scratch-2-0" / "output" / "records" / "test.json").read_text())
    preprocessed = json.loads((tmp_path / "study" / "images" / "data" / "records" / "preprocess.json").read_text())
    assert preprocessed["settings"]["data"]["seed"] == test["settings"]["data"]["seed"] == 1
    assert test["inputs"]["test.h5"] == preprocessed["outputs"]["test.h5"]


def test_a_network_of_one_magnification_is_tested_on_all(
    tmp_path: Path, tiny_settings: Callable[..., dict[str, Any]], no_pool: None
) -> None:
    settings = make_study(tiny_settings)
    settings["variants"] = {"scratch": {}, "denoise": settings["variants"]["denoise"]}
    settings["conditions"] = {
        name: {"simulation": {"pixel_size_angstrom": [size, size]}} for name, size in (("fine", 0.12), ("coarse", 0.2))
    }
    (tmp_path / "sizes.study.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    run_study(study_file=tmp_path / "sizes.study.yaml", study_dir=tmp_path / "study", progress=SilentProgress())
    rows = json.loads((tmp_path / "study" / "study.json").read_text())["rows"]
    found = {(row["variant"], row["trained_on"], row["tested_on"]): row for row in rows}
    assert len(found) == len(rows) == 2 * 2 * 2
    runs = tmp_path / "study" / "runs"
    for (variant, trained_on, tested_on), row in found.items():
        folder = runs / f"{variant}-{trained_on}-2-0"
        record = json.loads((folder / "model" / "records" / "preprocess.json").read_text())
        if tested_on != trained_on:
            folder = folder / f"tested_on_{tested_on}"
        scores = json.loads((folder / "output" / "scores.json").read_text())
        assert row["score"]["mean"] == pytest.approx(scores["methods"]["network"]["dice"]["mean"])
        test = json.loads((folder / "output" / "records" / "test.json").read_text())
        size = {"fine": 0.12, "coarse": 0.2}
        assert test["settings"]["simulation"]["pixel_size_angstrom"] == 2 * [size[tested_on]]
        assert record["settings"]["simulation"]["pixel_size_angstrom"] == 2 * [size[trained_on]]
    assert found["denoise", "fine", "coarse"]["difference"] is not None
    weights = {path.read_text() for path in (tmp_path / "study" / "pretrained").glob("*/model.json")}
    assert len(weights) == 2
    assert (tmp_path / "study" / "study.md").read_text().startswith("| variant | trained on | tested on | images |")


def test_the_list_shows_what_is_done_and_who_waits_for_whom(folder: Path, tmp_path: Path) -> None:
    arguments = {"study_file": folder / "labels.study.yaml", "part": "list", "progress": SilentProgress()}
    outcome = run_study(study_dir=folder / "study", **arguments)
    assert outcome.message.startswith("0 of 3 runs are to be done")
    assert outcome.table[1:] == [[f"{name}-2-0", "done", "–"] for name in ("scratch", "denoise", "frozen")]
    outcome = run_study(study_dir=tmp_path / "study", **arguments)
    waits = [["scratch-2-0", "–"], ["denoise-2-0", "–"], ["frozen-2-0", "denoise-2-0"]]
    assert outcome.table[1:] == [[name, "open", after] for name, after in waits]
    assert not (tmp_path / "study").exists()


def test_one_run_is_done_and_no_other(folder: Path, tmp_path: Path, describe: Callable[[Path], dict[str, Any]]) -> None:
    whole, part = folder / "study", tmp_path / "study"
    shutil.copytree(whole / "images", part / "images")
    shutil.copytree(whole / "pretrained", part / "pretrained")
    arguments = {"study_file": folder / "labels.study.yaml", "study_dir": part, "progress": SilentProgress()}
    run_study(part="frozen-2-0", **arguments)
    assert [path.name for path in (part / "runs").iterdir()] == ["frozen-2-0"]
    assert describe(part / "runs" / "frozen-2-0") == describe(whole / "runs" / "frozen-2-0")


@pytest.mark.parametrize(
    ("part", "missing", "message"),
    [
        (
            "scratch-2-0",
            "images",
            "the images of .* are missing, or of other settings; run the study with --part=images first",
        ),
        ("frozen-2-0", "pretrained", "frozen-2-0 starts from is missing; run the study with --part=denoise-2-0 first"),
    ],
)
def test_a_run_whose_images_or_network_are_missing_says_what_to_do_first(
    folder: Path, tmp_path: Path, part: str, missing: str, message: str
) -> None:
    for name in {"images", "pretrained"} - {missing}:
        shutil.copytree(folder / "study" / name, tmp_path / "study" / name)
    arguments = {"study_file": folder / "labels.study.yaml", "study_dir": tmp_path / "study"}
    with pytest.raises(MissingInputError, match=message):
        run_study(part=part, **arguments, progress=SilentProgress())


def test_an_unknown_part_is_one_line_with_the_nearest_run(folder: Path) -> None:
    arguments = {"study_file": folder / "labels.study.yaml", "study_dir": folder / "study"}
    with pytest.raises(SettingsError, match=r'part is "frozn-2-0"; .*did you mean frozen-2-0') as caught:
        run_study(part="frozn-2-0", **arguments, progress=SilentProgress())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("part", "is_written"), [("all", False), ("images", False), ("scratch-2-0", True)])
def test_the_whole_study_and_one_run_of_it_keep_out_of_each_others_way(
    folder: Path, part: str, is_written: bool
) -> None:
    arguments = {"study_file": folder / "labels.study.yaml", "study_dir": folder / "study"}
    with (
        lock_folder(folder / "study", is_written=is_written),
        pytest.raises(StorageError, match="study is in use by another task"),
    ):
        run_study(part=part, **arguments, progress=SilentProgress())


def test_two_runs_are_done_at_once_but_none_twice(folder: Path) -> None:
    arguments = {"study_file": folder / "labels.study.yaml", "study_dir": folder / "study"}
    runs = folder / "study" / "runs"
    with lock_folder(folder / "study", is_written=False), lock_folder(runs / "denoise-2-0", is_written=True):
        assert "scratch-2-0" in run_study(part="scratch-2-0", **arguments, progress=SilentProgress()).message
        with pytest.raises(StorageError, match="denoise-2-0 is in use by another task"):
            run_study(part="denoise-2-0", **arguments, progress=SilentProgress())


def test_a_run_that_fails_is_a_row_and_the_others_are_compared(
    folder: Path, tiny_settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    settings = make_study(tiny_settings)
    settings["variants"] = {"scratch": {}, "wild": {"training": {"learning_rate": 1e30}}}
    (tmp_path / "wild.study.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    shutil.copytree(folder / "study", tmp_path / "study")
    outcome = run_study(
        study_file=tmp_path / "wild.study.yaml", study_dir=tmp_path / "study", progress=SilentProgress()
    )
    assert outcome.exit_code == DivergenceError.exit_code
    assert outcome.message.endswith("study.md; 1 failed")
    _, scratch, wild = outcome.table
    assert scratch[0] == "scratch"
    assert wild[:3] == ["wild", "2", "seed 0 failed"]
    assert "is nan" in wild[3] or "is inf" in wild[3]
    assert {len(row) for row in outcome.table} == {len(wild)}
    assert wild[3] in (tmp_path / "study" / "study.md").read_text()
    assert json.loads((tmp_path / "study" / "study.json").read_text())["failures"] == {"wild-2-0": wild[3]}
    assert not (tmp_path / "study" / "runs" / "wild-2-0" / "model" / "model.json").exists()
