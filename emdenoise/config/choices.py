"""Names in a parameters file that are entries of a table: workloads, sources, networks, objectives, baselines.

The tables stand in the layers above. They are looked up when a file is checked, so that a new entry is known here by
its line in the table alone (docs/decisions/0015-names-in-settings.md). This is the only module that looks upwards.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema, to_json

from emdenoise.config.base import NetworkSettings


def _get_workloads() -> Mapping[str, Any]:
    from emdenoise.workloads import WORKLOADS

    return WORKLOADS


def _get_sources() -> Mapping[str, Any]:
    from emdenoise.sources import SOURCES

    return SOURCES


def _get_networks() -> Mapping[str, Any]:
    from emdenoise.models import MODELS

    return MODELS


def _get_objectives() -> Mapping[str, Any]:
    from emdenoise.training.objectives import OBJECTIVES

    return OBJECTIVES


def _get_baselines() -> Mapping[str, Any]:
    from emdenoise.evaluation.baselines import BASELINES

    return BASELINES


TABLES: dict[str, Callable[[], Mapping[str, Any]]] = {
    "workloads": _get_workloads,
    "sources": _get_sources,
    "networks": _get_networks,
    "objectives": _get_objectives,
    "baselines": _get_baselines,
}


@dataclass(frozen=True)
class EntryOf:
    """Marks a text setting as the name of an entry of a table.

    Attributes
    ----------
    table : str
        Key of `TABLES`.
    """

    table: str

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the name after its type."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, name: str) -> str:
        """Give the name back; raise `ValueError` where the table does not have it."""
        look_up(self.table, name)
        return name


def list_entries(table: str) -> list[str]:
    """List the names that a table has."""
    return list(TABLES[table]())


def look_up(table: str, name: str) -> Any:
    """Give an entry of a table.

    Raises
    ------
    ValueError
        If the table has no such entry; names the known ones and the nearest.
    """
    entries = TABLES[table]()
    if name not in entries:
        nearest = get_close_matches(name, entries, n=1)
        meant = f"; did you mean {nearest[0]}?" if nearest else ""
        raise ValueError(f'is "{name}"; it must be one of {", ".join(entries)}{meant}')
    return entries[name]


def choose_network_settings(values: Any) -> Any:
    """Turn the section `model` into the settings of the network that its `name` says, the U-Net's without a name."""
    if not isinstance(values, dict):
        return values
    kind = find_network_settings(values)
    return kind.model_validate_json(to_json({"name": "unet", **values}, inf_nan_mode="strings"))


def find_network_settings(values: Mapping[str, Any]) -> type[NetworkSettings]:
    """Find the class of the settings of the section `model`.

    Raises
    ------
    ValueError
        If its `name` is no network.
    """
    name = values.get("name", "unet")
    try:
        kind: type[NetworkSettings] = look_up("networks", name if isinstance(name, str) else str(name)).settings
    except ValueError as error:
        raise ValueError(f".name {error}") from error
    return kind
