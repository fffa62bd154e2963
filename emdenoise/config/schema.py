"""Every setting of a run: type, default, bound, unit and one line of meaning together.

One YAML file holds one `RunConfig`. Names carry their unit; conversions to the internal units happen where
the physics is written (`simulation/microscope.py`). A setting that no code reads fails a test.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from emdenoise.config.base import NetworkSettings, Settings
from emdenoise.config.choices import EntryOf, choose_network_settings
from emdenoise.config.simulation import CrystalSettings, PositiveRange, SimulationSettings
from emdenoise.tables import list_entries, look_up


class DataSettings(Settings):
    """Where the images come from and how they are split."""

    source: Annotated[str, EntryOf("sources")] = "graphene"
    """Source of the images, an entry of `SOURCES`."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the simulated images and of the splits."""
    mirror: str | None = None
    """Folder or URL to take the files from instead of the source's own address; relative to the raw data folder."""
    validation_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the specimens for validation, where the source does not say."""
    test_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of the specimens for the test, where the source does not say."""
    tile_size_px: int = Field(256, ge=32, le=4096, multiple_of=8)
    """Side of the square tiles that images of other sizes are cut into [px]."""
    scale_factor: float = Field(1.0, ge=0.05, le=4.0)
    """By how much images of other sizes are made larger before they are cut into tiles; below 1 smaller."""
    mask_labels: tuple[str, ...] = Field(("background", "particle"), min_length=2, max_length=256)
    """Names of the labels 0, 1, … in the masks of source folder; the other sources know theirs."""
    added_noise_electrons_per_pixel: float | None = Field(None, gt=0)
    """Mean counts at full intensity of Poisson noise that turns unpaired images into noisy/clean pairs [e⁻/px]."""
    signal: str | None = Field(None, min_length=1, exclude_if=lambda signal: signal is None)
    """Of files of source folder that hold several: the signal to take, such as a detector, or all of them."""


class AugmentationSettings(Settings):
    """Random changes of intensity, drawn for each crop that the network learns from; its labels stay as they are."""

    log_gamma: float = Field(0.0, ge=0)
    """Intensities, cut to [0.001, 1], are raised to the power exp(u), u uniform between −log_gamma and log_gamma."""
    inversion: float = Field(0.0, ge=0, le=1)
    """Share of the crops whose polarity is inverted: 1 − intensity, after the gamma."""
    log_contrast: float = Field(0.0, ge=0)
    """Distances from 0.5 are multiplied by exp(u), u uniform between −log_contrast and log_contrast."""
    brightness: float = Field(0.0, ge=0)
    """Uniform between −brightness and brightness, added to all pixels of a crop."""
    blur_px: float = Field(0.0, ge=0, le=16)
    """Largest standard deviation of a Gaussian blur, uniform from 0; half of the crops are blurred [px]."""
    noise: float = Field(0.0, ge=0)
    """Largest standard deviation of Gaussian noise, uniform from 0; half of the crops get it."""


