"""The workspace in which the examples of the Python interface run: two networks and a micrograph."""

from collections.abc import Iterator
from pathlib import Path

import pytest

USES_WORKSPACE = ("emdenoise/__init__.py", "tools/restoration.py", "tools/networks.py", "tools/micrographs.py")


@pytest.fixture(scope="session")
def example_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with workspace/model, workspace/model_segment and scan.tif."""
    import numpy as np

    from emdenoise.files.pictures import write_pictures
    from tests.untrained import write_network

    folder = tmp_path_factory.mktemp("example")
    write_network(folder / "workspace" / "model")
    write_network(folder / "workspace" / "model_segment", workload="segment")
    counts = np.random.default_rng(0).poisson(90, (40, 30)).astype(np.float32)
    write_pictures(folder / "scan.tif", [counts], shape=(1, *counts.shape), dtype="float32", pixel_size_angstrom=0.15)
    return folder


@pytest.fixture(autouse=True)
def examples_run_in_their_workspace(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the examples in docstrings that name such files in that folder."""
    is_example = isinstance(request.node, pytest.DoctestItem) and str(request.path).endswith(USES_WORKSPACE)
    with pytest.MonkeyPatch.context() as patch:
        if is_example:
            patch.chdir(request.getfixturevalue("example_workspace"))
        yield
