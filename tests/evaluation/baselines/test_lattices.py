"""Every denoiser on simulated graphene: the strengths to choose from reach beyond the best one, at every dose."""

import numpy as np
import pytest

from emdenoise.config.simulation import SimulationSettings
from emdenoise.evaluation.baselines import Examples, filters, fourier
from emdenoise.evaluation.baselines.contract import OfDetectorImage
from emdenoise.evaluation.baselines.filters import Filter, TunedFilter
from emdenoise.evaluation.baselines.preparation import estimate_electrons
from emdenoise.evaluation.baselines.tuning import fit_filter
from emdenoise.sources.graphene import simulate_graphene

DOSES = {"400": (400.0, 400.0), "1500": (1500.0, 1500.0), "8000": (8000.0, 8000.0), "mix": (400.0, 8000.0)}
"""Of the images [e⁻/Å²]; the mix is that of the reference data."""
KINDS = {name: value for name, value in (vars(filters) | vars(fourier)).items() if isinstance(value, Filter)}
AT_THE_END = {"MEDIAN": {"400"}, "BRAGG": {"400"}}
"""Where the widest window and the longest wave are chosen: at the lowest dose alone, on images of 128 px. The mix of
doses chooses neither; wider windows are slow, and a wave cannot be longer than the image."""
BLACK_LEVEL = -0.75
SIDE = 128


def simulate(dose: str, seed: int, num_images: int = 4) -> Examples:
    """Simulate images of one specimen each; vacuum is stored as 0.5."""
    settings = SimulationSettings(image_size_px=SIDE, images_per_specimen=1, dose_e_per_angstrom2=DOSES[dose])
    records = list(simulate_graphene(settings, seed, num_images))
    noisy, clean = (np.stack([record.images[name] for record in records]) for name in ("noisy", "clean"))
    return Examples({"noisy": noisy[..., None]}, clean, black_level=BLACK_LEVEL)


@pytest.fixture(scope="module")
def examples() -> dict[str, Examples]:
    """Give images of each dose."""
    return {dose: simulate(dose, 5) for dose in DOSES}


def tune(kind: Filter, examples: Examples) -> TunedFilter:
    fitted = fit_filter(kind, examples)
    assert isinstance(fitted, OfDetectorImage)
    assert isinstance(fitted.method, TunedFilter)
    return fitted.method


def list_strengths(method: TunedFilter, examples: Examples) -> set[float]:
    """List the strengths that a method takes for some images."""
    images = [image - np.float32(BLACK_LEVEL) for image in examples.noisy]
    noises = [(float(image.mean()) * estimate_electrons(image)) ** -0.5 for image in images]
    return {method.strength.find(noise, method.kind.strengths) for noise in noises}


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("BM3D", "BMND")])
def test_the_best_strength_is_inside_the_grid_at_every_dose(name: str, examples: dict[str, Examples]) -> None:
    kind = KINDS[name]
    at_an_end = {
        dose: (chosen.describe(), ends)
        for dose, images in examples.items()
        for chosen in [tune(kind, images)]
        if (ends := list_strengths(chosen, images) & {kind.strengths[0], kind.strengths[-1]})
    }
    assert set(at_an_end) <= AT_THE_END.get(name, set()), at_an_end
