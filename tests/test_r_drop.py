"""What dropout twice promises."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext

import dialects
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import r_drop as rd

B, N, C = 5, 7, 3
"""Samples, units and classes: different primes, so that no axes can be mistaken."""


def logits(seed=0, shape=(B, C), scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def labels(seed=3, shape=(B,)):
    return np.random.default_rng(seed).integers(0, C, shape)


def model(seed=0, n=N, scale=1.0):
    """x, W and b of a softmax regression."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), scale * rng.normal(size=(C, n)), rng.normal(size=C)


def all_sub_models(p, seed=0, n=N, scale=1.0):
    """The logits of all sub-models, how often each is drawn, and the logits without dropout."""
    x, W, b = model(seed, n, scale)
    masks = rd.dropout_masks(n, x)
    return rd.sub_model_logits(x, W, b, masks, p), rd.mask_probabilities(masks, p), W @ x + b


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def exact(z, w):
    """KL(p‖q) and J in so many decimals that no rounding counts."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -(10**9), 10**9
        p, q = ([Decimal(float(v)).exp() for v in row] for row in (z, w))
        p, q = ([v / sum(row) for v in row] for row in (p, q))
        kl = [sum(a * (a / b).ln() for a, b in zip(one, other, strict=True)) for one, other in ((p, q), (q, p))]
        return float(kl[0]), max(0.0, float(sum(kl) / 2))


# ---------------------------------------------------------------------------------------------------------------
# how far two answers are apart: theorems and limits


def test_the_example_of_the_essay_has_a_divergence_that_cross_entropy_does_not_see():
    p, q = np.log([0.5, 0.2, 0.3]), np.log([0.5, 0.3, 0.2])
    for got in (rd.kl_divergence(p, q), rd.kl_divergence(q, p), rd.symmetric_kl(p, q)):
        assert got == pytest.approx(0.1 * math.log(1.5), rel=1e-13)
        assert round(float(got), 6) == 0.040547
    target = np.array(0)
    assert rd.cross_entropy(p, target) == pytest.approx(rd.cross_entropy(q, target), rel=1e-15)


def test_the_divergence_is_zero_where_the_two_agree_and_only_there():
    z = logits()
    np.testing.assert_array_equal(rd.symmetric_kl(z, z), 0)
    np.testing.assert_array_equal(rd.kl_divergence(z, z), 0)
    assert (rd.symmetric_kl(z, logits(1)) > 1e-3).all()


def test_adding_a_number_to_all_logits_of_a_sample_changes_nothing():
    z, w, shift = logits(), logits(1), logits(2, (B, 1), 50)
    np.testing.assert_allclose(rd.symmetric_kl(z + shift, w), rd.symmetric_kl(z, w), rtol=1e-11)
    assert (rd.symmetric_kl(z + shift, z) < 1e-13).all()


def test_the_symmetric_divergence_is_the_mean_of_both_directions():
    z, w = logits(), logits(1)
    want = (rd.kl_divergence(z, w) + rd.kl_divergence(w, z)) / 2
    np.testing.assert_allclose(rd.symmetric_kl(z, w), want, rtol=1e-12)
    np.testing.assert_array_equal(rd.symmetric_kl(z, w), rd.symmetric_kl(w, z))
    assert np.abs(rd.kl_divergence(z, w) - rd.kl_divergence(w, z)).max() > 0.01


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-700, 700), st.floats(-700, 700)), min_size=2, max_size=5),
    st.sampled_from([1e-9, 1e-5, 1e-2, 1.0]),
)
def test_both_divergences_are_exact_for_any_logits(pairs, closeness):
    z, w = np.array(pairs).T
    w = z + closeness * (w - z)
    kl, both = exact(z, w)
    a, b = rd.kl_divergence(z, w), rd.symmetric_kl(z, w)
    assert b >= 0
    # The differences of logits are known up to a rounding of the largest.
    rounding = 1e-15 * (1 + np.abs([z, w]).max())
    assert b == pytest.approx(both, rel=1e-12 + 20 * rounding, abs=20 * rounding * math.sqrt(both) + 1e-55)
    assert a == pytest.approx(kl, rel=1e-12 + 20 * rounding, abs=20 * rounding)


def test_two_answers_that_are_nearly_the_same_lose_no_digits():
    z, delta = logits(), logits(1)
    for size in (1e-3, 1e-5, 1e-7):
        w = z + size * delta
        want = [exact(*row)[1] for row in zip(z, w, strict=True)]
        np.testing.assert_allclose(rd.symmetric_kl(z, w), want, rtol=1e-14 / size)
    one_way = [exact(*row)[0] for row in zip(z, w, strict=True)]
    assert np.abs(rd.kl_divergence(z, w) / one_way - 1).max() > 0.01  # the control: terms of both signs


@pytest.mark.parametrize("size", [1e3, 1e8, 1e300])
def test_extreme_logits_give_the_finite_value(size):
    z, w = np.array([[size, 0.0, -size]]), np.array([[-size, 0.0, size]])
    np.testing.assert_allclose(rd.symmetric_kl(z, w), 2 * size, rtol=1e-12)
    np.testing.assert_allclose(rd.kl_divergence(z, w), 2 * size, rtol=1e-12)
    labels = np.array([2])
    np.testing.assert_allclose(rd.r_drop_loss(z, w, labels, 0.5), 2 * size + size, rtol=1e-12)
    assert np.isfinite(rd.symmetric_kl_gradient(z, w)).all()


def test_a_class_excluded_in_both_passes_adds_nothing_and_in_one_makes_it_infinite():
    z, w = logits(shape=(B, 2)), logits(1, (B, 2))
    with_it = [np.concatenate([a, np.full((B, 1), -math.inf)], 1) for a in (z, w)]
    np.testing.assert_array_equal(rd.symmetric_kl(*with_it), rd.symmetric_kl(z, w))
    np.testing.assert_array_equal(rd.kl_divergence(*with_it), rd.kl_divergence(z, w))
    np.testing.assert_array_equal(rd.symmetric_kl_gradient(*with_it)[:, :2], rd.symmetric_kl_gradient(z, w))
    other = np.concatenate([w, np.zeros((B, 1))], 1)
    assert np.isinf(rd.symmetric_kl(with_it[0], other)).all()
    assert np.isfinite(rd.kl_divergence(with_it[0], other)).all()
    assert np.isinf(rd.kl_divergence(other, with_it[0])).all()


def test_nan_stays_visible():
    z = logits()
    z[1, 2] = math.nan
    found = rd.symmetric_kl(z, logits(1))
    assert np.isnan(found[1])
    assert np.isfinite(np.delete(found, 1)).all()


def test_near_each_other_both_divergences_are_half_a_variance():
    z, delta = logits(), logits(1)
    for size in (1e-2, 1e-4):
        want = rd.quadratic_kl(z, size * delta)
        np.testing.assert_allclose(rd.symmetric_kl(z, z + size * delta), want, rtol=2 * size)
        np.testing.assert_allclose(rd.kl_divergence(z, z + size * delta), want, rtol=10 * size)
    p = softmax(z)
    F = np.stack([np.diag(one) - np.outer(one, one) for one in p])
    want = 0.5 * np.einsum("bi,bij,bj->b", delta, F, delta)
    np.testing.assert_allclose(rd.quadratic_kl(z, delta), want, rtol=1e-12)


def test_the_gradient_is_the_slope_and_sums_to_zero():
    z, w, h = logits(), logits(1), 1e-6
    slope = np.stack([rd.symmetric_kl(z + h * e, w) - rd.symmetric_kl(z - h * e, w) for e in np.eye(C)], -1) / (2 * h)
    np.testing.assert_allclose(rd.symmetric_kl_gradient(z, w), slope, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(rd.symmetric_kl_gradient(z, w).sum(-1), 0, atol=1e-15)
    np.testing.assert_array_equal(rd.symmetric_kl_gradient(z, z), 0)
    assert np.abs(rd.symmetric_kl_gradient(w, z) + slope).max() > 0.01  # the two are not pulled equally hard


@pytest.mark.torch
def test_autograd_finds_the_same_gradient_and_the_curvature_where_both_agree():
    torch = pytest.importorskip("torch")
    z, w = (torch.tensor(logits(seed), requires_grad=True) for seed in (0, 1))
    rd.symmetric_kl(z, w).sum().backward()
    for mine, other in ((z, w), (w, z)):
        want = rd.symmetric_kl_gradient(mine.detach().numpy(), other.detach().numpy())
        np.testing.assert_allclose(mine.grad, want, rtol=1e-10, atol=1e-14)
    p = torch.tensor(softmax(logits()[0]))
    H = torch.autograd.functional.hessian(lambda a: rd.symmetric_kl(a, z[0].detach()), z[0].detach())
    torch.testing.assert_close(H, torch.diag(p) - torch.outer(p, p))


@pytest.mark.torch
def test_torch_agrees_if_its_arguments_are_given_in_its_own_order():
    """kl_div(log p, q) is KL(q‖p): the wrong way round for one who reads from the left."""
    torch = pytest.importorskip("torch")
    z, w = (torch.tensor(logits(seed)) for seed in (0, 1))
    log_softmax = torch.nn.functional.log_softmax
    got = torch.nn.functional.kl_div(log_softmax(z, -1), log_softmax(w, -1), reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(got, rd.kl_divergence(w, z))
    torch.testing.assert_close(rd.log_probabilities(z), log_softmax(z, -1))


# ---------------------------------------------------------------------------------------------------------------
# losses


def test_the_loss_is_its_definition_one_number_at_a_time():
    z, w, y, alpha = logits(), logits(1), labels(), 4.0
    for i in range(B):
        p, q = ([math.exp(v) / sum(map(math.exp, row)) for v in row] for row in (z[i], w[i]))
        kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        lk = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        want = -math.log(p[y[i]]) - math.log(q[y[i]]) + alpha * (kl + lk) / 2
        assert rd.r_drop_loss(z, w, y, alpha)[i] == pytest.approx(want, rel=1e-12)


def test_the_general_loss_with_the_divergence_of_a_one_hot_target_is_the_papers():
    z, w, y = logits(), logits(1), labels()
    hot = np.where(np.eye(C)[y] == 1, 0.0, -math.inf)
    got = rd.general_loss(rd.kl_divergence, hot, z, w, 4.0)
    np.testing.assert_allclose(got, rd.r_drop_loss(z, w, y, 4.0), rtol=1e-12)


def test_the_loss_of_the_essays_code_is_half_the_papers():
    z, w, y = logits(), logits(1), labels()
    doubled, twice = np.empty((2 * B, C)), np.repeat(y, 2)
    doubled[::2], doubled[1::2] = z, w
    want = rd.r_drop_loss(z, w, y, 4.0).mean() / 2
    assert rd.essay_loss(doubled, twice, 4.0) == pytest.approx(want, rel=1e-13)


def test_regression_weighs_the_variance_of_dropout_by_one_plus_alpha_exactly():
    z, weights, _ = all_sub_models(0.3)
    f, y, alpha = z[:, 0], 0.7, 4.0
    pairs, both = np.meshgrid(f, f), np.outer(weights, weights)
    got = (both * rd.regression_loss(*pairs, np.full_like(pairs[0], y), alpha)).sum()
    mean = weights @ f
    variance = weights @ (f - mean) ** 2
    assert got == pytest.approx(2 * ((mean - y) ** 2 + (1 + alpha) * variance), rel=1e-12)


def test_the_mean_over_tokens_is_that_of_each_text_alone_weighted_by_its_length():
    z, w, y = logits(shape=(B, N, C)), logits(1, (B, N, C)), labels(shape=(B, N))
    lengths = np.array([7, 1, 3, 5, 2])
    real = np.arange(N) < lengths[:, None]
    values = rd.r_drop_loss(z, w, y, 4.0)
    got = rd.token_mean(values, real)
    alone = [rd.r_drop_loss(z[i, :k], w[i, :k], y[i, :k], 4.0).sum() for i, k in enumerate(lengths)]
    assert got == pytest.approx(sum(alone) / lengths.sum(), rel=1e-12)
    assert rd.token_mean(np.where(real, values, np.nan), real) == got
    assert values.mean() != pytest.approx(got, rel=1e-3)


# ---------------------------------------------------------------------------------------------------------------
# what programs call alpha


def translation(z, w, y, alpha, np_):
    """Everything is summed, and the gradient is divided by the number of tokens."""
    p, q = z - np_.logaddexp.reduce(z, 1, keepdims=True), w - np_.logaddexp.reduce(w, 1, keepdims=True)
    rows = range(len(y))
    kl = ((np_.exp(q) * (q - p)).sum() + (np_.exp(p) * (p - q)).sum()) / 2
    return (-p[rows, y].sum() - q[rows, y].sum() + alpha * kl) / len(y)


def parts(z, w, y):
    """Mean cross-entropy of each pass, and both divergences summed over the batch."""
    p, q = (a - np.logaddexp.reduce(a, 1, keepdims=True) for a in (z, w))
    rows = range(len(y))
    return -p[rows, y].mean(), -q[rows, y].mean(), (np.exp(q) * (q - p)).sum(), (np.exp(p) * (p - q)).sum()


def written_out(name, z, w, y, alpha):
    """The programs' losses, each as it is written there."""
    first, second, kl, reverse = parts(z, w, y)
    size = len(y)
    return {
        "paper": first + second + alpha * (kl + reverse) / 2 / size,
        "essay": (first + second) / 2 + (kl + reverse) / size / 4 * alpha,
        "translation": translation(z, w, y, alpha, np),
        "readme": 0.5 * (first + second) + alpha * (kl + reverse) / 2,
        "BERT": first + second + alpha * (kl + reverse) / 2,
        "ViT": first + second + alpha * (kl + reverse),
    }[name]


