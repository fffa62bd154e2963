"""EMDenoise: a benchmark of learned restoration and segmentation of electron micrographs.

This is the Python interface. It prints nothing; what goes wrong raises an exception of `emdenoise.errors` with a
message of one line. `import emdenoise` is fast: what a function needs is imported at its first call.

Examples
--------
>>> import emdenoise
>>> network = emdenoise.load_network("workspace/model")
>>> network.denoise("scan.tif").shape
(40, 30)
>>> (record,) = emdenoise.simulate("graphene", num_images=1, image_size_px=64)
>>> restored, clean = network.denoise(record), record.images["clean"]
>>> emdenoise.metrics.psnr(restored[None], clean[None], data_range=1.0).shape
(1,)
"""

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emdenoise.tables import FINDERS

if TYPE_CHECKING:
    from emdenoise import errors
    from emdenoise.dataset.record import Record
    from emdenoise.evaluation import metrics
    from emdenoise.files.formats import Micrograph
    from emdenoise.tools.micrographs import read_micrograph, read_micrographs
    from emdenoise.tools.networks import denoise, load_network, segment
    from emdenoise.tools.restoration import TrainedNetwork
    from emdenoise.tools.simulated import simulate

__version__ = "0.3.0"
__all__ = [
    "Micrograph",
    "Record",
    "TrainedNetwork",
    "denoise",
    "errors",
    "load_network",
    "metrics",
    "read_micrograph",
    "read_micrographs",
    "segment",
    "simulate",
]

# TensorFlow takes the convolutions of oneDNN by itself on some processors only; on others, the closed network learns at
# a third of the speed without them. It is read when TensorFlow is loaded; who sets it otherwise is left alone.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_PLACES = {
    "Micrograph": "emdenoise.files.formats",
    "Record": "emdenoise.dataset.record",
    "TrainedNetwork": "emdenoise.tools.restoration",
    "denoise": "emdenoise.tools.networks",
    "load_network": "emdenoise.tools.networks",
    "read_micrograph": "emdenoise.tools.micrographs",
    "read_micrographs": "emdenoise.tools.micrographs",
    "segment": "emdenoise.tools.networks",
    "simulate": "emdenoise.tools.simulated",
}
"""In which module a name is defined, which is imported when the name is used."""
_MODULES = {"errors": "emdenoise.errors", "metrics": "emdenoise.evaluation.metrics"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'emdenoise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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
