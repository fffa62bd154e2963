"""The specimen record: the one form that every source's images take."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.intensity import IntensityScale, RowImage
from emdenoise.progress import Progress

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

VACUUM, LATTICE, DEFECT = 0, 1, 2
MASK_LABELS = {"vacuum": VACUUM, "lattice": LATTICE, "defect": DEFECT}
"""Labels of `Record.mask` for simulated graphene."""
CRYSTAL_KINDS = ("slab", "particles", "grain_boundary", "amorphous", "low_magnification", "empty")
"""Classes of whole images of source crystals; a class is the place in this list."""
PARTICLE_LABEL = "particle"
"""Name of the label that is separated into particles (`evaluation/particles.py`)."""
UNKNOWN_CLASS = -1
STATED_RANGE = "data_range"
"""Attribute with the range of the truth, in stored intensity, where it is not 1."""


@dataclass(frozen=True)
class Record:
    """One image with all that is known about it.

    Attributes
    ----------
    images : dict of str to ndarray, shape (height, width)
        By entry of `FIELDS`, of its type; ``noisy`` is always there.
    specimen : str
        Which specimen; splits never share one.
    name : str
        Where the image comes from, for messages: ``"image 17"`` or a file name.
    atoms : ndarray of float32, shape (num_atoms, 2), or None
        Row and column of each atom [px]; pixel centres are whole numbers.
    class_id : int
        Label of the whole image, or `UNKNOWN_CLASS`.
    attributes : dict of str to float
        Conditions of the image, with units in their names.
    """

    images: dict[str, npt.NDArray[Any]]
    specimen: str
    name: str
    atoms: npt.NDArray[np.float32] | None = None
    class_id: int = UNKNOWN_CLASS
    attributes: dict[str, float] = field(default_factory=dict)

    @property
    def noisy(self) -> FloatImage:
        """The detector image, float32 (height, width)."""
        image: FloatImage = self.images["noisy"]
        return image


@dataclass(frozen=True)
class Source:
    """Where images come from: an entry of `SOURCES`.

    Attributes
    ----------
    description, licence, citation : str
        For the Croissant file and the report.
    download : callable
        ``(config, raw_dir, progress) -> files``: puts the source into its folder below `raw_dir`, complete
        and verified or not at all, and returns ``{relative path: SHA-256}``. A second call
        finds the files and verifies them.
    read : callable
        ``(config, raw_dir) -> {split: records}``: an iterable of records for each split, read as they are asked for.
    choose_scales : callable
        ``(images, config, name) -> scales``: how the intensities of somebody's own images are stored, so that a network
        that was trained with this source knows them; see `dataset/intensity.py`.
    label_names : callable
        ``(config) -> names`` of the labels 0, 1, … in the masks; empty where there are none.
    class_names : callable
        ``(config) -> names`` of the classes 0, 1, … of whole images; empty where there are none.
    image_size_px : callable
        ``(config) -> side`` of the images in the canonical file [px].
    settings_sections : tuple of str
        Sections of the parameters file that decide the images.
    find_window : callable
        ``(config) -> (low, high)``: which intensities, relative to vacuum, are stored as 0 and as 1; None where images
        keep a scale of their own.
    needs_network : bool
        Whether a download needs a network, unless it has a mirror.
    find_pixel_size : callable
        ``(config) -> (low, high)``: between which pixel sizes the images are [Å]; None where nobody knows.
    simulation_section : str or None
        Section of the parameters file that says what is simulated and how many images; None where none are.
    simulate : callable or None
        ``(settings, seed, num_images) -> records`` that no split has, with the settings of that section; None where
        images cannot be simulated.
    simulate_part : callable or None
        ``(config, raw_dir, part, num_parts, progress) -> line``: simulates a part of the training images, which
        `download` then need not simulate, and returns what it did; None where images cannot be simulated.
    """

    description: str
    licence: str
    citation: str
    download: Callable[[RunConfig, Path, Progress], dict[str, str]]
    read: Callable[[RunConfig, Path], dict[Split, Iterable[Record]]]
    choose_scales: Callable[[Sequence[RowImage], RunConfig, str], tuple[IntensityScale, ...]]
    label_names: Callable[[RunConfig], list[str]] = lambda config: []
    class_names: Callable[[RunConfig], list[str]] = lambda config: []
    image_size_px: Callable[[RunConfig], int] = lambda config: config.data.tile_size_px
    settings_sections: tuple[str, ...] = ("data",)
    find_window: Callable[[RunConfig], tuple[float, float] | None] = lambda config: None
    needs_network: bool = False
    find_pixel_size: Callable[[RunConfig], tuple[float, float] | None] = lambda config: None
    simulation_section: str | None = None
    simulate: Callable[[Any, int, int], Iterable[Record]] | None = None
    simulate_part: Callable[[RunConfig, Path, int, int, Progress], str] | None = None
