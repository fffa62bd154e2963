"""Speeds measured side by side in one run: ``make bench``, or ``python benchmarks/run.py pipeline simulate``.

Rows of one benchmark take turns, so that a change of the machine's load meets all of them; what counts is the ratio of
medians. Results go to ``benchmarks/results/NAME.json``. Times are no tests: nothing fails here.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from emdenoise.config.schema import RunConfig, SimulationSettings
from emdenoise.results.environment import describe_code, describe_environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHORT_RUN = """
division: open
simulation: {num_train: 64, num_validation: 4, num_test: 4}
training: {epochs: 2, batch_size: 10, crop_size_px: 128}
"""
NUM_REPEATS = 5
NUM_IMAGES = 120
NUM_FRAMES = 64
BATCH_SIZE = 32


def bench_pipeline() -> dict[str, list[float]]:
    """Train the closed network on whole images, batch 10: images/s through three pipelines."""
    import h5py
    import numpy as np
    import tensorflow as tf

    from emdenoise.data.pipeline import TrainingBatches
    from emdenoise.data.simulate import simulate_split
    from emdenoise.data.storage import RecordFile, write_records
    from emdenoise.models import build_model
    from emdenoise.models.backend import choose_compilation, prepare_backend
    from emdenoise.training.schedules import make_optimizer

    config = RunConfig(simulation=SimulationSettings(num_train=NUM_IMAGES))
    prepare_backend(config.training, config.seed)
    model = build_model(config.model, output_channels=1)
    model.compile(make_optimizer(config.training, 1), loss=config.training.loss, jit_compile=choose_compilation())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.h5"
        write_records(path, simulate_split(config, "train"), attributes={})
        with RecordFile(path) as records:
            batches = TrainingBatches(records, ("noisy", "clean"), config.training, config.seed)
            held = batches.read(0, 0)
            model.train_on_batch(*held)

            def train_on_held_batch() -> None:
                for _ in range(len(batches)):
                    model.train_on_batch(*held)

            def train_on_our_batches() -> None:
                for step in range(len(batches)):
                    model.train_on_batch(*batches.read(0, step))

            def generate(field: str) -> Callable[[], object]:
                def read_one_by_one() -> object:
                    with h5py.File(path) as file:
                        for index in range(NUM_IMAGES):
                            yield np.array(file[field][index])[..., None]

                return read_one_by_one

            def train_on_generators() -> None:
                signature = tf.TensorSpec((256, 256, 1), tf.float32)
                fields = [
                    tf.data.Dataset.from_generator(generate(name), output_signature=signature)
                    for name in ("noisy", "clean")
                ]
                model.fit(
                    tf.data.Dataset.zip(tuple(fields)).shuffle(1000).batch(10),
                    steps_per_epoch=len(batches),
                    shuffle=False,
                    verbose=0,
                )

            train_on_generators()
            return alternate(
                {
                    "one batch held in memory": train_on_held_batch,
                    "our pipeline from HDF5": train_on_our_batches,
                    "generator, one image per Python step": train_on_generators,
                },
                NUM_IMAGES,
            )


def bench_simulate() -> dict[str, list[float]]:
    """Simulate graphene, 256 × 256: records/s on all processors after start-up."""
    from emdenoise.data.simulate import open_pool, simulate_split

    config = RunConfig(simulation=SimulationSettings(num_train=240))
    with open_pool() as pool:
        list(simulate_split(RunConfig(simulation=SimulationSettings(num_train=32)), "train", pool))
        return alternate({"simulate": lambda: list(simulate_split(config, "train", pool))}, 240)


def bench_startup() -> dict[str, list[float]]:
    """Answer ``--help``: runs per second of the whole process."""
    command = [sys.executable, "-m", "emdenoise", "--help"]
    return alternate({"--help": lambda: subprocess.run(command, check=True, capture_output=True)}, 1)


def bench_container() -> dict[str, list[float]]:
    """Run a short `train` task: whole processes per second by each launcher; needs the image and MLCube."""
    mlcube = shutil.which("mlcube", path=f"{ROOT / '.venv-mlcube' / 'bin'}:{os.environ['PATH']}")
    launchers: dict[str, list[str]] = {"bare machine": ["run/bare.sh"]}
    launchers |= {"docker": ["run/docker.sh"]} if shutil.which("docker") else {}
    with tempfile.TemporaryDirectory() as folder:
        parameters = Path(folder) / "parameters" / "short.parameters.yaml"
        parameters.parent.mkdir()
        parameters.write_text(SHORT_RUN)

        def launch(command: list[str], task: str = "train") -> None:
            subprocess.run([*command, task, folder, str(parameters)], cwd=ROOT, check=True, capture_output=True)

        def launch_cube() -> None:
            options = ["--mlcube=.", "--platform=docker", "--task=train", f"--workspace={folder}"]
            command = [str(mlcube), "run", *options, f"parameters_file=parameters/{parameters.name}"]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

        launch(launchers["bare machine"], "download,preprocess")
        rows: dict[str, Callable[[], object]] = {name: partial(launch, command) for name, command in launchers.items()}
        return alternate(rows | ({"mlcube, docker": launch_cube} if mlcube and "docker" in launchers else {}), 1)


def bench_determinism() -> dict[str, list[float]]:
    """Train with and without `training.deterministic`, in processes that take turns: images/s after the first epoch."""
    rates: dict[str, list[float]] = {"deterministic": [], "not deterministic": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {row: folder / f"{number}.parameters.yaml" for number, row in enumerate(rates)}
        for row, path in files.items():
            path.write_text(
                SHORT_RUN.replace("epochs: 2,", f"epochs: 4, deterministic: {str(row == 'deterministic').lower()},")
            )

        def launch(row: str, tasks: str) -> None:
            subprocess.run(["run/bare.sh", tasks, name, str(files[row])], cwd=ROOT, check=True, capture_output=True)

        launch("deterministic", "download,preprocess")
        for _ in range(NUM_REPEATS):
            for row, values in rates.items():
                launch(row, "train")
                record = json.loads((folder / "model" / "records" / "train.json").read_text())
                values.append(record["results"]["images_per_second"])
    return rates


def bench_processes() -> dict[str, list[float]]:
    """Train in one process and in two, each on one core with a batch of 10: images/s of all after the first epoch."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, variables = Path(name), {**os.environ, "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
        variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

        def launch(command: list[str | Path], backend: str = "tensorflow") -> None:
            subprocess.run(
                command, cwd=ROOT, check=True, capture_output=True, env={**variables, "KERAS_BACKEND": backend}
            )

        for number in (1, 2):
            settings = SHORT_RUN.replace("batch_size: 10", f"batch_size: {10 * number}")
            (folder / f"{number}.yaml").write_text(f"{settings}num_processes: {number}\n")
        launch(["run/bare.sh", "download,preprocess", name, folder / "1.yaml"])
        for _ in range(NUM_REPEATS):
            for backend in ("tensorflow", "jax"):
                for number in (1, 2):
                    command = ["run/bare.sh", "train"] if number == 1 else ["run/processes.sh", "2"]
                    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores[:number]))]
                    launch([*pinned, *command, name, folder / f"{number}.yaml"], backend)
                    record = json.loads((folder / "model" / "records" / "train.json").read_text())
                    row = f"{backend}, {number} process{'es' if number > 1 else ''}"
                    rates.setdefault(row, []).append(record["results"]["images_per_second"])
    return rates


