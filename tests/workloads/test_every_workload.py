"""What holds for every entry of WORKLOADS."""

import json
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record_file import RecordFile
from emdenoise.progress import SilentProgress
from emdenoise.results.tables import make_table, summarise_scores
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.contract import CLOSED_LOSSES, Evaluation, Workload

pytestmark = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)

Files = dict[str, RecordFile]


@pytest.fixture
def config(workload: Workload, tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config(
        workload=workload.name,
        training={"loss": CLOSED_LOSSES[workload.name]},
        evaluation={"segmentation_baselines": ["otsu"]},
    )


def know(workload: Workload, file: RecordFile) -> Callable[[np.ndarray], np.ndarray]:
    """Give a network that knows the truth of every image."""
    truth = file.read(workload.target_field)
    known = {noisy.tobytes(): one for noisy, one in zip(file.read("noisy"), truth, strict=True)}
    return lambda noisy: np.stack([known[image.tobytes()] for image in noisy])


@pytest.fixture
def evaluation(workload: Workload, config: RunConfig, drawn_files: Files) -> Evaluation:
    network = know(workload, drawn_files["test"])
    return workload.evaluate(config, network, drawn_files["validation"], drawn_files["test"], SilentProgress())


def test_it_is_listed_under_its_name_and_can_be_asked_for(workload: Workload) -> None:
    assert WORKLOADS[workload.name] is workload
    assert workload.name in get_args(RunConfig.model_fields["workload"].annotation)
    assert workload.name in CLOSED_LOSSES
    assert workload.description.endswith(".")


def test_its_fields_are_in_the_files_and_say_how_many_outputs_it_has(workload: Workload, drawn_files: Files) -> None:
    assert workload.fields == (workload.input_field, workload.target_field)
    assert workload.input_field != workload.target_field
    for file in drawn_files.values():
        assert all(field in file for field in workload.fields)
        assert workload.count_outputs(file) == (workload.output_channels or len(file.label_names))


def test_a_network_that_knows_the_truth_beats_all(
    workload: Workload, config: RunConfig, drawn_files: Files, evaluation: Evaluation
) -> None:
    metrics = {name: method.metrics[workload.main_metric] for name, method in evaluation.methods.items()}
    for name, values in metrics.items():
        assert name == "network" or (values < metrics["network"]).all()
    scores = summarise_scores(config, evaluation.methods, drawn_files["test"].read_text("specimen"))
    json.dumps(scores, allow_nan=False)
    assert len(make_table(scores)) == 1 + len(metrics)
    assert workload.target_loss is None or workload.target_loss > 0


def test_every_method_has_scores_pictures_and_the_classical_ones_a_choice(
    workload: Workload, evaluation: Evaluation
) -> None:
    assert list(evaluation.pictures)[-1] == workload.target_field
    assert set(evaluation.methods) <= set(evaluation.pictures)
    assert set(evaluation.methods) <= set(evaluation.captions)
    assert set(evaluation.methods) == {*evaluation.choices, "network"} | ({"noisy"} & set(evaluation.methods))
    truth = evaluation.pictures[workload.target_field]
    for images in evaluation.pictures.values():
        assert np.shape(images) == np.shape(truth)
    assert np.array_equal(evaluation.pictures["network"], truth)
    assert 0 < evaluation.latency.p50_ms <= evaluation.latency.p99_ms
    json.dumps(evaluation.describe(), allow_nan=False)


def test_progress_comes_to_its_end(workload: Workload, config: RunConfig, drawn_files: Files, progress: Any) -> None:
    network = know(workload, drawn_files["test"])
    workload.evaluate(config, network, drawn_files["validation"], drawn_files["test"], progress)
    for phase in {phase for phase, *_ in progress.steps}:
        done = [(done, total) for name, done, total, _ in progress.steps if name == phase]
        assert done == [(number, done[0][1]) for number in range(done[0][1] + 1)]
