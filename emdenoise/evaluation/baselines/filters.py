"""Classical denoisers of neighbouring pixels, each given what a careful microscopist would give it.

What is done to an image before every method is in `preparation.py`, and is chosen with the strength on validation
images (`tuning.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pywt
from scipy.ndimage import gaussian_filter, median_filter, zoom
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

from emdenoise.arrays import FloatImage
from emdenoise.errors import PackageError
from emdenoise.evaluation.baselines.preparation import (
    estimate_electrons,
    flatten_beam,
    measure_noise,
    repair_dead_pixels,
    restore_counts,
    stabilise_variance,
)


@dataclass(frozen=True)
class Filter:
    """A classical denoiser and the strengths to choose from.

    Attributes
    ----------
    denoise : callable
        ``(image, sigma, strength) -> denoised``: images (height, width), `sigma` the standard deviation of its noise.
    strengths : tuple of float
        In units that `denoise` names; rising, each by about the same factor.
    """

    denoise: Callable[[FloatImage, float, float], FloatImage]
    strengths: tuple[float, ...]


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

    The image is binned 2 × 2 before and interpolated by cubic splines after: images of lattices are oversampled, and
    patches are compared better with a quarter of the noise. Patches hold a hexagon of graphene and the search reaches
    the next one at the pixel sizes of this benchmark.
    """
    height, width = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2)), "symmetric")
    binned = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean(axis=(1, 3))
    denoised = denoise_nl_means(
        binned, patch_size=9, patch_distance=9, h=strength * sigma / 2, sigma=sigma / 2, fast_mode=True
    )
    return zoom(denoised, 2, order=3, mode="reflect", grid_mode=True)[:height, :width]


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


def denoise_bmnd(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Filter groups of alike patches of counts with Poisson noise (BMND, C. Duhme et al. 2026); `strength` as of BM3D.

    Raises
    ------
    PackageError
        If the package bmnd is not installed.
    """
    try:
        from bmnd import BM3DProfile, NoiseModel, bmnd
    except ImportError as error:
        raise PackageError(
            "evaluation.baselines names bmnd, which is not installed; "
            "pip install 'emdenoise[bmnd]' or take it out of the list."
        ) from error
    electrons = image.mean() / max(strength * sigma, 1e-6) ** 2  # whose variance is their mean
    counts = np.maximum(image * electrons, 0).astype(np.float32)
    denoised: FloatImage = bmnd(counts, BM3DProfile(noise_model=NoiseModel.POISSON)) / np.float32(electrons)
    return denoised


GAUSSIAN = Filter(denoise_gaussian, (0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 3.4, 4.0, 4.8))
MEDIAN = Filter(denoise_median, (3, 5, 7, 9, 11, 13, 17))
TV = Filter(denoise_tv, (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0))
NLM = Filter(denoise_nlm, (0.1, 0.2, 0.28, 0.4, 0.56, 0.8, 1.1))
WAVELET = Filter(denoise_wavelets, (0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0))
BM3D = Filter(denoise_bm3d, (0.8, 1.0, 1.25))
BMND = Filter(denoise_bmnd, (0.8, 1.0, 1.25))


@dataclass(frozen=True)
class Preparation:
    """What is done to an image before the filter.

    Attributes
    ----------
    flatten_px : float or None
        Standard deviation of the smoothing that estimates the beam [px]; None leaves the beam in.
    is_repaired : bool
        Whether dead pixels are replaced by their neighbours.
    is_stabilised : bool
        Whether the method works on counts made even by the Anscombe transform.
    """

    flatten_px: float | None = None
    is_repaired: bool = True
    is_stabilised: bool = False


@dataclass(frozen=True)
class Strength:
    """The strength of a filter as a function of the noise: ``value · (noise / typical_noise) ** exponent``.

    Attributes
    ----------
    value : float
        At the typical noise.
    exponent : float
        0 is the same strength for every image.
    typical_noise : float
        Standard deviation of the noise relative to the mean intensity, of the images that it was chosen on.
    """

    value: float
    exponent: float = 0.0
    typical_noise: float = 1.0

    def find(self, noise: float, strengths: Sequence[float]) -> float:
        """Find the nearest of the strengths, by their ratio, for an image of this relative noise."""
        if not 0 < noise < np.inf:
            return self.value
        wanted = self.value * (noise / self.typical_noise) ** self.exponent
        return min(strengths, key=lambda strength: abs(np.log(strength / wanted)))

    def describe(self) -> str:
        """Say in words what was chosen."""
        if not self.exponent:
            return f"strength {self.value:g}"
        return f"strength {self.value:.3g} · (noise / {self.typical_noise:.2g} of the mean)^{self.exponent:g}"


@dataclass(frozen=True)
class TunedFilter:
    """A classical method with everything chosen: a denoiser like a network.

    Attributes
    ----------
    kind : Filter
    strength : Strength
    preparation : Preparation
    black_level : float
        Stored intensity of a pixel that no electron reached.
    """

    kind: Filter
    strength: Strength
    preparation: Preparation = Preparation()
    black_level: float = 0.0

    def __call__(self, noisy: FloatImage) -> FloatImage:
        """Denoise images, float32 (num_images, height, width) → the same."""
        return np.stack([self._denoise_one(image) for image in noisy])

    def describe(self) -> str:
        """Say in words what was chosen."""
        flatten_px = self.preparation.flatten_px
        words = [
            self.strength.describe(),
            "beam left in" if flatten_px is None else f"beam flattened over {flatten_px:g} px",
            "dead pixels repaired" if self.preparation.is_repaired else "dead pixels left in",
            *(["counts stabilised"] if self.preparation.is_stabilised else []),
        ]
        return ", ".join(words)

    def _denoise_one(self, image: FloatImage) -> FloatImage:
        return self._denoise_counts(image - np.float32(self.black_level)) + np.float32(self.black_level)

    def _denoise_counts(self, image: FloatImage) -> FloatImage:
        electrons, mean = estimate_electrons(image), float(image.mean())
        if self.preparation.is_repaired:
            image = repair_dead_pixels(image, electrons)
        image = flatten_beam(image, self.preparation.flatten_px)
        if np.ptp(image) <= 1e-6 * np.abs(image).max():  # even up to rounding: no noise to take away
            return image
        is_counted = np.isfinite(electrons)
        sigma = (mean / electrons) ** 0.5 if is_counted else measure_noise(image)
        strength = self.strength.find(sigma / mean if mean > 0 else np.inf, self.kind.strengths)
        if not (self.preparation.is_stabilised and is_counted):
            return self.kind.denoise(image, sigma, strength).astype(np.float32)
        stabilised = stabilise_variance(image * np.float32(electrons))
        return (restore_counts(self.kind.denoise(stabilised, 1.0, strength)) / electrons).astype(np.float32)
