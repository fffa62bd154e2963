"""Settings of each network, one class per entry of `models.MODELS`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Initializer = Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "orthogonal"]


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys are errors, no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class NetworkSettings(Settings):
    """What all networks have in common."""

    batch_norm_momentum: float = Field(0.99, ge=0, lt=1)
    """Weight of the past in the running mean and variance of batch normalisation."""
    intensity_mean: float = Field(0.0, ge=-1, le=1)
    """The network works on (intensity − mean) / std; 0 and 1 leave the intensity as it is."""
    intensity_std: float = Field(1.0, gt=0)
    """See `intensity_mean`; the contrast of the images is a good value."""
    predict_residual: bool = False
    """Let the network predict what to add to the noisy image instead of the image."""


class UNetSettings(NetworkSettings):
    """U-Net (doi:10.1007/978-3-319-24574-4_28); the defaults are the network of the closed division."""

    name: Literal["unet"] = "unet"
    """U-Net: encoder, bottom, decoder with skip connections."""
    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field((8, 16, 32), min_length=1, max_length=6)
    """Filters of each level from full resolution down; each level halves the image."""
    bottom_filters: int = Field(64, ge=1, le=4096)
    """Filters at the lowest resolution."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of feature maps that are dropped after each block in training."""
    initializer: Initializer = "glorot_uniform"
    """How the kernels of the convolutions start."""


class DnCNNSettings(NetworkSettings):
    """DnCNN (doi:10.1109/TIP.2017.2662206), a plain stack of convolutions without pooling."""

    name: Literal["dncnn"]
    """DnCNN: convolution, batch normalisation and ReLU; predicts the noise where `predict_residual` is true."""
    depth: int = Field(17, ge=3, le=64)
    """Number of convolutions."""
    filters: int = Field(64, ge=1, le=1024)
    """Filters of each convolution but the last."""
    initializer: Initializer = "he_normal"
    """How the kernels of the convolutions start."""


ModelSettings = Annotated[UNetSettings | DnCNNSettings, Field(discriminator="name")]
"""Settings of any network; the key ``name`` says which."""
