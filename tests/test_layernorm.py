"""What normalisation promises."""

from __future__ import annotations

import math

import dialects
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.layernorm import (
    RELATIVES,
    adain,
    adaptive_residual,
    batch_norm,
    conditional_batch_norm,
    conditional_gradients,
    conditional_layer_norm,
    conditional_rms_norm,
    film,
    followed,
    instance_norm,
    layer_norm,
    rms_norm,
)

B, N, D, K = 2, 3, 7, 5


def numbers(seed=0, shape=(B, N, D)):
    return np.random.default_rng(seed).normal(size=shape)


def affine(seed=1):
    return numbers(seed, (D,)), numbers(seed + 1, (D,))


# ---------------------------------------------------------------------------------------------------------------
# theorems and limits


def test_the_features_of_a_token_come_out_with_mean_zero_and_variance_one():
    y = layer_norm(5 + 3 * numbers(), eps=0.0)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-13)


def test_the_root_mean_square_comes_out_as_one_and_the_direction_stays():
    x = 5 + 3 * numbers()
    y = rms_norm(x, eps=0.0)
    np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-13)
    np.testing.assert_allclose(y / y[..., :1], x / x[..., :1], rtol=1e-12)


@settings(deadline=None)
@given(scale=st.floats(0.1, 100), shift=st.floats(-100, 100))
def test_neither_scale_nor_shift_of_a_token_matters_to_layer_norm(scale, shift):
    np.testing.assert_allclose(
        layer_norm(scale * numbers() + shift, eps=0.0), layer_norm(numbers(), eps=0.0), atol=1e-9
    )


@settings(deadline=None)
@given(scale=st.floats(0.1, 100))
def test_the_scale_of_a_token_does_not_matter_to_rms_norm_but_a_shift_does(scale):
    np.testing.assert_allclose(rms_norm(scale * numbers(), eps=0.0), rms_norm(numbers(), eps=0.0), rtol=1e-12)
    assert np.abs(rms_norm(numbers() + 1) - rms_norm(numbers())).max() > 0.1


def test_layer_norm_is_rms_norm_of_the_centred_features():
    x = numbers()
    np.testing.assert_allclose(layer_norm(x, eps=0.3), rms_norm(x - x.mean(-1, keepdims=True), eps=0.3), rtol=1e-13)


def test_the_variance_is_over_d_and_epsilon_stands_under_the_root():
    x = np.array([1.0, 2.0, 6.0])
    want = [(v - 3) / math.sqrt(14 / 3 + 0.5) for v in x]
    np.testing.assert_allclose(layer_norm(x, eps=0.5), want, rtol=1e-14)
    np.testing.assert_allclose(rms_norm(x, eps=0.5), [v / math.sqrt(41 / 3 + 0.5) for v in x], rtol=1e-14)


def test_equal_features_become_beta_and_zeros_stay_zeros():
    gamma, beta = affine()
    np.testing.assert_allclose(layer_norm(np.full((N, D), 3.0), gamma, beta), np.tile(beta, (N, 1)), atol=1e-12)
    assert not rms_norm(np.zeros((N, D)), gamma).any()


def test_tokens_do_not_mix():
    x, (gamma, beta) = numbers(), affine()
    alone = np.stack([[layer_norm(x[b, i], gamma, beta) for i in range(N)] for b in range(B)])
    np.testing.assert_allclose(layer_norm(x, gamma, beta), alone, rtol=1e-13)


def test_gamma_and_beta_act_on_their_own_feature():
    x, (gamma, beta) = numbers(), affine()
    np.testing.assert_allclose(layer_norm(x, gamma, beta), layer_norm(x) * gamma + beta, rtol=1e-13)
    np.testing.assert_allclose(layer_norm(x, beta=beta), layer_norm(x) + beta, rtol=1e-13)
    np.testing.assert_allclose(rms_norm(x, gamma), rms_norm(x) * gamma, rtol=1e-13)


# ---------------------------------------------------------------------------------------------------------------
# a condition


def condition(seed=3):
    """A condition for each sample, and two matrices."""
    return numbers(seed, (B, K)), numbers(seed + 1, (D, K)), numbers(seed + 2, (D, K))


def test_with_matrices_of_zero_the_condition_changes_nothing():
    x, (gamma, beta), (c, W, _) = numbers(), affine(), condition()
    want = layer_norm(x, gamma, beta)
    for matrices in ((0 * W, 0 * W), (None, None), (0 * W, None), (None, 0 * W)):
        np.testing.assert_array_equal(conditional_layer_norm(x, c, gamma, beta, *matrices), want)
    np.testing.assert_array_equal(conditional_rms_norm(x, c, gamma, 0 * W), rms_norm(x, gamma))


