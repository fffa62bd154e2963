"""What a training must reach for its time to count."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A figure of the validation images and the value that it must reach.

    Attributes
    ----------
    quantity : str
        A figure of each epoch in the history of the training.
    value : float
    is_larger_better : bool
        Whether the figure must be at least the value, or at most.
    """

    quantity: str
    value: float
    is_larger_better: bool = False

    def is_reached(self, figures: Mapping[str, float]) -> bool:
        """Say whether an epoch reaches it; one that lacks the figure does not."""
        sign = 1 if self.is_larger_better else -1
        return self.quantity in figures and sign * figures[self.quantity] >= sign * self.value

    def describe(self) -> str:
        """Say it in words: ``validation loss 0.0023``."""
        return f"{self.quantity.replace('_', ' ')} {self.value:g}"
