"""The source `folder`: the user's own images, with or without truth and labels, and all that can be wrong with them."""

import json
import math
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from emdenoise.config.schema import DataSettings, RunConfig
from emdenoise.dataset.preprocess import preprocess_source
from emdenoise.dataset.record import SPLITS, Record
from emdenoise.dataset.record_file import RecordFile
from emdenoise.dataset.tiles import assemble_tiles
from emdenoise.errors import DataError, DownloadError, SettingsError
from emdenoise.evaluation.scoring import score_method
from emdenoise.files.atomic import hash_file
from emdenoise.progress import SilentProgress
from emdenoise.sources import SOURCES
from emdenoise.sources.folder import FOLDER, download_folder, group_images, read_folder
from emdenoise.sources.layout import find_images
from emdenoise.tools.staging import stage_arrays

SHARED = Path(__file__).parents[2].parent / "shared/data"
RAW = SHARED / "raw_microscope_files"


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, message: str) -> None:
        self.messages.append(message)


def make_config(**data: object) -> RunConfig:
    return RunConfig(data=DataSettings(source="folder", tile_size_px=32, **data))


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(image).save(path)
    else:
        tifffile.imwrite(path, image, photometric="minisblack")


def make_counts(index: int, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    return np.random.default_rng(index).poisson(200, shape).astype(np.uint16)


def fill(folder: Path, subfolders: tuple[str, ...] = ("",), num_images: int = 4) -> None:
    """Write images, and under the same names truth and labels where their subfolder is asked for."""
    for index in range(num_images):
        for subfolder in subfolders:
            counts = make_counts(index)
            image = {"clean": counts + 3, "truth": counts + 3, "mask": (counts > 200).astype(np.uint8)}.get(
                subfolder, counts
            )
            write(folder / subfolder / f"image {index}.tif", image)


def read_all(config: RunConfig, raw_dir: Path) -> list[Record]:
    return [record for records in read_folder(config, raw_dir).values() for record in records]


def assemble(tiles: list[Record], field: str) -> np.ndarray:
    corners = [(int(tile.attributes["tile_row_px"]), int(tile.attributes["tile_column_px"])) for tile in tiles]
    shape = (int(tiles[0].attributes["image_height_px"]), int(tiles[0].attributes["image_width_px"]))
    return assemble_tiles([tile.images[field] for tile in tiles], corners, shape)


def test_folder_is_a_source() -> None:
    assert SOURCES["folder"] is FOLDER


@pytest.mark.parametrize("subfolder", ["", "noisy", "raw"])
def test_whole_images_in_their_own_units_come_back_from_the_tiles(tmp_path: Path, subfolder: str) -> None:
    fill(tmp_path / "folder", (subfolder,))
    records = read_all(make_config(), tmp_path)
    for index in range(4):
        tiles = [record for record in records if record.specimen == f"image {index}.tif"]
        assert len(tiles) == 4
        stored = assemble(tiles, "noisy")
        attributes = tiles[0].attributes
        own = stored / attributes["intensity_scale"] + attributes["intensity_offset"]
        np.testing.assert_array_equal(own, make_counts(index))
        assert math.isnan(attributes["pixel_size_angstrom"])
        assert all("clean" not in tile.images and "mask" not in tile.images for tile in tiles)


@pytest.mark.parametrize("subfolders", [("noisy", "clean", "mask"), ("raw", "truth"), ("", "clean"), ("", "mask")])
def test_truth_and_labels_belong_to_the_image_of_the_same_name(tmp_path: Path, subfolders: tuple[str, ...]) -> None:
    fill(tmp_path / "folder", subfolders)
    for record in read_all(make_config(), tmp_path):
        scale = record.attributes["intensity_scale"]
        if {"clean", "truth"} & set(subfolders):
            np.testing.assert_array_equal(record.images["clean"] / scale, record.noisy / scale + 3)
        if "mask" in subfolders:
            np.testing.assert_array_equal(record.images["mask"], record.noisy / scale > 200)


def test_splits_share_no_file_and_none_is_empty(tmp_path: Path) -> None:
    fill(tmp_path / "folder", num_images=9)
    splits = {
        split: {record.specimen for record in records}
        for split, records in read_folder(make_config(), tmp_path).items()
    }
    assert set(splits) == set(SPLITS)
    assert all(splits.values())
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 9


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    fill(tmp_path / "folder", num_images=9)

    def find_test(seed: int) -> list[str]:
        return [record.name for record in read_folder(make_config(seed=seed, test_fraction=0.4), tmp_path)["test"]]

    assert find_test(1) == find_test(1)
    assert find_test(1) != find_test(2)


def test_frames_of_a_stack_are_of_one_specimen_and_one_scale(tmp_path: Path) -> None:
    fill(tmp_path / "folder", num_images=2)
    stack = np.stack([make_counts(7), 4 * make_counts(8)])
    write(tmp_path / "folder/stack.tif", stack)
    tiles = [record for record in read_all(make_config(), tmp_path) if record.specimen == "stack.tif"]
    assert len(tiles) == 8
    assert len({tile.attributes["intensity_scale"] for tile in tiles}) == 1
    for index in range(2):
        frame = [tile for tile in tiles if tile.name.startswith(f"stack.tif frame {index} row")]
        np.testing.assert_array_equal(assemble(frame, "noisy") / frame[0].attributes["intensity_scale"], stack[index])


def test_added_noise_makes_pairs_with_the_image_as_truth(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / f"folder/flat {index}.tif", np.full((320, 320), 1000 + index, np.uint16))
    electrons = 40.0
    for record in read_all(make_config(added_noise_electrons_per_pixel=electrons), tmp_path):
        assert len(np.unique(record.images["clean"])) == 1
        assert record.images["clean"].max() <= 1
        counts = record.noisy * record.attributes["electrons_per_unit_intensity"]
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-4)
    # Mean and variance of Poisson counts; five standard errors of 100,000 pixels are 0.3 % and 2.5 %.
    records = read_all(make_config(added_noise_electrons_per_pixel=electrons), tmp_path)
    whole = [assemble([record for record in records if index in record.specimen], "noisy") for index in "012"]
    clean = 1000 / 1024 / 2  # counts of 39 on average are above 40 in more than 0.1 % of the pixels
    for noisy in whole:
        assert noisy.mean() == pytest.approx(clean, rel=0.004)
        assert noisy.var() == pytest.approx(clean / (2 * electrons), rel=0.025)
    assert not np.array_equal(whole[0], whole[1])


