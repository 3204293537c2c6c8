"""What the formulas of the six matching tasks promise."""

from __future__ import annotations

import itertools
import math

import dialects
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import matching as m
from minilib.bert import BERT_SIZES, BertSizes
from minilib.layernorm import conditional_layer_norm, layer_norm

T, N, D, K = 6, 5, 7, 3
LARGE = 16_000


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def judged(n=53, seed=0):
    """Answers, labels and tasks of n pairs."""
    rng = np.random.default_rng(seed)
    return rng.integers(2, size=n).astype(float), rng.integers(2, size=n), rng.integers(T, size=n)


# ---------------------------------------------------------------------------------------------------------------
# the score


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(seed):
    predicted, labels, _ = judged(seed=seed)
    both = sum(p == y == 1 for p, y in zip(predicted, labels, strict=True))
    precision, recall = both / predicted.sum(), both / labels.sum()
    want = 2 * precision * recall / (precision + recall) if both else 0
    assert float(m.f1(predicted, labels)) == pytest.approx(want, rel=1e-12)


def test_always_yes_has_more_than_one_might_think_and_always_no_has_nothing():
    labels = np.array([1, 1, 0, 0, 0])
    assert float(m.f1(np.ones(5), labels)) == pytest.approx(0.8 / 1.4)
    assert float(m.f1(np.zeros(5), labels)) == 0
    assert float(m.f1(labels.astype(float), labels)) == 1


def test_the_contest_pools_the_lengths_before_it_divides():
    predicted, labels, tasks = judged(101)
    found = m.contest_f1(predicted, labels, tasks)
    loose, strict = (tasks % 2 == k for k in (0, 1))
    assert float(found.loose) == pytest.approx(float(m.f1(predicted[loose], labels[loose])), rel=1e-12)
    assert float(found.strict) == pytest.approx(float(m.f1(predicted[strict], labels[strict])), rel=1e-12)
    assert float(found.mean) == pytest.approx((float(found.loose) + float(found.strict)) / 2, rel=1e-12)
    each = [float(m.f1(predicted[tasks == t], labels[tasks == t])) for t in range(T)]
    assert abs(sum(each) / T - float(found.mean)) > 1e-3


def test_even_tasks_are_loose_and_odd_ones_strict():
    assert [name[-1] for name in m.TASKS] == ["A", "B"] * 3
    assert [name[:2] for name in m.TASKS[::2]] == ["ss", "sl", "ll"]


def test_a_weight_is_how_often_a_pair_counts_and_a_row_of_them_a_draw():
    predicted, labels, tasks = judged()
    counts = np.random.default_rng(1).integers(0, 4, size=(11, len(labels)))
    found = m.contest_f1(predicted, labels, tasks, counts.astype(float))
    for row, count in enumerate(counts):
        again = (np.repeat(a, count) for a in (predicted, labels, tasks))
        assert float(found.mean[row]) == pytest.approx(float(m.contest_f1(*again).mean), rel=1e-12)


def test_the_answer_is_the_larger_of_two_logits():
    np.testing.assert_array_equal(m.margins(np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]])), [1, -1, 0])


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30))
def test_no_threshold_has_a_larger_f1_than_the_best_also_where_margins_are_equal(seed, n):
    rng = np.random.default_rng(seed)
    margins, labels = rng.integers(-4, 5, size=n) / 2, rng.integers(2, size=n)
    labels[:2] = 0, 1
    theta = m.best_threshold(margins, labels)
    scores = [float(m.f1((margins > at).astype(float), labels)) for at in np.arange(-3, 3, 0.25)]
    assert float(m.f1((margins > theta).astype(float), labels)) == pytest.approx(max(scores))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40))
