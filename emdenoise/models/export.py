"""A trained network in the formats of inference engines, and these engines as functions; how good it is, others say."""

import errno
import os
import shutil
import sys
import tempfile
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
from emdenoise.models.quantisation import quantise_network

Run = Callable[[Any], npt.NDArray[Any]]
"""Images (batch, height, width, channels), or a dict of them, → (batch, height, width, output_channels)."""
Examples = list[npt.NDArray[np.float32]]
"""Images (height, width) that a network learned from; needed where `ExportFormat.needs_examples`."""
HOW_TO_INSTALL = "pip install 'emdenoise[deploy]'"
ROOM_BYTES = 1_000_000
"""For what OpenVINO writes of an 8-bit network beside its weights."""
SIDE_PX = 128
"""Of the image with which a network is called before it is exported; fits seven levels."""


@dataclass(frozen=True)
class ExportFormat:
    """A format and the engine that runs it.

    Attributes
    ----------
    file_name : str
        Of the network; OpenVINO puts the weights beside it.
    precisions : tuple of str
        In which the engine can compute.
    write : callable
        ``(network, file, examples)``; see `export_network`.
    load : callable
        ``(file, precision, shape or None) -> Run``; an engine is faster where it knows the shape of its input.
    """

    file_name: str
    precisions: tuple[str, ...]
    write: Callable[[keras.Model, Path, Examples], None]
    load: Callable[[Path, str, tuple[int, ...] | None], Run]

    @property
    def needs_examples(self) -> bool:
        """Whether the ranges of intermediate values must be known."""
        return "int8" in self.precisions


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
    options = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "int8": "f32", "bfloat16": "bf16"}[precision]}
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


def export_network(model: keras.Model, path: Path, format_name: str, examples: Examples | None = None) -> None:
    """Write a network for an inference engine, its upsamplings fused; images of any size and number go in.

    Parameters
    ----------
    model : keras.Model
    path : Path
        With the ending of the format's file.
    format_name : str
        Entry of `FORMATS`.
    examples : list of ndarray of float32, shape (height, width), or None
        What the format needs of them: sides are multiples of what the network needs.

    Raises
    ------
    PackageError
        If a package that it needs is not installed.
    """
    fused = fuse_upsampling(model)
    fused.predict_on_batch(np.zeros((1, SIDE_PX, SIDE_PX, 1), np.float32))  # Keras exports what was called
    try:
        FORMATS[format_name].write(fused, path, examples or [])
    except ImportError as error:
        raise PackageError(f"{error}; {HOW_TO_INSTALL}.") from error


def _write_openvino(model: keras.Model, path: Path, examples: Examples) -> None:
    import_openvino()
    model.export(str(path), format="openvino", verbose=False)


def _write_onnx(model: keras.Model, path: Path, examples: Examples) -> None:
    import_onnxruntime()
    model.export(str(path), format="onnx", verbose=False)


def _write_openvino_int8(model: keras.Model, path: Path, examples: Examples) -> None:
    """Quantise with ONNX Runtime, and leave it to OpenVINO, which runs the result faster."""
    openvino = import_openvino()
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as name:
        plain, quantised = Path(name) / "plain.onnx", Path(name) / "quantised.onnx"
        _write_onnx(model, plain, examples)
        _make_sure_of_room(path.parent, num_bytes=4 * plain.stat().st_size + ROOM_BYTES)
        quantise_network(plain, quantised, examples)
        openvino.save_model(openvino.Core().read_model(quantised), path, compress_to_fp16=False)


def _make_sure_of_room(folder: Path, *, num_bytes: int) -> None:
    """Raise the system's error where the disk has no room: the engines cut a file short then, and do not say so."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        elif shutil.disk_usage(folder).free < num_bytes:  # macOS
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FORMATS = {
    "openvino": ExportFormat("network.xml", ("float32", "bfloat16"), _write_openvino, run_openvino),
    "openvino-int8": ExportFormat("network.xml", ("int8",), _write_openvino_int8, run_openvino),
    "onnx": ExportFormat("network.onnx", ("float32",), _write_onnx, run_onnx),
}
"""By the names of the option ``--export_format``."""
