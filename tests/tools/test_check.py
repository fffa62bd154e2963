"""From runs to a package to a verdict, with weights that are tested again."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from emdenoise.errors import EXIT_REFUTED, DataError, MissingInputError, SettingsError
from emdenoise.evaluation.conditions import CONDITIONS
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.progress import SilentProgress
from emdenoise.results import task_record
from emdenoise.results.mllog import write_log
from emdenoise.results.tables import summarise_scores
from emdenoise.results.task_record import read_record
from emdenoise.simulation import simulate
from emdenoise.tools.archive import write_archive
from emdenoise.tools.check import check
from emdenoise.tools.packages import read_submission
from emdenoise.tools.packing import PACKAGE_FILE, make_events
from emdenoise.tools.study import run_study
from emdenoise.tools.submit import submit

pytestmark = pytest.mark.long

SYSTEM_FILE = Path(__file__).parents[2] / "workspace" / "parameters" / "example.system.yaml"
NO_PROGRESS = SilentProgress()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Callable[..., dict[str, Any]]) -> Iterator[Path]:
    """Run a study of two seeds, of the open division and with pretraining, and pack its runs."""
    folder = tmp_path_factory.mktemp("submission")
    base = tiny_settings(pretraining={"method": "denoise", "epochs": 1, "batch_size": 4})
    study = {"base": base, "variants": {"mine": {}}, "seeds": [0, 1], "metric": "psnr_db"}
    (folder / "mine.study.yaml").write_text(yaml.safe_dump(study))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "open_pool", nullcontext)
        patch.setattr(task_record, "describe_code", lambda: ("a" * 40, False))
        run_study(study_file=folder / "mine.study.yaml", study_dir=folder / "study", progress=NO_PROGRESS)
        yield pack(folder / "study" / "runs", folder)


def pack(runs_dir: Path, folder: Path) -> Path:
    """Pack the runs of a folder; gives the package."""
    package_file = folder / "package.zip"
    submit(runs_dir=runs_dir, system_file=SYSTEM_FILE, package_file=package_file, progress=NO_PROGRESS)
    return package_file


@pytest.fixture(scope="module")
def package_of_one(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack the first of both runs alone: each run of a package costs its check a test of the weights."""
    folder = tmp_path_factory.mktemp("one")
    shutil.copytree(package.parent / "study" / "runs" / "mine-all-0", folder / "runs" / "mine-all-0")
    return pack(folder / "runs", folder)


def list_problems(package_file: Path, work_dir: Path) -> list[str]:
    outcome = check(package_file=package_file, work_dir=work_dir, progress=NO_PROGRESS)
    if outcome.exit_code == 0:
        assert outcome.message.startswith("ACCEPTED")
        assert [row[0] for row in outcome.table] == ["run", "run_0", "run_1", "by the rules"]
        assert all(float(row[4]) > float(row[3]) > 0 for row in outcome.table[1:-1])
        return []
    assert outcome.exit_code == EXIT_REFUTED
    assert outcome.message.startswith("REFUSED")
    return [problem for _, problem in outcome.table[1:]]


def test_an_honest_package_is_accepted_after_its_weights_were_tested(package: Path, tmp_path: Path) -> None:
    assert list_problems(package, tmp_path) == []


def test_scores_that_fit_each_other_but_not_the_weights_are_refused(package_of_one: Path, tmp_path: Path) -> None:
    """A forger who writes better scores of every image, their means, and all hashes."""
    with zipfile.ZipFile(package_of_one) as archive:
        archive.extractall(tmp_path / "forged")
    submission, _ = read_submission(tmp_path / "forged")
    assert submission is not None
    run = submission.runs[0]
    record = json.loads((run.folder / "records" / "test.json").read_text())
    results = record["results"]
    better = [value + 1 for value in results["per_image"]["network"]["psnr_db"]]
    results["per_image"]["network"]["psnr_db"] = better
    results["captions"]["network"] = [f"network  {better[index]:.1f} dB" for index in (0, 3)]
    del record["record_sha256"]
    (run.folder / "records" / "test.json").write_text(json.dumps(record))
    methods = {
        name: ImageScores(
            {metric: np.array(values, np.float64) for metric, values in metrics.items()},
            run.scores["methods"][name]["images_per_second"] or np.inf,
        )
        for name, metrics in results["per_image"].items()
    }
    conditions = {name: results[name] for name in CONDITIONS if name in results}
    scores = summarise_scores(run.config, methods, results["specimens"], **conditions)
    (run.folder / "scores.json").write_text(json.dumps(scores))
    reseal(tmp_path / "forged", PACKAGE_FILE)
    write_archive(tmp_path / "forged", tmp_path / "forged.zip")
    problems = list_problems(tmp_path / "forged.zip", tmp_path / "work")
    assert any("run_0: network psnr_db is different: mean -1" in problem for problem in problems), problems


def reseal(folder: Path, package_file: str) -> None:
    content = json.loads((folder / package_file).read_text())
    content["files"] = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != package_file
    }
    (folder / package_file).write_text(json.dumps(content))


