"""Reading a package file by file: what cannot be read is a problem, never an error of the program."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig
from emdenoise.errors import DataError, EMDenoiseError
from emdenoise.files.atomic import hash_file
from emdenoise.results.task_record import RECORDS_FOLDER, TaskRecord
from emdenoise.tools.bounds import MAX_RUNS, list_excesses
from emdenoise.tools.figures import EnvironmentFigures, TestFigures, TrainFigures
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
MAX_DIGITS = 30
"""Of a whole number; Python would compute with more, for a while."""
RUN_FILES = {f"{RECORDS_FOLDER}/{task}.json" for task in TASK_NAMES} | {
    SCORES_FILE,
    LOG_FILE,
    *(f"model/{name}" for name in MODEL_FILES),
}
AnyModel = TypeVar("AnyModel", bound=BaseModel)


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
    folders = sorted(place.glob("run_*"))
    if len(folders) > MAX_RUNS:
        return None, [*problems, f"{len(folders)} runs; a judge tests at most {MAX_RUNS}"]
    for path in folders:
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
        content = path.read_text(encoding="utf-8")
        parse_json(content)
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise DataError(f"{path.name}: {_describe(error)}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} is no JSON: {str(error)[:200]}") from error


def parse_json(text: str) -> Any:
    """Parse JSON that every program reads in the same way.

    Raises
    ------
    ValueError
        If it is no JSON, a name stands twice in an object, so that some programs take the first value and some the
        last, or a number has more digits than anything here can have.
    RecursionError
        If it is nested without end.
    """
    return json.loads(text, object_pairs_hook=_make_object, parse_int=_parse_int)


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"{name} stands twice")
        content[name] = value
    return content


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


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
    for task, record in records.items():
        try:
            EnvironmentFigures.model_validate(record.environment)
        except ValidationError as error:
            raise DataError(f"{task}.json: environment.{_describe(error)}") from error
    config = check_settings(records["test"].settings, RunConfig, "the settings of its records")
    excesses = list(list_excesses(config, len(set(records["test"].results["specimens"]))))
    if excesses:
        raise DataError("; ".join(excesses))
    if (folder / LOG_FILE).exists() and (folder / LOG_FILE).stat().st_size > MAX_JSON_BYTES:
        raise DataError(f"{LOG_FILE} is too large")
    path = folder / SCORES_FILE
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{SCORES_FILE} is too large")
        scores = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{SCORES_FILE} cannot be read: {str(error)[:200]}") from error
    methods = scores.get("methods") if isinstance(scores, dict) else None
    if not isinstance(methods, dict) or not all(isinstance(method, dict) for method in methods.values()):
        raise DataError(f"{SCORES_FILE} has no scores of methods")
    return SubmittedRun(folder.name, folder, config, records, scores)
