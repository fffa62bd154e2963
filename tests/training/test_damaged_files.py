"""Damaged checkpoints count as none, damaged models are one line; whatever the damage, HDF5 does not see it."""

from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
from hypothesis import given, settings

from emdenoise.errors import ModelError
from emdenoise.models import build_network, checkpoints
from emdenoise.models.checkpoints import hash_weights, load_model, save_model
from emdenoise.models.contract import Ports
from emdenoise.models.heads import HEADS
from emdenoise.models.unet import UNetSettings
from emdenoise.training import interruption
from emdenoise.training.interruption import CheckpointFolder
from tests.damage import Change, choose_changes, damage

SETTINGS = UNetSettings(filters=(2,), bottom_filters=2)
PORTS = Ports({"noisy": 1}, 1, HEADS["intensity"])
HISTORY = [{"epoch": 1, "loss": 1 / 3, "validation_loss": 0.1}]


class SeenByHdf5:
    """Notes the bytes of each file of weights that is loaded."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    def load(self, model: keras.Model, path: Path) -> None:
        """Load nothing."""
        self.contents.append(path.read_bytes())


@pytest.fixture(scope="module")
def model() -> keras.Model:
    network = build_network(SETTINGS, PORTS).model
    network.compile(optimizer="adam", loss="mean_squared_error")
    network.optimizer.build(network.trainable_variables)
    return network


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[SeenByHdf5]:
    found = SeenByHdf5()
    for module in (checkpoints, interruption):
        monkeypatch.setattr(module, "load_weights", found.load)
    return found


@pytest.mark.parametrize("pattern", ["state.json", "epoch-*.weights.h5", "best-*.weights.h5"])
def test_a_damaged_checkpoint_is_none_or_is_the_one_that_was_written(
    pattern: str, model: keras.Model, seen: SeenByHdf5, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path, "key")
    folder.save_best(model, HISTORY)
    folder.save(model, HISTORY)
    (path,), (weights,) = tmp_path.glob(pattern), tmp_path.glob("epoch-*.weights.h5")
    content, expected = path.read_bytes(), weights.read_bytes()

    @settings(max_examples=40)
    @given(changes=choose_changes(len(content)))
    def restore_damaged(changes: list[Change]) -> None:
        path.write_bytes(damage(content, changes))
        assert folder.restore(model).history in ([], HISTORY)

    restore_damaged()
    assert all(loaded == expected for loaded in seen.contents)
    path.write_bytes(content)
    assert folder.restore(model).history == HISTORY


@pytest.fixture(scope="module")
def model_dir(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(model, folder, SETTINGS, ports=PORTS, facts={"workload": "denoise"})
    return folder


def test_damaged_weights_are_one_line(model_dir: Path) -> None:
    path = model_dir / "model.weights.h5"
    content = path.read_bytes()

    @settings(max_examples=40)
    @given(changes=choose_changes(len(content)))
    def load_damaged(changes: list[Change]) -> None:
        path.write_bytes(damage(content, changes))
        if path.read_bytes() != content:
            with pytest.raises(ModelError, match=r"^model\.weights\.h5: damaged, .*; run the train task again\.$"):
                load_model(model_dir)

    load_damaged()
    path.write_bytes(content)


def load_or_explain(folder: Path) -> str:
    try:
        return hash_weights(load_model(folder).network.model)
    except ModelError as error:
        return str(error)


def test_a_damaged_description_is_one_line_or_describes_the_weights(model_dir: Path) -> None:
    path = model_dir / "model.json"
    content, expected = path.read_bytes(), load_or_explain(model_dir)

    @settings(max_examples=60)
    @given(changes=choose_changes(len(content)))
    def load_damaged(changes: list[Change]) -> None:
        path.write_bytes(damage(content, changes))
        found = load_or_explain(model_dir)
        assert found == expected or found.startswith(("model.json: ", "model.weights.h5: "))
        assert "\n" not in found

    load_damaged()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"output_channels": 1', '"output_channels": 1e999'),
        ('"output_channels": 1', '"output_channels": 1000000000000'),
        ('"output_channels": 1', '"output_channels": -1'),
        ('"output_channels": 1', '"output_channels": "1"'),
        ('"noisy": 1', '"noisy": 1e999'),
        ('"noisy": 1', '"noisy": 1000000000000'),
        ('"head": "intensity"', '"head": "sound"'),
        ('"architecture": {', '"architecture": [], "other": {'),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_it_is_built(old: str, new: str, model_dir: Path) -> None:
    path = model_dir / "model.json"
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(ModelError, match=r"^model\.json: damaged, or of another version; run the train task again\.$"):
        load_model(model_dir)
    path.write_text(content)
