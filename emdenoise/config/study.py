"""Settings of a study: many runs that differ in a few settings, compared with each other."""

from typing import Any, Self

from pydantic import Field, model_validator

from emdenoise.config.architectures import Settings
from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig


class StudyConfig(Settings):
    """All settings of one study: every variant with every number of images and every seed."""

    base: dict[str, Any]
    """Settings of every run, as in a parameters file."""
    variants: dict[str, dict[str, Any]] = Field(min_length=1)
    """What each variant changes of `base`, by name; the first one is what the others are compared with."""
    num_images: tuple[int | None, ...] = Field((None,), min_length=1)
    """Numbers of training images; null for all."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds of the runs."""
    metric: str = "dice"
    """What is compared, a metric of `scores.json`; larger is better."""

    @model_validator(mode="after")
    def check_names(self) -> Self:
        """Check that names can be folders and that nothing stands twice."""
        for name in self.variants:
            if not name.replace("_", "").isalnum():
                raise ValueError(f"variants.{name} must be made of letters, digits and _")
        for field, values in (("seeds", self.seeds), ("num_images", self.num_images)):
            if len(set(values)) < len(values):
                raise ValueError(f"{field} names a value twice")
        return self


def list_runs(study: StudyConfig) -> dict[tuple[str, int | None, int], RunConfig]:
    """List the settings of every run.

    Parameters
    ----------
    study : StudyConfig

    Returns
    -------
    dict of (variant, number of images, seed) to RunConfig
        Smallest number of images first, then seeds, then variants: what is compared runs next to each other.

    Raises
    ------
    SettingsError
        If the settings of a run are wrong; names the variant.
    """
    runs = {}
    for num_images in sorted(study.num_images, key=lambda number: float("inf") if number is None else number):
        for seed in study.seeds:
            for variant, changes in study.variants.items():
                values = _merge(_merge(study.base, changes), {"seed": seed, "training": {"num_images": num_images}})
                runs[variant, num_images, seed] = check_settings(values, RunConfig, f"variant {variant}")
    return runs


def _merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Put changes over settings, section by section."""
    merged = dict(settings)
    for name, value in changes.items():
        known = merged.get(name)
        merged[name] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
