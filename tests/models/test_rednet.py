"""RED-Net links every second convolution with its mirror."""

from collections.abc import Callable

import keras
import numpy as np
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.rednet import REDNetSettings, build_rednet

MakeModel = Callable[..., keras.Model]
IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])


def count_convolution(inputs: int, outputs: int) -> int:
    return 3**2 * inputs * outputs + outputs


@pytest.mark.parametrize(("depth", "number"), [(10, 296_641), (20, 665_921), (30, 1_035_201)])
def test_the_three_networks_of_the_paper_have_as_many_parameters(depth: int, number: int) -> None:
    ends = count_convolution(1, 64) + count_convolution(64, 1)
    assert ends + (depth - 2) * count_convolution(64, 64) == number
    assert build_rednet(REDNetSettings(depth=depth), IMAGE).model.count_params() == number


# Pairs of level n: the maps after convolution n and those from which transposed convolution n makes the next ones.
@pytest.mark.parametrize(("depth", "levels"), [(4, []), (10, [2, 4]), (20, [2, 4, 6, 8]), (30, [*range(2, 15, 2)])])
def test_every_second_pair_is_linked_from_the_image_inwards(depth: int, levels: list[int]) -> None:
    model = build_rednet(REDNetSettings(depth=depth, filters=1), IMAGE).model
    links = [layer for layer in model.layers if layer.name.endswith("_skip")]
    assert [layer.name for layer in reversed(links)] == [f"decoder_{level}_skip" for level in levels]
    for layer in links:
        sources = [tensor._keras_history.operation.name for tensor in layer.input]
        name = layer.name.removesuffix("_skip")
        assert sources == [name, name.replace("decoder", "encoder")]
    assert [tensor._keras_history.operation.name for tensor in model.get_layer("add_noisy").input] == [
        "noisy",
        "output",
    ]


def test_the_maps_are_added_before_the_relu(make_model: MakeModel, noisy: FloatImage) -> None:
    model = make_model("rednet")
    parts = [model.get_layer(name).output for name in ("encoder_2", "decoder_2", "decoder_2_relu")]
    skipped, raised, found = (np.asarray(part) for part in keras.Model(model.input, parts)(noisy[..., None]))
    assert (raised < 0).any()
    assert np.array_equal(found, np.maximum(skipped + raised, 0))
