"""Errors of restored images against their truth, one number per image, in float64.

The range of the data is an argument, never guessed: PSNR with range 255 on images in [0, 1] reads 48 dB too high.
"""

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from emdenoise.arrays import FloatImage, describe
from emdenoise.evaluation.metrics.contract import Metric, Scores


def mse(denoised: FloatImage, clean: FloatImage) -> npt.NDArray[np.float64]:
    """Compute the mean squared error of each image.

    Parameters
    ----------
    denoised, clean : ndarray of float32, shape (num_images, height, width)

    Returns
    -------
    ndarray of float64, shape (num_images,)

    Raises
    ------
    ValueError
        If the shapes differ or are not three-dimensional.

    Examples
    --------
    >>> mse(np.zeros((1, 8, 8), np.float32), np.full((1, 8, 8), 0.5, np.float32))
    array([0.25])
    """
    if denoised.ndim != 3 or denoised.shape != clean.shape:
        raise ValueError(f"denoised is {describe(denoised)}, clean {describe(clean)}; expected equal 3-D shapes")
    return np.mean(np.square(denoised.astype(np.float64) - clean.astype(np.float64)), axis=(1, 2))


def psnr(denoised: FloatImage, clean: FloatImage, *, data_range: float | Scores) -> npt.NDArray[np.float64]:
    """Compute the peak signal-to-noise ratio of each image.

    Parameters
    ----------
    denoised, clean : ndarray of float32, shape (num_images, height, width)
    data_range : float or ndarray of float64, shape (num_images,)
        Distance between the smallest and the largest possible value; 1 for the simulated images of this benchmark.

    Returns
    -------
    ndarray of float64, shape (num_images,)
        ``10 log10(data_range² / mse)`` [dB]; infinite where the images are equal.

    Raises
    ------
    ValueError
        If the shapes differ or are not three-dimensional.

    Examples
    --------
    >>> psnr(np.zeros((1, 8, 8), np.float32), np.full((1, 8, 8), 0.1, np.float32), data_range=1.0).round(3)
    array([20.])
    """
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 / mse(denoised, clean))


def ssim(denoised: FloatImage, clean: FloatImage, *, data_range: float | Scores) -> npt.NDArray[np.float64]:
    """Compute the mean structural similarity of each image (doi:10.1109/TIP.2003.819861).

    With the Gaussian window of 1.5 px and the constants of the original publication.

    Parameters
    ----------
    denoised, clean : ndarray of float32, shape (num_images, height, width)
        At least 11 px high and wide.
    data_range : float or ndarray of float64, shape (num_images,)
        Distance between the smallest and the largest possible value.

    Returns
    -------
    ndarray of float64, shape (num_images,)
        At most 1, which equal images have.

    Raises
    ------
    ValueError
        If the shapes differ, or an image is smaller than the window.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((1, 16, 16), np.float32)
    >>> ssim(image, image, data_range=1.0)
    array([1.])
    """
    if denoised.ndim != 3 or denoised.shape != clean.shape:
        raise ValueError(f"denoised is {describe(denoised)}, clean {describe(clean)}; expected equal 3-D shapes")
    return np.array(
        [
            structural_similarity(
                one.astype(np.float64),
                other.astype(np.float64),
                data_range=one_range,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for one, other, one_range in zip(denoised, clean, np.broadcast_to(data_range, len(clean)), strict=True)
        ]
    )


MSE = Metric(
    name="mse",
    heading="MSE [10⁻³]",
    description="MSE is the mean squared error of the stored intensity.",
    kinds=("intensity",),
    compute=lambda case: mse(case.result, case.truth),
    is_larger_better=False,
    decimals=2,
    factor=1e3,
    tolerance=1e-5,
    retrained_tolerance=3e-4,
)
PSNR = Metric(
    name="psnr_db",
    heading="PSNR [dB]",
    description="PSNR is the peak signal-to-noise ratio with the data range 1, or that which the source states.",
    kinds=("intensity",),
    compute=lambda case: psnr(case.result, case.truth, data_range=case.data_range),
    is_larger_better=True,
    decimals=2,
    tolerance=0.02,
    retrained_tolerance=1.5,
    caption="{:.1f} dB",
)
SSIM = Metric(
    name="ssim",
    heading="SSIM",
    description="SSIM is the structural similarity (doi:10.1109/TIP.2003.819861) with the same data range.",
    kinds=("intensity",),
    compute=lambda case: ssim(case.result, case.truth, data_range=case.data_range),
    is_larger_better=True,
    decimals=3,
    tolerance=1e-3,
    retrained_tolerance=0.05,
)
