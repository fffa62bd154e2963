"""What every entry of SOURCES promises about somebody's own images, and about the settings that decide its images."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.config.base import Settings
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.preprocess import preprocess_source
from emdenoise.errors import DataError, MissingInputError
from emdenoise.results.preconditions import check_data
from emdenoise.results.task_record import TaskRecorder
from emdenoise.sources import SOURCES
from emdenoise.sources.crystals import find_recipe
from emdenoise.sources.graphene import hash_recipe
from tests.raw_files import RAW_FILES

Configure = Callable[..., RunConfig]


@dataclass(frozen=True)
class OwnImages:
    """Images of a person whose network was trained with a source.

    `is_exact` says whether they come back to the bit; `stored_mean` is the mean that the network sees, where the source
    fixes it; `wrong` is an image of another scale with what is said of it, None where a source takes any scale.
    """

    images: list[np.ndarray]
    is_exact: bool
    wrong: tuple[np.ndarray, str] | None
    stored_mean: float | None = None


RNG = np.random.default_rng(0)
COUNTS = [RNG.poisson(mean, (40, 30)).astype(np.float32) for mean in (50, 3000)]
OWN_IMAGES = {
    # The mean is vacuum, 1, in a window from 0.6 to 1.4: it is stored as 0.5.
    "graphene": OwnImages(COUNTS, False, (COUNTS[0] - 200, "expected counts, above 0"), 0.5),
    "em_graphene_sim": OwnImages(
        [RNG.uniform(-0.5, 1.5, (40, 30)).astype(np.float32)], True, (COUNTS[0], "from -4 to 8; bring the image to")
    ),
    "emps": OwnImages(
        [RNG.integers(0, 256, (40, 30)).astype(np.float32)], True, (COUNTS[1], "from 0 to 255; bring the image to")
    ),
    # Each image has a scale of its own, with an offset of whole counts.
    "crystals": OwnImages([*COUNTS, COUNTS[1] - 3000], True, None),
    "folder": OwnImages([*COUNTS, COUNTS[1] - 3000], True, None),
}
RECIPES: dict[str, Callable[[RunConfig], str]] = {
    "graphene": hash_recipe,
    "crystals": lambda config: find_recipe(config).sha256,
}
"""What identifies the images of a simulated source."""
OTHER_SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"seed": 7},
    "simulation": {"num_train": 9},
    "crystals": {"num_train": 9},
    "model": {"filters": [8]},
    "pretraining": {"batch_size": 3},
    "training": {"epochs": 99},
    "evaluation": {"num_pictures": 1},
}
"""One setting of each section with another value."""


def choose(source: str, *sections: str) -> dict[str, Any]:
    """Choose a source, and another setting in some sections."""
    changes = {section: OTHER_SETTINGS[section] for section in sections}
    return changes | {"data": {"source": source} | changes.get("data", {})}


def test_every_source_and_every_section_of_the_settings_is_tested_here() -> None:
    assert set(OWN_IMAGES) == set(SOURCES), "give images in OWN_IMAGES to every source"
    sections = {name for name, value in RunConfig() if isinstance(value, Settings)}
    assert set(OTHER_SETTINGS) == sections, "give another setting in OTHER_SETTINGS for every section"


@pytest.mark.parametrize("source", SOURCES)
def test_own_images_come_back_from_the_stored_scale(source: str, tiny_config: Configure) -> None:
    own = OWN_IMAGES[source]
    scales = SOURCES[source].choose_scales(own.images, tiny_config(data={"source": source}), "own.tif")
    assert len(scales) == len(own.images)
    for image, scale in zip(own.images, scales, strict=True):
        stored = scale.apply(image)
        restored = scale.restore(stored)
        assert stored.dtype == restored.dtype == np.float32
        if own.is_exact:
            assert math.frexp(scale.scale)[0] == 0.5, "a factor that is no power of two rounds"
            assert np.array_equal(restored, image)
        # Offset and factor round once each, there and back, at most half a spacing of the largest value every time.
        assert np.abs(restored - image).max() <= 2 * np.spacing(np.abs(image).max())
        if own.stored_mean is not None:
            assert stored.mean() == pytest.approx(own.stored_mean, abs=1e-5)


@pytest.mark.parametrize("source", [name for name, own in OWN_IMAGES.items() if own.wrong])
def test_images_of_another_scale_are_refused_in_one_line(source: str, tiny_config: Configure) -> None:
    good = OWN_IMAGES[source].images[0]
    wrong, expected = OWN_IMAGES[source].wrong or (good, "")
    with pytest.raises(DataError) as caught:
        SOURCES[source].choose_scales([good, wrong], tiny_config(data={"source": source}), "own.tif")
    message = str(caught.value)
    assert message.startswith("own.tif: ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("section", OTHER_SETTINGS)
@pytest.mark.parametrize("source", SOURCES)
def test_data_are_stale_where_a_section_that_decides_the_images_changed_and_nowhere_else(
    source: str, section: str, tmp_path: Path, tiny_config: Configure
) -> None:
    made_with, other = tiny_config(**choose(source)), tiny_config(**choose(source, section))
    assert made_with != other
    TaskRecorder("preprocess", made_with).finish(tmp_path, {}, {})
    check_data(made_with, tmp_path)
    if section in SOURCES[source].settings_sections:
        (name,) = OTHER_SETTINGS[section]
        with pytest.raises(MissingInputError, match=rf"made with other settings: {section}\.{name} was "):
            check_data(other, tmp_path)
    else:
        check_data(other, tmp_path)


@pytest.mark.parametrize("source", SOURCES)
def test_settings_of_the_other_sections_change_no_image(
    source: str, tmp_path: Path, tiny_config: Configure, progress: Any
) -> None:
    others = sorted(set(OTHER_SETTINGS) - set(SOURCES[source].settings_sections))
    configs = [tiny_config(**choose(source)), tiny_config(**choose(source, *others))]
    write = RAW_FILES[source]
    if write is None:
        assert len({RECIPES[source](config) for config in configs}) == 1
        return
    write(tmp_path / source)
    contents = [
        preprocess_source(SOURCES[source], config, tmp_path, tmp_path / f"data {number}", progress)[0]
        for number, config in enumerate(configs)
    ]
    assert contents[0] == contents[1]
