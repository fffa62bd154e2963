"""Where each table is found. Lower layers look names up here, and the package's `__init__` says where the tables stand.

So `config/` can check the names in a parameters file without importing from the layers above it, and a new entry is
known everywhere by its line in the table alone (docs/decisions/0015-names-in-settings.md).
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

FINDERS: dict[str, Callable[[], Mapping[str, Any]]] = {}
"""By plural: ``workloads``, ``sources``, ``networks``, … Filled once, by `emdenoise/__init__.py`; each imports late."""


def list_entries(table: str) -> list[str]:
    """List the names that a table has."""
    return list(FINDERS[table]())


def look_up(table: str, name: str) -> Any:
    """Give an entry of a table.

    Raises
    ------
    ValueError
        If the table has no such entry; names the known ones and the nearest.

    Examples
    --------
    >>> look_up("workloads", "denoise").truth
    'clean'
    """
    entries = FINDERS[table]()
    if name not in entries:
        nearest = get_close_matches(name, entries, n=1)
        meant = f"; did you mean {nearest[0]}?" if nearest else ""
        raise ValueError(f'is "{name}"; it must be one of {", ".join(entries)}{meant}')
    return entries[name]
