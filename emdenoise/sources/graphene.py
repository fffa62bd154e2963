"""The source `graphene`: simulated here, no network; one recipe, one content."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.resources import files
from pathlib import Path

from emdenoise.config.schema import RunConfig, SimulationSettings
from emdenoise.dataset.intensity import IntensityScale, RowImage, choose_window
from emdenoise.dataset.record import MASK_LABELS, SPLITS, Record, Source, Split
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.errors import DataError, MissingInputError
from emdenoise.files.atomic import hash_file, write_json
from emdenoise.progress import Progress
from emdenoise.sources.fetching import CHECKSUMS, read_checksums
from emdenoise.sources.parts import Parts
from emdenoise.sources.signatures import Signature, compare, sign

REFERENCE_SIGNATURES = "graphene_signatures.json"
"""In this package: signatures of the recipes of the committed parameters files, by recipe and split."""

RECIPE_VERSION = 2
"""Raised by any change of the code that changes a simulated pixel."""
MANY_IMAGES = 256
"""From so many on it pays to start processes, which takes seconds."""


def hash_recipe(config: RunConfig) -> str:
    """Compute the SHA-256 that identifies the simulated data of a run: settings, seed and recipe version."""
    simulation = config.simulation.model_dump(mode="json")
    recipe = json.dumps({"version": RECIPE_VERSION, "seed": config.data.seed, "simulation": simulation}, sort_keys=True)
    return hashlib.sha256(recipe.encode()).hexdigest()


def download_graphene(config: RunConfig, raw_dir: Path, progress: Progress) -> dict[str, str]:
    """Simulate the splits that are not there yet and verify all of them.

    Parameters
    ----------
    config : RunConfig
        Sections `simulation` and `data.seed` are the recipe.
    raw_dir : Path
        Files go to ``graphene/RECIPE/SPLIT.h5`` in it, so that recipes do not overwrite each other.
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
    recipe = hash_recipe(config)
    parts = _find_parts(config, raw_dir, recipe)
    if any(not _locate(raw_dir, recipe, split).exists() for split in SPLITS):
        _simulate_missing_splits(config, raw_dir, parts, progress)
    hashes = {}
    for split in SPLITS:
        path = _locate(raw_dir, recipe, split)
        recorded = _check_file(path)
        with RecordFile(path) as records:
            found = sign(records)
        verdict = _verify(path, found, recipe, split)
        progress.say(f"graphene {split}: {found.num_images} images, content {found.content_sha256[:12]}, {verdict}.")
        hashes[path.relative_to(raw_dir).as_posix()] = found.content_sha256
        if path.name not in recorded:
            write_json(path.with_name(CHECKSUMS), recorded | {path.name: hash_file(path)})
    parts.remove()
    return hashes


def _simulate_missing_splits(config: RunConfig, raw_dir: Path, parts: Parts, progress: Progress) -> None:
    from emdenoise.simulation.simulate import open_pool, simulate_records  # abTEM takes seconds to import

    numbers = {split: range(getattr(config.simulation, f"num_{split}")) for split in SPLITS}
    total = sum(map(len, numbers.values()))
    num_done = 0
    progress.step("simulate", 0, total, "starting the workers")
    with open_pool() as pool:
        for split in SPLITS:
            path, before = _locate(raw_dir, parts.recipe, split), num_done
            simulate = partial(simulate_records, config.simulation, config.data.seed, split, pool=pool)

            def show(done: int, before: int = before) -> None:
                progress.step("simulate", before + done, total)

            if not path.exists():
                records = parts.read(simulate, progress) if split == "train" else simulate(numbers[split])
                write_records(path, records, attributes={"recipe": parts.recipe}, on_record=show)
            num_done += len(numbers[split])
    progress.step("simulate", total, total)


