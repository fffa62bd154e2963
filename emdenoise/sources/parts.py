"""Training images that are simulated in parts, by several jobs or machines, and put together by `download`.

A record depends on the recipe and its number alone, so the file is the same to the bit whatever parts it is made of.
Each part has a folder of its own, so that jobs neither wait for each other nor share a list of SHA-256.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from emdenoise.config.simulation import CrystalSettings, SimulationSettings
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.errors import DataError, SettingsError, explain_os_errors
from emdenoise.files.atomic import hash_file, write_json
from emdenoise.files.locks import lock_folder
from emdenoise.progress import Progress
from emdenoise.sources.fetching import CHECKSUMS, read_checksums

FILE = "train.h5"
Simulate = Callable[[range], Iterable[Record]]
"""Simulates the training records of these numbers."""


def split_records(settings: SimulationSettings | CrystalSettings, part: int, num_parts: int) -> range:
    """Find the numbers of the training records that a part holds; parts do not cut a specimen.

    Parameters
    ----------
    settings : SimulationSettings or CrystalSettings
    part : int
        From 1 to `num_parts`.
    num_parts : int
        At most the number of specimens.

    Raises
    ------
    SettingsError
        If there is no such part.

    Examples
    --------
    >>> settings = SimulationSettings(num_train=9, images_per_specimen=2)
    >>> [split_records(settings, part, 3) for part in (1, 2, 3)]
    [range(0, 2), range(2, 6), range(6, 9)]
    """
    size = settings.images_per_specimen
    num_specimens = -(-settings.num_train // size)
    if not 1 <= num_parts <= num_specimens:
        raise SettingsError(
            f"num_parts is {num_parts}; it must be from 1 to {num_specimens}, the number of training specimens."
        )
    if not 1 <= part <= num_parts:
        raise SettingsError(f"part is {part}; it must be from 1 to {num_parts}, which num_parts is.")
    first, stop = ((number * num_specimens // num_parts) * size for number in (part - 1, part))
    return range(first, min(stop, settings.num_train))


@dataclass(frozen=True)
class Part:
    """A part of the training records.

    Attributes
    ----------
    folder : Path
        Holds the records and their SHA-256.
    title : str
        For messages.
    numbers : range
        Of the records.
    """

    folder: Path
    title: str
    numbers: range

    @property
    def path(self) -> Path:
        """The file of records."""
        return self.folder / FILE

    def write(self, recipe: str, simulate: Simulate, on_record: Callable[[int], None]) -> None:
        """Simulate the records, write them, whole or not at all, and record their SHA-256 after that."""
        write_records(self.path, simulate(self.numbers), attributes={"recipe": recipe}, on_record=on_record)
        write_json(self.folder / CHECKSUMS, {FILE: hash_file(self.path)})

    def is_whole(self, recipe: str, progress: Progress) -> bool:
        """Tell whether the part is there and right; one line says what is wrong with one that is there."""
        if not self.path.exists():
            return False
        try:
            self._check(recipe)
        except DataError as error:
            progress.say(f"{self.title}: {str(error).rstrip('.')}; it is simulated again.")
            return False
        return True

    def _check(self, recipe: str) -> None:
        """Compare with what was recorded, before HDF5 sees the file, and with what the part must hold."""
        recorded = read_checksums(self.folder, problem=" is damaged").get(FILE)
        if recorded is None:
            raise DataError("no SHA-256 was recorded")
        if (found := hash_file(self.path)) != recorded:
            raise DataError(f"SHA-256 is {found[:12]}…, expected {recorded[:12]}…")
        with RecordFile(self.path) as records:
            names = [f"train image {number}" for number in self.numbers]
            if records.attributes.get("recipe") != recipe or records.read_text("name") != names:
                raise DataError(f"holds other images, expected {len(names)} from {names[0]} on")


@dataclass(frozen=True)
class Parts:
    """The parts of the training records of one recipe.

    Attributes
    ----------
    settings : SimulationSettings or CrystalSettings
    recipe : str
        SHA-256 of what decides the images.
    folder : Path
        Gets a folder for each part.
    source : str
        For messages.
    """

    settings: SimulationSettings | CrystalSettings
    recipe: str
    folder: Path
    source: str = "graphene"

    def find(self, part: int, num_parts: int) -> Part:
        """Find where a part is or shall be; raises `SettingsError` if there is no such part."""
        numbers = split_records(self.settings, part, num_parts)
        return Part(self.folder / f"train-{part:04}-of-{num_parts:04}", f"Part {part} of {num_parts}", numbers)

    def write(self, part: Part, simulate: Simulate, progress: Progress) -> bool:
        """Write a part, unless it is there and right; tells whether it was written.

        Raises
        ------
        StorageError
            If the folder cannot be written, is full, or another job makes the same part.
        """
        total = len(part.numbers)
        with lock_folder(part.folder, is_written=True):
            is_there = part.is_whole(self.recipe, progress)
            if not is_there:
                progress.step("simulate", 0, total, "starting the workers")
                part.write(self.recipe, simulate, lambda done: progress.step("simulate", done, total))
        return not is_there

    def read(self, simulate: Simulate, progress: Progress) -> Iterator[Record]:
        """Read all training records in order: from the parts that are there and right, simulated where none is."""
        position = num_used = num_read = 0
        for part in self._list():
            if part.numbers.stop <= position or not part.is_whole(self.recipe, progress):
                continue
            yield from simulate(range(position, part.numbers.start))
            first = max(position, part.numbers.start)
            with RecordFile(part.path) as records:
                yield from islice(records.read_records(), first - part.numbers.start, None)
            position, num_used, num_read = part.numbers.stop, num_used + 1, num_read + part.numbers.stop - first
        yield from simulate(range(position, self.settings.num_train))
        if self.folder.exists():
            progress.say(
                f"{self.source} train: {num_read} of {self.settings.num_train} images are from {num_used} parts."
            )

    def remove(self) -> None:
        """Remove all parts, once the records are together."""
        if self.folder.exists():
            with explain_os_errors(self.folder):
                shutil.rmtree(self.folder)

    def _list(self) -> list[Part]:
        """List the parts that were begun, of whatever number, by their first record, the longest one first."""
        found = []
        for path in self.folder.glob("train-*-of-*"):
            numbers = re.fullmatch(r"train-(\d{4,9})-of-(\d{4,9})", path.name)
            try:
                found += [self.find(int(numbers[1]), int(numbers[2]))] if numbers else []
            except SettingsError:
                continue  # nothing that this program made
        return sorted(found, key=lambda part: (part.numbers.start, -part.numbers.stop))
