"""What can happen to the bytes of a file, for hypothesis to choose from."""

import struct
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

NUMBERS = (
    *(0, 1, 2, 3, 255, 256, 65535, 10**5, 2**24, 10**9, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1),
    *(-1, -2, -(2**15), -(2**31), -(2**63)),
)
"""Sizes, counts and offsets that no small file has."""
TYPES = ("<b", "<h", ">h", "<i", ">i", "<q", ">q", "<f", ">f", "<d", ">d")
OTHER_FILES = (
    *(b"", b"\0" * 5000, b"<html>404 not found</html>", b"[" * 100_000, b"a\n" * 50_000),
    *(b"\x89HDF\r\n\x1a\n", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0"),
)
HEADER_BYTES = 512

Change = tuple[Any, ...]
"""Kind of the change, place, and what it needs more."""


def choose_changes(size: int) -> st.SearchStrategy[list[Change]]:
    """Choose one to four changes of a file of so many bytes, half of them in its header, or another file instead."""
    # Hypothesis likes small numbers; their multiples lie all over the file.
    anywhere = st.integers(0, size - 1).map(lambda number: number * 2_654_435_761 % size)
    place = st.integers(0, min(size, HEADER_BYTES) - 1) | anywhere
    change = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("replace"), place, st.integers(0, 30), st.binary(max_size=8)),
        st.tuples(st.just("number"), place, st.sampled_from(NUMBERS), st.sampled_from(TYPES)),
        st.tuples(st.just("number"), place, st.sampled_from(NUMBERS), st.sampled_from(TYPES)),
        st.tuples(st.just("swap"), place, place, st.integers(1, 256)),
        st.tuples(st.just("cut"), place),
    )
    other = st.tuples(st.just("other"), st.just(0), st.sampled_from(OTHER_FILES))
    return st.integers(0, 19).flatmap(
        lambda number: st.lists(change, min_size=1, max_size=4) if number else st.lists(other, min_size=1, max_size=1)
    )


def damage(content: bytes, changes: Sequence[Change]) -> bytes:
    """Apply changes one after the other."""
    for kind, place, *details in changes:
        if not content:
            break
        content = _change(content, kind, place % len(content), *details)
    return content


def _change(content: bytes, kind: str, place: int, *details: Any) -> bytes:
    before, after = content[:place], content[place:]
    if kind == "flip":
        return before + bytes([after[0] ^ 1 << details[0]]) + after[1:]
    if kind == "replace":
        return before + details[1] + after[details[0] :]
    if kind == "number":
        number, form = details
        size = struct.calcsize(form)
        order = "little" if form[0] == "<" else "big"
        new = struct.pack(form, number) if form[1] in "fd" else (number % 2 ** (8 * size)).to_bytes(size, order)
        place -= place % min(size, 4)
        return content[:place] + new + content[place + size :]
    if kind == "swap":
        first, second = sorted((place, details[0] % len(content)))
        length = min(details[1], second - first)
        one, two = content[first : first + length], content[second : second + length]
        return content[:first] + two + content[first + length : second] + one + content[second + length :]
    return before if kind == "cut" else details[0]
