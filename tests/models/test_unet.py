"""The network of the closed division is the one of mlcube_examples, layer by layer."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import keras
import numpy as np
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.unet import UNetSettings, build_unet

MakeModel = Callable[..., keras.Model]
IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])


def count_convolution(inputs: int, outputs: int) -> int:
    return 3**2 * inputs * outputs + outputs


def count_block(inputs: int, outputs: int) -> int:
    """Two convolutions, each with four numbers a filter of batch normalisation: gain, offset, mean, variance."""
    return count_convolution(inputs, outputs) + count_convolution(outputs, outputs) + 2 * 4 * outputs


def count_unet(filters: tuple[int, ...], bottom: int, output_channels: int) -> int:
    encoder = sum(count_block(inputs, outputs) for inputs, outputs in pairwise((1, *filters, bottom)))
    # The decoder sees what comes from below beside the skip connection.
    decoder = sum(count_block(below + skip, skip) for skip, below in pairwise((*filters, bottom)))
    return encoder + decoder + count_convolution(filters[0], output_channels)


def test_the_default_network_has_the_123441_parameters_of_the_stfc_benchmark() -> None:
    assert count_unet((8, 16, 32), 64, 1) == 123_441
    assert build_unet(UNetSettings(), IMAGE).model.count_params() == 123_441


@pytest.mark.parametrize(("filters", "bottom", "channels"), [((3,), 5, 1), ((2, 7), 3, 2), ((1, 2, 3, 4), 5, 1)])
def test_the_number_of_parameters_follows_from_the_filters(
    filters: tuple[int, ...], bottom: int, channels: int
) -> None:
    ports = Ports({"noisy": 1}, channels, HEADS["labels"])
    model = build_unet(UNetSettings(filters=filters, bottom_filters=bottom), ports).model
    assert model.count_params() == count_unet(filters, bottom, channels)


def list_block(name: str, *, dropout: bool) -> Iterator[str]:
    for number in (1, 2):
        yield f"{name}_convolution_{number}"
        yield f"{name}_normalisation_{number}"
    if dropout:
        yield f"{name}_dropout"


def list_unet(num_levels: int, *, dropout: bool) -> Iterator[str]:
    yield "noisy"
    for level in range(1, num_levels + 1):
        yield from list_block(f"encoder_{level}", dropout=dropout)
        yield f"encoder_{level}_pooling"
    yield from list_block("bottom", dropout=dropout)
    for level in range(num_levels, 0, -1):
        yield f"decoder_{level}_upsampling"
        yield f"decoder_{level}_skip"
        yield from list_block(f"decoder_{level}", dropout=dropout)
    yield "output"


@pytest.mark.parametrize("num_levels", [1, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_layers_are_down_bottom_and_up_in_this_order(num_levels: int, dropout: float) -> None:
    settings = UNetSettings(filters=(2,) * num_levels, bottom_filters=2, dropout=dropout)
    model = build_unet(settings, IMAGE).model
    assert [layer.name for layer in model.layers] == list(list_unet(num_levels, dropout=dropout > 0))


def find_sources(layer: keras.Layer) -> list[str]:
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]


def test_each_skip_connection_leads_from_the_last_normalisation_of_the_same_level() -> None:
    model = build_unet(UNetSettings(), IMAGE).model
    for level in (1, 2, 3):
        sources = find_sources(model.get_layer(f"decoder_{level}_skip"))
        assert sources == [f"decoder_{level}_upsampling", f"encoder_{level}_normalisation_2"]


def layers_of(model: keras.Model, kind: type) -> Iterable[keras.Layer]:
    return [layer for layer in model.layers if isinstance(layer, kind)]


def test_every_convolution_but_the_last_is_followed_by_relu_and_then_normalisation() -> None:
    model = build_unet(UNetSettings(), IMAGE).model
    *inner, last = layers_of(model, keras.layers.Conv2D)
    assert {layer.activation for layer in inner} == {keras.activations.relu}
    assert last.activation is keras.activations.linear
    for layer in layers_of(model, keras.layers.BatchNormalization):
        assert find_sources(layer) == [layer.name.replace("normalisation", "convolution")]


def test_upsampling_repeats_each_pixel_and_pooling_takes_the_largest() -> None:
    model = build_unet(UNetSettings(), IMAGE).model
    feature_map = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    upsampling, pooling = layers_of(model, keras.layers.UpSampling2D), layers_of(model, keras.layers.MaxPooling2D)
    assert len(list(upsampling)) == len(list(pooling)) == 3
    for layer in upsampling:
        assert np.array_equal(
            np.asarray(layer(feature_map[None, ..., None]))[0, ..., 0], np.kron(feature_map, np.ones((2, 2)))
        )
    for layer in pooling:
        largest = feature_map.reshape(2, 2, 3, 2).max(axis=(1, 3))
        assert np.array_equal(np.asarray(layer(feature_map[None, ..., None]))[0, ..., 0], largest)


def test_an_image_shifted_by_whole_pooling_cells_gives_a_shifted_result(
    make_model: MakeModel, disturb: Callable[[keras.Model], keras.Model]
) -> None:
    model = disturb(make_model("unet", filters=[4]))
    image = np.random.default_rng(0).normal(0.5, 0.2, (1, 48, 48, 1)).astype(np.float32)
    result, shifted = (np.asarray(model(images)) for images in (image, np.roll(image, (2, -4), axis=(1, 2))))
    # Two convolutions down, two at half resolution, three up reach 10 pixels; beyond them the border is not seen.
    inner = (slice(None), slice(16, -16), slice(16, -16))
    expected = np.roll(result, (2, -4), axis=(1, 2))[inner]
    assert expected.std() > 0
    assert shifted[inner] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [18, 20, 23])
def test_the_network_alone_refuses_an_image_that_the_pooling_does_not_divide(size: int) -> None:
    model = build_unet(UNetSettings(filters=(2, 2, 2), bottom_filters=2), IMAGE).model
    with pytest.raises(ValueError, match="must be equal"):
        model.predict_on_batch(np.zeros((1, size, size, 1), np.float32))


def test_dropout_acts_in_training_alone(make_model: MakeModel, noisy: FloatImage) -> None:
    with_dropout, without = make_model("unet", dropout=0.5), make_model("unet")
    with_dropout.set_weights(without.get_weights())
    images = noisy[..., None]
    assert np.array_equal(with_dropout(images), without(images))
    first, second = (np.asarray(with_dropout(images, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
