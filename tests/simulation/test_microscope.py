"""The microscope obeys wave optics, and the thin-object image equals a fine multislice by abTEM."""

from dataclasses import replace

import abtem
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import constants

from emdenoise.config.simulation import SimulationSettings
from emdenoise.seeding import make_generator
from emdenoise.simulation.microscope import Optics, compute_exit_wave, configure_abtem, form_image
from emdenoise.simulation.potential import ThermalProjection
from emdenoise.simulation.simulate import BOX_HEIGHT_ANGSTROM, draw_optics
from emdenoise.simulation.specimens import DEFECTS, NO_DEFECTS, Sheet, make_lattice, ripple, to_atoms

PIXEL = 0.155
HEAT = 0.06
OPTICS = Optics(voltage_kv=80, defocus_angstrom=-45, spherical_aberration_um=-5, focal_spread_angstrom=20)


@pytest.fixture(autouse=True, scope="module")
def abtem_as_in_production() -> None:
    configure_abtem()


def make_sheet(num_pixels: int, kind: str = "pristine", seed: int = 0) -> Sheet:
    rng = make_generator(seed, "specimen")
    sheet = make_lattice(num_pixels * PIXEL, rng.uniform(0, np.pi / 3), rng.uniform(-1, 1, 2))
    return ripple(DEFECTS[kind](sheet, rng), height_angstrom=0.8, wavelength_angstrom=25, rng=rng)


def compute_wave(sheet: Sheet) -> abtem.Waves:
    num_pixels = round(sheet.side_angstrom / PIXEL)
    return compute_exit_wave(
        to_atoms(sheet, BOX_HEIGHT_ANGSTROM),
        voltage_kv=80,
        thermal_displacement_angstrom=HEAT,
        num_pixels=num_pixels,
    )


def take_image(sheet: Sheet, optics: Optics = OPTICS) -> np.ndarray:
    return form_image(compute_wave(sheet), optics)


def compute_wavelength_angstrom(voltage_kv: float) -> float:
    """De Broglie, with relativity, from the constants of CODATA."""
    energy = voltage_kv * 1e3 * constants.e
    momentum_squared = 2 * constants.m_e * energy + (energy / constants.c) ** 2
    return constants.h / np.sqrt(momentum_squared) * 1e10


@pytest.mark.parametrize(("kind", "tolerance"), [("pristine", 0.02), ("adatoms", 0.025), ("pores", 0.02)])
def test_the_image_of_one_slice_equals_a_fine_multislice(kind: str, tolerance: float) -> None:
    """A multislice ends at the bottom of the box: half its height is to be added to the defocus."""
    sheet = make_sheet(128, kind)
    image = take_image(sheet)
    potential = abtem.Potential(
        to_atoms(sheet, BOX_HEIGHT_ANGSTROM),
        gpts=128,
        slice_thickness=0.5,
        integrator=ThermalProjection(HEAT),
    )
    wave = abtem.PlaneWave(energy=80e3).multislice(potential, lazy=False)
    at_specimen = form_image(wave, replace(OPTICS, defocus_angstrom=-45 + BOX_HEIGHT_ANGSTROM / 2))
    assert (image - at_specimen).std() < tolerance * image.std()
    at_exit_plane = form_image(wave, OPTICS)
    assert (image - at_exit_plane).std() > 0.05 * image.std(), "the focus is not a free parameter of this comparison"


@pytest.mark.parametrize("period_px", [8, 12, 16, 32])
@pytest.mark.parametrize(
    "optics", [OPTICS, Optics(200, 120, 3, 40), Optics(80, 30, -8, 5), Optics(300, -400, 0.0, 0.0)]
)
def test_a_weak_phase_grating_is_imaged_with_the_textbook_transfer_function(optics: Optics, period_px: int) -> None:
    """Intensity 1 + 2φ sin χ · E, with χ = π Cs λ³ q⁴/2 − π Δf λ q² and E = exp(−(π λ Δ q²)²/4).

    Kirkland, Advanced Computing in Electron Microscopy, chapter 3 (doi:10.1007/978-3-030-33260-0): underfocus is
    positive, and Δ is the 1/e half-width of the focus, √2 standard deviations.
    """
    size, phase = 96, 1e-3
    columns = np.cos(2 * np.pi * np.arange(size) / period_px)
    array = np.exp(1j * phase * np.broadcast_to(columns, (size, size))).astype(np.complex64)
    wave = abtem.Waves(array, energy=optics.voltage_kv * 1e3, extent=(size * PIXEL,) * 2)
    image = form_image(wave, optics).astype(np.float64)

    wavelength, q = compute_wavelength_angstrom(optics.voltage_kv), 1 / (period_px * PIXEL)
    cs = optics.spherical_aberration_um * 1e4
    chi = np.pi * cs * wavelength**3 * q**4 / 2 - np.pi * optics.defocus_angstrom * wavelength * q**2
    envelope = np.exp(-((np.pi * wavelength * optics.focal_spread_angstrom * q**2) ** 2) / 4)
    amplitude = 2 * ((image - image.mean()) * columns).mean()
    assert amplitude == pytest.approx(2 * phase * np.sin(chi) * envelope, abs=0.01 * 2 * phase)


