"""The only place where random generators are made.

A generator belongs to (run seed, purpose, index), so that record 17 is the same record in
any order and with any number of workers.
"""

import hashlib

import numpy as np


def make_generator(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Make the random generator of one purpose and one index of a run.

    Parameters
    ----------
    seed : int
        Seed of the run, at least 0.
    purpose : str
        What the numbers are for, for example ``"specimen"``; other purposes are independent.
    index : int
        Which record, epoch or step, at least 0.

    Returns
    -------
    numpy.random.Generator
        PCG64 seeded through `numpy.random.SeedSequence`.

    Examples
    --------
    >>> make_generator(1, "specimen", 17).integers(1000) == make_generator(1, "specimen", 17).integers(1000)
    np.True_
    """
    purpose_key = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    return np.random.default_rng(np.random.SeedSequence([seed, purpose_key, index]))


def derive_seed(seed: int, purpose: str) -> int:
    """Derive a 31-bit seed for a library that wants a number, such as Keras."""
    return int(make_generator(seed, purpose).integers(2**31))
