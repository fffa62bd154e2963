"""From any source to the canonical files: one per split, plus the Croissant description."""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.croissant import write_croissant
from emdenoise.dataset.record import SPLITS, Record, Source, Split
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.errors import DataError
from emdenoise.files.atomic import hash_file
from emdenoise.progress import Progress


def preprocess_source(
    source: Source, config: RunConfig, raw_dir: Path, data_dir: Path, progress: Progress
) -> tuple[dict[str, str], dict[str, str]]:
    """Write ``train.h5``, ``validation.h5``, ``test.h5`` and ``croissant.json``.

    Parameters
    ----------
    source : Source
        Of the images.
    config : RunConfig
    raw_dir : Path
        What the download task made.
    data_dir : Path
    progress : Progress

    Returns
    -------
    content_sha256, file_sha256 : dict of str to str
        SHA-256 of the content and of the bytes of each HDF5 file, by its name.

    Raises
    ------
    MissingInputError
        If the source was not downloaded.
    DataError
        If an image is damaged or a specimen is in two splits.
    StorageError
        If the folder cannot be written.
    """
    label_names = source.label_names(config)
    attributes: dict[str, str | float] = {
        "source": config.data.source,
        "licence": source.licence,
        "mask_labels": json.dumps(label_names),
        "class_names": json.dumps(source.class_names(config)),
    }
    split_of_specimen: dict[str, Split] = {}
    records_of_split = source.read(config, raw_dir)
    for split in SPLITS:
        num_images = write_records(
            data_dir / f"{split}.h5",
            _check_labels(_watch_specimens(records_of_split[split], split, split_of_specimen), label_names),
            attributes=attributes,
            on_record=partial(_show, progress, split),
        )
        progress.say(f"{split}: {num_images} images")
    write_croissant(data_dir, config.data.source, source)
    return _hash_files(data_dir, [f"{split}.h5" for split in SPLITS])


def _hash_files(data_dir: Path, names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Hash contents and bytes side by side: both take as long as writing the files did."""
    contents = {}
    with ThreadPoolExecutor(1) as pool:
        file_hashes = pool.map(hash_file, [data_dir / name for name in names])
        for name in names:
            with RecordFile(data_dir / name) as records:
                contents[name] = records.hash_content()
        return contents, dict(zip(names, file_hashes, strict=True))


def _show(progress: Progress, split: Split, num_done: int) -> None:
    progress.step(f"preprocess {split}", num_done, 0)


def _watch_specimens(records: Iterable[Record], split: Split, split_of_specimen: dict[str, Split]) -> Iterator[Record]:
    """Pass records on; refuse a specimen that another split has."""
    for record in records:
        other = split_of_specimen.setdefault(record.specimen, split)
        if other != split:
            raise DataError(
                f"{record.name}: its specimen {record.specimen!r} is in {other} and in {split}; "
                "a specimen must be in one split only."
            )
        yield record


def _check_labels(records: Iterable[Record], label_names: Sequence[str]) -> Iterator[Record]:
    """Pass records on; refuse a mask with a label that has no name."""
    for record in records:
        mask = record.images.get("mask")
        if mask is not None and (largest := int(mask.max())) >= len(label_names):
            known = ", ".join(f"{value} {name}" for value, name in enumerate(label_names))
            raise DataError(
                f"{record.name}: its mask has the label {largest}; the known labels are {known}; "
                "name all labels in data.mask_labels, or write the masks with these numbers."
            )
        yield record
