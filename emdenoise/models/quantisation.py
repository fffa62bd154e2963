"""A network with 8-bit integers in its convolutions: smaller and faster, and no longer the same function."""

import logging
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTISED_LAYERS = ["Conv", "ConvTranspose"]
KEPT_PERCENT = 99.5
"""Of the values of an activation; the others are clipped. 98 to 99.999 were tried (docs/benchmark/performance.md)."""


def quantise_network(source: Path, destination: Path, examples: list[npt.NDArray[np.float32]]) -> None:
    """Quantise the convolutions of an ONNX network, weights by channel and activations by layer, after training.

    The range of an activation is that of nearly all of its values in the examples, so that a few extremes do not make
    all others coarse. The memory for it grows with the examples: 10 MiB for each of 128 × 128 px in the closed network.

    Parameters
    ----------
    source, destination : Path
        ONNX files; float32 and with quantised layers. ``destination`` is written to more than once.
    examples : list of ndarray of float32, shape (height, width)
        At least one; of the images that the network learned from.
    """
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = InferenceSession(source, providers=["CPUExecutionProvider"]).get_inputs()[0].name

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self._inputs: Iterator[dict[str, Any]] = ({name: image[None, ..., None]} for image in examples)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._inputs, None)

    with redirect_stdout(StringIO()):  # it tells of its histograms
        logging.disable(logging.WARNING)  # and advises what is done here
        try:
            quant_pre_process(source, destination, skip_symbolic_shape=True)
            quantize_static(
                destination,
                destination,
                Examples(),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                op_types_to_quantize=QUANTISED_LAYERS,
                extra_options={"CalibPercentile": KEPT_PERCENT},
            )
        finally:
            logging.disable(logging.NOTSET)
