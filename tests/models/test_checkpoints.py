"""A trained network on disk: what is damaged is named, and no model is ever lost."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from emdenoise.config.base import NetworkSettings
from emdenoise.errors import MissingInputError, ModelError, StorageError
from emdenoise.files.atomic import copy_file
from emdenoise.models import checkpoints
from emdenoise.models.checkpoints import (
    copy_model,
    has_model,
    hash_weights,
    load_model,
    load_weights,
    save_model,
    set_aside,
)
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS

IMAGE = Ports({"noisy": 1}, 1, HEADS["intensity"])

NEXT = "0" * 64
"""Hash of the weights of a network that takes the place of a model."""
Save = Callable[..., str]
MakeModel = Callable[..., keras.Model]


@pytest.fixture
def save(make_model: MakeModel, make_settings: Callable[..., NetworkSettings]) -> Save:
    """Give a function that saves a small network in a folder and returns the hash of its weights."""

    def save_network(folder: Path, name: str = "unet", *, seed: int = 0, **changes: Any) -> str:
        model = make_model(name, seed=seed, **changes)
        return save_model(model, folder, make_settings(name, **changes), ports=IMAGE, facts={"seed": seed})

    return save_network


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give a function after which the process dies at change NUMBER of the folder, counted from 0."""

    def arrange(number: int) -> None:
        num_done = 0

        def die_in_time(change: Callable[..., Any]) -> Callable[..., Any]:
            def changed(*arguments: Any, **options: Any) -> Any:
                nonlocal num_done
                if num_done == number:
                    raise KeyboardInterrupt
                num_done += 1
                return change(*arguments, **options)

            return changed

        for owner, name in ((Path, "mkdir"), (Path, "rename"), (Path, "replace"), (shutil, "copytree")):
            monkeypatch.setattr(owner, name, die_in_time(getattr(owner, name)))

    return arrange


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_smallest_change_of_any_weight_changes_the_hash(make_model: MakeModel) -> None:
    model = make_model("dncnn")
    values = model.get_weights()
    hashes = {hash_weights(model)}
    for index, value in enumerate(values):
        changed = value.copy()
        changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(np.inf))
        model.set_weights([*values[:index], changed, *values[index + 1 :]])
        hashes.add(hash_weights(model))
    assert len(hashes) == len(values) + 1


def test_the_files_hold_neither_the_optimizer_nor_anything_half_written(
    make_model: MakeModel, make_settings: Callable[..., NetworkSettings], tmp_path: Path
) -> None:
    model = make_model("dncnn")
    model.compile(optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    save_model(model, tmp_path, make_settings("dncnn"), ports=IMAGE, facts={})
    assert list_files(tmp_path) == {"model.weights.h5", "model.json"}
    with h5py.File(tmp_path / "model.weights.h5") as file:
        num_numbers = 0

        def count(name: str, item: Any) -> None:
            nonlocal num_numbers
            num_numbers += item.size if isinstance(item, h5py.Dataset) else 0

        file.visititems(count)
    assert num_numbers == model.count_params()


def accept(folder: Path) -> None:
    """Write the hash of the weights' file into the description, as somebody would who wants it to be read."""
    path = folder / "model.json"
    digest = hashlib.sha256((folder / "model.weights.h5").read_bytes()).hexdigest()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"file_sha256": digest}))


@pytest.mark.parametrize("missing", ["model.weights.h5", "model.json"])
def test_a_missing_file_says_that_the_train_task_comes_first(missing: str, save: Save, tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(MissingInputError, match=f"^{missing} is not in the model folder; run the train task first"):
        load_model(tmp_path)


def test_an_empty_folder_says_that_the_train_task_comes_first(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="is not in the model folder; run the train task first"):
        load_model(tmp_path / "absent")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_weights_that_end_early_are_refused(share: float, save: Save, tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "model.weights.h5"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"^model.weights.h5: damaged, or not the file of model.json; run the train"):
        load_model(tmp_path)
    accept(tmp_path)
    with pytest.raises(
        ModelError, match=r"^model.weights.h5: damaged, or not weights of this unet; run the train task"
    ):
        load_model(tmp_path)


def test_weights_that_are_something_else_are_refused(save: Save, tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "model.weights.h5").write_bytes(b"<html>404 not found</html>" * 100)
    accept(tmp_path)
    with pytest.raises(ModelError, match=r"^model.weights.h5: damaged, or not weights of this unet"):
        load_model(tmp_path)
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["images"] = np.zeros(3)
    accept(tmp_path)
    with pytest.raises(ModelError, match=r"^model.weights.h5: damaged, or not weights of this unet"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("dncnn", {}), ("unet", {"filters": [5]}), ("unet", {"filters": [4, 4]}), ("unet", {"bottom_filters": 5})],
)
def test_weights_of_another_architecture_are_refused(
    name: str, changes: dict[str, Any], save: Save, tmp_path: Path
) -> None:
    save(tmp_path / "one")
    save(tmp_path / "other", name, **changes)
    shutil.copy(tmp_path / "other" / "model.weights.h5", tmp_path / "one")
    accept(tmp_path / "one")
    with pytest.raises(
        ModelError, match=r"^model.weights.h5: damaged, or not weights of this unet; run the train task"
    ):
        load_model(tmp_path / "one")


