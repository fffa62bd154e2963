"""The comparison with STFC's codes: files in their layout, our terms and theirs. The codes need a network."""

import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from emdenoise.config.schema import DataSettings, RunConfig
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import write_records
from emdenoise.evaluation.metrics import psnr
from emdenoise.sources.em_graphene_sim import read_em_graphene_sim

FOLDER = Path(__file__).parents[2] / "benchmarks" / "comparability"
LEGACY_OFFSET_DB = 20 * math.log10(255)

Load = Callable[[str], ModuleType]
DrawRecords = Callable[..., Iterator[Record]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Give a function that imports a module of the benchmark, which is forgotten afterwards."""
    names = {path.stem for path in FOLDER.glob("*.py")}
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in names & set(sys.modules):
        if Path(str(getattr(sys.modules[name], "__file__", ""))).parent == FOLDER:
            del sys.modules[name]


def draw_results(num_images: int, error: Callable[[int], float]) -> tuple[np.ndarray, np.ndarray]:
    """Draw images and results that are off by a number of each image, in float32."""
    clean = np.random.default_rng(0).random((num_images, 16, 16), np.float32)
    errors = np.array([error(index) for index in range(num_images)], np.float32)
    return clean + errors[:, None, None], clean


def test_their_psnr_is_48_db_above_ours_where_all_images_are_equally_wrong(load: Load) -> None:
    denoised, clean = draw_results(5, lambda index: 0.1)
    legacy = load("scores").score_legacy(denoised, clean)
    ours = psnr(denoised, clean, data_range=1.0).mean()
    assert pytest.approx(48.13, abs=0.005) == LEGACY_OFFSET_DB
    assert legacy["psnr_range_255_db"] - ours == pytest.approx(LEGACY_OFFSET_DB, abs=1e-5)
    assert legacy["mse"] == pytest.approx(0.01, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_their_psnr_of_the_mean_error_is_at_most_the_mean_psnr_and_equal_for_batches_of_one(
    load: Load, batch_size: int
) -> None:
    denoised, clean = draw_results(6, lambda index: 0.01 * 2**index)
    legacy = load("scores").score_legacy(denoised, clean, batch_size)
    excess = legacy["psnr_range_255_db"] - LEGACY_OFFSET_DB - psnr(denoised, clean, data_range=1.0).mean()
    assert excess == pytest.approx(0, abs=1e-6) if batch_size == 1 else excess < -0.5


def test_a_smaller_last_batch_counts_as_much_as_a_whole_one(load: Load) -> None:
    """The mean error of their terms depends on the order of the images; ours does not."""
    denoised, clean = draw_results(3, lambda index: 0.2 if index == 2 else 0.0)
    scores = load("scores")
    legacy = scores.score_legacy(denoised + 1e-4, clean, 2)
    assert legacy["mse"] == pytest.approx(0.04 / 2, rel=1e-2)
    assert scores.score(denoised, clean)["mse"] == pytest.approx(0.04 / 3, rel=1e-5)


def test_files_in_their_layout_hold_the_records_and_can_be_read_as_source(
    load: Load, tmp_path: Path, draw_records: DrawRecords
) -> None:
    images = load("images")
    records = {split: list(draw_records(3, size=256, seed=seed)) for seed, split in enumerate(("train", "test"))}
    for split, found in records.items():
        write_records(tmp_path / f"{split}.h5", found, attributes={})
    images.write_stfc_files(tmp_path / "em_graphene_sim", tmp_path)
    for split, kind, field in (("train", "noise", "noisy"), ("train", "clean", "clean"), ("test", "clean", "clean")):
        stored = images.read_stfc_images(tmp_path / "em_graphene_sim", split, kind)
        assert np.array_equal(stored, np.stack([record.images[field] for record in records[split]]))
    config = RunConfig(data=DataSettings(source="em_graphene_sim"))
    splits = {split: list(found) for split, found in read_em_graphene_sim(config, tmp_path).items()}
    assert {split: len(found) for split, found in splits.items()} == {"train": 2, "validation": 1, "test": 3}
    assert np.array_equal(splits["test"][1].images["noisy"], records["test"][1].images["noisy"])


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3])
def test_the_validation_leaves_as_many_training_images_as_wanted(load: Load, fraction: float) -> None:
    find_total = load("images").find_total
    for num_train in range(1, 400):
        total = find_total(num_train, fraction)
        assert total - max(1, round(fraction * total)) == num_train


def test_the_speed_leaves_out_the_first_epoch(load: Load) -> None:
    measure_speed = load("scores").measure_speed
    assert measure_speed([100.0, 2.0, 4.0], 30) == pytest.approx(60 / 6)
    assert measure_speed([3.0], 30) == pytest.approx(10)


def write_probe(path: Path, model: Any, weights: list[np.ndarray]) -> None:
    inputs = np.random.default_rng(1).random((2, 64, 64, 1), np.float32)
    names = {f"weight_{index:03}": weight for index, weight in enumerate(weights)}
    np.savez(path, inputs=inputs, outputs=np.asarray(model(inputs)), **names)


def test_our_own_network_equals_itself_and_one_with_other_layers_does_not(load: Load, tmp_path: Path) -> None:
    compare_network, model = load("layers").compare_network, load("ours").build_ours()
    layers = [(type(layer).__name__, layer.count_params()) for layer in model.layers]
    write_probe(tmp_path / "probe.npz", model, model.get_weights())
    found = compare_network(layers, tmp_path / "probe.npz")
    assert found["layers_are_equal"]
    assert found["num_weights"] == found["num_weights_of_ours"] == 123_441
    assert found["largest_difference_of_outputs"] <= 1e-6 * found["root_mean_square_of_outputs"]
    other = compare_network(layers[:-1], tmp_path / "probe.npz")
    assert not other["layers_are_equal"]
    write_probe(tmp_path / "other.npz", model, model.get_weights()[:-2])
    assert not compare_network(layers, tmp_path / "other.npz")["shapes_are_equal"]


def test_their_terms_are_printed_under_the_label_legacy_alone(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    terms = {"mse": 0.0123, "psnr_range_255_db": 77.7}
    legacy = {"training_loss_of_the_last_epoch": 0.0045, "against_clean_files": terms, "against_noisy_files": terms}
    scores = {"mse": 0.001, "psnr_db": 30.0}
    run = {"code": "theirs", "seed": 0, "loss_by_epoch": [0.002], "train": scores, "test": scores}
    load("tables").print_tables([run | {"images_per_second": 9.0, "legacy": legacy}], {"psnr_db": 15.0})
    before, label, after = capsys.readouterr().out.partition("legacy: ")
    assert label
    assert not any(number in before for number in ("77.7", "12.30", "4.50"))
    assert all(number in after for number in ("77.7", "12.30", "4.50"))
    assert "30.00" in before


def test_a_training_is_done_where_recipe_and_images_are_those_of_its_file(load: Load, tmp_path: Path) -> None:
    is_done = load("trainings").is_done
    key, path = {"recipe": {"epochs": 3}, "images": "a" * 64}, tmp_path / "run.json"
    assert not is_done(path, key)
    path.write_text(json.dumps(key | {"seed": 0}))
    assert is_done(path, key)
    assert not is_done(path, {**key, "recipe": {"epochs": 4}})