class TrainingSettings(Settings):
    """How the network learns."""

    epochs: int = Field(10, ge=0)
    """Passes over the training images; 0 keeps a pretrained network as it is."""
    num_images: int | None = Field(None, ge=1)
    """Images that are learned from, whole, drawn with the seed; null for all. Fewer are a part of more."""
    batch_size: int = Field(10, ge=1)
    """Images in each step of the optimizer."""
    loss: Annotated[str, EntryOf("objectives")] = "mean_squared_error"
    """What training makes small, an entry of `OBJECTIVES`; dice_cross_entropy is for masks."""
    label_balance: float = Field(1.0, ge=0, le=1)
    """Weight of a label in losses that use masks: 1 / its share to this power; 0 counts pixels and 1 labels alike."""
    border_weight: float = Field(0.0, ge=0, exclude_if=lambda weight: weight == 0)
    """Pixels at most 2 px from another label count 1 + this often in the cross-entropy of masks."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam (arXiv:1412.6980), with decoupled weight decay where that is set; or SGD with momentum `beta_1`."""
    learning_rate: float = Field(0.01, gt=0)
    """Step size, the highest of the schedule."""
    beta_1: float = Field(0.9, ge=0, lt=1)
    """Weight of the past in the mean gradient."""
    beta_2: float = Field(0.999, ge=0, lt=1)
    """Weight of the past in the mean squared gradient."""
    epsilon: float = Field(1e-7, gt=0)
    """Constant that keeps Adam from dividing by zero."""
    weight_decay: float | None = Field(None, gt=0)
    """Decoupled weight decay of all weights, biases and those of normalisation too; null for none."""
    gradient_clip_norm: float | None = Field(None, gt=0)
    """Largest global norm of the gradient; null for no limit."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up; cosine ends at zero."""
    warmup_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of all steps in which the learning rate rises from zero."""
    crop_size_px: int | None = Field(None, ge=16, multiple_of=8)
    """Side of the random crop of each image; null for whole images [px]."""
    zoom: PositiveRange | None = Field(None, exclude_if=lambda zoom: zoom is None)
    """Each crop shows 1 / zoom of the long side of its image, log-uniform in this range; null crops stored pixels."""
    crops_per_epoch: int | None = Field(None, ge=1)
    """Images or tiles, cropped anew each time, in an epoch; null for each image once."""
    flip: bool = False
    """Flip and turn each crop at random by multiples of 90 degrees."""
    augmentation: AugmentationSettings | None = Field(None, exclude_if=lambda augmentation: augmentation is None)
    """Random changes of intensity, for workloads of masks; null for none."""
    early_stopping_epochs: int | None = Field(None, ge=1)
    """End when the validation loss has not fallen for so many epochs, and take the best weights; null for never."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Arithmetic of the layers; weights and scores are float32 always. mixed_float16 scales the loss as it needs it."""
    deterministic: bool = True
    """Ask the backend for the same bits in every run."""
    read_ahead: int = Field(2, ge=0, le=64)
    """Batches that a thread reads while the network learns; 0 for none. The result does not depend on it."""
    keep_on_device: bool = Field(False, exclude_if=lambda is_kept: not is_kept)
    """Keep the training images on the device and cut the batches there; the result is the same. Not for pretraining."""
    last_batch: Literal["smaller", "filled"] = "smaller"
    """filled: images that come again fill up the last batch of an epoch. XLA compiles each size of a batch anew."""


SHARED_SETTINGS = ("precision", "deterministic", "read_ahead", "last_batch", "zoom")
"""Settings of the training that hold for the pretraining, too."""


