"""The source em_graphene_sim: fetched from an S3 server, read image by image, refused when malformed."""

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from emdenoise.config.schema import DataSettings, RunConfig
from emdenoise.dataset.record import SPLITS
from emdenoise.errors import DataError, DownloadError, MissingInputError
from emdenoise.files.atomic import hash_file
from emdenoise.progress import SilentProgress
from emdenoise.simulation.detector import apply_readout_noise, apply_shot_noise, make_beam_profile
from emdenoise.sources import SOURCES
from emdenoise.sources.em_graphene_sim import EM_GRAPHENE_SIM, FILES, download_em_graphene_sim, read_em_graphene_sim

pytestmark = pytest.mark.usefixtures("loopback_without_proxy")

NUM_TRAIN, NUM_TEST = 5, 2
TRAIN_NOISE, TRAIN_CLEAN, TEST_NOISE, TEST_CLEAN = FILES


def make_config(**data) -> RunConfig:
    return RunConfig(data=DataSettings(source="em_graphene_sim", **data))


def write_images(path: Path, images, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **options)


def make_images(name: str) -> np.ndarray:
    """Random images that span [0, 1]."""
    rng = np.random.default_rng(FILES.index(name))
    num_images = NUM_TRAIN if name.startswith("train") else NUM_TEST
    images = rng.random((num_images, 256, 256, 1), np.float32)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = 0, 1
    return images


@pytest.fixture
def published(tmp_path) -> Path:
    """A folder that holds the four files as the endpoints do."""
    root = tmp_path / "published"
    for name in FILES:
        write_images(root / name, make_images(name))
    return root


@pytest.fixture
def raw_dir(published) -> Path:
    """A raw data folder in which the files are in place."""
    published.rename(published.with_name("em_graphene_sim"))
    return published.parent


def read_all(config: RunConfig, raw_dir: Path) -> dict:
    return {split: list(records) for split, records in read_em_graphene_sim(config, raw_dir).items()}


def test_the_files_arrive_from_an_s3_endpoint(published, s3_server, tmp_path):
    for name in FILES:
        s3_server.put(f"ms/em_graphene_sim/{name}", (published / name).read_bytes())
    raw_dir = tmp_path / "raw"
    files = download_em_graphene_sim(make_config(), raw_dir, SilentProgress(), endpoints=[s3_server.url])
    assert files == {f"em_graphene_sim/{name}": hash_file(published / name) for name in FILES}
    assert [len(records) for records in read_all(make_config(), raw_dir).values()] == [4, 1, 2]
    # The second run asks nobody.
    assert download_em_graphene_sim(make_config(), raw_dir, SilentProgress(), endpoints=[]) == files


def test_a_mirror_on_the_web_serves_the_same_files(published, s3_server, tmp_path):
    for name in FILES:
        s3_server.put(f"ms/em_graphene_sim/{name}", (published / name).read_bytes())
    config = make_config(mirror=f"{s3_server.url}/sciml-datasets/ms/em_graphene_sim")
    files = EM_GRAPHENE_SIM.download(config, tmp_path / "raw", SilentProgress())
    assert files == {f"em_graphene_sim/{name}": hash_file(published / name) for name in FILES}


def test_a_mirror_folder_serves_the_same_files(published, tmp_path):
    files = EM_GRAPHENE_SIM.download(make_config(mirror="../published"), tmp_path / "raw", SilentProgress())
    assert files == {f"em_graphene_sim/{name}": hash_file(published / name) for name in FILES}


def test_an_error_page_is_refused_before_its_hash_is_recorded(published, tmp_path):
    (published / TEST_CLEAN).write_text("<html>Please log in</html>")
    with pytest.raises(DataError, match=rf"{TEST_CLEAN} from .*: is not HDF5 \(26 bytes\); expected an HDF5 file; "):
        EM_GRAPHENE_SIM.download(make_config(mirror="../published"), tmp_path / "raw", SilentProgress())
    assert not (tmp_path / "raw/em_graphene_sim" / TEST_CLEAN).exists()
    assert "test/graphene_img_clean" not in (tmp_path / "raw/em_graphene_sim/checksums.json").read_text()


def test_an_incomplete_mirror_is_a_download_error(published, tmp_path):
    (published / TEST_CLEAN).unlink()
    with pytest.raises(DownloadError, match=f"{TEST_CLEAN} cannot be downloaded: .*published has no such file"):
        EM_GRAPHENE_SIM.download(make_config(mirror="../published"), tmp_path / "raw", SilentProgress())


def test_the_source_is_in_the_catalog():
    assert SOURCES["em_graphene_sim"] is EM_GRAPHENE_SIM


