"""What the gated attention unit promises."""

from __future__ import annotations

import math

import dialects
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import arrays, depth, gau
from minilib.attention import attention, causal_mask, padding_mask
from minilib.rope import rope, rope_angles

B, N, D, E, S = 3, 7, 5, 11, 2
"""Batch, tokens, width, width of the values, width of z: pairwise different primes, so that no axes can be mistaken."""

each_kernel = pytest.mark.parametrize("kernel", gau.KERNELS.values(), ids=gau.KERNELS)


def tokens(seed=1, n=N, width=D, batch=(B,)):
    return np.random.default_rng(seed).normal(size=(*batch, n, width))


def weights(parts=2, seed=0, e=E):
    """W, W_o, gamma and beta of a unit with so many scale-offsets."""
    rng = np.random.default_rng(seed)
    shapes = (2 * e + S, D), (D, e), (parts, S), (parts, S)
    return tuple(0.7 * rng.normal(size=shape) for shape in shapes)


def pieces(seed=2, n=N, number=4, batch=(B,)):
    """q, k, q_lin, k_lin of random numbers."""
    return [tokens(seed + i, n, S, batch) for i in range(number)]


def swish(x):
    return x / (1 + np.exp(-x))


# ---------------------------------------------------------------------------------------------------------------
# theorems and limits


def test_with_the_identity_for_a_the_unit_is_a_gated_feed_forward_layer():
    x, (W, W_o, gamma, beta) = tokens(), weights()
    got = gau.gau(x, W, W_o, gamma, beta, kernel=lambda q, k, mask: np.eye(N))
    np.testing.assert_allclose(got, (swish(x @ W[:E].T) * swish(x @ W[E : 2 * E].T)) @ W_o.T, rtol=1e-12)


def test_with_an_open_gate_the_unit_is_attention_with_one_head():
    """swish(y) = 1 at y = 1.2784…, reached for every token by a constant input feature."""
    x, (W, W_o, gamma, beta) = tokens(), weights()
    x[..., 0], W[:E] = 1, 0
    W[:E, 0] = 1.2784645427610738
    v, z = swish(x @ W[E : 2 * E].T), swish(x @ W[2 * E :].T)
    want = attention(z * gamma[0] + beta[0], z * gamma[1] + beta[1], v) @ W_o.T
    np.testing.assert_allclose(gau.gau(x, W, W_o, gamma, beta, gau.softmax_weights), want, rtol=1e-9, atol=1e-12)


@each_kernel
def test_without_positions_the_unit_moves_with_its_tokens(kernel):
    x, order = tokens(), np.random.default_rng(5).permutation(N)
    W, W_o, gamma, beta = weights()
    got = gau.gau(x[:, order], W, W_o, gamma, beta, kernel)
    np.testing.assert_allclose(got, gau.gau(x, W, W_o, gamma, beta, kernel)[:, order], rtol=1e-9, atol=1e-12)


@each_kernel
def test_a_rotated_unit_sees_distances_and_not_places(kernel):
    x, (W, W_o, gamma, beta) = tokens(), weights()
    at = [rope_angles(np.arange(N) + start, S, x) for start in (0, 91)]
    near, far = (gau.gau(x, W, W_o, gamma, beta, kernel, angles=angles) for angles in at)
    np.testing.assert_allclose(far, near, rtol=1e-9, atol=1e-12)
    assert np.abs(near - gau.gau(x, W, W_o, gamma, beta, kernel)).max() > 1e-3


def test_the_two_scales_of_squared_relu_differ_by_s_over_n():
    q, k = pieces(number=2)
    np.testing.assert_allclose(gau.squared_relu_by_length(q, k), S / N * gau.squared_relu(q, k), rtol=1e-12)


def test_squared_relu_is_homogeneous_so_that_no_temperature_is_left_after_normalising():
    q, k = pieces(number=2)
    np.testing.assert_allclose(gau.squared_relu(3 * q, k), 9 * gau.squared_relu(q, k), rtol=1e-12)
    sharp, plain = (gau.row_normalised(gau.squared_relu(c * q, k)) for c in (3, 1))
    np.testing.assert_allclose(sharp, plain, rtol=1e-12)
    assert np.abs(gau.softmax_weights(3 * q, k) - gau.softmax_weights(q, k)).max() > 0.1


