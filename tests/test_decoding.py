"""What decoding promises."""

from __future__ import annotations

import itertools
import math

import dialects
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib import decoding as de

B, V, T = 3, 7, 5
"""Rows, tokens of the vocabulary, longest text: pairwise different primes."""

END = 0


def logits(*shape, seed=0, scale=2.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def noise(*shape, seed=1):
    return np.random.default_rng(seed).random(shape)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(z):
    return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))


def model(vocabulary=3, seed=0, scale=2.0):
    """A language model whose next token depends on the whole text: a table of random logits, made as it is asked."""
    table = {}

    def step(rows):
        assert len({len(row) for row in rows}) == 1
        for row in rows:
            at = [seed, *row]
            table.setdefault(row, log_softmax(logits(vocabulary, seed=at, scale=scale)))
        return np.stack([table[row] for row in rows])

    return step


def tree(probabilities, vocabulary=3):
    """A model given by the probabilities that follow each text after the start; where nothing is given, it ends."""
    stop = np.eye(vocabulary)[END]

    def step(rows):
        with np.errstate(divide="ignore"):
            return np.log(np.stack([np.asarray(probabilities.get(row[1:], stop), float) for row in rows]))

    return step


GARDEN_PATH = tree({(): [0, 0.6, 0.4], (1,): [0.3, 0.3, 0.4], (2,): [0.9, 0.05, 0.05]})
"""Token 1 is the better beginning, and the text that begins with 2 the better one: 0.4 · 0.9 against 0.6 · 0.4."""


def all_texts(step, longest, vocabulary=3, start=(1,), alpha=0.0):
    """Every text that ends, or is cut off at the longest length: its ids, log-probability and score, best first."""
    found, rows = [], [(start, 0.0)]
    for t in range(1, longest + 1):
        longer = []
        for ids, total in rows:
            log_p = step([ids])[0]
            for token in range(vocabulary):
                text = (*ids, token), total + float(log_p[token])
                (found if token == END or t == longest else longer).append(text)
        rows = longer
    scored = [(ids, total, total / (len(ids) - len(start)) ** alpha) for ids, total in found]
    return sorted(scored, key=lambda text: -text[2])


# ---------------------------------------------------------------------------------------------------------------
# what may be drawn


