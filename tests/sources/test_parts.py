"""Training images made in parts: the file is the same to the bit, and what is damaged is simulated again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.cli import main
from emdenoise.config.schema import RunConfig
from emdenoise.config.simulation import SimulationSettings
from emdenoise.dataset.record import Record
from emdenoise.errors import SettingsError, StorageError
from emdenoise.files.atomic import hash_file
from emdenoise.files.locks import LOCK_FILE, lock_folder
from emdenoise.simulation import simulate
from emdenoise.sources.graphene import GRAPHENE, hash_recipe
from emdenoise.sources.parts import Parts, split_records

pytestmark = pytest.mark.usefixtures("simulation_in_this_process")
CHANGES: dict[str, Any] = {
    "simulation": {"num_train": 7, "images_per_specimen": 2, "image_size_px": 32, "defects": ["pristine"]}
}
"""Four specimens, the last one with a single image."""


@pytest.fixture(scope="module")
def config(tiny_config: Callable[..., RunConfig]) -> RunConfig:
    return tiny_config(**CHANGES)


@pytest.fixture
def specimens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep which specimens are simulated, in order."""
    heard: list[str] = []
    original = simulate.simulate_specimen

    def hear(settings: SimulationSettings, seed: int, stream: str, index: int) -> Any:
        heard.append(f"{stream} {index}")
        return original(settings, seed, stream, index)

    monkeypatch.setattr(simulate, "simulate_specimen", hear)
    return heard


@pytest.fixture(scope="module")
def whole(config: RunConfig, tmp_path_factory: pytest.TempPathFactory, no_pool: None) -> dict[str, str]:
    """Give the hashes of the files that are simulated without parts."""
    from emdenoise.progress import SilentProgress

    folder = tmp_path_factory.mktemp("whole")
    GRAPHENE.download(config, folder, SilentProgress())
    return hash_files(folder)


def hash_files(raw_dir: Path) -> dict[str, str]:
    """Hash all files but the lock that a killed task leaves behind, which holds nothing."""
    files = [path for path in raw_dir.rglob("*") if path.is_file() and path.name != LOCK_FILE]
    return {path.relative_to(raw_dir).as_posix(): hash_file(path) for path in files}


def write(config: RunConfig, raw_dir: Path, progress: Any, part: int, num_parts: int) -> str:
    assert GRAPHENE.simulate_part is not None
    return GRAPHENE.simulate_part(config, raw_dir, part, num_parts, progress)


def locate(config: RunConfig, raw_dir: Path, name: str = "") -> Path:
    return raw_dir / "graphene" / hash_recipe(config)[:16] / "parts" / name


