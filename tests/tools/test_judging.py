"""Packages: honest ones are accepted, and each way of tampering with one is refused with its reason."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emdenoise import __version__
from emdenoise.config.loading import hash_settings
from emdenoise.config.schema import RunConfig
from emdenoise.evaluation.scoring import ImageScores
from emdenoise.results.tables import summarise_scores
from emdenoise.results.task_record import TaskRecord
from emdenoise.tools.check import CLOCK, describe_rules, tabulate_runs
from emdenoise.tools.judging import judge_submission
from emdenoise.tools.packages import Submission, read_submission
from emdenoise.tools.packing import SystemDescription, build_package
from emdenoise.training.targets import Target
from emdenoise.workloads import WORKLOADS
from emdenoise.workloads.denoise import DENOISE

TARGET = Target("psnr_db", 28.0)
WORKLOAD = replace(DENOISE, target=TARGET)
SPECIMENS = ["a", "a", "b", "b", "c", "c", "d", "d"]
CONDITIONS: dict[str, Any] = {
    "doses_e_per_angstrom2": [500.0, 4000.0, 1000.0, 2000.0, 600.0, 700.0, 3000.0, 8000.0],
    "classes": ["pores", "pores", "pristine", "pristine", "", "", "pores", "pores"],
}
START_S = 1_900_000_000
BY_THE_RULES = [
    *(("closed", 5, 0, "7.7"), ("closed", 5, 1, "7.7"), ("closed", 5, 2, "did not converge")),
    *(("open", 10, 1, "7.7"), ("open", 10, 5, "did not converge")),
]
SYSTEM = SystemDescription(
    submitter="Institute of Tests",
    system_name="Two cores",
    status="research",
    number_of_nodes=1,
    host_processors_per_node=1,
    host_processor_model_name="CPU",
    host_processor_core_count=2,
    host_memory_capacity="16 GiB",
    accelerators_per_node=0,
    framework="TensorFlow",
    operating_system="Linux",
)


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_time(seconds: float) -> str:
    return datetime.fromtimestamp(START_S + seconds, UTC).isoformat(timespec="milliseconds")


def write_run(folder: Path, config: RunConfig, *, is_missed: bool = False, spacing_s: float = 1000.0) -> None:
    """Write what an honest run leaves: records, scores, weights; one that missed is never good enough."""
    rng = np.random.default_rng(config.seed)
    begun = spacing_s * config.seed
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.weights.h5").write_bytes(f"weights {config.seed}".encode())
    weights = hash_text(f"values {config.seed}")
    description = {"weights_sha256": weights, "file_sha256": hash_text(f"weights {config.seed}")}
    (folder / "model" / "model.json").write_text(json.dumps(description))
    history = [
        {
            "epoch": number + 1,
            "loss": 0.01 / (1 + number),
            "validation_loss": 0.005 / (1 + number),
            "validation_psnr_db": 20.0 if is_missed else 24.0 + 2 * number,
            "learning_rate": 0.01,
            "train_s": 2.0,
            "validation_s": 0.5,
            "first_step_s": 0.1,
            "images_per_second": 300.0,
            "num_images": 600,
            "started_at_ms": int((START_S + begun + 31 + 2.6 * number) * 1000),
        }
        for number in range(10)
    ]
    methods = {
        name: {"psnr_db": [float(value) for value in rng.uniform(low, low + 2, 8)]}
        for name, low in (("noisy", 13), *((name, 27) for name in DENOISE.baselines), ("network", 30))
    }
    captions = {
        name: [f"{name}  {scores['psnr_db'][index]:.1f} dB" for index in (0, 2, 5, 7)]
        for name, scores in methods.items()
    }
    data = {f"{split}.h5": hash_text(split) for split in ("train", "validation", "test")}
    facts: dict[str, dict[str, Any]] = {
        "download": {"started_at": make_time(begun), "duration_s": 10.0, "phases_s": {"download": 9.0}},
        "preprocess": {"started_at": make_time(begun + 15), "duration_s": 5.0, "outputs": data},
        "train": {
            "started_at": make_time(begun + 30),
            "duration_s": 40.0,
            "phases_s": {"train": 8.0},
            "inputs": {name: data[name] for name in ("train.h5", "validation.h5")},
            "outputs": {"weights": weights},
            "results": {
                "history": history,
                "num_validation_images": 100,
                "num_continued_epochs": 0,
                "num_parameters": 70_000,
                "best_epoch": 10,
            },
        },
        "test": {
            "started_at": make_time(begun + 75),
            "duration_s": 30.0,
            "inputs": {name: data[name] for name in ("validation.h5", "test.h5")} | {"weights": weights},
            "results": {
                "per_image": methods,
                "specimens": SPECIMENS,
                "main_metric": "psnr_db",
                "choices": dict.fromkeys(DENOISE.baselines, "strength 2"),
                "captions": captions,
                **CONDITIONS,
            },
        },
    }
    for task, changes in facts.items():
        record = TaskRecord(
            **{
                "task": task,
                "emdenoise_version": __version__,
                "commit": "a" * 40,
                "is_dirty": False,
                "settings": config.model_dump(mode="json"),
                "settings_sha256": hash_settings(config),
                "inputs": {},
                "outputs": {},
                "phases_s": {},
                "environment": {"cpu_model": "CPU"},
                "results": {},
                **changes,
            }
        )
        path = folder / "output" / "records" / f"{task}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json())
    scores = {
        name: ImageScores({metric: np.array(values) for metric, values in metrics.items()}, 100.0)
        for name, metrics in methods.items()
    }
    summary = summarise_scores(config, scores, SPECIMENS, **CONDITIONS)
    (folder / "output" / "scores.json").write_text(json.dumps(summary))


def build(folder: Path, configs: list[RunConfig], *, num_missed: int = 0, **options: float) -> Path:
    for config in configs:
        write_run(folder / "runs" / str(config.seed), config, is_missed=config.seed < num_missed, **options)
    runs = sorted((folder / "runs").iterdir())
    build_package(runs, SYSTEM, WORKLOAD.find_target(configs[0]), folder / "package")
    return folder / "package"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an honest package of the closed division."""
    return build(tmp_path_factory.mktemp("honest"), [RunConfig(seed=seed) for seed in range(5)])


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    """Give a copy of an honest package of the closed division."""
    return shutil.copytree(original, tmp_path / "package")


