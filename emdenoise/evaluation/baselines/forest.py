"""Segmentation by a random forest of local features, as in interactive segmentation programs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from emdenoise.arrays import FloatImage, Mask
from emdenoise.evaluation.baselines.contract import Examples, FittedMethod, OfDetectorImage
from emdenoise.evaluation.baselines.views import (
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
NUM_PIXELS = 2000
"""Pixels of each label in each image that the forest learns from; neighbours say nearly the same."""
NUM_TRAINING_IMAGES = 32
"""Of the images that the network learned from, the forest learns from so many at most."""
RANDOM_STATE = 0


@dataclass(frozen=True)
class Choice:
    """What is chosen of a forest on images it has not seen: see the tables above."""

    flatten_px: float | None
    prior_exponent: float
    smallest_px: int


@dataclass(frozen=True, eq=False)
class ForestSegmenter:
    """A random forest (doi:10.1023/A:1010933404324) of local features.

    Attributes
    ----------
    forest : sklearn.ensemble.RandomForestClassifier
        Fitted as if all labels were equally frequent.
    choice : Choice
    frequencies : ndarray of float64, shape (num_labels,)
        Share of each label in the images that it learned from.
    black_level : float
        Stored intensity of a pixel that no electron reached.
    frequent_label : int
        Of images without any contrast, and of what is too small to be something else.
    """

    forest: Any
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
        features = compute_features(repair(image, self.black_level), self.choice.flatten_px)
        probabilities = predict_probabilities(self.forest, features, image.shape, len(self.frequencies))
        predicted_mask = choose_labels(probabilities, self.frequencies, self.choice.prior_exponent)
        return drop_spots(predicted_mask, self.choice.smallest_px, self.frequent_label)

    def describe(self) -> str:
        """Say in words what was chosen."""
        flatten_px = self.choice.flatten_px
        beam = "beam left in" if flatten_px is None else f"beam flattened over {flatten_px:g} px"
        return (
            f"{beam}; {len(self.forest)} trees; labels weighted by their frequency to the power "
            f"{self.choice.prior_exponent:g}; spots below {self.choice.smallest_px} px dropped"
        )


def fit_random_forest(examples: Examples) -> FittedMethod:
    """Fit a forest to the images that the network learned from; choose everything around it on the examples.

    Without such images it learns from the examples, and what is around it is chosen with forests that have not seen the
    image in question.
    """
    images = prepare_images(examples)
    training = images if examples.read_training is None else prepare_images(examples.read_training())
    frequencies = np.bincount(training.mask.ravel(), minlength=images.num_labels) / training.mask.size
    label_names = [str(label) for label in range(images.num_labels)]
    scores: dict[Choice, float] = {}
    forests = {flatten_px: _fit_unseen(images, training, flatten_px) for flatten_px in FLATTEN_PX}
    for flatten_px, fitted in forests.items():
        probabilities = [
            predict_probabilities(forest, compute_features(image, flatten_px), image.shape, images.num_labels)
            for indices, forest in fitted
            for image in images.noisy[indices]
        ]
        for exponent in PRIOR_EXPONENTS:
            masks = [choose_labels(one, frequencies, exponent) for one in probabilities]
            for smallest_px in SMALLEST_PX:
                dropped = np.stack([drop_spots(mask, smallest_px, training.frequent_label) for mask in masks])
                dice = score_masks(dropped, images.mask, label_names)["dice"]
                scores[Choice(flatten_px, exponent, smallest_px)] = float(dice.mean())
    choice = max(scores, key=lambda one: scores[one])
    (_, forest), *others = forests[choice.flatten_px]
    if others:
        forest = fit_forest(training, choice.flatten_px, slice(None))
    return OfDetectorImage(ForestSegmenter(forest, choice, frequencies, images.black_level, training.frequent_label))


def _fit_unseen(images: TuningImages, training: TuningImages, flatten_px: float | None) -> list[tuple[slice, Any]]:
    """Fit forests that have not seen the images beside them; without images to learn from, on the other half."""
    if training is not images or len(images.noisy) == 1:
        return [(slice(None), fit_forest(training, flatten_px, slice(None)))]
    num_first = (len(images.noisy) + 1) // 2  # images of one specimen stay together
    first, second = slice(num_first), slice(num_first, None)
    return [(first, fit_forest(images, flatten_px, second)), (second, fit_forest(images, flatten_px, first))]


def predict_probabilities(
    forest: Any, features: FloatImage, shape: tuple[int, ...], num_labels: int
) -> npt.NDArray[np.float32]:
    """Predict how likely each label is, smoothed over the neighbours: float32 (height, width, num_labels)."""
    probabilities = np.zeros((*shape, num_labels), np.float32)
    probabilities[..., forest.classes_] = forest.predict_proba(features).reshape(*shape, -1)
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


def fit_forest(images: TuningImages, flatten_px: float | None, chosen: slice) -> Any:
    """Fit a forest on evenly spread pixels of each label of the chosen images, all labels weighing the same."""
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = [], []
    for image, mask in zip(images.noisy[chosen], images.mask[chosen], strict=True):
        truth, features = mask.ravel(), compute_features(image, flatten_px)
        for label in np.unique(truth):
            pixels = np.flatnonzero(truth == label)
            pixels = pixels[np.linspace(0, len(pixels) - 1, min(NUM_PIXELS, len(pixels))).astype(np.intp)]
            rows.append(features[pixels])
            labels.append(truth[pixels])
    forest = RandomForestClassifier(
        n_estimators=40,
        max_depth=12,
        min_samples_leaf=10,
        max_samples=0.3,
        class_weight="balanced",
        n_jobs=1,
        random_state=RANDOM_STATE,
    )
    return forest.fit(np.concatenate(rows), np.concatenate(labels))
