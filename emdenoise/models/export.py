"""A trained network in the formats of inference engines, and these engines as functions; how good it is, others say."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.errors import PackageError
from emdenoise.models.fusion import fuse_upsampling

Run = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Images (batch, height, width, 1) → (batch, height, width, output_channels)."""
HOW_TO_INSTALL = "pip install 'emdenoise[deploy]'"
SIDE_PX = 64
"""Of the image with which a network is called before it is exported; fits six levels."""


@dataclass(frozen=True)
class ExportFormat:
    """A format and the engine that runs it.

    Attributes
    ----------
    file_name : str
        Of the network; OpenVINO puts the weights beside it.
    precisions : tuple of str
        In which the engine can compute.
    load : callable
        ``(file, precision, shape or None) -> Run``; an engine is faster where it knows the shape of its input.
    """

    file_name: str
    precisions: tuple[str, ...]
    load: Callable[[Path, str, tuple[int, ...] | None], Run]


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, which reports each import and conversion to a server.

    Raises
    ------
    PackageError
        If it is not installed.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # OpenVINO then takes a stub of its own
    try:
        import openvino
    except ImportError as error:
        raise PackageError(f"openvino is not installed; {HOW_TO_INSTALL}.") from error
    return openvino


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime without its telemetry; raises as `import_openvino`."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise PackageError(f"onnxruntime is not installed; {HOW_TO_INSTALL}.") from error
    return onnxruntime


def run_openvino(path: Path, precision: str, shape: tuple[int, ...] | None) -> Run:
    """Compile a network for the processor; bfloat16 is computed slowly where the processor lacks it.

    A batch goes through it image by image, several at a time with a share of the cores each: activations of one image
    stay in the cache, and no core waits for another.
    """
    openvino = import_openvino()
    core = openvino.Core()
    network = core.read_model(path)
    options = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision]}
    if shape is not None:
        network.reshape([1, *shape[1:]])
    if shape is None or shape[0] == 1:
        compiled = core.compile_model(network, "CPU", options | {"PERFORMANCE_HINT": "LATENCY"})
        return lambda images: np.asarray(compiled(images)[0])
    queue = openvino.AsyncInferQueue(core.compile_model(network, "CPU", options | {"PERFORMANCE_HINT": "THROUGHPUT"}))

    def run(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        outputs: list[Any] = [None] * len(images)

        def keep(request: Any, index: int) -> None:
            outputs[index] = request.get_output_tensor().data.copy()

        queue.set_callback(keep)
        for index, image in enumerate(images):
            queue.start_async(image[None], index)
        queue.wait_all()
        return np.concatenate(outputs)

    return run


def run_onnx(path: Path, precision: str, shape: tuple[int, ...] | None) -> Run:
    """Open a network with ONNX Runtime on the processor; float32 for any shape."""
    session = import_onnxruntime().InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def export_network(model: keras.Model, path: Path, format_name: str) -> None:
    """Write a network for an inference engine, its upsamplings fused; images of any size and number go in.

    Parameters
    ----------
    model : keras.Model
    path : Path
        With the ending of the format's file.
    format_name : str
        Entry of `FORMATS`.

    Raises
    ------
    PackageError
        If a package that it needs is not installed.
    """
    import_openvino() if format_name == "openvino" else import_onnxruntime()
    fused = fuse_upsampling(model)
    fused.predict_on_batch(np.zeros((1, SIDE_PX, SIDE_PX, 1), np.float32))  # Keras exports what was called
    try:
        fused.export(str(path), format=format_name, verbose=False)
    except ImportError as error:
        raise PackageError(f"{error}; {HOW_TO_INSTALL}.") from error


FORMATS = {
    "openvino": ExportFormat("network.xml", ("float32", "bfloat16"), run_openvino),
    "onnx": ExportFormat("network.onnx", ("float32",), run_onnx),
}
"""By the names that Keras gives them."""
