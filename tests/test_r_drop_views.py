"""What the drawings of dropout twice promise."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments

from minilib import r_drop as rd
from minilib import r_drop_views as pictures
from minilib.claims import half_width
from minilib.r_drop_numpy import random_sub_models, sub_models, summary

RNG = np.random.default_rng(0)
ALPHAS = (0.0, 1.0, 4.0, 16.0)
DIFFERENCES = {
    "one": {"up": [0.01, 0.02, 0.015], "down": [-0.02, -0.01, -0.015], "unknown": [0.01, -0.012, 0.001]},
    "two": {"up": [0.001, 0.002, 0.003], "down": [0.0, 0.01, -0.01], "unknown": [0.02, 0.03, 0.04]},
}
GIVEN = {
    "draw_alpha": {
        "alphas": ALPHAS,
        "found": {name: RNG.uniform(0.02, 0.09, (4, 3)).tolist() for name in ("divergence", "added", "gap", "loss")},
        "plain": {name: RNG.uniform(0.02, 0.09, 3).tolist() for name in ("divergence", "added", "gap", "loss")},
    },
    "draw_paired": {"differences": DIFFERENCES, "half_width": half_width},
    "draw_twice": {"models": 11},
}
"""Arguments of the drawings that have no defaults, made up, and of the one that takes long."""

LOOKS, LEAST_NUMBERS = ("linestyle", "marker"), 4

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return np.transpose(found.get_data())


# ---------------------------------------------------------------------------------------------------------------
# the numbers and the curves


@pytest.mark.parametrize("setting", [{}, {"alpha": 4.0, "n": 3}, {"hidden": True, "rate": 0.5}, {"scale": 2.0}])
def test_the_drawing_of_sub_models_shows_what_all_of_them_say(setting):
    got = picture(pictures.draw_sub_models, **setting).numbers
    want = summary(sub_models(**{"rate": 0.3, "alpha": 0.0, "n": 5, **setting}))
    assert list(got.values())[:3] == pytest.approx(want[:3])
    assert got["arithmetic mean to dropout off"] == pytest.approx(want.arithmetic)
    assert got["geometric mean to dropout off"] == pytest.approx(want.geometric)
    assert got["right answers"] == pytest.approx(want.right)


def test_its_cloud_has_a_dot_for_each_mask_drawn_and_both_means_in_their_places():
    cloud, bars = drawn(pictures.draw_sub_models, samples=12, hidden=True)
    seen = sub_models(0.3, 0.0, 5, hidden=True)
    z, off = seen.z[pictures.SHOWN], seen.off[pictures.SHOWN]
    assert line(cloud, "a sub-model").shape == (12, 2)
    np.testing.assert_allclose(line(cloud, "arithmetic mean")[0], rd.arithmetic_mean(z, seen.weights)[:2])
    np.testing.assert_allclose(line(cloud, "geometric mean")[0], rd.geometric_mean(z, seen.weights)[:2])
    np.testing.assert_allclose(line(cloud, "dropout off")[0], np.exp(rd.log_probabilities(off))[:2])
    heights = [one.get_height() for one in bars.patches]
    assert heights == pytest.approx(summary(seen)[:3])
    assert line(bars, "twice what dropout adds")[0, 1] == pytest.approx(2 * heights[1])
    assert seen.y[pictures.SHOWN] == 0


def test_masks_are_drawn_as_often_as_dropout_draws_them():
    seen = sub_models(0.3, 0.0, 5)
    counts = np.bincount(pictures._drawn(seen, 256), minlength=32) / 256
    np.testing.assert_allclose(counts, seen.weights, atol=0.06)
    np.testing.assert_array_equal(pictures._drawn(seen, 12), pictures._drawn(seen, 128)[:12])


def test_of_more_masks_the_estimate_is_nearer():
    seen = sub_models(0.3, 0.0, 5)
    want = rd.expected_symmetric_kl(seen.z[pictures.SHOWN], seen.weights)
    name = "J of this point, from the masks drawn"
    few, many = (picture(pictures.draw_sub_models, samples=n).numbers[name] for n in (4, 128))
    assert abs(many - want) < abs(few - want)
    assert many == pytest.approx(want, rel=0.25)


def test_the_drawing_of_averages_shows_both_means_of_both_networks():
    got = list(picture(pictures.draw_averages).numbers.values())
    one, deep = (summary(sub_models(0.5, 0.0, 5, hidden=hidden)) for hidden in (False, True))
    assert got == pytest.approx([one.arithmetic, 0, deep.arithmetic, deep.geometric])


def test_the_drawing_of_the_ratio_shows_medians_over_layers():
    got = picture(pictures.draw_twice).numbers
    z, weights = random_sub_models(0.5, 4.0, 11)
    want = np.median(rd.expected_symmetric_kl(z, weights) / rd.implicit_penalty(z, weights))
    assert got["ρ = 0.5, s = 4: median ratio"] == pytest.approx(want)
    left, right = drawn(pictures.draw_twice)
    assert line(left, "ρ = 0.5")[0, 1] == pytest.approx(2, abs=0.01)
    assert line(right, "s = 0.25")[:, 1] == pytest.approx(2, abs=0.1)


def test_the_drawing_against_alpha_shows_means_over_seeds_to_two_digits():
    got = picture(pictures.draw_alpha).numbers
    found, plain = GIVEN["draw_alpha"]["found"], GIVEN["draw_alpha"]["plain"]
    assert got["α = 4: J"] == pytest.approx(np.mean(found["divergence"][2]), rel=0.05)
    assert got["α = 4: J"] == float(f"{np.mean(found['divergence'][2]):.2g}")
    assert got["plain, rate ρ': loss"] == pytest.approx(np.mean(plain["loss"]), rel=0.05)
    left = drawn(pictures.draw_alpha)[0]
    twice = 2 * np.mean(found["added"], axis=1)
    np.testing.assert_allclose(line(left, "twice what dropout adds")[:, 1], twice, rtol=0.05)
    assert line(left, "plain, rate ρ'")[0, 0] == 2


def test_the_drawing_of_differences_colours_what_its_interval_tells_from_zero():
    got = picture(pictures.draw_paired).numbers
    assert got["one, up: points"] == pytest.approx(1.5)
    assert got["one, up: ±"] == pytest.approx(100 * half_width(DIFFERENCES["one"]["up"]))
    left, right = drawn(pictures.draw_paired)
    bars = [one.get_color() for one in left.lines if one.get_label() == "_interval"]
    assert bars == ["C0", "C1", "0.45"]
    assert left.get_xlim() == right.get_xlim() == (-2.5, 4.5)


# ---------------------------------------------------------------------------------------------------------------
# the widgets


def test_the_presets_show_what_the_chapter_says_of_them():
    explorer = pictures.explore_sub_models()

    def seen(preset):
        explorer.preset(preset)
        return dict(explorer.numbers)

    off, added, j, gap, geometric = (
        "cross-entropy, dropout off",
        "what dropout adds",
        "J of two masks",
        "arithmetic mean to dropout off",
        "geometric mean to dropout off",
    )
    plain, dropped = seen("plain dropout"), seen("R-Drop, α = 4")
    assert dropped[j] < 0.2 * plain[j]
    assert dropped[gap] < 0.2 * plain[gap]
    assert dropped[off] > 1.5 * plain[off]
    assert dropped[j] / dropped[added] == pytest.approx(2, abs=0.05)
    assert seen("equivalent rate")[off] < dropped[off] - 0.05
    assert seen("large weights")[j] == pytest.approx(3 * seen("large weights")[added], rel=0.05)
    assert seen("little dropout")[j] / seen("little dropout")[added] == pytest.approx(2.4, abs=0.1)
    assert seen("hidden layer")[geometric] > 0.03
    deep = seen("hidden layer, α = 10")
    assert deep[added] < 0.4 * deep[j]


def test_gains_pair_the_runs_of_one_seed_and_of_the_settings_that_were_asked_for():
    def record(method, seed, accuracy, task="news"):
        return {"config": {"method": method, "seed": seed, "task": task}, "result": {"accuracy": accuracy}}

    records = [record("b", 1, 0.5), record("a", 1, 0.75), record("a", 0, 0.25), record("b", 0, 0.5)]
    records.append(record("a", 0, 1.0, task="films"))
    assert pictures.gains(records, "a", "b", task="news") == [-0.25, 0.25]
    with pytest.raises(ValueError, match="shorter"):
        pictures.gains(records[1:], "a", "b", task="news")
