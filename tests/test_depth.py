"""What depth promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib import arrays
from minilib import depth as dep

LIKE = np.zeros(1)
EXACT_GELU = np.vectorize(lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2)
ROOT_TWO_PI = math.sqrt(2 * math.pi)

# ---------------------------------------------------------------------------------------------------------------
# moments: theorems


@pytest.mark.parametrize(("power", "moment"), [(0, 1), (1, 0), (2, 1), (3, 0), (4, 3), (6, 15), (8, 105)])
def test_the_moments_of_the_normal_distribution_are_double_factorials(power, moment):
    assert dep.gaussian_mean(lambda x: x**power, LIKE) == pytest.approx(moment, rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("power", range(5))
def test_a_kink_or_a_jump_at_zero_costs_nothing(power):
    """E[relu(ε)^k] is half of E|ε|^k = 2^{k/2} Γ((k+1)/2)/√π."""
    want = 2 ** (power / 2) * math.gamma((power + 1) / 2) / math.sqrt(math.pi) / 2
    got = dep.gaussian_mean(lambda x: (x > 0) * arrays.relu(x) ** power, LIKE)
    assert got == pytest.approx(want, rel=1e-13)


def test_a_jump_elsewhere_costs_what_the_docstring_says():
    beyond_one = math.erfc(1 / math.sqrt(2)) / 2
    jump = dep.gaussian_mean(lambda x: (x > 1).astype(float), LIKE) - beyond_one
    kink = dep.gaussian_mean(lambda x: np.maximum(x - 1, 0), LIKE) - (math.exp(-0.5) / ROOT_TWO_PI - beyond_one)
    assert 1e-3 < abs(jump) < 2e-2
    assert 1e-6 < abs(kink) < 2e-4


@given(a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_the_characteristic_function_and_the_shifted_exponential(a, b):
    assert dep.gaussian_mean(lambda x: np.cos(a * x), LIKE) == pytest.approx(math.exp(-a * a / 2), rel=1e-12)
    assert dep.gaussian_mean(lambda x: np.exp(b * x), LIKE) == pytest.approx(math.exp(b * b / 2), rel=1e-12)


def test_the_moments_of_relu_and_its_square_and_of_gelu_are_closed_forms():
    assert dep.moments(arrays.relu, LIKE) == pytest.approx((1 / ROOT_TWO_PI, 0.5), rel=1e-13)
    assert dep.moments(dep.squared_relu, LIKE) == pytest.approx((0.5, 1.5), rel=1e-13)
    square = 1 / 3 + math.sqrt(3) / (6 * math.pi)  # E[x²Φ(x)²] = 1/3 + 1/(2√3 π)
    assert dep.moments(EXACT_GELU, LIKE) == pytest.approx((1 / (2 * math.sqrt(math.pi)), square), rel=1e-12)


def test_the_tanh_form_of_gelu_moves_its_moments_in_the_fourth_digit():
    ours, exact = dep.moments(arrays.gelu, LIKE), dep.moments(EXACT_GELU, LIKE)
    assert 1e-5 < abs(ours.mean - exact.mean) < 1e-4
    assert 1e-5 < abs(ours.square - exact.square) < 1e-4


def test_the_moments_of_elu_and_leaky_relu_are_closed_forms():
    below = math.exp(0.5) * math.erfc(1 / math.sqrt(2)) / 2  # E[e^ε; ε < 0]
    twice = math.exp(2) * math.erfc(2 / math.sqrt(2)) / 2  # E[e^{2ε}; ε < 0]
    got = dep.moments(dep.elu, LIKE)
    assert got == pytest.approx((1 / ROOT_TWO_PI + below - 0.5, 0.5 + twice - 2 * below + 0.5), rel=1e-12)
    a = 0.3
    got = dep.moments(lambda x: dep.leaky_relu(x, a), LIKE)
    assert got == pytest.approx(((1 - a) / ROOT_TWO_PI, (1 + a * a) / 2), rel=1e-13)


def test_selu_is_the_fixed_point_that_it_was_made_to_be():
    mean, square = dep.moments(dep.selu, LIKE)
    assert abs(mean) < 1e-15
    assert square == pytest.approx(1, rel=1e-14)


def test_steins_lemma_gives_the_mean_of_swish_and_of_mish():
    """E[x f(x)] = E[f′(x)]."""
    slope = dep.gaussian_mean(lambda x: arrays.sigmoid(x) * (1 - arrays.sigmoid(x)), LIKE)
    assert dep.moments(arrays.silu, LIKE).mean == pytest.approx(slope, rel=1e-12)
    slope = dep.gaussian_mean(lambda x: (1 - np.tanh(dep.softplus(x)) ** 2) * arrays.sigmoid(x), LIKE)
    assert dep.moments(dep.mish, LIKE).mean == pytest.approx(slope, rel=1e-12)


def test_symmetry_fixes_the_means_of_tanh_sigmoid_and_softplus():
    assert abs(dep.moments(dep.tanh, LIKE).mean) < 1e-16
    assert dep.moments(arrays.sigmoid, LIKE).mean == pytest.approx(0.5, rel=1e-14)
    even = dep.gaussian_mean(lambda x: np.log(2 * np.cosh(x / 2)), LIKE)  # softplus(x) − x/2
    assert dep.moments(dep.softplus, LIKE).mean == pytest.approx(even, rel=1e-13)


def test_a_small_signal_meets_the_value_and_the_slope_at_zero():
    """swish(sε) ≈ sε/2, so its second moment tends to s²/4: no power law holds over all scales."""
    for s in (1e-3, 1e-4):
        mean, square = dep.moments(arrays.silu, LIKE, std=s)
        assert square == pytest.approx(s * s / 4, rel=s)
        assert mean == pytest.approx(s * s / 4, rel=s)


def test_the_moments_are_those_of_a_sample():
    x = np.random.default_rng(0).normal(size=400_009)
    for name, phi in dep.ACTIVATIONS.items():
        mean, square = dep.moments(phi, LIKE)
        y = phi(x)
        assert abs(y.mean() - mean) < 5 * y.std() / len(x) ** 0.5, name
        assert abs((y**2).mean() - square) < 5 * (y**2).std() / len(x) ** 0.5, name


# gain = 1/√E[φ²], to the five digits that a table prints
GAINS = {
    "relu": 1.41421,
    "leaky relu": 1.41414,
    "gelu": 1.53358,
    "swish": 1.67653,
    "mish": 1.48685,
    "elu": 1.24520,
    "selu": 1.0,
    "tanh": 1.59254,
    "sigmoid": 1.84623,
    "softplus": 1.04187,
    "relu²": 0.81650,
}


@pytest.mark.parametrize("name", dep.ACTIVATIONS)
def test_the_gain_makes_the_mean_square_one(name):
    phi = dep.ACTIVATIONS[name]
    g = dep.gain(phi, LIKE)
    assert dep.moments(lambda x: g * phi(x), LIKE).square == pytest.approx(1, rel=1e-14)
    assert g == pytest.approx(GAINS[name], abs=6e-6)


def test_halving_the_steps_of_the_quadrature_changes_nothing():
    t = np.linspace(-3.8, 2.6, 257)
    x = np.exp(t - np.exp(-t))
    weight = np.exp(-x * x / 2) / ROOT_TWO_PI * x * (1 + np.exp(-t)) * 0.025
    for name, phi in dep.ACTIVATIONS.items():
        fine = (weight * (phi(x) ** 2 + phi(-x) ** 2)).sum()
        assert dep.moments(phi, LIKE).square == pytest.approx(fine, rel=1e-12), name


@pytest.mark.torch
def test_the_gain_is_torchs_for_relu_and_not_for_tanh_selu_and_sigmoid():
    torch = pytest.importorskip("torch")
    gain = torch.nn.init.calculate_gain
    assert dep.gain(arrays.relu, LIKE) == pytest.approx(gain("relu"), rel=1e-14)
    for slope in (0.01, 0.2):
        ours = dep.gain(lambda x, slope=slope: dep.leaky_relu(x, slope), LIKE)
        assert ours == pytest.approx(gain("leaky_relu", slope), rel=1e-13)
    assert [gain("tanh"), gain("selu"), gain("sigmoid")] == [5 / 3, 3 / 4, 1]


@pytest.mark.torch
@pytest.mark.parametrize("name", dep.ACTIVATIONS)
def test_the_activations_are_torchs(name):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    theirs = {
        "relu": F.relu,
        "leaky relu": F.leaky_relu,
        "gelu": lambda x: F.gelu(x, approximate="tanh"),
        "swish": F.silu,
        "mish": F.mish,
        "elu": F.elu,
        "selu": F.selu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": F.softplus,
        "relu²": lambda x: F.relu(x) ** 2,
    }
    x = torch.linspace(-30, 15, 1009, dtype=torch.float64)
    want = theirs[name](x)
    torch.testing.assert_close(dep.ACTIVATIONS[name](x), want, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(torch.from_numpy(dep.ACTIVATIONS[name](x.numpy())), want, rtol=1e-12, atol=1e-14)


def test_extreme_inputs_stay_finite():
    x = np.array([-1e4, -800.0, 0.0, 800.0, 1e4])
    for name, phi in dep.ACTIVATIONS.items():
        assert np.isfinite(phi(x)).all(), name


# ---------------------------------------------------------------------------------------------------------------
# chains


def test_a_relu_chain_halves_with_lecun_and_stays_with_he():
    lecun = dep.signal_squares(arrays.relu, 1.0, 20, LIKE)
    he = dep.signal_squares(arrays.relu, math.sqrt(2), 20, LIKE)
    np.testing.assert_allclose(lecun, 2.0 ** -np.arange(21), rtol=1e-12)
    np.testing.assert_allclose(he, np.ones(21), rtol=1e-12)


def test_the_mean_field_chain_is_what_a_wide_network_does():
    rng, width = np.random.default_rng(0), 1009
    for phi in (np.tanh, arrays.silu):
        y, want = rng.normal(size=width), dep.signal_squares(phi, 1.3, 5, LIKE)
        measured = [(y**2).mean()]
        for _ in range(5):
            y = 1.3 / width**0.5 * rng.normal(size=(width, width)) @ phi(y)
            measured.append((y**2).mean())
        np.testing.assert_allclose(measured, want, rtol=0.25)


def test_the_gain_alone_holds_the_first_layer_and_not_the_deep_ones():
    """The gain assumes N(0, 1), which only a homogeneous activation keeps: swish is not, and its chain drifts off."""
    g = float(dep.gain(arrays.silu, LIKE))
    q = dep.signal_squares(arrays.silu, g, 50, LIKE)
    assert q[1] == pytest.approx(1, rel=1e-12)
    assert q[2] == pytest.approx(1, rel=1e-12)
    shaken = dep.signal_squares(lambda x: arrays.silu(x) * 1.01, g, 50, LIKE)
    assert shaken[-1] > 2  # a change of 1 % grows: the fixed point is not stable


# ---------------------------------------------------------------------------------------------------------------
# initialisation


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0, 3.0])
def test_the_truncated_variance_is_that_of_a_truncated_sample(limit):
    x = np.random.default_rng(0).normal(size=2_000_003)
    kept = x[np.abs(x) < limit]
    assert dep.truncated_variance(limit) == pytest.approx(kept.var(), rel=4e-3)
    assert dep.truncation_correction(limit) ** 2 * dep.truncated_variance(limit) == pytest.approx(1)


def test_truncation_at_two_needs_the_known_correction():
    assert dep.truncated_variance() == pytest.approx(0.7737413035, abs=5e-11)
    assert dep.truncation_correction() == pytest.approx(1.1368472343, abs=5e-11)


def test_truncation_has_the_right_limits():
    assert dep.truncated_variance(40) == pytest.approx(1, rel=1e-15)
    assert dep.truncated_variance(1e-4) == pytest.approx(1e-8 / 3, rel=1e-7)  # a uniform distribution
    series, formula = (dep.truncated_variance(c) / c**2 for c in (0.00999999, 0.01000001))
    assert series == pytest.approx(formula, rel=1e-8)


def test_fans_multiply_with_the_kernel_and_swap_with_the_layout():
    assert dep.fans((7, 3)) == (3, 7)
    assert dep.fans((7, 3, 5, 2)) == (30, 70)
    assert dep.fans_keras((3, 7)) == (3, 7)
    assert dep.fans_keras((5, 2, 3, 7)) == (30, 70)


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(7, 3), (11, 5, 3), (7, 3, 5, 2)])
def test_the_standard_deviations_are_those_that_torch_draws_with(shape):
    torch = pytest.importorskip("torch")
    drawn = {}

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func.__name__ == "normal_":
                drawn["std"] = args[2]
            return func(*args, **(kwargs or {}))

    with Spy():
        torch.nn.init.kaiming_normal_(torch.empty(shape), nonlinearity="relu")
        assert drawn["std"] == pytest.approx(dep.he_std(dep.fans(shape)[0]))
        torch.nn.init.kaiming_normal_(torch.empty(shape), nonlinearity="linear")
        assert drawn["std"] == pytest.approx(dep.lecun_std(dep.fans(shape)[0]))
        torch.nn.init.xavier_normal_(torch.empty(shape))
        assert drawn["std"] == pytest.approx(dep.xavier_std(*dep.fans(shape)))


def test_lecun_keeps_the_mean_square_also_of_inputs_with_a_mean():
    rng, m, n = np.random.default_rng(0), 503, 1009
    x = rng.normal(1.7, 0.6, size=m)
    y = rng.normal(size=(n, m)) * dep.lecun_std(m) @ x
    assert (y**2).mean() == pytest.approx((x**2).mean(), rel=0.15)
    assert dep.uniform_bound(dep.lecun_std(m)) ** 2 / 3 == pytest.approx(1 / m)


def test_xavier_lies_between_the_signal_and_the_gradient_and_is_lecun_for_a_square():
    assert dep.xavier_std(17, 17) == dep.lecun_std(17)
    assert dep.lecun_std(53) < dep.xavier_std(53, 13) < dep.lecun_std(13)


def test_a_random_matrix_is_nearly_orthogonal():
    for m, n in ((101, 101), (401, 401), (211, 53), (53, 211)):
        W = np.random.default_rng(n).normal(size=(3, m, n)) / m**0.5
        np.testing.assert_allclose(dep.gram_error(W), dep.expected_gram_error(m, n), rtol=0.15)
    assert dep.expected_gram_error(100, 100) == pytest.approx(101 / 100**2)
    Q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 5)))
    assert dep.gram_error(Q) < 1e-30


# ---------------------------------------------------------------------------------------------------------------
# residual stacks


def stacked(ratio, depth, norm, d=1009, seed=0):
    """States of a stack whose branches are random directions of so much rms."""
    rng = np.random.default_rng(seed)
    states = [rng.normal(size=d)]
    states[0] /= dep.rms(states[0])
    for _ in range(depth):
        states.append(norm(states[-1] + ratio * rng.normal(size=d)))
    return states


def normed(x):
    return x / dep.rms(x)


@pytest.mark.parametrize(("ratio", "depth"), [(1.0, 2), (1.0, 7), (0.4875, 12), (0.1, 48)])
def test_post_norm_leaves_the_identity_the_share_of_the_formula(ratio, depth):
    cosines = [dep.cosine(s[-1], s[0]) for s in (stacked(ratio, depth, normed, seed=k) for k in range(7))]
    assert np.mean(cosines) == pytest.approx(dep.identity_share(ratio, depth), abs=0.03)


def test_pre_norm_grows_like_the_root_of_the_depth_and_changes_ever_less():
    for ratio, depth in ((1.0, 12), (1.0, 24), (0.5, 47)):
        x = stacked(ratio, depth, lambda x: x)
        assert dep.rms(x[-1]) ** 2 == pytest.approx(dep.pre_norm_square(ratio, depth), rel=0.1)
        assert dep.cosine(x[-1], x[0]) == pytest.approx(dep.pre_norm_cosine(ratio, depth), abs=0.06)
        last = dep.rms(x[-1] - x[-2]) / dep.rms(x[-2])
        assert last == pytest.approx(dep.pre_norm_step(ratio, depth - 1), rel=0.1)


def test_a_share_is_a_power_and_starts_at_one():
    assert dep.identity_share(0.3, 0) == dep.pre_norm_square(0.3, 0) == 1
    assert dep.identity_share(1.0, 24) == pytest.approx(2.0**-12)
    assert dep.identity_share(0.3, 5) * dep.identity_share(0.3, 6) == pytest.approx(dep.identity_share(0.3, 11))
    assert dep.orthogonal_growth(0.3, 11) * dep.identity_share(0.3, 11) == pytest.approx(1)


def test_orthogonal_steps_of_one_over_root_depth_stay_below_root_e():
    for depth in (16, 100, 400, 10_000):
        growth = dep.orthogonal_growth(depth**-0.5, depth)
        assert growth < math.sqrt(math.e) < growth * (1 + 0.5 / depth)
        assert dep.rms(stacked(depth**-0.5, min(depth, 400), lambda x: x)[-1]) < 1.8
    assert (1 + 100**-0.5) ** 100 > 1e4


def test_rms_cosine_and_relative_size_are_what_they_say():
    x, y = np.random.default_rng(0).normal(size=(2, 3, 7))
    np.testing.assert_allclose(dep.rms(x), np.linalg.norm(x, axis=-1) / 7**0.5)
    np.testing.assert_allclose(dep.cosine(x, -2 * x), -np.ones(3))
    assert abs(dep.cosine(np.array([3.0, 4.0]), np.array([-4.0, 3.0]))) < 1e-16
    assert dep.relative_size(y, x) == pytest.approx(np.linalg.norm(y) / np.linalg.norm(x))


# ---------------------------------------------------------------------------------------------------------------
# rules


def test_each_rule_makes_its_own_optimiser_independent_of_depth_and_all_nine_exponents_are_known():
    table = {r: [dep.increment_exponent(o, rule) for o in ("SGD", "Adam", "LAMB")] for r, rule in dep.RULES.items()}
    assert table == {"plain": [1, 1, 1], "SGD": [0, 0.5, 0.25], "Adam": [-1, 0, -0.5], "LAMB": [0, 0.5, 0]}


def test_the_rules_solve_their_equations():
    for layers in (1, 6, 100):
        sgd, adam, lamb = (dep.RULES[o].at(layers) for o in ("SGD", "Adam", "LAMB"))
        assert 2 * layers * (sgd.lam / sgd.alpha) ** 2 == pytest.approx(1)
        assert 2 * layers * adam.lam / adam.alpha == pytest.approx(1)
        assert 2 * layers * lamb.lam**2 / lamb.alpha == pytest.approx(1)
        assert sgd.alpha * sgd.lam == pytest.approx(1)
    assert dep.RULES["plain"].at(17) == (1, 1)


def test_deepnorm_has_the_papers_constants():
    known = {
        6: (1.8612, 0.3799),
        12: (2.2134, 0.3195),
        24: (2.6321, 0.2686),
        100: (3.7606, 0.1880),
        1000: (6.6874, 0.1057),
    }
    for layers, constants in known.items():
        assert dep.deepnorm(layers) == pytest.approx(constants, abs=6e-5)
    assert dep.deepnorm_encoder(6, 6) == pytest.approx((0.81 * 6**0.3125, 0.87 * 6**-0.3125))
    assert dep.deepnorm_encoder(18, 6) == pytest.approx((0.81 * 18**0.25 * 6**0.0625, 0.87 / 18**0.25 / 6**0.0625))
    assert dep.deepnorm_decoder(6) == pytest.approx((18**0.25, 72**-0.25))


def test_deepnorm_is_the_sgd_rule_with_smaller_weights():
    """Half the weights in the square root: α is the same, β is λ/√2."""
    for layers in (3, 12, 100):
        (alpha, beta), rule = dep.deepnorm(layers), dep.RULES["SGD"].at(layers)
        assert alpha == pytest.approx(rule.alpha)
        assert beta == pytest.approx(rule.lam / 4**0.25)


def test_the_exponent_of_a_power_law_is_found_and_its_factor_ignored():
    x = np.array([2.0, 3.0, 7.0, 19.0])
    assert dep.power_exponent(x, 0.17 * x**-1.3) == pytest.approx(-1.3)
    assert dep.power_exponent(x, np.full(4, 5.0)) == pytest.approx(0, abs=1e-15)


# ---------------------------------------------------------------------------------------------------------------
# dialects


def formulas(xp, dtype):
    x = xp.reshape(xp.linspace(-2.0, 3.0, 21, dtype=dtype), (3, 7))
    positive = xp.abs(x[0, :]) + 1
    made = [phi(x) for phi in dep.ACTIVATIONS.values()]
    made += [dep.moments(phi, x, std=0.7).square for phi in dep.ACTIVATIONS.values()]
    made += [dep.gain(arrays.silu, x), dep.signal_squares(dep.tanh, 1.1, 5, x), dep.gram_error(x)]
    made += [dep.rms(x), dep.cosine(x, x[:1, :] + 1), dep.relative_size(x + 1, x)]
    made.append(dep.power_exponent(positive, positive**2 + 1))
    return made


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("dialect", ["array_api_strict", "torch"])
def test_three_dialects_agree_and_keep_the_dtype(dialect, dtype, close):
    xp = pytest.importorskip(dialect)
    want = formulas(np, np.float64)
    for got, expected in zip(formulas(xp, getattr(xp, dtype)), want, strict=True):
        assert got.dtype == getattr(xp, dtype)
        np.testing.assert_allclose(np.asarray(got), expected, rtol=close, atol=close)


@pytest.mark.torch
def test_moments_have_a_slope_by_the_scale_of_the_input():
    torch = pytest.importorskip("torch")
    std = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    dep.moments(arrays.silu, torch.zeros(1, dtype=torch.float64), std).square.backward()
    above, below = (dep.moments(arrays.silu, LIKE, 0.8 + e).square for e in (1e-5, -1e-5))
    assert std.grad.item() == pytest.approx((above - below) / 2e-5, rel=1e-7)


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dep.moments(arrays.relu, LIKE, std=-1.0), "std must be non-negative, got -1.0"),
        (lambda: dep.signal_squares(arrays.relu, 1.0, -1, LIKE), "depth must be at least 0, got -1"),
        (lambda: dep.fans((7,)), r"two axes or more, none empty; got shape \(7,\)"),
        (lambda: dep.fans_keras((7, 0)), r"none empty; got shape \(7, 0\)"),
        (lambda: dep.lecun_std(0), "fan_in must be at least 1, got 0"),
        (lambda: dep.he_std(0), "fan_in must be at least 1, got 0"),
        (lambda: dep.xavier_std(3, 0), "fan_out must be at least 1, got 0"),
        (lambda: dep.truncated_variance(0.0), "limit must be positive"),
        (lambda: dep.truncation_correction(math.nan), "limit must be positive"),
        (lambda: dep.expected_gram_error(0, 3), "m must be at least 1"),
        (lambda: dep.identity_share(-0.1, 3), "ratio must be non-negative, branch over skip"),
        (lambda: dep.identity_share(0.1, -3), "depth must be at least 0, got -3"),
        (lambda: dep.pre_norm_square(math.nan, 3), "ratio must be non-negative"),
        (lambda: dep.RULES["SGD"].at(0), "layers must be at least 1, got 0"),
        (lambda: dep.increment_exponent("adamw", dep.RULES["SGD"]), "optimizer must be one of SGD, Adam, LAMB"),
        (lambda: dep.deepnorm(0), "layers must be at least 1, got 0"),
        (lambda: dep.deepnorm_encoder(6, 0), "decoder_layers must be at least 1"),
        (lambda: dep.cosine(np.ones(3), np.ones(4)), r"y must have shape \(…, 3\)"),
        (lambda: dep.relative_size(np.ones((3, 5)), np.ones((2, 5))), r"part must have shape \(…, 2, 5\)"),
        (lambda: dep.gaussian_mean(arrays.relu, 3.0), "like must be an array, got float"),
        (lambda: dep.power_exponent(np.ones(3), np.ones(4)), "y must have shape"),
    ],
)
def test_bad_input_is_named_with_what_was_expected(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_zero_signal_has_no_direction():
    with np.errstate(invalid="ignore"):
        assert np.isnan(dep.cosine(np.zeros(3), np.ones(3)))
