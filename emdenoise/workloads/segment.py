"""The workload `segment`: from the detector image to the label of every pixel."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emdenoise.arrays import Mask
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.baselines.segmenters import tune_segmenters
from emdenoise.evaluation.baselines.tuning import choose_tuning_images
from emdenoise.evaluation.metrics.masks import count_confusion, score_masks
from emdenoise.evaluation.scoring import score_segmenter
from emdenoise.evaluation.throughput import Segmenter, measure_latency
from emdenoise.progress import Progress
from emdenoise.workloads.contract import Evaluation, Workload, apply_to_each, find_black_level, read_pictures


def evaluate_segmentation(
    config: RunConfig, network: Segmenter, validation: RecordFile, test: RecordFile, progress: Progress
) -> Evaluation:
    """Tune the classical methods on validation images and score all methods on the test images.

    Parameters
    ----------
    config : RunConfig
    network : callable
        The trained network as a segmenter.
    validation, test : RecordFile
    progress : Progress

    Returns
    -------
    Evaluation
    """
    settings, label_names = config.evaluation, test.label_names
    chosen = choose_tuning_images(len(validation), settings.num_tuning_images)
    names = settings.segmentation_baselines
    classical = tune_segmenters(
        names,
        validation.read("noisy", chosen),
        validation.read("mask", chosen),
        num_labels=len(label_names),
        black_level=find_black_level(validation),
        on_method=lambda done, name: progress.step("tune classical methods", done, len(names), name),
    )
    progress.step("tune classical methods", len(names), len(names))
    segmenters: dict[str, Segmenter] = {**classical, "network": network}
    methods = {}
    for number, (name, segment) in enumerate(segmenters.items()):
        progress.step("score", number, len(segmenters), name)
        batch_size = settings.batch_size if name == "network" else 1  # classical methods gain nothing from batches
        methods[name] = score_segmenter(segment, test, batch_size=batch_size)
    progress.step("score", len(segmenters), len(segmenters))
    noisy, mask = (read_pictures(test, name, settings.num_pictures) for name in ("noisy", "mask"))
    predicted = {name: apply_to_each(segment, noisy) for name, segment in segmenters.items()}
    errors = [(found != true).astype(np.uint8) for found, true in zip(predicted["network"], mask, strict=True)]
    return Evaluation(
        methods=methods,
        choices={name: segmenter.describe() for name, segmenter in classical.items()},
        latency=measure_latency(
            network, test.read("noisy", slice(0, settings.num_pictures)), settings.num_latency_images
        ),
        pictures={"noisy": noisy, **predicted, "errors": errors, "mask": mask},
        captions={name: _caption(name, masks, mask, label_names) for name, masks in predicted.items()}
        | {"errors": [f"errors  {wrong.mean():.1%}" for wrong in errors]},
        details={"label_names": label_names, "confusion": _count_all(network, test)},
    )


def _caption(name: str, predicted: Sequence[Mask], masks: Sequence[Mask], label_names: Sequence[str]) -> list[str]:
    pairs = zip(predicted, masks, strict=True)
    values = [score_masks(found[None], true[None], label_names)["dice"][0] for found, true in pairs]
    return [f"{name}  Dice {value:.2f}" for value in values]


def _count_all(segment: Segmenter, records: RecordFile) -> list[list[int]]:
    """Count the pixels of all images by true label (rows) and predicted label (columns)."""
    num_labels = len(records.label_names)
    total: Any = np.zeros((num_labels, num_labels), np.int64)
    for tiles in records.list_whole_images():
        noisy, mask = (records.read_whole(name, tiles)[None] for name in ("noisy", "mask"))
        total += count_confusion(segment(noisy), mask, num_labels=num_labels)
    counts: list[list[int]] = total.tolist()
    return counts


SEGMENT = Workload(
    name="segment",
    description="Name what each pixel of the detector image shows.",
    input_field="noisy",
    target_field="mask",
    output_channels=None,
    main_metric="dice",
    evaluate=evaluate_segmentation,
    target_loss=1.2,
)
