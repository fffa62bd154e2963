"""Doing a result again: what was not touched comes out equal, what was touched is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emdenoise.cli import list_paths
from emdenoise.errors import EXIT_REFUTED, MissingInputError
from emdenoise.progress import SilentProgress
from emdenoise.tasks import TASKS
from emdenoise.tools.verify import rescore, verify

NO_PROGRESS = SilentProgress()

pytestmark = pytest.mark.usefixtures("no_pool")


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: Callable[..., dict[str, Any]], no_pool: None
) -> Path:
    """Run all tasks once."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.parameters.yaml").write_text(yaml.safe_dump(tiny_settings()))
    names = ("raw_data", "data", "model", "output")
    paths = {"parameters_file": folder / "tiny.parameters.yaml", **{f"{name}_dir": folder / name for name in names}}
    for task in TASKS.values():
        task(**{option: paths[option] for option in list_paths(task)}, progress=NO_PROGRESS)
    return folder


@pytest.mark.long
def test_a_run_is_repeated_to_the_bit_from_its_records_alone(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "output" / "records", tmp_path / "result" / "records")
    outcome = verify(result_dir=tmp_path / "result", work_dir=tmp_path / "work", progress=NO_PROGRESS)
    assert outcome.message.startswith("The result is equal:")
    assert outcome.exit_code == 0
    assert outcome.table == []


@pytest.mark.long
def test_weights_are_tested_again_to_the_bit(finished: Path, tmp_path: Path) -> None:
    folders = {"data_dir": finished / "data", "model_dir": finished / "model"}
    outcome = rescore(result_dir=finished / "output", work_dir=tmp_path, progress=NO_PROGRESS, **folders)
    assert outcome.message.startswith("The result is equal:")


@pytest.mark.long
def test_a_score_that_was_edited_is_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "output", tmp_path / "result")
    path = tmp_path / "result" / "records" / "test.json"
    record = json.loads(path.read_text())
    record["results"]["per_image"]["network"]["psnr_db"][0] += 0.25
    del record["record_sha256"]
    path.write_text(json.dumps(record))
    folders = {"data_dir": finished / "data", "model_dir": finished / "model"}
    outcome = rescore(result_dir=tmp_path / "result", work_dir=tmp_path / "work", progress=NO_PROGRESS, **folders)
    assert outcome.exit_code == EXIT_REFUTED
    assert "The result is different" in outcome.message
    heading, row = outcome.table
    assert heading == ["part", "verdict", "difference"]
    assert row[:2] == ["network psnr_db", "different"]
    assert "image 0 -0.25" in row[2]


def test_a_folder_without_records_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"records/test\.json is missing"):
        verify(result_dir=tmp_path, work_dir=tmp_path / "work", progress=NO_PROGRESS)