def test_predict_sees_an_image_as_the_training_did_whatever_its_truth(tmp_path: Path) -> None:
    """The truth is four times as bright as the image, as of a longer exposure; it must not be seen in the scale."""
    fill(tmp_path / "alone/folder", ("noisy",), num_images=3)
    fill(tmp_path / "pairs/folder", ("noisy",), num_images=3)
    for index in range(3):
        write(tmp_path / f"pairs/folder/clean/image {index}.tif", 4 * make_counts(index))
    for place, settings in (("alone", {}), ("pairs", {}), ("alone", {"added_noise_electrons_per_pixel": 20.0})):
        config = make_config(**settings)
        for index in range(3):
            tiles = [tile for tile in read_all(config, tmp_path / place) if tile.specimen == f"image {index}.tif"]
            stored = assemble(tiles, "noisy")
            own = stored / np.float32(tiles[0].attributes["intensity_scale"])
            np.testing.assert_array_equal(stage_arrays(own[None], config).noisy[0], stored)


def test_the_scores_of_a_file_do_not_jump_where_its_scale_does(tmp_path: Path) -> None:
    """PSNR with the range of the truth itself, as 255 for 8 bits, whatever power of two brings it into [0, 1]."""
    found = {}
    for brightest in (255, 257):
        for index in range(3):
            clean = np.full((32, 32), 100, np.uint16)
            clean[index, :] = brightest
            noisy = clean + np.where(np.indices(clean.shape).sum(axis=0) % 2, 3, -3)
            write(tmp_path / f"{brightest}/folder/clean/{index}.tif", clean)
            write(tmp_path / f"{brightest}/folder/noisy/{index}.tif", noisy.astype(np.uint16))
        data_dir = tmp_path / f"{brightest}/data"
        preprocess_source(FOLDER, make_config(), tmp_path / str(brightest), data_dir, SilentProgress())
        with RecordFile(data_dir / "test.h5") as records:
            scores = score_method(
                lambda sample: sample["noisy"][..., 0],
                records,
                ("noisy",),
                "clean",
                batch_size=1,
                atom_tolerance_angstrom=0.5,
            )
        (found[brightest],) = scores.metrics["psnr_db"]
        assert found[brightest] == pytest.approx(20 * math.log10(brightest / 3), abs=1e-4)
    assert abs(found[255] - found[257]) < 0.1