@pytest.mark.parametrize("convention", rd.CONVENTIONS, ids=lambda c: c.name)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_row_of_the_table_is_the_loss_of_its_program(convention, size):
    z, w, y = logits(shape=(size, C)), logits(1, (size, C)), labels(shape=(size,))
    alpha = 0.7 if convention.alpha is None else convention.alpha
    want = written_out(convention.name, z, w, y, alpha)
    assert convention.loss(z, w, y, alpha) == pytest.approx(want, rel=1e-12)
    mean = rd.r_drop_loss(z, w, y, convention.effective(size, alpha)).mean()
    assert want == pytest.approx(convention.entropies * mean, rel=1e-12)


def test_the_effective_alpha_of_the_table_grows_with_the_batch_where_the_divergence_is_summed():
    found = {c.name: [c.effective(size, c.alpha or 1.0) for size in (1, 8, 32)] for c in rd.CONVENTIONS}
    assert found == {
        "paper": [1, 1, 1],
        "essay": [4, 4, 4],
        "translation": [5, 5, 5],
        "readme": [2, 16, 64],
        "BERT": [0.5, 4, 16],
        "ViT": [0.6, 4.8, pytest.approx(19.2)],
    }
    assert [c.name for c in rd.CONVENTIONS if c.summed] == ["readme", "BERT", "ViT"]


