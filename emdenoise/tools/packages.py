"""Reading a package file by file: what cannot be read is a problem, never an error of the program."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig
from emdenoise.errors import DataError, EMDenoiseError
from emdenoise.evaluation.conditions import CONDITIONS
from emdenoise.files.atomic import hash_file
from emdenoise.results.task_record import RECORDS_FOLDER, TaskRecord
from emdenoise.tools.packing import (
    LOG_FILE,
    MODEL_FILES,
    PACKAGE_FILE,
    SCORES_FILE,
    TASK_NAMES,
    Package,
    SystemDescription,
    name_folder,
)

MAX_JSON_BYTES = 20_000_000
MAX_IMAGES, MAX_RESAMPLES = 20_000, 20_000
"""Of a test, and of its bootstrap: more would keep a judge busy for nothing."""
MAX_CLASSES = 100
RUN_FILES = {f"{RECORDS_FOLDER}/{task}.json" for task in TASK_NAMES} | {
    SCORES_FILE,
    LOG_FILE,
    *(f"model/{name}" for name in MODEL_FILES),
}
AnyModel = TypeVar("AnyModel", bound=BaseModel)


class EpochFigures(BaseModel):
    """What is judged of an epoch in the history of a training."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    epoch: int
    started_at_ms: int = Field(ge=0, lt=10**14)
    train_s: float = Field(ge=0)
    validation_s: float = Field(ge=0)
    validation_loss: float
    images_per_second: float
    num_images: int = Field(ge=1)


class TrainFigures(BaseModel):
    """What is judged of the results of a training."""

    model_config = ConfigDict(extra="allow")

    history: list[EpochFigures]
    num_validation_images: int = Field(ge=1)
    num_continued_epochs: int = 0


class TestFigures(BaseModel):
    """What is judged of the results of a test."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)

    per_image: dict[str, dict[str, list[float | None]]]
    specimens: list[str] = Field(min_length=1, max_length=MAX_IMAGES)
    doses_e_per_angstrom2: list[PositiveFloat] | None = None
    classes: list[str] | None = None

    @model_validator(mode="after")
    def check_conditions(self) -> Self:
        """Check that each image has its conditions, and that there are no more classes than a judge averages."""
        for name in CONDITIONS:
            values = getattr(self, name)
            if values is not None and len(values) != len(self.specimens):
                raise ValueError(f"{name} has {len(values)} images of {len(self.specimens)}")
        if len(set(self.classes or ())) > MAX_CLASSES:
            raise ValueError(f"more than {MAX_CLASSES} classes")
        return self


@dataclass(frozen=True)
class SubmittedRun:
    """One run of a package.

    Attributes
    ----------
    name : str
    folder : Path
    config : RunConfig
        The settings that its records name, checked.
    records : dict of str to TaskRecord
        By task.
    scores : dict
        Content of ``scores.json``.
    """

    name: str
    folder: Path
    config: RunConfig
    records: dict[str, TaskRecord]
    scores: dict[str, Any]


@dataclass(frozen=True)
class Submission:
    """A package whose files could be read.

    Attributes
    ----------
    package : Package
    system : SystemDescription
    runs : list of SubmittedRun
    """

    package: Package
    system: SystemDescription
    runs: list[SubmittedRun]


def read_submission(folder: Path) -> tuple[Submission | None, list[str]]:
    """Read a package, file by file.

    Parameters
    ----------
    folder : Path
        The unpacked package.

    Returns
    -------
    Submission or None, list of str
        None where nothing can be judged; and the problems so far.
    """
    try:
        package = _read_json(folder / PACKAGE_FILE, Package)
    except DataError as error:
        return None, [str(error)]
    problems = list(_check_files(folder, package))
    root = folder / package.division / name_folder(package.organisation)
    try:
        system = _read_json(root / "systems" / f"{package.system}.json", SystemDescription)
    except DataError as error:
        return None, [*problems, str(error)]
    place = root / "results" / package.system / package.workload
    runs = []
    for path in sorted(place.glob("run_*")):
        try:
            runs.append(_read_run(path))
        except EMDenoiseError as error:
            problems.append(f"{path.name}: {error}")
    expected = {PACKAGE_FILE, f"{root.relative_to(folder)}/systems/{package.system}.json"}
    expected |= {f"{path.relative_to(folder)}/{name}" for path in place.glob("run_*") for name in RUN_FILES}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    problems += [f"{name} does not belong into a package" for name in sorted(found - expected)]
    return Submission(package, system, runs), problems


def _read_json(path: Path, kind: type[AnyModel]) -> AnyModel:
    if not path.is_file():
        raise DataError(f"{path.name} is missing")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise DataError(f"{path.name} is {path.stat().st_size:,} bytes; at most {MAX_JSON_BYTES:,} are allowed")
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path.name}: {_describe(error)}") from error


def _describe(error: ValidationError) -> str:
    """Say where the first problem is, and what."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _check_files(folder: Path, package: Package) -> Iterator[str]:
    for name, digest in package.files.items():
        path = folder / name
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            yield f"{name} is missing"
        elif hash_file(path) != digest:
            yield f"{name} is not the file that package.json names"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(found - {PACKAGE_FILE} - set(package.files)):
        yield f"{name} is not named in package.json"


def _read_run(folder: Path) -> SubmittedRun:
    records = {task: _read_json(folder / RECORDS_FOLDER / f"{task}.json", TaskRecord) for task in TASK_NAMES}
    for task, kind in (("train", TrainFigures), ("test", TestFigures)):
        try:
            kind.model_validate(records[task].results)
        except ValidationError as error:
            raise DataError(f"{task}.json: results.{_describe(error)}") from error
    config = check_settings(records["test"].settings, RunConfig, "the settings of its records")
    if config.evaluation.num_resamples > MAX_RESAMPLES or config.simulation.num_train > MAX_IMAGES:
        raise DataError("asks for more images or resamples than a judge makes")
    if (folder / LOG_FILE).exists() and (folder / LOG_FILE).stat().st_size > MAX_JSON_BYTES:
        raise DataError(f"{LOG_FILE} is too large")
    path = folder / SCORES_FILE
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{SCORES_FILE} is too large")
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{SCORES_FILE} cannot be read") from error
    methods = scores.get("methods") if isinstance(scores, dict) else None
    if not isinstance(methods, dict) or not all(isinstance(method, dict) for method in methods.values()):
        raise DataError(f"{SCORES_FILE} has no scores of methods")
    return SubmittedRun(folder.name, folder, config, records, scores)
