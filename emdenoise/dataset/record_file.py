"""Records in HDF5: the canonical file that train and test read, and its content hash.

Layout of a file: one data set per field with the image index first, chunked by image; ragged atoms as one list with
offsets; ``attributes/NAME`` holds one number per image. Files appear whole or not at all.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Sample, describe
from emdenoise.dataset.blocks import Blocks
from emdenoise.dataset.direct_reading import find_chunks, read_chunks
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record import Record
from emdenoise.dataset.tiles import assemble_tiles
from emdenoise.errors import DataError, MissingInputError
from emdenoise.files.atomic import write_atomically
from emdenoise.files.full_disk import create_hdf5

SCHEMA_VERSION = 1
GROWTH = 64
"""Images that room is made for at a time; HDF5 puts nothing on the disk for it."""


def write_records(
    path: Path,
    records: Iterable[Record],
    *,
    attributes: dict[str, str | float],
    on_record: Callable[[int], None] = lambda num_done: None,
) -> int:
    """Write records to one HDF5 file.

    Parameters
    ----------
    path : Path
    records : iterable of Record
        At least one; all with the same fields and the same image shape.
    attributes : dict
        Attributes of the whole file.
    on_record : callable
        Called with the number of records written so far.

    Returns
    -------
    int
        Number of records.

    Raises
    ------
    DataError
        If there is no record, or one has other fields or another shape than the first.
    StorageError
        If the file cannot be written.
    """
    with write_atomically(path) as partial, create_hdf5(partial) as (file, raw):
        file.attrs.update({"schema_version": SCHEMA_VERSION, **attributes})
        atoms, specimens, names, classes = [], [], [], []
        columns: dict[str, list[float]] = {}
        datasets: dict[str, h5py.Dataset] = {}
        for index, record in enumerate(records):
            fields = record.images
            if index == 0:
                datasets = _create_image_fields(file, fields)
                columns = {name: [] for name in sorted(record.attributes)}  # as they are read
            _check_like_first(datasets, fields, record, set(columns))
            for name, image in fields.items():
                if index % GROWTH == 0:
                    datasets[name].resize(index + GROWTH, axis=0)
                datasets[name][index] = image
            for name, value in record.attributes.items():
                columns[name].append(value)
            atoms.append(record.atoms)
            specimens.append(record.specimen)
            names.append(record.name)
            classes.append(record.class_id)
            raw.check()
            on_record(index + 1)
        if not names:
            raise DataError(f"{path.name}: the source has no images for it; expected at least one.")
        for dataset in datasets.values():
            dataset.resize(len(names), axis=0)
        file["specimen"] = np.array(specimens, dtype=h5py.string_dtype())
        file["name"] = np.array(names, dtype=h5py.string_dtype())
        file["class_id"] = np.array(classes, np.int32)
        known_atoms = [positions for positions in atoms if positions is not None]
        if len(known_atoms) == len(names):
            file["atoms"] = np.concatenate(known_atoms)
            file["atom_offsets"] = np.cumsum([0, *map(len, known_atoms)], dtype=np.int64)
        for name, values in columns.items():
            file[f"attributes/{name}"] = np.array(values, np.float64)
    return len(names)


def _create_image_fields(file: h5py.File, fields: dict[str, npt.NDArray[np.generic]]) -> dict[str, h5py.Dataset]:
    return {
        name: file.create_dataset(
            name, (0, *image.shape), FIELDS[name].dtype, maxshape=(None, *image.shape), chunks=(1, *image.shape)
        )
        for name, image in fields.items()
    }


def _check_like_first(
    datasets: dict[str, h5py.Dataset], fields: dict[str, npt.NDArray[np.generic]], record: Record, columns: set[str]
) -> None:
    if set(fields) != set(datasets) or set(record.attributes) != columns:
        raise DataError(
            f"{record.name}: has {', '.join(sorted(fields))}, the images before it {', '.join(sorted(datasets))}; "
            "all images of a source must have the same fields."
        )
    for name, image in fields.items():
        if image.shape != datasets[name].shape[1:]:
            raise DataError(f"{record.name}: {name} is {describe(image)}, expected shape {datasets[name].shape[1:]}.")


class _Place(NamedTuple):
    """Shape and type of the images of a field, and where they begin in the file [bytes], as `find_chunks` says it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offsets: npt.NDArray[np.int64] | None


