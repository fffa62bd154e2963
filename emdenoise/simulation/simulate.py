"""Simulated micrographs of defective graphene, in parallel and the same in any order.

Atoms come from `specimens`, the image from `microscope`, the noise from `detector`, the labels from `labels`;
here they become records. What comes out depends on the recipe alone (`sources/graphene.py:hash_recipe`).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice

import abtem
import numpy as np
from abtem.core.energy import energy2wavelength

from emdenoise.config.schema import RunConfig
from emdenoise.config.simulation import SimulationSettings
from emdenoise.dataset.intensity import IntensityScale
from emdenoise.dataset.record import Record, Split
from emdenoise.files.worker import WorkerPool
from emdenoise.processes import count_processors
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import (
    apply_dead_pixels,
    apply_readout_noise,
    apply_shot_noise,
    make_beam_profile,
    spread_electrons,
)
from emdenoise.simulation.labels import paint_mask
from emdenoise.simulation.microscope import Optics, compute_exit_wave, configure_abtem, form_image
from emdenoise.simulation.specimens import DEFECTS, Sheet, make_lattice, ripple, to_atoms

BOX_HEIGHT_ANGSTROM = 12.0


def make_specimen(settings: SimulationSettings, side_angstrom: float, rng: np.random.Generator) -> tuple[str, Sheet]:
    """Draw one sheet of graphene.

    Parameters
    ----------
    settings : SimulationSettings
    side_angstrom : float
        Side of the sheet [Å].
    rng : numpy.random.Generator

    Returns
    -------
    (str, Sheet)
        Kind of defect and the sheet with ripples; its atoms are where they are on average.
    """
    kind = settings.defects[rng.integers(len(settings.defects))]
    sheet = make_lattice(side_angstrom, rng.uniform(0, np.pi / 3), rng.uniform(-1, 1, 2))
    sheet = DEFECTS[kind](sheet, rng)
    height, wavelength = (
        rng.uniform(*settings.ripple_height_angstrom),
        rng.uniform(*settings.ripple_wavelength_angstrom),
    )
    return kind, ripple(sheet, height_angstrom=height, wavelength_angstrom=wavelength, rng=rng)


def draw_optics(settings: SimulationSettings, rng: np.random.Generator) -> Optics:
    """Draw aberrations and focus of one image."""
    spherical_aberration_um = rng.uniform(*settings.spherical_aberration_um)
    wavelength_angstrom = energy2wavelength(settings.voltage_kv * 1e3)
    scherzer_angstrom = np.sign(spherical_aberration_um) * np.sqrt(
        abs(spherical_aberration_um) * 1e4 * wavelength_angstrom
    )
    return Optics(
        voltage_kv=settings.voltage_kv,
        defocus_angstrom=float(scherzer_angstrom * rng.uniform(*settings.defocus_scherzer)),
        spherical_aberration_um=spherical_aberration_um,
        focal_spread_angstrom=rng.uniform(*settings.focal_spread_angstrom),
        convergence_semiangle_mrad=settings.convergence_semiangle_mrad,
    )


def simulate_image(
    settings: SimulationSettings, exit_wave: abtem.Waves, pixel_size_angstrom: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Take one image of a specimen: focus, beam, electrons, detector.

    Parameters
    ----------
    settings : SimulationSettings
    exit_wave : abtem.Waves
        Wave behind the specimen, with the margin.
    pixel_size_angstrom : float
        Pixel size [Å].
    rng : numpy.random.Generator

    Returns
    -------
    noisy, clean : ndarray of float32, shape (image_size_px, image_size_px)
        Intensity in the window of the settings; vacuum is 0.5 in the default one. `clean` is what an even beam and a
        perfect detector give at unlimited dose.
    attributes : dict of str to float
        The drawn conditions.
    """
    optics = draw_optics(settings, rng)
    margin, size = settings.margin_px, settings.image_size_px
    clean = form_image(exit_wave, optics)[margin : margin + size, margin : margin + size]
    dose = float(np.exp(rng.uniform(*np.log(settings.dose_e_per_angstrom2))))
    electrons_per_pixel = dose * pixel_size_angstrom**2
    beam_width = rng.uniform(*settings.beam_width_fraction)
    beam_row, beam_column = rng.uniform(-settings.beam_offset_fraction, settings.beam_offset_fraction, 2).tolist()
    dead_fraction, readout_electrons = (
        rng.uniform(*settings.dead_pixel_fraction),
        rng.uniform(*settings.readout_noise_electrons),
    )
    profile = make_beam_profile(clean.shape, width_fraction=beam_width, centre_fraction=(beam_row, beam_column))
    expected = spread_electrons(clean * profile, mtf_at_nyquist=settings.detector_mtf_at_nyquist)
    noisy = apply_shot_noise(expected, electrons_per_pixel=electrons_per_pixel, rng=rng)
    noisy = apply_dead_pixels(noisy, dead_fraction=dead_fraction, rng=rng)
    noisy = apply_readout_noise(noisy, readout_noise=readout_electrons / electrons_per_pixel, rng=rng)
    window = IntensityScale.from_window(*settings.intensity_window)
    attributes = {
        "voltage_kv": optics.voltage_kv,
        "defocus_angstrom": optics.defocus_angstrom,
        "spherical_aberration_um": optics.spherical_aberration_um,
        "focal_spread_angstrom": optics.focal_spread_angstrom,
        "convergence_semiangle_mrad": optics.convergence_semiangle_mrad,
        "pixel_size_angstrom": pixel_size_angstrom,
        "dose_e_per_angstrom2": dose,
        "electrons_per_unit_intensity": electrons_per_pixel / window.scale,
        "beam_width_fraction": beam_width,
        "beam_row_fraction": beam_row,
        "beam_column_fraction": beam_column,
        "detector_mtf_at_nyquist": settings.detector_mtf_at_nyquist,
        "dead_pixel_fraction": dead_fraction,
        "readout_noise_electrons": readout_electrons,
        **window.to_attributes(),
    }
    return window.apply(noisy), window.apply(clean), attributes