def test_temperature_raises_the_probabilities_to_a_power():
    z = logits(B, V)
    for temperature in (0.25, 1.0, 3.0):
        p = softmax(z) ** (1 / temperature)
        np.testing.assert_allclose(softmax(de.tempered(z, temperature)), p / p.sum(-1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(softmax(de.tempered(z, 1e-3)), np.eye(V)[z.argmax(-1)], atol=1e-12)
    np.testing.assert_allclose(softmax(de.tempered(z, 1e9)), 1 / V, rtol=1e-6)


def test_top_k_keeps_the_k_largest_as_they_are():
    z = logits(B, V)
    for k in range(1, V + 1):
        kept = de.keep_top_k(z, k)
        there = np.isfinite(kept)
        assert (there.sum(-1) == k).all()
        np.testing.assert_array_equal(kept[there], z[there])
        assert (np.where(there, z, np.inf).min(-1) >= np.where(there, -np.inf, z).max(-1)).all()
    np.testing.assert_array_equal(de.keep_top_k(z, V + 4), z)


def test_of_equal_logits_the_first_stay():
    z = np.array([1.0, 3, 0, 3, 3, 1])
    np.testing.assert_array_equal(np.isfinite(de.keep_top_k(z, 2)), [0, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(np.isfinite(de.keep_top_k(z, 4)), [1, 1, 0, 1, 1, 0])
    np.testing.assert_array_equal(np.isfinite(de.keep_top_p(np.zeros(4), 0.5)), [1, 1, 0, 0])


@pytest.mark.parametrize(
    ("p", "kept"),
    [(1e-9, 1), (0.4999, 1), (0.5, 1), (0.5001, 2), (0.75, 2), (0.7501, 3), (0.875, 3), (0.8751, 4), (1.0, 4)],
)
def test_top_p_keeps_the_first_prefix_whose_mass_reaches_p(p, kept):
    """Halves, quarters and eighths, so that the masses are exact and the bounds can be told."""
    z = np.array([2, 0, 3, 1]) * math.log(2)
    z[1] = z[3] = math.log(2)
    assert softmax(z) == pytest.approx([0.25, 0.125, 0.5, 0.125])
    order = [2, 0, 1, 3]
    assert sorted(np.flatnonzero(np.isfinite(de.keep_top_p(z, p)))) == sorted(order[:kept])


def test_top_p_of_1_keeps_all_even_what_float32_cannot_add():
    z = np.float32([50, 0, -50, 49])
    np.testing.assert_array_equal(de.keep_top_p(z, 1.0), z)
    np.testing.assert_array_equal(np.isfinite(de.keep_top_p(z, 0.999999)), [1, 0, 0, 1])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=11), st.floats(0.01, 1))
def test_what_top_p_keeps_reaches_p_and_would_not_without_its_least(numbers, p):
    z = np.array(numbers) * 0.37
    kept = np.isfinite(de.keep_top_p(z, p))
    mass = softmax(z)
    assert mass[kept].sum() >= p - 1e-12
    assert p == 1 or mass[kept].sum() - mass[kept].min() < p + 1e-12
    assert mass[kept].min() >= mass[~kept].max(initial=0)


def test_top_k_and_top_p_do_not_commute():
    z = np.log([0.4, 0.3, 0.2, 0.1])
    assert np.isfinite(de.keep_top_p(de.keep_top_k(z, 2), 0.55)).sum() == 1  # 0.4 is 57 % of 0.7
    assert np.isfinite(de.keep_top_k(de.keep_top_p(z, 0.55), 2)).sum() == 2


def test_cutting_does_not_depend_on_the_order_of_the_vocabulary():
    z, order = logits(B, V), np.random.default_rng(3).permutation(V)
    for cut in (lambda z: de.keep_top_k(z, 3), lambda z: de.keep_top_p(z, 0.7)):
        np.testing.assert_array_equal(cut(z[:, order]), cut(z)[:, order])


# ---------------------------------------------------------------------------------------------------------------
# drawing


def test_gumbel_noise_has_its_distribution_function_and_stays_finite():
    g = np.linspace(-3, 9, 31)
    np.testing.assert_allclose(de.gumbel(np.exp(-np.exp(-g))), g, rtol=1e-9, atol=1e-12)
    for kind in (np.float32, np.float64):
        ends = de.gumbel(np.array([0, 1, np.nextafter(kind(1), kind(0))], kind))
        assert np.isfinite(ends).all()
        assert ends[1] == ends[2]


def test_the_largest_sum_of_logit_and_gumbel_noise_is_the_softmax_by_integration():
    r"""$\int e^{z_i-g} \prod_j \exp(-e^{z_j-g})\,dg$, the probability that token i wins, on a grid."""
    z = logits(V)
    g = np.linspace(-30, 60, 90_001)
    others = np.exp(-np.exp(z[:, None] - g)).prod(0)
    wins = (np.exp(z[:, None] - g) * others).sum(-1) * (g[1] - g[0])
    np.testing.assert_allclose(wins, softmax(z), rtol=1e-9)


def test_samples_follow_the_softmax():
    z, draws = logits(V, scale=1.0), 40_009
    counts = np.bincount(de.sample(z, noise(draws, V)), minlength=V)
    want = draws * softmax(z)
    assert ((counts - want) ** 2 / want).sum() < 30  # 6 degrees of freedom: one run in 30,000 is outside


def test_two_tokens_and_two_numbers_are_a_closed_form():
    """Token 0 wins where $-\\ln u_0 < e^{z_0 - z_1} (-\\ln u_1)$."""
    u, z = noise(1009, 2), np.array([0.7, -0.4])
    want = np.where(-np.log(u[:, 0]) < math.exp(z[0] - z[1]) * -np.log(u[:, 1]), 0, 1)
    np.testing.assert_array_equal(de.sample(z, u), want)


def test_what_was_cut_is_never_drawn():
    z = de.keep_top_k(logits(B, V), 2)
    drawn = {(b, int(token)) for s in range(199) for b, token in enumerate(de.sample(z, noise(B, V, seed=s)))}
    assert drawn == {(b, int(token)) for b, token in zip(*np.isfinite(z).nonzero(), strict=True)}
    np.testing.assert_array_equal(de.sample(de.keep_top_k(z, 1), np.zeros((B, V))), z.argmax(-1))


def test_a_constant_added_to_the_logits_changes_no_draw():
    z, u = logits(B, V), noise(B, V)
    np.testing.assert_array_equal(de.sample(z + 100, u), de.sample(z, u))


def test_a_cold_sample_is_the_greedy_one():
    z = logits(B, V)
    np.testing.assert_array_equal(de.sample(de.tempered(z, 1e-6), noise(B, V)), z.argmax(-1))


# ---------------------------------------------------------------------------------------------------------------
# texts


def test_greedy_misses_the_best_text_that_two_beams_find():
    short = de.greedy(GARDEN_PATH, (9,), END, T)
    assert short.ids == (9, 1, 2, END)
    assert math.exp(short.log_probability) == pytest.approx(0.6 * 0.4)
    best, second = de.beam_search(GARDEN_PATH, (9,), END, 2, T)
    assert best.ids == (9, 2, END)
    assert math.exp(best.log_probability) == pytest.approx(0.4 * 0.9)
    assert (second.ids, second.log_probability) == (short.ids, short.log_probability)
    assert de.beam_search(GARDEN_PATH, (9,), END, 1, T) == [short]


def test_a_wider_beam_need_not_find_a_better_text():
    """The second beginning crowds the first one out, and then comes to nothing; all beams find the first again."""
    step = tree(
        {
            (): [0, 0.36, 0.34, 0.3],
            (1,): [0, 0.34, 0.33, 0.33],
            (2,): [0, 0.5, 0.5, 0],
            (3,): [0, 0.34, 0.33, 0.33],
            **dict.fromkeys(itertools.product((1, 2, 3), repeat=2), [0.25] * 4),
            (1, 1): [0.97, 0.01, 0.01, 0.01],
        },
        4,
    )
    one, two, sixteen = (de.beam_search(step, (9,), END, beams, 3)[0] for beams in (1, 2, 16))
    assert one == sixteen
    assert math.exp(one.log_probability) == pytest.approx(0.36 * 0.34 * 0.97)
    assert math.exp(two.log_probability) == pytest.approx(0.34 * 0.5 * 0.25)


@pytest.mark.parametrize("seed", range(7))
def test_one_beam_is_greedy(seed):
    step = model(V, seed)
    got = de.beam_search(step, (1,), END, 1, T)
    want = de.greedy(step, (1,), END, T)
    assert [text[:2] for text in got] == [want[:2]]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_that_holds_all_beginnings_finds_the_best_texts_of_all(seed, alpha):
    step, longest = model(3, seed), 4
    want = all_texts(step, longest, alpha=alpha)
    got = de.beam_search(step, (1,), END, 3 ** (longest - 1), longest, alpha)
    assert len(got) == 27
    for text, (ids, total, score) in zip(got, want, strict=False):
        assert text.ids == ids
        assert (text.log_probability, text.score) == (pytest.approx(total), pytest.approx(score))


def test_the_probabilities_of_all_texts_sum_to_one():
    texts = de.beam_search(model(3), (1,), END, 3**4, 4)
    assert len(texts) == 31  # 1 + 2 + 4 + 8 that end, and 16 that are cut off
    assert sum(math.exp(text.log_probability) for text in texts) == pytest.approx(1)


def test_every_text_of_a_beam_has_the_probability_that_it_says():
    step = model(V)
    texts = de.beam_search(step, (1, 4), END, 3, T, 0.7)
    assert len({text.ids for text in texts}) == 3
    assert [text.score for text in texts] == sorted((text.score for text in texts), reverse=True)
    for text in texts:
        total = sum(float(step([text.ids[:t]])[0, text.ids[t]]) for t in range(2, len(text.ids)))
        assert text.log_probability == pytest.approx(total)
        assert text.score == pytest.approx(total / (len(text.ids) - 2) ** 0.7)
        assert END not in text.ids[:-1]
        assert text.ids[-1] == END or len(text.ids) == 2 + T


def test_sums_of_log_probabilities_shorten_a_text_and_means_do_not():
    """Each step ends with 0.2: greedy never would, and the most probable text of all is the empty one."""

    def step(rows):
        return np.tile(np.log([0.2, 0.75, 0.05]), (len(rows), 1))

    assert de.greedy(step, (1,), END, 17).ids == (1,) * 18
    best = de.beam_search(step, (1,), END, 4, 17)[0]
    assert best.ids == (1, END)
    assert 0.2 > 0.75**17  # so it is no fault of the search
    assert de.beam_search(step, (1,), END, 4, 17, 1.0)[0].ids == (1,) * 18
    lengths = [len(de.beam_search(step, (1,), END, 4, 17, alpha)[0].ids) for alpha in (0, 0.3, 0.6, 0.9)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_a_text_may_begin_with_the_id_that_ends_it():
    step = tree({(): [0.1, 0.9, 0]})
    assert de.greedy(step, (END,), END, T).ids == (END, 1, END)
    assert de.beam_search(step, (END,), END, 2, T)[0].ids == (END, 1, END)


def test_what_has_the_probability_0_is_not_in_the_beam():
    texts = de.beam_search(tree({(): [0.25, 0.75, 0]}), (9,), END, 5, T)
    assert [text.ids for text in texts] == [(9, 1, END), (9, END)]


def test_the_search_asks_for_all_live_texts_at_once_and_for_no_ended_one():
    asked, step = [], model(3)

    def counted(rows):
        asked.append(rows)
        return step(rows)

    de.beam_search(counted, (1,), END, 2, T)
    assert len(asked) <= T
    assert all(1 <= len(rows) <= 2 and END not in itertools.chain(*rows) for rows in asked)
    assert len(asked[0]) == 1


def test_texts_are_sampled_with_their_probability():
    step, draws, want = model(3, scale=1.0), 4001, {}
    for ids, total, _ in all_texts(step, 2):
        want[ids] = draws * math.exp(total)
    counts = dict.fromkeys(want, 0)
    for u in noise(draws, 2, 3):
        counts[de.sampled(step, (1,), END, u).ids] += 1
    assert sum((counts[ids] - want[ids]) ** 2 / want[ids] for ids in want) < 32  # 6 degrees of freedom


# ---------------------------------------------------------------------------------------------------------------
# dialects


def formulas(make):
    z, u = make(logits(B, V)), make(noise(B, V))
    cut = de.keep_top_p(de.keep_top_k(z, 5), 0.8)
    return [de.tempered(z, 0.7), de.keep_top_k(z, 3), cut, de.gumbel(u), de.sample(z, u), de.sample(cut, u)]


@pytest.mark.parametrize("dialect", [pytest.param("torch", marks=pytest.mark.torch), "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_same(formulas(np.asarray), formulas(xp.asarray), xp, rtol=1e-12)
    step = model(V)
    theirs = [
        search(lambda rows: xp.asarray(step(rows)))
        for search in (
            lambda step: de.beam_search(step, (1,), END, 3, T),
            lambda step: de.greedy(step, (1,), END, T),
            lambda step: de.sampled(step, (1,), END, xp.asarray(noise(T, V))),
        )
    ]
    assert theirs[0] == de.beam_search(step, (1,), END, 3, T)
    assert theirs[1:] == [de.greedy(step, (1,), END, T), de.sampled(step, (1,), END, noise(T, V))]


@pytest.mark.parametrize("dialect", ["numpy", pytest.param("torch", marks=pytest.mark.torch), "array_api_strict"])
def test_float32_stays_float32(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_float32(formulas(lambda a: xp.asarray(a, dtype=xp.float32))[:4], xp)


@pytest.mark.torch
def test_half_precision_logits_are_cut_and_drawn_in_float32():
    """1,009 equal logits: in bfloat16 their masses, 0.00099, stop adding up at 0.25."""
    torch = pytest.importorskip("torch")
    z = torch.zeros(1009, dtype=torch.bfloat16)
    kept = de.keep_top_p(z, 0.5)
    assert kept.dtype == torch.bfloat16
    assert kept.isfinite().sum() == 505
    u = torch.tensor(noise(499, 1009), dtype=torch.float32)
    # around 256, bfloat16 goes in steps of 2
    torch.testing.assert_close(de.sample(z + 256, u), de.sample(z.float() + 256, u))


# ---------------------------------------------------------------------------------------------------------------
# an independent oracle


@pytest.mark.torch
def test_cuts_are_those_of_transformers():
    torch = pytest.importorskip("torch")
    generation = pytest.importorskip("transformers.generation.logits_process")
    z = torch.tensor(logits(B, V))
    for k in (1, 3, V):
        torch.testing.assert_close(de.keep_top_k(z, k), generation.TopKLogitsWarper(k)(None, z.clone()), rtol=0, atol=0)
    for p in (0.05, 0.3, 0.6, 0.9, 0.99):
        torch.testing.assert_close(de.keep_top_p(z, p), generation.TopPLogitsWarper(p)(None, z.clone()), rtol=0, atol=0)
    want = generation.TemperatureLogitsWarper(0.7)(None, z)
    torch.testing.assert_close(de.tempered(z, 0.7), want)


# ---------------------------------------------------------------------------------------------------------------
# bad input

z, good = np.zeros((B, V)), model()

BAD = [
    (lambda: de.tempered(z, 0), "temperature must be positive, got 0; for the most probable token call greedy"),
    (lambda: de.tempered(z, math.nan), "temperature must be positive"),
    (lambda: de.tempered(z.astype(int), 1), "logits must hold floats"),
    (lambda: de.keep_top_k(z, 0), "at least 1; got 0"),
    (lambda: de.keep_top_k([1.0], 1), "logits must be an array, got list"),
    (lambda: de.keep_top_p(z, 0), "above 0 and at most 1; got 0"),
    (lambda: de.keep_top_p(z, 90), "above 0 and at most 1; got 90"),
    (lambda: de.keep_top_p(z, math.nan), "above 0 and at most 1; got nan"),
    (lambda: de.gumbel(z.astype(int)), "noise must hold floats"),
    (lambda: de.sample(z, z.astype(int)), "noise must hold floats"),
    (lambda: de.greedy(good, (1,), END, 0), "longest is the number of tokens .* at least 1; got 0"),
    (lambda: de.beam_search(good, (1,), END, 2, 0), "longest is the number of tokens .* at least 1; got 0"),
    (lambda: de.beam_search(good, (1,), END, 0, T), "beams must be at least 1 and .*, got 0 and 0.0"),
    (lambda: de.beam_search(good, (1,), END, 2, T, -1), "length_penalty at least 0, got 2 and -1"),
    (lambda: de.greedy(lambda rows: good(rows)[0], (1,), END, T), r"step must return shape \(1, V\), .*; got \(3,\)"),
    (lambda: de.greedy(lambda rows: np.exp(good(rows)), (1,), END, T), "log-probabilities, at most 0, got 0."),
    (lambda: de.greedy(lambda rows: good(rows) * np.nan, (1,), END, T), "log-probabilities, at most 0, got nan"),
    (lambda: de.beam_search(lambda rows: [[0.0]], (1,), END, 2, T), "log_p must be an array, got list"),
    (lambda: de.sampled(good, (1,), END, z.astype(int)), "noise must hold floats"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "words"), BAD)
def test_a_bad_argument_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
