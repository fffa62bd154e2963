"""Dropout at test time: the mean over networks that lack some feature maps, the same ones for each image and tile."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.models import tiling
from emdenoise.models.contract import Network, Ports, Views
from emdenoise.models.dropout import DropoutPasses
from emdenoise.models.fusion import fuse_upsampling
from emdenoise.models.heads import HEADS, measure_entropy
from emdenoise.models.tiling import TiledMethod, run_keras

MakeNetwork = Callable[..., Network]
Disturb = Callable[[keras.Model], keras.Model]
Scale = Callable[[keras.Model, float], None]
LABELS = Ports({"noisy": 1}, 3, HEADS["labels"])
DROPPING = [("unet", {}), ("resunet", {"stem_px": 2, "filters": [6, 8, 10]})]
drops = pytest.mark.parametrize(("name", "sizes"), DROPPING, ids=[name for name, _ in DROPPING])


def draw(*shape: int) -> FloatImage:
    return np.random.default_rng(3).random(shape, dtype=np.float32)


def list_outputs(network: Network, images: FloatImage, num_passes: int) -> list[np.ndarray]:
    return [np.array(outputs) for outputs in DropoutPasses(network.model, num_passes, run_keras)(images[..., None])]


@drops
def test_dropout_adds_no_weights_and_none_of_it_adds_no_layer(
    name: str, sizes: dict[str, Any], make_network: MakeNetwork
) -> None:
    plain, none, some = (make_network(name, **sizes, **more).model for more in ({}, {"dropout": 0.0}, {"dropout": 0.2}))
    assert [layer.name for layer in none.layers] == [layer.name for layer in plain.layers]
    assert all(np.array_equal(*pair) for pair in zip(none.get_weights(), plain.get_weights(), strict=True))
    assert some.count_params() == plain.count_params()
    assert len(some.layers) > len(plain.layers)


@pytest.mark.parametrize(
    ("num_levels", "dropping"),
    [(1, ["encoder_1"]), (2, ["encoder_2"]), (3, ["encoder_2", "encoder_3", "decoder_2"]), (4, None)],
)
def test_a_resunet_drops_feature_maps_of_the_coarser_half_of_its_levels(
    num_levels: int, dropping: list[str] | None, make_network: MakeNetwork
) -> None:
    model = make_network("resunet", stem_px=1, filters=[4] * num_levels, dropout=0.3).model
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.SpatialDropout2D)]
    expected = ["encoder_3", "encoder_4", "decoder_3"] if dropping is None else dropping
    assert [layer.name for layer in layers] == [f"{name}_dropout" for name in expected]
    assert {layer.rate for layer in layers} == {0.3}


@drops
def test_a_training_with_dropout_repeats_to_the_bit(
    name: str, sizes: dict[str, Any], make_network: MakeNetwork
) -> None:
    def train(dropout: float, seed: int = 0) -> list[np.ndarray]:
        model = make_network(name, dropout=dropout, seed=seed, **sizes).model
        model.compile("sgd", "mse")
        for _ in range(2):
            model.train_on_batch(draw(2, 16, 16, 1), draw(2, 16, 16, 1))
        return model.get_weights()

    first, again, other = train(0.5), train(0.5), train(0.3)
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(first, other, strict=True))


@drops
def test_each_pass_is_a_network_of_its_own_and_repeats_to_the_bit(
    name: str, sizes: dict[str, Any], make_network: MakeNetwork, disturb: Disturb
) -> None:
    network = make_network(name, dropout=0.5, **sizes)
    disturb(network.model)
    first, again = (list_outputs(network, draw(1, 32, 32), 4) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(np.array_equal(*pair) for pair in pairwise(first))
    for one, more in zip(first, list_outputs(network, draw(1, 32, 32), 6), strict=False):
        assert np.array_equal(one, more), "more passes begin with the same ones"


def test_a_pass_does_what_keras_does_in_training_with_the_same_feature_maps() -> None:
    """Keras is asked which it dropped; without normalisation, training changes nothing else."""
    images = keras.Input((None, None, 1), name="noisy")
    features = keras.layers.Conv2D(6, 3, padding="same", name="first")(images)
    dropped = keras.layers.SpatialDropout2D(0.4, seed=5, name="dropout")(features)
    model = keras.Model(images, keras.layers.Conv2D(2, 3, padding="same", name="output")(dropped))
    seen = keras.Model(images, [features, dropped, model.output])
    before, after, outputs = (np.asarray(one) for one in seen(draw(1, 8, 8, 1), training=True))
    factors = (after / before).mean(axis=(0, 1, 2)).astype(np.float32)
    assert np.unique(factors.round(3)) == pytest.approx([0, 1.667])
    passes = DropoutPasses(model, 1, run_keras)
    passes._draws = [[factors]]
    (found,) = passes(draw(1, 8, 8, 1))
    assert found == pytest.approx(outputs, abs=1e-6)


def test_feature_maps_are_dropped_as_often_as_the_setting_says_and_keep_their_mean(make_network: MakeNetwork) -> None:
    network = make_network("unet", filters=[8], bottom_filters=16, dropout=0.3)
    draws = np.concatenate([np.concatenate(one) for one in DropoutPasses(network.model, 500, run_keras)._draws])
    deviation = np.sqrt(0.3 * 0.7 / len(draws))
    assert (draws == 0).mean() == pytest.approx(0.3, abs=4 * deviation)
    assert draws.mean() == pytest.approx(1, abs=4 * deviation / 0.7)


@drops
def test_the_mean_over_many_passes_converges(name: str, sizes: dict[str, Any], make_network: MakeNetwork) -> None:
    """Means over n passes that do not share any differ by their standard deviation times √(2 / n)."""
    network = make_network(name, dropout=0.5, ports=LABELS, **sizes)
    outputs = list_outputs(network, draw(1, 16, 16), 256)
    probabilities = np.stack([LABELS.head.activate(one) for one in outputs])
    distances = {}
    for number in (8, 128):
        pairs = probabilities.reshape(-1, 2, number, *probabilities.shape[1:]).mean(axis=2)
        distances[number] = float(np.sqrt(np.square(pairs[:, 0] - pairs[:, 1]).mean()))
    assert distances[8] == pytest.approx(float(np.sqrt(2 / 8 * probabilities.var(axis=0).mean())), rel=0.5)
    assert distances[128] < distances[8] / 2


@drops
def test_the_answer_is_the_mean_of_the_probabilities_of_all_passes(
    name: str, sizes: dict[str, Any], make_network: MakeNetwork, scale_output: Scale
) -> None:
    network = make_network(name, dropout=0.5, dropout_passes=5, ports=LABELS, **sizes)
    scale_output(network.model, 30)  # fresh networks find all labels equally likely
    assert network.views == Views(dropout_passes=5)
    images = draw(2, 24, 32)
    mean = np.mean([LABELS.head.activate(one) for one in list_outputs(network, images, 5)], axis=0)
    method = TiledMethod(network, LABELS.head)
    sample = {"noisy": images[..., None]}
    assert np.array_equal(method(sample), mean.argmax(axis=-1))
    assert method.measure_uncertainty(sample) == pytest.approx(measure_entropy(mean), abs=1e-4)
    assert not np.allclose(measure_entropy(mean), self_entropy(network, images), atol=0.01)


def self_entropy(network: Network, images: FloatImage) -> FloatImage:
    """Give the uncertainty without dropout."""
    return TiledMethod(replace(network, views=Views()), LABELS.head).measure_uncertainty({"noisy": images[..., None]})


def test_tiles_and_batches_change_nothing(
    make_network: MakeNetwork, scale_output: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network("unet", dropout=0.5, dropout_passes=3, ports=LABELS)
    scale_output(network.model, 30)  # fresh networks find all labels equally likely
    images = draw(2, 150, 130)
    whole = TiledMethod(network, LABELS.head).measure_uncertainty({"noisy": images[..., None]})
    alone = TiledMethod(network, LABELS.head).measure_uncertainty({"noisy": images[1:, ..., None]})
    assert alone[0] == pytest.approx(whole[1], abs=1e-4)
    monkeypatch.setattr(tiling, "TILE_SIZE_PX", 64)
    tiled = TiledMethod(network, LABELS.head)
    strips = list(tiled.predict_strips({"noisy": images[..., None]}))
    assert len(strips) > 1
    assert tiled.measure_uncertainty({"noisy": images[..., None]}) == pytest.approx(whole, abs=1e-4)


def test_passes_are_views_beside_the_others(make_network: MakeNetwork, scale_output: Scale) -> None:
    """The mean over eight symmetries of a turned image is the turned mean, pass by pass."""
    network = make_network("unet", dropout=0.5, dropout_passes=3, symmetries=True, ports=LABELS)
    scale_output(network.model, 30)  # fresh networks find all labels equally likely
    images = draw(1, 24, 40)
    method = TiledMethod(network, LABELS.head)
    plain, turned = (
        method.measure_uncertainty({"noisy": one[..., None]}) for one in (images, np.rot90(images, axes=(1, 2)))
    )
    assert turned == pytest.approx(np.rot90(plain, axes=(1, 2)), abs=1e-4)


def test_a_fused_network_drops_the_same_feature_maps(make_network: MakeNetwork, disturb: Disturb) -> None:
    network = make_network("unet", filters=[3, 4], bottom_filters=6, dropout=0.4)
    disturb(network.model)
    fused = replace(network, model=fuse_upsampling(network.model))
    images = draw(1, 16, 24)
    for one, other in zip(list_outputs(network, images, 3), list_outputs(fused, images, 3), strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-4 * float(np.abs(one).max()))


def test_another_engine_is_refused_which_has_no_dropout(make_network: MakeNetwork) -> None:
    network = make_network("unet", dropout=0.5, dropout_passes=3)
    with pytest.raises(ValueError, match="3 passes of dropout; expected 0 for another engine"):
        TiledMethod(network, HEADS["intensity"], lambda images: images)


def test_entropy_is_that_of_the_definition_between_none_and_that_of_equal_labels() -> None:
    rng = np.random.default_rng(0)
    for num_labels in (2, 3, 7):
        logits = rng.normal(0, 40, (50, num_labels)).astype(np.float32)
        entropy = measure_entropy(HEADS["labels"].activate(logits))
        assert (entropy >= 0).all()
        assert entropy.max() <= np.log(num_labels) + 1e-6
        assert measure_entropy(np.full((1, num_labels), 1 / num_labels)) == pytest.approx([np.log(num_labels)])
        assert measure_entropy(np.eye(num_labels)) == pytest.approx(np.zeros(num_labels), abs=0)
    assert measure_entropy(np.array([[0.25, 0.75]])) == pytest.approx([0.25 * np.log(4) + 0.75 * np.log(4 / 3)])


def test_of_two_sure_pixels_the_surer_one_has_the_smaller_entropy() -> None:
    """In float32 both have a probability of 1, and the sum of the first is above it."""
    probabilities = np.array([[1.0000001, 1e-9], [1.0, 1e-8]], np.float32)
    surer, less_sure = measure_entropy(probabilities)
    assert 0 < surer < less_sure
