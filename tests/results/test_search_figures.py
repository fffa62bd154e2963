"""The figures of a search place every value where it belongs, with what is not set below the axis."""

import math

import pytest

from emdenoise.results.search_figures import NOT_SET, Axis, _place, draw_parallel_coordinates, draw_shares


def test_the_middle_of_a_logarithmic_axis_is_the_geometric_mean() -> None:
    places, labels = _place(Axis("rate", [0.001, 0.01, 0.1], is_log=True))
    assert places == pytest.approx([0, 0.5, 1])
    assert labels[0.0] == "0.001"
    assert labels[1.0] == "0.1"
    assert _place(Axis("rate", [1, 2, 5]))[0] == pytest.approx([0, 0.25, 1])


def test_what_a_trial_does_not_have_is_below_the_axis() -> None:
    places, labels = _place(Axis("loss", ["a", None, "b"]))
    assert places == [0, NOT_SET, 1]
    assert labels == {NOT_SET: "not set", 0: "a", 1: "b"}
    assert _place(Axis("score", [None, 3.0, 3.0]))[0] == [NOT_SET, 0, 0]


@pytest.mark.parametrize("is_larger_better", [True, False])
def test_trials_with_and_without_a_score_are_drawn(is_larger_better: bool) -> None:
    axes = [Axis("rate", [0.1, 0.2, 0.3], is_log=True), Axis("loss", ["a", "b", None]), Axis("dB", [30.0, None, 31.0])]
    assert draw_parallel_coordinates(axes, [True, False, True], is_larger_better).startswith(b"\x89PNG")
    alone = [Axis("rate", [0.1]), Axis("dB", [math.pi])]
    assert draw_parallel_coordinates(alone, [True], is_larger_better).startswith(b"\x89PNG")


def test_shares_are_drawn_for_each_value() -> None:
    shares = {"rate": 0.75, "loss": 0.25}
    assert draw_shares({"PSNR": shares, "speed": shares}).startswith(b"\x89PNG")
