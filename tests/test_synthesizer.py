"""What the formulas of the Synthesizer promise."""

from __future__ import annotations

import itertools
import math

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import synthesizer as syn
from minilib.arrays import sigmoid, softmax
from minilib.attention import attention_scores, attention_weights, causal_mask, padding_mask

S, H, N, n, M, K, A, B = 2, 3, 35, 11, 13, 17, 5, 7
"""Batch, heads, longest, length, features, rank and the two factors: pairwise different, and N = A · B."""


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def dot(x, seed=3):
    """Scores of queries and keys, for comparison."""
    W_q, W_k = draw(2, x.shape[-1], x.shape[-1], seed=seed) / math.sqrt(x.shape[-1])
    return attention_scores(x @ W_q.T, x @ W_k.T)


def dense(x, seed=1):
    return syn.dense_scores(x, draw(N, x.shape[-1], seed=seed), draw(N, seed=seed + 1))


def random(x, seed=2):
    return syn.random_scores(draw(N, N, seed=seed), x.shape[-2])


def factorized_random(x, seed=4):
    return syn.factorized_random_scores(*draw(2, N, 3, seed=seed), x.shape[-2])


def tiled(x, seed=5):
    return syn.tiled_scores(x @ draw(x.shape[-1], A, seed=seed), x @ draw(x.shape[-1], B, seed=seed + 1))


def interleaved(x, seed=5):
    return syn.interleaved_scores(x @ draw(x.shape[-1], A, seed=seed), x @ draw(x.shape[-1], B, seed=seed + 1))


VARIANTS = {
    "dot": dot,
    "dense": dense,
    "random": random,
    "factorized random": factorized_random,
    "tiled": tiled,
    "interleaved": interleaved,
}
BY_TOKEN = ("dense", "tiled", "interleaved")
FIXED = ("random", "factorized random")
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def moved(before, after):
    """The rows that differ."""
    return set(np.flatnonzero(np.abs(after - before).max(axis=-1) > 1e-12))


# ---------------------------------------------------------------------------------------------------------------
# theorems: who looks at whom


@each_variant
def test_another_token_moves_all_rows_of_dot_products_its_own_row_of_dense_and_none_of_random(variant):
    x, t = draw(n, M), 4
    other = x.copy()
    other[t] = draw(M, seed=9)
    rows = moved(*(softmax(VARIANTS[variant](z)) for z in (x, other)))
    assert rows == {"dot": set(range(n))}.get(variant, {t} if variant in BY_TOKEN else set())


@each_variant
def test_only_dot_products_are_permuted_when_the_tokens_are(variant):
    x, order = draw(n, M), np.random.default_rng(1).permutation(n)
    before, after = (VARIANTS[variant](z) for z in (x, x[order]))
    equivariant = np.allclose(after, before[order][:, order], rtol=1e-12)
    assert equivariant == (variant == "dot")
    if variant in BY_TOKEN:  # rows travel with their tokens, columns stay
        np.testing.assert_allclose(after, before[order], rtol=1e-12)
    if variant in FIXED:
        np.testing.assert_array_equal(after, before)


def test_dense_scores_are_attention_with_constant_keys():
    """relu(q) for the queries, the second layer for the keys, no scale: the keys are of no token."""
    q, W = draw(n, M), draw(N, M, seed=1)
    want = attention_scores(np.maximum(q, 0), W[:n], scale=1.0)
    np.testing.assert_allclose(syn.dense_scores(q, W), want, rtol=1e-14)


def test_random_scores_mix_tokens_linearly_and_dot_products_do_not():
    x, y = draw(n, M), draw(n, M, seed=1)

    def additivity(scores):
        out = [syn.synthetic_attention(scores(z), z) for z in (x + y, x, y)]
        return np.abs(out[0] - out[1] - out[2]).max()

    assert additivity(random) < 1e-13
    assert additivity(factorized_random) < 1e-13
    assert min(additivity(scores) for scores in (dot, dense, tiled, interleaved)) > 0.1


