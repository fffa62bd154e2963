"""Targets: judged by the lines of the test, moved by no batch size, reached by no trick with the loss."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from emdenoise.config.schema import RunConfig, TrainingSettings
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.sampler import InOrder
from emdenoise.evaluation.metrics import METRICS
from emdenoise.evaluation.scoring import score_method
from emdenoise.models import build_network
from emdenoise.models.tiling import TiledMethod
from emdenoise.training.epochs import validate
from emdenoise.training.learners import PreparedBatches, make_learner
from emdenoise.training.targets import Target
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.contract import Workload

every_workload = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
BATCH_SIZES = (1, 3, 4)


def read_in_batches(workload: Workload, records: RecordFile, batch_size: int) -> PreparedBatches:
    objective = workload.make_objective(TrainingSettings(loss=workload.closed["training.loss"]))
    return PreparedBatches(InOrder(records, objective.needs, batch_size), objective, seed=0)


@every_workload
def test_a_target_is_a_metric_of_the_answer_and_says_which_way_is_better(workload: Workload) -> None:
    assert workload.target is not None
    metric = METRICS[workload.target.metric]
    assert FIELDS[workload.truth].kind in metric.kinds
    assert workload.target.is_larger_better == metric.is_larger_better
    assert workload.target.describe().startswith(f"validation_{metric.name} ")


@pytest.mark.parametrize(("value", "is_larger_better"), [(30.0, True), (0.1, False)])
def test_a_target_is_reached_at_its_value_and_beyond_but_not_before_or_by_what_is_no_number(
    value: float, is_larger_better: bool
) -> None:
    target = Target("psnr_db", value, is_larger_better)
    step = 1e-9 if is_larger_better else -1e-9
    assert target.is_reached({"validation_psnr_db": value})
    assert target.is_reached({"validation_psnr_db": value + step})
    assert not target.is_reached({"validation_psnr_db": value - step})
    assert not target.is_reached({"validation_psnr_db": float("nan")})
    assert not target.is_reached({"validation_psnr_db": None})
    assert not target.is_reached({"validation_loss": value, "psnr_db": value})


@every_workload
def test_what_ends_the_clock_is_what_the_test_would_say_of_these_images_whatever_the_batch(
    workload: Workload, drawn_files: dict[str, RecordFile], tiny_config: Callable[..., RunConfig]
) -> None:
    records, loss = drawn_files["validation"], workload.closed["training.loss"]
    config = tiny_config(workload=workload.name, training={"loss": loss}, evaluation={"baselines": None})
    keras.utils.set_random_seed(0)
    ports = workload.make_ports(records, TrainingSettings(loss=workload.list_objectives()[0]))
    network = build_network(config.model, ports)
    judge = workload.make_judge(config, records)
    learner = make_learner(network.model, workload.make_objective(config.training), config.training, 1, judge=judge)
    figure = f"validation_{workload.main_metric}"
    found = [learner.validate(read_in_batches(workload, records, size))[figure] for size in BATCH_SIZES]
    tested = score_method(
        TiledMethod(network, ports.head),
        records,
        workload.inputs,
        workload.truth,
        batch_size=2,
        atom_tolerance_angstrom=0.5,
    )
    assert found == pytest.approx(len(found) * [tested.metrics[workload.main_metric].mean()], rel=1e-5)


def test_a_batch_size_that_moves_the_loss_of_masks_does_not_move_their_target(
    drawn_files: dict[str, RecordFile], tiny_config: Callable[..., RunConfig]
) -> None:
    """A network that learned nothing: its loss is a statistic of the batch, and falls where that has one image."""
    workload, records = WORKLOADS["segment"], drawn_files["validation"]
    objective = workload.make_objective(TrainingSettings(loss="dice_cross_entropy"))
    config = tiny_config(workload="segment", training={"loss": "dice_cross_entropy"}, evaluation={"baselines": None})
    judge = workload.make_judge(config, records)

    def guess(noisy: Any) -> np.ndarray:
        return np.concatenate([0.2 - noisy, noisy - 0.8], axis=-1)

    found = [
        validate(guess, keras.losses.get(objective.loss), read_in_batches(workload, records, size), judge=judge)
        for size in BATCH_SIZES
    ]
    losses, dice = ([figures[f"validation_{name}"] for figures in found] for name in ("loss", "dice"))
    assert len(set(np.round(losses, 4))) > 1
    assert len(set(dice)) == 1
