"""The parts of `accelerator.py`, each in a process of its own: what JAX and Keras do on the device that they see."""

import argparse
import gc
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from emdenoise.config.loading import load_config, load_settings
from emdenoise.config.schema import RunConfig
from emdenoise.config.studies import StudyConfig
from emdenoise.files.atomic import write_json

PRECISIONS = {
    "float32": ("float32", "highest"),
    "tensorfloat32": ("float32", "tensorfloat32"),
    "mixed_bfloat16": ("mixed_bfloat16", "default"),
}
"""The precision of our settings and that of products in JAX."""
NETWORKS = {"unet": "default", "resunet": "open"}
"""By name, the parameters file that trains it."""
MAX_CALLS = 2000
NUM_STEPS_KEPT = 5


@dataclass(frozen=True)
class Sizes:
    """How large everything is: the measurement or its rehearsal."""

    batch_sizes: tuple[int, ...]
    seconds: float
    num_steps: int
    matrix_side: int
    array_mb: int
    data: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)


FULL = Sizes((10, 512, 64), seconds=0.4, num_steps=50, matrix_side=8192, array_mb=2048)
SMALL = Sizes(
    (2,),
    seconds=0.1,
    num_steps=3,
    matrix_side=256,
    array_mb=4,
    data={
        "division": "open",
        "simulation.num_train": 8,
        "simulation.num_validation": 4,
        "simulation.image_size_px": 64,
        "training.batch_size": 4,
        "training.epochs": 2,
        "model.filters": [4],
        "model.bottom_filters": 4,
    },
    networks={"resunet": {"model.filters": [4, 6], "training.crop_size_px": 32}},
)


class Notes:
    """What a part has found, in a file that is written anew after every measurement."""

    def __init__(self, path: Path, deadline: float) -> None:
        self._path, self._deadline = path, deadline
        self.content: dict[str, Any] = {}

    @property
    def is_late(self) -> bool:
        """Whether the time of this part is over."""
        return time.monotonic() > self._deadline

    def keep(self, name: str, value: Any) -> None:
        """Keep one value."""
        self.content[name] = value
        print(f"  {name}: {str(value)[:200]}", flush=True)
        write_json(self._path, self.content)


@dataclass(frozen=True)
class Bench:
    """What every part is given."""

    folder: Path
    sizes: Sizes
    notes: Notes
    variant: str = ""
    seed: int = 0

    def load(self, network: str, **changes: Any) -> RunConfig:
        """Load the parameters file that trains a network, with the sizes of this run."""
        small = {} if self.sizes is FULL else self.sizes.data | {"data.tile_size_px": 64}
        small = {name: value for name, value in small.items() if not name.startswith("model.") or network == "unet"}
        return load_config(Path(NETWORKS[network]), small | self.sizes.networks.get(network, {}) | changes)


@contextmanager
def start(bench: Bench, config: RunConfig, precision: str | None = "highest") -> Iterator[Any]:
    """Build the network of a run, ready to learn, as the task `train` does; products in a precision of JAX."""
    import jax
    import keras

    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.processes import ALONE
    from emdenoise.progress import SilentProgress
    from emdenoise.training.start import Lesson, start_learner
    from emdenoise.workloads import WORKLOADS

    keras.backend.clear_session()
    jax.clear_caches()
    gc.collect()  # what did not fit into the memory before
    jax.config.update("jax_default_matmul_precision", precision)
    workload = WORKLOADS[config.workload]
    with (
        RecordFile(bench.folder / "train.h5") as images,
        RecordFile(bench.folder / "validation.h5") as validation,
    ):
        ports = workload.make_ports(images, config.training)
        objective = workload.make_objective(config.training)
        lesson = Lesson(objective, ports, images, validation, workload.make_judge(config, validation))
        yield lesson, start_learner(config, lesson, None, group=ALONE, progress=SilentProgress())


