"""What synthesizers on numbers promise."""

from __future__ import annotations

import numpy as np
import pytest

from minilib import synthesizer_numpy as run
from minilib.arrays import softmax

each_variant = pytest.mark.parametrize("variant", run.VARIANTS)


@each_variant
def test_equal_words_have_equal_rows_where_rows_are_made_by_tokens_and_equal_columns_only_in_dot_products(variant):
    B = run.head_scores(variant, run.embed(run.SENTENCE, 32))
    first, again = 0, 3  # both "the"
    by_token = variant not in ("random", "factorized random")
    assert np.allclose(B[first], B[again], atol=1e-12) == by_token
    assert np.allclose(B[:, first], B[:, again], atol=1e-12) == (variant == "QKᵀ")


@each_variant
def test_the_same_seed_is_the_same_head_also_on_fewer_words(variant):
    x = run.embed(run.SENTENCE, 32)
    np.testing.assert_allclose(run.head_scores(variant, x)[:7, :7], run.head_scores(variant, x[:7]), rtol=1e-12)
    assert not np.allclose(run.head_scores(variant, x), run.head_scores(variant, x, seed=1))


@each_variant
def test_scores_have_a_variance_near_one(variant):
    x = run.embed([f"word {k}" for k in range(24)], 256)
    variances = [run.head_scores(variant, x, width=64, seed=seed).var() for seed in range(20)]
    assert np.mean(variances) == pytest.approx(1, abs=0.15)


def test_std_scales_random_scores_only_and_rank_and_a_do_what_they_say():
    x, rank = run.embed(run.SENTENCE, 32), np.linalg.matrix_rank
    for variant in ("random", "factorized random"):
        small = run.head_scores(variant, x, std=0.01)
        np.testing.assert_allclose(small, 0.01 * run.head_scores(variant, x), rtol=1e-12)
    assert rank(run.head_scores("factorized random", x, rank=3)) == 3
    assert len(np.unique(run.head_scores("factorized dense, tiled", x, a=4), axis=1).T) == 12
    assert len(np.unique(run.head_scores("factorized dense, tiled", x, a=3), axis=1).T) == 24
    assert len(np.unique(run.head_scores("factorized dense, interleaved", x, a=4), axis=1).T) == 24


def test_an_action_touches_the_words_it_says():
    assert run.act(run.SENTENCE, "none") == list(run.SENTENCE)
    assert run.act(run.SENTENCE, "change a word")[:5] == ["the", "cat", "saw", "the", "fox"]
    assert run.act(run.SENTENCE, "swap two words")[:5] == ["the", "dog", "saw", "the", "cat"]


def test_moved_rows_are_those_that_differ():
    one = softmax(np.random.default_rng(0).normal(size=(7, 5)))
    other = one.copy()
    other[3, 2] += 0.01
    assert run.moved_rows(one, other).tolist() == [False, False, False, True, False, False, False]
    assert not run.moved_rows(one, one + 1e-12).any()


@pytest.mark.parametrize("n", [5, 11])
def test_a_fixed_mixing_copies_and_cannot_retrieve(n):
    assert run.fixed_error("copy", n) < 1e-20
    assert run.fixed_error("retrieve", n) == pytest.approx(1 - 1 / n, abs=0.02)


@pytest.mark.parametrize("kind", run.TASKS)
def test_attention_that_looks_does_both(kind):
    assert run.looking_error(kind, 7) < 1e-20
    assert run.looking_error(kind, 7, strength=0.0) > 0.5


def test_a_task_wants_the_token_at_its_place():
    for kind, m in (("copy", 10), ("retrieve", 1)):
        x, y, place = run.task(kind, 11, 13)
        assert y.shape == (13, m, 4)
        for s in range(13):
            np.testing.assert_array_equal(y[s], x[s, place[s]])


def test_bad_input_is_named():
    x = run.embed(run.SENTENCE, 8)
    with pytest.raises(ValueError, match="variant must be one of QKᵀ, dense"):
        run.head_scores("sparse", x)
    with pytest.raises(ValueError, match="a must divide the longest length 24, got 5"):
        run.head_scores("factorized dense, tiled", x, a=5)
    with pytest.raises(ValueError, match="action must be one of none"):
        run.act(run.SENTENCE, "delete")
    with pytest.raises(ValueError, match="kind must be one of copy, retrieve, got 'sort'"):
        run.task("sort", 5, 7)
