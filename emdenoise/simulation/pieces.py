"""Pieces of material as they lie below a microscope: slabs, particles on a film, two grains, a glass, nothing.

What is drawn here is the shape; `crystals.py` cuts the atoms.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.spatial.transform import Rotation

from emdenoise.config.simulation import CrystalSettings
from emdenoise.simulation.crystals import (
    FACETS,
    ZONE_AXES,
    cut_block,
    cut_particle,
    fill_with_glass,
    join_grains,
    orient,
    remove_at_random,
)
from emdenoise.simulation.materials import MATERIALS, Material, count_per_volume, find_spacing

MAX_ATOMS = 150_000
"""Of a specimen; thinner ones are drawn where the field is large."""
LARGEST_PARTICLE_ANGSTROM = 120.0
SUPPORT = "amorphous C"
SUPPORT_THICKNESS_ANGSTROM = (8.0, 40.0)
ON_ZONE_AXIS, OFF_ZONE_AXIS = 0.65, 0.85
"""Below the first share crystals are within 1.5° of a zone axis, below the second within 10°; others lie anyhow."""


@dataclass(frozen=True)
class Field:
    """Where a specimen is to be.

    Attributes
    ----------
    side_angstrom : float
        Of the square box [Å].
    thickness_angstrom : float
        Wanted thickness [Å].
    """

    side_angstrom: float
    thickness_angstrom: float

    def limit(self, density: float) -> float:
        """Give the thickness at which there are not too many atoms [Å]."""
        return min(self.thickness_angstrom, max(8.0, MAX_ATOMS / density / self.side_angstrom**2))


def make_piece(
    kind: str, material: Material, field: Field, settings: CrystalSettings, rng: np.random.Generator
) -> Atoms:
    """Make the atoms of a specimen.

    Parameters
    ----------
    kind : str
        ``"slab"``, ``"particles"``, ``"grain_boundary"`` or ``"amorphous"``, as a glass always is.
    material : Material
    field : Field
    settings : CrystalSettings
    rng : numpy.random.Generator

    Returns
    -------
    ase.Atoms
        In a box of the side of the field that holds all atoms; z goes along the beam.
    """
    thickness = field.limit(count_per_volume(material))
    size = [field.side_angstrom, field.side_angstrom, thickness]
    if kind == "amorphous" or material.is_amorphous:
        return _shape(fill_with_glass(material, size, rng), rng)
    if kind == "particles":
        atoms = _make_particles(material, field, thickness, rng)
    elif kind == "grain_boundary":
        atoms = _shape(_make_bicrystal(material, size, rng), rng)
    else:
        atoms = _shape(cut_block(material, draw_orientation(material, rng), size, rng.random(3)), rng)
    if rng.random() < 0.5:
        atoms = remove_at_random(atoms, rng.uniform(*settings.vacancy_fraction), rng)
    return _add_film(atoms, rng) if rng.random() < (0.6 if kind == "particles" else 0.25) else atoms


def draw_orientation(material: Material, rng: np.random.Generator) -> Rotation:
    """Draw how a crystal lies: near a zone axis, somewhat tilted, or anyhow."""
    axes = ZONE_AXES[material.family]
    axis, turn, share = axes[rng.integers(len(axes))], rng.uniform(0, 360), rng.random()
    if share >= OFF_ZONE_AXIS:
        return Rotation.from_quat(rng.normal(size=4))
    angle = np.deg2rad(rng.uniform(0, 1.5 if share < ON_ZONE_AXIS else 10))
    azimuth = rng.uniform(0, 2 * np.pi)
    tilt = Rotation.from_rotvec(angle * np.array([np.cos(azimuth), np.sin(azimuth), 0]))
    return orient(material, axis, turn_deg=turn, tilt=tilt)


def _shape(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Give some slabs a wedge, and some an edge to vacuum."""
    side, height = atoms.cell[0, 0], atoms.cell[2, 2]
    if rng.random() < 0.4:
        far = _measure(atoms.positions, side, rng) / side + 0.5
        atoms = atoms[atoms.positions[:, 2] < height * np.clip(rng.uniform(0, 0.6) + far, 0.05, 1)]
    if rng.random() < 0.35:
        distance = _measure(atoms.positions, side, rng)
        along = atoms.positions[:, :2].sum(1)
        rough = rng.uniform(0, 3) * np.sin(along / rng.uniform(2, 12)) + rng.normal(0, 0.5, len(atoms))
        atoms = atoms[distance + rough < side * rng.uniform(-0.2, 0.3)]
    return atoms


