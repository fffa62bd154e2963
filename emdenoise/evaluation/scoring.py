"""Scores of a method on a file of images: the same lines for a network and a classical method."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import check_pair, describe
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.metrics import Case, Metric, list_metrics
from emdenoise.evaluation.throughput import Method, TimedMethod


@dataclass(frozen=True)
class ImageScores:
    """What one method reached on each image.

    Attributes
    ----------
    metrics : dict of str to ndarray of float64, shape (num_images,)
        By name with unit, as the entries of `METRICS` name them; of masks also by label.
    images_per_second : float
        Speed of the method alone, without reading, scoring and compilation: the median of several passes.
    """

    metrics: dict[str, npt.NDArray[np.float64]]
    images_per_second: float


def score_method(
    method: Method,
    records: RecordFile,
    inputs: Sequence[str],
    truth: str,
    *,
    batch_size: int,
    atom_tolerance_angstrom: float,
) -> ImageScores:
    """Apply a method to every image of a file and score each result against its truth.

    The method is timed without reading, scoring and compilation, in several passes over the images where it is fast;
    images that were cut are whole, and alone. Scores are those of the first pass.

    Parameters
    ----------
    method : callable
    records : RecordFile
    inputs : sequence of str
        Fields that the method gets.
    truth : str
        Field that it answers; all metrics of its kind are computed, as far as the records have what they need.
    batch_size : int
        Images at a time.
    atom_tolerance_angstrom : float
        See `score_atoms`.

    Returns
    -------
    ImageScores

    Raises
    ------
    ValueError
        If an image is its own truth, or the method returns another shape, values that are not finite or unknown labels.
    """
    metrics = choose_metrics(records, truth)
    needs = {need for metric in metrics for need in metric.needs}
    whole_images = records.list_whole_images()
    size = 1 if records.has_tiles else batch_size
    batches = [whole_images[first : first + size] for first in range(0, len(whole_images), size)]
    timed = TimedMethod(method)
    collected: dict[str, list[npt.NDArray[np.float64]]] = {}
    for batch in batches:
        sample = records.read_whole_sample(inputs, batch)
        true = np.stack([records.read_whole(truth, tiles) for tiles in batch])
        if FIELDS[truth].kind == FIELDS[inputs[0]].kind:
            check_pair(sample[inputs[0]][..., 0], true)
        result = timed(sample)
        if result.shape != true.shape or not np.isfinite(result).all():
            raise ValueError(f"the method returned {describe(result)}, or values that are not finite")
        case = _make_case(result, true, records, batch, needs=needs, atom_tolerance_angstrom=atom_tolerance_angstrom)
        for metric in metrics:
            for name, values in metric.collect(case).items():
                collected.setdefault(name, []).append(values)
    seconds = timed.measure_passes(lambda: (records.read_whole_sample(inputs, batch) for batch in batches))
    return ImageScores(
        metrics={name: np.concatenate(values) for name, values in collected.items()},
        images_per_second=len(whole_images) / seconds if seconds > 0 else np.inf,
    )


def choose_metrics(records: RecordFile, truth: str) -> list[Metric]:
    """Choose the metrics of a truth for which the records have all that they need."""
    return [
        metric
        for metric in list_metrics(FIELDS[truth].kind)
        if all(need in records for need in metric.needs) and metric.needs_label in ("", *records.label_names)
    ]


def _make_case(
    result: npt.NDArray[np.generic],
    truth: npt.NDArray[np.generic],
    records: RecordFile,
    batch: Sequence[npt.NDArray[np.intp]],
    *,
    needs: set[str],
    atom_tolerance_angstrom: float,
) -> Case:
    indices = [int(tiles[0]) for tiles in batch]
    return Case(
        result,
        truth,
        label_names=records.label_names,
        atoms=[records.read_atoms(index) for index in indices] if "atoms" in needs else None,
        pixel_sizes_angstrom=records.read_attribute("pixel_size_angstrom")[indices],
        atom_tolerance_angstrom=atom_tolerance_angstrom,
        mask=np.stack([records.read_whole("mask", tiles) for tiles in batch]) if "mask" in needs else None,
    )
