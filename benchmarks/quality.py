"""How long it takes until the network is as good as after the reference recipe: by the STFC code's way and by ours."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import yaml
from side_by_side import NUM_REPEATS, ROOT, Values, launch, read_training

from emdenoise.config.loading import load_settings
from emdenoise.config.schema import RunConfig
from emdenoise.config.studies import StudyConfig, list_runs

STUDY_FILE = ROOT / "workspace" / "parameters" / "time_to_quality.study.yaml"


def bench_quality() -> Values:
    """Train to the end and test, a seed a repeat: seconds of the training, and the mean squared error on test images.

    The STFC code's way has the reference recipe and looks at no validation images, ours does after each epoch.
    """
    found: Values = {}

    def keep(row: str, seconds: float, mse: float) -> None:
        found.setdefault(f"{row}: time", []).append(seconds)
        found.setdefault(f"{row}: 1000 × MSE", []).append(1e3 * mse)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(NUM_REPEATS):
            for variant in ("reference", "flip"):
                path = folder / "parameters.yaml"
                path.write_text(yaml.safe_dump(find_config(variant, seed).model_dump(mode="json")))
                if not (folder / "data").exists():
                    launch(["run/bare.sh", "download,preprocess", name, path])
                launch(["run/bare.sh", "train,test", name, path])
                history = read_training(folder)["history"]
                seconds = sum(epoch["train_s"] + epoch["validation_s"] for epoch in history)
                scores = json.loads((folder / "output" / "scores.json").read_text())["methods"]["network"]
                keep(variant, seconds, scores["mse"]["mean"])
            command = [sys.executable, __file__, name, str(seed)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            keep("the STFC code's way, reference recipe", *map(float, done.stdout.split()[-2:]))
    return found


def find_config(variant: str, seed: int) -> RunConfig:
    """Find one run of the study of time to quality."""
    runs = list_runs(load_settings(STUDY_FILE, StudyConfig, "study"))
    return next(config for key, config in runs.items() if (key.variant, key.seed) == (variant, seed))


def train_as_stfc(folder: Path, seed: int) -> tuple[float, float]:
    """Train by the STFC code's way for as many epochs as the reference recipe; gives seconds and test MSE."""
    import keras
    from training import build_learner, fit_generators

    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.evaluation.metrics.intensity import mse

    settings, data = find_config("reference", seed).training, folder / "data"
    with patch("emdenoise.models.blocks.BatchNormalization", keras.layers.BatchNormalization):
        model = build_learner(settings, seed)
    with RecordFile(data / "train.h5") as records:
        num_steps = len(records) // settings.batch_size
    started = time.perf_counter()
    fit_generators(model, data / "train.h5", settings.batch_size, num_steps, num_epochs=settings.epochs)
    seconds = time.perf_counter() - started
    with RecordFile(data / "test.h5") as records:
        noisy, clean = records.read("noisy"), records.read("clean")
    predicted = model.predict(noisy[..., None], batch_size=settings.batch_size, verbose=0)[..., 0]
    return seconds, float(mse(predicted, clean).mean())


if __name__ == "__main__":
    print(*train_as_stfc(Path(sys.argv[1]), int(sys.argv[2])))
