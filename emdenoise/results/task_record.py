"""The record of a task: everything that is needed to judge and to repeat it, as one JSON file.

Records travel with the data: each task copies those of the tasks before it beside its own, so that
``output/records/`` has all four in the end. Reports are made from records alone.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emdenoise import __version__
from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig
from emdenoise.errors import DataError, MissingInputError, explain_os_errors
from emdenoise.files.atomic import copy_file, write_json
from emdenoise.results.environment import describe_code, describe_environment

RECORDS_FOLDER = "records"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TaskRecord(BaseModel):
    """What one task did. `schema.json` beside this module is made from this class."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[3] = 3
    """Raised by every change of this class, and of the settings; before 3 pretraining had all settings of training."""
    task: Literal["download", "preprocess", "train", "test"]
    """Which task."""
    emdenoise_version: str
    """Scores compare only within the same major.minor."""
    commit: str
    """Commit of the code, or ``unknown``."""
    is_dirty: bool
    """Whether files differed from the commit."""
    settings: dict[str, Any]
    """All settings of the run with their defaults."""
    settings_sha256: Sha256
    """Hash of the settings in canonical JSON."""
    inputs: dict[str, Sha256]
    """Hashes of what was read, by name."""
    outputs: dict[str, Sha256]
    """Hashes of what was made, by name."""
    started_at: str
    """UTC, ISO 8601."""
    duration_s: float = Field(ge=0)
    """Wall time of the task without the start of the interpreter [s]."""
    phases_s: dict[str, float]
    """Wall time of its parts [s]."""
    environment: dict[str, Any]
    """Machine and software."""
    results: dict[str, Any]
    """What the task found: history of a training, scores per image of a test."""
    record_sha256: Sha256 | None = None
    """Hash of all the rest in canonical JSON, which shows damage to the file."""


class TaskRecorder:
    """Collects the record of a running task.

    Parameters
    ----------
    task : str
    config : RunConfig
    """

    def __init__(self, task: Literal["download", "preprocess", "train", "test"], config: RunConfig) -> None:
        self._task, self._config = task, config
        self._started_at, self._started = datetime.now(UTC), time.perf_counter()
        self._phases_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the task."""
        started = time.perf_counter()
        yield
        self._phases_s[name] = round(time.perf_counter() - started, 3)

    def describe(
        self,
        inputs: dict[str, str],
        outputs: dict[str, str],
        results: dict[str, Any] | None = None,
        accelerators: list[str] | None = None,
    ) -> TaskRecord:
        """Make the record of the task, as it ends now.

        Parameters
        ----------
        inputs, outputs : dict of str to str
            SHA-256 of what was read and made, by name.
        results : dict or None
            What the task found; JSON values.
        accelerators : list of str or None
            Model names, from the backend.

        Returns
        -------
        TaskRecord
        """
        commit, is_dirty = describe_code()
        record = TaskRecord(
            task=self._task,
            emdenoise_version=__version__,
            commit=commit,
            is_dirty=is_dirty,
            settings=describe_settings(self._config),
            settings_sha256=hash_settings(self._config),
            inputs=inputs,
            outputs=outputs,
            started_at=self._started_at.isoformat(timespec="milliseconds"),
            duration_s=round(time.perf_counter() - self._started, 3),
            phases_s=self._phases_s,
            environment=describe_environment(accelerators or []),
            results=results or {},
        )
        content = record.model_dump(mode="json", exclude={"record_sha256"})
        return record.model_copy(update={"record_sha256": _hash_content(content)})

    def finish(self, folder: Path, *facts: Any) -> TaskRecord:
        """Make the record of the task, given what `describe` takes, and write it; raises like `write_record`."""
        record = self.describe(*facts)
        write_record(folder, record)
        return record


def write_record(folder: Path, record: TaskRecord) -> None:
    """Write a record to ``records/TASK.json`` in a folder, after everything that it vouches for.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    write_json(folder / RECORDS_FOLDER / f"{record.task}.json", record.model_dump(mode="json"))


def describe_settings(config: RunConfig) -> dict[str, Any]:
    """Give all settings as JSON values, without the absolute path of a mirror on this machine."""
    settings = config.model_dump(mode="json")
    mirror = config.data.mirror
    if mirror is not None and mirror.startswith(("/", "~", "file://")):
        settings["data"]["mirror"] = f"{Path(mirror).name} (path {hashlib.sha256(mirror.encode()).hexdigest()[:12]})"
    return settings


def read_record(folder: Path, task: str) -> TaskRecord:
    """Read and check the record of a task in a folder.

    Raises
    ------
    MissingInputError
        If there is none.
    DataError
        If it is damaged or of another schema version.
    """
    path = folder / RECORDS_FOLDER / f"{task}.json"
    if not path.is_file():
        raise MissingInputError(f"{RECORDS_FOLDER}/{task}.json is missing; run the {task} task first.")
    try:
        content = path.read_text(encoding="utf-8")
        record = TaskRecord.model_validate_json(content)
        values = json.loads(content)
    except (ValidationError, ValueError, RecursionError) as error:
        raise DataError(f"{task}.json: damaged, or of another version; run the {task} task again.") from error
    written = values.pop("record_sha256", None)
    if record.task != task or (written is not None and written != _hash_content(values)):
        raise DataError(f"{task}.json: not as it was written; run the {task} task again.")
    return record


def _hash_content(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def forget_record(folder: Path, task: str) -> None:
    """Remove the record of a task, before its outputs are replaced one by one: a failed run is then no run.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    path = folder / RECORDS_FOLDER / f"{task}.json"
    with explain_os_errors(path):
        path.unlink(missing_ok=True)


def copy_records(source: Path, destination: Path) -> None:
    """Copy the records of earlier tasks from one folder to another."""
    for path in sorted((source / RECORDS_FOLDER).glob("*.json")):
        copy_file(path, destination / RECORDS_FOLDER / path.name)
