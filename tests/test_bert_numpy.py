"""What BERT on numbers promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import bert, masking
from minilib.attention import split_heads
from minilib.bert_numpy import (
    cut_normal,
    head_looks,
    masked_shares,
    untrained_loss,
    without_heads,
    word_of_each_token,
)
from minilib.depth import truncated_variance

D, F, HEADS, N = 12, 19, 3, 7


def weights(seed=0, layers=2):
    rng = np.random.default_rng(seed)

    def drawn(name):
        shapes = {"W_1": (F, D), "b_1": (F,), "W_2": (D, F)}
        return rng.normal(size=shapes.get(name, (D, D) if name.startswith("W") else (D,)))

    blocks = tuple(bert.BlockWeights(*map(drawn, bert.BlockWeights._fields)) for _ in range(layers))
    tables = (rng.normal(size=(rows, D)) for rows in (23, 2, 11))
    return bert.BertWeights(
        bert.EmbeddingWeights(*tables, *rng.normal(size=(2, D))), blocks, *rng.normal(size=(2, D, D))
    )


# ---------------------------------------------------------------------------------------------------------------
# heads


def slow_looks(maps, texts):
    """Token by token."""
    found = {name: [] for name in ("itself", "previous", "next", "first", "separator", "same")}
    for A, ids in zip(maps, texts, strict=True):
        for i in range(1, len(ids) - 1):
            for name, j in (("itself", i), ("previous", i - 1), ("next", i + 1), ("first", 0), ("separator", -1)):
                found[name].append(A[:, :, i, j])
            others = [j for j in range(len(ids)) if j != i and ids[j] == ids[i]]
            if others:
                found["same"].append(sum(A[:, :, i, j] for j in others))
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def test_what_heads_look_at_is_counted_token_by_token():
    rng = np.random.default_rng(0)
    texts = [np.array([1, 5, 6, 5, 7, 2]), np.array([1, 8, 8, 9, 8, 6, 2])]
    maps = [rng.dirichlet(np.ones(len(t)), size=(2, 3, len(t))) for t in texts]
    want = slow_looks(maps, texts)
    for name, got in head_looks(maps, texts)._asdict().items():
        np.testing.assert_allclose(got, want[name], rtol=1e-12)


def test_a_head_that_looks_back_is_seen_to_and_without_repeated_pieces_the_same_is_unknown():
    ids, A = np.arange(5), np.zeros((1, 1, 5, 5))
    A[..., np.arange(1, 5), np.arange(4)] = 1
    got = head_looks([A], [ids])
    assert (got.previous, got.next, got.itself) == (1, 0, 0)
    assert math.isnan(got.same.item())


def test_a_silent_head_adds_nothing_and_the_others_what_they_did():
    w, x = weights(), np.random.default_rng(1).normal(size=(N, D))
    block, silent = w.blocks[1], without_heads(w, HEADS, [(1, 2)]).blocks[1]
    A = bert.bert_attention_weights(x, block, HEADS)
    v = split_heads(x @ block.W_v.T + block.b_v, HEADS)
    kept = np.concatenate([A[0] @ v[0], A[1] @ v[1], np.zeros((N, D // HEADS))], axis=-1)
    np.testing.assert_allclose(kept @ block.W_o.T, np.concatenate(list(A @ v), axis=-1) @ silent.W_o.T, rtol=1e-12)
    for name in bert.BlockWeights._fields:
        if name != "W_o":
            assert getattr(silent, name) is getattr(block, name)


def test_with_all_heads_silent_no_token_sees_another():
    w = weights()
    deaf = without_heads(w, HEADS, [(layer, head) for layer in range(2) for head in range(HEADS)])
    ids = np.array([3, 4, 5, 6])
    other = np.array([3, 9, 9, 6])
    one, two = (bert.bert_encoder(i, 0 * i, deaf, HEADS) for i in (ids, other))
    np.testing.assert_allclose(one[[0, 3]], two[[0, 3]], rtol=1e-12)
    whole = [bert.bert_encoder(i, 0 * i, w, HEADS) for i in (ids, other)]
    assert np.abs(whole[0][0] - whole[1][0]).max() > 1e-3


def test_silencing_leaves_the_weights_as_they_were_and_nobody_off_changes_nothing():
    w = weights()
    before = w.blocks[0].W_o.copy()
    without_heads(w, HEADS, [(0, 0)])
    np.testing.assert_array_equal(w.blocks[0].W_o, before)
    assert without_heads(w, HEADS, []).blocks[0].W_o is w.blocks[0].W_o


@pytest.mark.parametrize("head", [(2, 0), (0, 3), (-1, 0)])
def test_a_head_that_there_is_not_is_refused(head):
    with pytest.raises(ValueError, match=r"there are 2 layers of 3 heads, counted from 0; got"):
        without_heads(weights(), HEADS, [head])


# ---------------------------------------------------------------------------------------------------------------
# masking


@pytest.mark.parametrize("mean", [1.0, 1.5, 4.0])
def test_words_have_the_length_that_is_asked_for(mean):
    words = word_of_each_token(10_007, mean)
    assert words[0] == 0
    assert set(np.diff(words)) <= {0, 1}
    assert np.bincount(words).mean() == pytest.approx(mean, rel=0.05)


def test_a_word_without_a_token_is_refused():
    with pytest.raises(ValueError, match=r"at least one token, got a mean of 0\.5"):
        word_of_each_token(7, 0.5)


@pytest.mark.parametrize("words", [np.arange(61), np.repeat(np.arange(23), 3), word_of_each_token(101, 2.0)])
def test_shares_scatter_as_the_formula_says(words):
    shares, n = masked_shares(0.15, words, draws=20_011), len(words)
    lengths = np.bincount(words).astype(float)
    assert shares.mean() == pytest.approx(0.15, abs=0.003)
    assert shares.std() == pytest.approx(masking.masked_share_std(0.15, n, lengths), rel=0.02)


# ---------------------------------------------------------------------------------------------------------------
# before any training


def test_a_cut_normal_has_the_variance_that_the_cut_leaves():
    x = cut_normal(np.random.default_rng(0), (1009, 307), 0.02, 2.0)
    assert np.abs(x).max() <= 0.04
    assert x.std() == pytest.approx(0.02 * math.sqrt(truncated_variance()), rel=3e-3)
    assert cut_normal(np.random.default_rng(0), (1009, 307), 0.02).std() == pytest.approx(0.02, rel=3e-3)


@pytest.mark.parametrize("limit", [math.inf, 2.0])
def test_the_loss_before_training_is_the_formula(limit):
    std = 0.05 * math.sqrt(truncated_variance() if limit == 2.0 else 1)
    got = [untrained_loss(3001, 128, 0.05, limit, seed=k) for k in range(3)]
    assert np.mean(got) == pytest.approx(bert.initial_mlm_loss(3001, 128, std), abs=0.005)


def test_without_weights_all_words_are_equal():
    assert untrained_loss(101, 16, 0.0) == pytest.approx(math.log(101), abs=1e-5)