def test_one_threshold_for_all_groups_has_the_largest_mean_of_their_f1(seed, n):
    rng = np.random.default_rng(seed)
    margins, labels, groups = rng.integers(-4, 5, size=n) / 2, rng.integers(2, size=n), np.arange(n) % 2
    labels[:4] = 0, 0, 1, 1

    def mean(at):
        return sum(float(m.f1((margins > at).astype(float), labels, (groups == g) * 1.0)) for g in (0, 1)) / 2

    theta = m.best_threshold(margins, labels, groups)
    assert mean(theta) == pytest.approx(max(mean(at) for at in np.arange(-3, 3, 0.25)))
    assert m.best_threshold(margins, labels, 0 * groups) == m.best_threshold(margins, labels)


def test_the_best_threshold_of_f1_lies_below_that_of_the_accuracy():
    """Where a third of the pairs is a coin, F1 wants them all, and the accuracy does not care."""
    margins, labels = np.repeat([2.0, 0.0, -2.0], 100), np.repeat([1, 0, 0], 100)
    labels[100:150] = 1
    assert m.best_threshold(margins, labels) == -1
    assert (labels == (margins > -1)).mean() == (labels == (margins > 1)).mean()


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), max_size=37))
def test_answers_are_stored_in_hexadecimal_digits_and_read_again(bits):
    text = m.packed(bits)
    assert len(text) == -(-len(bits) // 4)
    assert m.unpacked(text, len(bits)) == bits


# ---------------------------------------------------------------------------------------------------------------
# a model that does not know the task


@pytest.mark.parametrize(
    ("thresholds", "want"),
    [((0.3, 0.7), 0.8), ([k / 7 for k in range(1, 7)], 0.785714), ((0.2, 0.9), 0.65), ([0.4], 1)],
)
def test_the_best_blind_accuracy_is_known(thresholds, want):
    assert m.best_blind_accuracy(m.bands(thresholds)) == pytest.approx(want, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6))
def test_no_rule_that_sees_only_the_score_beats_it_and_the_majority_of_the_tasks_reaches_it(thresholds):
    score = (np.arange(LARGE) + 0.5) / LARGE
    labels = score > np.array(thresholds)[:, None]
    best = m.best_blind_accuracy(m.bands(thresholds))
    majority = (labels == (labels.mean(0) > 0.5)).mean()
    assert majority == pytest.approx(best, abs=1e-3)
    assert max((labels == (score > t)).mean() for t in np.linspace(0, 1, 53)) <= best + 1e-3


def test_the_best_blind_loss_is_that_of_a_half_in_the_contested_band():
    assert m.best_blind_loss(m.bands((0.3, 0.7))) == pytest.approx(0.4 * math.log(2), rel=1e-12)
    kinds = m.bands((0.2, 0.5, 0.9))
    losses = [
        sum(w * -(p * math.log(q) + (1 - p) * math.log(1 - q)) for w, p, q in zip(*kinds, answer, strict=True))
        for answer in itertools.product(np.linspace(0.001, 0.999, 25), repeat=4)
        if answer[0] == 0.001 and answer[-1] == 0.999
    ]
    best = m.best_blind_loss(kinds)
    assert best <= min(losses) < best + 0.002


def test_two_thirds_contested_pairs_leave_five_sixths():
    """The pairs of matching_corpora: for each report and both tasks, two that are agreed on and two of one kind."""
    kinds = m.Bands((1 / 3 * 0.5 + 2 / 3 * 0.25, 2 / 3 * 0.5, 1 / 3 * 0.5 + 2 / 3 * 0.25), (1.0, 0.5, 0.0))
    assert m.best_blind_accuracy(kinds) == pytest.approx(5 / 6, rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------
# pairs and batches


def test_the_features_of_a_pair_do_not_know_which_text_was_first():
    u, v = numbers(N, D), numbers(N, D, seed=1)
    f = m.pair_features(u, v)
    assert f.shape == (N, 2 * D + 1)
    np.testing.assert_array_equal(f, m.pair_features(v, u))
    cosine = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(u, v, strict=True)]
    np.testing.assert_allclose(f[:, -1], cosine, rtol=1e-12)
    same = m.pair_features(u, u)
    np.testing.assert_allclose(same, np.concatenate([u * u, 0 * u, np.ones((N, 1))], axis=1), rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 128), min_size=1, max_size=90), st.integers(1, 7), st.integers(1, 5))
