"""What a pretrained network hands over, and what stays as it is afterwards."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from emdenoise.config.schema import PretrainingSettings, TrainingSettings
from emdenoise.models import build_model
from emdenoise.models.backend import prepare_backend
from emdenoise.models.dncnn import DnCNNSettings
from emdenoise.models.unet import UNetSettings
from emdenoise.progress import SilentProgress
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.learners import train_model
from emdenoise.training.transfer import ENCODER_LAYERS, Freeze, choose_freeze, summarise_transfer, transfer_weights

TINY = UNetSettings(filters=(4,), bottom_filters=4, batch_norm_momentum=0.5)


def build(seed: int, output_channels: int = 1) -> keras.Model:
    prepare_backend(TrainingSettings(), seed)
    return build_model(TINY, output_channels=output_channels)


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
    pretrained, model = build(1), build(2, output_channels=3)
    before, source = read_weights(model), read_weights(pretrained)
    transfers = {transfer.layer: transfer for transfer in transfer_weights(pretrained, model)}
    after = read_weights(model)
    assert [name for name, transfer in transfers.items() if not transfer.is_taken] == ["output"]
    assert "pretrained shapes" in transfers["output"].reason
    for name, weights in after.items():
        assert is_equal(weights, before[name] if name == "output" else source[name])
    assert "new are output" in summarise_transfer(list(transfers.values()))


def test_networks_without_a_common_layer_are_refused() -> None:
    small = build_model(DnCNNSettings(name="dncnn", depth=3, filters=2), output_channels=2)
    with pytest.raises(ValueError, match="no layer in common"):
        transfer_weights(build(1), small)


def test_only_the_word_frozen_freezes() -> None:
    assert choose_freeze(PretrainingSettings(method="denoise")) == Freeze()
    assert choose_freeze(PretrainingSettings(method="none", encoder="frozen")) == Freeze()
    frozen = PretrainingSettings(method="denoise", encoder="frozen", thaw_epoch=2)
    assert choose_freeze(frozen) == Freeze(ENCODER_LAYERS, 2)


@pytest.mark.parametrize("thaw_epoch", [None, 2])
def test_the_encoder_stays_to_the_bit_until_it_thaws(
    thaw_epoch: int | None, tmp_path: Path, draw_batches: Callable[..., object]
) -> None:
    model = build(0)
    start = read_weights(model)
    seen: list[dict[str, list[np.ndarray]]] = []

    class Watching(CheckpointFolder):
        def save(self, model: keras.Model, history: list[dict[str, float]], *partners: keras.Model) -> None:
            seen.append(read_weights(model))

    train_model(
        model,
        draw_batches(),
        draw_batches(seed=9),
        TrainingSettings(epochs=3),
        checkpoint=Watching(tmp_path, "key"),
        progress=SilentProgress(),
        freeze=Freeze(ENCODER_LAYERS, thaw_epoch),
    )
    encoder = [name for name in start if name.startswith(ENCODER_LAYERS)]
    assert encoder
    for epoch, weights in enumerate(seen):
        is_frozen = thaw_epoch is None or epoch < thaw_epoch
        assert all(is_equal(weights[name], start[name]) for name in encoder) == is_frozen
        assert not is_equal(weights["output"], start["output"])


def test_a_frozen_training_that_was_interrupted_ends_like_an_undisturbed_one(
    tmp_path: Path, draw_batches: Callable[..., object]
) -> None:
    def train(folder: str, interrupt_at: tuple[int, int] | None = None) -> list[np.ndarray]:
        model, batches = build(0), draw_batches()
        batches.interrupt_at = interrupt_at  # type: ignore[attr-defined]
        train_model(
            model,
            batches,
            draw_batches(seed=9),
            TrainingSettings(epochs=4),
            checkpoint=CheckpointFolder(tmp_path / folder, "key"),
            progress=SilentProgress(),
            freeze=Freeze(ENCODER_LAYERS, 2),
        )
        weights: list[np.ndarray] = model.get_weights()
        return weights

    with pytest.raises(KeyboardInterrupt):
        train("interrupted", (3, 0))
    assert is_equal(train("interrupted"), train("undisturbed"))