# ---------------------------------------------------------------------------------------------------------------
# sub-models


def test_the_masks_are_all_masks_once_and_their_probabilities_those_of_dropout():
    masks = rd.dropout_masks(5, np.zeros(1))
    assert {tuple(row) for row in masks} == set(itertools.product((0.0, 1.0), repeat=5))
    assert len(masks) == 32
    for p in (0.0, 0.3):
        weights = rd.mask_probabilities(masks, p)
        assert weights.sum() == pytest.approx(1, rel=1e-14)
        np.testing.assert_allclose(weights @ masks, 1 - p)
        assert weights[1] == pytest.approx((1 - p) * p**4)
    assert (rd.mask_probabilities(masks, 0.0) == (masks.sum(-1) == 5)).all()


def test_sub_models_have_the_logits_without_dropout_on_average_and_the_covariance_of_its_formula():
    for p in (0.1, 0.5):
        z, weights, off = all_sub_models(p)
        np.testing.assert_allclose(weights @ z, off, rtol=1e-12)
        x, W, _ = model()
        want = (weights[:, None] * (z - off)).T @ (z - off)
        np.testing.assert_allclose(rd.input_dropout_covariance(x, W, p), want, rtol=1e-10)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_the_geometric_mean_over_all_masks_is_weight_scaling_and_the_arithmetic_is_not(p):
    z, weights, off = all_sub_models(p, n=10)
    np.testing.assert_allclose(rd.geometric_mean(z, weights), softmax(off), rtol=1e-10)
    by_hand = np.exp(weights @ np.log(softmax(z)))
    np.testing.assert_allclose(rd.geometric_mean(z, weights), by_hand / by_hand.sum(), rtol=1e-10)
    arithmetic = rd.arithmetic_mean(z, weights)
    np.testing.assert_allclose(arithmetic, weights @ softmax(z), rtol=1e-12)
    gap = rd.averaging_gap(z, weights, off)
    assert gap == pytest.approx(np.abs(arithmetic - softmax(off)).max(), rel=1e-9)
    assert gap > 0.005


