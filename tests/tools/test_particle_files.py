"""Particles of an image on the command line: the table, the pictures and the numbers tell of the same particles."""

import csv
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from emdenoise.errors import SettingsError, StorageError
from emdenoise.files.formats import read_micrographs
from emdenoise.files.locks import lock_file
from emdenoise.files.pictures import write_pictures
from emdenoise.progress import Progress, SilentProgress
from emdenoise.tools.particle_files import CUT_COLOUR, WHOLE_COLOUR, name_particle_files, write_particles
from emdenoise.tools.predict import predict
from emdenoise.tools.restoration import TrainedNetwork
from emdenoise.tools.staging import StagedImages
from tests.untrained import write_network

SHAPE = (60, 90)
DISCS = [(20, 20, 8), (25, 33, 8), (40, 70, 12), (59, 10, 7)]
"""Row, column and radius [px]: the first two overlap, the border cuts the last one."""
FILES = {"scan.segmented.tif", "scan.particles.csv", "scan.particles.tif", "scan.outlines.png", "scan.sizes.png"}


def draw_mask(discs: list[tuple[int, int, int]]) -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    each = [(rows - row) ** 2 + (columns - column) ** 2 <= radius**2 for row, column, radius in discs]
    return np.any([np.zeros(SHAPE, np.bool_), *each], axis=0)


def find_bright(self: TrainedNetwork, staged: StagedImages, progress: Progress) -> Iterator[np.ndarray]:
    """Stand for a network that has learned that what is bright is a particle; in strips, as a network gives them."""
    for image in staged.noisy:
        is_bright = (image > image.mean()).astype(np.uint8)
        yield from np.array_split(is_bright, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = {"source": "folder", "mask_labels": ["background", "particle", "support"]}
    return write_network(tmp_path_factory.mktemp("network") / "model", workload="segment", data=data)


@pytest.fixture(autouse=True)
def learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainedNetwork, "restore", find_bright)


def write_image(path: Path, *masks: np.ndarray, pixel_size_angstrom: float | None = 2.5) -> Path:
    images = np.array([100 + 50 * mask for mask in masks], np.float32)
    write_pictures(path, images, shape=images.shape, dtype="float32", pixel_size_angstrom=pixel_size_angstrom)
    return path


def run(model: Path, *images: Path, output: Path | None = None) -> str:
    return predict(images=images, model_dir=model, predicted_file=output, progress=SilentProgress()).message


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_particles_are_listed_numbered_and_drawn_beside_the_labels(model: Path, tmp_path: Path) -> None:
    message = run(model, write_image(tmp_path / "scan.tif", draw_mask(DISCS)))
    assert {path.name for path in tmp_path.iterdir()} == {"scan.tif", *FILES}
    rows = read_table(tmp_path / "scan.particles.csv")
    assert [row["touches_border"] for row in rows] == ["0", "0", "0", "1"]
    assert {row["page"] for row in rows} == {"1"}
    found = sorted((float(row["centroid_row_px"]), float(row["centroid_column_px"])) for row in rows[:3])
    assert np.array(found) == pytest.approx(np.array([(20, 20), (25, 33), (40, 70)]), abs=0.8)
    assert float(rows[2]["equivalent_diameter_px"]) == pytest.approx(24, rel=0.03)
    assert float(rows[2]["equivalent_diameter_nm"]) == pytest.approx(6, rel=0.03)
    (numbers,) = read_micrographs(tmp_path / "scan.particles.tif")
    assert numbers.pixel_size_angstrom == pytest.approx(2.5)
    assert {int(row["particle"]): int(row["area_px"]) for row in rows} == {
        number: (numbers.image == number).sum() for number in range(1, 5)
    }
    assert ((numbers.image > 0) == draw_mask(DISCS)).all()
    assert tifffile.imread(tmp_path / "scan.particles.tif").dtype == np.uint16
    diameters = sorted(float(row["equivalent_diameter_nm"]) for row in rows[:3])
    said = f"4 particles, 1 of them cut by the border, median diameter of the others {diameters[1]:.3g} nm."
    assert message.endswith(f"; {said}")


def test_outlines_have_two_colours_and_leave_the_rest_as_it_is(model: Path, tmp_path: Path) -> None:
    run(model, write_image(tmp_path / "scan.tif", draw_mask(DISCS)))
    with Image.open(tmp_path / "scan.outlines.png") as file:
        picture = np.asarray(file)
    assert picture.shape == (*SHAPE, 3)
    assert picture[40, 58].tolist() == picture[40, 82].tolist() == list(WHOLE_COLOUR)
    assert picture[59, 3].tolist() == list(CUT_COLOUR)
    assert (picture == CUT_COLOUR).all(axis=-1)[:50].sum() == 0
    assert len(set(picture[40, 70].tolist())) == len(set(picture[5, 70].tolist())) == 1
    assert picture[40, 70, 0] > picture[5, 70, 0]


