"""Filters of the spectrum: what they must do to noise, to lattices and to what lies between."""

import numpy as np
import pytest
from scipy import special

from emdenoise.evaluation.baselines import Examples, fit_baselines, fourier
from emdenoise.evaluation.baselines.filters import Filter
from emdenoise.evaluation.baselines.fourier import denoise_wiener, find_background, find_peaks
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
def test_it_beats_a_tuned_gaussian_on_a_lattice(electrons: float) -> None:
    clean = np.stack([draw_lattice(angle) for angle in (0.1, 0.4, 0.7, 1.0)])
    counted = make_generator(2, "test").poisson(clean * electrons) / electrons
    noisy = counted.astype(np.float32)[..., None]
    examples = Examples({"noisy": noisy[:2]}, clean[:2])
    fitted = fit_baselines(["gaussian", "wiener"], examples)
    reached = {
        name: psnr(method({"noisy": noisy[2:]}), clean[2:], data_range=1.0).mean() for name, method in fitted.items()
    }
    assert reached["wiener"] > reached["gaussian"] + 1


def list_denoisers() -> list[Filter]:
    return [one for one in vars(fourier).values() if isinstance(one, Filter)]


@pytest.mark.parametrize("kind", list_denoisers(), ids=lambda kind: kind.denoise.__name__)
def test_a_filter_of_the_spectrum_turns_with_the_image(kind: Filter) -> None:
    noisy = draw_lattice(0.3) + make_generator(3, "test").normal(0, 0.05, (SIDE, SIDE)).astype(np.float32)
    denoise, strength = kind.denoise, kind.strengths[3]
    assert denoise(np.rot90(noisy).copy(), 0.05, strength) == pytest.approx(
        np.rot90(denoise(noisy, 0.05, strength)), abs=1e-5
    )


def test_the_background_of_white_noise_is_its_mean_amplitude() -> None:
    # Amplitudes of white noise follow Rayleigh's distribution: mean σ√(π/2), σ² half the power.
    noise = make_generator(4, "test").normal(0, 1, (256, 256))
    background = find_background(np.abs(np.fft.fft2(noise)))
    expected = 256 * np.sqrt(np.pi / 4)
    is_wide = fourier.measure_frequency((256, 256)) > 0.1
    assert background[is_wide].mean() == pytest.approx(expected, rel=0.03)


def test_a_lattice_does_not_raise_the_background() -> None:
    noise = make_generator(4, "test").normal(0, 0.1, (SIDE, SIDE))
    amplitude = np.abs(np.fft.fft2(noise + draw_lattice(0.3)))
    background, alone = find_background(amplitude), find_background(np.abs(np.fft.fft2(noise)))
    is_wide = fourier.measure_frequency((SIDE, SIDE)) > 0.05
    assert (amplitude / alone)[is_wide].max() > 15
    assert (background / alone)[is_wide].max() < 2


def test_the_peaks_of_a_lattice_are_found_at_its_spacing_and_directions() -> None:
    angle = 0.3
    noisy = draw_lattice(angle) + make_generator(5, "test").normal(0, 0.1, (SIDE, SIDE))
    power = np.abs(np.fft.fft2((noisy - noisy.mean()) * np.outer(np.hanning(SIDE), np.hanning(SIDE)))) ** 2
    peaks = np.array(find_peaks(power))[:6]
    expected = [(np.cos(angle + turn) / 9, np.sin(angle + turn) / 9) for turn in np.pi / 3 * np.arange(6)]
    assert len(peaks) == 6
    for peak in expected:
        assert np.hypot(*(peaks - peak).T).min() < 1 / SIDE


def test_white_noise_has_hardly_any_peaks() -> None:
    noise = make_generator(6, "test").normal(0, 1, (256, 256))
    assert len(find_peaks(np.abs(np.fft.fft2(noise)) ** 2)) <= 2


@pytest.mark.parametrize("strength", [5.0, 10.0, 20.0])
def test_the_low_pass_lets_half_the_power_through_at_the_cut_off(strength: float) -> None:
    columns = np.arange(400)
    wave = np.tile(1 + 0.1 * np.cos(2 * np.pi * columns / strength), (16, 1)).astype(np.float32)
    passed = fourier.denoise_butterworth(wave, 0.0, strength)
    inner = np.s_[:, 100:300]
    assert passed[inner].std() / wave[inner].std() == pytest.approx(np.sqrt(0.5), rel=0.01)


def test_bragg_masks_average_a_lattice_over_the_length_that_is_the_strength() -> None:
    # The amplitude of a wave that ends is the error function of that length, at its edge one half.
    length = 12.0
    rows, columns = np.mgrid[:192, :192]
    wave = np.cos(2 * np.pi * rows / 8)
    image = (1 + 0.1 * wave * (columns < 96)).astype(np.float32)
    kept = fourier.denoise_bragg(image, 0.0, length) - 1
    amplitude = 2 * (kept * wave)[64:128].mean(axis=0) / 0.1
    assert amplitude[[84, 96, 108]] == pytest.approx(special.ndtr(np.array([11.5, -0.5, -12.5]) / length), abs=0.03)


def test_absf_of_strength_one_leaves_little_of_white_noise() -> None:
    # Above a Rayleigh amplitude's mean lies ∫ (a − mean)² p(a) da = 0.078 of the power, before the low-pass.
    noise = make_generator(7, "test").normal(0.5, 0.1, (256, 256)).astype(np.float32)
    assert (fourier.denoise_absf(noise, 0.1, 1.0).std() / noise.std()) ** 2 < 0.09
