"""Sharing specimens out to training, validation and test, for sources that do not say how."""

from collections.abc import Sequence

import numpy as np

from emdenoise.dataset.record import Split
from emdenoise.errors import DataError


def split_names(
    names: Sequence[str], *, validation_fraction: float, test_fraction: float, rng: np.random.Generator
) -> dict[Split, list[str]]:
    """Share specimens out at random, at least one for each split.

    Parameters
    ----------
    names : sequence of str
        The specimens; their order here decides the order in each split.
    validation_fraction, test_fraction : float
        Shares; a `test_fraction` of 0 gives no test specimens.
    rng : numpy.random.Generator
        Advanced by the call.

    Raises
    ------
    DataError
        If there are fewer specimens than splits.

    Examples
    --------
    >>> split_names("abcde", validation_fraction=0.2, test_fraction=0.2, rng=np.random.default_rng(0))
    {'train': ['a', 'b', 'd'], 'validation': ['c'], 'test': ['e']}
    """
    num_splits = 3 if test_fraction else 2
    if len(names) < num_splits:
        raise DataError(
            f"{len(names)} specimens ({', '.join(names)}); expected at least {num_splits}, one for each split, since "
            "the images of one specimen, which share a file, truth or labels, must not be in two; add other images."
        )
    order = [names[index] for index in rng.permutation(len(names))]
    num_validation = min(max(round(len(names) * validation_fraction), 1), len(names) - num_splits + 1)
    num_test = min(max(round(len(names) * test_fraction), 1), len(names) - num_validation - 1) if test_fraction else 0
    chosen = set(order[:num_validation])
    tested = set(order[num_validation : num_validation + num_test])
    return {
        "train": [name for name in names if name not in chosen | tested],
        "validation": [name for name in names if name in chosen],
        "test": [name for name in names if name in tested],
    }