def test_a_stack_has_a_page_for_each_image_and_one_table(model: Path, tmp_path: Path) -> None:
    masks = [draw_mask(DISCS[2:]), draw_mask([]), draw_mask(DISCS[:2])]
    message = run(model, write_image(tmp_path / "scan.tif", *masks, pixel_size_angstrom=None))
    rows = read_table(tmp_path / "scan.particles.csv")
    assert [(row["page"], row["particle"]) for row in rows] == [("1", "1"), ("1", "2"), ("3", "1"), ("3", "2")]
    assert "area_nm2" not in rows[0]
    assert message.endswith(" px.")
    assert tifffile.imread(tmp_path / "scan.particles.tif").max(axis=(1, 2)).tolist() == [2, 0, 2]
    pages = tifffile.imread(tmp_path / "scan.outlines.tif")
    assert pages.shape == (3, *SHAPE, 3)
    assert [(page == WHOLE_COLOUR).all(axis=-1).any() for page in pages] == [True, False, True]
    assert not (tmp_path / "scan.outlines.png").exists()


def test_an_image_without_particles_has_an_empty_table(model: Path, tmp_path: Path) -> None:
    message = run(model, write_image(tmp_path / "scan.tif", draw_mask([])))
    assert message.endswith("; 0 particles.")
    assert read_table(tmp_path / "scan.particles.csv") == []
    assert (tmp_path / "scan.sizes.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["scan.particles.tif", "scan.outlines.png", "scan.outlines.tif"])
def test_particles_are_written_over_no_image(name: str, model: Path, tmp_path: Path) -> None:
    image, other = write_image(tmp_path / "scan.tif", draw_mask(DISCS)), tmp_path / name
    Image.fromarray(draw_mask(DISCS)).save(other)
    content = other.read_bytes()
    with pytest.raises(SettingsError, match=rf"scan\.segmented\.tif would be written over {name}, which is an image"):
        run(model, image, other)
    assert other.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 2


def test_a_result_of_another_name_gives_its_name_to_the_particles(model: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "scan.tif", draw_mask(DISCS))
    run(model, image, output=tmp_path / "out" / "grains.h5")
    names = {"grains.h5", "grains.particles.csv", "grains.particles.h5", "grains.outlines.png", "grains.sizes.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    with h5py.File(tmp_path / "out" / "grains.particles.h5") as file:
        assert file["image"][()].max() == 4
    with pytest.raises(SettingsError, match=r"the particles of scan\.tif would be written over scan\.particles\.tif"):
        run(model, image.rename(tmp_path / "scan.particles.tif"), output=tmp_path / "scan.tif")


def test_two_runs_do_not_write_the_same_particles(model: Path, tmp_path: Path) -> None:
    image = write_image(tmp_path / "scan.tif", draw_mask(DISCS))
    with (
        lock_file(tmp_path / "grains.particles.csv"),
        pytest.raises(StorageError, match=r"grains\.particles\.csv is in use by another task"),
    ):
        run(model, image, output=tmp_path / "grains.h5")
    assert {path.name for path in tmp_path.iterdir()} == {"scan.tif"}


def test_a_network_without_the_label_writes_labels_alone(tmp_path: Path) -> None:
    model = write_network(tmp_path / "model", workload="segment", data={"source": "graphene"})
    message = run(model, write_image(tmp_path / "scan.tif", draw_mask(DISCS)), output=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scan.segmented.tif"]
    assert "particle" not in message


@pytest.mark.long
def test_more_particles_than_a_tiff_counts_need_hdf5(tmp_path: Path) -> None:
    mask = np.zeros((1, 1100, 1100), np.bool_)
    mask[0].reshape(275, 4, 275, 4)[:, :3, :, :3] = True  # 75,625 squares of 3 × 3 px
    files = name_particle_files(tmp_path / "scan.tif", [])
    with pytest.raises(SettingsError, match=r"scan\.particles\.tif has numbers above 65535.*ends in \.h5"):
        write_particles(files, mask, mask.astype(np.float32), None)
    assert not list(tmp_path.iterdir())
    words = write_particles(name_particle_files(tmp_path / "scan.h5", []), mask, mask.astype(np.float32), None)
    assert words.startswith("75625 particles, ")
    with h5py.File(tmp_path / "scan.particles.h5") as file:
        assert file["image"][()].max() == 275**2
