"""What simulated sources share: one recipe, one content, made whole or in parts, and verified.

A source gives its recipe; files are in ``SOURCE/RECIPE/SPLIT.h5`` of the raw data folder.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from emdenoise.config.simulation import CrystalSettings, SimulationSettings
from emdenoise.dataset.record import SPLITS, Record, Split
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.errors import DataError, MissingInputError
from emdenoise.files.atomic import hash_file, write_json
from emdenoise.progress import Progress
from emdenoise.sources.fetching import CHECKSUMS, read_checksums
from emdenoise.sources.parts import Parts
from emdenoise.sources.signatures import Signature, compare, sign

MANY_IMAGES = 256
"""From so many on it pays to start processes, which takes seconds."""
SimulateSpecimen = Callable[[int], list[Record]]
"""Simulates all images of the specimen of this number."""


@dataclass(frozen=True)
class Recipe:
    """What decides the images of a simulated source.

    Attributes
    ----------
    source : str
        Name of its folder.
    sha256 : str
        Identifies the images.
    settings : SimulationSettings or CrystalSettings
        Says how many images there are.
    find_simulation : callable
        ``(stream) -> function`` that simulates a specimen of this split; processes can take it over.
    references : mapping
        Signatures that ship with the package, by split.
    """

    source: str
    sha256: str
    settings: SimulationSettings | CrystalSettings
    find_simulation: Callable[[str], SimulateSpecimen]
    references: Mapping[str, Any] = field(default_factory=dict)

    def locate(self, raw_dir: Path, split: Split) -> Path:
        """Say where the file of a split is or shall be."""
        return raw_dir / self.source / self.sha256[:16] / f"{split}.h5"

    def count(self, split: Split) -> int:
        """Count the images of a split."""
        number: int = getattr(self.settings, f"num_{split}")
        return number

    def simulate(self, stream: str, numbers: range, pool: Any) -> Iterator[Record]:
        """Simulate the records of these numbers of a stream, in order."""
        from emdenoise.simulation.simulate import simulate_numbers  # abTEM takes seconds to import

        if not numbers:
            return iter(())
        return simulate_numbers(self.find_simulation(stream), self.settings.images_per_specimen, numbers, pool)

    def find_parts(self, raw_dir: Path) -> Parts:
        """Find the parts of the training images."""
        folder = self.locate(raw_dir, "train").with_name("parts")
        return Parts(self.settings, self.sha256, folder, self.source)


def download_simulated(recipe: Recipe, raw_dir: Path, progress: Progress) -> dict[str, str]:
    """Simulate the splits that are not there yet and verify all of them.

    Parameters
    ----------
    recipe : Recipe
    raw_dir : Path
    progress : Progress

    Returns
    -------
    dict of str to str
        Content hash of each file, by its path relative to `raw_dir`.

    Raises
    ------
    DataError
        If the content is not what the recipe gave before.
    """
    if any(not recipe.locate(raw_dir, split).exists() for split in SPLITS):
        _simulate_missing_splits(recipe, raw_dir, progress)
    hashes = {}
    for split in SPLITS:
        path = recipe.locate(raw_dir, split)
        recorded = _check_file(path)
        with RecordFile(path) as records:
            num_images, content = len(records), records.hash_content()
            verdict = _verify(path, records, recipe, split)
        progress.say(f"{recipe.source} {split}: {num_images} images, content {content[:12]}, {verdict}.")
        hashes[path.relative_to(raw_dir).as_posix()] = content
        if path.name not in recorded:
            write_json(path.with_name(CHECKSUMS), recorded | {path.name: hash_file(path)})
    recipe.find_parts(raw_dir).remove()
    return hashes


def _simulate_missing_splits(recipe: Recipe, raw_dir: Path, progress: Progress) -> None:
    from emdenoise.simulation.simulate import open_pool  # abTEM takes seconds to import

    total = sum(map(recipe.count, SPLITS))
    num_done = 0
    progress.step("simulate", 0, total, "starting the workers")
    with open_pool() as pool:
        for split in SPLITS:
            path, before = recipe.locate(raw_dir, split), num_done
            simulate = partial(recipe.simulate, split, pool=pool)

            def show(done: int, before: int = before) -> None:
                progress.step("simulate", before + done, total)

            if not path.exists():
                is_in_parts = split == "train"
                parts, numbers = recipe.find_parts(raw_dir), range(recipe.count(split))
                records = parts.read(simulate, progress) if is_in_parts else simulate(numbers)
                write_records(path, records, attributes={"recipe": recipe.sha256}, on_record=show)
            num_done += recipe.count(split)
    progress.step("simulate", total, total)


def simulate_part_of(recipe: Recipe, raw_dir: Path, part: int, num_parts: int, progress: Progress) -> str:
    """Simulate a part of the training images, unless it is there and right.

    Parameters
    ----------
    recipe : Recipe
    raw_dir : Path
        The part goes to ``SOURCE/RECIPE/parts/train-PART-of-NUM_PARTS`` in it, from where the download takes it.
    part : int
        From 1 to `num_parts`.
    num_parts : int
    progress : Progress

    Returns
    -------
    str
        One line that says what was done.

    Raises
    ------
    SettingsError
        If there is no such part.
    """
    parts = recipe.find_parts(raw_dir)
    chosen = parts.find(part, num_parts)
    if recipe.locate(raw_dir, "train").exists():
        return "The training images are together already; nothing was simulated."
    from emdenoise.simulation.simulate import open_pool

    images = f"{chosen.title} ({len(chosen.numbers)} training images)"
    with open_pool() as pool:
        is_new = parts.write(chosen, partial(recipe.simulate, "train", pool=pool), progress)
    return f"{images} is simulated." if is_new else f"{images} is there and right; nothing was simulated."


def simulate_extra(recipe: Recipe, num_images: int) -> Iterator[Record]:
    """Simulate images that are in no split; many of them by several processes, and the records are the same."""
    from emdenoise.simulation.simulate import open_pool

    with open_pool() if num_images >= MANY_IMAGES else nullcontext() as pool:
        yield from recipe.simulate("extra", range(num_images), pool)


def read_simulated(recipe: Recipe, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    """Read the simulated records of each split.

    Raises
    ------
    MissingInputError
        If this recipe was not simulated.
    """
    return {split: _read(recipe.locate(raw_dir, split), recipe.source) for split in SPLITS}


def _read(path: Path, source: str) -> Iterable[Record]:
    if not path.exists():
        raise MissingInputError(
            f"{source} {path.name} of this parameters file is not in the raw data folder; run the download task first."
        )
    _check_file(path)
    with RecordFile(path) as records:
        yield from records.read_records()


def _check_file(path: Path) -> dict[str, str]:
    """Compare a file with what was recorded, before HDF5 sees it, which a damaged file can bring down.

    Gives the SHA-256 that are recorded for the files of its recipe, by name.
    """
    remedy = f"delete {path.parent.name} in the raw data folder and run the download"
    recorded = read_checksums(path.parent, problem=f": damaged; {remedy} task again.")
    if path.name in recorded and (found := hash_file(path)) != recorded[path.name]:
        raise DataError(
            f"{path.name}: SHA-256 is {found[:12]}…, expected {recorded[path.name][:12]}…; {remedy} task again."
        )
    return recorded


def _verify(path: Path, records: RecordFile, recipe: Recipe, split: Split) -> str:
    """Compare with the signature that ships with the package; raise where the content is another."""
    if split not in recipe.references:
        return "no reference for this recipe"
    found = sign(records)
    verdict = compare(found, Signature.from_json(recipe.references[split]))
    if verdict == "different":
        raise DataError(
            f"{path.name}: content is {found.content_sha256[:12]} and differs from the reference beyond the tolerance; "
            f"delete {path.parent.name} in the raw data folder and run the download task again."
        )
    return "equal to the reference to the bit" if verdict == "equal" else "equal to the reference within tolerance"
