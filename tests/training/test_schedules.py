"""The learning rate over a training, and what one step of the optimizer does to a weight."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emdenoise.config.schema import TrainingSettings
from emdenoise.training.schedules import make_learning_rate, make_optimizer

PEAKS = st.floats(1e-5, 1)
STEPS = st.integers(1, 5000)
SHARES = st.floats(0, 1, exclude_max=True)


def read_rates(num_steps: int, steps: Any, **settings: Any) -> npt.NDArray[np.float64]:
    rate = make_learning_rate(TrainingSettings(**settings), num_steps)
    if isinstance(rate, float):
        return np.full(np.shape(steps), rate)
    return np.array([float(keras.ops.convert_to_numpy(rate(step))) for step in np.ravel(steps)])


@given(peak=PEAKS, num_steps=STEPS)
def test_a_constant_rate_without_warmup_is_a_plain_number(peak: float, num_steps: int) -> None:
    assert make_learning_rate(TrainingSettings(learning_rate=peak), num_steps) == peak


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@given(peak=PEAKS, num_steps=st.integers(20, 5000), warmup=st.floats(0.1, 0.9))
def test_the_warmup_is_a_line_from_zero_to_the_peak(schedule: str, peak: float, num_steps: int, warmup: float) -> None:
    num_warmup = round(num_steps * warmup)
    steps = np.linspace(0, num_warmup, 5).astype(int)
    rates = read_rates(num_steps, steps, learning_rate=peak, schedule=schedule, warmup_fraction=warmup)
    assert rates == pytest.approx(peak * steps / num_warmup, rel=1e-4)


@given(peak=PEAKS, num_steps=st.integers(20, 5000), warmup=st.floats(0.1, 0.9))
def test_a_constant_rate_stays_at_the_peak_after_the_warmup(peak: float, num_steps: int, warmup: float) -> None:
    steps = np.linspace(round(num_steps * warmup), num_steps, 4).astype(int)
    rates = read_rates(num_steps, steps, learning_rate=peak, warmup_fraction=warmup)
    assert rates == pytest.approx(peak, rel=1e-5)


@given(peak=PEAKS, half=st.integers(5, 2000), num_warmup=st.integers(0, 2000))
def test_the_cosine_is_half_the_peak_half_way_and_ends_at_zero(peak: float, half: int, num_warmup: int) -> None:
    num_steps = num_warmup + 2 * half
    options: dict[str, Any] = {"learning_rate": peak, "schedule": "cosine", "warmup_fraction": num_warmup / num_steps}
    rates = read_rates(num_steps, [num_warmup, num_warmup + half, num_steps], **options)
    assert rates == pytest.approx([peak, peak / 2, 0], rel=1e-4, abs=1e-6 * peak)
    # cos(π − a) = −cos(a): as far below the middle after it as above it before.
    distances = np.linspace(0, half, 4).astype(int)
    before, after = (read_rates(num_steps, num_warmup + half + sign * distances, **options) for sign in (-1, 1))
    assert before + after == pytest.approx(peak, rel=1e-4)
    assert (np.diff(before) >= 0).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@given(peak=PEAKS, num_steps=STEPS, warmup=SHARES)
def test_any_share_of_warmup_leaves_a_rate_between_zero_and_the_peak(
    schedule: str, peak: float, num_steps: int, warmup: float
) -> None:
    steps = np.linspace(0, num_steps, 4).astype(int)
    rates = read_rates(num_steps, steps, learning_rate=peak, schedule=schedule, warmup_fraction=warmup)
    assert (rates >= 0).all()
    assert (rates <= peak * (1 + 1e-6)).all()


def test_a_warmup_that_rounds_to_the_whole_training_still_ends_one_step_before_it() -> None:
    rates = read_rates(10, [0, 9, 10], learning_rate=0.3, warmup_fraction=0.97, schedule="cosine")
    assert rates == pytest.approx([0, 0.3, 0], abs=1e-7)


def take_steps(gradients: list[list[float]], start: list[float], **settings: Any) -> npt.NDArray[np.float64]:
    """Let the optimizer follow the gradients and give the weights after each step; each weight is its own variable."""
    optimizer = make_optimizer(TrainingSettings(**settings), 1000)
    variables = [keras.Variable(np.float32(value)) for value in start]
    path = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(np.float32(value)) for value in gradient], variables)
        path.append([float(keras.ops.convert_to_numpy(variable)) for variable in variables])
    return np.array(path)


VECTORS = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=4).filter(lambda v: np.linalg.norm(v) > 1e-3)


@settings(max_examples=15)
@given(gradient=VECTORS, clip=st.floats(0.01, 200), rate=st.floats(0.001, 1), momentum=st.floats(0, 0.99))
def test_the_first_step_of_clipped_sgd_is_at_most_rate_times_clip_norm_long(
    gradient: list[float], clip: float, rate: float, momentum: float
) -> None:
    (step,) = take_steps(
        [gradient], [0.0] * len(gradient), optimizer="sgd", learning_rate=rate, gradient_clip_norm=clip, beta_1=momentum
    )
    length = np.linalg.norm(gradient)
    # The norm of all gradients together: the direction stays.
    assert step == pytest.approx(-rate * np.array(gradient) * min(1, clip / length), rel=1e-4, abs=1e-7)
    assert np.linalg.norm(step) <= rate * clip * (1 + 1e-5)


@settings(max_examples=15)
@given(momentum=st.floats(0, 0.95))
def test_sgd_adds_up_the_steps_before_with_the_weight_of_the_momentum(momentum: float) -> None:
    path = take_steps([[1.0], [0.0], [0.0]], [0.0], optimizer="sgd", learning_rate=0.5, beta_1=momentum)
    steps = np.diff(path[:, 0], prepend=0)
    assert steps == pytest.approx([-0.5, -0.5 * momentum, -0.5 * momentum**2], abs=1e-6)


@settings(max_examples=15)
@given(gradient=VECTORS, rate=st.floats(0.001, 1), beta_1=st.floats(0, 0.95), beta_2=st.floats(0.5, 0.999))
def test_a_step_of_adam_under_a_steady_gradient_is_the_learning_rate_whatever_the_betas(
    gradient: list[float], rate: float, beta_1: float, beta_2: float
) -> None:
    gradient = [value if abs(value) > 0.1 else 1.0 for value in gradient]
    path = take_steps(
        [gradient] * 3, [0.0] * len(gradient), learning_rate=rate, beta_1=beta_1, beta_2=beta_2, epsilon=1e-12
    )
    # arXiv:1412.6980, section 2.1: both bias corrections cancel where the gradient does not change.
    for number, weights in enumerate(path, start=1):
        assert weights == pytest.approx(-number * rate * np.sign(gradient), rel=1e-3)


@settings(max_examples=15)
@given(beta_1=st.floats(0, 0.95), beta_2=st.floats(0.1, 0.999))
def test_adam_weighs_the_past_with_its_betas(beta_1: float, beta_2: float) -> None:
    path = take_steps([[1.0], [0.0]], [0.0], learning_rate=0.1, beta_1=beta_1, beta_2=beta_2, epsilon=1e-12)
    # Algorithm 1 of arXiv:1412.6980 by hand: m̂ = β₁/(1 + β₁), v̂ = β₂/(1 + β₂) after gradients 1 and 0.
    expected = 0.1 * beta_1 / (1 + beta_1) / np.sqrt(beta_2 / (1 + beta_2))
    assert path[0, 0] - path[1, 0] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_epsilon_as_large_as_the_gradient_halves_the_first_step_of_adam() -> None:
    path = take_steps([[0.25]], [0.0], learning_rate=0.1, beta_2=0.0, epsilon=0.25)
    assert path[0, 0] == pytest.approx(-0.05, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@settings(max_examples=15)
@given(decay=st.floats(0.001, 1), rate=st.floats(0.001, 0.9), start=st.floats(-10, 10, width=32))
def test_weight_decay_shrinks_a_weight_without_gradient_by_rate_times_decay(
    optimizer: str, decay: float, rate: float, start: float
) -> None:
    path = take_steps([[0.0], [0.0]], [start], optimizer=optimizer, learning_rate=rate, weight_decay=decay)
    shrink = 1 - rate * decay
    assert path[:, 0] == pytest.approx([start * shrink, start * shrink**2], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_without_weight_decay_a_weight_without_gradient_stays(optimizer: str) -> None:
    assert take_steps([[0.0]], [0.7], optimizer=optimizer)[0, 0] == np.float32(0.7)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_optimizer_follows_the_schedule_step_by_step(optimizer: str) -> None:
    path = take_steps(
        [[1.0]] * 4, [0.0], optimizer=optimizer, learning_rate=0.1, beta_1=0.0, warmup_fraction=0.004, epsilon=1e-12
    )
    # A warm-up over 4 of 1000 steps; under a steady gradient both optimizers move by the rate.
    assert np.diff(path[:, 0], prepend=0) == pytest.approx([0, -0.025, -0.05, -0.075], rel=1e-3)