def judge(folder: Path) -> list[str]:
    submission, problems = read_submission(folder)
    if submission is not None:
        problems = problems + judge_submission(submission, WORKLOAD)
    return problems


def test_an_honest_package_of_the_closed_division_has_no_problem(package: Path) -> None:
    assert judge(package) == []


def test_an_honest_package_of_the_open_division_needs_one_run(tmp_path: Path) -> None:
    training = RunConfig().training.model_copy(update={"flip": True})
    assert judge(build(tmp_path, [RunConfig(division="open", training=training)])) == []


def test_an_honest_package_on_the_images_of_the_stfc_may_have_a_mirror(tmp_path: Path) -> None:
    data = RunConfig().data.model_copy(update={"source": "em_graphene_sim", "mirror": "https://example.org/images"})
    assert judge(build(tmp_path, [RunConfig(seed=seed, data=data) for seed in range(5)])) == []


def test_it_is_laid_out_like_packages_of_mlperf(package: Path) -> None:
    assert (package / "closed/institute_of_tests/systems/two_cores.json").is_file()
    assert (package / "closed/institute_of_tests/results/two_cores/denoise/run_4/result.txt").is_file()


def read(package: Path) -> Submission:
    submission, _ = read_submission(package)
    assert submission is not None
    return submission


@pytest.mark.parametrize(("division", "num_runs", "num_missed", "by_the_rules"), BY_THE_RULES)
def test_a_run_that_missed_the_target_is_told_and_counts_as_infinitely_slow(
    division: str, num_runs: int, num_missed: int, by_the_rules: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WORKLOADS, "denoise", WORKLOAD)
    configs = [RunConfig(seed=seed, division=division) for seed in range(num_runs)]
    package = build(tmp_path, configs, num_missed=num_missed)
    is_refused = division == "closed" and num_missed > 1
    missed = ", ".join(f"run_{number}" for number in range(num_missed))
    reason = "missed the target; division closed needs a time to quality, for which all runs but one must reach it"
    assert judge(package) == ([f"{missed} {reason}"] if is_refused else [])
    submission = read(package)
    heading, *rows, last = tabulate_runs(submission)
    assert heading[3] == "time to validation_psnr_db 28 [s]"
    assert [row[3] for row in rows] == num_missed * ["missed"] + (num_runs - num_missed) * ["7.7"]
    assert last[3] == by_the_rules
    assert (last[4] == "did not converge") == (num_missed > 1)
    assert describe_rules(submission) == [
        f"Target: validation_psnr_db 28, reached by {num_runs - num_missed} of {num_runs} runs.",
        f"Baselines: {', '.join(DENOISE.baselines)}; tuned on 8 validation images.",
        f"Clock: {CLOCK}.",
    ]


