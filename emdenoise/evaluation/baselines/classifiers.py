"""Segmentation by a classifier of pixels by their local features, as in interactive segmentation programs."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from emdenoise.arrays import FloatImage, Mask
from emdenoise.evaluation.baselines.contract import Examples, FittedMethod, OfDetectorImage
from emdenoise.evaluation.baselines.features import compute_features, invert_by_border
from emdenoise.evaluation.baselines.views import (
    LEAST_GAIN,
    TuningImages,
    count_labels,
    is_even,
    prepare_images,
    repair,
)
from emdenoise.evaluation.metrics.masks import score_masks
from emdenoise.processes import count_processors

FLATTEN_PX: tuple[float | None, ...] = (None, 16.0)
"""Smoothing lengths to try for the beam [px]."""
PRIOR_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far labels follow their frequency: 0 treats a rare label like a frequent one, 1 by its share."""
SMALLEST_PX = (0, 64, 256, 1024)
"""Areas below which a spot of a label is taken for noise [px]."""
SMOOTHING_PX = 2.0
"""Standard deviation of the smoothing of the probabilities [px]."""
NUM_PIXELS = 500
"""Pixels of each label in each image that are learned from; neighbours say nearly the same."""
NUM_TRAINING_IMAGES = 32
"""Of the images that the network learned from, so many at most are learned from."""
NUM_AT_ONCE = 2**14
"""Pixels that a thread classifies at a time."""
RANDOM_STATE = 0


@dataclass(frozen=True)
class Preparation:
    """What is done to an image before its pixels are classified: see `compute_features`, `invert_by_border`."""

    flatten_px: float | None
    is_border_low: bool


PREPARATIONS = [
    Preparation(flatten_px, is_border_low) for is_border_low, flatten_px in product((False, True), FLATTEN_PX)
]


@dataclass(frozen=True)
class Choice:
    """What is chosen for a classifier on images that it has not seen: see the tables above, and `Learner`."""

    preparation: Preparation
    size: int
    prior_exponent: float = 0.0
    smallest_px: int = 0


@dataclass(frozen=True)
class Learner:
    """How pixels are classified.

    Attributes
    ----------
    description : str
        Its trees in words, with a place for their size.
    make : callable
        Makes a classifier of scikit-learn of a size, that is to be fitted.
    sizes : tuple of int
        Sizes of the trees to choose from; the first one is that with which the preparation is chosen.
    has_weights : bool
        Whether it gives all labels the same weight itself. For others pixels of rarer labels are repeated.
    """

    description: str
    make: Callable[[int], Any]
    sizes: tuple[int, ...]
    has_weights: bool


@dataclass(frozen=True)
class Pixels:
    """What is learned from.

    Attributes
    ----------
    features : dict of Preparation to list of ndarray of float32, shape (num_pixels, num_features)
        Of each image.
    labels : list of ndarray of uint8, shape (num_pixels,)
        Of each image.
    frequencies : ndarray of float64, shape (num_labels,)
        Share of each label in the images.
    frequent_label : int
    """

    features: dict[Preparation, list[FloatImage]]
    labels: list[Mask]
    frequencies: npt.NDArray[np.float64]
    frequent_label: int


@dataclass(frozen=True, eq=False)
class PixelSegmenter:
    """A fitted classifier of pixels by their local features.

    Attributes
    ----------
    learner : Learner
    classifier : sklearn.base.ClassifierMixin
        Fitted as if all labels were equally frequent.
    choice : Choice
    frequencies : ndarray of float64, shape (num_labels,)
        Share of each label in the images that it learned from.
    black_level : float
        Stored intensity of a pixel that no electron reached.
    frequent_label : int
        Of images without any contrast, and of what is too small to be something else.
    """

    learner: Learner
    classifier: Any
    choice: Choice
    frequencies: npt.NDArray[np.float64]
    black_level: float
    frequent_label: int

    def __call__(self, noisy: FloatImage) -> Mask:
        """Segment images, float32 (num_images, height, width) → uint8, the same shape."""
        return np.stack([self._segment_one(image) for image in noisy])

    def _segment_one(self, image: FloatImage) -> Mask:
        if is_even(image):
            return np.full(image.shape, self.frequent_label, np.uint8)
        preparation = self.choice.preparation
        features = compute_features(repair(image, self.black_level), preparation.flatten_px)
        if preparation.is_border_low:
            features = invert_by_border(features, image.shape)
        probabilities = predict_probabilities(self.classifier, features, image.shape, len(self.frequencies))
        predicted_mask = choose_labels(probabilities, self.frequencies, self.choice.prior_exponent)
        return drop_spots(predicted_mask, self.choice.smallest_px, self.frequent_label)

    def describe(self) -> str:
        """Say in words what was chosen."""
        flatten_px = self.choice.preparation.flatten_px
        beam = "beam left in" if flatten_px is None else f"beam flattened over {flatten_px:g} px"
        polarity = ", polarity from the border" if self.choice.preparation.is_border_low else ""
        return (
            f"{beam}{polarity}; {self.learner.description.format(self.choice.size)}; labels weighted by their "
            f"frequency to the power {self.choice.prior_exponent:g}; spots below {self.choice.smallest_px} px dropped"
        )


