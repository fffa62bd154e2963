"""The workload `denoise`: the same scoring for all, tuning on validation images alone."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.data.records import Record
from emdenoise.data.storage import RecordFile, write_records
from emdenoise.errors import DataError
from emdenoise.progress import SilentProgress
from emdenoise.results.scores import make_table, summarise_scores
from emdenoise.workloads.contract import Evaluation, Workload, find_black_level
from emdenoise.workloads.denoise import DENOISE

pytestmark = pytest.mark.parametrize("workload", [DENOISE], ids=["denoise"])

Files = dict[str, RecordFile]


class WatchedFile:
    """A file of records that keeps which fields were read."""

    def __init__(self, file: RecordFile) -> None:
        self.file, self.read_fields = file, list[str]()

    def read(self, field: str, *indices: Any) -> np.ndarray:
        self.read_fields.append(field)
        return self.file.read(field, *indices)

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


def keep(noisy: np.ndarray) -> np.ndarray:
    return noisy


def know(file: RecordFile) -> Callable[[np.ndarray], np.ndarray]:
    """Give a network that knows the truth of every image."""
    known = {noisy.tobytes(): clean for noisy, clean in zip(file.read("noisy"), file.read("clean"), strict=True)}
    return lambda noisy: np.stack([known[image.tobytes()] for image in noisy])


def evaluate(workload: Workload, config: RunConfig, network: Any, files: Files, progress: Any = None) -> Evaluation:
    return workload.evaluate(config, network, files["validation"], files["test"], progress or SilentProgress())


@pytest.fixture
def config(tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config()


def test_a_network_that_changes_nothing_scores_as_the_noisy_images(
    workload: Workload, config: RunConfig, drawn_files: Files
) -> None:
    evaluation = evaluate(workload, config, keep, drawn_files)
    noisy, network = (evaluation.methods[name].metrics for name in ("noisy", "network"))
    assert set(noisy) == set(network)
    assert workload.main_metric in noisy
    assert workload.target_loss is None or workload.target_loss > 0
    for name, values in noisy.items():
        assert values.shape == (len(drawn_files["test"]),)
        assert np.array_equal(values, network[name], equal_nan=True)


def test_every_method_has_scores_pictures_and_the_classical_ones_a_choice(
    workload: Workload, config: RunConfig, drawn_files: Files
) -> None:
    evaluation = evaluate(workload, config, keep, drawn_files)
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


def test_classical_methods_beat_the_noisy_images(workload: Workload, config: RunConfig, drawn_files: Files) -> None:
    methods = evaluate(workload, config, keep, drawn_files).methods
    for name in config.evaluation.baselines:
        assert (
            methods[name].metrics[workload.main_metric].mean() > methods["noisy"].metrics[workload.main_metric].mean()
        )


def test_a_network_that_knows_the_truth_beats_all(workload: Workload, config: RunConfig, drawn_files: Files) -> None:
    evaluation = evaluate(workload, config, know(drawn_files["test"]), drawn_files)
    metrics = {name: method.metrics[workload.main_metric] for name, method in evaluation.methods.items()}
    for name, values in metrics.items():
        assert name == "network" or (values < metrics["network"]).all()
    assert np.array_equal(evaluation.pictures["network"], evaluation.pictures["clean"])
    scores = summarise_scores(config, evaluation.methods, drawn_files["test"].read_text("specimen"))
    json.dumps(scores, allow_nan=False)
    assert len(make_table(scores)) == 1 + len(metrics)


def test_the_batch_size_of_the_network_does_not_change_a_score(
    workload: Workload, tiny_config: Callable[..., RunConfig], drawn_files: Files
) -> None:
    def halve(noisy: np.ndarray) -> np.ndarray:
        return noisy / 2

    first, second = (
        evaluate(workload, tiny_config(evaluation={"batch_size": size, "baselines": []}), halve, drawn_files).methods
        for size in (1, 4)
    )
    for name, values in first["network"].metrics.items():
        assert np.array_equal(values, second["network"].metrics[name], equal_nan=True)


def test_the_network_gets_batches_of_the_given_size_and_single_images_for_the_latency(
    workload: Workload, config: RunConfig, drawn_files: Files
) -> None:
    sizes: list[int] = []

    def count(noisy: np.ndarray) -> np.ndarray:
        sizes.append(len(noisy))
        return noisy

    evaluate(workload, config, count, drawn_files)
    assert sizes.count(3) == 1 + 2
    assert sizes.count(1) == 3 + config.evaluation.num_latency_images + config.evaluation.num_pictures


def test_test_images_are_not_read_before_the_tuning_is_done(
    workload: Workload, config: RunConfig, drawn_files: Files
) -> None:
    images = WatchedFile(drawn_files["test"])
    read_at: list[tuple[str, int]] = []

    class Watch(SilentProgress):
        def step(self, phase: str, done: int, total: int, note: str = "") -> None:
            read_at.append((phase, len(images.read_fields)))

    evaluate(workload, config, keep, {**drawn_files, "test": images}, Watch())  # type: ignore[dict-item]
    tuning = [num_read for phase, num_read in read_at if phase == "tune classical methods"]
    assert len(tuning) == len(config.evaluation.baselines) + 1
    assert set(tuning) == {0}
    assert "clean" in images.read_fields


def test_the_choice_follows_from_validation_images_alone(
    workload: Workload, config: RunConfig, drawn_files: Files
) -> None:
    choices = [
        evaluate(workload, config, keep, {**drawn_files, "test": drawn_files[name]}).choices
        for name in ("test", "train")
    ]
    assert choices[0] == choices[1]


def test_progress_comes_to_its_end(workload: Workload, config: RunConfig, drawn_files: Files, progress: Any) -> None:
    evaluate(workload, config, keep, drawn_files, progress)
    phases = list(dict.fromkeys(phase for phase, *_ in progress.steps))
    for phase in phases:
        done = [(done, total) for name, done, total, _ in progress.steps if name == phase]
        assert done == [(number, done[0][1]) for number in range(done[0][1] + 1)]


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
    workload: Workload, offset: list[float], scale: list[float], expected: float
) -> None:
    # Stored = (intensity - offset) × scale, and no electron is intensity 0.
    levels = Levels(intensity_offset=offset, intensity_scale=scale)
    assert find_black_level(levels) == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_black_level_that_the_source_states_goes_before_that_of_its_scale(workload: Workload) -> None:
    levels = Levels(intensity_offset=[-0.5] * 3, intensity_scale=[1.0] * 3, black_level=[0.0] * 3)
    assert find_black_level(levels) == 0  # type: ignore[arg-type]


def test_images_without_truth_are_refused_unless_the_pretrained_network_is_kept(
    workload: Workload, tmp_path: Path, draw_records: Callable[..., Iterable[Record]]
) -> None:
    bare = [Record(noisy=record.noisy, specimen=record.specimen, name=record.name) for record in draw_records(2)]
    write_records(tmp_path / "train.h5", bare, attributes={})
    with RecordFile(tmp_path / "train.h5") as images:
        assert workload.count_outputs(images, num_epochs=0) == 1
        with pytest.raises(DataError, match=r"train\.h5: has no clean images; choose a source"):
            workload.count_outputs(images, num_epochs=1)