def test_images_without_a_target_have_no_time_by_the_rules(tmp_path: Path) -> None:
    data = RunConfig().data.model_copy(update={"source": "em_graphene_sim"})
    submission = read(build(tmp_path, [RunConfig(seed=seed, data=data) for seed in range(5)]))
    heading, *_, last = tabulate_runs(submission)
    assert heading[3] == "training [s]"
    assert last == ["by the rules", "", "", "–", "–"]
    target, _, clock = describe_rules(submission)
    assert target == "Target: none for these images, so there is no time to quality."
    assert clock == "Clock: of the whole training; it is compared with nothing."


def test_trainings_at_the_same_time_on_a_system_of_one_node_are_refused(tmp_path: Path) -> None:
    """Each takes 40 s, and the next one begins 39 s or 20 s after it did; clocks may be off by 2 s."""
    configs = [RunConfig(seed=seed, division="open") for seed in range(3)]
    assert judge(build(tmp_path / "just", configs, spacing_s=39.0)) == []
    assert judge(build(tmp_path / "over", configs, spacing_s=20.0)) == [
        "run_1 was trained while run_0 was, on a system of one node",
        "run_2 was trained while run_1 was, on a system of one node",
    ]


def write_pretrained(folder: Path, **changes: Any) -> Path:
    """Pack a run of the open division with two epochs of pretraining, 2.5 s each."""
    config = RunConfig.model_validate_json('{"division": "open", "pretraining": {"method": "denoise", "epochs": 2}}')
    write_run(folder / "runs" / "0", config)
    path = folder / "runs" / "0" / "output" / "records" / "train.json"
    record = json.loads(path.read_text())
    epochs = [dict(epoch, started_at_ms=0) for epoch in record["results"]["history"][:2]]
    record["phases_s"]["pretrain"] = 5.0
    record["results"]["pretraining"] = {"history": epochs, "duration_s": 5.0, "is_reused": False, **changes}
    path.write_text(json.dumps(record))
    build_package([folder / "runs" / "0"], SYSTEM, TARGET, folder / "package")
    return folder / "package"


def test_pretraining_counts_as_time_to_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, "denoise", WORKLOAD)
    package = write_pretrained(tmp_path)
    assert judge(package) == []
    assert tabulate_runs(read(package))[1][3] == "12.7", "7.7 s of training after 5 s of pretraining"
    assert describe_rules(read(package))[2].endswith("with every validation, and the pretraining.")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"duration_s": 0.0}, "run_0: the pretraining takes another time than its epochs"),
        ({"duration_s": 2.5, "history": []}, "run_0: train.json: results.pretraining.history"),
        ({"duration_s": -5.0}, "run_0: train.json: results.pretraining.duration_s"),
    ],
)
def test_a_pretraining_whose_clock_does_not_count_is_refused(changes: Any, reason: str, tmp_path: Path) -> None:
    problems = judge(write_pretrained(tmp_path, **changes))
    assert any(problem.startswith(reason) for problem in problems), problems


