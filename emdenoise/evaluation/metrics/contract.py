"""What a metric declares; tables, reports, studies and the verification of results loop over it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.dataset.fields import Kind

Scores = npt.NDArray[np.float64]
DATA_RANGE = 1.0
"""Stored intensities are in [0, 1], unless their source states another range."""


@dataclass(frozen=True)
class Case:
    """Results of some images beside the truth, with what metrics need to know of them.

    Attributes
    ----------
    result, truth : ndarray, shape (num_images, height, width)
        Of the type of the field that is answered.
    label_names : sequence of str
        Of the labels 0, 1, … in masks.
    atoms : sequence of ndarray of float32, shape (num_atoms, 2), or None
        Row and column of the true atoms of each image [px].
    pixel_sizes_angstrom : ndarray of float64, shape (num_images,), or None
        [Å], NaN where it is not known.
    atom_tolerance_angstrom : float
        Largest distance of a match [Å].
    mask : ndarray of uint8, shape (num_images, height, width), or None
        True label of each pixel, where the truth is something else.
    instances : ndarray of int32, shape (num_images, height, width), or None
        True number of the particle of each pixel, 0 for none.
    data_ranges : ndarray of float64, shape (num_images,), or None
        Range of the truth where its source states it, else NaN or None: stored intensities are in [0, 1].
    """

    result: npt.NDArray[Any]
    truth: npt.NDArray[Any]
    label_names: Sequence[str] = ()
    atoms: Sequence[npt.NDArray[np.float32]] | None = None
    pixel_sizes_angstrom: Scores | None = None
    atom_tolerance_angstrom: float = 0.5
    mask: npt.NDArray[np.uint8] | None = None
    instances: npt.NDArray[np.int32] | None = None
    data_ranges: Scores | None = None
    _known: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def data_range(self) -> Scores:
        """Range of the truth of each image."""
        given = np.full(len(self.truth), np.nan) if self.data_ranges is None else self.data_ranges
        return np.where(np.isnan(given), DATA_RANGE, given)

    def once(self, name: str, compute: Callable[["Case"], Any]) -> Any:
        """Compute something that several metrics share once."""
        if name not in self._known:
            self._known[name] = compute(self)
        return self._known[name]


@dataclass(frozen=True)
class Metric:
    """A score of each image: an entry of `METRICS`.

    Attributes
    ----------
    name : str
        With its unit, as in ``scores.json``.
    heading : str
        Of a table, with the unit that is shown.
    description : str
        What it is, in one full sentence; the report prints it.
    kinds : tuple of str
        Kinds of field that it judges (`dataset/fields.py`).
    compute : callable
        ``Case -> scores``, float64 (num_images,), or (num_images, num_labels) where `is_by_label`; NaN where a score is
        not defined.
    is_larger_better : bool
    decimals : int
        In tables.
    tolerance : float
        Largest difference of the mean of a classical method, or of given weights, on another machine, where sums round
        differently; run one result on two machines to find it.
    retrained_tolerance : float
        The same of a network that was trained again: about three standard deviations over seeds of the smoke run
        (docs/benchmark/reproducibility.md).
    factor : float
        From the score to the unit that is shown.
    needs : tuple of str
        What the records must have besides the truth: ``atoms``, ``mask``, ``instances``.
    needs_label : str
        Label that their masks must know; empty for any.
    is_by_label : bool
        Whether there is a score of each label; the score of the image is then their mean.
    shows_labels : bool
        Whether tables show the score of each label, too.
    is_compact : bool
        Whether a terminal shows it; a report shows all.
    caption : str
        Under a picture, as a format of the score: ``{:.1f} dB``.
    """

    name: str
    heading: str
    description: str
    kinds: tuple[Kind, ...]
    compute: Callable[[Case], Scores]
    is_larger_better: bool
    decimals: int
    tolerance: float
    retrained_tolerance: float
    factor: float = 1.0
    needs: tuple[str, ...] = ()
    needs_label: str = ""
    is_by_label: bool = False
    shows_labels: bool = False
    is_compact: bool = True
    caption: str = ""

    def collect(self, case: Case) -> dict[str, Scores]:
        """Compute the scores, each (num_images,), by name: one, or the mean over labels and one of each label."""
        scores = self.compute(case)
        if not self.is_by_label:
            return {self.name: scores}
        each = {f"{self.name}_{label}": scores[:, index] for index, label in enumerate(case.label_names)}
        return {self.name: np.nanmean(scores, axis=1), **each}
