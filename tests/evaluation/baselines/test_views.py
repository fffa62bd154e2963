"""What classical segmentations look at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.evaluation.baselines.views import measure_texture, turn_polarity
from emdenoise.seeding import make_generator


@given(gain=st.floats(0.1, 10), offset=st.floats(-1, 1))
def test_texture_does_not_depend_on_contrast_and_level(gain: float, offset: float) -> None:
    image = make_generator(0, "test").normal(0, 1, (24, 24)).astype(np.float32)
    changed = (gain * image + offset).astype(np.float32)
    assert measure_texture(changed, 1.0, 4.0) == pytest.approx(measure_texture(image, 1.0, 4.0), abs=1e-3)


@given(level=st.floats(0.1, 0.9), height=st.floats(0.2, 1), radius_px=st.integers(3, 15))
def test_an_image_and_its_negative_are_turned_to_the_same_and_the_border_is_low(
    level: float, height: float, radius_px: int
) -> None:
    rows, columns = np.mgrid[:40, :40] - 19.5
    is_disc = rows**2 + columns**2 <= radius_px**2
    image = np.where(is_disc, level + height, level).astype(np.float32)
    turned = turn_polarity(-image)
    assert np.array_equal(turned, turn_polarity(image))
    assert turned[is_disc].min() > turned[~is_disc].max()
