"""What all settings have in common, and all settings of networks."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys are errors, no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class NetworkSettings(Settings):
    """What all networks have in common; a network's own settings stand in its module."""

    name: str
    """Which network, an entry of `MODELS`."""
    intensity_mean: float = Field(0.0, ge=-1, le=1)
    """The network works on (intensity − mean) / std; 0 and 1 leave the intensity as it is."""
    intensity_std: float = Field(1.0, gt=0)
    """See `intensity_mean`; the contrast of the images is a good value."""
    predict_residual: bool = False
    """Let the network predict what to add to the noisy image instead of the image."""
    long_sides_px: tuple[Annotated[int, Field(ge=16, le=4096)], ...] = Field((), exclude_if=lambda sides: not sides)
    """Sizes that the long side of an image is brought to; the answers are averaged. Empty: images as they are [px]."""
    symmetries: bool = Field(False, exclude_if=lambda is_set: not is_set)
    """Answer with the mean over the eight symmetries of the square: the image turned and mirrored."""

    @property
    def step_px(self) -> int:
        """Sides of images must be multiples of this [px]."""
        return 1


class NormalisedNetworkSettings(NetworkSettings):
    """What the networks with batch normalisation have in common."""

    batch_norm_momentum: float = Field(0.99, ge=0, lt=1)
    """Weight of the past in the running mean and variance of batch normalisation."""
