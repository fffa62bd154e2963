"""The test of a workload: the same scoring for all, tuning on validation images alone, errors that can be seen."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.arrays import Sample, choose_evenly
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.sampler import choose_training_images
from emdenoise.dataset.tiles import cut_record
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.evaluation.throughput import NUM_PASSES, Latency, Method
from emdenoise.progress import SilentProgress
from emdenoise.results.tables import make_table, summarise_scores
from emdenoise.workloads.contract import Workload
from emdenoise.workloads.denoise import DENOISE
from emdenoise.workloads.evaluate import Evaluation, evaluate, find_black_level, read_examples
from emdenoise.workloads.segment import SEGMENT

Files = dict[str, RecordFile]


class WatchedFile:
    """A file of records that keeps which fields were read."""

    def __init__(self, file: RecordFile) -> None:
        self.file, self.read_fields, self.read_images = file, list[str](), list[int]()

    def read(self, field: str, *indices: Any) -> np.ndarray:
        self.read_fields.append(field)
        return self.file.read(field, *indices)

    def read_inside(self, field: str, index: int) -> np.ndarray:
        self.read_fields.append(field)
        self.read_images += [int(index)] if field == "noisy" else []
        return self.file.read_inside(field, index)

    def read_sample(self, fields: Sequence[str], indices: Any) -> Sample:
        self.read_fields += fields
        return self.file.read_sample(fields, indices)

    def read_whole_sample(self, fields: Sequence[str], whole_images: Any) -> Sample:
        self.read_fields += fields
        return self.file.read_whole_sample(fields, whole_images)

    def read_whole(self, field: str, tiles: np.ndarray) -> np.ndarray:
        self.read_fields.append(field)
        return self.file.read_whole(field, tiles)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def read_attribute(self, name: str) -> np.ndarray:
        self.read_fields.append(name)
        return self.file.read_attribute(name)

    def read_atoms(self, index: int) -> np.ndarray:
        self.read_fields.append("atoms")
        return self.file.read_atoms(index)

    def __len__(self) -> int:
        return len(self.file)

    def __contains__(self, field: str) -> bool:
        return field in self.file


def keep(sample: Sample) -> np.ndarray:
    return sample["noisy"][..., 0]


def call_everything_dark(sample: Sample) -> np.ndarray:
    return np.zeros(sample["noisy"].shape[:3], np.uint8)


def run(
    config: RunConfig, network: Method, files: Files, progress: Any = None, *, workload: Workload = DENOISE
) -> Evaluation:
    found = {name: files[name] for name in ("validation", "test")}
    return evaluate(workload, config, network, **found, progress=progress or SilentProgress())


@pytest.fixture
def config(tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config()


def test_a_network_that_changes_nothing_scores_as_the_noisy_images(config: RunConfig, drawn_files: Files) -> None:
    evaluation = run(config, keep, drawn_files)
    noisy, network = (evaluation.methods[name].metrics for name in ("noisy", "network"))
    assert set(noisy) == set(network)
    assert DENOISE.main_metric in noisy
    for name, values in noisy.items():
        assert values.shape == (len(drawn_files["test"]),)
        assert np.array_equal(values, network[name], equal_nan=True)


def test_every_method_has_scores_pictures_and_the_classical_ones_a_choice(
    config: RunConfig, drawn_files: Files
) -> None:
    evaluation = run(config, keep, drawn_files)
    assert list(evaluation.methods) == ["noisy", *config.evaluation.baselines, "network"]
    assert set(evaluation.pictures) == {*evaluation.methods, "clean"}
    assert list(evaluation.choices) == list(config.evaluation.baselines)
    for choice in evaluation.choices.values():
        assert choice.startswith("strength ")
    assert {np.shape(images) for images in evaluation.pictures.values()} == {(config.evaluation.num_pictures, 32, 32)}
    assert np.array_equal(evaluation.pictures["noisy"], drawn_files["test"].read("noisy", [0, 5]))
    assert np.array_equal(evaluation.pictures["clean"], drawn_files["test"].read("clean", [0, 5]))
    assert 0 < evaluation.latency.p50_ms <= evaluation.latency.p99_ms
    json.dumps(evaluation.describe(), allow_nan=False)


def test_classical_methods_beat_the_noisy_images(config: RunConfig, drawn_files: Files) -> None:
    methods = run(config, keep, drawn_files).methods
    for name in config.evaluation.baselines:
        assert methods[name].metrics[DENOISE.main_metric].mean() > methods["noisy"].metrics[DENOISE.main_metric].mean()


def test_the_batch_size_of_the_network_does_not_change_a_score(
    tiny_config: Callable[..., RunConfig], drawn_files: Files
) -> None:
    def halve(sample: Sample) -> np.ndarray:
        return keep(sample) / 2

    first, second = (
        run(tiny_config(evaluation={"batch_size": size, "baselines": []}), halve, drawn_files).methods
        for size in (1, 4)
    )
    for name, values in first["network"].metrics.items():
        assert np.array_equal(values, second["network"].metrics[name], equal_nan=True)


def test_the_network_gets_batches_of_the_given_size_and_single_images_for_the_latency(
    config: RunConfig, drawn_files: Files
) -> None:
    sizes: list[int] = []

    def count(sample: Sample) -> np.ndarray:
        sizes.append(len(sample["noisy"]))
        return keep(sample)

    run(config, count, drawn_files)
    assert sizes.count(3) == 1 + 2 * NUM_PASSES[0]
    assert sizes.count(1) == 3 + config.evaluation.num_latency_images + config.evaluation.num_pictures


def test_test_images_are_not_read_before_the_tuning_is_done(config: RunConfig, drawn_files: Files) -> None:
    images = WatchedFile(drawn_files["test"])
    read_at: list[tuple[str, int]] = []

    class Watch(SilentProgress):
        def step(self, phase: str, done: int, total: int, note: str = "") -> None:
            read_at.append((phase, len(images.read_fields)))

    run(config, keep, {**drawn_files, "test": images}, Watch())  # type: ignore[dict-item]
    tuning = [num_read for phase, num_read in read_at if phase == "tune classical methods"]
    assert len(tuning) == len(config.evaluation.baselines) + 1
    assert set(tuning) == {0}
    assert "clean" in images.read_fields


def test_the_choice_follows_from_validation_images_alone(config: RunConfig, drawn_files: Files) -> None:
    choices = [run(config, keep, {**drawn_files, "test": drawn_files[name]}).choices for name in ("test", "train")]
    assert choices[0] == choices[1]


@pytest.mark.parametrize(
    ("baselines", "workload", "is_read"),
    [(["otsu"], SEGMENT, False), (["random_forest"], SEGMENT, True), (["gaussian"], DENOISE, False)],
)
def test_training_images_are_read_for_methods_that_learn_and_for_no_other(
    tiny_config: Callable[..., RunConfig], drawn_files: Files, baselines: list[str], workload: Workload, is_read: bool
) -> None:
    training = {"loss": workload.closed["training.loss"], "num_images": 3}
    config = tiny_config(workload=workload.name, training=training, evaluation={"baselines": baselines})
    train = WatchedFile(drawn_files["train"])
    network = keep if workload is DENOISE else call_everything_dark
    evaluate(
        workload,
        config,
        network,
        validation=drawn_files["validation"],
        test=drawn_files["test"],
        train=train,  # type: ignore[arg-type]
        progress=SilentProgress(),
    )
    assert workload.has_learning_baselines(config) == is_read
    assert bool(train.read_fields) == is_read
    assert not is_read or train.read_images == choose_training_images(10, 3, config.seed).tolist()


def test_classical_methods_are_tuned_on_images_without_the_padding_of_their_tiles(tmp_path: Path) -> None:
    shapes = [(20, 10), (16, 32)]
    rng = np.random.default_rng(0)
    whole = [
        Record({"noisy": rng.random(shape, dtype=np.float32), "mask": np.eye(*shape, dtype=np.uint8)}, str(shape), "it")
        for shape in shapes
    ]
    tiles = (tile for record in whole for tile in cut_record(record, 32))
    write_records(tmp_path / "cut.h5", tiles, attributes={"mask_labels": '["dark", "bright"]'})
    with RecordFile(tmp_path / "cut.h5") as records:
        examples = read_examples(SEGMENT, records, np.arange(2))
    for record, image, mask in zip(whole, examples.noisy, examples.truth, strict=True):
        assert np.array_equal(image, record.noisy)
        assert np.array_equal(mask, record.images["mask"])


@pytest.fixture
def segmentation(tiny_config: Callable[..., RunConfig], drawn_files: Files) -> Evaluation:
    """Test a network that finds no bright pixel."""
    changes: dict[str, Any] = {"workload": "segment", "training": {"loss": "dice_cross_entropy"}}
    config = tiny_config(**changes, evaluation={"baselines": [], "num_pictures": 2})
    return run(config, call_everything_dark, drawn_files, workload=SEGMENT)


def test_the_confusion_counts_every_pixel_of_the_test(segmentation: Evaluation, drawn_files: Files) -> None:
    mask = drawn_files["test"].read("mask")
    found = segmentation.describe()
    assert found["confusion"] == [[int((mask == 0).sum()), 0], [int((mask == 1).sum()), 0]]
    assert found["label_names"] == ["dark", "bright"]


def test_wrong_pixels_are_shown_and_counted(segmentation: Evaluation) -> None:
    assert np.array_equal(segmentation.pictures["errors"], segmentation.pictures["mask"])
    for caption, mask in zip(segmentation.captions["errors"], segmentation.pictures["mask"], strict=True):
        assert caption == f"errors  {mask.mean():.1%}"
    assert segmentation.colours == {"noisy": "gray", "network": "labels", "errors": "labels", "mask": "labels"}


class HalfSure:
    """Calls everything dark, and is half as sure of bright pixels."""

    def __init__(self, truth: RecordFile) -> None:
        self.bright = {
            image.tobytes(): mask for image, mask in zip(truth.read("noisy"), truth.read("mask"), strict=True)
        }

    def __call__(self, sample: Sample) -> np.ndarray:
        return call_everything_dark(sample)

    def measure_uncertainty(self, sample: Sample) -> np.ndarray:
        masks = [self.bright[image.tobytes()] for image in sample["noisy"][..., 0]]
        return (0.2 + 0.2 * np.stack(masks)).astype(np.float32)


def test_the_uncertainty_of_a_network_is_scored_and_shown_and_other_methods_have_no_such_score(
    tiny_config: Callable[..., RunConfig], drawn_files: Files
) -> None:
    changes: dict[str, Any] = {"workload": "segment", "training": {"loss": "dice_cross_entropy"}}
    config = tiny_config(**changes, evaluation={"baselines": ["otsu"], "num_pictures": 2})
    evaluation = run(config, HalfSure(drawn_files["test"]), drawn_files, workload=SEGMENT)
    has_bright = drawn_files["test"].read("mask").any(axis=(1, 2))
    assert has_bright.any()
    assert np.array_equal(
        evaluation.methods["network"].metrics["error_auroc"], np.where(has_bright, 1.0, np.nan), equal_nan=True
    )
    assert "error_auroc" not in evaluation.methods["otsu"].metrics
    assert list(evaluation.pictures)[-2:] == ["uncertainty", "mask"]
    for shown, mask in zip(evaluation.pictures["uncertainty"], evaluation.pictures["mask"], strict=True):
        assert np.array_equal(shown, np.float32(0.2) + np.float32(0.2) * mask)
    expected = ["uncertainty  AUROC 1.00" if mask.any() else "uncertainty" for mask in evaluation.pictures["mask"]]
    assert evaluation.captions["uncertainty"] == expected
    assert "uncertainty" not in evaluation.colours
    scores = summarise_scores(config, evaluation.methods, drawn_files["test"].read_text("specimen"))
    heading, otsu, network = make_table(scores)
    column = heading.index("AUROC of errors")
    assert otsu[column] == "–"
    assert network[column].startswith("1.000")
    assert "error_auroc" not in scores["differences"]["otsu"]


@given(num_images=st.integers(1, 300), num_wanted=st.integers(1, 32))
def test_pictures_are_different_images_evenly_spread(num_images: int, num_wanted: int) -> None:
    chosen = choose_evenly(num_images, num_wanted)
    assert len(chosen) == min(num_images, num_wanted)
    assert chosen[0] == 0
    assert chosen[-1] == (num_images - 1 if len(chosen) > 1 else 0)
    assert len(chosen) == 1 or (np.diff(chosen).min() >= 1 and np.ptp(np.diff(chosen)) <= 1)


def test_the_record_of_a_test_is_json_without_nan() -> None:
    clean = np.zeros((2, 16, 16), np.float32)
    pictures = {"noisy": clean + np.float32(0.1), "network": clean + np.float32(0.01), "clean": clean}
    metrics = {"psnr_db": np.array([20.0, np.inf]), "atom_error_angstrom": np.array([np.nan, 0.125])}
    found = Evaluation(
        {"network": ImageScores(metrics, 1.0)},
        {"tv": "strength 1"},
        Latency(1.5, 2.5),
        pictures,
        {"network": ["network  40.0 dB"]},
        {},
        {"confusion": [[1]]},
    ).describe()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["per_image"] == {"network": {"psnr_db": [20.0, None], "atom_error_angstrom": [None, 0.125]}}
    assert found["latency"] == {"p50_ms": 1.5, "p99_ms": 2.5}
    assert found["choices"] == {"tv": "strength 1"}
    assert found["captions"] == {"network": ["network  40.0 dB"]}
    assert found["confusion"] == [[1]]


class Levels:
    """Attributes of three images, as a source that knows its black level has them."""

    def __init__(self, **values: Iterable[float]) -> None:
        self._values = {name: np.array(list(numbers)) for name, numbers in values.items()}

    def read_attribute(self, name: str) -> np.ndarray:
        return self._values.get(name, np.full(3, np.nan))


@pytest.mark.parametrize(
    ("offset", "scale", "expected"),
    [([0.6] * 3, [1.25] * 3, -0.75), ([0.0] * 3, [1.0] * 3, 0.0), ([math.nan] * 3, [math.nan] * 3, 0.0)],
)
def test_the_black_level_is_where_no_electron_is_stored(
    offset: list[float], scale: list[float], expected: float
) -> None:
    # Stored = (intensity - offset) × scale, and no electron is intensity 0.
    levels = Levels(intensity_offset=offset, intensity_scale=scale)
    assert find_black_level(levels) == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_black_level_that_the_source_states_goes_before_that_of_its_scale() -> None:
    levels = Levels(intensity_offset=[-0.5] * 3, intensity_scale=[1.0] * 3, black_level=[0.0] * 3)
    assert find_black_level(levels) == 0  # type: ignore[arg-type]
