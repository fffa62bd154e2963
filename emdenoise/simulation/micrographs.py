"""Simulated micrographs of many materials: what source crystals holds.

Atoms come from `pieces`, waves from `multislice`, images from `microscope` and `scan`, noise from `detector`. What
comes out depends on the settings, the seed, the stream and the number of the specimen alone. ``docs/benchmark/data.md``
writes the physics out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from abtem.core.energy import energy2wavelength
from ase import Atoms
from scipy.fft import fft2, next_fast_len, rfft2

from emdenoise.arrays import FloatImage
from emdenoise.config.simulation import CrystalSettings
from emdenoise.dataset.intensity import choose_contrast
from emdenoise.dataset.record import CRYSTAL_KINDS, STATED_RANGE, Record
from emdenoise.seeding import make_generator
from emdenoise.simulation.detector import (
    apply_dead_pixels,
    apply_readout_noise,
    apply_shot_noise,
    make_beam_profile,
    spread_electrons,
)
from emdenoise.simulation.materials import MATERIALS, Material, find_spacing
from emdenoise.simulation.microscope import Optics, configure_abtem, image_spectrum
from emdenoise.simulation.multislice import compute_thick_wave
from emdenoise.simulation.pieces import Field, make_piece
from emdenoise.simulation.scan import (
    Scan,
    average_over_pixels,
    form_dark_field,
    locate_pixels,
    map_dark_field,
    sample,
    shake_rows,
)
from emdenoise.simulation.silhouettes import MEAN_FREE_PATHS_ANGSTROM, draw_silhouette

MODES = ("hrtem", "haadf_stem", "bf_stem")
"""Attribute `mode` is the place in this list."""
MARGIN_ANGSTROM, MARGIN_PX = 12.0, 24
"""Simulated around the field and cut off; in pixels where no lattice is seen."""
SAMPLING_ANGSTROM = (0.12, 0.25)
"""Finest and coarsest pixels of a wave; between them it has those of the image."""
MAX_BRIGHTNESS = 10.0
"""Of a dark-field image; its mean is 1, or less where little is on vacuum."""
ATOMIC_NUMBER_EXPONENTS = (1.5, 1.9)
"""Of the intensity in dark field; smaller where the detector reaches further in."""
BRIGHT_FIELD_MRAD = (0.5, 4.0)
"""Collection semi-angles of the bright-field detector."""


@dataclass(frozen=True)
class Scene:
    """A specimen below a microscope.

    Attributes
    ----------
    kind, mode : str
    material : Material
    voltage_kv : float
    spectrum : ndarray of complex64
        Transform of the exit wave, or half of that of the map of `mode` haadf_stem.
    sampling_angstrom, side_angstrom, margin_angstrom : float
        Pixel size and side of wave or map, and what is cut off all around [Å].
    pixel_size_angstrom : float
        The largest that fits.
    detail_angstrom : float
        Distance that a microscope should resolve [Å].
    """

    kind: str
    mode: str
    material: Material
    voltage_kv: float
    spectrum: npt.NDArray[np.complex64]
    sampling_angstrom: float
    side_angstrom: float
    margin_angstrom: float
    pixel_size_angstrom: float
    detail_angstrom: float


def simulate_crystal(
    settings: CrystalSettings, seed: int, stream: str, materials: Sequence[str], index: int
) -> list[Record]:
    """Simulate all images of one specimen.

    Parameters
    ----------
    settings : CrystalSettings
    seed : int
        Seed of the run.
    stream : str
        Splits draw from streams of their own.
    materials : sequence of str
        Entries of `MATERIALS` to draw from.
    index : int
        Number of the specimen in its stream.

    Returns
    -------
    list of Record
        `images_per_specimen` records with noisy and clean, whose specimen is the material.
    """
    configure_abtem()
    scene = make_scene(settings, materials, make_generator(seed, f"crystals {stream} specimen", index))
    records = []
    for number in range(index * settings.images_per_specimen, (index + 1) * settings.images_per_specimen):
        rng = make_generator(seed, f"crystals {stream} image", number)
        noise_rng = make_generator(seed, f"crystals {stream} noise", number)
        images, attributes = take_image(scene, settings, rng, noise_rng)
        records.append(
            Record(
                images,
                class_id=CRYSTAL_KINDS.index(scene.kind),
                specimen=f"vacuum of {stream}" if scene.kind == "empty" else scene.material.name,
                name=f"{stream} image {number}",
                attributes=attributes,
            )
        )
    return records


def make_scene(settings: CrystalSettings, materials: Sequence[str], rng: np.random.Generator) -> Scene:
    """Draw a specimen and a microscope, and let the beam through."""
    kind: str = settings.kinds[int(rng.integers(len(settings.kinds)))]
    mode = settings.modes[int(rng.integers(len(settings.modes)))]
    material = MATERIALS[materials[int(rng.integers(len(materials)))]]
    voltage_kv = settings.voltage_kv[int(rng.integers(len(settings.voltage_kv)))]
    if material.is_amorphous and kind in ("slab", "particles", "grain_boundary"):
        kind = "amorphous"
    spacing = find_spacing(material)
    is_fine = kind not in ("low_magnification", "empty")
    if is_fine:
        period = np.exp(rng.uniform(*np.log(settings.period_px)))
        pixel_size = float(np.clip(spacing / period, *settings.pixel_size_angstrom))
        margin = MARGIN_ANGSTROM
        sampling = float(np.clip(pixel_size, *SAMPLING_ANGSTROM))
    else:
        pixel_size = float(np.exp(rng.uniform(*np.log(settings.low_magnification_pixel_size_angstrom))))
        margin, sampling = MARGIN_PX * pixel_size, pixel_size
    side = settings.image_size_px * pixel_size + 2 * margin
    num_pixels = 2 * next_fast_len(int(np.ceil(side / sampling / 2)))
    if is_fine:
        thickness = np.exp(rng.uniform(*np.log(settings.thickness_angstrom)))
        atoms = make_piece(kind, material, Field(side, thickness), settings, rng)
        displacement = rng.uniform(*settings.thermal_displacement_angstrom)
        spectrum = _make_spectrum(
            atoms, mode, voltage_kv=voltage_kv, displacement=displacement, num_pixels=num_pixels, rng=rng
        )
    else:
        spectrum = _make_plain_spectrum(kind, mode, num_pixels, side / num_pixels, rng)
    return Scene(
        kind=kind,
        mode=mode,
        material=material,
        voltage_kv=voltage_kv,
        spectrum=spectrum,
        sampling_angstrom=side / num_pixels,
        side_angstrom=side,
        margin_angstrom=margin,
        pixel_size_angstrom=pixel_size,
        detail_angstrom=spacing if is_fine else 2 * pixel_size,
    )


def _make_spectrum(
    atoms: Atoms, mode: str, *, voltage_kv: float, displacement: float, num_pixels: int, rng: np.random.Generator
) -> npt.NDArray[np.complex64]:
    """Make the spectrum of the wave behind atoms, or of their dark-field map."""
    if mode == "haadf_stem":
        exponent = rng.uniform(*ATOMIC_NUMBER_EXPONENTS)
        return map_dark_field(
            atoms, num_pixels=num_pixels, exponent=exponent, thermal_displacement_angstrom=displacement
        )
    wave = compute_thick_wave(
        atoms, voltage_kv=voltage_kv, thermal_displacement_angstrom=displacement, num_pixels=num_pixels
    )
    return fft2(wave)


def _make_plain_spectrum(
    kind: str, mode: str, num_pixels: int, sampling: float, rng: np.random.Generator
) -> npt.NDArray[np.complex64]:
    """Make the spectrum of a specimen without lattice, or of none."""
    if kind == "empty":
        flat = np.full((num_pixels, num_pixels), mode != "haadf_stem", np.float32)
        return rfft2(flat) if mode == "haadf_stem" else fft2(flat)
    silhouette = draw_silhouette(num_pixels, sampling, rng)
    if mode == "haadf_stem":
        return rfft2(silhouette.make_dark_field())
    return fft2(silhouette.make_wave(float(np.exp(rng.uniform(*np.log(MEAN_FREE_PATHS_ANGSTROM))))))


def draw_image_optics(scene: Scene, rng: np.random.Generator) -> Optics:
    """Draw the focus and aberrations of a parallel beam's image: most resolve the detail, some do not."""
    wavelength = float(energy2wavelength(scene.voltage_kv * 1e3))
    detail = scene.detail_angstrom * rng.uniform(0.35, 1.1)
    if scene.kind in ("low_magnification", "empty"):
        cs_um, focus_scale = rng.uniform(500, 2000), detail**2 / wavelength
        defocus = rng.uniform(-3, 3) * focus_scale
    elif rng.random() < 0.6:  # corrected
        cs_um = rng.uniform(-20, 20)
        defocus = np.sign(cs_um) * np.sqrt(abs(cs_um) * 1e4 * wavelength) * rng.uniform(-0.5, 2)
        defocus += rng.normal(0, 15)
    else:
        cs_um = rng.uniform(300, 1300)
        defocus = np.sqrt(cs_um * 1e4 * wavelength) * rng.uniform(0.3, 2)
    return Optics(
        voltage_kv=scene.voltage_kv,
        defocus_angstrom=float(defocus),
        spherical_aberration_um=float(cs_um),
        # The envelope of the focal spread is 1/e at the detail.
        focal_spread_angstrom=float(2 * detail**2 / (np.pi * wavelength)),
        convergence_semiangle_mrad=float(rng.uniform(0, 0.3) * wavelength / 0.0251 / max(1.0, abs(defocus) / 500)),
        astigmatism_angstrom=float(rng.uniform(0, 0.15) * detail**2 / wavelength * (rng.random() < 0.5)),
        astigmatism_deg=float(rng.uniform(0, 180)),
    )


