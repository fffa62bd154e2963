"""Latency: how often the method is called, on what, and what is reported."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from emdenoise.arrays import Sample
from emdenoise.evaluation.throughput import NUM_WARMUP_CALLS, measure_latency


class CountingMethod:
    """Keeps what it is called with; each call takes as long as the list says, on a clock of its own."""

    def __init__(self, durations_s: Iterator[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Sample] = []
        self._now, self._durations_s = 0.0, durations_s
        monkeypatch.setattr(time, "perf_counter", lambda: self._now)

    def __call__(self, sample: Sample) -> np.ndarray:
        self.seen.append(sample)
        self._now += next(self._durations_s)
        return sample["noisy"][..., 0]


NUMBERS = np.arange(3, dtype=np.float32)[:, None, None, None]
IMAGES = {"noisy": NUMBERS * np.ones((3, 4, 5, 1), np.float32), "wave": NUMBERS * np.ones((3, 4, 5, 2), np.float32)}


@pytest.mark.parametrize("num_images", [1, 2, 7])
def test_each_image_is_handed_over_alone_in_turn_after_three_calls(
    num_images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = CountingMethod(iter([1.0] * 99), monkeypatch)
    measure_latency(method, IMAGES, num_images)
    assert NUM_WARMUP_CALLS == 3
    for name, num_channels in (("noisy", 1), ("wave", 2)):
        seen = [sample[name] for sample in method.seen]
        assert [images.shape for images in seen] == [(1, 4, 5, num_channels)] * (3 + num_images)
        assert [int(images[0, 0, 0, 0]) for images in seen] == [number % 3 for number in range(3 + num_images)]


def test_the_latency_is_in_milliseconds_and_the_first_calls_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    latency = measure_latency(CountingMethod(iter([60.0] * 3 + [0.25] * 10), monkeypatch), IMAGES, 10)
    assert (latency.p50_ms, latency.p99_ms) == pytest.approx((250, 250))


def test_half_of_the_calls_are_faster_than_p50_and_one_in_a_hundred_is_slower_than_p99(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    durations_s = np.random.default_rng(0).permutation(np.arange(101)) / 1e3
    latency = measure_latency(CountingMethod(iter([1.0] * 3 + durations_s.tolist()), monkeypatch), IMAGES, 101)
    assert (latency.p50_ms, latency.p99_ms) == pytest.approx((50, 99))


def test_a_real_method_takes_time() -> None:
    latency = measure_latency(lambda sample: np.sort(sample["noisy"], axis=None).reshape(-1, 4, 5), IMAGES, 10)
    assert 0 < latency.p50_ms <= latency.p99_ms
