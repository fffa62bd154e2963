"""A damaged image file is read or is one line, whatever the damage: never a traceback, a hang, memory without end.

The microscope formats are read in a process with bounds (`emdenoise.files.sandbox`), whose peak of memory is looked at.
"""

import re
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emdenoise.config.schema import DataSettings, RunConfig
from emdenoise.errors import DataError, EMDenoiseError
from emdenoise.files import sandbox
from emdenoise.files.formats import read_masks, read_micrographs
from emdenoise.files.sandbox import call_sandboxed, read_sandboxed
from emdenoise.progress import SilentProgress
from emdenoise.sources.em_graphene_sim import FILES, read_em_graphene_sim
from emdenoise.sources.emps import read_emps
from emdenoise.sources.folder import download_folder
from tests.damage import HEADER_BYTES, Change, choose_changes, damage

RAW = Path(__file__).parents[2].parent / "shared/data/raw_microscope_files"
SMALL = {
    "dm3": "rsciio/test-6.dm3",
    "dm4": "rsciio/test-1.dm4",
    "ser": "rsciio/64x64x5_TEM_preview_1.ser",
    "emi": "rsciio/128x128_TEM_acquire-sum1.emi",
    "fei mrc": "rsciio/HAADFscan.mrc",
    "velox emd": "rsciio/fei_example_tem_stack.emd",
    "olympus tif": "rsciio/olympus_SIS.tif",
    "jeol dm4": "particlespy/JEOL HAADF Image.dm4",
}
MAX_BYTES = 4 * 2**30
READING_SECONDS = 20
IMAGE = np.random.default_rng(0).integers(0, 250, (32, 32)).astype(np.uint8)


def write_tif(path: Path) -> None:
    tifffile.imwrite(path, IMAGE.astype(np.uint16))


def write_compressed_tif(path: Path) -> None:
    tifffile.imwrite(path, IMAGE.astype(np.uint16), compression="zlib", predictor=True)


def write_imagej_tif(path: Path) -> None:
    tifffile.imwrite(path, np.stack([IMAGE] * 3), imagej=True, resolution=(4, 4), metadata={"unit": "nm"})


def write_tiled_tif(path: Path) -> None:
    tifffile.imwrite(path, np.tile(IMAGE, (3, 3)), tile=(16, 16), compression="lzw", bigtiff=True)


def write_image(path: Path) -> None:
    Image.fromarray(IMAGE).save(path)


def write_deep_png(path: Path) -> None:
    Image.fromarray(IMAGE.astype(np.uint16)).save(path)


def write_mrc(path: Path) -> None:
    header = np.zeros(256, "<i4")
    header[:4], header[7:10], header[16:19] = (32, 32, 1, 6), 32, (1, 2, 3)
    header[10:13] = np.array([64, 64, 64], "<f4").view("<i4")
    header[52:54] = np.frombuffer(b"MAP DD\0\0", "<i4")
    path.write_bytes(header.tobytes() + IMAGE.astype("<u2").tobytes())


def write_emd(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        group = file.create_group("data/image")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=IMAGE, chunks=(8, 32), compression="gzip")
        for index, name in enumerate("yx"):
            group[f"dim{index + 1}"] = 0.5 * np.arange(32)
            group[f"dim{index + 1}"].attrs.update({"name": name, "units": "[n_m]"})


def write_hspy(path: Path) -> None:
    from rsciio.hspy import file_writer

    axis = {"size": 32, "scale": 0.5, "offset": 0.0, "units": "nm", "navigate": False}
    empty = ("original_metadata", "learning_results", "models", "package_info", "tmp_parameters")
    signal_ = {"data": IMAGE, "axes": [axis | {"name": name} for name in "yx"], "attributes": {"_lazy": False}}
    signal_ |= {"metadata": {"General": {"title": ""}, "Signal": {"signal_type": ""}}} | {name: {} for name in empty}
    file_writer(str(path), signal_, show_progressbar=False)


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "tif": (".tif", write_tif),
    "compressed tif": (".tif", write_compressed_tif),
    "imagej tif": (".tif", write_imagej_tif),
    "tiled tif": (".tif", write_tiled_tif),
    "png": (".png", write_image),
    "deep png": (".png", write_deep_png),
    "jpg": (".jpg", write_image),
    "mrc": (".mrc", write_mrc),
    "emd": (".emd", write_emd),
    "hspy": (".hspy", write_hspy),
}


