"""The source crystals: materials are in one split only, and a recipe gives one content, in parts or whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig
from emdenoise.config.simulation import CrystalSettings
from emdenoise.dataset.intensity import choose_contrast
from emdenoise.dataset.record import SPLITS, STATED_RANGE
from emdenoise.errors import MissingInputError
from emdenoise.simulation.materials import MATERIALS
from emdenoise.sources.crystals import CRYSTALS, find_recipe, split_materials

pytestmark = pytest.mark.usefixtures("simulation_in_this_process")
CHANGES: dict[str, Any] = {
    "data": {"source": "crystals"},
    "crystals": {
        "num_train": 6,
        "num_validation": 2,
        "num_test": 2,
        "images_per_specimen": 2,
        "image_size_px": 32,
        "pixel_size_angstrom": [0.15, 0.3],
        "thickness_angstrom": [10.0, 12.0],
    },
}


@pytest.fixture
def config(tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config(**CHANGES)


def test_a_material_is_in_one_split_only(config: RunConfig) -> None:
    splits = split_materials(config)
    names = [name for split in SPLITS for name in splits[split]]
    assert sorted(names) == sorted(MATERIALS)
    assert all(len(splits[split]) >= 5 for split in SPLITS)


def test_what_was_simulated_is_read_and_its_materials_are_those_of_the_split(
    config: RunConfig, tmp_path: Path, progress: Any
) -> None:
    hashes = CRYSTALS.download(config, tmp_path, progress)
    assert {Path(name).stem for name in hashes} == set(SPLITS)
    assert hashes == CRYSTALS.download(config, tmp_path, progress)
    materials = split_materials(config)
    for split, records in CRYSTALS.read(config, tmp_path).items():
        found = list(records)
        assert len(found) == getattr(config.crystals, f"num_{split}")
        for record in found:
            assert record.specimen in [*materials[split], f"vacuum of {split}"]
            assert set(record.images) == {"noisy", "clean"}
            assert all(np.isfinite(image).all() for image in record.images.values())
            assert record.attributes[STATED_RANGE] > 0


def test_parts_give_the_same_file(config: RunConfig, tmp_path: Path, progress: Any) -> None:
    assert CRYSTALS.simulate_part is not None
    for part in (1, 2):
        line = CRYSTALS.simulate_part(config, tmp_path / "parts", part, 2, progress)
        assert line.endswith("training images) is simulated.")
    in_parts = CRYSTALS.download(config, tmp_path / "parts", progress)
    assert "crystals train: 6 of 6 images are from 2 parts." in progress.lines
    assert in_parts == CRYSTALS.download(config, tmp_path / "whole", progress)


def test_images_that_were_not_simulated_are_missing(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"crystals train.h5 of this parameters file is not in"):
        list(CRYSTALS.read(config, tmp_path)["train"])


def test_the_stored_scale_follows_from_the_noisy_image_alone_as_in_predict(
    config: RunConfig, tmp_path: Path, progress: Any
) -> None:
    CRYSTALS.download(config, tmp_path, progress)
    for record in CRYSTALS.read(config, tmp_path)["train"]:
        stored = record.noisy.astype(np.float64)
        own = stored / record.attributes["intensity_scale"] + record.attributes["intensity_offset"]
        (scale,) = CRYSTALS.choose_scales([own.astype(np.float32)], config, "own.tif")
        assert scale.to_attributes() == {
            name: record.attributes[name] for name in ("intensity_offset", "intensity_scale")
        }


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (64.0, 4096.0), (0.25, -128.0)])
def test_gain_and_offset_of_a_detector_drop_out_of_the_stored_image(gain: float, offset: float) -> None:
    counts = np.random.default_rng(0).poisson(20, (64, 64)).astype(np.float32)
    stored = choose_contrast(counts).apply(counts)
    own = counts * np.float32(gain) + np.float32(offset)
    assert choose_contrast(own).apply(own) == pytest.approx(stored, abs=1 / 16)


def test_an_image_without_contrast_has_a_scale_too() -> None:
    for value in (0.0, 7.0, -3.0):
        image = np.full((32, 32), value, np.float32)
        stored = choose_contrast(image).apply(image)
        assert np.isfinite(stored).all()
        assert np.abs(stored).max() <= 1


def test_the_section_is_in_no_hash_of_a_run_that_does_not_look_at_it() -> None:
    assert "crystals" not in RunConfig().model_dump()
    config = RunConfig.model_validate({"data": {"source": "crystals"}})
    assert config.model_dump()["crystals"] == CrystalSettings().model_dump()
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_another_split_or_seed_is_another_recipe(tiny_config: Callable[..., RunConfig]) -> None:
    changes = [{}, {"seed": 3}, {"test_fraction": 0.2}]
    configs = [tiny_config(**CHANGES | {"data": {"source": "crystals"} | change}) for change in changes]
    assert len({find_recipe(config).sha256 for config in configs}) == len(configs)
    assert len({hash_settings(config) for config in configs}) == len(configs)