def test_buckets_hold_every_text_once_and_all_but_one_are_full(lengths, size, window):
    noise = np.random.default_rng(0).random(len(lengths)).tolist()
    batches = m.bucketed(lengths, size, noise, window)
    assert sorted(k for batch in batches for k in batch) == list(range(len(lengths)))
    assert sorted(map(len, batches))[1:] == [size] * (len(batches) - 1)
    assert 0 <= m.padding_share(lengths, batches) < 1


def test_buckets_save_most_of_the_padding_and_are_not_in_the_order_of_length():
    rng = np.random.default_rng(0)
    lengths, noise = rng.integers(20, 128, size=1000).tolist(), rng.random(1000).tolist()
    batches = m.bucketed(lengths, 16, noise)
    order = sorted(range(1000), key=noise.__getitem__)
    plain = [order[k : k + 16] for k in range(0, 1000, 16)]
    assert m.padding_share(lengths, plain) > 0.35
    assert m.padding_share(lengths, batches) < 0.05
    longest = [max(lengths[k] for k in batch) for batch in batches]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.5
    assert m.bucketed(lengths, 16, noise) == batches
    assert m.bucketed(lengths, 16, rng.random(1000).tolist()) != batches


def test_without_padding_nothing_is_lost_and_by_hand_it_is_what_is_counted():
    assert m.padding_share([3, 3], [[0, 1]]) == 0
    assert m.padding_share([1, 3, 2], [[0, 1], [2]]) == pytest.approx(1 - 6 / 8)


# ---------------------------------------------------------------------------------------------------------------
# what a condition can say


