"""A trained network for inference engines: what it gives there, what that costs, and what is missing."""

import importlib.util
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise.errors import (
    EXIT_REFUTED,
    PackageError,
    SettingsError,
)
from emdenoise.evaluation.agreement import Agreement
from emdenoise.files.atomic import hash_file
from emdenoise.models.checkpoints import load_model
from emdenoise.models.contract import Views
from emdenoise.models.export import FORMATS
from emdenoise.progress import SilentProgress
from emdenoise.tools import export as export_module
from emdenoise.tools.export import export
from emdenoise.workloads import WORKLOADS

pytestmark = pytest.mark.long

NO_PROGRESS = SilentProgress()


def run_export(trained: Path, export_dir: Path, export_format: str) -> Any:
    folders = {"model_dir": trained / "model_dir", "data_dir": trained / "data_dir", "export_dir": export_dir}
    return export(**folders, export_format=export_format, progress=NO_PROGRESS)


@pytest.mark.parametrize("export_format", FORMATS)
def test_an_exported_network_gives_what_keras_gives_for_any_size_and_says_what_it_loses(
    export_format: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = {"openvino": ["openvino"], "onnx": ["onnxruntime", "tf2onnx"]}
    needed["openvino-int8"] = [*needed["openvino"], *needed["onnx"]]
    for package in needed[export_format]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    warnings.simplefilter("default")  # tf2onnx and its adapter in Keras use names that NumPy gave up
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    outcome = run_export(trained, tmp_path / "export", export_format)
    assert outcome.exit_code == 0
    assert sys.modules.get("openvino_telemetry") is None
    assert not list((tmp_path / "home").rglob("*"))  # telemetry would keep the number of this machine there
    content = json.loads((tmp_path / "export" / "export.json").read_text())
    assert {path.name for path in (tmp_path / "export").iterdir()} == {*content["files"], "export.json"}
    assert content["files"] == {name: hash_file(tmp_path / "export" / name) for name in content["files"]}
    model = load_model(trained / "model_dir")
    assert content["weights_sha256"] == model.weights_sha256
    precision, *_ = FORMATS[export_format].precisions
    assert precision == "int8" or content["precisions"][precision]["is_good"]
    assert set(content["precisions"]) == set(FORMATS[export_format].precisions)
    path = tmp_path / "export" / FORMATS[export_format].file_name
    for shape in ((1, 64, 64, 1), (3, 40, 136, 1)):
        images = np.random.default_rng(0).random(shape, dtype=np.float32)
        for known_shape in (None, shape):
            run = FORMATS[export_format].load(path, precision, known_shape)
            expected = model.network.model.predict_on_batch(images)
            deviation = np.abs(run(images) - expected)
            if precision == "float32":
                assert deviation.max() <= 1e-4
            else:  # 8 bits: each layer errs by less than a percent of its range, and the tiny network has five
                assert 0 < deviation.mean() < 0.05 * np.ptp(expected)


def test_an_8_bit_network_is_smaller_and_says_from_which_images_its_ranges_are(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    warnings.simplefilter("default")
    sizes = {}
    for export_format in ("openvino", "openvino-int8"):
        assert run_export(trained, tmp_path / export_format, export_format).exit_code == 0
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
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    loss = Agreement(2, max_deviation=0.3, psnr_loss_db=0.0123)
    monkeypatch.setattr(export_module, "_compare", lambda *arguments: {"float32": loss})
    outcome = run_export(trained, tmp_path, "openvino")
    assert outcome.exit_code == EXIT_REFUTED
    assert outcome.message == "REFUSED: PSNR loss 0.0123 dB, at most 0.01 allowed; do not use it."
    assert not json.loads((tmp_path / "export.json").read_text())["precisions"]["float32"]["is_good"]


def test_an_export_of_a_network_with_dropout_at_test_time_says_that_the_engine_has_none(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    config, model = export_module.load_trained(trained / "model_dir")
    model = replace(model, network=replace(model.network, views=Views(dropout_passes=3)))
    monkeypatch.setattr(export_module, "load_trained", lambda folder: (config, model))
    said: list[str] = []
    monkeypatch.setattr(SilentProgress, "say", lambda progress, message: said.append(message))
    assert run_export(trained, tmp_path, "openvino").exit_code == 0
    assert [line for line in said if "answers without dropout" in line and "mean over 3 passes" in line]
    assert not [line for line in said if "average its answers over the views" in line]
    assert json.loads((tmp_path / "export.json").read_text())["views"]["dropout_passes"] == 0


def test_a_network_of_several_images_is_refused_in_one_line(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = replace(WORKLOADS[trained.name], inputs=("noisy", "wave"))
    monkeypatch.setitem(WORKLOADS, trained.name, workload)
    with pytest.raises(SettingsError, match=r"only networks from one image .* use `emdenoise predict`"):
        run_export(trained, tmp_path, "openvino")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_one_line(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="--export_format is tflite; known formats are openvino, openvino-int8, onnx; give one"
    ):
        run_export(trained, tmp_path, "tflite")


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
    export_format: str, package: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageError, match=rf"{package} is not installed; pip install 'emdenoise\[deploy\]'"):
        run_export(trained, tmp_path, export_format)
    assert list(tmp_path.iterdir()) == []