def test_a_hidden_relu_layer_breaks_the_identity():
    """The control: weight scaling is the geometric mean of a softmax-linear model, not of any network."""
    rng, p = np.random.default_rng(0), 0.5
    x, W, V = rng.normal(size=N), rng.normal(size=(11, N)), 0.3 * rng.normal(size=(C, 11))
    masks = rd.dropout_masks(N, x)
    z = np.maximum((masks * x / (1 - p)) @ W.T, 0) @ V.T
    off = np.maximum(x @ W.T, 0) @ V.T
    weights = rd.mask_probabilities(masks, p)
    assert np.abs(rd.geometric_mean(z, weights) - softmax(off)).max() > 0.02


def test_the_implicit_penalty_is_what_dropout_adds_to_the_cross_entropy_of_any_label():
    for p in (0.05, 0.5):
        z, weights, off = all_sub_models(p)
        for y in range(C):
            mean = weights @ rd.cross_entropy(z, np.full(len(z), y))
            want = mean - rd.cross_entropy(off, np.array(y))
            assert rd.implicit_penalty(z, weights) == pytest.approx(want, rel=1e-9)


def test_the_expected_divergence_is_the_mean_over_all_pairs_of_masks():
    z, weights, _ = all_sub_models(0.3, n=5)
    first, second = (np.broadcast_to(a, (32, 32, C)) for a in (z[:, None], z[None]))
    want = weights @ rd.symmetric_kl(first, second) @ weights
    assert rd.expected_symmetric_kl(z, weights) == pytest.approx(want, rel=1e-12)


