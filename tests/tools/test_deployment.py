"""A trained network at the microscope: one command from an image file to an image file, one line where it cannot be."""

import importlib.util
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from emdenoise.cli import list_paths
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import (
    EXIT_REFUTED,
    DataError,
    EMDenoiseError,
    MissingInputError,
    ModelError,
    PackageError,
    SettingsError,
)
from emdenoise.evaluation.agreement import Agreement
from emdenoise.files.atomic import hash_file
from emdenoise.files.formats import read_micrographs
from emdenoise.files.pictures import write_pictures
from emdenoise.models.checkpoints import load_model
from emdenoise.models.export import FORMATS
from emdenoise.models.tiling import make_method
from emdenoise.progress import SilentProgress
from emdenoise.tasks import TASKS
from emdenoise.tools import export as export_tool
from emdenoise.tools.export import export
from emdenoise.tools.predict import predict

NO_PROGRESS = SilentProgress()
LOW, HIGH = 0.6, 1.4
"""The contrast window of the default settings."""

pytestmark = pytest.mark.usefixtures("no_pool")


@pytest.fixture(scope="module", params=["denoise", "segment"])
def finished(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_settings: Callable[..., dict[str, Any]],
    no_pool: None,
) -> Path:
    """Train a network of each workload; the folder has the name of the workload."""
    folder = tmp_path_factory.mktemp("finished") / request.param
    folder.mkdir()
    loss = {"denoise": "mean_squared_error", "segment": "dice_cross_entropy"}[request.param]
    settings = tiny_settings(workload=request.param, training={"loss": loss, "epochs": 1})
    (folder / "tiny.parameters.yaml").write_text(yaml.safe_dump(settings))
    paths = {name: folder / name for name in ("raw_data_dir", "data_dir", "model_dir", "output_dir")}
    paths["parameters_file"] = folder / "tiny.parameters.yaml"
    for name in ("download", "preprocess", "train"):
        TASKS[name](**{option: paths[option] for option in list_paths(TASKS[name])}, progress=NO_PROGRESS)
    return folder


@pytest.fixture
def image_file(finished: Path, tmp_path: Path) -> Path:
    """Write two test images as counts, in a TIFF with a pixel size."""
    with RecordFile(finished / "data_dir" / "test.h5") as records:
        stored = records.read("noisy", slice(0, 2))
    counts = (stored * (HIGH - LOW) + LOW) * 80
    path = tmp_path / "micrographs.tif"
    write_pictures(path, counts.astype(np.float32), shape=counts.shape, dtype="float32", pixel_size_angstrom=0.15)
    return path


@pytest.mark.parametrize("name", ["predicted.tif", "predicted.h5"])
def test_an_image_file_becomes_what_the_network_gives_in_the_units_of_the_file(
    name: str, finished: Path, image_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new" / name
    outcome = predict(
        image_file=image_file, model_dir=finished / "model_dir", predicted_file=path, progress=NO_PROGRESS
    )
    assert f"2 of 64 × 64 px, {finished.name}, weights " in outcome.message
    counts = np.array([micrograph.image for micrograph in read_micrographs(image_file)])
    mean = counts.mean(axis=(1, 2), keepdims=True)
    field = {"denoise": "clean", "segment": "mask"}[finished.name]
    network = make_method(load_model(finished / "model_dir").model, field)
    expected = network(((counts / mean - LOW) / (HIGH - LOW)).astype(np.float32))
    if finished.name == "denoise":
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
    finished: Path, image_file: Path, tmp_path: Path
) -> None:
    model_dir = shutil.copytree(finished / "model_dir", tmp_path / "model")
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


def run_export(finished: Path, export_dir: Path, export_format: str) -> Any:
    folders = {"model_dir": finished / "model_dir", "data_dir": finished / "data_dir", "export_dir": export_dir}
    return export(**folders, export_format=export_format, progress=NO_PROGRESS)


