"""What holds for every entry of WORKLOADS."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig, TrainingSettings
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.evaluation.baselines import BASELINES
from emdenoise.evaluation.metrics import METRICS
from emdenoise.evaluation.throughput import Method
from emdenoise.progress import SilentProgress
from emdenoise.results.tables import make_table, summarise_scores
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.contract import Workload, check_division
from emdenoise.workloads.evaluate import Evaluation, evaluate

pytestmark = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)

Files = dict[str, RecordFile]


@pytest.fixture
def config(workload: Workload, tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config(
        workload=workload.name,
        training={"loss": workload.closed["training.loss"]},
        evaluation={"baselines": workload.baselines[:2]},
    )


def know(workload: Workload, file: RecordFile) -> Method:
    """Give a network that knows the truth of every image."""
    first = workload.inputs[0]
    known = {image.tobytes(): one for image, one in zip(file.read(first), file.read(workload.truth), strict=True)}
    return lambda sample: np.stack([known[image.tobytes()] for image in sample[first]])


def run(workload: Workload, config: RunConfig, files: Files, progress: Any) -> Evaluation:
    found = {name: files[name] for name in ("validation", "test")}
    return evaluate(workload, config, know(workload, files["test"]), **found, progress=progress)


@pytest.fixture
def evaluation(workload: Workload, config: RunConfig, drawn_files: Files) -> Evaluation:
    return run(workload, config, drawn_files, SilentProgress())


def test_it_is_listed_under_its_name_and_can_be_asked_for(workload: Workload) -> None:
    assert WORKLOADS[workload.name] is workload
    training = {"loss": workload.closed["training.loss"]}
    config = RunConfig.model_validate_json(json.dumps({"workload": workload.name, "training": training}))
    assert WORKLOADS[config.workload] is workload
    check_division(config, workload)
    assert workload.description.endswith(".")


def test_what_it_names_is_in_the_tables_and_of_the_kind_that_it_answers(workload: Workload) -> None:
    kind = FIELDS[workload.truth].kind
    assert workload.truth not in workload.inputs
    assert set(workload.inputs) <= set(FIELDS)
    assert workload.head.kind == kind
    assert kind in METRICS[workload.main_metric].kinds
    assert METRICS[workload.main_metric].caption
    assert {BASELINES[name].kind for name in workload.baselines} == {kind}
    assert workload.closed["training.loss"] in workload.list_objectives()


def test_the_ports_of_its_networks_follow_from_fields_and_labels(workload: Workload, drawn_files: Files) -> None:
    for file in drawn_files.values():
        ports = workload.make_ports(file, TrainingSettings(loss=workload.list_objectives()[0]))
        assert list(ports.inputs) == list(workload.inputs)
        for name, num_channels in ports.inputs.items():
            assert file.read_sample([name], [0])[name].shape[-1] == num_channels
        outputs = np.zeros((1, 4, 6, ports.output_channels), np.float32)
        truth = file.read(workload.truth, [0])
        assert ports.head.decode(outputs).dtype == truth.dtype
        assert ports.head.decode(outputs).shape == (1, 4, 6)
        if ports.head.kind == "labels":
            assert ports.output_channels == len(file.label_names) > truth.max()


def test_a_network_that_knows_the_truth_beats_all(
    workload: Workload, config: RunConfig, drawn_files: Files, evaluation: Evaluation
) -> None:
    metrics = {name: method.metrics[workload.main_metric] for name, method in evaluation.methods.items()}
    sign = 1 if METRICS[workload.main_metric].is_larger_better else -1
    for name, values in metrics.items():
        assert name == "network" or (sign * values < sign * metrics["network"]).all()
    scores = summarise_scores(config, evaluation.methods, drawn_files["test"].read_text("specimen"))
    json.dumps(scores, allow_nan=False)
    assert len(make_table(scores)) == 1 + len(metrics)


def test_every_method_has_scores_pictures_and_the_classical_ones_a_choice(
    workload: Workload, evaluation: Evaluation
) -> None:
    assert list(evaluation.pictures)[-1] == workload.truth
    assert set(evaluation.methods) <= set(evaluation.pictures)
    assert set(evaluation.methods) <= set(evaluation.captions)
    itself = workload.inputs[:1] if workload.is_restoration else ()
    assert list(evaluation.methods) == [*itself, *workload.baselines[:2], "network"]
    assert list(evaluation.choices) == list(workload.baselines[:2])
    truth = evaluation.pictures[workload.truth]
    assert set(evaluation.colours) == set(evaluation.pictures)
    assert evaluation.colours[workload.inputs[0]] == "gray"
    assert evaluation.colours["network"] == evaluation.colours[workload.truth] == workload.head.colours
    for images in evaluation.pictures.values():
        assert np.shape(images) == np.shape(truth)
    assert np.array_equal(evaluation.pictures["network"], truth)
    assert 0 < evaluation.latency.p50_ms <= evaluation.latency.p99_ms
    json.dumps(evaluation.describe(), allow_nan=False)
    speeds = {name: scores.images_per_second for name, scores in evaluation.methods.items()}
    assert {name for name, speed in speeds.items() if np.isinf(speed)} == set(speeds) - {*evaluation.choices, "network"}


def test_progress_comes_to_its_end(workload: Workload, config: RunConfig, drawn_files: Files, progress: Any) -> None:
    run(workload, config, drawn_files, progress)
    for phase in {phase for phase, *_ in progress.steps}:
        done = [(done, total) for name, done, total, _ in progress.steps if name == phase]
        assert done == [(number, done[0][1]) for number in range(done[0][1] + 1)]