def test_records_are_the_pairs_of_the_files(raw_dir):
    records = read_all(make_config(), raw_dir)
    assert tuple(records) == SPLITS
    for split, folder in (("train", "train"), ("validation", "train"), ("test", "test")):
        noisy, clean = (make_images(f"{folder}/graphene_img_{kind}.h5") for kind in ("noise", "clean"))
        for record in records[split]:
            index = int(record.specimen.removeprefix(f"{folder} "))
            assert record.noisy.dtype == np.float32
            np.testing.assert_array_equal(record.noisy, noisy[index, :, :, 0])
            np.testing.assert_array_equal(record.images["clean"], clean[index, :, :, 0])
            assert record.name == f"{folder}/graphene_img_noise.h5 image {index}"


@pytest.mark.parametrize(("fraction", "num_validation"), [(0.01, 1), (0.4, 2), (0.8, 4)])
def test_each_training_image_is_in_exactly_one_split(fraction, num_validation, raw_dir):
    records = read_all(make_config(validation_fraction=fraction, test_fraction=0.01), raw_dir)
    train, validation, test = ({record.specimen for record in records[split]} for split in SPLITS)
    assert len(validation) == num_validation
    assert not train & validation
    assert train | validation == {f"train {index}" for index in range(NUM_TRAIN)}
    assert test == {f"test {index}" for index in range(NUM_TEST)}


def test_the_seed_alone_decides_the_validation_images(raw_dir):
    def choose(seed: int) -> set[str]:
        records = read_em_graphene_sim(make_config(seed=seed, validation_fraction=0.4), raw_dir)
        return {record.specimen for record in records["validation"]}

    assert choose(1) == choose(1)
    assert len({frozenset(choose(seed)) for seed in range(8)}) > 1


def test_memory_does_not_grow_with_the_number_of_images(raw_dir):
    images = np.random.default_rng(0).random((40, 256, 256, 1), np.float32)
    write_images(raw_dir / "em_graphene_sim" / TRAIN_NOISE, images)
    write_images(raw_dir / "em_graphene_sim" / TRAIN_CLEAN, images / 2)
    del images
    records = read_em_graphene_sim(make_config(), raw_dir)
    tracemalloc.start()
    for _ in records["train"]:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 256 * 256 * 4 < 80 * 256 * 256 * 4 / 3


@pytest.mark.parametrize("name", FILES)
def test_without_a_download_the_first_absent_file_is_named(name, raw_dir):
    (raw_dir / "em_graphene_sim" / name).unlink()
    message = f"^em_graphene_sim/{name} is not in the raw data folder; run the download task first.$"
    with pytest.raises(MissingInputError, match=message):
        read_em_graphene_sim(make_config(), raw_dir)


def replace_images(change: Callable[[np.ndarray], object], name: str = TRAIN_CLEAN) -> Callable[[Path], None]:
    """Write the images of a file after a change; the change works in place or returns other images."""

    def damage(root: Path) -> None:
        images = make_images(name)
        changed = change(images)
        write_images(root / name, images if changed is None else changed)

    return damage


def set_pixel(value: float) -> Callable[[np.ndarray], None]:
    def change(images: np.ndarray) -> None:
        images[1, 3, 4, 0] = value

    return change


def rename_dataset(root: Path) -> None:
    with h5py.File(root / TRAIN_CLEAN, "r+") as file:
        file.move("images", "pictures")


def group_for_dataset(root: Path) -> None:
    with h5py.File(root / TRAIN_CLEAN, "w") as file:
        file.create_group("images")


def cut_off(root: Path) -> None:
    with (root / TRAIN_CLEAN).open("r+b") as file:
        file.truncate(500_000)


def write_text(root: Path) -> None:
    (root / TRAIN_CLEAN).write_text("not an HDF5 file")


def damage_chunk(root: Path) -> None:
    path = root / TRAIN_CLEAN
    write_images(path, make_images(TRAIN_CLEAN), chunks=(1, 256, 256, 1), compression="gzip")
    with h5py.File(path) as file:
        offset = file["images"].id.get_chunk_info(1).byte_offset
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(1000))


def copy_noisy_image(root: Path) -> None:
    images = make_images(TRAIN_CLEAN)
    images[1] = make_images(TRAIN_NOISE)[1]
    write_images(root / TRAIN_CLEAN, images)


def test_simulated_graphene_of_the_lowest_dose_is_read_in_the_files_of_the_stfc(raw_dir: Path) -> None:
    """Noise goes far beyond the contrast window: there are pixels with no electron, and with three times the mean."""
    simulation, rng = RunConfig().simulation, np.random.default_rng(0)
    low, high = simulation.intensity_window
    electrons = simulation.dose_e_per_angstrom2[0] * simulation.pixel_size_angstrom[0] ** 2
    beam = make_beam_profile((256, 256), width_fraction=simulation.beam_width_fraction[0], centre_fraction=(0.2, 0.2))
    intensity = beam * np.where(np.arange(256) < 128, low, high)
    images = make_images(TRAIN_NOISE)
    for image in images:
        counted = apply_shot_noise(intensity, electrons_per_pixel=electrons, rng=rng)
        readout_noise = simulation.readout_noise_electrons[1] / electrons
        noisy = apply_readout_noise(counted, readout_noise=readout_noise, rng=rng)
        image[..., 0] = (noisy - low) / (high - low)
    assert images.min() < -1
    assert images.max() > 3
    write_images(raw_dir / "em_graphene_sim" / TRAIN_NOISE, images)
    records = read_all(make_config(), raw_dir)
    assert sum(len(records[split]) for split in ("train", "validation")) == NUM_TRAIN


