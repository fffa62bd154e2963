"""Filters of the spectrum, which microscopists use for images of lattices.

Each weighs the Fourier transform of the image by a gain between 0 and 1. Before that the image is continued by
reflection, so that no edge of it shines in the spectrum.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import gaussian_filter, maximum_filter

from emdenoise.arrays import FloatImage
from emdenoise.evaluation.baselines.filters import Filter

Spectrum = npt.NDArray[np.floating[Any]]
ComplexSpectrum = npt.NDArray[np.complexfloating[Any, Any]]

MARGIN = 4
"""The image is continued by reflection over its side divided by this."""
SMOOTHING = 1.0
"""Standard deviation of the smoothing of the spectrum [its own pixels]; wider, and peaks of a lattice are lost."""
SIGNAL_SMOOTHING = 0.7
"""The same of the signal in the second pass of the Wiener filter."""
NOISE_FREQUENCY = 0.35
"""Above this frequency the spectrum is taken for noise alone [1/px]."""
CLIPPING = 2.0
"""An amplitude counts for the background with at most so many times the mean of its ring: peaks do not raise it."""
NUM_CLIPPINGS = 4
ORDER = 2
"""Order of the Butterworth filter, the default of the scripts for HRTEM."""
CUT_OFF = 0.15
"""Of the low-pass behind the background subtraction [1/px]: about 1 Å at the pixel sizes of this benchmark."""
PEAK_RATIO = 4.0
"""A Bragg peak has at least so many times the power of the background around it."""
LOWEST_PEAK = 1 / 40
"""Waves longer than this are no lattice but belong to the low frequencies, which are kept anyway [1/px]."""
NUM_PEAKS = 200
"""At most so many of the strongest peaks are kept."""


def filter_spectrum(image: FloatImage, weigh: Callable[[ComplexSpectrum], Spectrum]) -> FloatImage:
    """Weigh the spectrum of an image that is continued by reflection; the mean is kept.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    weigh : callable
        From the spectrum of the continued image less its mean, as `scipy.fft.fft2` gives it, to the gain of each
        frequency; real and point-symmetric.

    Returns
    -------
    ndarray of float32, shape (height, width)

    Examples
    --------
    >>> image = np.random.default_rng(0).normal(5, 1, (16, 24)).astype(np.float32)
    >>> bool(np.allclose(filter_spectrum(image, lambda spectrum: np.ones(spectrum.shape)), image, atol=1e-5))
    True
    """
    spectrum, mean = transform(image)
    return transform_back(spectrum * weigh(spectrum), mean, image.shape)


def transform(image: FloatImage) -> tuple[ComplexSpectrum, np.float32]:
    """Continue an image by reflection over a `MARGIN` on each side; gives the spectrum less the mean, and the mean."""
    margins = [(side // MARGIN, side // MARGIN) for side in image.shape]
    continued = np.pad(image.astype(np.float32), margins, "symmetric")
    mean = np.float32(continued.mean(dtype=np.float64))
    return fft.fft2(continued - mean), mean


def transform_back(spectrum: ComplexSpectrum, mean: np.float32, shape: tuple[int, ...]) -> FloatImage:
    """Undo `transform` for an image of this shape."""
    restored = fft.ifft2(spectrum).real + mean
    rows, columns = (slice(side // MARGIN, side // MARGIN + side) for side in shape)
    return restored[rows, columns].astype(np.float32)


def measure_frequency(shape: tuple[int, ...]) -> Spectrum:
    """Measure the spatial frequency of each pixel of a spectrum, float32 of that shape [1/px]."""
    rows, columns = (fft.fftfreq(side).astype(np.float32) for side in shape)
    return np.hypot(rows[:, None], columns)


def find_background(amplitude: Spectrum) -> Spectrum:
    """Average an amplitude over rings of equal frequency, peaks left out.

    Parameters
    ----------
    amplitude : ndarray of float, shape (height, width)
        Absolute value of a spectrum, frequency 0 in the corner.

    Returns
    -------
    ndarray of float, shape (height, width)
        The mean of each pixel's ring, in which what exceeds `CLIPPING` times the mean was set to that, repeatedly, as
        in the scripts for HRTEM after R. Kilaas (doi:10.1046/j.1365-2818.1998.3070861.x; T. Ma,
        doi:10.1093/mam/ozae044.213).

    Examples
    --------
    >>> flat = np.ones((32, 32))
    >>> flat[0, 8] = flat[0, 24] = 50
    >>> bool(find_background(flat)[0, 8] < 1.1)
    True
    """
    ring = np.rint(measure_frequency(amplitude.shape) * max(amplitude.shape)).astype(np.intp)
    numbers = np.bincount(ring.ravel())
    clipped, background = amplitude, amplitude
    for _ in range(1 + NUM_CLIPPINGS):
        sums = np.bincount(ring.ravel(), weights=clipped.ravel())
        background = (sums / np.maximum(numbers, 1))[ring]
        clipped = np.minimum(amplitude, CLIPPING * background)
    return background


def estimate_noise(power: Spectrum) -> float:
    """Estimate the power of white noise: its median at high frequencies, which is ln 2 of its mean.

    The power of one frequency of white noise is distributed exponentially.
    """
    return float(np.median(power[measure_frequency(power.shape) > NOISE_FREQUENCY])) / np.log(2)


def denoise_wiener(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Weigh each frequency by its share of signal: |S|² / (|S|² + noise).

    The filter of Wiener for noise that is white, with signal and noise taken from the image itself (L. D. Marks,
    doi:10.1016/0304-3991(95)00085-2; R. Kilaas, doi:10.1046/j.1365-2818.1998.3070861.x). A first pass subtracts:
    max(0, 1 − strength · noise / |F|²), where |F|² is smoothed over neighbouring frequencies; `strength` above 1 takes
    away what is noise by chance. The spectrum of its result, smoothed less, is the signal of a second pass, as in the
    second step of BM3D (doi:10.1109/TIP.2007.901238).
    """
    spectrum, mean = transform(image)
    power = np.abs(spectrum) ** 2
    noise, tiny = estimate_noise(power), np.finfo(np.float32).tiny
    smooth = np.maximum(gaussian_filter(power, SMOOTHING, mode="wrap"), tiny)
    first = transform_back(spectrum * np.maximum(0, 1 - strength * noise / smooth), mean, image.shape)
    signal = gaussian_filter(np.abs(transform(first)[0]) ** 2, SIGNAL_SMOOTHING, mode="wrap")
    return transform_back(spectrum * (signal / np.maximum(signal + noise, tiny)), mean, image.shape)