def draw_probe_optics(scene: Scene, rng: np.random.Generator) -> Optics:
    """Draw the aperture and aberrations of a probe, in focus to a quarter of a wave or two."""
    wavelength = float(energy2wavelength(scene.voltage_kv * 1e3))
    detail = scene.detail_angstrom * rng.uniform(0.3, 0.9)
    semiangle = float(np.clip(0.61 * wavelength / detail, 1e-4, 0.05))
    is_bright_field = scene.mode == "bf_stem"
    return Optics(
        voltage_kv=scene.voltage_kv,
        defocus_angstrom=float(rng.normal(0, 0.25 + 0.5 * is_bright_field) * 2 * wavelength / semiangle**2),
        spherical_aberration_um=float(rng.normal(0, 0.2) * 4 * wavelength / semiangle**4 * 1e-4),
        focal_spread_angstrom=float(rng.uniform(0, 0.3) * 2 * wavelength / (np.pi * semiangle**2)),
        convergence_semiangle_mrad=float(min(rng.uniform(*BRIGHT_FIELD_MRAD), 100 * semiangle))
        if is_bright_field
        else 0.0,
        astigmatism_angstrom=float(abs(rng.normal(0, 0.1)) * 2 * wavelength / semiangle**2),
        astigmatism_deg=float(rng.uniform(0, 180)),
        aperture_mrad=semiangle * 1e3,
    )


