"""What the exercises on six matching tasks promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from minilib import layernorm as ln
from minilib import matching as match
from minilib import matching_exercises as ex
from minilib.bert import BERT_SIZES

# What would give an exercise away, written as a reader would recognise it; for tests/test_exercises.py.
SECRETS = {
    "7.1": [r"\[:, None\]"],
    "7.2": [r"\\sum_i g_i", r"\.sum\(0\)"],
    "7.3": [r"2L\+1", r"2 \* layers \+ 1", r"12,845"],
    "7.4": [r"-\(b\[1\] - b\[0\]\)", r"W\[:, 1\] - W\[:, 0\]"],
    "7.5": [r"m/T", r"np\.diff"],
    "7.6": [r"0\.875", r"2 ?/ ?\(2 ?\+ ?q\)"],
    "7.7": [r"task % 2", r"even numbers"],
    "7.8": [r"80\.0", r"outvote it"],
}

LEAST_MISTAKES = 3
"""The open exercise has three requirements."""


# ---------------------------------------------------------------------------------------------------------------
# the reference solutions, against what defines them


def test_the_norm_is_the_librarys_and_without_matrices_the_plain_one():
    x, c, gamma, beta, W_gamma, W_beta = ex._norm_inputs(np.random.default_rng(0))
    want = ln.conditional_layer_norm(x, c, gamma, beta, W_gamma, W_beta, 0.0)
    np.testing.assert_allclose(ex.conditional_norm(x, c, gamma, beta, W_gamma, W_beta), want, rtol=1e-11)
    plain = ex.conditional_norm(x, c, gamma, beta, 0 * W_gamma, 0 * W_beta)
    np.testing.assert_allclose(plain, ln.layer_norm(x, gamma, beta, 0.0), rtol=1e-11)


def test_the_gradient_of_the_condition_is_the_librarys_and_zero_with_the_matrices():
    x_hat, g, W_gamma, W_beta = ex._gradient_inputs(np.random.default_rng(0))
    c = np.ones((1, ex.K))
    want = ln.conditional_gradients(x_hat[None], c, W_gamma, W_beta, g[None], eps=0.0).c[0]
    np.testing.assert_allclose(ex.condition_gradient(x_hat, g, W_gamma, W_beta), want, rtol=1e-10)
    assert not ex.condition_gradient(x_hat, g, 0 * W_gamma, 0 * W_beta).any()


def test_the_parameters_are_those_of_the_published_baseline_and_of_bert_large():
    assert ex.added_parameters(12, 768, 128, 6) == match.conditional_parameters(BERT_SIZES["BERT base, uncased"], 6)
    assert ex.added_parameters(24, 1024, 128, 6) == 12_845_824


def test_a_text_at_the_threshold_has_two_equal_logits():
    rng = np.random.default_rng(0)
    C, beta, W_beta, W, b = ex._threshold_inputs(rng)
    gamma, w = rng.normal(size=ex.D), W[:, 1] - W[:, 0]
    for theta, c in zip(ex.thresholds(C, beta, W_beta, W, b), C, strict=True):
        x_hat = rng.normal(size=ex.D)
        x_hat *= theta / (gamma * w @ x_hat)
        no, yes = (gamma * x_hat + beta + W_beta @ c) @ W + b
        assert no == pytest.approx(yes, rel=1e-9)


def test_no_answer_that_knows_the_score_alone_is_better_than_the_best():
    t = np.array([0.2, 0.5, 0.9])
    s = (np.arange(10_000) + 0.5) / 10_000
    labels = s > t[:, None]
    band = np.searchsorted(t, s)
    rules = itertools.product([False, True], repeat=4)
    best = max((labels == np.array(rule)[band]).mean() for rule in rules)
    assert ex.best_blind(t) == pytest.approx(best, abs=1e-3)
    assert ex.best_blind(np.array([0.2, 0.9])) == pytest.approx(0.65)


def test_the_two_f1_are_those_of_the_pairs_of_the_chapter():
    """Two thirds contested: 0.875 and 0.75; and by counting 12 pairs of three reports."""
    assert ex.blind_f1(2 / 3) == pytest.approx((0.875, 0.75))
    kinds = ["same", "sibling", "sibling"] + ["random"] * 3 + ["same"] * 3 + ["random", "sibling", "sibling"]
    y, task = np.array([1] * 3 + [0] * 3 + [1] * 3 + [0] * 3), np.array([0] * 6 + [1] * 6)
    for said, want in zip((("same", "sibling"), ("same",)), ex.blind_f1(2 / 3), strict=True):
        p = np.array([float(kind in said) for kind in kinds])
        assert float(match.contest_f1(p, y, task).mean) == pytest.approx(want)


def test_the_score_is_the_librarys():
    p, y, task = ex._contest_inputs(np.random.default_rng(0))
    assert ex.contest(p, y, task) == pytest.approx(float(match.contest_f1(p, y, task).mean))


def test_the_plain_sum_helps_three_tasks_and_the_fair_one_hurts_one():
    g = ex.betrayed()
    assert (g @ g.sum(0)).min() > 0 > (g @ match.balanced(g)).min()
    assert math.isclose(np.linalg.norm(g, axis=1).max(), 2)