def _measure(positions: npt.NDArray[np.float64], side: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Measure the distance from a line of any direction through the middle of the field [Å]."""
    angle = rng.uniform(0, 2 * np.pi)
    distances: npt.NDArray[np.float64] = (positions[:, :2] - side / 2) @ np.array([np.cos(angle), np.sin(angle)])
    return distances


def _make_bicrystal(material: Material, size: list[float], rng: np.random.Generator) -> Atoms:
    """Make two grains that meet at an upright plane, turned about the beam against each other, or anyhow."""
    first_lies = draw_orientation(material, rng)
    turned = Rotation.from_euler("z", rng.uniform(4, 45), degrees=True) * first_lies
    second_lies = turned if rng.random() < 0.7 else draw_orientation(material, rng)
    first, second = (cut_block(material, lies, size, rng.random(3)) for lies in (first_lies, second_lies))
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.2) * size[0]
    normal = np.array([np.cos(angle), np.sin(angle)])
    in_second = [(atoms.positions[:, :2] - size[0] / 2) @ normal > shift for atoms in (first, second)]
    return join_grains(first, second[in_second[1]], in_second[0], find_spacing(material))


def _make_particles(material: Material, field: Field, thickness: float, rng: np.random.Generator) -> Atoms:
    """Make one to four particles beside each other, as many as fit, in a box as high as the largest."""
    largest = min(field.thickness_angstrom, LARGEST_PARTICLE_ANGSTROM, max(2.5 * thickness, 12.0))
    places: list[npt.NDArray[np.float64]] = []
    particles = []
    for _ in range(rng.integers(1, 5)):
        radius = max(largest * rng.uniform(0.5, 1), 10.0) / 2
        centre = rng.uniform(0.15, 0.85, 2) * field.side_angstrom
        if any(np.hypot(*(centre - place[:2])) < radius + place[2] for place in places):
            continue
        places.append(np.array([*centre, radius]))
        distances = radius * rng.uniform(0.85, 1.2, len(FACETS[material.family]))
        particle = cut_particle(material, draw_orientation(material, rng), distances.tolist(), rng.random(3))
        particle.positions[:, :2] += centre - particle.cell[0, 0] / 2
        particle.positions[:, 2] -= particle.positions[:, 2].min(initial=np.inf) if len(particle) else 0.0
        particles.append(particle)
    atoms = sum(particles[1:], particles[0])
    is_inside = ((atoms.positions[:, :2] >= 0) & (atoms.positions[:, :2] < field.side_angstrom)).all(1)
    height = float(atoms.positions[:, 2].max(initial=1.0)) + 1.0
    atoms = atoms[is_inside]
    atoms.set_cell([field.side_angstrom, field.side_angstrom, height])
    return atoms


def _add_film(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Put the specimen on a film of amorphous carbon, which the beam meets afterwards."""
    side, height = float(atoms.cell[0, 0]), float(atoms.cell[2, 2])
    wanted = Field(side, rng.uniform(*SUPPORT_THICKNESS_ANGSTROM))
    thickness = wanted.limit(count_per_volume(MATERIALS[SUPPORT]))
    film = fill_with_glass(MATERIALS[SUPPORT], [side, side, thickness], rng)
    film.positions[:, 2] += height
    both = atoms + film
    both.set_cell([side, side, height + thickness])
    return both
