"""The workload `segment`: labels of the file, confusion of all pixels, errors that can be seen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.errors import DataError
from emdenoise.progress import SilentProgress
from emdenoise.workloads.segment import SEGMENT

Files = dict[str, RecordFile]


def call_everything_dark(noisy: np.ndarray) -> np.ndarray:
    return np.zeros(noisy.shape, np.uint8)


def test_the_confusion_counts_every_pixel_of_the_test(
    tiny_config: Callable[..., RunConfig], drawn_files: Files
) -> None:
    config = tiny_config(
        workload="segment",
        training={"loss": "dice_cross_entropy"},
        evaluation={"segmentation_baselines": [], "num_pictures": 2},
    )
    test = drawn_files["test"]
    evaluation = SEGMENT.evaluate(config, call_everything_dark, drawn_files["validation"], test, SilentProgress())
    mask = test.read("mask")
    found = evaluation.describe()
    assert found["confusion"] == [[int((mask == 0).sum()), 0], [int((mask == 1).sum()), 0]]
    assert found["label_names"] == ["dark", "bright"]
    assert np.array_equal(evaluation.pictures["errors"], evaluation.pictures["mask"])
    share = evaluation.pictures["mask"][0].mean()
    assert evaluation.captions["errors"][0] == f"errors  {share:.1%}"


def test_images_without_masks_are_refused_in_one_line(tmp_path: Path, draw_records: Callable[..., object]) -> None:
    records = [
        Record(noisy=record.noisy, clean=record.clean, specimen=record.specimen, name=record.name)
        for record in draw_records(2)  # type: ignore[attr-defined]
    ]
    write_records(tmp_path / "train.h5", records, attributes={})
    with RecordFile(tmp_path / "train.h5") as images, pytest.raises(DataError, match=r"train\.h5: has no masks"):
        SEGMENT.count_outputs(images)
