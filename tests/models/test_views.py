"""The mean over several views: at several sizes, turned and mirrored; each is brought back to where it came from."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from emdenoise.arrays import FloatImage
from emdenoise.errors import ModelError
from emdenoise.models.contract import Network, Views
from emdenoise.models.heads import HEADS, Head
from emdenoise.models.tiling import TiledMethod

MakeNetwork = Callable[..., Network]
Disturb = Callable[[keras.Model], keras.Model]
Images = npt.NDArray[Any]
INTENSITY, LABELS = HEADS["intensity"], HEADS["labels"]
SIZES_AND_TURNS = [Views((32, 64), True), Views((64,)), Views((), True), Views((48, 80, 96))]


def build(kernel: list[list[float]]) -> Network:
    """Build a network of one convolution."""
    images = keras.Input((None, None, 1), name="noisy")
    convolution = keras.layers.Conv2D(1, len(kernel), padding="same", use_bias=False)
    model = keras.Model(images, convolution(images))
    convolution.set_weights([np.array(kernel, np.float32)[..., None, None]])
    return Network(model, ("noisy",), step_px=1, reach_px=1)


IDENTITY = [[1.0]]
FROM_THE_LEFT = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def apply(network: Network, images: FloatImage, views: Views, head: Head = INTENSITY, run: Any = None) -> Images:
    def run_eagerly(given: Images) -> Images:
        return np.asarray(network.model(given))  # nothing is compiled for each of the many sizes

    return TiledMethod(replace(network, views=views), head, run or run_eagerly)({"noisy": images[..., None]})


def draw(*shape: int) -> FloatImage:
    return np.random.default_rng(6).random(shape, dtype=np.float32)


@pytest.mark.parametrize("views", SIZES_AND_TURNS, ids=str)
@pytest.mark.parametrize("shape", [(40, 59), (64, 64), (71, 33)])
def test_a_network_that_returns_the_image_gives_a_smooth_image_back(shape: tuple[int, int], views: Views) -> None:
    """A wave of wavelength w loses at most (2π / w)² / 12 for each triangle of 2 px that it is seen through."""
    rows, columns = ((np.arange(length) + 0.5) / length for length in shape)
    image = (0.5 + 0.4 * np.outer(np.cos(np.pi * rows), np.cos(np.pi * columns))).astype(np.float32)
    found = apply(build(IDENTITY), image[None], views)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(image, abs=0.01)


@pytest.mark.parametrize("views", SIZES_AND_TURNS, ids=str)
def test_a_constant_image_stays(views: Views) -> None:
    image = np.full((2, 37, 50), 0.7, np.float32)
    assert apply(build(IDENTITY), image, views) == pytest.approx(image, abs=1e-6)


def test_what_comes_from_one_side_comes_from_all_four_under_the_symmetries() -> None:
    image = draw(2, 9, 14)
    padded = np.pad(image, [(0, 0), (1, 1), (1, 1)])
    sides = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:], padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    network = build(FROM_THE_LEFT)
    assert apply(network, image, Views()) == pytest.approx(sides[0], abs=1e-6)
    assert apply(network, image, Views(symmetries=True)) == pytest.approx(np.mean(sides, axis=0), abs=1e-6)


@pytest.mark.parametrize("long_sides_px", [(), (32, 48)], ids=str)
def test_a_turned_or_mirrored_image_gives_the_turned_or_mirrored_answer_under_the_symmetries(
    long_sides_px: tuple[int, ...], make_network: MakeNetwork, disturb: Disturb
) -> None:
    """A quarter turn and a reflection make all eight."""
    network = make_network("unet")
    disturb(network.model)
    image = draw(1, 21, 38)  # no multiple of the step

    def measure_change(change: Callable[[Images], Images], symmetries: bool) -> float:
        views = Views(long_sides_px, symmetries)
        plain = apply(network, image, views)
        return float(np.abs(apply(network, change(image), views) - change(plain)).max() / np.abs(plain).max())

    for change in (lambda images: np.rot90(images, axes=(1, 2)), lambda images: images[:, ::-1]):
        assert measure_change(change, symmetries=True) < 1e-5
        assert measure_change(change, symmetries=False) > 1e-3


def test_the_answer_to_two_sizes_is_the_mean_of_the_answers_to_each(
    make_network: MakeNetwork, disturb: Disturb
) -> None:
    network = make_network("unet")
    disturb(network.model)
    images = draw(2, 30, 45)
    one, other, both = (apply(network, images, Views(sides, True)) for sides in ((32,), (64,), (32, 64)))
    scale = float(np.abs(both).max())
    assert both == pytest.approx((one + other) / 2, abs=1e-5 * scale)
    assert np.abs(one - other).max() > 1e-3 * scale


def test_a_network_without_views_answers_to_the_bit_as_it_did(make_network: MakeNetwork) -> None:
    network = make_network("unet")
    images = draw(2, 32, 48)
    assert network.views == Views()
    found = TiledMethod(network, INTENSITY)({"noisy": images[..., None]})
    assert np.array_equal(found, network.model.predict_on_batch(images[..., None])[..., 0])


def test_the_settings_of_a_network_are_its_views(make_network: MakeNetwork) -> None:
    network = make_network("dncnn", long_sides_px=[48, 64], symmetries=True)
    assert network.views == Views((48, 64), symmetries=True)


def test_probabilities_are_averaged_and_not_logits() -> None:
    """By arithmetic mean label 0 has 0.45 and label 1 0.275; by geometric mean, that of logits, 0.03 and 0.16."""
    probabilities = {32: [0.9, 0.05, 0.05], 64: [0.001, 0.5, 0.499]}

    def run(images: Images) -> Images:
        logits = np.log(np.array(probabilities[images.shape[1]], np.float32)) + 3
        return np.broadcast_to(logits, (*images.shape[:3], 3))

    images = draw(2, 20, 27)
    answers = {
        sides: np.unique(apply(build(IDENTITY), images, Views(sides), LABELS, run)).tolist()
        for sides in ((32,), (64,), (32, 64))
    }
    assert answers == {(32,): [0], (64,): [1], (32, 64): [0]}


def test_labels_come_back_at_the_size_and_place_of_the_image() -> None:
    def run(images: Images) -> Images:
        return np.concatenate([0.5 - images, images - 0.5], axis=-1)

    truth = np.zeros((1, 53, 87), np.uint8)
    truth[:, 10:, :40] = 1
    found = apply(build(IDENTITY), truth.astype(np.float32), Views((48, 176), True), LABELS, run)
    assert found.dtype == np.uint8
    assert found.shape == truth.shape
    rows, columns = np.nonzero(found[0] != truth[0])
    is_border = (np.abs(rows - 9.5) < 2) | (np.abs(columns - 39.5) < 2)
    assert is_border.all()


def test_another_engine_is_shown_the_same_views() -> None:
    seen: list[tuple[int, ...]] = []

    def run(images: Images) -> Images:
        seen.append(images.shape)
        assert images.flags.c_contiguous
        return images

    images = draw(2, 20, 31)
    assert apply(build(IDENTITY), images, Views((), True), run=run) == pytest.approx(images, abs=1e-6)
    assert seen == 2 * [(2, 20, 31, 1), (2, 31, 20, 1), (2, 20, 31, 1), (2, 31, 20, 1)]
    seen.clear()
    apply(build(IDENTITY), images, Views((32, 64), True), run=run)
    assert seen == [*8 * [(2, 32, 32, 1)], *8 * [(2, 64, 64, 1)]]


def test_all_inputs_of_a_network_are_shown_in_the_same_view() -> None:
    seen: list[dict[str, Images]] = []

    def run(images: dict[str, Images]) -> Images:
        seen.append(images)
        return images["noisy"]

    network = replace(build(IDENTITY), inputs=("noisy", "other"), views=Views((32,), True))
    noisy = draw(1, 20, 31, 1)
    TiledMethod(network, INTENSITY, run)({"noisy": noisy, "other": np.concatenate([noisy, 1 - noisy], axis=-1)})
    assert len(seen) == 8
    for images in seen:
        assert np.array_equal(images["other"][..., :1], images["noisy"])
        assert images["other"].sum(axis=-1) == pytest.approx(np.ones((1, 32, 32)), abs=1e-6)


def test_an_answer_that_is_not_finite_is_refused_before_it_is_averaged() -> None:
    with pytest.raises(ModelError, match="values that are NaN or infinite"):
        apply(build([[np.inf]]), draw(1, 20, 31), Views((32,), True), LABELS)
