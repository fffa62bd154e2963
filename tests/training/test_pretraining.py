"""Pretraining: what is kept, when it is used again, and that it needs neither labels nor truth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import DataError, DivergenceError, SettingsError
from emdenoise.models import MODELS, build_network
from emdenoise.models.checkpoints import load_model
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS
from emdenoise.training import pretraining
from emdenoise.training.pretraining import (
    PRETRAINED_FOLDER,
    RESTORATION,
    hash_pretraining,
    pretrain_network,
    take_over,
)

pytestmark = pytest.mark.long

Files = dict[str, RecordFile]
INPUTS = {"train.h5": "a", "validation.h5": "b"}


@pytest.fixture
def pretrain(tmp_path: Path, drawn_files: Files, progress: Any) -> Callable[[RunConfig], Any]:
    return lambda config: pretrain_network(
        config, drawn_files["train"], drawn_files["validation"], tmp_path, inputs=INPUTS, progress=progress
    )


@pytest.fixture
def make_config(tiny_config: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    def make(seed: int = 0, **pretraining: Any) -> RunConfig:
        settings = {"method": "denoise", "epochs": 1, "batch_size": 5, "discriminator_filters": [2, 2], **pretraining}
        return tiny_config(seed=seed, pretraining=settings)

    return make


def test_without_a_method_there_is_nothing_and_the_network_stays_as_it_is(
    pretrain: Callable[..., Any], tiny_config: Callable[..., RunConfig], progress: Any
) -> None:
    assert pretrain(tiny_config()) is None
    model = build_network(tiny_config().model, Ports({"noisy": 1}, 2, HEADS["labels"])).model
    before = model.get_weights()
    assert take_over(None, model, progress) == {}
    assert all((one == other).all() for one, other in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("method", ["denoise", "pix2pix"])
def test_weights_travel_as_a_file_with_settings_and_hash_and_are_used_again(
    method: str, pretrain: Callable[..., Any], make_config: Callable[..., RunConfig], tmp_path: Path, progress: Any
) -> None:
    config = make_config(method=method)
    first = pretrain(config)
    kept = load_model(tmp_path / PRETRAINED_FOLDER)
    assert kept.weights_sha256 == first.weights_sha256
    assert kept.description["facts"]["method"] == method
    assert not first.is_reused
    assert {phase for phase, *_ in progress.steps} == {"pretrain"}
    second = pretrain(config)
    assert second.is_reused
    assert second.weights_sha256 == first.weights_sha256
    assert not (tmp_path / "pretraining-checkpoint").exists()


@pytest.mark.parametrize("name", MODELS)
def test_freezing_an_encoder_that_a_network_does_not_have_is_refused_before_any_time_is_spent(
    name: str,
    pretrain: Callable[..., Any],
    tiny_config: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
    progress: Any,
) -> None:
    class SpentError(Exception):
        pass

    def spend(*given: Any, **options: Any) -> None:
        raise SpentError

    base = tiny_config(pretraining={"method": "denoise", "epochs": 1, "encoder": "frozen"})
    config = base.model_copy(update={"model": MODELS[name].settings()})
    has_encoder = build_network(config.model, RESTORATION).encoder
    monkeypatch.setattr(pretraining, "run_epochs", spend)
    with pytest.raises(SpentError if has_encoder else SettingsError) as caught:
        pretrain(config)
    if not has_encoder:
        assert str(caught.value).startswith(f"pretraining.encoder is frozen, but network {name} has no encoder")
        assert "\n" not in str(caught.value)
        assert progress.lines == []


def test_other_settings_pretrain_anew_but_what_comes_after_does_not_matter(
    make_config: Callable[..., RunConfig],
) -> None:
    key = hash_pretraining(make_config(), INPUTS)
    assert hash_pretraining(make_config(encoder="frozen", thaw_epoch=3), INPUTS) == key
    others = [make_config(epochs=2), make_config(seed=1), make_config(method="pix2pix")]
    assert key not in {hash_pretraining(config, INPUTS) for config in others}
    assert hash_pretraining(make_config(), INPUTS | {"train.h5": "c"}) != key


def test_images_without_truth_pretrain_with_added_noise_and_are_refused_without(
    pretrain: Callable[..., Any],
    make_config: Callable[..., RunConfig],
    drawn_files: Files,
    progress: Any,
    tmp_path: Path,
) -> None:
    class NoTruth:
        def __init__(self, file: RecordFile) -> None:
            self.file = file

        def __len__(self) -> int:
            return len(self.file)

        @property
        def image_shape(self) -> tuple[int, int]:
            return self.file.image_shape

        def list_whole_images(self) -> Any:
            return self.file.list_whole_images()

        def read(self, field: str, indices: Any) -> Any:
            if field == "clean":
                raise DataError("train.h5: has no clean images")
            return self.file.read(field, indices)

        def read_sample(self, fields: Any, indices: Any) -> Any:
            return {name: self.read(name, indices)[..., None] for name in fields}

    files: list[Any] = [NoTruth(drawn_files[name]) for name in ("train", "validation")]
    for electrons in (None, 30.0):
        config = make_config(added_noise_electrons_per_pixel=electrons)
        if electrons is None:
            with pytest.raises(DataError, match="no clean images"):
                pretrain_network(config, *files, tmp_path, inputs=INPUTS, progress=progress)
        else:
            assert pretrain_network(config, *files, tmp_path, inputs=INPUTS, progress=progress) is not None


def test_a_pretraining_that_diverges_leaves_no_network(
    pretrain: Callable[..., Any], make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    with pytest.raises(DivergenceError, match=r"loss is (nan|inf) .*expected a finite number; lower learning_rate"):
        pretrain(make_config(learning_rate=1e30))
    assert not (tmp_path / PRETRAINED_FOLDER).exists()
