"""What a workload must say of itself, and the check of the closed division."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.config.architectures import UNetSettings
from emdenoise.config.schema import DataSettings, EvaluationSettings, RunConfig, SimulationSettings
from emdenoise.data.storage import RecordFile
from emdenoise.errors import DataError, SettingsError
from emdenoise.evaluation.score import ImageScores
from emdenoise.evaluation.throughput import Latency
from emdenoise.progress import Progress

SCORING_SETTINGS = ("num_resamples", "confidence", "atom_tolerance_angstrom")
"""Settings of the section `evaluation` that move a score or its interval."""


CLOSED_LOSSES = {"denoise": "mean_squared_error", "segment": "dice_cross_entropy"}
"""Loss of the closed division by workload."""


@dataclass(frozen=True)
class Evaluation:
    """What the test of a workload found.

    Attributes
    ----------
    methods : dict of str to ImageScores
        ``noisy``, each classical method, ``network``.
    choices : dict of str to str
        What was chosen for each classical method on validation data, in words.
    latency : Latency
        Of the network, single images.
    pictures : dict of str to list of ndarray of float32 or uint8, shape (height, width)
        What the report shows side by side of some test images, the truth last.
    captions : dict of str to list of str
        What is written over each picture.
    details : dict
        What else the record keeps, as JSON values: the confusion of the labels.
    """

    methods: dict[str, ImageScores]
    choices: dict[str, str]
    latency: Latency
    pictures: dict[str, list[npt.NDArray[Any]]]
    captions: dict[str, list[str]]
    details: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Say what a record keeps of the test, as JSON values: scores of every image, choices, latency."""
        return {
            "choices": self.choices,
            "latency": {"p50_ms": self.latency.p50_ms, "p99_ms": self.latency.p99_ms},
            "per_image": {
                name: {metric: _to_json(values) for metric, values in scores.metrics.items()}
                for name, scores in self.methods.items()
            },
            "captions": self.captions,
            **self.details,
        }


def _to_json(values: npt.NDArray[np.float64]) -> list[float | None]:
    """Convert to a list; JSON has no NaN and no infinity."""
    return [float(value) if np.isfinite(value) else None for value in values]


@dataclass(frozen=True)
class Workload:
    """One problem of the benchmark.

    Attributes
    ----------
    name, description : str
    input_field, target_field : str
        Fields of the record that the network gets and shall give.
    output_channels : int or None
        Of the network; None for one per label of the masks.
    main_metric : str
        By which methods are ranked; larger is better.
    evaluate : callable
        ``(config, network, validation, test, progress) -> Evaluation``; `network` is the trained network as a denoiser
        or segmenter.
    target_loss : float or None
        Validation loss that a training on the images of the closed division must reach (docs/benchmark.md justifies
        it); None where no target is set yet.
    """

    name: str
    description: str
    input_field: str
    target_field: str
    output_channels: int | None
    main_metric: str
    evaluate: Callable[[RunConfig, Any, RecordFile, RecordFile, Progress], Evaluation]
    target_loss: float | None = None

    @property
    def fields(self) -> tuple[str, str]:
        """Input and target field."""
        return self.input_field, self.target_field

    def find_target(self, config: RunConfig) -> float | None:
        """Give the target of a run; None where its images or its loss are not those of the closed division."""
        is_reference = (config.data, config.simulation) == (DataSettings(), SimulationSettings())
        return self.target_loss if is_reference and config.training.loss == CLOSED_LOSSES[self.name] else None

    def count_outputs(self, records: RecordFile, num_epochs: int = 1) -> int:
        """Count the output channels that a network for these images needs.

        Parameters
        ----------
        records : RecordFile
        num_epochs : int
            Of the training; without any, a pretrained network is kept as it is, which needs no truth.

        Raises
        ------
        DataError
            If the images do not have what the network learns.
        """
        if self.output_channels is not None:
            if num_epochs:
                records.check_field(self.target_field)
            return self.output_channels
        if self.target_field not in records:
            raise DataError(
                f"{records.name}: has no masks, which workload {self.name} learns from; choose a source that has them, "
                "or put masks beside your images, and run download and preprocess again."
            )
        return len(records.label_names)


def check_division(config: RunConfig) -> None:
    """Check that a run of the closed division keeps what that division fixes.

    Raises
    ------
    SettingsError
        Lists every setting that only the open division allows.
    """
    if config.division == "open":
        return
    training, scoring = config.training, EvaluationSettings()
    fixed: list[tuple[str, object, object]] = [
        ("data.source", config.data.source, "graphene"),
        ("data.seed", config.data.seed, 0),
        ("training.loss", training.loss, CLOSED_LOSSES[config.workload]),
        ("training.label_balance", training.label_balance, 1.0),
        ("training.num_images", training.num_images, None),
        ("training.optimizer", training.optimizer, "adam"),
        ("training.crop_size_px", training.crop_size_px, None),
        ("training.flip", training.flip, False),
        *(
            (f"evaluation.{name}", getattr(config.evaluation, name), getattr(scoring, name))
            for name in SCORING_SETTINGS
        ),
    ]
    if config.workload == "denoise":
        fixed.append(("pretraining.method", config.pretraining.method, "none"))
    for section, given, reference in (
        ("model", config.model, UNetSettings()),
        ("simulation", config.simulation, SimulationSettings()),
    ):
        names = type(reference).model_fields
        fixed += [(f"{section}.{name}", getattr(given, name, None), getattr(reference, name)) for name in names]
    broken = [f"{name} is {found}, fixed to {expected}" for name, found, expected in fixed if found != expected]
    if broken:
        raise SettingsError(f"division closed: {'; '.join(broken)}; keep these, or set division to open.")


def choose_pictures(num_images: int, num_wanted: int) -> npt.NDArray[np.intp]:
    """Choose evenly spaced images to show; returns their indices."""
    return np.unique(np.linspace(0, num_images - 1, min(num_wanted, num_images)).round().astype(np.intp))


def read_pictures(records: RecordFile, field: str, num_wanted: int) -> list[npt.NDArray[Any]]:
    """Read some images to show, whole, each of shape (height, width)."""
    whole_images = records.list_whole_images()
    return [records.read_whole(field, whole_images[index]) for index in choose_pictures(len(whole_images), num_wanted)]


def apply_to_each(method: Callable[[Any], Any], images: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Apply a method that takes a batch to images of any sizes, one by one."""
    return [np.asarray(method(image[None]))[0] for image in images]


def find_black_level(records: RecordFile) -> float:
    """Find the stored intensity of a pixel that no electron reached; 0 where the source does not know it."""
    stated = records.read_attribute("black_level")
    of_scale = -records.read_attribute("intensity_offset") * records.read_attribute("intensity_scale")
    return float(np.nan_to_num(np.median(np.where(np.isnan(stated), of_scale, stated))))
