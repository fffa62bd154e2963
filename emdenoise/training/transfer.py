"""Taking over what a pretrained network has learned, layer by layer, and which layers then stay as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from emdenoise.config.schema import PretrainingSettings
from emdenoise.errors import SettingsError


@dataclass(frozen=True)
class LayerTransfer:
    """What happened to one layer that has weights.

    Attributes
    ----------
    layer : str
    num_values : int
        Weights of the layer.
    is_taken : bool
    reason : str
        Why the layer starts anew; empty where it was taken over.
    """

    layer: str
    num_values: int
    is_taken: bool
    reason: str = ""


@dataclass(frozen=True)
class Freeze:
    """Layers that do not learn.

    Attributes
    ----------
    layers : tuple of str
        Beginnings of the names of the layers; empty for none. Frozen batch normalisation keeps its running statistics.
    thaw_epoch : int or None
        Epochs after which they learn too; None for never.
    """

    layers: tuple[str, ...] = ()
    thaw_epoch: int | None = None

    def apply(self, model: keras.Model, epoch: int) -> bool:
        """Freeze or thaw for an epoch (from 0); says whether that changed anything."""
        is_frozen = self.thaw_epoch is None or epoch < self.thaw_epoch
        layers = [layer for layer in model.layers if self.layers and layer.name.startswith(self.layers)]
        is_changed = any(layer.trainable == is_frozen for layer in layers)
        for layer in layers:
            layer.trainable = not is_frozen
        return is_changed


def choose_freeze(name: str, settings: PretrainingSettings, encoder: tuple[str, ...]) -> Freeze:
    """Choose what stays as it is after the pretraining that the settings describe.

    Parameters
    ----------
    name : str
        Of the network, for the message.
    settings : PretrainingSettings
    encoder : tuple of str
        That the network declares, `Network.encoder`.

    Raises
    ------
    SettingsError
        If the encoder shall be frozen and there is none.
    """
    if settings.method == "none" or settings.encoder == "trainable":
        return Freeze()
    if not encoder:
        raise SettingsError(
            f"pretraining.encoder is frozen, but network {name} has no encoder; set it to trainable, or model.name to "
            "a network with an encoder."
        )
    return Freeze(encoder, settings.thaw_epoch)


def transfer_weights(pretrained: keras.Model, model: keras.Model) -> list[LayerTransfer]:
    """Copy the weights of every layer that has the same name and shapes in both networks.

    Running statistics of batch normalisation are copied too. A layer of another shape, as a head with another number
    of outputs, starts anew.

    Parameters
    ----------
    pretrained, model : keras.Model
        `model` is changed.

    Returns
    -------
    list of LayerTransfer
        One for each layer of `model` that has weights.

    Raises
    ------
    ValueError
        If no layer fits: the networks have nothing in common.
    """
    known = {layer.name: layer.get_weights() for layer in pretrained.layers}
    transfers = []
    for layer in model.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        reason = _compare(known.get(layer.name), weights)
        if not reason:
            layer.set_weights(known[layer.name])
        transfers.append(LayerTransfer(layer.name, sum(weight.size for weight in weights), not reason, reason))
    if not any(transfer.is_taken for transfer in transfers):
        raise ValueError(f"{pretrained.name} and {model.name} have no layer in common")
    return transfers


def _compare(known: Sequence[Any] | None, weights: Sequence[Any]) -> str:
    if known is None:
        return "the pretrained network has no such layer"
    found, expected = ([weight.shape for weight in values] for values in (known, weights))
    return "" if found == expected else f"pretrained shapes {found}, needed {expected}"


def summarise_transfer(transfers: Sequence[LayerTransfer]) -> str:
    """Say in one line how much was taken over and which layers start anew."""
    taken = [transfer for transfer in transfers if transfer.is_taken]
    anew = ", ".join(transfer.layer for transfer in transfers if not transfer.is_taken)
    num_values = sum(transfer.num_values for transfer in taken)
    return (
        f"Took over {len(taken)} of {len(transfers)} layers, {num_values:,} weights"
        f"{f'; new are {anew}' if anew else ''}."
    )
