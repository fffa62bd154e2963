"""Whether the networks of the public codes are ours: weights by layer, and outputs for the same weights and images."""

from pathlib import Path
from typing import Any

import numpy as np
from ours import build_ours

UNITS = {"Conv2D": "convolution", "Conv2d": "convolution", "BatchNormalization": "normalisation"}
UNITS["BatchNorm2d"] = "normalisation"
"""Kinds of layers with weights, by their class in Keras and in PyTorch."""


def compare_network(layers: list[tuple[str, int]], probe_file: Path) -> dict[str, Any]:
    """Compare a trained network with ours after its weights were copied.

    Parameters
    ----------
    layers : list of (str, int)
        Class and number of weights of each layer of the other network, in order.
    probe_file : Path
        Of the training: ``weight_NNN`` in Keras' order and layout, ``inputs`` (n, 256, 256, 1), ``outputs``, and
        perhaps ``outputs_adapted`` of the network with Keras' upsampling and normalisation.

    Returns
    -------
    dict
        ``layers_are_equal``, ``num_weights``, and for each kind of outputs the largest absolute difference, and the
        root mean square of the outputs to compare it with.
    """
    model = build_ours()
    ours = [(type(layer).__name__, layer.count_params()) for layer in model.layers]
    with np.load(probe_file) as probe:
        weights = [probe[name] for name in sorted(probe.files) if name.startswith("weight_")]
        shapes = [tuple(weight.shape) for weight in weights]
        found: dict[str, Any] = {
            "layers_are_equal": _list_weights(layers) == _list_weights(ours),
            "shapes_are_equal": shapes == [tuple(weight.shape) for weight in model.get_weights()],
            "num_layers_with_weights": len(_list_weights(layers)),
            "num_weights": sum(number for _, number in _list_weights(layers)),
            "num_weights_of_ours": model.count_params(),
        }
        if not found["shapes_are_equal"]:
            return found
        model.set_weights(weights)
        outputs = model.predict_on_batch(probe["inputs"])
        for name in (name for name in probe.files if name.startswith("outputs")):
            found[f"largest_difference_of_{name}"] = float(np.abs(outputs - probe[name]).max())
        found["root_mean_square_of_outputs"] = float(np.sqrt(np.square(outputs).mean()))
    return found


def _list_weights(layers: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(UNITS[kind], number) for kind, number in layers if number]
