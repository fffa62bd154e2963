"""Statistics of whole images: what they are, and what is refused."""

import keras
import numpy as np
import pytest

from emdenoise.arrays import Sample, choose_evenly
from emdenoise.errors import SettingsError
from emdenoise.models.contract import Network, Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.normalisation import BatchNormalization
from emdenoise.models.resunet import ResUNetSettings, build_resunet
from emdenoise.training.objectives import Supervised, compute_dice_cross_entropy
from emdenoise.training.statistics import find_normalisations, recompute_statistics

OBJECTIVE = Supervised(("noisy",), "mask", compute_dice_cross_entropy)


class Images:
    """Five images of normally distributed numbers, each with its own mean."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.noisy = rng.normal(np.arange(5.0)[:, None, None, None], 0.5, (5, 8, 8, 1)).astype(np.float32)

    def read_sample(self, fields: tuple[str, ...], indices: np.ndarray) -> Sample:
        return dict.fromkeys(fields, self.noisy[indices])


def normalise_only() -> Network:
    images = keras.Input((None, None, 1), name="noisy")
    layer = BatchNormalization(momentum=0.9, name="normalisation")
    return Network(keras.Model(images, layer(images)), ("noisy",), step_px=1, reach_px=0)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_every_image_counts_alike_whatever_the_batches(batch_size: int) -> None:
    network, images = normalise_only(), Images()
    (layer,) = find_normalisations(network)
    indices = np.arange(5)
    recompute_statistics([layer], network.model, OBJECTIVE, images, indices, batch_size=batch_size, seed=0)
    batches = [images.noisy[start : start + batch_size] for start in range(0, 5, batch_size)]
    variance = np.average([batch.var() for batch in batches], weights=[len(batch) for batch in batches])
    assert float(layer.moving_mean[0]) == pytest.approx(images.noisy.mean(), abs=1e-5)
    assert float(layer.moving_variance[0]) == pytest.approx(variance, rel=1e-5)
    assert layer.momentum == 0.9


def test_what_was_learned_and_what_was_kept_before_do_not_matter() -> None:
    ports = Ports({"noisy": 1}, 2, HEADS["labels"])
    networks = [build_resunet(ResUNetSettings(filters=(4, 6)), ports) for _ in range(2)]
    networks[1].model.set_weights(networks[0].model.get_weights())
    for layer in find_normalisations(networks[1]):
        layer.moving_mean.assign(layer.moving_mean + 7)
    learned = [variable.numpy() for variable in networks[0].model.trainable_variables]
    for network in networks:
        layers = find_normalisations(network)
        recompute_statistics(layers, network.model, OBJECTIVE, Images(), np.arange(4), batch_size=2, seed=0)
    assert all(map(np.array_equal, *(network.model.get_weights() for network in networks)))
    assert all(map(np.array_equal, learned, networks[0].model.trainable_variables))


def test_a_network_without_batch_normalisation_is_refused() -> None:
    images = keras.Input((None, None, 1), name="noisy")
    model = keras.Model(images, keras.layers.Conv2D(1, 3, padding="same")(images), name="plain")
    with pytest.raises(SettingsError, match="plain has no batch normalisation; set it to 0"):
        find_normalisations(Network(model, ("noisy",), step_px=1, reach_px=1))


def test_images_are_spread_over_all_that_were_learned_from() -> None:
    few, many = np.array([1, 4, 6]), np.arange(100, 200)
    assert few[choose_evenly(3, 10)].tolist() == [1, 4, 6]
    assert many[choose_evenly(100, 3)].tolist() in ([100, 149, 199], [100, 150, 199])
