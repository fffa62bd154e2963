"""What classical segmenters look at: intensity and texture, smoothed, with dead pixels and the beam taken care of."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_local, threshold_otsu

from emdenoise.arrays import FloatImage, Mask, describe
from emdenoise.evaluation.baselines.contract import Examples, Images
from emdenoise.evaluation.baselines.preparation import estimate_electrons, flatten_beam, repair_dead_pixels

TEXTURES_PX = ((1.0, 4.0), (2.0, 4.0), (2.0, 8.0), (2.0, 16.0), (4.0, 8.0), (4.0, 16.0))
"""Fineness of a texture, and over which length its strength is measured [px]."""

BORDER_PX = 4
"""Width of the border that the polarity is decided from [px]."""
LEAST_GAIN = 0.01
"""What deciding the polarity of each image from its border must gain in Dice: a border that shows as much of one region
as of another tells nothing."""


@dataclass(frozen=True)
class TuningImages:
    """What a method is tuned on.

    Attributes
    ----------
    noisy : list of ndarray of float32, shape (height, width)
        With `repair` applied.
    mask : list of ndarray of uint8, shape (height, width)
    num_labels : int
    black_level : float
        Stored intensity of a pixel that no electron reached.
    frequent_label : int
        The label of most pixels, which an even image gets.
    """

    noisy: list[FloatImage]
    mask: list[Mask]
    num_labels: int
    black_level: float
    frequent_label: int


def prepare_images(examples: Examples) -> TuningImages:
    """Make ready what segmentations are tuned on: images with any contrast, dead pixels repaired.

    Raises
    ------
    ValueError
        If the shapes differ, a label is out of range, or no image has any contrast.
    """
    images: TuningImages = examples.once("repaired images", _prepare)
    return images


def _prepare(examples: Examples) -> TuningImages:
    num_labels = len(examples.label_names)
    for image, mask in zip(examples.noisy, examples.truth, strict=True):
        if image.ndim != 2 or image.shape != mask.shape:
            raise ValueError(f"noisy is {describe(image)}, mask {describe(mask)}; expected equal 2-D shapes")
        if mask.max(initial=0) >= num_labels:
            raise ValueError(f"mask has label {mask.max()}; expected 0 to {num_labels - 1}")
    chosen = [pair for pair in zip(examples.noisy, examples.truth, strict=True) if not is_even(pair[0])]
    if not chosen:
        raise ValueError(f"{len(examples.truth)} images without any contrast; expected at least one to tune on")
    return TuningImages(
        noisy=[repair(image, examples.black_level) for image, _ in chosen],
        mask=[mask for _, mask in chosen],
        num_labels=num_labels,
        black_level=examples.black_level,
        frequent_label=int(count_labels(examples.truth, num_labels).argmax()),
    )


def count_labels(masks: Images, num_labels: int) -> npt.NDArray[np.int64]:
    """Count the pixels of each label in all masks together."""
    return np.sum([np.bincount(mask.ravel(), minlength=num_labels) for mask in masks], axis=0)


@dataclass(frozen=True)
class View:
    """The quantity that a threshold splits.

    Attributes
    ----------
    flatten_px : float or None
        Standard deviation of the smoothing that estimates the beam [px]; None leaves the beam in.
    smooth_px : float
        Standard deviation of the smoothing of the intensity, or the fineness of the texture [px].
    texture_px : float or None
        Length over which the strength of the texture is measured [px]; None takes the intensity.
    block_px : int or None
        Block whose weighted mean is taken off [px]; None takes off nothing.
    is_border_low : bool
        Whether the quantity changes its sign where most of the border is high; see `is_border_high`.
    """

    flatten_px: float | None
    smooth_px: float
    texture_px: float | None
    block_px: int | None = None
    is_border_low: bool = False

    def compute(self, image: FloatImage) -> FloatImage:
        """Compute the quantity of a repaired image, both of shape (height, width)."""
        image = flatten_beam(image, self.flatten_px)
        if self.texture_px is None:
            feature = gaussian_filter(image, self.smooth_px)
        else:
            feature = measure_texture(image, self.smooth_px, self.texture_px)
        if self.is_border_low and is_border_high(feature):
            feature = -feature
        if self.block_px is None:
            return feature
        spread = feature.std()
        local = threshold_local(feature, self.block_px, method="gaussian")
        return (feature - local) / spread if spread > 0 else np.zeros_like(feature)

    def describe(self) -> str:
        """Say in words what is computed."""
        beam = "beam left in" if self.flatten_px is None else f"beam flattened over {self.flatten_px:g} px"
        polarity = ", polarity from the border" if self.is_border_low else ""
        if self.texture_px is None:
            return f"{beam}, intensity smoothed over {self.smooth_px:g} px{polarity}"
        return f"{beam}, texture of {self.smooth_px:g} px over {self.texture_px:g} px{polarity}"


def is_even(image: FloatImage) -> bool:
    """Say whether an image is even up to rounding."""
    return bool(np.ptp(image) <= 1e-6 * np.abs(image).max())


def is_border_high(feature: FloatImage) -> bool:
    """Say whether most of the border is above Otsu's threshold.

    Objects are what the border has less of, so of such an image they have the low values.

    Parameters
    ----------
    feature : ndarray of float32, shape (height, width)

    Examples
    --------
    >>> dark_square = np.ones((32, 32), np.float32)
    >>> dark_square[8:24, 8:24] = 0
    >>> is_border_high(dark_square), is_border_high(1 - dark_square)
    (True, False)
    """
    if is_even(feature):
        return False
    is_border = np.ones(feature.shape, bool)
    is_border[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    return bool(np.median(feature[is_border]) > threshold_otsu(feature))


def repair(image: FloatImage, black_level: float) -> FloatImage:
    """Take off the black level and repair dead pixels."""
    image = image - np.float32(black_level)
    return repair_dead_pixels(image, estimate_electrons(image))


def measure_texture(image: FloatImage, fine_px: float, length_px: float) -> FloatImage:
    """Measure how strong the texture of one fineness is around each pixel, relative to the whole image.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    fine_px : float
        The band-pass is the difference of Gaussians of this standard deviation and its double [px]; it answers most
        to waves about eight times as long.
    length_px : float
        Standard deviation of the Gaussian window [px].

    Returns
    -------
    ndarray of float32, shape (height, width)
        Root mean square of the band in the window, divided by its mean; dose and contrast cancel.

    Examples
    --------
    >>> stripes = np.zeros((64, 64), np.float32)
    >>> stripes[:, :32] = np.sin(np.arange(64) * 2 * np.pi / 16)[:, None]
    >>> texture = measure_texture(stripes, 2.0, 4.0)
    >>> bool(texture[:, :24].min() > 4 * texture[:, 48:].max())
    True
    """
    band = gaussian_filter(image, fine_px) - gaussian_filter(image, 2 * fine_px)
    strength = np.sqrt(np.maximum(gaussian_filter(band**2, length_px), 0))
    return strength / np.maximum(strength.mean(), np.finfo(np.float32).tiny)
