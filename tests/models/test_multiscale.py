"""The multi-scale CNN has the layers of the authors' network but its coarse outputs."""

import keras

from emdenoise.models.contract import Ports
from emdenoise.models.export import SIDE_PX
from emdenoise.models.heads import HEADS
from emdenoise.models.multiscale import MultiscaleSettings, build_multiscale

IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])
FULL = (64, 128, 256, 512, 512, 512, 512)
# From the table of layers that the authors publish with their code, which has four images as input.
AUTHORS_TOTAL = 41_894_023
AUTHORS_COARSE_OUTPUTS = [2_049, 4_097, 8_193, 16_385, 16_385, 16_385]
AUTHORS_CHANNELS = 4


def test_the_full_network_has_the_41_9_million_parameters_of_the_authors() -> None:
    expected = AUTHORS_TOTAL - sum(AUTHORS_COARSE_OUTPUTS) - (AUTHORS_CHANNELS - 1) * 4**2 * FULL[0]
    settings = MultiscaleSettings(filters=FULL)
    assert build_multiscale(settings, IMAGE).model.count_params() == expected == 41_827_457
    four = Ports({"noisy": AUTHORS_CHANNELS}, 1, HEADS["intensity"])
    total = build_multiscale(settings, four).model.count_params() + sum(AUTHORS_COARSE_OUTPUTS)
    assert total == AUTHORS_TOTAL


def test_the_default_has_an_eighth_of_the_filters_on_as_many_scales() -> None:
    assert MultiscaleSettings().filters == tuple(filters // 8 for filters in FULL)
    assert MultiscaleSettings().batch_norm_momentum == 0.8


def test_an_image_is_halved_seven_times_and_an_export_can_call_the_network() -> None:
    model = build_multiscale(MultiscaleSettings(filters=(1,) * 7), IMAGE).model
    sizes = [layer.compute_output_shape((1, 128, 128, 1))[1] for layer in model.layers if layer.name == "encoder_1"]
    assert sizes == [64]
    strides = [layer.strides for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert strides == [(2, 2)] * 7 + [(1, 1)] * 7
    assert SIDE_PX % MultiscaleSettings().step_px == 0