MALFORMED = {
    "no data set": (rename_dataset, "holds pictures; expected the data set images"),
    "a group": (group_for_dataset, "holds images; expected the data set images"),
    "another size": (
        replace_images(lambda images: images[:, :128]),
        "images have shape (5, 128, 256, 1); expected (n, 256, 256, 1), n ≥ 1",
    ),
    "no channel": (
        replace_images(lambda images: images[..., 0]),
        "images have shape (5, 256, 256); expected (n, 256, 256, 1), n ≥ 1",
    ),
    "a single number": (
        replace_images(lambda images: np.float32(0.5)),
        "images have shape (); expected (n, 256, 256, 1), n ≥ 1",
    ),
    "no image": (
        replace_images(lambda images: images[:0]),
        "images have shape (0, 256, 256, 1); expected (n, 256, 256, 1), n ≥ 1",
    ),
    "another type": (replace_images(lambda images: images.astype(np.float64)), "images are float64; expected float32"),
    "not HDF5": (write_text, "is not HDF5 (16 bytes); expected an HDF5 file"),
    "cut off": (cut_off, "is cut off or damaged (500,000 bytes); expected a whole HDF5 file"),
    "a damaged image": (damage_chunk, "image 1 cannot be read; expected a whole HDF5 file"),
    "fewer images": (
        replace_images(lambda images: images[:3]),
        f"has 3 images, {TRAIN_NOISE} has 5; expected as many",
    ),
    "NaN": (replace_images(set_pixel(np.nan)), "image 1 holds NaN or infinite values; expected finite ones"),
    "infinity": (replace_images(set_pixel(np.inf)), "image 1 holds NaN or infinite values; expected finite ones"),
    "counts": (replace_images(set_pixel(255)), "image 1 spans [0, 255]; expected values near [0, 1]"),
    "negative values": (replace_images(set_pixel(-5)), "image 1 spans [-5, 1]; expected values near [0, 1]"),
    "its own truth": (
        copy_noisy_image,
        f"image 1 is identical to that of {TRAIN_NOISE}; expected its noise-free truth",
    ),
}


@pytest.mark.parametrize(("damage", "problem"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_refused_in_one_line(damage, problem, raw_dir):
    damage(raw_dir / "em_graphene_sim")
    with pytest.raises(DataError) as caught:
        read_all(make_config(), raw_dir)
    remedy = "delete the file and run the download task again, with another data.mirror if it stays so."
    assert str(caught.value) == f"{TRAIN_CLEAN}: {problem}; {remedy}"


def test_noisy_images_of_few_electrons_may_leave_the_range_of_clean_ones(raw_dir):
    """At 8 electrons a pixel, 35 counts and none are far outside the contrast window; that is no other scale."""
    images = make_images(TEST_NOISE)
    images[1, 0, 0, 0], images[1, 0, 1, 0] = -2.0, 4.8
    write_images(raw_dir / "em_graphene_sim" / TEST_NOISE, images)
    assert np.ptp(read_all(make_config(), raw_dir)["test"][1].noisy) == np.float32(6.8)
    images[1] *= 200
    write_images(raw_dir / "em_graphene_sim" / TEST_NOISE, images)
    with pytest.raises(DataError, match=rf"{re.escape(TEST_NOISE)}: image 1 spans \[-400, 960\]; expected values near"):
        read_all(make_config(), raw_dir)


def test_one_pair_is_too_few_for_a_validation_split(raw_dir):
    for name in (TRAIN_NOISE, TRAIN_CLEAN):
        write_images(raw_dir / "em_graphene_sim" / name, make_images(name)[:1])
    with pytest.raises(DataError, match=rf"{re.escape(TRAIN_NOISE)}: has 1 images; at least 2 are needed"):
        read_em_graphene_sim(make_config(), raw_dir)


def test_the_test_files_are_checked_like_the_training_files(raw_dir):
    images = make_images(TEST_NOISE)
    images[1, 0, 0, 0] = np.nan
    write_images(raw_dir / "em_graphene_sim" / TEST_NOISE, images)
    records = read_em_graphene_sim(make_config(), raw_dir)
    with pytest.raises(DataError, match=f"{TEST_NOISE}: image 1 holds NaN"):
        list(records["test"])
