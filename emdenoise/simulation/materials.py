"""MATERIALS: the crystals and glasses of source crystals, and their unit cells.

Lattice constants at room temperature, in Å. Those of the elements are ASE's reference states. Those of the compounds
are the usual ones of R. W. G. Wyckoff, Crystal Structures (1963), and the CRC Handbook of Chemistry and Physics. A test
compares the densities that follow with measured ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers
from ase.spacegroup import crystal

Structure = Literal[
    "fcc",
    "bcc",
    "hcp",
    "diamond",
    "rocksalt",
    "caesium_chloride",
    "zinc_blende",
    "wurtzite",
    "fluorite",
    "rutile",
    "perovskite",
    "graphite",
    "boron_nitride",
    "disulfide",
    "amorphous",
]
AVOGADRO_G_ANGSTROM3 = 0.602214
"""Atomic mass units per Å³ in a g/cm³."""


@dataclass(frozen=True)
class Material:
    """A substance whose atoms are known.

    Attributes
    ----------
    formula : str
        Chemical formula, elements in the order of the sites of the structure.
    structure : str
    a, c : float
        Lattice constants [Å]; `c` is 0 where the structure has one only, both are 0 for elements, which ASE knows.
    internal : float
        The free coordinate of wurtzite (u), rutile (x) and the disulfides (z), in units of the cell.
    density_g_per_cm3 : float
        Of a glass; 0 for crystals, whose cell says it.
    """

    formula: str
    structure: Structure
    a: float = 0.0
    c: float = 0.0
    internal: float = 0.0
    density_g_per_cm3: float = 0.0

    @property
    def name(self) -> str:
        """Names the specimen: the formula, for a glass with its state."""
        return f"amorphous {self.formula}" if self.is_amorphous else self.formula

    @property
    def is_amorphous(self) -> bool:
        """Whether there is no lattice."""
        return self.structure == "amorphous"

    @property
    def family(self) -> str:
        """Which directions are alike: of a cubic, a tetragonal or a hexagonal crystal."""
        if self.structure == "rutile":
            return "tetragonal"
        hexagonal = ("hcp", "wurtzite", "graphite", "boron_nitride", "disulfide")
        return "hexagonal" if self.structure in hexagonal else "cubic"


_ELEMENTS: dict[Structure, str] = {
    "fcc": "Al Ni Cu Rh Pd Ag Ir Pt Au Pb",
    "bcc": "V Cr Fe Nb Mo Ta W",
    "hcp": "Mg Ti Co Zn Zr Ru Re",
    "diamond": "C Si Ge",
}
_CUBIC: dict[Structure, dict[str, float]] = {
    "rocksalt": {
        "LiF": 4.026,
        "NaCl": 5.640,
        "MgO": 4.212,
        "CaO": 4.811,
        "NiO": 4.177,
        "TiN": 4.241,
        "PbS": 5.936,
        "PbTe": 6.462,
    },
    "caesium_chloride": {"CsCl": 4.123, "NiAl": 2.887},
    "zinc_blende": {
        "SiC": 4.360,
        "GaP": 5.451,
        "GaAs": 5.653,
        "InP": 5.869,
        "InAs": 6.058,
        "ZnS": 5.409,
        "CdTe": 6.482,
    },
    "fluorite": {"CaF2": 5.463, "CeO2": 5.411, "UO2": 5.471, "ThO2": 5.597},
    "perovskite": {"SrTiO3": 3.905, "BaTiO3": 4.006, "KTaO3": 3.989, "BaZrO3": 4.193, "LaAlO3": 3.790},
}
_UNIAXIAL: dict[Structure, dict[str, tuple[float, float, float]]] = {
    "wurtzite": {
        "AlN": (3.112, 4.982, 0.382),
        "GaN": (3.189, 5.185, 0.377),
        "ZnO": (3.250, 5.207, 0.382),
        "CdSe": (4.300, 7.011, 0.377),
    },
    "rutile": {
        "TiO2": (4.594, 2.959, 0.305),
        "SnO2": (4.737, 3.186, 0.307),
        "RuO2": (4.492, 3.107, 0.306),
        "IrO2": (4.498, 3.154, 0.308),
    },
    "graphite": {"graphite": (2.461, 6.708, 0.0)},
    "boron_nitride": {"BN": (2.504, 6.661, 0.0)},
    "disulfide": {
        "MoS2": (3.160, 12.294, 0.621),
        "WS2": (3.153, 12.323, 0.622),
        "MoSe2": (3.288, 12.900, 0.621),
        "WSe2": (3.282, 12.960, 0.621),
    },
}
_GLASSES = {"C": 2.0, "Si": 2.29, "Ge": 5.3, "SiO2": 2.20, "Si3N4": 3.0, "Al2O3": 3.1}

MATERIALS: dict[str, Material] = {
    material.name: material
    for material in (
        *(Material(formula, kind) for kind, names in _ELEMENTS.items() for formula in names.split()),
        *(Material(formula, kind, a) for kind, cells in _CUBIC.items() for formula, a in cells.items()),
        *(
            Material(formula, kind, a, c, internal)
            for kind, cells in _UNIAXIAL.items()
            for formula, (a, c, internal) in cells.items()
        ),
        *(Material(formula, "amorphous", density_g_per_cm3=density) for formula, density in _GLASSES.items()),
    )
}
"""By name."""


@cache
def build_cell(material: Material) -> Atoms:
    """Build the unit cell of a crystal: the cubic one where there is one, else with the c axis along z.

    Examples
    --------
    >>> len(build_cell(MATERIALS["Au"])), len(build_cell(MATERIALS["SrTiO3"]))
    (4, 5)
    """
    if material.structure not in _BUILDERS:
        raise ValueError(f"{material.name} has no unit cell")
    atoms = _BUILDERS[material.structure](material)
    atoms.wrap()
    return atoms


@cache
def find_spacing(material: Material) -> float:
    """Find the smallest distance of two atoms, which is about that of lattice planes [Å]."""
    if material.is_amorphous:
        return float(count_per_volume(material) ** (-1 / 3))
    distances = (build_cell(material) * (2, 2, 2)).get_all_distances(mic=True)
    return float(distances[distances > 0].min())


def count_per_volume(material: Material) -> float:
    """Compute how many atoms there are in an Å³."""
    if not material.is_amorphous:
        cell = build_cell(material)
        return float(len(cell) / cell.get_volume())
    masses = Atoms(material.formula).get_masses()
    return float(material.density_g_per_cm3 * AVOGADRO_G_ANGSTROM3 / masses.mean())


def list_numbers(material: Material) -> npt.NDArray[np.int64]:
    """List the atomic numbers of a formula unit."""
    numbers = Atoms(material.formula).numbers if material.formula != "graphite" else [atomic_numbers["C"]]
    return np.asarray(numbers, np.int64)


def _build_element(material: Material) -> Atoms:
    return bulk(material.formula, cubic=material.structure != "hcp")


def _build_cubic(material: Material) -> Atoms:
    names = {"caesium_chloride": "cesiumchloride", "zinc_blende": "zincblende"}
    return bulk(material.formula, names.get(material.structure, material.structure), a=material.a, cubic=True)


def _build_wurtzite(material: Material) -> Atoms:
    return bulk(material.formula, "wurtzite", a=material.a, c=material.c, u=material.internal)


def _build_perovskite(material: Material) -> Atoms:
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
    return Atoms(material.formula, scaled_positions=sites, cell=3 * [material.a], pbc=True)


def _build_rutile(material: Material) -> Atoms:
    symbols = list(Atoms(material.formula).symbols)[:2]
    sites = [(0, 0, 0), (material.internal, material.internal, 0)]
    return _build_by_group(material, symbols, sites, 136)


def _build_graphite(material: Material) -> Atoms:
    return _build_by_group(material, ["C", "C"], [(0, 0, 0.25), (1 / 3, 2 / 3, 0.25)], 194)


def _build_boron_nitride(material: Material) -> Atoms:
    return _build_by_group(material, ["B", "N"], [(1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.25)], 194)


def _build_disulfide(material: Material) -> Atoms:
    symbols = list(Atoms(material.formula).symbols)[:2]
    return _build_by_group(material, symbols, [(1 / 3, 2 / 3, 0.25), (1 / 3, 2 / 3, material.internal)], 194)


def _build_by_group(
    material: Material, symbols: list[str], sites: Sequence[tuple[float, float, float]], group: int
) -> Atoms:
    angle = 120 if material.family == "hexagonal" else 90
    cell = [material.a, material.a, material.c, 90, 90, angle]
    return crystal(symbols, sites, spacegroup=group, cellpar=cell)


_BUILDERS: dict[Structure, Callable[[Material], Atoms]] = {
    **dict.fromkeys(_ELEMENTS, _build_element),
    **dict.fromkeys(_CUBIC, _build_cubic),
    "perovskite": _build_perovskite,
    "wurtzite": _build_wurtzite,
    "rutile": _build_rutile,
    "graphite": _build_graphite,
    "boron_nitride": _build_boron_nitride,
    "disulfide": _build_disulfide,
}
