"""A scanning transmission electron microscope with an annular dark-field detector, and where its probe really was.

The dark-field image is incoherent: the intensity of the probe, convolved with the projected map of what atoms scatter
to high angles, Z to a power near 1.7 (Pennycook & Jesson, doi:10.1016/0304-3991(91)90004-P). Channelling is left out,
so columns brighten in proportion to their atoms; a test compares with abTEM's multislice.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.fft import ifft2, irfft2, rfft2
from scipy.ndimage import map_coordinates, spline_filter

from emdenoise.arrays import FloatImage
from emdenoise.simulation.microscope import Optics, compute_transfer
from emdenoise.simulation.potential import ThermalProjection, spread_points

Coordinates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scan:
    """How the beam went over the specimen, in pixels of the image.

    Attributes
    ----------
    drift_px : (float, float)
        By how much rows and columns of the specimen moved from the first row to the last.
    flyback_px : float
        Distance by which the beam lags at the left border.
    flyback_length_px : float
        After so many pixels of a row the lag is 1/e of that.
    row_jitter_px : float
        Standard deviation of the shift of each row along itself.
    """

    drift_px: tuple[float, float] = (0.0, 0.0)
    flyback_px: float = 0.0
    flyback_length_px: float = 8.0
    row_jitter_px: float = 0.0


def map_dark_field(
    atoms: Atoms, *, num_pixels: int, exponent: float, thermal_displacement_angstrom: float
) -> npt.NDArray[np.complex64]:
    """Map what the atoms scatter onto an annular detector, as half of its spectrum.

    Parameters
    ----------
    atoms : ase.Atoms
        In a box with a square base, which repeats.
    num_pixels : int
        Along each side of the box.
    exponent : float
        Of the atomic number.
    thermal_displacement_angstrom : float
        Root mean square displacement along each axis [Å].

    Returns
    -------
    ndarray of complex64, shape (num_pixels, num_pixels // 2 + 1)
        Transform of a map whose sum is that of Z^exponent over the atoms.
    """
    side = float(atoms.cell[0, 0])
    weights = atoms.numbers.astype(float) ** exponent
    density = spread_points(atoms.positions[:, :2] * (num_pixels / side), (num_pixels, num_pixels), weights)
    gain = ThermalProjection(thermal_displacement_angstrom).compute_gain(np.fft.fftfreq(num_pixels), side / num_pixels)
    gain = (gain * side / num_pixels).astype(np.float32)
    spectrum: npt.NDArray[np.complex64] = rfft2(density.astype(np.float32))
    return spectrum * (gain[:, None] * gain[: num_pixels // 2 + 1])


def form_dark_field(
    spectrum: npt.NDArray[np.complex64], sampling_angstrom: float, optics: Optics, *, source_angstrom: float
) -> FloatImage:
    """Convolve the map of the specimen with the intensity of the probe.

    Parameters
    ----------
    spectrum : ndarray of complex64, shape (num_pixels, num_pixels // 2 + 1)
        From `map_dark_field`.
    sampling_angstrom : float
        Pixel size of the map [Å].
    optics : Optics
        Its aperture and aberrations make the probe; focal spread is an envelope, as for images.
    source_angstrom : float
        Standard deviation of the demagnified source along each axis [Å].

    Returns
    -------
    ndarray of float32, shape (num_pixels, num_pixels)
        At least 0; same sum as the map.
    """
    num_pixels = len(spectrum)
    frequencies = np.fft.fftfreq(num_pixels, sampling_angstrom)
    probe = np.abs(ifft2(compute_transfer(frequencies.astype(np.float32), optics))) ** 2
    blur = np.exp(-2 * (np.pi * source_angstrom * frequencies) ** 2).astype(np.float32)
    transfer = rfft2(probe / probe.sum()) * (blur[:, None] * blur[: num_pixels // 2 + 1])
    image: FloatImage = irfft2(spectrum * transfer, s=(num_pixels, num_pixels)).astype(np.float32)
    return np.maximum(image, 0)


def average_over_pixels(image: FloatImage, width: float) -> FloatImage:
    """Average a repeating image over squares of this width [px of the image], as the pixels of a camera do."""
    gain = np.sinc(np.fft.fftfreq(len(image)) * width).astype(np.float32)
    half = len(image) // 2 + 1
    averaged: FloatImage = irfft2(rfft2(image) * (gain[:, None] * gain[:half]), s=image.shape)
    return np.maximum(averaged, 0)


def locate_pixels(shape: tuple[int, int], scan: Scan) -> Coordinates:
    """Locate where the beam is for each pixel, without jitter: float64 (2, height, width), in pixels."""
    rows, columns = np.indices(shape, float)
    time = rows / max(shape[0] - 1, 1)
    lag = scan.flyback_px * np.exp(-columns / scan.flyback_length_px)
    return np.stack([rows + scan.drift_px[0] * time, columns + scan.drift_px[1] * time - lag])


def shake_rows(places: Coordinates, scan: Scan, rng: np.random.Generator) -> Coordinates:
    """Shift each row along itself at random."""
    shift = rng.normal(0, scan.row_jitter_px, (places.shape[1], 1))
    return np.stack([places[0], places[1] + shift])


def sample(image: FloatImage, places: Coordinates) -> FloatImage:
    """Read a repeating image between its pixels, by cubic splines; at least 0.

    Parameters
    ----------
    image : ndarray of float32, shape (num_pixels, num_pixels)
        Whose frequencies stay well below Nyquist's.
    places : ndarray of float64, shape (2, height, width)
        Rows and columns [px of the image].
    """
    filtered = spline_filter(image, order=3, mode="grid-wrap", output=np.float32)
    values: FloatImage = map_coordinates(filtered, places, order=3, mode="grid-wrap", prefilter=False)
    return np.maximum(values, 0)
