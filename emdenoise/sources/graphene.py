"""The source `graphene`: simulated here, no network; one recipe, one content."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

from emdenoise.config.schema import RunConfig
from emdenoise.config.simulation import SimulationSettings
from emdenoise.dataset.intensity import IntensityScale, RowImage, choose_window
from emdenoise.dataset.record import MASK_LABELS, Record, Source, Split
from emdenoise.progress import Progress
from emdenoise.sources.simulated import (
    Recipe,
    SimulateSpecimen,
    download_simulated,
    read_simulated,
    simulate_extra,
    simulate_part_of,
)

REFERENCE_SIGNATURES = "graphene_signatures.json"
"""In this package: signatures of the recipes of the committed parameters files, by recipe and split."""

RECIPE_VERSION = 2
"""Raised by any change of the code that changes a simulated pixel."""


def hash_recipe(config: RunConfig) -> str:
    """Compute the SHA-256 that identifies the simulated data of a run: settings, seed and recipe version."""
    simulation = config.simulation.model_dump(mode="json")
    recipe = json.dumps({"version": RECIPE_VERSION, "seed": config.data.seed, "simulation": simulation}, sort_keys=True)
    return hashlib.sha256(recipe.encode()).hexdigest()


def find_recipe(config: RunConfig) -> Recipe:
    """Find what decides the images of a run: its section `simulation` and `data.seed`."""
    shipped = json.loads(files("emdenoise.sources").joinpath(REFERENCE_SIGNATURES).read_text())
    sha256 = hash_recipe(config)
    simulation, seed = config.simulation, config.data.seed

    def find_simulation(stream: str) -> SimulateSpecimen:
        return _find_simulation(simulation, seed, stream)

    return Recipe("graphene", sha256, simulation, find_simulation, shipped.get(sha256, {}))


def _find_simulation(settings: SimulationSettings, seed: int, stream: str) -> SimulateSpecimen:
    from emdenoise.simulation.simulate import simulate_specimen

    return partial(simulate_specimen, settings, seed, stream)


def download_graphene(config: RunConfig, raw_dir: Path, progress: Progress) -> dict[str, str]:
    """Simulate the splits that are not there yet and verify all of them; see `download_simulated`."""
    return download_simulated(find_recipe(config), raw_dir, progress)


def simulate_graphene_part(config: RunConfig, raw_dir: Path, part: int, num_parts: int, progress: Progress) -> str:
    """Simulate a part of the training images, unless it is there and right; see `simulate_part_of`."""
    return simulate_part_of(find_recipe(config), raw_dir, part, num_parts, progress)


def simulate_graphene(settings: SimulationSettings, seed: int, num_images: int) -> Iterator[Record]:
    """Simulate images that are in no split of any run; `num_train` and the like of the settings do not matter.

    Many images are simulated by several processes; the records are the same.
    """
    recipe = Recipe("graphene", "", settings, lambda stream: _find_simulation(settings, seed, stream))
    return simulate_extra(recipe, num_images)


def read_graphene(config: RunConfig, raw_dir: Path) -> dict[Split, Iterable[Record]]:
    """Read the simulated records of each split; raises `MissingInputError` if this recipe was not simulated."""
    return read_simulated(find_recipe(config), raw_dir)


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
    simulation_section="simulation",
    simulate=simulate_graphene,
    simulate_part=simulate_graphene_part,
)
