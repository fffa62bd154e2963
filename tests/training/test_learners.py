"""Training: it finds what it should find, and an interrupted one ends with the bits of an undisturbed one."""

import importlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow
from keras.src.utils import python_utils

from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.sampler import Sampler
from emdenoise.errors import DivergenceError, ResourceError, StoppedError
from emdenoise.models.backend import prepare_backend
from emdenoise.models.checkpoints import hash_weights
from emdenoise.training import epochs, learners
from emdenoise.training.epochs import TrainingResult, validate
from emdenoise.training.learners import make_learner
from emdenoise.training.objectives import Supervised

Networks = dict[str, Callable[..., keras.Model]]
Train = Callable[..., TrainingResult]

TIMES = {"started_at_ms", "train_s", "first_step_s", "validation_s", "images_per_second"}
LINE: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1, "beta_1": 0.0}


def without_times(result: TrainingResult) -> list[dict[str, float]]:
    return [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in result.history]


def test_a_line_is_found_and_the_loss_falls_to_zero(networks: Networks, train: Train) -> None:
    model = networks["line"]()
    losses = [epoch["loss"] for epoch in train(model, epochs=15, **LINE).history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-3 * losses[0]
    assert [float(value.squeeze()) for value in model.get_weights()] == pytest.approx([0.5, 0.1], abs=0.01)


def test_each_step_is_the_gradient_descent_of_the_textbook(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    batches, model = draw_batches(sizes=(3, 1)), networks["line"]()
    history = train(model, batches, epochs=3, **LINE).history
    weights, losses = np.zeros(2), []
    for epoch in range(3):
        sum_of_losses = 0.0
        for step in range(2):
            images, clean = (values.astype(np.float64).ravel() for values in batches.read(epoch, step))
            error = weights[0] * images + weights[1] - clean
            sum_of_losses += batches.sizes[step] * (error**2).mean()
            weights -= 0.1 * 2 * np.array([(error * images).mean(), error.mean()])
        losses.append(sum_of_losses / 4)
    # The loss of an epoch is the mean over its images, also where the last batch is smaller.
    assert [epoch["loss"] for epoch in history] == pytest.approx(losses, rel=1e-4)
    assert [float(value.squeeze()) for value in model.get_weights()] == pytest.approx(list(weights), rel=1e-4)


@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error"])
def test_the_validation_loss_is_the_mean_over_the_validation_images(
    loss: str, networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    validation, model = draw_batches(sizes=(3, 1), seed=5), networks["line"]()
    result = train(model, None, validation, epochs=1, loss=loss, **LINE)
    pairs = [validation.read(0, step) for step in range(2)]
    errors = np.concatenate([np.asarray(model(images)) - clean for images, clean in pairs]).astype(np.float64)
    expected = (errors**2).mean() if loss == "mean_squared_error" else np.abs(errors).mean()
    assert result.history[0]["validation_loss"] == pytest.approx(expected, rel=1e-5)


def judge_mean(outputs: Iterable[Any]) -> dict[str, np.ndarray]:
    """Score each image by its mean."""
    return {"brightness": np.concatenate([np.asarray(batch, np.float64).mean(axis=(1, 2, 3)) for batch in outputs])}


def test_a_metric_is_the_mean_over_the_validation_images_from_one_prediction_of_each(
    networks: Networks, train: Train, draw_batches: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    validation, model, predicted = draw_batches(sizes=(3, 1), seed=5), networks["line"](), []
    predict = model.predict_on_batch
    monkeypatch.setattr(model, "predict_on_batch", lambda images: (predicted.append(len(images)), predict(images))[1])
    history = train(model, None, validation, judge=judge_mean, epochs=2, **LINE).history
    images = np.concatenate([validation.read(0, step)[0] for step in range(2)])
    expected = np.asarray(model(images), np.float64).mean(axis=(1, 2, 3)).mean()
    assert history[1]["validation_brightness"] == pytest.approx(expected, rel=1e-5)
    assert history[1]["validation_brightness"] != history[0]["validation_brightness"]
    assert predicted == [3, 1, 3, 1]


@pytest.mark.long
def test_a_judge_changes_no_bit_of_the_training_and_is_asked_again_after_an_interruption(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    plain, judged, continued = (networks["small"]() for _ in range(3))
    without = train(plain, folder="without", **CURVED)
    expected = train(judged, folder="judged", judge=judge_mean, **CURVED)
    batches = draw_batches()
    batches.interrupt_at = (1, 1)
    with pytest.raises(KeyboardInterrupt):
        train(networks["small"](), batches, judge=judge_mean, **CURVED)
    found = train(continued, judge=judge_mean, **CURVED)
    assert hash_weights(plain) == hash_weights(judged) == hash_weights(continued)
    assert without_times(found) == without_times(expected)
    bare = [{name: epoch[name] for name in epoch if name != "validation_brightness"} for epoch in without_times(found)]
    assert bare == without_times(without)


def test_processes_add_up_loss_and_metrics_of_their_images(draw_batches: Callable[..., Any]) -> None:
    def error(targets: Any, outputs: Any) -> Any:
        return ((targets - outputs) ** 2).mean(axis=-1)

    def run(sizes: tuple[int, ...], **changes: Any) -> dict[str, float]:
        found = validate(lambda images: 2 * images, error, cut(sizes), judge=judge_mean, **changes)
        return {name: value for name, value in found.items() if name != "validation_s"}

    images, targets = draw_batches(sizes=(7,)).read(0, 0)

    def cut(rows: tuple[int, ...]) -> Any:
        return type(
            "Cut",
            (),
            {
                "__len__": lambda self: 1,
                "read": lambda self, epoch, step: (images[list(rows)], targets[list(rows)]),
            },
        )()

    told: list[Any] = []
    run((0, 1), add_up=lambda values: told.append(values) or values)
    run((2, 3, 4, 5, 6), add_up=lambda values: told.append(values) or values)
    shared = run((0, 1), add_up=lambda values: told[0] + told[1])
    assert shared == pytest.approx(run((0, 1, 2, 3, 4, 5, 6)))


def test_the_same_seed_gives_the_same_bits_whatever_the_validation_images(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    hashes, losses = [], []
    for seed in (7, 8):
        model = networks["small"]()
        validation = draw_batches(sizes=(4, 1), seed=seed, gain=-3)
        history = train(model, None, validation, folder=str(seed), epochs=2).history
        losses.append([epoch["loss"] for epoch in history])
        hashes.append(hash_weights(model))
    assert hashes[0] == hashes[1]
    assert losses[0] == losses[1]


CURVED: dict[str, Any] = {"epochs": 3, "schedule": "cosine", "warmup_fraction": 0.2, "learning_rate": 0.02}


@pytest.mark.parametrize(
    ("network", "place"),
    [("line", (0, 1)), ("line", (1, 0)), ("line", (2, 0)), ("line", (2, 1)), ("small", (1, 1))],
    ids=str,
)
def test_a_continued_training_ends_with_the_bits_of_an_undisturbed_one(
    network: str,
    place: tuple[int, int],
    networks: Networks,
    train: Train,
    draw_batches: Callable[..., Any],
    progress: Any,
) -> None:
    undisturbed, interrupted, continued = (networks[network]() for _ in range(3))
    expected = train(undisturbed, folder="undisturbed", **CURVED)
    batches = draw_batches()
    batches.interrupt_at = place
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, batches, **CURVED)
    found = train(continued, progress=progress, **CURVED)

    assert hash_weights(continued) == hash_weights(undisturbed)
    for one, other in zip(undisturbed.optimizer.variables, continued.optimizer.variables, strict=True):
        assert np.array_equal(one, other), one.path
    assert without_times(found) == without_times(expected)
    epoch = place[0]
    assert found.num_continued_epochs == epoch
    line = f"An interrupted training of these settings is continued after epoch {epoch}."
    assert progress.lines == ([line] if epoch else [])


@pytest.mark.long
@pytest.mark.parametrize(("place", "number"), [((0, 0), signal.SIGUSR1), ((1, 1), signal.SIGTERM)], ids=str)
def test_a_training_that_the_system_stops_goes_on_at_the_next_step_to_the_same_bits(
    place: tuple[int, int],
    number: signal.Signals,
    networks: Networks,
    train: Train,
    draw_batches: Callable[..., Any],
    progress: Any,
) -> None:
    sizes = (3, 2, 3)
    undisturbed, stopped, continued = (networks["small"]() for _ in range(3))
    expected = train(undisturbed, draw_batches(sizes=sizes), folder="undisturbed", **CURVED)
    batches, steps = draw_batches(sizes=sizes), f"{place[1] + 1} of 3 steps of epoch {place[0] + 1}"
    batches.stop_at, batches.stop_signal = place, number
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=rf"kept after {steps}\. Run the task again"):
        train(stopped, batches, **CURVED)
    assert signal.getsignal(number) is before
    found = train(continued, draw_batches(sizes=sizes), progress=progress, **CURVED)
    _, num_done, num_steps, _ = progress.steps[0]
    assert (num_done, num_steps) == (3 * place[0] + place[1] + 2, 9)  # what is done is not done again
    assert hash_weights(continued) == hash_weights(undisturbed)
    assert without_times(found) == without_times(expected)
    assert found.num_continued_epochs == place[0] + 1
    assert progress.lines == [f"An interrupted training of these settings is continued after {steps}."]


@pytest.mark.long
def test_a_stop_in_the_last_step_of_an_epoch_comes_after_its_validation(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    undisturbed, continued, batches = networks["small"](), networks["small"](), draw_batches()
    expected = train(undisturbed, folder="undisturbed", **CURVED)
    batches.stop_at = (0, 1)
    with pytest.raises(StoppedError, match="kept after 0 of 2 steps of epoch 2"):
        train(networks["small"](), batches, **CURVED)
    assert without_times(train(continued, **CURVED)) == without_times(expected)
    assert hash_weights(continued) == hash_weights(undisturbed)


def test_a_stop_in_the_very_last_step_changes_nothing(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    batches = draw_batches()
    batches.stop_at = (2, 1)
    assert len(train(networks["small"](), batches, **CURVED).history) == 3


@pytest.mark.long
def test_a_training_that_was_stopped_twice_and_then_killed_ends_with_the_same_bits(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    sizes = (2, 2, 2, 1)
    undisturbed, continued = networks["small"](), networks["small"]()
    train(undisturbed, draw_batches(sizes=sizes), folder="undisturbed", **CURVED)
    for step in (0, 1):
        batches = draw_batches(sizes=sizes)
        batches.stop_at = (1, step)
        with pytest.raises(StoppedError):
            train(networks["small"](), batches, **CURVED)
    batches = draw_batches(sizes=sizes)
    batches.interrupt_at = (1, 3)
    with pytest.raises(KeyboardInterrupt):
        train(networks["small"](), batches, **CURVED)
    train(continued, draw_batches(sizes=sizes), **CURVED)
    assert hash_weights(continued) == hash_weights(undisturbed)


STOPPING: dict[str, Any] = {"epochs": 50, "early_stopping_epochs": 3, **LINE}


def test_early_stopping_ends_in_time_and_takes_the_best_weights(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    # The gain rises from 0 to 0.5 and is best for the validation on its way, at 0.3.
    validation = draw_batches(sizes=(2,), gain=0.3)
    model = networks["line"]()
    result = train(model, None, validation, **STOPPING)
    losses = [epoch["validation_loss"] for epoch in result.history]
    assert 1 < result.best_epoch == 1 + int(np.argmin(losses))
    assert len(result.history) == result.best_epoch + 3
    as_long = networks["line"]()
    train(as_long, None, validation, folder="as long", epochs=result.best_epoch, **LINE)
    assert hash_weights(as_long) == hash_weights(model)


def test_early_stopping_after_an_interruption_ends_with_the_same_bits(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    validation = draw_batches(sizes=(2,), gain=0.3)
    undisturbed = networks["line"]()
    expected = train(undisturbed, None, validation, folder="undisturbed", **STOPPING)
    for epoch in (expected.best_epoch, expected.best_epoch + 2):
        batches = draw_batches()
        batches.interrupt_at = (epoch, 1)
        with pytest.raises(KeyboardInterrupt):
            train(networks["line"](), batches, validation, folder=str(epoch), **STOPPING)
        continued = networks["line"]()
        found = train(continued, None, validation, folder=str(epoch), **STOPPING)
        assert found.best_epoch == expected.best_epoch
        assert hash_weights(continued) == hash_weights(undisturbed)


def test_without_early_stopping_the_last_weights_stay(networks: Networks, train: Train) -> None:
    assert train(networks["line"](), epochs=3, **LINE).best_epoch == 3


def test_a_training_that_was_killed_after_its_last_epoch_is_not_repeated(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    first, again = networks["small"](), networks["small"]()
    expected = train(first, epochs=2)
    never_read = draw_batches()
    never_read.interrupt_at = (0, 0)
    found = train(again, never_read, epochs=2)
    assert found.history == expected.history
    assert (found.num_continued_epochs, found.first_step_s) == (2, 0)
    assert hash_weights(again) == hash_weights(first)


def test_a_checkpoint_of_other_settings_or_data_is_not_continued(
    networks: Networks, train: Train, progress: Any
) -> None:
    train(networks["line"](), run_key="other", epochs=2, **LINE)
    model, fresh = networks["line"](), networks["line"]()
    result = train(model, progress=progress, epochs=2, **LINE)
    train(fresh, folder="fresh", epochs=2, **LINE)
    assert result.num_continued_epochs == 0
    assert progress.lines == []
    assert hash_weights(model) == hash_weights(fresh)


def test_a_damaged_checkpoint_is_started_anew(networks: Networks, train: Train, tmp_path: Path) -> None:
    expected = train(networks["line"](), epochs=2, **LINE)
    (weights,) = (tmp_path / "checkpoint").glob("epoch-*.weights.h5")
    weights.write_bytes(weights.read_bytes()[:-100])
    found = train(networks["line"](), epochs=2, **LINE)
    assert found.num_continued_epochs == 0
    assert without_times(found) == without_times(expected)


def test_the_history_has_the_documented_fields(networks: Networks, train: Train) -> None:
    result = train(networks["line"](), epochs=2, **LINE)
    documented = re.search(r"history : .*?(?=\n\s+num_continued_epochs :)", TrainingResult.__doc__ or "", re.DOTALL)
    assert documented is not None
    for number, epoch in enumerate(result.history, start=1):
        assert set(epoch) == set(re.findall(r"``(\w+)``", documented[0]))
        assert epoch["epoch"] == number
        assert epoch["num_images"] == 5
        assert epoch["learning_rate"] == pytest.approx(0.1)
        assert epoch["images_per_second"] == epoch["num_images"] / epoch["train_s"] > 0
        assert 0 < epoch["first_step_s"] <= epoch["train_s"]


def test_the_speed_leaves_out_the_epoch_in_which_the_backend_compiles() -> None:
    epochs: list[dict[str, float]] = [{"num_images": 10, "train_s": seconds} for seconds in (100.0, 1.0, 3.0)]
    assert TrainingResult(epochs, 0, 90.0, 3).images_per_second == 20 / 4
    assert TrainingResult(epochs[:1], 0, 90.0, 1).images_per_second == 10 / 100


def test_the_steps_are_counted_over_all_epochs(networks: Networks, train: Train, progress: Any) -> None:
    train(networks["line"](), progress=progress, epochs=3, **LINE)
    assert [step[:3] for step in progress.steps] == [("train", number, 6) for number in range(1, 7)]
    assert re.fullmatch(r"epoch 3/3, loss \S+", progress.steps[-1][3])


def test_what_a_record_keeps_counts_the_parameters_and_names_the_best_epoch(networks: Networks, train: Train) -> None:
    model = networks["line"]()
    result = train(model, epochs=2, **LINE)
    description = result.describe(model)
    assert description["num_parameters"] == 2
    assert description["best_epoch"] == 2
    assert description["history"] == result.history
    assert description["images_per_second"] > 0


def count_fetches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many losses each wait for the device brings; Keras itself must bring none."""
    fetches: list[int] = []
    fetch, make_numbers = epochs.fetch, python_utils.pythonify_logs

    def watch(values: Any) -> list[float]:
        fetches.append(len(values))
        return fetch(values)

    def check_no_losses(logs: Any) -> dict[str, Any]:
        caller = sys._getframe(1).f_code.co_name
        assert not logs or caller == "test_on_batch", f"{caller} waits for the device"
        found: dict[str, Any] = make_numbers(logs)
        return found

    monkeypatch.setattr(epochs, "fetch", watch)
    trainer = importlib.import_module(f"keras.src.backend.{keras.backend.backend()}.trainer")
    monkeypatch.setattr(trainer, "pythonify_logs", check_no_losses)
    return fetches


def train_and_wait_in_each_step(model: keras.Model, batches: Any, num_epochs: int) -> list[float]:
    """Train as Keras does, which turns each loss into a number at once; gives the loss of each epoch."""
    losses = []
    for epoch in range(num_epochs):
        sum_of_losses, num_images = 0.0, 0
        for step in range(len(batches)):
            inputs, targets = batches.read(epoch, step)
            loss = model.train_on_batch(inputs, targets, return_dict=True)["loss"]
            sum_of_losses += len(targets) * float(loss)
            num_images += len(targets)
        losses.append(sum_of_losses / num_images)
    return losses


@pytest.mark.parametrize(("num_steps", "fetched"), [(1, [1]), (25, [1, 10, 10, 4])])
def test_the_losses_are_fetched_once_in_ten_steps_and_are_the_same_to_the_bit(
    num_steps: int,
    fetched: list[int],
    networks: Networks,
    train: Train,
    draw_batches: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = draw_batches(sizes=(3,) * (num_steps - 1) + (2,))
    waiting, model = networks["small"](), networks["small"]()
    objective, settings = Supervised(("noisy",), "clean", "mean_squared_error"), TrainingSettings(epochs=2)
    make_learner(waiting, objective, settings, num_steps)
    expected = train_and_wait_in_each_step(waiting, batches, num_epochs=2)
    fetches = count_fetches(monkeypatch)
    history = train(model, batches, epochs=2).history
    assert fetches == 2 * fetched
    assert [epoch["loss"] for epoch in history] == expected
    assert hash_weights(model) == hash_weights(waiting)


def test_the_result_does_not_depend_on_how_far_ahead_the_batches_are_read(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    plain, ahead = networks["small"](), networks["small"]()
    expected = train(plain, draw_batches(sizes=(3, 2, 1)), folder="plain", **CURVED)
    found = train(ahead, draw_batches(sizes=(3, 2, 1)), read_ahead=3, **CURVED)
    assert without_times(found) == without_times(expected)
    assert hash_weights(ahead) == hash_weights(plain)
    for one, other in zip(plain.optimizer.variables, ahead.optimizer.variables, strict=True):
        assert np.array_equal(one, other), one.path


def test_a_stopped_training_that_reads_ahead_goes_on_to_the_same_bits_and_leaves_no_thread(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    sizes, before = (3, 2, 3, 2), set(threading.enumerate())
    undisturbed, continued, batches = networks["small"](), networks["small"](), draw_batches(sizes=sizes)
    expected = train(undisturbed, draw_batches(sizes=sizes), folder="undisturbed", **CURVED)
    batches.stop_at = (1, 2)
    with pytest.raises(StoppedError, match=r"kept after \d of 4 steps"):
        train(networks["small"](), batches, read_ahead=2, **CURVED)
    assert set(threading.enumerate()) == before
    found = train(continued, draw_batches(sizes=sizes), read_ahead=2, **CURVED)
    assert set(threading.enumerate()) == before
    assert hash_weights(continued) == hash_weights(undisturbed)
    assert without_times(found) == without_times(expected)


def test_an_error_of_the_reader_ends_the_training_as_it_is(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    batches, before = draw_batches(), set(threading.enumerate())
    batches.interrupt_at = (1, 0)
    with pytest.raises(KeyboardInterrupt):
        train(networks["line"](), batches, read_ahead=2, epochs=3)
    assert set(threading.enumerate()) == before


def test_tiny_gradients_in_half_precision_are_learned_because_the_loss_is_scaled(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    # The gradient of a pixel is 2 · 1e-6 / 192 = 1e-8, a sixth of the smallest number of float16.
    changes = {}
    for precision in ("float32", "mixed_float16"):
        prepare_backend(TrainingSettings(precision=precision), 0)
        model = networks["line"]()
        batches = draw_batches(sizes=(3,), gain=0.0, offset=1e-6)
        train(model, batches, folder=precision, epochs=1, precision=precision, **LINE)
        changes[precision] = model.get_weights()[1]
    assert changes["float32"] == pytest.approx(0.1 * 2 * 1e-6, rel=1e-5)
    assert changes["mixed_float16"] == pytest.approx(changes["float32"], rel=0.01)


@pytest.mark.long
def test_a_continued_training_in_half_precision_ends_with_the_bits_of_an_undisturbed_one(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    settings = {**CURVED, "precision": "mixed_float16"}
    undisturbed, continued = (networks["small"](precision="mixed_float16") for _ in range(2))
    expected = train(undisturbed, folder="undisturbed", **settings)
    batches = draw_batches()
    batches.stop_at = (1, 0)
    with pytest.raises(StoppedError):
        train(networks["small"](precision="mixed_float16"), batches, **settings)
    found = train(continued, **settings)
    assert hash_weights(continued) == hash_weights(undisturbed)
    assert without_times(found) == without_times(expected)
    assert undisturbed.optimizer.dynamic_scale.path in {each.path for each in undisturbed.optimizer.variables}
    for one, other in zip(undisturbed.optimizer.variables, continued.optimizer.variables, strict=True):
        assert np.array_equal(one, other), one.path


@pytest.mark.parametrize(
    ("last_batch", "is_compiled", "is_told"), [("smaller", True, 1), ("smaller", False, 0), ("filled", True, 0)]
)
def test_a_second_program_of_xla_is_announced_with_its_remedy(
    last_batch: Any, is_compiled: bool, is_told: int, drawn_files: Any, progress: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learners, "choose_compilation", lambda: is_compiled)
    sampler = Sampler(drawn_files["train"], ("noisy",), TrainingSettings(batch_size=4, last_batch=last_batch), 0)
    learners.tell_of_shapes(sampler, progress)
    assert len(progress.lines) == is_told
    assert all("training.last_batch: filled" in line for line in progress.lines)


@pytest.mark.parametrize("num_steps", [3, 25])
def test_a_loss_that_is_not_finite_ends_the_training_and_says_where(
    num_steps: int, networks: Networks, train: Train, draw_batches: Callable[..., Any], tmp_path: Path
) -> None:
    # The first step moves the weights by some 1e30, whose square is no float32: the loss of the second is infinite.
    with pytest.raises(
        DivergenceError,
        match=rf"^the loss is (inf|nan) in epoch 1, step 2 of {num_steps}; expected a finite number; lower learning_ra",
    ):
        train(networks["line"](), draw_batches(sizes=(3,) * num_steps), epochs=2, **{**LINE, "learning_rate": 1e30})
    assert not (tmp_path / "checkpoint").exists()


def test_a_training_whose_last_step_ruins_the_weights_is_found_by_the_validation(
    networks: Networks, train: Train, draw_batches: Callable[..., Any]
) -> None:
    with pytest.raises(DivergenceError, match=r"^the validation loss is (inf|nan) after epoch 1; expected a finite"):
        train(networks["line"](), draw_batches(sizes=(3,)), epochs=1, **{**LINE, "learning_rate": 1e30})


def test_what_was_kept_before_a_training_diverged_stays(
    networks: Networks, train: Train, draw_batches: Callable[..., Any], tmp_path: Path
) -> None:
    class Ruined(draw_batches):  # type: ignore[misc,valid-type]
        def read(self, epoch: int, step: int) -> Any:
            images, targets = super().read(epoch, step)
            return images, targets * np.float32(1e30 if epoch else 1)

    with pytest.raises(DivergenceError, match="in epoch 2, step 1 of 2"):
        train(networks["line"](), Ruined(), epochs=2, **LINE)
    assert (tmp_path / "checkpoint" / "epoch-00001.weights.h5").exists()


@pytest.mark.parametrize(
    "error",  # the words of TensorFlow, with XLA, and of JAX
    [
        pytest.param(
            tensorflow.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9]\nHint"),
            marks=pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="raised by TensorFlow alone"),
        ),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes."),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_of_a_device_is_one_line(
    error: Exception, networks: Networks, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack_memory(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(learners, "learn_batch", lack_memory)
    with pytest.raises(ResourceError, match=r"is too small for this network and these images; use a smaller batch_"):
        train(networks["line"]())


def test_another_error_of_a_device_stays_what_it_is(
    networks: Networks, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> Any:
        raise RuntimeError("INTERNAL: a kernel failed")

    monkeypatch.setattr(learners, "learn_batch", fail)
    with pytest.raises(RuntimeError, match="INTERNAL"):
        train(networks["line"]())