def test_weights_of_another_training_are_refused(save: Save, tmp_path: Path) -> None:
    expected, found = save(tmp_path / "one"), save(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other" / "model.weights.h5", tmp_path / "one")
    accept(tmp_path / "one")
    message = f"SHA-256 of the weights is {found[:12]}, expected {expected[:12]}; run the train task again"
    with pytest.raises(ModelError, match=f"^model.weights.h5: {message}"):
        load_model(tmp_path / "one")


def test_a_single_changed_number_is_noticed(save: Save, tmp_path: Path) -> None:
    save(tmp_path)
    with h5py.File(tmp_path / "model.weights.h5", "r+") as file:
        datasets: list[h5py.Dataset] = []
        file.visititems(lambda name, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        position = (0,) * datasets[0].ndim
        datasets[0][position] = np.nextafter(datasets[0][position], np.float32(9))
    accept(tmp_path)
    with pytest.raises(ModelError, match=r"SHA-256 of the weights is .*, expected .*; run the train task again"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b"{}", b'"text"', b"3"], ids=repr)
def test_a_description_that_is_no_description_is_refused(content: bytes, save: Save, tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"^model.json: damaged, or of another version; run the train task again"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"name": "transformer"}},
        {"architecture": {"name": "unet", "heads": 8}},
        {"architecture": None},
        {"ports": None},
        {"ports": {"inputs": {"noisy": 1}, "output_channels": None, "head": "intensity"}},
        {"ports": {"inputs": {"noisy": 1}, "output_channels": "one", "head": "intensity"}},
        {"ports": {"inputs": {"noisy": 1}, "output_channels": 0, "head": "intensity"}},
        {"ports": {"inputs": {"noisy": 1}, "output_channels": 1, "head": "sound"}},
        {"ports": {"inputs": {"noisy": 1}, "output_channels": 1, "head": []}},
        {"ports": {"inputs": {"noisy": 0}, "output_channels": 1, "head": "intensity"}},
        {"ports": {"inputs": {"noisy": "1"}, "output_channels": 1, "head": "intensity"}},
        {"ports": {"inputs": {}, "output_channels": 1, "head": "intensity"}},
        {"ports": {"inputs": ["noisy"], "output_channels": 1, "head": "intensity"}},
    ],
    ids=str,
)
def test_a_description_of_something_unknown_is_refused(changes: dict[str, Any], save: Save, tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=r"^model.json: damaged, or of another version; run the train task again"):
        load_model(tmp_path)


@pytest.mark.parametrize("field", ["architecture", "ports", "weights_sha256", "file_sha256"])
def test_a_description_without_one_of_its_fields_is_refused(field: str, save: Save, tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "model.json"
    content = json.loads(path.read_text())
    del content[field]
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"^model.json: damaged, or of another version"):
        load_model(tmp_path)


def test_weights_that_are_not_there_are_named(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^absent.weights.h5: damaged, or not weights of this dncnn"):
        load_weights(make_model("dncnn"), tmp_path / "absent.weights.h5")


def test_a_folder_that_cannot_be_made_is_a_storage_error(save: Save, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file/model\.json cannot be written: .*; free space or give a folder"):
        save(tmp_path / "file")


def test_weights_whose_description_was_not_written_are_not_taken_for_the_model_before(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: Path, content: object) -> None:
        raise KeyboardInterrupt

    save(tmp_path)
    monkeypatch.setattr(checkpoints, "write_json", die)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, seed=1)
    assert not has_model(tmp_path)
    with pytest.raises(MissingInputError, match=r"model\.json is not in the model folder; run the train task first"):
        load_model(tmp_path)


def test_half_a_copy_is_no_model_and_the_next_copy_is_whole(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, destination: Path) -> None:
        if destination.name == "model.json":
            raise StorageError("the disk is full")
        copy_file(source, destination)

    expected = save(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "copy_file", refuse)
        with pytest.raises(StorageError, match="the disk is full"):
            copy_model(tmp_path / "model", tmp_path / "copy")
    assert (tmp_path / "copy" / "model.weights.h5").exists()
    assert not has_model(tmp_path / "copy")
    copy_model(tmp_path / "model", tmp_path / "copy")
    assert load_model(tmp_path / "copy").weights_sha256 == expected


def test_where_there_is_no_model_nothing_is_set_aside(tmp_path: Path, progress: Any) -> None:
    set_aside(tmp_path, NEXT, progress)
    set_aside(tmp_path / "absent", NEXT, progress)
    assert list(tmp_path.iterdir()) == []
    assert progress.lines == []


def test_earlier_models_are_numbered_and_can_still_be_loaded(save: Save, tmp_path: Path, progress: Any) -> None:
    hashes = []
    for seed in range(3):
        set_aside(tmp_path, NEXT, progress)
        hashes.append(save(tmp_path, seed=seed))
        (tmp_path / "records").mkdir(exist_ok=True)
        (tmp_path / "records" / "train.json").write_text(f"record {seed}")
    assert [load_model(tmp_path / place).weights_sha256 for place in ("previous/1", "previous/2", ".")] == hashes
    assert (tmp_path / "previous/1/records/train.json").read_text() == "record 0"
    assert (tmp_path / "previous/2/records/train.json").read_text() == "record 1"
    assert progress.lines == [
        f"The model of the run before was moved to previous/{number} in the model folder." for number in (1, 2)
    ]


def test_the_same_network_that_a_training_left_without_a_record_is_not_set_aside(
    save: Save, tmp_path: Path, progress: Any
) -> None:
    """On a full disk each trial would leave one more copy of the same model, and take the room that it lacks."""
    weights = save(tmp_path)
    set_aside(tmp_path, weights, progress)
    assert load_model(tmp_path).weights_sha256 == weights
    assert not (tmp_path / "previous").exists()
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "train.json").write_text("record")
    set_aside(tmp_path, weights, progress)
    assert load_model(tmp_path / "previous" / "1").weights_sha256 == weights