def test_the_ranks_of_the_scores_are_those_of_what_they_are_made_of():
    """Rank at most: m features, rank k, ab or lcm(a, b) products; a random matrix is of full rank."""
    rank = np.linalg.matrix_rank
    x = draw(N, 3)
    assert rank(dot(x)) == 3
    assert rank(syn.dense_scores(x, draw(N, 3, seed=1))) == 3
    assert rank(syn.dense_scores(x, draw(N, 3, seed=1), draw(N, seed=2))) == 4
    assert rank(random(x)) == N
    assert rank(factorized_random(x)) == 3
    u, v = draw(64, 8), draw(64, 8, seed=1)
    assert rank(syn.tiled_scores(u, v)) == 8
    assert rank(syn.interleaved_scores(u, v)) == 64
    assert rank(softmax(factorized_random(x))) > 3


@given(a=st.integers(1, 24), b=st.integers(1, 24))
@settings(max_examples=30, deadline=None)
def test_tiling_both_factors_leaves_as_many_different_columns_as_their_least_common_multiple(a, b):
    columns = syn.tiled_scores(draw(a * b, a), draw(a * b, b, seed=1)).T
    assert len(np.unique(columns, axis=0)) == math.lcm(a, b)


@given(a=st.integers(1, 24), b=st.integers(1, 24))
@settings(max_examples=30, deadline=None)
def test_interleaving_one_of_them_leaves_all_columns_different(a, b):
    columns = syn.interleaved_scores(draw(a * b, a), draw(a * b, b, seed=1)).T
    assert len(np.unique(columns, axis=0)) == a * b


def test_coprime_factors_make_tiling_a_reordering_of_interleaving():
    u, v = draw(N, A), draw(N, B, seed=1)
    order = [(j % A) + A * (j % B) for j in range(N)]
    assert sorted(order) == list(range(N))
    np.testing.assert_array_equal(syn.tiled_scores(u, v), syn.interleaved_scores(u, v)[:, order])


def test_a_random_map_begins_as_the_mean_or_half_a_nat_below_it():
    """Entropy log n − std²/2, less for larger std than that: entropy of softmax of normal scores, n = 256."""
    R = np.random.default_rng(0).normal(size=(4, 256, 256))

    def entropy(std):
        a = softmax(std * R)
        return -(a * np.log(a)).sum(-1).mean()

    assert entropy(0.02) == pytest.approx(math.log(256) - 0.0002, abs=2e-5)
    assert entropy(1.0) == pytest.approx(math.log(256) - 0.5, abs=0.02)


def test_at_first_the_gate_weighs_both_alike_and_its_gradient_is_a_quarter_of_their_difference():
    one, other, eps = draw(n, n), draw(n, n, seed=1), 1e-6
    np.testing.assert_allclose(syn.gated_mixture(one, other, np.zeros(())), (one + other) / 2, rtol=1e-14)
    slope = (syn.gated_mixture(one, other, np.array(eps)) - syn.gated_mixture(one, other, np.array(-eps))) / (2 * eps)
    np.testing.assert_allclose(slope, (other - one) / 4, atol=1e-9)  # 1e-16 / eps is lost to cancellation


def test_the_gate_is_a_softmax_mixture_of_two():
    one, other, a = draw(H, n, n), draw(S, H, n, n, seed=1), draw(H, seed=2)
    want = syn.softmax_mixture([one, other], np.stack([np.zeros(H), a]))
    np.testing.assert_allclose(syn.gated_mixture(np.broadcast_to(one, other.shape), other, a), want, rtol=1e-13)


# ---------------------------------------------------------------------------------------------------------------
# theorems: what a fixed mixing can and cannot do


def test_a_fixed_mixing_copies_the_token_before_exactly():
    x = draw(500, n, M)
    y = np.concatenate([0 * x[:, :1], x[:, :-1]], axis=1)
    mixing = syn.best_mixing(x, y)
    np.testing.assert_allclose(mixing, np.eye(n, k=-1), atol=1e-12)