def test_normalised_rows_sum_to_one_or_are_zero():
    q, k = np.ones((2, 3, S)), -np.ones((2, 5, S))
    k[0] = 1
    A = gau.row_normalised(gau.squared_relu(q, k))
    np.testing.assert_allclose(A[0].sum(-1), 1)
    np.testing.assert_array_equal(A[1], 0)


def test_log_softmax_is_plain_at_512_keys_and_flatter_below():
    for n, same in ((512, True), (17, False)):
        q, k = pieces(n=n, number=2, batch=())
        plain, scaled = gau.softmax_weights(q, k), gau.softmax_log_weights(q, k)
        assert np.allclose(plain, scaled, rtol=1e-10) == same
        assert same or scaled.max() < plain.max()


def test_log_softmax_takes_the_keys_that_a_row_sees():
    q, k = pieces(number=2, batch=())
    A = gau.softmax_log_weights(q, k, causal_mask(N, q))
    for i in range(N):
        logits = math.log(i + 1) / math.log(512) * (k[: i + 1] @ q[i]) / math.sqrt(S)
        np.testing.assert_allclose(A[i, : i + 1], np.exp(logits) / np.exp(logits).sum(), rtol=1e-12)
        assert not A[i, i + 1 :].any()


@each_kernel
def test_a_causal_row_is_the_last_row_of_the_text_up_to_it(kernel):
    """So its normaliser is the number of tokens it sees, and not the length of the text."""
    x, (W, W_o, gamma, beta) = tokens(), weights()
    whole = gau.gau(x, W, W_o, gamma, beta, kernel, causal_mask(N, x))
    for t in range(1, N + 1):
        alone = gau.gau(x[:, :t], W, W_o, gamma, beta, kernel)[:, -1]
        np.testing.assert_allclose(whole[:, t - 1], alone, rtol=1e-9, atol=1e-12)


@each_kernel
def test_padding_changes_nothing(kernel):
    x, (W, W_o, gamma, beta) = tokens(), weights()
    lengths = np.array([7, 4, 1])
    padded = gau.gau(x, W, W_o, gamma, beta, kernel, padding_mask(lengths, N))
    for row, length in enumerate(lengths):
        alone = gau.gau(x[row, :length], W, W_o, gamma, beta, kernel)
        np.testing.assert_allclose(padded[row, :length], alone, rtol=1e-9, atol=1e-12)


@each_kernel
def test_a_single_token_looks_at_itself(kernel):
    q, k = pieces(n=1, number=2)
    want = {
        "squared_relu": np.maximum((q * k).sum(-1, keepdims=True), 0) ** 2 / S,
        "squared_relu_by_length": np.maximum((q * k).sum(-1, keepdims=True), 0) ** 2,
    }
    np.testing.assert_allclose(kernel(q, k, None), want.get(kernel.__name__, np.ones((B, 1, 1))), rtol=1e-12)


@each_kernel
def test_a_row_that_may_look_nowhere_is_zero(kernel):
    q, k = pieces(number=2)
    mask = np.ones((N, N), dtype=bool)
    mask[2] = False
    A = kernel(q, k, mask)
    np.testing.assert_array_equal(A[:, 2], 0)
    assert np.isfinite(A).all()


# ---------------------------------------------------------------------------------------------------------------
# slow and obvious


def slow_gau(x, W, W_o, gamma, beta, i):
    """Row i of the unit with relu²/(ns), one number at a time."""
    n, e = len(x), W_o.shape[1]
    rows = [[swish(sum(W[r][c] * x[t][c] for c in range(D))) for r in range(2 * e + S)] for t in range(n)]
    q = [gamma[0][c] * rows[i][2 * e + c] + beta[0][c] for c in range(S)]
    total = [0.0] * e
    for j in range(n):
        k = [gamma[1][c] * rows[j][2 * e + c] + beta[1][c] for c in range(S)]
        a = max(sum(q[c] * k[c] for c in range(S)), 0) ** 2 / (n * S)
        total = [total[c] + a * rows[j][e + c] for c in range(e)]
    gated = [rows[i][c] * total[c] for c in range(e)]
    return [sum(W_o[r][c] * gated[c] for c in range(e)) for r in range(D)]


def test_the_unit_is_its_definition_one_number_at_a_time():
    x, (W, W_o, gamma, beta) = tokens(batch=()), weights()
    want = [slow_gau(x, W, W_o, gamma, beta, i) for i in range(N)]
    np.testing.assert_allclose(gau.gau(x, W, W_o, gamma, beta), want, rtol=1e-12)


