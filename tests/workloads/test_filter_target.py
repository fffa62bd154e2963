"""What a filter reaches on validation images: every image is scored once, by a filter that was tuned on others."""

from typing import Any

import numpy as np
import pytest

from emdenoise.arrays import Sample
from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.baselines import BASELINES, Baseline, Examples
from emdenoise.evaluation.metrics import psnr
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.filter_target import score_across_halves

DENOISE = WORKLOADS["denoise"]


class Remembers:
    """A method that keeps which images it was tuned on, and adds their number to every image."""

    def __init__(self, examples: Examples) -> None:
        self.tuned_on = {image.tobytes() for image in examples.noisy}

    def __call__(self, sample: Sample) -> np.ndarray:
        images: np.ndarray = sample["noisy"][..., 0]
        assert not self.tuned_on & {image.tobytes() for image in images}
        return images + np.float32(0.01 * len(self.tuned_on))

    def describe(self) -> str:
        return f"{len(self.tuned_on)} images"


def test_every_image_is_scored_once_by_a_filter_that_was_tuned_on_other_specimens(
    drawn_files: dict[str, RecordFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = drawn_files["test"]  # three specimens of two images: tuned on two of them and on one
    monkeypatch.setitem(BASELINES, "remembers", Baseline("Toy.", "intensity", Remembers))
    scores, choices = score_across_halves(DENOISE, "remembers", "psnr_db", records)
    assert choices == ["4 images", "2 images"]
    added = np.array([0.02, 0.02, 0.04, 0.04, 0.02, 0.02], np.float32)[:, None, None]
    assert scores == pytest.approx(psnr(records.read("noisy") + added, records.read("clean"), data_range=1.0))


def test_a_filter_that_can_be_tuned_is_better_than_the_image(drawn_files: dict[str, RecordFile]) -> None:
    records = drawn_files["validation"]
    scores, _ = score_across_halves(DENOISE, "gaussian", "psnr_db", records)
    assert (scores > psnr(records.read("noisy"), records.read("clean"), data_range=1.0) + 3).all()


def test_images_of_one_specimen_cannot_be_halved() -> None:
    class OneSpecimen:
        name, has_tiles = "validation.h5", False

        def read_text(self, field: str) -> list[str]:
            return ["only one", "only one"]

    records: Any = OneSpecimen()
    with pytest.raises(ValueError, match="has 1 specimens; expected two or more"):
        score_across_halves(DENOISE, "gaussian", "psnr_db", records)
