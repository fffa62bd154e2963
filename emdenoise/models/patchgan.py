"""PatchGAN, the discriminator of Pix2Pix: it judges patches of an image beside its noisy version. Not a denoiser."""

import keras

from emdenoise.models.normalisation import BatchNormalization

KERNEL_SIZE = 4
"""Side of all kernels [px]."""
NEGATIVE_SLOPE = 0.2
INITIAL_STANDARD_DEVIATION = 0.02
VARIANCE_FLOOR = 1e-5
"""Less than the default of Keras: kernels this small give variances below 1e-3, which would not be normalised."""


def build_patchgan(filters: tuple[int, ...] = (64, 128, 256, 512), *, name: str = "patchgan") -> keras.Model:
    """Build an untrained PatchGAN (doi:10.1109/CVPR.2017.632, appendix 6.1.2).

    Parameters
    ----------
    filters : tuple of int
        Feature maps of each layer before the output; all but the last halve the resolution. Two see patches of
        16 × 16 px, four of 70 × 70 px, six of 286 × 286 px.
    name : str

    Returns
    -------
    keras.Model
        [noisy, image], each float32 (batch, height, width, 1) of any height and width → float32 logits
        (batch, height / s, width / s, 1), rounded up, with s = ``2 ** (len(filters) - 1)``; above 0 where the image
        looks clean and true rather than generated.

    Raises
    ------
    ValueError
        If there are no filters.

    Examples
    --------
    >>> patchgan = build_patchgan((4, 8))
    >>> patchgan.compute_output_shape([(2, 32, 32, 1), (2, 32, 32, 1)])
    (2, 16, 16, 1)
    """
    if not filters:
        raise ValueError("filters is empty; a PatchGAN has at least one layer before its output")
    inputs = [keras.Input((None, None, 1), name=part) for part in ("noisy", "image")]
    images = keras.layers.Concatenate(name="pair")(inputs)
    for number, maps in enumerate(filters, start=1):
        is_first, is_last = number == 1, number == len(filters)
        images = keras.layers.Conv2D(
            maps,
            KERNEL_SIZE,
            strides=1 if is_last else 2,
            padding="same",
            use_bias=is_first,  # the normalisation of the others has an offset of its own
            kernel_initializer=_draw_kernel(),
            name=f"convolution_{number}",
        )(images)
        if not is_first:
            images = BatchNormalization(epsilon=VARIANCE_FLOOR, name=f"normalisation_{number}")(images)
        images = keras.layers.LeakyReLU(NEGATIVE_SLOPE, name=f"leaky_relu_{number}")(images)
    # float32 whatever the precision of the layers before, as the output of every network here.
    logits = keras.layers.Conv2D(
        1, KERNEL_SIZE, padding="same", kernel_initializer=_draw_kernel(), dtype="float32", name="output"
    )(images)
    return keras.Model(inputs, logits, name=name)


def _draw_kernel() -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=INITIAL_STANDARD_DEVIATION)
