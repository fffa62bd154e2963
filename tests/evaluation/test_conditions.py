"""What a source knows of its images is read for each image; what it does not know is not made up."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import UNKNOWN_CLASS, Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.tiles import cut_record
from emdenoise.evaluation.conditions import CONDITIONS, read_conditions
from emdenoise.simulation.specimens import DEFECTS
from emdenoise.sources import SOURCES

DOSES = [500.123456, 1000.0, 8000.0]


@pytest.fixture
def records(draw_records: Callable[..., Iterator[Record]]) -> list[Record]:
    return [
        replace(record, attributes=record.attributes | {"dose_e_per_angstrom2": dose}, class_id=number)
        for record, dose, number in zip(draw_records(3), DOSES, (1, 0, UNKNOWN_CLASS), strict=True)
    ]


def read(records: list[Record], folder: Path, **attributes: str) -> dict[str, Any]:
    write_records(folder / "test.h5", records, attributes=attributes)
    with RecordFile(folder / "test.h5") as file:
        return read_conditions(file)


def test_doses_and_classes_are_those_of_the_images(records: list[Record], tmp_path: Path) -> None:
    found = read(records, tmp_path, class_names='["pristine", "pores"]')
    assert found == {"doses_e_per_angstrom2": [500.123, 1000.0, 8000.0], "classes": ["pores", "pristine", ""]}
    assert tuple(found) == CONDITIONS
    assert json.loads(json.dumps(found)) == found


def test_classes_without_names_are_not_known(records: list[Record], tmp_path: Path) -> None:
    assert list(read(records, tmp_path)) == ["doses_e_per_angstrom2"]


@pytest.mark.parametrize("dose", [np.nan, 0.0])
def test_the_dose_must_be_known_of_every_image(dose: float, records: list[Record], tmp_path: Path) -> None:
    records[1].attributes["dose_e_per_angstrom2"] = dose
    assert read(records, tmp_path) == {}


def test_an_image_that_was_cut_counts_once(records: list[Record], tmp_path: Path) -> None:
    tiles = [tile for record in records for tile in cut_record(replace(record, atoms=None), 16)]
    assert len(tiles) > len(records)
    assert len(read(tiles, tmp_path)["doses_e_per_angstrom2"]) == len(records)


def test_the_classes_of_graphene_are_the_kinds_of_its_defects(tiny_config: Callable[..., RunConfig]) -> None:
    config = tiny_config(simulation={"defects": ["pores"]})
    assert SOURCES["graphene"].class_names(config) == list(DEFECTS)
