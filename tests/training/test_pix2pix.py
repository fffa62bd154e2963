"""Pix2Pix: each network learns in its turn, and an interrupted training ends with the bits of an undisturbed one."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from emdenoise.config.schema import PretrainingSettings, RunConfig, TrainingSettings
from emdenoise.errors import DivergenceError, StoppedError
from emdenoise.models.backend import fetch, learn_batch
from emdenoise.models.checkpoints import hash_weights
from emdenoise.models.patchgan import build_patchgan
from emdenoise.progress import SilentProgress
from emdenoise.training import pix2pix
from emdenoise.training.epochs import TrainingResult, run_epochs
from emdenoise.training.interruption import CheckpointFolder
from emdenoise.training.pix2pix import Adversaries, compute_cross_entropy, join_adversaries, make_adversaries

pytestmark = pytest.mark.long

Networks = dict[str, Callable[..., keras.Model]]
Train = Callable[..., TrainingResult]

LOSSES = ("loss", "adversarial_loss", "l1_loss", "discriminator_loss")
TIMES = {"started_at_ms", "train_s", "first_step_s", "validation_s", "images_per_second"}
CURVED: dict[str, Any] = {"epochs": 3, "schedule": "cosine", "warmup_fraction": 0.2, "beta_1": 0.5}
VALIDATION: dict[str, Any] = {"sizes": (2,), "seed": 99}


def make_settings(**changes: Any) -> PretrainingSettings:
    content = {"method": "pix2pix", "discriminator_filters": (3, 4), "learning_rate": 0.01, **changes}
    return PretrainingSettings.model_validate(content)


def make_training(**changes: Any) -> TrainingSettings:
    # Without reading ahead an interruption comes in the step that it is meant for.
    training = TrainingSettings(read_ahead=0)
    return RunConfig(pretraining=make_settings(**changes), training=training).pretraining_as_training


def to_numbers(losses: dict[str, Any]) -> dict[str, float]:
    return dict(zip(losses, fetch(list(losses.values())), strict=True))


@dataclass
class Run:
    """A training with all that it leaves."""

    generator: keras.Model
    discriminators: list[keras.Model]
    result: TrainingResult
    steps: list[tuple[int, dict[str, float]]]
    folder: Path

    @property
    def history(self) -> list[dict[str, float]]:
        return [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in self.result.history]


def run_training(
    generator: keras.Model, batches: Any, validation: Any, folder: Path, progress: Any = None, **changes: Any
) -> Run:
    """Train, and keep the discriminator and the losses of each step."""
    discriminators: list[keras.Model] = []
    steps: list[tuple[int, dict[str, float]]] = []
    take_step = Adversaries.take_step

    def build(filters: tuple[int, ...]) -> keras.Model:
        discriminators.append(build_patchgan(filters))
        return discriminators[-1]

    def take(pair: Adversaries, noisy: Any, clean: Any) -> dict[str, Any]:
        losses = take_step(pair, noisy, clean)
        steps.append((len(noisy), to_numbers(losses)))
        return losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pix2pix, "build_patchgan", build)
        patch.setattr(Adversaries, "take_step", take)
        training = make_training(**changes)
        result = run_epochs(
            make_adversaries(generator, make_settings(**changes), training, len(batches)),
            batches,
            validation,
            training,
            checkpoint=CheckpointFolder(folder, "settings and data"),
            progress=progress or SilentProgress(),
        )
    return Run(generator, discriminators, result, steps, folder)


@pytest.fixture(scope="module")
def undisturbed(networks: Networks, draw_batches: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Give a training of three epochs of 3 + 2 images by a network with dropout and normalisation."""
    folder = tmp_path_factory.mktemp("pix2pix") / "undisturbed"
    return run_training(networks["small"](), draw_batches(), draw_batches(**VALIDATION), folder, **CURVED)


