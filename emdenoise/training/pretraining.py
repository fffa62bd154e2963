"""Pretraining by denoising: what a network learns of images before it sees a label."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from emdenoise.arrays import FloatImage
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.sampler import Batch, TrainingBatches, WholeImages
from emdenoise.models import build_model
from emdenoise.models.backend import prepare_backend
from emdenoise.models.checkpoints import has_model, load_model, save_model
from emdenoise.models.tiling import make_denoiser
from emdenoise.progress import Progress, RenamedProgress
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import apply_shot_noise
from emdenoise.training.epochs import TrainingResult
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.learners import train_model
from emdenoise.training.pix2pix import train_pix2pix
from emdenoise.training.transfer import summarise_transfer, transfer_weights

PRETRAINED_FOLDER = "pretrained"


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


class NoisedBatches:
    """Batches whose inputs are the images with Poisson noise and whose targets are the images; needs no truth.

    Parameters
    ----------
    batches : TrainingBatches or WholeImages
        With the image as input and as target.
    electrons_per_pixel : float
        Mean counts where the intensity is 1 [e⁻/px].
    seed : int
        Seed of the run.
    """

    def __init__(self, batches: TrainingBatches | WholeImages, electrons_per_pixel: float, seed: int) -> None:
        self._batches, self._electrons_per_pixel, self._seed = batches, electrons_per_pixel, seed

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return len(self._batches)

    def read(self, epoch: int, step: int) -> Batch:
        """Read one batch, with noise of its own in each epoch."""
        _, images = self._batches.read(epoch, step)
        rng = make_generator(self._seed, "noise for pretraining", epoch * len(self) + step)
        clipped = np.maximum(images, 0).astype(np.float32)  # a rate of electrons is not negative
        noisy = [
            apply_shot_noise(image, electrons_per_pixel=self._electrons_per_pixel, rng=rng) for image in clipped[..., 0]
        ]
        return np.stack(noisy)[..., None], images


def hash_pretraining(config: RunConfig, inputs: dict[str, str]) -> str:
    """Compute the SHA-256 of all that decides the pretrained weights: settings, network, seed and data.

    What only the training after it reads (`encoder`, `thaw_epoch`) does not count.
    """
    settings = config.pretraining.model_dump(mode="json", exclude={"encoder", "thaw_epoch"})
    decisive = {"pretraining": settings, "model": config.model.model_dump(mode="json"), "seed": config.seed}
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
            return Pretrained(found.model, found.weights_sha256, found.description["facts"], is_reused=True)
    prepare_backend(settings, config.seed)
    model = build_model(config.model, output_channels=1)
    fields = ("noisy", "clean") if settings.added_noise_electrons_per_pixel is None else ("noisy", "noisy")
    learn = train_pix2pix if settings.method == "pix2pix" else train_model
    checkpoint = CheckpointFolder(model_dir / "pretraining-checkpoint", run_key=key)
    batches = TrainingBatches(images, fields, settings, config.seed)
    whole = WholeImages(validation, fields, config.evaluation.batch_size)
    progress.say(
        f"Pretraining {config.model.name} by {settings.method} on {batches.num_images} images without labels: "
        f"batch size {settings.batch_size}, {settings.epochs} epochs."
    )
    electrons = settings.added_noise_electrons_per_pixel
    result = learn(
        model,
        batches if electrons is None else NoisedBatches(batches, electrons, config.seed),
        whole if electrons is None else NoisedBatches(whole, electrons, config.seed),
        settings,
        checkpoint=checkpoint,
        progress=RenamedProgress(progress, "pretrain"),
    )
    facts = _describe(config, result, model)
    described = {"pretraining_sha256": key, "facts": facts}
    weights = save_model(model, folder, config.model, output_channels=1, facts=described)
    checkpoint.remove()
    return Pretrained(model, weights, facts, is_reused=False)


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
    restore = make_denoiser(load_model(model_dir / PRETRAINED_FOLDER).model)
    return {"noisy": list(noisy), "pretrained": [restore(image[None])[0] for image in noisy]}


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
