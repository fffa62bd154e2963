"""A trained network of each workload."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from emdenoise.cli import list_paths
from emdenoise.progress import SilentProgress
from emdenoise.simulation import simulate
from emdenoise.tasks import TASKS
from emdenoise.workloads import WORKLOADS


@pytest.fixture(scope="session", params=list(WORKLOADS))
def trained(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_settings: Callable[..., dict[str, Any]],
) -> Path:
    """Train a network of each workload; the folder has the name of the workload."""
    folder = tmp_path_factory.mktemp("trained") / request.param
    folder.mkdir()
    workload = WORKLOADS[request.param]
    learned, compared = (
        {"loss": workload.closed["training.loss"], "epochs": 1},
        {"baselines": list(workload.baselines[:1])},
    )
    settings = tiny_settings(workload=request.param, training=learned, evaluation=compared)
    (folder / "tiny.parameters.yaml").write_text(yaml.safe_dump(settings))
    paths = {name: folder / name for name in ("raw_data_dir", "data_dir", "model_dir", "output_dir")}
    paths["parameters_file"] = folder / "tiny.parameters.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "open_pool", nullcontext)
        for name in ("download", "preprocess", "train"):
            TASKS[name](**{option: paths[option] for option in list_paths(TASKS[name])}, progress=SilentProgress())
    return folder
