"""Classical denoisers, each given what a careful microscopist would give it.

Before every method: dead pixels repaired, the uneven beam flattened, and, where it helps on validation data, the
counting noise made even (Anscombe). What is chosen on validation data is in `tuning.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pywt
from scipy.ndimage import gaussian_filter, median_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet, estimate_sigma

from emdenoise.arrays import FloatImage
from emdenoise.errors import PackageError

DEAD_PIXEL_SHARE = 0.35
"""A pixel below this share of the median of its neighbours counts as dead."""


@dataclass(frozen=True)
class Filter:
    """A classical denoiser and the strengths to choose from.

    Attributes
    ----------
    denoise : callable
        ``(image, sigma, strength) -> denoised``: images (height, width), `sigma` the standard deviation of its noise.
    strengths : tuple of float
        In units that `denoise` names.
    flattening_strength : float or None
        With which strength the flattening of the beam is chosen for this filter; None shares that of the Gaussian.
    """

    denoise: Callable[[FloatImage, float, float], FloatImage]
    strengths: tuple[float, ...]
    flattening_strength: float | None = None


def denoise_gaussian(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Convolve with a Gaussian; `strength` is its standard deviation [px]."""
    return gaussian_filter(image, strength)


def denoise_median(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Take the median of a square window; `strength` is its side [px]."""
    return median_filter(image, int(strength))


def denoise_tv(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Minimise total variation (doi:10.1023/B:JMIV.0000011325.36760.1e); `strength` weighs it in units of the noise."""
    return denoise_tv_chambolle(image, weight=strength * sigma)


def denoise_nlm(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Average alike patches (doi:10.5201/ipol.2011.bcm_nlm); `strength` is the cut-off in units of the noise.

    Patches hold a hexagon and the search reaches the next one at the pixel sizes of this benchmark.
    """
    return denoise_nl_means(image, patch_size=15, patch_distance=17, h=strength * sigma, sigma=sigma, fast_mode=True)


def denoise_wavelets(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Shrink wavelet coefficients (BayesShrink, doi:10.1109/83.862633); `strength` scales the noise level."""
    levels = min(4, pywt.dwtn_max_level(image.shape, "sym8"))  # small images have no more without border effects
    return denoise_wavelet(
        image, sigma=strength * sigma, wavelet="sym8", wavelet_levels=levels, method="BayesShrink", rescale_sigma=False
    )


def denoise_bm3d(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Filter groups of alike patches (BM3D, doi:10.1109/TIP.2007.901238); `strength` scales the noise level.

    Raises
    ------
    PackageError
        If the package bm3d is not installed; its licence allows non-commercial use only.
    """
    try:
        import bm3d
    except ImportError as error:
        raise PackageError(
            "evaluation.baselines names bm3d, which is not installed; "
            "pip install 'emdenoise[bm3d]' (non-commercial licence) or take it out of the list."
        ) from error
    return bm3d.bm3d(image, sigma_psd=strength * sigma)


GAUSSIAN = Filter(denoise_gaussian, (0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0))
MEDIAN = Filter(denoise_median, (3, 5, 7, 9, 11))
TV = Filter(denoise_tv, (0.5, 0.7, 1.0, 1.5, 2.0, 3.0))
NLM = Filter(denoise_nlm, (0.1, 0.2, 0.35))
WAVELET = Filter(denoise_wavelets, (0.6, 0.8, 1.0, 1.5, 2.0))
BM3D = Filter(denoise_bm3d, (0.8, 1.0, 1.25))


@dataclass(frozen=True)
class TunedFilter:
    """A classical method with everything chosen: a denoiser like a network.

    Attributes
    ----------
    kind : Filter
    strength : float
    flatten_px : float or None
        Standard deviation of the smoothing that estimates the beam [px]; None leaves the beam in.
    is_stabilised : bool
        Whether the method works on counts made even by the Anscombe transform.
    black_level : float
        Stored intensity of a pixel that no electron reached.
    """

    kind: Filter
    strength: float
    flatten_px: float | None
    is_stabilised: bool
    black_level: float = 0.0

    def __call__(self, noisy: FloatImage) -> FloatImage:
        """Denoise images, float32 (num_images, height, width) → the same."""
        return np.stack([self._denoise_one(image) for image in noisy])

    def describe(self) -> str:
        """Say in words what was chosen."""
        flatten = "beam left in" if self.flatten_px is None else f"beam flattened over {self.flatten_px:g} px"
        return f"strength {self.strength:g}, {flatten}{', counts stabilised' if self.is_stabilised else ''}"

    def _denoise_one(self, image: FloatImage) -> FloatImage:
        return self._denoise_counts(image - np.float32(self.black_level)) + np.float32(self.black_level)

    def _denoise_counts(self, image: FloatImage) -> FloatImage:
        image = flatten_beam(repair_dead_pixels(image), self.flatten_px)
        if np.ptp(image) <= 1e-6 * np.abs(image).max():  # even up to rounding: no noise, and none to estimate
            return image
        sigma = float(estimate_sigma(image))
        denoise = self.kind.denoise
        gain = float(image.mean()) / sigma**2 if sigma > 0 else np.inf
        if not self.is_stabilised or not np.isfinite(gain) or gain <= 0:
            return denoise(image, sigma, self.strength).astype(np.float32)
        stabilised = stabilise_variance(image * np.float32(gain))
        return (restore_counts(denoise(stabilised, 1.0, self.strength)) / gain).astype(np.float32)


def repair_dead_pixels(image: FloatImage) -> FloatImage:
    """Replace pixels far below the median of their 3 × 3 neighbours by that median."""
    neighbours = median_filter(image, 3)
    return np.where(image < DEAD_PIXEL_SHARE * neighbours, neighbours, image)


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
