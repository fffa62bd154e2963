"""What a judge reads of the results in a record: each figure with its type and bounds, before anything is computed."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat, model_validator

from emdenoise.evaluation.conditions import CONDITIONS
from emdenoise.tools.bounds import MAX_CLASSES, MAX_IMAGES

Count = Annotated[int, Field(ge=0, lt=2**53)]
Text = Annotated[str, Field(max_length=1000)]


class Figures(BaseModel):
    """Numbers are numbers and finite; what is not judged may stand beside them."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class EnvironmentFigures(Figures):
    """The machine and software of a task."""

    accelerators: list[Text] = []


class EpochFigures(Figures):
    """An epoch in the history of a training; what else it has are figures, too."""

    __pydantic_extra__: dict[str, FiniteFloat | None]

    epoch: int = Field(ge=1, lt=10**9)
    started_at_ms: int = Field(ge=0, lt=10**14)
    train_s: float = Field(ge=0)
    validation_s: float = Field(ge=0)
    validation_loss: float
    learning_rate: float
    images_per_second: float
    num_images: int = Field(ge=1, lt=2**53)


class PretrainingFigures(Figures):
    """The pretraining before a training."""

    history: list[EpochFigures] = Field(min_length=1)
    duration_s: float = Field(ge=0)
    is_reused: bool


class TrainFigures(Figures):
    """The results of a training."""

    history: list[EpochFigures]
    num_validation_images: int = Field(ge=1, lt=2**53)
    num_parameters: Count
    best_epoch: Count
    num_continued_epochs: Count = 0
    pretraining: PretrainingFigures | None = None


class TestFigures(Figures):
    """The results of a test."""

    per_image: dict[str, dict[str, list[float | None]]]
    specimens: list[Text] = Field(min_length=1, max_length=MAX_IMAGES)
    choices: dict[str, Text]
    captions: dict[str, list[Text]]
    main_metric: Text
    doses_e_per_angstrom2: list[PositiveFloat] | None = None
    classes: list[Text] | None = None
    label_names: list[Text] | None = None
    confusion: list[list[Count]] | None = None

    @model_validator(mode="after")
    def check_conditions(self) -> Self:
        """Check that each image has its conditions, and that there are no more classes than a judge averages."""
        for name in CONDITIONS:
            values = getattr(self, name)
            if values is not None and len(values) != len(self.specimens):
                raise ValueError(f"{name} has {len(values)} images of {len(self.specimens)}")
        if len(set(self.classes or ())) > MAX_CLASSES:
            raise ValueError(f"more than {MAX_CLASSES} classes")
        return self
