"""What is done to an image before a filter: dead pixels repaired, the beam flattened, counting noise made even."""

import numpy as np
import pywt
from scipy.ndimage import gaussian_filter, median_filter
from scipy.special import gammaincc

from emdenoise.arrays import FloatImage

DEAD_PIXEL_SHARE = 0.35
"""A dead pixel is below this share of the median of its neighbours, and …"""
DEAD_PIXEL_PROBABILITY = 1e-3
"""… a pixel that works counts so little with at most this probability."""


def measure_noise(image: FloatImage) -> float:
    """Measure the standard deviation of the noise: the median of the finest diagonal wavelets, which edges hardly move.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)

    Returns
    -------
    float
        median(|d|) / 0.6745 of Daubechies' wavelets with two moments (doi:10.1093/biomet/81.3.425); those that are
        exactly 0 are of a region without an image. 0 for an image without noise.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(5, 2, (128, 128)).astype(np.float32)
    >>> bool(1.9 < measure_noise(noise) < 2.1), measure_noise(np.zeros((8, 8), np.float32))
    (True, 0.0)
    """
    details = np.abs(pywt.dwt2(image, "db2")[1][2])
    details = details[details > 0]
    return float(np.median(details)) / 0.6745 if details.size else 0.0


def estimate_electrons(image: FloatImage) -> float:
    """Estimate how many counts one unit of intensity is, from the noise of the image.

    Counts have a variance equal to their mean (Poisson), so mean / variance of the intensity is the wanted number. A
    few dead pixels do not move it; readout noise makes it smaller, as if there were fewer electrons.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        Intensity above the black level.

    Returns
    -------
    float
        Counts per unit of intensity [e⁻]; infinity for an image without noise, or without any intensity.

    Examples
    --------
    >>> noisy = np.random.default_rng(0).poisson(np.full((128, 128), 20.0)) / 40
    >>> bool(36 < estimate_electrons(noisy.astype(np.float32)) < 44)
    True
    """
    sigma, mean = measure_noise(image), float(image.mean())
    return mean / sigma**2 if sigma > 1e-6 * mean > 0 else np.inf


def repair_dead_pixels(image: FloatImage, electrons: float = np.inf) -> FloatImage:
    """Replace pixels that count too little for chance by the median of their 3 × 3 neighbours.

    A pixel is dead if it is below `DEAD_PIXEL_SHARE` of that median and a Poisson variable of that mean is as small
    with a probability of at most `DEAD_PIXEL_PROBABILITY`. At 8 electrons per pixel, 2 % of all pixels that work are
    below the share alone.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        Intensity above the black level.
    electrons : float
        Counts per unit of intensity [e⁻], as `estimate_electrons` finds; infinity leaves nothing to chance.

    Returns
    -------
    ndarray of float32, shape (height, width)

    Examples
    --------
    >>> image = np.ones((5, 5), np.float32)
    >>> image[2, 2] = 0
    >>> float(repair_dead_pixels(image)[2, 2]), float(repair_dead_pixels(image, electrons=3.0)[2, 2])
    (1.0, 0.0)
    """
    neighbours = median_filter(image, 3)
    is_dead = image < DEAD_PIXEL_SHARE * neighbours
    if np.isfinite(electrons):
        counts, expected = (np.maximum(values[is_dead] * electrons, 0) for values in (image, neighbours))
        is_dead[is_dead] = gammaincc(counts + 1, expected) <= DEAD_PIXEL_PROBABILITY  # P(Poisson ≤ counts)
    return np.where(is_dead, neighbours, image)


def flatten_beam(image: FloatImage, flatten_px: float | None) -> FloatImage:
    """Divide by the strongly smoothed image, which is the beam where the specimen is even; keeps the mean.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    flatten_px : float or None
        Standard deviation of the smoothing [px]; None returns the image as it is.

    Returns
    -------
    ndarray of float32, shape (height, width)

    Examples
    --------
    >>> ramp = np.linspace(0.5, 1.0, 64, dtype=np.float32) * np.ones((64, 1), np.float32)
    >>> bool(flatten_beam(ramp, 4.0).std() < 0.1 * ramp.std())
    True
    """
    if flatten_px is None:
        return image
    beam = gaussian_filter(image, flatten_px)
    mean = np.float32(image.mean())
    return image / np.maximum(beam, 0.05 * mean) * mean if mean > 0 else image


def stabilise_variance(counts: FloatImage) -> FloatImage:
    """Make Poisson noise even: ``2 √(counts + 3/8)`` has variance 1 (doi:10.1093/biomet/35.3-4.246)."""
    return 2 * np.sqrt(np.maximum(counts + np.float32(0.375), 0))


def restore_counts(stabilised: FloatImage) -> FloatImage:
    """Undo `stabilise_variance` without bias, in closed form (doi:10.1109/TIP.2010.2056693)."""
    value = np.maximum(stabilised, 1.0)
    root = np.sqrt(1.5)
    return value**2 / 4 - 1 / 8 + root / 4 / value - 11 / 8 / value**2 + 5 / 8 * root / value**3
