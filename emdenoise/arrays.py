"""Types of image arrays, checks where they enter the program, and an even choice of them."""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
"""float32 images in [0, 1], shape (height, width) or (num_images, height, width)."""
Mask = npt.NDArray[np.uint8]
"""uint8 labels, shape (height, width) or (num_images, height, width)."""
Sample = dict[str, npt.NDArray[Any]]
"""Fields by name (`dataset/fields.py`), each (batch, height, width, channels); a complex field has two channels."""
Values = npt.NDArray[np.float64]
"""float64 numbers, shape (num_values,)."""


def choose_evenly(num_items: int, num_wanted: int) -> npt.NDArray[np.intp]:
    """Choose evenly spaced items, all where there are fewer; returns their indices.

    Examples
    --------
    >>> choose_evenly(5, 3).tolist(), choose_evenly(2, 3).tolist()
    ([0, 2, 4], [0, 1])
    """
    return np.unique(np.linspace(0, num_items - 1, min(num_wanted, num_items)).round().astype(np.intp))


def describe(array: npt.NDArray[np.generic]) -> str:
    """Say shape and type of an array as messages do: ``float32 (4, 256, 256)``."""
    return f"{array.dtype} {tuple(array.shape)}"


def check_pair(noisy: npt.NDArray[np.generic], clean: npt.NDArray[np.generic]) -> None:
    """Check that images and their truth fit together and are not the same images.

    Parameters
    ----------
    noisy, clean : ndarray, shape (num_images, height, width)

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite, or an image is its own truth.
    """
    if noisy.ndim != 3 or noisy.shape != clean.shape:
        raise ValueError(f"images are {describe(noisy)}, their truth is {describe(clean)}; the shapes must be equal")
    for name, images in (("noisy", noisy), ("clean", clean)):
        if not np.isfinite(images).all():
            raise ValueError(f"{name} images hold NaN or infinite values")
    same = [index for index in range(len(noisy)) if np.array_equal(noisy[index], clean[index])]
    if same:
        raise ValueError(f"image {same[0]} is its own truth: noisy and clean are identical")
