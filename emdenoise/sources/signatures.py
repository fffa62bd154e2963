"""What identifies simulated data: exactly on the machine type that made it, within a tolerance elsewhere.

Fourier transforms round differently on different processors. The noise-free images then differ in the last digits, and
a Poisson draw that falls on the other side of its threshold changes all later draws of that image. So a signature holds
a content hash for the same machine type, and coarse means of the images for the others.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from emdenoise.dataset.record_file import RecordFile

NUM_SIGNED_IMAGES = 8
NUM_BLOCKS = 4
CLEAN_TOLERANCE = 1e-4
"""Largest difference of block means of noise-free images: float32 rounding, far below one count."""
NUM_STANDARD_ERRORS = 6
"""How far block means of noisy images may differ, in standard errors of their counts."""


@dataclass(frozen=True)
class Signature:
    """What a file of simulated records is recognised by.

    Attributes
    ----------
    content_sha256 : str
        Hash of every value in the file.
    num_images : int
    clean, noisy : tuple of float
        Means of 4 × 4 blocks of the first eight images, flattened.
    noisy_standard_error : tuple of float
        Standard error of each value of `noisy` from counting alone.
    """

    content_sha256: str
    num_images: int
    clean: tuple[float, ...]
    noisy: tuple[float, ...]
    noisy_standard_error: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert to what JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Convert back from JSON."""
        converted: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**converted)


def sign(records: RecordFile) -> Signature:
    """Compute the signature of a file of simulated records."""
    first = slice(0, min(NUM_SIGNED_IMAGES, len(records)))
    clean, noisy = records.read("clean", first).astype(np.float64), records.read("noisy", first).astype(np.float64)
    electrons_per_unit = records.read_attribute("electrons_per_unit_intensity")[first]
    block_pixels = noisy[0].size / NUM_BLOCKS**2
    clean_means, noisy_means = _average_blocks(clean), _average_blocks(noisy)
    # Counts N = dose · intensity per pixel; one electron changes the stored value by 1 / electrons_per_unit.
    counts = electrons_per_unit * records.read_attribute("intensity_scale")[first]
    standard_error = np.repeat(np.sqrt(counts / block_pixels) / electrons_per_unit, NUM_BLOCKS**2)
    return Signature(
        content_sha256=records.hash_content(),
        num_images=len(records),
        clean=tuple(np.round(clean_means.ravel(), 7).tolist()),
        noisy=tuple(np.round(noisy_means.ravel(), 7).tolist()),
        noisy_standard_error=tuple(np.round(standard_error, 7).tolist()),
    )


def compare(found: Signature, expected: Signature) -> str:
    """Compare two signatures: ``"equal"`` to the bit, ``"within tolerance"`` or ``"different"``."""
    if found.content_sha256 == expected.content_sha256:
        return "equal"
    if found.num_images != expected.num_images or len(found.clean) != len(expected.clean):
        return "different"
    clean_difference = np.abs(np.subtract(found.clean, expected.clean))
    noisy_difference = np.abs(np.subtract(found.noisy, expected.noisy))
    is_close = (clean_difference <= CLEAN_TOLERANCE).all() and (
        noisy_difference <= NUM_STANDARD_ERRORS * np.sqrt(2) * np.array(expected.noisy_standard_error)
    ).all()
    return "within tolerance" if is_close else "different"


def _average_blocks(images: np.ndarray) -> np.ndarray:
    count, height, width = images.shape
    blocks = images.reshape(count, NUM_BLOCKS, height // NUM_BLOCKS, NUM_BLOCKS, width // NUM_BLOCKS)
    means: np.ndarray = blocks.mean(axis=(2, 4)).reshape(count, -1)
    return means
