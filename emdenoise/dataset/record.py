"""The specimen record: the one form that every source's images take."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, Mask
from emdenoise.config.schema import RunConfig
from emdenoise.progress import Progress

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

VACUUM, LATTICE, DEFECT = 0, 1, 2
MASK_LABELS = {"vacuum": VACUUM, "lattice": LATTICE, "defect": DEFECT}
"""Labels of `Record.mask` for simulated graphene."""
UNKNOWN_CLASS = -1


@dataclass(frozen=True)
class Record:
    """One image with all that is known about it.

    Attributes
    ----------
    noisy : ndarray of float32, shape (height, width)
        Detector image, intensity near [0, 1].
    specimen : str
        Which specimen; splits never share one.
    name : str
        Where the image comes from, for messages: ``"image 17"`` or a file name.
    clean : ndarray of float32, shape (height, width), or None
        Noise-free intensity in [0, 1].
    mask : ndarray of uint8, shape (height, width), or None
        Semantic labels.
    wave : ndarray of complex64, shape (height, width), or None
        Exit wave; vacuum has modulus 1.
    atoms : ndarray of float32, shape (num_atoms, 2), or None
        Row and column of each atom [px]; pixel centres are whole numbers.
    class_id : int
        Label of the whole image, or `UNKNOWN_CLASS`.
    attributes : dict of str to float
        Conditions of the image, with units in their names.
    """

    noisy: FloatImage
    specimen: str
    name: str
    clean: FloatImage | None = None
    mask: Mask | None = None
    wave: npt.NDArray[np.complex64] | None = None
    atoms: npt.NDArray[np.float32] | None = None
    class_id: int = UNKNOWN_CLASS
    attributes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where images come from: an entry of `catalog.SOURCES`.

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
    mask_labels : dict of str to int
        Names of the labels in the masks.
    needs_network : bool
        Whether a download needs a network, unless it has a mirror.
    """

    description: str
    licence: str
    citation: str
    download: Callable[[RunConfig, Path, Progress], dict[str, str]]
    read: Callable[[RunConfig, Path], dict[Split, Iterable[Record]]]
    mask_labels: dict[str, int]
    needs_network: bool