def test_each_sample_has_the_scale_and_the_shift_of_its_condition_at_all_its_tokens():
    x, (gamma, beta), (c, W_gamma, W_beta) = numbers(), affine(), condition()
    y = conditional_layer_norm(x, c, gamma, beta, W_gamma, W_beta, eps=0.1)
    for b in range(B):
        for i in range(N):
            own = layer_norm(x[b, i], gamma + W_gamma @ c[b], beta + W_beta @ c[b], eps=0.1)
            np.testing.assert_allclose(y[b, i], own, rtol=1e-12)
        rms = conditional_rms_norm(x, c, gamma, W_gamma)[b]
        np.testing.assert_allclose(rms, rms_norm(x[b], gamma + W_gamma @ c[b]), rtol=1e-12)


def test_conditional_layer_norm_is_film_after_a_layer_norm_without_parameters():
    x, (gamma, beta), (c, W_gamma, W_beta) = numbers(), affine(), condition()
    y = conditional_layer_norm(x, c, gamma, beta, W_gamma, W_beta)
    want = film(layer_norm(x), gamma + c @ W_gamma.T, beta + c @ W_beta.T)
    np.testing.assert_allclose(y, want, rtol=1e-13)


def test_one_condition_serves_a_whole_batch_and_vectors_without_tokens_have_theirs():
    x, (gamma, beta), (c, W_gamma, W_beta) = numbers(), affine(), condition()
    for_all = conditional_layer_norm(x, c[0], gamma, beta, W_gamma, W_beta)
    for_each = conditional_layer_norm(x, np.tile(c[0], (B, 1)), gamma, beta, W_gamma, W_beta)
    np.testing.assert_allclose(for_all, for_each, rtol=1e-13)
    vectors = conditional_layer_norm(x[:, 1], c, gamma, beta, W_gamma, W_beta)
    np.testing.assert_allclose(vectors, conditional_layer_norm(x, c, gamma, beta, W_gamma, W_beta)[:, 1], rtol=1e-13)


def test_a_bias_of_the_matrices_would_be_gamma_again():
    (gamma, _), (c, W, _), bias = affine(), condition(), numbers(9, (D,))
    np.testing.assert_allclose(followed(c, gamma, W) + bias, followed(c, gamma + bias, W), rtol=1e-13)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_at_step_0_the_matrices_have_a_gradient_and_the_condition_has_exactly_none(seed):
    x, g, (c, W, _) = numbers(seed), numbers(seed + 1), condition(seed + 2)
    d = conditional_gradients(x, c, 0 * W, 0 * W, g)
    assert not d.c.any()
    assert min(np.abs(d.W_gamma).max(), np.abs(d.W_beta).max()) > 1e-3
    after = conditional_gradients(x, c, W - 0.1 * d.W_gamma, -0.1 * d.W_beta, g)
    assert np.abs(after.c).max() > 1e-3


def test_where_the_condition_is_zero_as_well_nothing_ever_moves():
    x, (c, W, _) = numbers(), condition()
    d = conditional_gradients(x, 0 * c, 0 * W, 0 * W, numbers(1))
    assert not any(part.any() for part in (d.c, d.W_gamma, d.W_beta))