def simulate_specimen(settings: SimulationSettings, seed: int, stream: str, index: int) -> list[Record]:
    """Simulate all images of one specimen.

    Parameters
    ----------
    settings : SimulationSettings
    seed : int
        Seed of the run.
    stream : str
        Splits draw from streams of their own: the test images do not change with the number of training images.
    index : int
        Number of the specimen in its stream.

    Returns
    -------
    list of Record
        `images_per_specimen` records with noisy, clean, mask, atoms, class and, on request, wave.
    """
    configure_abtem()
    rng = make_generator(seed, f"{stream} specimen", index)
    pixel_size = rng.uniform(*settings.pixel_size_angstrom)
    margin, size = settings.margin_px, settings.image_size_px
    kind, sheet = make_specimen(settings, (size + 2 * margin) * pixel_size, rng)
    exit_wave = compute_exit_wave(
        to_atoms(sheet, BOX_HEIGHT_ANGSTROM),
        voltage_kv=settings.voltage_kv,
        thermal_displacement_angstrom=settings.thermal_displacement_angstrom,
        num_pixels=size + 2 * margin,
    )
    atoms_px = sheet.flat / pixel_size - margin
    mask = paint_mask(
        atoms_px,
        sheet.defects / pixel_size - [margin, margin, 0],
        size_px=size,
        pixel_size_angstrom=pixel_size,
    )
    is_inside = ((atoms_px > -0.5) & (atoms_px < size - 0.5)).all(axis=1)
    wave = {}
    if settings.store_wave:
        wave["wave"] = exit_wave.ensure_real_space().array[margin : margin + size, margin : margin + size]
    records = []
    for number in range(settings.images_per_specimen):
        image_index = index * settings.images_per_specimen + number
        image_rng = make_generator(seed, f"{stream} image", image_index)
        noisy, clean, attributes = simulate_image(settings, exit_wave, pixel_size, image_rng)
        records.append(
            Record(
                {"noisy": noisy, "clean": clean, "mask": mask, **wave},
                atoms=atoms_px[is_inside].astype(np.float32),
                class_id=list(DEFECTS).index(kind),
                specimen=f"{stream} {index}",
                name=f"{stream} image {image_index}",
                attributes=attributes,
            )
        )
    return records


@contextmanager
def open_pool(num_workers: int | None = None) -> Iterator[Executor]:
    """Start processes for `simulate_split`, one per processor that this process may use unless told otherwise."""
    num_workers = num_workers or count_processors()
    with WorkerPool(num_workers) as pool:
        yield pool


def simulate_split(config: RunConfig, split: Split, pool: Executor | None = None) -> Iterator[Record]:
    """Simulate the records of one split in order.

    Parameters
    ----------
    config : RunConfig
        Its sections `simulation` and `data.seed` are the recipe.
    split : str
    pool : concurrent.futures.Executor or None
        From `open_pool`; None simulates in this process. No record depends on it.

    Yields
    ------
    Record
    """
    num_records = getattr(config.simulation, f"num_{split}")
    yield from simulate_records(config.simulation, config.data.seed, split, range(num_records), pool)


def simulate_records(
    settings: SimulationSettings, seed: int, stream: str, numbers: range, pool: Executor | None = None
) -> Iterator[Record]:
    """Simulate the records of these numbers of a stream, which is a split or, for images of no split, another name."""
    if not numbers:
        return
    simulate = partial(simulate_specimen, settings, seed, stream)
    yield from simulate_numbers(simulate, settings.images_per_specimen, numbers, pool)


def simulate_numbers(
    simulate: Callable[[int], list[Record]], size: int, numbers: range, pool: Executor | None = None
) -> Iterator[Record]:
    """Simulate the records of these numbers, `size` of each specimen, in order.

    Parameters
    ----------
    simulate : callable
        Gives all records of the specimen of a number; processes can take it over.
    size : int
        Images of a specimen.
    numbers : range
        At least one.
    pool : concurrent.futures.Executor or None
    """
    specimens = range(numbers.start // size, -(-numbers.stop // size))
    groups = pool.map(simulate, specimens, chunksize=4) if pool else map(simulate, specimens)
    before = specimens.start * size
    yield from islice(chain.from_iterable(groups), numbers.start - before, numbers.stop - before)
