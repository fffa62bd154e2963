"""The Wiener filter: what it must do to noise, to lattices and to what lies between."""

import numpy as np
import pytest

from emdenoise.evaluation.baselines import Examples, fit_baselines
from emdenoise.evaluation.baselines.fourier import denoise_wiener
from emdenoise.evaluation.metrics import psnr
from emdenoise.seeding import make_generator

SIDE = 96


def draw_lattice(angle: float) -> np.ndarray:
    """Draw three waves at 60 degrees, as a hexagonal lattice of 9 px has."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = [
        np.cos(2 * np.pi / 9 * (np.cos(angle + turn) * rows + np.sin(angle + turn) * columns))
        for turn in np.pi / 3 * np.arange(3)
    ]
    return (0.5 + 0.05 * np.sum(waves, axis=0)).astype(np.float32)


def test_white_noise_leaves_nearly_nothing_and_keeps_its_mean() -> None:
    noise = make_generator(0, "test").normal(0.5, 0.1, (SIDE, SIDE)).astype(np.float32)
    restored = denoise_wiener(noise, 0.1, 2.0)
    assert restored.mean() == pytest.approx(noise.mean(), abs=0.01)
    assert restored.std() < 0.2 * noise.std()


def test_without_noise_a_lattice_comes_back() -> None:
    clean = draw_lattice(0.3)
    assert np.abs(denoise_wiener(clean, 0.0, 1.0) - clean).max() < 0.02 * np.ptp(clean)


def test_the_median_power_of_white_noise_is_ln_2_of_its_mean() -> None:
    noise = make_generator(1, "test").normal(0, 1, (512, 512))
    power = np.abs(np.fft.fft2(noise)) ** 2
    assert np.median(power) / np.log(2) == pytest.approx(power.mean(), rel=0.01)


@pytest.mark.parametrize("electrons", [5.0, 20.0, 80.0])
def test_it_beats_a_tuned_gaussian_on_a_lattice_with_a_strength_inside_its_grid(electrons: float) -> None:
    clean = np.stack([draw_lattice(angle) for angle in (0.1, 0.4, 0.7, 1.0)])
    counted = make_generator(2, "test").poisson(clean * electrons) / electrons
    noisy = counted.astype(np.float32)[..., None]
    examples = Examples({"noisy": noisy[:2]}, clean[:2])
    fitted = fit_baselines(["gaussian", "wiener"], examples)
    reached = {
        name: psnr(method({"noisy": noisy[2:]}), clean[2:], data_range=1.0).mean() for name, method in fitted.items()
    }
    assert reached["wiener"] > reached["gaussian"] + 1
    assert "strength 1," not in fitted["wiener"].describe()
    assert "strength 4," not in fitted["wiener"].describe()
