"""Tasks in the wrong order, or with another parameters file, are told in one line what to run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.errors import DataError, MissingInputError, ModelError
from emdenoise.results.preconditions import check_data, check_model, check_source
from emdenoise.results.task_record import TaskRecord, read_record

HASH = "0123456789abcdef" * 4
Configure = Callable[..., RunConfig]


@pytest.fixture
def write_data(write_run: Callable[..., Path]) -> Callable[[RunConfig], Path]:
    """Give a function that makes the data folder of a run."""

    def write(run: RunConfig) -> Path:
        folder = write_run("download", "preprocess", run=run)
        for name in ("train.h5", "test.h5"):
            (folder / name).write_bytes(b"")
        return folder

    return write


def test_the_source_of_the_run_is_accepted(tiny_config: Configure, write_run: Callable[..., Path]) -> None:
    folder = write_run("download", run=tiny_config(data={"source": "emps"}))
    check_source(tiny_config(data={"source": "emps"}), read_record(folder, "download"))


def test_another_source_must_be_downloaded_first(tiny_config: Configure, write_run: Callable[..., Path]) -> None:
    downloaded = read_record(write_run("download", run=tiny_config(data={"source": "emps"})), "download")
    with pytest.raises(
        MissingInputError,
        match=r"^the raw data folder has source emps, the parameters file names graphene; "
        r"run the download task with this parameters file first\.$",
    ):
        check_source(tiny_config(), downloaded)


def test_data_of_the_run_is_accepted_with_the_hashes_of_its_files(
    tiny_config: Configure, write_data: Callable[[RunConfig], Path]
) -> None:
    folder = write_data(tiny_config())
    assert check_data(tiny_config(), folder, "train.h5", "test.h5") == {"train.h5": HASH, "test.h5": HASH}
    assert check_data(tiny_config(), folder) == {}


@pytest.mark.parametrize(
    ("section", "name", "made_with", "asked_for"),
    [
        ("data", "seed", 0, 7),
        ("data", "tile_size_px", 256, 64),
        ("simulation", "num_test", 4, 5),
        ("simulation", "defects", None, ["pristine"]),
        ("simulation", "voltage_kv", 80.0, 300.0),
    ],
)
def test_data_of_other_settings_names_the_setting_and_both_values(
    section: str,
    name: str,
    made_with: Any,
    asked_for: Any,
    tiny_config: Configure,
    write_data: Callable[[RunConfig], Path],
) -> None:
    folder = write_data(tiny_config())
    with pytest.raises(MissingInputError) as caught:
        check_data(tiny_config(**{section: {name: asked_for}}), folder, "train.h5")
    message = str(caught.value)
    assert message.startswith(f"the data folder was made with other settings: {section}.{name} was ")
    assert made_with is None or f"was {made_with}, the parameters file has" in message
    assert (
        f"the parameters file has {asked_for}; run download and preprocess with this parameters file first." in message
    )
    assert "\n" not in message


def test_settings_of_network_and_training_do_not_ask_for_new_data(
    tiny_config: Configure, write_data: Callable[[RunConfig], Path]
) -> None:
    folder = write_data(tiny_config())
    check_data(tiny_config(seed=9, training={"epochs": 99}, model={"filters": [8]}), folder, "train.h5")


@pytest.mark.parametrize("source", ["emps", "folder", "em_graphene_sim"])
def test_the_simulation_does_not_matter_to_images_that_are_not_simulated(
    source: str, tiny_config: Configure, write_data: Callable[[RunConfig], Path]
) -> None:
    folder = write_data(tiny_config(data={"source": source}))
    check_data(tiny_config(data={"source": source}, simulation={"num_test": 99}), folder, "train.h5")


def test_another_mirror_means_other_data(tiny_config: Configure, write_data: Callable[[RunConfig], Path]) -> None:
    first, second = (
        tiny_config(data={"source": "folder", "mirror": f"/{place}/images"}) for place in ("first", "second")
    )
    folder = write_data(first)
    check_data(first, folder, "train.h5")
    with pytest.raises(
        MissingInputError, match=r"data\.mirror was images \(path \w+\), the parameters file has images"
    ):
        check_data(second, folder, "train.h5")


def test_a_data_folder_without_record_names_the_task(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"records/preprocess\.json is missing; run the preprocess task first"):
        check_data(config, tmp_path, "train.h5")


def test_a_missing_file_names_the_task(config: RunConfig, write_data: Callable[[RunConfig], Path]) -> None:
    folder = write_data(config)
    (folder / "test.h5").unlink()
    check_data(config, folder, "train.h5")
    with pytest.raises(
        MissingInputError, match=r"^test\.h5 is not in the data folder; run the preprocess task first\.$"
    ):
        check_data(config, folder, "train.h5", "test.h5")


@pytest.mark.parametrize("content", [b"x", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_not_as_it_was_written_is_refused_before_it_is_opened(
    content: bytes, config: RunConfig, write_data: Callable[[RunConfig], Path]
) -> None:
    folder = write_data(config)
    (folder / "test.h5").write_bytes(content)
    with pytest.raises(DataError, match=r"test\.h5: SHA-256 is \w{12}…, expected e3b0c44298fc…; run the preprocess"):
        check_data(config, folder, "train.h5", "test.h5")


def describe_model(config: RunConfig, weights: str = HASH) -> dict[str, Any]:
    return {
        "workload": config.workload,
        "architecture": config.model.model_dump(mode="json"),
        "weights_sha256": weights,
    }


@pytest.fixture
def read_trained(write_run: Callable[..., Path]) -> Callable[[RunConfig], TaskRecord]:
    """Give a function that makes the record of a training."""
    return lambda run: read_record(write_run("train", run=run), "train")


def test_a_network_of_the_run_is_accepted_whatever_the_test(
    tiny_config: Configure, read_trained: Callable[[RunConfig], TaskRecord]
) -> None:
    run = tiny_config(evaluation={"num_pictures": 1}, simulation={"pixel_size_angstrom": [0.2, 0.2]})
    check_model(run, describe_model(run), read_trained(tiny_config()))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"workload": "segment"}, "workload is segment, the parameters file has denoise"),
        ({"workload": None}, "workload is None, the parameters file has denoise"),
        ({"architecture": {"name": "dncnn"}}, "architecture is {'name': 'dncnn'}, the parameters file has {"),
    ],
)
def test_a_network_of_another_run_is_refused(
    changes: dict[str, Any], found: str, config: RunConfig, read_trained: Callable[[RunConfig], TaskRecord]
) -> None:
    with pytest.raises(ModelError) as caught:
        check_model(config, describe_model(config) | changes, read_trained(config))
    message = str(caught.value)
    assert message.startswith(f"model.json: {found}")
    assert message.endswith("; run the train task with this parameters file first.")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"seed": 7}, "seed is 7, the parameters file has 0"),
        ({"training": {"learning_rate": 0.5}}, r"training\.learning_rate is 0\.5, the parameters file has 0\.01"),
        ({"pretraining": {"method": "denoise"}}, r"pretraining\.method is denoise, the parameters file has none"),
    ],
)
def test_a_network_that_learned_otherwise_is_refused(
    changes: dict[str, Any], found: str, tiny_config: Configure, read_trained: Callable[[RunConfig], TaskRecord]
) -> None:
    with pytest.raises(ModelError, match=f"model.json: {found}; run the train task"):
        check_model(tiny_config(), describe_model(tiny_config()), read_trained(tiny_config(**changes)))


def test_a_network_that_is_not_the_one_of_the_record_is_refused(
    config: RunConfig, read_trained: Callable[[RunConfig], TaskRecord]
) -> None:
    with pytest.raises(ModelError, match=r"its weights are not those of records/train\.json; run the train task again"):
        check_model(config, describe_model(config, "f" * 64), read_trained(config))


def test_a_network_of_another_size_is_refused(
    tiny_config: Configure, read_trained: Callable[[RunConfig], TaskRecord]
) -> None:
    other = tiny_config(model={"filters": [8]})
    with pytest.raises(ModelError, match=r"architecture is .*'filters': \[8\].*, the parameters file has .*\[4\]"):
        check_model(tiny_config(), describe_model(other), read_trained(tiny_config()))
