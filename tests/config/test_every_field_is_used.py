"""No setting is ignored: the STFC code wrote batch size 32 in a file and trained with 10.

The first half reads the code: each field of each settings class must be read, as an attribute of an object of that
class, somewhere outside `config/`. The second half runs: each training setting must change what training does.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from pydantic import BaseModel, Field

import emdenoise
from emdenoise.config import schema
from emdenoise.config.base import NetworkSettings, Settings
from emdenoise.config.schema import AugmentationSettings, PretrainingSettings, RunConfig, TrainingSettings
from emdenoise.models import MODELS, build_network
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.unet import UNetSettings

PACKAGE = Path(emdenoise.__file__).parent
NETWORKS = tuple(network.settings for network in MODELS.values())
CLASSES: dict[str, type[BaseModel]] = {settings.__name__: settings for settings in NETWORKS} | {
    name: value
    for name, value in vars(schema).items()
    if isinstance(value, type) and issubclass(value, Settings) and value is not Settings
}
UNIONS = {"NetworkSettings": NETWORKS}
SHARED = sorted(set(PretrainingSettings.model_fields) & set(TrainingSettings.model_fields))
"""Settings of the pretraining that are those of the training that it is, `RunConfig.pretraining_as_training`."""
Read = set[tuple[type[BaseModel], str]]


def find_classes(annotation: Any) -> tuple[type[BaseModel], ...]:
    """List the settings classes in the type of a field."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(found for argument in get_args(annotation) for found in find_classes(argument))


