"""The source `emps`: the layout of its repository, its official split, its labels."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emdenoise.config.schema import DataSettings, RunConfig
from emdenoise.dataset.record import SPLITS, Record
from emdenoise.dataset.tiles import assemble_tiles
from emdenoise.errors import DataError, DownloadError, MissingInputError
from emdenoise.files.atomic import hash_file
from emdenoise.progress import SilentProgress
from emdenoise.sources import SOURCES
from emdenoise.sources.emps import EMPS, download_emps, read_emps

SHARED = Path(__file__).parents[2].parent / "shared/data/emps"
TRAIN, TEST = [f"{index:010x}" for index in range(6)], [f"{index:010x}" for index in range(100, 103)]
SHAPE = (40, 70)


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, message: str) -> None:
        self.messages.append(message)


def make_config(**data: object) -> RunConfig:
    return RunConfig(data=DataSettings(source="emps", tile_size_px=32, **data))


def make_grey(identifier: str) -> np.ndarray:
    return np.random.default_rng(int(identifier, 16)).integers(1, 256, SHAPE).astype(np.uint8)


def make_particles(identifier: str) -> np.ndarray:
    particles = np.zeros(SHAPE, np.uint16)
    particles[:9, :9], particles[20:, 50:] = 1, 300 + int(identifier, 16)  # more particles than a byte can count
    return particles


def fill(folder: Path, identifiers: list[str]) -> None:
    for kind in ("images", "segmaps"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    (folder / "train.csv").write_text("\n".join(TRAIN) + "\n")
    (folder / "test.csv").write_text("\n".join(TEST))
    for identifier in identifiers:
        Image.fromarray(np.repeat(make_grey(identifier)[..., None], 3, axis=-1)).save(
            folder / f"images/{identifier}.png"
        )
        Image.fromarray(make_particles(identifier)).save(folder / f"segmaps/{identifier}.png")


def find_specimens(config: RunConfig, raw_dir: Path) -> dict[str, set[str]]:
    return {split: {record.specimen for record in records} for split, records in read_emps(config, raw_dir).items()}


def test_emps_is_a_source_with_licence_and_citation() -> None:
    assert SOURCES["emps"] is EMPS
    assert "10.1021/acs.jcim.0c01455" in EMPS.citation
    assert EMPS.licence.endswith("/mit")


def test_the_official_test_images_are_the_test(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN + TEST)
    splits = find_specimens(make_config(), tmp_path)
    assert splits["test"] == set(TEST)
    assert splits["train"] | splits["validation"] == set(TRAIN)
    assert not splits["train"] & splits["validation"]
    assert len(splits["validation"]) == 1


def list_images(config: RunConfig, raw_dir: Path) -> dict[str, set[str]]:
    return {split: {record.name for record in records} for split, records in read_emps(config, raw_dir).items()}


def write_articles(folder: Path, articles: dict[str, str]) -> None:
    rows = [f"{image}.png,{article},gr1,\"[{{'shape': [1, 2]}}]\"" for image, article in articles.items()]
    (folder / "metadata.csv").write_text("\n".join(["filename,doi,locator,regions", *rows]) + "\n")


def test_the_images_of_an_article_are_one_specimen_and_never_in_two_splits(tmp_path: Path) -> None:
    mirror, articles = tmp_path / "mirror", dict(zip(TRAIN, ["10.1/a", "10.1/b", "10.1/c"] * 2, strict=True))
    fill(mirror, TRAIN)
    write_articles(mirror, articles)
    for seed in range(5):
        config = make_config(seed=seed, mirror=str(mirror))
        assert "emps/metadata.csv" in download_emps(config, tmp_path, SilentProgress())
        splits = {
            split: {articles[name.removesuffix(".png")[:10]] for name in names}
            for split, names in list_images(config, tmp_path).items()
        }
        assert splits == find_specimens(config, tmp_path)
        assert sorted(article for names in splits.values() for article in names) == ["10.1/a", "10.1/b", "10.1/c"]


def test_an_image_whose_article_nobody_knows_is_a_specimen_of_its_own(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN)
    write_articles(tmp_path / "emps", {TRAIN[0]: "nan", TRAIN[1]: ""})
    assert set.union(*find_specimens(make_config(), tmp_path).values()) == set(TRAIN)


def test_a_list_of_articles_without_its_columns_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN)
    (tmp_path / "emps" / "metadata.csv").write_text("image,article\n")
    with pytest.raises(DataError, match=r"emps/metadata\.csv has the columns image, article; expected filename, doi"):
        read_emps(make_config(), tmp_path)


def test_without_them_the_test_is_drawn_from_training_and_that_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN)
    progress = Heard()
    download_emps(make_config(), tmp_path, progress)
    message = "none of the 3 official test images is here; test images are taken from the 6 official training images"
    assert any(message in said for said in progress.messages)
    splits = find_specimens(make_config(), tmp_path)
    assert sum(map(len, splits.values())) == len(TRAIN)
    assert set.union(*splits.values()) == set(TRAIN)
    assert all(splits[split] for split in SPLITS)


def test_the_seed_decides_the_validation_images(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN + TEST)
    chosen = {frozenset(find_specimens(make_config(seed=seed), tmp_path)["validation"]) for seed in range(20)}
    assert len(chosen) > 1
    assert find_specimens(make_config(seed=3), tmp_path) == find_specimens(make_config(seed=3), tmp_path)


def test_images_are_luminance_and_particles_are_one_label(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN)
    tiles: dict[str, list[Record]] = {}
    for records in read_emps(make_config(), tmp_path).values():
        for record in records:
            tiles.setdefault(record.specimen, []).append(record)
    for identifier, cut in tiles.items():
        corners = [(int(tile.attributes["tile_row_px"]), int(tile.attributes["tile_column_px"])) for tile in cut]
        noisy = assemble_tiles([tile.noisy for tile in cut], corners, SHAPE)
        mask = assemble_tiles([tile.images["mask"] for tile in cut], corners, SHAPE)
        assert noisy.max() <= 1
        np.testing.assert_array_equal(noisy / cut[0].attributes["intensity_scale"], make_grey(identifier))
        np.testing.assert_array_equal(mask, make_particles(identifier) > 0)
        assert {"clean" not in tile.images for tile in cut} == {True}


@pytest.mark.parametrize("scale_factor", [1.0, 2.0])
def test_particles_keep_their_numbers_in_all_tiles(scale_factor: float, tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN)
    shape = tuple(int(scale_factor * side) for side in SHAPE)
    tiles: dict[str, list[Record]] = {}
    for records in read_emps(make_config(scale_factor=scale_factor), tmp_path).values():
        for record in records:
            tiles.setdefault(record.specimen, []).append(record)
    assert len(tiles) == len(TRAIN)
    for identifier, cut in tiles.items():
        corners = [(int(tile.attributes["tile_row_px"]), int(tile.attributes["tile_column_px"])) for tile in cut]
        instances = assemble_tiles([tile.images["instances"] for tile in cut], corners, shape)
        assert instances.dtype == np.int32
        expected = np.kron(make_particles(identifier), np.ones((int(scale_factor),) * 2, np.uint16))
        np.testing.assert_array_equal(instances, expected)


def test_added_noise_makes_pairs(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN)
    splits = read_emps(make_config(added_noise_electrons_per_pixel=25.0), tmp_path)
    records = [record for split in SPLITS for record in splits[split]]
    differences = [(record.noisy - record.images["clean"]) / np.sqrt(record.images["clean"] / 25) for record in records]
    # Noise in units of its Poisson standard deviation: mean 0, variance 1 (37,000 pixels, 5 standard errors).
    assert abs(np.mean(differences)) < 0.03
    assert np.var(differences) == pytest.approx(1, abs=0.05)


def test_download_copies_a_mirror_and_verifies_it_ever_after(tmp_path: Path) -> None:
    mirror, raw_dir = tmp_path / "mirror", tmp_path / "raw"
    fill(mirror, TRAIN + TEST)
    (mirror / "README.md").write_text("not needed")
    config = make_config(mirror=str(mirror))
    hashes = download_emps(config, raw_dir, SilentProgress())
    assert len(hashes) == 2 + 2 * len(TRAIN + TEST)
    assert all(hash_file(raw_dir / name) == digest for name, digest in hashes.items())
    shutil.rmtree(mirror)
    assert download_emps(config, raw_dir, SilentProgress()) == hashes
    Image.fromarray(make_grey(TEST[0])).save(raw_dir / f"emps/images/{TRAIN[0]}.png")
    with pytest.raises(DataError, match=rf"images/{TRAIN[0]}\.png: SHA-256 is \w{{12}}…, expected"):
        download_emps(config, raw_dir, SilentProgress())


def test_a_clone_of_the_repository_needs_no_mirror(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN + TEST)
    assert len(download_emps(make_config(), tmp_path, SilentProgress())) == 20


def test_without_files_and_mirror_it_is_said_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=r"emps/train\.csv is missing.*git clone https://github\.com/by256/emps.*data\.mirror"
    ):
        download_emps(make_config(), tmp_path, SilentProgress())
    with pytest.raises(
        MissingInputError, match=r"emps/train\.csv is not in the raw data folder; run the download task"
    ):
        read_emps(make_config(), tmp_path)


def test_missing_images_are_named(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN[1:])
    with pytest.raises(
        DownloadError, match=rf"emps/images/{TRAIN[0]}\.png is missing, with 1 more of 12 files; run `git"
    ):
        download_emps(make_config(), tmp_path, SilentProgress())
    with pytest.raises(
        MissingInputError, match=rf"emps/images/{TRAIN[0]}\.png is missing; run the download task again"
    ):
        find_specimens(make_config(), tmp_path)


def test_some_of_the_test_images_are_not_enough(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN + TEST[:2])
    for call in (
        lambda: download_emps(make_config(), tmp_path, SilentProgress()),
        lambda: read_emps(make_config(), tmp_path),
    ):
        with pytest.raises(DataError, match=r"emps/images holds 2 of the 3 images of test\.csv; expected all or none"):
            call()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", "", r"emps/train\.csv holds nothing; expected one image ID a line; delete it"),
        ("test.csv", "../../etc/passwd", r"emps/test\.csv holds '\.\./\.\./etc/passwd'; expected one image ID a line"),
        ("train.csv", "<!DOCTYPE html>", r"emps/train\.csv holds '<!DOCTYPE'; expected one image ID a line"),
        ("test.csv", TRAIN[2], rf"emps/train\.csv and test\.csv name the image {TRAIN[2]} twice; expected every image"),
    ],
)
def test_lists_of_another_content_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    fill(tmp_path / "emps", TRAIN)
    (tmp_path / "emps" / name).write_text(content)
    with pytest.raises(DataError, match=message):
        download_emps(make_config(), tmp_path, SilentProgress())
    with pytest.raises(DataError, match=message):
        read_emps(make_config(), tmp_path)


def test_labels_of_another_size_and_deeper_images_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "emps", TRAIN)
    Image.fromarray(make_particles(TRAIN[1])[1:]).save(tmp_path / f"emps/segmaps/{TRAIN[1]}.png")
    with pytest.raises(
        DataError, match=rf"segmaps/{TRAIN[1]}\.png: is float32 \(39, 70\), its image is float32 \(40, 70\)"
    ):
        find_specimens(make_config(), tmp_path)
    fill(tmp_path / "emps", TRAIN)
    Image.fromarray(make_particles(TRAIN[1])).save(tmp_path / f"emps/images/{TRAIN[1]}.png")
    with pytest.raises(DataError, match=rf"images/{TRAIN[1]}\.png: has values up to 301; expected 8 bits, at most 255"):
        find_specimens(make_config(), tmp_path)


def test_real_images_have_labels_of_their_size(tmp_path: Path) -> None:
    if not (SHARED / "train.csv").is_file():
        pytest.skip("the third-party set emps is not beside this checkout (shared/data)")
    (tmp_path / "emps").symlink_to(SHARED)
    identifiers = (SHARED / "train.csv").read_text().split()
    assert len(identifiers) == 366
    config = RunConfig(data=DataSettings(source="emps"))
    splits = read_emps(config, tmp_path)
    record = next(iter(splits["train"]))
    with Image.open(SHARED / f"images/{record.specimen}.png") as file:
        assert (record.attributes["image_width_px"], record.attributes["image_height_px"]) == file.size
        grey = np.asarray(file.convert("L"))[:256, :256]
    with Image.open(SHARED / f"segmaps/{record.specimen}.png") as file:
        particles = np.asarray(file)[:256, :256]
    assert re.fullmatch(rf"{record.specimen}\.png row 0 column 0", record.name)
    np.testing.assert_allclose(record.noisy * 256, grey, atol=1)
    np.testing.assert_array_equal(record.images["mask"], particles > 0)
    np.testing.assert_array_equal(record.images["instances"], particles)
