"""The projected potential of atoms that heat moves, as the thermal average.

abTEM's parametrisation and multislice (doi:10.12688/openreseurope.13015.2) stay; how atoms come onto the grid is of our
own. abTEM shares an atom among four pixels, and so blurs it by how far it is from their centres: 3 % of the contrast of
graphene at 0.155 Å a pixel, more than the heat of a room does (`docs/decisions/0017-thermal-average.md`).
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from abtem.core.fft import fft2, ifft2
from abtem.integrals import ScatteringFactorProjectionIntegrals
from abtem.parametrizations import LobatoParametrization
from ase import Atoms
from ase.data import chemical_symbols


@cache
def _load_scattering_factors() -> LobatoParametrization:
    """Read abTEM's table once; by its name it would be read from the disk for each specimen."""
    return LobatoParametrization()


class ThermalProjection(ScatteringFactorProjectionIntegrals):
    """Projects Lobato's potentials of atoms at their mean positions, each smeared by its thermal motion.

    The average of a potential over normal displacements of root mean square u along each axis is the potential times
    the Debye-Waller factor exp(-2 π² u² q²) in reciprocal space (Kirkland, Advanced Computing in Electron Microscopy,
    doi:10.1007/978-3-030-33260-0). It does not matter whether neighbours move together.

    Parameters
    ----------
    thermal_displacement_angstrom : float
        Root mean square u of the displacement of each atom along each axis [Å]; 0 for atoms at rest.

    Examples
    --------
    >>> atoms = Atoms("C", positions=[(2.03, 1.9, 2)], cell=(4, 4, 4), pbc=True)
    >>> grid = {"a": 0, "b": 4, "gpts": (32, 32), "sampling": (0.125, 0.125)}
    >>> cold, warm = (ThermalProjection(u).integrate_on_grid(atoms, **grid) for u in (0, 0.1))
    >>> bool(warm.max() < cold.max()), round(float(warm.sum() / cold.sum()), 4)
    (True, 1.0)
    """

    def __init__(self, thermal_displacement_angstrom: float) -> None:
        super().__init__(_load_scattering_factors())
        self.thermal_displacement_angstrom = thermal_displacement_angstrom

    def integrate_on_grid(
        self,
        atoms: Atoms,
        *,
        a: float,
        b: float,
        gpts: tuple[int, int],
        sampling: tuple[float, float],
        device: str = "cpu",
    ) -> npt.NDArray[np.float32]:
        """Compute the potential as abTEM asks for it: projected along the beam, in V Å, float32 of shape `gpts`.

        Parameters
        ----------
        atoms : ase.Atoms
            At their mean positions.
        a, b : float
            Bounds of the slice [Å], without effect: an atom belongs whole to the slice of its centre.
        gpts : (int, int)
            Pixels along each axis.
        sampling : (float, float)
            Pixel size along each axis [Å].
        device : str
            As abTEM names it; the processor is the only one.
        """
        spectrum = np.zeros(gpts, np.complex64)
        for number in np.unique(atoms.numbers):
            points = atoms.positions[atoms.numbers == number, :2] / sampling
            factors = self.get_scattering_factor(chemical_symbols[number], gpts, sampling, device)
            spectrum += fft2(spread_points(points, gpts).astype(np.complex64), overwrite_x=True) * factors
        rows, columns = (
            self.compute_gain(np.fft.fftfreq(num_pixels), pixel_size).astype(np.float32)
            for num_pixels, pixel_size in zip(gpts, sampling, strict=True)
        )
        spectrum *= rows[:, None] * columns
        potential: npt.NDArray[np.float32] = ifft2(spectrum, overwrite_x=True).real
        return potential

    def compute_gain(self, frequencies: npt.NDArray[np.floating], pixel_size: float) -> npt.NDArray[np.floating]:
        """Compute the Debye-Waller factor along an axis, take off the blur of the spline, and divide by the pixel size.

        Frequencies are in cycles per pixel.
        """
        exponents = 2 * (np.pi * self.thermal_displacement_angstrom / pixel_size * frequencies) ** 2
        gain: npt.NDArray[np.floating] = np.exp(-exponents) / np.sinc(frequencies) ** 4 / pixel_size
        return gain


def spread_points(
    points: npt.NDArray[np.float64], shape: tuple[int, int], amounts: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Share each point [px] among 4 × 4 pixels of a periodic grid, by cubic B-splines around it.

    The blur is the same wherever a point lies between pixels, but for frequencies that no image here has: that of the
    lattice, 2.13 Å at 0.155 Å a pixel, is off by 3e-5.
    """
    corners = np.floor(points).astype(np.intp)
    steps = np.arange(-1, 3)
    places, weights = [], []
    for axis, num_pixels in enumerate(shape):
        far = (points - corners)[:, axis]
        near = 1 - far
        weights.append(np.stack([near**3, 4 - 3 * far**2 * (1 + near), 4 - 3 * near**2 * (1 + far), far**3], 1) / 6)
        places.append((corners[:, axis, None] + steps) % num_pixels)
    if amounts is not None:  # of each point; else 1
        weights[0] = weights[0] * amounts[:, None]
    flat = places[0][:, :, None] * shape[1] + places[1][:, None, :]
    shares = weights[0][:, :, None] * weights[1][:, None, :]
    density = np.bincount(flat.ravel(), weights=shares.ravel(), minlength=shape[0] * shape[1])
    return density.astype(np.float64, copy=False).reshape(shape)
