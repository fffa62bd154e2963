"""What is set and asked of the backend of Keras."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow

from emdenoise.config.schema import TrainingSettings
from emdenoise.models.backend import borrow_backend, choose_compilation, list_accelerators, prepare_backend
from emdenoise.models.checkpoints import hash_weights

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="looks at TensorFlow's devices")


@pytest.fixture
def pretend_devices(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, dict[str, str]]], None]:
    """Give a function that makes TensorFlow see graphics cards and their details."""

    def pretend(details: dict[str, dict[str, str]]) -> None:
        monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda kind: list(details))
        monkeypatch.setattr(tensorflow.config.experimental, "get_device_details", lambda device: details[device])

    return pretend


@pytest.mark.skipif(bool(tensorflow.config.list_physical_devices("GPU")), reason="needs a machine without GPU")
def test_a_cpu_has_no_accelerators_and_compiles_without_xla() -> None:
    assert list_accelerators() == []
    assert choose_compilation() is False


def test_accelerators_are_named_by_their_model(pretend_devices: Callable[[dict[str, dict[str, str]]], None]) -> None:
    pretend_devices({"GPU:0": {"device_name": "NVIDIA H100"}, "GPU:1": {}})
    assert list_accelerators() == ["NVIDIA H100", "GPU"]
    assert choose_compilation() is True


def test_tensorflow_takes_memory_of_an_accelerator_as_it_needs_it(
    pretend_devices: Callable[[dict[str, dict[str, str]]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def set_memory_growth(device: str, enable: bool) -> None:
        asked.append((device, enable))
        if device == "GPU:1":
            raise RuntimeError("Physical devices cannot be modified after being initialized")

    pretend_devices({"GPU:0": {}, "GPU:1": {}})
    monkeypatch.setattr(tensorflow.config.experimental, "set_memory_growth", set_memory_growth)
    prepare_backend(TrainingSettings(deterministic=False), 0)
    assert asked == [("GPU:0", True), ("GPU:1", True)]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_precision_becomes_the_policy_of_new_layers(precision: str) -> None:
    prepare_backend(TrainingSettings.model_validate({"precision": precision}), 0)
    assert keras.layers.Dense(1).dtype_policy.name == precision


def test_starting_weights_follow_from_the_seed_of_the_run_alone() -> None:
    hashes = []
    for seed, disturbance in ((3, 0), (3, 77), (4, 0)):
        np.random.default_rng(disturbance).normal()
        keras.utils.set_random_seed(disturbance)
        prepare_backend(TrainingSettings(), seed)
        hashes.append(hash_weights(keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])))
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_backend_is_asked_for_the_same_bits_only_where_the_settings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(tensorflow.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    prepare_backend(TrainingSettings(deterministic=False), 0)
    assert asked == []
    prepare_backend(TrainingSettings(deterministic=True), 0)
    assert asked == [True]


OTHER = {"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first"}


@pytest.fixture
def settings_of_the_user() -> Iterator[None]:
    """Set what a file ``~/.keras/keras.json`` would set at the start of Keras."""
    before, policy = {name: getattr(keras.config, name)() for name in OTHER}, keras.config.dtype_policy()
    for name, value in OTHER.items():
        getattr(keras.config, f"set_{name}")(value)
    yield
    for name, value in before.items():
        getattr(keras.config, f"set_{name}")(value)
    keras.config.set_dtype_policy(policy)


def test_settings_of_the_user_do_not_reach_the_network(settings_of_the_user: None) -> None:
    prepare_backend(TrainingSettings(), 0)
    image = keras.Input((None, None, 1))
    assert image.dtype == "float32"
    assert keras.layers.Conv2D(2, 3)(image).shape == (None, None, None, 2)
    assert keras.config.epsilon() == 1e-7


def test_a_guest_leaves_the_settings_of_the_user_as_they_were(settings_of_the_user: None) -> None:
    with borrow_backend("float32"):
        assert keras.Input((None, None, 1)).dtype == "float32"
    assert {name: getattr(keras.config, name)() for name in OTHER} == OTHER
