"""The score of the uncertainty of labels: whether a method is wrong where it says that it is not sure."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from emdenoise.arrays import describe
from emdenoise.evaluation.metrics.contract import Case, Metric, Scores


def error_auroc(uncertainty: npt.NDArray[np.floating], is_wrong: npt.NDArray[np.bool_]) -> Scores:
    """Compute how well the uncertainty of pixels tells the wrong ones from the right ones, in each image.

    Parameters
    ----------
    uncertainty : ndarray of float, shape (num_images, height, width)
        Of the label of each pixel, in any unit: only its order counts.
    is_wrong : ndarray of bool, shape (num_images, height, width)

    Returns
    -------
    ndarray of float64, shape (num_images,)
        Area under the receiver operating characteristic (doi:10.1148/radiology.143.1.7063747): the probability that a
        wrong pixel is less certain than a right one, where a tie counts half. NaN where all are right or all are wrong.

    Raises
    ------
    ValueError
        If the shapes differ or are not three-dimensional.

    Examples
    --------
    >>> error_auroc(np.array([[[0.1, 0.2, 0.3, 0.3]]]), np.array([[[False, True, False, True]]]))
    array([0.625])
    """
    if uncertainty.ndim != 3 or uncertainty.shape != is_wrong.shape:
        raise ValueError(
            f"uncertainty is {describe(uncertainty)}, is_wrong {describe(is_wrong)}; expected equal 3-D shapes"
        )
    return np.array([_rank_errors(*image) for image in zip(uncertainty, is_wrong, strict=True)], np.float64)


def _rank_errors(uncertainty: npt.NDArray[np.floating], is_wrong: npt.NDArray[np.bool_]) -> float:
    """Compute the statistic of Mann and Whitney as a share of all pairs of a wrong and a right pixel."""
    num_wrong = int(is_wrong.sum())
    num_right = is_wrong.size - num_wrong
    if not num_wrong or not num_right:
        return np.nan
    ranks = rankdata(uncertainty.ravel())[is_wrong.ravel()].sum()
    return float((ranks - num_wrong * (num_wrong + 1) / 2) / num_wrong / num_right)


def compute_error_auroc(case: Case) -> Scores:
    """Compute the area for each image of a case, NaN where all of its pixels are right or all are wrong."""
    if case.uncertainty is None:
        raise ValueError("the uncertainty is not known; the metric names it in `needs`")
    return error_auroc(case.uncertainty, case.result != case.truth)


ERROR_AUROC = Metric(
    name="error_auroc",
    heading="AUROC of errors",
    description=(
        "AUROC of errors is the probability that a wrong pixel is less certain than a right one, by the entropy of its "
        "probabilities: 1 is best, 0.5 is chance; only methods that give probabilities have it."
    ),
    kinds=("labels",),
    compute=compute_error_auroc,
    is_larger_better=True,
    decimals=3,
    tolerance=0.02,
    retrained_tolerance=0.1,
    needs=("uncertainty",),
    is_compact=False,
    caption="AUROC {:.2f}",
)
