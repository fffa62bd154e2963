"""A study: many runs of the four tasks, and one table of all. What is done already is not done again.

A study may be killed at any time: a run that is complete is kept, one that is not goes on after its last epoch. Parts
of a study may be done by processes of their own, on several machines at once: first the images, then the runs.
"""

from pathlib import Path
from typing import Any

from emdenoise import __version__
from emdenoise.config.loading import hash_settings, load_settings
from emdenoise.config.schema import RunConfig
from emdenoise.config.studies import RunKey, StudyConfig, list_runs
from emdenoise.errors import DivergenceError, MissingInputError, ResourceError, SettingsError
from emdenoise.files.locks import lock_folder
from emdenoise.progress import Progress, SilentProgress
from emdenoise.results.environment import check_backend
from emdenoise.tables import look_up
from emdenoise.tasks import Outcome, download, preprocess, test, train

DEFAULT_PART = "all"
Configs = dict[RunKey, RunConfig]


def run_study(*, study_file: Path, study_dir: Path, part: str = DEFAULT_PART, progress: Progress) -> Outcome:
    """Run every combination of a study file and compare them, or do a part of that; goes on where it was stopped."""
    study = load_settings(study_file, StudyConfig, "study")
    configs = list_runs(study)
    check_backend()
    if part == "list":
        return _show_runs(study, configs, study_dir)
    if part in (DEFAULT_PART, "images"):
        with lock_folder(study_dir, is_written=True):
            _prepare_images(study, configs, study_dir, progress)
            if part == "images":
                return Outcome(f"The images of {len(configs)} runs are in {study_dir / 'images'}")
            return _run_all(study, configs, study_dir, progress)
    key = _find_run(configs, part)
    # Others may do other runs meanwhile; nobody may do this one, or the whole study.
    with lock_folder(study_dir, is_written=False), lock_folder(study_dir / "runs" / key.name, is_written=True):
        _check_prepared(study, configs, key, study_dir)
        _run_one(study, configs, key, study_dir, progress)
    return Outcome(f"The run {key.name} is in {study_dir / 'runs' / key.name}")


def _prepare_images(study: StudyConfig, configs: Configs, study_dir: Path, progress: Progress) -> None:
    for condition in study.conditions:
        key = next(key for key in configs if key.condition == condition)
        _prepare_data(configs[key], study_dir / "images" / condition, progress)


def _run_all(study: StudyConfig, configs: Configs, study_dir: Path, progress: Progress) -> Outcome:
    """Do all runs, one after the other, and compare what is there after each."""
    from emdenoise.tools.comparison import Run, compare_runs
    from emdenoise.tools.study_files import write_comparison

    runs, failures, exit_code = [], dict[RunKey, str](), 0
    for number, key in enumerate(configs):
        progress.step("study", number, len(configs), key.name)
        try:
            for condition, output_dir in _run_one(study, configs, key, study_dir, SilentProgress()).items():
                runs.append(Run(key, condition, output_dir))
        except (DivergenceError, ResourceError) as error:  # of this run; the others may do better
            failures[key], exit_code = str(error).partition(";")[0], error.exit_code
            progress.say(f"{key.name} failed: {error}")
        metric = study.metric or look_up("workloads", configs[key].workload).main_metric
        metrics, reference = (metric, *study.other_metrics), next(iter(study.variants))
        comparison = compare_runs(runs, metrics=metrics, reference=reference, failures=failures)
        write_comparison(comparison, study_dir, study.variants)
    progress.step("study", len(configs), len(configs))
    failed = f"; {len(failures)} failed" if failures else ""
    message = f"{len(configs) - len(failures)} runs are compared in {study_dir / 'study.md'}{failed}"
    return Outcome(message, comparison.make_table(), exit_code)


def _run_one(study: StudyConfig, configs: Configs, key: RunKey, study_dir: Path, progress: Progress) -> dict[str, Path]:
    """Train one run and test it on the images of every condition; returns the folders of the results."""
    _train(configs[key], key, study_dir, progress)
    return {
        condition: _test(configs[key._replace(condition=condition)], key, condition, study_dir, progress)
        for condition in study.conditions
    }


def _show_runs(study: StudyConfig, configs: Configs, study_dir: Path) -> Outcome:
    """List the runs: which are done, and which wait for the network that another one pretrains."""
    rows = [["run", "state", "after"]]
    for key in configs:
        is_done = _is_run_done(study, configs, key, study_dir)
        rows.append([key.name, "done" if is_done else "open", _find_teacher(configs, key, study_dir) or "–"])
    num_open = sum(state == "open" for _, state, _ in rows[1:])
    return Outcome(f"{num_open} of {len(configs)} runs are to be done in {study_dir}", rows)


