"""Pretraining by denoising: what a network learns of images before it sees a label."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from emdenoise.arrays import FloatImage
from emdenoise.config.schema import PretrainingSettings, RunConfig
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.sampler import InOrder, Sampler
from emdenoise.dataset.whole_images import show_for_validation
from emdenoise.models import build_network
from emdenoise.models.backend import prepare_backend
from emdenoise.models.checkpoints import has_model, load_model, save_model
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.tiling import TiledMethod
from emdenoise.progress import Progress, RenamedProgress
from emdenoise.training.epochs import Learner, TrainingResult, run_epochs
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.learners import PreparedBatches, make_learner, tell_of_shapes
from emdenoise.training.objectives import AddedNoise, Objective, Supervised
from emdenoise.training.pix2pix import make_adversaries
from emdenoise.training.transfer import choose_freeze, summarise_transfer, transfer_weights

PRETRAINED_FOLDER = "pretrained"
RESTORATION = Ports({"noisy": 1}, 1, HEADS["intensity"])
"""Pretraining restores the image, whatever the workload after it asks."""


@dataclass(frozen=True)
class Pretrained:
    """A network that restores images.

    Attributes
    ----------
    model : keras.Model
    weights_sha256 : str
    facts : dict
        History, duration and settings of the pretraining, as JSON values; kept beside the weights.
    is_reused : bool
        Whether it was there already, from the same settings and data.
    """

    model: keras.Model
    weights_sha256: str
    facts: dict[str, Any]
    is_reused: bool


def make_objective(settings: PretrainingSettings) -> Objective:
    """Make what pretraining learns: the truth of the data, or the image without the noise that is added to it."""
    electrons = settings.added_noise_electrons_per_pixel
    if electrons is not None:
        return AddedNoise("noisy", electrons, settings.loss)
    return Supervised(("noisy",), "clean", settings.loss)


def hash_pretraining(config: RunConfig, inputs: dict[str, str]) -> str:
    """Compute the SHA-256 of all that decides the pretrained weights: settings, network, seed and data.

    What only the training after it reads (`encoder`, `thaw_epoch`) does not count.
    """
    settings = config.pretraining.model_dump(mode="json", exclude={"encoder", "thaw_epoch"})
    decisive = {"pretraining": settings, "model": config.model.model_dump(mode="json"), "seed": config.seed}
    if config.training.zoom is not None:  # else the hash is that of the versions without it
        decisive["zoom"] = config.training.zoom
    return hashlib.sha256(json.dumps(decisive | inputs, sort_keys=True).encode()).hexdigest()


def pretrain_network(
    config: RunConfig,
    images: RecordFile,
    validation: RecordFile,
    model_dir: Path,
    *,
    inputs: dict[str, str],
    progress: Progress,
) -> Pretrained | None:
    """Train a network to denoise, or take the one that an earlier run of the same settings and data left.

    Parameters
    ----------
    config : RunConfig
        Section `pretraining`.
    images, validation : RecordFile
    model_dir : Path
        Its folder ``pretrained`` gets the weights, with settings and hash.
    inputs : dict of str to str
        Content hashes of the files.
    progress : Progress

    Returns
    -------
    Pretrained or None
        None where the method is ``none``.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    DataError
        If the images have no truth and no noise is added.
    """
    if config.pretraining.method == "none":
        return None
    settings, folder, key = config.pretraining, model_dir / PRETRAINED_FOLDER, hash_pretraining(config, inputs)
    if has_model(folder):
        found = load_model(folder)
        if found.description.get("pretraining_sha256") == key:
            progress.say(f"Pretrained weights {found.weights_sha256[:12]} of the same settings and data are reused.")
            return Pretrained(found.network.model, found.weights_sha256, found.description["facts"], is_reused=True)
    training = config.pretraining_as_training
    prepare_backend(training, config.seed)
    network = build_network(config.model, RESTORATION)
    choose_freeze(config.model.name, settings, network.encoder)  # which may be refused, before time is spent
    objective = make_objective(settings)
    sampler = Sampler(images, objective.needs, training, config.seed)
    batches = PreparedBatches(sampler, objective, config.seed)
    whole = InOrder(show_for_validation(validation, training), objective.needs, config.evaluation.batch_size)
    progress.say(
        f"Pretraining {config.model.name} by {settings.method} on {sampler.num_images} images without labels: "
        f"batch size {settings.batch_size}, {settings.epochs} epochs."
    )
    tell_of_shapes(sampler, progress)
    learner: Learner
    if settings.method == "pix2pix":
        learner = make_adversaries(network.model, settings, training, len(batches))
    else:
        learner = make_learner(network.model, objective, training, len(batches))
    checkpoint = CheckpointFolder(model_dir / "pretraining-checkpoint", run_key=key)
    result = run_epochs(
        learner,
        batches,
        PreparedBatches(whole, objective, config.seed),
        training,
        checkpoint=checkpoint,
        progress=RenamedProgress(progress, "pretrain"),
    )
    facts = _describe(config, result, network.model)
    described = {"pretraining_sha256": key, "facts": facts}
    weights = save_model(network.model, folder, config.model, ports=RESTORATION, facts=described)
    checkpoint.remove()
    return Pretrained(network.model, weights, facts, is_reused=False)


def _describe(config: RunConfig, result: TrainingResult, model: keras.Model) -> dict[str, Any]:
    seconds = sum(epoch["train_s"] + epoch["validation_s"] for epoch in result.history)
    return result.describe(model) | {"method": config.pretraining.method, "duration_s": seconds}


def show_pretrained(config: RunConfig, model_dir: Path, noisy: Sequence[FloatImage]) -> dict[str, list[FloatImage]]:
    """Restore images by the pretrained network, to be looked at.

    Parameters
    ----------
    config : RunConfig
    model_dir : Path
        With the folder ``pretrained``, where the run pretrains; one that was handed in does not have it.
    noisy : sequence of ndarray of float32, shape (height, width)

    Returns
    -------
    dict
        The noisy images as ``noisy`` and the restored ones as ``pretrained``; empty without that network.
    """
    if config.pretraining.method == "none" or not has_model(model_dir / PRETRAINED_FOLDER):
        return {}
    trained = load_model(model_dir / PRETRAINED_FOLDER)
    restore = TiledMethod(trained.network, trained.ports.head)
    return {
        "noisy": list(noisy),
        "pretrained": [restore({"noisy": image[None, ..., None]})[0] for image in noisy],
    }


def take_over(pretrained: Pretrained | None, model: keras.Model, progress: Progress) -> dict[str, Any]:
    """Give a network what the pretrained one has learned.

    Parameters
    ----------
    pretrained : Pretrained or None
        None leaves the network as it is.
    model : keras.Model
        Untrained; layers that fit get the pretrained weights.
    progress : Progress

    Returns
    -------
    dict
        What a record keeps of the pretraining and of each layer, as JSON values; empty without pretraining.
    """
    if pretrained is None:
        return {}
    transfers = transfer_weights(pretrained.model, model)
    progress.say(summarise_transfer(transfers))
    facts = {"weights_sha256": pretrained.weights_sha256, "is_reused": pretrained.is_reused}
    return {"pretraining": pretrained.facts | facts | {"transfer": [asdict(transfer) for transfer in transfers]}}
