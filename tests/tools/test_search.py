"""A search of tiny trainings: what it finds is ready to run, it looks at no test images, and it survives kill −9."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emdenoise.config.loading import load_config
from emdenoise.errors import PackageError, SettingsError
from emdenoise.progress import SilentProgress
from emdenoise.tasks import Outcome, train
from emdenoise.tools.search import run_search
from emdenoise.tools.study import prepare_data
from emdenoise.tools.trials import import_optuna

try:
    import optuna
except ImportError:
    optuna = None

ROOT = Path(__file__).parents[2]
needs_optuna = pytest.mark.skipif(optuna is None, reason="the extra search is not installed")
SETTINGS = {
    "training.learning_rate": {"low": 0.0001, "high": 0.1, "log": True},
    "training.optimizer": {"choices": ["adam", "sgd"]},
    "training.beta_2": {"low": 0.9, "high": 0.999, "when": {"training.optimizer": "adam"}},
    "model.filters": {"choices": [[4], [6]]},
}
Write = Callable[..., dict[str, Path]]


def test_without_optuna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(PackageError, match=r"^emdenoise search needs Optuna, .*; pip install 'emdenoise\[search\]'\.$"):
        import_optuna()


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: Callable[..., dict[str, Any]], no_pool: None
) -> Path:
    """Make the images and the parameters file of all searches here; there are no test images any more."""
    folder = tmp_path_factory.mktemp("search")
    settings = tiny_settings(training={"epochs": 3}, evaluation={"baselines": []})
    (folder / "tiny.parameters.yaml").write_text(yaml.safe_dump(settings))
    prepare_data(load_config(folder / "tiny.parameters.yaml"), folder / "images", SilentProgress())
    shutil.rmtree(folder / "images" / "raw_data" / "graphene")
    (folder / "images" / "data" / "test.h5").unlink()
    return folder


@pytest.fixture
def write_search(prepared: Path, tmp_path: Path) -> Write:
    """Give a function from changes of a search file to the options of the command, with the images in place."""

    def write(name: str = "found", **changes: Any) -> dict[str, Path]:
        values = {
            "parameters_file": str(prepared / "tiny.parameters.yaml"),
            "trials": 3,
            "warmup_trials": 1,
            "settings": SETTINGS,
        }
        (tmp_path / f"{name}.search.yaml").write_text(yaml.safe_dump(values | changes, sort_keys=False))
        shutil.copytree(prepared / "images", tmp_path / name / "images")
        return {"search_file": tmp_path / f"{name}.search.yaml", "search_dir": tmp_path / name}

    return write


def search(options: dict[str, Path]) -> Outcome:
    return run_search(**options, progress=SilentProgress())


def read_journal(folder: Path) -> dict[int, dict[str, Any]]:
    """Read the trials from the journal with Optuna alone, without the code of the search."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    study = optuna.load_study(
        study_name="search", storage=JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    )
    return {
        trial.number: {"state": trial.state.name, "params": trial.params, "values": trial.values}
        for trial in study.trials
    }


def start(options: dict[str, Path]) -> subprocess.Popen[str]:
    paths = [f"--{name}={path}" for name, path in options.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "emdenoise", "search", *paths, f"--log_dir={options['search_dir'] / 'logs'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=options["search_dir"],
    )


@needs_optuna
@pytest.mark.long
def test_the_best_parameters_file_is_ready_to_run_and_gives_the_network_of_the_best_trial(
    write_search: Write, tmp_path: Path
) -> None:
    options = write_search()
    outcome = search(options)
    folder = options["search_dir"]
    trials = read_journal(folder)
    assert {trial["state"] for trial in trials.values()} <= {"COMPLETE", "PRUNED"}
    assert len(trials) == 3
    assert not list(folder.rglob("test.h5"))
    best = max((trial["values"][0], number) for number, trial in trials.items() if trial["values"])[1]
    record = json.loads((folder / "trials" / f"{best:04d}" / "model" / "records" / "train.json").read_text())
    history = record["results"]["history"]
    assert history[-1]["validation_psnr_db"] == pytest.approx(trials[best]["values"][0], abs=1e-3)
    train(
        parameters_file=folder / "best.parameters.yaml",
        data_dir=folder / "images" / "data",
        model_dir=tmp_path / "model",
        output_dir=tmp_path / "output",
        progress=SilentProgress(),
    )
    again = json.loads((tmp_path / "model" / "records" / "train.json").read_text())
    assert again["outputs"] == record["outputs"]
    assert again["settings"] == record["settings"]
    head = (folder / "best.parameters.yaml").read_text().split("\ndivision")[0]
    assert "#   emdenoise train --parameters_file=best.parameters.yaml\n" in head
    assert f"{trials[best]['values'][0]:.2f} dB" in head
    assert all(line.startswith("#") for line in head.splitlines())
    page = (folder / "search.html").read_text()
    assert page.count("data:image/png;base64,") == (2 if sum(bool(one["values"]) for one in trials.values()) > 1 else 1)
    assert "training.learning_rate" in page
    assert outcome.message.endswith("best.parameters.yaml")
    assert search(options).message == outcome.message  # nothing is left to do
    assert read_journal(folder) == trials


