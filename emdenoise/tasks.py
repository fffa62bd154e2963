"""TASKS: the four tasks of the benchmark, each told as a story.

Arithmetic, files and formats are in the modules below; printing is in `cli.py`. Parameters of these functions are the
options of the command line and the parameters of ``mlcube.yaml``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from emdenoise.config.loading import load_config
from emdenoise.data.locking import hold_folders
from emdenoise.progress import Progress
from emdenoise.world import join_world


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
def download(*, parameters_file: Path, raw_data_dir: Path, progress: Progress) -> Outcome:
    """Fetch or simulate the images of the source that the parameters file names."""
    from emdenoise.data.catalog import SOURCES
    from emdenoise.results.manifest import TaskRecorder

    config = load_config(parameters_file)
    recorder = TaskRecorder("download", config)
    with recorder.phase("download"):
        files = SOURCES[config.data.source].download(config, raw_data_dir, progress)
    recorder.finish(raw_data_dir, {}, files)
    return Outcome(f"Source {config.data.source} is complete and verified: {len(files)} files.")


@hold_folders(reads=("raw_data_dir",), writes=("data_dir",))
def preprocess(*, parameters_file: Path, raw_data_dir: Path, data_dir: Path, progress: Progress) -> Outcome:
    """Bring the images of the source into the one form that training and test read."""
    from emdenoise.data.preprocess import preprocess_source
    from emdenoise.results.manifest import TaskRecorder, copy_records, forget_record, read_record
    from emdenoise.results.sequence import check_source

    config = load_config(parameters_file)
    downloaded = read_record(raw_data_dir, "download")
    check_source(config, downloaded)
    recorder = TaskRecorder("preprocess", config)
    forget_record(data_dir, "preprocess")
    with recorder.phase("preprocess"):
        contents, files = preprocess_source(config, raw_data_dir, data_dir, progress)
    copy_records(raw_data_dir, data_dir)
    recorder.finish(data_dir, downloaded.outputs, contents, {"file_sha256": files})
    return Outcome(f"Wrote {', '.join(contents)} and croissant.json.")


@hold_folders(reads=("data_dir",), writes=("model_dir", "output_dir"), is_shared=True)
def train(*, parameters_file: Path, data_dir: Path, model_dir: Path, output_dir: Path, progress: Progress) -> Outcome:
    """Train the network of the parameters file; validation images are only looked at."""
    config = load_config(parameters_file)
    world = join_world(config.num_processes)  # before Keras is imported

    from emdenoise.data.pipeline import TrainingBatches, WholeImages
    from emdenoise.data.storage import RecordFile
    from emdenoise.models.backend import list_accelerators
    from emdenoise.models.checkpoints import set_aside
    from emdenoise.results.manifest import TaskRecorder, copy_records, forget_record, write_record
    from emdenoise.results.sequence import check_data
    from emdenoise.training.epochs import run_epochs
    from emdenoise.training.pretraining import pretrain_network
    from emdenoise.training.start import agree_on_weights, keep_network, open_checkpoint, start_learner
    from emdenoise.training.transfer import choose_freeze
    from emdenoise.workloads import WORKLOADS
    from emdenoise.workloads.contract import check_division

    workload = WORKLOADS[config.workload]
    check_division(config)
    inputs = check_data(config, data_dir, "train.h5", "validation.h5", is_hashed=world.is_leader)
    recorder = TaskRecorder("train", config)
    checkpoint = open_checkpoint(config, world, model_dir, inputs)
    with RecordFile(data_dir / "train.h5") as images, RecordFile(data_dir / "validation.h5") as validation:
        num_outputs, num_validation = workload.count_outputs(images, config.training.epochs), len(validation)
        with recorder.phase("pretrain"):
            pretrained = pretrain_network(config, images, validation, model_dir, inputs=inputs, progress=progress)
        batches = TrainingBatches(images, workload.fields, config.training, config.seed, world)
        learner, learned = start_learner(config, batches, pretrained, num_outputs, world=world, progress=progress)
        whole = WholeImages(validation, workload.fields, config.evaluation.batch_size, world)
        freeze = choose_freeze(config.pretraining)
        with recorder.phase("train"):
            result = run_epochs(
                learner, batches, whole, config.training, checkpoint=checkpoint, progress=progress, freeze=freeze
            )
    weights = agree_on_weights(learner, world)
    if world.is_leader:
        set_aside(model_dir, weights, progress)
        forget_record(model_dir, "train")
    keep_network(learner.model, config, world, model_dir, num_outputs=num_outputs, inputs=inputs)
    if not world.is_leader:
        return Outcome(f"Process {world.rank} of {world.size} ends with weights {weights[:12]}; process 0 keeps them.")
    learned |= {"target_loss": workload.find_target(config), "num_validation_images": num_validation}
    found = result.describe(learner.model) | learned
    record = recorder.describe(inputs, {"weights": weights}, found, list_accelerators())
    forget_record(output_dir, "test")  # it is of the model before
    for folder in (output_dir, model_dir):  # with the record beside the model the training is done
        copy_records(data_dir, folder)
        write_record(folder, record)
    checkpoint.remove()
    return Outcome(f"{result.summarise()}; weights {weights[:12]}.")


@hold_folders(reads=("data_dir", "model_dir"), writes=("output_dir",))
def test(*, parameters_file: Path, data_dir: Path, model_dir: Path, output_dir: Path, progress: Progress) -> Outcome:
    """Score the trained network and the classical methods on the test images, and write the report."""
    from emdenoise.data.storage import RecordFile, write_json
    from emdenoise.models.backend import list_accelerators, prepare_backend
    from emdenoise.models.checkpoints import load_model
    from emdenoise.models.prediction import make_method
    from emdenoise.results.manifest import TaskRecorder, copy_records, forget_record, read_record, write_record
    from emdenoise.results.report import write_report
    from emdenoise.results.scores import make_table, summarise_scores
    from emdenoise.results.sequence import check_data, check_model
    from emdenoise.training.pretraining import show_pretrained
    from emdenoise.workloads import WORKLOADS
    from emdenoise.workloads.contract import check_division

    config = load_config(parameters_file)
    workload = WORKLOADS[config.workload]
    check_division(config)
    inputs = check_data(config, data_dir, "validation.h5", "test.h5")
    recorder = TaskRecorder("test", config)
    prepare_backend(config.training, config.seed)
    trained = load_model(model_dir)
    check_model(config, trained.description, read_record(model_dir, "train"))
    with RecordFile(data_dir / "validation.h5") as validation, RecordFile(data_dir / "test.h5") as images:
        specimens = images.read_text("specimen")
        image_specimens = [specimens[tiles[0]] for tiles in images.list_whole_images()]
        progress.say(f"Testing on {len(image_specimens)} images, weights {trained.weights_sha256[:12]}.")
        with recorder.phase("evaluate"):
            evaluation = workload.evaluate(
                config, make_method(trained.model, workload.target_field), validation, images, progress
            )
        scores = summarise_scores(config, evaluation.methods, image_specimens)
    forget_record(output_dir, "test")
    copy_records(model_dir, output_dir)
    write_json(output_dir / "scores.json", scores)
    inputs |= {"weights": trained.weights_sha256}
    found = evaluation.describe() | {"specimens": image_specimens}
    record = recorder.describe(inputs, {}, found, list_accelerators())
    pictures = show_pretrained(config, model_dir, evaluation.pictures["noisy"]) | evaluation.pictures
    write_report(output_dir, workload.description, workload.main_metric, scores, pictures, test=record)
    write_record(output_dir, record)
    return Outcome(f"The report is {output_dir / 'report.html'}", make_table(scores, is_compact=True))


TASKS: dict[str, Callable[..., Outcome]] = {
    "download": download,
    "preprocess": preprocess,
    "train": train,
    "test": test,
}
