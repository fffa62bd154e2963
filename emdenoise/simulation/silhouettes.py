"""Specimens at low magnification, where no lattice is seen: how thick they are, pixel by pixel.

Ellipsoids and flat-topped discs on a film whose thickness is granular. What the beam does is coarse: it is weakened by
exp(-t / Λ), and the wave lags by at most `MAX_PHASE_RAD`, enough for Fresnel fringes; pixels of several Å cannot hold
the phase of a thick edge.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from emdenoise.arrays import FloatImage

MAX_PHASE_RAD = 1.5
MAX_PARTICLES = 15
MEAN_FREE_PATHS_ANGSTROM = (500.0, 4000.0)
"""Of the loss to the objective aperture; short for heavy elements."""
RADII_SHARE = (0.03, 0.3)
"""Of the radii in the side of the field."""


@dataclass(frozen=True)
class Silhouette:
    """Thickness of what is in the field.

    Attributes
    ----------
    thickness, film : ndarray of float32, shape (num_pixels, num_pixels)
        Of the particles and of the film below them [Å].
    """

    thickness: FloatImage
    film: FloatImage

    def make_wave(self, mean_free_path_angstrom: float) -> npt.NDArray[np.complex64]:
        """Make the wave behind the specimen."""
        total = self.thickness + 0.3 * self.film
        phase = MAX_PHASE_RAD * np.tanh(total / 150)
        wave: npt.NDArray[np.complex64] = np.exp(1j * phase - total / (2 * mean_free_path_angstrom))
        return wave.astype(np.complex64)

    def make_dark_field(self) -> FloatImage:
        """Make the map of what is scattered to high angles, in any unit: a light film, heavy particles."""
        return self.thickness + np.float32(0.1) * self.film


def draw_silhouette(num_pixels: int, sampling_angstrom: float, rng: np.random.Generator) -> Silhouette:
    """Draw some particles and a film or none.

    Parameters
    ----------
    num_pixels : int
        Along each side.
    sampling_angstrom : float
        Pixel size [Å].
    rng : numpy.random.Generator
    """
    rows, columns = np.mgrid[:num_pixels, :num_pixels] / num_pixels
    thickness = np.zeros((num_pixels, num_pixels))
    for _ in range(rng.integers(1, MAX_PARTICLES + 1)):
        radius = np.exp(rng.uniform(*np.log(RADII_SHARE)))
        row, column = rng.uniform(-0.1, 1.1, 2)
        turn, ratio, sharpness = rng.uniform(0, np.pi), rng.uniform(0.5, 1), rng.choice([2.0, 2.0, 4.0, 10.0])
        along = (rows - row) * np.cos(turn) + (columns - column) * np.sin(turn)
        across = (columns - column) * np.cos(turn) - (rows - row) * np.sin(turn)
        inside = 1 - np.abs(along / radius) ** sharpness - np.abs(across / (radius * ratio)) ** sharpness
        height = min(2 * radius * ratio * num_pixels * sampling_angstrom, 800.0)
        thickness = np.maximum(thickness, height * np.sqrt(np.clip(inside, 0, None)))
    film = np.zeros_like(thickness)
    if rng.random() < 0.7:
        grains = gaussian_filter(rng.normal(size=thickness.shape), rng.uniform(0.6, 2.5), mode="wrap")
        film = rng.uniform(50, 300) * np.clip(1 + rng.uniform(0.02, 0.2) * grains / grains.std(), 0.1, None)
    return Silhouette(gaussian_filter(thickness, 0.7).astype(np.float32), film.astype(np.float32))
