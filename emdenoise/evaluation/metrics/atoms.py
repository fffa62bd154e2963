"""Atoms found in a restored image against the atoms that were simulated.

What a microscopist wants from a denoised image is where the atoms are. The same detector with the same constants
looks at every method's images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from emdenoise.arrays import FloatImage
from emdenoise.evaluation.metrics.contract import Case, Metric

SMOOTHING_ANGSTROM = 0.2
MIN_DISTANCE_ANGSTROM = 0.9
"""Smallest distance of two found atoms. Those of graphene are 1.42 Å apart, at a grain boundary at least 1.07 Å."""
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
    recall : float
        Share of the true atoms that were found; NaN where there are none.
    false_per_nm2 : float
        Found atoms without a true one within the tolerance, per area of the image that counts [1/nm²]; NaN where the
        image is nothing but border.
    """

    f1: float
    error_angstrom: float
    recall: float
    false_per_nm2: float


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
        Row and column [px], refined below a pixel by a parabola through the peak and its neighbours; the brightest
        first. No two are closer than `MIN_DISTANCE_ANGSTROM`: of such peaks the brightest is kept.
    """
    smooth = gaussian_filter(image.astype(np.float64), SMOOTHING_ANGSTROM / pixel_size_angstrom)
    surroundings = gaussian_filter(smooth, 1.42 / pixel_size_angstrom)
    contrast = smooth - surroundings
    is_peak = contrast > max(MIN_HEIGHT * float(contrast.std()), 1e-12)
    is_peak &= contrast == maximum_filter(contrast, 3)
    is_peak[[0, -1]] = is_peak[:, [0, -1]] = False  # a peak has neighbours on all sides
    rows, columns = np.nonzero(is_peak)
    centre = contrast[rows, columns]
    offsets = np.stack(
        [
            _find_parabola_top(contrast[rows - 1, columns], centre, contrast[rows + 1, columns]),
            _find_parabola_top(contrast[rows, columns - 1], centre, contrast[rows, columns + 1]),
        ],
        axis=1,
    )
    order = np.argsort(-centre, kind="stable")
    refined = (np.stack([rows, columns], axis=1) + offsets)[order]
    return _keep_apart(refined, MIN_DISTANCE_ANGSTROM / pixel_size_angstrom)


def _keep_apart(points: Points, distance: float) -> Points:
    """Leave out every point that is closer than a distance to one before it that is kept."""
    is_kept = np.ones(len(points), np.bool_)
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    for earlier, later in sorted(pairs.tolist()):
        if is_kept[earlier]:
            is_kept[later] = False
    return points[is_kept]


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
        missed, but may be the partner of one that counts.

    Returns
    -------
    DetectionScore
    """
    tolerance_px = tolerance_angstrom / pixel_size_angstrom
    found, true = detect_atoms(image, pixel_size_angstrom=pixel_size_angstrom), np.asarray(atoms, np.float64)
    is_counted_found, is_counted_true = (_is_inner(points, image.shape, 2 * tolerance_px) for points in (found, true))
    matched_found, matched_true, distances = _match(found, true, tolerance_px)
    num_found, num_true = int(is_counted_found.sum()), int(is_counted_true.sum())
    hits_found = int(is_counted_found[matched_found].sum())
    hits_true = int(is_counted_true[matched_true].sum())
    squares = np.square(distances[is_counted_true[matched_true]])
    nearest = cKDTree(true).query(found)[0] if len(true) else np.full(len(found), np.inf)
    sides_nm = (np.array(image.shape) - 1 - 4 * tolerance_px) * pixel_size_angstrom / 10
    num_false = int((is_counted_found & (nearest > tolerance_px)).sum())
    return DetectionScore(
        f1=(hits_found + hits_true) / (num_found + num_true) if num_found + num_true else 1.0,
        error_angstrom=float(np.sqrt(squares.mean())) * pixel_size_angstrom if len(squares) else np.nan,
        recall=hits_true / num_true if num_true else np.nan,
        false_per_nm2=num_false / float(sides_nm.prod()) if (sides_nm > 0).all() else np.nan,
    )


def _match(
    found: Points, true: Points, tolerance_px: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Points]:
    """Match points one to one, nearest pairs first; returns the indices of the pairs and their distances [px]."""
    used_found: dict[int, int] = {}
    used_true: dict[int, float] = {}
    if len(found) and len(true):
        near = cKDTree(found).sparse_distance_matrix(cKDTree(true), tolerance_px, output_type="ndarray")
        for one, other, distance in sorted(near.tolist(), key=lambda pair: pair[2]):
            if one not in used_found and other not in used_true:
                used_found[one] = other
                used_true[other] = distance
    distances = np.array(list(used_true.values()), np.float64)
    return np.array(list(used_found), np.intp), np.array(list(used_true), np.intp), distances


def _is_inner(points: Points, shape: tuple[int, ...], border: float) -> npt.NDArray[np.bool_]:
    is_inside = (points >= border) & (points <= np.array(shape) - 1 - border)
    return np.asarray(is_inside.all(axis=1), np.bool_)


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
ATOM_RECALL = Metric(
    name="atom_recall",
    heading="atom recall",
    description="The atom recall is the share of the true atoms that are found.",
    kinds=("intensity",),
    compute=lambda case: np.array([score.recall for score in case.once("atoms", compute_atom_scores)]),
    is_larger_better=True,
    decimals=3,
    tolerance=0.02,
    retrained_tolerance=0.1,
    needs=("atoms",),
    is_compact=False,
)
FALSE_ATOMS = Metric(
    name="false_atoms_per_nm2",
    heading="false atoms [1/nm²]",
    description="False atoms are found where the truth has none; graphene has 38 atoms per nm².",
    kinds=("intensity",),
    compute=lambda case: np.array([score.false_per_nm2 for score in case.once("atoms", compute_atom_scores)]),
    is_larger_better=False,
    decimals=2,
    tolerance=0.8,  # 0.02 of the 38 atoms per nm² of graphene, as much as the F1 may change; then 0.1 of them
    retrained_tolerance=4.0,
    needs=("atoms",),
    is_compact=False,
)
