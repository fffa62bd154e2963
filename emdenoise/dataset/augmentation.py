"""Random changes of intensity, as other microscopes, specimens and settings of the detector make them."""

import numpy as np
from scipy.ndimage import gaussian_filter

from emdenoise.arrays import FloatImage
from emdenoise.config.schema import AugmentationSettings

SMALLEST_INTENSITY = 1e-3
"""A power below 1 has no slope at zero, and would show noise of the darkest pixels alone."""
SMALLEST_BLUR_PX = 0.05
"""A narrower blur changes nothing, and divides by zero in the end [px]."""


def augment(image: FloatImage, settings: AugmentationSettings, rng: np.random.Generator) -> FloatImage:
    """Change the intensity of an image at random: gamma, polarity, contrast, brightness, blur, noise, in this order.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        Intensities near [0, 1].
    settings : AugmentationSettings
        What is 0 changes nothing, and nothing of the other changes either.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (height, width)
        Not cut to [0, 1].

    Examples
    --------
    >>> image = np.array([[0.25, 0.5]], np.float32)
    >>> augment(image, AugmentationSettings(inversion=1.0), np.random.default_rng(0)).tolist()
    [[0.75, 0.5]]
    """
    gamma, contrast, brightness = rng.uniform(-1, 1, 3)
    polarity, is_blurred, blur, is_noisy, noise = rng.random(5)
    if settings.log_gamma:
        image = image.clip(SMALLEST_INTENSITY, 1) ** _exp(settings.log_gamma * gamma)
    if polarity < settings.inversion:
        image = 1 - image
    if settings.log_contrast:
        image = (image - np.float32(0.5)) * _exp(settings.log_contrast * contrast) + np.float32(0.5)
    if settings.brightness:
        image = image + np.float32(settings.brightness * brightness)
    if settings.blur_px and is_blurred < 0.5:
        image = gaussian_filter(image, max(settings.blur_px * blur, SMALLEST_BLUR_PX), mode="mirror")
    if settings.noise and is_noisy < 0.5:
        image = image + np.float32(settings.noise * noise) * rng.standard_normal(image.shape, np.float32)
    return image


def _exp(logarithm: float) -> np.float32:
    return np.float32(np.exp(logarithm))
