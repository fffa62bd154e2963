"""Checks that the tasks of a run follow each other: the same source, settings and network from one to the next."""

from pathlib import Path
from typing import Any

from emdenoise.config.schema import RunConfig
from emdenoise.errors import DataError, MissingInputError, ModelError
from emdenoise.files.atomic import hash_file
from emdenoise.results.task_record import TaskRecord, describe_settings, read_record
from emdenoise.sources import SOURCES


def check_source(config: RunConfig, downloaded: TaskRecord) -> None:
    """Check that the raw data folder holds the source of this run.

    Raises
    ------
    MissingInputError
        If another source was downloaded last.
    """
    found = downloaded.settings["data"]["source"]
    if found != config.data.source:
        raise MissingInputError(
            f"the raw data folder has source {found}, the parameters file names {config.data.source}; "
            "run the download task with this parameters file first."
        )


def check_data(config: RunConfig, data_dir: Path, *names: str, is_hashed: bool = True) -> dict[str, str]:
    """Check that the data folder was made with the data settings of this run.

    Parameters
    ----------
    config : RunConfig
    data_dir : Path
    *names : str
        Files that are needed.
    is_hashed : bool
        Whether to read them whole; of several processes that train together one does.

    Returns
    -------
    dict of str to str
        Content hash of each file, from the record of the preprocess task.

    Raises
    ------
    MissingInputError
        If a file is missing or was made with other settings.
    DataError
        If a file is not as it was written.
    """
    record = read_record(data_dir, "preprocess")
    for section in SOURCES[config.data.source].settings_sections:
        given = describe_settings(config)[section]
        other = [name for name, value in given.items() if record.settings[section].get(name) != value]
        if other:
            raise MissingInputError(
                f"the data folder was made with other settings: {section}.{other[0]} was "
                f"{record.settings[section].get(other[0])}, the parameters file has {given[other[0]]}; "
                "run download and preprocess with this parameters file first."
            )
    for name in names:
        path = data_dir / name
        if not path.is_file():
            raise MissingInputError(f"{name} is not in the data folder; run the preprocess task first.")
        # Before HDF5 sees it, which a damaged file can bring down.
        written = record.results.get("file_sha256", {}).get(name)
        if is_hashed and (found := hash_file(path)) != written:
            raise DataError(
                f"{name}: SHA-256 is {found[:12]}…, expected {str(written)[:12]}…; run the preprocess task again."
            )
    return {name: record.outputs[name] for name in names}


def check_model(config: RunConfig, description: dict[str, Any], trained: TaskRecord) -> None:
    """Check that a trained network belongs to this run; the images that it is tested on may be others.

    Parameters
    ----------
    config : RunConfig
    description : dict
        Content of ``model.json``.
    trained : TaskRecord
        Of the training.

    Raises
    ------
    ModelError
        If it has another architecture, is not the one of the record, or was trained with other settings.
    """
    given, used = describe_settings(config), trained.settings
    checks = [
        ("workload", description.get("workload"), config.workload),
        ("architecture", description.get("architecture"), given["model"]),
        ("seed", used.get("seed"), config.seed),
        *(
            (f"{section}.{name}", used.get(section, {}).get(name), value)
            for section in ("training", "pretraining")
            for name, value in given[section].items()
        ),
    ]
    for name, found, expected in checks:
        if found != expected:
            raise ModelError(
                f"model.json: {name} is {found}, the parameters file has {expected}; "
                "run the train task with this parameters file first."
            )
    if trained.outputs.get("weights") != description.get("weights_sha256"):
        raise ModelError("model.json: its weights are not those of records/train.json; run the train task again.")