def test_of_a_few_random_masks_the_expected_divergence_is_too_small_by_one_part_in_k():
    z, weights, _ = all_sub_models(0.3, n=5)
    rng, K, found = np.random.default_rng(0), 3, []
    for _ in range(1000):
        drawn = z[rng.choice(32, K, p=weights)]
        found.append(rd.expected_symmetric_kl(drawn, np.full(K, 1 / K)))
    assert np.mean(found) == pytest.approx((1 - 1 / K) * rd.expected_symmetric_kl(z, weights), rel=0.06)


def test_without_dropout_there_is_no_divergence_no_penalty_and_no_gap():
    z, weights, off = all_sub_models(0.0)
    assert rd.expected_symmetric_kl(z, weights) == pytest.approx(0, abs=1e-14)
    assert rd.implicit_penalty(z, weights) == pytest.approx(0, abs=1e-14)
    assert rd.averaging_gap(z, weights, off) == pytest.approx(0, abs=1e-14)


def ratios(p, models=40, scale=1.0):
    """Expected divergence over implicit penalty of so many random softmax regressions."""
    found = [all_sub_models(p, seed, scale=scale)[:2] for seed in range(models)]
    return np.array([rd.expected_symmetric_kl(*one) / rd.implicit_penalty(*one) for one in found])


def test_the_divergence_is_twice_the_implicit_penalty_while_dropout_moves_the_logits_little():
    for scale in (0.1, 0.01):
        assert np.abs(ratios(0.1, scale=scale) / 2 - 1).max() < scale
    medians = [np.median(ratios(p, scale=N**-0.5)) for p in (0.05, 0.1, 0.3, 0.5)]
    assert medians == sorted(medians, reverse=True)
    assert 1.85 < medians[-1] < medians[0] < 2.1


def test_a_small_rate_does_not_make_it_twice_the_penalty_but_small_units_do():
    """At p → 0 one unit is missing at a time, and what counts is how far that moves the logits."""
    for seed in range(3):
        z, weights, off = all_sub_models(1e-6, seed)
        x, W, _ = model(seed)
        without = off - (W * x).T
        whole = np.broadcast_to(off, without.shape)
        want = 2 * rd.symmetric_kl(whole, without).sum() / rd.kl_divergence(whole, without).sum()
        assert rd.expected_symmetric_kl(z, weights) / rd.implicit_penalty(z, weights) == pytest.approx(want, rel=1e-3)
    assert ratios(1e-6).max() > 3


