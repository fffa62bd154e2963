"""Settings of a search: which settings of a parameters file may change, in which ranges, and for how long."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from emdenoise.config.base import NormalisedNetworkSettings, Settings
from emdenoise.config.loading import check_settings, put_setting
from emdenoise.config.schema import RunConfig
from emdenoise.errors import SettingsError
from emdenoise.tables import list_entries, look_up

Number = int | float
Chosen = Mapping[str, Any]
"""Values of settings, by name."""
SHARED_BY_ALL = {
    **dict.fromkeys(("workload", "division", "data", "simulation", "crystals", "evaluation"), "what is asked"),
    "seed": "a matter of luck",
    "num_processes": "how a search trains",
    "training.deterministic": "decided once for all trials of a process",
}
"""Settings and sections that all trials have in common, and why."""


class SearchedSetting(Settings):
    """The values that a search may give to one setting: a range of numbers, or choices."""

    low: Number | None = None
    """Smallest number of a range."""
    high: Number | None = None
    """Largest number of a range."""
    log: bool = False
    """Whether the logarithms of the numbers are spread evenly."""
    step: Number | None = Field(None, gt=0)
    """Numbers are low, low + step, … up to high; null for all numbers, or all whole numbers."""
    choices: tuple[Any, ...] | None = Field(None, min_length=1)
    """Values of any kind, instead of a range."""
    when: dict[str, Any] = Field({})
    """Settings with choices that stand above, each with the value for which this one is searched; else it is left."""

    @model_validator(mode="after")
    def check_range(self) -> Self:
        """Check that there is either a range or choices."""
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("has choices and a range; give one of them")
            texts = [write_choice(value) for value in self.choices]
            if len(set(texts)) < len(texts):
                raise ValueError("names a choice twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("has no values; give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"has low {self.low} and high {self.high}; low must be less than high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("has log, which needs a low above 0 and no step")
        if self.step is not None and not _is_whole((self.high - self.low) / self.step):
            raise ValueError(f"has step {self.step}; high must be low plus a multiple of it")
        return self

    def holds(self, value: Any) -> bool:
        """Tell whether a value is one of those that the search may give."""
        if self.choices is not None:
            return write_choice(value) in [write_choice(choice) for choice in self.choices]
        if self.low is None or self.high is None or isinstance(value, bool) or not isinstance(value, int | float):
            return False
        is_on_step = self.step is None or _is_whole((value - self.low) / self.step)
        return self.low <= value <= self.high and is_on_step


class SearchConfig(Settings):
    """All settings of one search."""

    parameters_file: str
    """The settings that trials begin with: a parameters file, or the name of one that ships."""
    metric: str | None = None
    """What is made better on the validation images, a metric of `scores.json`; null for that of the workload."""
    speed: bool = False
    """Whether the network shall also be fast; the search then looks for the best networks of every speed."""
    trials: int | None = Field(None, ge=1)
    """How many trials there are in the end, of all workers together; null for no limit."""
    hours: float | None = Field(None, gt=0)
    """Time after which a worker begins no trial; null for no limit [h]."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the values that are tried."""
    prune: bool = True
    """Whether a trial ends early if after an epoch it is worse than the median of the others after that epoch."""
    warmup_epochs: int = Field(1, ge=1)
    """Epochs after which no trial ends yet."""
    warmup_trials: int = Field(5, ge=1)
    """Trials that must be complete before one ends early."""
    settings: dict[str, SearchedSetting] = Field(min_length=1)
    """What is searched, by the name of the setting, as training.learning_rate."""

    @model_validator(mode="after")
    def check_together(self) -> Self:
        """Check what one field alone cannot say."""
        if self.trials is None and self.hours is None:
            raise ValueError("trials and hours are null; give one of them, or both")
        above: dict[str, SearchedSetting] = {}
        for name, setting in self.settings.items():
            for shared, reason in SHARED_BY_ALL.items():
                if name == shared or name.startswith(f"{shared}."):
                    raise ValueError(f"settings.{name} is {reason}, the same for all trials; set it in parameters_file")
            for other, value in setting.when.items():
                if other not in above or above[other].choices is None:
                    raise ValueError(f"settings.{name}.when names {other}; it must stand above it and have choices")
                if not above[other].holds(value):
                    known = ", ".join(write_choice(choice) for choice in above[other].choices or ())
                    raise ValueError(
                        f"settings.{name}.when has {other} {write_choice(value)}; it must be one of {known}"
                    )
            above[name] = setting
        return self

    def is_open(self, name: str, chosen: Chosen) -> bool:
        """Tell whether a setting is searched, given the values of those above it."""
        return all(
            other in chosen and write_choice(chosen[other]) == write_choice(value)
            for other, value in self.settings[name].when.items()
        )


