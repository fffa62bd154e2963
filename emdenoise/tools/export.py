"""`emdenoise export`: writes a trained network for inference engines, and says what that costs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emdenoise.config.schema import RunConfig
from emdenoise.errors import EXIT_REFUTED, SettingsError, explain_os_errors
from emdenoise.files.locks import hold_folders
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome
from emdenoise.tools.trained import load_trained

if TYPE_CHECKING:
    from emdenoise.evaluation.agreement import Agreement
    from emdenoise.models.checkpoints import TrainedModel
    from emdenoise.workloads.contract import Workload

DESCRIPTION_FILE = "export.json"
NUM_COMPARED_IMAGES = 32
NUM_EXAMPLES, EXAMPLE_SIDE_PX = 32, 128


@hold_folders(reads=("model_dir", "data_dir"), writes=("export_dir",))
def export(*, model_dir: Path, data_dir: Path, export_dir: Path, export_format: str, progress: Progress) -> Outcome:
    """Write a trained network for OpenVINO or ONNX, and say what it loses against Keras on validation images."""
    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.files.atomic import hash_file, open_scratch, write_json
    from emdenoise.models.contract import Views
    from emdenoise.models.export import FORMATS, export_network
    from emdenoise.results.preconditions import check_data
    from emdenoise.workloads import WORKLOADS
    from emdenoise.workloads.evaluate import read_pictures

    if export_format not in FORMATS:
        raise SettingsError(f"--export_format is {export_format}; known formats are {', '.join(FORMATS)}; give one.")
    chosen = FORMATS[export_format]
    config, trained = load_trained(model_dir)
    workload = WORKLOADS[config.workload]
    if len(workload.inputs) > 1 or workload.head.kind == "complex":
        raise SettingsError(
            f"the network answers workload {workload.name}; only networks from one image to intensities or labels can "
            "be exported; use `emdenoise predict`."
        )
    names = ("validation.h5", "train.h5") if chosen.needs_examples else ("validation.h5",)
    inputs = check_data(config, data_dir, *names)
    with RecordFile(data_dir / "validation.h5") as records:
        samples, truth = read_pictures(records, workload.inputs, workload.truth, NUM_COMPARED_IMAGES)
    examples = _read_examples(data_dir, workload, trained.network.step_px) if chosen.needs_examples else None
    place = export_dir / DESCRIPTION_FILE
    with explain_os_errors(place), open_scratch(place) as folder:
        export_network(trained.network.model, folder / chosen.file_name, export_format, examples)
        agreements = _compare(trained, folder / chosen.file_name, export_format, samples, truth)
        files = sorted(path.name for path in folder.iterdir())
        place.unlink(missing_ok=True)  # it must not vouch for files that it does not know
        for name in files:
            (folder / name).replace(export_dir / name)
    hashes = {name: hash_file(export_dir / name) for name in files}
    description = _describe(config, trained, export_format, agreements)
    write_json(place, description | {"files": hashes, "inputs": inputs})
    for precision, agreement in agreements.items():
        verdict = "good" if agreement.is_good else "not good"
        progress.say(f"{export_format}, {precision}: {verdict}; {agreement.describe()}, {agreement.num_images} images.")
    if trained.network.views != Views():
        progress.say(
            f"{chosen.file_name} holds the network alone; average its answers over the views in {DESCRIPTION_FILE}, "
            "as `emdenoise predict` and this comparison do."
        )
    exact = agreements.get("float32")
    if exact is not None and not exact.is_good:
        return Outcome(f"REFUSED: {exact.describe()}; do not use it.", exit_code=EXIT_REFUTED)
    return Outcome(f"Wrote {', '.join([*files, DESCRIPTION_FILE])} to {export_dir}.")


def _read_examples(data_dir: Path, workload: "Workload", step_px: int) -> list[Any]:
    """Read crops of training images, by which the ranges of an 8-bit network are found."""
    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.workloads.evaluate import read_pictures

    with RecordFile(data_dir / "train.h5") as records:
        samples, _ = read_pictures(records, workload.inputs, workload.truth, NUM_EXAMPLES)
    images = [sample[workload.inputs[0]][0, ..., 0] for sample in samples]
    sides = [min(*image.shape, EXAMPLE_SIDE_PX) // step_px * step_px for image in images]
    return [image[:side, :side] for image, side in zip(images, sides, strict=True)]


def _compare(
    trained: "TrainedModel", path: Path, format_name: str, samples: list[Any], truth: list[Any]
) -> "dict[str, Agreement]":
    """Compare the engine in each of its precisions with Keras."""
    from emdenoise.evaluation.agreement import measure_agreement
    from emdenoise.models.export import FORMATS
    from emdenoise.models.tiling import TiledMethod

    network, head, chosen = trained.network, trained.ports.head, FORMATS[format_name]
    reference = TiledMethod(network, head)
    return {
        precision: measure_agreement(
            reference, TiledMethod(network, head, chosen.load(path, precision, None)), samples, truth, head.kind
        )
        for precision in chosen.precisions
    }


def _describe(
    config: RunConfig, trained: "TrainedModel", format_name: str, agreements: "dict[str, Agreement]"
) -> dict[str, Any]:
    """Describe what another program needs to use the network as `predict` does."""
    from emdenoise.sources import SOURCES

    network, ports = trained.network, trained.ports
    return {
        "format": format_name,
        "workload": config.workload,
        "weights_sha256": trained.weights_sha256,
        "input": {
            "shape": [None, None, None, 1],
            "dtype": "float32",
            "step_px": network.step_px,
            "reach_px": network.reach_px,
        },
        "views": asdict(network.views),
        "output": {"shape": [None, None, None, ports.output_channels], "dtype": "float32"},
        "intensity": {
            "source": config.data.source,
            "scale_factor": config.data.scale_factor,
            "window_of_mean": SOURCES[config.data.source].find_window(config),
        },
        "precisions": {
            name: {**asdict(agreement), "is_good": agreement.is_good} for name, agreement in agreements.items()
        },
    }