def bench_predict() -> dict[str, list[float]]:
    """Denoise 256 × 256 with the closed network: images/s, single frames (with p50 and p99) and batches of 32."""
    import numpy as np

    from emdenoise.evaluation.throughput import measure_latency
    from emdenoise.models import build_model
    from emdenoise.models.export import FORMATS, export_network

    model = build_model(RunConfig().model, output_channels=1)
    images = np.random.default_rng(0).random((BATCH_SIZE, 256, 256, 1), dtype=np.float32)
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / chosen.file_name for name, chosen in FORMATS.items()}
        for name, path in paths.items():
            export_network(model, path, name)
        for kind, size in (("single", 1), (f"batch of {BATCH_SIZE}", BATCH_SIZE)):
            batch = images[:size]
            rows: dict[str, Callable[[object], object]] = {
                "Keras predict": partial(model.predict, batch_size=size, verbose=0),
                "Keras predict_on_batch (tf.function)": model.predict_on_batch,
            }
            for name, path in paths.items():
                for precision in FORMATS[name].precisions:
                    rows[f"{name} {precision}"] = FORMATS[name].load(path, precision, batch.shape)
            num_calls = max(1, NUM_FRAMES // size)
            for run in rows.values():
                run(batch)  # compiles

            def repeat(run: Callable[[object], object], batch: object = batch, num_calls: int = num_calls) -> None:
                for _ in range(num_calls):
                    run(batch)

            found = alternate({name: partial(repeat, run) for name, run in rows.items()}, num_calls * size)
            for name, run in rows.items():
                label = f"{kind}: {name}"
                if size == 1:
                    latency = measure_latency(lambda image, run=run: run(image), images, NUM_FRAMES)
                    label += f", p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms"
                rates[label] = found[name]
    return rates


def alternate(rows: dict[str, Callable[[], object]], num_items: int) -> dict[str, list[float]]:
    """Run the rows in turn; returns items per second of each repeat."""
    rates: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(NUM_REPEATS):
        for name, run in rows.items():
            started = time.perf_counter()
            run()
            rates[name].append(num_items / (time.perf_counter() - started))
    return rates


BENCHMARKS: dict[str, Callable[[], dict[str, list[float]]]] = {
    "pipeline": bench_pipeline,
    "simulate": bench_simulate,
    "startup": bench_startup,
    "container": bench_container,
    "determinism": bench_determinism,
    "processes": bench_processes,
    "predict": bench_predict,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    RESULTS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or BENCHMARKS:
        rates = BENCHMARKS[name]()
        medians = {row: statistics.median(values) for row, values in rates.items()}
        first = next(iter(medians.values()))
        print(f"{name}: {(BENCHMARKS[name].__doc__ or '').strip()}")
        for row, values in rates.items():
            spread = f"{min(values):.4g} to {max(values):.4g}"
            print(f"  {row:<40} {medians[row]:8.4g}/s  ratio {medians[row] / first:.3f}  ({spread})")
        commit, is_dirty = describe_code()
        result = {"benchmark": name, "per_second": rates, "commit": commit, "is_dirty": is_dirty}
        result["environment"] = describe_environment([])
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