def simulate_graphene_part(config: RunConfig, raw_dir: Path, part: int, num_parts: int, progress: Progress) -> str:
    """Simulate a part of the training images, unless it is there and right.

    Parameters
    ----------
    config : RunConfig
    raw_dir : Path
        The part goes to ``graphene/RECIPE/parts/train-PART-of-NUM_PARTS`` in it, from where the download takes it.
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
    recipe = hash_recipe(config)
    parts = _find_parts(config, raw_dir, recipe)
    chosen = parts.find(part, num_parts)
    if _locate(raw_dir, recipe, "train").exists():
        return "The training images are together already; nothing was simulated."
    from emdenoise.simulation.simulate import open_pool, simulate_records

    images = f"{chosen.title} ({len(chosen.numbers)} training images)"
    with open_pool() as pool:
        simulate = partial(simulate_records, config.simulation, config.data.seed, "train", pool=pool)
        is_new = parts.write(chosen, simulate, progress)
    return f"{images} is simulated." if is_new else f"{images} is there and right; nothing was simulated."


def _find_parts(config: RunConfig, raw_dir: Path, recipe: str) -> Parts:
    return Parts(config.simulation, recipe, _locate(raw_dir, recipe, "train").with_name("parts"))


def simulate_graphene(settings: SimulationSettings, seed: int, num_images: int) -> Iterator[Record]:
    """Simulate images that are in no split of any run; `num_train` and the like of the settings do not matter.

    Many images are simulated by several processes; the records are the same.
    """
    from emdenoise.simulation.simulate import open_pool, simulate_records

    with open_pool() if num_images >= MANY_IMAGES else nullcontext() as pool:
        yield from simulate_records(settings, seed, "extra", range(num_images), pool)


def read_graphene(config: RunConfig, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    """Read the simulated records of each split.

    Raises
    ------
    MissingInputError
        If this recipe was not simulated.
    """
    return {split: _read(_locate(raw_dir, hash_recipe(config), split)) for split in SPLITS}


def _locate(raw_dir: Path, recipe: str, split: Split) -> Path:
    return raw_dir / "graphene" / recipe[:16] / f"{split}.h5"


def _read(path: Path) -> Iterable[Record]:
    if not path.exists():
        raise MissingInputError(
            f"graphene {path.name} of this parameters file is not in the raw data folder; run the download task first."
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


def _verify(path: Path, found: Signature, recipe: str, split: Split) -> str:
    """Compare with the signature that ships with the package; raise where the content is another."""
    shipped = json.loads(files("emdenoise.sources").joinpath(REFERENCE_SIGNATURES).read_text())
    if split not in shipped.get(recipe, {}):
        return "no reference for this recipe"
    verdict = compare(found, Signature.from_json(shipped[recipe][split]))
    if verdict == "different":
        raise DataError(
            f"{path.name}: content is {found.content_sha256[:12]} and differs from the reference beyond the tolerance; "
            f"delete {path.parent.name} in the raw data folder and run the download task again."
        )
    return "equal to the reference to the bit" if verdict == "equal" else "equal to the reference within tolerance"


def choose_graphene_scales(images: Sequence[RowImage], config: RunConfig, name: str) -> tuple[IntensityScale, ...]:
    """Choose the contrast window of each image around its mean; raises `DataError` where that is not positive."""
    return tuple(choose_window(image, config.simulation.intensity_window, name=name) for image in images)


GRAPHENE = Source(
    description="Simulated HRTEM images of defective graphene with truth, masks, classes and atom positions.",
    licence="https://creativecommons.org/licenses/by/4.0/",
    citation="EMDenoise, source graphene, simulated with abTEM (doi:10.12688/openreseurope.13015.2)",
    download=download_graphene,
    read=read_graphene,
    label_names=lambda config: list(MASK_LABELS),
    class_names=lambda config: list(SimulationSettings().defects),  # all; a class is the place in this list
    image_size_px=lambda config: config.simulation.image_size_px,
    settings_sections=("data", "simulation"),
    find_window=lambda config: config.simulation.intensity_window,
    choose_scales=choose_graphene_scales,
    needs_network=False,
    find_pixel_size=lambda config: config.simulation.pixel_size_angstrom,
    simulate=simulate_graphene,
    simulate_part=simulate_graphene_part,
)
