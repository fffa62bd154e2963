"""A transmission electron microscope: from atoms to the noise-free image.

The multislice and the transfer function are abTEM's (doi:10.12688/openreseurope.13015.2). What the
detector adds is in `noise.py`.
"""

from dataclasses import dataclass

import abtem
import numpy as np
import numpy.typing as npt
from ase import Atoms

from emdenoise.arrays import FloatImage


@dataclass(frozen=True)
class Optics:
    """Settings of the microscope for one image.

    Attributes
    ----------
    voltage_kv : float
        Accelerating voltage [kV].
    defocus_angstrom : float
        Positive is underfocus, as in abTEM [Å].
    spherical_aberration_um : float
        Cs [µm]; negative in a corrected microscope set for bright atoms.
    focal_spread_angstrom : float
        1/e half-width of the focus from chromatic aberration, √2 of its standard deviations, as in abTEM [Å].
    """

    voltage_kv: float
    defocus_angstrom: float
    spherical_aberration_um: float
    focal_spread_angstrom: float


def configure_abtem() -> None:
    """Make abTEM compute the same bits in every process: one thread, one FFT plan, no measured plans."""
    abtem.config.set(
        {
            "device": "cpu",
            "precision": "float32",
            "fft": "fftw",
            "fftw.planning_effort": "FFTW_ESTIMATE",
            "fftw.threads": 1,
            "dask.lazy": False,
            "diagnostics.progress_bar": False,
        }
    )


def compute_exit_wave(atoms: Atoms, *, voltage_kv: float, num_pixels: int) -> abtem.Waves:
    """Send a plane wave through the specimen.

    Parameters
    ----------
    atoms : ase.Atoms
        Orthogonal box whose height holds all atoms. They scatter in one slice and the wave is taken at the
        specimen: for one layer of carbon, fine slices change the contrast by about 1 % (a test shows it).
    voltage_kv : float
        Accelerating voltage [kV].
    num_pixels : int
        Pixels along each side of the box.

    Returns
    -------
    abtem.Waves
        The complex wave behind the specimen, complex64 (num_pixels, num_pixels), in reciprocal space, where
        `form_image` wants it; ``ensure_real_space().array`` has modulus 1 in vacuum.
    """
    energy = voltage_kv * 1e3
    potential = abtem.Potential(
        atoms,
        gpts=num_pixels,
        slice_thickness=atoms.cell[2, 2],
        parametrization="lobato",
        projection="infinite",
    ).build(lazy=False)
    plane_wave = abtem.PlaneWave(energy=energy, extent=potential.extent, gpts=num_pixels).build(lazy=False)
    exit_wave: abtem.Waves = potential[0].transmission_function(energy).transmit(plane_wave)
    return exit_wave.ensure_reciprocal_space()


def form_image(exit_wave: abtem.Waves, optics: Optics) -> FloatImage:
    """Image an exit wave with aberrations and partial temporal coherence.

    Parameters
    ----------
    exit_wave : abtem.Waves
        From `compute_exit_wave`.
    optics : Optics

    Returns
    -------
    ndarray of float32, shape (num_pixels, num_pixels)
        Intensity relative to vacuum.
    """
    transfer = abtem.CTF(
        energy=optics.voltage_kv * 1e3,
        defocus=optics.defocus_angstrom,
        Cs=optics.spherical_aberration_um * 1e4,
        focal_spread=optics.focal_spread_angstrom,
        semiangle_cutoff=np.inf,
    )
    image: npt.NDArray[np.float32] = exit_wave.apply_ctf(transfer).intensity().array
    return image.astype(np.float32, copy=False)
