"""What entropy promises."""

from __future__ import annotations

import math
from functools import partial

import dialects
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import entropy as en
from minilib.attention import attention_scores, attention_weights, causal_mask, visible_keys

B, N, M, D = 2, 7, 11, 5
GOLDEN = (1 + math.sqrt(5)) / 2

LAWS = {
    "standard": en.standard_scale,
    "log": en.log_scale,
    "clamped log": en.clamped_log_scale,
    "ln": en.ln_scale,
    "sqrt log": en.sqrt_log_scale,
    "ssmax": en.ssmax_scale,
    "yarn": en.yarn_scale,
    "qwen": en.qwen_scale,
    "llama 4": en.llama4_scale,
}

each_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def scores(seed=0, scale=1.0, shape=(B, N, M)):
    return scale * np.random.default_rng(seed).normal(size=shape)


def some_mask(seed=1):
    """A random mask in which query 3 of the first sequence may look nowhere."""
    mask = np.random.default_rng(seed).random((B, N, M)) < 0.6
    mask[0, 3] = False
    return mask


def naive(row):
    """Entropy of one row of scores, term by term, in the order of size so that the sum is exact."""
    top = max(row)
    weights = [math.exp(s - top) for s in row]
    total = math.fsum(weights)
    return -math.fsum(w / total * math.log(w / total) for w in weights if w > 0)


# ---------------------------------------------------------------------------------------------------------------
# entropy


def test_entropy_is_what_one_number_at_a_time_gives():
    s, mask = scores(), some_mask()
    want = [[naive(row) for row in matrix] for matrix in s]
    np.testing.assert_allclose(en.attention_entropy(s), want, rtol=1e-12)
    got = en.attention_entropy(s, mask)
    for b in range(B):
        for i in range(N):
            row = s[b, i, mask[b, i]]
            assert got[b, i] == pytest.approx(naive(row) if len(row) else 0, rel=1e-12, abs=1e-15)


@settings(deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0, 100), shift=st.floats(-1e3, 1e3))
def test_entropy_lies_between_zero_and_log_n_and_a_shift_of_the_scores_changes_nothing(seed, scale, shift):
    s = scores(seed, scale)
    h = en.attention_entropy(s)
    assert (h >= 0).all()
    assert (h <= math.log(M) * (1 + 1e-14)).all()
    np.testing.assert_allclose(en.attention_entropy(s + shift), h, atol=1e-9)


def test_uniform_weights_have_the_entropy_log_n_and_a_single_key_has_none():
    assert en.attention_entropy(np.zeros((1, M)))[0] == pytest.approx(math.log(M))
    for one in (np.ones((3, 1)), np.full((3, 1), 1e300), np.array([[0.0, -1e300]]), np.array([[0.0, -np.inf]])):
        got = en.attention_entropy(one)
        assert not got.any()
        assert not np.signbit(got).any()


def test_entropy_falls_as_the_scale_grows():
    """d H / d λ = −λ Var(s) under the weights."""
    s = scores()[0, 0]
    for lam in (0.3, 1.0, 3.0):
        a = np.exp(lam * s) / np.exp(lam * s).sum()
        variance = (a * s * s).sum() - (a * s).sum() ** 2
        eps = 1e-5
        slope = (en.attention_entropy((lam + eps) * s[None]) - en.attention_entropy((lam - eps) * s[None])) / (2 * eps)
        assert slope[0] == pytest.approx(-lam * variance, rel=1e-6)


def test_scores_of_any_size_give_a_finite_entropy():
    for dtype in (np.float16, np.float32, np.float64):
        s = np.clip(scores(), -1, 1).astype(dtype) * (np.finfo(dtype).max / 2)
        got = en.attention_entropy(s)
        assert got.dtype == dtype
        assert np.isfinite(got).all()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_infinite_score_makes_its_entropy_nan_and_no_other():
    s = scores()[0]
    s[0, 0], s[1, 1], s[2, 2] = np.inf, np.nan, -np.inf
    got = en.attention_entropy(s)
    assert np.isnan(got[:2]).all()
    assert got[2] == pytest.approx(naive(np.delete(s[2], 2)))
    assert np.isfinite(got[2:]).all()