def test_gamma_and_beta_have_the_gradients_that_they_have_without_a_condition():
    x, g, (c, W_gamma, W_beta) = numbers(), numbers(1), condition()
    d = conditional_gradients(x, c, W_gamma, W_beta, g)
    np.testing.assert_allclose(d.gamma, (g * layer_norm(x)).sum((0, 1)), rtol=1e-12)
    np.testing.assert_allclose(d.beta, g.sum((0, 1)), rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# the relatives


def test_the_relatives_normalise_over_what_the_table_says():
    x = 5 + 3 * numbers(shape=(11, 13, D))
    axes = {"features": -1, "tokens": 1, "samples and tokens": (0, 1)}
    for row in RELATIVES:
        y = row.normalise(x)
        if not row.over:
            np.testing.assert_array_equal(y, x)
            continue
        np.testing.assert_allclose(y.mean(axes[row.over]), 0, atol=1e-12)
        np.testing.assert_allclose((y**2).mean(axes[row.over]), 1, rtol=1e-4)
        # The mean over tokens and samples is the mean over samples of that over tokens.
        for other in {-1, 1} - {axes[row.over]}:
            assert np.abs(y.mean(other)).max() > 0.01


def test_the_relatives_start_where_the_table_says():
    x, (gamma, beta), (c, W, _), zero = numbers(), affine(), condition(), np.zeros((B, D))
    start = {row.name: row.start for row in RELATIVES}
    before = film(batch_norm(x), gamma, beta)
    np.testing.assert_array_equal(conditional_batch_norm(x, gamma, beta, zero, zero), before)
    near = conditional_batch_norm(x, gamma, beta, 1e-3 * c @ W.T, zero)
    assert 0 < np.abs(near - before).max() < 0.05
    assert start["conditional BatchNorm"] == "nearly what it computed before"
    np.testing.assert_array_equal(adaptive_residual(x, np.sin, zero, zero, zero), x)
    assert start["adaLN-Zero"] == "the identity"
    np.testing.assert_array_equal(conditional_layer_norm(x, c, gamma, beta, 0 * W, 0 * W), layer_norm(x, gamma, beta))
    assert start["conditional LayerNorm"] == "what it computed before"
    one, other = (adain(x, style) for style in (numbers(1), numbers(2)))
    assert np.abs(one - other).max() > 0.1
    assert start["AdaIN"] == start["FiLM"] == "depends on c"


def test_adain_takes_on_mean_and_deviation_of_the_style_and_of_itself_changes_nothing():
    x, style = numbers(), 5 + 3 * numbers(4, (B, 11, D))
    y = adain(x, style, eps=0.0)
    np.testing.assert_allclose(y.mean(1), style.mean(1), rtol=1e-12)
    np.testing.assert_allclose(y.std(1), style.std(1), rtol=1e-12)
    np.testing.assert_allclose(adain(x, x), x, rtol=1e-12)


def test_an_adaptive_residual_is_a_pre_norm_block_where_gate_is_one():
    x, one, zero = numbers(), np.ones((B, D)), np.zeros((B, D))
    got = adaptive_residual(x, np.sin, zero, zero, one, eps=0.1)
    np.testing.assert_allclose(got, x + np.sin(layer_norm(x, eps=0.1)), rtol=1e-13)
    scaled = adaptive_residual(x, lambda h: h, 2 * one, 3 * one, 0.5 * one, eps=0.1)
    np.testing.assert_allclose(scaled, x + 0.5 * (3 * layer_norm(x, eps=0.1) + 3), rtol=1e-13)


def test_layer_norm_does_not_care_who_else_is_in_the_batch_and_batch_norm_does():
    x, y = numbers(), numbers(1)
    both = np.concatenate((x, y))
    np.testing.assert_allclose(layer_norm(both)[:B], layer_norm(x), rtol=1e-13)
    np.testing.assert_allclose(instance_norm(both)[:B], instance_norm(x), rtol=1e-13)
    assert np.abs(batch_norm(both)[:B] - batch_norm(x)).max() > 0.1


# ---------------------------------------------------------------------------------------------------------------
# dialects, dtypes, gradients, oracles


def formulas(convert):
    x, (gamma, beta) = convert(numbers()), (convert(a) for a in affine())
    c, W_gamma, W_beta = (convert(a) for a in condition())
    delta = c @ W_gamma.T
    return [
        layer_norm(x),
        layer_norm(x, gamma, beta, 0.1),
        rms_norm(x),
        rms_norm(x, gamma, 0.1),
        conditional_layer_norm(x, c, gamma, beta, W_gamma, W_beta),
        conditional_rms_norm(x, c[0, ...], gamma, W_gamma),
        conditional_batch_norm(x, gamma, beta, delta, delta),
        adain(x, convert(numbers(7, (B, 11, D)))),
        adaptive_residual(x, lambda h: h * h, delta, delta, delta),
        *conditional_gradients(x, c, W_gamma, W_beta, convert(numbers(1))),
    ]


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_same(formulas(np.asarray), formulas(xp.asarray), xp, rtol=1e-12)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_float32(formulas(lambda a: xp.asarray(a, dtype=xp.float32)), xp)


@pytest.mark.torch
@pytest.mark.parametrize("given_affine", [False, True])
def test_layer_norm_is_that_of_torch(given_affine):
    torch = pytest.importorskip("torch")
    x = torch.tensor(5 + 3 * numbers())
    gamma, beta = (torch.tensor(a) for a in affine()) if given_affine else (None, None)
    want = torch.nn.functional.layer_norm(x, (D,), gamma, beta, eps=1e-5)
    torch.testing.assert_close(layer_norm(x, gamma, beta), want)


@pytest.mark.torch
def test_rms_norm_is_that_of_torch():
    torch = pytest.importorskip("torch")
    x, peer = torch.tensor(5 + 3 * numbers()), torch.nn.RMSNorm(D, eps=1e-6, dtype=torch.float64)
    with torch.no_grad():
        peer.weight.copy_(torch.tensor(affine()[0]))
    torch.testing.assert_close(rms_norm(x, peer.weight), peer(x))


@pytest.mark.torch
def test_the_gradient_is_the_slope():
    torch = pytest.importorskip("torch")
    x, gamma, beta = (torch.tensor(a, requires_grad=True) for a in (numbers(), *affine()))
    assert torch.autograd.gradcheck(layer_norm, (x, gamma, beta))
    assert torch.autograd.gradcheck(rms_norm, (x, gamma))


@pytest.mark.torch
def test_the_gradients_under_a_condition_are_those_of_autograd():
    torch = pytest.importorskip("torch")
    x, g, *leaves = (torch.tensor(a) for a in (numbers(), numbers(1), *affine(), *condition()))
    gamma, beta, c, W_gamma, W_beta = leaves
    for leaf in leaves:
        leaf.requires_grad_()
    (conditional_layer_norm(x, c, gamma, beta, W_gamma, W_beta, eps=0.1) * g).sum().backward()
    want = conditional_gradients(x, c, W_gamma, W_beta, g, eps=0.1)
    for leaf, d in zip((gamma, beta, W_gamma, W_beta, c), want, strict=True):
        torch.testing.assert_close(leaf.grad, d, rtol=1e-10, atol=1e-12)


@pytest.mark.torch
def test_batch_norm_and_instance_norm_are_those_of_torch():
    torch = pytest.importorskip("torch")
    x = torch.tensor(5 + 3 * numbers())
    batch = torch.nn.functional.batch_norm(x.mT, None, None, training=True, eps=0.1).mT
    torch.testing.assert_close(batch_norm(x, eps=0.1), batch)
    torch.testing.assert_close(instance_norm(x, eps=0.1), torch.nn.functional.instance_norm(x.mT, eps=0.1).mT)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["AdaptiveLayerNorm", "AdaptiveRMSNorm"])
