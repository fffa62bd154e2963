"""A study: many runs of the four tasks, and one table of all. What is done already is not done again.

A study may be killed at any time: a run that is complete is kept, one that is not goes on after its last epoch.
"""

import shutil
from pathlib import Path

import yaml

from emdenoise.config.loading import hash_settings, load_settings
from emdenoise.config.schema import RunConfig
from emdenoise.config.study import StudyConfig, list_runs
from emdenoise.progress import Progress, SilentProgress
from emdenoise.tasks import Outcome, download, preprocess, test, train


def run_study(*, study_file: Path, study_dir: Path, progress: Progress) -> Outcome:
    """Run every combination of a study file and compare them; goes on where it was stopped."""
    from emdenoise.results.comparison import Run, compare_runs, write_comparison

    study = load_settings(study_file, StudyConfig)
    configs = list_runs(study)
    _prepare_data(next(iter(configs.values())), study_dir, progress)
    runs = []
    for number, ((variant, num_images, seed), config) in enumerate(configs.items()):
        name = f"{variant}-{num_images or 'all'}-{seed}"
        progress.step("study", number, len(configs), name)
        folder = study_dir / "runs" / name
        if not _is_done(config, folder):
            _execute(config, folder, study_dir)
        runs.append(Run(variant, num_images, seed, folder / "output"))
        comparison = compare_runs(runs, metric=study.metric, reference=next(iter(study.variants)))
        write_comparison(comparison, study_dir)
    progress.step("study", len(configs), len(configs))
    return Outcome(f"{len(runs)} runs are compared in {study_dir / 'study.md'}", comparison.make_table())


def _write_parameters(config: RunConfig, folder: Path) -> Path:
    path = folder / "run.parameters.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    return path


def _prepare_data(config: RunConfig, study_dir: Path, progress: Progress) -> None:
    """Download and preprocess once for all runs, which share the data."""
    raw_data_dir, data_dir = study_dir / "raw_data", study_dir / "data"
    parameters_file = _write_parameters(config, study_dir)
    download(parameters_file=parameters_file, raw_data_dir=raw_data_dir, progress=progress)
    if not (data_dir / "records" / "preprocess.json").exists():
        preprocess(parameters_file=parameters_file, raw_data_dir=raw_data_dir, data_dir=data_dir, progress=progress)


def _is_done(config: RunConfig, folder: Path) -> bool:
    from emdenoise.results.manifest import read_record

    is_there = (folder / "output" / "scores.json").exists() and (folder / "output" / "records" / "test.json").exists()
    return is_there and read_record(folder / "output", "test").settings_sha256 == hash_settings(config)


def _execute(config: RunConfig, folder: Path, study_dir: Path) -> None:
    """Train and test one run; weights pretrained for one run serve all that would pretrain the same."""
    from emdenoise.training.pretraining import PRETRAINED_FOLDER, hash_pretraining

    parameters_file = _write_parameters(config, folder)
    pretrained = folder / "model" / PRETRAINED_FOLDER
    shared = study_dir / PRETRAINED_FOLDER / hash_pretraining(config, {})[:16]
    if shared.exists() and not pretrained.exists():
        shutil.copytree(shared, pretrained)
    folders = {"data_dir": study_dir / "data", "model_dir": folder / "model", "output_dir": folder / "output"}
    train(parameters_file=parameters_file, **folders, progress=SilentProgress())
    if pretrained.exists() and not shared.exists():
        partial = shared.with_name(f".partial-{shared.name}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(pretrained, partial)
        partial.rename(shared)
    test(parameters_file=parameters_file, **folders, progress=SilentProgress())