class PretrainingSettings(Settings):
    """Pretraining by denoising, which needs no labels; by Adam, in the precision of the training."""

    method: Literal["none", "denoise", "pix2pix"] = "none"
    """denoise: learn to restore images; pix2pix: the same against a discriminator (doi:10.1109/CVPR.2017.632)."""
    added_noise_electrons_per_pixel: float | None = Field(None, gt=0)
    """Mean counts at full intensity of Poisson noise that makes the pairs [e⁻/px]; null takes the pairs of the data."""
    loss: Literal["mean_squared_error", "mean_absolute_error"] = "mean_squared_error"
    """What method denoise makes small."""
    epochs: int = Field(10, ge=1)
    """Passes over the training images."""
    num_images: int | None = Field(None, ge=1)
    """Images that are learned from, whole, drawn with the seed; null for all."""
    batch_size: int = Field(10, ge=1)
    """Images in each step of the optimizer."""
    learning_rate: float = Field(0.003, gt=0)
    """Step size, the highest of the schedule."""
    beta_1: float = Field(0.9, ge=0, lt=1)
    """Weight of the past in the mean gradient."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up; cosine ends at zero."""
    warmup_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of all steps in which the learning rate rises from zero."""
    crop_size_px: int | None = Field(None, ge=16, multiple_of=8)
    """Side of the random crop of each image; null for whole images [px]."""
    crops_per_epoch: int | None = Field(None, ge=1)
    """Images or tiles, cropped anew each time, in an epoch; null for each image once."""
    flip: bool = False
    """Flip and turn each crop at random by multiples of 90 degrees."""
    l1_weight: float = Field(100.0, ge=0)
    """Weight of the absolute error beside the adversarial loss of Pix2Pix."""
    discriminator_filters: tuple[int, ...] = Field((64, 128, 256, 512), min_length=2, max_length=6)
    """Filters of the layers of the discriminator; the default sees patches of 70 × 70 px."""
    encoder: Literal["trainable", "frozen"] = "trainable"
    """Whether the training that follows changes the encoder, the layers down to the lowest resolution."""
    thaw_epoch: int | None = Field(None, ge=1)
    """Epochs of training after which a frozen encoder is trainable; null for never."""


class EvaluationSettings(Settings):
    """How the test is scored."""

    batch_size: int = Field(16, ge=1)
    """Images that the network denoises at a time."""
    baselines: tuple[Annotated[str, EntryOf("baselines")], ...] | None = None
    """Classical methods to compare with, entries of `BASELINES`; null for those of the workload."""
    num_tuning_images: int = Field(8, ge=1)
    """Validation images on which the parameters of each classical method are chosen."""
    num_resamples: int = Field(2000, ge=100)
    """Bootstrap resamples of the images for each interval."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Confidence of the intervals."""
    atom_tolerance_angstrom: float = Field(0.5, gt=0)
    """Largest distance between a detected and a true atom that counts as found [Å]."""
    num_latency_images: int = Field(50, ge=10)
    """Single images that are timed after warm-up for the latency."""
    num_pictures: int = Field(4, ge=1, le=32)
    """Test images that the report shows."""


