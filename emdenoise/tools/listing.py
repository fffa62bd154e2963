"""`emdenoise list`: the names that settings and options know, each with one line of what it is."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from emdenoise.errors import SettingsError
from emdenoise.tables import FINDERS
from emdenoise.tasks import Outcome

DESCRIPTIONS: dict[str, Callable[[Any], str]] = {
    "fields": lambda field: field.meaning,
}
"""How an entry of a table describes itself, where that is not its `description`."""
EXTRA_COLUMNS: dict[str, dict[str, Callable[[Any], str]]] = {
    "sources": {"network": lambda source: "yes" if source.needs_network else "no"},
}
"""More columns of a table, each with what it shows of an entry. `run/docker.sh` reads the one of the sources."""


def list_names(*, table: str) -> Outcome:
    """List the names of one kind: workloads, sources, networks, baselines, metrics, objectives or fields.

    Raises
    ------
    SettingsError
        If there is no such table.
    """
    if table not in FINDERS:
        nearest = get_close_matches(table, FINDERS, n=1)
        advice = f"did you mean {nearest[0]}?" if nearest else f"give one of {', '.join(FINDERS)}."
        raise SettingsError(f"there is no list of {table}; {advice}")
    entries, columns = FINDERS[table](), EXTRA_COLUMNS.get(table, {})
    describe = DESCRIPTIONS.get(table, _get_description)
    rows = [["name", *columns, "description"]]
    rows += [[name, *(show(entry) for show in columns.values()), describe(entry)] for name, entry in entries.items()]
    return Outcome(f"{len(entries)} {table}:", rows)


def _get_description(entry: Any) -> str:
    description: str = entry.description
    return description
