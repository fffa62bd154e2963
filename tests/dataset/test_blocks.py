"""Memory that is used again: never while somebody has it, and no more of it than a few blocks."""

import gc
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.dataset.blocks import LARGEST_BYTES, MAX_BLOCKS, SMALLEST_BYTES, Blocks

FLOAT32 = np.dtype("float32")
SHAPE = (4, 128, 128)


def find_address(values: np.ndarray) -> int:
    return int(values.__array_interface__["data"][0])


def test_memory_that_nobody_has_is_lent_again() -> None:
    blocks = Blocks()
    addresses = {find_address(blocks.make_empty(SHAPE, FLOAT32)) for _ in range(20)}
    assert len(addresses) == 1


@given(moves=st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.sampled_from([1, 2, 5])), max_size=40))
def test_arrays_that_live_at_the_same_time_never_share_memory(moves: list[tuple[bool, int, int]]) -> None:
    blocks, held = Blocks(), {}
    for number, (is_taken, place, factor) in enumerate(moves):
        if is_taken:
            held[place] = number, blocks.make_empty((factor, *SHAPE), FLOAT32)
            held[place][1][...] = number
        else:
            held.pop(place, None)
        for expected, values in held.values():
            assert (values == expected).all()


@pytest.mark.parametrize(
    "keep",
    [
        lambda images: images[1:, ..., None],
        lambda images: np.rot90(images[0]),
        memoryview,
        keras.ops.convert_to_tensor,
    ],
    ids=["view", "turned view", "memoryview", "tensor"],
)
def test_what_was_made_without_a_copy_keeps_its_values(keep: Any) -> None:
    blocks = Blocks()
    images = blocks.make_empty(SHAPE, FLOAT32)
    images[...] = 7
    kept = keep(images)
    del images
    for _ in range(2 * MAX_BLOCKS):
        blocks.make_empty(SHAPE, FLOAT32)[...] = 0
    assert (np.asarray(kept) == 7).all()
    del kept
    gc.collect()


def test_no_more_blocks_are_kept_than_allowed() -> None:
    blocks = Blocks()
    held = [blocks.make_empty(SHAPE, FLOAT32) for _ in range(3 * MAX_BLOCKS)]
    addresses = {find_address(values) for values in held}
    assert len(addresses) == len(held)
    held.clear()
    again = [find_address(blocks.make_empty(SHAPE, FLOAT32)) for _ in range(3 * MAX_BLOCKS)]
    assert len(set(again)) <= MAX_BLOCKS


def test_a_larger_array_takes_the_place_of_a_block_that_is_too_small() -> None:
    blocks = Blocks()
    for _ in range(MAX_BLOCKS):
        blocks.make_empty(SHAPE, FLOAT32)
    larger = {find_address(blocks.make_empty((9, *SHAPE), FLOAT32)) for _ in range(9)}
    assert len(larger) == 1


@pytest.mark.parametrize("num_bytes", [0, SMALLEST_BYTES - 1, LARGEST_BYTES + 1])
def test_small_and_huge_arrays_are_those_of_numpy(num_bytes: int) -> None:
    values = Blocks().make_empty((num_bytes,), np.dtype("uint8"))
    assert values.base is None
    assert values.shape == (num_bytes,)


def test_arrays_can_be_written_and_begin_where_tensors_may() -> None:
    values = Blocks().make_empty(SHAPE, FLOAT32)
    assert values.flags.writeable
    assert values.flags.c_contiguous
    assert find_address(values) % 64 == 0