def test_images_of_one_truth_are_of_one_specimen(tmp_path: Path) -> None:
    """Six frames of one place, each saved with the same truth beside it, and two images of other places."""
    fill(tmp_path / "folder", ("noisy", "clean"), num_images=8)
    for index in range(1, 6):
        write(tmp_path / f"folder/clean/image {index}.tif", make_counts(0) + 3)
    groups = group_images(find_images(tmp_path / "folder"))
    assert [[image.name[-1] for image in group] for group in groups.values()] == [list("012345"), ["6"], ["7"]]
    splits = read_folder(make_config(), tmp_path)
    specimens = {split: {record.specimen for record in records} for split, records in splits.items()}
    assert sorted(map(sorted, specimens.values())) == [["image 0.tif"], ["image 6.tif"], ["image 7.tif"]]


def test_images_of_the_same_labels_are_of_one_specimen_but_empty_labels_tell_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "folder", ("", "mask"), num_images=6)
    for index in (0, 1):
        write(tmp_path / f"folder/mask/image {index}.tif", np.zeros((40, 50), np.uint8))
    shutil.copy(tmp_path / "folder/mask/image 2.tif", tmp_path / "folder/mask/image 4.tif")
    groups = group_images(find_images(tmp_path / "folder"))
    found = ["".join(image.name[-1] for image in group) for group in groups.values()]
    assert found == ["0", "1", "24", "3", "5"]


