"""Parameters of the filters, chosen on validation images only."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from emdenoise.evaluation.baselines.contract import Examples, FittedMethod, OfDetectorImage
from emdenoise.evaluation.baselines.filters import GAUSSIAN, Filter, TunedFilter
from emdenoise.evaluation.metrics.intensity import mse

FLATTEN_PX: tuple[float | None, ...] = (None, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0)
"""Smoothing lengths to try for the beam [px]."""


def fit_filter(kind: Filter, examples: Examples) -> FittedMethod:
    """Choose flattening, strength and variance stabilisation of a filter for the least mean squared error.

    The flattening is chosen once, with the Gaussian filter, and shared: it corrects the beam, not the noise. A filter
    of the spectrum has one of its own, since flattening is a filter of low frequencies, too.

    Parameters
    ----------
    kind : Filter
    examples : Examples

    Returns
    -------
    FittedMethod

    Raises
    ------
    PackageError
        If it needs a package that is not installed.
    """
    if kind.flattening_strength is None:
        flatten_px = examples.once("flattening", partial(_choose_flattening, GAUSSIAN, GAUSSIAN.strengths))
    else:
        flatten_px = _choose_flattening(kind, (kind.flattening_strength,), examples)
    candidates = [
        TunedFilter(kind, strength, flatten_px, is_stabilised, examples.black_level)
        for strength in kind.strengths
        for is_stabilised in (False, True)
    ]
    return OfDetectorImage(_choose(candidates, examples))


def _choose_flattening(kind: Filter, strengths: Sequence[float], examples: Examples) -> float | None:
    candidates = [
        TunedFilter(kind, strength, flatten_px, False, examples.black_level)
        for flatten_px in FLATTEN_PX
        for strength in strengths
    ]
    return _choose(candidates, examples).flatten_px


def _choose(candidates: Sequence[TunedFilter], examples: Examples) -> TunedFilter:
    return min(candidates, key=lambda candidate: float(mse(candidate(examples.noisy), examples.truth).mean()))


def choose_tuning_images(num_images: int, num_wanted: int) -> np.ndarray:
    """Choose evenly spaced images, so that no specimen is preferred; returns their indices."""
    return np.unique(np.linspace(0, num_images - 1, min(num_wanted, num_images)).round().astype(int))
