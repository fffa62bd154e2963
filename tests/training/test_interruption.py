"""What is on disk after each epoch: one whole checkpoint, whenever the process dies."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from emdenoise.errors import ModelError, StorageError
from emdenoise.models.checkpoints import hash_weights
from emdenoise.training import interruption
from emdenoise.training.epochs import TrainingResult
from emdenoise.training.interruption import CheckpointFolder

Networks = dict[str, Callable[..., keras.Model]]


@pytest.fixture
def compiled(networks: Networks) -> Callable[[], keras.Model]:
    """Give a function that builds a compiled network with dropout."""

    def build() -> keras.Model:
        model = networks["small"]()
        model.compile(optimizer="adam", loss="mean_squared_error")
        model.optimizer.build(model.trainable_variables)
        return model

    return build


def die(*arguments: object) -> None:
    raise KeyboardInterrupt


def list_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def move_weights(model: keras.Model, by: float) -> str:
    model.set_weights([value + np.float32(by) for value in model.get_weights()])
    return hash_weights(model)


def test_only_the_last_epoch_is_kept(compiled: Callable[[], keras.Model], tmp_path: Path) -> None:
    folder, model = CheckpointFolder(tmp_path / "checkpoint", "key"), compiled()
    history: list[dict[str, float]] = []
    for number in range(1, 4):
        history.append({"epoch": number, "loss": 1 / 3 / number})
        expected = move_weights(model, 0.1)
        folder.save(model, history)
        assert list_names(folder.path) == {"state.json", f"epoch-{number:05d}.weights.h5"}
    restored = compiled()
    assert folder.restore(restored).history == history
    assert hash_weights(restored) == expected


def test_the_state_of_the_dropout_goes_on(compiled: Callable[[], keras.Model], tmp_path: Path) -> None:
    folder, model, restored = CheckpointFolder(tmp_path, "key"), compiled(), compiled()
    images = np.ones((2, 8, 8, 1), np.float32)
    for _ in range(3):
        model(images, training=True)
    folder.save(model, [{"epoch": 1}])
    assert folder.restore(restored).history
    for _ in range(3):
        assert np.array_equal(model(images, training=True), restored(images, training=True))


def test_a_process_that_dies_between_weights_and_state_leaves_the_epoch_before(
    compiled: Callable[[], keras.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = CheckpointFolder(tmp_path, "key"), compiled()
    before = hash_weights(model)
    folder.save(model, [{"epoch": 1}])
    with monkeypatch.context() as patch:
        patch.setattr(interruption, "write_json", die)
        move_weights(model, 1)
        with pytest.raises(KeyboardInterrupt):
            folder.save(model, [{"epoch": 1}, {"epoch": 2}])
    restored = compiled()
    assert folder.restore(restored).history == [{"epoch": 1}]
    assert hash_weights(restored) == before


def test_a_process_that_dies_while_it_writes_weights_leaves_the_epoch_before(
    compiled: Callable[[], keras.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = CheckpointFolder(tmp_path, "key"), compiled()
    folder.save(model, [{"epoch": 1}])
    names = list_names(tmp_path)
    monkeypatch.setattr(model, "save_weights", die)
    with pytest.raises(KeyboardInterrupt):
        folder.save(model, [{"epoch": 1}, {"epoch": 2}])
    assert list_names(tmp_path) == names
    assert folder.restore(compiled()).history == [{"epoch": 1}]


def test_files_of_epochs_whose_removal_was_interrupted_go_with_the_next(
    compiled: Callable[[], keras.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = CheckpointFolder(tmp_path, "key"), compiled()
    folder.save(model, [{"epoch": 1}])
    (tmp_path / "epoch-00007.weights.h5").write_text("left behind")
    folder.save(model, [{"epoch": 1}, {"epoch": 2}])
    assert list_names(tmp_path) == {"state.json", "epoch-00002.weights.h5"}


def test_a_checkpoint_of_another_key_is_not_restored(compiled: Callable[[], keras.Model], tmp_path: Path) -> None:
    model = compiled()
    CheckpointFolder(tmp_path, "one").save(model, [{"epoch": 1}])
    untouched = compiled()
    move_weights(model, 1)
    before = hash_weights(untouched)
    assert CheckpointFolder(tmp_path, "other").restore(untouched).history == []
    assert CheckpointFolder(tmp_path / "absent", "one").restore(untouched).history == []
    assert hash_weights(untouched) == before


def cut_weights(folder: Path) -> None:
    (path,) = folder.glob("epoch-*.weights.h5")
    path.write_bytes(path.read_bytes()[:-100])


def flip_bit(folder: Path) -> None:
    (path,) = folder.glob("epoch-*.weights.h5")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_weights(folder: Path) -> None:
    (path,) = folder.glob("epoch-*.weights.h5")
    path.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        cut_weights,
        flip_bit,
        remove_weights,
        lambda folder: (folder / "state.json").unlink(),
        lambda folder: (folder / "state.json").write_text('{"run_key": '),
        lambda folder: (folder / "state.json").write_text("[]"),
        lambda folder: (folder / "state.json").write_text('{"run_key": "key"}'),
    ],
)
def test_a_damaged_checkpoint_is_none(
    damage: Callable[[Path], object], compiled: Callable[[], keras.Model], tmp_path: Path
) -> None:
    folder, model = CheckpointFolder(tmp_path, "key"), compiled()
    folder.save(model, [{"epoch": 1}])
    damage(tmp_path)
    before = move_weights(model, 1)
    assert folder.restore(model).history == []
    assert hash_weights(model) == before


def test_the_best_weights_are_kept_beside_the_last(compiled: Callable[[], keras.Model], tmp_path: Path) -> None:
    folder, model = CheckpointFolder(tmp_path, "key"), compiled()
    best = move_weights(model, 0.1)
    folder.save_best(model, [{"epoch": 1}])
    folder.save(model, [{"epoch": 1}])
    move_weights(model, 0.1)
    folder.save(model, [{"epoch": 1}, {"epoch": 2}])
    assert list_names(tmp_path) == {"state.json", "best-00001.weights.h5", "epoch-00002.weights.h5"}
    folder.restore_best(model)
    assert hash_weights(model) == best


def test_best_weights_of_an_epoch_that_was_not_finished_are_forgotten(
    compiled: Callable[[], keras.Model], tmp_path: Path
) -> None:
    folder, model = CheckpointFolder(tmp_path, "key"), compiled()
    folder.save_best(model, [{"epoch": 1}])
    folder.save(model, [{"epoch": 1}])
    best = hash_weights(model)
    move_weights(model, 0.1)
    folder.save_best(model, [{"epoch": 1}, {"epoch": 2}])
    assert folder.restore(model).history == [{"epoch": 1}]
    folder.restore_best(model)
    assert hash_weights(model) == best


def test_damaged_best_weights_are_no_checkpoint(
    networks: Networks, train: Callable[..., TrainingResult], tmp_path: Path
) -> None:
    settings = {"epochs": 2, "early_stopping_epochs": 1, "learning_rate": 1e-3}
    expected = networks["line"]()
    train(expected, **settings)
    (best,) = (tmp_path / "checkpoint").glob("best-*.weights.h5")
    best.write_bytes(b"damaged")
    again = networks["line"]()
    assert train(again, **settings).num_continued_epochs == 0
    assert hash_weights(again) == hash_weights(expected)


def test_a_checkpoint_of_another_architecture_is_an_error_once_and_then_a_new_start(
    networks: Networks, compiled: Callable[[], keras.Model], tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoint", "key")
    folder.save(compiled(), [{"epoch": 1}])
    other = networks["line"]()
    other.compile(optimizer="adam", loss="mean_squared_error")
    state = json.loads((folder.path / "state.json").read_text())
    del state["state_sha256"]
    state["random_states"] = []
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (folder.path / "state.json").write_text(json.dumps(state | {"state_sha256": digest}))
    with pytest.raises(ModelError, match=r"^epoch-00001.weights.h5: damaged, or not weights of this line; run the tr"):
        folder.restore(other)
    assert folder.restore(other).history == []


def test_remove_leaves_nothing_and_may_be_called_twice(compiled: Callable[[], keras.Model], tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoint", "key")
    folder.save(compiled(), [{"epoch": 1}])
    (tmp_path / "other").write_text("stays")
    folder.remove()
    folder.remove()
    assert list_names(tmp_path) == {"other"}


def test_a_folder_that_cannot_be_made_is_a_storage_error(compiled: Callable[[], keras.Model], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder: Any = CheckpointFolder(tmp_path / "file", "key")
    with pytest.raises(StorageError, match=r"epoch-00001.weights.h5 cannot be written: .*; free space or give"):
        folder.save(compiled(), [{"epoch": 1}])
