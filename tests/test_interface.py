"""The Python interface: any kind of image, the same numbers as the command, quiet, and no trap for a plain script."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import emdenoise
from emdenoise.errors import DataError, EMDenoiseError, MissingInputError, ModelError, SettingsError
from emdenoise.files.pictures import write_pictures
from emdenoise.progress import SilentProgress
from emdenoise.tools.predict import predict
from tests.untrained import write_network

ROOT = Path(__file__).parents[1]
COUNTS = np.random.default_rng(0).poisson(90, (2, 44, 37)).astype(np.uint16)


@pytest.fixture(scope="module")
def denoiser(example_workspace: Path) -> "emdenoise.TrainedNetwork":
    return emdenoise.load_network(example_workspace / "workspace" / "model")


@pytest.fixture(scope="module")
def segmenter(example_workspace: Path) -> "emdenoise.TrainedNetwork":
    return emdenoise.load_network(str(example_workspace / "workspace" / "model_segment"))


class Axes:
    """Stands for the axes of a HyperSpy signal."""

    def __init__(self, signal_dimension: int = 2) -> None:
        self.signal_dimension = signal_dimension


class Signal2D:
    """Stands for a HyperSpy signal."""

    def __init__(self, data: Any, axes_manager: Axes) -> None:
        self.data, self.axes_manager, self.title = data, axes_manager, "scan"


def test_exported_members() -> None:
    assert sorted(emdenoise.__all__) == [
        "Micrograph",
        "Record",
        "TrainedNetwork",
        "denoise",
        "errors",
        "load_network",
        "metrics",
        "read_micrograph",
        "read_micrographs",
        "segment",
        "simulate",
    ]
    assert all(getattr(emdenoise, name) is not None for name in emdenoise.__all__)
    assert set(emdenoise.__all__) <= set(dir(emdenoise))
    with pytest.raises(AttributeError, match="module 'emdenoise' has no attribute 'denoize'"):
        _ = emdenoise.denoize


def test_the_import_loads_nothing_heavy_and_is_fast() -> None:
    code = "import sys; before = set(sys.modules); import emdenoise; print(*sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert {name.split(".")[0] for name in found.stdout.split()} <= {"emdenoise", *sys.stdlib_module_names}
    assert len(found.stdout.split()) < 40


@pytest.mark.parametrize("name", ["scan.tif", "scan.h5"])
def test_array_file_and_command_give_the_same_numbers(
    name: str, denoiser: "emdenoise.TrainedNetwork", example_workspace: Path, tmp_path: Path
) -> None:
    path, result = tmp_path / name, tmp_path / "result.h5"
    write_pictures(path, list(COUNTS), shape=COUNTS.shape, dtype="uint16", pixel_size_angstrom=0.15)
    restored = denoiser.denoise(COUNTS)
    assert restored.dtype == np.float32
    assert restored.shape == COUNTS.shape
    assert restored.mean() == pytest.approx(90, rel=0.9)  # of counts, by a network that has hardly learned
    assert np.array_equal(restored[1], denoiser.denoise(COUNTS[1]))
    assert np.array_equal(restored, denoiser.denoise(path))
    assert np.array_equal(restored, emdenoise.denoise(str(path), network=example_workspace / "workspace" / "model"))
    predict(
        image_file=path,
        model_dir=example_workspace / "workspace" / "model",
        predicted_file=result,
        progress=SilentProgress(),
    )
    with h5py.File(result) as file:
        assert np.array_equal(restored, file["image"][()])


def test_a_network_given_as_a_folder_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    folder = write_network(tmp_path / "model")
    first = emdenoise.denoise(COUNTS, network=folder)
    assert np.array_equal(first, emdenoise.denoise(COUNTS, network=folder))
    write_network(folder)
    assert not np.array_equal(first, emdenoise.denoise(COUNTS, network=folder))


def test_masks_are_labels_of_the_shape_of_the_image(segmenter: "emdenoise.TrainedNetwork") -> None:
    mask = emdenoise.segment(COUNTS, network=segmenter)
    assert mask.dtype == np.uint8
    assert mask.shape == COUNTS.shape
    assert mask.max() <= 2
    resampled = segmenter.segment(COUNTS[0], pixel_size_angstrom=0.08)
    assert resampled.dtype == np.uint8
    assert resampled.shape == COUNTS.shape[1:]


def test_a_signal_comes_back_as_a_signal_with_its_axes(denoiser: "emdenoise.TrainedNetwork") -> None:
    signal = Signal2D(COUNTS.copy(), Axes())
    restored = denoiser.denoise(signal)
    assert type(restored) is Signal2D
    assert restored is not signal
    assert restored.title == "scan"
    assert np.array_equal(restored.data, denoiser.denoise(COUNTS))
    assert np.array_equal(signal.data, COUNTS)
    with pytest.raises(DataError, match="a signal of 1 dimensions; expected 2, as Signal2D has"):
        denoiser.denoise(Signal2D(COUNTS, Axes(1)))


def test_an_image_of_another_pixel_size_is_shown_at_the_nearest_trained_one(
    denoiser: "emdenoise.TrainedNetwork", monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    method = denoiser._method
    monkeypatch.setattr(denoiser, "_method", method_that_keeps_shapes(method, seen))
    assert denoiser.pixel_size_angstrom == (0.14, 0.17)
    for size in (0.15, 0.172, 0.34, 0.07):
        assert denoiser.denoise(COUNTS[0], pixel_size_angstrom=size).shape == (44, 37)
    assert seen == [(44, 37), (44, 37), (88, 74), (22, 18)]


def method_that_keeps_shapes(method: Any, seen: list[tuple[int, int]]) -> Any:
    class Method:
        def predict_strips(self, sample: Any) -> Any:
            seen.append(sample["noisy"].shape[1:3])
            return method.predict_strips(sample)

    return Method()


def test_a_resampled_smooth_image_comes_back_at_its_place_and_in_its_units(
    denoiser: "emdenoise.TrainedNetwork", monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unchanged:
        def predict_strips(self, sample: Any) -> Any:
            yield sample["noisy"][:, :, :][..., 0]

    monkeypatch.setattr(denoiser, "_method", Unchanged())
    rows, columns = np.mgrid[:96, :80]
    smooth = (100 + 10 * np.sin(rows / 9) * np.cos(columns / 7)).astype(np.float32)
    for size in (0.10, 0.22):
        back = denoiser.denoise(smooth, pixel_size_angstrom=size)
        assert np.abs(back - smooth)[4:-4, 4:-4].max() < 1


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (COUNTS[0, 0], DataError, r"image is uint16 \(37,\); expected real numbers of shape \(height, width\) or"),
        (COUNTS[None], DataError, r"image is uint16 \(1, 2, 44, 37\); expected"),
        (COUNTS[:0], DataError, r"image is uint16 \(0, 44, 37\); expected"),
        (COUNTS * 1j, DataError, r"image is complex128 \(2, 44, 37\); expected real"),
        ([[1, 2]], DataError, "image is a list; expected an array, a path or a signal"),
        (np.where(COUNTS > 100, np.nan, COUNTS), DataError, r"image frame 0: \d+ pixels are NaN or infinite"),
        (COUNTS * 1e300, DataError, r"image frame 0: \d+ pixels are NaN or infinite"),
        (COUNTS - 95.0, DataError, r"image: its mean intensity is -.*; expected counts"),
        ("no/such.dm4", MissingInputError, r"^no/such\.dm4 is not there; give a file that exists\.$"),
    ],
)
def test_what_is_no_image_is_one_line(
    image: Any, kind: type[EMDenoiseError], message: str, denoiser: "emdenoise.TrainedNetwork"
) -> None:
    with pytest.raises(kind, match=message) as caught:
        denoiser.denoise(image)
    assert "\n" not in str(caught.value)


def test_a_network_for_something_else_is_one_line(
    denoiser: "emdenoise.TrainedNetwork", segmenter: "emdenoise.TrainedNetwork", tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="was trained for workload denoise; it cannot segment an image; call denoise"):
        denoiser.segment(COUNTS)
    with pytest.raises(ModelError, match="was trained for workload segment; it cannot denoise an image; call segment"):
        emdenoise.denoise(COUNTS, network=segmenter)
    with pytest.raises(MissingInputError, match="nowhere is no folder; give the model folder"):
        emdenoise.denoise(COUNTS, network=tmp_path / "nowhere")
    with pytest.raises(MissingInputError, match=r"records/train\.json is missing; run the train task first"):
        emdenoise.load_network(tmp_path)


def test_pixel_sizes_that_help_nobody_are_one_line(denoiser: "emdenoise.TrainedNetwork", tmp_path: Path) -> None:
    for size in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match=r"pixel_size_angstrom is .*; it must be a number of Å above 0"):
            denoiser.denoise(COUNTS, pixel_size_angstrom=size)
    with pytest.raises(
        SettingsError, match=r"the network was trained from 0\.14 to 0\.17 Å .*; train a network for this"
    ):
        denoiser.denoise(COUNTS, pixel_size_angstrom=0.9)
    folder = write_network(tmp_path / "model", data={"source": "folder", "tile_size_px": 64})
    with pytest.raises(
        SettingsError, match=r"nobody knows the pixel size .* \(source folder\); leave pixel_size_angst"
    ):
        emdenoise.denoise(COUNTS, network=folder, pixel_size_angstrom=0.15)


def test_the_callers_random_numbers_and_precision_stay_as_they_were(tmp_path: Path) -> None:
    folder = write_network(tmp_path / "model", training={"loss": "mean_squared_error", "precision": "mixed_bfloat16"})
    random.seed(3)
    expected = random.random()
    random.seed(3)
    network = emdenoise.load_network(folder)
    assert random.random() == expected
    assert keras.config.dtype_policy().name == "float32"
    assert network.settings.training.precision == "mixed_bfloat16"


def test_files_are_read_one_image_or_all(tmp_path: Path) -> None:
    for name in ("stack.tif", "stack.h5"):
        write_pictures(tmp_path / name, list(COUNTS), shape=COUNTS.shape, dtype="uint16", pixel_size_angstrom=0.2)
        found = emdenoise.read_micrographs(tmp_path / name)
        assert np.array_equal([micrograph.image for micrograph in found], COUNTS)
        assert [micrograph.name for micrograph in found] == [f"{name} frame 0", f"{name} frame 1"]
        assert found[1].pixel_size_angstrom == pytest.approx(0.2)
        with pytest.raises(DataError, match=rf"{name}: holds 2 images; expected one; call read_micrographs"):
            emdenoise.read_micrograph(tmp_path / name)
    with pytest.raises(MissingInputError, match="is not there"):
        emdenoise.read_micrograph(tmp_path / "no.tif")


def test_simulated_images_are_the_same_each_time_and_none_of_a_run() -> None:
    first = emdenoise.simulate("graphene", num_images=3, seed=4, image_size_px=32, dose_e_per_angstrom2=(400, 800))
    again = emdenoise.simulate("graphene", num_images=2, seed=4, image_size_px=32, dose_e_per_angstrom2=(400, 800))
    assert [record.name for record in first] == ["extra image 0", "extra image 1", "extra image 2"]
    assert np.array_equal(first[1].noisy, again[1].noisy)
    assert all(400 <= record.attributes["dose_e_per_angstrom2"] <= 800 for record in first)
    for options, message in (
        ({"source": "emps"}, "source emps holds measured images and cannot simulate; graphene and crystals can"),
        ({"source": "graphen"}, r'source is "graphen"; .*; did you mean graphene\?$'),
        ({"doze": 3}, "simulate: doze is not a setting"),
        ({"num_train": 3}, "num_train counts the images of a run; give num_images"),
        ({"num_images": 0}, "num_images is 0 and seed 0; they must be at least 1 and 0"),
    ):
        with pytest.raises(SettingsError, match=message):
            emdenoise.simulate(**({"num_images": 1} | options))


def test_a_record_is_restored_in_its_own_units(denoiser: "emdenoise.TrainedNetwork") -> None:
    stored = np.random.default_rng(0).uniform(0.2, 0.8, (40, 30)).astype(np.float32)
    stored += 0.5 - stored.mean()
    record = emdenoise.Record({"noisy": stored}, specimen="", name="")
    restored = denoiser.denoise(record)
    assert restored.dtype == np.float32
    # As counts whose mean is that of vacuum: 0.6 and 1.4 of it are stored as 0 and 1.
    assert np.abs(restored - (denoiser.denoise((stored * 0.8 + 0.6) * 90) / 90 - 0.6) / 0.8).max() < 1e-4
    with pytest.raises(DataError, match="NaN or infinite"):
        denoiser.denoise(emdenoise.Record({"noisy": stored * np.nan}, specimen="", name=""))


SCRIPT = """
import numpy as np
import emdenoise
restored = emdenoise.denoise("scan.tif", network="workspace/model")
micrograph = emdenoise.read_micrograph("scan.tif")
assert restored.shape == micrograph.image.shape == (40, 30)
try:
    emdenoise.denoise("damaged.tif", network="workspace/model")
