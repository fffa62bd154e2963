"""A study: many runs of the four tasks, and one table of all. What is done already is not done again.

A study may be killed at any time: a run that is complete is kept, one that is not goes on after its last epoch.
"""

from pathlib import Path

from emdenoise import __version__
from emdenoise.config.loading import hash_settings, load_settings
from emdenoise.config.schema import RunConfig
from emdenoise.config.study import RunKey, StudyConfig, list_runs
from emdenoise.data.locking import hold_folders
from emdenoise.progress import Progress, SilentProgress
from emdenoise.tasks import Outcome, download, preprocess, test, train


@hold_folders(writes=("study_dir",))
def run_study(*, study_file: Path, study_dir: Path, progress: Progress) -> Outcome:
    """Run every combination of a study file and compare them; goes on where it was stopped."""
    from emdenoise.results.comparison import Run, compare_runs, write_comparison

    study = load_settings(study_file, StudyConfig)
    configs = list_runs(study)
    for condition in study.conditions:
        key = next(key for key in configs if key.condition == condition)
        _prepare_data(configs[key], study_dir / "images" / condition, progress)
    runs = []
    for number, key in enumerate(configs):
        progress.step("study", number, len(configs), key.name)
        _train(configs[key], key, study_dir)
        for condition in study.conditions:
            output_dir = _test(configs[key._replace(condition=condition)], key, condition, study_dir)
            runs.append(Run(key, condition, output_dir))
        metrics, reference = (study.metric, *study.other_metrics), next(iter(study.variants))
        comparison = compare_runs(runs, metrics=metrics, reference=reference)
        write_comparison(comparison, study_dir)
    progress.step("study", len(configs), len(configs))
    return Outcome(f"{len(configs)} runs are compared in {study_dir / 'study.md'}", comparison.make_table())


def _write_parameters(config: RunConfig, folder: Path) -> Path:
    from emdenoise.data.storage import write_yaml

    path = folder / "run.parameters.yaml"
    write_yaml(path, config.model_dump(mode="json"))
    return path


def _prepare_data(config: RunConfig, folder: Path, progress: Progress) -> None:
    """Download and preprocess once for all runs that learn from these images or are tested on them."""
    raw_data_dir, data_dir = folder / "raw_data", folder / "data"
    parameters_file = _write_parameters(config, folder)
    download(parameters_file=parameters_file, raw_data_dir=raw_data_dir, progress=progress)
    if not (data_dir / "records" / "preprocess.json").exists():
        preprocess(parameters_file=parameters_file, raw_data_dir=raw_data_dir, data_dir=data_dir, progress=progress)


def _train(config: RunConfig, key: RunKey, study_dir: Path) -> None:
    """Train one run, unless that is done; weights pretrained for one run serve all that would pretrain the same."""
    from emdenoise.models.checkpoints import copy_model, has_model
    from emdenoise.training.pretraining import PRETRAINED_FOLDER, hash_pretraining

    folder = study_dir / "runs" / key.name
    pretrained = folder / "model" / PRETRAINED_FOLDER
    shared = study_dir / PRETRAINED_FOLDER / hash_pretraining(config, {"condition": key.condition})[:16]
    if not _is_done(config, folder / "model", "train"):
        parameters_file = _write_parameters(config, folder)
        if has_model(shared) and not has_model(pretrained):
            copy_model(shared, pretrained)
        data_dir = study_dir / "images" / key.condition / "data"
        folders = {"data_dir": data_dir, "model_dir": folder / "model", "output_dir": folder / "output"}
        train(parameters_file=parameters_file, **folders, progress=SilentProgress())
    if has_model(pretrained) and not has_model(shared):
        copy_model(pretrained, shared)


def _test(config: RunConfig, key: RunKey, condition: str, study_dir: Path) -> Path:
    """Test one run on the images of a condition, unless that is done; returns the folder of the results."""
    folder = study_dir / "runs" / key.name
    place = folder if condition == key.condition else folder / f"tested_on_{condition}"
    output_dir = place / "output"
    if not _is_done(config, output_dir, "test") or not _has_tested(folder / "model", output_dir):
        data_dir = study_dir / "images" / condition / "data"
        folders = {"data_dir": data_dir, "model_dir": folder / "model", "output_dir": output_dir}
        test(parameters_file=_write_parameters(config, place), **folders, progress=SilentProgress())
    return output_dir


def _is_done(config: RunConfig, folder: Path, task: str) -> bool:
    from emdenoise.results.manifest import read_record

    if not (folder / "records" / f"{task}.json").exists():
        return False
    record = read_record(folder, task)
    is_comparable = record.emdenoise_version.split(".")[:2] == __version__.split(".")[:2]
    return is_comparable and record.settings_sha256 == hash_settings(config)


def _has_tested(model_dir: Path, output_dir: Path) -> bool:
    """Tell whether the test was of the weights that are there now."""
    from emdenoise.results.manifest import read_record

    return read_record(output_dir, "test").inputs.get("weights") == read_record(model_dir, "train").outputs["weights"]
