"""Atoms found in a restored image against the atoms that were simulated.

What a microscopist wants from a denoised image is where the atoms are. The same detector with the same constants
looks at every method's images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max

from emdenoise.arrays import FloatImage
from emdenoise.evaluation.metrics.contract import Case, Metric

SMOOTHING_ANGSTROM = 0.2
MIN_DISTANCE_ANGSTROM = 0.9
"""Two atoms of graphene are 1.42 Å apart; anything closer is noise."""
MIN_HEIGHT = 0.25
"""Height of a peak above its surroundings, in standard deviations of the image."""

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DetectionScore:
    """How well the atoms of one image were found.

    Attributes
    ----------
    f1 : float
        Harmonic mean of precision and recall, in [0, 1].
    error_angstrom : float
        Root mean square distance of found atoms from the true ones [Å]; NaN where none was found.
    """

    f1: float
    error_angstrom: float


def detect_atoms(image: FloatImage, *, pixel_size_angstrom: float) -> Points:
    """Find bright atoms.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        Atoms are brighter than their surroundings.
    pixel_size_angstrom : float
        Pixel size [Å].

    Returns
    -------
    ndarray of float64, shape (num_atoms, 2)
        Row and column [px], refined below a pixel by a parabola through the peak and its neighbours.
    """
    smooth = gaussian_filter(image.astype(np.float64), SMOOTHING_ANGSTROM / pixel_size_angstrom)
    surroundings = gaussian_filter(smooth, 1.42 / pixel_size_angstrom)
    contrast = smooth - surroundings
    peaks = peak_local_max(
        contrast,
        min_distance=max(1, round(MIN_DISTANCE_ANGSTROM / pixel_size_angstrom / 2)),
        threshold_abs=max(MIN_HEIGHT * float(contrast.std()), 1e-12),
        exclude_border=1,
    )
    if not len(peaks):
        return np.empty((0, 2))
    rows, columns = peaks.T
    centre = contrast[rows, columns]
    offsets = np.stack(
        [
            _find_parabola_top(contrast[rows - 1, columns], centre, contrast[rows + 1, columns]),
            _find_parabola_top(contrast[rows, columns - 1], centre, contrast[rows, columns + 1]),
        ],
        axis=1,
    )
    refined: Points = peaks + offsets
    return refined


def _find_parabola_top(before: Points, centre: Points, after: Points) -> Points:
    curvature = before - 2 * centre + after
    safe = np.where(curvature < 0, curvature, -1.0)
    return np.where(curvature < 0, np.clip(0.5 * (before - after) / safe, -0.5, 0.5), 0.0)


def score_atoms(
    image: FloatImage, atoms: npt.NDArray[np.floating], *, pixel_size_angstrom: float, tolerance_angstrom: float
) -> DetectionScore:
    """Detect atoms and match them one to one with the true ones, nearest pairs first.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    atoms : ndarray of float, shape (num_atoms, 2)
        True rows and columns [px].
    pixel_size_angstrom : float
        Pixel size [Å].
    tolerance_angstrom : float
        Largest distance of a match [Å]. Atoms closer than twice this to the border count neither as found nor as
        missed.

    Returns
    -------
    DetectionScore
    """
    tolerance_px = tolerance_angstrom / pixel_size_angstrom
    found = detect_atoms(image, pixel_size_angstrom=pixel_size_angstrom)
    found, true = (_keep_inner(points, image.shape, 2 * tolerance_px) for points in (found, np.asarray(atoms, float)))
    if not len(found) or not len(true):
        return DetectionScore(f1=float(len(found) == len(true)), error_angstrom=np.nan)
    distances = cKDTree(found).sparse_distance_matrix(cKDTree(true), tolerance_px, output_type="ndarray")
    used_found, used_true, matched = set(), set(), []
    for one, other, distance in sorted(distances.tolist(), key=lambda pair: pair[2]):
        if one not in used_found and other not in used_true:
            used_found.add(one)
            used_true.add(other)
            matched.append(distance)
    f1 = 2 * len(matched) / (len(found) + len(true))
    error = float(np.sqrt(np.mean(np.square(matched)))) * pixel_size_angstrom if matched else np.nan
    return DetectionScore(f1=f1, error_angstrom=error)


def _keep_inner(points: Points, shape: tuple[int, ...], border: float) -> Points:
    inner = (points >= border) & (points <= np.array(shape) - 1 - border)
    return points[inner.all(axis=1)]


def compute_atom_scores(case: Case) -> list[DetectionScore]:
    """Score the atoms of all images of a case."""
    if case.atoms is None or case.pixel_sizes_angstrom is None:
        raise ValueError("atoms and pixel sizes are not known; the metric names them in `needs`")
    return [
        score_atoms(
            image,
            atoms,
            pixel_size_angstrom=float(pixel_size),
            tolerance_angstrom=case.atom_tolerance_angstrom,
        )
        for image, atoms, pixel_size in zip(case.result, case.atoms, case.pixel_sizes_angstrom, strict=True)
    ]


ATOM_F1 = Metric(
    name="atom_f1",
    heading="atom F1",
    description="Atoms are detected by one and the same detector in the images of every method.",
    kinds=("intensity",),
    compute=lambda case: np.array([score.f1 for score in case.once("atoms", compute_atom_scores)]),
    is_larger_better=True,
    decimals=3,
    tolerance=0.02,
    retrained_tolerance=0.1,
    needs=("atoms",),
)
ATOM_ERROR = Metric(
    name="atom_error_angstrom",
    heading="atom error [Å]",
    description="The atom error is the root mean square distance of the atoms that are found from the true ones.",
    kinds=("intensity",),
    compute=lambda case: np.array([score.error_angstrom for score in case.once("atoms", compute_atom_scores)]),
    is_larger_better=False,
    decimals=3,
    tolerance=0.01,
    retrained_tolerance=0.05,
    needs=("atoms",),
    is_compact=False,
)