@pytest.fixture(autouse=True)
def limit_on_the_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a loop without end fail a test, wherever it is, and files have less time than a slow disk needs."""

    def fail(*_: object) -> None:
        raise TimeoutError("a damaged file keeps this process busy")

    monkeypatch.setattr(sandbox, "SECONDS", READING_SECONDS)
    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(1800)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def find_raw(kind: str) -> Path:
    path = RAW / SMALL[kind]
    if not path.is_file():
        pytest.skip(f"the third-party file {path.name} is not beside this checkout (shared/data)")
    return path


def copy_with_partners(path: Path, folder: Path) -> Path:
    """Copy a file, and the .ser files of an .emi file."""
    folder.mkdir()
    for other in path.parent.glob(f"{path.stem}*"):
        shutil.copyfile(other, folder / other.name)
    return folder / path.name


def measure_peak() -> int:
    """Measure the most memory that the reading process has had so far [bytes]."""
    status = call_sandboxed(partial(Path("/proc/self/status").read_text), name="status", remedy="report it")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def attempt(call: Callable[[], Any], names: str) -> Any:
    """Give what a call gives, or None where it is refused in one line that names what `names` is a pattern of."""
    try:
        return call()
    except EMDenoiseError as error:
        line = str(error)
    assert re.search(names, line)
    assert "\n" not in line
    assert len(line) < 1000
    assert line.endswith(".")
    return None


def damage_and_read(path: Path, num_examples: int) -> None:
    """Read a file after each of many damages, as images and now and then as a mask; it is put back after each."""
    content = path.read_bytes()
    assert read_sandboxed(read_micrographs, path)  # imports what takes a second, once

    @settings(max_examples=num_examples)
    @given(changes=choose_changes(len(content)), read=st.sampled_from([read_micrographs, read_micrographs, read_masks]))
    def read_damaged(changes: list[Change], read: Callable[[Path], list[Any]]) -> None:
        path.write_bytes(damage(content, changes))
        found = attempt(partial(read_sandboxed, read, path), re.escape(path.name)) or []
        assert sum(getattr(image, "image", image).nbytes for image in found) < 2**28

    read_damaged()
    assert measure_peak() < MAX_BYTES


@pytest.mark.long
@pytest.mark.parametrize("kind", WRITERS)
def test_a_damaged_image_is_read_or_is_one_line(kind: str, tmp_path: Path) -> None:
    suffix, write = WRITERS[kind]
    write(tmp_path / f"image{suffix}")
    damage_and_read(tmp_path / f"image{suffix}", 25)


@pytest.mark.parametrize("kind", SMALL)
def test_a_damaged_microscope_file_is_read_or_is_one_line(kind: str, tmp_path: Path) -> None:
    damage_and_read(copy_with_partners(find_raw(kind), tmp_path / "noisy"), 15)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_many_damaged_images_are_read_or_are_one_line(kind: str, tmp_path: Path) -> None:
    suffix, write = WRITERS[kind]
    write(tmp_path / f"image{suffix}")
    damage_and_read(tmp_path / f"image{suffix}", 1000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_many_damaged_microscope_files_are_read_or_are_one_line(kind: str, tmp_path: Path) -> None:
    damage_and_read(copy_with_partners(find_raw(kind), tmp_path / "noisy"), 500)


@pytest.fixture(scope="module")
def stfc_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a raw data folder of the STFC source with compressed images, so that its files are small."""
    folder = tmp_path_factory.mktemp("raw_data")
    rng = np.random.default_rng(0)
    for name in FILES:
        path = folder / "em_graphene_sim" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images = np.kron(rng.random((3, 8, 8)), np.ones((32, 32))).astype(np.float32)[..., None]
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=images, chunks=(1, 256, 256, 1), compression="gzip")
    return folder


