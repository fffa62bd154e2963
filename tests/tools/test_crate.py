"""Results as RO-Crates: the library reads back what the records say; nothing of a person or a machine is in it."""

import json
import os
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rocrate.rocrate import ROCrate

from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig
from emdenoise.errors import DataError, MissingInputError, SettingsError
from emdenoise.files.atomic import hash_file, write_json
from emdenoise.progress import SilentProgress
from emdenoise.results.task_record import TaskRecord, read_record
from emdenoise.sources.graphene import GRAPHENE
from emdenoise.tools.crate import crate
from emdenoise.tools.packing import TASK_NAMES
from emdenoise.tools.research_object import write_crate

RAW, DATA, WEIGHTS = "1" * 64, "2" * 64, "3" * 64
INPUTS = {"preprocess": {"raw.h5": RAW}, "train": {"train.h5": DATA}, "test": {"train.h5": DATA, "weights": WEIGHTS}}
OUTPUTS = {"download": {"raw.h5": RAW}, "preprocess": {"train.h5": DATA}, "train": {"weights": WEIGHTS}}


def write_record(folder: Path, task: Any, **changes: Any) -> None:
    record = TaskRecord(
        task=task,
        emdenoise_version="0.2.0",
        commit="a" * 40,
        is_dirty=False,
        settings=RunConfig().model_dump(mode="json"),
        settings_sha256=hash_settings(RunConfig()),
        inputs=INPUTS.get(task, {}),
        outputs=OUTPUTS.get(task, {}),
        started_at="2026-01-02T03:04:05.000+00:00",
        duration_s=61.5,
        phases_s={},
        environment={},
        results={},
    )
    write_json(folder / "records" / f"{task}.json", record.model_dump(mode="json") | changes)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    folder = tmp_path / "result"
    for task in TASK_NAMES:
        write_record(folder, task)
    write_json(folder / "scores.json", {"methods": {}})
    return folder


@pytest.fixture
def written(result: Path, tmp_path: Path) -> ROCrate:
    write_crate(result, tmp_path / "crate")
    return ROCrate(tmp_path / "crate")


def test_each_task_is_an_action_of_the_program_at_its_commit_and_times(written: ROCrate) -> None:
    actions = written.root_dataset["mentions"]
    assert [action["name"] for action in actions] == list(TASK_NAMES)
    for action in actions:
        assert action.type == "CreateAction"
        assert action["instrument"]["softwareVersion"] == "0.2.0"
        assert action["instrument"]["identifier"] == "a" * 40
        begin, end = map(datetime.fromisoformat, (action["startTime"], action["endTime"]))
        assert (end - begin).total_seconds() == 61.5


def test_what_one_task_made_is_what_the_next_one_read(written: ROCrate) -> None:
    actions = {action["name"]: action for action in written.root_dataset["mentions"]}
    made = {task: [entity.id for entity in action["result"]] for task, action in actions.items()}
    read = {task: [entity.id for entity in action.get("object", [])] for task, action in actions.items()}
    assert read == {
        "download": [],
        "preprocess": [f"#{RAW}"],
        "train": [f"#{DATA}"],
        "test": [f"#{DATA}", f"#{WEIGHTS}"],
    }
    assert f"#{RAW}" in made["download"]
    assert f"#{DATA}" in made["preprocess"]
    assert f"#{WEIGHTS}" in made["train"]
    assert made["test"] == ["records/test.json", "scores.json"]
    assert written.dereference(f"#{WEIGHTS}")["identifier"] == f"sha256:{WEIGHTS}"


def test_files_have_their_checksums_and_content_hashes_are_not_given_as_such(written: ROCrate, tmp_path: Path) -> None:
    files = written.get_by_type("File")
    assert len(files) == 5
    for file in files:
        assert file["sha256"] == hash_file(tmp_path / "crate" / file.id)
    assert not [entity.id for entity in written.contextual_entities if "sha256" in entity.properties()]


def test_it_names_its_profile_and_the_licence_of_the_images(written: ROCrate) -> None:
    assert written.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    assert written.license.id == GRAPHENE.licence
    assert written.datePublished == datetime.fromisoformat("2026-01-02T03:05:06.500+00:00")


def test_the_command_writes_the_same_archive_twice_without_persons_and_hosts(result: Path, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        crate(result_dir=result, crate_file=tmp_path / name, progress=SilentProgress())
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "again")
    assert read_record(tmp_path / "again", "test") == read_record(result, "test")
    text = (tmp_path / "again" / "ro-crate-metadata.json").read_text()
    assert not {"Person", "Organization"} & {entity["@type"] for entity in json.loads(text)["@graph"]}
    assert os.uname().nodename not in text
    assert str(tmp_path) not in text


def test_a_program_with_changes_is_not_that_of_the_commit(result: Path, tmp_path: Path) -> None:
    write_record(result, "test", is_dirty=True)
    write_crate(result, tmp_path / "crate")
    programs = ROCrate(tmp_path / "crate").get_by_type("SoftwareApplication")
    assert [program["identifier"] for program in programs] == ["a" * 40, "a" * 40 + "-with-changes"]


def test_what_is_missing_or_damaged_is_named(result: Path, tmp_path: Path) -> None:
    write_record(result, "train", started_at="yesterday")
    with pytest.raises(DataError, match=r"train\.json: started_at is yesterday; expected ISO 8601"):
        write_crate(result, tmp_path / "crate")
    write_record(result, "test", settings={"epochz": 1})
    with pytest.raises(SettingsError, match="epochz is not a setting"):
        write_crate(result, tmp_path / "crate")
    (result / "scores.json").unlink()
    with pytest.raises(MissingInputError, match=r"scores\.json is missing; run the test task first"):
        write_crate(result, tmp_path / "crate")
    (result / "records" / "train.json").unlink()
    with pytest.raises(MissingInputError, match="run the train task first"):
        write_crate(result, tmp_path / "crate")
