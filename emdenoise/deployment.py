"""A trained network at the microscope.

`predict` applies it to an image file of any size, `export` writes it for inference engines and says what that costs.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdenoise.config.loading import check_settings
from emdenoise.config.schema import RunConfig
from emdenoise.data.locking import hold_folders
from emdenoise.errors import EXIT_REFUTED, SettingsError, explain_os_errors
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome

if TYPE_CHECKING:
    from emdenoise.data.staging import StagedImages
    from emdenoise.evaluation.agreement import Agreement
    from emdenoise.models.checkpoints import TrainedModel

DESCRIPTION_FILE = "export.json"
NUM_COMPARED_IMAGES = 32
NUM_EXAMPLES, EXAMPLE_SIDE_PX = 32, 128


@hold_folders(reads=("model_dir",), writes=())
def predict(*, image_file: Path, model_dir: Path, predicted_file: Path, progress: Progress) -> Outcome:
    """Denoise or segment an image file of any size, as the network was trained to.

    Denoised intensities are float32 in the units of the file, labels are uint8; .tif or .h5.
    """
    from emdenoise.data.pictures import check_picture, write_pictures
    from emdenoise.data.staging import stage_images
    from emdenoise.models.fusion import fuse_upsampling
    from emdenoise.models.prediction import make_method, run_keras
    from emdenoise.workloads import WORKLOADS

    check_picture(predicted_file)
    if predicted_file.resolve() == image_file.resolve():
        raise SettingsError("--predicted_file is the image file itself, which stays as it is; give another file.")
    config, trained = load_trained(model_dir)
    target_field = WORKLOADS[config.workload].target_field
    network = make_method(trained.model, target_field, run_keras(fuse_upsampling(trained.model)))
    scratch = predicted_file.with_name(f".partial-{predicted_file.name}.noisy.h5")
    with stage_images(image_file, scratch, config) as staged:
        shape, is_mask = staged.noisy.shape, target_field == "mask"
        write_pictures(
            predicted_file,
            _predict_all(network, staged, progress, is_mask=is_mask),
            shape=shape,
            dtype="uint8" if is_mask else "float32",
            pixel_size_angstrom=staged.pixel_size_angstrom,
        )
    size = f"{shape[0]} of {shape[2]} × {shape[1]} px" if shape[0] > 1 else f"{shape[2]} × {shape[1]} px"
    return Outcome(f"Wrote {predicted_file}: {size}, {config.workload}, weights {trained.weights_sha256[:12]}.")


@hold_folders(reads=("model_dir", "data_dir"), writes=("export_dir",))
def export(*, model_dir: Path, data_dir: Path, export_dir: Path, export_format: str, progress: Progress) -> Outcome:
    """Write a trained network for OpenVINO or ONNX, and say what it loses against Keras on validation images."""
    from emdenoise.data.storage import RecordFile, hash_file, write_json
    from emdenoise.models.export import FORMATS, export_network
    from emdenoise.results.sequence import check_data
    from emdenoise.workloads import WORKLOADS
    from emdenoise.workloads.contract import read_pictures

    if export_format not in FORMATS:
        raise SettingsError(f"--export_format is {export_format}; known formats are {', '.join(FORMATS)}; give one.")
    chosen = FORMATS[export_format]
    config, trained = load_trained(model_dir)
    workload = WORKLOADS[config.workload]
    names = ("validation.h5", "train.h5") if chosen.needs_examples else ("validation.h5",)
    inputs = check_data(config, data_dir, *names)
    with RecordFile(data_dir / "validation.h5") as records:
        noisy, truth = (read_pictures(records, name, NUM_COMPARED_IMAGES) for name in workload.fields)
    examples = _read_examples(data_dir, trained.model) if chosen.needs_examples else None
    with _open_folder(export_dir) as folder:
        export_network(trained.model, folder / chosen.file_name, export_format, examples)
        agreements = _compare(trained.model, folder / chosen.file_name, export_format, noisy, truth)
        files = sorted(path.name for path in folder.iterdir())
        with explain_os_errors(export_dir / DESCRIPTION_FILE):
            (export_dir / DESCRIPTION_FILE).unlink(missing_ok=True)  # it must not vouch for files that it does not know
            for name in files:
                (folder / name).replace(export_dir / name)
    hashes = {name: hash_file(export_dir / name) for name in files}
    description = _describe(config, trained, export_format, agreements)
    write_json(export_dir / DESCRIPTION_FILE, description | {"files": hashes, "inputs": inputs})
    for precision, agreement in agreements.items():
        verdict = "good" if agreement.is_good else "not good"
        progress.say(f"{export_format}, {precision}: {verdict}; {agreement.describe()}, {agreement.num_images} images.")
    exact = agreements.get("float32")
    if exact is not None and not exact.is_good:
        return Outcome(f"REFUSED: {exact.describe()}; do not use it.", exit_code=EXIT_REFUTED)
    return Outcome(f"Wrote {', '.join([*files, DESCRIPTION_FILE])} to {export_dir}.")


def _read_examples(data_dir: Path, model: Any) -> list[Any]:
    """Read crops of training images, by which the ranges of an 8-bit network are found."""
    from emdenoise.data.storage import RecordFile
    from emdenoise.models.prediction import find_reach
    from emdenoise.workloads.contract import read_pictures

    step_px, _ = find_reach(model)
    with RecordFile(data_dir / "train.h5") as records:
        images = read_pictures(records, "noisy", NUM_EXAMPLES)
    sides = [min(*image.shape, EXAMPLE_SIDE_PX) // step_px * step_px for image in images]
    return [image[:side, :side] for image, side in zip(images, sides, strict=True)]


@contextmanager
def _open_folder(place: Path) -> Iterator[Path]:
    """Give an empty folder beside the results, which is removed in the end."""
    with explain_os_errors(place / DESCRIPTION_FILE):
        place.mkdir(parents=True, exist_ok=True)
    with (
        explain_os_errors(place / DESCRIPTION_FILE),
        tempfile.TemporaryDirectory(prefix=".partial-", dir=place) as name,
    ):
        yield Path(name)


def _compare(model: Any, path: Path, format_name: str, noisy: list[Any], truth: list[Any]) -> "dict[str, Agreement]":
    """Compare the engine in each of its precisions with Keras."""
    from emdenoise.evaluation.agreement import measure_agreement
    from emdenoise.models.export import FORMATS
    from emdenoise.models.prediction import make_method

    target_field = "mask" if truth[0].dtype == "uint8" else "clean"
    reference = make_method(model, target_field)
    chosen = FORMATS[format_name]
    return {
        precision: measure_agreement(
            reference, make_method(model, target_field, chosen.load(path, precision, None)), noisy, truth
        )
        for precision in chosen.precisions
    }


def _describe(
    config: RunConfig, trained: "TrainedModel", format_name: str, agreements: "dict[str, Agreement]"
) -> dict[str, Any]:
    """Describe what another program needs to use the network as `predict` does."""
    from emdenoise.models.prediction import find_reach

    step_px, reach_px = find_reach(trained.model)
    return {
        "format": format_name,
        "workload": config.workload,
        "weights_sha256": trained.weights_sha256,
        "input": {"shape": [None, None, None, 1], "dtype": "float32", "step_px": step_px, "reach_px": reach_px},
        "output": {"shape": [None, None, None, trained.description["output_channels"]], "dtype": "float32"},
        "intensity": {
            "source": config.data.source,
            "scale_factor": config.data.scale_factor,
            "window_of_mean": config.simulation.intensity_window if config.data.source == "graphene" else None,
        },
        "precisions": {
            name: {**asdict(agreement), "is_good": agreement.is_good} for name, agreement in agreements.items()
        },
    }


def load_trained(model_dir: Path) -> tuple[RunConfig, "TrainedModel"]:
    """Load a network and the settings that it was trained with.

    Raises
    ------
    MissingInputError
        If the folder lacks the network or the record of its training.
    ModelError, DataError
        If they are damaged or do not belong together.
    """
    from emdenoise.models.backend import prepare_backend
    from emdenoise.models.checkpoints import load_model
    from emdenoise.results.manifest import read_record
    from emdenoise.results.sequence import check_model

    record = read_record(model_dir, "train")
    config = check_settings(record.settings, RunConfig, "the settings in records/train.json")
    prepare_backend(config.training, config.seed)
    trained = load_model(model_dir)
    check_model(config, trained.description, record)
    return config, trained


def _predict_all(network: Any, staged: "StagedImages", progress: Progress, *, is_mask: bool) -> Iterator[Any]:
    """Predict image by image, strip by strip; labels as they are, intensities in the units of the file."""
    num_images, height, _ = staged.noisy.shape
    done = 0
    for index, scale in enumerate(staged.scales):
        for (strip,) in network.predict_strips(_One(staged.noisy, index)):
            done += len(strip)
            progress.step("predict", done, num_images * height, "rows")
            yield strip if is_mask else scale.restore(strip)


class _One:
    """One image of a data set as a stack of one that is read by slices."""

    def __init__(self, images: Any, index: int) -> None:
        self._images, self._index = images, index
        self.shape = (1, *images.shape[1:])

    def __getitem__(self, place: tuple[slice, slice, slice]) -> Any:
        return self._images[(slice(self._index, self._index + 1), *place[1:])]
