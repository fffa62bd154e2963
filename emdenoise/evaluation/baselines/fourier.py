"""Filters of the spectrum, which microscopists use for images of lattices."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from emdenoise.arrays import FloatImage
from emdenoise.evaluation.baselines.filters import Filter

MARGIN = 4
"""The image is continued by reflection over its side divided by this, so that no edge shines in the spectrum."""
SMOOTHING = 1.0
"""Standard deviation of the smoothing of the spectrum [its own pixels]; wider, and peaks of a lattice are lost."""
NOISE_FREQUENCY = 0.35
"""Above this frequency the spectrum is taken for noise alone [1/px]."""


def denoise_wiener(image: FloatImage, sigma: float, strength: float) -> FloatImage:
    """Weigh each frequency by its share of signal: max(0, 1 − strength · noise / spectrum).

    The filter of Wiener for noise that is white, with spectrum and noise taken from the image itself (L. D. Marks,
    doi:10.1016/0304-3991(95)00085-2; R. Kilaas, doi:10.1046/j.1365-2818.1998.3070861.x). The noise is the median of the
    power at high frequencies; the power of one frequency of white noise is distributed exponentially, and its median is
    ln 2 of its mean. `strength` above 1 takes away what is noise by chance.
    """
    margins = [(side // MARGIN, side // MARGIN) for side in image.shape]
    padded = np.pad(image.astype(np.float64), margins, "symmetric")
    mean = padded.mean()
    spectrum = np.fft.fft2(padded - mean)
    power = np.abs(spectrum) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in padded.shape), indexing="ij"))
    noise = np.median(power[frequency > NOISE_FREQUENCY]) / np.log(2)
    smooth: npt.NDArray[np.float64] = gaussian_filter(power, SMOOTHING, mode="wrap")
    gain = np.maximum(0, 1 - strength * noise / np.maximum(smooth, np.finfo(np.float64).tiny))
    restored = np.fft.ifft2(spectrum * gain).real + mean
    rows, columns = (slice(before, before + side) for (before, _), side in zip(margins, image.shape, strict=True))
    return restored[rows, columns].astype(np.float32)


WIENER = Filter(denoise_wiener, (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0), flattening_strength=2.0)
