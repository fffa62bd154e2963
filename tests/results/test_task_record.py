"""Records of tasks: complete, valid, without a trace of person or machine, and never half written."""

import errno
import getpass
import json
import os
import re
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import jsonschema
import pytest
from pydantic import ValidationError

import emdenoise
from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig
from emdenoise.errors import DataError, MissingInputError, StorageError
from emdenoise.results import task_record
from emdenoise.results.task_record import TaskRecord, TaskRecorder, copy_records, describe_settings, read_record

TaskName = Literal["download", "preprocess", "train", "test"]
TASKS = get_args(TaskName)
HASH = "ab" * 32
SCHEMA = Path(emdenoise.__file__).parent / "results" / "schema.json"


def finish(config: RunConfig, folder: Path, task: TaskName = "train", **results: Any) -> TaskRecord:
    return TaskRecorder(task, config).finish(folder, {"train.h5": HASH}, {"weights": HASH}, results, ["GPU 9000"])


@pytest.mark.parametrize("task", TASKS)
def test_a_record_is_valid_by_the_published_schema(task: TaskName, config: RunConfig, tmp_path: Path) -> None:
    finish(config, tmp_path, task, history=[{"epoch": 1, "loss": 0.5}])
    record = json.loads((tmp_path / "records" / f"{task}.json").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(record, schema)
    with pytest.raises(jsonschema.ValidationError, match="not_in_the_schema"):
        jsonschema.validate(record | {"not_in_the_schema": 1}, schema)
    with pytest.raises(jsonschema.ValidationError, match="settings_sha256"):
        jsonschema.validate({name: value for name, value in record.items() if name != "settings_sha256"}, schema)


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == TaskRecord.model_json_schema()


def test_a_record_that_is_read_is_the_one_that_was_written(config: RunConfig, tmp_path: Path) -> None:
    written = finish(config, tmp_path, history=[{"loss": 0.125}], name="Moiré Å")
    assert read_record(tmp_path, "train") == written
    assert written.results == {"history": [{"loss": 0.125}], "name": "Moiré Å"}


def test_a_record_says_what_ran_with_which_settings(config: RunConfig, tmp_path: Path) -> None:
    record = finish(config, tmp_path)
    assert record.emdenoise_version == emdenoise.__version__
    assert RunConfig.model_validate_json(json.dumps(record.settings)) == config
    assert record.settings_sha256 == hash_settings(config)
    assert (record.inputs, record.outputs) == ({"train.h5": HASH}, {"weights": HASH})
    assert record.environment["accelerators"] == ["GPU 9000"]


def test_times_are_those_of_the_clock(config: RunConfig, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    recorder = TaskRecorder("train", config)
    with recorder.phase("sleep"):
        time.sleep(0.05)
    record = recorder.finish(tmp_path, {}, {})
    after = datetime.now(UTC)
    started_at = datetime.fromisoformat(record.started_at)
    assert started_at.tzinfo == UTC
    assert before.replace(microsecond=0) <= started_at <= after
    assert 0.05 <= record.phases_s["sleep"] <= record.duration_s + 1e-3
    assert record.duration_s <= (after - before).total_seconds() + 1e-3


def list_identities(tmp_path: Path) -> set[str]:
    places = {str(tmp_path), str(Path.cwd()), str(Path.home()), str(Path(emdenoise.__file__).parent)}
    return {socket.gethostname(), socket.getfqdn(), *(place for place in places if place != "/")}


@pytest.mark.parametrize("task", TASKS)
def test_no_host_user_or_path_is_in_a_record(task: TaskName, config: RunConfig, tmp_path: Path) -> None:
    finish(config, tmp_path, task)
    text = (tmp_path / "records" / f"{task}.json").read_text(encoding="utf-8")
    for identity in list_identities(tmp_path):
        assert identity not in text
    assert not re.search(rf'[/"\s]{re.escape(getpass.getuser())}[/"\s]', text)
    assert not re.search(r'"(/|~|file:|[A-Z]:\\)', text), "an absolute path"


@pytest.mark.parametrize("address", ["{path}", "file://{path}", "~/secret/images"])
def test_the_path_of_a_mirror_on_this_machine_is_not_in_a_record(
    address: str, tiny_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    mirror = address.format(path=tmp_path / "secret" / "images")
    record = finish(tiny_config(data={"mirror": mirror}), tmp_path)
    text = (tmp_path / "records" / "train.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "secret" not in text
    assert record.settings["data"]["mirror"].startswith("images (path ")


def test_mirrors_on_this_machine_are_told_apart(tiny_config: Callable[..., RunConfig]) -> None:
    mirrors = [
        describe_settings(tiny_config(data={"mirror": mirror}))["data"]["mirror"]
        for mirror in ("/first/images", "/second/images", "file:///first/images")
    ]
    assert len(set(mirrors)) == 3


@pytest.mark.parametrize(
    "mirror", [None, "images", "https://example.org/images", "s3://bucket/images?endpoint=https://x"]
)
def test_public_and_relative_mirrors_are_recorded_as_they_are(
    mirror: str | None, tiny_config: Callable[..., RunConfig]
) -> None:
    assert describe_settings(tiny_config(data={"mirror": mirror}))["data"]["mirror"] == mirror


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_record_says_which_task_to_run(task: str, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=f"^records/{task}.json is missing; run the {task} task first.$"):
        read_record(tmp_path, task)


def damage(record: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(record | changes).encode()


@pytest.mark.parametrize(
    "make_damage",
    [
        lambda record: b"",
        lambda record: b"\xff\xfe\x00",
        lambda record: json.dumps(record).encode()[:-20],
        lambda record: b"[]",
        lambda record: damage(record, schema_version=2),
        lambda record: damage(record, schema_version=4),
        lambda record: damage(record, task="segment"),
        lambda record: damage(record, outputs={"weights": "no hash"}),
        lambda record: damage(record, duration_s=-1),
        lambda record: damage(record, surprise=1),
    ],
)
def test_a_damaged_record_or_one_of_another_version_is_refused_in_one_line(
    make_damage: Callable[[dict[str, Any]], bytes], config: RunConfig, tmp_path: Path
) -> None:
    finish(config, tmp_path)
    path = tmp_path / "records" / "train.json"
    path.write_bytes(make_damage(json.loads(path.read_text(encoding="utf-8"))))
    with pytest.raises(
        DataError, match=r"^train.json: damaged, or of another version; run the train task again\.$"
    ) as caught:
        read_record(tmp_path, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"task": "test"}, {"commit": "another"}, {"results": {"hjstory": [1]}}, {"record_sha256": "0" * 64}]
)
def test_a_record_that_is_not_as_it_was_written_is_refused(
    changes: dict[str, Any], config: RunConfig, tmp_path: Path
) -> None:
    finish(config, tmp_path, history=[1])
    path = tmp_path / "records" / "train.json"
    path.write_bytes(damage(json.loads(path.read_text(encoding="utf-8")), **changes))
    with pytest.raises(DataError, match=r"^train.json: not as it was written; run the train task again\.$"):
        read_record(tmp_path, "train")


def test_a_record_without_a_hash_of_its_own_is_read(config: RunConfig, tmp_path: Path) -> None:
    written = finish(config, tmp_path)
    path = tmp_path / "records" / "train.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["record_sha256"]
    path.write_text(json.dumps(content))
    assert read_record(tmp_path, "train").results == written.results


def test_a_record_cannot_be_changed(config: RunConfig, tmp_path: Path) -> None:
    record = finish(config, tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        record.commit = "other"  # type: ignore[misc]


def test_a_second_run_of_a_task_replaces_its_record_whole(config: RunConfig, tmp_path: Path) -> None:
    finish(config, tmp_path, history=list(range(1000)))
    finish(config, tmp_path, history=[1])
    assert read_record(tmp_path, "train").results == {"history": [1]}
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["train.json"]


def test_a_record_that_cannot_be_written_leaves_the_one_before(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finish(config, tmp_path)

    def refuse(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(
        StorageError, match=r"records/train.json cannot be written: No space left on device; free space"
    ):
        finish(config, tmp_path, history=[1])
    assert read_record(tmp_path, "train") == first
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["train.json"]


def test_code_that_changed_since_the_commit_is_recorded(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_record, "describe_code", lambda: ("c0ffee", True))
    record = finish(config, tmp_path)
    assert (record.commit, record.is_dirty) == ("c0ffee", True)


def test_records_travel_with_the_data(config: RunConfig, tmp_path: Path) -> None:
    for task in ("download", "preprocess"):
        finish(config, tmp_path / "data", task)
    finish(config, tmp_path / "model", "train")
    copy_records(tmp_path / "data", tmp_path / "model")
    copy_records(tmp_path / "model", tmp_path / "output")
    copy_records(tmp_path / "empty", tmp_path / "output")
    for task in ("download", "preprocess", "train"):
        assert read_record(tmp_path / "output", task).task == task
    assert read_record(tmp_path / "output", "download") == read_record(tmp_path / "data", "download")
