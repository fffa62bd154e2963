"""Two engines of one network: what is the same loses nothing, what is noisier loses what the noise costs."""

import numpy as np
import pytest

from emdenoise.arrays import Sample
from emdenoise.evaluation.agreement import Agreement, measure_agreement

RNG = np.random.default_rng(0)
CLEAN = list(RNG.random((3, 32, 32)).astype(np.float32))
NOISY = [image + RNG.normal(0, 0.1, image.shape).astype(np.float32) for image in CLEAN]


def as_samples(images: list[np.ndarray]) -> list[Sample]:
    return [{"noisy": image[None, ..., None]} for image in images]


def keep(sample: Sample) -> np.ndarray:
    return sample["noisy"][..., 0]


def test_an_engine_that_gives_the_same_loses_nothing() -> None:
    found = measure_agreement(keep, keep, as_samples(NOISY), CLEAN, "intensity")
    assert found == Agreement(3, max_deviation=0.0, psnr_loss_db=0.0)
    assert found.is_good


def test_independent_noise_costs_what_the_sum_of_variances_says() -> None:
    large = list(RNG.random((2, 400, 400)).astype(np.float32))
    noisy = [image + RNG.normal(0, 0.1, image.shape).astype(np.float32) for image in large]
    found = measure_agreement(
        keep,
        lambda sample: keep(sample) + RNG.normal(0, 0.05, (1, 400, 400)).astype(np.float32),
        as_samples(noisy),
        large,
        "intensity",
    )
    assert found.psnr_loss_db == pytest.approx(10 * np.log10(1.25), abs=0.02)
    assert not found.is_good
    assert found.describe() == f"PSNR loss {found.psnr_loss_db:.4f} dB, at most 0.01 allowed"


def test_a_result_that_is_no_number_is_not_good() -> None:
    found = measure_agreement(keep, lambda sample: keep(sample) * np.nan, as_samples(NOISY), CLEAN, "intensity")
    assert not found.is_good


def test_labels_are_compared_pixel_by_pixel() -> None:
    masks = [np.zeros((20, 100), np.uint8)]

    def change(num_pixels: int) -> Agreement:
        def engine(sample: Sample) -> np.ndarray:
            changed = keep(sample).copy()
            changed[0, 0, :num_pixels] = 1
            return changed

        return measure_agreement(keep, engine, as_samples(masks), masks, "labels")

    assert change(2) == Agreement(1, changed_share=0.001)
    assert change(2).is_good
    assert not change(3).is_good
    assert change(3).describe() == "0.15% of the pixels get another label, at most 0.1% allowed"
