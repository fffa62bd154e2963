"""The loss and the score of masks against their formulas in NumPy, and against the score of the test."""

from typing import Any

import keras
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.fields import FIELDS
from emdenoise.training.objectives import OBJECTIVES, AddedNoise, list_objectives

RNG = np.random.default_rng(3)
MASK = RNG.integers(0, 3, (4, 8, 8, 1)).astype(np.uint8)
LOGITS = RNG.normal(size=(4, 8, 8, 3)).astype(np.float32)


def compute(function: Any, mask: np.ndarray, logits: np.ndarray) -> np.ndarray:
    result: np.ndarray = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(mask), logits))
    return result


def make_loss(balance: float) -> Any:
    settings = TrainingSettings(loss="dice_cross_entropy", label_balance=balance)
    return OBJECTIVES[settings.loss].make(settings, ("noisy",), "mask").loss


def make_logits(mask: np.ndarray, sureness: float) -> np.ndarray:
    return (sureness * np.eye(3)[mask[..., 0]]).astype(np.float32)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_the_loss_is_the_cross_entropy_plus_one_minus_dice_of_the_literature(balance: float) -> None:
    probability = np.exp(LOGITS.astype(np.float64))
    probability /= probability.sum(axis=-1, keepdims=True)
    truth = np.eye(3)[MASK[..., 0]]
    weight = (truth.mean(axis=(0, 1, 2)) ** -balance)[MASK[..., 0]]
    cross_entropy = np.average(-np.log((probability * truth).sum(axis=-1)), weights=weight)
    overlap, total = (probability * truth).sum(axis=(0, 1, 2)), (probability + truth).sum(axis=(0, 1, 2))
    dice = ((2 * overlap + 1) / (total + 1)).mean()
    found = float(compute(make_loss(balance), MASK, LOGITS))
    assert found == pytest.approx(cross_entropy + 1 - dice, rel=1e-5)


def test_labels_alike_means_that_every_label_has_the_mean_of_its_pixels() -> None:
    truth = np.eye(3)[MASK[..., 0]]
    probability = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=-1, keepdims=True)
    each = -(np.log(probability) * truth).sum(axis=(0, 1, 2)) / truth.sum(axis=(0, 1, 2))
    difference = float(compute(make_loss(1.0), MASK, LOGITS)) - float(compute(make_loss(0.0), MASK, LOGITS))
    plain = -(np.log(probability) * truth).sum(axis=-1).mean()
    assert difference == pytest.approx(each.mean() - plain, abs=1e-5)


def test_the_loss_is_zero_where_sure_and_right_and_large_where_sure_and_wrong() -> None:
    assert float(compute(make_loss(1.0), MASK, make_logits(MASK, 50))) == pytest.approx(0, abs=1e-5)
    wrong = ((MASK + 1) % 3).astype(np.uint8)
    assert float(compute(make_loss(1.0), wrong, make_logits(MASK, 50))) > 10


@pytest.mark.parametrize("border_weight", [0.5, 3.0])
def test_pixels_near_another_label_weigh_more_in_the_cross_entropy_by_their_share(border_weight: float) -> None:
    mask = np.zeros((2, 9, 12, 1), np.uint8)
    mask[0, :, 6:] = 2  # the border of the first image: columns 4 to 7
    mask[1, 8, 11] = 1  # of the second: the 3 × 3 px of a corner
    logits = RNG.normal(size=(2, 9, 12, 3)).astype(np.float32)
    settings = TrainingSettings(loss="dice_cross_entropy", label_balance=0.0, border_weight=border_weight)
    loss = OBJECTIVES[settings.loss].make(settings, ("noisy",), "mask").loss
    more = float(compute(loss, mask, logits)) - float(compute(make_loss(0.0), mask, logits))
    each = np.log(np.exp(logits.astype(np.float64)).sum(axis=-1)) - np.take_along_axis(logits, mask, -1)[..., 0]
    of_borders = each[0, :, 4:8].sum() + each[1, 6:, 9:].sum()
    assert more == pytest.approx(border_weight * of_borders / mask.size, rel=1e-4)


