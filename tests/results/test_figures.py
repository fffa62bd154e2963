"""Figures are PNG images that show what they are given."""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from emdenoise.results import figures
from emdenoise.results.figures import (
    Panel,
    Point,
    choose_colours,
    draw_comparison,
    draw_dose_curves,
    draw_learning_curve,
    draw_matrices,
    draw_panels,
    draw_pictures,
    draw_sizes,
)
from emdenoise.seeding import make_generator


def read_png(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def make_history(num_epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "loss": 0.1 / epoch, "validation_loss": 0.2 / epoch, "learning_rate": 0.01}
        for epoch in range(1, num_epochs + 1)
    ]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keep the figures that are drawn."""
    kept: list[Figure] = []
    draw = figures._to_png

    def keep(figure: Figure) -> bytes:
        kept.append(figure)
        return draw(figure)

    monkeypatch.setattr(figures, "_to_png", keep)
    return kept


@pytest.mark.parametrize("num_epochs", [1, 2, 30])
def test_the_learning_curve_shows_every_epoch(num_epochs: int, drawn: list[Figure]) -> None:
    assert read_png(draw_learning_curve(make_history(num_epochs))).ndim == 3
    losses, rates = drawn[0].axes
    curves = {str(line.get_label()): np.asarray(line.get_ydata()) for line in losses.get_lines()}
    epochs = np.arange(1, num_epochs + 1)
    assert curves["training"] == pytest.approx(0.1 / epochs)
    assert curves["validation"] == pytest.approx(0.2 / epochs)
    assert np.asarray(rates.get_lines()[0].get_ydata()).tolist() == [0.01] * num_epochs
    assert rates.get_ylim()[0] == 0


def test_a_schedule_that_ends_at_zero_is_drawn() -> None:
    assert draw_learning_curve([figures | {"learning_rate": 0.0} for figures in make_history(2)])


PICTURES = {
    name: make_generator(index, "test").random((3, 16, 20), np.float32)
    for index, name in enumerate(("noisy", "network", "clean"))
}
CAPTIONS: Mapping[str, Sequence[str]] = {
    "noisy": ["noisy  10.0 dB", "noisy  11.0 dB", "noisy  12.0 dB"],
    "network": ["network  20.0 dB", "network  21.1 dB", "network  inf dB"],
}
GRAY = dict.fromkeys(PICTURES, "gray")


def test_each_image_is_a_row_and_each_method_a_column_with_its_score(drawn: list[Figure]) -> None:
    draw_pictures(PICTURES, CAPTIONS, GRAY)
    assert [axis.get_title() for axis in drawn[0].axes] == [
        *("noisy  10.0 dB", "network  20.0 dB", "clean"),
        *("noisy  11.0 dB", "network  21.1 dB", "clean"),
        *("noisy  12.0 dB", "network  inf dB", "clean"),
    ]
    for number, axis in enumerate(drawn[0].axes):
        shown = np.asarray(axis.get_images()[0].get_array())
        assert np.array_equal(shown, PICTURES[list(PICTURES)[number % 3]][number // 3])


def test_all_methods_of_a_row_have_the_grey_scale_of_the_truth(drawn: list[Figure]) -> None:
    draw_pictures(PICTURES, CAPTIONS, GRAY)
    for number, axis in enumerate(drawn[0].axes):
        truth = PICTURES["clean"][number // 3]
        assert axis.get_images()[0].get_clim() == pytest.approx(tuple(np.percentile(truth, [0.1, 99.9])))


@pytest.mark.parametrize("num_images", [1, 2])
def test_images_of_two_sizes_and_numbers_are_drawn(num_images: int) -> None:
    heights = [
        len(read_png(draw_pictures({name: images[:num_images] for name, images in PICTURES.items()}, CAPTIONS, GRAY)))
        for _ in range(2)
    ]
    assert heights[0] == heights[1] == 255 * num_images


def test_an_even_truth_is_drawn() -> None:
    pictures = {"noisy": PICTURES["noisy"], "clean": np.zeros((3, 16, 20), np.float32)}
    assert draw_pictures(pictures, {"noisy": ["a", "b", "c"]}, GRAY)


def test_the_same_figure_is_the_same_bytes_and_no_style_is_left_behind() -> None:
    before = dict(matplotlib.rcParams)
    assert draw_pictures(PICTURES, CAPTIONS, GRAY) == draw_pictures(PICTURES, CAPTIONS, GRAY)
    assert draw_learning_curve(make_history(3)) == draw_learning_curve(make_history(3))
    assert dict(matplotlib.rcParams) == before


def test_masks_have_one_colour_a_label_beside_grey_images(drawn: list[Figure]) -> None:
    mask = np.array([[[0, 1], [2, 2]]], np.uint8)
    pictures = {"noisy": PICTURES["noisy"][:1], "network": mask // 2, "mask": mask}
    draw_pictures(pictures, {}, {"noisy": "gray", "network": "labels", "mask": "labels"})
    noisy, *masks = (axis.get_images()[0] for axis in drawn[0].axes)
    assert noisy.get_cmap().name == "gray"
    assert {image.get_clim() for image in masks} == {(0, 2)}
    assert {image.get_cmap().name for image in masks} == {"viridis"}


def test_a_comparison_has_a_curve_for_each_variant_over_the_numbers_of_images(drawn: list[Figure]) -> None:
    curves: dict[str, list[Point]] = {
        "scratch": [(4, 0.5, 0.4, 0.6), (None, 0.9, 0.85, 0.95)],
        "denoise": [(4, 0.7, 0.6, 0.8)],
    }
    difference = Panel("Less scratch", "difference of Dice", {"denoise": [(4, 0.2, 0.1, float("nan"))]}, True)
    draw_comparison([Panel("Test images", "Dice", curves), difference], "Dice by images", "Means over 3 seeds.")
    axis, differences = drawn[0].axes
    assert differences.get_ylabel() == "difference of Dice"
    assert differences.get_title(loc="left") == "Less scratch"
    assert len(differences.containers) == 1
    assert [label.get_text() for label in axis.get_xticklabels()] == ["4", "all"]
    assert axis.get_ylabel() == "Dice"
    assert axis.get_xlabel() == "number of training images"
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["scratch", "denoise"]
    assert (drawn[0].get_suptitle(), drawn[0].get_supxlabel()) == ("Dice by images", "Means over 3 seeds.")


def test_a_matrix_shows_each_score_where_it_was_trained_and_tested(drawn: list[Figure]) -> None:
    matrices = {"scratch": np.array([[0.8, 0.3], [np.nan, 0.7]]), "denoise": np.array([[0.9, 0.6], [0.5, 0.8]])}
    assert read_png(draw_matrices(matrices, ["fine", "coarse"], "Dice", "Dice by images", "Means.")).ndim == 3
    first, second, scale = drawn[0].axes
    assert [label.get_text() for label in first.get_xticklabels()] == ["fine", "coarse"]
    assert [text.get_text() for text in second.texts] == ["0.90", "0.60", "0.50", "0.80"]
    assert "nan" not in [text.get_text() for text in first.texts]
    assert scale.get_ylabel() == "Dice"


def test_the_histograms_of_two_lists_of_sizes_share_their_bins_and_count_everything(drawn: list[Figure]) -> None:
    # Eight of each: 2 ∛8 = 4 bins, from 1 to 9 px; the last bin holds its upper end.
    true = np.array([1.0, 1.5, 2.9, 3.0, 4.0, 5.0, 6.9, 9.0])
    predicted = np.array([1.0, 1.0, 1.0, 1.0, 2.0, 8.0, 8.0, 8.0])
    draw_sizes({"true": true, "predicted": predicted}, "px", "sizes")
    axis = drawn[0].axes[0]
    assert [bar.get_height() for bar in axis.containers[0]] == [3, 2, 2, 1]
    outline = axis.patches[-1].get_path().vertices
    assert outline[:, 1].tolist() == [0, 5, 5, 0, 0, 0, 0, 3, 3, 0]
    assert outline[:, 0].tolist() == [1, 1, 3, 3, 5, 5, 7, 7, 9, 9]
    medians = {str(line.get_label()): np.asarray(line.get_xdata())[0] for line in axis.get_lines()}
    assert medians == {"median true": 3.5, "median predicted": 1.5}
    assert axis.get_xlabel() == "equivalent diameter [px]"


def test_sizes_of_no_particle_are_an_empty_figure(drawn: list[Figure]) -> None:
    assert read_png(draw_sizes({"true": np.empty(0), "predicted": np.empty(0)}, "nm", "sizes")).ndim == 3
    assert drawn[0].axes[0].get_legend() is None


def test_panels_keep_every_pixel_of_their_pictures() -> None:
    pictures = make_generator(0, "test").integers(0, 256, (2, 40, 400, 3)).astype(np.uint8)
    pictures[0, 0, 0] = (1, 2, 3)
    png = draw_panels([[("left", pictures[0]), ("right", pictures[1])]], {"true": (255, 0, 0)})
    assert png == draw_panels([[("left", pictures[0]), ("right", pictures[1])]], {"true": (255, 0, 0)})
    shown = read_png(png)
    row = int(np.flatnonzero((shown[:, 0] == (1, 2, 3)).all(axis=-1))[0])
    for picture, left in zip(pictures, (0, 414), strict=True):
        assert np.array_equal(shown[row : row + 40, left : left + 400], picture)


@pytest.mark.parametrize("number", [1, 5, 40])
def test_each_label_has_a_colour_of_its_own(number: int) -> None:
    assert len(set(choose_colours(number))) == number


@pytest.mark.parametrize("num_panels", [1, 2, 5])
def test_each_score_is_a_panel_over_the_logarithm_of_the_dose(num_panels: int, drawn: list[Figure]) -> None:
    doses, nan = [500.0, 2000.0, 8000.0], float("nan")
    curves = {"tv": [(1.0, 0.9, 1.1), (nan, nan, nan), (3.0, 2.9, 3.1)], "network": 3 * [(2.0, 1.5, 2.5)]}
    png = draw_dose_curves(doses, {f"score {number}": curves for number in range(num_panels)})
    assert read_png(png).ndim == 3
    shown = [axis for axis in drawn[0].axes if axis.axison]
    assert [axis.get_ylabel() for axis in shown] == [f"score {number}" for number in range(num_panels)]
    for axis in shown:
        assert axis.get_xscale() == "log"
        lines = {str(line.get_label()): line for line in axis.get_lines()}
        assert set(lines) == {"tv", "network"}
        assert lines["network"].get_linewidth() > lines["tv"].get_linewidth()
        assert np.asarray(lines["tv"].get_xdata()).tolist() == doses
        assert np.asarray(lines["tv"].get_ydata()) == pytest.approx([1, nan, 3], nan_ok=True)
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["tv", "network"]
