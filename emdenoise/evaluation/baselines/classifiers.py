"""Segmentation by a classifier of pixels by their local features, as in interactive segmentation programs."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from emdenoise.arrays import FloatImage, Mask
from emdenoise.evaluation.baselines.contract import Examples, FittedMethod, OfDetectorImage
from emdenoise.evaluation.baselines.views import (
    LEAST_GAIN,
    TuningImages,
    compute_features,
    is_even,
    prepare_images,
    repair,
)
from emdenoise.evaluation.metrics.masks import score_masks

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
RANDOM_STATE = 0


@dataclass(frozen=True)
class Preparation:
    """What is done to an image before its features are computed: see `compute_features`."""

    flatten_px: float | None
    is_turned: bool


PREPARATIONS = [Preparation(flatten_px, is_turned) for is_turned, flatten_px in product((False, True), FLATTEN_PX)]


@dataclass(frozen=True)
class Choice:
    """What is chosen of a classifier on images it has not seen: see the tables above."""

    preparation: Preparation
    prior_exponent: float
    smallest_px: int


@dataclass(frozen=True)
class Learner:
    """How pixels are classified.

    Attributes
    ----------
    description : str
        Its size in words.
    make : callable
        Makes a classifier of scikit-learn that is to be fitted, and gives all labels the same weight.
    """

    description: str
    make: Callable[[], Any]


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
        features = compute_prepared(repair(image, self.black_level), self.choice.preparation)
        probabilities = predict_probabilities(self.classifier, features, image.shape, len(self.frequencies))
        predicted_mask = choose_labels(probabilities, self.frequencies, self.choice.prior_exponent)
        return drop_spots(predicted_mask, self.choice.smallest_px, self.frequent_label)

    def describe(self) -> str:
        """Say in words what was chosen."""
        flatten_px = self.choice.preparation.flatten_px
        beam = "beam left in" if flatten_px is None else f"beam flattened over {flatten_px:g} px"
        turned = ", the border low" if self.choice.preparation.is_turned else ""
        return (
            f"{beam}{turned}; {self.learner.description}; labels weighted by their frequency to the power "
            f"{self.choice.prior_exponent:g}; spots below {self.choice.smallest_px} px dropped"
        )


def _make_forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        n_estimators=40,
        max_depth=12,
        min_samples_leaf=10,
        max_samples=0.3,
        class_weight="balanced",
        n_jobs=1,
        random_state=RANDOM_STATE,
    )


def _make_boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=100,
        early_stopping=False,  # pixels that it would set aside are neighbours of those that it learns from
        class_weight="balanced",
        random_state=RANDOM_STATE,
    )


RANDOM_FOREST = Learner("40 trees", _make_forest)
"""A random forest (doi:10.1023/A:1010933404324)."""
GRADIENT_BOOSTING = Learner("100 rounds of boosting", _make_boosting)
"""Trees that each correct the sum of those before (doi:10.1214/aos/1013203451), on features in 255 bins."""


def fit_classifier(learner: Learner, examples: Examples) -> FittedMethod:
    """Fit to the images that the network learned from; choose everything around it on the examples.

    Without such images it learns from the examples, and what is around it is chosen with classifiers that have not seen
    the image in question.
    """
    images = prepare_images(examples)
    training = images if examples.read_training is None else prepare_images(examples.read_training())
    frequencies = np.bincount(training.mask.ravel(), minlength=images.num_labels) / training.mask.size
    label_names = [str(label) for label in range(images.num_labels)]
    scores: dict[Choice, float] = {}
    classifiers = {one: _fit_unseen(learner, images, training, one) for one in PREPARATIONS}
    for preparation, fitted in classifiers.items():
        probabilities = [
            predict_probabilities(classifier, compute_prepared(image, preparation), image.shape, images.num_labels)
            for indices, classifier in fitted
            for image in images.noisy[indices]
        ]
        for exponent in PRIOR_EXPONENTS:
            masks = [choose_labels(one, frequencies, exponent) for one in probabilities]
            for smallest_px in SMALLEST_PX:
                dropped = np.stack([drop_spots(mask, smallest_px, training.frequent_label) for mask in masks])
                dice = score_masks(dropped, images.mask, label_names)["dice"].mean()
                scores[Choice(preparation, exponent, smallest_px)] = dice - LEAST_GAIN * preparation.is_turned
    choice = max(scores, key=lambda one: scores[one])
    (_, classifier), *others = classifiers[choice.preparation]
    if others:
        classifier = fit_pixels(learner, training, choice.preparation, slice(None))
    return OfDetectorImage(
        PixelSegmenter(learner, classifier, choice, frequencies, images.black_level, training.frequent_label)
    )


def _fit_unseen(
    learner: Learner, images: TuningImages, training: TuningImages, preparation: Preparation
) -> list[tuple[slice, Any]]:
    """Fit classifiers that have not seen the images beside them; without images to learn from, on the other half."""
    if training is not images or len(images.noisy) == 1:
        return [(slice(None), fit_pixels(learner, training, preparation, slice(None)))]
    num_first = (len(images.noisy) + 1) // 2  # images of one specimen stay together
    first, second = slice(num_first), slice(num_first, None)
    return [
        (first, fit_pixels(learner, images, preparation, second)),
        (second, fit_pixels(learner, images, preparation, first)),
    ]


def compute_prepared(image: FloatImage, preparation: Preparation) -> FloatImage:
    """Compute the features of a prepared image; see `compute_features`."""
    return compute_features(image, preparation.flatten_px, is_turned=preparation.is_turned)


def predict_probabilities(
    classifier: Any, features: FloatImage, shape: tuple[int, ...], num_labels: int
) -> npt.NDArray[np.float32]:
    """Predict how likely each label is, smoothed over the neighbours: float32 (height, width, num_labels)."""
    probabilities = np.zeros((*shape, num_labels), np.float32)
    with _on_one_thread():
        probabilities[..., classifier.classes_] = classifier.predict_proba(features).reshape(*shape, -1)
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


def fit_pixels(learner: Learner, images: TuningImages, preparation: Preparation, chosen: slice) -> Any:
    """Fit a classifier to evenly spread pixels of each label of the chosen images, all labels weighing the same."""
    rows, labels = [], []
    for image, mask in zip(images.noisy[chosen], images.mask[chosen], strict=True):
        truth, features = mask.ravel(), compute_prepared(image, preparation)
        for label in np.unique(truth):
            pixels = np.flatnonzero(truth == label)
            pixels = pixels[np.linspace(0, len(pixels) - 1, min(NUM_PIXELS, len(pixels))).astype(np.intp)]
            rows.append(features[pixels])
            labels.append(truth[pixels])
    with _on_one_thread():
        return learner.make().fit(np.concatenate(rows), np.concatenate(labels))


def _on_one_thread() -> AbstractContextManager[Any]:
    """Keep OpenMP to this thread: where other work has the processors, threads that wait for each other take longer."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="openmp")
    return limits