def test_a_table_says_which_images_show_one_specimen(tmp_path: Path) -> None:
    fill(tmp_path / "mine", num_images=5)
    (tmp_path / "mine/specimens.csv").write_text("image,specimen\nimage 0.tif,grid 7\nimage 3,grid 7\n")
    config = make_config(mirror="mine")
    assert "folder/specimens.csv" in download_folder(config, tmp_path, SilentProgress())
    groups = group_images(find_images(tmp_path / "folder"))
    assert {name: [image.name[-1] for image in group] for name, group in groups.items()} == {
        "grid 7": ["0", "3"],
        "image 1.tif": ["1"],
        "image 2.tif": ["2"],
        "image 4.tif": ["4"],
    }
    for text, message in (
        ("image;specimen\nimage 0.tif;a", "has the columns image;specimen"),
        ("image,specimen\nimage 9.tif,a", r"the image image 9\.tif is not there; expected each image once"),
        ("image,specimen\nimage 0,a\nimage 0.tif,b", r"the image image 0\.tif is named twice"),
        ("image,specimen\nimage 0", "a line without two entries"),
    ):
        (tmp_path / "folder/specimens.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            find_images(tmp_path / "folder")


def test_images_that_are_left_alone_are_named_once(tmp_path: Path) -> None:
    fill(tmp_path / "mine")
    fill(tmp_path / "mine/day 2", num_images=2)
    fill(tmp_path / "mine/.trash", num_images=1)
    progress = Heard()
    download_folder(make_config(mirror="mine"), tmp_path, progress)
    assert progress.messages == [
        "folder: 4 images, 0 with truth, 0 with labels",
        (
            "folder: images left alone: day 2/image 0.tif, day 2/image 1.tif; images are read from the folder itself "
            "or noisy/, their partners from clean/ and mask/"
        ),
    ]


def test_capitals_in_the_name_of_a_folder_do_not_matter(tmp_path: Path) -> None:
    fill(tmp_path / "folder")
    (tmp_path / "folder/Clean").mkdir()
    for index in range(4):
        write(tmp_path / f"folder/Clean/image {index}.tif", make_counts(index) + 3)
    progress = Heard()
    download_folder(make_config(), tmp_path, progress)
    assert progress.messages == ["folder: 4 images, 4 with truth, 0 with labels"]
    with pytest.raises(SettingsError, match="but Clean/ holds the truth of noisy images; remove the setting"):
        download_folder(make_config(added_noise_electrons_per_pixel=20.0), tmp_path, SilentProgress())


def test_added_noise_has_its_black_level_at_zero_where_files_have_negative_values(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / f"folder/flat {index}.tif", make_counts(index).astype(np.float32) - 300)
    (record, *_) = read_all(make_config(added_noise_electrons_per_pixel=40.0), tmp_path)
    assert record.attributes["intensity_offset"] < 0
    assert record.attributes["black_level"] == 0


def test_added_noise_is_the_same_in_overlaps_and_when_other_images_are_added(tmp_path: Path) -> None:
    fill(tmp_path / "folder", num_images=3)
    config = make_config(added_noise_electrons_per_pixel=10.0)
    before = [record for record in read_all(config, tmp_path) if record.specimen == "image 1.tif"]
    write(tmp_path / "folder/aaa.tif", make_counts(99))
    after = [record for record in read_all(config, tmp_path) if record.specimen == "image 1.tif"]
    for first, second in zip(before, after, strict=True):
        np.testing.assert_array_equal(first.noisy, second.noisy)
    np.testing.assert_array_equal(before[0].noisy[8:, 18:], before[-1].noisy[: 32 - 8, : 32 - 18])


def test_download_records_and_compares_the_sha256_of_each_file(tmp_path: Path) -> None:
    fill(tmp_path / "folder", ("noisy", "clean"))
    hashes = download_folder(make_config(), tmp_path, SilentProgress())
    assert hashes == {
        path.relative_to(tmp_path).as_posix(): hash_file(path) for path in sorted((tmp_path / "folder").glob("*/*.tif"))
    }
    assert download_folder(make_config(), tmp_path, SilentProgress()) == hashes
    changed = tmp_path / "folder/clean/image 2.tif"
    write(changed, make_counts(55))
    with pytest.raises(
        DataError, match=r"folder/clean/image 2\.tif: SHA-256 is \w{12}…, expected \w{12}… of the first run; put"
    ):
        download_folder(make_config(), tmp_path, SilentProgress())
    changed.unlink()
    with pytest.raises(
        DataError, match=r"folder/clean/image 2\.tif was there at the first run and is missing; put it back"
    ):
        download_folder(make_config(), tmp_path, SilentProgress())
    (tmp_path / "folder/checksums.json").unlink()
    write(changed, make_counts(55))
    assert download_folder(make_config(), tmp_path, SilentProgress()) != hashes


def test_images_may_be_added_later(tmp_path: Path) -> None:
    fill(tmp_path / "folder")
    download_folder(make_config(), tmp_path, SilentProgress())
    write(tmp_path / "folder/new.tif", make_counts(77))
    assert "folder/new.tif" in download_folder(make_config(), tmp_path, SilentProgress())
    assert "new.tif" in json.loads((tmp_path / "folder/checksums.json").read_text())


@pytest.mark.parametrize("content", ["[1", "[1, 2]"])
def test_a_damaged_list_of_checksums_is_refused(tmp_path: Path, content: str) -> None:
    fill(tmp_path / "folder")
    (tmp_path / "folder/checksums.json").write_text(content)
    with pytest.raises(DataError, match=r"folder/checksums\.json is damaged; delete it to record the images anew"):
        download_folder(make_config(), tmp_path, SilentProgress())


def test_a_mirror_is_copied_and_verified(tmp_path: Path) -> None:
    mirror, raw_dir = tmp_path / "my images", tmp_path / "raw"
    fill(mirror, ("noisy", "clean", "mask"))
    (mirror / "notes.txt").write_text("not an image")
    hashes = download_folder(make_config(mirror=str(mirror)), raw_dir, SilentProgress())
    assert len(hashes) == 12
    for name, digest in hashes.items():
        assert hash_file(raw_dir / name) == digest == hash_file(mirror / Path(name).relative_to("folder"))
    assert len(read_all(make_config(mirror=str(mirror)), raw_dir)) == 16
    shutil.rmtree(mirror)  # a second run needs no mirror
    assert download_folder(make_config(mirror=str(mirror)), raw_dir, SilentProgress()) == hashes


def test_a_mirror_is_relative_to_the_raw_data_folder(tmp_path: Path) -> None:
    fill(tmp_path / "raw/mine")
    assert len(download_folder(make_config(mirror="mine"), tmp_path / "raw", SilentProgress())) == 4


def test_a_mirror_without_images_or_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty/ holds no images; put at least 3 micrographs"):
        download_folder(make_config(mirror="empty"), tmp_path, SilentProgress())
    with pytest.raises(DownloadError, match=r"data\.mirror is nowhere, which is no folder; give the folder"):
        download_folder(make_config(mirror="nowhere"), tmp_path, SilentProgress())
    with pytest.raises(
        SettingsError, match=r"data\.mirror is https://a\.org/b; the source folder cannot list what a server"
    ):
        download_folder(make_config(mirror="https://a.org/b"), tmp_path, SilentProgress())


def test_what_is_no_image_is_named_and_left_alone(tmp_path: Path) -> None:
    fill(tmp_path / "folder")
    (tmp_path / "folder/notes.txt").write_text("sample A")
    (tmp_path / "folder/.hidden.tif").write_text("no image")
    progress = Heard()
    download_folder(make_config(), tmp_path, progress)
    assert progress.messages == [
        "folder: 4 images, 0 with truth, 0 with labels",
        "folder: no images, left alone: notes.txt",
    ]


def test_series_files_are_read_through_their_emi_file(tmp_path: Path) -> None:
    for name in ("a.emi", "a_1.ser", "a_2.ser", "b_1.ser", "c.tif", "d.tif"):
        (tmp_path / name).write_bytes(b"")
    assert [specimen.noisy.name for specimen in find_images(tmp_path)] == ["a.emi", "b_1.ser", "c.tif", "d.tif"]


def test_no_images_is_an_error_that_says_where_to_put_them(tmp_path: Path) -> None:
    for call in (
        lambda: download_folder(make_config(), tmp_path, SilentProgress()),
        lambda: read_folder(make_config(), tmp_path),
    ):
        with pytest.raises(
            DataError, match=r"folder/ holds no images; put at least 3 micrographs .* in the raw data folder"
        ):
            call()


def test_two_images_are_too_few(tmp_path: Path) -> None:
    fill(tmp_path / "folder", num_images=2)
    for call in (
        lambda: download_folder(make_config(), tmp_path, SilentProgress()),
        lambda: read_folder(make_config(), tmp_path),
    ):
        with pytest.raises(
            DataError, match=r"2 specimens \(image 0, image 1\); expected at least 3, one for each split"
        ):
            call()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("clean/image 1.tif", r"folder/: image 1\.tif has no partner in clean/; expected files of the same name"),
        ("mask/image 2.tif", r"folder/: image 2\.tif has no partner in mask/"),
        ("noisy/image 3.tif", r"folder/: clean/image 3\.tif has no image"),
    ],
)
def test_an_image_without_its_partner_is_named(tmp_path: Path, removed: str, message: str) -> None:
    fill(tmp_path / "folder", ("noisy", "clean", "mask"))
    (tmp_path / "folder" / removed).unlink()
    with pytest.raises(DataError, match=message):
        read_folder(make_config(), tmp_path)


