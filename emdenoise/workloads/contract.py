"""What a workload must say of itself, and the check of the closed division."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import FloatImage
from emdenoise.config.architectures import UNetSettings
from emdenoise.config.schema import EvaluationSettings, RunConfig, SimulationSettings
from emdenoise.data.storage import RecordFile
from emdenoise.errors import SettingsError
from emdenoise.evaluation.metrics import psnr
from emdenoise.evaluation.score import DATA_RANGE, ImageScores
from emdenoise.evaluation.throughput import Denoiser, Latency
from emdenoise.progress import Progress

SCORING_SETTINGS = ("num_resamples", "confidence", "atom_tolerance_angstrom")
"""Settings of the section `evaluation` that move a score or its interval."""


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
    pictures : dict of str to ndarray of float32, shape (num_pictures, height, width)
        The same test images by each method, and ``clean``.
    """

    methods: dict[str, ImageScores]
    choices: dict[str, str]
    latency: Latency
    pictures: dict[str, FloatImage]

    def describe(self) -> dict[str, Any]:
        """Say what a record keeps of the test, as JSON values: scores of every image, choices, latency."""
        clean = self.pictures["clean"]
        return {
            "choices": self.choices,
            "latency": {"p50_ms": self.latency.p50_ms, "p99_ms": self.latency.p99_ms},
            "per_image": {
                name: {metric: _to_json(values) for metric, values in scores.metrics.items()}
                for name, scores in self.methods.items()
            },
            "picture_psnr_db": {
                name: psnr(images, clean, data_range=DATA_RANGE).tolist()
                for name, images in self.pictures.items()
                if name != "clean"
            },
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
    output_channels : int
    main_metric : str
        By which methods are ranked; larger is better.
    evaluate : callable
        ``(config, denoiser, validation, test, progress) -> Evaluation``.
    quality_target : dict of str to float
        Metric and value that a training of the closed division must reach (docs/benchmark.md justifies it).
    """

    name: str
    description: str
    input_field: str
    target_field: str
    output_channels: int
    main_metric: str
    evaluate: Callable[[RunConfig, Denoiser, RecordFile, RecordFile, Progress], Evaluation]
    quality_target: dict[str, float] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[str, str]:
        """Input and target field."""
        return self.input_field, self.target_field


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
        ("training.loss", training.loss, "mean_squared_error"),
        ("training.optimizer", training.optimizer, "adam"),
        ("training.crop_size_px", training.crop_size_px, None),
        ("training.flip", training.flip, False),
        *(
            (f"evaluation.{name}", getattr(config.evaluation, name), getattr(scoring, name))
            for name in SCORING_SETTINGS
        ),
    ]
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