except emdenoise.errors.DataError as error:
    assert "bytes that cannot be read" in str(error) and "guard" not in str(error), error
else:
    raise SystemExit("the damaged file was read")
"""
WAYS: dict[str, Callable[[Path], list[str]]] = {
    "script": lambda path: [str(path)],
    "command": lambda path: ["-c", path.read_text()],
    "notebook": lambda path: [
        "-c",
        f"exec(compile({path.read_text()!r}, '<cell>', 'exec'), {{'__name__': '__main__'}})",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_plain_scripts_work_without_a_guard_and_print_nothing(
    way: str, example_workspace: Path, tmp_path: Path
) -> None:
    (example_workspace / "damaged.tif").write_bytes((example_workspace / "scan.tif").read_bytes()[:500])
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = WAYS[way](script)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    found = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=example_workspace,
        env=environment,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.long
def test_files_are_read_by_a_script_without_a_guard(example_workspace: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import emdenoise\n"
        "from emdenoise.files.worker import WorkerPool\n"
        "assert emdenoise.read_micrograph('scan.tif').image.shape == (40, 30)\n"
        "with WorkerPool(2) as pool: assert list(pool.map(divmod, (7, 9), (2, 2))) == [(3, 1), (4, 1)]\n"
    )
    found = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        cwd=example_workspace,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
