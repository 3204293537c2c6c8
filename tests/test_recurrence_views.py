"""What the drawings of recurrence promise."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from html import unescape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from minilib import recurrence_views as pictures
from minilib import views
from minilib.recurrence_numpy import CELLS, memory, unit_terms
from minilib.views import figure

RNG = np.random.default_rng(0)
GAINS = [0.5, 1.0, 1.5, 2.5]
RATES = {7: RNG.normal(size=(3, 4)), 11: RNG.normal(size=(2, 4))}
NORMS = {"trained": 0.9 ** np.arange(43), "untrained": 0.5 ** np.arange(43)}
GATES = {"trained": RNG.uniform(size=(5, 7)), "untrained": RNG.uniform(size=(3, 11)) ** 2}
RECORDS = [
    {
        "config": {"cell": cell, "lag": lag, "seed": seed},
        "result": {"accuracy": float(RNG.uniform()), "gain_input": 10.0 ** float(RNG.uniform(-20, 3))},
    }
    for cell, lag, seed in itertools.product(pictures.RECALLING, (10, 30, 100), (0, 1))
]

GIVEN = {
    "draw_lyapunov": {"gains": GAINS, "rates": RATES},
    "draw_trained": {"norms": NORMS, "gates": GATES},
    "draw_recall": {"records": RECORDS},
    # Its defaults are tried once below; elsewhere a smaller one does.
    "draw_input_scale": {"length": 5, "width": 7, "seeds": 2},
}
"""Arguments of the drawings that have no defaults, made up, and of the one that takes long."""

DRAWINGS = [f for name, f in vars(pictures).items() if name.startswith("draw_")]
WIDGETS = [f for name, f in vars(pictures).items() if name.startswith("explore_")]


each_drawing = pytest.mark.parametrize("draw", DRAWINGS, ids=lambda f: f.__name__)
each_widget = pytest.mark.parametrize("make", WIDGETS, ids=lambda f: f.__name__)


def picture(draw, **parameters):
    return figure(draw, alt="a drawing", **GIVEN.get(draw.__name__, {}) | parameters)


def drawn(draw):
    """The panels of a drawing, with all that it has put on them."""
    canvas = views._Canvas(draw)
    canvas.render(**GIVEN.get(draw.__name__, {}))
    return canvas.figure.axes


# ---------------------------------------------------------------------------------------------------------------
# every drawing


@each_drawing
def test_a_drawing_runs_at_its_defaults_and_shows_finite_numbers(draw):
    needed = {n for n, p in list(inspect.signature(draw).parameters.items())[1:] if p.default is p.empty}
    numbers = figure(draw, alt="a drawing", **{n: GIVEN[draw.__name__][n] for n in needed}).numbers
    assert len(numbers) >= 2
    for label, value in numbers.items():
        assert math.isfinite(value), label


@each_drawing
def test_a_drawing_is_the_same_every_time(draw):
    assert picture(draw).svg == picture(draw).svg


@each_drawing
def test_every_panel_labels_both_axes(draw):
    for axes in drawn(draw):
        assert axes.get_xlabel()
        assert axes.get_ylabel()


@each_drawing
def test_every_panel_sets_its_limits_itself(draw):
    """Else the limits follow the data, two settings cannot be compared, and a widget draws its decor each time."""
    for axes in drawn(draw):
        assert not axes.get_autoscalex_on(), axes.get_xlabel()
        assert not axes.get_autoscaley_on(), axes.get_ylabel()


@each_drawing
def test_lines_can_be_told_apart_without_their_colours(draw):
    for axes in drawn(draw):
        lines = [line for line in axes.lines if not line.get_label().startswith("_")]
        looks = [(line.get_linestyle(), line.get_marker(), line.get_linewidth()) for line in lines]
        assert len(set(looks)) == len(looks), [line.get_label() for line in lines]


@each_drawing
def test_a_panel_of_several_lines_names_each_in_its_legend(draw):
    for axes in drawn(draw):
        names = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
        if len(names) > 1:
            assert {text.get_text() for text in axes.get_legend().texts} >= set(names)


# ---------------------------------------------------------------------------------------------------------------
# the numbers


@pytest.mark.parametrize("cell", CELLS)
def test_the_drawing_of_memory_shows_what_memory_returns(cell):
    chosen = {"cell": cell, "gain": 0.9, "memory_bias": 2.0, "input_std": 0.5, "length": 13, "width": 7}
    seen, got = memory(**chosen, input_bias=0.0), picture(pictures.draw_memory, clip=0.01, **chosen).numbers
    total = math.hypot(*seen.terms)
    want = {
        "gain per step, on average": math.exp(math.log(seen.gain[13]) / 13),
        "gain over 10 steps": seen.gain[10],
        "gain over all 13 steps": seen.gain[13],
        "gate product over all 13 steps": seen.gate[13],
        "share of the last 10 steps in the squared terms": 1 - math.hypot(*seen.terms[10:]) ** 2 / total**2,
        "factor that clipping applies": 0.01 / total,
    }
    assert got == pytest.approx(want, rel=1e-9, nan_ok=True)
    assert math.isnan(got["gate product over all 13 steps"]) == (cell in ("tanh RNN", "relu RNN"))


def test_a_short_gradient_is_not_clipped():
    assert picture(pictures.draw_memory, clip=100.0).numbers["factor that clipping applies"] == 1


def test_the_drawing_of_a_unit_shows_its_terms_and_their_sum():
    terms = unit_terms(0.7, 23, 0.4, 3)
    want = {
        "whole gradient": math.fsum(terms),
        "part of the last 10 steps": math.fsum(terms[:10]),
        "part of all steps before": math.fsum(terms[10:]),
        "size of the term of lag 0": abs(terms[0]),
        "size of the term of lag 22": abs(terms[22]),
    }
    got = picture(pictures.draw_unit, u=0.7, length=23, input_std=0.4, seed=3).numbers
    assert got == pytest.approx(want, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("h", [0.2, 0.5, 0.8])
def test_the_drawing_of_a_tanh_step_shows_the_bound_that_a_fine_grid_finds(h):
    u = np.linspace(0, 8, 800_001)
    slope = u * (1 - np.tanh(u * h) ** 2)
    got = picture(pictures.draw_tanh_step, h=h).numbers
    assert got["bound 0.4478/h"] == pytest.approx(slope.max(), rel=1e-5)
    assert got["weight at the bound"] == pytest.approx(u[slope.argmax()], abs=1e-4)
    y = 2.0
    for _ in range(99):
        y = 2 * math.tanh(y)
    assert got["multiplier at u = 2"] == pytest.approx(2 * y / math.sinh(2 * y), rel=1e-9)


def test_the_drawing_of_a_transient_shows_the_norms_of_powers():
    A = np.array([[0.8, 3.0], [0.0, 0.8]])
    norms = [np.linalg.norm(np.linalg.matrix_power(A, t), 2) for t in range(31)]
    got = picture(pictures.draw_transient, radius=0.8, shear=3.0, steps=30).numbers
    want = {"largest norm": max(norms), "reached after steps": np.argmax(norms), "norm at the end": norms[30]}
    assert got == pytest.approx(want, rel=1e-12)


def test_the_drawing_of_lyapunov_exponents_shows_the_mean_over_seeds_between_the_gains():
    # 2 lies half way between the last two gains.
    want = {f"mean exponent at g = 2, d = {d}": r.mean(0)[2:].mean() for d, r in RATES.items()}
    assert picture(pictures.draw_lyapunov).numbers == pytest.approx(want, rel=1e-12)


def test_the_formula_of_one_unit_meets_log_g_at_one_and_falls_on_both_sides():
    (axes,) = drawn(pictures.draw_lyapunov)
    lone = next(line for line in axes.lines if "formula" in line.get_label())
    g, rate = lone.get_data()
    assert (np.diff(g) >= 0).all()
    assert np.abs(rate[g <= 1] - np.log(g[g <= 1])).max() < 1e-12
    assert rate.max() == pytest.approx(0, abs=1e-6)
    assert (np.diff(rate[g > 1 + 1e-6]) < 0).all()


def test_the_drawing_of_biases_shows_the_gain_over_all_steps():
    got = picture(pictures.draw_biases, length=13, width=7).numbers
    assert len(got) == len(pictures.BIASED)
    for (label, value), (cell, bias, *_) in zip(got.items(), pictures.BIASED, strict=True):
        assert label.startswith(cell)
        assert value == memory(cell=cell, memory_bias=bias, length=13, width=7).gain[13]


def test_the_drawing_of_the_input_scale_shows_the_gain_per_step_over_seeds():
    got, rows = picture(pictures.draw_input_scale).numbers, [row for row in pictures.BIASED for _ in range(2)]
    for (cell, bias, *_), (label, value) in zip(rows, got.items(), strict=True):
        std = 0.0 if label.endswith("no input") else 1.0
        chosen = {"cell": cell, "memory_bias": bias, "input_std": std, "length": 5, "width": 7}
        gains = [memory(seed=seed, **chosen).gain[5] for seed in (0, 1)]
        assert value == pytest.approx(math.prod(gains) ** (1 / 10), rel=1e-9)


@pytest.mark.parametrize("threshold", [1.0, 2.0, 9.0])
def test_the_drawing_of_clipping_shows_lengths_and_turns(threshold):
    g = np.array([3.0, 0.4])
    got = picture(pictures.draw_clipping, threshold=threshold, first=3.0, second=0.4).numbers
    clipped = {"by norm": g * min(1, threshold / math.hypot(*g)), "by value": np.minimum(g, threshold)}
    for name, v in {"gradient": g, **clipped}.items():
        assert got[f"{name}: length"] == pytest.approx(math.hypot(*v))
        turned = math.degrees(math.atan2(v[1], v[0]) - math.atan2(0.4, 3.0))
        assert got[f"{name}: turned (degrees)"] == pytest.approx(turned, abs=1e-6)


def test_the_drawing_of_trained_networks_shows_the_norm_at_the_last_lag_and_the_open_gates():
    got = picture(pictures.draw_trained, steps=37).numbers
    want = {f"{name}: norm at lag 37": norm[37] for name, norm in NORMS.items()}
    want |= {f"{name}: above 0.9": (gate > 0.9).sum() / gate.size for name, gate in GATES.items()}
    assert got == pytest.approx(want, rel=1e-12)
    _, right = drawn(pictures.draw_trained)
    for patch in right.patches:
        assert patch.get_data().values.sum() == pytest.approx(1)


def test_the_drawing_of_recall_shows_the_mean_accuracy_of_each_cell_at_each_lag():
    got = picture(pictures.draw_recall).numbers
    assert len(got) == 3 * len(pictures.RECALLING)
    for cell, lag in itertools.product(pictures.RECALLING, (10, 30, 100)):
        runs = [r["result"]["accuracy"] for r in RECORDS if (r["config"]["cell"], r["config"]["lag"]) == (cell, lag)]
        assert got[f"{cell}: mean accuracy at lag {lag}"] == pytest.approx(sum(runs) / 2)


# ---------------------------------------------------------------------------------------------------------------
# the curves


@pytest.mark.parametrize("cell", ["tanh RNN", "LSTM"])
def test_the_curves_of_memory_are_its_gain_and_its_gate_where_there_is_one(cell):
    canvas = views._Canvas(pictures.draw_memory)
    canvas.render(cell=cell, length=13, width=7)
    seen, (_, right) = memory(cell=cell, memory_bias=1.0, length=13, width=7), canvas.figure.axes
    curves = [line.get_ydata() for line in right.lines if not line.get_label().startswith("_")]
    want = [seen.gain] if cell == "tanh RNN" else [seen.gain, seen.gate]
    for got, values in zip(curves, want, strict=True):
        np.testing.assert_array_equal(got, values)


def test_a_curve_that_leaves_the_window_runs_out_of_it():
    """Neither zero nor infinity ends a curve inside the axes."""
    shown = pictures._shown(np.array([0.0, 1e-30, 1.0, 1e30, np.inf]))
    assert np.isfinite(np.log(shown)).all()
    assert (shown[:2] < pictures.FLOOR).all()
    assert (shown[3:] > pictures.CEILING).all()
    assert shown[2] == 1


# ---------------------------------------------------------------------------------------------------------------
# the widgets


def extremes(control):
    """The settings at the ends of a control; of a row of buttons all."""
    if hasattr(control, "options"):
        return list(control.options)
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


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_no_corner_of_the_controls_makes_the_drawing_fail(explorer, data):
    corner = {name: data.draw(st.sampled_from(extremes(c)), name) for name, c in explorer.controls.items()}
    explorer.set(**corner)
    assert explorer.error is None
    numbers = {n: v for n, v in explorer.numbers.items() if not n.startswith("gate product")}
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


def test_a_simple_rnn_says_that_it_has_no_gate_instead_of_a_number():
    explorer = pictures.explore_memory()
    explorer.preset("tanh RNN")
    assert "  gate product over all 100 steps: none" in rows_of(explorer)


def test_the_presets_of_memory_show_what_their_names_promise():
    explorer = pictures.explore_memory()

    def gain_per_step(preset):
        explorer.preset(preset)
        return explorer.numbers["gain per step, on average"]

    assert gain_per_step("tanh RNN") < 1 < gain_per_step("tanh RNN in chaos")
    assert gain_per_step("one unit, same gain") < 1
    assert gain_per_step("LSTM, forget bias 0") < 1 < gain_per_step("LSTM, forget bias 4")
    assert gain_per_step("GRU, update bias 4") < 1
