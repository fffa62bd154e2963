"""Micrographs of crystals obey the laws of the microscope and of counting."""

import abtem
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from emdenoise.config.simulation import CrystalSettings
from emdenoise.dataset.record import Record
from emdenoise.simulation.crystals import cut_block
from emdenoise.simulation.materials import MATERIALS
from emdenoise.simulation.micrographs import make_scene, simulate_crystal, take_image
from emdenoise.simulation.microscope import Optics, configure_abtem, image_spectrum
from emdenoise.simulation.multislice import compute_thick_wave
from emdenoise.simulation.potential import ThermalProjection
from emdenoise.simulation.scan import (
    Scan,
    average_over_pixels,
    form_dark_field,
    locate_pixels,
    map_dark_field,
    sample,
    shake_rows,
)

SMALL = {"image_size_px": 64, "images_per_specimen": 1, "pixel_size_angstrom": (0.15, 0.25)}
VACUUM = CrystalSettings(kinds=("empty",), **SMALL)  # type: ignore[arg-type]
SLAB = CrystalSettings(kinds=("slab",), thickness_angstrom=(10, 12), **SMALL)  # type: ignore[arg-type]
NO_DEFECT = {"dead_pixel_fraction": (0, 0), "row_jitter_px": (0, 0)}


def simulate_one(settings: CrystalSettings, index: int = 0, seed: int = 0) -> Record:
    (record,) = simulate_crystal(settings, seed, "train", ["SrTiO3", "Au"], index)
    return record


def make_thin_crystal(name: str, size: tuple[float, float, float]) -> Atoms:
    atoms = cut_block(MATERIALS[name], Rotation.identity(), size, (0.3, 0.3, 0.3))
    atoms.pbc = True
    return atoms


def test_a_wave_through_a_thick_crystal_is_that_of_abtem_on_a_fine_grid() -> None:
    configure_abtem()
    atoms = make_thin_crystal("Si", (10.86, 10.86, 21.72))
    potential = abtem.Potential(atoms, gpts=192, slice_thickness=10.86 / 6, integrator=ThermalProjection(0.08))
    expected = abtem.PlaneWave(energy=200e3).multislice(potential, lazy=False).array
    wave = compute_thick_wave(
        atoms,
        voltage_kv=200,
        thermal_displacement_angstrom=0.08,
        num_pixels=192,
        slice_thickness_angstrom=10.86 / 6,
    )
    difference = np.sqrt(np.mean(np.abs(wave - expected) ** 2))
    assert difference < 0.01 * np.std(expected)


def test_astigmatism_and_aperture_are_those_of_abtem() -> None:
    configure_abtem()
    rng = np.random.default_rng(0)
    array = (1 + 0.1 * rng.normal(size=(64, 64))).astype(np.complex64)
    optics = Optics(200, 300.0, 5.0, 20.0, astigmatism_angstrom=120.0, astigmatism_deg=25.0, aperture_mrad=18.0)
    ctf = abtem.CTF(
        energy=200e3,
        defocus=300.0,
        Cs=5e4,
        astigmatism=120.0,
        astigmatism_angle=np.deg2rad(25.0),
        focal_spread=20.0,
        semiangle_cutoff=18.0,
        soft=False,
    )
    waves = abtem.Waves(array, energy=200e3, sampling=0.2)
    expected = np.abs(waves.apply_ctf(ctf).ensure_real_space().array) ** 2
    assert image_spectrum(np.fft.fft2(array).astype(np.complex64), 0.2, optics) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("mode", ["hrtem", "haadf_stem", "bf_stem"])
