"""Train and test by the code of sciml-bench, in a process of its own that gets its settings as JSON.

Runs where PyTorch is, without EMDenoise. The entry points `sciml_bench_training` and `sciml_bench_inference` run as
they are; what the framework around them hands in (folders, arguments, a log) is made here, without its downloads and
monitors.
"""

import copy
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import torch
import yaml

BATCH_SIZE = 10
"""Of the predictions that are scored; it does not change them."""
INFERENCE_BATCH_SIZE = 64
"""The default of its inference, which its scores depend on."""
NUM_PROBES = 4
"""Images whose outputs are kept to compare the network with ours."""
KERAS_EPSILON = 1e-3
"""Of the batch normalisation of Keras; PyTorch has 1e-5."""
TRAINING_STEP = "Training the model"


class TimedLog:
    """Takes the place of the framework's log, and keeps the time of each message."""

    def __init__(self) -> None:
        self.messages: list[tuple[float, str]] = []
        self.console = self

    def begin(self, name: str) -> None:
        self.messages.append((time.perf_counter(), name))

    def ended(self, name: str = "") -> None:
        pass

    def message(self, text: str) -> None:
        self.messages.append((time.perf_counter(), text))

    @contextmanager
    def subproc(self, name: str) -> Iterator[None]:
        self.begin(name)
        yield

    def list_epochs_s(self) -> list[float]:
        """List how long each epoch took, with all that the code does in it."""
        times = [at for at, text in self.messages if text == TRAINING_STEP or text.startswith("Epoch: ")]
        return [after - before for before, after in pairwise(times)]


def make_runtime(**inputs: Any) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Make what the framework hands in: ``params_in`` and ``params_out``."""
    from sciml_bench.core.utils import SafeDict

    arguments = SafeDict({name: str(value) for name, value in inputs.pop("arguments").items()})
    system = SimpleNamespace(stamp_event=lambda name: None)
    outputs = SimpleNamespace(log=TimedLog(), system=system, activate=lambda rank, local_rank: None)
    return SimpleNamespace(bench_args=arguments, **inputs), outputs


def train(settings: dict[str, Any], work: Path) -> TimedLog:
    """Run its training."""
    from sciml_bench.benchmarks.science.em_denoise.em_denoise import sciml_bench_training

    recipe = settings["recipe"]
    arguments = {"batch_size": recipe["batch_size"], "epochs": recipe["epochs"], "lr": recipe["learning_rate"]}
    params_in, params_out = make_runtime(
        dataset_dir=Path(settings["images"]), output_dir=work, arguments={**arguments, "use_gpu": False}
    )
    sciml_bench_training(params_in, params_out)
    log: TimedLog = params_out.log
    return log


def infer(settings: dict[str, Any], work: Path) -> dict[str, float]:
    """Run its inference on pictures of the test images; gives the metrics that it writes."""
    from sciml_bench.benchmarks.science.em_denoise.em_denoise import sciml_bench_inference

    output = work / "inference"
    output.mkdir()
    params_in, params_out = make_runtime(
        dataset_dir=Path(settings["pictures"]),
        output_dir=output,
        model=work / "em_denoise_model.h5",
        arguments={"batch_size": INFERENCE_BATCH_SIZE, "use_gpu": False},
    )
    sciml_bench_inference(params_in, params_out)
    metrics: dict[str, float] = yaml.safe_load((output / "metrics.yml").read_text())
    return metrics


@torch.no_grad()
def predict(model: torch.nn.Module, path: Path) -> np.ndarray:
    """Apply the trained network to all noisy images of a file, turned as in its training; (num_images, 256, 256)."""
    parts = []
    with h5py.File(path) as file:
        images = file["images"]
        for first in range(0, len(images), BATCH_SIZE):
            noisy = torch.swapaxes(torch.from_numpy(images[first : first + BATCH_SIZE]), 3, 1)
            parts.append(torch.swapaxes(model(noisy), 3, 1).numpy())
    return np.concatenate(parts)[..., 0]


@torch.no_grad()
def apply(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Apply a network to images (num_images, height, width, 1), not turned."""
    inputs = torch.from_numpy(images.transpose(0, 3, 1, 2))
    return model(inputs).numpy().transpose(0, 2, 3, 1)


def adapt_to_keras(model: torch.nn.Module) -> torch.nn.Module:
    """Give a copy of the network with the upsampling and the normalisation that Keras has by default."""
    adapted = copy.deepcopy(model)
    for block in (adapted.block5, adapted.block6, adapted.block7):
        block[0] = torch.nn.Upsample(scale_factor=2, mode="nearest")
    for layer in adapted.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.eps = KERAS_EPSILON
    return adapted.eval()


def list_layers(model: torch.nn.Module) -> Iterator[tuple[str, int, list[np.ndarray]]]:
    """List the layers with weights, in order: name, number of weights, and the weights in the layout of Keras."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            weights = [layer.weight.detach().numpy().transpose(2, 3, 1, 0), layer.bias.detach().numpy()]
        elif isinstance(layer, torch.nn.BatchNorm2d):
            tensors = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            weights = [tensor.detach().numpy() for tensor in tensors]
        else:
            continue
        yield type(layer).__name__, sum(weight.size for weight in weights), weights


def main() -> None:
    """Train, predict and write down what was found."""
    settings = json.loads(sys.argv[1])
    work = Path(settings["work_dir"])
    sys.path.insert(0, settings["code"])
    torch.manual_seed(settings["seed"])
    log = train(settings, work)
    inference = infer(settings, work)
    model = torch.load(work / "em_denoise_model.h5", weights_only=False).eval()
    for split in ("train", "test"):
        np.save(work / f"{split}.npy", predict(model, Path(settings["images"]) / split / "graphene_img_noise.h5"))
    with h5py.File(Path(settings["images"]) / "test" / "graphene_img_noise.h5") as file:
        probes = file["images"][:NUM_PROBES]
    layers = list(list_layers(model))
    weights = [weight for *_, found in layers for weight in found]
    np.savez(
        work / "probe.npz",
        inputs=probes,
        outputs=apply(model, probes),
        outputs_adapted=apply(adapt_to_keras(model), probes),
        **{f"weight_{index:03}": value for index, value in enumerate(weights)},
    )
    training = yaml.safe_load((work / "metrics.yml").read_text())
    found = {
        "loss_by_epoch": yaml.safe_load((work / "training_history.yml").read_text()),
        "epoch_s": log.list_epochs_s(),
        "layers": [[name, num_weights] for name, num_weights, _ in layers],
        "versions": {"torch": torch.__version__},
        "legacy": {f"train_{name}": value for name, value in training.items()}
        | {f"inference_{name}": value for name, value in inference.items()},
    }
    (work / "found.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
