"""What attention promises."""

from __future__ import annotations

import math
import tracemalloc

import dialects
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import attention as att

B, N, M, D, E = 2, 7, 11, 5, 3
"""Batch, queries, keys, features, features of a value: pairwise different primes."""


def arrays(seed=0, batch=(B,), scale=1.0):
    rng = np.random.default_rng(seed)
    return tuple(scale * rng.normal(size=(*batch, *s)) for s in ((N, D), (M, D), (M, E)))


def some_mask(seed=1):
    """A random mask in which query 3 of the first sequence may look nowhere."""
    mask = np.random.default_rng(seed).random((B, N, M)) < 0.6
    mask[0, 3] = False
    return mask


def naive(q, k, v, mask=None, scale=None):
    """One number at a time, for one sequence."""
    lam = 1 / math.sqrt(len(q[0])) if scale is None else scale
    out = []
    for i, q_i in enumerate(q):
        seen = [j for j in range(len(k)) if mask is None or mask[i][j]]
        weights = [math.exp(lam * sum(a * b for a, b in zip(q_i, k[j], strict=True))) for j in seen]
        total = sum(weights) or 1.0
        out.append([sum(w * v[j][c] for w, j in zip(weights, seen, strict=True)) / total for c in range(len(v[0]))])
    return np.array(out)


# ---------------------------------------------------------------------------------------------------------------
# theorems and limits


def test_the_variance_of_a_product_grows_with_the_features_and_the_scale_undoes_it():
    rng = np.random.default_rng(0)
    for d in (2, 31, 257):
        q, k = rng.normal(size=(2, 400, d))
        assert (q @ k.T).var() == pytest.approx(d, rel=0.1)
        assert att.attention_scores(q, k).var() == pytest.approx(1, rel=0.1)


def test_each_row_of_weights_is_a_distribution_over_the_keys():
    q, k, _ = arrays()
    A = att.attention_weights(q, k)
    assert A.shape == (B, N, M)
    assert (A > 0).all()
    np.testing.assert_allclose(A.sum(-1), 1, rtol=1e-14)


def test_keys_and_values_in_another_order_give_the_same():
    q, k, v = arrays()
    order = np.random.default_rng(2).permutation(M)
    np.testing.assert_allclose(att.attention(q, k[:, order], v[:, order]), att.attention(q, k, v), rtol=1e-13)


def test_queries_in_another_order_give_their_outputs_in_that_order():
    q, k, v = arrays()
    order = np.random.default_rng(2).permutation(N)
    np.testing.assert_allclose(att.attention(q[:, order], k, v), att.attention(q, k, v)[:, order], rtol=1e-13)


def test_a_scale_of_zero_takes_the_mean_and_a_large_one_the_best_key():
    q, k, v = arrays()
    np.testing.assert_allclose(att.attention(q, k, v, scale=0.0), np.repeat(v.mean(1, keepdims=True), N, 1), rtol=1e-13)
    best = (q @ np.swapaxes(k, -1, -2)).argmax(-1)
    want = np.take_along_axis(v, best[..., None], axis=1)
    np.testing.assert_allclose(att.attention(q, k, v, scale=1e4), want, rtol=1e-9)


def test_one_key_gets_all_of_the_weight():
    q, k, v = arrays()
    one = att.attention(q, k[:, :1], v[:, :1])
    np.testing.assert_array_equal(one, np.repeat(v[:, :1], N, axis=1))


def test_a_scale_of_its_own_for_each_row_is_that_row_with_that_scale():
    q, k, v = arrays()
    scale = np.random.default_rng(3).uniform(0.1, 2, size=(N, 1))
    rows = [att.attention(q[:, i : i + 1], k, v, scale=float(scale[i, 0])) for i in range(N)]
    np.testing.assert_allclose(att.attention(q, k, v, scale=scale), np.concatenate(rows, axis=1), rtol=1e-13)