def measure_device(bench: Bench) -> None:
    """Name the device, its driver and the libraries."""
    import jax
    from jax.extend.backend import get_backend

    from emdenoise.models.backend import list_accelerators
    from emdenoise.results.environment import describe_environment

    bench.notes.keep("environment", describe_environment(list_accelerators()))
    bench.notes.keep("device", {"platform": jax.devices()[0].platform, "kind": jax.devices()[0].device_kind})
    bench.notes.keep("libraries", get_backend().platform_version)
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return
    bench.notes.keep("nvidia_smi", found.splitlines())


def measure_rate(call: Callable[[], Any], seconds: float) -> float:
    """Give calls per second of something that was called before; waits for the device once, at the end."""
    import jax

    durations = []
    for _ in range(2):
        started = time.perf_counter()
        jax.block_until_ready(call())
        durations.append(time.perf_counter() - started)
    number = max(1, min(MAX_CALLS, int(seconds / min(durations))))
    started = time.perf_counter()
    for _ in range(number):
        result = call()
    jax.block_until_ready(result)
    return number / (time.perf_counter() - started)


def measure_limit(bench: Bench) -> None:
    """Count what an image costs and measure the peaks of the device; gives the images/s that follow."""
    import jax
    import jax.numpy as jnp
    from limits import count_cost, find_limits

    sizes, side = bench.sizes, bench.sizes.matrix_side
    peaks = {}
    for name, (policy, precision) in PRECISIONS.items():
        kind = jnp.bfloat16 if "bfloat16" in policy else jnp.float32
        square = jax.random.normal(jax.random.key(0), (side, side)).astype(kind)
        product = jax.jit(lambda one, precision=precision: jnp.matmul(one, one, precision=precision))
        jax.block_until_ready(product(square))
        peaks[name] = 2.0 * side**3 * measure_rate(lambda: product(square), sizes.seconds)  # noqa: B023
    first, second = (jax.random.normal(jax.random.key(seed), (sizes.array_mb * 250_000,)) for seed in (1, 2))
    add = jax.jit(jnp.add)
    jax.block_until_ready(add(first, second))
    peak_bytes = 3 * 4.0 * first.size * measure_rate(lambda: add(first, second), sizes.seconds)
    bench.notes.keep("peak_operations_per_s", peaks)
    bench.notes.keep("peak_bytes_per_s", peak_bytes)
    for network in NETWORKS:
        config = bench.load(network)
        with start(bench, config) as (_, started):
            model = started.network.model
            whole = config.simulation.image_size_px
            costs = {side: count_cost(model, side_px=side) for side in (whole, config.training.crop_size_px or whole)}
        for name in PRECISIONS:
            width = 0.5 if "bfloat16" in name else 1.0
            for task, cost, factor in (
                ("prediction", costs[whole], 1),
                ("training", costs[config.training.crop_size_px or whole], 3),
            ):
                moved = width * (cost.forwards if task == "prediction" else cost.both)
                limits = find_limits(peaks[name], peak_bytes, factor * cost.operations, moved)
                names = ("by_operations", "by_bytes", "together")
                figures = {"operations": factor * cost.operations, "bytes": moved}
                bench.notes.keep(f"{task} {network} {name}", figures | dict(zip(names, limits, strict=True)))


def measure_agreement(bench: Bench) -> None:
    """Learn so many steps from the same weights and images, and predict the validation images."""
    from emdenoise.evaluation.metrics import psnr
    from emdenoise.models.backend import fetch

    networks: dict[str, Any] = {}
    precision = None if "default" in bench.variant else "highest"
    for network in NETWORKS:
        with start(bench, bench.load(network), precision) as (lesson, started):
            found: dict[str, Any] = {"losses": []}
            networks[network] = found
            for number in range(bench.sizes.num_steps):
                batch = started.batches.read(*divmod(number, len(started.batches)))
                found["losses"] += fetch([started.learner.take_step(*batch)["loss"]])
                if number % NUM_STEPS_KEPT == 0:
                    bench.notes.keep("networks", networks)
            sample = lesson.validation.read_sample(("noisy", "clean"), np.arange(min(32, len(lesson.validation))))
            outputs = np.asarray(started.network.model.predict_on_batch(sample["noisy"]), np.float32)
        found["psnr_db"] = float(np.mean(psnr(outputs[..., 0], sample["clean"][..., 0], data_range=1.0)))
        bench.notes.keep("networks", networks)


