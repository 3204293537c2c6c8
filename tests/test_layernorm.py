"""What normalisation promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.layernorm import layer_norm, rms_norm

B, N, D = 2, 3, 7


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
# dialects, dtypes, gradients, oracles


def formulas(convert):
    x, (gamma, beta) = convert(numbers()), (convert(a) for a in affine())
    return [layer_norm(x), layer_norm(x, gamma, beta, 0.1), rms_norm(x), rms_norm(x, gamma, 0.1)]


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    for a, b in zip(formulas(np.asarray), formulas(xp.asarray), strict=True):
        assert type(b) is type(xp.asarray([0.0]))
        np.testing.assert_allclose(np.asarray(b), a, rtol=1e-12)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    for a in formulas(lambda a: xp.asarray(a, dtype=xp.float32)):
        assert a.dtype == xp.float32


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
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