@pytest.mark.parametrize("export_format", FORMATS)
def test_an_exported_network_gives_what_keras_gives_for_any_size_and_says_what_it_loses(
    export_format: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = {"openvino": ["openvino"], "onnx": ["onnxruntime", "tf2onnx"]}
    needed["openvino-int8"] = [*needed["openvino"], *needed["onnx"]]
    for package in needed[export_format]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    warnings.simplefilter("default")  # tf2onnx and its adapter in Keras use names that NumPy gave up
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    outcome = run_export(finished, tmp_path / "export", export_format)
    assert outcome.exit_code == 0
    assert sys.modules.get("openvino_telemetry") is None
    assert not list((tmp_path / "home").rglob("*"))  # telemetry would keep the number of this machine there
    content = json.loads((tmp_path / "export" / "export.json").read_text())
    assert {path.name for path in (tmp_path / "export").iterdir()} == {*content["files"], "export.json"}
    assert content["files"] == {name: hash_file(tmp_path / "export" / name) for name in content["files"]}
    trained = load_model(finished / "model_dir")
    assert content["weights_sha256"] == trained.weights_sha256
    precision, *_ = FORMATS[export_format].precisions
    assert precision == "int8" or content["precisions"][precision]["is_good"]
    assert set(content["precisions"]) == set(FORMATS[export_format].precisions)
    path = tmp_path / "export" / FORMATS[export_format].file_name
    for shape in ((1, 64, 64, 1), (3, 40, 136, 1)):
        images = np.random.default_rng(0).random(shape, dtype=np.float32)
        for known_shape in (None, shape):
            run = FORMATS[export_format].load(path, precision, known_shape)
            expected = trained.model.predict_on_batch(images)
            deviation = np.abs(run(images) - expected)
            if precision == "float32":
                assert deviation.max() <= 1e-4
            else:  # 8 bits: each layer errs by less than a percent of its range, and the tiny network has five
                assert 0 < deviation.mean() < 0.05 * np.ptp(expected)


def test_an_8_bit_network_is_smaller_and_says_from_which_images_its_ranges_are(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    warnings.simplefilter("default")
    sizes = {}
    for export_format in ("openvino", "openvino-int8"):
        assert run_export(finished, tmp_path / export_format, export_format).exit_code == 0
        assert {path.name for path in (tmp_path / export_format).iterdir()} == {
            "export.json",
            "network.bin",
            "network.xml",
        }
        sizes[export_format] = (tmp_path / export_format / "network.bin").stat().st_size
    assert sizes["openvino-int8"] < sizes["openvino"] / 2
    content = json.loads((tmp_path / "openvino-int8" / "export.json").read_text())
    assert set(content["inputs"]) == {"train.h5", "validation.h5"}


def test_an_export_that_loses_too_much_is_refused_and_says_so(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    loss = Agreement(2, max_deviation=0.3, psnr_loss_db=0.0123)
    monkeypatch.setattr(export_tool, "_compare", lambda *arguments: {"float32": loss})
    outcome = run_export(finished, tmp_path, "openvino")
    assert outcome.exit_code == EXIT_REFUTED
    assert outcome.message == "REFUSED: PSNR loss 0.0123 dB, at most 0.01 allowed; do not use it."
    assert not json.loads((tmp_path / "export.json").read_text())["precisions"]["float32"]["is_good"]


def test_an_unknown_format_is_one_line(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="--export_format is tflite; known formats are openvino, openvino-int8, onnx; give one"
    ):
        run_export(finished, tmp_path, "tflite")


@pytest.mark.parametrize(
    ("export_format", "package"),
    [
        ("openvino", "openvino"),
        ("openvino-int8", "openvino"),
        ("openvino-int8", "onnxruntime"),
        ("onnx", "onnxruntime"),
    ],
)
def test_a_package_that_is_missing_is_one_line(
    export_format: str, package: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageError, match=rf"{package} is not installed; pip install 'emdenoise\[deploy\]'"):
        run_export(finished, tmp_path, export_format)
    assert list(tmp_path.iterdir()) == []
