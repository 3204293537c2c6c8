"""What a checked derivation promises."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib import derive
from minilib.derive import Derivation, FalseLine


def square():
    d = Derivation("A square", x=(-2.0, 2.0))
    d.start("(x+1)^2", lambda x: (x + 1) ** 2)
    return d


def test_the_example_in_the_documentation_is_true():
    assert doctest.testmod(derive).failed == 0
    assert doctest.testmod(derive).attempted > 2


def test_a_true_line_says_how_closely_it_holds():
    d = square()
    d.equals("x^2+2x+1", lambda x: x**2 + 2 * x + 1, because="binomial theorem")
    assert d.lines[-1].mark == "✓ to rounding"
    d.equals("x^2+2x+1+10^{-7}", lambda x: x**2 + 2 * x + 1 + 1e-7, because="nearly", tolerance=1e-2)
    assert d.lines[-1].mark.startswith("✓ within 1e-")


def test_a_false_line_names_itself_the_point_and_both_values():
    d = square()
    with pytest.raises(FalseLine) as caught:
        d.equals("x^2+1", lambda x: x**2 + 1, because="carelessness")
    words = str(caught.value)
    assert "line 2 of 'A square' does not hold" in words
    assert "(x+1)^2" in words
    assert "x^2+1" in words
    x = float(words.split("at x = ")[1].split("\n")[0])
    shown = [float(line.rsplit("=", 1)[1]) for line in words.split("\n")[1:3]]
    assert shown == pytest.approx([(x + 1) ** 2, x**2 + 1], rel=1e-5)
    assert len(d.lines) == 1


@given(st.floats(1e-9, 1e3))
def test_no_error_beyond_the_tolerance_slips_through(error):
    d = Derivation("One", x=(1.0, 2.0))
    d.start("x", lambda x: x)
    with pytest.raises(FalseLine):
        d.equals("wrong", lambda x: x * (1 + error), because="no")


def test_an_approximation_states_its_accuracy_and_its_region():
    d = Derivation("The sine of a small angle", x=(0.01, 1.5))
    d.start(r"\sin x", np.sin)
    with pytest.raises(FalseLine, match=r"allowed 0\.01"):
        d.approximates("x", lambda x: x, within=0.01, because="Taylor")
    d.approximates("x", lambda x: x, within=0.01, because="Taylor", where=("x < 0.24", lambda x: x < 0.24))
    assert d.lines[-1].condition == "x < 0.24"
    assert 0 < float(d.lines[-1].mark.split()[2]) < 1


def test_a_condition_stays_in_force_for_the_lines_that_build_on_it():
    d = Derivation("An absolute value", x=(-1.0, 1.0))
    d.start("|x|", abs)
    d.equals("x", lambda x: x, because="no sign to drop", given=("x > 0", lambda x: x > 0))
    d.equals("|x|", abs, because="still positive")


def test_a_condition_that_hardly_any_point_fulfils_is_refused():
    with pytest.raises(ValueError, match="only 0 points fulfil 'x > 9'"):
        square().equals("x", lambda x: x, because="?", given=("x > 9", lambda x: x > 9))


def test_a_bound_says_how_nearly_it_is_reached_and_fails_when_crossed():
    d = Derivation("A bound", x=(0.0, 1.0))
    d.start("x(1-x)", lambda x: x * (1 - x))
    d.at_most(r"\tfrac14", lambda: 0.25, because="its maximum")
    assert d.lines[-1].mark in {"≤ reached to 99 percent", "≤ reached to 100 percent"}
    d.at_least("0.2", lambda: 0.2, because="smaller still")
    with pytest.raises(FalseLine, match=r"≤ 0\.1"):
        d.at_most("0.1", lambda: 0.1, because="no")


def test_bounds_of_negative_values_hold_too():
    d = Derivation("Below zero", x=(0.5, 1.0))
    d.start("-x", lambda x: -x)
    d.at_most("0.1", lambda: 0.1, because="negative")
    with pytest.raises(FalseLine):
        d.at_most("-1", lambda: -1.0, because="no")


def test_what_is_not_a_number_is_false():
    d = square()
    with pytest.raises(FalseLine, match="nan"):
        d.equals("?", lambda x: float("nan"), because="?", tolerance=float("inf"))
    with pytest.raises(FalseLine, match="the first line"):
        Derivation("Nothing", x=(0.0, 1.0)).start("?", lambda x: float("inf"))


def test_arrays_are_compared_entry_by_entry_and_never_broadcast():
    d = Derivation("Vectors", x=lambda rng: rng.normal(size=3))
    d.start("x", lambda x: x)
    with pytest.raises(FalseLine):
        d.equals("first entry changed", lambda x: x + np.array([1e-3, 0, 0]), because="no")
    with pytest.raises(FalseLine, match=r"shape \(\) after \(3,\)"):
        d.equals("one number", lambda x: x[0], because="no")


def test_the_points_are_the_same_in_every_run_and_other_with_another_seed():
    def drawn(seed):
        seen = []
        Derivation("d", seed=seed, x=(0.0, 1.0)).start("x", lambda x: seen.append(x) or x)
        return seen

    assert drawn(0) == drawn(0) != drawn(1)
    assert len(set(drawn(0))) == 64


def test_misuse_is_explained():
    with pytest.raises(ValueError, match="begin the derivation with start"):
        Derivation("d", x=(0.0, 1.0)).equals("x", abs, because="?")
    with pytest.raises(ValueError, match="has started already"):
        square().start("x", abs)
    with pytest.raises(ValueError, match="at least one variable"):
        Derivation("d")
    with pytest.raises(ValueError, match=r"x = \(1.0, 0.0\) is no interval"):
        Derivation("d", x=(1.0, 0.0))


def test_it_is_readable_as_text_and_as_mathematics():
    d = square()
    d.equals("x^2+2x+1", lambda x: x**2 + 2 * x + 1, because="binomial theorem", given=("x > 0", lambda x: x > 0))
    assert str(d).splitlines()[2] == "  2    = x^2+2x+1   ✓ to rounding   if x > 0   (binomial theorem)"
    tex = d._repr_latex_()
    assert tex.startswith("$$\\begin{aligned}")
    assert r"&=\; x^2+2x+1 && \text{✓ to rounding}" in tex
    assert r"\small\text{if x > 0; binomial theorem}" in tex