@pytest.fixture(scope="module")
def interrupted(networks: Networks, draw_batches: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the same training, killed in its second epoch."""
    folder, batches = tmp_path_factory.mktemp("pix2pix") / "interrupted", draw_batches()
    batches.interrupt_at = (1, 1)
    with pytest.raises(KeyboardInterrupt):
        run_training(networks["small"](), batches, draw_batches(**VALIDATION), folder, **CURVED)
    return folder


def test_a_training_that_the_system_stops_goes_on_at_the_next_step_to_the_same_bits(
    undisturbed: Run, networks: Networks, draw_batches: Any, tmp_path: Path
) -> None:
    batches = draw_batches()
    batches.stop_at = (1, 0)
    with pytest.raises(StoppedError, match="kept after 1 of 2 steps of epoch 2"):
        run_training(networks["small"](), batches, draw_batches(**VALIDATION), tmp_path, **CURVED)
    found = run_training(networks["small"](), draw_batches(), draw_batches(**VALIDATION), tmp_path, **CURVED)
    assert hash_weights(found.generator) == hash_weights(undisturbed.generator)
    assert hash_weights(found.discriminators[0]) == hash_weights(undisturbed.discriminators[0])


@pytest.fixture(scope="module")
def pair(networks: Networks) -> Adversaries:
    """Give a network with normalisation and a discriminator, joined; the absolute error does not count."""
    return join_adversaries(networks["small"](), build_patchgan((3, 4)), make_training(), l1_weight=0, num_steps=10)


def copy_weights(network: keras.Model) -> list[Any]:
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in network.trainable_variables]


def are_equal(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_cross_entropy_is_minus_the_logarithm_of_the_probability(label: float) -> None:
    logits = np.linspace(-8, 8, 24, dtype=np.float32).reshape(2, 3, 4, 1)
    found = compute_cross_entropy(np.full((2, 1, 1, 1), label, np.float32), keras.ops.convert_to_tensor(logits))
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -np.log(probability if label else 1 - probability)
    assert keras.ops.convert_to_numpy(found) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_in_one_step_each_network_learns_in_its_turn_alone(
    pair: Adversaries, draw_batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[tuple[str, bool, bool]] = []
    learn = pix2pix.learn_batch

    def watch(model: keras.Model, *batch: Any) -> dict[str, Any]:
        before = [copy_weights_of(pair.generator), copy_weights_of(pair.discriminator)]
        losses = learn(model, *batch)
        after = [copy_weights_of(pair.generator), copy_weights_of(pair.discriminator)]
        is_same = [are_equal(one, other) for one, other in zip(before, after, strict=True)]
        changed.append((model.name, not is_same[0], not is_same[1]))
        return losses

    learned = {id(network): network.trainable_variables for network in (pair.generator, pair.discriminator)}

    def copy_weights_of(network: keras.Model) -> list[Any]:
        return [np.array(keras.ops.convert_to_numpy(weight)) for weight in learned[id(network)]]

    monkeypatch.setattr(pix2pix, "learn_batch", watch)
    pair.take_step(*draw_batches(sizes=(4,)).read(0, 0))
    assert changed == [("discriminator_step", False, True), ("generator_step", True, False)]
    for network in (pair.generator, pair.discriminator):
        assert len(network.trainable_variables) == len(learned[id(network)])


def test_a_network_is_free_again_after_a_step_that_failed(
    pair: Adversaries, draw_batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> dict[str, Any]:
        assert not pair.generator.trainable_variables
        raise KeyboardInterrupt

    monkeypatch.setattr(pix2pix, "learn_batch", fail)
    with pytest.raises(KeyboardInterrupt):
        pair.take_step(*draw_batches().read(0, 0))
    assert len(pair.generator.trainable_variables) == 6


def test_each_network_gets_better_while_the_other_waits(pair: Adversaries, draw_batches: Any) -> None:
    noisy, clean = draw_batches(sizes=(4,), offset=0.5).read(0, 0)
    yes, no = np.ones((4, 1, 1, 1), np.float32), np.zeros((4, 1, 1, 1), np.float32)
    truth = {"clean": yes, "generated": no}
    with pix2pix._hold(pair.generator):
        judged = [float(learn_batch(pair.discriminator_step, [noisy, clean], truth)["loss"]) for _ in range(60)]
    with pix2pix._hold(pair.discriminator):
        fooled = [
            float(learn_batch(pair.generator_step, noisy, {"image": clean, "logits": yes})["loss"]) for _ in range(60)
        ]
    assert judged[-1] < 0.5 * np.log(2) < judged[0]
    assert fooled[-1] < 0.5 * fooled[0]


def test_an_undecided_discriminator_costs_the_logarithm_of_two(networks: Networks, draw_batches: Any) -> None:
    discriminator, generator = build_patchgan((3, 4)), networks["line"]()
    for weight in discriminator.trainable_variables:
        weight.assign(np.zeros(weight.shape))
    settings = make_training(learning_rate=1e-12)
    pair = join_adversaries(generator, discriminator, settings, l1_weight=7, num_steps=10)
    noisy, clean = draw_batches().read(0, 0)
    losses = to_numbers(pair.take_step(noisy, clean))
    l1_loss = np.abs(clean.astype(np.float64)).mean()  # the line starts at 0
    expected = {
        "discriminator_loss": np.log(2),
        "adversarial_loss": np.log(2),
        "l1_loss": l1_loss,
        "loss": np.log(2) + 7 * l1_loss,
    }
    assert losses == pytest.approx(expected, rel=1e-5)


def test_a_huge_weight_of_the_absolute_error_makes_it_plain_training(
    networks: Networks, train: Train, draw_batches: Any, tmp_path: Path
) -> None:
    plain, generator = networks["line"](), networks["line"]()
    shared: dict[str, Any] = {"epochs": 1, "learning_rate": 0.02}
    batches, validation = draw_batches(sizes=(3,) * 40), draw_batches(sizes=(3,))
    train(plain, batches, validation, folder="plain", loss="mean_absolute_error", **shared)
    # Adam does not see the scale of a loss.
    run = run_training(generator, batches, validation, tmp_path / "pair", l1_weight=1e6, **shared)
    for one, other in zip(plain.get_weights(), generator.get_weights(), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    losses = [losses["l1_loss"] for _, losses in run.steps]
    assert losses[-1] < 0.2 * losses[0]
    assert run.history[-1]["validation_loss"] < 0.2 * losses[0]


def test_a_continued_training_ends_with_the_bits_of_an_undisturbed_one(
    undisturbed: Run, interrupted: Path, networks: Networks, draw_batches: Any, progress: Any
) -> None:
    validation = draw_batches(**VALIDATION)
    continued = run_training(networks["small"](), draw_batches(), validation, interrupted, progress, **CURVED)
    assert continued.result.num_continued_epochs == 1
    assert progress.lines == ["An interrupted training of these settings is continued after epoch 1."]
    assert continued.history == undisturbed.history
    pairs = [
        (continued.generator, undisturbed.generator),
        (continued.discriminators[0], undisturbed.discriminators[0]),
    ]
    for found, expected in pairs:
        assert hash_weights(found) == hash_weights(expected)
        for one, other in zip(found.optimizer.variables, expected.optimizer.variables, strict=True):
            assert np.array_equal(one, other), one.path
    assert [step[:3] for step in progress.steps] == [("train", number, 6) for number in range(3, 7)]
    assert re.fullmatch(r"epoch 3/3, loss \S+, discriminator loss \S+", progress.steps[-1][3])


def test_the_losses_of_an_epoch_are_means_over_its_images(undisturbed: Run) -> None:
    assert [num_images for num_images, _ in undisturbed.steps] == [3, 2] * 3
    for number, epoch in enumerate(undisturbed.history):
        (_, first), (_, second) = undisturbed.steps[2 * number : 2 * number + 2]
        for name in LOSSES:
            assert epoch[name] == pytest.approx((3 * first[name] + 2 * second[name]) / 5)
        assert epoch["loss"] == pytest.approx(epoch["adversarial_loss"] + 100 * epoch["l1_loss"], rel=1e-5)


def test_the_history_is_that_of_every_training_and_the_parts_of_the_loss(undisturbed: Run) -> None:
    shared = {"epoch", "num_images", "learning_rate", "validation_loss", *TIMES}
    for number, epoch in enumerate(undisturbed.result.history, start=1):
        assert set(epoch) == {*shared, *LOSSES}
        assert np.isfinite(list(epoch.values())).all()
        assert (epoch["epoch"], epoch["num_images"]) == (number, 5)
        assert epoch["images_per_second"] == 5 / epoch["train_s"]
    assert undisturbed.result.best_epoch == 3
    assert undisturbed.result.describe(undisturbed.generator)["history"] == undisturbed.result.history


def test_the_validation_loss_is_the_absolute_error_of_the_generator(undisturbed: Run, draw_batches: Any) -> None:
    noisy, clean = draw_batches(**VALIDATION).read(0, 0)
    denoised = keras.ops.convert_to_numpy(undisturbed.generator(noisy))
    expected = np.abs(denoised - clean).astype(np.float64).mean()
    assert undisturbed.history[-1]["validation_loss"] == pytest.approx(expected, rel=1e-5)


def test_both_networks_are_on_disk_and_one_alone_is_no_checkpoint(undisturbed: Run, tmp_path: Path) -> None:
    names = {"epoch-00003.weights.h5", "epoch-00003-patchgan.weights.h5", "state.json"}
    assert {path.name for path in undisturbed.folder.iterdir()} == names
    folder = tmp_path / "copy"
    shutil.copytree(undisturbed.folder, folder)
    (folder / "epoch-00003-patchgan.weights.h5").unlink()
    checkpoint = CheckpointFolder(folder, "settings and data")
    assert checkpoint.restore(undisturbed.generator, undisturbed.discriminators[0]).history == []
    assert checkpoint.restore(undisturbed.generator).history == []


def test_a_generator_of_several_channels_is_refused() -> None:
    noisy = keras.Input((None, None, 1))
    generator = keras.Model(noisy, keras.layers.Conv2D(3, 1)(noisy), name="labels")
    with pytest.raises(ValueError, match="labels has 3 output channels; Pix2Pix needs 1"):
        join_adversaries(generator, build_patchgan((3,)), make_training(), l1_weight=100, num_steps=1)


def test_networks_whose_losses_are_not_finite_end_the_training(
    networks: Networks, draw_batches: Any, tmp_path: Path
) -> None:
    with pytest.raises(DivergenceError, match=r"loss is (nan|inf) in epoch 1, step \d of 2; expected a finite number"):
        run_training(networks["small"](), draw_batches(), draw_batches(**VALIDATION), tmp_path, learning_rate=1e30)
