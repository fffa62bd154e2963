"""The same network in fewer layers, where it only predicts (docs/decisions/0012-fused-upsampling.md)."""

import keras
import numpy as np
import numpy.typing as npt

TAPS = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float64)
"""Each of the four taps of a transposed convolution of stride 2 is the sum of these of the three of a convolution."""


def fuse_upsampling(model: keras.Model) -> keras.Model:
    """Replace nearest-neighbour upsampling, concatenation and convolution by two convolutions and a sum.

    A convolution of joined channels is the sum of two convolutions; one after a nearest-neighbour upsampling is a
    transposed convolution with 4/9 of the operations (doi:10.48550/arXiv.1609.07009). Nothing is approximated:
    results differ by rounding. Layers of other shapes stay as they are.

    Parameters
    ----------
    model : keras.Model
        A trained network of one path; it stays as it is.

    Returns
    -------
    keras.Model
        For inference: it shares no weights with the network.
    """
    inputs = {tensor.name: keras.Input(tensor.shape[1:], name=tensor.name) for tensor in model.inputs}
    layers = {layer.output.name: layer for layer in model.layers}
    made = dict(inputs)

    def make(tensor: keras.KerasTensor) -> keras.KerasTensor:
        if tensor.name not in made:
            layer = layers[tensor.name]
            parts = _find_parts(layer, layers)
            if parts is None:
                inputs = [make(part) for part in _list_inputs(layer)]
                copy = type(layer).from_config(layer.get_config())
                made[tensor.name] = copy(inputs if len(inputs) > 1 else inputs[0])
                copy.set_weights(layer.get_weights())
            else:
                below, skip = parts
                made[tensor.name] = _convolve_parts(layer, make(below), make(skip))
        return made[tensor.name]

    return keras.Model(inputs if len(inputs) > 1 else inputs[model.input.name], make(model.output), name=model.name)


def _list_inputs(layer: keras.Layer) -> list[keras.KerasTensor]:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _find_parts(
    layer: keras.Layer, layers: dict[str, keras.Layer]
) -> tuple[keras.KerasTensor, keras.KerasTensor] | None:
    """Give what a convolution of upsampled and skipped feature maps is made of; None for any other layer."""
    if type(layer) is not keras.layers.Conv2D or layer.kernel_size != (3, 3) or layer.strides != (1, 1):
        return None
    join = layers[layer.input.name]
    if layer.padding != "same" or layer.dilation_rate != (1, 1) or not isinstance(join, keras.layers.Concatenate):
        return None
    raised, *skips = _list_inputs(join)
    upsampling = layers[raised.name]
    if not isinstance(upsampling, keras.layers.UpSampling2D) or len(skips) != 1:
        return None
    if upsampling.size != (2, 2) or upsampling.interpolation != "nearest":
        return None
    return upsampling.input, skips[0]


def _convolve_parts(layer: keras.layers.Conv2D, below: keras.KerasTensor, skip: keras.KerasTensor) -> keras.KerasTensor:
    """Convolve the two parts on their own, add them and apply the activation."""
    kernel, *bias = layer.get_weights()
    of_below, of_skip = np.split(kernel, [below.shape[-1]], axis=2)
    transposed = keras.layers.Conv2DTranspose(
        layer.filters,
        4,
        strides=2,
        padding="same",
        use_bias=False,
        dtype=layer.dtype_policy,
        name=f"{layer.name}_below",
    )
    config = layer.get_config() | {"name": f"{layer.name}_skip", "activation": None}
    convolution = keras.layers.Conv2D.from_config(config)
    parts = [convolution(skip), transposed(below)]
    convolution.set_weights([of_skip, *bias])
    transposed.set_weights([_transpose_kernel(of_below)])
    total = keras.layers.Add(dtype=layer.dtype_policy, name=f"{layer.name}_sum")(parts)
    return keras.layers.Activation(layer.activation, dtype=layer.dtype_policy, name=layer.name)(total)


def _transpose_kernel(kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn a kernel (3, 3, channels, filters) for upsampled images into one (4, 4, filters, channels) for images."""
    return np.einsum("ay,bx,yxcf->abfc", TAPS, TAPS, kernel.astype(np.float64)).astype(np.float32)
