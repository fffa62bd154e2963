"""What the trained networks reached: in our terms, by the scoring lines of EMDenoise, and in the terms of STFC's codes.

The latter stand only under the label `legacy`; docs/benchmark/comparability.md says what is wrong with each.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from images import read_stfc_images

from emdenoise.evaluation.metrics import mse, psnr, ssim

LEGACY_RANGE = 255
"""Range of the PSNR of sciml-bench, whose images are in [0, 1]."""
LEGACY_BATCH_SIZE = 64
"""Images of a batch in its inference."""

Images = npt.NDArray[np.float32]


def score(denoised: Images, clean: Images) -> dict[str, float]:
    """Score restored images: means over the images of the metrics that the task `test` computes."""
    return {
        "mse": float(mse(denoised, clean).mean()),
        "psnr_db": float(psnr(denoised, clean, data_range=1.0).mean()),
        "ssim": float(ssim(denoised, clean, data_range=1.0).mean()),
    }


def score_legacy(denoised: Images, truth: Images, batch_size: int = LEGACY_BATCH_SIZE) -> dict[str, float]:
    """Score as sciml-bench's inference does: the mean of the errors of batches, and a PSNR of each with range 255.

    Parameters
    ----------
    denoised, truth : ndarray of float32, shape (num_images, height, width)
    batch_size : int

    Returns
    -------
    dict of str to float
        ``mse`` and ``psnr_range_255_db``.

    Examples
    --------
    >>> images = np.zeros((2, 8, 8), np.float32)
    >>> {name: round(value, 2) for name, value in score_legacy(images, images + np.float32(0.1)).items()}
    {'mse': 0.01, 'psnr_range_255_db': 68.13}
    """
    errors = [
        float(mse(denoised[first : first + batch_size], truth[first : first + batch_size]).mean())
        for first in range(0, len(denoised), batch_size)
    ]
    levels = [20 * math.log10(LEGACY_RANGE / math.sqrt(error)) for error in errors]
    return {"mse": sum(errors) / len(errors), "psnr_range_255_db": sum(levels) / len(levels)}


def score_run(work: Path, images: Path, loss_by_epoch: list[float]) -> dict[str, Any]:
    """Score the predictions that a training left in its folder, ``train.npy`` and ``test.npy``."""
    found: dict[str, Any] = {}
    for split in ("train", "test"):
        found[split] = score(np.load(work / f"{split}.npy"), read_stfc_images(images, split, "clean"))
    denoised = np.load(work / "test.npy")
    against = {
        name: score_legacy(denoised, read_stfc_images(images, "test", kind))
        for name, kind in (("against_clean_files", "clean"), ("against_noisy_files", "noise"))
    }
    return found | {"legacy": {"training_loss_of_the_last_epoch": loss_by_epoch[-1], **against}}


def measure_speed(epoch_s: list[float], num_images: int) -> float:
    """Compute images/s of a training over all epochs but the first, in which programs compile and files are opened."""
    counted = epoch_s[1:] or epoch_s
    return num_images * len(counted) / sum(counted)
