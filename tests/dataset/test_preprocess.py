"""From a source to the canonical files: splits apart by specimen, described for other people's tools."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pytest

from emdenoise.config.schema import DataSettings, RunConfig
from emdenoise.dataset.preprocess import preprocess_source
from emdenoise.dataset.record import SPLITS, Record, Source
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import DataError
from emdenoise.sources import SOURCES

DrawRecords = Callable[..., Iterator[Record]]
SIZES = {"train": 6, "validation": 2, "test": 4}


@pytest.fixture
def make_source(draw_records: DrawRecords) -> Callable[..., Source]:
    """Give the source graphene with drawn records; `specimens` says how each split names its specimens."""

    def make(**specimens: str) -> Source:
        def read(config: RunConfig, raw_dir: Path) -> dict[str, Iterator[Record]]:
            return {
                split: draw_records(SIZES[split], seed=seed, specimen=specimens.get(split, split))
                for seed, split in enumerate(SPLITS)
            }

        return replace(SOURCES["graphene"], read=read)

    return make


@pytest.fixture
def data_dir(tmp_path: Path, make_source: Callable[..., Source], progress: Any) -> Path:
    preprocess_source(make_source(), RunConfig(), tmp_path, tmp_path / "data", progress)
    return tmp_path / "data"


def test_each_split_has_its_records_and_nothing_else_appears(data_dir: Path, draw_records: DrawRecords) -> None:
    names = {path.name for path in data_dir.iterdir()}
    assert names == {"croissant.json", "test.h5", "train.h5", "validation.h5"}
    for seed, split in enumerate(SPLITS):
        with RecordFile(data_dir / f"{split}.h5") as records:
            assert len(records) == SIZES[split]
            expected = next(draw_records(1, seed=seed, specimen=split))
            assert np.array_equal(records.read("noisy", [0])[0], expected.noisy)
            assert records.attributes["source"] == "graphene"
            assert records.attributes["mask_labels"] == '["vacuum", "lattice", "defect"]'
            assert str(records.attributes["licence"]).startswith("https://")


def test_the_splits_have_no_specimen_in_common(data_dir: Path) -> None:
    specimens = {}
    for split in SPLITS:
        with RecordFile(data_dir / f"{split}.h5") as records:
            specimens[split] = set(records.read_text("specimen"))
    assert all(specimens[one].isdisjoint(specimens[other]) for one in SPLITS for other in SPLITS if one != other)


@pytest.mark.parametrize(("other", "split"), [("train", "test"), ("train", "validation"), ("validation", "test")])
def test_a_specimen_in_two_splits_is_refused(
    tmp_path: Path, make_source: Callable[..., Source], progress: Any, other: str, split: str
) -> None:
    source = make_source(**{split: other})
    with pytest.raises(DataError, match=f"image 0: its specimen '{other} 0' is in {other} and in {split}; a specimen"):
        preprocess_source(source, RunConfig(), tmp_path, tmp_path / "data", progress)
    assert not (tmp_path / "data" / f"{split}.h5").exists()


def test_the_hashes_are_those_of_the_content_and_the_same_a_second_time(
    tmp_path: Path, make_source: Callable[..., Source], progress: Any
) -> None:
    folders = (tmp_path / name for name in ("a", "b"))
    first, second = (preprocess_source(make_source(), RunConfig(), tmp_path, folder, progress)[0] for folder in folders)
    assert first == second
    assert sorted(first) == ["test.h5", "train.h5", "validation.h5"]
    for name, expected in first.items():
        with RecordFile(tmp_path / "a" / name) as records:
            assert records.hash_content() == expected


def test_progress_tells_each_image_and_each_split(
    tmp_path: Path, make_source: Callable[..., Source], progress: Any
) -> None:
    preprocess_source(make_source(), RunConfig(), tmp_path, tmp_path / "data", progress)
    assert progress.lines == ["train: 6 images", "validation: 2 images", "test: 4 images"]
    assert [step[1] for step in progress.steps if step[0] == "preprocess train"] == [1, 2, 3, 4, 5, 6]


def test_the_description_is_valid_croissant(data_dir: Path) -> None:
    dataset = mlcroissant.Dataset(jsonld=data_dir / "croissant.json")
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.name == "emdenoise-graphene"
    assert {record_set.id for record_set in dataset.metadata.record_sets} == set(SPLITS)
    fields = {field.id for record_set in dataset.metadata.record_sets for field in record_set.fields}
    assert {"train/noisy", "test/clean", "validation/mask"} <= fields


def test_the_description_holds_the_sha256_and_the_size_of_each_file(data_dir: Path) -> None:
    described = json.loads((data_dir / "croissant.json").read_text(encoding="utf-8"))["distribution"]
    assert {entry["name"] for entry in described} == {"train.h5", "validation.h5", "test.h5"}
    for entry in described:
        content = (data_dir / entry["contentUrl"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["contentSize"] == f"{len(content)} B"


def test_the_description_names_no_path_of_this_machine(data_dir: Path) -> None:
    assert str(data_dir.parent) not in (data_dir / "croissant.json").read_text(encoding="utf-8")


def test_a_mask_with_a_label_without_a_name_is_refused_in_one_line(
    tmp_path: Path, draw_records: DrawRecords, progress: Any
) -> None:
    def read(config: RunConfig, raw_dir: Path) -> dict[str, Iterator[Record]]:
        return {split: map(whiten_mask, draw_records(2)) for split in SPLITS}

    def whiten_mask(record: Record) -> Record:
        return replace(record, images=record.images | {"mask": record.images["mask"] * 255})

    source = replace(SOURCES["folder"], read=read)
    config = RunConfig(data=DataSettings(source="folder"))
    expected = (
        r"image 0: its mask has the label 255; the known labels are 0 background, 1 particle; name all labels in "
    )
    with pytest.raises(DataError, match=expected + r"data\.mask_labels"):
        preprocess_source(source, config, tmp_path, tmp_path / "data", progress)


def test_images_without_masks_need_no_labels(tmp_path: Path, draw_records: DrawRecords, progress: Any) -> None:
    """`em_graphene_sim` has neither; it was refused as if each image had a mask of label 0."""

    def read(config: RunConfig, raw_dir: Path) -> dict[str, Iterator[Record]]:
        return {split: map(drop_mask, draw_records(2, seed=seed, specimen=split)) for seed, split in enumerate(SPLITS)}

    def drop_mask(record: Record) -> Record:
        return replace(record, images={name: image for name, image in record.images.items() if name != "mask"})

    source = replace(SOURCES["em_graphene_sim"], read=read)
    config = RunConfig(data=DataSettings(source="em_graphene_sim"))
    hashes, _ = preprocess_source(source, config, tmp_path, tmp_path / "data", progress)
    assert sorted(hashes) == ["test.h5", "train.h5", "validation.h5"]
