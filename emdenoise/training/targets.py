"""What a training must reach for its time to count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A metric of the validation images and the value that its mean must reach after an epoch.

    Never a loss: a loss may be a statistic of the batch, and then moves with a batch size.

    Attributes
    ----------
    metric : str
        Entry of `METRICS`, by its name with the unit.
    value : float
        In the unit of the metric.
    is_larger_better : bool
        As the metric says: whether its mean must be at least the value, or at most.
    """

    metric: str
    value: float
    is_larger_better: bool = True

    @property
    def quantity(self) -> str:
        """Name of the figure in the history of a training: ``validation_psnr_db``."""
        return f"validation_{self.metric}"

    def is_reached(self, figures: Mapping[str, float | None]) -> bool:
        """Say whether an epoch reaches it; one whose figure is missing or no number does not."""
        found = figures.get(self.quantity)
        sign = 1 if self.is_larger_better else -1
        return found is not None and sign * found >= sign * self.value

    def describe(self) -> str:
        """Say it in words: ``validation_psnr_db 31.2``."""
        return f"{self.quantity} {self.value:g}"

    def to_json(self) -> dict[str, Any]:
        """Give what a record keeps of it, as JSON values."""
        return {"quantity": self.quantity, "value": self.value, "is_larger_better": self.is_larger_better}
