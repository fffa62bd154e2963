"""Results as RO-Crates: what was done, by which program, from what to what, in the words of Process Run Crate 0.5.

Made from the records alone. The content hashes of images and weights are identifiers here and not checksums of files,
since they do not depend on the layout that HDF5 gives a file.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.croissant import HOME_PAGE
from emdenoise.errors import DataError, MissingInputError
from emdenoise.files.atomic import hash_file
from emdenoise.results.task_record import RECORDS_FOLDER, TaskRecord, read_record
from emdenoise.sources import SOURCES
from emdenoise.tools.packing import SCORES_FILE, TASK_NAMES

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate


def write_crate(result_dir: Path, folder: Path) -> None:
    """Write records and scores of a result as an RO-Crate, which is a result folder still.

    Parameters
    ----------
    result_dir : Path
        Folder with ``records`` of all tasks and ``scores.json``.
    folder : Path
        Empty.

    Raises
    ------
    MissingInputError, DataError, SettingsError
        If a record or the scores are missing, damaged or of another version.
    """
    from rocrate.rocrate import ROCrate

    records = [read_record(result_dir, task) for task in TASK_NAMES]
    if not (result_dir / SCORES_FILE).is_file():
        raise MissingInputError(f"{SCORES_FILE} is missing; run the test task first.")
    config = check_settings(records[-1].settings, RunConfig, "the settings of its records")
    source, crate = SOURCES[config.data.source], ROCrate(version="1.1")
    crate.metadata.extra_terms["sha256"] = "https://w3id.org/ro/terms/workflow-run#sha256"
    crate.name = f"EMDenoise {records[-1].emdenoise_version}: result of workload {config.workload}"
    crate.description = f"Records and scores of a run in the {config.division} division. {source.description}"
    crate.license = _add(crate, source.licence, "CreativeWork", name="licence of the images")
    crate.datePublished = _find_end(records[-1])
    profile = _add(crate, "https://w3id.org/ro/wfrun/process/0.5", "CreativeWork", name="Process Run Crate")
    crate.root_dataset["conformsTo"] = profile
    crate.root_dataset["mentions"] = [_add_action(crate, record, result_dir) for record in records]
    crate.write(folder)


def _add_action(crate: "ROCrate", record: TaskRecord, result_dir: Path) -> Any:
    commit = f"{record.commit}-with-changes" if record.is_dirty else record.commit
    program = {"name": "EMDenoise", "url": HOME_PAGE, "softwareVersion": record.emdenoise_version, "identifier": commit}
    names = [f"{RECORDS_FOLDER}/{record.task}.json", *([SCORES_FILE] if record.task == "test" else [])]
    files = [_add_file(crate, name, result_dir / name) for name in names]
    about = {"name": record.task, "description": f"Task {record.task}, with the settings in its record."}
    return crate.add_action(
        _add(crate, f"{HOME_PAGE}#{commit}", "SoftwareApplication", **program),
        identifier=f"#{record.task}",
        object=[_add_content(crate, name, digest) for name, digest in record.inputs.items()],
        result=[_add_content(crate, name, digest) for name, digest in record.outputs.items()] + files,
        properties=about | {"startTime": record.started_at, "endTime": _find_end(record)},
    )


def _add_file(crate: "ROCrate", name: str, path: Path) -> Any:
    properties = {"name": name, "encodingFormat": "application/json", "sha256": hash_file(path)}
    return crate.add_file(path, name, properties=properties)


def _add_content(crate: "ROCrate", name: str, digest: str) -> Any:
    return _add(crate, f"#{digest}", "CreativeWork", name=name, identifier=f"sha256:{digest}")


def _add(crate: "ROCrate", identity: str, kind: str, **properties: str) -> Any:
    return crate.dereference(identity) or crate.add_jsonld({"@id": identity, "@type": kind, **properties})


def _find_end(record: TaskRecord) -> str:
    try:
        end = datetime.fromisoformat(record.started_at) + timedelta(seconds=record.duration_s)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{record.task}.json: started_at is {record.started_at}; expected ISO 8601.") from error
    return end.isoformat(timespec="milliseconds")
