"""What attention_views promises."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from minilib.attention_views import Cost, draw_cost
from minilib.views import figure

LENGTHS = (128, 512, 2048)


def power(a, b):
    return Cost(LENGTHS, [0.3 * n**a for n in LENGTHS], [0.01 * n**b for n in LENGTHS])


GIVEN = {"draw_cost": {"costs": {"one": power(1.0, 0.5), "two": power(2.0, 1.7)}}}


def test_the_slope_of_a_power_is_its_exponent():
    picture = figure(draw_cost, alt="x", **GIVEN["draw_cost"])
    assert {name: pytest.approx(value) for name, value in picture.numbers.items()} == {
        "one: slope of time": 1.0,
        "one: slope of memory": 0.5,
        "two: slope of time": 2.0,
        "two: slope of memory": 1.7,
    }


def test_points_lines_and_axes_are_told_apart_and_labelled():
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 2)
    draw_cost(axes, **GIVEN["draw_cost"])
    for one, label in zip(axes, ("time of one pass (ms)", "peak memory of one pass (MB)"), strict=True):
        assert (one.get_xlabel(), one.get_ylabel()) == ("number of tokens n", label)
        assert (one.get_xscale(), one.get_yscale()) == ("log", "log")
        shown = [line for line in one.lines if line.get_label().startswith(("one", "two"))]
        assert len({line.get_marker() for line in shown}) == len({line.get_linestyle() for line in shown}) == 2
    plt.close("all")
