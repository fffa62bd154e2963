"""DnCNN has the layers of the paper."""

import numpy as np
import pytest

from emdenoise.models.contract import Ports
from emdenoise.models.dncnn import DnCNNSettings, build_dncnn
from emdenoise.models.heads import HEADS

IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])


@pytest.mark.parametrize(("depth", "number"), [(17, 556_097), (20, 667_073)], ids=["DnCNN-S", "DnCNN-B"])
def test_the_two_networks_of_the_paper_have_as_many_trained_parameters(depth: int, number: int) -> None:
    # The first and the last convolution have biases; the others have a normalisation with two parameters a map.
    ends, inner = (9 * 64 + 64) + (9 * 64 + 1), 9 * 64 * 64 + 2 * 64
    assert ends + (depth - 2) * inner == number
    model = build_dncnn(DnCNNSettings(depth=depth), IMAGE).model
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_variables) == number


def test_it_predicts_the_noise_by_default() -> None:
    assert DnCNNSettings().depth == 17
    assert "add_noisy" in [layer.name for layer in build_dncnn(DnCNNSettings(depth=3), IMAGE).model.layers]
