"""FIELDS: one line there is all that a new kind of image needs, from its file to the batches of a training."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pytest

from emdenoise.config.schema import RunConfig, TrainingSettings
from emdenoise.dataset.fields import FIELDS, FieldSpec
from emdenoise.dataset.preprocess import preprocess_source
from emdenoise.dataset.record import SPLITS, Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.sampler import InOrder, Sampler
from emdenoise.dataset.tiles import cut_record
from emdenoise.sources import SOURCES

DrawRecords = Callable[..., Iterator[Record]]
NEW_FIELDS = [
    FieldSpec("extra", "float32", "weight", "e⁻/px", "Electrons that were spent on each pixel."),
    FieldSpec("extra", "float32", "intensity", "contrast window", "The same place, seen at another focus."),
    FieldSpec("extra", "int16", "labels", "label", "Number of the grain of each pixel."),
    FieldSpec("extra", "complex64", "complex", "amplitude of vacuum", "The wave behind the aperture."),
]


def derive(spec: FieldSpec, noisy: np.ndarray) -> np.ndarray:
    """Compute a field of its kind and type from the noisy image, each pixel from the one at the same place."""
    derived = {
        "complex": noisy + 1j * (1 - 3 * noisy),
        "labels": 7 * (noisy > 0.5) + 2 * (noisy > 0.55),
        "intensity": 2 - noisy,
        "weight": 40 * noisy,
    }
    return derived[spec.kind].astype(spec.dtype)


def add(record: Record, *specs: FieldSpec) -> Record:
    return replace(record, images=record.images | {spec.name: derive(spec, record.noisy) for spec in specs})


def check_sample(sample: dict[str, np.ndarray], spec: FieldSpec, shape: tuple[int, ...]) -> None:
    """Check that each pixel of a field is still where its noisy pixel is."""
    assert sample["noisy"].shape == (*shape, 1)
    assert sample[spec.name].shape == (*shape, spec.num_channels)
    assert np.array_equal(sample[spec.name], spec.to_sample(derive(spec, sample["noisy"][..., 0])))


@pytest.fixture(params=NEW_FIELDS, ids=lambda spec: spec.kind)
def new_field(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FieldSpec:
    """Add a field to the table, and nowhere else."""
    spec: FieldSpec = request.param
    monkeypatch.setitem(FIELDS, spec.name, spec)
    return spec


TYPES = {"intensity": np.floating, "weight": np.floating, "labels": np.integer, "complex": np.complexfloating}


@pytest.mark.parametrize("name", FIELDS)
def test_an_entry_is_stored_under_its_own_name_in_a_type_that_can_hold_its_kind(name: str) -> None:
    assert FIELDS[name].name == name
    assert np.issubdtype(FIELDS[name].dtype, TYPES[FIELDS[name].kind])


def test_a_wave_is_two_channels_of_a_sample_and_is_restored_from_them_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    wave = (rng.normal(size=(3, 8, 5)) + 1j * rng.normal(size=(3, 8, 5))).astype(np.complex64)
    sample = FIELDS["wave"].to_sample(wave)
    assert (sample.dtype, sample.shape) == (np.float32, (3, 8, 5, 2))
    assert np.array_equal(sample.view(np.complex64)[..., 0], wave)
    assert np.array_equal(np.hypot(sample[..., 0], sample[..., 1]), np.hypot(wave.real, wave.imag))


@pytest.mark.parametrize("name", FIELDS)
def test_an_entry_comes_back_from_its_file_to_the_bit_with_its_channels(
    name: str, tmp_path: Path, draw_records: DrawRecords
) -> None:
    spec, records = FIELDS[name], list(draw_records(3))
    if name != "noisy":
        records = [add(record, spec) for record in records]
    write_records(tmp_path / "a.h5", records, attributes={})
    expected = np.stack([record.images[name] for record in records])
    with RecordFile(tmp_path / "a.h5") as file:
        assert file.read(name).dtype == expected.dtype == spec.dtype
        sample = file.read_sample([name], [2, 0])
    assert np.array_equal(sample[name], spec.to_sample(expected[[2, 0]]))
    assert sample[name].shape == (2, 32, 32, spec.num_channels)


def test_a_new_field_is_stored_and_read_with_the_records(
    new_field: FieldSpec, tmp_path: Path, draw_records: DrawRecords
) -> None:
    write_records(tmp_path / "a.h5", (add(record, new_field) for record in draw_records(2)), attributes={})
    with RecordFile(tmp_path / "a.h5") as file:
        assert "extra" in file
        for record in file.read_records():
            assert record.images["extra"].dtype == new_field.dtype
            assert np.array_equal(record.images["extra"], derive(new_field, record.noisy))


def test_a_new_field_is_cut_into_tiles_and_put_together_again(new_field: FieldSpec, tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).random((70, 45), np.float32)
    whole = add(Record({"noisy": noisy}, specimen="a", name="a"), new_field)
    write_records(tmp_path / "a.h5", cut_record(whole, 32), attributes={})
    with RecordFile(tmp_path / "a.h5") as file:
        (tiles,) = file.list_whole_images()
        assert len(tiles) == 3 * 2
        assert np.array_equal(file.read_whole("extra", tiles), whole.images["extra"])
        check_sample(file.read_whole_sample(["noisy", "extra"], [tiles]), new_field, (1, 70, 45))


def test_a_new_field_is_sampled_with_the_crops_and_turns_of_the_image(
    new_field: FieldSpec, tmp_path: Path, draw_records: DrawRecords
) -> None:
    write_records(tmp_path / "a.h5", (add(record, new_field) for record in draw_records(4)), attributes={})
    settings = TrainingSettings(batch_size=4, crop_size_px=16, flip=True)
    with RecordFile(tmp_path / "a.h5") as file:
        sampler = Sampler(file, ("noisy", "extra"), settings, seed=0)
        batches = [sampler.read(epoch, 0) for epoch in range(10)]
        check_sample(InOrder(file, ("noisy", "extra"), 4).read(0, 0), new_field, (4, 32, 32))
    assert len({batch["extra"].tobytes() for batch in batches}) == 10
    for batch in batches:
        check_sample(batch, new_field, (4, 16, 16))


def test_a_new_field_goes_through_preprocess_and_is_described_in_croissant(
    new_field: FieldSpec, tmp_path: Path, draw_records: DrawRecords, progress: Any
) -> None:
    def read(config: RunConfig, raw_dir: Path) -> dict[str, Iterator[Record]]:
        return {split: (add(record, new_field) for record in draw_records(2, specimen=split)) for split in SPLITS}

    source = replace(SOURCES["graphene"], read=read)
    preprocess_source(source, RunConfig(), tmp_path, tmp_path, progress)
    dataset = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json")
    assert dataset.metadata.ctx.issues.errors == set()
    described = {field.id: field for record_set in dataset.metadata.record_sets for field in record_set.fields}
    assert {f"{split}/extra" for split in SPLITS} <= set(described)
    assert described["test/extra"].description.startswith(new_field.meaning)


def test_a_field_that_no_record_has_is_not_described(tmp_path: Path, draw_records: DrawRecords, progress: Any) -> None:
    def read(config: RunConfig, raw_dir: Path) -> dict[str, Iterator[Record]]:
        return {split: draw_records(2, specimen=split) for split in SPLITS}

    preprocess_source(replace(SOURCES["graphene"], read=read), RunConfig(), tmp_path, tmp_path, progress)
    record_set, *_ = json.loads((tmp_path / "croissant.json").read_text(encoding="utf-8"))["recordSet"]
    assert [field["name"] for field in record_set["field"]] == ["noisy", "clean", "mask"]
