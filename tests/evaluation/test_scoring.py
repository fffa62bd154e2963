"""Scoring a method on a file: each image by itself, whatever the batch, and no wrong result gets a number."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emdenoise.arrays import Sample
from emdenoise.dataset.record import Record
from emdenoise.dataset.record_file import RecordFile, write_records
from emdenoise.dataset.tiles import cut_record
from emdenoise.evaluation.metrics.atoms import score_atoms
from emdenoise.evaluation.metrics.intensity import mse, psnr, ssim
from emdenoise.evaluation.scoring import ImageScores, OutputJudge, score_method
from emdenoise.evaluation.throughput import Method
from emdenoise.models.heads import HEADS
from emdenoise.processes import ALONE, ProcessGroup

DrawRecords = Callable[..., Iterator[Record]]


@pytest.fixture
def images(drawn_files: dict[str, RecordFile]) -> RecordFile:
    return drawn_files["test"]


@pytest.fixture
def write_images(tmp_path: Path) -> Iterator[Callable[[list[Record]], RecordFile]]:
    """Give a function that writes records to a file and opens it."""
    opened: list[RecordFile] = []

    def write(records: list[Record]) -> RecordFile:
        write_records(tmp_path / "images.h5", records, attributes={})
        opened.append(RecordFile(tmp_path / "images.h5"))
        return opened[-1]

    yield write
    for file in opened:
        with file:
            pass


def score(
    method: Method, images: RecordFile, batch_size: int = 4, tolerance: float = 0.5, truth: str = "clean"
) -> ImageScores:
    return score_method(method, images, ["noisy"], truth, batch_size=batch_size, atom_tolerance_angstrom=tolerance)


def keep(sample: Sample) -> np.ndarray:
    return sample["noisy"][..., 0]


def halve(sample: Sample) -> np.ndarray:
    return sample["noisy"][..., 0] / 2


def remember(images: RecordFile, truth: str = "clean") -> Method:
    """Give a method that knows the truth of every image."""
    known = {noisy.tobytes(): true for noisy, true in zip(images.read("noisy"), images.read(truth), strict=True)}
    return lambda sample: np.stack([known[image.tobytes()] for image in sample["noisy"]])


@pytest.mark.parametrize("denoise", [halve, keep])
def test_scores_are_those_of_each_image_by_itself(denoise: Method, images: RecordFile) -> None:
    metrics = score(denoise, images).metrics
    of_atoms = {"atom_f1", "atom_error_angstrom", "atom_recall", "false_atoms_per_nm2"}
    assert set(metrics) == {"mse", "psnr_db", "ssim"} | of_atoms
    for index in range(len(images)):
        denoised, clean = denoise(images.read_sample(["noisy"], [index])), images.read("clean", [index])
        atoms = score_atoms(denoised[0], images.read_atoms(index), pixel_size_angstrom=0.15, tolerance_angstrom=0.5)
        expected = {
            "mse": mse(denoised, clean)[0],
            "psnr_db": psnr(denoised, clean, data_range=1)[0],
            "ssim": ssim(denoised, clean, data_range=1)[0],
            "atom_f1": atoms.f1,
            "atom_error_angstrom": atoms.error_angstrom,
            "atom_recall": atoms.recall,
            "false_atoms_per_nm2": atoms.false_per_nm2,
        }
        assert {name: values[index] for name, values in metrics.items()} == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 6, 100])
def test_the_batch_size_does_not_change_a_score(batch_size: int, images: RecordFile) -> None:
    reference = score(halve, images, 4).metrics
    for name, values in score(halve, images, batch_size).metrics.items():
        assert values.shape == (6,)
        assert values.dtype == np.float64
        assert np.array_equal(values, reference[name], equal_nan=True)


def test_who_returns_the_truth_has_no_error(images: RecordFile) -> None:
    metrics = score(remember(images), images).metrics
    assert metrics["mse"].tolist() == [0] * 6
    assert metrics["psnr_db"].tolist() == [np.inf] * 6
    assert metrics["ssim"] == pytest.approx(1)


def test_psnr_is_that_of_intensities_from_zero_to_one(images: RecordFile) -> None:
    metrics = score(halve, images).metrics
    assert metrics["psnr_db"] == pytest.approx(-10 * np.log10(metrics["mse"]))


def test_atoms_count_within_the_given_tolerance(
    write_images: Callable[[list[Record]], RecordFile], draw_records: DrawRecords
) -> None:
    rows, columns = np.mgrid[:32, :32]
    clean = np.exp(-((rows - 16) ** 2 + (columns - 16) ** 2) / 8).astype(np.float32)
    shifted = np.array([[16, 16 + 0.3 / 0.15]], np.float32)
    records = [replace(record, images=record.images | {"clean": clean}, atoms=shifted) for record in draw_records(2)]
    images = write_images(records)
    near, far = (score(remember(images), images, tolerance=tolerance).metrics for tolerance in (0.2, 0.4))
    assert near["atom_f1"].tolist() == [0, 0]
    assert np.isnan(near["atom_error_angstrom"]).all()
    assert far["atom_f1"].tolist() == [1, 1]
    assert far["atom_error_angstrom"] == pytest.approx(0.3, abs=0.01)


def test_without_known_atoms_no_atoms_are_scored(
    write_images: Callable[[list[Record]], RecordFile], draw_records: DrawRecords
) -> None:
    images = write_images([replace(record, atoms=None) for record in draw_records(3)])
    assert set(score(halve, images).metrics) == {"mse", "psnr_db", "ssim"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give a clock that a method may put forward."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_every_shape_is_warmed_up_and_every_pass_sees_every_image(images: RecordFile) -> None:
    seen = []

    def denoise(sample: Sample) -> np.ndarray:
        seen.append(keep(sample))
        return keep(sample)

    score(denoise, images, batch_size=4)
    assert [len(noisy) for noisy in seen] == [4, 4, 2, 2] + 4 * [4, 2]
    passes = [seen[1], seen[3], *seen[4:]]
    for first in range(0, len(passes), 2):
        assert np.array_equal(np.concatenate(passes[first : first + 2]), images.read("noisy"))


def test_the_speed_is_the_median_of_passes_without_compilation(images: RecordFile, clock: list[float]) -> None:
    """The method compiles for 100 s at each new shape; a pass is disturbed."""
    shapes, calls = set(), []

    def denoise(sample: Sample) -> np.ndarray:
        noisy = keep(sample)
        clock[0] += 0.05 * len(noisy) if noisy.shape in shapes else 100.0
        clock[0] += 5.0 if len(calls) == 4 else 0.0
        shapes.add(noisy.shape)
        calls.append(len(noisy))
        return noisy

    assert score(denoise, images).images_per_second == pytest.approx(1 / 0.05)
    assert score(denoise, images, batch_size=3).images_per_second == pytest.approx(1 / 0.05)


@pytest.mark.parametrize(("image_s", "num_passes"), [(0.001, 5), (0.15, 3), (0.3, 1), (100.0, 1)])
def test_a_slow_method_is_timed_in_fewer_passes(
    image_s: float, num_passes: int, images: RecordFile, clock: list[float]
) -> None:
    num_seen = 0

    def denoise(sample: Sample) -> np.ndarray:
        nonlocal num_seen
        num_seen += len(keep(sample))
        clock[0] += image_s * len(keep(sample))
        return keep(sample)

    assert score(denoise, images, batch_size=1).images_per_second == pytest.approx(1 / image_s)
    assert num_seen == 1 + 6 * num_passes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_result_that_is_not_finite_is_refused(value: float, images: RecordFile) -> None:
    def denoise(sample: Sample) -> np.ndarray:
        denoised = keep(sample).copy()
        denoised[-1, 3, 3] = value
        return denoised

    with pytest.raises(ValueError, match=r"the method returned float32 \(4, 32, 32\), or values that are not finite"):
        score(denoise, images)


@pytest.mark.parametrize(
    ("denoise", "shape"),
    [
        (lambda sample: sample["noisy"], r"\(4, 32, 32, 1\)"),
        (lambda sample: keep(sample)[:, 1:-1, 1:-1], r"\(4, 30, 30\)"),
        (lambda sample: keep(sample)[:-1], r"\(3, 32, 32\)"),
        (lambda sample: keep(sample)[0], r"\(32, 32\)"),
    ],
)
def test_a_result_of_another_shape_is_refused(denoise: Method, shape: str, images: RecordFile) -> None:
    with pytest.raises(ValueError, match=f"the method returned float32 {shape}"):
        score(denoise, images)


def test_an_image_that_is_its_own_truth_is_refused(
    write_images: Callable[[list[Record]], RecordFile], draw_records: DrawRecords
) -> None:
    records = list(draw_records(3))
    images = write_images(
        [*records[:2], replace(records[2], images=records[2].images | {"noisy": records[2].images["clean"]})]
    )
    with pytest.raises(ValueError, match="image 2 is its own truth: noisy and clean are identical"):
        score(halve, images)


def test_images_that_were_cut_are_scored_whole(write_images: Callable[[list[Record]], RecordFile]) -> None:
    rng = np.random.default_rng(0)
    clean = [rng.random(shape, dtype=np.float32) for shape in [(70, 33), (20, 12), (32, 96)]]
    whole = [
        Record({"noisy": image + np.float32(0.1) * (index + 1), "clean": image}, specimen=str(index), name=str(index))
        for index, image in enumerate(clean)
    ]
    seen = []

    def denoise(sample: Sample) -> np.ndarray:
        seen.append(keep(sample).shape)
        return keep(sample)

    images = write_images([tile for record in whole for tile in cut_record(record, 32)])
    metrics = score(denoise, images, batch_size=4).metrics
    assert metrics["mse"] == pytest.approx([0.01, 0.04, 0.09], rel=1e-4)
    assert set(seen) == {(1, 70, 33), (1, 20, 12), (1, 32, 96)}


def test_who_names_every_pixel_right_has_full_overlap_and_unknown_labels_are_refused(images: RecordFile) -> None:
    metrics = score(remember(images, "mask"), images, truth="mask").metrics
    assert {"dice", "iou", "dice_dark", "iou_bright"} <= set(metrics)
    for values in metrics.values():
        assert values == pytest.approx(np.ones(6))
    with pytest.raises(ValueError, match="predicted_mask has labels from 2 to 2; expected 0 to 1"):
        score(lambda sample: np.full(sample["noisy"].shape[:3], 2, np.uint8), images, truth="mask")


def judge(
    images: RecordFile, outputs: np.ndarray, batch_size: int = 4, truth: str = "clean", group: ProcessGroup = ALONE
) -> dict[str, np.ndarray]:
    """Let the judge of the training score outputs of all images of a process."""
    metrics, kind = {"clean": (("psnr_db", "mse"), "intensity"), "mask": (("dice",), "labels")}[truth]
    scorer = OutputJudge(images, truth, metrics, HEADS[kind].decode, 0.5, group)  # type: ignore[index]
    return scorer(outputs[first : first + batch_size] for first in range(0, len(outputs), batch_size))


def make_logits(mask: np.ndarray) -> np.ndarray:
    """Make logits that say a mask of two labels."""
    return np.stack([mask == 0, mask == 1], axis=-1).astype(np.float32)


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_outputs_after_an_epoch_have_the_scores_that_the_test_gives_the_results(
    batch_size: int, images: RecordFile
) -> None:
    expected = score(halve, images).metrics
    found = judge(images, images.read("noisy")[..., None] / 2, batch_size)
    assert set(found) == {"psnr_db", "mse"}
    for name, values in found.items():
        assert np.array_equal(values, expected[name])
    wrong = 1 - images.read("mask")
    wrong[:, :, :16] = images.read("mask")[:, :, :16]
    answers = dict(zip((image.tobytes() for image in images.read("noisy")), wrong, strict=True))
    results = score(
        lambda sample: np.stack([answers[image.tobytes()] for image in sample["noisy"]]), images, 4, 0.5, "mask"
    )
    assert np.array_equal(judge(images, make_logits(wrong), batch_size, "mask")["dice"], results.metrics["dice"])


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_processes_score_each_image_once(size: int, images: RecordFile) -> None:
    outputs = images.read("noisy")[..., None]
    groups = [ProcessGroup(rank, size) for rank in range(size)]
    parts = [judge(images, outputs[group.find_share(len(images))], 2, group=group)["mse"] for group in groups]
    assert np.array_equal(np.concatenate(parts), judge(images, outputs)["mse"])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_outputs_of_an_image_that_was_cut_are_put_together(
    batch_size: int, draw_records: DrawRecords, write_images: Callable[[list[Record]], RecordFile]
) -> None:
    whole = [replace(record, atoms=None) for record in draw_records(3, size=48)]
    images = write_images([tile for record in whole for tile in cut_record(record, tile_size_px=32)])
    assert len(images) > len(whole)
    outputs = images.read("noisy")[..., None]
    noisy, clean = (np.stack([record.images[name] for record in whole]) for name in ("noisy", "clean"))
    assert judge(images, outputs, batch_size)["mse"] == pytest.approx(mse(noisy, clean))


@pytest.mark.parametrize(("truth", "name"), [("clean", "psnr_db"), ("mask", "dice")])
def test_an_output_that_is_no_number_has_no_score(truth: str, name: str, images: RecordFile) -> None:
    outputs = make_logits(images.read("mask")) if truth == "mask" else images.read("noisy")[..., None]
    outputs[2, 5, 5, 0] = np.nan
    assert np.isnan(judge(images, outputs, truth=truth)[name]).tolist() == [index == 2 for index in range(6)]


def test_outputs_of_other_images_are_refused(images: RecordFile) -> None:
    outputs = images.read("noisy")[..., None]
    with pytest.raises(ValueError, match="of 1 images too few"):
        judge(images, outputs[1:])
    with pytest.raises(ValueError, match="outputs of 1 tiles too many"):
        judge(images, np.concatenate([outputs, outputs[:1]]))
