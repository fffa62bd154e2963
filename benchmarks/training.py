"""How fast the closed network learns: from which pipeline, in which precision, in how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from side_by_side import NUM_REPEATS, SHORT_RUN, Values, alternate, launch, read_training

from emdenoise.config.schema import RunConfig, TrainingSettings
from emdenoise.config.simulation import SimulationSettings

if TYPE_CHECKING:
    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.training.learners import PreparedBatches

NUM_IMAGES = 160
BATCH_SIZES = (10, 32)
DATA_GB = (1, 30)


def bench_training() -> Values:
    """Train the closed network on whole images through each pipeline; `reading` is the pipeline without the network."""
    import keras

    from emdenoise.dataset.record_file import write_records
    from emdenoise.simulation.simulate import open_pool, simulate_split

    rates: Values = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.h5"
        config = RunConfig(simulation=SimulationSettings(num_train=NUM_IMAGES))
        with open_pool() as pool:
            write_records(path, simulate_split(config, "train", pool), attributes={})
        for batch_size in BATCH_SIZES:
            for row, found in _train_by_each_pipeline(path, TrainingSettings(batch_size=batch_size)).items():
                rates[f"batch {batch_size}: {row}"] = found
            keras.backend.clear_session()
    return rates


def _train_by_each_pipeline(path: Path, settings: TrainingSettings) -> Values:
    """Train for an epoch in each way, in turn; the first epochs, in which graphs are made, do not count."""
    import keras

    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.models.backend import fetch, learn_batch

    ours = build_learner(settings)
    with patch("emdenoise.models.blocks.BatchNormalization", keras.layers.BatchNormalization):
        theirs = build_learner(settings)
    with RecordFile(path) as records:
        batches = prepare_batches(records, settings)
        num_steps = NUM_IMAGES // settings.batch_size

        def train(model: keras.Model, read: Callable[[int], Any]) -> None:
            for step in range(num_steps):
                losses = learn_batch(model, *read(step))
            fetch(list(losses.values()))

        def read_all() -> None:
            for step in range(num_steps):
                batches.read(0, step)

        held = batches.read(0, 0)
        rows: dict[str, Callable[[], object]] = {
            "the STFC code's way: generator, Keras' layers": partial(
                fit_generators, theirs, path, settings.batch_size, num_steps
            ),
            "generator, our layers": partial(fit_generators, ours, path, settings.batch_size, num_steps),
            "our path: HDF5 by batches, our layers": partial(train, ours, partial(batches.read, 0)),
            "one batch held in memory, our layers": partial(train, ours, lambda step: held),
        }
        for run in rows.values():
            run()
        return alternate(rows | {"reading": read_all}, num_steps * settings.batch_size)


def bench_precision() -> Values:
    """Train on one batch of 10 whole images held in memory, in each precision."""
    import numpy as np

    rows: dict[str, Callable[[], object]] = {}
    images = np.random.default_rng(0).random((10, 256, 256, 1), dtype=np.float32)
    for precision in ("float32", "mixed_bfloat16"):
        learn = partial(build_learner(TrainingSettings(precision=precision)).train_on_batch, images, images)
        learn()
        rows[precision] = learn
    return alternate(rows, len(images))


def bench_read_ahead() -> Values:
    """Train on one batch of 10 whole images held in memory, and from a reader that waits for 80 % of a step."""
    import numpy as np

    from emdenoise.dataset.read_ahead import ReadAhead
    from emdenoise.models.backend import fetch, learn_batch

    images = np.random.default_rng(0).random((10, 256, 256, 1), dtype=np.float32)
    model = build_learner(TrainingSettings())
    num_steps = NUM_IMAGES // len(images)

    def train(seconds: float, depth: int) -> None:
        with ReadAhead(_SlowReader(images, num_steps, seconds), depth, num_epochs=1) as batches:
            for step in range(num_steps):
                losses = learn_batch(model, *batches.read(0, step))
            fetch(list(losses.values()))

    train(0, 0)
    started = time.perf_counter()
    train(0, 0)
    seconds = 0.8 * (time.perf_counter() - started) / num_steps
    rows: dict[str, Callable[[], object]] = {
        "one batch held in memory": partial(train, 0, 0),
        "slow reader, nothing read ahead": partial(train, seconds, 0),
        "slow reader, 2 batches read ahead": partial(train, seconds, 2),
    }
    return alternate(rows, num_steps * len(images))


class _SlowReader:
    """Gives the same images, after a wait."""

    def __init__(self, images: Any, num_steps: int, seconds: float) -> None:
        self.images, self.num_steps, self.seconds = images, num_steps, seconds

    def __len__(self) -> int:
        return self.num_steps

    def read(self, epoch: int, step: int) -> tuple[Any, Any]:
        time.sleep(self.seconds)
        return self.images, self.images


def build_learner(settings: TrainingSettings, seed: int = 0) -> Any:
    """Build the closed network, ready to learn."""
    from emdenoise.models import build_network
    from emdenoise.models.backend import prepare_backend
    from emdenoise.models.unet import UNetSettings
    from emdenoise.training.learners import make_learner
    from emdenoise.training.pretraining import RESTORATION
    from emdenoise.workloads import WORKLOADS

    prepare_backend(settings, seed)
    network = build_network(UNetSettings(), RESTORATION)
    return make_learner(network.model, WORKLOADS["denoise"].make_objective(settings), settings, 1).model


def prepare_batches(records: RecordFile, settings: TrainingSettings) -> PreparedBatches:
    """Give the batches from which the task `train` learns to denoise."""
    from emdenoise.dataset.sampler import Sampler
    from emdenoise.training.learners import PreparedBatches
    from emdenoise.workloads import WORKLOADS

    objective = WORKLOADS["denoise"].make_objective(settings)
    return PreparedBatches(Sampler(records, objective.needs, settings, seed=0), objective, seed=0)


def fit_generators(model: Any, path: Path, batch_size: int, num_steps: int, num_epochs: int = 1) -> None:
    """Train as the STFC code does: two generators that read one image after the other, zipped, shuffled, batched."""
    import h5py
    import numpy as np
    import tensorflow as tf

    def generate(field: str) -> Iterator[Any]:
        with h5py.File(path) as file:
            for index in range(num_steps * batch_size):
                yield np.array(file[field][index])[..., None]

    signature = tf.TensorSpec((256, 256, 1), tf.float32)
    fields = [
        tf.data.Dataset.from_generator(partial(generate, name), output_signature=signature)
        for name in ("noisy", "clean")
    ]
    images = tf.data.Dataset.zip(tuple(fields)).shuffle(1000).batch(batch_size)
    model.fit(images, epochs=num_epochs, shuffle=False, verbose=0)


def bench_memory() -> Values:
    """Train 20 steps on a sparse file of 1 GB and of 30 GB: largest resident memory of the process."""
    found: Values = {}
    with tempfile.TemporaryDirectory() as folder:
        for gigabytes in DATA_GB:
            path = Path(folder) / f"{gigabytes}.h5"
            _write_sparse(path, num_images=int(gigabytes * 1e9) // (2 * 4 * 256 * 256))
            command = [sys.executable, __file__, str(path)]
            for _ in range(NUM_REPEATS):
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.setdefault(f"{gigabytes} GB of images", []).append(float(done.stdout.split()[-1]))
            path.unlink()
    return found


def _write_sparse(path: Path, num_images: int) -> None:
    """Write a canonical file with room for all images, of which nothing is on the disk."""
    import h5py

    from emdenoise.dataset.record_file import SCHEMA_VERSION

    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        for field in ("noisy", "clean"):
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_chunk((1, 256, 256))
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((num_images, 256, 256))
            h5py.h5d.create(file.id, field.encode(), h5py.h5t.NATIVE_FLOAT, space, layout)


def train_and_weigh(path: Path) -> float:
    """Train 20 steps; gives the largest resident memory of this process [MiB]."""
    import resource

    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.models.backend import fetch, learn_batch

    settings = TrainingSettings()
    model = build_learner(settings)
    with RecordFile(path) as records:
        batches = prepare_batches(records, settings)
        for step in range(20):
            losses = learn_batch(model, *batches.read(0, step))
        fetch(list(losses.values()))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bench_determinism() -> Values:
    """Train with and without `training.deterministic`, in processes that take turns, after the first epoch."""
    rates: Values = {"deterministic": [], "not deterministic": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {row: folder / f"{number}.parameters.yaml" for number, row in enumerate(rates)}
        for row, path in files.items():
            path.write_text(
                SHORT_RUN.replace("epochs: 2,", f"epochs: 4, deterministic: {str(row == 'deterministic').lower()},")
            )
        launch(["run/bare.sh", "download,preprocess", name, files["deterministic"]])
        for _ in range(NUM_REPEATS):
            for row, values in rates.items():
                launch(["run/bare.sh", "train", name, files[row]])
                values.append(read_training(folder)["images_per_second"])
    return rates


def bench_processes() -> Values:
    """Train in one process and in two, each on one core with a batch of 10: all together, after the first epoch."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    threads = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
    threads["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    rates: Values = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in (1, 2):
            settings = SHORT_RUN.replace("batch_size: 10", f"batch_size: {10 * number}")
            (folder / f"{number}.yaml").write_text(f"{settings}num_processes: {number}\n")
        launch(["run/bare.sh", "download,preprocess", name, folder / "1.yaml"])
        for _ in range(NUM_REPEATS):
            for backend in ("tensorflow", "jax"):
                for number in (1, 2):
                    command = ["run/bare.sh", "train"] if number == 1 else ["run/processes.sh", "2"]
                    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores[:number]))]
                    launch([*pinned, *command, name, folder / f"{number}.yaml"], KERAS_BACKEND=backend, **threads)
                    row = f"{backend}, {number} process{'es' if number > 1 else ''}"
                    rates.setdefault(row, []).append(read_training(folder)["images_per_second"])
    return rates


if __name__ == "__main__":
    print(train_and_weigh(Path(sys.argv[1])))
