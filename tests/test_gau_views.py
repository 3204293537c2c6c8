"""What the drawings of the gated attention unit promise."""

from __future__ import annotations

import inspect
import math
import re
from html import unescape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from minilib import gau, views
from minilib import gau_views as pictures
from minilib.depth import identity_share
from minilib.gau_numpy import predicted, start
from minilib.views import figure

RNG = np.random.default_rng(0)
GIVEN = {
    "draw_identity": {
        "ratios": {"one": RNG.uniform(0.01, 1, 12).tolist(), "two": RNG.uniform(0.01, 1, 12).tolist()},
        "cosines": {"one": np.linspace(1, 0.5, 13).tolist(), "two": np.linspace(1, 0, 13).tolist()},
    },
    "draw_magnitude": {"lengths": (16, 32), "seeds": 2},
}
"""Arguments of the drawings that have no defaults, made up, and of the one that takes long."""

DRAWINGS = [f for name, f in vars(pictures).items() if name.startswith("draw_")]
WIDGETS = [f for name, f in vars(pictures).items() if name.startswith("explore_")]

each_drawing = pytest.mark.parametrize("draw", DRAWINGS, ids=lambda f: f.__name__)
each_widget = pytest.mark.parametrize("make", WIDGETS, ids=lambda f: f.__name__)


def picture(draw, **parameters):
    return figure(draw, alt="a drawing", **GIVEN.get(draw.__name__, {}) | parameters)


def drawn(draw, **parameters):
    """The panels of a drawing, with all that it has put on them."""
    canvas = views._Canvas(draw)
    canvas.render(**GIVEN.get(draw.__name__, {}) | parameters)
    return canvas.figure.axes


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return found.get_ydata()


# ---------------------------------------------------------------------------------------------------------------
# every drawing


@each_drawing
def test_a_drawing_runs_at_its_defaults_and_shows_finite_numbers(draw):
    numbers = picture(draw).numbers
    assert len(numbers) >= 3
    assert all(math.isfinite(value) for value in numbers.values()), numbers


@each_drawing
def test_a_drawing_is_the_same_every_time(draw):
    assert picture(draw).svg == picture(draw).svg


@each_drawing
def test_every_panel_labels_both_axes_and_sets_its_limits_itself(draw):
    for axes in drawn(draw):
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert not axes.get_autoscalex_on(), axes.get_xlabel()
        assert not axes.get_autoscaley_on(), axes.get_ylabel()


@each_drawing
def test_lines_can_be_told_apart_without_their_colours_and_are_named(draw):
    for axes in drawn(draw):
        lines = [one for one in axes.lines if not one.get_label().startswith("_")]
        looks = [(str(one.get_linestyle()), one._dash_pattern, one.get_marker()) for one in lines]
        assert len({*map(str, looks)}) == len(looks), [one.get_label() for one in lines]
        if len(lines) > 1:
            assert {text.get_text() for text in axes.get_legend().texts} >= {one.get_label() for one in lines}


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


def extremes(control):
    """The settings at the ends of a control; of a row of buttons all."""
    if hasattr(control, "options"):
        return list(control.options)
    if isinstance(control.value, bool):
        return [False, True]
    ends = [control.min, control.max]
    return [control.base**e for e in ends] if hasattr(control, "base") else ends


def rows_of(explorer):
    """The read-out as a reader sees it."""
    cells = re.findall(r"<th[^>]*>(.*?)</th><td[^>]*><b>(.*?)</b>", explorer._read_out.value)
    return [f"  {unescape(label)}: {unescape(value)}" for label, value in cells]


@pytest.fixture(scope="module", params=WIDGETS, ids=lambda f: f.__name__)
def explorer(request):
    return request.param()


def test_every_knob_of_the_drawing_is_a_control_that_a_reader_can_name(explorer):
    parameters = list(inspect.signature(explorer.draw).parameters)[1:]
    assert list(explorer.controls) == parameters
    named = [control.description for control in explorer.controls.values()]
    assert len(set(named)) == len(named)
    assert explorer.alt.endswith(".")


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_no_corner_of_the_controls_makes_the_drawing_fail(explorer, data):
    corner = {name: data.draw(st.sampled_from(extremes(c)), name) for name, c in explorer.controls.items()}
    explorer.set(**corner)
    assert explorer.error is None
    numbers = {n: v for n, v in explorer.numbers.items() if n != "essay"}
    assert all(math.isfinite(v) for v in numbers.values()), numbers


def test_the_read_out_says_the_same_as_the_figure_at_both_ends_of_all_controls(explorer):
    ends = [{name: extremes(c)[end] for name, c in explorer.controls.items()} for end in (0, -1)]
    for values in [explorer.defaults, *ends]:
        explorer.set(**values)
        text = figure(explorer.draw, alt=explorer.alt, **explorer.values)._repr_mimebundle_()[0]["text/plain"]
        assert [explorer.alt, *rows_of(explorer)] == text.splitlines()
        assert explorer.png == views._Canvas(explorer.draw).render(**explorer.values)[0]


@each_widget
def test_no_setting_of_a_widget_moves_its_axes(make, monkeypatch):
    full, plain = [], views._Canvas._draw_decor
    monkeypatch.setattr(views._Canvas, "_draw_decor", lambda self: (full.append(1), plain(self)))
    explorer = make()
    for name, control in explorer.controls.items():
        for value in extremes(control):
            explorer.set(**explorer.defaults | {name: value})
    for name in explorer.presets:
        explorer.preset(name)
        assert explorer.error is None
    assert len(full) == 1


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
