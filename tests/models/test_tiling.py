"""A network as a denoiser: what comes out for an image does not depend on its neighbours."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emdenoise.arrays import FloatImage
from emdenoise.errors import ModelError
from emdenoise.models import MODELS, tiling
from emdenoise.models.checkpoints import hash_weights
from emdenoise.models.contract import Network, Ports
from emdenoise.models.heads import HEADS, Head
from emdenoise.models.tiling import TiledMethod, check_reach, predict_strips

MakeNetwork = Callable[..., Network]
Disturb = Callable[[keras.Model], keras.Model]
ScaleOutput = Callable[[keras.Model, float], None]
Images = npt.NDArray[Any]
INTENSITY, LABELS = HEADS["intensity"], HEADS["labels"]
SEGMENTING = Ports({"noisy": 1}, 3, LABELS)


def apply(network: Network, noisy: FloatImage, head: Head = INTENSITY) -> Images:
    return TiledMethod(network, head)({"noisy": noisy[..., None]})


@pytest.fixture
def make_disturbed(make_network: MakeNetwork, disturb: Disturb) -> MakeNetwork:
    """Give a function that makes a small network whose running means, gains and offsets are not 0 and 1."""

    def make(name: str, **changes: Any) -> Network:
        network = make_network(name, **changes)
        disturb(network.model)
        return network

    return make


@pytest.mark.parametrize("name", MODELS)
def test_an_image_alone_and_in_a_batch_is_denoised_alike(
    name: str, make_disturbed: MakeNetwork, noisy: FloatImage
) -> None:
    network = make_disturbed(name)
    together = apply(network, noisy)
    assert together.shape == noisy.shape
    assert together.dtype == np.float32
    for index in range(len(noisy)):
        alone = apply(network, noisy[index : index + 1])[0]
        assert together[index] == pytest.approx(alone, rel=1e-6, abs=1e-6 * float(np.abs(alone).max()))


def test_the_order_of_the_images_is_kept(make_network: MakeNetwork, noisy: FloatImage) -> None:
    network = make_network("dncnn")
    assert apply(network, noisy[::-1])[::-1] == pytest.approx(apply(network, noisy), abs=1e-6)


def test_denoising_changes_neither_the_weights_nor_the_images(make_network: MakeNetwork, noisy: FloatImage) -> None:
    network = make_network("unet")
    before, images = hash_weights(network.model), noisy.copy()
    assert np.array_equal(apply(network, noisy), apply(network, noisy))
    assert hash_weights(network.model) == before
    assert np.array_equal(noisy, images)


def test_a_network_that_returns_the_image_denoises_nothing(noisy: FloatImage) -> None:
    images = keras.Input((None, None, 1), name="noisy")
    convolution = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros")
    model = keras.Model(images, convolution(images))
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = 1
    convolution.set_weights([kernel, np.zeros(1, np.float32)])
    assert np.array_equal(apply(Network(model, ("noisy",), step_px=1, reach_px=1), noisy), noisy)


@pytest.mark.parametrize("name", MODELS)
def test_a_segmenter_names_the_largest_output_of_each_pixel(
    name: str, make_disturbed: MakeNetwork, noisy: FloatImage
) -> None:
    network = make_disturbed(name, ports=SEGMENTING)
    outputs = np.asarray(network.model(noisy[..., None]))
    mask = apply(network, noisy, LABELS)
    assert mask.dtype == np.uint8
    assert mask.shape == noisy.shape
    assert np.array_equal(mask, outputs.argmax(axis=-1))


def test_the_head_says_what_the_outputs_are_and_not_their_number(make_network: MakeNetwork, noisy: FloatImage) -> None:
    network = make_network("unet", ports=Ports({"noisy": 1}, 2, LABELS))
    outputs = np.asarray(network.model(noisy[..., None]))
    wave = apply(network, noisy, HEADS["complex"])
    assert wave.dtype == np.complex64
    assert wave == pytest.approx(outputs[..., 0] + 1j * outputs[..., 1], rel=1e-6)
    assert np.array_equal(apply(network, noisy, LABELS), outputs[..., 1] > outputs[..., 0])


@pytest.mark.parametrize("name", MODELS)
def test_no_pixel_beyond_the_reach_changes_a_result(name: str, make_disturbed: MakeNetwork) -> None:
    network = make_disturbed(name)
    assert network.reach_px is not None
    size = network.step_px * (4 * network.reach_px // network.step_px)
    image = np.random.default_rng(0).random((1, size, size, 1), dtype=np.float32)
    plain = np.asarray(network.model(image))
    place = size // 2 + network.step_px // 2
    changed = image.copy()
    changed[:, place, place] += 100
    rows, columns = np.nonzero(np.asarray(network.model(changed))[0, ..., 0] != plain[0, ..., 0])
    distance = max(np.abs(rows - place).max(), np.abs(columns - place).max())
    assert 0 < distance <= network.reach_px


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 150), st.integers(1, 150), st.integers(32, 64), st.integers(0, 2**31))
def test_strips_of_an_image_of_any_size_are_the_image_predicted_at_once(
    name: str,
    make_network: MakeNetwork,
    disturb: Disturb,
    scale_output: ScaleOutput,
    height: int,
    width: int,
    inner_px: int,
    seed: int,
) -> None:
    network = normalised(make_network, disturb, scale_output, name)
    step_px = network.step_px
    reach_px = -(-(network.reach_px or 0) // step_px) * step_px
    noisy = np.random.default_rng(seed).random((2, height, width), dtype=np.float32)
    padded = np.pad(noisy, [(0, 0), (0, -height % step_px), (0, -width % step_px)], mode="symmetric")
    at_once = np.asarray(network.model(padded[..., None]))[:, :height, :width, 0]
    read = WatchedImage(noisy[..., None])
    tile_size_px = 2 * reach_px + inner_px // step_px * step_px
    strips = list(
        predict_strips(
            lambda inputs: np.asarray(network.model(inputs[0]))[..., 0],
            [read],
            step_px=step_px,
            reach_px=reach_px,
            tile_size_px=tile_size_px,
        )
    )
    assert np.abs(np.concatenate(strips, axis=1) - at_once).max() <= 1e-5
    assert max(*(strip.shape[1] for strip in strips), *read.sides) <= tile_size_px


@cache
def normalised(make_network: MakeNetwork, disturb: Disturb, scale_output: ScaleOutput, name: str) -> Network:
    """Make a network whose output for noise in [0, 1] is about 1, as that of a trained one is."""
    network = make_network(name, predict_residual=False)
    model = disturb(network.model)
    noisy = np.random.default_rng(0).random((1, 64, 64, 1), dtype=np.float32)
    largest = float(np.abs(np.asarray(model(noisy))).max())
    scale_output(model, 1 / largest)
    return network


class WatchedImage:
    """An image that can only be read in pieces, and remembers how large they were."""

    def __init__(self, image: FloatImage) -> None:
        self._image, self.shape, self.sides = image, image.shape, [0]

    def __getitem__(self, place: tuple[slice, slice, slice]) -> FloatImage:
        piece = self._image[place]
        self.sides += piece.shape[1:3]
        return piece


def test_tiles_that_are_smaller_than_the_reach_are_refused() -> None:
    large = np.zeros((1, 128, 128, 1), np.float32)
    with pytest.raises(ValueError, match="tiles are 64 px; expected a multiple of 8 above 112"):
        list(predict_strips(lambda inputs: inputs[0][..., 0], [large], step_px=8, reach_px=56, tile_size_px=64))


def test_an_image_whose_sides_do_not_fit_the_network_is_predicted_whole(make_network: MakeNetwork) -> None:
    noisy = np.random.default_rng(2).random((1, 37, 41), dtype=np.float32)
    assert apply(make_network("unet"), noisy).shape == noisy.shape
    assert apply(make_network("unet", ports=SEGMENTING), noisy, LABELS).shape == noisy.shape


def test_a_network_of_many_levels_is_tested_on_small_images_and_in_larger_tiles(make_network: MakeNetwork) -> None:
    network = make_network("unet", filters=(2, 2, 2, 2, 2))
    for size in (64, 600):
        noisy = np.random.default_rng(3).random((1, size, size), dtype=np.float32)
        assert apply(network, noisy).shape == noisy.shape


def dilate(images: Any) -> Any:
    """See 20 px by a dilated convolution and one more by the last one."""
    return keras.layers.Conv2D(4, 3, padding="same", dilation_rate=20, activation="relu")(images)


def stride(images: Any) -> Any:
    """Halve the image and double it again.

    Pixel p gets coarse pixels from (p − 2) / 2 to (p + 1) / 2, and coarse pixel c gets pixels 2 c to 2 c + 2: 3 px.
    """
    coarse = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(images)
    return keras.layers.Conv2DTranspose(4, 4, strides=2, padding="same", activation="relu")(coarse)


def separate(images: Any) -> Any:
    """See 3 px by a depthwise convolution and 2 px by a separable one."""
    images = keras.layers.DepthwiseConv2D(7, padding="same", depth_multiplier=4)(images)
    return keras.layers.SeparableConv2D(4, 5, padding="same", activation="relu")(images)


def pool_all(images: Any) -> Any:
    """Weigh feature maps by their mean over the image, as squeeze-and-excitation does."""
    images = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(images)
    weights = keras.layers.GlobalAveragePooling2D(keepdims=True)(images)
    return keras.layers.Multiply()([images, keras.layers.Conv2D(4, 1, activation="sigmoid")(weights)])


def build(body: Callable[[Any], Any], step_px: int, reach_px: int | None) -> Network:
    keras.utils.set_random_seed(5)
    noisy = keras.Input((None, None, 1), name="noisy")
    model = keras.Model(noisy, keras.layers.Conv2D(1, 3, padding="same")(body(noisy)), name=body.__name__)
    return Network(model, ("noisy",), step_px, reach_px)


RIGHT = [(dilate, 1, 21), (stride, 2, 4), (separate, 1, 6), (pool_all, 1, None)]
WRONG = [(dilate, 1, 20), (dilate, 1, 1), (stride, 2, 3), (stride, 1, 4), (separate, 1, 5), (pool_all, 1, 16)]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> FloatImage:
    """Let tiles be small, and give an image of several of them."""
    monkeypatch.setattr(tiling, "TILE_SIZE_PX", 64)
    return np.random.default_rng(4).random((1, 170, 150), dtype=np.float32)


@pytest.mark.parametrize(("body", "step_px", "reach_px"), RIGHT)
def test_a_network_that_declares_its_reach_right_has_no_seams(
    body: Callable[[Any], Any], step_px: int, reach_px: int | None, small_tiles: FloatImage
) -> None:
    network = build(body, step_px, reach_px)
    sizes: list[tuple[int, ...]] = []

    def run(images: Images) -> Images:
        sizes.append(images.shape[1:3])
        return np.asarray(network.model(images))

    found = TiledMethod(network, INTENSITY, run)({"noisy": small_tiles[..., None]})
    expected = np.asarray(network.model(small_tiles[..., None]))[..., 0]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    if reach_px is None:  # every pixel sees every other one
        assert sizes == [small_tiles.shape[1:]]
    else:
        assert len(sizes) > 4
        with pytest.raises(ModelError, match="but pixels farther away change its result"):
            check_reach(replace(network, reach_px=reach_px - 1))


@pytest.mark.parametrize(("body", "step_px", "reach_px"), WRONG)
def test_a_network_that_declares_its_reach_wrong_is_refused_before_tiles_show_seams(
    body: Callable[[Any], Any], step_px: int, reach_px: int, small_tiles: FloatImage
) -> None:
    network = build(body, step_px, reach_px)

    def run(images: Images) -> Images:
        raise AssertionError("a tile was predicted")

    message = rf"^network {body.__name__} declares a (reach|step) of .*; tiles would show seams\. Correct"
    with pytest.raises(ModelError, match=message) as caught:
        TiledMethod(network, INTENSITY, run)({"noisy": small_tiles[..., None]})
    assert "\n" not in str(caught.value)


def test_an_image_of_one_tile_needs_no_check(make_network: MakeNetwork, noisy: FloatImage) -> None:
    network = replace(make_network("unet"), reach_px=0)
    assert np.array_equal(apply(network, noisy), np.asarray(network.model(noisy[..., None]))[..., 0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("head", [INTENSITY, LABELS], ids=["intensity", "labels"])
def test_a_network_that_gives_nan_is_refused_also_where_labels_would_not_tell(
    value: float, head: Head, make_network: MakeNetwork, noisy: FloatImage
) -> None:
    network = make_network("unet", ports=Ports({"noisy": 1}, 1 if head is INTENSITY else 3, head))
    weights = network.model.get_weights()
    network.model.set_weights([*weights[:-1], np.full_like(weights[-1], value)])
    with pytest.raises(ModelError, match=r"^network \w+ gives \d+ of \d+ values that are NaN or infinite; expected"):
        apply(network, noisy, head)
