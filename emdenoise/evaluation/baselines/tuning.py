"""Parameters of the classical methods, chosen on validation images only."""

from collections.abc import Callable, Sequence

import numpy as np

from emdenoise.arrays import FloatImage
from emdenoise.evaluation.baselines.filters import BASELINES, TunedBaseline
from emdenoise.evaluation.metrics.intensity import mse

FLATTEN_PX: tuple[float | None, ...] = (None, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0)
"""Smoothing lengths to try for the beam [px]."""


def tune_baselines(
    names: Sequence[str],
    noisy: FloatImage,
    clean: FloatImage,
    *,
    black_level: float = 0.0,
    on_method: Callable[[int, str], None] = lambda num_done, name: None,
) -> dict[str, TunedBaseline]:
    """Choose flattening, strength and variance stabilisation of each method for the least mean squared error.

    The flattening is chosen once, with the Gaussian filter, and shared: it corrects the beam, not the noise.

    Parameters
    ----------
    names : sequence of str
        Entries of `BASELINES`.
    noisy, clean : ndarray of float32, shape (num_images, height, width)
        Validation images and their truth.
    black_level : float
        Stored intensity of a pixel that no electron reached.
    on_method : callable
        Called with the number of methods that are done and the next one's name.

    Returns
    -------
    dict of str to TunedBaseline

    Raises
    ------
    PackageError
        If a method needs a package that is not installed.
    """

    def choose(candidates: Sequence[TunedBaseline]) -> TunedBaseline:
        return min(candidates, key=lambda candidate: float(mse(candidate(noisy), clean).mean()))

    gaussian = BASELINES["gaussian"].strengths
    flatten_px = choose(
        [
            TunedBaseline("gaussian", strength, flatten, False, black_level)
            for flatten in FLATTEN_PX
            for strength in gaussian
        ]
    ).flatten_px
    tuned = {}
    for number, name in enumerate(names):
        on_method(number, name)
        tuned[name] = choose(
            [
                TunedBaseline(name, strength, flatten_px, is_stabilised, black_level)
                for strength in BASELINES[name].strengths
                for is_stabilised in (False, True)
            ]
        )
    return tuned


def choose_tuning_images(num_images: int, num_wanted: int) -> np.ndarray:
    """Choose evenly spaced images, so that no specimen is preferred; returns their indices."""
    return np.unique(np.linspace(0, num_images - 1, min(num_wanted, num_images)).round().astype(int))
