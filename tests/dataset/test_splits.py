"""Splits: every specimen in one of them, none of them empty."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.dataset.record import SPLITS
from emdenoise.dataset.splits import split_names
from emdenoise.errors import DataError

FRACTIONS = st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)).filter(lambda pair: sum(pair) < 1)


@given(st.integers(3, 200), FRACTIONS, st.integers(0, 2**31))
def test_every_specimen_is_in_one_split_and_no_split_is_empty(
    num_names: int, fractions: tuple[float, float], seed: int
) -> None:
    names = [str(index) for index in range(num_names)]
    rng = np.random.default_rng(seed)
    splits = split_names(names, validation_fraction=fractions[0], test_fraction=fractions[1], rng=rng)
    assert sorted((name for split in SPLITS for name in splits[split]), key=int) == names
    assert all(splits[split] for split in SPLITS)


@given(st.integers(50, 500), FRACTIONS.filter(lambda pair: sum(pair) < 0.9))
def test_shares_are_those_that_were_asked_for(num_names: int, fractions: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    names = [str(index) for index in range(num_names)]
    splits = split_names(names, validation_fraction=fractions[0], test_fraction=fractions[1], rng=rng)
    assert abs(len(splits["validation"]) - fractions[0] * num_names) <= 1
    assert abs(len(splits["test"]) - fractions[1] * num_names) <= 1


def test_without_a_test_fraction_there_are_no_test_specimens() -> None:
    splits = split_names("ab", validation_fraction=0.1, test_fraction=0.0, rng=np.random.default_rng(0))
    assert [len(splits[split]) for split in SPLITS] == [1, 1, 0]


@pytest.mark.parametrize(("names", "test_fraction", "least"), [("ab", 0.1, 3), ("a", 0.0, 2), ("", 0.1, 3)])
def test_fewer_specimens_than_splits_are_refused(names: str, test_fraction: float, least: int) -> None:
    with pytest.raises(
        DataError, match=rf"{len(names)} specimens \(.*\); expected at least {least}, one for each split"
    ):
        split_names(names, validation_fraction=0.1, test_fraction=test_fraction, rng=np.random.default_rng(0))
