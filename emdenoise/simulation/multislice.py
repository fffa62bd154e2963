"""Sending a plane wave through a thick specimen, slice by slice.

The method and the scattering factors are abTEM's (doi:10.12688/openreseurope.13015.2), and a test compares the waves.
It is written out for speed: the potential of a slice is real, so half of its spectrum is enough, and SciPy transforms
one image five times as fast as abTEM does in one thread. A slice takes a tenth of abTEM's time.

abTEM cuts the transmission of a slice off at the pass band; here only the wave is. For 62 Å of gold at 200 kV, a hard
case, the wave below 1.2 1/Å is off by 7 % at 0.12 Å a pixel, and by 41 % at 0.25 Å; abTEM's by 9 and 67 %.
"""

import numpy as np
import numpy.typing as npt
from abtem.core.energy import energy2sigma, energy2wavelength
from ase import Atoms
from ase.data import chemical_symbols
from scipy.fft import fft2, ifft2, irfft2, rfft2

from emdenoise.simulation.potential import ThermalProjection, spread_points

PASS_BAND = 2 / 3
"""Share of the Nyquist frequency up to which waves are kept, as in abTEM: products of waves do not alias."""


def compute_thick_wave(
    atoms: Atoms,
    *,
    voltage_kv: float,
    thermal_displacement_angstrom: float,
    num_pixels: int,
    slice_thickness_angstrom: float = 2.0,
) -> npt.NDArray[np.complex64]:
    """Send a plane wave of amplitude 1 through a specimen.

    Parameters
    ----------
    atoms : ase.Atoms
        In a box with a square base, which repeats; z from 0 to its height. Each atom scatters in the middle of the
        slice of its centre.
    voltage_kv : float
        Accelerating voltage [kV].
    thermal_displacement_angstrom : float
        Root mean square displacement of each atom along each axis [Å]; see `ThermalProjection`.
    num_pixels : int
        Pixels along each side of the box.
    slice_thickness_angstrom : float
        About; slices divide the box evenly.

    Returns
    -------
    ndarray of complex64, shape (num_pixels, num_pixels)
        The wave at the lower end of the box; its modulus is 1 in vacuum.
    """
    side, height = float(atoms.cell[0, 0]), float(atoms.cell[2, 2])
    num_slices = max(1, round(height / slice_thickness_angstrom))
    propagator = _make_propagator(voltage_kv, side / num_pixels, num_pixels, height / num_slices)
    factors = _find_factors(atoms, thermal_displacement_angstrom, side / num_pixels, num_pixels)
    strength = np.float32(energy2sigma(voltage_kv * 1e3))
    slices = np.clip((atoms.positions[:, 2] / height * num_slices).astype(int), 0, num_slices - 1)
    points = atoms.positions[:, :2] * (num_pixels / side)
    wave = np.ones((num_pixels, num_pixels), np.complex64)
    for number in range(num_slices):
        spectrum = np.zeros((num_pixels, num_pixels // 2 + 1), np.complex64)
        for element, factor in factors.items():
            chosen = points[(slices == number) & (atoms.numbers == element)]
            if len(chosen):
                spectrum += rfft2(spread_points(chosen, wave.shape).astype(np.float32)) * factor
        phase = strength * irfft2(spectrum, s=wave.shape)
        transmission = np.empty_like(wave)
        transmission.real, transmission.imag = np.cos(phase), np.sin(phase)
        wave = ifft2(fft2(wave * transmission, overwrite_x=True) * propagator, overwrite_x=True)
    return wave


def _make_propagator(voltage_kv: float, sampling: float, num_pixels: int, distance: float) -> npt.NDArray[np.complex64]:
    """Make Fresnel's propagator, zero beyond the pass band."""
    frequencies = np.fft.fftfreq(num_pixels, sampling)
    squared = frequencies[:, None] ** 2 + frequencies**2
    propagator = np.exp(-1j * np.pi * energy2wavelength(voltage_kv * 1e3) * distance * squared)
    propagator[squared > (PASS_BAND / (2 * sampling)) ** 2] = 0
    return propagator.astype(np.complex64)


def _find_factors(
    atoms: Atoms, displacement: float, sampling: float, num_pixels: int
) -> dict[int, npt.NDArray[np.float32]]:
    """Find what the spectrum of the points of each element is multiplied by, for half of the frequencies."""
    projection = ThermalProjection(displacement)
    shape, samplings = (num_pixels, num_pixels), (sampling, sampling)
    gain = projection.compute_gain(np.fft.fftfreq(num_pixels), sampling).astype(np.float32)
    half = num_pixels // 2 + 1
    return {
        int(element): projection.get_scattering_factor(chemical_symbols[element], shape, samplings, "cpu")[:, :half]
        * (gain[:, None] * gain[:half])
        for element in np.unique(atoms.numbers)
    }
