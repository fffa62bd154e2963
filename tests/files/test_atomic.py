"""What is written whole or not at all."""

from pathlib import Path

import pytest

from emdenoise.errors import StorageError
from emdenoise.files.atomic import open_scratch


def test_a_scratch_folder_is_empty_whatever_a_killed_call_left_and_is_gone_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "crate.zip"
    with open_scratch(path) as scratch:
        (scratch / "left").mkdir()
        (scratch / "left" / "behind").touch()
        with open_scratch(path) as again:  # as after a kill: nobody removed what lies there
            assert not list(again.iterdir())
    assert not list(path.parent.iterdir())


def test_a_scratch_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_scratch(tmp_path / "crate.zip"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_scratch_folder_where_a_file_is_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    with pytest.raises(StorageError, match="crate"), open_scratch(tmp_path / "new" / "crate.zip"):
        pass