def test_to_second_order_both_are_the_trace_of_fisher_times_covariance():
    p = 0.1
    for scale in (0.03, 0.003):
        z, weights, off = all_sub_models(p, scale=scale)
        x, W, _ = model(scale=scale)
        Sigma = rd.input_dropout_covariance(x, W, p)
        q = softmax(off)
        trace = np.trace((np.diag(q) - np.outer(q, q)) @ Sigma)
        assert rd.fisher_trace(off, Sigma) == pytest.approx(trace, rel=1e-10)
        assert rd.expected_symmetric_kl(z, weights) == pytest.approx(trace, rel=3 * scale)
        assert rd.implicit_penalty(z, weights) == pytest.approx(trace / 2, rel=3 * scale)


def test_the_second_order_mean_is_half_the_curvature_times_the_covariance():
    z, h = logits()[0], 1e-3
    A = np.random.default_rng(0).normal(size=(C, C))
    Sigma = A @ A.T
    steps = np.linalg.cholesky(Sigma).T
    curved = sum(softmax(z + h * s) + softmax(z - h * s) - 2 * softmax(z) for s in steps) / h**2
    np.testing.assert_allclose(rd.second_order_mean(z, Sigma) - softmax(z), curved / 2, rtol=1e-5)
    assert rd.second_order_mean(z, Sigma).sum() == pytest.approx(1, rel=1e-14)
    np.testing.assert_allclose(rd.second_order_mean(z, 0 * Sigma), softmax(z), rtol=1e-15)


def test_the_second_order_mean_meets_the_arithmetic_mean_as_the_weights_shrink():
    for scale in (0.2, 0.1, 0.05):
        error = gap = 0.0
        for seed in range(20):
            z, weights, off = all_sub_models(0.2, seed, scale=scale)
            x, W, _ = model(seed, scale=scale)
            guess = rd.second_order_mean(off, rd.input_dropout_covariance(x, W, 0.2))
            error += np.abs(guess - rd.arithmetic_mean(z, weights)).max()
            gap += rd.averaging_gap(z, weights, off)
        assert error < 1.5 * scale * gap


def test_the_equivalent_rate_multiplies_the_odds():
    for p, alpha, want in ((0.1, 1, 0.182), (0.1, 4, 0.357), (0.1, 5, 0.4), (0.3, 1, 0.462), (0.3, 4, 0.682)):
        rate = rd.equivalent_rate(p, alpha)
        assert round(rate, 3) == want
        assert rate / (1 - rate) == pytest.approx((1 + alpha) * p / (1 - p))
        assert rd.equivalent_alpha(p, rate) == pytest.approx(alpha)
    assert rd.equivalent_alpha(0.1, 0.5) == pytest.approx(8)
    assert rd.equivalent_rate(0.0, 4) == 0
    assert rd.equivalent_rate(0.3, 0) == pytest.approx(0.3)


def test_r_drop_has_nearly_the_loss_of_dropout_at_the_equivalent_rate():
    """Twice the cross-entropy at p', up to higher orders, where the weights are small; not at the rate p itself."""
    p, alpha, scale = 0.1, 4.0, 0.05
    for seed in range(5):
        z, weights, off = all_sub_models(p, seed, scale=scale)
        r_drop = 2 * rd.implicit_penalty(z, weights) + alpha * rd.expected_symmetric_kl(z, weights)
        other = all_sub_models(rd.equivalent_rate(p, alpha), seed, scale=scale)
        np.testing.assert_allclose(other[2], off)
        assert r_drop == pytest.approx(2 * rd.implicit_penalty(*other[:2]), rel=scale)
        assert r_drop > 4 * 2 * rd.implicit_penalty(z, weights)


# ---------------------------------------------------------------------------------------------------------------
# SimCSE


def slow_simcse(v, scale):
    total = 0.0
    for i in range(len(v)):
        cosines = [float(v[i] @ a / math.sqrt((v[i] @ v[i]) * (a @ a))) for a in v]
        others = [math.exp(scale * c) for j, c in enumerate(cosines) if j != i]
        total -= math.log(math.exp(scale * cosines[i + 1 if i % 2 == 0 else i - 1]) / sum(others))
    return total / len(v)