@settings(deadline=None, max_examples=30)
@given(tasks=st.integers(1, 9), k=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_the_table_of_the_conditions_has_the_rank_of_its_tasks_at_most(tasks, k, seed):
    C, matrices = numbers(tasks, k, seed=seed), [numbers(d, k, seed=seed + d) for d in (11, 13)]
    table = m.conditional_table(C, matrices)
    assert table.shape == (tasks, 24)
    assert m.rank(table) == np.linalg.matrix_rank(table) == min(tasks, k)


def test_the_table_holds_what_each_norm_adds():
    C, matrices = numbers(T, K), [numbers(D, K, seed=s) for s in (1, 2)]
    table = m.conditional_table(C, matrices)
    for t in range(T):
        np.testing.assert_allclose(table[t], np.concatenate([W @ C[t] for W in matrices]), rtol=1e-12)
    assert m.rank(np.zeros((T, D))) == 0
    assert m.rank(np.outer(numbers(T), numbers(D, seed=1))) == 1


def test_the_leading_share_is_one_for_multiples_of_a_row_and_the_least_for_equal_directions():
    assert m.leading_share(np.outer(numbers(T), numbers(D, seed=1))) == pytest.approx(1, rel=1e-12)
    assert m.leading_share(np.eye(T)) == pytest.approx(1 / T, rel=1e-12)
    table = numbers(T, D, seed=2)
    first = np.linalg.svd(table)[2][0]  # the direction that holds most of the rows, summed over their squares
    assert m.leading_share(table) == pytest.approx(np.sum((table @ first) ** 2) / np.sum(table**2), rel=1e-12)


def head(seed=0):
    """Conditions, gamma, beta, W_gamma, W_beta, and a head."""
    shapes = (T, K), (D,), (D,), (D, K), (D, K), (D,)
    return [numbers(*shape, seed=seed + i) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("without", [None, 3, 4])
def test_a_shared_head_after_the_last_norm_is_a_direction_and_a_threshold_for_each_task(without):
    parts, b, x = head(), 0.3, numbers(T, N, D, seed=9)
    if without is not None:
        parts[without] = None
    C, gamma, beta, W_gamma, W_beta, w = parts
    y = conditional_layer_norm(x, C, gamma, beta, W_gamma, W_beta).mean(1) @ w + b
    found = m.effective_heads(*parts, b)
    h = layer_norm(x).mean(1)  # the mean over the tokens may be taken first
    np.testing.assert_allclose((h * found.directions).sum(-1) - found.thresholds, y, rtol=1e-11, atol=1e-12)
    assert np.ptp(found.directions, axis=0).max() > 0 if W_gamma is not None else not np.ptp(found.directions, 0).any()
    assert np.ptp(found.thresholds) > 0 if W_beta is not None else not np.ptp(found.thresholds)


# ---------------------------------------------------------------------------------------------------------------
# what it costs


def test_the_published_baseline_adds_four_million_nine_hundred_thousand_parameters():
    base = BERT_SIZES["BERT base, uncased"]
    assert m.norms(base) == 25
    assert m.conditional_parameters(base, 6) == 4_915_200 + 768 == 4_915_968
    assert m.conditional_parameters(base, 7) - m.conditional_parameters(base, 6) == 128
    assert m.conditional_parameters(BERT_SIZES["BERT large, uncased"], 6) == 12_845_824
    assert m.task_parameters(base, 6)["table"] == 6 * 38_400
    assert m.task_parameters(base, 6)["heads"] + 2 * 768 + 2 == 9_228
    roformer_base = 123_555_840  # without pooler and head
    assert m.conditional_parameters(base, 6) / roformer_base == pytest.approx(0.0398, abs=5e-5)


def test_a_narrow_layer_saves_parameters_below_118_features():
    assert m.worthwhile_hidden(768, 128) == pytest.approx(118.15, abs=0.005)
    base = BERT_SIZES["BERT base, uncased"]
    plain = m.conditional_parameters(base, 6)
    assert m.conditional_parameters(base, 6, hidden=118) < plain < m.conditional_parameters(base, 6, hidden=119)


def test_ways_are_ordered_by_what_they_cost():
    costs = m.task_parameters(BERT_SIZES["MiniLM"], 6)
    order = ["none", "token", "heads", "table", "beta", "gamma", "full", "models"]
    assert sorted(costs, key=costs.__getitem__) == order
    assert costs["beta"] == costs["gamma"] < costs["full"] == 2 * costs["beta"] - 6 * 128


def test_factorised_and_shared_encoders_are_counted_as_they_are():
    albert = BERT_SIZES["ALBERT base"]
    assert m.norms(albert) == 3
    assert m.conditional_parameters(albert, 2, 5) == 2 * (128 + 2 * 768) * 5 + 2 * 5


# ---------------------------------------------------------------------------------------------------------------
# tasks that pull in different directions


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_loose_and_strict_pull_a_contested_pair_in_opposite_directions(p):
    loose, strict = m.contested_gradients(p)
    assert loose <= 0 <= strict
    assert strict - loose == 1
    assert (loose + strict == 0) == (p == 0.5)
    eps, loss = 1e-6, lambda z, y: math.log1p(math.exp(-z if y else z))
    if 0 < p < 1:
        z = math.log(p / (1 - p))
        for y, want in ((1, loose), (0, strict)):
            assert (loss(z + eps, y) - loss(z - eps, y)) / (2 * eps) == pytest.approx(want, abs=1e-6)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-6, 1e6))
def test_a_balanced_step_hurts_neither_of_two_tasks_whatever_their_scales(seed, scale):
    g = numbers(2, D, seed=seed)
    g[1] *= scale
    u = m.balanced(g)
    assert (g @ u >= -1e-12 * np.linalg.norm(g, axis=1)).all()
    cosine = m.conflicts(g)[0, 1]
    np.testing.assert_allclose(g @ u, np.linalg.norm(g, axis=1) * (1 + cosine), rtol=1e-9, atol=1e-12 * scale)


