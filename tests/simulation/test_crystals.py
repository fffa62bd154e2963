"""Crystals have the density, the neighbours and the shapes that the literature gives them."""

import numpy as np
import pytest
from ase.data import atomic_numbers, reference_states
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from emdenoise.config.simulation import CrystalSettings
from emdenoise.simulation.crystals import (
    cut_block,
    cut_particle,
    fill_with_glass,
    join_grains,
    measure_neighbours,
    orient,
    remove_at_random,
)
from emdenoise.simulation.materials import (
    AVOGADRO_G_ANGSTROM3,
    MATERIALS,
    Material,
    build_cell,
    count_per_volume,
    find_spacing,
)
from emdenoise.simulation.pieces import MAX_ATOMS, Field, make_piece

CRYSTALS = [material for material in MATERIALS.values() if not material.is_amorphous]
METALS = [material.name for material in CRYSTALS if material.structure in ("fcc", "bcc", "hcp")]
# CRC Handbook of Chemistry and Physics [g/cm³], from weighing and not from lattice constants.
DENSITIES = {
    "Al": 2.70,
    "Cu": 8.96,
    "Au": 19.3,
    "Fe": 7.87,
    "W": 19.3,
    "Mg": 1.74,
    "Ti": 4.51,
    "C": 3.51,
    "Si": 2.33,
    "NaCl": 2.17,
    "MgO": 3.6,
    "PbS": 7.60,
    "CsCl": 3.99,
    "GaAs": 5.32,
    "InP": 4.81,
    "CdTe": 5.85,
    "CaF2": 3.18,
    "CeO2": 7.22,
    "UO2": 10.97,
    "SrTiO3": 5.1,
    "BaTiO3": 6.02,
    "AlN": 3.26,
    "GaN": 6.1,
    "ZnO": 5.6,
    "CdSe": 5.81,
    "TiO2": 4.23,
    "SnO2": 6.85,
    "RuO2": 7.05,
    "graphite": 2.25,
    "BN": 2.27,
    "MoS2": 5.06,
    "WS2": 7.6,
}
# Number of the nearest atoms of those with the most, and their distance [Å]: textbooks of crystal chemistry.
NEIGHBOURS = {
    "Au": (12, 2.884),
    "W": (8, 2.741),
    "C": (4, 1.545),
    "Si": (4, 2.352),
    "NaCl": (6, 2.820),
    "CsCl": (8, 3.571),
    "GaAs": (4, 2.448),
    "CeO2": (8, 2.343),
    "TiO2": (6, 1.95),
    "SrTiO3": (6, 1.953),
    "graphite": (3, 1.421),
    "BN": (3, 1.446),
    "MoS2": (6, 2.41),
    "ZnO": (4, 1.98),
}
UPRIGHT = Rotation.identity()


def test_there_are_many_materials_of_many_structures() -> None:
    assert len(CRYSTALS) >= 40
    assert len({material.structure for material in CRYSTALS}) >= 12


@pytest.mark.parametrize("name", DENSITIES)
def test_a_crystal_has_the_density_that_was_weighed(name: str) -> None:
    cell = build_cell(MATERIALS[name])
    density = cell.get_masses().sum() / cell.get_volume() / AVOGADRO_G_ANGSTROM3
    assert density == pytest.approx(DENSITIES[name], rel=0.03)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_atoms_have_the_neighbours_of_their_structure(name: str) -> None:
    number, distance = NEIGHBOURS[name]
    material = MATERIALS[name]
    atoms = cut_block(material, Rotation.random(random_state=1), (25, 25, 25), (0.1, 0.2, 0.3))
    assert find_spacing(material) == pytest.approx(distance, rel=0.015)
    assert measure_neighbours(atoms, material).max() == number


@pytest.mark.parametrize(
    "name", [material.name for material in CRYSTALS if material.structure in ("fcc", "bcc", "hcp")]
)
def test_metals_have_the_lattice_constants_of_ases_reference_states(name: str) -> None:
    state = reference_states[atomic_numbers[name]]
    assert state["symmetry"] == MATERIALS[name].structure
    assert build_cell(MATERIALS[name]).cell.cellpar()[0] == pytest.approx(state["a"])


