"""Images of any size: other magnifications, cut into square tiles, and put together again."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.transform import rescale, resize

from emdenoise.dataset.fields import FIELDS, Kind
from emdenoise.dataset.record import Record


def plan_tiles(length_px: int, tile_size_px: int) -> list[int]:
    """Find where the tiles along one side of an image begin.

    The last tile is moved back inside, so that tiles overlap there and nowhere else.

    Parameters
    ----------
    length_px : int
        Side of the image [px], at least 1.
    tile_size_px : int
        Side of the tiles [px], at least 1.

    Returns
    -------
    list of int
        First row or column of each tile [px]; ``[0]`` if the image is smaller than a tile.

    Raises
    ------
    ValueError
        If a length is not positive.

    Examples
    --------
    >>> plan_tiles(600, 256)
    [0, 256, 344]
    """
    if length_px < 1 or tile_size_px < 1:
        raise ValueError(f"image and tile are {length_px} and {tile_size_px} px long; both must be at least 1")
    last = max(length_px - tile_size_px, 0)
    return [*range(0, last, tile_size_px), last]


def cut_tiles(image: npt.NDArray[np.generic], tile_size_px: int) -> list[tuple[int, int, npt.NDArray[np.generic]]]:
    """Cut an image into square tiles that cover it.

    Parameters
    ----------
    image : ndarray, shape (height, width)
        Sides shorter than a tile are padded below and on the right by reflection.
    tile_size_px : int
        Side of the tiles [px].

    Returns
    -------
    list of (int, int, ndarray of shape (tile_size_px, tile_size_px))
        First row and column of each tile [px], and the tile; row by row.

    Examples
    --------
    >>> [(row, column) for row, column, _ in cut_tiles(np.zeros((300, 512)), 256)]
    [(0, 0), (0, 256), (44, 0), (44, 256)]
    """
    height, width = image.shape
    padding = [(0, max(tile_size_px - length, 0)) for length in (height, width)]
    padded = np.pad(image, padding, mode="symmetric")
    return [
        (row, column, padded[row : row + tile_size_px, column : column + tile_size_px])
        for row in plan_tiles(height, tile_size_px)
        for column in plan_tiles(width, tile_size_px)
    ]


def assemble_tiles(
    tiles: Sequence[npt.NDArray[Any]], corners: Sequence[tuple[int, int]], image_shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Put the tiles of one image together, without the padding; where they overlap the last one counts.

    Parameters
    ----------
    tiles : sequence of ndarray, shape (tile_size_px, tile_size_px)
        At least one, all of one type.
    corners : sequence of (int, int)
        First row and column of each tile [px]: attributes ``tile_row_px`` and ``tile_column_px``.
    image_shape : (int, int)
        Height and width of the image [px]: attributes ``image_height_px`` and ``image_width_px``.

    Returns
    -------
    ndarray, shape image_shape

    Raises
    ------
    ValueError
        If the tiles leave a pixel uncovered.

    Examples
    --------
    >>> image = np.arange(12).reshape(3, 4)
    >>> cut = cut_tiles(image, 2)
    >>> assembled = assemble_tiles([tile for *_, tile in cut], [(row, column) for row, column, _ in cut], image.shape)
    >>> np.array_equal(assembled, image)
    True
    """
    image = np.zeros(image_shape, tiles[0].dtype)
    is_covered = np.zeros(image_shape, np.bool_)
    for tile, (row, column) in zip(tiles, corners, strict=True):
        place = np.s_[row : row + tile.shape[0], column : column + tile.shape[1]]
        height, width = image[place].shape
        image[place] = tile[:height, :width]
        is_covered[place] = True
    if not is_covered.all():
        raise ValueError(f"{np.count_nonzero(~is_covered)} pixels are in no tile; all tiles of the image are needed")
    return image


def scale_record(record: Record, factor: float) -> Record:
    """Make a whole image larger or smaller, as another magnification shows it.

    Parameters
    ----------
    record : Record
        With neither wave nor atoms.
    factor : float
        Of both sides; the pixel size is divided by it. Below 1 the image is smoothed first, so that nothing folds over.

    Returns
    -------
    Record
        Intensities are interpolated linearly, labels are those of the nearest pixel.
    """
    if factor == 1:
        return record
    scaled = {name: _scale(image, factor, FIELDS[name].kind) for name, image in record.images.items()}
    attributes = dict(record.attributes)
    if "pixel_size_angstrom" in attributes:
        attributes["pixel_size_angstrom"] /= factor
    return dataclasses.replace(record, images=scaled, attributes=attributes)


def _scale(image: npt.NDArray[Any], factor: float, kind: Kind) -> npt.NDArray[Any]:
    if kind == "complex":
        raise ValueError("a wave cannot be scaled; give a record without one")
    if kind == "labels":
        scaled: npt.NDArray[Any] = rescale(image, factor, order=0, mode="symmetric", anti_aliasing=False)
    else:
        scaled = rescale(image, factor, order=1, mode="symmetric", anti_aliasing=factor < 1, preserve_range=True)
    return scaled


def resize_image(image: npt.NDArray[Any], shape: tuple[int, int], kind: Kind) -> npt.NDArray[Any]:
    """Bring what was scaled as `scale_record` does back to its size, by the same rules.

    Examples
    --------
    >>> resize_image(np.array([[0, 2], [3, 5]], np.uint8), (4, 4), "labels")[0].tolist()
    [0, 0, 2, 2]
    """
    if kind == "labels":
        resized = resize(image, shape, order=0, mode="symmetric", anti_aliasing=False, preserve_range=True)
    else:
        is_smaller = shape[0] < image.shape[0]
        resized = resize(image, shape, order=1, mode="symmetric", anti_aliasing=is_smaller, preserve_range=True)
    return resized.astype(image.dtype)


def cut_record(record: Record, tile_size_px: int) -> Iterator[Record]:
    """Cut a whole image with all of its fields into records of one tile each.

    Parameters
    ----------
    record : Record
        With fields of one shape and no atoms.
    tile_size_px : int
        Side of the tiles [px].

    Yields
    ------
    Record
        Of the same specimen, with the attributes ``tile_row_px``, ``tile_column_px``, ``image_height_px`` and
        ``image_width_px`` that `assemble_tiles` needs.

    Raises
    ------
    ValueError
        If the record has atoms, or fields of different shapes.
    """
    if record.atoms is not None:
        raise ValueError(f"{record.name} has atoms, which are not cut; give a record of images alone")
    height, width = record.noisy.shape
    cuts: dict[str, list[tuple[int, int, Any]]] = {}
    for name, image in record.images.items():
        if image.shape != record.noisy.shape:
            raise ValueError(f"{record.name}: {name} is {image.shape}, noisy is {record.noisy.shape}; must be equal")
        cuts[name] = cut_tiles(image, tile_size_px)
    for index, (row, column, _) in enumerate(cuts["noisy"]):
        position = {"tile_row_px": row, "tile_column_px": column, "image_height_px": height, "image_width_px": width}
        yield dataclasses.replace(
            record,
            images={name: tiles[index][2] for name, tiles in cuts.items()},
            name=f"{record.name} row {row} column {column}",
            attributes=record.attributes | {key: float(value) for key, value in position.items()},
        )