def test_a_fixed_mixing_that_must_fetch_a_token_from_a_random_place_takes_the_mean_and_misses_all_but_1_of_n():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40_000, n, 3))
    y = x[np.arange(len(x)), rng.integers(n, size=len(x))][:, None]
    mixing = syn.best_mixing(x, y)
    np.testing.assert_allclose(mixing, np.full((1, n), 1 / n), atol=0.01)
    assert ((mixing @ x - y) ** 2).mean() / (y**2).mean() == pytest.approx(1 - 1 / n, abs=0.005)


def test_attention_to_a_mark_fetches_it():
    rng = np.random.default_rng(0)
    x, place = rng.normal(size=(50, n, M)), rng.integers(n, size=50)
    marked = np.zeros((50, n, 1))
    marked[np.arange(50), place] = 1
    A = attention_weights(np.ones((50, 1, 1)), marked, scale=1000.0)
    np.testing.assert_array_equal((A @ x)[:, 0], x[np.arange(50), place])


def test_no_fixed_map_is_closer_to_many_maps_than_their_mean():
    maps = softmax(draw(M, n, n))
    mean = syn.static_map(maps)
    rng = np.random.default_rng(1)
    for size in (0.001, 0.1, 1.0):
        other = softmax(np.log(mean) + size * rng.normal(size=(n, n)))
        assert ((maps - other) ** 2).sum() > ((maps - mean) ** 2).sum()
        assert (maps * np.log(maps / other)).sum() > (maps * np.log(maps / mean)).sum()
        assert syn.explained_share(maps, other, mean) < 0


def test_a_share_is_one_for_the_maps_themselves_and_zero_for_the_baseline():
    one, baseline = softmax(draw(H, n, n)), np.full((n, n), 1 / n)
    same = np.stack([one] * S)
    np.testing.assert_array_equal(syn.explained_share(same, one, baseline), np.ones(H))
    np.testing.assert_array_equal(
        syn.explained_share(same, np.broadcast_to(baseline, one.shape), baseline), np.zeros(H)
    )


# ---------------------------------------------------------------------------------------------------------------
# costs


def test_random_scores_have_more_weights_than_dot_products_beyond_the_break_even_length():
    for d, heads, want in ((512, 8, 256), (768, 12, 314)):
        N = syn.break_even_length(d, heads)
        assert math.ceil(N) == want
        for longest in (math.floor(N), math.floor(N) + 1):
            more = syn.random_cost(heads, longest).parameters > syn.dot_cost(d, longest).parameters
            assert more == (longest > N)


def test_costs_are_those_of_the_published_sizes():
    """d = 768, 12 heads, n = 512, by token: half the products of attention, but more than twice the weights."""
    dot, dense, random = syn.dot_cost(768, 512), syn.dense_cost(768, 12, 512, 512, True), syn.random_cost(12, 512)
    assert (dot.parameters, dense.parameters, random.parameters) == (1_179_648, 622_592, 3_145_728)
    assert syn.dense_cost(768, 12, 512, 512).parameters == 983_040
    assert syn.factorized_random_cost(12, 512, 8, 512).parameters == 98_304
    macs = [syn.layer_cost(scores, 768, 512).macs / 512 for scores in (dot, dense, random)]
    assert macs == [3_145_728, 2_555_904, 1_572_864]


def test_costs_add_up_as_written():
    parts = syn.dot_cost(M * H, n), syn.random_cost(H, N)
    assert syn.mixture_cost(H, n, *parts) == syn.Cost(2 * (M * H) ** 2 + H * N**2 + 2, parts[0].macs + 2 * H * n * n)
    d = M * H
    assert syn.factorized_dense_cost(d, H, A, B, n) == (d * d + d * 12, n * d * d + n * d * 12 + H * n * n)
    assert syn.factorized_dense_cost(d, H, A, B, n, shared=True).parameters == d * d + M * 12
    assert syn.layer_cost(syn.Cost(5, 7), d, n) == (5 + 2 * d * d, 7 + 2 * n * d * d + n * n * d)


# ---------------------------------------------------------------------------------------------------------------
# slow and obvious equals fast


def slow_dense(q, W, b):
    B = np.zeros((len(q), len(q)))
    for i, j in itertools.product(range(len(q)), repeat=2):
        B[i, j] = b[j] + sum(max(q[i, m], 0) * W[j, m] for m in range(q.shape[1]))
    return B


