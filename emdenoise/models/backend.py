"""What differs between the backends of Keras: determinism, compilation, the device's name."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from emdenoise.config.schema import TrainingSettings
from emdenoise.seeding import derive_seed


def prepare_backend(settings: TrainingSettings, seed: int) -> None:
    """Set seed, precision and determinism of the backend, before the network is built.

    Parameters
    ----------
    settings : TrainingSettings
    seed : int
        Seed of the run; starting weights and dropout follow from it.
    """
    keras.utils.set_random_seed(derive_seed(seed, "weights"))
    keras.config.set_dtype_policy(settings.precision)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        if settings.deterministic:
            tensorflow.config.experimental.enable_op_determinism()


@contextmanager
def borrow_backend(precision: str) -> Iterator[None]:
    """Build networks in a process that belongs to somebody else, whose precision stays as it was.

    Parameters
    ----------
    precision : str
        `TrainingSettings.precision`.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def choose_compilation() -> bool:
    """Say whether Keras shall compile with XLA: on the CPU with TensorFlow it makes this network slower."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return bool(tensorflow.config.list_physical_devices("GPU"))
    return True


def list_accelerators() -> list[str]:
    """List the model names of the accelerators that the backend sees; empty on a CPU."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        devices = tensorflow.config.list_physical_devices("GPU")
        return [
            str(tensorflow.config.experimental.get_device_details(device).get("device_name", "GPU"))
            for device in devices
        ]
    if keras.backend.backend() == "jax":
        import jax

        return [str(device.device_kind) for device in jax.devices() if device.platform != "cpu"]
    return []
