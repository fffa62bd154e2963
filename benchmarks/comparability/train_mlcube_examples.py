"""Train and test by the code of mlcube_examples, in a process of its own that gets its settings as JSON.

Its tasks `train` and `test` run as they are, with Keras 2. One thing cannot be had here and is replaced: Horovod, for
one process, where it changes nothing. Its `wget`, of which only the download makes use, is replaced by nothing.
"""

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow as tf
import tf_keras
import yaml

BATCH_SIZE = 10
"""Of the predictions that are scored; it does not change them."""
NUM_PROBES = 4
"""Images whose outputs are kept to compare the network with ours."""
DATA_FOLDER = "emdenoise_minibatch_v1"
"""The name that the code expects of its data folder."""


def stand_in_for_horovod() -> None:
    """Put a Horovod of one process into the place of the library."""
    keras = types.ModuleType("horovod.tensorflow.keras")
    keras.init = lambda: None
    keras.rank = lambda: 0
    keras.size = lambda: 1
    keras.DistributedOptimizer = lambda optimizer: optimizer
    keras.callbacks = types.SimpleNamespace(
        BroadcastGlobalVariablesCallback=lambda rank: tf.keras.callbacks.Callback(),
        MetricAverageCallback=tf.keras.callbacks.Callback,
    )
    tensorflow = types.ModuleType("horovod.tensorflow")
    tensorflow.keras = keras
    horovod = types.ModuleType("horovod")
    horovod.tensorflow = tensorflow
    sys.modules |= {"horovod": horovod, "horovod.tensorflow": tensorflow, "horovod.tensorflow.keras": keras}
    sys.modules["wget"] = types.ModuleType("wget")


def load_code(folder: Path) -> Any:
    """Import ``emdenoise/main.py`` of the repository."""
    stand_in_for_horovod()
    specification = importlib.util.spec_from_file_location("mlcube_main", folder / "emdenoise" / "main.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["mlcube_main"] = module
    specification.loader.exec_module(module)
    return module


def run_tasks(code: Any, settings: dict[str, Any], work: Path) -> None:
    """Run the tasks `train` and `test` of the code."""
    recipe = {name: settings["recipe"][name] for name in ("epochs", "learning_rate", "beta_1", "beta_2", "epsilon")}
    parameters = work / "parameters.yaml"
    parameters.write_text(yaml.safe_dump({"optimizer": "Adam", "global_batch_size": 5, **recipe}))
    data = work / "data"
    data.mkdir()
    (data / DATA_FOLDER).symlink_to(settings["images"], target_is_directory=True)
    arguments = {"data_dir": data, "model_dir": work / "model", "output_dir": work / "output"}
    words = [f"--{name}={path}" for name, path in {**arguments, "parameters_file": parameters}.items()]
    code.train_task(words)
    code.test_task(words)


def predict(model: Any, path: Path) -> np.ndarray:
    """Apply the trained network to all noisy images of a file, float32 (num_images, 256, 256)."""
    with h5py.File(path) as file:
        images = file["images"]
        parts = [
            model.predict_on_batch(images[first : first + BATCH_SIZE]) for first in range(0, len(images), BATCH_SIZE)
        ]
    return np.concatenate(parts)[..., 0]


def read_log(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read what the code logged, by the name of the entry."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in json.loads(path.read_text())["_default"].values():
        found.setdefault(entry["name"], []).append(entry["data"])
    return found


def main() -> None:
    """Train, predict and write down what was found."""
    settings = json.loads(sys.argv[1])
    work = Path(settings["work_dir"])
    tf.keras.utils.set_random_seed(settings["seed"])
    code = load_code(Path(settings["code"]))
    run_tasks(code, settings, work)
    model = code.autoencoder((256, 256, 1))
    model.load_weights(work / "model" / "weights" / "final_weights.h5")
    for split in ("train", "test"):
        np.save(work / f"{split}.npy", predict(model, Path(settings["images"]) / split / "graphene_img_noise.h5"))
    with h5py.File(Path(settings["images"]) / "test" / "graphene_img_noise.h5") as file:
        probes = file["images"][:NUM_PROBES]
    weights = {f"weight_{index:03}": value for index, value in enumerate(model.get_weights())}
    np.savez(work / "probe.npz", inputs=probes, outputs=model.predict_on_batch(probes), **weights)
    log = read_log(work / "output" / "logs.json")
    found = {
        "loss_by_epoch": [entry["loss"] for entry in log["epoch_log"]],
        "epoch_s": [entry["duration"] for entry in log["epoch_log"]],
        "layers": [[type(layer).__name__, layer.count_params()] for layer in model.layers],
        "versions": {"tensorflow": tf.__version__, "tf_keras": tf_keras.__version__},
        "legacy": {
            "train_loss": log["train_log"][-1]["loss"],
            "train_samples_per_sec": log["train_log"][-1]["samples_per_sec"],
            "test_loss": log["test_log"][-1]["loss"],
            "test_samples_per_sec": log["test_log"][-1]["samples_per_sec"],
        },
    }
    (work / "found.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
