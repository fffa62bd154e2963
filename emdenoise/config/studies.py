"""Settings of a study: many runs that differ in a few settings, compared with each other."""

from itertools import product
from typing import Any, NamedTuple, Self

from pydantic import Field, model_validator

from emdenoise.config.base import Settings
from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig


class RunKey(NamedTuple):
    """Which run of a study."""

    variant: str
    condition: str
    """Which images it learns from; empty where a study names no conditions."""
    num_images: int | None
    seed: int

    @property
    def name(self) -> str:
        """Name of the folder of the run."""
        parts = [self.variant, self.condition, str(self.num_images or "all"), str(self.seed)]
        return "-".join(part for part in parts if part)


class StudyConfig(Settings):
    """All settings of one study: every variant in every condition with every number of images and every seed."""

    base: dict[str, Any]
    """Settings of every run, as in a parameters file."""
    variants: dict[str, dict[str, Any]] = Field(min_length=1)
    """What each variant changes of `base`, by name; the first one is what the others are compared with."""
    conditions: dict[str, dict[str, Any]] = Field({"": {}}, min_length=1)
    """What each set of images changes of `base`, by name: a network learns from one and is tested on all."""
    num_images: tuple[int | None, ...] = Field((None,), min_length=1)
    """Numbers of training images; null for all."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds of the runs."""
    metric: str | None = None
    """What is compared, a metric of `scores.json`; null for the main metric of the workload."""
    other_metrics: tuple[str, ...] = ()
    """Metrics that the table shows beside it."""

    @model_validator(mode="after")
    def check_names(self) -> Self:
        """Check that names can be folders and that nothing stands twice."""
        for section, names in (("variants", self.variants), ("conditions", self.conditions)):
            for name in names:
                if name and not name.replace("_", "").isalnum():
                    raise ValueError(f"{section}.{name} must be made of letters, digits and _")
        for field, values in (("seeds", self.seeds), ("num_images", self.num_images)):
            if len(set(values)) < len(values):
                raise ValueError(f"{field} names a value twice")
        return self


def list_runs(study: StudyConfig) -> dict[RunKey, RunConfig]:
    """List the settings of every run.

    Parameters
    ----------
    study : StudyConfig

    Returns
    -------
    dict of RunKey to RunConfig
        Smallest number of images first, then seeds, conditions, variants: what is compared runs next to each other.

    Raises
    ------
    SettingsError
        If the settings of a run are wrong; names the variant.
    """
    runs = {}
    for num_images in sorted(study.num_images, key=lambda number: float("inf") if number is None else number):
        for seed in study.seeds:
            own = {"seed": seed, "training": {"num_images": num_images}}
            for condition, variant in product(study.conditions, study.variants):
                values = study.base
                for changes in (study.conditions[condition], study.variants[variant], own):
                    values = _merge(values, changes)
                key = RunKey(variant, condition, num_images, seed)
                runs[key] = check_settings(values, RunConfig, f"variant {variant}")
    return runs


def _merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Put changes over settings, section by section."""
    merged = dict(settings)
    for name, value in changes.items():
        known = merged.get(name)
        merged[name] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