def test_scale_offset_without_offset_is_the_one_with_zeros():
    z, gamma = tokens(width=S), weights(5)[2]
    with_zeros = gau.scale_offset(z, gamma, np.zeros((5, S)))
    assert len(with_zeros) == 5
    for i, (a, b) in enumerate(zip(gau.scale_offset(z, gamma), with_zeros, strict=True)):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, gamma[i] * z)


# ---------------------------------------------------------------------------------------------------------------
# FLASH


def slow_mixed(q, k, q_lin, k_lin, v, chunk, causal):
    """Chunk by chunk and token by token, without any matrix."""
    out = np.zeros_like(v)
    for i in range(len(v)):
        g = i // chunk
        near = [j for j in range(len(v)) if j // chunk == g and not (causal and j > i)]
        far = [j for j in range(len(v)) if not causal or j // chunk < g]
        for j in near:
            out[i] += max(q[i] @ k[j], 0) ** 2 / (len(near) * S) * v[j]
        for j in far:
            out[i] += (q_lin[i] @ k_lin[j]) / len(far) * v[j]
    return out


@pytest.mark.parametrize("causal", [False, True])
@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 17), chunk=st.integers(1, 19))
def test_mixed_chunk_attention_is_its_definition_token_by_token_at_any_length(causal, n, chunk):
    args = (*pieces(n=n, batch=()), tokens(9, n, E, ()))
    want = slow_mixed(*args, chunk, causal)
    np.testing.assert_allclose(gau.mixed_chunk_attention(*args, chunk, causal), want, rtol=1e-9, atol=1e-12)
    A = gau.mixed_chunk_weights(*args[:4], chunk, causal)
    np.testing.assert_allclose(A @ args[4], want, rtol=1e-9, atol=1e-12)


@each_kernel
@pytest.mark.parametrize("causal", [False, True])
def test_the_weights_are_those_by_which_the_values_are_multiplied_under_every_kernel(kernel, causal):
    args, v = pieces(), tokens(9, width=E)
    got = gau.mixed_chunk_attention(*args, v, 3, causal, kernel=kernel)
    want = gau.mixed_chunk_weights(*args, 3, causal, kernel) @ v
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_the_linear_part_in_chunks_is_full_linear_attention():
    q, k, q_lin, k_lin = pieces()
    v, nothing = tokens(9, width=E), np.zeros_like(q)
    got = gau.mixed_chunk_attention(nothing, k, q_lin, k_lin, v, 3)
    np.testing.assert_allclose(got, q_lin @ (k_lin.mT @ v) / N, rtol=1e-12)


def test_a_chunk_as_long_as_the_text_leaves_the_unit_plus_linear_attention():
    q, k, q_lin, k_lin = pieces()
    v = tokens(9, width=E)
    want = gau.squared_relu(q, k) @ v + q_lin @ (k_lin.mT @ v) / N
    np.testing.assert_allclose(gau.mixed_chunk_attention(q, k, q_lin, k_lin, v, N), want, rtol=1e-12)
    causal = gau.squared_relu(q, k, causal_mask(N, q)) @ v
    np.testing.assert_allclose(gau.mixed_chunk_attention(q, k, q_lin, k_lin, v, N, True), causal, rtol=1e-12)


def test_no_token_of_causal_flash_sees_a_later_one_not_even_its_nan():
    x, (W, W_o, gamma, beta) = tokens(n=11), weights(4)
    angles = rope_angles(11, S, x)
    plain = gau.flash(x, W, W_o, gamma, beta, 3, True, angles=angles)
    for t in range(1, 11):
        x[:, t:] = np.nan
        # A NaN inside the own chunk meets the mask as 0 · NaN, so only chunks before it are held to this.
        start = t // 3 * 3
        np.testing.assert_array_equal(
            gau.flash(x, W, W_o, gamma, beta, 3, True, angles=angles)[:, :start], plain[:, :start]
        )
        x[:, t:] = 100.0
        np.testing.assert_array_equal(gau.flash(x, W, W_o, gamma, beta, 3, True, angles=angles)[:, :t], plain[:, :t])
        x = tokens(n=11)


