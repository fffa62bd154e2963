"""What `emdenoise predict` writes of the particles of an image, beside its labels: table, outlines, sizes, numbers."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Values
from emdenoise.errors import SettingsError
from emdenoise.evaluation.particles import Particles, Table, measure_particles, separate_particles
from emdenoise.files.atomic import write_atomically
from emdenoise.files.pictures import check_picture, write_colours, write_pictures
from emdenoise.results.outlines import Outlines, Picture, draw_outlines

WHOLE_COLOUR, CUT_COLOUR = (255, 190, 0), (0, 190, 255)
"""Of the outlines of particles, and of those that the border of the image cuts (red, green, blue)."""
LARGEST_UINT16 = 2**16 - 1


@dataclass(frozen=True)
class ParticleFiles:
    """Where the particles of one result go.

    Attributes
    ----------
    table : Path
        Of all particles.
    outlines, outlines_of_stack : Path
        Outlines over the image; a stack has one page an image.
    sizes : Path
        Histogram of the diameters.
    numbers : Path
        Number of the particle of each pixel.
    """

    table: Path
    outlines: Path
    outlines_of_stack: Path
    sizes: Path
    numbers: Path


def name_particle_files(result: Path, images: Iterable[Path]) -> ParticleFiles:
    """Name the files of the particles after the result with the labels; none of them is an image.

    Parameters
    ----------
    result : Path
        With the labels.
    images : iterable of Path
        All that is read.

    Raises
    ------
    SettingsError
        If one would be written over an image.

    Examples
    --------
    >>> name_particle_files(Path("run/scan.segmented.tif"), []).table.as_posix()
    'run/scan.particles.csv'
    """
    stem = result.stem.removesuffix(".segmented")
    files = ParticleFiles(
        table=result.with_name(f"{stem}.particles.csv"),
        outlines=result.with_name(f"{stem}.outlines.png"),
        outlines_of_stack=result.with_name(f"{stem}.outlines.tif"),
        sizes=result.with_name(f"{stem}.sizes.png"),
        numbers=result.with_name(f"{stem}.particles{result.suffix}"),
    )
    originals = {image.resolve() for image in images}
    for file in vars(files).values():
        if file.resolve() in originals:
            raise SettingsError(
                f"the particles of {result.name} would be written over {file.name}, which is an image to read; leave "
                "that image out, or give another --output."
            )
    return files


def write_particles(
    files: ParticleFiles,
    masks: npt.NDArray[np.bool_],
    images: Sequence[FloatImage],
    pixel_size_angstrom: float | None,
) -> str:
    """Separate and measure the particles of all images, and write all files, each whole or not at all.

    Parameters
    ----------
    files : ParticleFiles
    masks : ndarray of bool, shape (num_images, height, width)
        Whether a pixel is particle.
    images : sequence of ndarray of float32, shape (height, width)
        What the outlines are drawn over.
    pixel_size_angstrom : float or None
        Pixel size [Å]; None where it is not known.

    Returns
    -------
    str
        Number of particles and their median diameter, in words.

    Raises
    ------
    SettingsError
        If a TIFF cannot hold the numbers of as many particles.
    StorageError
        If there is no room, or the folder cannot be written.
    """
    pages = [separate_particles(mask) for mask in masks]
    tables = [measure_particles(particles, pixel_size_angstrom) for particles in pages]
    _write_numbers(files.numbers, pages, pixel_size_angstrom)
    _write_table(files.table, tables)
    outlines = (
        _draw_particles(image, particles, table["particle"][table["touches_border"] == 1])
        for image, particles, table in zip(images, pages, tables, strict=True)
    )
    write_colours(files.outlines_of_stack if len(pages) > 1 else files.outlines, outlines, shape=masks.shape)
    unit = "px" if pixel_size_angstrom is None else "nm"
    is_cut = np.concatenate([table["touches_border"] for table in tables]) == 1
    diameters = np.concatenate([table[f"equivalent_diameter_{unit}"] for table in tables])[~is_cut]
    _write_sizes(files.sizes, diameters, unit, num_cut=int(is_cut.sum()))
    return describe_particles(diameters, unit, num_cut=int(is_cut.sum()))


def describe_particles(diameters: Values, unit: str, *, num_cut: int) -> str:
    """Say how many particles there are and how large.

    Examples
    --------
    >>> describe_particles(np.array([3.0, 4.0, 8.0]), "nm", num_cut=2)
    '5 particles, 2 of them cut by the border, median diameter of the others 4 nm'
    """
    total = len(diameters) + num_cut
    words = f"{total} particle{'' if total == 1 else 's'}"
    if num_cut:
        words += f", {num_cut} of them cut by the border"
    if len(diameters):
        words += f", median diameter{' of the others' if num_cut else ''} {np.median(diameters):.3g} {unit}"
    return words


def _draw_particles(image: FloatImage, particles: Particles, cut: npt.NDArray[np.integer[Any]]) -> Picture:
    """Draw the outline of each particle over the image; those of these numbers are cut by the border."""
    is_cut = np.isin(particles, cut)
    layers = [(np.where(is_cut, 0, particles), WHOLE_COLOUR), (np.where(is_cut, particles, 0), CUT_COLOUR)]
    return draw_outlines(image, [Outlines(*layer) for layer in layers])


def _write_numbers(path: Path, pages: Sequence[Particles], pixel_size_angstrom: float | None) -> None:
    largest = max(int(particles.max()) for particles in pages)
    dtype = np.uint16 if largest <= LARGEST_UINT16 else np.uint32
    shape = (len(pages), *pages[0].shape)
    check_picture(path, shape, dtype)
    write_pictures(path, pages, shape=shape, dtype=dtype, pixel_size_angstrom=pixel_size_angstrom)


def _write_table(path: Path, tables: Sequence[Table]) -> None:
    """Write one row for each particle; pages are counted from 1, as ImageJ counts them."""
    with write_atomically(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["page", *tables[0]])
        for page, table in enumerate(tables, start=1):
            for values in zip(*(column.tolist() for column in table.values()), strict=True):
                shown = (f"{value:.6g}" if isinstance(value, float) else value for value in values)
                rows.writerow([page, *shown])


def _write_sizes(path: Path, diameters: Values, unit: str, *, num_cut: int) -> None:
    from emdenoise.results.figures import draw_sizes  # which takes a while, and other networks need none of it

    with write_atomically(path) as partial:
        partial.write_bytes(draw_sizes({"": diameters}, unit, describe_particles(diameters, unit, num_cut=num_cut)))
