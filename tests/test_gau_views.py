"""What the drawings of the gated attention unit promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments, rows_of

from minilib import gau
from minilib import gau_views as pictures
from minilib.depth import identity_share
from minilib.gau_numpy import predicted, start

RNG = np.random.default_rng(0)
GIVEN = {
    "draw_identity": {
        "ratios": {"one": RNG.uniform(0.01, 1, 12).tolist(), "two": RNG.uniform(0.01, 1, 12).tolist()},
        "cosines": {"one": np.linspace(1, 0.5, 13).tolist(), "two": np.linspace(1, 0, 13).tolist()},
    },
    "draw_magnitude": {"lengths": (16, 32), "seeds": 2},
}
"""Arguments of the drawings that have no defaults, made up, and of the one that takes long."""

LOOKS, LEAST_NUMBERS = ("linestyle", "marker"), 3

MAY_BE_NONE = ("essay",)
"""The essay says nothing about softmax."""

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return found.get_ydata()


# ---------------------------------------------------------------------------------------------------------------
# the numbers and the curves


@pytest.mark.parametrize(
    "unit", [{}, {"kernel": "softmax", "n": 64}, {"init": "Xavier", "rotary": True}, {"lam": 0.5, "d": 128, "s": 32}]
)
def test_the_drawing_of_a_start_shows_what_was_measured_and_what_the_formulas_say(unit):
    seen, said = start(seed=1, **unit), predicted(**unit)
    got = picture(pictures.draw_start, layers=7, **unit).numbers
    want = {
        "rms of the output": seen.rms,
        "corrected formula": said.rms,
        "essay": said.essay,
        "weight on the diagonal": seen.diagonal,
        "weight off it": seen.rest,
        "share of the input left after 7 units": identity_share(seen.rms, 7),
    }
    assert got == pytest.approx(want, rel=1e-9, nan_ok=True)


def test_its_lines_are_the_formulas_at_each_length_and_its_curve_the_share_at_each_depth():
    _, sizes, stack = drawn(pictures.draw_start, rotary=True)
    for k, n in enumerate(pictures.LENGTHS[:8]):
        said = predicted(n, rotary=True)
        assert line(sizes, pictures.OUT)[k] == said.rms
        assert line(sizes, pictures.LOW)[k] == said.mass.diagonal
        assert line(sizes, pictures.HIGH)[k] == said.mass.rest
        assert line(sizes, "output, by the essay")[k] == said.essay
    rms = start(rotary=True, seed=1).rms
    want = [identity_share(rms, k) for k in range(101)]
    np.testing.assert_allclose(line(stack, "this unit"), want, rtol=1e-12)


def test_the_image_is_the_corner_of_a_in_powers_of_ten_of_n_times_its_entries():
    heat = drawn(pictures.draw_start, n=64)[0]
    corner = 64 * start(64, seed=1).corner.astype(float)
    image = np.asarray(heat.images[0].get_array())
    inside = corner > 1e-3
    np.testing.assert_allclose(image[inside], np.log10(corner[inside]), rtol=1e-5, atol=1e-6)
    assert (image[~inside] == pictures.HEAT[0]).all()


def test_the_drawing_of_the_magnitude_shows_means_over_seeds_and_the_formula():
    got = picture(pictures.draw_magnitude).numbers
    for name, unit in pictures.SERIES.items():
        measured = np.mean([start(32, seed=k, **unit).rms for k in range(2)])
        assert got[f"{name}, n = 32: measured"] == pytest.approx(measured)
        assert got[f"{name}, n = 32: formula"] == predicted(32, **unit).rms


def test_the_drawing_of_the_exponent_shows_the_slope_between_halvings():
    got = picture(pictures.draw_exponent, n=64).numbers
    for j in range(4):
        want = math.log2(start(64, lam=2.0**-j).rms / start(64, lam=2.0 ** -(j + 1)).rms)
        assert got[f"exponent from λ = 1/{2**j} to 1/{2 ** (j + 1)}"] == pytest.approx(want)
    (axes,) = drawn(pictures.draw_exponent)
    for name in ("n = 64", "n = 512", "n = 8192"):
        assert (line(axes, name) > 7).all()


def test_the_drawing_of_identity_shows_means_and_ends():
    got = picture(pictures.draw_identity).numbers
    assert got["one: mean branch over skip"] == pytest.approx(np.mean(GIVEN["draw_identity"]["ratios"]["one"]))
    assert got["two: cosine at the end"] == 0


def test_the_drawing_of_cost_shows_the_counts_and_marks_where_they_cross():
    got = picture(pictures.draw_cost, heads=8).numbers
    assert got["two GAU keep less beyond n"] == gau.kept_crossing(768, 1536, 128, 8)
    want = 2 * gau.gau_macs(512, 768, 1536, 128) / gau.block_macs(512, 768)
    assert got["multiplications, n = 512"] == pytest.approx(want)
    macs, kept = drawn(pictures.draw_cost)
    assert line(macs, "attention + feed-forward")[0] == gau.block_macs(64, 768) / 1e6
    assert line(kept, "two GAU")[-1] == 2 * gau.gau_kept(16384, 768, 1536, 128) / 1e3


def test_the_drawing_of_chunks_counts_who_looks_ahead():
    got = picture(pictures.draw_chunks).numbers
    assert list(got.values()) == [0, 0, 32 * 31 / 2]


# ---------------------------------------------------------------------------------------------------------------
# the widgets


def test_under_softmax_the_essay_has_no_number():
    explorer = pictures.explore_start()
    explorer.preset("softmax")
    assert "  essay: none" in rows_of(explorer)


def test_the_presets_show_what_the_chapter_says_of_them():
    explorer = pictures.explore_start()

    def seen(preset):
        explorer.preset(preset)
        return dict(explorer.numbers)

    plain, rotary, short = (seen(p) for p in ("the essay's setting", "with rotary positions", "short text"))
    assert plain["weight off it"] > 8 * plain["weight on the diagonal"]
    assert short["weight off it"] < short["weight on the diagonal"]
    assert plain["rms of the output"] > 4 * plain["essay"]
    assert rotary["weight off it"] < 0.5 * plain["weight off it"]
    assert seen("softmax")["rms of the output"] > 2 * plain["rms of the output"]
    assert seen("Xavier")["rms of the output"] > 2.5 * plain["rms of the output"]
    assert seen("half of all weights")["rms of the output"] < plain["rms of the output"] / 128
    assert seen("as the paper's code starts")["share of the input left after 24 units"] > 0.999
