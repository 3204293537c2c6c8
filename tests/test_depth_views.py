"""What the drawings of depth promise."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("ipywidgets")

from drawings import Arguments

from minilib import depth as dep
from minilib import depth_views as pictures

RNG = np.random.default_rng(0)
LAYERS = [3, 7, 19]
INCREMENTS = {
    optimizer: {
        rule: [
            [(3 + seed) * n ** dep.increment_exponent(optimizer, dep.RULES[rule]) for n in LAYERS] for seed in range(2)
        ]
        for rule in dep.RULES
    }
    for optimizer in ("SGD", "Adam", "LAMB")
}
STACKS = ("one", "two", "three", "four", "five")
LOSSES = {
    name: {(n, rate): 2.3 + 0.1 * k + 0.008 * n for n in (6, 12, 24) for rate in (1e-3, 1e-2)}
    for k, name in enumerate(STACKS)
}
LOSSES["two"][24, 1e-2] = math.nan
del LOSSES["three"][24, 1e-3]
STEPS = [0, 10, 20, 30]
CURVES = {name: RNG.uniform(2.3, 2.9, size=(3, 4)).tolist() for name in STACKS}
LEVELS = {"unigram": 2.87, "bigram": 2.43}
RATIOS = {name: RNG.uniform(0.01, 1, size=12).tolist() for name in STACKS}
MOVES = {name: RNG.uniform(0.01, 1, size=13).tolist() for name in STACKS}

GIVEN = {
    "draw_exponents": {"layers": LAYERS, "increments": INCREMENTS},
    "draw_heat_map": {"losses": LOSSES, "best": 2.3, "worst": 2.87},
    "draw_curves": {"steps": STEPS, "curves": CURVES, "levels": LEVELS},
    "draw_layers": {"ratios": RATIOS, "moves": MOVES},
}
"""Arguments of the drawings that have no defaults, made up."""

picture, drawn = Arguments(GIVEN).picture, Arguments(GIVEN).panels


def test_the_arguments_made_up_here_are_those_without_a_default():
    for name, draw in vars(pictures).items():
        if name.startswith("draw_"):
            needed = {n for n, p in list(inspect.signature(draw).parameters.items())[1:] if p.default is p.empty}
            assert needed == set(GIVEN.get(name, {}))


# ---------------------------------------------------------------------------------------------------------------
# the numbers


def test_the_shares_are_those_of_the_formulas():
    alpha, beta = dep.deepnorm(12)
    want = {
        "post-norm: share after 24 sub-layers": 1.25**-12,
        "pre-norm: share after 24 sub-layers": 7**-0.5,
        "DeepNorm: share after 24 sub-layers": (1 + (0.5 * beta**2 / alpha) ** 2) ** -12,
    }
    assert picture(pictures.draw_shares, ratio=0.5, layers=12).numbers == pytest.approx(want)


def test_the_exponents_of_exact_power_laws_are_the_predicted_ones():
    got = picture(pictures.draw_exponents).numbers
    assert len(got) == 12
    for optimizer in ("SGD", "Adam", "LAMB"):
        for rule in dep.RULES:
            want = dep.increment_exponent(optimizer, dep.RULES[rule])
            assert got[f"{optimizer}, {rule} rule: exponent"] == pytest.approx(want, abs=1e-12)


def test_the_lines_of_exact_power_laws_lie_on_the_predicted_ones():
    for axes in drawn(pictures.draw_exponents):
        grey = [line.get_ydata() for line in axes.lines if line.get_color() == "0.8"]
        measured = [line.get_ydata() for line in axes.lines if line.get_label().endswith(" rule")]
        assert len(grey) == len(measured) == 4
        np.testing.assert_allclose(measured, grey, rtol=1e-12)


def test_the_heat_map_counts_who_learned_and_writes_every_run_into_its_cell():
    assert picture(pictures.draw_heat_map).numbers == {
        "one: runs that learned, of 6": 6,
        "two: runs that learned, of 6": 5,
        "three: runs that learned, of 5": 5,
        "four: runs that learned, of 6": 6,
        "five: runs that learned, of 6": 4,
    }
    panels = drawn(pictures.draw_heat_map)
    written = [sorted(text.get_text() for text in axes.texts) for axes in panels]
    assert [len(texts) for texts in written] == [6, 6, 5, 6, 6]
    assert "diverged" in written[1]
    assert "2.89\nstuck" in written[4]
    assert not any("stuck" in text for text in written[0])


def test_the_words_in_a_cell_belong_to_its_depth_and_rate():
    axes = drawn(pictures.draw_heat_map)[4]
    at = {text.get_position(): text.get_text() for text in axes.texts}
    assert at[0, 0] == at[1, 0] == "2.75"
    assert at[0, 2] == "2.89\nstuck"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["6", "12", "24"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.001", "0.01"]


def test_the_curves_show_the_mean_over_seeds():
    got = picture(pictures.draw_curves).numbers
    assert got == pytest.approx({f"{n}: final loss": np.mean([run[-1] for run in c]) for n, c in CURVES.items()})
    (axes,) = drawn(pictures.draw_curves)
    line = next(line for line in axes.lines if line.get_label() == "two")
    np.testing.assert_allclose(line.get_ydata(), np.mean(CURVES["two"], axis=0))
    assert {text.get_text() for text in axes.texts} == set(LEVELS)


def test_the_layers_show_every_block_and_every_state():
    got = picture(pictures.draw_layers).numbers
    assert got["four: mean branch over skip"] == pytest.approx(np.mean(RATIOS["four"]))
    assert got["four: move of the output"] == MOVES["four"][-1]
    left, right = drawn(pictures.draw_layers)
    assert list(left.lines[0].get_xdata()) == list(range(1, 13))
    assert list(right.lines[0].get_xdata()) == list(range(13))
