"""What the drawings of rotary positions promise."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments

from minilib import rope_views as pictures
from minilib.rope import decay_bound, halves_order, mean_product, wavelengths
from minilib.rope_numpy import cloud, products, shares_of_bound

GIVEN: dict = {}
LOOKS, LEAST_NUMBERS = ("linestyle", "marker", "linewidth"), 3

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return found.get_ydata()


# ---------------------------------------------------------------------------------------------------------------
# the turn


@pytest.mark.parametrize("layout", ["neighbours", "halves"])
def test_in_one_layout_the_dial_shows_a_product_that_knows_only_the_distance(layout):
    numbers = picture(pictures.draw_dial, m=40, n=11, shift=9, planes=5, layout=layout).numbers
    assert numbers["largest change as both move on"] < 1e-12
    assert numbers["distance m − n"] == 29
    _, moved, by_distance = drawn(pictures.draw_dial, m=40, n=11, planes=5, layout=layout)
    assert np.ptp(line(moved, "product")) < 1e-12
    np.testing.assert_allclose(line(by_distance, "key at 0"), line(by_distance, "key at n"), atol=1e-12)
    assert line(by_distance, "key at 0")[48 + 29] == pytest.approx(numbers["cosine of query and key"])


def test_with_the_layouts_mixed_it_does_not():
    numbers = picture(pictures.draw_dial, layout="mixed").numbers
    assert numbers["largest change as both move on"] > 0.3
    by_distance = drawn(pictures.draw_dial, layout="mixed")[2]
    assert np.abs(line(by_distance, "key at 0") - line(by_distance, "key at n")).max() > 0.1


def test_the_two_layouts_of_the_dial_give_different_products():
    """The same numbers, paired otherwise: weights of one layout are useless in the other."""
    seen = [
        picture(pictures.draw_dial, layout=layout).numbers["cosine of query and key"] for layout in pictures.LAYOUTS
    ]
    assert len({round(value, 6) for value in seen}) == 3


def test_the_arrows_of_the_dial_are_turned_by_the_angle_of_their_plane():
    plane = drawn(pictures.draw_dial, m=3, n=0, plane=1, base=50.0)[0]
    before, after, key, turned_key = (np.array([one.get_xdata()[1], one.get_ydata()[1]]) for one in plane.lines)
    angle = 3 * 2 * np.pi / wavelengths(8, 50.0)[1]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(after, turn @ before, atol=1e-12)
    np.testing.assert_allclose(turned_key, key, atol=1e-12)
    assert np.linalg.norm(after) == pytest.approx(1)


def test_a_plane_that_the_dial_has_not_is_its_last():
    assert picture(pictures.draw_dial, plane=31).numbers == picture(pictures.draw_dial, plane=3).numbers


def test_the_drawing_of_layouts_shows_that_one_is_a_permutation_of_the_other():
    numbers = picture(pictures.draw_layouts).numbers
    assert numbers["entries that are not 0"] == 24
    assert numbers["largest entry of H − P R Pᵀ"] == 0
    assert numbers["largest entry of H − R"] > 1
    P = np.asarray(drawn(pictures.draw_layouts)[2].images[0].get_array())
    np.testing.assert_array_equal(P @ np.arange(12), halves_order(12))


def test_the_drawing_of_wavelengths_counts_the_planes_above_its_line():
    numbers = picture(pictures.draw_wavelengths).numbers
    assert list(numbers.values()) == [1, 16, 21]
    (axes,) = drawn(pictures.draw_wavelengths)
    np.testing.assert_allclose(line(axes, "base 10000"), wavelengths(64))


# ---------------------------------------------------------------------------------------------------------------
# what a distance does


@pytest.mark.parametrize("settings", [{}, {"alike": 0.0}, {"alike": -1.0, "planes": 8}, {"behind": 64, "base": 500.0}])
def test_the_drawing_of_decay_shows_formulas_and_a_cloud(settings):
    numbers = picture(pictures.draw_decay, distance=37, **settings).numbers
    d, base = 2 * settings.get("planes", 64), settings.get("base", 10_000.0)
    alike, behind = settings.get("alike", 1.0), settings.get("behind", 0)
    at = np.array([37])
    q, k = cloud(pictures.DRAWS, d, alike, behind, base)
    seen = products(q, k, at, base) / d
    want = [
        alike * mean_product(at - float(behind), d, base)[0] / d,
        seen.mean(),
        seen.std(),
        decay_bound(at.astype(float), d, base)[0] / ((d / 2 + 1) / 2),
        shares_of_bound(q, k, at, base).max(),
    ]
    assert list(numbers.values())[:5] == pytest.approx(want)


@pytest.mark.parametrize("alike", [-1.0, 1.0])
def test_the_drawing_of_decay_has_room_for_the_mean_at_every_distance(alike):
    left = drawn(pictures.draw_decay, alike=alike)[0]
    low, high = left.get_ylim()
    mean = line(left, "mean by the formula")
    assert low < mean.min()
    assert mean.max() < high


def test_the_largest_of_the_cloud_stays_below_the_bound_at_every_distance():
    for planes in (4, 64):
        right = drawn(pictures.draw_decay, planes=planes)[1]
        bound, largest = line(right, "the bound, over its value at 0"), line(right, "largest of 100 pairs")
        assert (largest < bound).all()


def test_the_drawing_of_the_index_marks_each_rise():
    numbers = picture(pictures.draw_index).numbers
    assert numbers["d = 128: at distance 0"] == 32.5
    assert numbers["d = 128: first rise at distance"] == 19
    index = decay_bound(np.arange(257.0), 128)
    assert numbers["d = 128: distances at which it rises, of 256"] == (np.diff(index) > 0).sum()
    (axes,) = drawn(pictures.draw_index)
    (strokes,) = [one for one in axes.lines if one.get_label() == "d = 128, where it rises"]
    np.testing.assert_array_equal(strokes.get_xdata(), np.flatnonzero(np.diff(index) > 0) + 1)
    assert strokes.get_ydata().max() < decay_bound(np.arange(257.0), 64).min()


def test_the_drawing_of_heads_shows_one_that_falls_one_that_looks_back_and_one_that_rises():
    numbers = picture(pictures.draw_heads).numbers
    assert numbers["key = query: largest at distance"] == 0
    assert numbers["key turned by 20: largest at distance"] == 20
    assert numbers["fast planes against: at distance 64"] > numbers["fast planes against: at distance 0"] + 0.4


# ---------------------------------------------------------------------------------------------------------------
# the widgets


def test_the_presets_of_the_dial_show_what_the_chapter_says_of_them():
    explorer = pictures.explore_dial()
    plain = dict(explorer.numbers)
    explorer.preset("both far away")
    assert explorer.numbers["cosine of query and key"] == pytest.approx(plain["cosine of query and key"])
    explorer.preset("slow plane")
    assert explorer.numbers["degrees of (m − n)θ"] < 1
    explorer.preset("mixed layouts")
    assert explorer.numbers["largest change as both move on"] > 0.3


def test_the_presets_of_the_decay_explorer_show_what_the_chapter_says_of_them():
    explorer = pictures.explore_decay()
    name = "mean product over d, by the formula"
    plain = explorer.numbers[name]
    explorer.preset("independent")
    assert explorer.numbers[name] == 0
    explorer.preset("opposite")
    assert explorer.numbers[name] == -plain
    explorer.preset("looks 64 back")
    assert explorer.numbers[name] == 1
    explorer.preset("base 1,000,000")
    assert explorer.numbers[name] > plain