@pytest.mark.parametrize("material", CRYSTALS, ids=lambda material: material.name)
def test_a_block_is_full_whatever_way_the_crystal_lies(material: Material) -> None:
    atoms = cut_block(material, Rotation.random(random_state=2), (40, 50, 30), (0.3, 0.6, 0.9))
    expected = 40 * 50 * 30 * count_per_volume(material)
    assert len(atoms) == pytest.approx(expected, rel=0.03)
    assert (atoms.positions >= 0).all()
    assert (atoms.positions < [40, 50, 30]).all()


def test_the_direct_lattice_direction_ends_up_along_the_beam() -> None:
    mos2 = MATERIALS["MoS2"]
    lies = orient(mos2, (1, 2, 0), turn_deg=33, tilt=UPRIGHT)
    direction = lies.apply(np.array([1, 2, 0]) @ build_cell(mos2).cell.array)
    assert direction / np.linalg.norm(direction) == pytest.approx([0, 0, 1], abs=1e-9)


def test_wulff_particles_of_one_family_are_the_cube_and_the_octahedron() -> None:
    gold = MATERIALS["Au"]
    volumes = []
    for distances in ((20.0, 90.0, 90.0), (90.0, 90.0, 20.0)):
        atoms = cut_particle(gold, Rotation.random(random_state=3), distances, (0.2, 0.4, 0.6))
        volumes.append(len(atoms) / count_per_volume(gold))
    # A cube and an octahedron around a sphere of radius d have volumes 8 d³ and 4 √3 d³.
    assert volumes == pytest.approx([8 * 20**3, 4 * np.sqrt(3) * 20**3], rel=0.03)


def test_a_glass_has_its_density_and_no_two_atoms_at_one_place() -> None:
    glass = MATERIALS["amorphous C"]
    atoms = fill_with_glass(glass, (40, 40, 20), np.random.default_rng(0))
    density = atoms.get_masses().sum() / (40 * 40 * 20) / AVOGADRO_G_ANGSTROM3
    assert density == pytest.approx(2.0, rel=0.05)
    distances, _ = cKDTree(atoms.positions).query(atoms.positions, 2)
    assert np.percentile(distances[:, 1], 1) > 1.2


def test_grains_meet_without_atoms_on_top_of_each_other() -> None:
    silver = MATERIALS["Ag"]
    first, second = (cut_block(silver, Rotation.random(random_state=seed), (30, 30, 10), (0, 0, 0)) for seed in (4, 5))
    both = join_grains(first, second[second.positions[:, 0] > 15], first.positions[:, 0] > 15, find_spacing(silver))
    distances, _ = cKDTree(both.positions).query(both.positions, 2)
    assert distances[:, 1].min() >= 0.7 * find_spacing(silver) - 1e-9
    assert len(both) > 0.9 * len(first)


def test_vacancies_are_as_many_as_asked_for() -> None:
    atoms = cut_block(MATERIALS["Cu"], UPRIGHT, (40, 40, 40), (0, 0, 0))
    left = remove_at_random(atoms, 0.03, np.random.default_rng(0))
    assert 1 - len(left) / len(atoms) == pytest.approx(0.03, abs=4 * np.sqrt(0.03 / len(atoms)))


@pytest.mark.parametrize("kind", ["slab", "particles", "grain_boundary", "amorphous"])
def test_a_piece_lies_in_its_box_and_has_not_too_many_atoms(kind: str) -> None:
    for seed, name in enumerate(("Au", "MoS2", "TiO2")):
        field = Field(35.0, 25.0)
        atoms = make_piece(kind, MATERIALS[name], field, CrystalSettings(), np.random.default_rng(seed))
        assert (np.diag(atoms.cell)[:2] == 35).all()
        assert 0 < len(atoms) < 2 * MAX_ATOMS
        assert (atoms.positions >= 0).all()
        assert (atoms.positions <= np.diag(atoms.cell)).all()