def test_the_entropy_of_a_given_distribution_takes_zeros():
    a = np.array([[0.5, 0.5, 0, 0], [1, 0, 0, 0], [0.25] * 4, [0, 0, 0, 0]])
    np.testing.assert_allclose(en.distribution_entropy(a), [math.log(2), 0, math.log(4), 0], rtol=1e-14)


@pytest.mark.torch
def test_of_narrow_weights_only_the_result_is_rounded():
    torch = pytest.importorskip("torch")
    for n in range(1000, 4000, 137):
        a = torch.full((1, n), 1 / n, dtype=torch.bfloat16)
        assert en.distribution_entropy(a) == en.distribution_entropy(a.double()).bfloat16()


def test_no_scale_steers_the_entropy_of_weights_by_a_power_and_every_scale_steers_softmax():
    s = scores()
    for power in (1, 2, 3):
        h = [en.distribution_entropy(en.power_weights(lam * s, power)) for lam in (0.5, 1.0, 4.0, 1e150)]
        for other in h[1:]:
            np.testing.assert_allclose(other, h[0], rtol=1e-12)
    assert (en.attention_entropy(4 * s) < en.attention_entropy(s)).all()


def test_power_weights_are_relu_to_the_power_over_their_sum():
    s, mask = scores(), some_mask()
    r = np.where(mask, np.maximum(s, 0) ** 2, 0)
    total = r.sum(-1, keepdims=True)
    want = np.divide(r, total, out=np.zeros_like(r), where=total > 0)
    np.testing.assert_allclose(en.power_weights(s, mask=mask), want, rtol=1e-12)
    assert not en.power_weights(-np.abs(s)).any()


# ---------------------------------------------------------------------------------------------------------------
# scale laws


@each_law
@settings(deadline=None)
@given(n=st.integers(1, 10**7), d=st.integers(1, 1024))
def test_a_law_is_finite_positive_and_goes_as_one_over_root_d(law, n, d):
    scale = law(n, d)
    assert 0 <= scale < math.inf
    assert scale == pytest.approx(law(n, 1) / math.sqrt(d), rel=1e-12)


@each_law
def test_a_law_of_an_array_is_the_law_of_each_number(law):
    n = np.array([1.0, 2.0, 15.0, 512.0, 4096.0, 8191.0, 8192.0, 1e6])[:, None]
    got = np.broadcast_to(law(n, 64), n.shape)
    np.testing.assert_allclose(got[:, 0], [law(float(x), 64) for x in n[:, 0]], rtol=1e-12, atol=1e-15)


@each_law
def test_a_law_never_falls_with_the_length(law):
    values = [law(n, 64) for n in range(1, 40_000, 13)]
    assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize(
    "law",
    [en.log_scale, en.clamped_log_scale, en.sqrt_log_scale, en.yarn_scale, en.qwen_scale],
    ids=lambda f: f.__name__,
)
def test_a_calibrated_law_is_the_standard_one_at_its_base(law):
    for base in (64, 512, 8192):
        assert law(base, 64, base=base) == pytest.approx(1 / 8, rel=1e-12)


def test_the_log_law_takes_its_factor_from_the_base():
    for n, factor in (
        (16, 4 / 9),
        (64, 2 / 3),
        (128, 7 / 9),
        (256, 8 / 9),
        (1024, 10 / 9),
        (2048, 11 / 9),
        (4096, 4 / 3),
    ):
        assert en.log_scale(n, 64) == pytest.approx(factor / 8)
    assert en.log_scale(128, 64, base=64) == pytest.approx(7 / 6 / 8)
    assert en.ln_scale(512, 64) == pytest.approx(math.log(512) / 8)
    assert en.ssmax_scale(300, 64, s=1 / math.log(512)) == pytest.approx(en.log_scale(300, 64))


def test_the_clamp_holds_below_sixteen_keys_only():
    assert en.clamped_log_scale(3, 64) == en.log_scale(16, 64)
    assert en.clamped_log_scale(17, 64) == en.log_scale(17, 64)