class Reader(ast.NodeVisitor):
    """Notes which fields of which settings class one module reads.

    It follows what this code base does: parameters annotated with a settings class, the names ``config`` and
    ``self._settings``, and variables that a section was assigned to.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.read: Read = set()
        self.types: dict[str, tuple[type[BaseModel], ...]] = {"config": (RunConfig,), "self._config": (RunConfig,)}
        for node in ast.walk(tree):
            if isinstance(node, ast.arg) and node.annotation is not None:
                found = self.name_classes(ast.unparse(node.annotation))
                if found:
                    self.types[node.arg] = found
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):  # attributes of dataclasses
                found = self.name_classes(ast.unparse(node.annotation))
                if found:
                    self.types[f"self.{node.target.id}"] = found
        for _ in range(2):
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign):
                    self.assign(node.targets[0], node.value)
        self.visit(tree)

    def name_classes(self, annotation: str) -> tuple[type[BaseModel], ...]:
        names = re.findall(r"\w+", annotation)
        return tuple(CLASSES[name] for name in names if name in CLASSES) + tuple(
            found for name in names for found in UNIONS.get(name, ())
        )

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=True):
                self.assign(one, other)
        elif found := self.resolve(value):
            self.types[ast.unparse(target)] = found

    def resolve(self, node: ast.expr) -> tuple[type[BaseModel], ...]:
        if (text := ast.unparse(node)) in self.types:
            return self.types[text]
        if isinstance(node, ast.Attribute):
            return tuple(
                found
                for owner in self.resolve(node.value)
                if node.attr in owner.model_fields
                for found in find_classes(owner.model_fields[node.attr].annotation)
            )
        return ()

    def note(self, owner: ast.expr, pattern: str) -> None:
        for settings in self.resolve(owner):
            for base in settings.__mro__:
                if isinstance(base, type) and issubclass(base, BaseModel):
                    self.read |= {(base, name) for name in base.model_fields if re.fullmatch(pattern, name)}

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.note(node.value, re.escape(node.attr))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        # getattr(settings, f"num_{split}") reads num_train, num_validation and num_test.
        if ast.unparse(node.func) == "getattr" and isinstance(node.args[1], ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else None for part in node.args[1].values]
            if parts[0] is not None:
                self.note(node.args[0], "".join(".+" if part is None else re.escape(part) for part in parts))
        self.generic_visit(node)


def read_package() -> Read:
    paths = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "config"]
    assert len(paths) > 20
    return set().union(*(Reader(ast.parse(path.read_text(encoding="utf-8"))).read for path in paths))


def find_unread(settings: type[BaseModel], read: Read) -> list[str]:
    """List fields that are read neither from this class nor from a class it shares them with."""
    bases = [base for base in settings.__mro__ if isinstance(base, type) and issubclass(base, BaseModel)]
    return [name for name in settings.model_fields if not any((base, name) in read for base in bases)]


@pytest.fixture(scope="module")
def package_reads() -> Read:
    return read_package()


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"NetworkSettings"}))
def test_every_field_is_read_by_code_outside_config(name: str, package_reads: Read) -> None:
    unread = find_unread(CLASSES[name], package_reads)
    if CLASSES[name] is PretrainingSettings:
        unread = [field for field in unread if field not in SHARED]
    assert not unread, f"{name}: no code reads {', '.join(unread)}; read or remove it"


def test_a_field_that_no_code_reads_is_found(package_reads: Read) -> None:
    class DummySettings(TrainingSettings):
        brightness: float = Field(1.0)

    class DummyModelSettings(UNetSettings):
        growth: int = 2

    assert find_unread(DummySettings, package_reads) == ["brightness"]
    assert find_unread(DummyModelSettings, package_reads) == ["growth"]


@pytest.mark.parametrize(
    ("code", "is_read"),
    [
        ("def f(settings: TrainingSettings): return settings.epochs", True),
        ("def f(config): return config.training.epochs", True),
        ("def f(config: RunConfig):\n    training = config.training\n    return training.epochs", True),
        ("def f(other): return other.epochs", False),
        ("def f(settings: DataSettings): return settings.epochs", False),
        ("epochs = 3", False),
        ("def f(settings: TrainingSettings): 'epochs'", False),
    ],
)
def test_only_an_attribute_of_the_right_class_counts_as_read(code: str, is_read: bool) -> None:
    assert ((TrainingSettings, "epochs") in Reader(ast.parse(code)).read) is is_read


# What training does, by what a setting changes. Each entry: another value, and how its effect is seen.

Probe = Callable[[TrainingSettings, Any], Any]


def see_optimizer(settings: TrainingSettings, files: Any) -> Any:
    from emdenoise.training.schedules import make_optimizer

    optimizer = make_optimizer(settings, 100)
    return type(optimizer), {name: value for name, value in optimizer.get_config().items() if name != "name"}


def see_learning_rates(settings: TrainingSettings, files: Any) -> Any:
    from emdenoise.training.schedules import make_learning_rate

    rate = make_learning_rate(settings, 100)
    return [float(rate(step)) if callable(rate) else rate for step in (0, 5, 50, 99)]


def see_num_steps(settings: TrainingSettings, files: Any) -> Any:
    from emdenoise.dataset.sampler import Sampler

    return len(Sampler(files["train"], ("noisy", "clean"), settings, 0))


def see_batch(settings: TrainingSettings, files: Any) -> Any:
    from emdenoise.dataset.sampler import Sampler

    sample = Sampler(files["train"], ("noisy", "clean"), settings, 0).read(0, 0)
    return {name: (images.shape, images.tobytes()) for name, images in sample.items()}


def see_zoomed_batch(settings: TrainingSettings, files: Any) -> Any:
    return see_batch(settings.model_copy(update={"crop_size_px": 16}), files)


def see_training(settings: TrainingSettings, files: Any) -> Any:
    """Run the training loop with a model that counts instead of learning; its validation loss never falls."""
    from emdenoise.dataset.sampler import InOrder, Sampler
    from emdenoise.progress import SilentProgress
    from emdenoise.training.epochs import run_epochs
    from emdenoise.training.learners import PreparedBatches, make_learner
    from emdenoise.workloads import WORKLOADS

    class Model:
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.optimizer: Any = None
            self.trainable_variables: list[Any] = []
            self.layers: list[Any] = []
            self.train_function: Any = None

        def make_train_function(self) -> None:
            self.train_function = self.train_function or (lambda: {"loss": 1.0})

        def compile(self, *, optimizer: Any, loss: str, jit_compile: bool) -> None:
            self.optimizer, self.loss = optimizer, loss

        def reset_metrics(self) -> None:
            pass

        def train_on_batch(self, inputs: np.ndarray, targets: np.ndarray, return_dict: bool) -> dict[str, float]:
            self.steps.append(len(inputs))
            losses: dict[str, float] = self.train_function()
            return losses

        def predict_on_batch(self, inputs: np.ndarray) -> np.ndarray:
            return inputs

    class NoCheckpoint:
        def restore(self, model: Any) -> tuple[list[Any], None]:
            return [], None

        def save(self, *state: Any) -> None:
            pass

        save_best = restore_best = save

    model: Any = Model()
    checkpoint: Any = NoCheckpoint()
    objective = WORKLOADS["denoise"].make_objective(settings)
    batches, validation = (
        PreparedBatches(reader, objective, 0)
        for reader in (
            Sampler(files["train"], objective.needs, settings, 0),
            InOrder(files["validation"], objective.needs, 4),
        )
    )
    learner = make_learner(model, objective, settings, len(batches))
    run_epochs(learner, batches, validation, settings, checkpoint=checkpoint, progress=SilentProgress())
    return model.steps, model.loss


def see_backend(settings: TrainingSettings, files: Any) -> Iterator[Any]:
    import keras
    import tensorflow

    from emdenoise.models.backend import prepare_backend

    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorflow.config.experimental, "enable_op_determinism", lambda: asked.append("deterministic"))
        policy = keras.config.dtype_policy()
        try:
            prepare_backend(settings, seed=0)
            return keras.config.dtype_policy().name, asked
        finally:
            keras.config.set_dtype_policy(policy)


def see_loss_of_masks(settings: TrainingSettings, files: Any) -> float:
    import keras

    from emdenoise.training.objectives import OBJECTIVES

    loss: Any = OBJECTIVES["dice_cross_entropy"].make(settings, ("noisy",), "mask").loss
    mask = keras.ops.convert_to_tensor([[[[0], [0], [1]]]])
    return float(loss(mask, keras.ops.convert_to_tensor([[[[1.0, 0.0], [2.0, 0.0], [0.5, 0.0]]]])))


def see_threads(settings: TrainingSettings, files: Any) -> int:
    """Count the threads besides this one that read the batches of a training."""
    import threading

    from emdenoise.dataset.sampler import Sampler

    readers: set[int] = set()
    read = Sampler.read

    def watch(sampler: Sampler, epoch: int, step: int) -> Any:
        readers.add(threading.get_ident())
        return read(sampler, epoch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sampler, "read", watch)
        see_training(settings, files)
    return len(readers - {threading.get_ident()})


def see_start(settings: TrainingSettings, files: Any) -> list[str]:
    """Hear what a training says when it starts."""
    from emdenoise.processes import ALONE
    from emdenoise.progress import SilentProgress
    from emdenoise.training.start import Lesson, start_learner
    from emdenoise.workloads import WORKLOADS

    class Heard(SilentProgress):
        def __init__(self) -> None:
            self.said: list[str] = []

        def say(self, message: str) -> None:
            self.said.append(message)

    objective, heard = WORKLOADS["denoise"].make_objective(settings), Heard()
    lesson = Lesson(objective, Ports({"noisy": 1}, 1, HEADS["intensity"]), files["train"], files["validation"])
    config = RunConfig(training=settings, model=MODELS["dncnn"].settings(depth=3, filters=4))
    start_learner(config, lesson, None, group=ALONE, progress=heard)
    return heard.said


EFFECTS: dict[str, tuple[Any, Probe]] = {
    "epochs": (3, see_training),
    "num_images": (4, see_num_steps),
    "batch_size": (5, see_num_steps),
    "loss": ("mean_absolute_error", see_training),
    "label_balance": (0.5, see_loss_of_masks),
    "border_weight": (3.0, see_loss_of_masks),
    "optimizer": ("sgd", see_optimizer),
    "learning_rate": (0.5, see_optimizer),
    "beta_1": (0.5, see_optimizer),
    "beta_2": (0.5, see_optimizer),
    "epsilon": (0.5, see_optimizer),
    "weight_decay": (0.5, see_optimizer),
    "gradient_clip_norm": (0.5, see_optimizer),
    "schedule": ("cosine", see_learning_rates),
    "warmup_fraction": (0.5, see_learning_rates),
    "crop_size_px": (16, see_batch),
    "zoom": ((0.6, 1.7), see_zoomed_batch),
    "crops_per_epoch": (3, see_num_steps),
    "flip": (True, see_batch),
    "augmentation": (AugmentationSettings(inversion=0.5), see_batch),
    "early_stopping_epochs": (1, see_training),
    "precision": ("mixed_bfloat16", see_backend),
    "deterministic": (False, see_backend),
    "read_ahead": (0, see_threads),
    "keep_on_device": (True, see_start),
    "last_batch": ("filled", see_training),
}


@pytest.mark.parametrize("name", TrainingSettings.model_fields)
def test_every_training_setting_changes_what_training_does(name: str, drawn_files: Any) -> None:
    assert name in EFFECTS, f"training.{name} is new: say in EFFECTS how its effect is seen"
    value, see = EFFECTS[name]
    before = TrainingSettings(epochs=6, batch_size=3)
    after = before.model_copy(update={name: value})
    assert see(after, drawn_files) != see(before, drawn_files)
    assert see(before, drawn_files) == see(before, drawn_files)


@pytest.mark.parametrize("name", SHARED)
def test_every_setting_that_pretraining_shares_with_training_is_one_of_the_training_that_it_is(name: str) -> None:
    value, _ = EFFECTS[name]
    before, after = (
        RunConfig(pretraining=PretrainingSettings(**{"epochs": 6, "batch_size": 3, **changes}))
        for changes in ({}, {name: value})
    )
    one, other = (config.pretraining_as_training.model_dump() for config in (before, after))
    assert [field for field in one if one[field] != other[field]] == [name]
    assert other[name] == value


def test_pretraining_has_the_precision_of_the_run_and_else_nothing_of_its_training() -> None:
    training = TrainingSettings(
        epochs=99, batch_size=7, learning_rate=0.5, flip=True, optimizer="sgd", precision="mixed_bfloat16"
    )
    one, other = (RunConfig(**changes).pretraining_as_training for changes in ({}, {"training": training}))
    assert other == one.model_copy(update={"precision": "mixed_bfloat16"})


@pytest.mark.parametrize(("batch_size", "num_steps"), [(1, 10), (3, 4), (10, 1), (32, 1)])
def test_the_batch_size_of_the_settings_is_the_number_of_images_in_a_step(
    drawn_files: Any, batch_size: int, num_steps: int
) -> None:
    settings = TrainingSettings(epochs=1, batch_size=batch_size)
    steps, _ = see_training(settings, drawn_files)
    assert len(steps) == num_steps
    assert sum(steps) == 10
    assert max(steps) == min(batch_size, 10)


UNET = {
    "batch_norm_momentum": 0.5,
    "intensity_mean": 0.5,
    "intensity_std": 0.5,
    "predict_residual": True,
    "filters": (4, 8),
    "bottom_filters": 12,
    "dropout": 0.5,
    "initializer": "he_normal",
    "long_sides_px": (64,),
    "symmetries": True,
}
SHARED_BY_NETWORKS = {
    "intensity_mean": 0.5,
    "intensity_std": 0.5,
    "predict_residual": True,
    "long_sides_px": (64,),
    "symmetries": True,
}
LIKE_DNCNN = SHARED_BY_NETWORKS | {"depth": 6, "filters": 6, "initializer": "he_uniform", "predict_residual": False}
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "resunet": (
        {"stem_px": 2, "filters": (4, 8)},
        SHARED_BY_NETWORKS
        | {"batch_norm_momentum": 0.5, "stem_px": 4, "kernel_cells": 1, "filters": (4, 6), "blocks": 2}
        | {"initializer": "he_uniform"},
    ),
    "dncnn": ({"depth": 3, "filters": 4}, LIKE_DNCNN | {"batch_norm_momentum": 0.5}),
    "class_aware_fcn": ({"depth": 3, "filters": 4}, LIKE_DNCNN),
    "ffdnet": ({"depth": 3, "filters": 4}, LIKE_DNCNN | {"predict_residual": True, "noise_window_px": 4}),
    "rednet": ({"depth": 4, "filters": 4}, LIKE_DNCNN),
    "multiscale": (
        {"filters": (4, 8)},
        SHARED_BY_NETWORKS | {"batch_norm_momentum": 0.5, "filters": (4, 6), "initializer": "he_uniform"},
    ),
    "mixed_scale_dense": ({"depth": 3}, SHARED_BY_NETWORKS | {"depth": 4, "width": 2, "max_dilation": 2}),
}
"""Networks by name: small settings, and another value of each setting."""


@pytest.mark.parametrize(
    ("small", "name", "value"),
    [(UNetSettings(filters=(4,), bottom_filters=8), name, value) for name, value in UNET.items()]
    + [
        (MODELS[network].settings(**small), name, value)
        for network, (small, others) in OTHERS.items()
        for name, value in others.items()
    ],
    ids=lambda value: value.name if isinstance(value, NetworkSettings) else str(value),
)
def test_every_setting_of_a_network_changes_the_network(small: Any, name: str, value: Any) -> None:
    def describe(settings: Any) -> str:
        network = build_network(settings, Ports({"noisy": 1}, 1, HEADS["intensity"]))
        text = repr((network.model.get_config(), network.views))
        return re.sub(r"'seed': None|keras_tensor\w*|_\d+'", "", text)

    assert {*UNET, "name"} == set(UNetSettings.model_fields)
    assert {"unet", *OTHERS} == set(MODELS)
    for network, (_, others) in OTHERS.items():
        assert {*others, "name"} == set(MODELS[network].settings.model_fields)
    assert describe(small) == describe(small)
    assert describe(small.model_copy(update={name: value})) != describe(small)


def test_literal_settings_name_only_values_that_code_distinguishes() -> None:
    """A value of a Literal that no code compares with would be accepted and ignored."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.parent.name != "config")
    for settings in CLASSES.values():
        for name, field in settings.model_fields.items():
            if get_origin(field.annotation) is Literal and name not in ("initializer", "loss", "precision"):
                values = get_args(field.annotation)
                mentioned = [value for value in values if f'"{value}"' in code]
                assert len(mentioned) >= len(values) - 1, (
                    f"{settings.__name__}.{name}: {values}, code knows {mentioned}"
                )
