"""What a workload declares: a question asked of a record, how it is learned and how answers are judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from emdenoise.config.schema import DataSettings, RunConfig, TrainingSettings
from emdenoise.config.simulation import SimulationSettings
from emdenoise.dataset.fields import FIELDS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.whole_images import ShownRecords
from emdenoise.errors import DataError, SettingsError
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS, Head
from emdenoise.processes import ALONE, ProcessGroup
from emdenoise.tables import look_up
from emdenoise.training.objectives import OBJECTIVES, Objective, list_objectives
from emdenoise.training.targets import Target

if TYPE_CHECKING:
    from emdenoise.training.epochs import Judge

FREE_SETTINGS = (
    *("workload", "division", "seed", "num_processes"),
    "data.mirror",  # any place that has the images
    *("training.epochs", "training.batch_size", "training.last_batch", "training.early_stopping_epochs"),
    *("training.learning_rate", "training.schedule", "training.warmup_fraction"),
    *("training.beta_1", "training.beta_2", "training.epsilon"),
    *("training.weight_decay", "training.gradient_clip_norm"),
    *("training.precision", "training.deterministic", "training.read_ahead", "training.keep_on_device"),
    *("evaluation.batch_size", "evaluation.num_latency_images", "evaluation.num_pictures"),
)
"""All that the closed division leaves free, as ``section.name``; whatever is not here is fixed, also a new setting."""


@dataclass(frozen=True)
class Workload:
    """One problem of the benchmark: an entry of `WORKLOADS`.

    Attributes
    ----------
    name, description : str
    inputs : tuple of str
        Fields that the network gets (`dataset/fields.py`); the first one is the image.
    truth : str
        Field that it shall give; its kind decides the head, the metrics and the objectives.
    main_metric : str
        Entry of `METRICS`, by which methods are ranked.
    baselines : tuple of str
        Entries of `BASELINES` that a test compares with, unless the settings name others.
    closed : dict of str to object
        Settings that the closed division fixes to another value than the default, as ``section.name``.
    closed_sources : tuple of str
        Data sets of the closed division, entries of `SOURCES`; the target is that of simulated graphene.
    target : Target or None
        docs/benchmark justifies it; None where no target is set yet.
    """

    name: str
    description: str
    inputs: tuple[str, ...]
    truth: str
    main_metric: str
    baselines: tuple[str, ...]
    closed: Mapping[str, object] = field(default_factory=dict)
    closed_sources: tuple[str, ...] = ("graphene",)
    target: Target | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Inputs and truth."""
        return *self.inputs, self.truth

    @property
    def head(self) -> Head:
        """What the outputs of its networks mean."""
        return HEADS[FIELDS[self.truth].kind]

    @property
    def is_restoration(self) -> bool:
        """Whether the truth is of the kind of the image: the image itself is then an answer."""
        return FIELDS[self.truth].kind == FIELDS[self.inputs[0]].kind

    def list_objectives(self) -> list[str]:
        """List the values that `training.loss` may have."""
        return list_objectives(self.truth)

    def make_objective(self, settings: TrainingSettings) -> Objective:
        """Make what a training learns."""
        return OBJECTIVES[settings.loss].make(settings, self.inputs, self.truth)

    def make_ports(self, records: RecordFile, settings: TrainingSettings) -> Ports:
        """Make the ports of a network for these images.

        Parameters
        ----------
        records : RecordFile
        settings : TrainingSettings
            With 0 epochs, which keep a pretrained network as it is, no truth is needed.

        Raises
        ------
        DataError
            If the images lack a field that the workload or its loss needs.
        ValueError
            If the main metric does not judge the truth.
        """
        from emdenoise.evaluation.metrics import list_metrics  # which takes a while, and settings need none of it

        if not any(metric.name == self.main_metric for metric in list_metrics(self.head.kind)):
            raise ValueError(f"main_metric of workload {self.name} is {self.main_metric}, which judges no {self.truth}")
        for name in self.make_objective(settings).needs if settings.epochs else self.inputs:
            if name not in records:
                needing = f"workload {self.name}" if name in self.fields else f"training.loss {settings.loss}"
                raise DataError(
                    f"{records.name}: has no {name} images, which {needing} needs: {FIELDS[name].meaning} "
                    f"Choose a source that has them{FIELDS[name].advice}, and run download and preprocess again."
                )
        channels = self.head.count_channels(records.label_names)
        return Ports({name: FIELDS[name].num_channels for name in self.inputs}, channels, self.head)

    def choose_baselines(self, config: RunConfig) -> tuple[str, ...]:
        """Choose the classical methods that a test compares with: those of the settings, or the workload's own."""
        return self.baselines if config.evaluation.baselines is None else config.evaluation.baselines

    def has_learning_baselines(self, config: RunConfig) -> bool:
        """Say whether a classical method of the test learns from the images that the network learned from."""
        return any(look_up("baselines", name).learns for name in self.choose_baselines(config))

    def make_judge(self, config: RunConfig, validation: ShownRecords, group: ProcessGroup = ALONE) -> "Judge":
        """Make what scores the validation images after each epoch: by the main metric and that of the target.

        Parameters
        ----------
        config : RunConfig
        validation : RecordFile or ResizedRecords
        group : ProcessGroup
            The processes that share the images.
        """
        from emdenoise.evaluation.scoring import OutputJudge  # which takes a while, and settings need none of it

        metrics = dict.fromkeys([self.main_metric, *([] if self.target is None else [self.target.metric])])
        tolerance = config.evaluation.atom_tolerance_angstrom
        return OutputJudge(validation, self.truth, tuple(metrics), self.head.decode, tolerance, group)

    def describe_target(self, config: RunConfig) -> dict[str, Any]:
        """Say what a record keeps of the target of a run, as JSON values."""
        target = self.find_target(config)
        return {"target": None if target is None else target.to_json()}

    def find_target(self, config: RunConfig) -> Target | None:
        """Give the target of a run; None where its images are not those of the closed division."""
        data = config.data.model_copy(update={"mirror": None})
        is_reference = (data, config.simulation) == (DataSettings(), SimulationSettings())
        return self.target if is_reference else None


def check_division(config: RunConfig, workload: Workload) -> None:
    """Check that a run of the closed division keeps what that division fixes.

    Raises
    ------
    SettingsError
        Lists every setting that only the open division allows.
    """
    if config.division == "open":
        return
    fixed = list_fixed_settings(workload, config.data.source)
    if config.model.name != fixed["model.name"]:  # its other settings are of another network
        fixed = {name: value for name, value in fixed.items() if name == "model.name" or name[:6] != "model."}
    given = dict(_list_settings(config))
    broken = [
        f"{name} is {given[name]}, fixed to {expected}" for name, expected in fixed.items() if given[name] != expected
    ]
    if broken:
        raise SettingsError(f"division closed: {'; '.join(broken)}; keep these, or set division to open.")


def list_fixed_settings(workload: Workload, source: str) -> dict[str, object]:
    """List the settings that the closed division fixes on images of a source, as ``section.name``, with their values.

    Of a source that the division does not have, all that it has are named.
    """
    sources = workload.closed_sources
    fixed = {name: value for name, value in _list_settings(RunConfig()) if name not in FREE_SETTINGS}
    own = {"data.source": source if source in sources else " or ".join(sources), **workload.closed}
    return fixed | own


def _list_settings(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, field_info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel) and field_info.default is not None:  # else it is fixed as a whole
            yield from _list_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
