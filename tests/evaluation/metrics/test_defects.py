"""Errors inside defects are those of their pixels, and no other pixel moves them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from emdenoise.evaluation.metrics import METRICS, Case
from emdenoise.evaluation.metrics.defects import mse_inside
from emdenoise.evaluation.metrics.intensity import mse
from emdenoise.seeding import make_generator

SHAPE = (3, 12, 16)
LABEL_NAMES = ["vacuum", "lattice", "defect"]
regions = arrays.arrays(np.bool_, SHAPE)


def draw() -> tuple[np.ndarray, np.ndarray]:
    denoised, clean = make_generator(0, "test").random((2, *SHAPE), np.float32)
    return denoised, clean


def test_of_all_pixels_it_is_the_error_of_the_image() -> None:
    denoised, clean = draw()
    assert mse_inside(denoised, clean, region=np.ones(SHAPE, bool)) == pytest.approx(mse(denoised, clean), rel=1e-12)


@given(region=regions)
def test_inside_and_outside_add_up_to_the_whole_image(region: np.ndarray) -> None:
    denoised, clean = draw()
    parts = [np.nan_to_num(mse_inside(denoised, clean, region=one)) * one.mean((1, 2)) for one in (region, ~region)]
    assert sum(parts) == pytest.approx(mse(denoised, clean))


@given(region=regions)
def test_pixels_outside_do_not_move_it(region: np.ndarray) -> None:
    denoised, clean = draw()
    expected = mse_inside(denoised, clean, region=region)
    found = mse_inside(np.where(region, denoised, np.float32(np.nan)), clean, region=region)
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.isnan(expected).tolist() == (~region.any((1, 2))).tolist()


def test_the_metrics_count_the_pixels_that_the_mask_calls_defect() -> None:
    clean = np.zeros((1, 8, 8), np.float32)
    denoised = np.full_like(clean, 0.5)
    mask = np.ones((1, 8, 8), np.uint8)
    mask[0, 2:4, 2:4] = 2
    denoised[0, 2:4, 2:4] = 0.1
    case = Case(denoised, clean, LABEL_NAMES, mask=mask)
    assert METRICS["mse_defect"].collect(case)["mse_defect"] == pytest.approx([0.01], rel=1e-6)
    assert METRICS["psnr_defect_db"].collect(case)["psnr_defect_db"] == pytest.approx([20.0], rel=1e-6)


def test_lattice_drawn_over_a_defect_has_a_small_error_of_the_image_and_a_large_one_inside() -> None:
    rows, columns = np.mgrid[:64, :64]
    lattice = (0.5 + 0.3 * np.cos(rows) * np.cos(columns))[None].astype(np.float32)
    mask = (np.hypot(rows - 32, columns - 32) < 5).astype(np.uint8)[None]
    clean = np.where(mask == 1, np.float32(0.5), lattice)
    case = Case(lattice, clean, ["lattice", "defect"], mask=mask)
    scores = {name: METRICS[name].collect(case)[name][0] for name in ("psnr_db", "psnr_defect_db")}
    share = 10 * np.log10(mask.mean())  # all of the error is inside, so the two differ by the share of the pixels
    assert scores["psnr_db"] - scores["psnr_defect_db"] == pytest.approx(-share, rel=1e-5)


def test_other_shapes_are_refused() -> None:
    denoised, clean = draw()
    with pytest.raises(ValueError, match=r"region bool \(2, 12, 16\); expected equal 3-D shapes"):
        mse_inside(denoised, clean, region=np.ones((2, 12, 16), bool))
