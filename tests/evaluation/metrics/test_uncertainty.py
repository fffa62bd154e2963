"""The area under the curve that tells wrong pixels from right ones by their uncertainty."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from emdenoise.evaluation.metrics.uncertainty import error_auroc

RNG = np.random.default_rng(7)
IS_WRONG = RNG.random((3, 40, 50)) < np.array([0.02, 0.3, 0.7])[:, None, None]
UNCERTAINTY = RNG.random(IS_WRONG.shape, dtype=np.float32)


def test_who_is_less_sure_of_every_wrong_pixel_than_of_any_right_one_scores_one() -> None:
    assert error_auroc(np.where(IS_WRONG, 0.6, 0.1) + 0.1 * UNCERTAINTY, IS_WRONG) == pytest.approx([1, 1, 1], abs=0)
    assert error_auroc(np.where(IS_WRONG, 0.1, 0.6) + 0.1 * UNCERTAINTY, IS_WRONG) == pytest.approx([0, 0, 0], abs=0)


def test_an_uncertainty_that_knows_nothing_of_the_errors_scores_one_half() -> None:
    """The deviation is that of Mann and Whitney's statistic, √((m + n + 1) / 12 m n)."""
    wrong, right = (mask.sum(axis=(1, 2)) for mask in (IS_WRONG, ~IS_WRONG))
    deviation = np.sqrt((wrong + right + 1) / (12 * wrong * right))
    assert (np.abs(error_auroc(UNCERTAINTY, IS_WRONG) - 0.5) < 4 * deviation).all()
    assert error_auroc(np.full(IS_WRONG.shape, 0.2), IS_WRONG) == pytest.approx([0.5, 0.5, 0.5], abs=1e-12)


def test_only_the_order_of_the_uncertainties_counts() -> None:
    seen = error_auroc(UNCERTAINTY, IS_WRONG)
    for change in (np.exp, np.sqrt, lambda values: 3 * values - 7):
        assert np.array_equal(error_auroc(change(UNCERTAINTY.astype(np.float64)), IS_WRONG), seen)
    assert error_auroc(-UNCERTAINTY, IS_WRONG) == pytest.approx(1 - seen, abs=1e-12)


def test_ties_count_half_as_in_scikit_learn() -> None:
    rounded = (UNCERTAINTY + 0.3 * IS_WRONG).round(1)
    expected = [roc_auc_score(*image) for image in zip(IS_WRONG.reshape(3, -1), rounded.reshape(3, -1), strict=True)]
    assert error_auroc(rounded, IS_WRONG) == pytest.approx(expected, abs=1e-12)


def test_an_image_that_is_all_right_or_all_wrong_has_no_score() -> None:
    is_wrong = np.stack([IS_WRONG[0], np.ones_like(IS_WRONG[0]), np.zeros_like(IS_WRONG[0])])
    assert np.isnan(error_auroc(UNCERTAINTY, is_wrong)).tolist() == [False, True, True]


def test_arrays_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected equal 3-D shapes"):
        error_auroc(UNCERTAINTY[0], IS_WRONG[0])
    with pytest.raises(ValueError, match="expected equal 3-D shapes"):
        error_auroc(UNCERTAINTY[:1], IS_WRONG)