def _make_forest(size: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        n_estimators=40,
        min_samples_leaf=size,
        max_samples=0.3,
        class_weight="balanced",
        n_jobs=1,
        random_state=RANDOM_STATE,
    )


def _make_boosting(size: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=50,
        learning_rate=0.2,
        max_leaf_nodes=size,
        early_stopping=False,  # pixels that it would set aside are neighbours of those that it learns from
        random_state=RANDOM_STATE,
    )


RANDOM_FOREST = Learner("40 trees with leaves of {} pixels or more", _make_forest, (10, 3, 30, 100), has_weights=True)
"""A random forest (doi:10.1023/A:1010933404324)."""
GRADIENT_BOOSTING = Learner("50 rounds of trees with {} leaves", _make_boosting, (8, 3, 16, 32), has_weights=False)
"""Trees that each correct the sum of those before (doi:10.1214/aos/1013203451), on features in 255 bins.

With weights scikit-learn computes each bin by itself, which takes thirty times as long as the trees."""


def fit_classifier(learner: Learner, examples: Examples) -> FittedMethod:
    """Fit a classifier to the images that the network learned from, and choose everything else on the examples.

    Without such images it learns from the examples, and everything else is chosen with classifiers that have not seen
    the image in question. The preparation is chosen with the first size, then the size with this preparation.
    """
    images = prepare_images(examples)
    pixels: Pixels = examples.once("pixels to learn from", _read_pixels)
    is_seen = examples.read_training is None and len(images.noisy) > 1
    scores: dict[Choice, float] = {}
    for flatten_px in FLATTEN_PX:
        candidates = [Choice(one, learner.sizes[0]) for one in PREPARATIONS if one.flatten_px == flatten_px]
        scores |= _try_out(learner, candidates, images, pixels, is_seen=is_seen)
    best = max(scores, key=lambda one: scores[one])
    candidates = [Choice(best.preparation, size) for size in learner.sizes[1:]]
    scores |= _try_out(learner, candidates, images, pixels, is_seen=is_seen)
    best = max(scores, key=lambda one: scores[one])
    classifier = fit_pixels(learner, best, pixels, slice(None))
    return OfDetectorImage(
        PixelSegmenter(learner, classifier, best, pixels.frequencies, images.black_level, pixels.frequent_label)
    )


def _read_pixels(examples: Examples) -> Pixels:
    """Choose evenly spread pixels of each label of each image to learn from, and compute their features."""
    images = prepare_images(examples if examples.read_training is None else examples.read_training())
    features: dict[Preparation, list[FloatImage]] = {preparation: [] for preparation in PREPARATIONS}
    labels = []
    for image, mask in zip(images.noisy, images.mask, strict=True):
        of_label = [np.flatnonzero(mask == label) for label in np.unique(mask)]
        chosen = np.concatenate(
            [one[np.linspace(0, len(one) - 1, min(NUM_PIXELS, len(one))).astype(np.intp)] for one in of_label]
        )
        labels.append(mask.ravel()[chosen])
        for preparation, of_image in _prepare(image, PREPARATIONS):
            features[preparation].append(of_image[chosen])
    counts = count_labels(images.mask, images.num_labels)
    return Pixels(features, labels, counts / counts.sum(), images.frequent_label)


def _prepare(image: FloatImage, preparations: Sequence[Preparation]) -> Iterator[tuple[Preparation, FloatImage]]:
    """Compute the features of an image with each preparation; those of one flattening are computed once."""
    for flatten_px in dict.fromkeys(one.flatten_px for one in preparations):
        features = compute_features(image, flatten_px)
        for one in preparations:
            if one.flatten_px == flatten_px:
                yield one, invert_by_border(features, image.shape) if one.is_border_low else features