def draw_scan(settings: CrystalSettings, rng: np.random.Generator) -> Scan:
    """Draw how a scan goes wrong."""
    drift = rng.uniform(-settings.drift_px, settings.drift_px, 2)
    return Scan(
        drift_px=(float(drift[0]), float(drift[1])),
        flyback_px=float(rng.uniform(0, 6) * (rng.random() < 0.3)),
        flyback_length_px=float(rng.uniform(3, 15)),
        row_jitter_px=float(rng.uniform(*settings.row_jitter_px) * (rng.random() < 0.5)),
    )


def take_image(
    scene: Scene, settings: CrystalSettings, rng: np.random.Generator, noise_rng: np.random.Generator
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, float]]:
    """Take one image of a scene.

    Parameters
    ----------
    scene : Scene
    settings : CrystalSettings
    rng : numpy.random.Generator
        Draws the conditions.
    noise_rng : numpy.random.Generator
        Draws the noise; `clean` depends on it by the scale that the noisy image decides, and by nothing else.

    Returns
    -------
    images : dict of str to ndarray of float32, shape (image_size_px, image_size_px)
        noisy and clean, in stored intensity.
    attributes : dict of str to float
        The drawn conditions.
    """
    expected, shaken, optical = form_expected_image(scene, settings, rng, noise_rng)
    dose = float(np.exp(rng.uniform(*np.log(settings.dose_e_per_pixel))))
    is_camera = scene.mode == "hrtem"
    is_scaled, is_counting = rng.random() < 0.5, rng.random() < 0.5 or not is_camera
    mtf = rng.uniform(*settings.detector_mtf_at_nyquist) if is_camera else 1.0
    gain = float(np.exp(rng.uniform(*np.log(settings.gain)))) if is_scaled else 1.0
    offset = rng.uniform(*settings.offset_electrons) if is_scaled else 0.0
    readout = rng.uniform(*settings.readout_noise_electrons) if is_scaled else 0.0
    dead_fraction = rng.uniform(*settings.dead_pixel_fraction)
    clean = spread_electrons(expected, mtf_at_nyquist=mtf)
    # A counting camera spreads electrons and then counts them; another one spreads the light of each.
    arriving = spread_electrons(shaken, mtf_at_nyquist=mtf) if is_counting else shaken
    noisy = apply_shot_noise(arriving, electrons_per_pixel=dose, rng=noise_rng)
    noisy = noisy if is_counting else spread_electrons(noisy, mtf_at_nyquist=mtf)
    noisy = apply_dead_pixels(noisy, dead_fraction=dead_fraction, rng=noise_rng)
    noisy = apply_readout_noise(noisy, readout_noise=readout / dose, rng=noise_rng)
    own_noisy, own_clean = (((image * dose + offset) * gain).astype(np.float32) for image in (noisy, clean))
    scale = choose_contrast(own_noisy)
    attributes = {
        **optical,
        "mode": float(MODES.index(scene.mode)),
        "electrons_per_pixel": dose,
        "dose_e_per_angstrom2": dose / optical["pixel_size_angstrom"] ** 2,
        "electrons_per_unit_intensity": 1 / (gain * scale.scale),
        "gain": gain,
        "offset_electrons": offset,
        "readout_noise_electrons": readout,
        "dead_pixel_fraction": dead_fraction,
        "detector_mtf_at_nyquist": mtf,
        "is_counting": float(is_counting),
        "black_level": (offset * gain - scale.offset) * scale.scale,
        STATED_RANGE: dose * gain * scale.scale * float(clean.max()),
        **scale.to_attributes(),
    }
    return {"noisy": scale.apply(own_noisy), "clean": scale.apply(own_clean)}, attributes


