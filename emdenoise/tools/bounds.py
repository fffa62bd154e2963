"""How much a judge does for a stranger: files, images, resamples, memory, time and disk are bounded beforehand."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from emdenoise.config.schema import RunConfig
from emdenoise.config.simulation import CrystalSettings, SimulationSettings
from emdenoise.errors import StorageError, explain_os_errors
from emdenoise.sources import SOURCES

MAX_RUNS = 100
MAX_IMAGES = 50_000
"""Simulated for one run, and of a test."""
MAX_PIXELS = 3 * 2**30
"""Of all simulated images of a run with their margins; 20,000 images for training (256 px) have half of them."""
MAX_AREA_ANGSTROM2 = 2e8
"""Of all simulated specimens of a run, which have an atom on 2.6 Å²; 20,000 images have a quarter of it."""
MAX_DRAWS = 20_000_000
"""Specimens that are drawn in all resamples of one interval."""
MAX_CLASSES = 100
MAX_TUNING_IMAGES, MAX_LATENCY_IMAGES = 1000, 10_000
MANY_BYTES = 2**28
"""Of images; where a disk has no room for fewer, it says so when they are written."""
BYTES_PER_PIXEL, BYTES_PER_PIXEL_OF_WAVE = 2 * 9, 2 * 8
"""Of a simulated image, twice on the disk: noisy, clean and mask; and its exit wave where that is kept."""


def list_excesses(config: RunConfig, num_specimens: int) -> Iterator[str]:
    """List what a run would have a judge do beyond all bounds.

    Parameters
    ----------
    config : RunConfig
    num_specimens : int
        Of the test.
    """
    evaluation = config.evaluation
    num_draws = evaluation.num_resamples * num_specimens
    asked: dict[str, tuple[float, float]] = {
        "evaluation.num_resamples × specimens": (num_draws, MAX_DRAWS),
        "evaluation.num_tuning_images": (evaluation.num_tuning_images, MAX_TUNING_IMAGES),
        "evaluation.num_latency_images": (evaluation.num_latency_images, MAX_LATENCY_IMAGES),
    }
    simulation = find_simulation(config)
    if simulation is not None:
        num_images = count_images(config)
        side_px = simulation.simulated_side_px
        area = num_images * (side_px * simulation.pixel_size_angstrom[1]) ** 2
        asked |= {
            "simulated images": (num_images, MAX_IMAGES),
            "simulated pixels": (num_images * side_px**2, MAX_PIXELS),
            "simulated Å²": (area, MAX_AREA_ANGSTROM2),
        }
    for what, (found, most) in asked.items():
        if not found <= most:
            yield f"asks for {found:.9g} {what}; a judge makes at most {most:.9g}"


def find_simulation(config: RunConfig) -> SimulationSettings | CrystalSettings | None:
    """Find the settings of what is simulated for a run; None where nothing is."""
    section = SOURCES[config.data.source].simulation_section
    settings: SimulationSettings | CrystalSettings | None = None if section is None else getattr(config, section)
    return settings


def count_images(config: RunConfig) -> int:
    """Count the images that are simulated for a run."""
    simulation = find_simulation(config)
    if simulation is None:
        return 0
    return simulation.num_train + simulation.num_validation + simulation.num_test


def check_room(config: RunConfig, folder: Path) -> None:
    """Check that the simulated images of a run fit on the disk of a folder.

    Raises
    ------
    StorageError
        If they do not, or the folder cannot be read.
    """
    simulation = find_simulation(config)
    if simulation is None:
        return
    with explain_os_errors(folder):
        free = shutil.disk_usage(folder).free
    of_wave = BYTES_PER_PIXEL_OF_WAVE if simulation.store_wave else 0
    needed = count_images(config) * simulation.image_size_px**2 * (BYTES_PER_PIXEL + of_wave)
    if needed > max(free, MANY_BYTES):
        raise StorageError(
            f"the images of the package need {needed / 2**30:.3g} GiB, {folder.name} has {free / 2**30:.3g} GiB free; "
            "free space or give another --work_dir."
        )
