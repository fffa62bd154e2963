"""Mean and variance of batch normalisation, computed anew over whole images when a training is done.

A network that learned from crops with zeros around them has the statistics of crops. Whole images have others, and it
is worse on them (doi:10.48550/arXiv.1906.06423). Some forward passes over whole images mend that
(doi:10.48550/arXiv.2105.07576).
"""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from emdenoise.dataset.whole_images import ShownRecords
from emdenoise.errors import SettingsError
from emdenoise.models.contract import Network
from emdenoise.seeding import make_generator
from emdenoise.training.objectives import Objective


def find_normalisations(network: Network) -> list[keras.layers.BatchNormalization]:
    """List the layers of batch normalisation.

    Raises
    ------
    SettingsError
        If there are none.
    """
    layers = [layer for layer in network.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        raise SettingsError(
            f"training.statistics_images is set, but {network.model.name} has no batch normalisation; set it to 0."
        )
    return layers


def recompute_statistics(
    layers: Sequence[keras.layers.BatchNormalization],
    model: keras.Model,
    objective: Objective,
    images: ShownRecords,
    indices: npt.NDArray[np.intp],
    *,
    batch_size: int,
    seed: int,
) -> None:
    """Replace the running statistics by the mean of those of batches of whole images.

    Parameters
    ----------
    layers : sequence of keras.layers.BatchNormalization
        Of the model; their running means and variances change, nothing else.
    model : keras.Model
    objective : Objective
        Makes the inputs.
    images : RecordFile or ResizedRecords
    indices : ndarray of int, shape (num_images,)
        Of the images.
    batch_size : int
    seed : int
        Seed of the run.
    """
    momenta = [layer.momentum for layer in layers]
    rng = make_generator(seed, "recomputed statistics")
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        inputs, _ = objective.prepare(images.read_sample(objective.needs, chosen), rng)
        for layer in layers:  # so that every image counts alike
            layer.momentum = start / (start + len(chosen))
        model(inputs if len(inputs) > 1 else next(iter(inputs.values())), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
