"""Reading ahead: the same batches in the same order, no more of them than allowed, and no thread that stays."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.read_ahead import ReadAhead
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.sampler import InOrder, Sampler
from emdenoise.errors import DataError


class Counting:
    """Batches that say where they belong; notes what was read, by which thread, and how many are not taken yet."""

    def __init__(self, num_steps: int = 3, fails_at: tuple[int, int] | None = None) -> None:
        self.num_steps, self.fails_at = num_steps, fails_at
        self.error = DataError("train.h5: noisy is damaged; run the preprocess task again.")
        self.places: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return self.num_steps

    def read(self, epoch: int, step: int) -> tuple[int, int]:
        self.places.append((epoch, step))
        self.threads.add(threading.get_ident())
        if (epoch, step) == self.fails_at:
            raise self.error
        return epoch, step


def list_places(num_epochs: int, num_steps: int) -> list[tuple[int, int]]:
    return [(epoch, step) for epoch in range(num_epochs) for step in range(num_steps)]


def wait_until_idle(reader: Counting) -> None:
    """Wait until the thread has read all that it may."""
    num_read = -1
    while num_read != len(reader.places):
        num_read = len(reader.places)
        time.sleep(0.02)


@given(depth=st.integers(0, 5), num_epochs=st.integers(1, 3), num_steps=st.integers(1, 4))
def test_every_depth_reads_the_same_batches_once_in_the_same_order(depth: int, num_epochs: int, num_steps: int) -> None:
    reader, places = Counting(num_steps), list_places(num_epochs, num_steps)
    with ReadAhead(reader, depth, num_epochs) as batches:
        assert len(batches) == num_steps
        assert [batches.read(*place) for place in places] == places
    assert reader.places == places


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_no_more_batches_wait_than_the_depth(depth: int) -> None:
    reader, places = Counting(num_steps=4), list_places(3, 4)
    with ReadAhead(reader, depth, num_epochs=3) as batches:
        for num_taken, place in enumerate(places, start=1):
            batches.read(*place)
            wait_until_idle(reader)
            assert len(reader.places) == min(num_taken + depth, len(places))
    assert len(reader.threads) == 1
    assert threading.get_ident() not in reader.threads


def test_without_a_depth_there_is_no_thread() -> None:
    reader = Counting()
    with ReadAhead(reader, 0, num_epochs=1) as batches:
        batches.read(0, 0)
    assert reader.threads == {threading.get_ident()}
    assert reader.places == [(0, 0)]


def test_a_training_that_goes_on_jumps_to_its_step() -> None:
    reader = Counting(num_steps=9)
    with ReadAhead(reader, 2, num_epochs=2) as batches:
        assert [batches.read(*place) for place in [(1, 0), (1, 7), (1, 8)]] == [(1, 0), (1, 7), (1, 8)]
    assert reader.places[-2:] == [(1, 7), (1, 8)]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_an_error_of_the_reader_arrives_as_it_is_and_where_it_belongs(depth: int) -> None:
    reader = Counting(fails_at=(0, 2))
    with ReadAhead(reader, depth, num_epochs=2) as batches:
        assert [batches.read(0, step) for step in (0, 1)] == [(0, 0), (0, 1)]
        with pytest.raises(DataError, match="damaged") as caught:
            batches.read(0, 2)
    assert caught.value is reader.error


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, DataError])
def test_no_thread_survives_the_block(error: type[BaseException] | None) -> None:
    before = set(threading.enumerate())

    def leave() -> None:
        with ReadAhead(Counting(), 2, num_epochs=9) as batches:
            batches.read(0, 0)
            assert len(set(threading.enumerate()) - before) == 1
            if error is not None:
                raise error

    if error is None:
        leave()
    else:
        with pytest.raises(error):
            leave()
    assert set(threading.enumerate()) == before


def test_the_thread_and_the_training_read_hdf5_at_the_same_time(tmp_path: Path, draw_records: Any) -> None:
    for name in ("train", "validation"):
        write_records(tmp_path / f"{name}.h5", draw_records(12, size=64), attributes={})
    settings = TrainingSettings(batch_size=3, crop_size_px=32, flip=True)
    with RecordFile(tmp_path / "train.h5") as images, RecordFile(tmp_path / "validation.h5") as validation:
        sampler, whole = Sampler(images, ("noisy", "mask"), settings, seed=0), InOrder(validation, ("noisy",), 5)
        expected = [sampler.read(*place) for place in list_places(10, len(sampler))]
        with ReadAhead(sampler, 2, num_epochs=10) as batches:
            for sample, place in zip(expected, list_places(10, len(sampler)), strict=True):
                found = batches.read(*place)
                validation.read_attribute("pixel_size_angstrom")  # by HDF5, while the thread reads
                assert len(whole.read(0, 0)["noisy"]) == 5
                assert all(np.array_equal(found[name], sample[name]) for name in sample)