def test_a_running_sum_that_includes_the_own_chunk_would_leak():
    """The control of the test above: it sees a leak where there is one."""
    q, k, q_lin, k_lin = pieces()
    v = tokens(9, width=E)

    def leaky(v):
        sums = np.cumsum([k_lin[:, a : a + 3].mT @ v[:, a : a + 3] for a in (0, 3, 6)], axis=0)
        return np.concatenate([q_lin[:, 3 * g : 3 * g + 3] @ sums[g] for g in range(3)], axis=1)

    changed = v.copy()
    changed[:, 2] += 1
    assert np.abs(leaky(changed) - leaky(v))[:, :2].max() > 0.01
    ours = [gau.mixed_chunk_attention(q, k, q_lin, k_lin, a, 3, True) for a in (v, changed)]
    np.testing.assert_array_equal(ours[0][:, :2], ours[1][:, :2])


@pytest.mark.parametrize("causal", [False, True])
def test_padding_changes_nothing_in_flash(causal):
    args, v, lengths = pieces(n=11), tokens(9, 11, E), np.array([11, 7, 2])
    real = np.arange(11) < lengths[:, None]
    padded = gau.mixed_chunk_attention(*args, v, 3, causal, real)
    for row, length in enumerate(lengths):
        alone = gau.mixed_chunk_attention(*(a[row, :length] for a in args), v[row, :length], 3, causal)
        np.testing.assert_allclose(padded[row, :length], alone, rtol=1e-9, atol=1e-12)


def test_padding_everywhere_gives_zero():
    args, v = pieces(), tokens(9, width=E)
    for causal in (False, True):
        y = gau.mixed_chunk_attention(*args, v, 3, causal, np.zeros((B, N), dtype=bool))
        np.testing.assert_array_equal(y, 0)


