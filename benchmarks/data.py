"""How fast images are simulated, prepared and read."""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from side_by_side import Values, alternate

from emdenoise.config.schema import RunConfig
from emdenoise.config.simulation import SimulationSettings

NUM_IMAGES = 600
NUM_SIMULATED = 240


def bench_simulate() -> Values:
    """Simulate graphene, 256 × 256, on all processors after start-up."""
    from emdenoise.simulation.simulate import open_pool, simulate_split

    config = RunConfig(simulation=SimulationSettings(num_train=NUM_SIMULATED))
    with open_pool() as pool:
        list(simulate_split(RunConfig(simulation=SimulationSettings(num_train=32)), "train", pool))
        return alternate({"simulate": lambda: list(simulate_split(config, "train", pool))}, NUM_SIMULATED)


def bench_preprocess() -> Values:
    """Preprocess 600 simulated images, and copy the same files to the same disk: bytes that come out, in MB."""
    from emdenoise.files.atomic import hash_file
    from emdenoise.progress import SilentProgress
    from emdenoise.tasks import TASKS

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # /tmp may be memory
        folder = Path(name)
        parameters, raw_data, data = folder / "parameters.yaml", folder / "raw_data", folder / "data"
        parameters.write_text(f"simulation: {{num_train: {NUM_IMAGES}, num_validation: 20, num_test: 20}}\n")
        paths = {"parameters_file": parameters, "raw_data_dir": raw_data}
        TASKS["download"](**paths, progress=SilentProgress())
        preprocess = partial(TASKS["preprocess"], **paths, data_dir=data, progress=SilentProgress())
        preprocess()
        files = sorted(data.glob("*.h5"))

        def copy(*, is_hashed: bool) -> None:
            for path in files:
                copied = Path(shutil.copyfile(path, folder / path.name))
                with copied.open("rb") as file:
                    os.fsync(file.fileno())
                if is_hashed:
                    hash_file(path)
                    hash_file(copied)

        megabytes = sum(path.stat().st_size for path in files) / 1e6
        rows = {
            "copy": partial(copy, is_hashed=False),
            "copy, SHA-256 before and after": partial(copy, is_hashed=True),
            "preprocess": preprocess,
        }
        return alternate(rows, megabytes)  # type: ignore[arg-type]


def bench_loading() -> Values:
    """Read noisy and clean images in batches of 10 from the page cache: pairs."""
    import numpy as np

    from emdenoise.config.schema import TrainingSettings
    from emdenoise.dataset.record import Record
    from emdenoise.dataset.record_file import RecordFile, write_records
    from emdenoise.dataset.sampler import Sampler

    rng = np.random.default_rng(0)

    def draw(number: int) -> Record:
        noisy, clean = rng.random((2, 256, 256), dtype=np.float32)
        return Record({"noisy": noisy, "clean": clean}, specimen=str(number), name=str(number), class_id=0)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.h5"
        write_records(path, map(draw, range(NUM_IMAGES)), attributes={})
        rows = {}
        with RecordFile(path) as records:
            for row, settings in {
                "whole images": TrainingSettings(),
                "crops of 128 px, turned": TrainingSettings(crop_size_px=128, flip=True),
            }.items():
                batches = Sampler(records, ("noisy", "clean"), settings, seed=0)
                rows[row] = partial(_read_epoch, batches)
            return alternate(rows, NUM_IMAGES)


def _read_epoch(batches: object) -> None:
    for step in range(len(batches)):  # type: ignore[arg-type]
        batches.read(0, step)  # type: ignore[attr-defined]
