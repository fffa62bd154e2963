"""The source `crystals`: many materials, simulated here, no network; one recipe, one content.

The materials are the specimens: they are shared out to the splits, so a test image shows a material that no training
image shows.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from emdenoise.config.schema import RunConfig
from emdenoise.config.simulation import CrystalSettings
from emdenoise.dataset.intensity import IntensityScale, RowImage, choose_contrast
from emdenoise.dataset.record import CRYSTAL_KINDS, Record, Source, Split
from emdenoise.dataset.splits import split_names
from emdenoise.progress import Progress
from emdenoise.seeding import make_generator
from emdenoise.sources.simulated import (
    Recipe,
    SimulateSpecimen,
    download_simulated,
    read_simulated,
    simulate_extra,
    simulate_part_of,
)

RECIPE_VERSION = 1
"""Raised by any change of the code that changes a simulated pixel."""


def split_materials(config: RunConfig) -> dict[Split, list[str]]:
    """Share the materials out to the splits, by the fractions and the seed of section `data`."""
    from emdenoise.simulation.materials import MATERIALS  # ASE takes a second to import

    return split_names(
        list(MATERIALS),
        validation_fraction=config.data.validation_fraction,
        test_fraction=config.data.test_fraction,
        rng=make_generator(config.data.seed, "crystals split"),
    )


def find_recipe(config: RunConfig) -> Recipe:
    """Find what decides the images of a run: section `crystals`, and seed and fractions of section `data`."""
    decisive = {
        "version": RECIPE_VERSION,
        "seed": config.data.seed,
        "validation_fraction": config.data.validation_fraction,
        "test_fraction": config.data.test_fraction,
        "crystals": config.crystals.model_dump(mode="json"),
    }
    sha256 = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def find_simulation(stream: str) -> SimulateSpecimen:
        materials = {str(split): names for split, names in split_materials(config).items()}
        return _find_simulation(config.crystals, config.data.seed, stream, materials[stream])

    return Recipe("crystals", sha256, config.crystals, find_simulation)


def _find_simulation(settings: CrystalSettings, seed: int, stream: str, materials: list[str]) -> SimulateSpecimen:
    from emdenoise.simulation.micrographs import simulate_crystal

    return partial(simulate_crystal, settings, seed, stream, materials)


def download_crystals(config: RunConfig, raw_dir: Path, progress: Progress) -> dict[str, str]:
    """Simulate the splits that are not there yet and verify all of them; see `download_simulated`."""
    return download_simulated(find_recipe(config), raw_dir, progress)


def simulate_crystals_part(config: RunConfig, raw_dir: Path, part: int, num_parts: int, progress: Progress) -> str:
    """Simulate a part of the training images, unless it is there and right; see `simulate_part_of`."""
    return simulate_part_of(find_recipe(config), raw_dir, part, num_parts, progress)


def simulate_crystals(settings: CrystalSettings, seed: int, num_images: int) -> Iterator[Record]:
    """Simulate images of all materials that are in no split of any run."""
    from emdenoise.simulation.materials import MATERIALS

    recipe = Recipe("crystals", "", settings, lambda stream: _find_simulation(settings, seed, stream, list(MATERIALS)))
    return simulate_extra(recipe, num_images)


def read_crystals(config: RunConfig, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    """Read the simulated records of each split; raises `MissingInputError` if this recipe was not simulated."""
    return read_simulated(find_recipe(config), raw_dir)


def choose_crystals_scales(images: Sequence[RowImage], config: RunConfig, name: str) -> tuple[IntensityScale, ...]:
    """Choose the scale of each image from its own mean and deviation, as that of every simulated one was chosen."""
    return tuple(choose_contrast(image) for image in images)


CRYSTALS = Source(
    description="Simulated HRTEM and STEM images of many materials, of all doses, with the image at unlimited dose.",
    licence="https://creativecommons.org/licenses/by/4.0/",
    citation="EMDenoise, source crystals, simulated with ASE (doi:10.1088/1361-648X/aa680e) and abTEM "
    "(doi:10.12688/openreseurope.13015.2)",
    download=download_crystals,
    read=read_crystals,
    class_names=lambda config: list(CRYSTAL_KINDS),
    image_size_px=lambda config: config.crystals.image_size_px,
    settings_sections=("data", "crystals"),
    choose_scales=choose_crystals_scales,
    needs_network=False,
    simulation_section="crystals",
    simulate=simulate_crystals,
    simulate_part=simulate_crystals_part,
)
