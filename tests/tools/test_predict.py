"""A trained network at the microscope: one command from an image file to an image file, one line where it cannot be."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import yaml

from emdenoise.cli import list_paths
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import (
    DataError,
    EMDenoiseError,
    MissingInputError,
    ModelError,
    SettingsError,
    StorageError,
)
from emdenoise.evaluation.metrics.masks import count_confusion
from emdenoise.files.formats import read_micrographs
from emdenoise.files.pictures import write_pictures
from emdenoise.models.checkpoints import load_model
from emdenoise.models.contract import Views
from emdenoise.models.tiling import TiledMethod
from emdenoise.progress import SilentProgress
from emdenoise.results.task_record import read_record
from emdenoise.tasks import TASKS
from emdenoise.tools import predict as predict_module
from emdenoise.tools.predict import predict
from emdenoise.tools.trained import load_trained
from tests.raw_files import FOLDER_SHAPE, write_micrographs
from tests.untrained import write_network

ROOT = Path(__file__).parents[2]
NO_PROGRESS = SilentProgress()
LOW, HIGH = 0.6, 1.4
"""The contrast window of the default settings."""


@pytest.fixture
def image_file(trained: Path, tmp_path: Path) -> Path:
    """Write two test images as counts, in a TIFF with a pixel size."""
    with RecordFile(trained / "data_dir" / "test.h5") as records:
        stored = records.read("noisy", slice(0, 2))
    counts = (stored * (HIGH - LOW) + LOW) * 80
    path = tmp_path / "micrographs.tif"
    write_pictures(path, counts.astype(np.float32), shape=counts.shape, dtype="float32", pixel_size_angstrom=0.15)
    return path


@pytest.mark.parametrize("name", ["predicted.tif", "predicted.h5"])
def test_an_image_file_becomes_what_the_network_gives_in_the_units_of_the_file(
    name: str, trained: Path, image_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new" / name
    outcome = predict(image_file=image_file, model_dir=trained / "model_dir", predicted_file=path, progress=NO_PROGRESS)
    assert f"2 of 64 × 64 px, {trained.name}, weights " in outcome.message
    counts = np.array([micrograph.image for micrograph in read_micrographs(image_file)])
    mean = counts.mean(axis=(1, 2), keepdims=True)
    model = load_model(trained / "model_dir")
    method = TiledMethod(model.network, model.ports.head)
    expected = method({"noisy": ((counts / mean - LOW) / (HIGH - LOW)).astype(np.float32)[..., None]})
    if model.ports.head.has_intensity:
        expected = (expected * (HIGH - LOW) + LOW) * mean
    if name.endswith(".h5"):
        with h5py.File(path) as file:
            found, pixel_size_angstrom = file["image"][()], file["image"].attrs["pixel_size_angstrom"]
    else:
        micrographs = read_micrographs(path)
        found, pixel_size_angstrom = (
            np.array([micrograph.image for micrograph in micrographs]),
            micrographs[0].pixel_size_angstrom,
        )
    assert pixel_size_angstrom == pytest.approx(0.15)
    assert np.abs(found - expected).max() <= 1e-3  # of some 80 counts; labels are equal
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_what_cannot_be_predicted_is_one_line_and_leaves_no_file(
    trained: Path, image_file: Path, tmp_path: Path
) -> None:
    model_dir = shutil.copytree(trained / "model_dir", tmp_path / "model")
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(image_file.read_bytes()[:500])

    def refuse(kind: type[EMDenoiseError], message: str, **changes: Path) -> None:
        paths = {"image_file": image_file, "model_dir": model_dir, "predicted_file": tmp_path / "out" / "a.tif"}
        with pytest.raises(kind, match=message) as caught:
            predict(**(paths | changes), progress=NO_PROGRESS)
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "out").glob("*"))

    refuse(MissingInputError, "records/train.json is missing; run the train task first", model_dir=tmp_path / "no")
    refuse(MissingInputError, r"no\.tif is not there", image_file=tmp_path / "no.tif")
    refuse(DataError, r"damaged\.tif: 500 bytes that cannot be read", image_file=damaged)
    refuse(SettingsError, r"ending must be \.tif or \.h5", predicted_file=tmp_path / "out" / "a.dm4")
    refuse(SettingsError, "is the image file itself", predicted_file=image_file)
    description = json.loads((model_dir / "model.json").read_text())
    (model_dir / "model.json").write_text(json.dumps(description | {"workload": "other"}))
    refuse(ModelError, r"model\.json: workload is other")


def test_a_network_of_several_images_is_refused_in_one_line(
    trained: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_other(model_dir: Path) -> Any:
        config, model = load_trained(model_dir)
        return config, replace(model, network=replace(model.network, inputs=("noisy", "wave")))

    monkeypatch.setattr(predict_module, "load_trained", load_other)
    with pytest.raises(ModelError, match=r"the network needs noisy and wave; it cannot do with one image"):
        predict(
            image_file=image_file,
            model_dir=trained / "model_dir",
            predicted_file=tmp_path / "out" / "a.tif",
            progress=NO_PROGRESS,
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_network_with_views_gives_the_labels_that_were_tested_for_an_image_that_is_smaller_than_a_tile(
    tiny_settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    write_micrographs(tmp_path / "raw" / "folder", has_masks=True)
    settings = tiny_settings(
        workload="segment",
        data={"source": "folder", "tile_size_px": 96},
        model={"long_sides_px": [64, 128], "symmetries": True},
        training={"loss": "dice_cross_entropy", "epochs": 1},
        evaluation={"baselines": ["otsu"]},
    )
    paths = {f"{name}_dir": tmp_path / name for name in ("raw_data", "data", "model", "output")}
    paths |= {"raw_data_dir": tmp_path / "raw", "parameters_file": tmp_path / "views.parameters.yaml"}
    paths["parameters_file"].write_text(yaml.safe_dump(settings))
    for task in TASKS.values():
        task(**{option: paths[option] for option in list_paths(task)}, progress=NO_PROGRESS)
    with RecordFile(tmp_path / "data" / "test.h5") as records:
        (tiles,), (name,) = records.list_whole_images(), records.read_text("name")
        truth = records.read_whole("mask", tiles)
    assert truth.shape == FOLDER_SHAPE
    image = next((tmp_path / "raw" / "folder" / "noisy").glob(f"{Path(name.split()[0]).stem}*"))
    options = ("--network", tmp_path / "model", "--output", tmp_path / "labels.tif", "--log-dir", tmp_path / "logs")
    with run_predict(image, *options) as process:
        assert process.communicate()[1] == ""
    labels = tifffile.imread(tmp_path / "labels.tif")
    tested = read_record(tmp_path / "output", "test").results["confusion"]
    difference = count_confusion(labels[None], truth[None], num_labels=2) - np.array(tested)
    assert np.abs(difference).sum() <= 4  # of 6,300 pixels; `predict` fuses layers, which rounds
    trained = load_model(tmp_path / "model")
    method = TiledMethod(replace(trained.network, views=Views()), trained.ports.head)
    with RecordFile(tmp_path / "data" / "test.h5") as records:
        without = method(records.read_whole_sample(["noisy"], [tiles]))
    assert np.count_nonzero(without[0] != labels) > 20


def run_predict(*arguments: object, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "emdenoise", "predict", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8", cwd=ROOT, **options)


@pytest.mark.long
def test_of_two_predictions_into_one_file_one_is_refused_and_the_result_is_of_the_other(tmp_path: Path) -> None:
    model_dir, result = write_network(tmp_path / "model"), tmp_path / "out" / "result.tif"
    images = [tmp_path / f"{counts}.tif" for counts in (100, 200)]
    for counts, image in zip((100, 200), images, strict=True):
        tifffile.imwrite(image, np.random.default_rng(0).poisson(counts, (1500, 700)).astype(np.float32))
    results = [tmp_path / "alone" / image.name for image in images]
    for image, alone in zip(images, results, strict=True):
        options = ("--network", model_dir, "--output", alone, "--log-dir", tmp_path / "logs")
        with run_predict(image, *options) as process:
            process.communicate()
            assert process.returncode == 0
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                run_predict(image, "--network", model_dir, "--output", result, "--log-dir", tmp_path / image.stem)
            )
            for image in images
        ]
        said = [process.communicate() for process in running]
    codes = [process.returncode for process in running]
    assert sorted(codes) in ([0, StorageError.exit_code], [0, 0]), said  # 0 and 0 where one began after the other
    for code, (_, complaint) in zip(codes, said, strict=True):
        if code:
            assert "result.tif is in use by another task; wait until it ends" in complaint
    last = [alone for code, alone in zip(codes, results, strict=True) if code == 0]
    assert result.read_bytes() in [alone.read_bytes() for alone in last]
    assert [path.name for path in result.parent.iterdir()] == ["result.tif"]


@pytest.mark.long
@pytest.mark.parametrize("name", [b"scan-\xe4.tif", 242 * b"a" + b".tif"], ids=["not UTF-8", "long"])
def test_odd_names_of_images_are_read_and_named_in_the_last_line(name: bytes, tmp_path: Path) -> None:
    model_dir, image = write_network(tmp_path / "model"), tmp_path / os.fsdecode(name)
    tifffile.imwrite(tmp_path / "a.tif", np.random.default_rng(0).poisson(90, (64, 64)).astype(np.float32))
    (tmp_path / "a.tif").rename(image)
    command = [sys.executable, "-m", "emdenoise", "predict", image, "--network", model_dir]
    result = subprocess.run(
        [*command, "--log-dir", tmp_path / "logs"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("Wrote ")
    assert (tmp_path / f"{image.stem}.denoised.tif").exists()


def test_an_image_that_may_not_be_read_is_one_line(
    trained: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == image_file:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"micrographs\.tif cannot be read: Permission denied; check its permissions"):
        predict(image_file=image_file, model_dir=trained / "model_dir", progress=NO_PROGRESS)
