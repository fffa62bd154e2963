"""WORKLOADS: the problems of the benchmark by name. A new one is a module of its own and a line here."""

from emdenoise.workloads.contract import Workload
from emdenoise.workloads.denoise import DENOISE
from emdenoise.workloads.segment import SEGMENT

WORKLOADS: dict[str, Workload] = {
    "denoise": DENOISE,
    "segment": SEGMENT,
}
