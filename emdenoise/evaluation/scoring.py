"""Scores of a denoiser or segmenter on a file of images: the same lines for a network and a classical method."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, check_pair, describe
from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.metrics.atoms import score_atoms
from emdenoise.evaluation.metrics.intensity import mse, psnr, ssim
from emdenoise.evaluation.metrics.masks import score_masks
from emdenoise.evaluation.throughput import Denoiser, Segmenter

DATA_RANGE = 1.0
"""Intensities are in [0, 1]."""


@dataclass(frozen=True)
class ImageScores:
    """What one method reached on each image.

    Attributes
    ----------
    metrics : dict of str to ndarray of float64, shape (num_images,)
        By name with unit: ``mse``, ``psnr_db``, ``ssim`` and, where atoms are known, ``atom_f1`` and
        ``atom_error_angstrom``; of masks ``dice``, ``iou`` and both by label.
    images_per_second : float
        Speed of the method alone, without reading and scoring, after a warm-up batch.
    """

    metrics: dict[str, npt.NDArray[np.float64]]
    images_per_second: float


def score_denoiser(
    denoise: Denoiser,
    records: RecordFile,
    *,
    batch_size: int,
    atom_tolerance_angstrom: float,
) -> ImageScores:
    """Denoise every image of a file and score each against its truth.

    Parameters
    ----------
    denoise : callable
        Images float32 (num_images, height, width) → the same.
    records : RecordFile
        With ``noisy`` and ``clean``.
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
        If an image is its own truth, or the denoiser returns another shape or values that are not finite.
    """

    def score(denoised: FloatImage, clean: FloatImage, indices: list[int]) -> dict[str, npt.NDArray[np.float64]]:
        if denoised.shape != clean.shape or not np.isfinite(denoised).all():
            raise ValueError(f"the denoiser returned {describe(denoised)}, or values that are not finite")
        return score_images(denoised, clean) | _score_atoms(denoised, records, indices, atom_tolerance_angstrom)

    return _score_batches(denoise, records, "clean", score, batch_size=batch_size)


def score_segmenter(
    segment: Segmenter,
    records: RecordFile,
    *,
    batch_size: int,
) -> ImageScores:
    """Segment every image of a file and score each mask against the true one.

    Parameters
    ----------
    segment : callable
        Images float32 (num_images, height, width) → labels uint8 of the same shape.
    records : RecordFile
        With ``noisy`` and ``mask``.
    batch_size : int
        Images at a time.

    Returns
    -------
    ImageScores
        See `score_masks` for the names of the metrics.

    Raises
    ------
    ValueError
        If the segmenter returns another shape or unknown labels.
    """
    label_names = records.label_names
    return _score_batches(
        segment,
        records,
        "mask",
        lambda predicted_mask, mask, indices: score_masks(predicted_mask, mask, label_names),
        batch_size=batch_size,
    )


def _score_batches(
    method: Callable[[FloatImage], npt.NDArray[Any]],
    records: RecordFile,
    truth_field: str,
    score: Callable[[npt.NDArray[Any], npt.NDArray[Any], list[int]], dict[str, npt.NDArray[np.float64]]],
    *,
    batch_size: int,
) -> ImageScores:
    """Apply a method to all images, timed without reading and scoring; images that were cut are whole, and alone."""
    whole_images = records.list_whole_images()
    size = 1 if records.has_tiles else batch_size
    method(_read_images(records, "noisy", whole_images[:size]))  # warm-up: compilation, caches
    collected: dict[str, list[npt.NDArray[np.float64]]] = {}
    seconds = 0.0
    for first in range(0, len(whole_images), size):
        batch = whole_images[first : first + size]
        noisy, truth = (_read_images(records, name, batch) for name in ("noisy", truth_field))
        if truth_field == "clean":
            check_pair(noisy, truth)
        started = time.perf_counter()
        result = method(noisy)
        seconds += time.perf_counter() - started
        for name, values in score(result, truth, [int(tiles[0]) for tiles in batch]).items():
            collected.setdefault(name, []).append(values)
    return ImageScores(
        metrics={name: np.concatenate(values) for name, values in collected.items()},
        images_per_second=len(whole_images) / seconds if seconds > 0 else np.inf,
    )


def _read_images(records: RecordFile, field: str, whole_images: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[Any]:
    """Read images of one size, given as the indices of their tiles; shape (num_images, height, width)."""
    return np.stack([records.read_whole(field, tiles) for tiles in whole_images])


def score_images(denoised: FloatImage, clean: FloatImage) -> dict[str, npt.NDArray[np.float64]]:
    """Compute the metrics of images against their truth, each of shape (num_images,)."""
    return {
        "mse": mse(denoised, clean),
        "psnr_db": psnr(denoised, clean, data_range=DATA_RANGE),
        "ssim": ssim(denoised, clean, data_range=DATA_RANGE),
    }


def _score_atoms(
    denoised: FloatImage, records: RecordFile, indices: list[int], tolerance_angstrom: float
) -> dict[str, npt.NDArray[np.float64]]:
    if "atoms" not in records:
        return {}
    pixel_sizes = records.read_attribute("pixel_size_angstrom")
    scores = [
        score_atoms(
            image,
            records.read_atoms(index),
            pixel_size_angstrom=pixel_sizes[index],
            tolerance_angstrom=tolerance_angstrom,
        )
        for index, image in zip(indices, denoised, strict=True)
    ]
    return {
        "atom_f1": np.array([score.f1 for score in scores]),
        "atom_error_angstrom": np.array([score.error_angstrom for score in scores]),
    }
