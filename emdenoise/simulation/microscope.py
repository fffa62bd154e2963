"""A transmission electron microscope: from atoms to the noise-free image.

The transmission function is abTEM's (doi:10.12688/openreseurope.13015.2); so is the image, to the bit, but its transfer
function is written out, for speed. The potential is in `potential.py`, and what the detector adds in `detector.py`.
"""

from dataclasses import dataclass

import abtem
import numpy as np
import numpy.typing as npt
from abtem.core.complex import abs2, complex_exponential
from abtem.core.energy import energy2wavelength
from abtem.core.fft import ifft2
from ase import Atoms

from emdenoise.arrays import FloatImage
from emdenoise.simulation.potential import ThermalProjection


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
    convergence_semiangle_mrad : float
        1/e half-width of the directions from which the beam arrives, √2 of their standard deviations along an axis, as
        abTEM's angular spread [mrad]; 0 is a parallel beam.
    astigmatism_angstrom : float
        Twofold: by how much the focus differs from its mean in the direction of `astigmatism_deg` [Å]; abTEM's C12.
    astigmatism_deg : float
        From the axis of the rows to that of the columns [deg].
    aperture_mrad : float
        Semi-angle of the objective aperture, whose edge is sharp [mrad].
    """

    voltage_kv: float
    defocus_angstrom: float
    spherical_aberration_um: float
    focal_spread_angstrom: float
    convergence_semiangle_mrad: float = 0.0
    astigmatism_angstrom: float = 0.0
    astigmatism_deg: float = 0.0
    aperture_mrad: float = float("inf")


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


def compute_exit_wave(
    atoms: Atoms, *, voltage_kv: float, thermal_displacement_angstrom: float, num_pixels: int
) -> abtem.Waves:
    """Send a plane wave of amplitude 1 through the specimen.

    The image of this wave is the average over the thermal motion to 0.5 % of its contrast: what is missing are the
    electrons that heat scatters beside the lattice's reflections (a test compares the two).

    Parameters
    ----------
    atoms : ase.Atoms
        Orthogonal box whose height holds all atoms, at their mean positions. They scatter in one slice and the wave is
        taken at the specimen: for one layer of carbon, fine slices change the contrast by about 1 % (a test shows it).
    voltage_kv : float
        Accelerating voltage [kV].
    thermal_displacement_angstrom : float
        Root mean square displacement of each atom along each axis [Å]; see `ThermalProjection`.
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
        integrator=ThermalProjection(thermal_displacement_angstrom),
    ).build(lazy=False)
    transmission = potential[0].transmission_function(energy)
    # Times the plane wave, which is 1 everywhere before the specimen.
    exit_wave = abtem.Waves(transmission.array[0], energy=energy, extent=potential.extent)
    return exit_wave.ensure_reciprocal_space()


def form_image(exit_wave: abtem.Waves, optics: Optics) -> FloatImage:
    """Image an exit wave with aberrations and partial coherence, temporal and spatial.

    Both kinds of coherence are envelopes of the transfer function (quasi-coherent imaging): exact for what is linear in
    the scattered wave, which for graphene is all but 2 to 3 % of the contrast.

    Parameters
    ----------
    exit_wave : abtem.Waves
        From `compute_exit_wave`; square.
    optics : Optics

    Returns
    -------
    ndarray of float32, shape (num_pixels, num_pixels)
        Intensity relative to vacuum.
    """
    return image_spectrum(exit_wave.ensure_reciprocal_space().array, exit_wave.sampling[0], optics)


def image_spectrum(spectrum: npt.NDArray[np.complex64], sampling_angstrom: float, optics: Optics) -> FloatImage:
    """Image an exit wave, as `form_image`, that is given by its Fourier transform.

    Parameters
    ----------
    spectrum : ndarray of complex64, shape (num_pixels, num_pixels)
        Of the wave whose modulus is 1 in vacuum.
    sampling_angstrom : float
        Pixel size of the wave [Å].
    optics : Optics
    """
    num_pixels = len(spectrum)
    frequencies = np.fft.fftfreq(num_pixels, sampling_angstrom)
    if optics.astigmatism_angstrom:
        transfer = compute_transfer(frequencies.astype(np.float32), optics)
    else:  # the four quadrants are alike
        distances = np.minimum(np.arange(num_pixels), num_pixels - np.arange(num_pixels))  # of pixels from frequency 0
        quadrant = np.abs(frequencies[: num_pixels // 2 + 1]).astype(np.float32)
        transfer = compute_transfer(quadrant, optics)[np.ix_(distances, distances)]
    # Not `spectrum * …`: NumPy would swap the factors where the second is a nameless array, and bits would change.
    image: FloatImage = abs2(ifft2(np.multiply(spectrum, transfer)))
    return image


def compute_transfer(frequencies: npt.NDArray[np.float32], optics: Optics) -> npt.NDArray[np.complex64]:
    """Compute the transfer function for some frequencies along both axes; the same bits as abTEM's.

    Kirkland, Advanced Computing in Electron Microscopy, chapter 3 (doi:10.1007/978-3-030-33260-0); frequencies are
    those of an axis [1/Å]. The spatial envelope is exp(-(π α_s / λ)² (C₃₀ α³ - Δf α)²): a beam that is tilted
    by β shifts what frequency α / λ contributes by β times the slope of the path; α_s is the tilt where it is 1/e.
    The slope is taken without astigmatism.
    """
    wavelength = energy2wavelength(optics.voltage_kv * 1e3)
    angles = np.sqrt(frequencies[:, None] ** 2 + frequencies**2) * np.float32(wavelength)
    spherical_aberration_angstrom = optics.spherical_aberration_um * 1e4
    path = (
        angles**4 * np.float32(spherical_aberration_angstrom) / 4 - angles**2 * np.float32(optics.defocus_angstrom) / 2
    )
    envelope = np.exp(-((np.float32(np.pi / 2 / wavelength * optics.focal_spread_angstrom) * angles**2) ** 2))
    if optics.convergence_semiangle_mrad > 0:
        slope = angles**3 * np.float32(spherical_aberration_angstrom) - angles * np.float32(optics.defocus_angstrom)
        envelope *= np.exp(-((np.float32(np.pi / wavelength * optics.convergence_semiangle_mrad * 1e-3) * slope) ** 2))
    if optics.astigmatism_angstrom:
        azimuths = np.arctan2(frequencies, frequencies[:, None]) - np.float32(np.deg2rad(optics.astigmatism_deg))
        path = path + angles**2 * np.cos(2 * azimuths) * np.float32(optics.astigmatism_angstrom / 2)
    if np.isfinite(optics.aperture_mrad):
        envelope = np.where(angles <= optics.aperture_mrad * 1e-3, envelope, np.float32(0))
    transfer: npt.NDArray[np.complex64] = complex_exponential(np.float32(-2 * np.pi / wavelength) * path) * envelope
    return transfer
