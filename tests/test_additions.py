"""What it costs to add a thing: one module and one line of its table. A toy one of each kind goes the whole road.

The functions and constants of a toy stand together here, as they would in a module of their own; `ADDED` has the lines.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from emdenoise.arrays import Sample
from emdenoise.cli import main
from emdenoise.config.base import NetworkSettings
from emdenoise.config.schema import RunConfig, TrainingSettings
from emdenoise.dataset.fields import FIELDS, FieldSpec
from emdenoise.dataset.intensity import IntensityScale
from emdenoise.dataset.record import SPLITS, Record, Source, Split
from emdenoise.evaluation.baselines import BASELINES, Baseline, Examples
from emdenoise.evaluation.metrics import METRICS, Case, Metric
from emdenoise.models import MODELS
from emdenoise.models.contract import Architecture, Network, Ports
from emdenoise.seeding import make_generator
from emdenoise.sources import SOURCES
from emdenoise.training.objectives import OBJECTIVES, Images, ObjectiveSpec, Supervised
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.contract import Workload

# a field ----------------------------------------------------------------------------------------------------------
TOY_FIELD = FieldSpec("toy_sampling", "float32", "weight", "share", "How much each pixel was scanned.")


# a source ---------------------------------------------------------------------------------------------------------
SIDE_PX = 32


def download_toy(config: RunConfig, raw_dir: Path, progress: Any) -> dict[str, str]:
    raw_dir.mkdir(parents=True, exist_ok=True)
    (raw_dir / "toy.txt").write_text("here")
    return {"toy.txt": "0" * 64}


def read_toy(config: RunConfig, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    return {split: list(draw_toy(config, split)) for split in SPLITS}


def draw_toy(config: RunConfig, split: Split) -> Iterator[Record]:
    for index in range(4):
        rng = make_generator(config.data.seed, f"toy {split}", index)
        rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
        phase = 0.5 * np.sin(rng.uniform(0.2, 0.4) * rows) * np.cos(rng.uniform(0.2, 0.4) * columns)
        sampling = (rng.random(phase.shape) < 0.7).astype(np.float32)
        images = {
            "noisy": ((0.5 + phase + rng.normal(0, 0.05, phase.shape)) * sampling).astype(np.float32),
            "toy_sampling": sampling,
            "wave": np.exp(1j * phase).astype(np.complex64),
        }
        yield Record(images, specimen=f"{split} {index}", name=f"toy {index}")


TOY_SOURCE = Source(
    description="Waves of a toy specimen, scanned in part.",
    licence="https://creativecommons.org/publicdomain/zero/1.0/",
    citation="EMDenoise, a test",
    download=download_toy,
    read=read_toy,
    choose_scales=lambda images, config, name: len(images) * (IntensityScale(),),
    image_size_px=lambda config: SIDE_PX,
)


# a network --------------------------------------------------------------------------------------------------------
class ToySettings(NetworkSettings):
    """One hidden layer."""

    name: Literal["toy_network"] = "toy_network"
    """The toy."""
    toy_filters: int = 4
    """Filters of the hidden layer."""


def build_toy(settings: ToySettings, ports: Ports) -> Network:
    import keras

    from emdenoise.models.blocks import close_ports, open_ports

    inputs, features = open_ports(ports, settings)
    hidden = keras.layers.Conv2D(settings.toy_filters, 3, padding="same", activation="relu", name="hidden")(features)
    outputs = keras.layers.Conv2D(ports.output_channels, 1, dtype="float32", name="output")(hidden)
    model = close_ports(inputs, outputs, ports, settings, name="toy_network")
    return Network(model, tuple(ports.inputs), step_px=1, reach_px=1)


TOY_NETWORK = Architecture("A toy.", ToySettings, build_toy)


# an objective -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class HalfWeighted(Supervised):
    """The wave, with a loss of the toy's own; where nothing was scanned, the image is a random number."""

    def prepare(self, sample: Sample, rng: np.random.Generator) -> tuple[Sample, Images]:
        inputs, targets = super().prepare(sample, rng)
        fill = rng.random(inputs["noisy"].shape).astype(np.float32)
        return inputs | {"noisy": np.where(inputs["toy_sampling"] > 0, inputs["noisy"], fill)}, targets


def make_toy_objective(settings: TrainingSettings, inputs: tuple[str, ...], truth: str) -> HalfWeighted:
    import keras

    return HalfWeighted(inputs, truth, lambda targets, outputs: 0.5 * keras.ops.mean((targets - outputs) ** 2))


TOY_OBJECTIVE = ObjectiveSpec("Half of the squared error.", ("complex",), make_toy_objective)


# a metric ---------------------------------------------------------------------------------------------------------
def compute_overlap(case: Case) -> np.ndarray:
    """Compute |⟨ψ, φ⟩| of waves of any length, 1 for equal ones."""
    products = (case.result.conj() * case.truth).sum(axis=(1, 2))
    lengths = [np.sqrt((np.abs(wave) ** 2).sum(axis=(1, 2))) for wave in (case.result, case.truth)]
    return np.abs(products) / np.maximum(lengths[0] * lengths[1], 1e-12)


TOY_METRIC = Metric(
    "toy_overlap",
    "toy overlap",
    "The toy overlap is 1 for equal waves.",
    ("complex",),
    compute_overlap,
    is_larger_better=True,
    decimals=3,
    tolerance=1e-5,
    retrained_tolerance=0.1,
)


# a baseline -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class MeanWave:
    """The mean of all waves of the examples everywhere."""

    wave: complex

    def __call__(self, sample: Sample) -> np.ndarray:
        return np.full(sample["noisy"].shape[:3], self.wave, np.complex64)

    def describe(self) -> str:
        return f"the wave {self.wave:.2f} everywhere"


