"""A fused network is the same function, made of fewer and cheaper layers."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.models import MODELS
from emdenoise.models.contract import Ports
from emdenoise.models.fusion import fuse_upsampling
from emdenoise.models.heads import HEADS

MakeModel = Callable[..., keras.Model]
Disturb = Callable[[keras.Model], keras.Model]


def count_layers(model: keras.Model, kind: type[keras.Layer]) -> int:
    return sum(isinstance(layer, kind) for layer in model.layers)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ports": Ports({"noisy": 1}, 2, HEADS["labels"])},
        {"predict_residual": True, "intensity_mean": 0.25, "intensity_std": 0.5},
    ],
    ids=["image", "labels", "residual"],
)
def test_the_result_is_the_same_up_to_rounding(
    name: str, changes: dict[str, Any], make_model: MakeModel, disturb: Disturb, noisy: FloatImage
) -> None:
    model = disturb(make_model(name, **changes))
    before = [value.copy() for value in model.get_weights()]
    fused = fuse_upsampling(model)
    for image in (noisy, noisy[:, :, :8], 0 * noisy):
        expected = np.asarray(model(image[..., None]))
        assert np.asarray(fused(image[..., None])) == pytest.approx(expected, abs=1e-5 * float(np.abs(expected).max()))
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_each_upsampling_and_concatenation_of_a_unet_of_several_levels_goes_into_convolutions(
    make_model: MakeModel, disturb: Disturb, noisy: FloatImage
) -> None:
    model = disturb(make_model("unet", filters=[3, 4, 5], bottom_filters=6, dropout=0.2))
    fused = fuse_upsampling(model)
    assert count_layers(model, keras.layers.UpSampling2D) == count_layers(model, keras.layers.Concatenate) == 3
    assert count_layers(fused, keras.layers.UpSampling2D) == count_layers(fused, keras.layers.Concatenate) == 0
    assert count_layers(fused, keras.layers.Conv2DTranspose) == 3
    expected = np.asarray(model(noisy[..., None]))
    assert np.asarray(fused(noisy[..., None])) == pytest.approx(expected, abs=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("size", "interpolation", "kernel"), [(3, "nearest", 3), (2, "bilinear", 3), (2, "nearest", 5)]
)
def test_other_upsamplings_stay_as_they_are(size: int, interpolation: str, kernel: int, noisy: FloatImage) -> None:
    images = keras.Input((None, None, 1))
    skip = keras.layers.Conv2D(2, 1)(images)
    below = keras.layers.MaxPooling2D(size)(skip)
    raised = keras.layers.UpSampling2D(size, interpolation=interpolation)(below)
    joined = keras.layers.Concatenate()([raised, skip])
    model = keras.Model(images, keras.layers.Conv2D(1, kernel, padding="same")(joined))
    fused = fuse_upsampling(model)
    assert count_layers(fused, keras.layers.UpSampling2D) == 1
    shape = (3, 12, 12, 1)
    values = np.resize(noisy, shape)
    assert np.allclose(model(values), fused(values), atol=1e-6)


def test_an_upsampled_image_that_is_used_twice_is_still_given(noisy: FloatImage) -> None:
    images = keras.Input((None, None, 1))
    skip = keras.layers.Conv2D(2, 1)(images)
    raised = keras.layers.UpSampling2D()(keras.layers.MaxPooling2D()(skip))
    joined = keras.layers.Concatenate()([raised, skip])
    model = keras.Model(images, keras.layers.Add()([keras.layers.Conv2D(2, 3, padding="same")(joined), raised]))
    fused = fuse_upsampling(model)
    assert np.allclose(model(noisy[..., None]), fused(noisy[..., None]), atol=1e-6)