def test_at_one_key_the_logarithmic_laws_are_zero_and_attention_is_still_one():
    q, k = scores(shape=(1, 3, D)), scores(2, shape=(1, 1, D))
    for law in (en.log_scale, en.ln_scale, en.sqrt_log_scale, en.ssmax_scale):
        assert law(1, D) == 0
        assert (attention_weights(q, k, scale=law(1, D)) == 1).all()
    assert en.clamped_log_scale(1, D) > 0


def test_the_square_root_law_keeps_the_random_energy_entropy():
    for n in (512, 4096, 10**6):
        beta = en.sqrt_log_scale(n, 64) * 8
        assert en.random_energy_entropy(n, beta) == pytest.approx(math.log(512) - 0.5)
    assert en.sqrt_log_scale(256, 64) == 0


def test_the_published_numbers_of_the_follow_ups():
    for extension, factor in ((1, 1), (4, 1.1386), (8, 1.2079), (16, 1.2773), (32, 1.3466)):
        assert en.yarn_scale(extension * 4096, 1) == pytest.approx(factor**2, rel=1e-4)
    assert en.yarn_scale(100, 1) == 1
    assert en.qwen_scale(4096, 1) == pytest.approx(12 / 11)
    assert en.qwen_scale(2047, 1) == 1
    for position, factor in ((8190, 1), (8191, 1.0693), (131_071, 1.2833), (10_000_000, 1.7107)):
        assert en.llama4_scale(position + 1, 1) == pytest.approx(factor, abs=1e-4)


def test_ssmax_turns_scores_into_powers_of_n():
    z, n, s = scores(shape=(M,)), float(M), 0.43
    got = np.exp(en.ssmax_scale(n, 1, s) * z)
    np.testing.assert_allclose(got, n ** (s * z), rtol=1e-12)


