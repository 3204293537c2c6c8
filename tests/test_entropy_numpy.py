"""What measurements of entropy promise."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from minilib import entropy as en
from minilib.attention import attention_scores, attention_weights, causal_mask
from minilib.entropy_numpy import attended, attended_by_length, entropy_of_long_attention, sphere, sphere_scores


def test_vectors_on_the_sphere_have_mean_square_one_and_no_preferred_direction():
    x = sphere((4000,), 7)
    np.testing.assert_allclose((x**2).mean(-1), 1, rtol=1e-13)
    assert np.abs(x.mean(0)).max() < 0.06
    np.testing.assert_allclose(x.T @ x / 4000, np.eye(7), atol=0.08)


@pytest.mark.parametrize("d", [2, 3, 61])
def test_scores_of_the_sphere_are_distributed_like_products_of_its_vectors(d):
    drawn = sphere_scores(5000, d, queries=2, seed=1)
    assert drawn.shape == (2, 5000)
    made = sphere((5000,), d, seed=2) @ sphere((), d, seed=3) / math.sqrt(d)
    assert drawn.var() == pytest.approx(1, rel=0.05)
    for share in (0.01, 0.25, 0.5, 0.9):
        assert np.quantile(drawn, share) == pytest.approx(np.quantile(made, share), abs=0.1)


def test_a_query_has_keys_of_its_own():
    a, b = sphere_scores(1000, 5, queries=2)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1


def test_what_is_measured_is_entropy_and_weights_of_the_rows():
    scores = sphere_scores(31, 5, queries=3)
    rows = 1.7 * scores
    rows[:, :2] = 1.7 * 4.0
    weights = np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)
    seen = attended(scores, 1.7, planted=2, gap=4.0)
    assert seen.entropy == pytest.approx(-(weights * np.log(weights)).sum(-1).mean())
    assert seen.planted == pytest.approx(weights[:, :2].sum(-1).mean())
    assert seen.other == pytest.approx(weights[:, 2:].max(-1).mean())
    assert attended(scores, 1.7).planted == 0
    np.testing.assert_array_equal(scores, sphere_scores(31, 5, queries=3))


def test_a_shorter_length_is_the_beginning_of_a_longer_one():
    scores, law = sphere_scores(1000, 64, queries=2), partial(en.log_scale, base=100)
    seen = attended_by_length(scores, (10, 1000), law, 64, planted=1, gap=3.0)
    for k, n in enumerate((10, 1000)):
        one = attended(scores[:, :n], math.log(n) / math.log(100), 1, 3.0)
        assert (seen.entropy[k], seen.planted[k], seen.other[k]) == pytest.approx(one)


def test_random_keys_have_the_entropy_of_the_closed_form():
    seen = attended_by_length(sphere_scores(65_536, 64, 10), (512, 65_536), en.standard_scale, 64)
    for n, measured in zip((512, 65_536), seen.entropy, strict=True):
        assert measured == pytest.approx(en.sphere_entropy(n, 64, 1 / 8), abs=0.03)


@pytest.mark.parametrize("causal", [False, True])
def test_a_long_attention_is_measured_block_by_block(causal):
    q, k = sphere((23,), 5), sphere((23,), 5, seed=1)
    mask = causal_mask(23, q) if causal else None
    want = en.distribution_entropy(attention_weights(q, k, mask, 0.9))
    np.testing.assert_allclose(entropy_of_long_attention(q, k, 0.9, causal, size=4), want, rtol=1e-12, atol=1e-14)
    assert entropy_of_long_attention(q, k).shape == (23,)
    np.testing.assert_allclose(
        entropy_of_long_attention(q, k), en.attention_entropy(attention_scores(q, k)), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sphere((3,), 0), "at least 1 feature, got 0"),
        (lambda: sphere_scores(0, 5), "at least 1 key and 2 features, got n = 0"),
        (lambda: sphere_scores(5, 1), "got n = 5, d = 1"),
        (lambda: attended(np.zeros((2, 5)), 1.0, planted=5), "must leave one of the 5 keys, got 5"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