@pytest.mark.parametrize("num_pixels", [96, 97, 288])
@pytest.mark.parametrize("semiangle", [0.0, 0.3, 3.0])
def test_the_image_is_that_of_abtem_and_of_a_parallel_beam_to_the_bit(num_pixels: int, semiangle: float) -> None:
    """The transfer function is written out because abTEM's takes four times as long; data sets must not notice."""
    configure_abtem()
    rng = make_generator(0, "wave", num_pixels)
    array = rng.normal(size=(num_pixels, num_pixels, 2)).astype(np.float32).view(np.complex64)[..., 0]
    for index, pixel_size in enumerate((0.05, 0.1234, 0.31)):
        settings = SimulationSettings(convergence_semiangle_mrad=semiangle)
        optics = draw_optics(settings, make_generator(0, "optics", index))
        wave = abtem.Waves(array, energy=80e3, extent=(num_pixels * pixel_size,) * 2).ensure_reciprocal_space()
        transfer = abtem.CTF(
            energy=80e3,
            defocus=optics.defocus_angstrom,
            Cs=optics.spherical_aberration_um * 1e4,
            focal_spread=optics.focal_spread_angstrom,
            angular_spread=semiangle,
            semiangle_cutoff=np.inf,
        )
        expected = wave.apply_ctf(transfer).intensity().array
        image = form_image(wave, optics)
        assert image.dtype == np.float32
        assert np.allclose(image, expected, rtol=0, atol=0 if semiangle == 0 else 1e-5)


def test_the_focal_spread_is_root_two_standard_deviations_of_the_focus() -> None:
    """For a weak object the average over a normal distribution of focus equals the envelope."""
    spread, grating = 40.0, np.cos(2 * np.pi * np.arange(96) / 12)
    array = np.exp(1e-3j * np.broadcast_to(grating, (96, 96))).astype(np.complex64)
    wave = abtem.Waves(array, energy=80e3, extent=(96 * PIXEL,) * 2)
    sigmas = np.linspace(-4, 4, 81)
    weights = np.exp(-(sigmas**2) / 2) / np.exp(-(sigmas**2) / 2).sum()
    focus = -45 + sigmas * spread / np.sqrt(2)
    average = sum(
        weight * form_image(wave, Optics(80, value, -5, 0.0)).astype(np.float64)
        for weight, value in zip(weights, focus, strict=True)
    )
    image = form_image(wave, replace(OPTICS, focal_spread_angstrom=spread)).astype(np.float64)
    assert image.std() == pytest.approx(average.std(), rel=0.01)
    assert image.std() < 0.9 * form_image(wave, replace(OPTICS, focal_spread_angstrom=0)).std()


@pytest.mark.parametrize("period_px", [6, 8, 12, 20])
def test_the_convergence_is_root_two_standard_deviations_of_the_directions_of_the_beam(period_px: int) -> None:
    """For a weak grating the average over tilted beams equals the envelope.

    Written out from Abbe's theory: a beam of direction k is scattered into k + q and k - q, and the transfer function
    of the aberrations, exp(-2πi (Cs λ³ |k|⁴ / 4 - Δf λ |k|² / 2)), acts on all three.
    """
    semiangle, phase, optics = 0.3, 1e-3, Optics(80, 1000.0, -5.0, 0.0)
    wavelength, q = compute_wavelength_angstrom(80), 1 / (period_px * PIXEL)

    def transfer(along: np.ndarray, across: np.ndarray) -> np.ndarray:
        squared = along**2 + across**2
        path = optics.spherical_aberration_um * 1e4 * wavelength**3 * squared**2 / 4
        return np.exp(-2j * np.pi * (path - optics.defocus_angstrom * wavelength * squared / 2))

    sigmas = np.linspace(-4.5, 4.5, 91)
    weights = np.exp(-(sigmas**2) / 2) / np.exp(-(sigmas**2) / 2).sum()
    directions = sigmas * semiangle * 1e-3 / np.sqrt(2) / wavelength
    along, across = np.meshgrid(directions, directions, indexing="ij")
    through = np.conj(transfer(along, across))
    # The wave 1 + iφ cos(2πqx) gives the intensity 1 + 2 Re(c exp(2πiqx)).
    contribution = 0.5j * phase * (transfer(along + q, across) * through)
    contribution += np.conj(0.5j * phase * transfer(along - q, across) * through)
    expected = 2 * abs((np.outer(weights, weights) * contribution).sum())

    columns = np.cos(2 * np.pi * np.arange(240) / period_px)
    array = np.exp(1j * phase * np.broadcast_to(columns, (240, 240))).astype(np.complex64)
    wave = abtem.Waves(array, energy=80e3, extent=(240 * PIXEL,) * 2)
    amplitudes = []
    for each in (0.0, semiangle):
        image = form_image(wave, replace(optics, convergence_semiangle_mrad=each)).astype(np.float64)
        amplitudes.append(2 * abs(((image - image.mean()) * columns).mean()))
    assert amplitudes[1] == pytest.approx(expected, abs=0.01 * 2 * phase)
    assert amplitudes[1] < 0.95 * amplitudes[0]


