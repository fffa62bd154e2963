"""The class-aware FCN is the sum of one map of each layer."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
from scipy.ndimage import correlate

from emdenoise.arrays import FloatImage
from emdenoise.models.class_aware_fcn import ClassAwareFCNSettings, build_class_aware_fcn
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS

MakeModel = Callable[..., keras.Model]
Disturb = Callable[[keras.Model], keras.Model]
IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])


def test_the_default_network_has_the_655544_parameters_of_20_layers_that_pass_63_of_64_maps_on() -> None:
    first, inner, last = 3**2 * 1 * 64 + 64, 3**2 * 63 * 64 + 64, 3**2 * 63 * 1 + 1
    assert first + 18 * inner + last == 655_544
    assert build_class_aware_fcn(ClassAwareFCNSettings(), IMAGE).model.count_params() == 655_544


def convolve(maps: np.ndarray, layer: keras.layers.Layer) -> np.ndarray:
    """Convolve (height, width, channels), with zeros beyond the border."""
    kernel, bias = layer.get_weights()
    parts = [
        [correlate(maps[..., channel], kernel[..., channel, k], mode="constant") for channel in range(maps.shape[-1])]
        for k in range(kernel.shape[-1])
    ]
    return np.stack([sum(part) for part in parts], axis=-1) + bias


@pytest.mark.parametrize("depth", [3, 5])
def test_a_forward_pass_is_that_of_the_paper(
    depth: int, make_model: MakeModel, disturb: Disturb, noisy: FloatImage
) -> None:
    model = make_model("class_aware_fcn", depth=depth, filters=4)
    # Kernels of both signs, so that the ReLU matters.
    disturb(model).set_weights([value - 0.175 for value in model.get_weights()])
    image = noisy[0, :, :, None].astype(np.float64)
    total, maps = np.zeros_like(image), image
    for number in range(1, depth + 1):
        total += convolve(maps, model.get_layer("output" if number == depth else f"output_{number}"))
        if number < depth:
            maps = convolve(maps, model.get_layer(f"convolution_{number}"))
        if number < depth - 1:  # neither of the last two layers has a ReLU
            assert (maps < 0).any()
            maps = np.maximum(maps, 0)
    expected = image + total / 10
    assert np.abs(total).max() > 0.1
    assert np.asarray(model(noisy[:1, ..., None]))[0] == pytest.approx(expected, abs=1e-5)


def test_each_bias_starts_at_a_hundredth(make_model: MakeModel) -> None:
    biases = np.concatenate([value for value in make_model("class_aware_fcn").get_weights() if value.ndim == 1])
    assert biases == pytest.approx(0.01)
