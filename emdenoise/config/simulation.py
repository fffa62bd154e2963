"""Settings of what is simulated: graphene and the crystals, with their microscopes and detectors."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from emdenoise.config.base import Settings


def _check_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"must be [low, high] with low ≤ high, not [{bounds[0]:g}, {bounds[1]:g}]")
    return bounds


NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[float, float], AfterValidator(_check_order)]
NonNegativeRange = Annotated[tuple[NonNegative, NonNegative], AfterValidator(_check_order)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_check_order)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_check_order)]


class SimulationSettings(Settings):
    """The specimen, microscope and detector of simulated graphene; ranges are drawn per specimen or image."""

    num_train: int = Field(600, ge=1)
    """Images for training."""
    num_validation: int = Field(100, ge=1)
    """Images for validation."""
    num_test: int = Field(100, ge=1)
    """Images for the test."""
    images_per_specimen: int = Field(2, ge=1, le=64)
    """Images taken of one specimen, each with a focus, dose and noise of its own."""
    image_size_px: int = Field(256, ge=32, le=4096, multiple_of=8)
    """Side of the square image [px]."""
    margin_px: int = Field(16, ge=0, le=512)
    """Border that is simulated and cut off, so that the periodic boundary is out of the picture [px]."""
    pixel_size_angstrom: PositiveRange = (0.14, 0.17)
    """Pixel size in the specimen [Å], uniform per specimen."""
    defects: tuple[Literal["pristine", "vacancies", "pores", "stone_wales", "adatoms", "grain_boundary"], ...] = Field(
        ("pristine", "vacancies", "pores", "stone_wales", "adatoms", "grain_boundary"), min_length=1
    )
    """Kinds of specimen, equally likely; the position in the full list is the class of the image."""
    ripple_height_angstrom: NonNegativeRange = (0.0, 0.8)
    """Amplitude of the ripples of the sheet [Å], uniform per specimen."""
    ripple_wavelength_angstrom: PositiveRange = (25.0, 60.0)
    """Wavelength of the ripples [Å], uniform per specimen."""
    thermal_displacement_angstrom: float = Field(0.06, ge=0, le=0.5)
    """Root mean square thermal displacement of each atom along each axis [Å]; images are averages over it."""
    voltage_kv: float = Field(80.0, ge=20, le=1000)
    """Accelerating voltage [kV]."""
    spherical_aberration_um: Range = (-10.0, -2.0)
    """Spherical aberration Cs [µm], uniform per image."""
    defocus_scherzer: Range = (0.9, 1.2)
    """Defocus in units of sign(Cs) √(|Cs| λ), uniform per image; near 1 atoms are bright, below 0.9 they may invert."""
    focal_spread_angstrom: NonNegativeRange = (10.0, 30.0)
    """1/e half-width of the focus, √2 of its standard deviations [Å], uniform per image."""
    convergence_semiangle_mrad: float = Field(0.0, ge=0, le=10)
    """1/e half-width of the directions of the beam [mrad], which limits spatial coherence; 0 is a parallel beam."""
    dose_e_per_angstrom2: PositiveRange = (400.0, 8000.0)
    """Mean dose [e⁻/Å²], log-uniform per image."""
    beam_width_fraction: PositiveRange = (0.8, 2.0)
    """Standard deviation of the Gaussian beam, in image sides, uniform per image."""
    beam_offset_fraction: float = Field(0.2, ge=0, le=1)
    """Largest distance of the beam from the image centre along each axis, in image sides."""
    detector_mtf_at_nyquist: float = Field(1.0, ge=0, le=1)
    """Modulation transfer function of the detector at its Nyquist frequency, along an axis; 1 is a perfect detector."""
    dead_pixel_fraction: NonNegativeRange = (0.0, 0.002)
    """Share of pixels that count nothing, uniform per image."""
    readout_noise_electrons: NonNegativeRange = (0.5, 2.0)
    """Standard deviation of the readout [e⁻], uniform per image."""
    intensity_window: Range = (0.6, 1.4)
    """Intensity relative to vacuum that is stored as 0 and as 1: the contrast window of all images."""
    store_wave: bool = False
    """Keep the complex exit wave of each record (8 bytes a pixel)."""

    @property
    def simulated_side_px(self) -> int:
        """Side of what is simulated, with the margin [px]."""
        return self.image_size_px + 2 * self.margin_px


class CrystalSettings(Settings):
    """The specimens and microscopes of simulated crystals; ranges are drawn per specimen or image."""

    num_train: int = Field(2000, ge=1)
    """Images for training."""
    num_validation: int = Field(200, ge=1)
    """Images for validation."""
    num_test: int = Field(200, ge=1)
    """Images for the test."""
    images_per_specimen: int = Field(4, ge=1, le=64)
    """Images taken of one piece of a material, each with a place, focus, dose and noise of its own."""
    image_size_px: int = Field(256, ge=32, le=2048, multiple_of=8)
    """Side of the square image [px]."""
    kinds: tuple[Literal["slab", "particles", "grain_boundary", "amorphous", "low_magnification", "empty"], ...] = (
        Field(
            (
                "slab",
                "slab",
                "slab",
                "particles",
                "particles",
                "particles",
                "grain_boundary",
                "amorphous",
                "low_magnification",
                "empty",
            ),
            min_length=1,
        )
    )
    """Kinds of specimen, equally likely, so one that stands twice comes twice as often."""
    modes: tuple[Literal["hrtem", "haadf_stem", "bf_stem"], ...] = Field(
        ("hrtem", "hrtem", "hrtem", "haadf_stem", "haadf_stem", "bf_stem"), min_length=1
    )
    """Kinds of microscope, equally likely, drawn per specimen; bf_stem has a small bright-field detector."""
    voltage_kv: tuple[Annotated[float, Field(ge=10, le=1000)], ...] = Field(
        (300.0, 300.0, 200.0, 200.0, 120.0, 80.0, 60.0, 30.0, 10.0), min_length=1
    )
    """Accelerating voltages, equally likely, drawn per specimen [kV]."""
    pixel_size_angstrom: PositiveRange = (0.03, 0.6)
    """Smallest and largest pixel size where a lattice is seen [Å]."""
    period_px: PositiveRange = (4.0, 60.0)
    """Distance of neighbouring atoms in the image [px], log-uniform per specimen, as far as the pixel size allows."""
    low_magnification_pixel_size_angstrom: PositiveRange = (0.8, 8.0)
    """Pixel size of images at low magnification [Å], log-uniform per specimen."""
    thickness_angstrom: PositiveRange = (10.0, 200.0)
    """Thickness of slabs and diameter of particles [Å], log-uniform per specimen; less where the field is large."""
    thermal_displacement_angstrom: NonNegativeRange = (0.04, 0.12)
    """Root mean square thermal displacement of each atom along each axis [Å], uniform per specimen."""
    vacancy_fraction: ShareRange = (0.0, 0.03)
    """Share of missing atoms, uniform per specimen, in half of the specimens."""
    dose_e_per_pixel: PositiveRange = (0.3, 1000.0)
    """Mean electrons where the intensity is 1 [e⁻/px], log-uniform per image."""
    gain: PositiveRange = (0.2, 100.0)
    """Units of the detector for an electron, log-uniform per image, in half of the images; 1 in the other half."""
    offset_electrons: NonNegativeRange = (0.0, 20.0)
    """Dark level in electrons, uniform per image, where the gain is not 1; 0 elsewhere."""
    readout_noise_electrons: NonNegativeRange = (0.0, 1.0)
    """Standard deviation of the readout [e⁻], uniform per image, where the gain is not 1; 0 elsewhere."""
    dead_pixel_fraction: ShareRange = (0.0, 0.001)
    """Share of pixels that count nothing, uniform per image."""
    detector_mtf_at_nyquist: ShareRange = (0.2, 1.0)
    """Modulation transfer function of cameras at the Nyquist frequency along an axis, uniform per image."""
    row_jitter_px: NonNegativeRange = (0.0, 0.5)
    """Standard deviation of the shift of each row of a scan [px], uniform per image, in half of the scans."""
    drift_px: float = Field(4.0, ge=0, le=64)
    """Largest drift along each axis during a scan [px]."""

    @property
    def simulated_side_px(self) -> int:
        """Side of what is simulated, with a margin, where pixels are largest [px]."""
        return self.image_size_px + 48

    @property
    def store_wave(self) -> bool:
        """Whether records hold exit waves: never."""
        return False
