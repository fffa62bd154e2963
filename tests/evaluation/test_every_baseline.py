"""What holds for every entry of BASELINES: of its kind, fitted to examples, a method like a network."""

import json
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from pydantic import ValidationError

from emdenoise.arrays import Sample
from emdenoise.config.schema import RunConfig
from emdenoise.dataset.fields import FIELDS, Kind
from emdenoise.evaluation.baselines import BASELINES, Examples, FittedMethod, fit_baselines
from emdenoise.evaluation.metrics import psnr
from emdenoise.evaluation.metrics.masks import score_masks
from emdenoise.models.heads import HEADS
from emdenoise.seeding import make_generator
from emdenoise.workloads import WORKLOADS

EXTRAS = {
    name: pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is an extra that is not installed")
    for name in ("bm3d", "bmnd")
}
ROUNDING = {"bm3d": 1e-5}
"""Its threads add in any order; all other methods give the same bits."""
LABEL_NAMES = ["ground", "disc"]


def list_names(kind: Kind | None = None) -> list[object]:
    return [
        pytest.param(name, marks=EXTRAS.get(name, ()))
        for name, baseline in BASELINES.items()
        if kind in (None, baseline.kind)
    ]


every_baseline = pytest.mark.parametrize("name", list_names())
every_filter = pytest.mark.parametrize("name", list_names("intensity"))
every_segmentation = pytest.mark.parametrize("name", list_names("labels"))


