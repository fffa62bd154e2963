"""Batches: every image once an epoch, the same in every run, pairs kept together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emdenoise.arrays import Sample
from emdenoise.config.schema import TrainingSettings
from emdenoise.dataset.sampler import InOrder, Sampler, choose_training_images
from emdenoise.errors import DataError
from emdenoise.processes import ProcessGroup
from emdenoise.training.learners import PreparedBatches
from emdenoise.training.objectives import AddedNoise

IMAGE_FIELDS = ("noisy", "clean")


class CodedRecords:
    """Images whose pixels say which image, row and column they are; the target is ten thousand larger."""

    def __init__(self, num_images: int = 7, height: int = 32, width: int = 32) -> None:
        rows, columns = np.mgrid[:height, :width]
        self.images = np.stack([index * 1e6 + rows * 100 + columns for index in range(num_images)])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    def list_whole_images(self) -> list[np.ndarray]:
        return list(np.arange(len(self))[:, None])

    def read(self, field: str, indices: Any) -> np.ndarray:
        return self.images[indices] + (0.25 if field == "clean" else 0)

    def read_sample(self, fields: Sequence[str], indices: Any) -> Sample:
        return {name: self.read(name, indices)[..., None] for name in fields}


def make_sampler(records: Any = None, *, seed: int = 0, **settings: Any) -> Sampler:
    return Sampler(records or CodedRecords(), IMAGE_FIELDS, TrainingSettings(**settings), seed)


def read_epoch(sampler: Sampler, epoch: int) -> list[np.ndarray]:
    return [sampler.read(epoch, step)["noisy"] for step in range(len(sampler))]


@given(
    num_images=st.integers(1, 20), batch_size=st.integers(1, 25), crops=st.integers(1, 3), epoch=st.integers(0, 1000)
)
def test_every_image_is_seen_equally_often_in_an_epoch(
    num_images: int, batch_size: int, crops: int, epoch: int
) -> None:
    records = CodedRecords(num_images, 4, 4)
    sampler = make_sampler(records, batch_size=batch_size, crops_per_epoch=crops * num_images)
    seen = np.concatenate([images[:, 0, 0, 0] // 1_000_000 for images in read_epoch(sampler, epoch)])
    assert np.bincount(seen.astype(int), minlength=num_images).tolist() == num_images * [crops]


@given(num_images=st.integers(1, 20), num_crops=st.integers(1, 70), epoch=st.integers(0, 1000))
def test_no_image_comes_again_before_all_have_come(num_images: int, num_crops: int, epoch: int) -> None:
    sampler = make_sampler(CodedRecords(num_images, 4, 4), batch_size=8, crops_per_epoch=num_crops)
    seen = np.concatenate([images[:, 0, 0, 0] // 1_000_000 for images in read_epoch(sampler, epoch)])
    counts = np.bincount(seen.astype(int), minlength=num_images)
    assert counts.sum() == num_crops
    assert counts.max() - counts.min() <= 1


class CountedRecords(CodedRecords):
    """Counts how many images are read."""

    num_read = 0

    def read(self, field: str, indices: Any) -> np.ndarray:
        images = super().read(field, indices)
        self.num_read += len(images)
        return images


@given(
    size=st.integers(1, 5),
    share=st.integers(1, 3),
    num_steps=st.integers(1, 4),
    crop=st.sampled_from([None, 16]),
    flip=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_processes_share_the_batch_of_one_and_read_no_more(
    size: int, share: int, num_steps: int, crop: int | None, flip: bool, seed: int
) -> None:
    settings = TrainingSettings(
        batch_size=size * share, crops_per_epoch=size * share * num_steps, crop_size_px=crop, flip=flip
    )
    alone = Sampler(CodedRecords(), IMAGE_FIELDS, settings, seed)
    files = [CountedRecords() for _ in range(size)]
    shared = [Sampler(file, IMAGE_FIELDS, settings, seed, ProcessGroup(rank, size)) for rank, file in enumerate(files)]
    for step in range(num_steps):
        whole, parts = alone.read(3, step), [sampler.read(3, step) for sampler in shared]
        for field in IMAGE_FIELDS:
            np.testing.assert_array_equal(np.concatenate([part[field] for part in parts]), whole[field])
    assert [file.num_read for file in files] == [share * num_steps * len(IMAGE_FIELDS)] * size


@given(size=st.integers(1, 7), batch_size=st.integers(1, 5))
def test_processes_share_the_validation_images(size: int, batch_size: int) -> None:
    seen = []
    for rank in range(size):
        own = InOrder(CodedRecords(), IMAGE_FIELDS, batch_size, ProcessGroup(rank, size))
        seen += [inputs for step in range(len(own)) for inputs in own.read(0, step)["noisy"]]
    np.testing.assert_array_equal(np.stack(seen)[..., 0], CodedRecords().images)


def test_a_last_batch_that_cannot_be_shared_is_refused() -> None:
    settings = TrainingSettings(batch_size=4)
    with pytest.raises(DataError, match="an epoch of 7 images ends with a batch of 3, which 2 processes cannot share"):
        Sampler(CodedRecords(), IMAGE_FIELDS, settings, 0, ProcessGroup(0, 2))


class TiledRecords(CodedRecords):
    """Image 0 is cut into three tiles, image 1 into one, image 2 into two."""

    def __init__(self) -> None:
        super().__init__(num_images=6)

    def list_whole_images(self) -> list[np.ndarray]:
        return [np.array([0, 1, 2]), np.array([3]), np.array([4, 5])]


@pytest.mark.parametrize(("size", "shares"), [(1, [6]), (2, [3, 3]), (3, [3, 1, 2]), (4, [0, 3, 1, 2])])
def test_processes_do_not_cut_a_validation_image_in_two(size: int, shares: list[int]) -> None:
    found = []
    for rank in range(size):
        own = InOrder(TiledRecords(), IMAGE_FIELDS, 2, ProcessGroup(rank, size))  # type: ignore[arg-type]
        found.append([tile for step in range(len(own)) for tile in own.read(0, step)["noisy"][:, 0, 0, 0] // 1_000_000])
    assert [len(tiles) for tiles in found] == shares
    assert [tile for tiles in found for tile in tiles] == list(range(6))


@pytest.mark.parametrize("seed", range(5))
def test_an_image_is_chosen_with_all_its_tiles(seed: int) -> None:
    records = TiledRecords()
    sampler = make_sampler(records, num_images=2, batch_size=1, seed=seed)
    read = {int(images.flat[0] // 1e6) for images in read_epoch(sampler, 0)}
    assert sampler.num_images == 2
    assert read in [{0, 1, 2, 3}, {0, 1, 2, 4, 5}, {3, 4, 5}]


@given(num_images=st.integers(1, 20), batch_size=st.integers(1, 25))
def test_all_batches_but_the_last_are_full(num_images: int, batch_size: int) -> None:
    sizes = [
        len(images) for images in read_epoch(make_sampler(CodedRecords(num_images, 4, 4), batch_size=batch_size), 0)
    ]
    assert sum(sizes) == num_images
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size


@given(num_images=st.integers(1, 20), batch_size=st.integers(1, 25), epoch=st.integers(0, 100))
def test_a_last_batch_that_is_filled_up_has_the_same_images_first(num_images: int, batch_size: int, epoch: int) -> None:
    records = CodedRecords(num_images, 4, 4)
    smaller, filled = (make_sampler(records, batch_size=batch_size, last_batch=each) for each in ("smaller", "filled"))
    one, other = read_epoch(smaller, epoch), read_epoch(filled, epoch)
    assert {len(images) for images in other} == {batch_size}
    assert np.array_equal(np.concatenate(other)[:num_images], np.concatenate(one))
    assert not filled.has_smaller_batch
    assert smaller.has_smaller_batch is (len(one) > 1 and num_images % batch_size > 0)


@given(epoch=st.integers(0, 100), step=st.integers(0, 2), seed=st.integers(0, 2**31 - 1))
def test_a_batch_follows_from_seed_epoch_and_step_alone(epoch: int, step: int, seed: int) -> None:
    options = {"batch_size": 3, "crop_size_px": 16, "flip": True, "seed": seed}
    first = make_sampler(**options).read(epoch, step)
    other = make_sampler(**options)
    other.read(epoch + 1, 0)
    other.read(0, 1)
    second = other.read(epoch, step)
    assert all(np.array_equal(first[field], second[field]) for field in IMAGE_FIELDS)


def test_another_epoch_or_seed_has_another_order_and_other_crops() -> None:
    options = {"batch_size": 7, "crop_size_px": 16, "flip": True}
    sampler = make_sampler(**options)
    orders = {(sampler.read(epoch, 0)["noisy"][:, 0, 0, 0] // 1e6).tobytes() for epoch in range(20)}
    assert len(orders) == 20
    assert not np.array_equal(sampler.read(0, 0)["noisy"], make_sampler(seed=1, **options).read(0, 0)["noisy"])


@given(epoch=st.integers(0, 100), is_flipped=st.booleans(), crop=st.sampled_from([None, 16, 24, 32]))
def test_all_fields_get_the_same_crop_and_flip(epoch: int, is_flipped: bool, crop: int | None) -> None:
    sampler = make_sampler(batch_size=4, crop_size_px=crop, flip=is_flipped)
    for step in range(len(sampler)):
        sample = sampler.read(epoch, step)
        assert sample["noisy"].shape[1:] == (crop or 32, crop or 32, 1)
        assert np.array_equal(sample["clean"], sample["noisy"] + 0.25)


@given(epoch=st.integers(0, 100))
def test_a_crop_is_a_contiguous_piece_of_one_image(epoch: int) -> None:
    for image in make_sampler(batch_size=7, crop_size_px=16).read(epoch, 0)["noisy"][..., 0]:
        assert (np.diff(image, axis=0) == 100).all()
        assert (np.diff(image, axis=1) == 1).all()


def test_crops_come_from_everywhere() -> None:
    sampler = make_sampler(CodedRecords(1, 32, 32), batch_size=1, crop_size_px=24)
    corners = {float(sampler.read(epoch, 0)["noisy"][0, 0, 0, 0]) for epoch in range(1500)}
    assert len(corners) == 9 * 9


def test_flips_are_the_eight_symmetries_of_the_square_equally_often() -> None:
    sampler = make_sampler(CodedRecords(1, 8, 8), batch_size=1, flip=True)
    base = CodedRecords(1, 8, 8).images[0]
    symmetries = {
        np.ascontiguousarray(np.rot90(image, turns)).tobytes(): 0 for image in (base, base.T) for turns in range(4)
    }
    assert len(symmetries) == 8
    for epoch in range(400):
        symmetries[np.ascontiguousarray(sampler.read(epoch, 0)["noisy"][0, ..., 0]).tobytes()] += 1
    assert min(symmetries.values()) > 50 - 4 * np.sqrt(50)


def test_images_that_are_not_square_keep_their_shape_when_flipped() -> None:
    sampler = make_sampler(CodedRecords(2, 16, 24), batch_size=2, flip=True)
    assert all(sampler.read(epoch, 0)["noisy"].shape == (2, 16, 24, 1) for epoch in range(10))


def test_crops_of_one_image_in_one_epoch_differ() -> None:
    sampler = make_sampler(CodedRecords(1, 64, 64), batch_size=4, crop_size_px=16, crops_per_epoch=4)
    (images,) = read_epoch(sampler, 0)
    assert len({image.tobytes() for image in images}) == 4


def test_no_setting_of_augmentation_changes_the_order() -> None:
    plain, cropped = make_sampler(batch_size=7), make_sampler(batch_size=7, crop_size_px=16, flip=True)
    for epoch in range(3):
        orders = [sampler.read(epoch, 0)["noisy"][:, 0, 0, 0] // 1_000_000 for sampler in (plain, cropped)]
        assert np.array_equal(*orders)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_validation_sees_every_image_once_whole_and_in_order(batch_size: int) -> None:
    records = CodedRecords()
    sampler = InOrder(records, IMAGE_FIELDS, batch_size)
    found = np.concatenate([sampler.read(0, step)["noisy"] for step in range(len(sampler))])
    assert np.array_equal(found[..., 0], records.images)
    assert np.array_equal(sampler.read(0, 0)["noisy"], sampler.read(5, 0)["noisy"])


def test_batches_of_a_file_are_float32(drawn_files: dict[str, Any]) -> None:
    sample = make_sampler(drawn_files["train"], batch_size=3).read(0, 0)
    assert {name: (images.dtype.name, images.shape) for name, images in sample.items()} == dict.fromkeys(
        IMAGE_FIELDS, ("float32", (3, 32, 32, 1))
    )


class EvenRecords(CodedRecords):
    """Even images of intensity 0.5."""

    def __init__(self) -> None:
        self.images = np.full((4, 128, 128), 0.5, np.float32)


ADDED_NOISE = AddedNoise("noisy", 20.0, "mean_squared_error")


def test_added_noise_has_the_mean_and_the_variance_of_counts_and_its_target_is_the_image() -> None:
    whole = InOrder(EvenRecords(), ADDED_NOISE.needs, 4)  # type: ignore[arg-type]
    noisy, images = PreparedBatches(whole, ADDED_NOISE, seed=0).read(0, 0)
    assert noisy.shape == images.shape == (4, 128, 128, 1)
    assert (images == 0.5).all()
    # Of 65,536 pixels: five standard errors are 0.003 of the mean and 3 % of the variance.
    assert noisy.mean() == pytest.approx(0.5, abs=0.004)
    assert noisy.var() == pytest.approx(0.5 / 20, rel=0.03)


def test_added_noise_is_another_in_each_step_and_epoch_and_the_same_in_each_run() -> None:
    def read(epoch: int, step: int) -> bytes:
        whole = InOrder(EvenRecords(), ADDED_NOISE.needs, 2)  # type: ignore[arg-type]
        return PreparedBatches(whole, ADDED_NOISE, seed=0).read(epoch, step)[0].tobytes()

    assert len({read(0, 0), read(0, 1), read(1, 0)}) == 3
    assert read(1, 1) == read(1, 1)


@given(num_images=st.integers(1, 50), seed=st.integers(0, 100), data=st.data())
def test_fewer_training_images_are_a_part_of_more(num_images: int, seed: int, data: Any) -> None:
    more = data.draw(st.integers(1, num_images))
    fewer = data.draw(st.integers(1, more))
    chosen = choose_training_images(num_images, more, seed)
    assert set(choose_training_images(num_images, fewer, seed)) <= set(chosen)
    assert len(set(chosen)) == more
    assert set(chosen) <= set(choose_training_images(num_images, None, seed)) == set(range(num_images))


def test_training_reads_only_the_chosen_images() -> None:
    sampler = make_sampler(num_images=3, batch_size=2, crops_per_epoch=12)
    read = {
        int(image.flat[0] // 1e6) for epoch in range(5) for images in read_epoch(sampler, epoch) for image in images
    }
    assert read == set(choose_training_images(7, 3, 0))
    assert len(sampler) == 6


def test_more_images_than_there_are_is_an_error_that_says_how_many() -> None:
    with pytest.raises(DataError, match="num_images is 9, the training file has 7 images; ask for fewer"):
        make_sampler(num_images=9)
