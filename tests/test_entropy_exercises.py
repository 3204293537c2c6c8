"""What the exercises on the entropy of attention promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import entropy as en
from minilib import entropy_exercises as ex

# What would give an exercise away, written as a reader would recognise it; for tests/test_exercises.py.
SECRETS = {
    "2.1": [r"2\^9", r"2\^\{11\}", r"tfrac\{11\}"],
    "2.2": [r"\\sqrt d/\\ln m", r"1\.2824", r"math\.sqrt\(d\) / math\.log\(m\)"],
    "2.3": [r"keepdims", r"/ math\.sqrt", r"q\.shape\[1\]"],
    "2.4": [r"\\ln z", r"e \* s", r"(?i)leaving out"],
    "2.5": [r"\\min\(", r"mask\.sum", r"np\.log\(n\)"],
    "2.6": [r"p\}\{1-p\}", r"\(n-1\)", r"1 - p\)\)", r"11\.41"],
    "2.7": [r"-s\\Delta", r"\(n-1\)", r"n \*\*", r"1/s"],
    "2.8": [r"\\sqrt\{2", r"\\ln n - H\)", r"2 \* \(math"],
    "2.9": [r"4\\lambda\^2", r"0\.618", r"lam\*\*2", r"0\.24"],
    "2.10": [r"0\.489", r"1\.92", r"\\tfrac12\\lambda"],
    "2.11": [r"\b32\b", r"ratio, so", r"\* 15"],
}


# ---------------------------------------------------------------------------------------------------------------
# the reference solutions, against what defines them


def entropy(scores):
    """Entropy of one row's softmax, by the definition."""
    p = [math.exp(s - max(scores)) for s in scores]
    return -sum(a / sum(p) * math.log(a / sum(p)) for a in p if a > 0)


def test_the_factor_is_the_ratio_of_the_laws_scales():
    assert ex.length_factor() == pytest.approx(en.log_scale(2048, 17) / en.standard_scale(2048, 17))
    assert ex.LENGTH_FACTOR.check(11 / 9)
    assert ex.LENGTH_FACTOR.check(1.222)


def test_kappa_makes_the_law_the_standard_scale_at_its_length():
    for d, m in ((64, 512), (128, 512), (7, 2048)):
        assert ex.kappa(d, m) * math.log(m) / d == pytest.approx(en.standard_scale(m, d))
    assert ex.kappa(64, 512) == pytest.approx(1.2824, abs=5e-5)
    assert ex.kappa(128, 512) == pytest.approx(1.8136, abs=5e-5)


@pytest.mark.torch
def test_attention_in_three_lines_is_torchs_own():
    torch = pytest.importorskip("torch")

    def answer(q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, (q, k, v)))

    assert ex.ATTEND.check(answer)


def test_the_row_entropies_are_those_of_the_definition():
    for seed in range(3):
        (scores,) = ex.ROW_ENTROPIES.inputs(np.random.default_rng(seed))
        np.testing.assert_allclose(ex.row_entropies(scores), [entropy(row) for row in scores], rtol=1e-12)


def test_the_scores_overflow_a_bare_exponential_and_hold_weights_of_zero():
    rng = np.random.default_rng(ex.ROW_ENTROPIES.seed)
    draws = [ex.ROW_ENTROPIES.inputs(rng)[0] for _ in range(ex.ROW_ENTROPIES.points)]
    zeros = np.concatenate([(ex._softmax(s) == 0).any(axis=1) for s in draws])
    assert 0.2 < zeros.mean() < 0.9
    with np.errstate(over="ignore", invalid="ignore"):
        assert all(np.isnan(np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)).any() for s in draws)
        bare = ex.ROW_ENTROPIES.check(lambda s: -(ex._softmax(s) * np.log(ex._softmax(s))).sum(axis=1))
    assert "NaN" in bare.words


def test_a_query_sees_the_same_whether_other_texts_are_longer_or_not():
    rng = np.random.default_rng(3)
    scores, base = rng.normal(size=(2, 11, 11)), 64.0
    a = ex.visible_weights(scores, np.array([5, 11]), base)
    alone = ex.visible_weights(scores[:1, :5, :5], np.array([5]), base)
    np.testing.assert_allclose(a[0, :5, :5], alone[0])
    assert (a[0, :, 5:] == 0).all()
    assert (np.triu(a[1], 1) == 0).all()
    sharp = np.exp(scores[1, 6, :7]) ** (math.log(7) / math.log(64))
    np.testing.assert_allclose(a[1, 6, :7], sharp / sharp.sum())


