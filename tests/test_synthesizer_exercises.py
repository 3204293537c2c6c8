"""What the exercises on synthesizers promise."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from minilib import synthesizer as syn
from minilib import synthesizer_exercises as ex
from minilib.arrays import softmax
from minilib.attention import causal_mask
from minilib.exercises import WRONG

# What would give an exercise away, written as a reader would recognise it; for tests/test_exercises.py.
SECRETS = {
    "3.1": [r"\b363\b", r"\b362\b", r"sqrt\(2 ?/ ?h\)", r"sqrt\{2/h\}"],
    "3.2": [r"lcm", r"least common"],
    "3.3": [r"5, 7, 25, 36, 36, 6\b", r"6 \\cdot 6"],
    "3.4": [r"9, 1, 0, 1, 9, 6\b", r"rows 4 to 9"],
    "3.5": [r"\\sqrt m\\,W", r"sqrt\(W\.shape\[1\]\) \* W"],
    "3.6": [r"W_2\[:n\]", r"axis=-1, keepdims"],
    "3.7": [r"-np\.inf", r"np\.tri"],
    "3.8": [r"np\.repeat", r"np\.tile", r"outer product"],
    "3.9": [r"geometric", r"1-\\alpha\}A_2", r"A_1 \*\* \(1 - alpha\)"],
    "3.10": [r"\\sigma\(1-\\sigma\)", r"gate \* \(1 - gate\)", r"\\sum_\{ij\}"],
    "3.11": [r"\\sum_j p_j\^2", r"p\*\*2", r"w = p\b"],
    "3.12": [r"s\^2/2", r"s \* s / 2"],
    "3.13": [r"\(i-1\)\^2", r"2\(i-1\)j", r"j\*\*2"],
}


# ---------------------------------------------------------------------------------------------------------------
# the reference solutions, against what defines them


def test_at_the_break_even_the_maps_begin_to_cost_more():
    weights = [16 * N * N - 2 * 1024 * 1024 for N in (ex.break_even() - 1, ex.break_even())]
    assert weights[0] < 0 < weights[1]
    assert ex.break_even() - 1 < syn.break_even_length(1024, 16) < ex.break_even()


@pytest.mark.parametrize(("a", "b"), [(2, 4), (3, 5), (6, 4), (7, 7), (1, 11), (16, 15)])
def test_the_number_of_different_columns_is_that_of_a_random_draw(a, b):
    rng = np.random.default_rng(0)
    B = syn.tiled_scores(rng.normal(size=(a * b, a)), rng.normal(size=(a * b, b)))
    assert len(np.unique(B.round(12), axis=1).T) == ex.columns(a, b)


def test_the_highest_ranks_follow_from_exact_elimination():
    """Whole numbers without rounding, so that no threshold decides what counts as zero."""
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.integers(-9, 10, size=shape)  # noqa: E731
    q = np.maximum(draw(36, 24), 0)
    u, v = q @ draw(24, 6), q @ draw(24, 6)
    j = np.arange(36)
    kinds = [
        draw(36, 5) @ draw(5, 36),
        draw(36, 7) @ draw(7, 36),
        q @ draw(24, 36) + draw(36),
        draw(36, 36),
        u[:, j % 6] * v[:, j // 6],
        u[:, j % 6] * v[:, j % 6],
    ]
    assert [eliminated(B) for B in kinds] == ex.ranks().tolist()


def eliminated(B):
    """The rank by Gauss, in fractions."""
    rows, rank = [[Fraction(int(entry)) for entry in row] for row in B], 0
    for column in range(B.shape[1]):
        pivot = next((row for row in rows[rank:] if row[column]), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows = [[a - b * row[column] / pivot[column] for a, b in zip(row, pivot, strict=True)] for row in rows]
        rows.insert(rank, pivot)
        rank += 1
    return rank


def test_the_rows_that_move_are_those_with_a_slope():
    """By the derivative of the weights by the features of one token, not by an exchanged token."""
    rng = np.random.default_rng(2)
    W_q, W_k, W, R, x = (rng.normal(size=shape) for shape in ((3, 3), (3, 3), (9, 3), (9, 9), (9, 3)))
    dot, dense = (lambda x: (x @ W_q) @ (x @ W_k).T), (lambda x: np.maximum(x @ W_q, 0) @ W.T)
    causal = np.where(causal_mask(9, x), 0.0, -np.inf)
    kinds = [dot, dense, lambda x: R, lambda x: dense(x) + R, lambda x: dot(x) + R, lambda x: dot(x) + causal]
    step = np.zeros_like(x)
    step[3] = 1e-6
    slopes = [np.abs(softmax(B(x + step)) - softmax(B(x - step))).max(axis=1) for B in kinds]
    assert [int((slope > 1e-12).sum()) for slope in slopes] == ex.moving_rows().tolist()


def test_the_constant_keys_give_the_dense_scores():
    rng = np.random.default_rng(3)
    Q, W = rng.normal(size=(5, 11)), rng.normal(size=(7, 11))
    np.testing.assert_allclose(Q @ ex.constant_keys(W).T / 11**0.5, Q @ W.T, rtol=1e-13)


def test_the_dense_weights_of_a_shorter_sequence_add_up_to_one():
    A = ex.dense_weights(*ex._dense_inputs(np.random.default_rng(4)))
    assert A.shape == (5, 5)
    np.testing.assert_allclose(A.sum(axis=-1), 1)


def test_causal_random_attention_is_linear_sees_no_future_and_keeps_heads_apart():
    v, R = ex._random_inputs(np.random.default_rng(5))
    got = ex.causal_random(v, R)
    np.testing.assert_allclose(ex.causal_random(2 * v, R), 2 * got)
    np.testing.assert_allclose(got[0], v[0])
    later = v.copy()
    later[3:] += 1
    np.testing.assert_allclose(ex.causal_random(later, R)[:3], got[:3])
    np.testing.assert_allclose(ex.causal_random(np.ones_like(v), R), 1)
    np.testing.assert_allclose(ex.causal_random(v * [1, 1, 1, 0, 0, 0], R), got * [1, 1, 1, 0, 0, 0])


def test_every_pair_meets_once():
    """With different primes as entries each product says which pair it comes from."""
    u, v = np.array([[2.0, 3, 5]]), np.array([[7.0, 11, 13, 17]])
    assert sorted(ex.every_pair(u, v)[0]) == sorted(a * b for a in u[0] for b in v[0])
    twelve = [np.repeat(factor, 12, axis=0) for factor in (u, v)]
    np.testing.assert_array_equal(ex.every_pair(*twelve), syn.interleaved_scores(*twelve))


def test_the_mixture_is_what_mixed_scores_give_and_a_part_has_a_veto():
    rng = np.random.default_rng(6)
    B_1, B_2 = rng.normal(size=(2, 5, 5))
    got = ex.mixture_of_maps(softmax(B_1), softmax(B_2), 0.3)
    np.testing.assert_allclose(got, softmax(0.7 * B_1 + 0.3 * B_2), rtol=1e-12)
    B_2[:, 0] = -100
    assert ex.mixture_of_maps(softmax(B_1), softmax(B_2), 0.3)[:, 0].max() < 1e-9


@pytest.mark.torch
def test_the_slope_of_the_gate_is_that_of_autograd():
    torch = pytest.importorskip("torch")

    def answer(a, S, R, G):
        a = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        (torch.tensor(G) * syn.gated_mixture(torch.tensor(S), torch.tensor(R), a)).sum().backward()
        return a.grad

    assert ex.GATE_GRADIENT.check(answer)


def test_the_floor_of_retrieval_is_reached_in_a_draw_and_by_no_other_row():
    rng, p = np.random.default_rng(7), np.array([0.5, 0.25, 0.15, 0.1])
    x, marked = rng.normal(size=(200_000, 4)), rng.choice(4, 200_000, p=p)
    wanted = x[np.arange(200_000), marked]
    w = np.linalg.lstsq(x, wanted, rcond=None)[0]
    np.testing.assert_allclose(w, p, atol=0.01)
    assert ((x @ w - wanted) ** 2).mean() == pytest.approx(ex.retrieval_floor(p), abs=0.01)
    assert ex.retrieval_floor(np.full(8, 1 / 8)) == pytest.approx(7 / 8)
    assert ex.retrieval_floor(np.eye(8)[2]) == 0


@pytest.mark.parametrize("s", [0.02, 0.5, 1.0])
def test_the_entropy_of_a_random_row_is_that_of_a_draw(s):
    a = softmax(s * np.random.default_rng(8).normal(size=(50, 4001)))
    entropy = -(a * np.log(a)).sum(axis=-1)
    assert entropy.mean() == pytest.approx(ex.entropy_of_random(4001, s), abs=0.01)


def test_every_copying_map_copies_and_has_two_factors():
    for B in ex.COPYING_MAP.right_answers:
        values = np.linalg.svd(B, compute_uv=False)
        assert values[2] < 1e-12 * values[0] < values[1]
        tokens = np.eye(7)
        np.testing.assert_allclose((softmax(B) @ tokens)[1:], tokens[:-1], atol=0.1)


def test_no_rank_one_map_copies():
    for seed in range(20):
        r, s = np.random.default_rng(seed).normal(size=(2, 7))
        verdict = ex.COPYING_MAP.check(20 * np.outer(r, s))
        assert (verdict.status, verdict.mistake) == (WRONG, "own token")
