"""Segmentation by thresholds of one view of an image: Otsu's, one or several, or one that follows the local mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from skimage.filters import threshold_multiotsu

from emdenoise.arrays import FloatImage, Mask
from emdenoise.evaluation.baselines.contract import Examples, FittedMethod, OfDetectorImage
from emdenoise.evaluation.baselines.views import (
    LEAST_GAIN,
    TEXTURES_PX,
    TuningImages,
    View,
    count_labels,
    is_even,
    prepare_images,
    repair,
)
from emdenoise.evaluation.metrics.masks import Counts, count_regions, score_assignments

FLATTEN_PX: tuple[float | None, ...] = (None, 16.0, 64.0)
"""Smoothing lengths to try for the beam [px]."""
SMOOTHINGS_PX = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Standard deviations of the smoothing before a threshold of the intensity [px]."""
BLOCKS_PX = (15, 31, 63, 127)
"""Blocks that a local threshold takes its mean from [px]."""
OFFSETS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
"""Local thresholds above the local mean, in standard deviations of the image."""
MAX_ASSIGNMENTS = 4096
"""Ways to give labels to regions that are tried: all ways for four regions and eight labels."""


@dataclass(frozen=True)
class ThresholdSegmenter:
    """Thresholds of a view, and the label of each region between them.

    Attributes
    ----------
    view : View
    num_regions : int
    offset : float or None
        The one threshold; None takes those of Otsu in each image.
    labels : tuple of int
        Label of each region, from the lowest values to the highest, or from the smallest area to the largest.
    is_by_area : bool
        Whether the regions are ordered by area.
    black_level : float
    frequent_label : int
        Of images without any contrast.
    """

    view: View
    num_regions: int
    offset: float | None
    labels: tuple[int, ...]
    is_by_area: bool
    black_level: float
    frequent_label: int

    def __call__(self, noisy: FloatImage) -> Mask:
        """Segment images, float32 (num_images, height, width) → uint8, the same shape."""
        return np.stack([self._segment_one(image) for image in noisy])

    def _segment_one(self, image: FloatImage) -> Mask:
        if is_even(image):
            return np.full(image.shape, self.frequent_label, np.uint8)
        regions = split_regions(self.view.compute(repair(image, self.black_level)), self.num_regions, self.offset)
        label_of_region = np.array(self.labels, np.uint8)
        if self.is_by_area:
            order = np.argsort(np.bincount(regions.ravel(), minlength=self.num_regions), kind="stable")
            label_of_region[order] = np.array(self.labels, np.uint8)
        return label_of_region[regions]

    def describe(self) -> str:
        """Say in words what was chosen."""
        cut = f"{self.num_regions} regions by Otsu"
        if self.offset is not None:
            cut = f"cut at the mean of {self.view.block_px} px {self.offset:+g} standard deviations"
        order = "smallest to largest" if self.is_by_area else "lowest to highest"
        return f"{self.view.describe()}; {cut}; from {order}: label {', '.join(map(str, self.labels))}"


def fit_otsu(examples: Examples) -> FittedMethod:
    """Choose for Otsu's threshold (doi:10.1109/TSMC.1979.4310076)."""
    return _choose_threshold(prepare_images(examples), _list_views(FLATTEN_PX, (None,)), 2, (None,))


def fit_multi_otsu(examples: Examples) -> FittedMethod:
    """Choose for Otsu's thresholds between at least three regions; above four, the search for them takes too long."""
    images = prepare_images(examples)
    return _choose_threshold(images, _list_views(FLATTEN_PX, (None,)), min(max(images.num_labels, 3), 4), (None,))


def fit_local_threshold(examples: Examples) -> FittedMethod:
    """Choose for a threshold that follows the local mean, which makes flattening needless."""
    return _choose_threshold(prepare_images(examples), _list_views((None,), BLOCKS_PX), 2, OFFSETS)