@pytest.mark.torch
def test_the_visible_weights_are_those_of_the_module_with_a_law():
    torch = pytest.importorskip("torch")
    from functools import partial

    from minilib.attention_torch import MultiHeadAttention

    law = partial(en.log_scale, base=16.0)
    attention = MultiHeadAttention(7, 1, scale=law).double()
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 11, 7)))
    lengths = torch.tensor([4, 9])
    mask = (torch.arange(11) < lengths[:, None, None]) & torch.ones(11, 11).tril().bool()
    scores = attention.W_q(x) @ attention.W_k(x).mT / math.sqrt(7)
    got = ex.visible_weights(scores.detach().numpy(), lengths.numpy(), 16.0)
    np.testing.assert_allclose(got, attention.weights(x, mask=mask)[:, 0].detach().numpy(), atol=1e-12)


def test_some_texts_are_padded_and_some_queries_stand_in_the_padding():
    rng = np.random.default_rng(ex.VISIBLE_WEIGHTS.seed)
    for _ in range(ex.VISIBLE_WEIGHTS.points):
        scores, lengths, _ = ex.VISIBLE_WEIGHTS.inputs(rng)
        assert (lengths < scores.shape[-1] - 1).all()
        assert (lengths >= 2).all()


def test_the_gap_gives_its_weight():
    for n, p in ((10**4, 0.9), (2, 0.3), (17, 0.5)):
        scores = np.append(ex.gap_for_weight(n, p), np.zeros(n - 1))
        assert ex._softmax(scores)[0] == pytest.approx(p)
    assert ex.gap_for_weight(10**4, 0.9) == pytest.approx(11.41, abs=5e-3)


def test_the_scalable_softmax_is_lost_below_its_boundary_and_sure_above():
    for n, told in ((100, 0.99506), (1000, 0.99965)):
        assert ex.scalable_softmax(n, 0.43, 5.0) == pytest.approx(told, abs=5e-6)
    s = 0.4
    below, above = (ex.scalable_softmax(10**30, s, gap) for gap in (0.8 / s, 1.2 / s))
    assert below < 1e-5 < 1 - 1e-5 < above


def test_random_scores_of_that_spread_have_that_entropy():
    n, H = 65_536, 8.0
    beta = ex.spread_for_entropy(n, H)
    z = np.random.default_rng(0).normal(size=(20, n))
    assert en.attention_entropy(beta * z).mean() == pytest.approx(H, abs=0.05)


def test_the_saddle_point_is_where_the_integrand_of_many_dimensions_is_largest():
    s = np.linspace(-1, 1, 2_000_001)[1:-1]
    for lam in (0.2, 1.0, 3.0):
        highest = s[(lam * s + 0.5 * np.log1p(-s * s)).argmax()]
        assert ex.saddle_point(lam) == pytest.approx(highest, abs=1e-5)
    assert ex.saddle_point(1.0) == pytest.approx(2 / (1 + math.sqrt(5)))


def test_the_entropy_lost_is_that_of_random_directions_and_a_half_in_the_end():
    d, n = 64, 4096
    x = np.random.default_rng(0).normal(size=(n + 20, d))
    x *= math.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True)
    measured = math.log(n) - en.attention_entropy(x[:20] @ x[20:].T / math.sqrt(d)).mean()
    assert ex.entropy_lost(d) == pytest.approx(measured, abs=0.03)
    assert ex.entropy_lost(10**6) == pytest.approx(0.5, abs=1e-5)
    linear = {d: 0.240606 * math.sqrt(d) / ex.entropy_lost(d) for d in (64, 1024)}
    assert linear == pytest.approx({64: 3.9, 1024: 15.4}, abs=0.05)


def test_no_scale_changes_the_squares_and_a_tenth_makes_the_softmax_flat():
    for scores in ex.SHARP_AND_FLAT.right_answers:
        assert entropy(scores) < 0.1
        assert entropy(scores / 10) > 2
        squares = [np.maximum(c * scores, 0) ** 2 for c in (0.1, 1.0, 7.0)]
        entropies = [entropy(2 * np.log(np.maximum(c * scores, 1e-300))) for c in (0.1, 1.0, 7.0)]
        assert min(entropies) > 2
        assert entropies == pytest.approx([entropies[0]] * 3)
        np.testing.assert_allclose(squares[0] / squares[0].sum(), squares[2] / squares[2].sum())


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_keys_does_not_matter_and_shifting_down_is_refused(seed):
    scores = np.random.default_rng(seed).permutation(ex.sharp_and_flat())
    assert ex.SHARP_AND_FLAT.check(scores)
    assert ex.SHARP_AND_FLAT.check(scores - 23.5).mistake == "squares sharp"
