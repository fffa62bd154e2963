"""Images and labels at another size: windows of any place and scale, with mirrored borders.

Rows and columns are resampled one after the other, each by one sparse matrix, with the triangular kernel of linear
interpolation. The kernel grows with the step where the result is coarser than the image, so that nothing folds over.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from emdenoise.arrays import FloatImage


def make_weights(length_px: int, start_px: float, stop_px: float, size: int) -> sparse.csr_array:
    """Weights by which a line of pixels becomes the pixels that divide a part of it evenly.

    Parameters
    ----------
    length_px : int
        Pixels of the line, which is mirrored at its ends without end.
    start_px, stop_px : float
        Where the part begins and ends, in pixels from the beginning of the line; it may reach beyond both ends.
    size : int
        Pixels of the result.

    Returns
    -------
    sparse array of float32, shape (size, length_px)
        The weights of each row add up to 1.

    Raises
    ------
    ValueError
        If a length is not positive.

    Examples
    --------
    >>> make_weights(4, 0, 4, 2).toarray().tolist()
    [[0.5, 0.375, 0.125, 0.0], [0.0, 0.125, 0.375, 0.5]]
    >>> make_weights(2, -2, 4, 6).toarray().argmax(axis=1).tolist()
    [1, 0, 0, 1, 1, 0]
    """
    if length_px < 1 or size < 1 or stop_px <= start_px:
        raise ValueError(
            f"a line of {length_px} px, the part from {start_px:g} to {stop_px:g} px and {size} px of result"
        )
    step = (stop_px - start_px) / size
    width = max(step, 1.0)
    centres = start_px + (np.arange(size) + 0.5) * step - 0.5
    around = np.arange(-int(np.ceil(width)), int(np.ceil(width)) + 2)
    places = np.floor(centres)[:, None].astype(np.intp) + around
    weights = np.maximum(1 - np.abs(places - centres[:, None]) / width, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    turned = places % (2 * length_px)
    columns = np.where(turned < length_px, turned, 2 * length_px - 1 - turned)
    rows = np.broadcast_to(np.arange(size)[:, None], places.shape)
    matrix = sparse.coo_array((weights.ravel(), (rows.ravel(), columns.ravel())), shape=(size, length_px))
    return matrix.tocsr().astype(np.float32)


def resample(image: npt.NDArray[np.generic], rows: sparse.csr_array, columns: sparse.csr_array) -> FloatImage:
    """Resample the rows and columns of an image.

    Parameters
    ----------
    image : ndarray, shape (height, width)
    rows, columns : sparse array, shape (size, height) and (size, width)
        Of `make_weights`.

    Returns
    -------
    ndarray of float32, shape (size of rows, size of columns)
    """
    result: FloatImage = np.ascontiguousarray((columns @ (rows @ image.astype(np.float32)).T).T)
    return result


def resample_labels(
    labels: npt.NDArray[np.integer], rows: sparse.csr_array, columns: sparse.csr_array
) -> npt.NDArray[np.integer]:
    """Resample labels: each pixel gets the label that has the largest share of it; of equal ones, the lowest.

    Returns
    -------
    ndarray of the type of `labels`

    Examples
    --------
    >>> half = make_weights(4, 0, 4, 2)
    >>> resample_labels(np.array([[7, 7, 0, 0]] * 4, np.uint8), half, half).tolist()
    [[7, 0], [7, 0]]
    """
    is_small = labels.dtype == np.uint8  # to count is ten times faster than to sort
    lowest, *names = np.flatnonzero(np.bincount(labels.ravel())).astype(np.uint8) if is_small else np.unique(labels)
    largest = resample(labels == lowest, rows, columns)
    chosen: npt.NDArray[np.integer] = np.full(largest.shape, lowest)
    for name in names:
        share = resample(labels == name, rows, columns)
        chosen[share > largest] = name
        np.maximum(largest, share, out=largest)
    return chosen


def plan_canvas(height_px: int, width_px: int, side_px: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Weights that fit an image into a square whose side is the long side of the image; its border is mirrored.

    Returns
    -------
    rows, columns : sparse array, shape (side_px, height_px) and (side_px, width_px)
    """
    long = max(height_px, width_px)
    rows, columns = (
        make_weights(length, (length - long) / 2, (length + long) / 2, side_px) for length in (height_px, width_px)
    )
    return rows, columns


def plan_return(height_px: int, width_px: int, side_px: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Weights that bring what was computed on the canvas of `plan_canvas` back to the image.

    Returns
    -------
    rows, columns : sparse array, shape (height_px, side_px) and (width_px, side_px)
    """
    share = side_px / max(height_px, width_px)
    rows, columns = (
        make_weights(side_px, (side_px - length * share) / 2, (side_px + length * share) / 2, length)
        for length in (height_px, width_px)
    )
    return rows, columns
