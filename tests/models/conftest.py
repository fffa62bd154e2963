"""What the tests of networks share: tiny settings, seeded networks, the dtype policy put back."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.config.base import NetworkSettings
from emdenoise.config.choices import choose_network_settings
from emdenoise.config.schema import TrainingSettings
from emdenoise.models import build_network
from emdenoise.models.backend import prepare_backend
from emdenoise.models.contract import Network, Ports
from emdenoise.models.heads import HEADS

IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])
TINY: dict[str, dict[str, Any]] = {
    "unet": {"filters": [4], "bottom_filters": 4, "batch_norm_momentum": 0.5},
    "resunet": {"stem_px": 2, "filters": [4, 8]},
    "dncnn": {"depth": 3, "filters": 4, "batch_norm_momentum": 0.5},
    "class_aware_fcn": {"depth": 3, "filters": 5},
    "ffdnet": {"depth": 3, "filters": 4, "noise_window_px": 4},
    "rednet": {"depth": 6, "filters": 4},
    "multiscale": {"filters": [4, 8], "batch_norm_momentum": 0.5},
    "mixed_scale_dense": {"depth": 5, "width": 3, "max_dilation": 2},
}
"""What makes a network small; an entry of MODELS that is absent is tested with its defaults."""


@pytest.fixture(autouse=True)
def put_precision_back() -> Iterator[None]:
    """Leave the dtype policy as it was before the test."""
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., NetworkSettings]:
    """Give a function from a name of MODELS and changes to small settings."""

    def make(name: str, **changes: Any) -> NetworkSettings:
        settings: NetworkSettings = choose_network_settings({"name": name, **TINY.get(name, {}), **changes})
        return settings

    return make


@pytest.fixture(scope="session")
def make_network(make_settings: Callable[..., NetworkSettings]) -> Callable[..., Network]:
    """Give a function from a name of MODELS and changes to a small network, always of the same weights for a seed."""

    def make(name: str, *, seed: int = 0, ports: Ports = IMAGE, precision: Any = "float32", **changes: Any) -> Network:
        prepare_backend(TrainingSettings(precision=precision), seed)
        return build_network(make_settings(name, **changes), ports)

    return make


@pytest.fixture(scope="session")
def make_model(make_network: Callable[..., Network]) -> Callable[..., keras.Model]:
    """Give a function that makes the Keras model of such a network alone."""
    return lambda *given, **changes: make_network(*given, **changes).model


@pytest.fixture(scope="session")
def disturb() -> Callable[[keras.Model], keras.Model]:
    """Give a function that moves every weight, so that running means, gains and offsets are not 0 and 1."""

    def move_weights(model: keras.Model) -> keras.Model:
        rng = np.random.default_rng(9)
        # Uniform and positive: a running variance may not be negative.
        model.set_weights([value + rng.uniform(0.05, 0.3, value.shape) for value in model.get_weights()])
        return model

    return move_weights


@pytest.fixture(scope="session")
def scale_output() -> Callable[[keras.Model, float], None]:
    """Give a function that multiplies the outputs of a network by a number, by the weights that make them."""

    def scale(model: keras.Model, factor: float) -> None:
        for layer in model.layers:
            if layer.name.startswith("output"):
                layer.set_weights([factor * value for value in layer.get_weights()])

    return scale


@pytest.fixture
def noisy() -> FloatImage:
    """Give three images of noise, 16 × 16."""
    return np.random.default_rng(1).normal(0.5, 0.2, (3, 16, 16)).astype(np.float32)