def test_a_damaged_file_of_the_stfc_is_read_or_is_one_line(stfc_dir: Path) -> None:
    path, config = stfc_dir / "em_graphene_sim" / FILES[0], RunConfig(data=DataSettings(source="em_graphene_sim"))
    content = path.read_bytes()

    def read_all() -> list[tuple[int, ...]]:
        splits = read_em_graphene_sim(config, stfc_dir)
        return [record.noisy.shape for split in ("train", "validation") for record in splits[split]]

    assert read_all() == 3 * [(256, 256)]

    @settings(max_examples=60)
    @given(changes=choose_changes(len(content)))
    def read_damaged(changes: list[Change]) -> None:
        path.write_bytes(damage(content, changes))
        assert set(attempt(read_all, FILES[0]) or ()) <= {(256, 256)}

    read_damaged()
    path.write_bytes(content)
    assert measure_peak() < MAX_BYTES


@pytest.fixture(scope="module")
def emps_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw_data")
    names = [f"{index:010x}" for index in range(4)]
    for kind in ("images", "segmaps"):
        (folder / "emps" / kind).mkdir(parents=True)
        for name in names:
            write_image(folder / "emps" / kind / f"{name}.png")
    (folder / "emps/train.csv").write_text("\n".join(names[:3]))
    (folder / "emps/test.csv").write_text("\n".join(names[3:]))
    return folder


@pytest.mark.parametrize("name", ["train.csv", "images/0000000000.png", "segmaps/0000000003.png"])
def test_a_damaged_file_of_emps_is_read_or_is_one_line(name: str, emps_dir: Path) -> None:
    path = emps_dir / "emps" / name
    content = path.read_bytes()
    config = RunConfig(data=DataSettings(source="emps", tile_size_px=32))

    def read_all() -> list[tuple[int, ...]]:
        return [record.noisy.shape for split in read_emps(config, emps_dir).values() for record in split]

    assert read_all() == 4 * [(32, 32)]

    @settings(max_examples=20)
    @given(changes=choose_changes(len(content)))
    def read_damaged(changes: list[Change]) -> None:
        path.write_bytes(damage(content, changes))
        assert set(
            attempt(read_all, r"\.csv|\.png|emps/images|expected at least 2, one file for each split") or ()
        ) <= {(32, 32)}

    read_damaged()
    path.write_bytes(content)


def test_a_list_of_many_names_is_refused_at_once(emps_dir: Path) -> None:
    (emps_dir / "emps/test.csv").write_text("\n".join(map(str, range(10**5))) + "\n0")
    with pytest.raises(DataError, match=r"train\.csv and test\.csv name the image 0 twice"):
        read_emps(RunConfig(data=DataSettings(source="emps", tile_size_px=32)), emps_dir)


@pytest.fixture(scope="module")
def folder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw_dir = tmp_path_factory.mktemp("raw_data")
    (raw_dir / "folder").mkdir()
    for index in range(3):
        tifffile.imwrite(raw_dir / f"folder/{index}.tif", IMAGE + np.uint8(index))
    download_folder(RunConfig(data=DataSettings(source="folder")), raw_dir, SilentProgress())
    return raw_dir


def test_damaged_checksums_are_accepted_or_are_one_line(folder_dir: Path) -> None:
    path, config = folder_dir / "folder/checksums.json", RunConfig(data=DataSettings(source="folder"))
    content = path.read_bytes()
    names = {f"folder/{index}.tif" for index in range(3)}

    @settings(max_examples=40)
    @given(changes=choose_changes(len(content)))
    def download_damaged(changes: list[Change]) -> None:
        path.write_bytes(damage(content, changes))
        found = attempt(partial(download_folder, config, folder_dir, SilentProgress()), r"checksums\.json")
        assert found is None or set(found) == names

    download_damaged()
    path.write_bytes(content)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"0.tif": 5}', "[1]", "null"])
def test_checksums_that_are_no_list_of_hashes_are_one_line(content: str, folder_dir: Path) -> None:
    path = folder_dir / "folder/checksums.json"
    before = path.read_bytes()
    path.write_text(content)
    with pytest.raises(DataError, match=r"folder/checksums.json is damaged; delete it to record the images anew"):
        download_folder(RunConfig(data=DataSettings(source="folder")), folder_dir, SilentProgress())
    path.write_bytes(before)


def test_changes_reach_the_header_and_the_whole_file() -> None:
    places = []

    @settings(max_examples=50)
    @given(changes=choose_changes(10_000))
    def note(changes: list[Change]) -> None:
        places.extend(place for _, place, *_ in changes)

    note()
    assert min(places) < HEADER_BYTES < 5_000 < max(places)
