"""What classical segmentations look at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.evaluation.baselines.views import View, compute_features, measure_texture
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
    features = [compute_features(one, None, is_turned=True) for one in (image, -image)]
    assert features[0] == pytest.approx(features[1], abs=1e-4)
    for view in (View(None, 1.0, None, None, is_turned=True), View(None, 1.0, None, 31, is_turned=True)):
        seen = [view.compute(one) for one in (image, 5 - image)]
        assert seen[0] == pytest.approx(seen[1] - seen[1].mean() + seen[0].mean(), abs=1e-4)
        assert np.median(seen[0][is_disc]) > np.median(seen[0][~is_disc])