def test_the_image_conserves_electrons() -> None:
    """Elastic scattering by a phase object removes none: the mean stays that of vacuum, but for the bandwidth limit."""
    for kind in DEFECTS:
        assert take_image(make_sheet(128, kind)).mean() == pytest.approx(1, abs=0.005)


def test_vacuum_is_imaged_as_one() -> None:
    wave = abtem.Waves(np.ones((64, 64), np.complex64), energy=80e3, extent=(10, 10))
    assert form_image(wave, OPTICS) == pytest.approx(1, abs=1e-5)


def test_the_exit_wave_is_that_of_a_phase_object() -> None:
    wave = compute_wave(make_sheet(128))
    array = wave.ensure_real_space().array
    assert array.shape == (128, 128)
    assert array.dtype == np.complex64
    assert abs(array) == pytest.approx(1, abs=0.15), "modulus 1 but for the ringing of the bandwidth limit"
    assert np.mean(abs(array) ** 2) == pytest.approx(1, abs=0.01)
    # One layer of carbon shifts the phase by tenths of a radian at its atoms.
    assert 0.2 < np.angle(array * np.conj(array[np.unravel_index(np.angle(array).argmin(), array.shape)])).max() < 1.2


def test_without_aberrations_a_phase_object_has_hardly_any_contrast() -> None:
    sheet = make_sheet(128)
    in_focus = take_image(sheet, Optics(80, 0.0, 0.0, 0.0))
    assert in_focus.std() < 0.3 * take_image(sheet).std()


def measure_atom_contrast(sheet: Sheet, optics: Optics) -> float:
    """Mean brightness at the atoms above the mean, in standard deviations."""
    image = take_image(sheet, optics)
    indices = np.round(sheet.flat / PIXEL).astype(int) % len(image)
    return float((image[tuple(indices.T)].mean() - image.mean()) / image.std())


@given(index=st.integers(0, 1000))
@hypothesis_settings(max_examples=20)
def test_atoms_are_bright_everywhere_in_the_default_range(index: int) -> None:
    optics = draw_optics(SimulationSettings(), make_generator(0, "optics", index))
    assert measure_atom_contrast(make_sheet(96), optics) > 0.8


def test_atoms_are_dark_where_aberration_and_focus_have_the_other_sign() -> None:
    assert measure_atom_contrast(make_sheet(96), Optics(80, 45, 5, 20)) < -0.3


@given(index=st.integers(0, 1000))
def test_the_drawn_optics_lie_within_the_settings(index: int) -> None:
    settings = SimulationSettings()
    optics = draw_optics(settings, make_generator(1, "optics", index))
    cs = optics.spherical_aberration_um
    assert settings.spherical_aberration_um[0] <= cs <= settings.spherical_aberration_um[1]
    assert settings.focal_spread_angstrom[0] <= optics.focal_spread_angstrom <= settings.focal_spread_angstrom[1]
    scherzer = -np.sqrt(abs(cs) * 1e4 * compute_wavelength_angstrom(80))
    low, high = settings.defocus_scherzer
    assert low - 1e-3 <= optics.defocus_angstrom / scherzer <= high + 1e-3


def test_the_margin_hides_the_periodic_boundary() -> None:
    """Amid the default conditions the image is that of a far larger sheet to one percent of its contrast."""
    size, far, margin = 64, 64, SimulationSettings().margin_px
    optics = Optics(80, -52.0, -6.0, 20.0)
    large = make_sheet(size + 2 * far)
    expected = take_image(large, optics)[far:-far, far:-far]

    def cut(margin: int) -> np.ndarray:
        shift = (far - margin) * PIXEL
        side = (size + 2 * margin) * PIXEL
        positions = large.positions - [shift, shift, 0]
        inside = ((positions[:, :2] >= 0) & (positions[:, :2] < side)).all(axis=1)
        image = take_image(Sheet(side, 0.0, positions[inside], NO_DEFECTS), optics)
        return image[margin : margin + size, margin : margin + size]

    assert np.sqrt(((cut(margin) - expected) ** 2).mean()) < 0.01 * expected.std()
    assert np.sqrt(((cut(0) - expected) ** 2).mean()) > 0.2 * expected.std(), "without a margin the boundary is seen"


def test_the_image_is_the_same_to_the_bit_a_second_time() -> None:
    sheet = make_sheet(96)
    assert np.array_equal(take_image(sheet), take_image(sheet))