def test_a_label_that_no_image_has_gives_a_finite_loss() -> None:
    only_background = np.zeros_like(MASK)
    assert np.isfinite(compute(make_loss(1.0), only_background, LOGITS))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_gives_inputs_and_truth_and_a_loss_that_is_least_where_the_answer_is_right(name: str) -> None:
    kind = OBJECTIVES[name].kinds[0]
    truth = next(field for field, spec in FIELDS.items() if spec.kind == kind and field != "noisy")
    objective = OBJECTIVES[name].make(TrainingSettings(loss=name), ("noisy",), truth)
    others = set(objective.needs) - {"noisy", truth}
    assert {"noisy", truth} <= set(objective.needs)
    target = MASK if kind == "labels" else RNG.random((4, 8, 8, 1), np.float32)
    sample = {"noisy": RNG.random((4, 8, 8, 1), np.float32), truth: target, **dict.fromkeys(others, MASK)}
    inputs, targets = objective.prepare(sample, np.random.default_rng(0))
    assert list(inputs) == ["noisy"]
    assert np.array_equal(inputs["noisy"], sample["noisy"])
    assert np.array_equal(targets[..., :1], target)
    right = make_logits(target, 50) if kind == "labels" else target
    loss = keras.losses.get(objective.loss)
    least = compute(loss, targets, right).mean()
    assert least == pytest.approx(-50 if name.startswith("log") else 0, abs=1e-5)
    assert compute(loss, targets, right[::-1].copy()).mean() > least + 0.01


def test_each_kind_of_truth_has_its_objectives() -> None:
    assert list_objectives("mask") == ["dice_cross_entropy"]
    assert list_objectives("wave") == ["mean_squared_error", "mean_absolute_error"]
    assert list_objectives("clean") == [*list_objectives("wave"), "balanced_squared_error", "log_squared_error"]


def make_balanced(balance: float, loss: str = "balanced_squared_error") -> Any:
    settings = TrainingSettings(loss=loss, label_balance=balance)
    return OBJECTIVES[settings.loss].make(settings, ("noisy",), "clean")


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_balanced_errors_are_alike_of_pixels_at_0_and_of_labels_at_1(balance: float) -> None:
    mask = np.zeros((2, 8, 8, 1), np.uint8)
    mask[0, :2, :4] = 2  # 8 of 128 pixels
    clean, restored = (RNG.random((2, 8, 8, 1), np.float32) for _ in range(2))
    sample = {"noisy": clean, "clean": clean, "mask": mask}
    objective = make_balanced(balance)
    _, targets = objective.prepare(sample, np.random.default_rng(0))
    found = float(compute(objective.loss, targets, restored))
    errors = np.square(clean.astype(np.float64) - restored)
    of_rest, of_rare = errors[mask == 0].mean(), errors[mask == 2].mean()
    rest, rare = 120 ** (1 - balance), 8 ** (1 - balance)
    assert found == pytest.approx((rest * of_rest + rare * of_rare) / (rest + rare), rel=1e-5)


def test_added_noise_is_that_of_electrons_and_the_image_is_the_truth() -> None:
    image = np.full((2, 64, 64, 1), 0.5, np.float32)
    objective = AddedNoise("noisy", 40.0, "mean_squared_error")
    assert objective.needs == ("noisy",)
    inputs, targets = objective.prepare({"noisy": image}, np.random.default_rng(0))
    assert np.array_equal(targets, image)
    # 20 electrons a pixel: mean 0.5, standard deviation √20 / 40.
    assert inputs["noisy"].mean() == pytest.approx(0.5, abs=5 * np.sqrt(20) / 40 / np.sqrt(image.size))
    assert inputs["noisy"].std() == pytest.approx(np.sqrt(20) / 40, rel=0.05)


def test_the_logarithm_of_squared_errors_is_minus_the_psnr_that_others_compute() -> None:
    clean, restored = (RNG.random((3, 8, 8, 1), np.float32) for _ in range(2))
    objective = make_balanced(0.0, "log_squared_error")
    assert "mask" not in objective.needs
    _, targets = objective.prepare({"noisy": clean, "clean": clean}, np.random.default_rng(0))
    psnr = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(clean, restored, strict=True)]
    assert float(compute(objective.loss, targets, restored)) == pytest.approx(-np.mean(psnr), abs=1e-3)


def test_in_the_logarithm_of_squared_errors_an_image_of_small_errors_counts_as_much_as_one_of_large() -> None:
    mask = np.zeros((2, 8, 8, 1), np.uint8)
    mask[0, :2, :4] = 2
    clean = RNG.random((2, 8, 8, 1), np.float32)
    error = 0.1 * RNG.random((2, 8, 8, 1), np.float32)
    objective = make_balanced(0.5, "log_squared_error")
    _, targets = objective.prepare({"noisy": clean, "clean": clean, "mask": mask}, np.random.default_rng(0))
    losses = []
    for factors in ((1, 1), (2, 1), (1, 2)):
        restored = clean + error * np.array(factors, np.float32)[:, None, None, None]
        losses.append(float(compute(objective.loss, targets, restored)))
    expected = 10 * np.log10(4) / 2
    assert losses[1] - losses[0] == pytest.approx(expected, abs=0.05)
    assert losses[2] - losses[0] == pytest.approx(expected, abs=0.05)
