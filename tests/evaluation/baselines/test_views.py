"""What classical segmentations look at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.evaluation.baselines.features import NUM_OF_SCALE, SCALES_PX, compute_features, invert_by_border
from emdenoise.evaluation.baselines.views import View, measure_texture
from emdenoise.seeding import make_generator


@given(gain=st.floats(0.1, 10), offset=st.floats(-1, 1))
def test_texture_does_not_depend_on_contrast_and_level(gain: float, offset: float) -> None:
    image = make_generator(0, "test").normal(0, 1, (24, 24)).astype(np.float32)
    changed = (gain * image + offset).astype(np.float32)
    assert measure_texture(changed, 1.0, 4.0) == pytest.approx(measure_texture(image, 1.0, 4.0), abs=1e-3)


@pytest.mark.parametrize("radius_px", [4, 12, 15])
def test_an_image_and_its_negative_have_the_same_features_and_the_same_view_with_high_objects(radius_px: int) -> None:
    """The largest disc has more than half of the image, and reaches to the border."""
    rows, columns = np.mgrid[:40, :34] - 16.5
    is_disc = rows**2 + columns**2 <= radius_px**2
    image = make_generator(0, "test").normal(3 + is_disc, 0.05).astype(np.float32)
    features = [invert_by_border(compute_features(one, None), one.shape) for one in (image, -image)]
    assert features[0] == pytest.approx(features[1], abs=1e-4)
    for view in (View(None, 1.0, None, None, is_border_low=True), View(None, 1.0, None, 31, is_border_low=True)):
        seen = [view.compute(one) for one in (image, 5 - image)]
        assert seen[0] == pytest.approx(seen[1] - seen[1].mean() + seen[0].mean(), abs=1e-4)
        assert np.median(seen[0][is_disc]) > np.median(seen[0][~is_disc])


def test_features_are_those_that_ilastik_names() -> None:
    """A wave along the rows, smoothed to exp(-(k σ)² / 2), has a slope and a curvature, and none along the columns."""
    wavelength_px, scale = 32, 2
    k, sigma = 2 * np.pi / wavelength_px, SCALES_PX[scale]
    rows = np.mgrid[:160, :160][0]
    features = compute_features((np.sqrt(2) * np.sin(k * rows)).astype(np.float32), None).reshape(160, 160, -1)
    centre = (slice(64, 96), slice(64, 96))
    amplitude = np.sqrt(2) * np.exp(-((k * sigma) ** 2) / 2)
    wave, slope = amplitude * np.sin(k * rows)[centre], amplitude * k * np.cos(k * rows)[centre]
    smoothed, gradient, first, second, laplacian, along, across = np.moveaxis(
        features[centre][..., NUM_OF_SCALE * scale : NUM_OF_SCALE * (scale + 1)], -1, 0
    )
    assert smoothed == pytest.approx(wave, abs=0.01)
    assert gradient / np.sqrt(2) == pytest.approx(np.abs(slope), abs=0.01)  # the mean over both axes of twice the slope
    assert laplacian == pytest.approx(-(k**2) * wave, abs=1e-3)
    assert np.maximum(first, second) == pytest.approx(np.maximum(-(k**2) * wave, 0), abs=1e-3)
    assert np.minimum(first, second) == pytest.approx(np.minimum(-(k**2) * wave, 0), abs=1e-3)
    spread = amplitude**2 * k**2 * (1 + np.exp(-((2 * k * sigma / 2) ** 2) / 2) * np.cos(2 * k * rows)[centre]) / 2
    assert along / 8**2 == pytest.approx(spread, rel=0.05)  # Sobel's kernel gives eight times the slope
    assert across == pytest.approx(0, abs=1e-6)
