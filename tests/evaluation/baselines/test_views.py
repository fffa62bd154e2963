"""What classical segmentations look at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.evaluation.baselines.views import measure_texture
from emdenoise.seeding import make_generator


@given(gain=st.floats(0.1, 10), offset=st.floats(-1, 1))
def test_texture_does_not_depend_on_contrast_and_level(gain: float, offset: float) -> None:
    image = make_generator(0, "test").normal(0, 1, (24, 24)).astype(np.float32)
    changed = (gain * image + offset).astype(np.float32)
    assert measure_texture(changed, 1.0, 4.0) == pytest.approx(measure_texture(image, 1.0, 4.0), abs=1e-3)