# ---------------------------------------------------------------------------------------------------------------
# slow and obvious equals fast


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_what_one_number_at_a_time_gives(scale, masked):
    q, k, v = arrays()
    mask = some_mask() if masked else None
    want = [naive(q[b], k[b], v[b], mask[b] if masked else None, scale) for b in range(B)]
    np.testing.assert_allclose(att.attention(q, k, v, mask, scale), want, rtol=1e-12, atol=1e-15)


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 13), masked=st.booleans(), scale=st.sampled_from([None, 0.0, 3.0]), seed=st.integers(0, 99))
def test_the_lean_form_is_attention_whatever_the_size_of_its_blocks(size, masked, scale, seed):
    q, k, v = arrays(seed, scale=3.0)
    mask = some_mask(seed)
    lean = att.lean_attention(q, k, v, (lambda i, j: mask[:, i, j]) if masked else None, scale, size)
    np.testing.assert_allclose(lean, att.attention(q, k, v, mask if masked else None, scale), rtol=1e-11, atol=1e-13)


def test_the_lean_form_takes_a_scale_for_each_row_and_shares_keys_among_a_batch():
    q, k, v = arrays()
    scale = np.random.default_rng(3).uniform(0.1, 2, size=(N, 1))
    lean = att.lean_attention(q, k[0], v[0], scale=scale, size=3)
    np.testing.assert_allclose(lean, att.attention(q, k[0], v[0], scale=scale), rtol=1e-12)


def test_the_lean_form_does_not_overflow_where_the_scores_rise_from_block_to_block():
    k = np.arange(0.0, 3000.0, 50.0)[:, None]
    out = att.lean_attention(np.ones((1, 1)), k, k, scale=1.0, size=7)
    assert out[0, 0] == pytest.approx(2950)
    assert att.lean_attention(-np.ones((1, 1)), k, k, scale=1.0, size=7)[0, 0] == pytest.approx(0)


def test_a_causal_lean_form_needs_no_square_mask():
    q = np.random.default_rng(4).normal(size=(23, D))
    lean = att.lean_attention(q, q, q, mask=lambda i, j: j <= i, size=5)
    np.testing.assert_allclose(lean, att.attention(q, q, q, att.causal_mask(23, q)), rtol=1e-12, atol=1e-15)


def peak(function, n):
    """Bytes that a call for n positions holds at its peak, beyond its arguments."""
    q = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    tracemalloc.start()
    function(q, q, q)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held


def test_the_memory_of_the_lean_form_grows_with_n_and_that_of_the_plain_one_with_its_square():
    def lean(q, k, v):
        return att.lean_attention(q, k, v, mask=lambda i, j: j <= i, size=256)

    at = {n: peak(lean, n) for n in (2048, 4096, 8192, 16384)}
    for n in (2048, 4096, 8192):
        # scaled queries and two copies of the outputs, 8 float32 each, and positions; twice 16,384 would be 65,536
        assert (at[2 * n] - at[n]) / n < 200
    assert peak(att.attention, 2048) / peak(att.attention, 1024) == pytest.approx(4, rel=0.1)
    assert at[16384] < peak(att.attention, 1024)


# ---------------------------------------------------------------------------------------------------------------
# masks


def test_padding_hides_what_lies_behind_the_length():
    q, k, v = arrays()
    lengths = np.array([4, 9])
    padded = att.attention(q, k, v, att.padding_mask(lengths, M))
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(padded[b], att.attention(q[b], k[b, :n], v[b, :n]), rtol=1e-13)


def test_a_causal_token_does_not_change_with_what_comes_later():
    q = np.random.default_rng(0).normal(size=(N, D))
    mask = att.causal_mask(N, q)
    assert mask.sum() == N * (N + 1) // 2
    changed = q.copy()
    changed[4:] += 1
    before, after = (att.attention(x, x, x, mask) for x in (q, changed))
    np.testing.assert_array_equal(before[:4], after[:4])
    assert np.abs(before[4:] - after[4:]).max() > 0.01


