"""Submissions: runs of one system as a package that an outsider can judge.

Laid out like those of MLPerf: ``DIVISION/ORGANISATION/systems/SYSTEM.json`` and
``DIVISION/ORGANISATION/results/SYSTEM/WORKLOAD/run_N/``, and ``package.json`` with the hash of every file.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from emdenoise import __version__
from emdenoise.config.base import Settings
from emdenoise.config.choices import EntryOf
from emdenoise.errors import MissingInputError
from emdenoise.files.atomic import copy_file, hash_file, write_json
from emdenoise.results.mllog import Event, Submitter, list_events, write_log
from emdenoise.results.task_record import RECORDS_FOLDER, Sha256, TaskRecord, read_record
from emdenoise.training.targets import Target

PACKAGE_FILE, LOG_FILE, SCORES_FILE = "package.json", "result.txt", "scores.json"
TASK_NAMES = ("download", "preprocess", "train", "test")
MODEL_FILES = ("model.json", "model.weights.h5")
Text = Annotated[str, Field(min_length=1, max_length=500)]


class SystemDescription(Settings):
    """The machine and its software, in the words of MLPerf; what does not apply is empty."""

    submitter: Text
    """Organisation that hands in the result."""
    system_name: Text
    """Name of the machine."""
    status: Literal["onprem", "cloud", "preview", "research"]
    """Whether others can have such a machine."""
    number_of_nodes: int = Field(ge=1)
    """Nodes that worked together."""
    host_processors_per_node: int = Field(ge=1)
    """Sockets of a node."""
    host_processor_model_name: Text
    """Processor."""
    host_processor_core_count: int = Field(ge=1)
    """Cores of a processor."""
    host_memory_capacity: Text
    """Memory of a node, with its unit."""
    host_storage_type: str = ""
    """Storage of the data."""
    host_networking: str = ""
    """Network between nodes."""
    accelerators_per_node: int = Field(ge=0)
    """Accelerators of a node."""
    accelerator_model_name: str = ""
    """Accelerator."""
    accelerator_memory_capacity: str = ""
    """Memory of an accelerator, with its unit."""
    framework: Text
    """Name and version of the framework."""
    operating_system: Text
    """Name and version."""
    other_software_stack: str = ""
    """Drivers and libraries that matter."""
    hw_notes: str = ""
    """What else is to be said of the machine."""
    sw_notes: str = ""
    """What else is to be said of the software."""


class Package(BaseModel):
    """``package.json``: what is in a package."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    """Raised by every change of this class."""
    division: Literal["closed", "open"]
    """Of all runs."""
    workload: Annotated[str, EntryOf("workloads")]
    """Of all runs."""
    organisation: Text
    """Who hands it in."""
    system: str = Field(pattern=r"^[a-z0-9_]{1,100}$")
    """Machine, an entry of ``systems``."""
    emdenoise_version: str
    """Scores compare only within the same major.minor."""
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of the code of all runs."""
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,300}$")], Sha256]
    """SHA-256 of every file but this one, by its path."""


def name_folder(text: str) -> str:
    """Make the name of a folder of a text."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:100] or "unnamed"


def build_package(runs: Sequence[Path], system: SystemDescription, target: Target | None, folder: Path) -> Package:
    """Collect runs into a package folder.

    Parameters
    ----------
    runs : sequence of Path
        Each has ``output`` and ``model``.
    system : SystemDescription
    target : Target or None
        Of the workload; see `list_events`.
    folder : Path
        Empty.

    Returns
    -------
    Package

    Raises
    ------
    MissingInputError
        If there is no run, or one lacks a file.
    DataError
        If a record is damaged.
    StorageError
        If the folder cannot be written.
    """
    if not runs:
        raise MissingInputError("there is no run to submit; expected folders with output and model in each.")
    tests = [read_record(run / "output", "test") for run in runs]
    settings = tests[0].settings
    root = folder / settings["division"] / name_folder(system.submitter)
    name = name_folder(system.system_name)
    write_json(root / "systems" / f"{name}.json", system.model_dump(mode="json"))
    for number, run in enumerate(runs):
        place = root / "results" / name / settings["workload"] / f"run_{number}"
        _copy_run(run, place)
        train = read_record(place, "train")
        if train.results.get("history") and not train.results.get("num_continued_epochs"):
            write_log(place / LOG_FILE, make_events(train, system, target))
    package = Package(
        division=settings["division"],
        workload=settings["workload"],
        organisation=system.submitter,
        system=name,
        emdenoise_version=__version__,
        commit=tests[0].commit,
        files={
            path.relative_to(folder).as_posix(): hash_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
        },
    )
    write_json(folder / PACKAGE_FILE, package.model_dump(mode="json"))
    return package


def make_events(train: TaskRecord, system: SystemDescription, target: Target | None) -> list[Event]:
    """List the events of a training for the log of a package."""
    submitter = Submitter(system.submitter, system.system_name, system.status, system.number_of_nodes)
    return list_events(train, submitter, target=target)


def _copy_run(run: Path, place: Path) -> None:
    sources = {
        **{
            Path(RECORDS_FOLDER) / f"{task}.json": run / "output" / RECORDS_FOLDER / f"{task}.json"
            for task in TASK_NAMES
        },
        Path(SCORES_FILE): run / "output" / SCORES_FILE,
        **{Path("model") / name: run / "model" / name for name in MODEL_FILES},
    }
    for name, source in sources.items():
        if not source.is_file():
            raise MissingInputError(f"{run.name}: has no {name.name}; run all four tasks in it before the submission.")
        copy_file(source, place / name)
