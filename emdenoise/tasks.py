"""TASKS: the four tasks of the benchmark, each told as a story.

Arithmetic, files and formats are in the modules below; printing is in `cli.py`. Parameters of these functions are the
options of the command line and, but for `changes`, the parameters of ``mlcube.yaml``.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from emdenoise.config.loading import load_config
from emdenoise.files.locks import hold_folders
from emdenoise.processes import join_processes
from emdenoise.progress import Progress
from emdenoise.results.environment import check_backend

Changes: TypeAlias = Mapping[str, Any] | None
"""Settings that take the place of those in the parameters file, by name: ``{"training.epochs": 5}``."""


@dataclass(frozen=True)
class Outcome:
    """What a task tells in the end.

    Attributes
    ----------
    message : str
        One line.
    table : list of list of str
        Heading and rows; empty for none.
    exit_code : int
        Of the command; not 0 where what was asked is answered with no.
    """

    message: str
    table: list[list[str]] = field(default_factory=list)
    exit_code: int = 0


@hold_folders(writes=("raw_data_dir",))
def download(*, parameters_file: Path, raw_data_dir: Path, changes: Changes = None, progress: Progress) -> Outcome:
    """Fetch or simulate the images of the source that the parameters file names."""
    from emdenoise.results.task_record import TaskRecorder
    from emdenoise.sources import SOURCES

    config = load_config(parameters_file, changes)
    recorder = TaskRecorder("download", config)
    with recorder.phase("download"):
        files = SOURCES[config.data.source].download(config, raw_data_dir, progress)
    recorder.finish(raw_data_dir, {}, files)
    return Outcome(f"Source {config.data.source} is complete and verified: {len(files)} files.")


@hold_folders(reads=("raw_data_dir",), writes=("data_dir",))
def preprocess(
    *, parameters_file: Path, raw_data_dir: Path, data_dir: Path, changes: Changes = None, progress: Progress
) -> Outcome:
    """Bring the images of the source into the one form that training and test read."""
    from emdenoise.dataset.preprocess import preprocess_source
    from emdenoise.results.preconditions import check_source
    from emdenoise.results.task_record import TaskRecorder, copy_records, forget_record, read_record
    from emdenoise.sources import SOURCES

    config = load_config(parameters_file, changes)
    downloaded = read_record(raw_data_dir, "download")
    check_source(config, downloaded)
    recorder = TaskRecorder("preprocess", config)
    forget_record(data_dir, "preprocess")
    with recorder.phase("preprocess"):
        contents, files = preprocess_source(SOURCES[config.data.source], config, raw_data_dir, data_dir, progress)
    copy_records(raw_data_dir, data_dir)
    recorder.finish(data_dir, downloaded.outputs, contents, {"file_sha256": files})
    return Outcome(f"Wrote {', '.join(contents)} and croissant.json.")


@hold_folders(reads=("data_dir",), writes=("model_dir", "output_dir"), is_shared=True)
def train(
    *,
    parameters_file: Path,
    data_dir: Path,
    model_dir: Path,
    output_dir: Path,
    changes: Changes = None,
    progress: Progress,
) -> Outcome:
    """Train the network of the parameters file; validation images are only looked at."""
    config = load_config(parameters_file, changes)
    check_backend()
    group = join_processes(config.num_processes)  # before Keras is imported

    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.dataset.whole_images import show_for_validation
    from emdenoise.models.backend import list_accelerators
    from emdenoise.models.checkpoints import set_aside
    from emdenoise.results.preconditions import check_data
    from emdenoise.results.task_record import TaskRecorder, copy_records, forget_record, write_record
    from emdenoise.training.pretraining import pretrain_network
    from emdenoise.training.start import Lesson, agree_on_weights, keep_network, open_checkpoint, start_learner
    from emdenoise.workloads import WORKLOADS
    from emdenoise.workloads.contract import check_division

    workload = WORKLOADS[config.workload]
    check_division(config, workload)
    inputs = check_data(config, data_dir, "train.h5", "validation.h5", is_hashed=group.is_leader)
    recorder = TaskRecorder("train", config)
    checkpoint = open_checkpoint(config, group, model_dir, inputs)
    with RecordFile(data_dir / "train.h5") as images, RecordFile(data_dir / "validation.h5") as validation:
        shown = show_for_validation(validation, config.training)
        lesson = Lesson(
            workload.make_objective(config.training),
            workload.make_ports(images, config.training),
            images,
            shown,
            workload.make_judge(config, shown, group),
        )
        with recorder.phase("pretrain"):
            pretrained = pretrain_network(config, images, validation, model_dir, inputs=inputs, progress=progress)
        start = start_learner(config, lesson, pretrained, group=group, progress=progress)
        with recorder.phase("train"):
            result = start.run(config.training, checkpoint, progress)
    weights = agree_on_weights(start.learner, group)
    if group.is_leader:
        set_aside(model_dir, weights, progress)
        forget_record(model_dir, "train")
    keep_network(start.network.model, config, group, model_dir, ports=lesson.ports, inputs=inputs)
    if not group.is_leader:
        return Outcome(f"Process {group.rank} of {group.size} ends with weights {weights[:12]}; process 0 keeps them.")
    found = result.describe(start.network.model) | start.facts | workload.describe_target(config)
    record = recorder.describe(inputs, {"weights": weights}, found, list_accelerators())
    forget_record(output_dir, "test")  # it is of the model before
    for folder in (output_dir, model_dir):  # with the record beside the model the training is done
        copy_records(data_dir, folder)
        write_record(folder, record)
    checkpoint.remove()
    return Outcome(f"{result.summarise()}; weights {weights[:12]}.")


@hold_folders(reads=("data_dir", "model_dir"), writes=("output_dir",))
def test(
    *,
    parameters_file: Path,
    data_dir: Path,
    model_dir: Path,
    output_dir: Path,
    changes: Changes = None,
    progress: Progress,
) -> Outcome:
    """Score the trained network and the classical methods on the test images, and write the report."""
    config = load_config(parameters_file, changes)
    check_backend()  # before Keras is imported

    from emdenoise.dataset.record_file import RecordFile
    from emdenoise.files.atomic import write_json
    from emdenoise.models.backend import list_accelerators, prepare_backend
    from emdenoise.models.checkpoints import load_model
    from emdenoise.models.tiling import TiledMethod
    from emdenoise.results.preconditions import check_data, check_model
    from emdenoise.results.report import ReportWords, write_report
    from emdenoise.results.tables import make_difference_rows, make_table, summarise_scores
    from emdenoise.results.task_record import TaskRecorder, copy_records, forget_record, read_record, write_record
    from emdenoise.sources import SOURCES
    from emdenoise.training.pretraining import show_pretrained
    from emdenoise.workloads import WORKLOADS
    from emdenoise.workloads.contract import check_division
    from emdenoise.workloads.evaluate import evaluate

    workload = WORKLOADS[config.workload]
    check_division(config, workload)
    learned = ["train.h5"] if workload.has_learning_baselines(config) else []
    inputs = check_data(config, data_dir, *learned, "validation.h5", "test.h5")
    recorder = TaskRecorder("test", config)
    prepare_backend(config.training, config.seed)
    trained = load_model(model_dir)
    check_model(config, trained.description, read_record(model_dir, "train"))
    with ExitStack() as stack:
        files = {Path(name).stem: stack.enter_context(RecordFile(data_dir / name)) for name in inputs}
        images = files["test"]
        specimens = images.read_text("specimen")
        image_specimens = [specimens[tiles[0]] for tiles in images.list_whole_images()]
        progress.say(f"Testing on {len(image_specimens)} images, weights {trained.weights_sha256[:12]}.")
        with recorder.phase("evaluate"):
            network = TiledMethod(trained.network, trained.ports.head)
            evaluation = evaluate(workload, config, network, progress=progress, **files)
        scores = summarise_scores(config, evaluation.methods, image_specimens, **evaluation.conditions)
    forget_record(output_dir, "test")
    copy_records(model_dir, output_dir)
    write_json(output_dir / "scores.json", scores)
    inputs |= {"weights": trained.weights_sha256}
    found = evaluation.describe() | {"specimens": image_specimens}
    record = recorder.describe(inputs, {}, found, list_accelerators())
    pictures = show_pretrained(config, model_dir, evaluation.pictures[workload.inputs[0]]) | evaluation.pictures
    window = SOURCES[config.data.source].find_window(config)
    words = ReportWords(workload.description, workload.main_metric, workload.head.kind, window, workload.inputs[0])
    colours, particles = evaluation.colours, evaluation.particles
    write_report(output_dir, words, scores, pictures, colours=colours, test=record, particles=particles)
    write_record(output_dir, record)
    table = make_table(scores, is_compact=True) + make_difference_rows(scores, is_compact=True)
    return Outcome(f"The report is {output_dir / 'report.html'}", table)


TASKS: dict[str, Callable[..., Outcome]] = {
    "download": download,
    "preprocess": preprocess,
    "train": train,
    "test": test,
}
