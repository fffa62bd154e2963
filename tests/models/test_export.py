"""Every network in the inference engines, untrained."""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from emdenoise.models import MODELS
from emdenoise.models.export import FORMATS, export_network

MakeModel = Callable[..., keras.Model]
Disturb = Callable[[keras.Model], keras.Model]
PACKAGES = {"openvino": ["openvino"], "onnx": ["onnxruntime", "tf2onnx"]}


@pytest.mark.long
@pytest.mark.parametrize("export_format", PACKAGES)
@pytest.mark.parametrize("name", MODELS)
def test_an_engine_gives_what_keras_gives_for_any_size(
    name: str, export_format: str, make_model: MakeModel, disturb: Disturb, tmp_path: Path
) -> None:
    if [package for package in PACKAGES[export_format] if importlib.util.find_spec(package) is None]:
        pytest.skip(f"{export_format} is not installed")
    warnings.simplefilter("default")  # tf2onnx and its adapter in Keras use names that NumPy gave up
    model = disturb(make_model(name, intensity_mean=0.5, intensity_std=0.25))
    path = tmp_path / FORMATS[export_format].file_name
    export_network(model, path, export_format)
    for shape in ((1, 64, 64, 1), (3, 40, 24, 1)):
        images = np.random.default_rng(0).random(shape, dtype=np.float32)
        expected = np.asarray(model(images))
        for known_shape in (None, shape):
            found = FORMATS[export_format].load(path, "float32", known_shape)(images)
            assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