def _find_run(configs: Configs, name: str) -> RunKey:
    from difflib import get_close_matches

    keys = {key.name: key for key in configs}
    if name not in keys:
        near = get_close_matches(name, [*keys, DEFAULT_PART, "images", "list"], n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(
            f'part is "{name}"; it must be all, images, list or a run of the study, which --part=list shows{meant}'
        )
    return keys[name]


def _find_teacher(configs: Configs, key: RunKey, study_dir: Path) -> str | None:
    """Name the run that pretrains for this one, the first in the study's order; None if there is none to wait for."""
    shared = _locate_pretrained(configs[key], key, study_dir)
    if shared is None or _has_network(shared):
        return None
    first = next(other for other in configs if _locate_pretrained(configs[other], other, study_dir) == shared)
    return None if first == key else first.name


def _check_prepared(study: StudyConfig, configs: Configs, key: RunKey, study_dir: Path) -> None:
    for condition in study.conditions:
        if not _has_data(configs[key._replace(condition=condition)], study_dir / "images" / condition):
            raise MissingInputError(
                f"the images of {study_dir} are missing, or of other settings; run the study with --part=images first."
            )
    teacher = _find_teacher(configs, key, study_dir)
    if teacher is not None:
        raise MissingInputError(
            f"the network that {key.name} starts from is missing; run the study with --part={teacher} first."
        )


def _is_run_done(study: StudyConfig, configs: Configs, key: RunKey, study_dir: Path) -> bool:
    """Tell whether a run is trained and tested on all images, and its pretrained network is there for the others."""
    shared = _locate_pretrained(configs[key], key, study_dir)
    return (
        _is_done(configs[key], study_dir / "runs" / key.name / "model", "train")
        and (shared is None or _has_network(shared))
        and all(
            _is_tested(configs[key._replace(condition=condition)], key, condition, study_dir)
            for condition in study.conditions
        )
    )


def _write_parameters(config: RunConfig, folder: Path) -> Path:
    from emdenoise.files.atomic import write_yaml

    path = folder / "run.parameters.yaml"
    write_yaml(path, config.model_dump(mode="json"))
    return path


def _prepare_data(config: RunConfig, folder: Path, progress: Progress) -> None:
    """Download and preprocess once for all runs that learn from these images or are tested on them."""
    raw_data_dir, data_dir = folder / "raw_data", folder / "data"
    parameters_file = _write_parameters(config, folder)
    download(parameters_file=parameters_file, raw_data_dir=raw_data_dir, progress=progress)
    if not _has_data(config, folder):
        preprocess(parameters_file=parameters_file, raw_data_dir=raw_data_dir, data_dir=data_dir, progress=progress)


def _has_network(folder: Path) -> bool:
    from emdenoise.models.checkpoints import has_model

    return has_model(folder)


def _has_data(config: RunConfig, folder: Path) -> bool:
    """Tell whether the images are there and of the settings that the study has now."""
    from emdenoise.results.preconditions import check_data

    try:
        check_data(config, folder / "data")
    except MissingInputError:
        return False
    return True


def _locate_pretrained(config: RunConfig, key: RunKey, study_dir: Path) -> Path | None:
    """Give the folder of the pretrained network for all runs that would pretrain the same; None without pretraining."""
    if config.pretraining.method == "none":
        return None
    from emdenoise.training.pretraining import PRETRAINED_FOLDER, hash_pretraining

    return study_dir / PRETRAINED_FOLDER / hash_pretraining(config, {"condition": key.condition})[:16]


def _train(config: RunConfig, key: RunKey, study_dir: Path, progress: Progress) -> None:
    """Train one run, unless that is done; weights pretrained for one run serve all that would pretrain the same."""
    from emdenoise.models.checkpoints import copy_model, has_model
    from emdenoise.training.pretraining import PRETRAINED_FOLDER

    folder = study_dir / "runs" / key.name
    shared = _locate_pretrained(config, key, study_dir)
    pretrained = folder / "model" / PRETRAINED_FOLDER
    if not _is_done(config, folder / "model", "train"):
        parameters_file = _write_parameters(config, folder)
        if shared is not None and has_model(shared) and not has_model(pretrained):
            copy_model(shared, pretrained)
        data_dir = study_dir / "images" / key.condition / "data"
        folders: dict[str, Any] = {"data_dir": data_dir, "model_dir": folder / "model", "output_dir": folder / "output"}
        train(parameters_file=parameters_file, **folders, progress=progress)
    if shared is not None and has_model(pretrained) and not has_model(shared):
        copy_model(pretrained, shared)


def _test(config: RunConfig, key: RunKey, condition: str, study_dir: Path, progress: Progress) -> Path:
    """Test one run on the images of a condition, unless that is done; returns the folder of the results."""
    place = _locate_test(key, condition, study_dir)
    if not _is_tested(config, key, condition, study_dir):
        folders: dict[str, Any] = {
            "data_dir": study_dir / "images" / condition / "data",
            "model_dir": study_dir / "runs" / key.name / "model",
            "output_dir": place / "output",
        }
        test(parameters_file=_write_parameters(config, place), **folders, progress=progress)
    return place / "output"


def _locate_test(key: RunKey, condition: str, study_dir: Path) -> Path:
    folder = study_dir / "runs" / key.name
    return folder if condition == key.condition else folder / f"tested_on_{condition}"


def _is_tested(config: RunConfig, key: RunKey, condition: str, study_dir: Path) -> bool:
    output_dir = _locate_test(key, condition, study_dir) / "output"
    return _is_done(config, output_dir, "test") and _has_tested(study_dir / "runs" / key.name / "model", output_dir)


def _is_done(config: RunConfig, folder: Path, task: str) -> bool:
    from emdenoise.results.task_record import read_record

    if not (folder / "records" / f"{task}.json").exists():
        return False
    record = read_record(folder, task)
    is_comparable = record.emdenoise_version.split(".")[:2] == __version__.split(".")[:2]
    return is_comparable and record.settings_sha256 == hash_settings(config)


def _has_tested(model_dir: Path, output_dir: Path) -> bool:
    """Tell whether the test was of the weights that are there now."""
    from emdenoise.results.task_record import read_record

    return read_record(output_dir, "test").inputs.get("weights") == read_record(model_dir, "train").outputs["weights"]
