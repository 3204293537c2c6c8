"""What the drawings of recurrence promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments, rows_of

from minilib import recurrence_views as pictures
from minilib import views
from minilib.recurrence_numpy import CELLS, memory, unit_terms

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

MAY_BE_NONE = ("gate product",)
"""A simple RNN has no gate."""

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels


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
