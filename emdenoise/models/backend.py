"""What differs between the backends of Keras: determinism, compilation, when losses arrive, the device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from emdenoise.config.schema import TrainingSettings
from emdenoise.errors import MEMORY_MESSAGES, ResourceError
from emdenoise.seeding import derive_seed

DEPENDED_ON: dict[str, Any] = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
"""Settings of Keras that decide the numbers, with the values that this program is written for. A file of the user,
``~/.keras/keras.json``, may say otherwise."""


def prepare_backend(settings: TrainingSettings, seed: int) -> None:
    """Set seed, precision, determinism and all that the numbers depend on, before the network is built.

    Parameters
    ----------
    settings : TrainingSettings
    seed : int
        Seed of the run; starting weights and dropout follow from it.
    """
    let_memory_grow()
    keras.utils.set_random_seed(derive_seed(seed, "weights"))
    _configure(DEPENDED_ON)
    keras.config.set_dtype_policy(settings.precision)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        if settings.deterministic:
            tensorflow.config.experimental.enable_op_determinism()


def let_memory_grow() -> None:
    """Let TensorFlow take memory of the accelerators as it needs it, not all at once; must come before its first use.

    JAX decides that when it is loaded, by its variable ``XLA_PYTHON_CLIENT_PREALLOCATE``.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow

    for device in tensorflow.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):  # somebody used it before, and its memory is given out already
            tensorflow.config.experimental.set_memory_growth(device, enable=True)


@contextmanager
def borrow_backend(precision: str) -> Iterator[None]:
    """Build networks in a process that belongs to somebody else, whose settings of Keras stay as they were.

    Parameters
    ----------
    precision : str
        `TrainingSettings.precision`.
    """
    policy = keras.config.dtype_policy()
    before = {name: getattr(keras.config, name)() for name in DEPENDED_ON}
    _configure(DEPENDED_ON)
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        _configure(before)
        keras.config.set_dtype_policy(policy)


def _configure(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        getattr(keras.config, f"set_{name}")(value)


@contextmanager
def explain_memory(remedy: str) -> Iterator[None]:
    """Turn the errors of a machine or an accelerator with too little memory into one `ResourceError`.

    Parameters
    ----------
    remedy : str
        What needs less memory.
    """
    try:
        yield
    except _list_memory_errors() as error:
        if not isinstance(error, MemoryError) and not MEMORY_MESSAGES.search(str(error)):
            raise
        place = "the memory" if isinstance(error, MemoryError) else f"the memory of {describe_device()}"
        raise ResourceError(f"{place} is too small for this network and these images; use {remedy}.") from error


def _list_memory_errors() -> tuple[type[Exception], ...]:
    """List what Python and the backend raise for want of memory, among others; JAX and PyTorch a `RuntimeError`."""
    if keras.backend.backend() != "tensorflow":
        return MemoryError, RuntimeError
    import tensorflow

    return MemoryError, RuntimeError, tensorflow.errors.OpError


def describe_device() -> str:
    """Name the device that computes."""
    return ", ".join(dict.fromkeys(list_accelerators())) or "this machine"


def find_free_bytes() -> int | None:
    """Say how much memory the device that computes has left; None where the backend or the system does not say."""
    if not list_accelerators():
        memory = Path("/proc/meminfo")
        lines = memory.read_text(encoding="ascii").splitlines() if memory.exists() else []
        available = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
        return 1024 * int(available[0]) if available else None
    if keras.backend.backend() == "tensorflow":
        return None
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    return stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None


def make_cutter(shape: tuple[int, int]) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """Compile a function that cuts and turns pieces of images on the device, all by one gather.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the pieces.

    Returns
    -------
    callable
        ``(images, pieces) -> sample``. Images by field, each (num_images, pixels, channels). Pieces are int (batch, 4):
        the number of the image, the number of the first pixel in it, and the steps from there to the pixel below and to
        the one on the right. The sample by field, each (batch, height, width, channels).
    """
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])

    def cut(images: Mapping[str, Any], pieces: Any) -> dict[str, Any]:
        number, first, down, right = (pieces[:, part, None, None] for part in range(4))
        pixels = first + down * rows + right * columns
        numbers = number + 0 * pixels
        if not is_tensorflow:
            return {name: stack[numbers, pixels] for name, stack in images.items()}
        places = tensorflow.stack([numbers, pixels], axis=-1)
        return {name: tensorflow.gather_nd(stack, places) for name, stack in images.items()}

    is_tensorflow = keras.backend.backend() == "tensorflow"
    if is_tensorflow:
        import tensorflow

        compiled: Callable[[Mapping[str, Any], Any], dict[str, Any]] = tensorflow.function(cut)
        return compiled
    import jax

    return jax.jit(cut)


def choose_compilation() -> bool:
    """Say whether Keras shall compile with XLA: on the CPU with TensorFlow it makes this network slower."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return bool(tensorflow.config.list_physical_devices("GPU"))
    return True


class LossesOnDevice:
    """The train function of a compiled network, whose losses stay on the device.

    `train_on_batch` of Keras turns the losses into numbers, and so waits for the device at every step. From this
    function it gets no losses; they are kept here.

    Parameters
    ----------
    function : callable
        What `make_train_function` of Keras made.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.losses: dict[str, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Learn from a batch; gives what Keras expects, without the losses."""
        result = self._function(*arguments)
        if not isinstance(result, tuple):
            self.losses = result
            return {}
        self.losses, state = result  # JAX gives the weights, too
        return {}, state


def learn_batch(model: keras.Model, inputs: Any, targets: Any) -> dict[str, Any]:
    """Train a compiled network on one batch, without waiting for the device.

    Parameters
    ----------
    model : keras.Model
    inputs, targets : ndarray, or dict or list of ndarray
        As `train_on_batch` takes them; JAX may go on reading them, so nobody may change them afterwards.

    Returns
    -------
    dict of str to tensor
        Scalars on the device, by the name of the loss; `fetch` gives the numbers.
    """
    model.make_train_function()
    if not isinstance(model.train_function, LossesOnDevice):
        model.train_function = LossesOnDevice(model.train_function)
    model.reset_metrics()  # whether Keras adds up the batches before does not matter
    model.train_on_batch(inputs, targets, return_dict=True)
    losses: dict[str, Any] = model.train_function.losses
    return losses


def fetch(values: Sequence[Any]) -> list[float]:
    """Give scalars on the device as numbers, exactly; waits until the device has computed them."""
    if keras.backend.backend() == "jax":
        import jax

        values = jax.device_get(list(values))  # all of them are on their way before the first is waited for
    return [float(keras.ops.convert_to_numpy(value)) for value in values]


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