@pytest.mark.parametrize("content", ["{}", "{", "[1]", "[" * 100_000])
def test_a_model_whose_description_is_damaged_is_set_aside(content: str, tmp_path: Path, progress: Any) -> None:
    (tmp_path / "model.json").write_text(content)
    set_aside(tmp_path, NEXT, progress)
    assert list_files(tmp_path) == {"previous/1/model.json"}


def test_folders_that_others_made_in_previous_are_left_alone(save: Save, tmp_path: Path, progress: Any) -> None:
    (tmp_path / "previous" / "best of all").mkdir(parents=True)
    (tmp_path / "previous" / "9").mkdir()
    (tmp_path / "previous" / "9" / "model.json").write_text("{}")
    save(tmp_path)
    set_aside(tmp_path, NEXT, progress)
    assert list_files(tmp_path) == {f"previous/10/{name}" for name in ("model.json", "model.weights.h5")} | {
        "previous/9/model.json"
    }


# Folders are made first, then come a copy and two moves, then the new files.
@pytest.mark.parametrize("number", [0, 3, 4, 5, 7])
def test_a_process_that_dies_while_it_moves_a_model_loses_nothing(
    number: int,
    save: Save,
    tmp_path: Path,
    progress: Any,
    kill_at: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = save(tmp_path)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "train.json").write_text("record of the old model")

    def train_again() -> str:
        set_aside(tmp_path, NEXT, progress)
        return save(tmp_path, seed=1)

    kill_at(number)
    with pytest.raises(KeyboardInterrupt):
        train_again()
    monkeypatch.undo()
    new = train_again()
    assert load_model(tmp_path).weights_sha256 == new
    assert load_model(tmp_path / "previous" / "1").weights_sha256 == old
    assert (tmp_path / "previous/1/records/train.json").read_text() == "record of the old model"


def unpack_to_gigabytes(file: h5py.File, name: str) -> None:
    del file[name]
    file.create_dataset(name, (2**31,), np.float32, chunks=(2**20,), compression="gzip", fillvalue=1.0)


def announce_gigabytes(file: h5py.File, name: str) -> None:
    """Announce values that were never written: HDF5 makes them when they are read."""
    del file[name]
    file.create_dataset(name, (2**31,), np.float32)


def keep_elsewhere(file: h5py.File, name: str) -> None:
    values = file[name][()]
    del file[name]
    other = Path(file.filename).with_name("other.bin")
    values.tofile(other)
    file.create_dataset(name, values.shape, values.dtype, external=[(str(other), 0, values.nbytes)])


def link_elsewhere(file: h5py.File, name: str) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["values"] = file[name][()]
    del file[name]
    file[name] = h5py.ExternalLink("other.h5", "/values")


@pytest.mark.parametrize("change", [unpack_to_gigabytes, announce_gigabytes, keep_elsewhere, link_elsewhere])
def test_weights_that_are_larger_than_their_file_or_lie_elsewhere_are_refused_before_they_are_read(
    change: Callable[[h5py.File, str], None], save: Save, tmp_path: Path
) -> None:
    save(tmp_path)
    path = tmp_path / "model.weights.h5"
    names: list[str] = []
    with h5py.File(path, "r+") as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        change(file, names[0])
    assert path.stat().st_size < 2**20
    description = json.loads((tmp_path / "model.json").read_text())
    description["file_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match=r"^model\.weights\.h5: damaged, or not weights of this unet; run the train"):
        load_model(tmp_path)
