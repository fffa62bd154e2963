"""A finished test without its task: scores and pictures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.results.tables import summarise_scores
from emdenoise.seeding import make_generator

METHODS = ("noisy", "gaussian", "median", "network")


@pytest.fixture
def config(tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config()


@pytest.fixture
def methods() -> dict[str, ImageScores]:
    """Give scores of eight images; the methods are the better the later they come."""
    rng = make_generator(0, "test")
    return {
        name: ImageScores(
            {
                "mse": rng.uniform(0.001, 0.002, 8) / (1 + number),
                "psnr_db": rng.uniform(20, 22, 8) + 3 * number,
                "ssim": rng.uniform(0.2, 0.3, 8) + 0.1 * number,
                "atom_f1": rng.uniform(0.6, 0.7, 8) + 0.05 * number,
                "atom_error_angstrom": np.array([0.1, np.nan, 0.2, 0.1, 0.15, 0.12, 0.2, 0.1]),
            },
            images_per_second=100.0 * (number + 1),
        )
        for number, name in enumerate(METHODS)
    }


@pytest.fixture
def specimens() -> list[str]:
    return ["a", "a", "b", "b", "c", "c", "d", "d"]


@pytest.fixture
def conditions() -> dict[str, Any]:
    """Give a dose and a class for each image."""
    return {
        "doses_e_per_angstrom2": [500.0, 4000.0, 1000.0, 2000.0, 600.0, 700.0, 3000.0, 8000.0],
        "classes": ["pores", "pores", "", "", "pristine", "pristine", "pores", "pores"],
    }


@pytest.fixture
def scores(
    config: RunConfig, methods: dict[str, ImageScores], specimens: list[str], conditions: dict[str, Any]
) -> dict[str, Any]:
    return summarise_scores(config, methods, specimens, **conditions)


@pytest.fixture
def pictures() -> dict[str, np.ndarray]:
    images = make_generator(1, "test").random((len(METHODS) + 1, 2, 16, 16), np.float32)
    return dict(zip((*METHODS, "clean"), images, strict=True))