def test_simcse_is_its_definition_one_pair_at_a_time():
    v = logits(shape=(10, N))
    for scale in (1.0, 20.0):
        assert rd.simcse_loss(v, scale) == pytest.approx(slow_simcse(v, scale), rel=1e-10)


def test_a_temperature_of_a_twentieth_is_the_default_scale_and_lengths_do_not_count():
    v = logits(shape=(6, N))
    assert rd.simcse_loss(v) == rd.simcse_loss(v, 1 / 0.05)
    assert rd.simcse_loss(v * np.arange(1, 7)[:, None]) == pytest.approx(float(rd.simcse_loss(v)), rel=1e-12)


def test_pairs_at_right_angles_to_all_others_leave_what_the_scale_leaves():
    v = np.repeat(np.eye(N)[:5], 2, axis=0)
    assert rd.simcse_loss(v, 20.0) == pytest.approx(math.log1p(8 * math.exp(-20)), rel=1e-6)
    same = np.ones((10, N))
    assert rd.simcse_loss(same) == pytest.approx(math.log(9), rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# dialects


def formulas(xp, convert):
    """Every public array formula of the module on the same numbers, in the library that `convert` makes arrays of."""
    z, w, y = convert(logits()), convert(logits(1)), xp.asarray(labels())
    x, W, b = (convert(a) for a in model())
    masks = rd.dropout_masks(N, x)
    weights = rd.mask_probabilities(masks, 0.3)
    subs, off = rd.sub_model_logits(x, W, b, masks, 0.3), x @ W.T + b
    Sigma = rd.input_dropout_covariance(x, W, 0.3)
    real = xp.asarray(np.arange(C) < np.array([3, 1, 2, 3, 1])[:, None])
    doubled, twice = rd.consecutive_pairs(xp.concat([z, w])), xp.asarray(np.repeat(labels(), 2))
    out = [rd.log_probabilities(z), rd.kl_divergence(z, w), rd.symmetric_kl(z, w), rd.symmetric_kl_gradient(z, w)]
    out += [
        rd.quadratic_kl(z, w),
        rd.cross_entropy(z, y),
        rd.r_drop_loss(z, w, y, 4.0),
        *doubled,
        *rd.halves(xp.concat([z, w])),
    ]
    out += [rd.regression_loss(z[:, 0], w[:, 0], z[:, 1], 4.0), rd.token_mean(z, real)]
    out += [rd.general_loss(rd.kl_divergence, z, w, z, 1.0), rd.essay_loss(xp.concat([z, w]), twice, 4.0)]
    out += [c.loss(z, w, y, 1.0) for c in rd.CONVENTIONS]
    out += [masks, weights, subs, rd.arithmetic_mean(subs, weights), rd.geometric_mean(subs, weights)]
    out += [rd.implicit_penalty(subs, weights), rd.expected_symmetric_kl(subs, weights)]
    out += [rd.averaging_gap(subs, weights, off), Sigma, rd.fisher_trace(off, Sigma), rd.second_order_mean(off, Sigma)]
    return [*out, rd.simcse_logits(xp.concat([z, w])), rd.simcse_loss(xp.concat([z, w]))]


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    ours, theirs = formulas(np, np.asarray), formulas(xp, xp.asarray)
    assert len(ours) == len(theirs) > 30
    dialects.assert_same(ours, theirs, xp, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_float32(formulas(xp, lambda a: xp.asarray(a, dtype=xp.float32)), xp)


def test_batches_are_samples_alone():
    x, W, b = model()
    xs = np.stack([x, 2 * x, -x])
    masks = rd.dropout_masks(N, x)
    weights = rd.mask_probabilities(masks, 0.3)
    z, Sigma = rd.sub_model_logits(xs, W, b, masks, 0.3), rd.input_dropout_covariance(xs, W, 0.3)
    off = xs @ W.T + b
    batched = [
        rd.arithmetic_mean(z, weights),
        rd.geometric_mean(z, weights),
        rd.implicit_penalty(z, weights),
        rd.expected_symmetric_kl(z, weights),
        rd.averaging_gap(z, weights, off),
        rd.fisher_trace(off, Sigma),
        rd.second_order_mean(off, Sigma),
    ]
    for i, one in enumerate(xs):
        zi, Si = rd.sub_model_logits(one, W, b, masks, 0.3), rd.input_dropout_covariance(one, W, 0.3)
        alone = [
            rd.arithmetic_mean(zi, weights),
            rd.geometric_mean(zi, weights),
            rd.implicit_penalty(zi, weights),
            rd.expected_symmetric_kl(zi, weights),
            rd.averaging_gap(zi, weights, off[i]),
            rd.fisher_trace(off[i], Si),
            rd.second_order_mean(off[i], Si),
        ]
        for many, single in zip(batched, alone, strict=True):
            np.testing.assert_allclose(many[i], single, rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# what goes wrong

Z, Y = logits(), labels()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rd.symmetric_kl(Z, Z[:4]), r"z and w must have one shape .*\(5, 3\) and \(4, 3\)"),
        (lambda: rd.kl_divergence(Z, Z[:, :0]), "z and w must have one shape"),
        (lambda: rd.log_probabilities(Z[:, :0]), r"C ≥ 1 classes last, got \(5, 0\)"),
        (lambda: rd.symmetric_kl(Z, Y), "w must hold floats, got dtype int64"),
        (lambda: rd.cross_entropy(Z, Y[:4]), r"one for each row of z, shape \(5,\); got \(4,\) of int64"),
        (lambda: rd.cross_entropy(Z, Y * 1.0), r"labels must be integers, .* of float64"),
        (lambda: rd.cross_entropy(Z, Y + 1), "labels must lie between 0 and 2, got 1 to 3"),
        (lambda: rd.cross_entropy(Z, Y - 1), "got -1 to 1; give padding any class, and leave it out by token_mean"),
        (lambda: rd.r_drop_loss(Z, Z, Y, -1.0), r"alpha weighs the divergence, non-negative and finite, got -1\.0"),
        (lambda: rd.essay_loss(Z, Y, 1.0), r"even number of rows; got shape \(5, 3\): unpaired"),
        (lambda: rd.essay_loss(Z[:4], np.array([0, 0, 1, 2]), 1.0), "unpaired batch: the labels of 1 of 2 pairs"),
        (lambda: rd.halves(Z), r"got shape \(5, 3\): unpaired"),
        (lambda: rd.halves(Z[:0]), "unpaired"),
        (lambda: rd.regression_loss(Z[:, 0], Z[:, 0], Z[:, :1], 1.0), r"f, g and y must have one shape, .*\(5, 1\)"),
        (lambda: rd.token_mean(Z, Z > 9), "a sample is nothing but padding; leave it out of the batch"),
        (lambda: rd.token_mean(Z, Z), "real must be boolean, .* of float64"),
        (lambda: rd.token_mean(Z, Z[:, :1] > 0), r"shape \(5, 3\); got \(5, 1\) of bool"),
        (lambda: rd.CONVENTIONS[0].effective(8), "paper needs a batch of at least 1 and an alpha, got 8 and None"),
        (lambda: rd.CONVENTIONS[1].effective(0), "essay needs a batch of at least 1"),
        (lambda: rd.dropout_masks(21, Z), "n from 1 to 20; got 21: draw some masks instead"),
        (lambda: rd.mask_probabilities(np.ones(3), 1.0), r"at least 0 and below 1; got 1\.0"),
        (lambda: rd.sub_model_logits(Z[0], Z, Z[0], np.ones((2, 3)), 0.1), r"W must have shape \(…, 3, 3\)"),
        (lambda: rd.arithmetic_mean(Z, np.ones(3)), r"weights must have shape \(…, 5\)"),
        (lambda: rd.fisher_trace(Z[0], Z), r"Sigma must have shape \(…, 3, 3\)"),
        (lambda: rd.equivalent_alpha(0.3, 0.1), r"higher must be at least rate; got 0\.3 and 0\.1"),
        (lambda: rd.equivalent_alpha(0.0, 0.1), "R-Drop at a rate > 0 only adds"),
        (lambda: rd.simcse_loss(Z[:2]), r"at least two pairs of vectors, .* got \(2, 3\)"),
        (lambda: rd.simcse_loss(Z), "unpaired"),
        (lambda: rd.simcse_loss(Z[:4], 0.0), "a temperature is 1/scale"),
    ],
)
def test_bad_input_is_named_with_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