def denoise_absf(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Take the average background off the amplitude: gain max(0, 1 − strength · background / |F|), then a low-pass.

    The average background subtraction filter (R. Kilaas, doi:10.1046/j.1365-2818.1998.3070861.x): the background is the
    mean amplitude at the same distance from the origin, whether it comes from noise or from anything else that has no
    direction, such as an amorphous film. As in the scripts for HRTEM (doi:10.1093/mam/ozae044.213), a Butterworth
    filter takes away what is left at high frequencies. `strength` 1 is the filter of the source.
    """

    def weigh(spectrum: ComplexSpectrum) -> Spectrum:
        amplitude = np.abs(spectrum)
        background = find_background(amplitude)
        gain = np.maximum(0, 1 - strength * background / np.maximum(amplitude, np.finfo(np.float32).tiny))
        return gain * pass_low(spectrum.shape, CUT_OFF)

    return filter_spectrum(image, weigh)


def denoise_butterworth(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Pass low frequencies; `strength` is the wavelength at the cut-off [px], see `pass_low`."""
    return filter_spectrum(image, lambda spectrum: pass_low(spectrum.shape, 1 / strength))


def pass_low(shape: tuple[int, ...], cut_off: float) -> Spectrum:
    """Compute the gain of S. Butterworth's low-pass (Experimental Wireless 7, 1930, 536), `ORDER` 2.

    Parameters
    ----------
    shape : (int, int)
        Of the spectrum, frequency 0 in the corner.
    cut_off : float
        Frequency with a gain of 1/√2 [1/px].

    Returns
    -------
    ndarray of float32, that shape
        1 / (1 + (√2 − 1) · (frequency / cut-off)^(2 · order)), as in the scripts for HRTEM
        (doi:10.1093/mam/ozae044.213).

    Examples
    --------
    >>> float(pass_low((8, 8), 0.25)[0, 0]), round(float(pass_low((8, 8), 0.25)[0, 2]), 3)
    (1.0, 0.707)
    """
    return 1 / (1 + np.float32(np.sqrt(2) - 1) * (measure_frequency(shape) / np.float32(cut_off)) ** (2 * ORDER))


def denoise_bragg(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Keep the Bragg peaks of a lattice and the low frequencies, as with masks on the spectrum of a HRTEM image.

    A peak is the highest of its neighbourhood and has `PEAK_RATIO` times the power of the background, both smoothed.
    Each peak at g gets a soft mask exp(−2π²L²|k − g|²), and so does the origin: every lattice wave may change its
    amplitude and phase over the length L (standard deviation of the Gaussian that averages them, as in geometric phase
    analysis, doi:10.1016/S0304-3991(98)00035-7). `strength` is L [px].
    """

    def weigh(spectrum: ComplexSpectrum) -> Spectrum:
        axes = [fft.fftfreq(side) for side in spectrum.shape]
        gain = np.zeros(spectrum.shape)
        for peak in [(0.0, 0.0), *find_peaks(np.abs(spectrum) ** 2)]:
            distances = [(axis - centre + 0.5) % 1 - 0.5 for axis, centre in zip(axes, peak, strict=True)]
            rows, columns = (np.exp(-2 * (np.pi * strength * distance) ** 2) for distance in distances)
            np.maximum(gain, np.outer(rows, columns), out=gain)
        return gain

    return filter_spectrum(image, weigh)


def find_peaks(power: Spectrum) -> list[tuple[float, float]]:
    """Find the Bragg peaks of a power spectrum.

    Parameters
    ----------
    power : ndarray of float, shape (height, width)
        Frequency 0 in the corner.

    Returns
    -------
    list of (float, float)
        Frequencies along rows and columns [1/px], the strongest first; with each its opposite.
    """
    smooth = gaussian_filter(power, SMOOTHING, mode="wrap")
    is_peak = (smooth == maximum_filter(smooth, 5, mode="wrap")) & (smooth > PEAK_RATIO * find_background(smooth))
    is_peak &= measure_frequency(power.shape) > LOWEST_PEAK
    rows, columns = np.nonzero(is_peak)
    strongest = np.argsort(-smooth[rows, columns], kind="stable")[:NUM_PEAKS]
    axes = [fft.fftfreq(side) for side in power.shape]
    return [
        (float(axes[0][row]), float(axes[1][column]))
        for row, column in zip(rows[strongest], columns[strongest], strict=True)
    ]


WIENER = Filter(denoise_wiener, (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0))
ABSF = Filter(denoise_absf, (0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8))
BRAGG = Filter(denoise_bragg, (1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0, 22.0, 32.0, 45.0))
BUTTERWORTH = Filter(denoise_butterworth, (4.0, 4.8, 5.6, 6.7, 8.0, 9.5, 11.0, 13.5, 16.0, 19.0, 22.0))