def measure_target(bench: Bench) -> None:
    """Train the closed network by the recipe of the closed division; time and validation metric of each epoch."""
    from emdenoise.workloads import WORKLOADS

    recipe = load_settings(Path("closed"), StudyConfig, "study").base["training"]
    recipe = {f"training.{name}": value for name, value in recipe.items()}
    config = bench.load("unet", **(recipe | bench.sizes.data), seed=bench.seed)
    target = WORKLOADS[config.workload].target
    began, epochs = time.perf_counter(), []
    with start(bench, config, None) as (_, started):
        validate = started.learner.validate

        class Watched(type(started.learner)):  # type: ignore[misc]
            def validate(self, validation: Any) -> dict[str, float]:
                figures: dict[str, float] = validate(validation)
                epochs.append({"seconds": time.perf_counter() - began, "value": figures[target.quantity]})
                bench.notes.keep("epochs", epochs)
                return figures

        learner = Watched(**vars(started.learner))
        result = run(replace(started, learner=learner), config.training, bench.folder)
    reached = [epoch["seconds"] for epoch in epochs if target.is_reached({target.quantity: epoch["value"]})]
    bench.notes.keep("target", target.to_json() | {"reached_after_s": reached[0] if reached else None})
    bench.notes.keep("history", result.history)


def run(started: Any, training: Any, folder: Path) -> Any:
    """Train as the task `train` does; nothing is kept."""
    from emdenoise.progress import SilentProgress
    from emdenoise.training.interruption import CheckpointFolder

    return started.run(training, CheckpointFolder(folder / "nowhere", "", is_kept=False), SilentProgress())


def list_cases(bench: Bench) -> Iterator[tuple[str, str, int, str]]:
    """List network, precision and batch size of each measurement with its name, until the time is over."""
    for batch_size, precision, network in itertools.product(bench.sizes.batch_sizes, PRECISIONS, NETWORKS):
        name = f"{network} batch {batch_size} {precision}"
        if bench.notes.is_late:
            bench.notes.keep(name, {"left_out": "no time was left"})
            continue
        yield name, network, batch_size, precision


def measure_cases(bench: Bench, measure: Callable[[Bench, Any, Any, RunConfig], dict[str, Any]]) -> None:
    """Measure each network with each batch in each precision; notes what does not fit into the memory."""
    for name, network, batch_size, precision in list_cases(bench):
        policy, products = PRECISIONS[precision]
        config = bench.load(
            network,
            **{
                "training.batch_size": batch_size,
                "training.precision": policy,
                "training.crops_per_epoch": 4 * batch_size,
            },
        )
        try:
            with start(bench, config, products) as (lesson, started):
                found = measure(bench, lesson, started, config)
        except RuntimeError as error:  # of XLA; the lines that follow describe the memory
            found = {"failed": str(error).splitlines()[0][:300]}
        bench.notes.keep(name, found)