def test_of_many_images_without_partner_a_few_are_named(tmp_path: Path) -> None:
    fill(tmp_path / "folder", ("noisy",), num_images=9)
    fill(tmp_path / "folder", ("clean",), num_images=1)
    with pytest.raises(DataError, match=r"image 5\.tif has no partner in clean/ and 3 more; expected"):
        read_folder(make_config(), tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "folder")
    write(tmp_path / "folder/image 1.png", make_counts(1).astype(np.uint8))
    with pytest.raises(
        DataError, match=r"folder/: image 1\.png and image 1\.tif have the same name; expected one file"
    ):
        read_folder(make_config(), tmp_path)


def test_images_in_two_places_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "folder", ("", "noisy"))
    with pytest.raises(DataError, match="folder/noisy/ and folder/ all hold images; expected one of them"):
        read_folder(make_config(), tmp_path)
    fill(tmp_path / "other/folder", ("noisy", "clean", "truth"))
    with pytest.raises(DataError, match="folder/: clean and truth both hold images; expected one"):
        read_folder(make_config(), tmp_path / "other")


def test_a_copy_under_another_name_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "folder")
    shutil.copy(tmp_path / "folder/image 0.tif", tmp_path / "folder/later.tif")
    with pytest.raises(DataError, match=r"folder/later\.tif is a copy of image 0\.tif; expected every image once"):
        download_folder(make_config(), tmp_path, SilentProgress())


