"""SEGMENTERS: classical segmentation, each method given what a careful microscopist would give it.

Before every method: dead pixels repaired and, where it helps on validation data, the uneven beam flattened. Thresholds
work on smoothed intensity or on texture, of either polarity. All is chosen on validation images with labels, for the
best mean Dice; nothing here sees test data.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from emdenoise.arrays import FloatImage, Mask, describe
from emdenoise.evaluation.baselines.forest import tune_random_forest
from emdenoise.evaluation.baselines.thresholds import tune_local_threshold, tune_multi_otsu, tune_otsu
from emdenoise.evaluation.baselines.views import TuningImages, is_even, repair


class TunedSegmenter(Protocol):
    """A classical method with everything chosen: a segmenter like a network."""

    def __call__(self, noisy: FloatImage) -> Mask:
        """Segment images, float32 (num_images, height, width) → uint8, the same shape."""

    def describe(self) -> str:
        """Say in words what was chosen."""


SEGMENTERS: dict[str, Callable[[TuningImages], TunedSegmenter]] = {
    "otsu": tune_otsu,
    "multi_otsu": tune_multi_otsu,
    "local_threshold": tune_local_threshold,
    "random_forest": tune_random_forest,
}


def tune_segmenters(
    names: Sequence[str],
    noisy: FloatImage,
    mask: Mask,
    *,
    num_labels: int,
    black_level: float = 0.0,
    on_method: Callable[[int, str], None] = lambda num_done, name: None,
) -> dict[str, TunedSegmenter]:
    """Choose everything about each method for the best mean Dice.

    Parameters
    ----------
    names : sequence of str
        Entries of `SEGMENTERS`.
    noisy : ndarray of float32, shape (num_images, height, width)
        Validation images; those without any contrast teach nothing but the most frequent label.
    mask : ndarray of uint8, shape (num_images, height, width)
        Their labels, from 0 to ``num_labels - 1``.
    num_labels : int
    black_level : float
        Stored intensity of a pixel that no electron reached.
    on_method : callable
        Called with the number of methods that are done and the next one's name.

    Returns
    -------
    dict of str to TunedSegmenter

    Raises
    ------
    ValueError
        If the shapes differ, a label is out of range, or no image has any contrast.

    Examples
    --------
    >>> noisy = np.zeros((1, 32, 32), np.float32)
    >>> noisy[0, 8:24, 8:24] = 1
    >>> mask = noisy.astype(np.uint8)
    >>> otsu = tune_segmenters(["otsu"], noisy, mask, num_labels=2)["otsu"]
    >>> bool((otsu(noisy) == mask).all())
    True
    >>> otsu.describe()
    'beam left in, intensity smoothed over 0 px; 2 regions by Otsu; from lowest to highest: label 0, 1'
    """
    if noisy.ndim != 3 or noisy.shape != mask.shape:
        raise ValueError(f"noisy is {describe(noisy)}, mask {describe(mask)}; expected equal 3-D shapes")
    if mask.max(initial=0) >= num_labels:
        raise ValueError(f"mask has label {mask.max()}; expected 0 to {num_labels - 1}")
    has_contrast = np.array([not is_even(image) for image in noisy], bool)
    if not has_contrast.any():
        raise ValueError(f"noisy is {describe(noisy)} without any contrast; expected at least one image to tune on")
    images = TuningImages(
        noisy=np.stack([repair(image, black_level) for image in noisy[has_contrast]]),
        mask=mask[has_contrast],
        num_labels=num_labels,
        black_level=black_level,
        frequent_label=int(np.bincount(mask.ravel()).argmax()),
    )
    tuned = {}
    for number, name in enumerate(names):
        on_method(number, name)
        tuned[name] = SEGMENTERS[name](images)
    return tuned