def _try_out(
    learner: Learner, candidates: Sequence[Choice], images: TuningImages, pixels: Pixels, *, is_seen: bool
) -> dict[Choice, float]:
    """Score candidates with every weight of the labels and every smallest spot, image by image.

    Where classifiers learn from the images that score them, each half is scored by those that learned from the other.
    """
    middle = (len(images.noisy) + 1) // 2  # images of one specimen stay together
    learned_from = [slice(middle, None), slice(middle)] if is_seen else [slice(None)]
    fitted = {one: [fit_pixels(learner, one, pixels, part) for part in learned_from] for one in candidates}
    label_names = [str(label) for label in range(images.num_labels)]
    dice: dict[Choice, list[float]] = {}
    for index, (image, mask) in enumerate(zip(images.noisy, images.mask, strict=True)):
        prepared = dict(_prepare(image, [one.preparation for one in candidates]))
        for one, classifiers in fitted.items():
            classifier = classifiers[int(is_seen and index >= middle)]
            probabilities = predict_probabilities(classifier, prepared[one.preparation], image.shape, images.num_labels)
            for exponent in PRIOR_EXPONENTS:
                labels = choose_labels(probabilities, pixels.frequencies, exponent)
                for smallest_px in SMALLEST_PX:
                    dropped = drop_spots(labels, smallest_px, pixels.frequent_label)
                    score = score_masks(dropped[None], mask[None], label_names)["dice"][0]
                    dice.setdefault(replace(one, prior_exponent=exponent, smallest_px=smallest_px), []).append(score)
    return {one: float(np.mean(values)) - LEAST_GAIN * one.preparation.is_border_low for one, values in dice.items()}


def fit_pixels(learner: Learner, choice: Choice, pixels: Pixels, images: slice) -> Any:
    """Fit a classifier to the pixels of some images, all labels weighing the same."""
    from sklearn.dummy import DummyClassifier

    features = np.concatenate(pixels.features[choice.preparation][images])
    labels = np.concatenate(pixels.labels[images])
    has_several_labels = bool(np.any(labels != labels[0]))
    classifier = learner.make(choice.size) if has_several_labels else DummyClassifier()  # boosting needs two labels
    if not learner.has_weights:
        order = repeat_rare_labels(labels)
        features, labels = features[order], labels[order]
    with _on_one_thread():
        return classifier.fit(features, labels)


def repeat_rare_labels(labels: Mask) -> npt.NDArray[np.intp]:
    """Order places so that each label comes equally often: those of a rarer one again and again.

    Examples
    --------
    >>> repeat_rare_labels(np.array([0, 1, 0, 0, 2, 2], np.uint8)).tolist()
    [0, 2, 3, 1, 1, 1, 4, 5, 4]
    """
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([np.resize(one, max(map(len, places))) for one in places])


def predict_probabilities(
    classifier: Any, features: FloatImage, shape: tuple[int, ...], num_labels: int
) -> npt.NDArray[np.float32]:
    """Predict how likely each label is, smoothed over the neighbours: float32 (height, width, num_labels)."""

    def predict(first: int) -> npt.NDArray[np.float64]:
        part: npt.NDArray[np.float64] = classifier.predict_proba(features[first : first + NUM_AT_ONCE])
        return part

    with ThreadPoolExecutor(count_processors(), initializer=_use_one_thread) as pool:
        parts = list(pool.map(predict, range(0, len(features), NUM_AT_ONCE)))
    probabilities = np.zeros((*shape, num_labels), np.float32)
    probabilities[..., classifier.classes_] = np.concatenate(parts).reshape(*shape, -1)
    return ndimage.gaussian_filter(probabilities, SMOOTHING_PX, axes=(0, 1))


def choose_labels(
    probabilities: npt.NDArray[np.float32], frequencies: npt.NDArray[np.float64], exponent: float
) -> Mask:
    """Choose the likeliest label of each pixel, uint8 (height, width), where labels have their frequency again."""
    return np.argmax(probabilities * frequencies**exponent, axis=-1).astype(np.uint8)


def drop_spots(mask: Mask, smallest_px: int, frequent_label: int) -> Mask:
    """Give connected spots of a label that are smaller than `smallest_px` the frequent label.

    Parameters
    ----------
    mask : ndarray of uint8, shape (height, width)
    smallest_px : int
        Area [px].
    frequent_label : int
        Its own spots stay.

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Examples
    --------
    >>> drop_spots(np.array([[1, 0, 2, 2, 0]], np.uint8), 2, 0)
    array([[0, 0, 2, 2, 0]], dtype=uint8)
    """
    result = mask.copy()
    if smallest_px > 1:
        for one in np.unique(mask[mask != frequent_label]):
            spots, _ = ndimage.label(mask == one)
            is_small = np.bincount(spots.ravel()) < smallest_px
            is_small[0] = False  # what is not of this label
            result[is_small[spots]] = frequent_label
    return result


def _on_one_thread() -> AbstractContextManager[Any]:
    """Keep OpenMP to this thread: where other work has the processors, threads that wait for each other take longer."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="openmp")
    return limits


def _use_one_thread() -> None:
    """Keep OpenMP to this thread as long as it lives."""
    _on_one_thread()