def test_the_sum_of_gradients_hurts_a_task_where_one_is_much_longer_and_balance_fails_with_three():
    g = np.array([[1.0, 0.0], [-8.0, 6.0]])
    assert (g @ g.sum(0)).min() < 0 < (g @ m.balanced(g)).min()
    three = np.array([[1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
    assert (three @ m.balanced(three)).min() < 0


def test_conflicts_are_cosines_and_a_task_without_a_gradient_has_none():
    g = numbers(3, D)
    g[2] = 0
    found = m.conflicts(g)
    np.testing.assert_allclose(np.diag(found), [1, 1, 0], atol=1e-12)
    assert found[0, 1] == pytest.approx(g[0] @ g[1] / np.linalg.norm(g[0]) / np.linalg.norm(g[1]))


@pytest.mark.torch
def test_the_gradient_of_the_scale_free_loss_has_no_scale():
    torch = pytest.importorskip("torch")
    x = torch.tensor(numbers(D), requires_grad=True)
    losses = lambda scale: torch.stack([(x**2).sum(), scale * x.exp().sum()])  # noqa: E731
    grads = [torch.autograd.grad(m.scale_free_loss(losses(scale)), x)[0] for scale in (1.0, 1e5)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=0)
    two = losses(7.0)
    held = torch.autograd.grad((two / two.detach()).sum(), x)[0]
    torch.testing.assert_close(held, grads[0], rtol=1e-10, atol=0)


# ---------------------------------------------------------------------------------------------------------------
# dialects


def formulas(xp, dtype):
    convert = lambda a: xp.asarray(a, dtype=dtype)  # noqa: E731
    predicted, labels, tasks = judged()
    predicted, labels, tasks = convert(predicted), xp.asarray(labels), xp.asarray(tasks)
    weights = convert(np.random.default_rng(1).integers(1, 4, size=(2, 53)))
    return [
        m.margins(convert(numbers(N, 2))),
        m.f1(predicted, labels),
        *m.contest_f1(predicted, labels, tasks, weights),
        m.pair_features(convert(numbers(N, D)), convert(numbers(N, D, seed=1))),
        m.conditional_table(convert(numbers(T, K)), [convert(numbers(D, K))]),
        *m.effective_heads(*map(convert, head()), 0.3),
        m.conflicts(convert(numbers(3, D))),
        m.balanced(convert(numbers(3, D))),
        m.scale_free_loss(convert(np.exp(numbers(D)))),
    ]


@pytest.mark.parametrize("dialect", ["torch", "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    assert m.rank(xp.asarray(numbers(T, K))) == K
    margins, labels = numbers(53), judged()[1]
    assert m.best_threshold(xp.asarray(margins), xp.asarray(labels)) == m.best_threshold(margins, labels)
    groups = np.arange(len(labels)) % 2
    found = m.best_threshold(*map(xp.asarray, (margins, labels, groups)))
    assert found == m.best_threshold(margins, labels, groups)
    table = numbers(T, K)
    assert m.leading_share(xp.asarray(table)) == pytest.approx(m.leading_share(table), rel=1e-12)
    dialects.assert_same(formulas(np, np.float64), formulas(xp, xp.float64), xp, rtol=1e-12)


@pytest.mark.parametrize("dialect", ["numpy", "torch", "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_float32(formulas(xp, xp.float32), xp)


# ---------------------------------------------------------------------------------------------------------------
# bad input

ONE = np.ones(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.f1(ONE, np.array([1, 1, 1])), "all labels that count are the same, so F1 says nothing"),
        (lambda: m.f1(ONE, np.array([0, 0, 0])), "all labels that count are the same"),
        (lambda: m.f1(ONE, np.array([0, 1, 1]), np.array([[1.0, 1, 1], [0, 1, 1]])), "all labels that count"),
        (lambda: m.f1(ONE, np.array([0, 1])), "labels must be integers, one for each"),
        (lambda: m.f1(ONE, np.array([0.0, 1, 1])), "labels must be integers"),
        (lambda: m.f1(ONE, np.array([0, 1, 2])), "labels must be 0 or 1"),
        (lambda: m.f1(0.7 * ONE, np.array([0, 1, 1])), "predicted must be 0 or 1; of probabilities ask first"),
        (lambda: m.f1(ONE, np.array([0, 1, 1]), ONE[:2]), r"weights must have shape \(…, 3\)"),
        (lambda: m.f1(np.zeros(0), np.zeros(0, int)), "all labels that count are the same"),
        (lambda: m.best_threshold(ONE, np.array([1, 1, 1])), "all labels that count are the same"),
        (lambda: m.best_threshold(ONE, np.array([0, 1])), "labels must be integers, one for each"),
        (lambda: m.best_threshold(ONE, np.array([0, 1, 1]), np.array([0, 1])), "has the number of its group"),
        (lambda: m.best_threshold(ONE, np.array([0, 1, 1]), np.array([0, 1, 1])), "all labels that count are the same"),
        (lambda: m.leading_share(np.zeros((2, 3))), "a table of zeros has no direction"),
        (lambda: m.contest_f1(ONE, np.array([0, 1, 1]), np.array([0, 1])), "has the number of its task"),
        (lambda: m.contest_f1(ONE, np.array([0, 1, 1]), np.array([0, 0, 0])), "all labels that count are the same"),
        (lambda: m.margins(np.ones((2, 3))), r"z must have shape \(…, 2\)"),
        (lambda: m.unpacked("ff", 9), "9 answers stand in 3 digits, got 2"),
        (lambda: m.bands(()), "at least one"),
        (lambda: m.bands((0.3, 1.2)), "between 0 and 1"),
        (lambda: m.best_blind_accuracy(m.Bands((0.5, 0.4), (0.0, 1.0))), "widths must sum to 1"),
        (lambda: m.best_blind_loss(m.Bands((0.5, 0.5), (0.0, 1.5))), "are probabilities"),
        (lambda: m.best_blind_loss(m.Bands((0.5, 0.5), (0.0,))), "one share for each width"),
        (lambda: m.pair_features(np.ones((2, D)), np.ones((3, D))), "must have one shape"),
        (lambda: m.bucketed([3, 4], 0, [0.1, 0.2]), "size and window must be at least 1"),
        (lambda: m.bucketed([3, 4], 1, [0.1]), "each text needs its noise"),
        (lambda: m.conditional_table(np.ones((T, K)), [np.ones((D, K + 1))]), r"W_0 must have shape \(…, …, 3\)"),
        (lambda: m.effective_heads(*head()[:5], np.ones(D + 1)), r"w must have shape \(…, 7\)"),
        (lambda: m.conditional_parameters(BERT_SIZES["MiniLM"], 0), "tasks, k and hidden are at least 1"),
        (lambda: m.conditional_parameters(BERT_SIZES["MiniLM"], 6, 128, 3), "matrices 1 or 2"),
        (lambda: m.worthwhile_hidden(0, 3), "at least 1 of each"),
        (lambda: m.contested_gradients(1.1), "between 0 and 1; got 1.1"),
        (lambda: m.balanced(np.ones(D)), "one row for each task"),
        (lambda: m.conflicts(np.ones(D)), "one row for each task"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_sizes_of_a_small_encoder_are_counted_by_hand():
    sizes = BertSizes(29, 4, 1, 2, 8, positions=5)
    assert m.conditional_parameters(sizes, 3, 5) == 3 * 2 * 4 * 5 + 15
    assert m.conditional_parameters(sizes, 3, 5, hidden=2) == 3 * (5 * 2 + 2 * 2 * 4) + 15
    assert m.task_parameters(sizes, 3, 5)["token"] == 12
