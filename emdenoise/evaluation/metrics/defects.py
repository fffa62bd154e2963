"""Errors of restored images inside defects: what a mean over the whole image hides.

Defects are a few per cent of the pixels. A method that draws perfect lattice everywhere has a good MSE of the image,
and has removed what the microscopist was looking for.
"""

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage, describe
from emdenoise.evaluation.metrics.contract import Case, Metric, Scores

DEFECT_LABEL = "defect"


def mse_inside(denoised: FloatImage, clean: FloatImage, *, region: npt.NDArray[np.bool_]) -> Scores:
    """Compute the mean squared error of each image inside a region.

    Parameters
    ----------
    denoised, clean : ndarray of float32, shape (num_images, height, width)
    region : ndarray of bool, shape (num_images, height, width)
        Pixels that count.

    Returns
    -------
    ndarray of float64, shape (num_images,)
        NaN where no pixel counts.

    Raises
    ------
    ValueError
        If the shapes differ or are not three-dimensional.

    Examples
    --------
    >>> region = np.array([[[True, False]], [[False, False]]])
    >>> mse_inside(np.zeros((2, 1, 2), np.float32), np.full((2, 1, 2), 0.5, np.float32), region=region)
    array([0.25,  nan])
    """
    if denoised.ndim != 3 or not denoised.shape == clean.shape == region.shape:
        raise ValueError(
            f"denoised is {describe(denoised)}, clean {describe(clean)}, region {describe(region)}; "
            "expected equal 3-D shapes"
        )
    squares = np.square(denoised.astype(np.float64) - clean.astype(np.float64))
    sums, counts = np.where(region, squares, 0.0).sum(axis=(1, 2)), region.sum(axis=(1, 2))
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def compute_mse_in_defects(case: Case) -> Scores:
    """Compute the mean squared error inside the defects of each image of a case, NaN where it has none."""
    if case.mask is None:
        raise ValueError("the mask is not known; the metric names it in `needs`")
    return mse_inside(case.result, case.truth, region=case.mask == list(case.label_names).index(DEFECT_LABEL))


def compute_psnr_in_defects(case: Case) -> Scores:
    """Compute the peak signal-to-noise ratio inside the defects of each image [dB]; infinite where they are equal."""
    with np.errstate(divide="ignore"):
        psnr_db: Scores = 10 * np.log10(case.data_range**2 / case.once("mse in defects", compute_mse_in_defects))
    return psnr_db


MSE_DEFECT = Metric(
    name="mse_defect",
    heading="MSE in defects [10⁻³]",
    description="MSE in defects is that of the pixels that the mask calls defect, in the images that have some.",
    kinds=("intensity",),
    compute=lambda case: case.once("mse in defects", compute_mse_in_defects),
    is_larger_better=False,
    decimals=2,
    factor=1e3,
    tolerance=3e-5,  # of fewer pixels than the whole image, so that less of the rounding averages out
    retrained_tolerance=1e-3,
    needs=("mask",),
    needs_label=DEFECT_LABEL,
    is_compact=False,
)
PSNR_DEFECT = Metric(
    name="psnr_defect_db",
    heading="PSNR in defects [dB]",
    description="PSNR in defects is 10 log₁₀(1 / MSE in defects) of each image, or of its data range.",
    kinds=("intensity",),
    compute=compute_psnr_in_defects,
    is_larger_better=True,
    decimals=2,
    tolerance=0.05,
    retrained_tolerance=2.0,
    needs=("mask",),
    needs_label=DEFECT_LABEL,
    is_compact=False,
)