@needs_optuna
@pytest.mark.long
def test_with_speed_as_second_aim_every_trial_has_both_values_and_none_ends_early(write_search: Write) -> None:
    options = write_search(speed=True, settings={"model.filters": {"choices": [[4], [32]]}})
    search(options)
    for trial in read_journal(options["search_dir"]).values():
        assert trial["state"] == "COMPLETE"
        score, speed = trial["values"]
        assert 0 < score < 60
        assert speed > 0
    assert "images/s" in (options["search_dir"] / "search.html").read_text()


@needs_optuna
@pytest.mark.long
def test_a_trial_that_fails_is_a_row_and_the_others_go_on(write_search: Write) -> None:
    options = write_search(trials=4, prune=False, settings={"training.learning_rate": {"choices": [0.01, 1e30]}})
    assert search(options).exit_code == 0
    trials = read_journal(options["search_dir"])
    states = {number: trial["state"] for number, trial in trials.items()}
    assert {"COMPLETE", "FAIL"} == set(states.values())
    for number, trial in trials.items():
        assert (states[number] == "FAIL") == (trial["params"]["training.learning_rate"] == "1e+30")
    assert "loss is" in (options["search_dir"] / "search.html").read_text()
    only = write_search("only", trials=1, settings={"training.learning_rate": {"choices": [1e30]}})
    outcome = search(only)
    assert (outcome.exit_code, outcome.message.partition(" in ")[0]) == (11, "No trial is complete")
    assert not (only["search_dir"] / "best.parameters.yaml").exists()


@needs_optuna
@pytest.mark.long
def test_a_search_that_was_killed_ends_as_one_that_was_not(write_search: Write) -> None:
    calm, killed = write_search("calm", trials=2), write_search("killed", trials=2)
    search(calm)
    worker = start(killed)
    folder = killed["search_dir"]
    while not list(folder.glob("trials/*/model/checkpoint/state.json")):  # in the middle of a training
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.01)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate()
    assert "RUNNING" in {trial["state"] for trial in read_journal(folder).values()}
    search(killed)
    assert read_journal(folder) == read_journal(calm["search_dir"])
    best = [load_config(options["search_dir"] / "best.parameters.yaml") for options in (calm, killed)]
    assert best[0] == best[1]
    record = json.loads((folder / "trials" / "0000" / "model" / "records" / "train.json").read_text())
    assert record["results"]["num_continued_epochs"] >= 1


@needs_optuna
@pytest.mark.long
def test_two_workers_share_one_search(write_search: Write) -> None:
    options = write_search(trials=4, prune=False)
    workers = [start(options), start(options)]
    said = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    trials = read_journal(options["search_dir"])
    assert {number: trial["state"] for number, trial in trials.items()} == dict.fromkeys(range(4), "COMPLETE")
    done = [line.split(":")[0] for text, _ in said for line in text.splitlines() if line.startswith("Trial ")]
    assert sorted(done) == [f"Trial {number}" for number in range(4)]
    best = max(trial["values"][0] for trial in trials.values())
    assert f"{best:.2f} dB" in (options["search_dir"] / "best.parameters.yaml").read_text()


@needs_optuna
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metric": "psnr"},
            r'metric is "psnr"; it must be one that judges workload denoise: mse, .*did you mean psnr_db',
        ),
        ({"metric": "dice"}, r'metric is "dice"; it must be one that judges workload denoise'),
        ({"parameters_file": "default"}, r"division closed: model\.filters is .*, fixed to"),
        ({"settings": {"training.epochz": {"low": 1, "high": 2}}}, r"epochz is not a setting; did you mean epochs\?"),
    ],
    ids=["no metric", "of masks", "closed", "no setting"],
)
def test_what_cannot_be_searched_is_one_line_before_anything_is_made(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    values = {"parameters_file": "smoke", "trials": 1, "settings": {"model.filters": {"choices": [[8, 16]]}}}
    (tmp_path / "wrong.search.yaml").write_text(yaml.safe_dump(values | changes))
    with pytest.raises(SettingsError, match=message) as caught:
        search({"search_file": tmp_path / "wrong.search.yaml", "search_dir": tmp_path / "found"})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "found").exists()
