"""Damaged records and canonical files are one line, or the damage is none; HDF5 sees no damaged file."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import write_records
from emdenoise.errors import DataError, EMDenoiseError
from emdenoise.files.atomic import hash_file
from emdenoise.results.preconditions import check_data
from emdenoise.results.task_record import TaskRecorder, read_record
from tests.damage import Change, choose_changes, damage

NAMES = ("train.h5", "validation.h5", "test.h5")


@pytest.fixture
def data_dir(config: RunConfig, draw_records: Callable[..., Iterator[Record]], tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        write_records(tmp_path / name, draw_records(2, seed=number), attributes={"mask_labels": "[]"})
    files = {name: hash_file(tmp_path / name) for name in NAMES}
    contents = {name: hashlib.sha256(name.encode()).hexdigest() for name in NAMES}
    TaskRecorder("preprocess", config).finish(tmp_path, {}, contents, {"file_sha256": files})
    return tmp_path


def check_or_explain(config: RunConfig, folder: Path) -> dict[str, str] | str:
    try:
        return check_data(config, folder, *NAMES)
    except EMDenoiseError as error:
        return str(error)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_canonical_file_is_one_line(name: str, config: RunConfig, data_dir: Path) -> None:
    path = data_dir / name
    content = path.read_bytes()

    @settings(max_examples=25)
    @given(changes=choose_changes(len(content)))
    def check_damaged(changes: list[Change]) -> None:
        path.write_bytes(damage(content, changes))
        if path.read_bytes() != content:
            with pytest.raises(DataError, match=rf"^{name}: SHA-256 is .*, expected .*; run the preprocess task again"):
                check_data(config, data_dir, *NAMES)

    check_damaged()


def test_a_damaged_record_is_one_line_or_says_what_was_written(config: RunConfig, data_dir: Path) -> None:
    path = data_dir / "records/preprocess.json"
    content, expected = path.read_bytes(), check_or_explain(config, data_dir)
    assert isinstance(expected, dict)
    written = read_record(data_dir, "preprocess").model_dump()

    @settings(max_examples=120)
    @given(changes=choose_changes(len(content)))
    def check_damaged(changes: list[Change]) -> None:
        path.write_bytes(damage(content, changes))
        found = check_or_explain(config, data_dir)
        if isinstance(found, str):
            assert "preprocess.json: " in found
            assert "\n" not in found
        else:
            assert found == expected
            assert read_record(data_dir, "preprocess").model_dump() == written

    check_damaged()


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"{}", b"null", b"\xff", b"9" * 10_000])
def test_other_content_is_no_record(content: bytes, config: RunConfig, data_dir: Path) -> None:
    (data_dir / "records/preprocess.json").write_bytes(content)
    with pytest.raises(DataError, match=r"^preprocess\.json: damaged, or of another version; run the preprocess task"):
        check_data(config, data_dir, *NAMES)