def test_weights_that_are_no_weights_are_refused(package_of_one: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(package_of_one) as archive:
        archive.extractall(tmp_path / "forged")
    weights = next((tmp_path / "forged").rglob("run_0/model/model.weights.h5"))
    weights.write_bytes(weights.read_bytes()[:3000])
    description = json.loads(weights.with_name("model.json").read_text())
    description["file_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.with_name("model.json").write_text(json.dumps(description))
    reseal(tmp_path / "forged", "package.json")
    write_archive(tmp_path / "forged", tmp_path / "forged.zip")
    problems = list_problems(tmp_path / "forged.zip", tmp_path / "work")
    assert any("its weights cannot be tested: model.weights.h5: damaged" in problem for problem in problems), problems


def forge_training(record: dict[str, Any]) -> None:
    results = record["results"]
    last = results["history"][-1]
    last["validation_loss"] /= 100
    last["validation_psnr_db"] += 10
    for epoch in results["history"]:
        epoch["num_images"] *= 2
        epoch["images_per_second"] *= 2
        epoch["learning_rate"] /= 2
    results["num_parameters"] += 1
    results["num_validation_images"] += 1


def test_what_images_and_weights_say_of_the_training_is_computed_and_not_believed(
    package: Path, tmp_path: Path
) -> None:
    """A forger who writes a better training, its log, and all hashes."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path / "forged")
    submission, _ = read_submission(tmp_path / "forged")
    assert submission is not None
    folder = submission.runs[0].folder
    for task, change in (("train", forge_training), ("test", forge_choice), ("download", forge_files)):
        path = folder / "records" / f"{task}.json"
        record = json.loads(path.read_text())
        del record["record_sha256"]
        change(record)
        path.write_text(json.dumps(record))
    preprocess = folder / "records" / "preprocess.json"
    record = json.loads(preprocess.read_text())
    del record["record_sha256"]
    record["inputs"] = json.loads((folder / "records" / "download.json").read_text())["outputs"]
    preprocess.write_text(json.dumps(record))
    write_log(folder / "result.txt", make_events(read_record(folder, "train"), submission.system, None))
    reseal(tmp_path / "forged", PACKAGE_FILE)
    write_archive(tmp_path / "forged", tmp_path / "forged.zip")
    problems = list_problems(tmp_path / "forged.zip", tmp_path / "work")
    assert all(problem.startswith("run_0: ") for problem in problems)
    for reason in (
        "validation_loss of epoch 2 is ",
        "validation_psnr_db of epoch 2 is ",
        "num_images of epoch 1 is 8, not 4",
        "num_images of epoch 2 is 8, not 4",
        "learning_rate of epoch 1 is 0.005, not 0.01",
        "learning_rate of epoch 2 is 0.005, not 0.01",
        "num_parameters is ",
        "num_validation_images is 3, not 2",
        "choices of median is different: ",
        "extra.h5 is different: ",
    ):
        assert any(problem.startswith(f"run_0: {reason}") for problem in problems), (reason, problems)


def forge_choice(record: dict[str, Any]) -> None:
    record["results"]["choices"]["median"] = "strength 99"


def forge_files(record: dict[str, Any]) -> None:
    record["outputs"]["extra.h5"] = "e" * 64


def test_a_folder_without_runs_and_a_system_without_a_name_are_one_line(package: Path, tmp_path: Path) -> None:
    options = {"package_file": tmp_path / "package.zip", "progress": NO_PROGRESS}
    with pytest.raises(MissingInputError, match="there is no run to submit; expected folders with output and model"):
        submit(runs_dir=tmp_path, system_file=SYSTEM_FILE, **options)
    system = yaml.safe_load(SYSTEM_FILE.read_text())
    (tmp_path / "a.system.yaml").write_text(yaml.safe_dump(system | {"submitter": ""}))
    with pytest.raises(SettingsError, match=r"a\.system\.yaml: submitter is"):
        submit(runs_dir=tmp_path, system_file=tmp_path / "a.system.yaml", **options)
    shutil.copytree(package.parent / "study" / "runs" / "mine-all-0", tmp_path / "runs" / "first")
    (tmp_path / "runs/first/model/model.json").unlink()
    with pytest.raises(MissingInputError, match=r"first: has no model\.json; run all four tasks in it"):
        submit(runs_dir=tmp_path / "runs", system_file=SYSTEM_FILE, **options)


@pytest.mark.parametrize("content", ['{"methods": {', "[]", '{"methods": 3}'])
def test_damaged_scores_are_not_packed(content: str, package: Path, tmp_path: Path) -> None:
    shutil.copytree(package.parent / "study" / "runs", tmp_path / "runs")
    (tmp_path / "runs/mine-all-1/output/scores.json").write_text(content)
    options = {"package_file": tmp_path / "package.zip", "progress": NO_PROGRESS}
    with pytest.raises(DataError, match=r"^run_1: scores\.json .*; expected whole files of finished runs; run"):
        submit(runs_dir=tmp_path / "runs", system_file=SYSTEM_FILE, **options)
    assert not (tmp_path / "package.zip").exists()
