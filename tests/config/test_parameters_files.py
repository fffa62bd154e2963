"""The parameters files that come with the project load, and the default one spells out the defaults."""

from pathlib import Path

import pytest

from emdenoise.config.loading import load_config
from emdenoise.config.schema import RunConfig

FOLDER = Path(__file__).parents[2] / "workspace" / "parameters"
FILES = sorted(FOLDER.glob("*.parameters.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_parameters_file_of_the_project_loads(path: Path) -> None:
    assert isinstance(load_config(path), RunConfig)


def test_there_are_parameters_files() -> None:
    assert {"default.parameters.yaml", "smoke.parameters.yaml"} <= {path.name for path in FILES}
