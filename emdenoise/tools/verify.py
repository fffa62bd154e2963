"""Doing a result again: `verify` repeats the run, `rescore` tests its weights again; both say where it differs."""

from pathlib import Path
from typing import Any

from emdenoise.errors import EXIT_REFUTED
from emdenoise.files.locks import hold_folders
from emdenoise.progress import Progress
from emdenoise.tasks import Outcome, download, preprocess, test, train


@hold_folders(reads=("result_dir",), writes=("work_dir",))
def verify(*, result_dir: Path, work_dir: Path, progress: Progress) -> Outcome:
    """Repeat the run of a result from its records alone, and say whether it comes out equal.

    Images that are not simulated are looked for in ``raw_data`` of the work folder.
    """
    parameters_file = make_data(result_dir, work_dir, progress)
    data_dir, model_dir, output_dir = (work_dir / name for name in ("data", "model", "output"))
    folders: dict[str, Any] = {"data_dir": data_dir, "model_dir": model_dir, "output_dir": output_dir}
    train(parameters_file=parameters_file, **folders, progress=progress)
    test(parameters_file=parameters_file, **folders, progress=progress)
    return _judge(result_dir, output_dir, data_dir, is_trained_again=True)


@hold_folders(reads=("result_dir",), writes=("work_dir",))
def rescore(*, result_dir: Path, data_dir: Path, model_dir: Path, work_dir: Path, progress: Progress) -> Outcome:
    """Test the weights of a result again, and say whether the scores come out equal."""
    parameters_file, output_dir = write_settings(result_dir, work_dir), work_dir / "output"
    folders: dict[str, Any] = {"data_dir": data_dir, "model_dir": model_dir, "output_dir": output_dir}
    test(parameters_file=parameters_file, **folders, progress=progress)
    return _judge(result_dir, output_dir, data_dir, is_trained_again=False)


def make_data(result_dir: Path, work_dir: Path, progress: Progress) -> Path:
    """Make the images of a result again, in ``data`` of the work folder; returns the parameters file.

    Parameters
    ----------
    result_dir : Path
        Folder with ``records``.
    work_dir : Path
        Images that are not simulated are looked for in its ``raw_data``.
    progress : Progress
    """
    parameters_file = write_settings(result_dir, work_dir)
    raw_data_dir, data_dir = work_dir / "raw_data", work_dir / "data"
    download(parameters_file=parameters_file, raw_data_dir=raw_data_dir, progress=progress)
    preprocess(parameters_file=parameters_file, raw_data_dir=raw_data_dir, data_dir=data_dir, progress=progress)
    return parameters_file


def write_settings(result_dir: Path, work_dir: Path) -> Path:
    """Write the settings that a result was made with as a parameters file; returns its path.

    Parameters
    ----------
    result_dir : Path
        Folder with ``records``.
    work_dir : Path
    """
    from emdenoise.files.atomic import write_yaml
    from emdenoise.results.task_record import read_record

    settings = read_record(result_dir, "test").settings
    if "data" in settings:
        settings["data"]["mirror"] = None  # a place that the record names is not to be trusted; images are in raw_data
    path = work_dir / "verify.parameters.yaml"
    write_yaml(path, settings)
    return path


def _judge(result_dir: Path, output_dir: Path, data_dir: Path, *, is_trained_again: bool) -> Outcome:
    from emdenoise.tools.verdicts import VERDICTS, compare_results, find_worst, make_verdict_table

    findings = compare_results(result_dir, output_dir, data_dir, is_trained_again=is_trained_again)
    worst = find_worst(findings)
    counts = ", ".join(f"{sum(finding.verdict == verdict for finding in findings)} {verdict}" for verdict in VERDICTS)
    return Outcome(
        f"The result is {worst}: {counts} of {len(findings)} parts.",
        make_verdict_table([finding for finding in findings if finding.verdict != "equal"]) if worst != "equal" else [],
        exit_code=EXIT_REFUTED if worst == "different" else 0,
    )