def form_expected_image(
    scene: Scene, settings: CrystalSettings, rng: np.random.Generator, noise_rng: np.random.Generator
) -> tuple[FloatImage, FloatImage, dict[str, float]]:
    """Form the image at unlimited dose of a perfect detector.

    Returns
    -------
    expected, shaken : ndarray of float32, shape (image_size_px, image_size_px)
        Relative to vacuum, or to the mean of a dark-field image; without and with the jitter of the rows.
    attributes : dict of str to float
    """
    size = settings.image_size_px
    pixel_size = scene.pixel_size_angstrom * rng.uniform(0.8, 1)
    slack = scene.side_angstrom - 2 * scene.margin_angstrom - size * pixel_size
    origin = scene.margin_angstrom + rng.uniform(0, max(slack, 0), 2)
    optics = draw_image_optics(scene, rng) if scene.mode == "hrtem" else draw_probe_optics(scene, rng)
    scan = draw_scan(settings, rng) if scene.mode != "hrtem" else Scan()
    if scene.mode == "haadf_stem":
        source = rng.uniform(0.1, 0.3) * scene.detail_angstrom
        image = form_dark_field(scene.spectrum, scene.sampling_angstrom, optics, source_angstrom=source)
    else:
        image = image_spectrum(scene.spectrum, scene.sampling_angstrom, optics)
    if scene.mode == "hrtem":
        image = average_over_pixels(image, pixel_size / scene.sampling_angstrom)
    places = locate_pixels((size, size), scan)
    to_grid = pixel_size / scene.sampling_angstrom
    begin = origin[:, None, None] / scene.sampling_angstrom
    expected = shaken = sample(image, begin + to_grid * places)
    if scan.row_jitter_px:
        shaken = sample(image, begin + to_grid * shake_rows(places, scan, noise_rng))
    if scene.mode == "haadf_stem":
        background, unit = rng.uniform(0, 0.3), max(float(expected.mean()), float(expected.max()) / MAX_BRIGHTNESS)
        factor, rest = ((1 - background) / unit, background) if unit > 0 else (0.0, 1.0)
        expected, shaken = (image * np.float32(factor) + np.float32(rest) for image in (expected, shaken))
    elif scene.mode == "hrtem" and rng.random() < 0.5:
        place = rng.uniform(-0.3, 0.3, 2)
        beam = make_beam_profile(
            (size, size), width_fraction=rng.uniform(0.7, 3), centre_fraction=(float(place[0]), float(place[1]))
        )
        expected = shaken = expected * beam
    attributes = {
        "voltage_kv": optics.voltage_kv,
        "defocus_angstrom": optics.defocus_angstrom,
        "spherical_aberration_um": optics.spherical_aberration_um,
        "focal_spread_angstrom": optics.focal_spread_angstrom,
        "convergence_semiangle_mrad": optics.convergence_semiangle_mrad,
        "astigmatism_angstrom": optics.astigmatism_angstrom,
        "pixel_size_angstrom": pixel_size,
        "row_jitter_px": scan.row_jitter_px,
    }
    return expected, shaken, attributes
