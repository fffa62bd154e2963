"""What a pretrained network hands over, and what stays as it is afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from emdenoise.config.schema import PretrainingSettings, TrainingSettings
from emdenoise.errors import SettingsError
from emdenoise.models import MODELS, build_network
from emdenoise.models.backend import prepare_backend
from emdenoise.models.contract import Network, Ports
from emdenoise.models.dncnn import DnCNNSettings
from emdenoise.models.heads import HEADS
from emdenoise.models.unet import UNetSettings
from emdenoise.training.epochs import TrainingResult
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.transfer import Freeze, choose_freeze, summarise_transfer, transfer_weights

TINY = UNetSettings(filters=(4,), bottom_filters=4, batch_norm_momentum=0.5)
IMAGE, LABELS = Ports({"noisy": 1}, 1, HEADS["intensity"]), Ports({"noisy": 1}, 3, HEADS["labels"])
FROZEN = PretrainingSettings(method="denoise", encoder="frozen")
SMALL: dict[str, dict[str, Any]] = {
    "resunet": {"stem_px": 2, "filters": (4, 8)},
    "multiscale": {"filters": (4, 8)},
    "mixed_scale_dense": {"depth": 5},
}
"""For images of 8 px; the other networks take their defaults."""
ENCODER = ("encoder", "bottom")
Train = Callable[..., TrainingResult]


def build_declared(seed: int, ports: Ports = IMAGE) -> Network:
    prepare_backend(TrainingSettings(), seed)
    return build_network(TINY, ports)


def build(seed: int, ports: Ports = IMAGE) -> keras.Model:
    return build_declared(seed, ports).model


def read_weights(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.get_weights()}


def is_equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


def test_a_network_of_the_same_shape_becomes_the_pretrained_one() -> None:
    pretrained, model = build(1), build(2)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    transfers = transfer_weights(pretrained, model)
    assert all(transfer.is_taken for transfer in transfers)
    assert np.array_equal(pretrained.predict_on_batch(images), model.predict_on_batch(images))
    assert sum(transfer.num_values for transfer in transfers) == model.count_params()


def test_a_head_of_another_shape_starts_anew_and_the_report_says_so() -> None:
    pretrained, model = build(1), build(2, LABELS)
    before, source = read_weights(model), read_weights(pretrained)
    transfers = {transfer.layer: transfer for transfer in transfer_weights(pretrained, model)}
    after = read_weights(model)
    assert [name for name, transfer in transfers.items() if not transfer.is_taken] == ["output"]
    assert "pretrained shapes" in transfers["output"].reason
    for name, weights in after.items():
        assert is_equal(weights, before[name] if name == "output" else source[name])
    assert "new are output" in summarise_transfer(list(transfers.values()))


def test_networks_without_a_common_layer_are_refused() -> None:
    small = build_network(DnCNNSettings(depth=3, filters=2), LABELS).model
    with pytest.raises(ValueError, match="no layer in common"):
        transfer_weights(build(1), small)


def test_only_the_word_frozen_freezes() -> None:
    assert choose_freeze("unet", PretrainingSettings(method="denoise"), ENCODER) == Freeze()
    assert choose_freeze("unet", PretrainingSettings(method="none", encoder="frozen"), ENCODER) == Freeze()
    assert choose_freeze("unet", FROZEN.model_copy(update={"thaw_epoch": 2}), ENCODER) == Freeze(ENCODER, 2)


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_frozen_encoder_stays_to_the_bit_or_is_refused_for_every_network(name: str, train: Train) -> None:
    prepare_backend(TrainingSettings(), 0)
    network = build_network(MODELS[name].settings(**SMALL.get(name, {})), IMAGE)
    if not network.encoder:
        message = f"^pretraining.encoder is frozen, but network {name} has no encoder; set it to trainable, or model"
        with pytest.raises(SettingsError, match=message):
            choose_freeze(name, FROZEN, network.encoder)
        assert choose_freeze(name, PretrainingSettings(method="denoise"), network.encoder) == Freeze()
        return
    before = read_weights(network.model)
    train(network.model, epochs=1, freeze=choose_freeze(name, FROZEN, network.encoder))
    after = read_weights(network.model)
    kept = [layer for layer, weights in after.items() if is_equal(weights, before[layer])]
    assert kept == [layer for layer in before if layer.startswith(network.encoder)]
    assert kept


@pytest.mark.long
@pytest.mark.parametrize("thaw_epoch", [None, 2])
def test_the_encoder_stays_to_the_bit_until_it_thaws(thaw_epoch: int | None, tmp_path: Path, train: Train) -> None:
    network = build_declared(0)
    start = read_weights(network.model)
    seen: list[dict[str, list[np.ndarray]]] = []

    class Watching(CheckpointFolder):
        def save(self, model: keras.Model, history: Any, *partners: keras.Model, begun: Any = None) -> None:
            seen.append(read_weights(model))

    freeze = Freeze(network.encoder, thaw_epoch)
    train(network.model, checkpoint=Watching(tmp_path, "key"), epochs=3, freeze=freeze)
    encoder = [name for name in start if name.startswith(network.encoder)]
    assert encoder
    for epoch, weights in enumerate(seen):
        is_frozen = thaw_epoch is None or epoch < thaw_epoch
        assert all(is_equal(weights[name], start[name]) for name in encoder) == is_frozen
        assert not is_equal(weights["output"], start["output"])


@pytest.mark.long
def test_a_frozen_training_that_was_interrupted_ends_like_an_undisturbed_one(
    train: Train, draw_batches: Callable[..., Any]
) -> None:
    def train_frozen(folder: str, interrupt_at: tuple[int, int] | None = None) -> list[np.ndarray]:
        network, batches = build_declared(0), draw_batches()
        batches.interrupt_at = interrupt_at
        train(network.model, batches, folder=folder, epochs=4, freeze=Freeze(network.encoder, 2))
        weights: list[np.ndarray] = network.model.get_weights()
        return weights

    with pytest.raises(KeyboardInterrupt):
        train_frozen("interrupted", (3, 0))
    assert is_equal(train_frozen("interrupted"), train_frozen("undisturbed"))
