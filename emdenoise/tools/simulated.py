"""Simulated images with a known truth, as a list in memory."""

from typing import Any

import numpy as np

from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import Record
from emdenoise.errors import SettingsError
from emdenoise.sources import SOURCES
from emdenoise.tables import look_up


def simulate(source: str = "graphene", *, num_images: int, seed: int = 0, **settings: Any) -> list[Record]:
    """Simulate images with a known truth.

    No run has these images: those of a training, a validation or a test are others, whatever the seed.

    Parameters
    ----------
    source : str
        A source that simulates: ``"graphene"`` or ``"crystals"``.
    num_images : int
        Two images of graphene, and four of a crystal, show one specimen, unless you set `images_per_specimen`.
    seed : int
        Another seed gives other images; the same one gives the same images, on every machine up to rounding.
    **settings
        Settings of the section of the source in a parameters file, ``simulation`` for graphene and ``crystals`` for
        crystals, such as ``image_size_px=128`` or ``dose_e_per_angstrom2=(400, 800)``.

    Returns
    -------
    list of Record
        `record.images` has ``noisy`` and ``clean``, float32 in [0, 1] of the contrast window, and for graphene
        ``mask``, uint8 labels, each (height, width), and `record.atoms`, the positions of the atoms [px].
        `record.attributes` are the conditions, such as ``pixel_size_angstrom``.

    Raises
    ------
    SettingsError
        If the source does not simulate, or a setting is unknown or out of bounds.

    Examples
    --------
    >>> records = simulate("graphene", num_images=2, image_size_px=32)
    >>> [record.name for record in records], records[0].noisy.shape
    (['extra image 0', 'extra image 1'], (32, 32))
    """
    try:
        entry = look_up("sources", source)
    except ValueError as error:
        raise SettingsError(f"source {error}" if str(error).endswith("?") else f"source {error}.") from error
    if entry.simulate is None:
        known = " and ".join(name for name, other in SOURCES.items() if other.simulate is not None)
        raise SettingsError(f"source {source} holds measured images and cannot simulate; {known} can.")
    counts = sorted({"num_train", "num_validation", "num_test"} & set(settings))
    if counts:
        raise SettingsError(f"{counts[0]} counts the images of a run; give num_images.")
    if num_images < 1 or not 0 <= seed < 2**31:
        raise SettingsError(f"num_images is {num_images} and seed {seed}; they must be at least 1 and 0.")
    values = {name: value.tolist() if isinstance(value, np.generic) else value for name, value in settings.items()}
    kind = type(getattr(RunConfig(), entry.simulation_section))
    return list(entry.simulate(check_settings(values, kind, "simulate"), seed, num_images))