def split_regions(feature: FloatImage, num_regions: int, offset: float | None) -> Mask:
    """Give each pixel the number of thresholds that it is above.

    Parameters
    ----------
    feature : ndarray of float32, shape (height, width)
    num_regions : int
        At least 2.
    offset : float or None
        The one threshold; None takes those of Otsu (doi:10.1109/TSMC.1979.4310076), between at most as many values
        as there are.

    Returns
    -------
    ndarray of uint8, shape (height, width)

    Examples
    --------
    >>> split_regions(np.array([[0.1, 0.1, 0.8, 0.9]], np.float32), 2, None)
    array([[0, 0, 1, 1]], dtype=uint8)
    """
    if offset is not None:
        return (feature > offset).astype(np.uint8)
    low, high = np.percentile(feature, (0.1, 99.9))  # hot pixels would stretch the histogram
    if high <= low:
        low, high = feature.min(), feature.max()
    counts, edges = np.histogram(np.clip(feature, low, high), 256)
    centres = (edges[:-1] + edges[1:]) / 2
    occupied = centres[counts > 0]
    if len(occupied) <= num_regions:
        thresholds = [(lower + upper) / 2 for lower, upper in pairwise(occupied)]
    else:
        thresholds = threshold_multiotsu(hist=(counts, centres), classes=num_regions)
    return np.digitize(feature, thresholds).astype(np.uint8)


def _list_views(flattenings: Sequence[float | None], blocks: Sequence[int | None]) -> Iterator[View]:
    maps = [*((smooth_px, None) for smooth_px in SMOOTHINGS_PX), *TEXTURES_PX]
    for is_border_low, flatten_px, (smooth_px, texture_px), block_px in product(
        (False, True), flattenings, maps, blocks
    ):
        yield View(flatten_px, smooth_px, texture_px, block_px, is_border_low)


def _choose_threshold(
    images: TuningImages, views: Iterator[View], num_regions: int, offsets: Sequence[float | None]
) -> FittedMethod:
    """Try every view, threshold, order of the regions and label of each; the first of the best is taken."""
    candidates = choose_labels(images.mask, images.num_labels, num_regions)
    assignments = np.array(list(product(candidates, repeat=num_regions)), np.intp)
    best: tuple[float, ThresholdSegmenter | None] = (-np.inf, None)
    for view in views:
        features = [view.compute(image) for image in images.noisy]
        for offset in offsets:
            regions = [split_regions(feature, num_regions, offset) for feature in features]
            counts = count_regions(regions, images.mask, num_regions=num_regions, num_labels=images.num_labels)
            for is_by_area in (False, True):
                scores = score_assignments(_sort_by_area(counts) if is_by_area else counts, assignments)
                index = int(scores.argmax())
                score = scores[index] - LEAST_GAIN * view.is_border_low
                if score > best[0]:
                    labels = tuple(assignments[index].tolist())
                    fixed = (images.black_level, images.frequent_label)
                    best = score, ThresholdSegmenter(view, num_regions, offset, labels, is_by_area, *fixed)
    if best[1] is None:
        raise ValueError("there is nothing to choose from")
    return OfDetectorImage(best[1])


def choose_labels(masks: Sequence[Mask], num_labels: int, num_regions: int) -> list[int]:
    """Choose the labels that regions may get: all, or the most frequent ones where there are too many to try.

    Examples
    --------
    >>> choose_labels([np.array([[0, 7, 7]], np.uint8)], num_labels=9, num_regions=2)
    [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    num_tried = next(number for number in range(num_labels, 0, -1) if number**num_regions <= MAX_ASSIGNMENTS)
    order = np.argsort(-count_labels(masks, num_labels), kind="stable")
    return sorted(order[:num_tried].tolist())


def _sort_by_area(counts: Counts) -> Counts:
    order = np.argsort(counts.sum(axis=2), axis=1, kind="stable")
    return np.take_along_axis(counts, order[..., None], axis=1)