class RunConfig(Settings):
    """All settings of one run."""

    workload: Annotated[str, EntryOf("workloads")] = "denoise"
    """What is learned, an entry of `WORKLOADS`."""
    division: Literal["closed", "open"] = "closed"
    """closed: model, loss, optimizer family and data are fixed; open: all but test data and scoring is free."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the starting weights, the order and the crops of the images."""
    num_processes: int = Field(1, ge=1, le=4096)
    """Processes that train together, each with an equal share of every batch; a launcher starts them."""
    data: DataSettings = DataSettings()
    simulation: SimulationSettings = SimulationSettings()
    crystals: CrystalSettings = CrystalSettings()
    model: Annotated[SerializeAsAny[NetworkSettings], BeforeValidator(choose_network_settings)] = Field(
        default_factory=lambda: choose_network_settings({})
    )
    pretraining: PretrainingSettings = PretrainingSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def check_together(self) -> Self:
        """Check what one field alone cannot say."""
        image = self.image_size_px
        crops = {
            "training.crop_size_px": self.training.crop_size_px,
            "pretraining.crop_size_px": self.pretraining.crop_size_px,
        }
        for name, crop in crops.items():
            if crop is not None and crop > image:
                raise ValueError(f"{name} is {crop}; it must be at most the image size, {image}")
        self._check_learning()
        self._check_crops_and_masks()
        self._check_processes()
        self._check_keeping()
        step = self.model.step_px
        long_sides = [("model.long_sides_px", size) for size in self.model.long_sides_px]
        for name, size in (("the image size", image), *crops.items(), *long_sides):
            if size is not None and size % step:
                raise ValueError(f"{name} is {size}; network {self.model.name} needs a multiple of {step}")
        if self.data.validation_fraction + self.data.test_fraction >= 1:
            raise ValueError("data.validation_fraction and data.test_fraction leave no images for training")
        return self

    @model_serializer(mode="wrap")
    def leave_out_crystals(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the section `crystals` where no run looks at it, so that the hashes of other runs stay."""
        sections: dict[str, Any] = serialize(self)
        if self.data.source != "crystals" and self.crystals == CrystalSettings():
            sections.pop("crystals", None)
        return sections

    @property
    def image_size_px(self) -> int:
        """Side of the images that the run works on."""
        size: int = look_up("sources", self.data.source).image_size_px(self)
        return size

    @property
    def pretraining_as_training(self) -> TrainingSettings:
        """The settings of the training that the pretraining is; what it has no setting for is that of the run."""
        shared = set(PretrainingSettings.model_fields) & set(TrainingSettings.model_fields)
        own = self.pretraining.model_dump(include=shared)
        shared_by_all = {name: getattr(self.training, name) for name in SHARED_SETTINGS}
        return TrainingSettings(**own, **shared_by_all)

    def _check_processes(self) -> None:
        if self.num_processes == 1:
            return
        needed = {
            "pretraining.method": (self.pretraining.method, "none"),
            "training.gradient_clip_norm": (self.training.gradient_clip_norm, None),
        }
        wrong = [
            f"{name} is {found}, expected {expected}" for name, (found, expected) in needed.items() if found != expected
        ]
        if self.training.precision == "mixed_float16":
            wrong.append("training.precision is mixed_float16, expected float32 or mixed_bfloat16")
        shared = [name for name in list_entries("objectives") if look_up("objectives", name).is_shared]
        if self.training.loss not in shared:
            wrong.append(f"training.loss is {self.training.loss}, expected {' or '.join(shared)}")
        if wrong:
            raise ValueError(f"num_processes is {self.num_processes}, but {'; '.join(wrong)}; train in one process")
        if self.training.batch_size % self.num_processes:
            raise ValueError(
                f"training.batch_size is {self.training.batch_size}; it must be a multiple of num_processes, "
                f"{self.num_processes}"
            )

    def _check_keeping(self) -> None:
        """Refuse all that needs the images of a batch on the processor."""
        wrong = [f"num_processes is {self.num_processes}, expected 1"] if self.num_processes > 1 else []
        wrong += [
            f"training.{name} is set" for name in ("zoom", "augmentation") if getattr(self.training, name) is not None
        ]
        if self.training.keep_on_device and wrong:
            raise ValueError(f"training.keep_on_device is true, but {'; '.join(wrong)}; set it to false")

    def _check_learning(self) -> None:
        workload = look_up("workloads", self.workload)
        fitting = workload.list_objectives()
        if self.training.loss not in fitting:
            raise ValueError(
                f"training.loss is {self.training.loss}; workload {self.workload} needs {' or '.join(fitting)}"
            )
        is_restoring = self.pretraining.method != "none" and workload.is_restoration
        if self.training.epochs == 0 and not is_restoring:
            raise ValueError(
                "training.epochs is 0; without pretraining for a workload that restores images it must be at least 1"
            )
        self._check_baselines()
        if self.pretraining.thaw_epoch is not None and self.pretraining.encoder != "frozen":
            raise ValueError("pretraining.thaw_epoch is set, but pretraining.encoder is trainable; set it to frozen")

    def _check_crops_and_masks(self) -> None:
        training, kind = self.training, look_up("workloads", self.workload).head.kind
        sections: dict[str, TrainingSettings | PretrainingSettings] = {"training": training}
        if self.pretraining.method != "none":
            sections["pretraining"] = self.pretraining
        for name, section in sections.items():
            if training.zoom is not None and section.crop_size_px is None:
                raise ValueError(f"training.zoom is set, but {name}.crop_size_px is null; set the side of the crops")
        if training.augmentation is not None and kind != "labels":
            raise ValueError(
                f"training.augmentation is set, but workload {self.workload} restores images, whose truth would have "
                "to change with them; set it to null"
            )
        if training.border_weight and kind != "labels":
            raise ValueError(
                f"training.border_weight is {training.border_weight:g}, but workload {self.workload} learns no masks; "
                "set it to 0"
            )

    def _check_baselines(self) -> None:
        kind = look_up("workloads", self.workload).head.kind
        for name in self.evaluation.baselines or ():
            if look_up("baselines", name).kind != kind:
                fitting = [other for other in list_entries("baselines") if look_up("baselines", other).kind == kind]
                raise ValueError(
                    f"evaluation.baselines names {name}; workload {self.workload} can use "
                    f"{', '.join(fitting) or 'none'}"
                )
