"""PatchGAN sees patches of the size that its authors name, of both images of the pair."""

from typing import Any

import keras
import numpy as np
import pytest

from emdenoise.models.checkpoints import hash_weights
from emdenoise.models.patchgan import build_patchgan


def list_convolutions(patchgan: keras.Model) -> list[Any]:
    return [layer for layer in patchgan.layers if isinstance(layer, keras.layers.Conv2D)]


# Isola et al. 2017, appendix 6.1.2: the discriminators C64-C128, C64-C128-C256-C512 and the one of six layers.
@pytest.mark.parametrize(
    ("filters", "patch_px"), [((1, 1), 16), ((1, 1, 1, 1), 70), ((1, 1, 1, 1, 1, 1), 286)], ids=str
)
def test_the_receptive_field_is_that_of_the_paper(filters: tuple[int, ...], patch_px: int) -> None:
    size = 1
    for layer in reversed(list_convolutions(build_patchgan(filters))):
        size = (size - 1) * layer.strides[0] + layer.kernel_size[0]
    assert size == patch_px


def test_the_default_has_the_layers_of_the_70_px_discriminator() -> None:
    layers = list_convolutions(build_patchgan())
    assert [layer.filters for layer in layers] == [64, 128, 256, 512, 1]
    assert [layer.strides[0] for layer in layers] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize("part", [0, 1], ids=["noisy", "image"])
@pytest.mark.parametrize("axis", [1, 2], ids=["rows", "columns"])
def test_a_logit_changes_with_the_pixels_of_its_patch_and_no_others(part: int, axis: int) -> None:
    patchgan, size = build_patchgan((1, 1, 1, 1)), 96
    for layer in list_convolutions(patchgan):
        layer.kernel.assign(np.full(layer.kernel.shape, 0.1))  # positive everywhere, so that nothing cancels
    pair = [np.zeros((size, size, size, 1), np.float32) for _ in range(2)]
    line = pair[part][:, :, size // 2] if axis == 1 else pair[part][:, size // 2]
    line[np.arange(size), np.arange(size)] = 1  # image i has its only bright pixel at place i of the middle line
    logits = np.asarray(keras.ops.convert_to_numpy(patchgan(pair)))
    seen = np.flatnonzero(logits[:, 6, 6, 0])
    assert len(seen) == 70
    assert seen[-1] - seen[0] == 69


def test_the_number_of_parameters_is_that_of_the_original() -> None:
    # junyanz/pytorch-CycleGAN-and-pix2pix prints 2.769 M for its default on two images of three channels (2,768,705);
    # here the first layer sees one channel of each, 4 channels less of 16 values for each of 64 maps.
    patchgan = build_patchgan()
    num_trainable = sum(int(np.prod(weight.shape)) for weight in patchgan.trainable_variables)
    assert num_trainable == 2_768_705 - 4 * 16 * 64


@pytest.mark.parametrize("filters", [(3,), (2, 5), (4, 3, 2)], ids=str)
def test_the_number_of_parameters_follows_from_the_filters(filters: tuple[int, ...]) -> None:
    channels = (2, *filters)
    kernels = sum(16 * channels[index] * channels[index + 1] for index in range(len(filters))) + 16 * filters[-1]
    assert build_patchgan(filters).count_params() == kernels + filters[0] + 4 * sum(filters[1:]) + 1


@pytest.mark.parametrize("shape", [(3, 16, 24), (1, 256, 256), (2, 17, 9), (1, 8, 8)], ids=str)
def test_there_is_one_logit_for_each_eighth_of_a_side(shape: tuple[int, int, int]) -> None:
    pair = [np.zeros((*shape, 1), np.float32)] * 2
    logits = build_patchgan((2, 2, 2, 2))(pair)
    assert tuple(logits.shape) == (shape[0], -(-shape[1] // 8), -(-shape[2] // 8), 1)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_kernels_are_drawn_from_a_narrow_normal_distribution() -> None:
    keras.utils.set_random_seed(3)
    for layer in list_convolutions(build_patchgan()):
        values = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float64)
        error = 0.02 / np.sqrt(values.size)
        assert abs(values.mean()) < 5 * error
        assert values.std() == pytest.approx(0.02, abs=5 * error)
        assert (values**4).mean() / values.var() ** 2 == pytest.approx(3, abs=25 / np.sqrt(values.size))


def test_all_layers_but_the_first_and_the_output_are_normalised_by_the_batch() -> None:
    patchgan = build_patchgan((8, 8, 8))
    pair = [np.random.default_rng(part).random((4, 32, 32, 1), np.float32) for part in range(2)]
    before = keras.ops.convert_to_numpy(patchgan(pair, training=True))
    first, *normalised, output = list_convolutions(patchgan)
    for layer in (first, *normalised):  # ReLU keeps a factor, and the next normalisation takes it out
        layer.kernel.assign(10 * layer.kernel)
    after = keras.ops.convert_to_numpy(patchgan(pair, training=True))
    # Within what the floor under the variance leaves of it.
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.95
    assert after.std() == pytest.approx(before.std(), rel=0.5)
    output.kernel.assign(10 * output.kernel)
    assert keras.ops.convert_to_numpy(patchgan(pair, training=True)) == pytest.approx(10 * after, rel=1e-4, abs=1e-5)


def test_the_same_seed_gives_the_same_weights() -> None:
    hashes = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        hashes.append(hash_weights(build_patchgan((4, 8))))
    assert hashes[0] == hashes[1] != hashes[2]


def test_no_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="filters is empty; a PatchGAN has at least one layer"):
        build_patchgan(())
