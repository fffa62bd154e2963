"""The source graphene: simulated once per recipe, verified every time."""

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from emdenoise.config.schema import RunConfig
from emdenoise.dataset.record import SPLITS
from emdenoise.dataset.record_file import RecordFile
from emdenoise.errors import DataError, MissingInputError
from emdenoise.sources import graphene
from emdenoise.sources.graphene import GRAPHENE, RECIPE_VERSION, hash_recipe
from emdenoise.sources.signatures import sign

pytestmark = pytest.mark.usefixtures("simulation_in_this_process")


@pytest.fixture
def config(tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config()


@pytest.fixture
def simulated(
    config: RunConfig, tmp_path: Path, progress: Any, simulation_in_this_process: list[str]
) -> dict[str, str]:
    return GRAPHENE.download(config, tmp_path, progress)


@pytest.fixture
def reference(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """Let the package ship the signatures of the files that were simulated just now."""
    signatures: dict[str, Any] = {}
    for name in simulated:
        with RecordFile(tmp_path / name) as records:
            signatures[Path(name).stem] = sign(records).to_json()
    shipped = {hash_recipe(config): signatures}

    class Package:
        def joinpath(self, name: str) -> "Package":
            assert name == graphene.REFERENCE_SIGNATURES
            return self

        def read_text(self, **_: Any) -> str:
            return json.dumps(shipped)

    monkeypatch.setattr(graphene, "files", lambda package: Package())
    return shipped


def test_a_file_appears_for_each_split_below_its_recipe(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path
) -> None:
    folder = f"graphene/{hash_recipe(config)[:16]}"
    assert sorted(simulated) == sorted(f"{folder}/{split}.h5" for split in SPLITS)
    for name, content_sha256 in simulated.items():
        with RecordFile(tmp_path / name) as records:
            assert records.hash_content() == content_sha256
            assert len(records) == getattr(config.simulation, f"num_{Path(name).stem}")


def test_a_second_download_does_not_simulate_again(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path, progress: Any, simulation_in_this_process: list[str]
) -> None:
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in simulated}
    simulation_in_this_process.clear()
    assert GRAPHENE.download(config, tmp_path, progress) == simulated
    assert simulation_in_this_process == []
    assert times == {name: (tmp_path / name).stat().st_mtime_ns for name in simulated}


def test_only_a_missing_split_is_simulated_and_is_the_same_again(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path, progress: Any
) -> None:
    gone = next(name for name in simulated if name.endswith("validation.h5"))
    other = next(name for name in simulated if name.endswith("train.h5"))
    time = (tmp_path / other).stat().st_mtime_ns
    (tmp_path / gone).unlink()
    assert GRAPHENE.download(config, tmp_path, progress) == simulated
    assert (tmp_path / other).stat().st_mtime_ns == time


def test_an_interrupted_simulation_leaves_no_half_split(config: RunConfig, tmp_path: Path, impatient: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        GRAPHENE.download(config, tmp_path, impatient)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_recipes_do_not_overwrite_each_other(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path, progress: Any, tiny_config: Callable[..., RunConfig]
) -> None:
    other = GRAPHENE.download(tiny_config(data={"seed": 1}), tmp_path, progress)
    assert set(other).isdisjoint(simulated)
    assert set(other.values()).isdisjoint(simulated.values())
    assert all((tmp_path / name).exists() for name in (*other, *simulated))


def test_the_recipe_is_the_simulation_and_its_seed_and_nothing_else(
    config: RunConfig, tiny_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    same = tiny_config(training={"epochs": 9}, seed=5, evaluation={"num_pictures": 1})
    assert hash_recipe(same) == hash_recipe(config)
    for changes in ({"data": {"seed": 1}}, {"simulation": {"voltage_kv": 60.0}}, {"simulation": {"num_test": 5}}):
        assert hash_recipe(tiny_config(**changes)) != hash_recipe(config)
    before = hash_recipe(config)
    monkeypatch.setattr(graphene, "RECIPE_VERSION", RECIPE_VERSION + 1)
    assert hash_recipe(config) != before


def test_a_recipe_without_reference_says_so(simulated: dict[str, str], progress: Any) -> None:
    assert sum("no reference for this recipe" in line for line in progress.lines) == 3


@pytest.mark.usefixtures("reference")
def test_content_equal_to_the_reference_says_so(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path, progress: Any
) -> None:
    progress.lines.clear()
    GRAPHENE.download(config, tmp_path, progress)
    assert sum("equal to the reference to the bit" in line for line in progress.lines) == 3


@pytest.mark.usefixtures("reference")
def test_rounding_of_another_processor_is_within_tolerance(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path, progress: Any
) -> None:
    path = tmp_path / next(iter(simulated))
    with h5py.File(path, "a") as file:
        file["clean"][...] = file["clean"][()] * (1 + 1e-6)
    path.with_name("checksums.json").unlink()
    progress.lines.clear()
    GRAPHENE.download(config, tmp_path, progress)
    assert sum("equal to the reference within tolerance" in line for line in progress.lines) == 1


@pytest.mark.usefixtures("reference")
def test_changed_content_is_refused_with_a_remedy(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path, progress: Any
) -> None:
    path = tmp_path / next(name for name in simulated if name.endswith("test.h5"))
    with h5py.File(path, "a") as file:
        file["clean"][0] = file["clean"][0][::-1] + 0.01
    path.with_name("checksums.json").unlink()
    with pytest.raises(DataError, match=r"test\.h5: content is [0-9a-f]{12} and differs from the reference .*; delete"):
        GRAPHENE.download(config, tmp_path, progress)


def test_a_file_that_changed_on_disk_is_refused_before_hdf5_sees_it(
    config: RunConfig, simulated: dict[str, str], tmp_path: Path, progress: Any
) -> None:
    path = tmp_path / next(name for name in simulated if name.endswith("test.h5"))
    path.write_bytes(path.read_bytes()[:-1])
    message = (
        rf"^test\.h5: SHA-256 is [0-9a-f]{{12}}…, expected .*; delete {path.parent.name} in the raw data folder and"
    )
    with pytest.raises(DataError, match=message):
        GRAPHENE.download(config, tmp_path, progress)
    with pytest.raises(DataError, match=message):
        list(GRAPHENE.read(config, tmp_path)["test"])
    path.with_name("checksums.json").write_text("[]")
    with pytest.raises(DataError, match=rf"{path.parent.name}/checksums\.json: damaged; delete {path.parent.name} in"):
        list(GRAPHENE.read(config, tmp_path)["test"])


def test_a_source_that_was_not_downloaded_names_the_task_to_run(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"graphene train\.h5 of this parameters .*; run the download task"):
        list(GRAPHENE.read(config, tmp_path)["train"])


def test_another_recipe_than_the_downloaded_one_names_the_task_to_run(
    simulated: dict[str, str], tmp_path: Path, tiny_config: Callable[..., RunConfig]
) -> None:
    with pytest.raises(MissingInputError, match="run the download task first"):
        list(GRAPHENE.read(tiny_config(data={"seed": 7}), tmp_path)["test"])


def test_what_is_read_is_what_was_simulated(config: RunConfig, simulated: dict[str, str], tmp_path: Path) -> None:
    records = {split: list(found) for split, found in GRAPHENE.read(config, tmp_path).items()}
    assert {split: len(found) for split, found in records.items()} == {"train": 4, "validation": 2, "test": 4}
    assert {record.specimen for record in records["train"]} == {"train 0", "train 1"}


@pytest.mark.parametrize("name", ["default", "smoke"])
def test_the_signatures_of_the_committed_recipes_ship_with_the_package(name: str) -> None:
    from importlib.resources import files

    from emdenoise.config.loading import load_config

    path = Path(__file__).parents[2] / "workspace" / "parameters" / f"{name}.parameters.yaml"
    shipped = json.loads(files("emdenoise.sources").joinpath(graphene.REFERENCE_SIGNATURES).read_text())
    assert set(shipped.get(hash_recipe(load_config(path)), ())) == set(SPLITS), "make them with docs/sign.py"


def test_the_program_that_signs_writes_the_file_that_the_package_reads() -> None:
    path = Path(__file__).parents[2] / "docs" / "sign.py"
    assert runpy.run_path(str(path))["REFERENCE"] == Path(graphene.__file__).parent / graphene.REFERENCE_SIGNATURES
