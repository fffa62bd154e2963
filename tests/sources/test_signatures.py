"""A signature tells equal from nearly equal from different."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.sources.signatures import CLEAN_TOLERANCE, Signature, compare, sign

ELECTRONS = 100.0


def draw(
    seed: int = 0, change: Callable[[Record], Record] = lambda record: record, count: int = 10
) -> Iterator[Record]:
    """Draw counts of an even image, as the simulation stores them: scale 2.5, black level -1.5."""
    rng = np.random.default_rng(seed)
    clean = np.linspace(0.8, 1.2, 64, dtype=np.float32) * np.ones((64, 1), np.float32)
    for index in range(count):
        counts = rng.poisson(clean * ELECTRONS) / ELECTRONS
        yield change(
            Record(
                {
                    "noisy": ((counts - 0.6) * 2.5).astype(np.float32),
                    "clean": (clean - np.float32(0.6)) * np.float32(2.5),
                },
                specimen=f"test {index}",
                name=f"image {index}",
                attributes={
                    "electrons_per_unit_intensity": ELECTRONS / 2.5,
                    "intensity_scale": 2.5,
                    "intensity_offset": 0.6,
                },
            )
        )


def change_images(record: Record, **changes: Callable[[np.ndarray], np.ndarray]) -> Record:
    return replace(record, images=record.images | {name: changes[name](record.images[name]) for name in changes})


@pytest.fixture
def sign_records(tmp_path: Path) -> Callable[..., Signature]:
    def write_and_sign(**options: Any) -> Signature:
        path = tmp_path / "records.h5"
        write_records(path, draw(**options), attributes={})
        with RecordFile(path) as records:
            return sign(records)

    return write_and_sign


def test_equal_content_is_equal(sign_records: Callable[..., Signature]) -> None:
    assert compare(sign_records(), sign_records()) == "equal"


def test_rounding_of_clean_images_and_other_counts_are_within_tolerance(sign_records: Callable[..., Signature]) -> None:
    expected = sign_records()
    for seed in range(1, 6):
        rounded = sign_records(
            seed=seed, change=lambda record: change_images(record, clean=lambda image: image * np.float32(1 + 1e-6))
        )
        assert compare(rounded, expected) == "within tolerance"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: change_images(record, clean=lambda image: image + np.float32(3 * CLEAN_TOLERANCE)),
        lambda record: change_images(record, noisy=lambda image: image + np.float32(0.1)),
        lambda record: change_images(record, noisy=lambda image: image * np.float32(1.1)),
        lambda record: change_images(record, clean=lambda image: image[:, ::-1], noisy=lambda image: image[:, ::-1]),
    ],
    ids=["clean shifted", "noisy shifted", "noisy scaled", "mirrored"],
)
def test_other_images_are_different(sign_records: Callable[..., Signature], change: Callable[[Record], Record]) -> None:
    assert compare(sign_records(seed=1, change=change), sign_records()) == "different"


def test_another_number_of_images_is_different(sign_records: Callable[..., Signature]) -> None:
    assert compare(sign_records(count=9), sign_records()) == "different"
    assert compare(sign_records(count=4), sign_records()) == "different"


def test_a_signature_survives_json(sign_records: Callable[..., Signature]) -> None:
    import json

    signature = sign_records()
    assert Signature.from_json(json.loads(json.dumps(signature.to_json()))) == signature


def test_the_standard_error_is_that_of_counting(sign_records: Callable[..., Signature]) -> None:
    """Over many draws block means scatter as the signature says, so that its limit of six is one in a billion."""
    signatures = [sign_records(seed=seed, count=1) for seed in range(40)]
    scatter = np.std([signature.noisy for signature in signatures], axis=0, ddof=1).mean()
    assert scatter == pytest.approx(np.mean(signatures[0].noisy_standard_error), rel=0.15)