@given(num_train=st.integers(1, 60), size=st.integers(1, 5), num_parts=st.integers(1, 60))
def test_parts_hold_each_image_once_and_cut_no_specimen(num_train: int, size: int, num_parts: int) -> None:
    settings = SimulationSettings(num_train=num_train, images_per_specimen=size)
    num_specimens = len({number // size for number in range(num_train)})
    if num_parts > num_specimens:
        with pytest.raises(SettingsError, match=f"num_parts is {num_parts}; it must be from 1 to {num_specimens}"):
            split_records(settings, 1, num_parts)
        return
    parts = [split_records(settings, part, num_parts) for part in range(1, num_parts + 1)]
    assert [number for part in parts for number in part] == list(range(num_train))
    assert all(part and part.start % size == 0 for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2 * size - 1


@pytest.mark.parametrize(
    "parts", [[(1, 1)], [(2, 2), (1, 2)], [(3, 4)], [(1, 4), (2, 3), (2, 2)], [(n, 4) for n in (1, 2, 3, 4)]], ids=str
)
def test_files_are_the_same_to_the_bit_with_and_without_parts(
    parts: list[tuple[int, int]], config: RunConfig, whole: dict[str, str], tmp_path: Path, progress: Any
) -> None:
    for part, num_parts in parts:
        write(config, tmp_path, progress, part, num_parts)
    GRAPHENE.download(config, tmp_path, progress)
    assert hash_files(tmp_path) == whole
    assert not locate(config, tmp_path).exists()


def test_parts_of_several_numbers_may_overlap_and_each_image_is_taken_once(
    tmp_path: Path, draw_records: Callable[..., Iterator[Record]], progress: Any
) -> None:
    drawn = [replace(record, name=f"train image {number}") for number, record in enumerate(draw_records(9))]
    asked: list[int] = []

    def draw(numbers: range) -> list[Record]:
        asked.extend(numbers)
        return [drawn[number] for number in numbers]

    parts = Parts(SimulationSettings(num_train=9, images_per_specimen=2), "recipe", tmp_path)
    for part, num_parts in ((2, 3), (5, 5), (1, 2)):  # images 2 to 5, 8, and 0 to 3
        parts.write(parts.find(part, num_parts), draw, progress)
    asked.clear()
    found = list(parts.read(draw, progress))
    assert asked == [6, 7]
    assert progress.lines == ["graphene train: 7 of 9 images are from 3 parts."]
    assert [record.name for record in found] == [record.name for record in drawn]
    for one, other in zip(found, drawn, strict=True):
        assert one.attributes == other.attributes
        assert all((one.images[name] == image).all() for name, image in other.images.items())


def test_what_a_part_holds_is_not_simulated_again_by_itself_or_by_the_download(
    config: RunConfig, tmp_path: Path, progress: Any, specimens: list[str]
) -> None:
    assert write(config, tmp_path, progress, 2, 2) == "Part 2 of 2 (3 training images) is simulated."
    assert specimens == ["train 2", "train 3"]
    again = write(config, tmp_path, progress, 2, 2)
    assert again == "Part 2 of 2 (3 training images) is there and right; nothing was simulated."
    assert specimens == ["train 2", "train 3"]
    GRAPHENE.download(config, tmp_path, progress)
    assert [name for name in specimens[2:] if name.startswith("train")] == ["train 0", "train 1"]
    assert "graphene train: 3 of 7 images are from 1 parts." in progress.lines
    specimens.clear()
    assert write(config, tmp_path, progress, 1, 2).endswith("together already; nothing was simulated.")
    assert (specimens, locate(config, tmp_path).exists()) == ([], False)


def damage_a_byte(folder: Path) -> None:
    content = bytearray((folder / "train.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "train.h5").write_bytes(content)


def take_another_part(folder: Path) -> None:
    other = folder.with_name("train-0002-of-0002")
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte": (damage_a_byte, "SHA-256 is [0-9a-f]{12}…, expected [0-9a-f]{12}…"),
    "cut off": (lambda folder: os.truncate(folder / "train.h5", 1000), "SHA-256 is .*, expected .*"),
    "no hash": (lambda folder: (folder / "checksums.json").unlink(), "no SHA-256 was recorded"),
    "no list": (lambda folder: (folder / "checksums.json").write_text("[]"), r".*checksums\.json is damaged"),
    "another part": (take_another_part, "holds other images, expected 4 from train image 0 on"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_part_is_one_line_and_is_simulated_again(
    name: str, config: RunConfig, whole: dict[str, str], tmp_path: Path, progress: Any, specimens: list[str]
) -> None:
    damage, problem = DAMAGES[name]
    folder = locate(config, tmp_path, "train-0001-of-0002")
    for part in (1, 2):
        write(config, tmp_path, progress, part, 2)
    sound = hash_files(folder)
    for repair in (
        lambda: write(config, tmp_path, progress, 1, 2),
        lambda: GRAPHENE.download(config, tmp_path, progress),
    ):
        damage(folder)
        specimens.clear()
        progress.lines.clear()
        repair()
        assert [line for line in specimens if line.startswith("train")] == ["train 0", "train 1"]
        (line,) = [line for line in progress.lines if line.startswith("Part")]
        assert re.fullmatch(rf"Part 1 of 2: {problem}; it is simulated again\.", line), line
        assert not folder.exists() or hash_files(folder) == sound
    assert hash_files(tmp_path) == whole


def test_a_part_of_another_recipe_is_not_taken(
    config: RunConfig, tiny_config: Callable[..., RunConfig], whole: dict[str, str], tmp_path: Path, progress: Any
) -> None:
    other = tiny_config(**CHANGES, data={"seed": 1})
    write(other, tmp_path, progress, 1, 2)
    shutil.move(locate(other, tmp_path), locate(config, tmp_path))
    GRAPHENE.download(config, tmp_path, progress)
    assert any("Part 1 of 2: holds other images" in line for line in progress.lines)
    assert whole.items() <= hash_files(tmp_path).items()


def test_an_interrupted_part_leaves_nothing_half(config: RunConfig, tmp_path: Path, impatient: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(config, tmp_path, impatient, 1, 2)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("part", "num_parts"), [(0, 2), (3, 2), (-1, 2), (1, 0), (1, 5)])
def test_a_part_that_does_not_exist_is_one_line(
    part: int, num_parts: int, config: RunConfig, tmp_path: Path, progress: Any
) -> None:
    with pytest.raises(SettingsError, match=r"^(part|num_parts) is -?\d; it must be from 1 to \d, .*\.$"):
        write(config, tmp_path, progress, part, num_parts)
    assert list(tmp_path.iterdir()) == []


def test_two_parts_are_made_at_once_and_the_same_one_or_a_download_are_not(
    config: RunConfig, tmp_path: Path, write_parameters: Callable[..., Path], progress: Any
) -> None:
    from emdenoise.tasks import download
    from emdenoise.tools.parts import simulate_part

    paths = {"parameters_file": write_parameters(**CHANGES), "raw_data_dir": tmp_path / "raw"}
    simulate_part(**paths, part_number=1, num_parts=3, progress=progress)
    with lock_folder(paths["raw_data_dir"], is_written=False):  # as another part does
        with lock_folder(locate(config, paths["raw_data_dir"], "train-0002-of-0003"), is_written=True):
            simulate_part(**paths, part_number=3, num_parts=3, progress=progress)
            with pytest.raises(StorageError, match="train-0002-of-0003 is in use by another task"):
                simulate_part(**paths, part_number=2, num_parts=3, progress=progress)
        with pytest.raises(StorageError, match="raw is in use by another task"):
            download(**paths, progress=progress)


def call(tmp_path: Path, logs: Callable[[], Any], settings: dict[str, Any], *options: str) -> Any:
    file = tmp_path / "tiny.parameters.yaml"
    file.write_text(yaml.safe_dump(settings))
    folders = [f"--raw_data_dir={tmp_path / 'raw'}", f"--log_dir={tmp_path / 'logs'}"]
    with logs():
        return CliRunner().invoke(main, ["simulate-part", f"--parameters_file={file}", *folders, *options])


def test_the_command_takes_a_part_and_says_what_is_wrong_in_one_line(
    tmp_path: Path, tiny_settings: Callable[..., dict[str, Any]], logs_of_one_command: Callable[[], Any]
) -> None:
    settings = tiny_settings(**CHANGES)
    assert call(tmp_path, logs_of_one_command, settings, "--part=2", "--num_parts=4").exit_code == 0
    assert len(list(tmp_path.glob("raw/graphene/*/parts/train-0002-of-0004/train.h5"))) == 1
    result = call(tmp_path, logs_of_one_command, settings, "--part=5", "--num_parts=4")
    assert result.exit_code == SettingsError.exit_code
    assert result.stderr == "emdenoise simulate-part: part is 5; it must be from 1 to 4, which num_parts is.\n"
    assert call(tmp_path, logs_of_one_command, settings, "--part=one").exit_code == 2
    result = call(tmp_path, logs_of_one_command, {"division": "open", "data": {"source": "emps"}})
    assert result.exit_code == SettingsError.exit_code
    assert "source emps is not simulated; take graphene or crystals, or run the download task.\n" in result.stderr


@pytest.mark.long
def test_a_part_that_is_killed_while_it_is_written_is_made_anew_and_the_file_is_the_same(
    config: RunConfig,
    whole: dict[str, str],
    tmp_path: Path,
    tiny_settings: Callable[..., dict[str, Any]],
    progress: Any,
) -> None:
    file, raw_dir = tmp_path / "tiny.parameters.yaml", tmp_path / "raw"
    file.write_text(yaml.safe_dump(tiny_settings(**CHANGES)))
    options = [f"--parameters_file={file}", f"--raw_data_dir={raw_dir}", f"--log_dir={tmp_path / 'logs'}"]
    command = [sys.executable, "-m", "emdenoise", "simulate-part", "--part=1", "--num_parts=1", *options]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    folder = locate(config, raw_dir, "train-0001-of-0001")
    while not (folder / ".partial-train.h5").exists() and process.poll() is None:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "train.h5").exists()
    assert write(config, raw_dir, progress, 1, 1).endswith("is simulated.")
    GRAPHENE.download(config, raw_dir, progress)
    assert hash_files(raw_dir) == whole