def test_noise_is_not_added_to_images_that_have_a_truth(tmp_path: Path) -> None:
    fill(tmp_path / "folder", ("noisy", "clean"))
    with pytest.raises(
        SettingsError, match=r"added_noise_electrons_per_pixel is 10, but clean/ holds the truth of noisy"
    ):
        read_folder(make_config(added_noise_electrons_per_pixel=10.0), tmp_path)


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        (
            "clean/image 1.tif",
            make_counts(1),
            r"clean/image 1\.tif: is identical to the image image 1\.tif; expected its noise-free",
        ),
        (
            "clean/image 1.tif",
            make_counts(1, (40, 49)),
            r"clean/image 1\.tif: is float32 \(40, 49\), the image image 1\.tif is",
        ),
        (
            "clean/image 1.tif",
            make_counts(1, (2, 40, 50)),
            r"clean/image 1\.tif: holds 2 images, image 1\.tif holds 1; expected",
        ),
        (
            "mask/image 1.tif",
            np.zeros((50, 40), np.uint8),
            r"mask/image 1\.tif: is uint8 \(50, 40\), the image image 1\.tif",
        ),
        (
            "mask/image 1.tif",
            np.full((40, 50), 0.5, np.float32),
            r"mask/image 1\.tif: a mask in float32 with values that are",
        ),
        (
            "mask/image 1.tif",
            np.full((40, 50), 256, np.uint16),
            r"mask/image 1\.tif: a mask with labels from 256 to 256",
        ),
        (
            "noisy/image 1.tif",
            np.full((40, 50), np.nan, np.float32),
            r"noisy/image 1\.tif: 2000 pixels are NaN or infinite",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_name_of_the_file(
    tmp_path: Path, name: str, image: np.ndarray, message: str
) -> None:
    fill(tmp_path / "folder", ("noisy", "clean", "mask"))
    write(tmp_path / "folder" / name, image)
    with pytest.raises(DataError, match=message) as caught:
        read_all(make_config(), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_image_is_refused_with_its_name(tmp_path: Path) -> None:
    fill(tmp_path / "folder")
    (tmp_path / "folder/image 3.tif").write_bytes(b"II*\0 but no more")
    with pytest.raises(DataError, match=r"folder/image 3\.tif: 16 bytes that cannot be read"):
        read_all(make_config(), tmp_path)


def test_a_black_tile_is_refused_since_it_has_no_noise(tmp_path: Path) -> None:
    fill(tmp_path / "folder")
    image = make_counts(9, (64, 64))
    image[:32, 32:] = 0
    write(tmp_path / "folder/black.tif", image)
    read_all(make_config(), tmp_path)
    with pytest.raises(DataError, match=r"black\.tif row 0 column 32: the tile of 32 px is black or without noise"):
        read_all(make_config(added_noise_electrons_per_pixel=10.0), tmp_path)


def test_the_canonical_files_hold_every_tile(tmp_path: Path) -> None:
    fill(tmp_path / "folder", ("noisy", "clean", "mask"))
    preprocess_source(FOLDER, make_config(), tmp_path, tmp_path / "data", SilentProgress())
    num_images = 0
    for split in SPLITS:
        with RecordFile(tmp_path / f"data/{split}.h5") as records:
            num_images += len(records)
            assert np.isnan(records.read_attribute("pixel_size_angstrom")).all()
            assert records.image_shape == (32, 32)
    assert num_images == 16


def test_a_pair_of_the_published_set_that_is_its_own_truth_is_refused(tmp_path: Path) -> None:
    path = SHARED / "tk_r_em_pairs/sfr_hrtem.h5"
    if not path.is_file():
        pytest.skip("the third-party file sfr_hrtem.h5 is not beside this checkout (shared/data)")
    with h5py.File(path) as file:
        pairs = zip(file["x"][:, 0], file["y"][:, 0], strict=True)
        for index, (noisy, clean) in enumerate(pairs):
            write(tmp_path / f"folder/noisy/pair {index}.tif", noisy)
            write(tmp_path / f"folder/clean/pair {index}.tif", clean)
    with pytest.raises(DataError, match=r"clean/pair 7\.tif: is identical to the image pair 7\.tif"):
        read_all(make_config(), tmp_path)
    for kind in ("noisy", "clean"):
        (tmp_path / f"folder/{kind}/pair 7.tif").unlink()
    assert len(read_all(make_config(), tmp_path)) == 7 * 64


def test_real_microscope_files_become_records(tmp_path: Path) -> None:
    names = ("lukmuk_r_em/REBCO-ROI_raw.dm3", "particlespy/JEOL HAADF Image.dm4", "openncem/temp.mrc")
    names += ("rsciio/128x128_TEM_acquire-sum1.emi", "rsciio/128x128_TEM_acquire-sum1_1.ser")
    for name in names:
        if not (RAW / name).is_file():
            pytest.skip("the third-party microscope files are not beside this checkout (shared/data)")
        (tmp_path / "folder").mkdir(exist_ok=True)
        shutil.copy(RAW / name, tmp_path / "folder")
    records = read_all(make_config(), tmp_path)
    assert len({record.specimen for record in records}) == 4
    for record in records:
        assert record.noisy.shape == (32, 32)
        assert record.attributes["pixel_size_angstrom"] > 0
        assert -0.2 < record.noisy.min() <= record.noisy.max() < 1.5
        assert re.search(r" row \d+ column \d+$", record.name)