def test_without_a_shift_it_is_the_adaptive_norm_of_x_transformers(name):
    torch = pytest.importorskip("torch")
    peers = pytest.importorskip("x_transformers.x_transformers")
    peer, x = getattr(peers, name)(D, K).double(), torch.tensor(numbers())
    c, W, _ = (torch.tensor(a) for a in condition())
    with torch.no_grad():
        peer.to_gamma.weight.copy_(W)
    one, zero = torch.ones(D).double(), torch.zeros(D).double()
    mine = {
        "AdaptiveLayerNorm": conditional_layer_norm(x, c, one, zero, W),
        "AdaptiveRMSNorm": conditional_rms_norm(x, c, one, W, eps=0.0),
    }
    torch.testing.assert_close(mine[name], peer(x, condition=c), rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer_norm(numbers(), gamma=np.ones(D + 1)), r"gamma must have shape \(…, 7\)"),
        (lambda: layer_norm(numbers(), beta=np.ones(D + 1)), r"beta must have shape \(…, 7\)"),
        (lambda: rms_norm(numbers(), gamma=np.ones(3)), r"gamma must have shape \(…, 7\)"),
        (lambda: layer_norm(np.zeros((N, 0))), "at least one feature"),
        (lambda: rms_norm(np.float64(1.0) * np.ones(())), "at least one feature"),
        (lambda: layer_norm(numbers(), eps=-1.0), "eps must be non-negative, got -1.0"),
        (lambda: rms_norm(numbers(), eps=math.nan), "eps must be non-negative"),
        (lambda: layer_norm(np.arange(D)), "must hold floats"),
        (
            lambda: film(numbers(), numbers(1, (B + 1, D)), None),
            r"gamma must have the first axes of x .* \(3, 7\) for x",
        ),
        (lambda: film(numbers(), None, numbers(1, (N, D))), "beta must have the first axes of x"),
        (lambda: film(numbers(), None, numbers(1, (B, 1))), "its 7 features"),
        (lambda: followed(condition()[0], affine()[0], np.ones((D, K + 1))), r"W must have shape \(…, 7, 5\)"),
        (lambda: followed(np.array([[1, 2]]), affine()[0], np.ones((D, 2))), "c must hold floats"),
        (lambda: batch_norm(np.ones(D)), "an axis to average over besides its features"),
        (lambda: adain(numbers(), numbers(1, (B, N, D + 1))), r"style must have shape \(…, …, 7\)"),
        (lambda: adaptive_residual(numbers(), np.sin, *(np.ones((B, D)),) * 2, np.ones((N, D))), "gate must have"),
        (
            lambda: conditional_gradients(numbers(), *condition(), numbers()[:, 1:]),
            r"g must have shape \(…, 2, 3, 7\)",
        ),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