def test_dense_scores_entry_by_entry():
    q, W, b = draw(S, H, n, M), draw(H, N, M, seed=1), draw(H, N, seed=2)
    got = syn.dense_scores(q, W, b)
    for s, h in itertools.product(range(S), range(H)):
        np.testing.assert_allclose(got[s, h], slow_dense(q[s, h], W[h], b[h]), rtol=1e-11)


def test_factorized_dense_scores_entry_by_entry():
    u, v = draw(S, H, n, A), draw(S, H, n, B, seed=1)
    tiled, interleaved = syn.tiled_scores(u, v), syn.interleaved_scores(u, v)
    assert tiled.shape == interleaved.shape == (S, H, n, n)
    for j in range(n):
        np.testing.assert_array_equal(tiled[..., j], u[..., j % A] * v[..., j % B])
        np.testing.assert_array_equal(interleaved[..., j], u[..., j % A] * v[..., j // A])


def test_fixed_scores_entry_by_entry():
    R, R_1, R_2 = draw(H, N, N), draw(H, N, K, seed=1), draw(H, N, K, seed=2)
    random, product = syn.random_scores(R, n), syn.factorized_random_scores(R_1, R_2, n)
    for h, i, j in itertools.product(range(H), range(n), range(n)):
        assert random[h, i, j] == R[h, i, j]
        assert product[h, i, j] == pytest.approx(sum(R_1[h, i, k] * R_2[h, j, k] for k in range(K)), rel=1e-11)


def test_a_mixture_is_its_sum_with_weights_that_may_differ_by_head():
    parts = [draw(S, H, n, n), draw(H, n, n, seed=1), draw(n, n, seed=2)]
    alpha = draw(3, H, seed=3)
    got = syn.mixed_scores(parts, alpha)
    for h in range(H):
        want = alpha[0, h] * parts[0][:, h] + alpha[1, h] * parts[1][h] + alpha[2, h] * parts[2]
        np.testing.assert_allclose(got[:, h], want, rtol=1e-13)
    shares = np.exp(alpha[:, 0]) / np.exp(alpha[:, 0]).sum()
    np.testing.assert_allclose(syn.softmax_mixture(parts, alpha[:, 0]), syn.mixed_scores(parts, shares), rtol=1e-12)


@each_variant
def test_a_shorter_sequence_uses_the_leading_rows_and_columns(variant):
    x = draw(N, M)
    whole, part = (VARIANTS[variant](z) for z in (x, x[:n]))
    np.testing.assert_allclose(part, whole[:n, :n], rtol=1e-13)


def test_masked_weights_renormalise_what_is_left_and_a_row_without_anything_is_zero():
    scores = draw(H, n, n)
    lengths = np.array([n, 4, 0])[:, None]
    mask = causal_mask(n, scores) & padding_mask(lengths, n)
    A = syn.synthetic_weights(scores, mask)
    assert A.shape == (3, H, n, n)
    e = np.exp(scores) * mask
    want = np.divide(e, e.sum(-1, keepdims=True), out=np.zeros_like(e), where=e.sum(-1, keepdims=True) > 0)
    np.testing.assert_allclose(A, want, rtol=1e-12)
    assert not A[2].any()
    assert not syn.synthetic_attention(scores, draw(3, H, n, M), mask)[2].any()


def test_one_token_looks_at_itself():
    x = draw(1, M)
    for scores in VARIANTS.values():
        assert scores(x).shape == (1, 1)
        np.testing.assert_array_equal(syn.synthetic_attention(scores(x), x), x)


# ---------------------------------------------------------------------------------------------------------------
# one text, three dialects


def everything(xp, dtype):
    """Each formula once, in one library."""

    def given(*shape, seed):
        return xp.asarray(draw(*shape, seed=seed).tolist(), dtype=dtype)

    q, W, b = given(S, H, n, M, seed=0), given(H, N, M, seed=1), given(H, N, seed=2)
    R, u, v, w = given(H, N, N, seed=3), given(S, H, n, A, seed=4), given(S, H, n, B, seed=5), given(2, seed=6)
    mask = causal_mask(n, q)
    dense, random = syn.dense_scores(q, W, b), syn.random_scores(R, n)
    maps = syn.synthetic_weights(dense, mask)
    fixed = syn.static_map(maps)
    return [
        dense,
        syn.factorized_random_scores(R[..., :K], R[..., K : 2 * K], n),
        syn.tiled_scores(u, v),
        syn.interleaved_scores(u, v),
        syn.softmax_mixture([dense, random], w),
        syn.gated_mixture(xp.zeros_like(dense) + random, dense, w[0, ...]),
        syn.synthetic_attention(random, q, mask),
        fixed,
        syn.explained_share(maps, fixed, xp.zeros_like(fixed)),
        syn.best_mixing(q[:, 0, :, :], q[:, 1, :, :]),
    ]


def test_numpy_torch_and_the_strict_standard_agree():
    torch = pytest.importorskip("torch")
    want = everything(np, np.float64)
    for got in (everything(torch, torch.float64), everything(array_api_strict, array_api_strict.float64)):
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(np.asarray(one), other, rtol=1e-9, atol=1e-12)


def test_float32_stays_float32():
    assert {a.dtype for a in everything(np, np.float32)} == {np.dtype("float32")}


# ---------------------------------------------------------------------------------------------------------------
# bad input


@pytest.mark.usefixtures("unchecked")
def test_a_sequence_longer_than_the_scores_is_refused():
    x = draw(N + 1, M)
    words = f"exist for 1 to {N} tokens, got {N + 1}; .*longest = {N + 1} or more"
    for scores in (dense, random, factorized_random, tiled, interleaved):
        with pytest.raises(ValueError, match=words):
            scores(x)
        with pytest.raises(ValueError, match="tokens, got 0"):
            scores(x[:0])


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"W must have shape \(…, …, 13\) so that its rows meet the 13 features of q"):
        syn.dense_scores(draw(n, M), draw(N, M + 1))
    with pytest.raises(ValueError, match=r"R must have shape \(…, 35, 35\)"):
        syn.random_scores(draw(n, N), n)
    with pytest.raises(ValueError, match=r"R_2 must have shape \(…, 35, 17\)"):
        syn.factorized_random_scores(draw(N, K), draw(N, A), n)
    with pytest.raises(ValueError, match=r"one weight for each of the 2 parts, got \(3,\)"):
        syn.mixed_scores([draw(n, n), draw(n, n)], draw(3))
    with pytest.raises(ValueError, match="must have one weight"):
        syn.mixed_scores([], draw(0))
    with pytest.raises(ValueError, match=r"v must have shape \(…, 11, …\)"):
        syn.synthetic_attention(draw(n, n), draw(N, M))
    with pytest.raises(ValueError, match="mask must be boolean"):
        syn.synthetic_weights(draw(n, n), draw(n, n))
    with pytest.raises(ValueError, match="alpha must hold floats"):
        syn.mixed_scores([draw(n, n)], np.ones(1, dtype=int))
    with pytest.raises(ValueError, match=r"at least one map, \(s, …, n, m\), got \(11, 11\)"):
        syn.static_map(draw(n, n))
    with pytest.raises(ValueError, match="7 features cannot be shared out among 2 heads"):
        syn.dense_cost(7, 2, N, n, shared=True)
    with pytest.raises(ValueError, match="at least one head, got 0"):
        syn.break_even_length(512, 0)


def test_scores_that_are_not_numbers_spoil_their_own_row_only():
    scores = draw(n, n)
    scores[2, 3] = np.nan
    assert set(np.flatnonzero(np.isnan(syn.synthetic_attention(scores, draw(n, M))).any(-1))) == {2}


def test_the_gate_agrees_with_its_formula_by_head():
    one, other, a = draw(S, H, n, n), draw(S, H, n, n, seed=1), draw(H, seed=2)
    gate = sigmoid(a)
    for h in range(H):
        want = (1 - gate[h]) * one[:, h] + gate[h] * other[:, h]
        np.testing.assert_allclose(syn.gated_mixture(one, other, a)[:, h], want, rtol=1e-13)
