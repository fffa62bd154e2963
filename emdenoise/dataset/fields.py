"""FIELDS: what a record can hold, image by image. Storage, tiles, batches and Croissant loop over this table."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from emdenoise.resampling import resample, resample_labels

Kind = Literal["intensity", "labels", "complex", "weight"]
NUM_CHANNELS: dict[Kind, int] = {"intensity": 1, "labels": 1, "complex": 2, "weight": 1}
"""Channels of a field in a `Sample`, by its kind."""


@dataclass(frozen=True)
class FieldSpec:
    """One thing that a record can hold, an image of the same height and width as the others.

    Attributes
    ----------
    name : str
        Of the data set in the canonical file.
    dtype : str
        As stored.
    kind : {'intensity', 'labels', 'complex', 'weight'}
        intensity: a picture; labels: class or number of each pixel; complex: a wave; weight: how much a pixel counts.
    unit : str
        Of the stored numbers.
    meaning : str
        One sentence, for other people's programs.
    advice : str
        How to get images with it, after "Choose a source that has them"; empty where there is no other way.
    """

    name: str
    dtype: str
    kind: Kind
    unit: str
    meaning: str
    advice: str = ""

    @property
    def num_channels(self) -> int:
        """Channels in a `Sample`."""
        return NUM_CHANNELS[self.kind]

    def to_sample(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give stored images (batch, height, width) a last axis of channels; a complex wave has real and imaginary."""
        if self.kind == "complex":
            return np.stack([images.real, images.imag], axis=-1)
        return images[..., None]

    def resample(self, image: npt.NDArray[Any], rows: sparse.csr_array, columns: sparse.csr_array) -> npt.NDArray[Any]:
        """Resample an image of the field by weights of `make_weights`; its dtype stays.

        Returns
        -------
        ndarray, shape (size of rows, size of columns)
            Numbers are interpolated; a pixel of labels has the label with the largest share of it.
        """
        if self.kind == "labels":
            return resample_labels(image, rows, columns)
        if self.kind == "complex":
            return (resample(image.real, rows, columns) + 1j * resample(image.imag, rows, columns)).astype(image.dtype)
        return resample(image, rows, columns)


FIELDS: dict[str, FieldSpec] = {
    "noisy": FieldSpec("noisy", "float32", "intensity", "contrast window", "Detector image, intensity near [0, 1]."),
    "clean": FieldSpec(
        "clean",
        "float32",
        "intensity",
        "contrast window",
        "Noise-free intensity in [0, 1].",
        advice=", put the truth beside your images, or set data.added_noise_electrons_per_pixel",
    ),
    "mask": FieldSpec(
        "mask", "uint8", "labels", "label", "Semantic labels.", advice=", or put masks beside your images"
    ),
    "instances": FieldSpec(
        "instances",
        "int32",
        "labels",
        "number",
        "Number of the particle of each pixel, 0 for none.",
    ),
    "wave": FieldSpec(
        "wave",
        "complex64",
        "complex",
        "amplitude of vacuum",
        "Complex exit wave.",
        advice=", or set simulation.store_wave to true",
    ),
}