def test_unilm_lets_the_source_see_itself_and_the_target_see_back():
    mask = att.unilm_mask(np.array([[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]))
    np.testing.assert_array_equal(mask[0].astype(int), [[1, 1, 1, 0, 0]] * 3 + [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(mask[1], att.causal_mask(5, np.zeros(1)))


def test_a_row_that_may_look_nowhere_is_zero_and_no_other_row_notices():
    q, k, v = arrays()
    mask = some_mask()
    out, seen = att.attention(q, k, v, mask), att.attention_weights(q, k, mask).sum(-1)
    assert not out[0, 3].any()
    assert seen[0, 3] == 0
    others = mask.any(-1)
    np.testing.assert_allclose(seen[others], 1, rtol=1e-14)
    assert others.sum() == B * N - 1


def test_visible_keys_counts_what_a_query_sees_and_never_less_than_one():
    _, k, _ = arrays()
    counts = att.visible_keys(some_mask(), k)
    np.testing.assert_array_equal(counts[..., 0], np.maximum(some_mask().sum(-1), 1))
    assert counts[0, 3, 0] == 1
    np.testing.assert_array_equal(att.visible_keys(att.causal_mask(M, k), k)[:, 0], np.arange(1, M + 1))
    np.testing.assert_array_equal(att.visible_keys(att.padding_mask(np.array([4, 9]), M), k), [[[4]], [[9]]])
    # one column for all keys: a query looks everywhere or nowhere
    np.testing.assert_array_equal(att.visible_keys(np.array([[True], [False]]), k), [[M], [1]])


# ---------------------------------------------------------------------------------------------------------------
# heads


def test_heads_are_pieces_of_the_features_and_come_back():
    x = np.random.default_rng(0).normal(size=(B, N, 3 * D))
    pieces = att.split_heads(x, 3)
    assert pieces.shape == (B, 3, N, D)
    np.testing.assert_array_equal(pieces[:, 1], x[..., D : 2 * D])
    np.testing.assert_array_equal(att.merge_heads(pieces), x)


def test_many_heads_are_attention_to_pieces_side_by_side():
    rng = np.random.default_rng(0)
    x, memory = rng.normal(size=(B, N, 3 * D)), rng.normal(size=(B, M, 3 * D))
    W = rng.normal(size=(4, 3 * D, 3 * D)) / 4
    mask = some_mask()
    got = att.multi_head_attention(x, memory, *W, heads=3, mask=mask)
    pieces = []
    for r in range(3):
        q, k, v = (a @ w[r * D : (r + 1) * D].T for a, w in zip((x, memory, memory), W[:3], strict=True))
        pieces.append(att.attention(q, k, v, mask))
    np.testing.assert_allclose(got, np.concatenate(pieces, axis=-1) @ W[3].T, rtol=1e-12, atol=1e-13)


def test_a_head_may_have_a_scale_of_its_own():
    rng = np.random.default_rng(0)
    x, W = rng.normal(size=(N, 2 * D)), rng.normal(size=(4, 2 * D, 2 * D)) / 3
    W[3] = np.eye(2 * D)
    both = att.multi_head_attention(x, x, *W, heads=2, scale=np.array([0.2, 0.9])[:, None, None])
    for r, scale in enumerate((0.2, 0.9)):
        alone = att.multi_head_attention(x, x, *W, heads=2, scale=scale)
        np.testing.assert_allclose(both[:, r * D : (r + 1) * D], alone[:, r * D : (r + 1) * D], rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# dialects, dtypes, gradients


def formulas(convert, boolean, whole):
    """Every public formula of the module on the same numbers, in one library."""
    q, k, v = (convert(a) for a in arrays())
    mask, x = boolean(some_mask()), convert(arrays(5)[0])
    lengths, target = whole(np.array([4, 9])), whole(np.array([[0, 0, 1, 1, 1]]))
    W = [convert(w) for w in np.random.default_rng(6).normal(size=(4, D, D))]
    return [
        att.attention_scores(q, k),
        att.masked_softmax(att.attention_scores(q, k), mask),
        att.attention_weights(q, k, scale=0.7),
        att.attention(q, k, v, mask),
        att.lean_attention(q, k, v, size=3),
        att.lean_attention(q, k, v, lambda i, j: j <= i, size=3),
        att.padding_mask(lengths, M),
        att.causal_mask(N, q),
        att.unilm_mask(target),
        att.visible_keys(mask, k),
        att.split_heads(x, 5),
        att.merge_heads(att.split_heads(x, 5)),
        att.for_all_heads(mask),
        att.multi_head_attention(x, x, *W, heads=1, mask=att.causal_mask(N, x)),
    ]


def library(name):
    xp = pytest.importorskip(name)
    return xp, lambda a, dtype: xp.asarray(a, dtype=dtype)


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp, make = library(dialect)
    ours = formulas(np.asarray, np.asarray, np.asarray)
    theirs = formulas(lambda a: make(a, xp.float64), lambda a: make(a, xp.bool), lambda a: make(a, xp.int64))
    dialects.assert_same(ours, theirs, xp, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp, make = library(dialect)
    found = formulas(lambda a: make(a, xp.float32), lambda a: make(a, xp.bool), lambda a: make(a, xp.int64))
    assert sum(a.dtype == xp.float32 for a in found) == len(found) - 4
    assert sum(a.dtype == xp.bool for a in found) == 4


def test_half_precision_gives_the_same_within_its_rounding():
    q, k, v = (a.astype(np.float16) for a in arrays())
    want = att.attention(*(a.astype(float) for a in (q, k, v)))
    for got in (att.attention(q, k, v), att.lean_attention(q, k, v, size=3)):
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, want, atol=4e-3)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_torch_halves_give_the_same_within_their_rounding(dtype):
    torch = pytest.importorskip("torch")
    q, k, v = (torch.tensor(a).to(getattr(torch, dtype)) for a in arrays())
    want = att.attention(q.double(), k.double(), v.double())
    for got in (att.attention(q, k, v), att.lean_attention(q, k, v, size=3)):
        assert got.dtype == q.dtype
        torch.testing.assert_close(got.double(), want, atol=3e-2, rtol=0)


def test_half_precision_counts_past_what_it_can_represent():
    """Equal scores of 5,000 keys: float16 cannot hold 2049, and a sum that stops there would be wrong."""
    x = np.zeros((5000, 1), dtype=np.float16)
    v = np.ones((5000, 1), dtype=np.float16)
    for size in (5000, 64, 1):
        np.testing.assert_allclose(att.lean_attention(x[:2], x, v, size=size), 1, rtol=1e-3)


def test_large_scores_do_not_overflow():
    q, k, v = arrays(scale=300.0)
    assert np.isfinite(att.attention(q, k, v)).all()
    assert np.isfinite(att.attention(*(a.astype(np.float16) for a in arrays(scale=30.0)))).all()
    assert np.isfinite(att.lean_attention(q, k, v, size=3)).all()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_infinite_score_makes_its_row_nan_and_minus_infinity_is_no_weight():
    scores = np.array([[1.0, -np.inf, 2.0], [1.0, np.inf, 2.0], [1.0, np.nan, 2.0], [0.0, 1.0, 2.0]])
    for mask in (None, np.ones((4, 3), dtype=bool)):
        A = att.masked_softmax(scores, mask)
        np.testing.assert_allclose(A[0], [1 / (1 + math.e), 0, math.e / (1 + math.e)])
        assert np.isnan(A[1:3]).all()
        assert np.isfinite(A[3]).all()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_nan_behind_a_mask_does_not_reach_the_weights():
    scores = np.array([[1.0, np.nan, 2.0]])
    A = att.masked_softmax(scores, np.array([[True, False, True]]))
    np.testing.assert_allclose(A, [[1 / (1 + math.e), 0, math.e / (1 + math.e)]])


@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_lean_form_spreads_nan_as_the_plain_one_and_takes_a_row_of_minus_infinities_for_empty():
    q = np.eye(3)
    k = np.array([[1.0, -np.inf, 0.0], [2.0, -np.inf, np.nan], [3.0, -np.inf, 1.0]])
    with np.errstate(invalid="ignore"):
        scores = [k[:, 0], k[:, 1], k[:, 2]]
    for size in (1, 2, 3):
        # features that are read off one by one, since 0 times infinity is not a number
        rows = [att.lean_attention(q[:1, :1], s[:, None], np.ones((3, 1)), scale=1.0, size=size) for s in scores]
        assert rows[0] == 1
        assert rows[1] == 0
        assert np.isnan(rows[2])


@pytest.mark.torch
def test_the_gradient_is_the_slope():
    torch = pytest.importorskip("torch")
    q, k, v = (torch.tensor(a, requires_grad=True) for a in arrays())
    mask = torch.tensor(some_mask())
    assert torch.autograd.gradcheck(lambda q, k, v: att.attention(q, k, v, mask), (q, k, v))
    assert torch.autograd.gradcheck(lambda q, k, v: att.lean_attention(q, k, v, lambda i, j: j <= i, size=4), (q, k, v))


# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
@pytest.mark.torch
def test_vmap_and_compile_go_through(compiled):
    torch = pytest.importorskip("torch")
    q, k, v = (torch.tensor(a) for a in arrays())
    torch.testing.assert_close(torch.vmap(att.attention)(q, k, v), att.attention(q, k, v))
    torch.testing.assert_close(compiled(att.attention)(q, k, v), att.attention(q, k, v))


@pytest.mark.torch
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_that_of_torch(masked):
    torch = pytest.importorskip("torch")
    q, k, v = (torch.tensor(a) for a in arrays())
    mask = torch.tensor(some_mask()) if masked else None
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(att.attention(q, k, v, mask), want)
    scaled = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=0.9)
    torch.testing.assert_close(att.attention(q, k, v, mask, 0.9), scaled)


# ---------------------------------------------------------------------------------------------------------------
# bad input

Q, K, V = arrays()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: att.attention(Q[..., :2], K, V), r"same number of features d, got \(2, 7, 2\) and \(2, 11, 5\)"),
        (lambda: att.attention(Q, K[:, :0], V[:, :0]), "at least one key"),
        (lambda: att.attention(Q, K, V[:, :4]), r"v must have shape \(…, 11, …\) .*each of the 11 keys"),
        (lambda: att.attention(Q[0, 0], K, V), r"shapes \(…, n, d\) and \(…, m, d\)"),
        (lambda: att.attention(Q.astype(int), K, V), "q must hold floats, got dtype int"),
        (lambda: att.attention(Q.tolist(), K, V), "q must be an array, got list"),
        (lambda: att.attention(Q, K, V, np.ones((N, M))), "mask must be boolean.*compare, e.g. > 0"),
        (lambda: att.lean_attention(Q, K, V, lambda i, j: (j <= i) * 1.0), "mask must be boolean"),
        (lambda: att.lean_attention(Q, K, V, some_mask()), "function of positions.*got ndarray"),
        (lambda: att.lean_attention(Q, K, V, size=0), "size must be at least 1"),
        (lambda: att.visible_keys(np.ones((N, M)), K), "mask must be boolean"),
        (lambda: att.split_heads(Q, 2), "5 features cannot be shared out among 2 heads; take a divisor"),
        (lambda: att.split_heads(Q, 0), "among 0 heads"),
        (lambda: att.for_all_heads(np.ones(3, dtype=bool)), r"expected shape \(…, n, m\)"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