class RecordFile:
    """A canonical file, read image by image; memory does not grow with its size.

    Parameters
    ----------
    path : Path

    Raises
    ------
    MissingInputError
        If there is no such file.
    DataError
        If it is damaged or not of this layout.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingInputError(f"{path.name} is not in the data folder; run the preprocess task first.")
        self.name = path.name
        try:
            self._file = h5py.File(path, "r")
            version = int(self._file.attrs["schema_version"])
            num_images = len(self._file["noisy"])
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{path.name}: damaged or not a file of the preprocess task; run that task again."
            ) from error
        if version != SCHEMA_VERSION:
            raise DataError(f"{path.name}: schema version {version}, expected {SCHEMA_VERSION}; run preprocess again.")
        self.num_images = num_images
        self._places: dict[str, _Place] = {}
        self._blocks = Blocks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self.num_images

    def __contains__(self, field: str) -> bool:
        return field in self._file

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width of every image [px]."""
        shape: tuple[int, int] = self._file["noisy"].shape[1:]
        return shape

    def read(self, field: str, indices: npt.ArrayLike | slice = slice(None)) -> npt.NDArray[Any]:
        """Read one field of some images.

        Parameters
        ----------
        field : str
            Entry of `FIELDS`, or ``class_id``.
        indices : array_like of int, or slice
            Which images, in any order.

        Returns
        -------
        ndarray, shape (num_images, height, width), or (num_images,) for ``class_id``

        Raises
        ------
        DataError
            If the file lacks the field or cannot be read.
        """
        try:
            place = self._find_place(field)
            if place.offsets is not None:
                chosen = place.offsets[indices if isinstance(indices, slice) else np.asarray(indices, np.intp)]
                images = self._blocks.make_empty((len(chosen), *place.shape), place.dtype)
                read_chunks(self._file, chosen, images)
                return images
            dataset = self._file[field]
            if isinstance(indices, slice):
                values: npt.NDArray[Any] = dataset[indices]
                return values
            images = np.empty((len(np.asarray(indices)), *place.shape), place.dtype)
            for position, index in enumerate(np.asarray(indices)):
                images[position] = dataset[int(index)]  # h5py has a fast way for this, and for nothing else
        except OSError as error:
            raise DataError(f"{self.name}: {field} is damaged; run the preprocess task again.") from error
        return images

    def _find_place(self, field: str) -> _Place:
        """Find where the images of a field lie; HDF5 is asked once."""
        if field not in self._places:
            if field not in self._file:
                raise DataError(
                    f"{self.name}: has no {field} images; choose a source that has them "
                    "(or data.added_noise_electrons_per_pixel) and run preprocess again."
                )
            dataset = self._file[field]
            self._places[field] = _Place(dataset.shape[1:], dataset.dtype, find_chunks(dataset))
        return self._places[field]

    def read_sample(self, fields: Iterable[str], indices: npt.ArrayLike | slice) -> Sample:
        """Read several fields of some images, each with its channels; raises as `read`."""
        return {name: FIELDS[name].to_sample(self.read(name, indices)) for name in fields}

    def read_whole_sample(self, fields: Iterable[str], whole_images: Sequence[npt.NDArray[np.intp]]) -> Sample:
        """Read several fields of images of one size, given by their tiles, each with its channels; raises as `read`."""
        return {
            name: FIELDS[name].to_sample(np.stack([self.read_whole(name, tiles) for tiles in whole_images]))
            for name in fields
        }

    def read_atoms(self, index: int) -> npt.NDArray[np.float32]:
        """Read the atom positions of one image, float32 (num_atoms, 2), row and column [px]."""
        first, last = self._file["atom_offsets"][index : index + 2]
        atoms: npt.NDArray[np.float32] = self._file["atoms"][first:last]
        return atoms

    def read_attribute(self, name: str) -> npt.NDArray[np.float64]:
        """Read one condition of all images, float64 (num_images,); NaN where the source does not know it."""
        if f"attributes/{name}" not in self._file:
            return np.full(self.num_images, np.nan)
        values: npt.NDArray[np.float64] = self._file[f"attributes/{name}"][()]
        return values

    def list_whole_images(self) -> list[npt.NDArray[np.intp]]:
        """List the indices of the tiles of each image, in order; an image that was not cut is its own tile."""
        corners = [self.read_attribute(f"tile_{axis}_px") for axis in ("row", "column")]
        is_first = np.all([np.isnan(corner) | (corner == 0) for corner in corners], axis=0)
        return np.split(np.arange(len(self)), np.flatnonzero(is_first)[1:])

    @property
    def has_tiles(self) -> bool:
        """Whether images of any size were cut into tiles."""
        return "attributes/image_height_px" in self._file

    def read_whole(self, field: str, tiles: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Read one field of one image, put together from its tiles, as `list_whole_images` lists them.

        Returns
        -------
        ndarray, shape (height, width)

        Raises
        ------
        DataError
            As `read`.
        """
        return self.assemble(self.read(field, tiles), tiles)

    def read_inside(self, field: str, index: int) -> npt.NDArray[Any]:
        """Read one field of one tile, without what continues its image by reflection; raises as `read`.

        Returns
        -------
        ndarray, shape (height, width)
            At most as large as the tile.
        """
        tile: npt.NDArray[Any] = self.read(field, [index])[0]
        if not self.has_tiles:
            return tile
        height, width = (
            int(self._file[f"attributes/image_{side}_px"][index] - self._file[f"attributes/tile_{axis}_px"][index])
            for side, axis in (("height", "row"), ("width", "column"))
        )
        return tile[:height, :width]

    def assemble(self, images: npt.NDArray[Any], tiles: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Put one image together from something of each of its tiles, as `list_whole_images` lists them.

        Parameters
        ----------
        images : ndarray, shape (num_tiles, tile_height, tile_width)
        tiles : ndarray of int, shape (num_tiles,)

        Returns
        -------
        ndarray, shape (height, width)
        """
        if not self.has_tiles:
            whole: npt.NDArray[Any] = images[0]
            return whole
        window = slice(tiles[0], tiles[-1] + 1)
        rows, columns, heights, widths = (
            self._file[f"attributes/{name}"][window].astype(int)
            for name in ("tile_row_px", "tile_column_px", "image_height_px", "image_width_px")
        )
        return assemble_tiles(list(images), list(zip(rows, columns, strict=True)), (heights[0], widths[0]))

    @property
    def label_names(self) -> list[str]:
        """Names of the labels 0, 1, … of the masks; empty where the source has none."""
        names: list[str] = json.loads(str(self._file.attrs.get("mask_labels", "[]")))
        return names

    @property
    def class_names(self) -> list[str]:
        """Names of the classes 0, 1, … of whole images; empty where the source has none."""
        names: list[str] = json.loads(str(self._file.attrs.get("class_names", "[]")))
        return names

    def read_text(self, field: str) -> list[str]:
        """Read ``specimen`` or ``name`` of all images."""
        return [value.decode() for value in self._file[field][()]]

    def read_records(self) -> Iterator[Record]:
        """Read all records in order."""
        specimens, names, classes = self.read_text("specimen"), self.read_text("name"), self._file["class_id"][()]
        attributes = {name: self.read_attribute(name) for name in self._file.get("attributes", ())}
        datasets = {name: self._file[name] for name in FIELDS if name in self._file}
        all_atoms = self._file.get("atoms")
        offsets = None if all_atoms is None else self._file["atom_offsets"][()]
        for index in range(self.num_images):
            images = {name: dataset[index] for name, dataset in datasets.items()}
            yield Record(
                images,
                specimen=specimens[index],
                name=names[index],
                class_id=int(classes[index]),
                atoms=None if offsets is None else all_atoms[offsets[index] : offsets[index + 1]],
                attributes={name: float(values[index]) for name, values in attributes.items()},
            )

    @property
    def attributes(self) -> dict[str, str | float]:
        """Attributes of the whole file."""
        return {name: value if isinstance(value, str) else float(value) for name, value in self._file.attrs.items()}

    def hash_content(self) -> str:
        """Compute the SHA-256 over all data sets: equal content, equal hash, whatever HDF5 wrote around it."""
        digest = hashlib.sha256()
        names: list[str] = []
        self._file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in sorted(names):
            dataset = self._file[name]
            digest.update(
                f"{name} {dataset.dtype.str if dataset.dtype.kind != 'O' else 'text'} {dataset.shape}".encode()
            )
            for start in range(0, len(dataset), 64):
                block = dataset[start : start + 64]
                digest.update(b"\0".join(block.tolist()) if block.dtype.kind == "O" else block)
        return digest.hexdigest()
