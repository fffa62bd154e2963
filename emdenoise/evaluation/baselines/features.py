"""Local features of pixels, as in interactive segmentation programs: what classifiers of pixels learn from."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from skimage.feature import multiscale_basic_features, structure_tensor, structure_tensor_eigenvalues

from emdenoise.arrays import FloatImage
from emdenoise.evaluation.baselines.preparation import flatten_beam
from emdenoise.evaluation.baselines.views import TEXTURES_PX, is_border_high, measure_texture
from emdenoise.processes import count_processors

SCALES_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations of the smoothing before the features are computed [px]."""
POLARITY_SCALE = 1
"""Index of the scale at which the polarity of an image is decided."""
SIGNS_OF_SCALE = (-1, 1, -1, -1, -1, 1, 1)
"""Of the features of `_describe_scale`, how they change with the polarity; the two curvatures also change places."""
NUM_OF_SCALE = len(SIGNS_OF_SCALE)
SIGNS = np.array([*SIGNS_OF_SCALE * len(SCALES_PX), *[-1] * (len(SCALES_PX) - 1), *[1] * len(TEXTURES_PX)], np.float32)
ORDER = np.array(
    [NUM_OF_SCALE * scale + index for scale in range(len(SCALES_PX)) for index in (0, 1, 3, 2, 4, 5, 6)]
    + list(range(NUM_OF_SCALE * len(SCALES_PX), len(SIGNS)))
)


def compute_features(image: FloatImage, flatten_px: float | None) -> FloatImage:
    """Describe each pixel by its surroundings at several scales.

    They are those of ilastik (doi:10.1038/s41592-019-0582-9), and the strength of textures. Of the image smoothed over
    each scale: intensity, magnitude of the gradient, eigenvalues of the Hessian, Laplacian, eigenvalues of the
    structure tensor; then the differences of Gaussians between one scale and the next.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    flatten_px : float or None
        Standard deviation of the smoothing that estimates the beam [px]; None leaves the beam in.

    Returns
    -------
    ndarray of float32, shape (height × width, num_features)
        Of the image with mean 0 and standard deviation 1.

    Examples
    --------
    >>> compute_features(np.eye(32, dtype=np.float32), None).shape
    (1024, 45)
    """
    image = flatten_beam(image, flatten_px)
    image = ((image - image.mean()) / np.maximum(image.std(), np.finfo(np.float32).tiny)).astype(np.float32)
    with ThreadPoolExecutor(count_processors()) as pool:
        scales = list(pool.map(lambda scale_px: _describe_scale(image, scale_px), SCALES_PX))
        textures = list(pool.map(lambda lengths_px: measure_texture(image, *lengths_px), TEXTURES_PX))
    differences = [fine[0] - coarse[0] for fine, coarse in pairwise(scales)]
    features: FloatImage = np.stack([*(one for scale in scales for one in scale), *differences, *textures], axis=-1)
    return features.reshape(image.size, -1)


def _describe_scale(image: FloatImage, scale_px: float) -> list[FloatImage]:
    basic = multiscale_basic_features(image, sigma_min=scale_px, sigma_max=scale_px, num_sigma=1, workers=1)
    smoothed, gradient, *curvatures = np.moveaxis(basic, -1, 0)
    orientations = structure_tensor_eigenvalues(structure_tensor(smoothed, scale_px / 2, mode="nearest"))
    return [smoothed, gradient, *curvatures, curvatures[0] + curvatures[1], *orientations]


def invert_by_border(features: FloatImage, shape: tuple[int, ...]) -> FloatImage:
    """Give the features of the negative of an image where most of its border is high; see `is_border_high`.

    Parameters
    ----------
    features : ndarray of float32, shape (height × width, num_features)
        As `compute_features` gives them.
    shape : tuple of int
        Height and width [px].

    Returns
    -------
    ndarray of float32, shape (height × width, num_features)

    Examples
    --------
    >>> dark_square = np.ones((32, 32), np.float32)
    >>> dark_square[8:24, 8:24] = 0
    >>> features = [compute_features(image, None) for image in (dark_square, -dark_square)]
    >>> bool(np.allclose(invert_by_border(features[0], (32, 32)), features[1], atol=1e-5))
    True
    """
    smoothed = features[:, NUM_OF_SCALE * POLARITY_SCALE].reshape(shape)
    return features[:, ORDER] * SIGNS if is_border_high(smoothed) else features
