"""The Croissant description of the canonical files (https://docs.mlcommons.org/croissant), for other people's tools."""

import json
import logging
from pathlib import Path

import mlcroissant
import numpy as np

from emdenoise import __version__
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record import SPLITS, Source
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import DataError
from emdenoise.files.atomic import hash_file, write_json

CROISSANT_FILE = "croissant.json"
HOME_PAGE = "https://github.com/mlcommons/mlcube_examples/tree/master/emdenoise"
DATA_TYPES = {
    "b": mlcroissant.DataType.BOOL,
    "u": mlcroissant.DataType.INTEGER,
    "i": mlcroissant.DataType.INTEGER,
    "f": mlcroissant.DataType.FLOAT,
    "c": mlcroissant.DataType.TEXT,
}
"""By the kind of a NumPy type; Croissant has no complex numbers."""


def write_croissant(data_dir: Path, name: str, source: Source) -> None:
    """Describe the files of all splits: content, hashes, shapes, licence.

    Parameters
    ----------
    data_dir : Path
        Holds ``train.h5``, ``validation.h5`` and ``test.h5``; ``croissant.json`` appears beside them.
    name : str
        Name of the source.
    source : Source

    Raises
    ------
    DataError
        If the description is not valid Croissant.
    """
    files, record_sets = [], []
    for split in SPLITS:
        path = data_dir / f"{split}.h5"
        files.append(
            mlcroissant.FileObject(
                id=path.name,
                name=path.name,
                content_url=path.name,
                content_size=f"{path.stat().st_size} B",
                encoding_formats=["application/x-hdf5"],
                sha256=hash_file(path),
            )
        )
        with RecordFile(path) as records:
            fields = [
                mlcroissant.Field(
                    id=f"{split}/{field}",
                    name=field,
                    description=f"{spec.meaning} One image per record, {records.image_shape} px.",
                    data_types=DATA_TYPES[np.dtype(spec.dtype).kind],
                    source=mlcroissant.Source(
                        file_object=path.name, extract=mlcroissant.Extract(file_property="content")
                    ),
                )
                for field, spec in FIELDS.items()
                if field in records
            ]
            description = f"{len(records)} images of the {split} split"
        record_sets.append(mlcroissant.RecordSet(id=split, name=split, description=description, fields=fields))
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        metadata = mlcroissant.Metadata(
            name=f"emdenoise-{name}",
            description=source.description,
            license=[source.licence],
            cite_as=source.citation,
            version=__version__,
            url=HOME_PAGE,
            distribution=files,
            record_sets=record_sets,
        )
        content = metadata.to_json()
    except mlcroissant.ValidationError as error:
        raise DataError(f"{CROISSANT_FILE}: {error}; this is a fault of the source's description.") from error
    write_json(data_dir / CROISSANT_FILE, json.loads(json.dumps(content, default=str)))