def test_a_law_per_row_counts_what_a_causal_row_sees():
    q = scores(shape=(N, D))
    n = visible_keys(causal_mask(N, q), q)
    A = attention_weights(q, q, causal_mask(N, q), scale=en.log_scale(n, D, base=4.0))
    for i in range(N):
        row = attention_weights(q[i : i + 1], q[: i + 1], scale=en.log_scale(i + 1, D, base=4.0))
        np.testing.assert_allclose(A[i : i + 1, : i + 1], row, rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# keys in random directions


def sphere_integral(d, lam, points=400_001):
    """ln E e^{λ d c} − λ d E[c e^{λ d c}]/E[e^{λ d c}] by the midpoint rule over the angle."""
    theta = (np.arange(points) + 0.5) * np.pi / points
    logs = (d - 2) * np.log(np.sin(theta))
    plain, tilted = np.exp(logs - logs.max()), logs + lam * d * np.cos(theta)
    weights = np.exp(tilted - tilted.max())
    log_mean = tilted.max() - logs.max() + math.log(weights.sum() / plain.sum())
    return log_mean - lam * d * (weights * np.cos(theta)).sum() / weights.sum()


@pytest.mark.parametrize("d", [2, 3, 64, 257])
@pytest.mark.parametrize("lam", [0.0, 0.01, 0.125, 1.0, 7.0])
def test_the_series_of_the_sphere_is_its_integral(d, lam):
    assert en.sphere_entropy(1, d, lam) == pytest.approx(sphere_integral(d, lam), rel=1e-6, abs=1e-9)
    assert en.sphere_entropy(1000, d, lam) == pytest.approx(math.log(1000) + en.sphere_entropy(1, d, lam))


def test_in_three_dimensions_the_mean_is_a_hyperbolic_sine():
    """E e^{κ c} = sinh κ / κ, c being uniform."""
    for kappa in (0.3, 2.0, 20.0):
        want = math.log(math.sinh(kappa) / kappa) - (kappa / math.tanh(kappa) - 1)
        assert en.sphere_entropy(1, 3, kappa / 3) == pytest.approx(want, rel=1e-12)


def test_the_entropy_of_the_sphere_tends_to_its_large_d_limit():
    for lam in (0.3, 1.0, 3.0):
        errors = [abs(en.sphere_entropy(1, d, lam) - en.sphere_entropy_limit(1, d, lam)) / d for d in (8, 64, 512)]
        assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_the_saddle_is_where_the_exponent_is_largest():
    s = np.linspace(-0.9999, 0.9999, 200_001)
    for lam in (0.0, 0.1, 1.0, 5.0):
        assert en.saddle(lam) == pytest.approx(s[np.argmax(lam * s + 0.5 * np.log(1 - s * s))], abs=1e-5)
        assert lam * (1 - en.saddle(lam) ** 2) == pytest.approx(en.saddle(lam))


def test_the_constant_of_the_essay_is_half_the_logarithm_of_the_golden_ratio():
    assert en.saddle(1.0) == pytest.approx(1 / GOLDEN)
    assert -en.sphere_entropy_limit(1, 1, 1.0) == pytest.approx(0.5 * math.log(GOLDEN))
    assert 0.5 * math.log(GOLDEN) == pytest.approx(0.240606, abs=1e-6)
    for d, rate in ((8, 0.2505), (16, 0.2454), (32, 0.2430), (64, 0.2418), (128, 0.2412), (1024, 0.2407)):
        assert -en.sphere_entropy(1, d, 1.0) / d == pytest.approx(rate, abs=6e-5)


def test_at_the_standard_scale_half_a_nat_is_missing_and_not_a_quarter_of_root_d():
    assert en.sphere_entropy(512, 64, 1 / 8) == pytest.approx(math.log(512) - 0.489, abs=5e-4)
    for d in (16, 64, 256, 1024):
        assert en.sphere_entropy_limit(1, d, 1 / math.sqrt(d)) == pytest.approx(-0.5, abs=1.2 / d + 0.02)


def test_for_small_scales_the_loss_is_half_the_variance():
    assert en.sphere_entropy_limit(1, 1000, 1e-3) == pytest.approx(-1000 * 1e-6 / 2, rel=1e-5)


def test_the_mean_field_of_the_scores_themselves_is_their_entropy_and_more_keys_add_their_logarithm():
    s = scores()
    np.testing.assert_allclose(en.mean_field_entropy(M, s), en.attention_entropy(s), rtol=1e-13)
    mean = np.exp(s).mean(-1)
    want = np.log(mean) - (s * np.exp(s)).mean(-1) / mean + math.log(1000)
    np.testing.assert_allclose(en.mean_field_entropy(1000, s), want, rtol=1e-12)


def test_random_keys_have_the_entropy_of_the_sphere():
    rng = np.random.default_rng(0)
    d, n = 64, 4096
    k = rng.normal(size=(n, d))
    k *= math.sqrt(d) / np.linalg.norm(k, axis=-1, keepdims=True)
    q = rng.normal(size=(40, d))
    q *= math.sqrt(d) / np.linalg.norm(q, axis=-1, keepdims=True)
    measured = en.attention_entropy(attention_scores(q, k)).mean()
    assert measured == pytest.approx(en.sphere_entropy(n, d, 1 / 8), abs=0.02)
    assert abs(measured - (math.log(n) - 0.24 * math.sqrt(d))) > 1.3


# ---------------------------------------------------------------------------------------------------------------
# random energies


def test_independent_normal_scores_follow_the_annealed_entropy_until_they_freeze():
    z, critical = scores(shape=(200, 4096)), en.freezing_scale(4096)
    assert critical == pytest.approx(4.079, abs=1e-3)
    for beta, close in ((1.0, 0.01), (2.0, 0.1)):
        assert en.attention_entropy(beta * z).mean() == pytest.approx(en.random_energy_entropy(4096, beta), abs=close)
    frozen = en.attention_entropy(2 * critical * z).mean()
    assert en.random_energy_entropy(4096, 2 * critical) == 0
    assert 0.5 < frozen < 1.5


def test_the_log_sum_is_continuous_at_freezing_and_bends_into_a_line():
    n = 10**6
    critical = en.freezing_scale(n)
    below, above = (en.random_energy_log_sum(n, critical * (1 + e)) for e in (-1e-9, 1e-9))
    assert below == pytest.approx(above)
    assert below == pytest.approx(2 * math.log(n))
    for times in (1.5, 3):
        assert en.random_energy_log_sum(n, times * critical) == pytest.approx(times * critical**2)
    # The entropy is ln Σ e^{βz} less β times its slope.
    for beta in (1.0, 3.0):
        slope = (en.random_energy_log_sum(n, beta + 1e-5) - en.random_energy_log_sum(n, beta - 1e-5)) / 2e-5
        assert en.random_energy_log_sum(n, beta) - beta * slope == pytest.approx(en.random_energy_entropy(n, beta))


def test_the_log_sum_is_near_that_of_drawn_scores():
    z = scores(shape=(50, 20_000))
    for beta in (1.0, 2.0):
        drawn = np.log(np.exp(beta * z).sum(-1)).mean()
        assert en.random_energy_log_sum(20_000, beta) == pytest.approx(drawn, abs=0.02)


# ---------------------------------------------------------------------------------------------------------------
# keys that matter


@pytest.mark.parametrize(("n", "gap", "planted"), [(64, 3.0, 1), (4096, 8.0, 4), (11, -2.0, 3)])
def test_planted_keys_are_softmax_of_two_levels(n, gap, planted):
    row = np.array([gap] * planted + [0.0] * (n - planted))
    weights = np.exp(row) / np.exp(row).sum()
    assert en.planted_probability(n, gap, planted) == pytest.approx(weights[:planted].sum())
    assert en.planted_entropy(n, gap, planted) == pytest.approx(naive(row))
    assert en.noisy_planted_probability(n, 0.0, gap, planted) == pytest.approx(weights[:planted].sum())
    assert en.noisy_planted_entropy(n, 0.0, gap, planted) == pytest.approx(naive(row))
    assert en.planted_gap(n, en.planted_probability(n, gap, planted), planted) == pytest.approx(gap)


def test_a_gap_of_kappa_log_n_is_lost_below_one_and_found_above():
    for kappa, ends_at in ((0.8, 0.0), (1.0, 0.5), (1.2, 1.0)):
        p = [en.planted_probability(n, kappa * math.log(n)) for n in (10**2, 10**6, 10**60)]
        assert p[-1] == pytest.approx(ends_at, abs=1e-3)
        assert abs(p[2] - ends_at) <= abs(p[1] - ends_at) <= abs(p[0] - ends_at)


def test_at_the_boundary_the_probability_is_one_half_and_the_entropy_still_grows_with_half_of_log_n():
    for n, entropy in ((64, 2.748), (512, 3.808), (4096, 4.851)):
        assert en.planted_entropy(n, math.log(n)) == pytest.approx(entropy, abs=1e-3)
        assert en.planted_entropy(n, en.planted_gap(n, 0.5)) == pytest.approx(0.5 * math.log(n - 1) + math.log(2))


def test_the_example_of_scalable_softmax():
    """One score of 3 among −2: softmax fades with n, a scale of 0.43 ln n focuses."""
    for n, plain, scaled in ((100, 0.5999, 0.99506), (1000, 0.1294, 0.99965)):
        assert en.planted_probability(n, 5.0) == pytest.approx(plain, abs=1e-4)
        assert en.planted_probability(n, 5.0 * 0.43 * math.log(n)) == pytest.approx(scaled, abs=1e-5)


def test_huge_gaps_do_not_overflow():
    assert en.planted_probability(1e9, 1e6) == 1
    assert en.planted_probability(1e9, -1e6) == 0
    assert en.planted_entropy(1e9, 1e6) == 0


def test_noise_raises_the_gap_that_is_needed_by_half_its_variance():
    n, beta = 10**6, 2.0
    assert en.noisy_planted_probability(n, beta, math.log(n) + beta**2 / 2) == pytest.approx(0.5, abs=1e-5)
    z = scores(shape=(200, 100_000))
    drawn = (np.exp(14.0) / (np.exp(14.0) + np.exp(beta * z).sum(-1))).mean()
    assert en.noisy_planted_probability(100_001, beta, 14.0) == pytest.approx(drawn, abs=0.01)


# ---------------------------------------------------------------------------------------------------------------
# dialects, dtypes, gradients


def formulas(convert, boolean):
    """Every public array formula of the module on the same numbers, in one library."""
    s, mask = convert(scores()), boolean(some_mask())
    n = convert(np.array([[1.0], [20.0], [9000.0]]))
    laws = [law(n, 64) for law in LAWS.values() if law is not en.standard_scale]
    return [
        en.attention_entropy(s),
        en.attention_entropy(s, mask),
        en.distribution_entropy(en.power_weights(s)),
        en.power_weights(s, 3, mask),
        en.mean_field_entropy(100.0, s),
        *laws,
    ]


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_same(formulas(np.asarray, np.asarray), formulas(xp.asarray, xp.asarray), xp, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_float32(formulas(lambda a: xp.asarray(a, dtype=xp.float32), xp.asarray), xp)


@pytest.mark.torch
def test_the_gradient_is_the_slope_also_where_weights_are_zero():
    torch = pytest.importorskip("torch")
    s = torch.tensor(scores(), requires_grad=True)
    mask = torch.tensor(some_mask())
    assert torch.autograd.gradcheck(lambda s: en.attention_entropy(s, mask), (s,))
    far = torch.tensor([[0.0, 1.0, -1e4], [0.0, 1.0, -math.inf]], dtype=torch.float64, requires_grad=True)
    en.attention_entropy(far).sum().backward()
    assert torch.isfinite(far.grad).all()
    assert (far.grad[:, 2] == 0).all()


# ---------------------------------------------------------------------------------------------------------------
# the learnable law


@pytest.mark.torch
def test_ssmax_starts_as_the_standard_scale_at_its_base_and_learns_one_number_a_head():
    torch = pytest.importorskip("torch")
    from minilib.attention_torch import MultiHeadAttention
    from minilib.entropy_torch import SSMax

    law = SSMax(3, base=64)
    torch.testing.assert_close(law(64, 16), torch.full((3, 1, 1), 0.25))
    assert law(torch.ones(2, 1, 5, 1), 16).shape == (2, 3, 5, 1)
    torch.manual_seed(0)
    module, x = MultiHeadAttention(12, 3, scale=law), torch.randn(2, 7, 12)
    plain = MultiHeadAttention(12, 3, scale=partial(en.log_scale, base=64))
    plain.load_state_dict({k: v for k, v in module.state_dict().items() if k != "scale.s"})
    for mask in (None, causal_mask(7, x)):
        torch.testing.assert_close(module(x, mask=mask), plain(x, mask=mask))
    module(x).square().sum().backward()
    assert law.s.grad.shape == (3, 1, 1)
    assert (law.s.grad != 0).all()


# ---------------------------------------------------------------------------------------------------------------
# bad input


def test_ssmax_refuses_no_heads_and_a_base_without_logarithm():
    pytest.importorskip("torch")
    from minilib.entropy_torch import SSMax

    with pytest.raises(ValueError, match="at least one head, got 0"):
        SSMax(0)
    with pytest.raises(ValueError, match="must be above 1, got 1"):
        SSMax(3, base=1)


@each_law
def test_a_law_refuses_less_than_one_key_and_no_features(law):
    with pytest.raises(ValueError, match=r"n counts the keys.*got 0"):
        law(0, 64)
    with pytest.raises(ValueError, match=r"n counts the keys.*got nan"):
        law(math.nan, 64)
    with pytest.raises(ValueError, match="d must be at least 1 feature, got 0"):
        law(5, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: en.log_scale(5, 64, base=1.0), "base.*must be above 1, got 1.0"),
        (lambda: en.planted_probability(5, 1.0, planted=5), "some of the n = 5 keys but not all, got 5"),
        (lambda: en.planted_probability(5, 1.0, planted=0), "got 0"),
        (lambda: en.planted_gap(5, 1.0), "p must lie strictly between 0 and 1, got 1.0"),
        (lambda: en.freezing_scale(0.5), "at least 1; got 0.5"),
        (lambda: en.sphere_entropy(5, 0, 1.0), "at least 1 feature"),
        (lambda: en.power_weights(scores(), mask=np.ones((B, N, M))), "mask must be boolean"),
        (lambda: en.attention_entropy(np.ones((2, 3), dtype=int)), "must hold floats"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
