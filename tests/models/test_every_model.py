"""What holds for every entry of MODELS; a new network passes these tests or does not enter the table."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.config.base import NetworkSettings
from emdenoise.errors import ModelError
from emdenoise.models import MODELS
from emdenoise.models.backend import choose_compilation
from emdenoise.models.checkpoints import hash_weights, load_model, save_model
from emdenoise.models.contract import Network, Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.tiling import check_reach

MakeModel = Callable[..., keras.Model]
MakeNetwork = Callable[..., Network]
Disturb = Callable[[keras.Model], keras.Model]
ScaleOutput = Callable[[keras.Model, float], None]
IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])
LABELS = Ports({"noisy": 1}, 3, HEADS["labels"])
SEVERAL = Ports({"noisy": 1, "clean": 1, "wave": 2}, 2, HEADS["complex"])

pytestmark = pytest.mark.parametrize("name", MODELS)


def test_the_network_has_settings_of_its_name(name: str) -> None:
    assert get_args(MODELS[name].settings.model_fields["name"].annotation) == (name,)


@pytest.mark.parametrize("ports", [IMAGE, LABELS, SEVERAL], ids=["image", "labels", "several inputs"])
def test_images_of_any_size_keep_their_shape_at_every_port(name: str, ports: Ports, make_network: MakeNetwork) -> None:
    network = make_network(name, ports=ports)
    assert network.inputs == tuple(ports.inputs)
    assert {tensor.name: tensor.shape[-1] for tensor in network.model.inputs} == ports.inputs
    for shape in ((16, 16), (24, 40)):
        sample = {field: np.zeros((2, *shape, channels), np.float32) for field, channels in ports.inputs.items()}
        result = np.asarray(network.model(sample if len(sample) > 1 else sample["noisy"]))
        assert result.shape == (2, *shape, ports.output_channels)


def test_every_input_changes_the_result(name: str, make_network: MakeNetwork, disturb: Disturb) -> None:
    network = make_network(name, ports=SEVERAL)
    model, rng = disturb(network.model), np.random.default_rng(2)
    shapes = {field: (1, 16, 16, channels) for field, channels in SEVERAL.inputs.items()}
    sample = {field: rng.random(shape, np.float32) for field, shape in shapes.items()}
    before = np.asarray(model(sample))
    for field, shape in shapes.items():
        changed = np.asarray(model(sample | {field: rng.random(shape, np.float32)}))
        assert np.abs(changed - before).max() > 1e-3 * np.abs(before).max(), field


def test_the_declared_reach_is_right_and_one_step_less_is_refused(
    name: str, make_network: MakeNetwork, disturb: Disturb
) -> None:
    for ports in (IMAGE, LABELS, SEVERAL):
        network = make_network(name, ports=ports)
        disturb(network.model)
        assert network.reach_px is not None
        check_reach(network)
        with pytest.raises(ModelError, match="but pixels farther away change its result by"):
            check_reach(replace(network, reach_px=network.reach_px - network.step_px))


def test_the_declared_encoder_is_layers_of_the_network_that_see_the_image_first(
    name: str, make_network: MakeNetwork
) -> None:
    network = make_network(name)
    names = [layer.name for layer in network.model.layers if layer.weights]
    encoder = [each for each in names if each.startswith(network.encoder)] if network.encoder else []
    assert encoder == names[: len(encoder)]
    assert len(encoder) < len(names)
    for beginning in network.encoder:
        assert [each for each in encoder if each.startswith(beginning)], beginning


def test_the_prediction_is_float32_and_finite(name: str, make_model: MakeModel, noisy: FloatImage) -> None:
    model = make_model(name)
    for image in (noisy, np.zeros_like(noisy), 1000 * noisy):
        result = model.predict_on_batch(image[..., None])
        assert result.dtype == np.float32
        assert np.isfinite(result).all()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name: str, make_model: MakeModel) -> None:
    hashes = [hash_weights(make_model(name, seed=seed)) for seed in (5, 6, 5)]
    assert hashes[0] == hashes[2] != hashes[1]


def test_one_step_of_training_changes_every_weight(name: str, make_model: MakeModel, noisy: FloatImage) -> None:
    model = make_model(name)
    before = model.get_weights()
    model.compile(optimizer="sgd", loss="mean_squared_error", jit_compile=choose_compilation())
    model.train_on_batch(noisy[..., None], noisy[:, ::-1, :, None])
    for weight, old, new in zip(model.weights, before, model.get_weights(), strict=True):
        assert (old != new).any(), f"{weight.path} did not learn"


@pytest.mark.parametrize("ports", [IMAGE, LABELS, SEVERAL], ids=["image", "labels", "several inputs"])
def test_a_saved_network_comes_back_bit_for_bit(
    name: str,
    ports: Ports,
    make_model: MakeModel,
    make_settings: Callable[..., NetworkSettings],
    disturb: Disturb,
    noisy: FloatImage,
    tmp_path: Path,
) -> None:
    model = disturb(make_model(name, ports=ports))
    facts = {"workload": "denoise"}
    saved = save_model(model, tmp_path, make_settings(name), ports=ports, facts=facts)
    loaded = load_model(tmp_path)
    assert loaded.weights_sha256 == saved == hash_weights(model)
    assert loaded.description["workload"] == "denoise"
    assert loaded.ports == ports
    for old, new in zip(model.get_weights(), loaded.network.model.get_weights(), strict=True):
        assert old.dtype == new.dtype
        assert np.array_equal(old, new)
    images = [np.repeat(noisy[..., None], channels, axis=-1) for channels in ports.inputs.values()]
    inputs = dict(zip(ports.inputs, images, strict=True)) if len(images) > 1 else images[0]
    assert np.array_equal(model(inputs), loaded.network.model(inputs))


def test_bfloat16_layers_keep_float32_weights_and_an_unrounded_float32_result(
    name: str, make_model: MakeModel, noisy: FloatImage
) -> None:
    exact, rounded = (make_model(name, precision=precision) for precision in ("float32", "mixed_bfloat16"))
    assert "bfloat16" in {layer.compute_dtype for layer in rounded.layers}
    assert {str(weight.dtype) for weight in rounded.weights} == {"float32"}
    assert hash_weights(exact) == hash_weights(rounded)
    expected, found = (np.asarray(model(noisy[..., None])) for model in (exact, rounded))
    assert found.dtype == np.float32
    # bfloat16 is the upper half of a float32: a result rounded to it has an empty lower half.
    assert (found.view(np.uint32) & 0xFFFF).any()
    # 8 bits of mantissa: each layer errs by 0.4 %.
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("mean_and_std", [(0.25, 0.5), (-0.5, 2.0)])
@pytest.mark.parametrize("is_residual", [False, True])
def test_the_settings_of_the_intensity_are_an_affine_change_of_units(
    name: str,
    is_residual: bool,
    mean_and_std: tuple[float, float],
    make_model: MakeModel,
    disturb: Disturb,
    noisy: FloatImage,
) -> None:
    mean, std = mean_and_std
    plain = disturb(make_model(name, predict_residual=False))
    scaled = make_model(name, intensity_mean=mean, intensity_std=std, predict_residual=is_residual)
    scaled.set_weights(plain.get_weights())
    images = noisy[..., None]
    inside = std * np.asarray(plain((images - mean) / std))
    expected = inside + (images if is_residual else mean)
    assert np.asarray(scaled(images)) == pytest.approx(expected, rel=1e-4, abs=1e-4 * float(np.abs(inside).max()))


@pytest.mark.parametrize("changes", [{}, {"intensity_mean": 0.25, "intensity_std": 0.5}])
def test_a_residual_network_whose_output_is_zero_returns_the_image(
    name: str, changes: dict[str, Any], make_model: MakeModel, scale_output: ScaleOutput, noisy: FloatImage
) -> None:
    model = make_model(name, predict_residual=True, **changes)
    scale_output(model, 0)
    assert np.array_equal(model(noisy[..., None]), noisy[..., None])


def test_a_network_whose_output_is_zero_returns_the_mean_intensity(
    name: str, make_model: MakeModel, scale_output: ScaleOutput, noisy: FloatImage
) -> None:
    model = make_model(name, predict_residual=False, intensity_mean=0.25, intensity_std=0.5)
    scale_output(model, 0)
    assert np.array_equal(model(noisy[..., None]), np.full((*noisy.shape, 1), 0.25, np.float32))


def test_a_network_has_the_momentum_as_a_setting_just_where_it_normalises(name: str, make_model: MakeModel) -> None:
    layers = [layer for layer in make_model(name).layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert bool(layers) == ("batch_norm_momentum" in MODELS[name].settings.model_fields)


def test_the_momentum_is_the_weight_of_the_past_in_the_running_mean_and_variance(
    name: str, make_model: MakeModel, noisy: FloatImage
) -> None:
    if "batch_norm_momentum" not in MODELS[name].settings.model_fields:
        return
    for momentum in (0.0, 0.75):
        model = make_model(name, batch_norm_momentum=momentum)
        layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert layers
        before_first = keras.Model(model.input, layers[0].input)
        values = np.asarray(before_first(noisy[..., None]), np.float64)
        model(noisy[..., None], training=True)
        _, _, mean, variance = layers[0].get_weights()
        # The running mean starts at 0, the running variance at 1.
        assert mean == pytest.approx((1 - momentum) * values.mean((0, 1, 2)), rel=1e-4, abs=1e-6)
        assert variance == pytest.approx(momentum + (1 - momentum) * values.var((0, 1, 2)), rel=1e-4, abs=1e-6)
        assert {layer.momentum for layer in layers} == {momentum}


def test_logits_of_labels_are_not_scaled_as_intensities_are(
    name: str, make_model: MakeModel, noisy: FloatImage
) -> None:
    scaled = make_model(name, ports=LABELS, intensity_mean=0.25, intensity_std=0.5)
    plain = make_model(name, ports=LABELS)
    plain.set_weights(scaled.get_weights())
    expected = np.asarray(plain((noisy[..., None] - 0.25) / 0.5))
    assert np.asarray(scaled(noisy[..., None])) == pytest.approx(expected, rel=1e-4, abs=1e-4)
