"""Settings that are names of entries of a table: workloads, sources, networks, objectives, baselines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema, to_json

from emdenoise.config.base import NetworkSettings
from emdenoise.tables import look_up


@dataclass(frozen=True)
class EntryOf:
    """Marks a text setting as the name of an entry of a table.

    Attributes
    ----------
    table : str
        See `emdenoise/tables.py`.
    """

    table: str

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the name after its type."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, name: str) -> str:
        """Give the name back; raise `ValueError` where the table does not have it."""
        look_up(self.table, name)
        return name


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