def test_an_empty_image_stays_empty_and_has_the_noise_of_its_dose(mode: str) -> None:
    settings = VACUUM.model_copy(update=NO_DEFECT | {"modes": (mode,), "image_size_px": 128})
    rng = np.random.default_rng(5)
    scene = make_scene(settings, ["Au"], rng)
    num_tested = 0
    for seed in range(8):
        images, conditions = take_image(scene, settings, np.random.default_rng(seed), np.random.default_rng(seed + 99))
        clean, noisy = images["clean"].astype(float), images["noisy"].astype(float)
        if np.ptp(clean) > 1e-3 or not conditions["is_counting"]:
            continue  # the beam is uneven, or the noise has a spectrum
        num_tested += 1
        per_electron = 1 / conditions["electrons_per_unit_intensity"]
        counts = (clean.mean() - conditions["black_level"]) / per_electron
        assert counts == pytest.approx(conditions["electrons_per_pixel"], rel=1e-3)
        variance = per_electron**2 * (counts + conditions["readout_noise_electrons"] ** 2)
        residual = noisy - clean
        assert abs(residual.mean()) < 5 * np.sqrt(variance / residual.size)
        assert residual.var() == pytest.approx(variance, rel=5 * np.sqrt((2 + 1 / counts) / residual.size))
    assert num_tested


def test_a_dark_field_image_counts_its_dose_on_average() -> None:
    settings = SLAB.model_copy(update=NO_DEFECT | {"modes": ("haadf_stem",)})
    for index in range(3):
        record = simulate_one(settings, index)
        conditions = record.attributes
        own = (record.images["clean"] - conditions["black_level"]) * conditions["electrons_per_unit_intensity"]
        assert own.mean() == pytest.approx(conditions["electrons_per_pixel"], rel=1e-3)
        assert own.std() > 0.05 * own.mean()


def test_truth_does_not_depend_on_the_noise() -> None:
    scene = make_scene(SLAB, ["Au"], np.random.default_rng(1))
    own = []
    for noise_seed in (1, 2):
        images, conditions = take_image(scene, SLAB, np.random.default_rng(3), np.random.default_rng(noise_seed))
        own.append(images["clean"] / conditions["intensity_scale"] + conditions["intensity_offset"])
    assert own[0] == pytest.approx(own[1], rel=1e-5)
    assert np.ptp(own[0]) > 0


def test_noise_is_new_in_every_image_and_the_same_with_the_same_seed() -> None:
    first, again, other = simulate_one(SLAB), simulate_one(SLAB), simulate_one(SLAB, seed=1)
    assert np.array_equal(first.noisy, again.noisy)
    assert first.attributes == again.attributes
    assert not np.array_equal(first.noisy, other.noisy)


@pytest.mark.parametrize("mode", ["hrtem", "haadf_stem"])
def test_a_lattice_has_the_period_that_its_constant_and_the_pixel_size_give(mode: str) -> None:
    """Rows of strontium and titanium of SrTiO3 along [001] repeat every 3.905 Å."""
    pixel_size, side = 0.2, 16 * 3.905
    atoms = make_thin_crystal("SrTiO3", (side, side, 11.0))
    num_pixels = 400
    if mode == "hrtem":
        wave = compute_thick_wave(atoms, voltage_kv=200, thermal_displacement_angstrom=0.08, num_pixels=num_pixels)
        image = image_spectrum(np.fft.fft2(wave).astype(np.complex64), side / num_pixels, Optics(200, 60, -10, 10))
    else:
        spectrum = map_dark_field(atoms, num_pixels=num_pixels, exponent=1.7, thermal_displacement_angstrom=0.08)
        optics = Optics(200, 0, 0, 0, aperture_mrad=20.0)
        image = form_dark_field(spectrum, side / num_pixels, optics, source_angstrom=0.3)
    image = average_over_pixels(image, pixel_size * num_pixels / side)
    taken = sample(image, locate_pixels((256, 256), Scan()) * pixel_size * num_pixels / side)
    profile = np.abs(np.fft.rfft((taken - taken.mean()).sum(1) * np.hanning(256), 2**14))
    fundamental = slice(int(2**14 / 25), int(2**14 / 14))  # periods from 14 to 25 px
    period = 2**14 / (fundamental.start + profile[fundamental].argmax())
    assert period == pytest.approx(3.905 / pixel_size, rel=0.005)


