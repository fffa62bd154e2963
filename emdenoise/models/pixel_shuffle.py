"""Images as cells of pixels and back: the channels of a cell are its pixels (doi:10.1109/CVPR.2016.207)."""

from typing import Any

import keras
import numpy as np
from keras import ops


class _Shuffle(keras.layers.Layer):
    def __init__(self, side_px: int, **options: Any) -> None:
        super().__init__(**options)
        self.side_px = side_px

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` needs."""
        config: dict[str, Any] = super().get_config()
        return config | {"side_px": self.side_px}


class PixelUnshuffle(_Shuffle):
    """Turn cells of `side_px` × `side_px` pixels into one with all their channels; sides are multiples of it."""

    def call(self, images: Any) -> Any:
        """(batch, height, width, channels) → (batch, height / side, width / side, side² · channels)."""
        side = self.side_px
        return ops.concatenate(
            [images[:, row::side, column::side] for row in range(side) for column in range(side)], axis=-1
        )


class PixelShuffle(_Shuffle):
    """Undo `PixelUnshuffle`."""

    def call(self, cells: Any) -> Any:
        """(batch, height, width, side² · channels) → (batch, side · height, side · width, channels).

        A transposed convolution by ones and zeros: no size of an image stands in the graph, which engines read.
        """
        side, depth = self.side_px, cells.shape[-1]
        kernel = np.eye(depth, dtype="float32").reshape(side, side, depth // side**2, depth)
        return ops.conv_transpose(cells, ops.cast(kernel, cells.dtype), strides=side, padding="valid")