def test_flash_is_the_gate_times_its_mixed_values():
    x, (W, W_o, gamma, beta) = tokens(), weights(4)
    angles = rope_angles(N, S, x)
    u, v, z = (swish(x @ W[a:b].T) for a, b in ((0, E), (E, 2 * E), (2 * E, 2 * E + S)))
    four = [rope(gamma[i] * z + beta[i], angles) for i in range(4)]
    want = (u * (gau.mixed_chunk_weights(*four, 3, True) @ v)) @ W_o.T
    np.testing.assert_allclose(gau.flash(x, W, W_o, gamma, beta, 3, True, angles=angles), want, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# dialects


def formulas(xp, convert):
    """Every public array formula of the module on the same numbers, in the library that `convert` makes arrays of."""
    x, mask = convert(tokens()), xp.asarray(np.tril(np.ones((N, N), dtype=bool)))
    real = xp.asarray(np.arange(N) < np.array([7, 4, 1])[:, None])
    args, v, out = [convert(a) for a in pieces()], convert(tokens(9, width=E)), []
    angles = rope_angles(N, S, x)
    for kernel in gau.KERNELS.values():
        out += [kernel(*args[:2], None), kernel(*args[:2], mask)]
        W, W_o, gamma, beta = (convert(w) for w in weights())
        out += [gau.gau(x, W, W_o, gamma, None, kernel), gau.gau(x, W, W_o, gamma, beta, kernel, mask, angles)]
    out += [*gau.gau_parts(x, W, S), *gau.gau_parts(x, W, S, arrays.relu), *gau.scale_offset(x[..., :S], gamma, beta)]
    out += [gau.row_normalised(out[0]), *gau.queries_keys(x[..., :S], gamma, beta, angles)]
    W, W_o, gamma, beta = (convert(w) for w in weights(4))
    for causal in (False, True):
        out += [gau.mixed_chunk_attention(*args, v, 3, causal, real), gau.mixed_chunk_weights(*args, 3, causal)]
        out += [
            gau.flash(x, W, W_o, gamma, beta, 3, causal, real, angles),
            gau.flash(x, W, W_o, gamma, None, 4, causal),
        ]
    return out


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


# ---------------------------------------------------------------------------------------------------------------
# magnitude at initialisation

SWISH = depth.moments(arrays.silu, np.zeros(1))
FOURTH = depth.gaussian_mean(lambda x: arrays.silu(x) ** 4, np.zeros(1))
SCATTER = gau.row_scatter(128, SWISH.square, FOURTH)


def start(n, d, s, seed, stds=None, angles=False):
    """A unit at initialisation on white noise: rms(O), mean of A's diagonal, mean of the rest of a row."""
    rng, e = np.random.default_rng(seed), 2 * d
    u, v, z, o = stds or gau.lecun_stds(d, e, s)
    x = rng.normal(size=(n, d))
    W = np.concatenate([std * rng.normal(size=(rows, d)) for std, rows in ((u, e), (v, e), (z, s))])
    turn = rope_angles(n, s, x) if angles else None
    q, k = gau.queries_keys(gau.gau_parts(x, W, s).z, np.ones((2, s)), None, turn)
    A = gau.squared_relu(q, k)
    y = gau.gau(x, W, o * rng.normal(size=(d, e)), np.ones((2, s)), angles=turn)
    on = np.diag(A)
    return np.sqrt((y**2).mean()), on.mean(), (A.sum(-1) - on).mean()


@pytest.mark.parametrize("n", [64, 512])
def test_the_corrected_estimate_is_within_15_percent_where_the_essay_is_not(n):
    mean, square = SWISH
    runs = np.mean([start(n, 256, 128, seed) for seed in range(3)], axis=0)
    mass = gau.squared_relu_mass(n, 128, mean, square, gau.swish_overlap(1.0, 256))
    assert runs[1:] == pytest.approx([float(m) for m in mass], rel=0.08)
    assert gau.output_rms(mass, mean, square, square, scatter=SCATTER) == pytest.approx(runs[0], rel=0.15)
    assert gau.essay_rms(n, 128, square) != pytest.approx(runs[0], rel=0.15)


def test_rotation_takes_part_of_the_mass_off_the_diagonal_and_its_formula_knows_how_much():
    n, s, (mean, square) = 256, 128, SWISH
    runs = np.mean([start(n, 256, s, seed, angles=True) for seed in range(3)], axis=0)
    cosines = np.cos(rope_angles(n, s, np.zeros(1))).mean(-1)
    mass, plain = (
        gau.rotary_mass(cosines, s, mean, square, gau.swish_overlap(1.0, 256)),
        gau.squared_relu_mass(n, s, mean, square),
    )
    assert mass.rest == pytest.approx(runs[2], rel=0.08)
    assert mass.rest < 0.6 * plain.rest
    assert gau.output_rms(mass, mean, square, square, scatter=SCATTER) == pytest.approx(runs[0], rel=0.15)


def test_rows_differ_by_the_fourth_power_of_the_length_of_their_query():
    z = swish(np.random.default_rng(0).normal(size=(20_000, 128)))
    on = (z**2).sum(-1) ** 2
    assert on.var() / on.mean() ** 2 == pytest.approx(SCATTER, rel=0.15)


def test_narrow_inputs_overlap_and_their_formula_knows_how_much():
    n, d, (mean, square) = 64, 61, SWISH
    rest = np.mean([start(n, d, 128, seed)[2] for seed in range(8)])
    wide, narrow = (gau.squared_relu_mass(n, 128, mean, square, w).rest for w in (0.0, gau.swish_overlap(1.0, d)))
    assert narrow == pytest.approx(rest, rel=0.08)
    assert wide < 0.8 * rest


def test_so_do_rotated_ones():
    n, d, s, (mean, square) = 64, 61, 128, SWISH
    rest = np.mean([start(n, d, s, seed, angles=True)[2] for seed in range(8)])
    cosines = np.cos(rope_angles(n, s, np.zeros(1))).mean(-1)
    wide, narrow = (gau.rotary_mass(cosines, s, mean, square, w).rest for w in (0.0, gau.swish_overlap(1.0, d)))
    assert narrow == pytest.approx(rest, rel=0.08)
    assert wide < 0.9 * rest


def test_swish_passes_on_half_of_any_normal_input():
    for g in (0.1, 1.0, 3.0):
        half = depth.gaussian_mean(lambda x, g=g: x * arrays.silu(g * x), np.zeros(1))
        assert half == pytest.approx(g / 2, rel=1e-10)
        assert gau.swish_overlap(g, 7) == pytest.approx(half**4 / 7)


def test_without_rotation_the_rotary_mass_is_the_plain_one_but_for_what_relu_cuts_off():
    n, s, (mean, square) = 97, 128, SWISH
    mass, plain = gau.rotary_mass(np.ones(n), s, mean, square), gau.squared_relu_mass(n, s, mean, square)
    assert mass.diagonal == plain.diagonal
    assert 0.98 < mass.rest / plain.rest < 1


def test_the_mean_of_a_squared_relu_is_its_integral():
    x = np.linspace(-12, 12, 400_001)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    for m, v in ((0.0, 1.0), (2.0, 0.5), (-1.0, 3.0)):
        want = np.trapezoid(np.maximum(m + math.sqrt(v) * x, 0) ** 2 * density, x)
        assert gau.squared_relu_mean(m, v) == pytest.approx(want, rel=1e-6)
    assert (gau.squared_relu_mean(3.0, 0.0), gau.squared_relu_mean(-3.0, 0.0)) == (9, 0)


def test_the_softmax_mass_is_what_normal_logits_give():
    n, s, d, (mean, square) = 512, 128, 61, SWISH
    rng, scale, overlap = np.random.default_rng(0), 1.5, gau.swish_overlap(1.0, d)
    spread = scale * math.sqrt(square**2 - mean**4 + s * overlap)
    on, off = scale * math.sqrt(s) * square, scale * math.sqrt(s) * mean**2 + spread * rng.normal(size=(997, n - 1))
    want = np.mean(np.exp(on) / (np.exp(on) + np.exp(off).sum(-1)))
    mass = gau.softmax_mass(n, s, mean, square, scale, overlap)
    assert mass.diagonal == pytest.approx(want, rel=0.02)
    assert mass.diagonal + mass.rest == pytest.approx(1)


def test_the_rotary_softmax_mass_is_the_plain_one_where_nothing_is_turned():
    n, s, (mean, square) = 97, 128, SWISH
    want = gau.softmax_mass(n, s, mean, square, 1.5, 1e-3)
    got = gau.rotary_softmax_mass(np.ones(n), s, mean, square, 1.5, 1e-3)
    assert tuple(got) == pytest.approx(tuple(want))
    turned = gau.rotary_softmax_mass(np.cos(np.arange(n)), s, mean, square, 1.5, 1e-3)
    assert turned.diagonal > got.diagonal


def test_the_output_tends_to_a_constant_and_not_to_zero():
    mean, square = SWISH
    long = gau.output_rms(gau.squared_relu_mass(10**7, 128, mean, square), mean, square, square)
    assert long == pytest.approx(gau.limit_rms(128, mean, square), rel=1e-4)
    assert gau.essay_rms(10**7, 128, square) < 1e-6


def test_seven_is_the_least_exponent_of_the_scale_and_the_limit_for_small_weights():
    """The estimate with the moments of swish(λ ε) knows that swish is not homogeneous."""

    def rms(lam):
        mean, square = depth.moments(arrays.silu, np.zeros(1), lam)
        return gau.output_rms(gau.squared_relu_mass(512, 128, mean, square), mean, square, square, lam)

    exponents = [math.log(rms(lam / 2) / rms(lam)) / math.log(0.5) for lam in (1, 0.5, 0.1, 1e-3, 1e-5)]
    assert all(exponent > 7 for exponent in exponents)
    assert exponents[-1] == pytest.approx(7, abs=0.01)
    assert exponents == sorted(exponents, reverse=True)


def test_the_estimate_follows_each_initialisation_by_its_gains():
    n, d, s = 256, 256, 128
    for name, init in gau.INITS.items():
        stds = init(d, 2 * d, s)
        g = gau.gains(stds, d, 2 * d)
        u, v, z = (depth.moments(arrays.silu, np.zeros(1), gain) for gain in g[:3])
        estimate = gau.output_rms(gau.squared_relu_mass(n, s, *z), *v, u.square, g.o)
        measured = np.mean([start(n, d, s, seed, stds)[0] for seed in range(3)])
        assert estimate == pytest.approx(measured, rel=0.25), name


def test_initial_deviations_and_their_gains_are_those_of_the_matrices():
    assert gau.lecun_stds(4, 9, 2) == gau.Stds(0.5, 0.5, 0.5, 1 / 3)
    assert gau.xavier_stds(4, 9, 2) == pytest.approx(tuple(math.sqrt(2 / fans) for fans in (13, 13, 6, 13)))
    assert gau.gains(gau.lecun_stds(4, 9, 2), 4, 9) == (1, 1, 1, 1)
    assert gau.small_stds(4, 9, 2).scaled(3.0) == pytest.approx((0.06,) * 4)


# ---------------------------------------------------------------------------------------------------------------
# cost


def test_counts_are_those_of_the_weights_and_products():
    assert gau.gau_parameters(D, E, S) == sum(w.size for w in weights())
    assert gau.gau_parameters(768, 1536, 128) == 3_637_760
    assert gau.block_parameters(768) == 7_077_888
    products = [(N, D, 2 * E + S), (N, S, N), (N, N, E), (N, E, D)]
    assert N * gau.gau_macs(N, D, E, S) == sum(math.prod(p) for p in products)
    block = [(N, D, 3 * D), (N, D, N), (N, N, D), (N, D, D), (N, D, 4 * D), (N, 4 * D, D)]
    assert N * gau.block_macs(N, D) == sum(math.prod(p) for p in block)
    g, c = 3, 5
    flash = [(g * c, D, 2 * E + S), (g * c, E, D)] + g * [(c, S, c), (c, c, E), (S, c, E), (c, S, E)]
    assert g * c * gau.flash_macs(g * c, D, E, S, c) == sum(math.prod(p) for p in flash)


def test_at_the_crossings_both_sides_are_equal():
    n = gau.macs_crossing(768, 1152, 128)
    assert n > 0
    for more in (0.9, 1.1):
        ratio = 2 * gau.gau_macs(round(more * n), 768, 1152, 128) / gau.block_macs(round(more * n), 768)
        assert (ratio > 1) == (more > 1)
    assert gau.macs_crossing(768, 1536, 128) < 0
    n = gau.kept_crossing(768, 1536, 128, 12)
    assert 2 * gau.gau_kept(int(n), 768, 1536, 128) == pytest.approx(gau.block_kept(int(n), 768, 12))
    assert 2 * gau.gau_kept(int(2 * n), 768, 1536, 128) < gau.block_kept(int(2 * n), 768, 12)


# ---------------------------------------------------------------------------------------------------------------
# bad input


def broken(**change):
    W, W_o, gamma, beta = weights()
    return {"x": tokens(), "W": W, "W_o": W_o, "gamma": gamma, "beta": beta} | change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": tokens(width=D + 1)}, r"W must have shape \(…, 24, 6\)"),
        ({"W": weights()[0][:-1]}, "2e \\+ s rows, those of W_u, W_v and W_z, got 23 with s = 2"),
        ({"W": weights()[0][:2]}, "got 2 with s = 2"),
        ({"W_o": weights()[1][:, :-1]}, r"W_o must have shape \(…, …, 11\)"),
        ({"gamma": weights()[2][0]}, "gamma must have shape"),
        ({"beta": np.zeros((3, S))}, "beta must have shape"),
        ({"x": tokens().astype(int)}, "x must hold floats"),
        ({"mask": np.ones((N, N))}, "mask must be boolean"),
        ({"angles": rope_angles(N + 1, S, tokens())}, "x must have shape"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_bad_argument_is_named_with_what_was_expected(change, message):
    with pytest.raises(ValueError, match=message):
        gau.gau(**broken(**change))


@pytest.mark.usefixtures("unchecked")
def test_a_bad_chunk_or_mask_of_real_tokens_is_refused():
    args, v = pieces(), tokens(9, width=E)
    for f in (lambda: gau.mixed_chunk_attention(*args, v, 0), lambda: gau.mixed_chunk_weights(*args, 0)):
        with pytest.raises(ValueError, match="chunk must be at least 1 token, got 0"):
            f()
    with pytest.raises(ValueError, match=r"real must have shape \(…, 7\)"):
        gau.mixed_chunk_attention(*args, v, 3, real=np.ones((B, N + 1), dtype=bool))
    with pytest.raises(ValueError, match="variance must be non-negative"):
        gau.squared_relu_mean(0.0, -1.0)
    with pytest.raises(ValueError, match="e \\+ s must exceed d"):
        gau.macs_crossing(768, 512, 128)
    with pytest.raises(ValueError, match="heads must exceed 4"):
        gau.kept_crossing(768, 1536, 128, 4)


@each_kernel
def test_nan_stays_in_its_row_and_is_not_hidden(kernel):
    q, k = pieces(number=2)
    q[0, 2] = np.nan
    A = kernel(q, k, None)
    assert np.isnan(A[0, 2]).all()
    assert np.isfinite(np.delete(A[0], 2, axis=0)).all()
    assert np.isfinite(A[1:]).all()
