"""Names in a parameters file come from the tables: a line in a table is all that a new name needs."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from emdenoise.config.base import NetworkSettings
from emdenoise.config.loading import hash_settings, load_config
from emdenoise.config.schema import RunConfig
from emdenoise.errors import SettingsError
from emdenoise.evaluation.baselines import BASELINES
from emdenoise.models import MODELS
from emdenoise.models.contract import Architecture, Network, Ports
from emdenoise.sources import SOURCES
from emdenoise.training.objectives import OBJECTIVES
from emdenoise.workloads import WORKLOADS

SEGMENT = "workload: segment\ntraining: {loss: dice_cross_entropy}\n"


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load_text(text: str) -> RunConfig:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path)

    return load_text


@pytest.mark.parametrize(
    ("setting", "text", "table", "nearest"),
    [
        ("workload", "workload: denoize", WORKLOADS, "denoise"),
        ("data.source", "data: {source: graphen}", SOURCES, "graphene"),
        ("model.name", "model: {name: dncn}", MODELS, "dncnn"),
        ("training.loss", "training: {loss: mean_square_error}", OBJECTIVES, "mean_squared_error"),
        ("evaluation.baselines.1", "evaluation: {baselines: [nlm, bm3]}", BASELINES, "bm3d"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_known_ones_and_the_nearest(
    setting: str, text: str, table: dict[str, Any], nearest: str, load: Any
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text)
    message = str(caught.value)
    assert message.startswith(f'run.yaml: {setting} is "')
    assert f"; it must be one of {', '.join(table)}; did you mean {nearest}?" in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["workload: zzz", "model: {name: zzz}", "evaluation: {baselines: [zzz]}"])
def test_a_name_like_no_other_gets_no_suggestion(text: str, load: Any) -> None:
    with pytest.raises(SettingsError, match=r'is "zzz"; it must be one of [\w, ]+\.$'):
        load(text)


@pytest.mark.parametrize("text", ["workload: 3", "data: {source: [graphene]}", "evaluation: {baselines: [null]}"])
def test_a_name_that_is_no_text_is_one_line(text: str, load: Any) -> None:
    with pytest.raises(SettingsError, match="it must be text") as caught:
        load(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "wrong", "fitting"), [("", "otsu", "gaussian"), (SEGMENT, "tv", "random_forest")])
def test_a_baseline_that_answers_another_question_is_refused(text: str, wrong: str, fitting: str, load: Any) -> None:
    assert load(f"{text}evaluation: {{baselines: [{fitting}]}}").evaluation.baselines == (fitting,)
    with pytest.raises(
        SettingsError, match=rf"baselines names {wrong}; workload \w+ can use .*\b{fitting}\b"
    ) as caught:
        load(f"{text}evaluation: {{baselines: [{fitting}, {wrong}]}}")
    names = str(caught.value).partition("can use ")[2].rstrip(".").split(", ")
    assert {BASELINES[name].kind for name in names} == {BASELINES[fitting].kind}


def test_a_loss_that_teaches_another_kind_of_truth_is_refused(load: Any) -> None:
    with pytest.raises(SettingsError, match=r"loss is mean_squared_error; workload segment needs dice_cross_entropy"):
        load("workload: segment")


def test_a_section_model_without_a_name_is_of_the_unet(load: Any) -> None:
    assert load("model: {filters: [4]}").model == MODELS["unet"].settings(filters=(4,))


@pytest.mark.parametrize(
    ("table", "like", "text"),
    [
        (WORKLOADS, "denoise", "workload: toy"),
        (SOURCES, "graphene", "data: {source: toy}"),
        (OBJECTIVES, "mean_squared_error", "training: {loss: toy}"),
        (BASELINES, "nlm", "evaluation: {baselines: [gaussian, toy]}"),
    ],
    ids=["workload", "source", "objective", "baseline"],
)
def test_a_line_in_a_table_is_all_that_a_name_needs(
    table: dict[str, Any], like: str, text: str, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match='is "toy"; it must be one of'):
        load(text)
    monkeypatch.setitem(table, "toy", replace(table[like]))
    assert '"toy"' in load(text).model_dump_json()


def test_a_line_in_the_table_of_networks_brings_their_settings_along(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ToySettings(NetworkSettings):
        name: Literal["toy"] = "toy"
        width: int = 3

    def build(settings: ToySettings, ports: Ports) -> Network:
        raise NotImplementedError

    monkeypatch.setitem(MODELS, "toy", Architecture("A toy.", ToySettings, build))
    config = load("model: {name: toy, width: 5}")
    assert config.model == ToySettings(width=5)
    assert hash_settings(config) not in {hash_settings(load("model: {name: toy}")), hash_settings(load("seed: 0"))}
    assert load(config.model_dump_json()) == config
    with pytest.raises(SettingsError, match=r"model\.widht is not a setting; did you mean width\?"):
        load("model: {name: toy, widht: 5}")
    with pytest.raises(SettingsError, match=r"model\.name is .tox.; it must be .*; did you mean toy\?"):
        load("model: {name: tox}")