def measure_training(bench: Bench, lesson: Any, started: Any, config: RunConfig) -> dict[str, Any]:
    """Learn from a batch on the device, by the compiled step alone and through Keras, and from files read or kept."""
    import jax
    import jax.numpy as jnp

    from emdenoise.dataset.sampler import Sampler
    from emdenoise.models.backend import learn_batch
    from emdenoise.training import epochs
    from emdenoise.training.kept_images import keep_images
    from emdenoise.training.learners import NetworkLearner, PreparedBatches

    class Unjudged(NetworkLearner):
        def validate(self, validation: Any) -> dict[str, float]:
            return {"validation_loss": 0.0}

    model, size, seconds = started.network.model, config.training.batch_size, bench.sizes.seconds
    batch = jax.device_put(started.batches.read(0, 0))
    began = time.perf_counter()
    model.make_train_function()
    function = model.train_function
    jax.block_until_ready(learn_batch(model, *batch))
    found = {"first_step_s": time.perf_counter() - began}
    variables = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    states = [
        jax.tree.map(
            jnp.copy, [[variable.value for variable in group] for group in (*variables, model.metrics_variables)]
        )
    ]

    def take_step() -> Any:
        logs, states[0] = function(states[0], iter([(*batch, None)]))
        return logs

    found["synthetic_images_per_s"] = size * measure_rate(take_step, seconds)
    states.clear()
    found["keras_images_per_s"] = size * measure_rate(lambda: learn_batch(model, *batch), seconds)
    num_steps = max(4, min(MAX_CALLS, round(seconds * found["keras_images_per_s"] / size)))
    training = config.training.model_copy(update={"crops_per_epoch": num_steps * size, "epochs": 2})
    sampler = Sampler(lesson.images, lesson.objective.needs, training, seed=0)
    learner = Unjudged(model, started.learner.loss)

    def train(reader: Any) -> float:
        batches = PreparedBatches(reader, lesson.objective, seed=0)
        with patch.object(epochs, "fetch", wraps=epochs.fetch) as fetch:
            result = run(replace(started, learner=learner, batches=batches, held_out=batches), training, bench.folder)
        found["host_synchronisations_per_epoch"] = fetch.call_count / training.epochs
        return float(result.images_per_second)

    found["own_images_per_s"] = train(sampler)
    found["share_of_synthetic"] = found["own_images_per_s"] / found["synthetic_images_per_s"]
    began = time.perf_counter()
    kept = keep_images(sampler, lesson.images, lesson.objective)
    jax.block_until_ready(kept.read(0, 0))
    found["keeping_s"], found["kept_bytes"] = time.perf_counter() - began, kept.num_bytes
    found["kept_images_per_s"] = train(kept)
    found["kept_share_of_synthetic"] = found["kept_images_per_s"] / found["synthetic_images_per_s"]
    found["steps_per_epoch"] = num_steps
    return found


def measure_prediction(bench: Bench, lesson: Any, started: Any, config: RunConfig) -> dict[str, Any]:
    """Predict a batch on the device, one handed over and fetched, and batches of our files by the tiled method."""
    import jax

    from emdenoise.models.tiling import TiledMethod

    model, size, seconds = started.network.model, config.training.batch_size, bench.sizes.seconds
    numbers = np.resize(np.arange(len(lesson.validation)), size)
    read = partial(lesson.validation.read_sample, ("noisy",), numbers)
    sample = read()
    weights = [
        [variable.value for variable in group] for group in (model.trainable_variables, model.non_trainable_variables)
    ]
    forward = jax.jit(lambda state, inputs: model.stateless_call(*state, inputs, training=False)[0])
    held = jax.device_put(sample["noisy"])
    began = time.perf_counter()
    jax.block_until_ready(forward(weights, held))
    found = {"first_call_s": time.perf_counter() - began}
    found["synthetic_images_per_s"] = size * measure_rate(lambda: forward(weights, held), seconds)
    method = TiledMethod(started.network, lesson.ports.head)
    method(sample)
    found["handed_over_images_per_s"] = size * measure_rate(lambda: method(sample), seconds)
    found["own_images_per_s"] = size * measure_rate(lambda: method(read()), seconds)
    found["share_of_synthetic"] = found["own_images_per_s"] / found["synthetic_images_per_s"]
    return found


PARTS: dict[str, Callable[[Bench], None]] = {
    "device": measure_device,
    "limit": measure_limit,
    "agreement": measure_agreement,
    "target": measure_target,
    "training": lambda bench: measure_cases(bench, measure_training),
    "prediction": lambda bench: measure_cases(bench, measure_prediction),
}


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("variant")
    parser.add_argument("folder", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("seed", type=int)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    notes = Notes(options.result, time.monotonic() + options.seconds)
    PARTS[options.part](Bench(options.folder, SMALL if options.small else FULL, notes, options.variant, options.seed))


if __name__ == "__main__":
    sys.exit(main())