def test_a_dark_field_image_is_brighter_where_atoms_are_heavier_by_the_power_of_z() -> None:
    atoms = Atoms("AuSi", [(5, 5, 1), (15, 15, 1)], cell=(20, 20, 2))
    spectrum = map_dark_field(atoms, num_pixels=200, exponent=1.7, thermal_displacement_angstrom=0.08)
    image = form_dark_field(spectrum, 0.1, Optics(200, 0, 0, 0, aperture_mrad=25.0), source_angstrom=0.4)
    assert image[50, 50] / image[150, 150] == pytest.approx((79 / 14) ** 1.7, rel=0.01)
    assert image.sum() == pytest.approx(79**1.7 + 14**1.7, rel=1e-3)


def test_a_finer_grid_gives_the_same_dark_field_image() -> None:
    atoms = make_thin_crystal("Au", (12.24, 12.24, 8.16))
    optics = Optics(200, 20, 0, 0, aperture_mrad=20.0)
    images = []
    for num_pixels in (72, 144):
        spectrum = map_dark_field(atoms, num_pixels=num_pixels, exponent=1.7, thermal_displacement_angstrom=0.08)
        image = form_dark_field(spectrum, 12.24 / num_pixels, optics, source_angstrom=0.3)
        images.append(sample(image, locate_pixels((24, 24), Scan()) * num_pixels / 24) * num_pixels**2)
    assert images[0] == pytest.approx(images[1], rel=2e-3)


def test_jitter_shifts_rows_and_leaves_their_content() -> None:
    places = locate_pixels((50, 40), Scan())
    shaken = shake_rows(places, Scan(row_jitter_px=0.5), np.random.default_rng(0))
    shifts = shaken[1] - places[1]
    assert np.array_equal(shaken[0], places[0])
    assert np.ptp(shifts, axis=1) == pytest.approx(0)
    assert 0.3 < shifts[:, 0].std() < 0.7


def test_drift_and_flyback_move_what_they_say() -> None:
    places = locate_pixels((11, 60), Scan(drift_px=(3.0, -2.0), flyback_px=4.0, flyback_length_px=5.0))
    assert places[:, -1, -1] == pytest.approx([10 + 3, 59 - 2], abs=1e-3)
    assert places[:, 0, 0] == pytest.approx([0, -4])


@pytest.mark.long
@pytest.mark.parametrize("name", ["SrTiO3", "Si"])
def test_the_incoherent_model_agrees_with_abtems_multislice_stem(name: str) -> None:
    """On 16 Å, where channelling is weak; frozen phonons scatter what a lattice at rest would not."""
    configure_abtem()
    side = {"SrTiO3": 4 * 3.905, "Si": 3 * 5.43}[name]
    cell = {"SrTiO3": 3.905, "Si": 5.43}[name]
    atoms = make_thin_crystal(name, (side, side, 3 * 5.43 if name == "Si" else 4 * 3.905))
    num_pixels, displacement = 256, 0.08
    phonons = abtem.FrozenPhonons(atoms, 4, sigmas=displacement, seed=1)
    potential = abtem.Potential(phonons, gpts=num_pixels, slice_thickness=2.0)
    probe = abtem.Probe(energy=200e3, semiangle_cutoff=20, defocus=0)
    scan = abtem.GridScan(start=(0, 0), end=(cell, cell), gpts=10, endpoint=False)
    detector = abtem.AnnularDetector(inner=60, outer=130)
    expected = probe.scan(potential, scan=scan, detectors=detector, lazy=False).array
    spectrum = map_dark_field(atoms, num_pixels=num_pixels, exponent=1.7, thermal_displacement_angstrom=displacement)
    image = form_dark_field(spectrum, side / num_pixels, Optics(200, 0, 0, 0, aperture_mrad=20.0), source_angstrom=0.0)
    found = sample(image, locate_pixels((10, 10), Scan()) * (cell / 10) * num_pixels / side)
    assert np.corrcoef(found.ravel(), np.squeeze(expected).ravel())[0, 1] > 0.97
