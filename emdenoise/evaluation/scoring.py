"""Scores of a method on a file of images: the same lines for a network and a classical method."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import check_pair, describe
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record import STATED_RANGE
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.whole_images import ShownRecords
from emdenoise.evaluation.metrics import METRICS, Case, Metric, list_metrics
from emdenoise.evaluation.throughput import Method, TimedMethod
from emdenoise.processes import ALONE, ProcessGroup


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


@dataclass(frozen=True)
class OutputJudge:
    """Scores the images of a file from the outputs of a network, as `score_method` scores the results of a method.

    Training calls it after each epoch with what it predicts for the loss, so that no image is predicted twice.

    Attributes
    ----------
    records : RecordFile or ResizedRecords
    truth : str
        Field that the network answers.
    metrics : tuple of str
        Entries of `METRICS`; those that need what the file does not have are left out.
    decode : callable
        outputs → results, as `Head.decode`.
    atom_tolerance_angstrom : float
        See `score_atoms`.
    group : ProcessGroup
        The processes that share the images as `InOrder` does.
    """

    records: ShownRecords
    truth: str
    metrics: tuple[str, ...]
    decode: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    atom_tolerance_angstrom: float
    group: ProcessGroup = ALONE

    def __call__(self, outputs: Iterable[npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float64]]:
        """Score every image of this process by itself; an image that was cut is put together first.

        Parameters
        ----------
        outputs : iterable of ndarray, shape (batch, height, width, channels)
            Of all images of this process in order, in batches of any size.

        Returns
        -------
        dict of str to ndarray of float64, shape (num_images,)
            By metric. NaN where outputs are not finite.

        Raises
        ------
        ValueError
            If there are outputs of fewer or more images.
        """
        metrics = _find_computable([METRICS[name] for name in self.metrics], self.records)
        whole_images = self.records.list_whole_images()
        left = whole_images[self.group.find_share(len(whole_images))]
        scores: dict[str, list[float]] = {metric.name: [] for metric in metrics}
        waiting: list[npt.NDArray[Any]] = []
        for batch in outputs:
            waiting.extend(batch)
            while left and len(waiting) >= len(left[0]):
                tiles = left.pop(0)
                own = np.stack(waiting[: len(tiles)])
                del waiting[: len(tiles)]
                case = self._make_case(self.records.assemble(self.decode(own), tiles)[None], tiles, metrics)
                is_finite = np.isfinite(own).all()  # of logits that are not, the labels would not tell
                for metric in metrics:
                    scores[metric.name].extend(metric.collect(case)[metric.name] if is_finite else [np.nan])
        if left or waiting:
            raise ValueError(f"outputs of {len(waiting)} tiles too many, and of {len(left)} images too few")
        return {name: np.array(values, np.float64) for name, values in scores.items()}

    def _make_case(self, result: npt.NDArray[Any], tiles: npt.NDArray[np.intp], metrics: Sequence[Metric]) -> Case:
        return _make_case(
            result,
            self.records.read_whole(self.truth, tiles)[None],
            self.records,
            [tiles],
            needs={need for metric in metrics for need in metric.needs},
            atom_tolerance_angstrom=self.atom_tolerance_angstrom,
        )


def choose_metrics(records: RecordFile, truth: str) -> list[Metric]:
    """Choose the metrics of a truth for which the records have all that they need."""
    return _find_computable(list_metrics(FIELDS[truth].kind), records)


def _find_computable(metrics: Iterable[Metric], records: ShownRecords) -> list[Metric]:
    return [
        metric
        for metric in metrics
        if all(need in records for need in metric.needs) and metric.needs_label in ("", *records.label_names)
    ]


def _make_case(
    result: npt.NDArray[np.generic],
    truth: npt.NDArray[np.generic],
    records: ShownRecords,
    batch: Sequence[npt.NDArray[np.intp]],
    *,
    needs: set[str],
    atom_tolerance_angstrom: float,
) -> Case:
    indices = [int(tiles[0]) for tiles in batch]
    beside = {
        name: np.stack([records.read_whole(name, tiles) for tiles in batch])
        for name in ("mask", "instances")
        if name in needs
    }
    return Case(
        result,
        truth,
        label_names=records.label_names,
        atoms=[records.read_atoms(index) for index in indices] if "atoms" in needs else None,
        pixel_sizes_angstrom=records.read_attribute("pixel_size_angstrom")[indices],
        atom_tolerance_angstrom=atom_tolerance_angstrom,
        data_ranges=records.read_attribute(STATED_RANGE)[indices],
        **beside,
    )