def fit_mean_wave(examples: Examples) -> MeanWave:
    assert set(examples.inputs) == {"noisy", "toy_sampling"}
    return MeanWave(complex(np.mean(examples.truth)))


TOY_BASELINE = Baseline("The mean wave.", "complex", fit_mean_wave)


# a workload -------------------------------------------------------------------------------------------------------
TOY_WORKLOAD = Workload(
    name="toy_wave",
    description="Find the exit wave of a toy that was scanned in part.",
    inputs=("noisy", "toy_sampling"),
    truth="wave",
    main_metric="toy_overlap",
    baselines=("toy_baseline",),
    closed={"training.loss": "toy_objective"},
)

ADDED: list[tuple[dict[str, Any], str, Any]] = [
    (FIELDS, "toy_sampling", TOY_FIELD),
    (SOURCES, "toy_source", TOY_SOURCE),
    (MODELS, "toy_network", TOY_NETWORK),
    (OBJECTIVES, "toy_objective", TOY_OBJECTIVE),
    (METRICS, "toy_overlap", TOY_METRIC),
    (BASELINES, "toy_baseline", TOY_BASELINE),
    (WORKLOADS, "toy_wave", TOY_WORKLOAD),
]
"""The table, the name and the entry: all that is edited."""
SETTINGS: dict[str, Any] = {
    "workload": "toy_wave",
    "division": "open",
    "data": {"source": "toy_source"},
    "model": {"name": "toy_network", "toy_filters": 6},
    "training": {"loss": "toy_objective", "epochs": 3, "batch_size": 2, "crop_size_px": 16, "flip": True},
    "evaluation": {"num_resamples": 100, "num_latency_images": 10, "num_pictures": 2},
}


@pytest.fixture(scope="module", autouse=True)
def additions(logs_of_one_command: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    with logs_of_one_command(), pytest.MonkeyPatch.context() as patch:
        for table, name, entry in ADDED:
            patch.setitem(table, name, entry)
        yield


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Take the toys through the four tasks."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toy.parameters.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    for task, folders in {
        "download": ("raw_data",),
        "preprocess": ("raw_data", "data"),
        "train": ("data", "model", "output"),
        "test": ("data", "model", "output"),
    }.items():
        paths = [f"--{name}_dir={folder / name}" for name in (*folders,)]
        run(task, f"--parameters_file={folder / 'toy.parameters.yaml'}", *paths, log_dir=folder / "logs")
    return folder


def run(command: str, *options: str, log_dir: Path) -> str:
    """Run a command; gives its log."""
    result = CliRunner().invoke(main, [command, *options, f"--log_dir={log_dir}"])
    log = (log_dir / f"{command}.log").read_text(encoding="utf-8")
    assert result.exit_code == 0, f"{command}: {result.stderr}{log}"
    return log


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_the_scores_have_every_method_and_the_metric(workspace: Path) -> None:
    scores = read(workspace / "output" / "scores.json")
    assert scores["workload"] == "toy_wave"
    assert set(scores["methods"]) == {"toy_baseline", "network"}
    for method in scores["methods"].values():
        assert 0 < method["toy_overlap"]["mean"] <= 1


def test_the_canonical_file_has_all_fields_and_its_description_tells_them(workspace: Path) -> None:
    described = (workspace / "data" / "croissant.json").read_text(encoding="utf-8")
    assert TOY_FIELD.meaning in described


def test_the_record_names_what_was_used(workspace: Path) -> None:
    settings = read(workspace / "output" / "records" / "test.json")["settings"]
    assert settings["model"]["toy_filters"] == 6
    ports = read(workspace / "model" / "model.json")["ports"]
    assert ports == {"inputs": {"noisy": 1, "toy_sampling": 1}, "output_channels": 2, "head": "complex"}


def test_the_report_shows_the_metric_and_what_was_chosen(workspace: Path) -> None:
    page = (workspace / "output" / "report.html").read_text(encoding="utf-8")
    for words in (TOY_WORKLOAD.description, TOY_METRIC.heading, TOY_METRIC.description, "the wave", "toy_baseline"):
        assert words in page


def test_a_second_run_is_verified_to_the_bit(workspace: Path) -> None:
    options = [f"--result_dir={workspace / 'output'}", f"--work_dir={workspace / 'verify'}"]
    assert "The result is equal" in run("verify", *options, log_dir=workspace / "logs")


@pytest.mark.long
def test_a_study_compares_by_the_metric(workspace: Path, tmp_path: Path) -> None:
    study = {
        "base": SETTINGS,
        "variants": {"short": {"training": {"epochs": 1}}, "long": {}},
        "seeds": [0],
        "metric": "toy_overlap",
    }
    (tmp_path / "toy.study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    options = [f"--study_file={tmp_path / 'toy.study.yaml'}", f"--study_dir={tmp_path / 'study'}"]
    assert "2 runs are compared" in run("study", *options, log_dir=tmp_path / "logs")
    assert "toy_overlap" in (tmp_path / "study" / "study.md").read_text(encoding="utf-8")


def test_nothing_but_the_tables_knows_a_toy() -> None:
    """The counts of CONTRIBUTING.md: one line of a table for each kind of thing."""
    package = Path(__file__).parents[1] / "emdenoise"
    assert not [path for path in package.rglob("*.py") if "toy" in path.read_text(encoding="utf-8")]
    assert len(ADDED) == len({id(table) for table, *_ in ADDED}) == 7
