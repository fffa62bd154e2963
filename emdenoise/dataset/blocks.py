"""Memory of batches that is used again: what the system must clear page by page costs more than reading a file does.

An array holds on to its block, and so does everything that was made of it without a copy, as tensors of TensorFlow and
JAX. Only when all of these are gone is the block lent again.
"""

import math
import mmap
import weakref
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

SMALLEST_BYTES = 2**17
"""Smaller arrays are cheap as they are [bytes]."""
LARGEST_BYTES = 2**25
"""Larger arrays are better given back to the system [bytes]."""
MAX_BLOCKS = 8
"""For two fields: a batch that is learned from, two that wait, and one that is read."""


class Loan:
    """What an array of a block and all that shares its memory hold on to; NumPy makes the array of it.

    Parameters
    ----------
    block : ndarray of uint8
    shape : tuple of int
    dtype : numpy.dtype
    """

    def __init__(self, block: npt.NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._block = block
        place = block.__array_interface__["data"]
        self.__array_interface__ = {"version": 3, "data": place, "shape": shape, "typestr": dtype.str}


class Blocks:
    """A few blocks of memory, lent as arrays.

    Examples
    --------
    >>> blocks = Blocks()
    >>> images = blocks.make_empty((10, 256, 256), np.dtype("float32"))
    >>> images.shape, images.dtype
    ((10, 256, 256), dtype('float32'))
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks: list[tuple[npt.NDArray[np.uint8], weakref.ref[Loan]]] = []

    def make_empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Give an array whose values are not set, as `numpy.empty` does."""
        num_bytes = math.prod(shape) * dtype.itemsize
        if not SMALLEST_BYTES <= num_bytes <= LARGEST_BYTES:
            return np.empty(shape, dtype)
        with self._lock:
            block = self._find_block(num_bytes)
            if block is None:
                return np.empty(shape, dtype)
            loan = Loan(block, shape, dtype)
            self._blocks.append((block, weakref.ref(loan)))
        return np.asarray(loan)

    def _find_block(self, num_bytes: int) -> npt.NDArray[np.uint8] | None:
        """Find a block that nobody has, or make one; None where there are enough already."""
        free = [place for place, (_, loan) in enumerate(self._blocks) if loan() is None]
        for place in free:
            if num_bytes <= len(self._blocks[place][0]):
                return self._blocks.pop(place)[0]
        if free:
            self._blocks.pop(free[0])  # too small: its place is for a larger one
        if len(self._blocks) == MAX_BLOCKS:
            return None
        return np.frombuffer(mmap.mmap(-1, num_bytes), np.uint8)  # at the beginning of a page, as tensors like it
