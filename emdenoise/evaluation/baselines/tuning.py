"""Everything about a filter, chosen on validation images only."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from emdenoise.evaluation.baselines.contract import Examples, FittedMethod, OfDetectorImage
from emdenoise.evaluation.baselines.filters import Filter, Preparation, Strength, TunedFilter
from emdenoise.evaluation.baselines.preparation import estimate_electrons
from emdenoise.evaluation.metrics.intensity import mse

FLATTEN_PX: tuple[float | None, ...] = (3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0, None)
"""Smoothing lengths to try for the beam, from much flattening to none [px]."""
EXPONENTS = (0.0, 0.25, 0.5, 0.75)
"""How the strength may follow the noise; see `Strength`."""
LEAST_GAIN_DB = 0.1
"""A larger exponent must be better by more than this on images that are left out [dB]."""
START = Preparation(flatten_px=8.0, is_repaired=True, is_stabilised=False)
"""Where the search begins."""
NUM_ROUNDS = 3
"""Strength and preparation are chosen in turn, at most so often."""


def fit_filter(kind: Filter, examples: Examples) -> FittedMethod:
    """Choose preparation and strength of a filter for the highest mean PSNR.

    Strength and preparation are chosen in turn until neither changes: of the preparation one thing at a time, the
    flattening step by step from the last one, so that slow filters are tried a few times only.

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
    trials = Trials(kind, examples)
    preparation = START
    strength = choose_strength(trials, preparation)
    for _ in range(NUM_ROUNDS):
        better = improve_preparation(trials, preparation, strength)
        if better == preparation:
            break
        preparation, strength = better, choose_strength(trials, better)
    return OfDetectorImage(TunedFilter(kind, strength, preparation, examples.black_level))


class Trials:
    """Errors of a filter on each image; nothing is computed twice.

    Parameters
    ----------
    kind : Filter
    examples : Examples

    Attributes
    ----------
    kind : Filter
    noises : ndarray of float64, shape (num_images,)
        Standard deviation of the noise of each image relative to its mean; infinite where that makes no sense.
    typical_noise : float
        Their geometric mean.
    """

    def __init__(self, kind: Filter, examples: Examples) -> None:
        self.kind = kind
        self._examples = examples
        self._known: dict[tuple[Preparation, float, int], float] = {}
        self.noises = np.array(examples.once("noises", measure_noises))
        known = self.noises[(self.noises > 0) & np.isfinite(self.noises)]
        self.typical_noise = float(np.exp(np.log(known).mean())) if known.size else 1.0

    def measure(self, preparation: Preparation, strength: float, index: int) -> float:
        """Measure the logarithm of the mean squared error of one image; the lower, the better its PSNR."""
        key = (preparation, strength, index)
        if key not in self._known:
            examples = self._examples
            method = TunedFilter(self.kind, Strength(strength), preparation, examples.black_level)
            error = mse(method(examples.noisy[index][None]), examples.truth[index][None])[0]
            self._known[key] = float(np.log(max(error, np.finfo(np.float64).tiny)))
        return self._known[key]

    def average(self, preparation: Preparation, strength: Strength) -> float:
        """Average the logarithms over the images, each with the strength for its noise."""
        return float(
            np.mean(
                [
                    self.measure(preparation, strength.find(noise, self.kind.strengths), index)
                    for index, noise in enumerate(self.noises)
                ]
            )
        )


def measure_noises(examples: Examples) -> list[float]:
    """Measure the standard deviation of the noise of each image relative to its mean; 0 where there is none."""
    images = [image - np.float32(examples.black_level) for image in examples.noisy]
    return [
        (float(image.mean()) * estimate_electrons(image)) ** -0.5 if image.mean() > 0 else np.inf for image in images
    ]


def choose_strength(trials: Trials, preparation: Preparation) -> Strength:
    """Choose how strong the filter is and how that follows the noise.

    The exponent is the smallest of those that do best on images that are left out in turn, so that few images with
    chance differences do not make a rule; the strength is then the best one of all images.
    """
    kind, noises = trials.kind, trials.noises
    candidates = {
        exponent: [Strength(value, exponent, trials.typical_noise) for value in kind.strengths]
        for exponent in EXPONENTS
    }
    errors = {
        exponent: np.array(
            [
                [
                    trials.measure(preparation, one.find(noise, kind.strengths), index)
                    for index, noise in enumerate(noises)
                ]
                for one in of_exponent
            ]
        )
        for exponent, of_exponent in candidates.items()
    }
    left_out = {one: _leave_out(errors[one]) for one in EXPONENTS if len(noises) > 2 or one == 0}
    highest = min(left_out.values()) + LEAST_GAIN_DB * np.log(10) / 10
    exponent = min(one for one, error in left_out.items() if error <= highest)
    return candidates[exponent][int(errors[exponent].mean(axis=1).argmin())]


def _leave_out(errors: npt.NDArray[np.float64]) -> float:
    """Average the error of each image (columns) with the candidate (rows) that is best for the others."""
    others = errors.sum(axis=1, keepdims=True) - errors
    return float(np.take_along_axis(errors, others.argmin(axis=0)[None], axis=0).mean())


def improve_preparation(trials: Trials, preparation: Preparation, strength: Strength) -> Preparation:
    """Change one thing at a time as long as it helps: flattening, repair, stabilisation."""
    best, best_error = preparation, trials.average(preparation, strength)

    def try_out(candidate: Preparation) -> bool:
        nonlocal best, best_error
        error = trials.average(candidate, strength)
        if error >= best_error:
            return False
        best, best_error = candidate, error
        return True

    for step in (1, -1):
        position = FLATTEN_PX.index(best.flatten_px) + step
        while 0 <= position < len(FLATTEN_PX) and try_out(replace(best, flatten_px=FLATTEN_PX[position])):
            position += step
    try_out(replace(best, is_repaired=not best.is_repaired))
    try_out(replace(best, is_stabilised=not best.is_stabilised))
    return best
