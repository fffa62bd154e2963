"""A model folder as `train` leaves it, with a network that has learned nothing: quick to make, and it is read alike."""

import json
from pathlib import Path
from typing import Any

from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig
from emdenoise.models import build_network
from emdenoise.models.checkpoints import save_model
from emdenoise.models.contract import Ports
from emdenoise.results.task_record import TaskRecorder, write_record
from emdenoise.workloads import WORKLOADS

SETTINGS: dict[str, Any] = {
    "division": "open",
    "simulation": {"image_size_px": 64},
    "model": {"name": "unet", "filters": [4], "bottom_filters": 4},
}
LOSSES = {"denoise": "mean_squared_error", "segment": "dice_cross_entropy"}


def write_network(folder: Path, *, workload: str = "denoise", **settings: Any) -> Path:
    """Write a network with its starting weights and the record of a training; settings by section."""
    values = SETTINGS | {"workload": workload, "training": {"loss": LOSSES[workload]}} | settings
    config = RunConfig.model_validate_json(json.dumps(values))
    head = WORKLOADS[workload].head
    ports = Ports({"noisy": 1}, head.count_channels(["vacuum", "lattice", "defect"]), head)
    model = build_network(config.model, ports).model
    facts = {"workload": workload, "settings_sha256": hash_settings(config), "inputs": {}}
    recorder = TaskRecorder("train", config)
    weights = save_model(model, folder, config.model, ports=ports, facts=facts)
    write_record(folder, recorder.describe({}, {"weights": weights}))
    return folder
