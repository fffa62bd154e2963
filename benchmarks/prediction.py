"""How fast the closed network denoises, by Keras and by the engines that it can be exported to."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from side_by_side import ROOT, Values, alternate

from emdenoise.arrays import Sample
from emdenoise.config.schema import RunConfig

NUM_FRAMES = 64
BATCH_SIZE = 32


def bench_predict() -> Values:
    """Denoise 256 × 256: single frames (with their p50 and p99) and batches of 32."""
    import numpy as np

    from emdenoise.evaluation.throughput import measure_latency
    from emdenoise.models import build_network
    from emdenoise.models.export import FORMATS, export_network
    from emdenoise.models.fusion import fuse_upsampling
    from emdenoise.training.pretraining import RESTORATION

    model = build_network(RunConfig().model, RESTORATION).model
    images = np.random.default_rng(0).random((BATCH_SIZE, 256, 256, 1), dtype=np.float32)
    rates: Values = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name / chosen.file_name for name, chosen in FORMATS.items()}
        for name, path in paths.items():
            path.parent.mkdir()
            export_network(model, path, name, list(images[..., 0]))
        for kind, size in (("single", 1), (f"batch of {BATCH_SIZE}", BATCH_SIZE)):
            batch = images[:size]
            rows: dict[str, Callable[[Any], object]] = {
                "Keras predict": partial(model.predict, batch_size=size, verbose=0),
                "Keras predict_on_batch": model.predict_on_batch,
                "Keras predict_on_batch, upsampling fused": fuse_upsampling(model).predict_on_batch,
            }
            for name, path in paths.items():
                for precision in FORMATS[name].precisions:
                    rows[f"{name} {precision}"] = FORMATS[name].load(path, precision, batch.shape)
            num_calls = max(1, NUM_FRAMES // size)
            for run in rows.values():
                run(batch)  # compiles
            found = alternate(
                {name: partial(_repeat, run, batch, num_calls) for name, run in rows.items()}, num_calls * size
            )
            for name, run in rows.items():
                label = f"{kind}: {name}"
                if size == 1:
                    latency = measure_latency(partial(_apply, run), {"noisy": images}, NUM_FRAMES)
                    label += f", p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms"
                rates[label] = found[name]
    return rates


def bench_smoke() -> Values:
    """Denoise 256 × 256 with the closed network and with that of the smoke run: single frames and batches of 32."""
    import numpy as np

    from emdenoise.config.loading import load_config
    from emdenoise.models import build_network
    from emdenoise.models.export import FORMATS, export_network
    from emdenoise.models.fusion import fuse_upsampling
    from emdenoise.training.pretraining import RESTORATION

    images = np.random.default_rng(0).random((BATCH_SIZE, 256, 256, 1), dtype=np.float32)
    rates: Values = {}
    with tempfile.TemporaryDirectory() as folder:
        models = {
            name: build_network(load_config(Path(name)).model, RESTORATION).model for name in ("default", "smoke")
        }
        for size in (1, BATCH_SIZE):
            batch, num_calls = images[:size], max(1, NUM_FRAMES // size)
            rows: dict[str, Callable[[Any], object]] = {}
            for name, model in models.items():
                path = Path(folder) / f"{name}.xml"
                export_network(model, path, "openvino")
                rows[f"{name}, OpenVINO float32"] = FORMATS["openvino"].load(path, "float32", batch.shape)
                rows[f"{name}, Keras predict_on_batch"] = fuse_upsampling(model).predict_on_batch
            for run in rows.values():
                run(batch)  # compiles
            calls = {f"batch of {size}: {name}": partial(_repeat, run, batch, num_calls) for name, run in rows.items()}
            rates |= alternate(calls, num_calls * size)
    return rates


def bench_networks() -> Values:
    """Denoise single frames of 256 × 256 with the networks of networks.study.yaml, exported to OpenVINO."""
    import numpy as np

    from emdenoise.config.loading import load_settings
    from emdenoise.config.studies import StudyConfig, list_runs
    from emdenoise.models import build_network
    from emdenoise.models.export import FORMATS, export_network
    from emdenoise.training.pretraining import RESTORATION

    image = np.random.default_rng(0).random((1, 256, 256, 1), dtype=np.float32)
    study = load_settings(ROOT / "workspace" / "parameters" / "networks.study.yaml", StudyConfig, "study")
    settings = {key.variant: config.model for key, config in list_runs(study).items()}
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, chosen in settings.items():
            path = Path(folder) / f"{name}.xml"
            export_network(build_network(chosen, RESTORATION).model, path, "openvino")
            run = FORMATS["openvino"].load(path, "float32", image.shape)
            run(image)  # compiles
            rows[name] = partial(_repeat, run, image, 4 * NUM_FRAMES)
        return alternate(rows, 4 * NUM_FRAMES)


def _apply(run: Callable[[Any], Any], sample: Sample) -> Any:
    return run(sample["noisy"])


def _repeat(run: Callable[[Any], object], batch: Any, num_calls: int) -> None:
    for _ in range(num_calls):
        run(batch)
