"""What the illumination and the detector do to a noise-free image.

The five steps in the order in which they happen: beam profile, spread of electrons among pixels,
counting, dead pixels, readout. Every step keeps the scale of the image: electrons are divided by the mean
number of electrons that vacuum receives. The physics is written out in ``docs/benchmark/data.md``.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d

from emdenoise.arrays import FloatImage


def make_beam_profile(
    shape: tuple[int, int], *, width_fraction: float, centre_fraction: tuple[float, float]
) -> FloatImage:
    """Compute the relative illumination of a Gaussian beam across the image.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image [px].
    width_fraction : float
        Standard deviation of the beam, in image sides. Positive; infinity is an even beam.
    centre_fraction : (float, float)
        Distance of the beam from the image centre (rows, columns), in image sides.

    Returns
    -------
    ndarray of float32, shape (height, width)
        Positive, with mean 1: the dose of a record is the mean over its image.

    Raises
    ------
    ValueError
        If `width_fraction` is not positive.

    Examples
    --------
    >>> profile = make_beam_profile((64, 64), width_fraction=1.0, centre_fraction=(0.0, 0.0))
    >>> bool(profile[32, 32] > profile[0, 0])
    True
    """
    if not width_fraction > 0:
        raise ValueError(f"width_fraction is {width_fraction}; it must be positive")
    rows, columns = (
        (np.arange(size) + 0.5) / size - 0.5 - centre for size, centre in zip(shape, centre_fraction, strict=True)
    )
    profile = np.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * width_fraction**2))
    return (profile / profile.mean()).astype(np.float32)


def spread_electrons(intensity: FloatImage, *, mtf_at_nyquist: float) -> FloatImage:
    """Blur the expected image as a detector does that counts some electrons in a neighbouring pixel.

    Along each axis an electron is counted in its own pixel with probability (1 + M) / 2, and in either neighbour with
    (1 - M) / 4. So the modulation transfer function is [(1 + M) / 2 + (1 - M) / 2 cos(π q / q_N)] along each axis, with
    the value M at the Nyquist frequency q_N; it is that of any symmetric sharing with the next pixels. The electrons
    are counted afterwards, each once: the noise of the image stays independent from pixel to pixel.

    Parameters
    ----------
    intensity : ndarray of float32, shape (height, width)
        Expected intensity where the electrons arrive, at least 0.
    mtf_at_nyquist : float
        M, in [0, 1]; 1 is a perfect detector.

    Returns
    -------
    ndarray of float32, shape (height, width)
        At least 0; same mean as `intensity`: what leaves at the border comes back, as from the image mirrored there.

    Raises
    ------
    ValueError
        If `mtf_at_nyquist` is outside [0, 1].

    Examples
    --------
    >>> stripes = np.tile(np.array([1.5, 0.5], np.float32), (4, 2))  # at the Nyquist frequency along the rows
    >>> spread_electrons(stripes, mtf_at_nyquist=0.4)[0, 1:3]
    array([0.8, 1.2], dtype=float32)
    """
    if not 0 <= mtf_at_nyquist <= 1:
        raise ValueError(f"mtf_at_nyquist is {mtf_at_nyquist}; it must be in [0, 1]")
    if mtf_at_nyquist == 1:
        return intensity
    shares = np.array([1 - mtf_at_nyquist, 2 + 2 * mtf_at_nyquist, 1 - mtf_at_nyquist]) / 4
    blurred: FloatImage = correlate1d(
        correlate1d(intensity, shares, axis=0, mode="reflect"), shares, axis=1, mode="reflect"
    )
    return blurred


def apply_shot_noise(
    clean: npt.NDArray[np.floating], *, electrons_per_pixel: float, rng: np.random.Generator
) -> FloatImage:
    """Add the counting noise of an image taken at a finite dose.

    Parameters
    ----------
    clean : ndarray of float, shape (height, width)
        Noise-free intensity, at least 0.
    electrons_per_pixel : float
        Mean counts where the intensity is 1 [e⁻]. Positive.
    rng : numpy.random.Generator
        Advanced by the call.

    Returns
    -------
    ndarray of float32, shape (height, width)
        Same expectation as `clean`; variance ``clean / electrons_per_pixel``.

    Raises
    ------
    ValueError
        If `electrons_per_pixel` is not positive.

    Examples
    --------
    >>> flat = np.full((100, 100), 0.5, np.float32)
    >>> noisy = apply_shot_noise(flat, electrons_per_pixel=50, rng=np.random.default_rng(0))
    >>> round(float(noisy.mean()), 2)
    0.5
    """
    if not electrons_per_pixel > 0:
        raise ValueError(f"electrons_per_pixel is {electrons_per_pixel}; it must be positive")
    return (rng.poisson(clean * electrons_per_pixel) / electrons_per_pixel).astype(np.float32)


def apply_dead_pixels(noisy: FloatImage, *, dead_fraction: float, rng: np.random.Generator) -> FloatImage:
    """Set a random share of the pixels to zero, as pixels that count nothing.

    Parameters
    ----------
    noisy : ndarray of float32, shape (height, width)
    dead_fraction : float
        Share of dead pixels, in [0, 1].
    rng : numpy.random.Generator
        Advanced by the call.

    Returns
    -------
    ndarray of float32, shape (height, width)
        Equal to `noisy` except for ``round(dead_fraction * height * width)`` zeros.

    Raises
    ------
    ValueError
        If `dead_fraction` is outside [0, 1].

    Examples
    --------
    >>> image = apply_dead_pixels(np.ones((10, 10), np.float32), dead_fraction=0.07, rng=np.random.default_rng(0))
    >>> int((image == 0).sum())
    7
    """
    if not 0 <= dead_fraction <= 1:
        raise ValueError(f"dead_fraction is {dead_fraction}; it must be in [0, 1]")
    num_dead = round(dead_fraction * noisy.size)
    image = noisy.copy()
    image.flat[rng.choice(noisy.size, num_dead, replace=False)] = 0
    return image


def apply_readout_noise(noisy: FloatImage, *, readout_noise: float, rng: np.random.Generator) -> FloatImage:
    """Add the Gaussian noise of the readout electronics.

    Parameters
    ----------
    noisy : ndarray of float32, shape (height, width)
    readout_noise : float
        Standard deviation in units of the image, at least 0.
    rng : numpy.random.Generator
        Advanced by the call.

    Returns
    -------
    ndarray of float32, shape (height, width)
        May be slightly negative where no electron arrived.

    Raises
    ------
    ValueError
        If `readout_noise` is negative.

    Examples
    --------
    >>> zero = np.zeros((200, 200), np.float32)
    >>> round(float(apply_readout_noise(zero, readout_noise=0.1, rng=np.random.default_rng(0)).std()), 2)
    0.1
    """
    if not readout_noise >= 0:
        raise ValueError(f"readout_noise is {readout_noise}; it must be at least 0")
    return noisy + rng.normal(0, readout_noise, noisy.shape).astype(np.float32)