def write_choice(value: Any) -> str:
    """Write a value as text, as a page shows it.

    Examples
    --------
    >>> write_choice("adam"), write_choice((8, 16)), write_choice(None)
    ('adam', '[8, 16]', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_whole(ratio: float) -> bool:
    return math.isclose(ratio, round(ratio), rel_tol=1e-9, abs_tol=1e-9)


def change_settings(base: RunConfig, chosen: Chosen, name: str) -> RunConfig:
    """Put values in the place of those that a parameters file gives.

    Of another network, the settings of `model` that not all networks have in common begin with their defaults.

    Parameters
    ----------
    base : RunConfig
        Settings of the file.
    chosen : mapping of str to Any
        Values by name, as ``training.epochs``.
    name : str
        For messages.

    Raises
    ------
    SettingsError
        Lists every problem in one line.
    """
    values = base.model_dump(mode="json", exclude_unset=True)
    network = chosen.get("model.name", base.model.name)
    if network != base.model.name and network in list_entries("networks"):
        common = set(look_up("networks", network).settings.model_fields) & set(NormalisedNetworkSettings.model_fields)
        values["model"] = {field: value for field, value in values.get("model", {}).items() if field in common}
    for setting, value in chosen.items():
        put_setting(values, setting, value)
    return check_settings(values, RunConfig, name)


def read_setting(config: RunConfig, name: str) -> Any:
    """Read a setting by its name.

    Raises
    ------
    KeyError
        If this run does not have it: one of another network, or of a section that is null.
    """
    value: Any = config.model_dump()
    for part in name.split("."):
        if not isinstance(value, dict):
            raise KeyError(name)
        value = value[part]
    return value


def list_extremes(search: SearchConfig, base: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """List the runs in which one setting after the other has each of its choices, or the ends of its range.

    Yields
    ------
    (str, RunConfig)
        The setting and the run; all others are those of the file, or what `when` asks for.

    Raises
    ------
    SettingsError
        If a name or a value is wrong; names the setting.
    """
    for name, setting in search.settings.items():
        needed = _list_needed(search, name)
        for value in setting.choices if setting.choices is not None else (setting.low, setting.high):
            given = ", ".join(f"{other} {write_choice(one)}" for other, one in {**needed, name: value}.items())
            yield name, change_settings(base, {**needed, name: value}, f"settings.{name}: with {given}")


def _list_needed(search: SearchConfig, name: str) -> dict[str, Any]:
    """List the values of other settings for which one is searched, those of the topmost first."""
    needed: dict[str, Any] = {}
    for other, value in search.settings[name].when.items():
        needed |= {**_list_needed(search, other), other: value}
    return needed


def find_whole_numbers(search: SearchConfig, base: RunConfig) -> frozenset[str]:
    """Check every setting of a search, and find those whose range holds whole numbers only.

    Raises
    ------
    SettingsError
        If a name, a value or a step is wrong; names the setting.
    """
    found = set()
    for name, config in list_extremes(search, base):
        setting = search.settings[name]
        if setting.choices is None and isinstance(read_setting(config, name), int):
            if isinstance(setting.step, float) and not setting.step.is_integer():
                raise SettingsError(f"settings.{name}.step is {setting.step}; it must be a whole number.")
            found.add(name)
    return frozenset(found)


def choose_as_the_file(search: SearchConfig, base: RunConfig) -> dict[str, Any] | None:
    """Choose the values that the parameters file itself has; None where the search may not give them all."""
    chosen: dict[str, Any] = {}
    for name, setting in search.settings.items():
        if not search.is_open(name, chosen):
            continue
        try:
            value = read_setting(base, name)
        except KeyError:
            return None
        if not setting.holds(value):
            return None
        same = [choice for choice in setting.choices or () if write_choice(choice) == write_choice(value)]
        chosen[name] = same[0] if same else value  # a list, where the file's value has become a tuple
    return chosen
