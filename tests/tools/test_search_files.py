"""What a search writes follows from its trials: the best file is ready to run, the page shows every trial."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from emdenoise.config.loading import load_config
from emdenoise.config.schema import RunConfig
from emdenoise.config.searches import SearchConfig
from emdenoise.tools.search_files import FoundTrials, describe_trial, write_found
from emdenoise.tools.trials import Trial

FACTS = {"num_epochs": 5, "train_s": 12.3, "machine": "2 × CPU 9000", "accelerators": [], "images_per_second": 70.0}
RATE, FILTERS = "training.learning_rate", "model.filters"


def make_trial(number: int, state: str, rate: float, *values: float, **facts: Any) -> Trial:
    own = {**FACTS, **facts} if values else facts
    return Trial(number, state, {RATE: rate, FILTERS: [32, 64, 96, 128]}, values, 2, own)


TRIALS = [
    make_trial(0, "complete", 0.006, 36.1),
    make_trial(1, "pruned", 0.0011),
    make_trial(2, "complete", 0.0123456, 36.456),
    make_trial(3, "failed", 0.03, reason="the loss is nan <in> epoch 1; lower learning_rate"),
    make_trial(4, "running", 0.02),
]


def make_found(trials: list[Trial], best: list[int], **changes: Any) -> FoundTrials:
    values = {
        "parameters_file": "smoke",
        "trials": 5,
        "settings": {
            RATE: {"low": 0.001, "high": 0.03, "log": True},
            FILTERS: {"choices": [[32, 64], [32, 64, 96, 128]]},
        },
    }
    search = SearchConfig.model_validate_json(json.dumps(values | changes))
    metric = search.metric or "psnr_db"
    shares = [{RATE: 0.9, FILTERS: 0.1}] * (2 if search.speed else 1)
    return FoundTrials(search, load_config(Path("smoke")), metric, trials, best, shares)


def test_the_best_file_is_the_file_with_the_values_of_the_best_trial(tmp_path: Path) -> None:
    write_found(make_found(TRIALS, [2]), tmp_path)
    path = tmp_path / "best.parameters.yaml"
    expected = load_config(Path("smoke"), {RATE: 0.0123456})
    assert load_config(path) == expected
    assert isinstance(expected, RunConfig)
    (head,) = re.findall(r"\A(?:#.*\n)+", path.read_text())
    assert re.findall(r"^#   emdenoise (\w+) --parameters_file=best\.parameters\.yaml$", head, re.MULTILINE) == [
        "download",
        "preprocess",
        "train",
        "test",
    ]
    words = " ".join(head.replace("#", " ").split())
    assert "The best of 5 trials" in words
    assert "12 s on 2 × CPU 9000. PSNR 36.46 dB on the validation images, by which it was chosen; with its own" in words
    assert "smoke has 36.10 dB" in words
    assert max(map(len, head.splitlines())) <= 120


def test_the_table_has_the_best_first_and_says_which_one_is_the_file(tmp_path: Path) -> None:
    heading, *rows = make_found(TRIALS, [2]).make_table()
    assert heading == ["trial", "state", "PSNR [dB]", "images/s", "epochs", "train [s]", RATE, FILTERS, "reason"]
    assert [row[0] for row in rows] == ["2", "0 (the file)", "1", "3", "4"]
    assert rows[0][1:8] == ["complete", "36.46", "70.0", "5", "12.3", "0.01235", "[32, 64, 96, 128]"]
    assert rows[2][1:7] == ["pruned", "–", "–", "2", "–", "0.0011"]
    assert rows[3][-1] == "the loss is nan <in> epoch 1"
    assert len(make_found(TRIALS, [2]).make_table(max_rows=2)) == 3
    assert make_found(TRIALS[:2], [0]).make_table()[0][-1] == FILTERS


def test_a_smaller_score_comes_first_where_smaller_is_better() -> None:
    trials = [make_trial(0, "complete", 0.006, 2e-3), make_trial(1, "complete", 0.007, 1e-3)]
    assert [row[0] for row in make_found(trials, [1], metric="mse").make_table()[1:]] == ["1", "0 (the file)"]


def test_the_page_shows_all_trials_and_what_is_from_a_file_as_text(tmp_path: Path) -> None:
    write_found(make_found(TRIALS, [2]), tmp_path)
    page = (tmp_path / "search.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert page.count("<tr") == 1 + len(TRIALS)
    assert "nan &lt;in&gt; epoch" in page
    assert "2 complete, 1 pruned, 1 failed, 1 running" in page
    (searched,) = re.findall(r"<pre>(parameters_file.*?)</pre>", page, re.DOTALL)
    assert yaml.safe_load(searched)["settings"][RATE] == {"low": 0.001, "high": 0.03, "log": True}


def test_without_a_complete_trial_there_is_a_page_and_no_file(tmp_path: Path) -> None:
    found = make_found([make_trial(0, "failed", 0.03, reason="why")], [])
    write_found(FoundTrials(found.search, found.base, "psnr_db", found.trials, [], [{}]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["search.html"]


def test_networks_that_are_as_good_in_their_own_way_are_named_by_their_files(tmp_path: Path) -> None:
    trials = [make_trial(0, "complete", 0.006, 36.1, 80.0), make_trial(1, "complete", 0.002, 36.5, 40.0)]
    write_found(make_found(trials, [1, 0], speed=True), tmp_path)
    assert "faster but with a lower score: trials/0000/run.parameters.yaml" in (tmp_path / "search.html").read_text()
    assert load_config(tmp_path / "best.parameters.yaml").training.learning_rate == 0.002


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (2, f"Trial 2: 36.46 dB, the best so far ({RATE} 0.01235, "),
        (0, f"Trial 0: 36.10 dB ({RATE} 0.006, "),
        (1, "Trial 1: ended early, after epoch 2 ("),
        (3, "Trial 3: failed: the loss is nan <in> epoch 1; lower learning_rate ("),
    ],
)
def test_one_line_says_what_a_trial_came_to(number: int, said: str) -> None:
    assert describe_trial(make_found(TRIALS, [2]), number).startswith(said)
