"""EMDenoise: a benchmark of learned restoration and segmentation of electron micrographs."""

__version__ = "0.2.0"

from collections.abc import Mapping
from typing import Any

from emdenoise.tables import FINDERS


def _find_fields() -> Mapping[str, Any]:
    from emdenoise.dataset.fields import FIELDS

    return FIELDS


def _find_sources() -> Mapping[str, Any]:
    from emdenoise.sources import SOURCES

    return SOURCES


def _find_networks() -> Mapping[str, Any]:
    from emdenoise.models import MODELS

    return MODELS


def _find_objectives() -> Mapping[str, Any]:
    from emdenoise.training.objectives import OBJECTIVES

    return OBJECTIVES


def _find_metrics() -> Mapping[str, Any]:
    from emdenoise.evaluation.metrics import METRICS

    return METRICS


def _find_baselines() -> Mapping[str, Any]:
    from emdenoise.evaluation.baselines import BASELINES

    return BASELINES


def _find_workloads() -> Mapping[str, Any]:
    from emdenoise.workloads import WORKLOADS

    return WORKLOADS


FINDERS.update(
    fields=_find_fields,
    sources=_find_sources,
    networks=_find_networks,
    objectives=_find_objectives,
    metrics=_find_metrics,
    baselines=_find_baselines,
    workloads=_find_workloads,
)