def draw_images(
    kind: Kind, seed: int, *, num_images: int = 2, shape: tuple[int, int] = (64, 64), is_bright: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Draw images, counted with Poisson noise, and their truth.

    Labels are of discs of three times the intensity of the ground, or a third of it; intensities are one wave over the
    image.
    """
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rng = make_generator(seed, "test")
    if kind == "intensity":
        clean = 0.5 + 0.2 * np.sin(2 * np.pi * rows / shape[0]) * np.cos(2 * np.pi * columns / shape[1])
        truth = np.stack([clean.astype(np.float32)] * num_images)
        return (rng.poisson(truth * 20) / 20).astype(np.float32), truth
    mask = np.zeros((num_images, *shape), np.uint8)
    for one in mask:
        for row, column in rng.uniform(0.2, 0.8, (2, 2)) * shape:
            one[(rows - row) ** 2 + (columns - column) ** 2 <= 11**2] = 1
    return (rng.poisson(np.where(mask == is_bright, 0.75, 0.25) * 40) / 40).astype(np.float32), mask


def as_sample(noisy: np.ndarray) -> Sample:
    return {"noisy": noisy[..., None]}


def fit_once(name: str, noisy: np.ndarray, truth: np.ndarray, black_level: float = 0.0) -> FittedMethod:
    examples = Examples(as_sample(noisy), truth, LABEL_NAMES, black_level)
    return fit_baselines([name], examples)[name]


@cache
def fit(name: str, is_bright: bool = True, black_level: float = 0.0) -> FittedMethod:
    noisy, truth = draw_images(BASELINES[name].kind, 0, is_bright=is_bright)
    if BASELINES[name].kind == "intensity":
        truth = truth + np.float32(black_level)
    return fit_once(name, noisy + np.float32(black_level), truth, black_level)


@pytest.mark.parametrize("name", BASELINES)
def test_the_parameters_file_of_a_workload_of_its_kind_can_name_it_and_no_other(name: str) -> None:
    assert BASELINES[name].description.endswith(".")
    for workload in WORKLOADS.values():
        training = {"loss": workload.closed["training.loss"]}
        settings = {"workload": workload.name, "training": training, "evaluation": {"baselines": [name]}}
        if FIELDS[workload.truth].kind == BASELINES[name].kind:
            config = RunConfig.model_validate_json(json.dumps(settings))
            assert workload.choose_baselines(config) == (name,)
        else:
            with pytest.raises(ValidationError, match=f"names {name}; workload {workload.name} can use"):
                RunConfig.model_validate_json(json.dumps(settings))


@every_baseline
@pytest.mark.parametrize("shape", [(64, 64), (40, 56)])
def test_results_have_the_shape_of_the_images_and_the_type_of_a_network(name: str, shape: tuple[int, int]) -> None:
    noisy, truth = draw_images(BASELINES[name].kind, 2, shape=shape)
    result = fit(name)(as_sample(noisy))
    assert result.dtype == HEADS[BASELINES[name].kind].dtype
    assert result.shape == truth.shape
    assert np.isfinite(result).all()
    if BASELINES[name].kind == "labels":
        assert result.max() < len(LABEL_NAMES)


@every_baseline
def test_the_same_examples_give_the_same_choice_and_the_same_results(name: str) -> None:
    noisy, _ = draw_images(BASELINES[name].kind, 3)
    once, again = fit(name), fit_once(name, *draw_images(BASELINES[name].kind, 0))
    assert once.describe() == again.describe()
    results = [method(as_sample(noisy)) for method in (once, again)]
    assert results[0] == pytest.approx(results[1], rel=0, abs=ROUNDING.get(name, 0))


@every_baseline
def test_an_image_has_the_same_result_in_any_batch_and_stays_as_it_was(name: str) -> None:
    noisy, _ = draw_images(BASELINES[name].kind, 3)
    before, method = noisy.copy(), fit(name)
    whole, alone = method(as_sample(noisy)), method(as_sample(noisy[1:]))
    assert whole[1:] == pytest.approx(alone, rel=0, abs=ROUNDING.get(name, 0))
    assert np.array_equal(noisy, before)


@every_baseline
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_an_even_image_gets_an_even_result(name: str, value: float) -> None:
    even = np.full((1, 40, 40), value, np.float32)
    expected = even if BASELINES[name].kind == "intensity" else 0
    assert fit(name)(as_sample(even)) == pytest.approx(expected, abs=1e-6)


@every_baseline
def test_a_stored_black_level_does_not_matter(name: str) -> None:
    noisy, _ = draw_images(BASELINES[name].kind, 3)
    shifted = fit(name, black_level=-0.25)(as_sample(noisy - np.float32(0.25)))
    result = fit(name)(as_sample(noisy))
    if BASELINES[name].kind == "intensity":
        assert shifted + 0.25 == pytest.approx(result, abs=1e-3)
    else:
        assert np.mean(shifted != result) < 0.01


@every_baseline
def test_it_says_what_was_chosen(name: str) -> None:
    chosen = fit(name).describe()
    assert "beam " in chosen
    assert "\n" not in chosen


@every_filter
def test_it_takes_counting_noise_off_a_smooth_image(name: str) -> None:
    noisy, clean = draw_images("intensity", 1)
    denoised = fit(name)(as_sample(noisy))
    gain = psnr(denoised, clean, data_range=1) - psnr(noisy, clean, data_range=1)
    assert gain.min() > 3
    assert denoised.mean() == pytest.approx(clean.mean(), rel=0.03)


@every_filter
def test_twice_the_intensity_gives_twice_the_result(name: str) -> None:
    noisy, _ = draw_images("intensity", 1)
    method = fit(name)
    assert method(as_sample(2 * noisy)) / 2 == pytest.approx(method(as_sample(noisy)), abs=2e-4)


@every_segmentation
@pytest.mark.parametrize("is_bright", [True, False])
def test_it_finds_discs_of_either_polarity_in_counting_noise(name: str, is_bright: bool) -> None:
    noisy, mask = draw_images("labels", 1, num_images=4, is_bright=is_bright)
    scores = score_masks(fit(name, is_bright)(as_sample(noisy)), mask, LABEL_NAMES)
    assert scores["dice_disc"].min() > 0.9
    assert scores["dice_ground"].min() > 0.9


def draw_either_polarity(seed: int) -> Examples:
    """Draw images of one disc each: small or larger than half of the image, darker or brighter than the ground."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    discs = [(radius_px, is_bright) for radius_px in (9, 27) for is_bright in (False, True)]
    mask = np.stack([(rows**2 + columns**2 <= radius_px**2).astype(np.uint8) for radius_px, _ in discs])
    is_bright = np.array([bright for _, bright in discs])[:, None, None]
    noisy = make_generator(seed, "test").poisson(np.where(mask == is_bright, 90, 30)) / 120
    return Examples(as_sample(noisy.astype(np.float32)), mask, LABEL_NAMES)


@every_segmentation
def test_it_finds_discs_of_either_polarity_and_any_size_in_one_set(name: str) -> None:
    tuning, test = draw_either_polarity(0), draw_either_polarity(1)
    method = fit_baselines([name], replace(tuning, read_training=lambda: draw_either_polarity(2)))[name]
    assert score_masks(method(test.inputs), test.truth, LABEL_NAMES)["dice_disc"].min() > 0.9


@every_segmentation
def test_brightness_does_not_matter(name: str) -> None:
    noisy, _ = draw_images("labels", 3)
    assert np.mean(fit(name)(as_sample(4 * noisy)) != fit(name)(as_sample(noisy))) < 1e-3


@every_segmentation
def test_three_labels_of_one_image_are_told_apart_as_far_as_regions_reach(name: str) -> None:
    steps = np.repeat(np.arange(3, dtype=np.uint8), 16)
    mask = np.tile(steps, (1, 48, 1))
    noisy = (make_generator(0, "test").poisson((mask + 1) * 20) / 60).astype(np.float32)
    method = fit_baselines([name], Examples(as_sample(noisy), mask, list("abc")))[name]
    dice = score_masks(method(as_sample(noisy)), mask, list("abc"))["dice"][0]
    # Two regions hold at best two of three labels: (1 + 2/3 + 0) / 3.
    assert dice > (0.5 if name in ("otsu", "local_threshold") else 0.95)


@every_segmentation
def test_images_without_any_contrast_teach_nothing_but_stop_nothing(name: str) -> None:
    noisy, mask = draw_images("labels", 0)
    dead = np.zeros((1, 64, 64))
    with_dead = np.concatenate([noisy, dead.astype(np.float32)]), np.concatenate([mask, dead.astype(np.uint8)])
    results = [method(as_sample(noisy)) for method in (fit_once(name, *with_dead), fit(name))]
    assert np.array_equal(*results)


@every_baseline
def test_examples_of_different_sizes_give_the_choice_of_their_images(name: str) -> None:
    noisy, truth = draw_images(BASELINES[name].kind, 0)
    sizes = [(slice(None), slice(None)), (slice(None), slice(56))]
    images, true = ([one[size] for one, size in zip(stack, sizes, strict=True)] for stack in (noisy, truth))
    method = fit_baselines([name], Examples({"noisy": [image[..., None] for image in images]}, true, LABEL_NAMES))[name]
    for image, expected in zip(images, true, strict=True):
        result = method(as_sample(image[None]))[0]
        if BASELINES[name].kind == "labels":
            assert np.mean(result == expected) > 0.9
        else:
            assert np.abs(result - expected).mean() < np.abs(image - expected).mean()


@every_segmentation
@pytest.mark.parametrize(
    ("noisy", "mask", "message"),
    [
        (np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 9), np.uint8), "equal 2-D shapes"),
        (np.zeros((1, 8, 8), np.float32), np.full((1, 8, 8), 2, np.uint8), "mask has label 2; expected 0 to 1"),
        (np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), np.uint8), "without any contrast"),
    ],
)
def test_images_that_teach_nothing_are_refused(name: str, noisy: np.ndarray, mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_once(name, noisy, mask)


def test_every_method_is_announced_before_it_is_fitted_and_none_needs_nothing() -> None:
    noisy, mask = draw_images("labels", 0, num_images=1, shape=(32, 32))
    examples = Examples(as_sample(noisy), mask, LABEL_NAMES)
    heard: list[tuple[int, str]] = []
    fitted = fit_baselines(["multi_otsu", "otsu"], examples, on_method=lambda *step: heard.append(step))
    assert heard == [(0, "multi_otsu"), (1, "otsu")]
    assert list(fitted) == ["multi_otsu", "otsu"]
    assert fit_baselines([], examples) == {}


@pytest.mark.parametrize("names", [("median", "gaussian"), ("otsu", "multi_otsu")])
def test_the_choice_of_a_method_does_not_depend_on_the_others(names: tuple[str, ...]) -> None:
    noisy, truth = draw_images(BASELINES[names[0]].kind, 0)
    together = fit_baselines(names, Examples(as_sample(noisy), truth, LABEL_NAMES))
    for name in names:
        assert fit_once(name, noisy, truth).describe() == together[name].describe()
