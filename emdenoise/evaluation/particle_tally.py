"""What a test finds of the particles of all images: which are found, missed and invented, and how large they are."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from emdenoise.arrays import Values
from emdenoise.evaluation.metrics.instances import find_overlaps, list_diameters, match_particles
from emdenoise.evaluation.particles import ANGSTROM_PER_NM, Particles, count_particles, separate_particles


class Detection(NamedTuple):
    """The particles of an image by what became of them, each with the number that it had; 0 elsewhere.

    Attributes
    ----------
    found, invented : ndarray of int, shape (height, width)
        Predicted particles with and without a true partner.
    missed : ndarray of int, shape (height, width)
        True particles without a predicted partner.
    """

    found: Particles
    missed: Particles
    invented: Particles

    def count_each(self) -> tuple[int, int, int]:
        """Count the particles that are found, missed and invented."""
        found, missed, invented = (count_particles(particles) for particles in self)
        return found, missed, invented


def detect_particles(predicted: Particles, true: Particles) -> Detection:
    """Tell which particles are found, missed and invented, matched as AP50 (COCO) matches them.

    Parameters
    ----------
    predicted, true : ndarray of int, shape (height, width)
        Number of the particle of each pixel, 0 for none.

    Returns
    -------
    Detection

    Examples
    --------
    >>> detect_particles(np.array([[1, 1, 0, 2, 0]]), np.array([[1, 1, 0, 0, 2]])).count_each()
    (1, 1, 1)
    """
    true_partners, predicted_partners = match_particles(find_overlaps(predicted, true)).T
    is_found = np.isin(predicted, predicted_partners)
    return Detection(
        found=np.where(is_found, predicted, 0),
        missed=np.where(np.isin(true, true_partners), 0, true),
        invented=np.where(is_found, 0, predicted),
    )


@dataclass
class ParticleTally:
    """Counts and sizes over many images, added one by one.

    Attributes
    ----------
    num_images, num_found, num_missed, num_invented : int
    num_cut : dict of str to int
        Particles that the border of an image cuts, whose size is not known: ``true`` and ``predicted``.
    """

    num_images: int = 0
    num_found: int = 0
    num_missed: int = 0
    num_invented: int = 0
    num_cut: dict[str, int] = field(default_factory=lambda: {"true": 0, "predicted": 0})
    _diameters_px: dict[str, list[Values]] = field(default_factory=lambda: {"true": [], "predicted": []})
    _pixel_sizes_angstrom: list[float] = field(default_factory=list)

    def add(self, mask: npt.NDArray[np.bool_], true: Particles, pixel_size_angstrom: float) -> None:
        """Add an image.

        Parameters
        ----------
        mask : ndarray of bool, shape (height, width)
            Whether a pixel is predicted to be particle.
        true : ndarray of int, shape (height, width)
            Number of the true particle of each pixel, 0 for none.
        pixel_size_angstrom : float
            Pixel size [Å]; NaN where it is not known.
        """
        predicted = separate_particles(mask)
        found, missed, invented = detect_particles(predicted, true).count_each()
        self.num_images += 1
        self.num_found += found
        self.num_missed += missed
        self.num_invented += invented
        for name, particles in (("true", true), ("predicted", predicted)):
            diameters = list_diameters(particles)
            self._diameters_px[name].append(diameters)
            self.num_cut[name] += count_particles(particles) - len(diameters)
        self._pixel_sizes_angstrom.append(pixel_size_angstrom)

    @property
    def unit(self) -> str:
        """Unit of the diameters: nm if the pixel size of every image is known, else px."""
        return "nm" if np.isfinite(self._pixel_sizes_angstrom).all() else "px"

    def list_diameters(self) -> dict[str, Values]:
        """List the equivalent diameters of particles that no border cuts, ``true`` and ``predicted``, in `unit`."""
        in_nm = self.unit == "nm"
        steps = [size / ANGSTROM_PER_NM if in_nm else 1.0 for size in self._pixel_sizes_angstrom]
        return {
            name: np.concatenate([np.empty(0), *(step * own for step, own in zip(steps, images, strict=True))])
            for name, images in self._diameters_px.items()
        }


@dataclass(frozen=True)
class ReportedParticles:
    """What a report shows of the particles of a test.

    Attributes
    ----------
    tally : ParticleTally
        Of the network, over all test images.
    shown : list of ndarray of int, shape (height, width)
        Number of the true particle of each pixel, of the images that the report shows.
    """

    tally: ParticleTally
    shown: list[Particles]