class Tamper:
    """Changes a package as a forger does who also makes the hashes fit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "closed" / "institute_of_tests"
        self.runs = self.root / "results" / "two_cores" / "denoise"

    def edit(self, name: str, change: Callable[[Any], object], run: int = 0) -> None:
        path = self.runs / f"run_{run}" / name
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def edit_package(self, **changes: Any) -> None:
        path = self.folder / "package.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def edit_all(self, change: Callable[[Any], object], run: int = 0) -> None:
        for task in ("download", "preprocess", "train", "test"):
            self.edit(f"records/{task}.json", change, run)

    def edit_settings(self, section: str, run: int | None = None, **changes: Any) -> None:
        def change(record: Any) -> None:
            record["settings"][section] |= changes
            record["settings_sha256"] = hash_settings(RunConfig.model_validate_json(json.dumps(record["settings"])))

        for number in range(5) if run is None else [run]:
            self.edit_all(change, number)

    def edit_log(self, change: Callable[[list[str]], object], run: int = 0) -> None:
        path = self.runs / f"run_{run}" / "result.txt"
        lines = path.read_text().splitlines()
        change(lines)
        path.write_text("\n".join(lines) + "\n")

    def copy_run(self, source: int, destination: int) -> None:
        for path in (self.runs / f"run_{source}").rglob("*"):
            if path.is_file():
                self.copy_file(path.relative_to(self.runs / f"run_{source}").as_posix(), source, destination)

    def copy_file(self, name: str, source: int, destination: int) -> None:
        (self.runs / f"run_{destination}" / name).write_bytes((self.runs / f"run_{source}" / name).read_bytes())

    def write(self, name: str, text: str, run: int = 0) -> None:
        (self.runs / f"run_{run}" / name).write_text(text)

    def replace(self, name: str, before: str, after: str, run: int = 0) -> None:
        path = self.runs / f"run_{run}" / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))

    def leave_out(self, method: str, run: int = 0) -> None:
        """Compare with one method fewer, and compute all scores again."""

        def change(record: Any) -> None:
            for part in ("per_image", "choices", "captions"):
                del record["results"][part][method]

        self.edit("records/test.json", change, run)
        results = json.loads((self.runs / f"run_{run}" / "records" / "test.json").read_text())["results"]
        scores = {
            name: ImageScores({metric: np.array(values) for metric, values in metrics.items()}, 100.0)
            for name, metrics in results["per_image"].items()
        }
        summary = summarise_scores(RunConfig(seed=run), scores, SPECIMENS, **CONDITIONS)
        self.write("scores.json", json.dumps(summary), run)

    def reseal(self) -> None:
        files = {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != "package.json"
        }
        self.edit_package(files=files)


def set_item(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    return change


def delete_folder(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


PER_IMAGE = ("results", "per_image", "network", "psnr_db")
HISTORY = ("results", "history")
SEALED: dict[str, tuple[Callable[[Tamper], object], str]] = {
    "a score in scores.json": (
        lambda it: it.edit("scores.json", set_item("methods", "network", "psnr_db", "mean", value=39.0)),
        "run_0: scores.json does not follow from the scores of the images: network",
    ),
    "a baseline made worse in scores.json": (
        lambda it: it.edit("scores.json", set_item("methods", "gaussian", "psnr_db", "mean", value=9.0)),
        "scores.json does not follow from the scores of the images: gaussian",
    ),
    "the score of an image": (
        lambda it: it.edit("records/test.json", set_item(*PER_IMAGE, 0, value=45.0)),
        "scores.json does not follow from the scores of the images: network",
    ),
    "a narrower interval": (
        lambda it: it.edit("scores.json", set_item("methods", "network", "psnr_db", "low", value=30.9)),
        "scores.json does not follow",
    ),
    "a larger gain over a classical method": (
        lambda it: it.edit("scores.json", set_item("differences", "gaussian", "psnr_db", "low", value=8.0)),
        "scores.json does not follow from the scores of the images: differences",
    ),
    "a better curve against the dose": (
        lambda it: it.edit(
            "scores.json",
            set_item("by_dose", "methods", "network", "psnr_db", "mean_over_log_dose", value=40.0),
        ),
        "scores.json does not follow from the scores of the images: by_dose",
    ),
    "curves left out": (
        lambda it: it.edit("scores.json", set_item("by_dose", value=None)),
        "scores.json does not follow from the scores of the images: by_dose",
    ),
    "another dose": (
        lambda it: it.edit("records/test.json", set_item("results", "doses_e_per_angstrom2", 0, value=7000.0)),
        "scores.json does not follow from the scores of the images: by_dose",
    ),
    "another class": (
        lambda it: it.edit("records/test.json", set_item("results", "classes", 0, value="pristine")),
        "scores.json does not follow from the scores of the images: by_class",
    ),
    "a dose that is text": (
        lambda it: it.edit("records/test.json", set_item("results", "doses_e_per_angstrom2", 0, value="500")),
        "test.json: results.doses_e_per_angstrom2.0: Input should be a valid number",
    ),
    "no electrons": (
        lambda it: it.edit("records/test.json", set_item("results", "doses_e_per_angstrom2", 0, value=0)),
        "test.json: results.doses_e_per_angstrom2.0: Input should be greater than 0",
    ),
    "a dose left out": (
        lambda it: it.edit("records/test.json", lambda record: record["results"]["doses_e_per_angstrom2"].pop()),
        "doses_e_per_angstrom2 has 7 images of 8",
    ),
    "a score that is not a number": (
        lambda it: it.edit("records/test.json", set_item(*PER_IMAGE, 0, value=float("nan"))),
        "test.json: results.per_image.network.psnr_db.0: Input should be a finite number",
    ),
    "bad images left out": (
        lambda it: it.edit(
            "records/test.json", lambda record: record["results"]["per_image"]["network"]["psnr_db"].pop()
        ),
        "network psnr_db has 7 images of 8",
    ),
    "no scores of images": (
        lambda it: it.edit("records/test.json", lambda record: record["results"].pop("per_image")),
        "test.json: results.per_image: Field required",
    ),
    "a run copied": (lambda it: it.copy_run(0, 3), "run_3 has the seed of run_0"),
    "a run copied with a new seed": (
        lambda it: (it.copy_run(0, 3), it.edit_all(set_item("settings", "seed", value=77), 3)),
        "run_3 has the weights of run_0",
    ),
    "a run copied with a new seed and hash": (
        lambda it: (
            it.copy_run(0, 3),
            it.edit_all(set_item("settings", "seed", value=77), 3),
            it.edit_all(set_item("settings_sha256", value=hash_settings(RunConfig(seed=77))), 3),
            it.edit("model/model.json", set_item("weights_sha256", value="b" * 64), 3),
            it.edit("records/train.json", set_item("outputs", "weights", value="b" * 64), 3),
            it.edit("records/test.json", set_item("inputs", "weights", value="b" * 64), 3),
        ),
        "run_3 has the start of the training of run_0",
    ),
    "the weights of another run": (
        lambda it: it.copy_file("model/model.weights.h5", 2, 1),
        "run_1: model.weights.h5 is not the file that model.json names",
    ),
    "the model of another run": (
        lambda it: [it.copy_file(f"model/{name}", 2, 1) for name in ("model.json", "model.weights.h5")],
        "run_1: weights, training and test do not belong together",
    ),
    "tested with other weights": (
        lambda it: it.edit("records/test.json", set_item("inputs", "weights", value="c" * 64)),
        "weights, training and test do not belong together",
    ),
    "trained on test images": (
        lambda it: (
            it.edit("records/train.json", set_item("inputs", "train.h5", value=hash_text("test"))),
            it.edit("records/preprocess.json", set_item("outputs", "train.h5", value=hash_text("test"))),
        ),
        "the same: trained on test images",
    ),
    "trained on test images beside the others": (
        lambda it: it.edit("records/train.json", set_item("inputs", "test.h5", value=hash_text("test"))),
        "train read more than training and validation images",
    ),
    "trained on images that preprocess did not write": (
        lambda it: it.edit("records/train.json", set_item("inputs", "train.h5", value="d" * 64)),
        "train read another train.h5 than preprocess wrote",
    ),
    "tested on images that preprocess did not write": (
        lambda it: it.edit("records/test.json", set_item("inputs", "test.h5", value="d" * 64)),
        "test read another test.h5 than preprocess wrote",
    ),
    "other preprocessing": (
        lambda it: it.edit("records/preprocess.json", set_item("settings", "simulation", "margin_px", value=0)),
        "preprocess ran with other settings than test",
    ),
    "easier images in the closed division": (
        lambda it: it.edit_settings("simulation", dose_e_per_angstrom2=[8000.0, 9000.0]),
        "simulation.dose_e_per_angstrom2 is",
    ),
    "another optimizer in the closed division": (
        lambda it: it.edit_settings("training", optimizer="sgd"),
        "training.optimizer is sgd, fixed to adam",
    ),
    "another network in the closed division": (
        lambda it: it.edit_settings("model", filters=[16, 32, 64]),
        "model.filters is",
    ),
    "crops in the closed division": (
        lambda it: it.edit_settings("training", crop_size_px=128),
        "training.crop_size_px is 128",
    ),
    "another learning rate in one run": (
        lambda it: it.edit_settings("training", 2, learning_rate=0.02),
        "the runs differ in settings",
    ),
    "settings without their hash": (
        lambda it: [it.edit_all(set_item("settings", "training", "epochs", value=50), run) for run in range(5)],
        "the hash of its settings is not that of its settings",
    ),
    "four runs": (lambda it: delete_folder(it.runs / "run_4"), "4 whole runs; division closed needs 5"),
    "files that differ from the commit": (
        lambda it: it.edit_all(set_item("is_dirty", value=True)),
        "files that differ from their commit",
    ),
    "another commit in one run": (
        lambda it: it.edit_all(set_item("commit", value="e" * 40), 4),
        "train ran with commit eeeeeeeeeeee, the package names aaaaaaaaaaaa",
    ),
    "another version": (lambda it: it.edit_package(emdenoise_version="9.9.0"), "made with EMDenoise 9.9.0"),
    "another organisation's system": (
        lambda it: (it.root / "systems" / "two_cores.json").write_text(
            SYSTEM.model_copy(update={"submitter": "B"}).model_dump_json()
        ),
        "of another organisation or system",
    ),
    "a log cut off": (
        lambda it: it.edit_log(lambda lines: lines.pop()),
        "result.txt: Required EXACTLY_ONE occurrence of 'run_stop'",
    ),
    "a log whose clock goes backwards": (
        lambda it: it.edit_log(
            lambda lines: lines.__setitem__(-1, lines[-1].replace('"time_ms": 19', '"time_ms": 18'))
        ),
        "result.txt: CHECK for 'run_stop' failed",
    ),
    "a faster log": (
        lambda it: it.edit_log(lambda lines: lines.__delitem__(slice(-6, -1))),
        "result.txt does not follow from the record of the training",
    ),
    "no log": (lambda it: (it.runs / "run_0/result.txt").unlink(), "has no result.txt"),
    "a log of another run": (
        lambda it: it.copy_file("result.txt", 1, 0),
        "result.txt does not follow",
    ),
    "a target that was not reached": (
        lambda it: it.edit(
            "records/train.json",
            lambda record: [e.update(validation_psnr_db=9.0) for e in record["results"]["history"]],
        ),
        "result.txt does not follow",
    ),
    "a target that a log alone reaches": (
        lambda it: (
            it.edit(
                "records/train.json",
                lambda record: [e.update(validation_psnr_db=9.0) for e in record["results"]["history"]],
            ),
            it.edit_log(lambda lines: lines.__setitem__(-1, lines[-1].replace("aborted", "success"))),
        ),
        "result.txt does not follow",
    ),
    "a shorter training time": (
        lambda it: it.edit("records/train.json", set_item("duration_s", value=3.0)),
        "run_0: the parts of train take longer than the whole",
    ),
    "a faster epoch": (
        lambda it: it.edit("records/train.json", set_item(*HISTORY, 1, "train_s", value=0.2)),
        "epoch 2: images, seconds and images/s do not agree",
    ),
    "an epoch before the one before": (
        lambda it: it.edit("records/train.json", set_item(*HISTORY, 2, "started_at_ms", value=START_S * 1000)),
        "epoch 3 started before the one before it ended",
    ),
    "an epoch left out": (
        lambda it: it.edit("records/train.json", lambda record: record["results"]["history"].pop(1)),
        "has 9 of 10 epochs",
    ),
    "tested before it was trained": (
        lambda it: it.edit("records/test.json", set_item("started_at", value=make_time(20))),
        "test started before train ended",
    ),
    "a continued training": (
        lambda it: it.edit("records/train.json", set_item("results", "num_continued_epochs", value=2)),
        "result.txt cannot be compared with the record",
    ),
    "a file of its own": (
        lambda it: (it.runs / "run_0" / "extra.py").write_text("print()"),
        "extra.py does not belong into a package",
    ),
    "a record that is no record": (
        lambda it: (it.runs / "run_0/records/train.json").write_text("{}"),
        "run_0: train.json",
    ),
    "a record nested without end": (
        lambda it: (it.runs / "run_0/scores.json").write_text("[" * 100_000),
        "scores.json cannot be read",
    ),
    "a training ten times shorter": (
        lambda it: [
            it.edit("records/train.json", lambda record: record["results"]["history"].__delitem__(slice(1, None)), run)
            for run in range(5)
        ],
        "has 1 of 10 epochs",
    ),
    "all images of one specimen": (
        lambda it: it.edit("records/test.json", set_item("results", "specimens", value=8 * ["a"])),
        "scores.json does not follow",
    ),
    "preprocessed files that were not downloaded": (
        lambda it: it.edit("records/preprocess.json", set_item("inputs", value={"graphene/train.h5": "f" * 64})),
        "preprocess read other files than download left",
    ),
    "a mirror in the closed division": (
        lambda it: it.edit_settings("data", mirror="/somewhere"),
        "data.mirror is set",
    ),
    "more accelerators than the system has": (
        lambda it: it.edit("records/train.json", set_item("environment", "accelerators", value=["GPU"])),
        "run_0: 1 accelerators, the system has 0",
    ),
    "a system outside the package": (
        lambda it: it.edit_package(system="../../../../outside"),
        "package.json: system",
    ),
    "a commit that is none": (lambda it: it.edit_package(commit="my fork"), "package.json: commit"),
    "a name without end": (lambda it: it.edit_package(files={"a" * 5000: "a" * 64}), "package.json: files"),
    "scores that are a list": (lambda it: it.write("scores.json", "[]"), "scores.json has no scores of methods"),
    "a log of empty events": (lambda it: it.write("result.txt", ":::MLLOG {}\n"), "result.txt"),
    "an epoch without its time": (
        lambda it: it.edit("records/train.json", lambda record: record["results"]["history"][0].pop("train_s")),
        "train.json: results.history.0.train_s: Field required",
    ),
    "an epoch without end": (
        lambda it: it.edit("records/train.json", set_item(*HISTORY, 0, "validation_s", value=float("inf"))),
        "train.json: results.history.0.validation_s",
    ),
    "scores of images that are a list": (
        lambda it: it.edit("records/test.json", set_item("results", "per_image", value=[])),
        "test.json: results.per_image",
    ),
    "a processor that is a list": (
        lambda it: it.edit("records/train.json", set_item("environment", "cpu_model", value=[])),
        "the runs differ in processor",
    ),
    "work without end": (
        lambda it: it.edit_settings("evaluation", num_resamples=1_000_000_000),
        "asks for 4e+09 evaluation.num_resamples × specimens; a judge makes at most 20000000",
    ),
    "images without end": (
        lambda it: it.edit("records/test.json", set_item("results", "specimens", value=100_000 * ["a"])),
        "test.json: results.specimens",
    ),
    "the best classical method left out": (
        lambda it: it.leave_out("wiener"),
        "run_0: scores are of absf, bragg, butterworth, gaussian, median, network, nlm, noisy, tv, wavelet, expected",
    ),
    "choices left out": (
        lambda it: it.edit("records/test.json", lambda record: record["results"]["choices"].pop("tv")),
        "run_0: choices are of",
    ),
    "a metric of its own": (
        lambda it: it.edit("records/test.json", set_item("results", "per_image", "network", "beauty", value=8 * [1.0])),
        "beauty is no metric",
    ),
    "another main metric": (
        lambda it: it.edit("records/test.json", set_item("results", "main_metric", value="ssim")),
        "its metrics are not those of workload denoise",
    ),
    "a better caption": (
        lambda it: it.edit(
            "records/test.json", set_item("results", "captions", "network", 1, value="network  99.9 dB")
        ),
        "run_0: the caption 'network  99.9 dB' is not the score of image 2",
    ),
    "a caption left out": (
        lambda it: it.edit("records/test.json", lambda record: record["results"]["captions"]["noisy"].pop()),
        "noisy has 3 captions of 4",
    ),
    "the classical methods switched off": (
        lambda it: it.edit_settings("evaluation", baselines=[]),
        "evaluation.baselines is (), fixed to None",
    ),
    "a setting that graphene does not read, to switch the target off": (
        lambda it: it.edit_settings("data", tile_size_px=512),
        "data.tile_size_px is 512, fixed to 256",
    ),
    "another scale, to switch the target off": (
        lambda it: it.edit_settings("data", scale_factor=0.5),
        "data.scale_factor is 0.5, fixed to 1.0",
    ),
    "a target that two runs did not reach": (
        lambda it: [
            it.edit(
                "records/train.json",
                lambda record: [epoch.update(validation_psnr_db=9.0) for epoch in record["results"]["history"]],
                run,
            )
            for run in (1, 3)
        ],
        "run_1, run_3 missed the target; division closed needs a time to quality",
    ),
    "an end before the loss had stopped falling": (
        lambda it: (
            it.edit_settings("training", early_stopping_epochs=3),
            it.edit("records/train.json", lambda record: record["results"]["history"].__delitem__(slice(6, None))),
        ),
        "has 6 of 10 epochs",
    ),
    "an end long after the loss had stopped falling": (
        lambda it: (
            it.edit_settings("training", early_stopping_epochs=3),
            it.edit("records/train.json", set_item(*HISTORY, 1, "validation_loss", value=1e-9)),
        ),
        "has 10 of 10 epochs",
    ),
    "the weights of another epoch": (
        lambda it: it.edit("records/train.json", set_item("results", "best_epoch", value=3)),
        "has the weights of epoch 3, which must be those of epoch 10",
    ),
    "a part of negative length": (
        lambda it: it.edit("records/train.json", set_item("phases_s", "train", value=-50.0)),
        "a clock of train shows no time",
    ),
    "a part of no length that is a number": (
        lambda it: it.edit("records/train.json", set_item("phases_s", "train", value=float("nan"))),
        "a clock of train shows no time",
    ),
    "a task without end": (
        lambda it: it.edit("records/download.json", set_item("duration_s", value=float("inf"))),
        "a clock of download shows no time",
    ),
    "a start without a time zone": (
        lambda it: it.edit("records/train.json", set_item("started_at", value="2030-03-17T17:47:10")),
        "a task has no time at which it started",
    ),
    "a start before all calendars": (
        lambda it: it.edit("records/train.json", set_item("started_at", value="0001-01-01T00:00:00+23:59")),
        "train started before preprocess ended",
    ),
    "trained before its images were made": (
        lambda it: it.edit("records/train.json", set_item("started_at", value=make_time(5))),
        "train started before preprocess ended",
    ),
    "two runs at a time on one machine": (
        lambda it: it.edit("records/train.json", set_item("started_at", value=make_time(50)), 1),
        "run_1 was trained while run_0 was, on a system of one node",
    ),
    "a record with two durations": (
        lambda it: it.replace("records/train.json", "{", '{"duration_s": 1.0, '),
        "train.json is no JSON: duration_s stands twice",
    ),
    "scores with two means": (
        lambda it: it.replace("scores.json", '{"mean"', '{"mean": 99.0, "mean"'),
        "scores.json cannot be read: mean stands twice",
    ),
    "a description with two hashes": (
        lambda it: it.replace("model/model.json", "{", '{"file_sha256": "", '),
        "weights, training and test do not belong together",
    ),
    "a log with two values": (
        lambda it: it.replace("result.txt", '"value": ', '"value": "Mine", "value": '),
        "result.txt cannot be compared with the record: value stands twice",
    ),
    "a log with another type of event": (
        lambda it: it.replace("result.txt", "POINT_IN_TIME", "INTERVAL_START"),
        "result.txt does not follow",
    ),
    "a log of another namespace": (
        lambda it: it.replace("result.txt", '"namespace": ""', '"namespace": "mine"'),
        "result.txt does not follow",
    ),
    "a log nested without end": (
        lambda it: it.write("result.txt", ":::MLLOG " + 100_000 * "["),
        "result.txt cannot be compared with the record",
    ),
    "a record of a task nested without end": (
        lambda it: it.write("records/train.json", 100_000 * "["),
        "train.json is no JSON",
    ),
    "a number of 400 digits": (
        lambda it: it.replace("records/train.json", '"num_images":600', f'"num_images":1{400 * "0"}'),
        "train.json is no JSON: a number of 401 digits",
    ),
    "a number as text": (
        lambda it: it.edit("records/train.json", set_item(*HISTORY, 0, "num_images", value="600")),
        "train.json: results.history.0.num_images: Input should be a valid integer",
    ),
    "a metric as text": (
        lambda it: it.edit("records/train.json", set_item(*HISTORY, 0, "validation_psnr_db", value="40")),
        "train.json: results.history.0.validation_psnr_db: Input should be a valid number",
    ),
    "a speed beyond all numbers": (
        lambda it: it.edit("scores.json", set_item("methods", "network", "images_per_second", value=10**29)),
        "scores.json does not follow",
    ),
    "accelerators that are a number": (
        lambda it: it.edit("records/train.json", set_item("environment", "accelerators", value=3)),
        "train.json: environment.accelerators: Input should be a valid list",
    ),
    "validation images without end": (
        lambda it: it.edit_settings("simulation", num_validation=50_000_000),
        "asks for 50000700 simulated images; a judge makes at most",
    ),
    "pixels without end": (
        lambda it: it.edit_settings("simulation", image_size_px=4096),
        "simulated pixels; a judge makes at most",
    ),
    "atoms without end": (
        lambda it: it.edit_settings("simulation", pixel_size_angstrom=[900.0, 1000.0]),
        "simulated Å²; a judge makes at most",
    ),
    "single images without end": (
        lambda it: it.edit_settings("evaluation", num_latency_images=10**9),
        "asks for 1e+09 evaluation.num_latency_images",
    ),
    "tuning without end": (
        lambda it: it.edit_settings("evaluation", num_tuning_images=10**9),
        "asks for 1e+09 evaluation.num_tuning_images",
    ),
    "no package.json": (lambda it: (it.folder / "package.json").write_text("[]"), "package.json"),
}
UNSEALED: dict[str, tuple[Callable[[Tamper], object], str]] = {
    "a file changed": (
        lambda it: it.edit("scores.json", set_item("split", value="train")),
        "is not the file that package.json names",
    ),
    "a file missing": (lambda it: (it.runs / "run_0/scores.json").unlink(), "scores.json is missing"),
    "a file added": (lambda it: (it.root / "notes.txt").write_text("x"), "notes.txt is not named in package.json"),
}


@pytest.mark.parametrize("name", SEALED)
def test_a_package_that_was_tampered_with_is_refused_with_its_reason(name: str, package: Path) -> None:
    tamper, reason = SEALED[name]
    it = Tamper(package)
    tamper(it)
    if name not in ("no package.json", "a name without end"):
        it.reseal()
    problems = judge(package)
    assert any(reason in problem for problem in problems), problems


@pytest.mark.parametrize("name", UNSEALED)
def test_hashes_show_what_was_changed(name: str, package: Path) -> None:
    tamper, reason = UNSEALED[name]
    tamper(Tamper(package))
    problems = judge(package)
    assert any(reason in problem for problem in problems), problems


def test_all_problems_are_listed(package: Path) -> None:
    it = Tamper(package)
    for name in ("a score in scores.json", "another commit in one run", "a log cut off"):
        SEALED[name][0](it)
    it.reseal()
    assert len(judge(package)) >= 3
