"""Whether the same network in another engine or precision is as good as in the one it was trained with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Sample
from emdenoise.dataset.fields import Kind
from emdenoise.evaluation.metrics.contract import DATA_RANGE
from emdenoise.evaluation.metrics.intensity import psnr
from emdenoise.evaluation.throughput import Method

MAX_PSNR_LOSS_DB = 0.01
"""Of denoised images: a hundredth of what two seeds of the same training differ by."""
MAX_CHANGED_SHARE = 1e-3
"""Of the pixels of masks."""


@dataclass(frozen=True)
class Agreement:
    """What an engine changes.

    Attributes
    ----------
    num_images : int
    max_deviation : float or None
        Largest difference of a pixel, in stored intensity; None for labels.
    psnr_loss_db : float or None
        Mean PSNR of the reference less that of the engine [dB]; None for labels.
    changed_share : float or None
        Share of the pixels that get another label; None for images.
    """

    num_images: int
    max_deviation: float | None = None
    psnr_loss_db: float | None = None
    changed_share: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether the loss is so small that the engine may take the place of the reference; NaN is not."""
        if self.psnr_loss_db is not None:
            return self.psnr_loss_db <= MAX_PSNR_LOSS_DB
        return self.changed_share is not None and self.changed_share <= MAX_CHANGED_SHARE

    def describe(self) -> str:
        """Say the loss in words."""
        if self.psnr_loss_db is not None:
            return f"PSNR loss {self.psnr_loss_db:.4f} dB, at most {MAX_PSNR_LOSS_DB:g} allowed"
        return f"{self.changed_share:.2%} of the pixels get another label, at most {MAX_CHANGED_SHARE:.1%} allowed"


def measure_agreement(
    reference: Method, engine: Method, samples: Sequence[Sample], truth: Sequence[npt.NDArray[Any]], kind: Kind
) -> Agreement:
    """Compare two methods.

    Parameters
    ----------
    reference, engine : callable
    samples : sequence of dict of str to ndarray, shape (1, height, width, channels)
        At least one.
    truth : sequence of ndarray, shape (height, width)
        Of each sample; does not count for labels.
    kind : str
        ``intensity`` or ``labels``: what they answer.

    Returns
    -------
    Agreement
    """
    deviations, losses_db, shares = [], [], []
    for sample, true in zip(samples, truth, strict=True):
        expected, found = reference(sample), engine(sample)
        if kind == "labels":
            shares.append(float(np.mean(expected != found)))
            continue
        deviations.append(float(np.abs(expected - found).max()))
        scores = [psnr(images, true[None], data_range=DATA_RANGE)[0] for images in (expected, found)]
        losses_db.append(float(scores[0] - scores[1]))
    if kind == "labels":
        return Agreement(len(samples), changed_share=float(np.mean(shares)))
    return Agreement(len(samples), float(np.max(deviations)), float(np.mean(losses_db)))
