"""The mixed-scale dense network: each map is made of all maps before it, whatever way the convolutions are split."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
from scipy.ndimage import correlate

from emdenoise.arrays import FloatImage
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.mixed_scale_dense import MixedScaleDenseSettings, build_mixed_scale_dense

MakeModel = Callable[..., keras.Model]
IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])


def count(depth: int, width: int, inputs: int, outputs: int) -> int:
    layers = sum(9 * (inputs + width * layer) * width + width for layer in range(depth))
    return layers + (inputs + width * depth) * outputs + outputs


def test_the_default_network_has_the_45652_parameters_of_100_layers_of_one_map() -> None:
    assert count(100, 1, 1, 1) == 45_652
    assert build_mixed_scale_dense(MixedScaleDenseSettings(), IMAGE).model.count_params() == 45_652


@pytest.mark.parametrize(("depth", "width", "max_dilation"), [(1, 1, 10), (5, 2, 2), (7, 1, 3), (3, 2, 1)])
def test_a_forward_pass_is_that_of_the_paper(
    depth: int, width: int, max_dilation: int, make_model: MakeModel, noisy: FloatImage
) -> None:
    model = make_model("mixed_scale_dense", depth=depth, width=width, max_dilation=max_dilation)
    assert model.count_params() == count(depth, width, 1, 1)
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.3, value.shape) for value in model.get_weights()])
    maps = [noisy[0].astype(np.float64)]
    for number in range(1, depth + 1):
        kernel, bias = model.get_layer(f"layer_{number}_earlier").get_weights()
        if number % max_dilation != 1 and max_dilation > 1:
            kernel = np.concatenate([kernel, *model.get_layer(f"layer_{number}_recent").get_weights()], axis=2)
        assert kernel.shape == (3, 3, len(maps), width)
        step = (number - 1) % max_dilation + 1
        dilated = np.zeros((2 * step + 1, 2 * step + 1, *kernel.shape[2:]))
        dilated[::step, ::step] = kernel
        added = [
            sum(correlate(image, dilated[..., i, k], mode="constant") for i, image in enumerate(maps)) + bias[k]
            for k in range(width)
        ]
        maps += [np.maximum(image, 0) for image in added]
    weights, offset = model.get_layer("output").get_weights()
    expected = np.tensordot(weights[0, 0, :, 0], np.stack(maps), axes=1) + offset
    assert np.asarray(model(noisy[:1, ..., None]))[0, ..., 0] == pytest.approx(expected, abs=1e-4)


def test_kernels_start_from_the_normal_distribution_of_the_paper_and_biases_from_zero(make_model: MakeModel) -> None:
    values = make_model("mixed_scale_dense", depth=12, width=4).get_weights()
    kernels = np.concatenate([value.ravel() for value in values if value.ndim == 4])
    # n_c: 9 times the image and the maps of all layers but the last, and the output.
    expected = np.sqrt(2 / (9 * (1 + 4 * 11) + 1))
    assert kernels.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * len(kernels)))
    assert abs(kernels.mean()) < 4 * expected / np.sqrt(len(kernels))
    assert not np.concatenate([value for value in values if value.ndim == 1]).any()
