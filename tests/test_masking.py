"""What masking promises."""

from __future__ import annotations

import itertools
import math

import dialects
import numpy as np
import pytest

from minilib import masking as ma
from minilib.attention import causal_mask, unilm_mask

B, N, V = 3, 11, 23
"""Texts, tokens of each, ids: pairwise different primes."""

MASK = 2
"""The id of [MASK]."""


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def ids(*shape, seed=1):
    return np.random.default_rng(seed).integers(3, V, shape)


def spread(probability, trials, deviations=5.0):
    """How far a share may lie from its probability in so many independent trials: one run in a million is outside."""
    return deviations * math.sqrt(probability * (1 - probability) / trials)


WORDS = np.array([-1, 0, 1, 1, 1, 2, 2, 3, 4, 5, -1])
"""The word of each of the N tokens between two special ones; of lengths 1, 3, 2, 1, 1, 1."""

LENGTHS = (1, 3, 2, 1, 1, 1)

# ---------------------------------------------------------------------------------------------------------------
# theorems and limits


def test_nothing_is_chosen_at_share_0_and_all_that_may_be_at_share_1():
    u, maskable = noise(B, N), noise(B, N, seed=2) < 0.7
    assert not ma.chosen_tokens(u, 0, maskable).any()
    np.testing.assert_array_equal(ma.chosen_tokens(u, 1, maskable), maskable)
    assert not ma.chosen_words(u, 0.0, WORDS).any()
    np.testing.assert_array_equal(ma.chosen_words(u, 1.0, WORDS), np.tile(WORDS >= 0, (B, 1)))
    assert not ma.chosen_exactly(u, 0, maskable).any()
    np.testing.assert_array_equal(ma.chosen_exactly(u, N, maskable), maskable)


def test_a_larger_share_keeps_what_a_smaller_one_chose():
    """So that a slider over the share adds gaps to a text and moves none."""
    u, every = noise(B, N), np.ones(N, bool)
    for choose, shares in (
        (lambda p: ma.chosen_tokens(u, p, every), np.linspace(0, 1, 13)),
        (lambda p: ma.chosen_words(u, p, WORDS), np.linspace(0, 1, 13)),
        (lambda k: ma.chosen_exactly(u, k, every), range(N + 1)),
    ):
        for less, more in itertools.pairwise(choose(share) for share in shares):
            assert (less <= more).all()


def test_a_word_is_chosen_whole_or_not_at_all_and_special_tokens_never():
    chosen = ma.chosen_words(noise(1009, 7), 0.5, WORDS)
    for word in range(6):
        tokens = np.flatnonzero(word == WORDS)
        assert np.isin(chosen[:, tokens].sum(-1), (0, len(tokens))).all()
    assert not chosen[:, WORDS < 0].any()


def test_of_all_tokens_12_percent_are_masked_and_3_percent_are_not_what_they_seem():
    assert ma.mask_fractions() == pytest.approx((0.12, 0.015, 0.015))
    assert sum(ma.mask_fractions(0.4, 0.5, 0.3)) == pytest.approx(0.4)


def test_masks_copies_and_substitutes_come_in_these_fractions():
    shape = (401, 499)
    x, substitutes = ids(*shape), ids(*shape, seed=5) + V
    chosen = ma.chosen_tokens(noise(*shape), 0.15, np.ones(shape[1], bool))
    seen = ma.masked_ids(x, chosen, noise(*shape, seed=3), substitutes, MASK)
    got = (seen == MASK).mean(), (chosen & (seen == x)).mean(), (seen >= V).mean()
    for share, want in zip(got, ma.mask_fractions(), strict=True):
        assert abs(share - want) < spread(want, x.size)


def test_what_is_not_chosen_stays():
    x, chosen = ids(B, N), noise(B, N) < 0.5
    seen = ma.masked_ids(x, chosen, np.zeros((B, N)), ids(B, N, seed=4), MASK)
    np.testing.assert_array_equal(seen, np.where(chosen, MASK, x))


def test_the_dice_decide_and_their_bounds_belong_to_the_upper_case():
    dice = np.array([0, np.nextafter(0.8, 0), 0.8, np.nextafter(0.9, 0), 0.9, np.nextafter(1, 0)])
    seen = ma.masked_ids(np.full(6, 7), np.ones(6, bool), dice, np.full(6, 13), MASK)
    np.testing.assert_array_equal(seen, [MASK, MASK, 7, 7, 13, 13])


def test_a_substitute_may_be_the_token_itself_or_a_special_one():
    """Once in V cases each, and the text does not show it: of the chosen tokens a little over 10 % look untouched."""
    x, last = np.full(V, 7), np.full(V, 0.95)
    seen = ma.masked_ids(x, np.ones(V, bool), last, np.arange(V), MASK)
    assert (seen == x).sum() == (seen == MASK).sum() == 1


def test_one_text_can_be_read_with_many_masks():
    """What new noise at each reading is good for: one row of ids, many of noise."""
    u, d, x = noise(B, N), noise(B, N, seed=3), ids(N)
    chosen, substitutes = ma.chosen_tokens(u, 0.5, x > 5), ids(B, N, seed=4)
    seen = ma.masked_ids(x, chosen, d, substitutes, MASK)
    for row in range(B):
        alone = ma.masked_ids(x, chosen[row], d[row], substitutes[row], MASK)
        np.testing.assert_array_equal(seen[row], alone)


def share_law(p, lengths):
    """Mean, deviation and probability of 0 of the chosen share, over all 2^w choices of words."""
    mean = square = none = 0.0
    for choice in itertools.product((0, 1), repeat=len(lengths)):
        weight = math.prod(p if c else 1 - p for c in choice)
        share = sum(c * length for c, length in zip(choice, lengths, strict=True)) / sum(lengths)
        mean, square, none = mean + weight * share, square + weight * share**2, none + weight * (share == 0)
    return mean, math.sqrt(square - mean**2), none


@pytest.mark.parametrize("lengths", [(1,) * 7, LENGTHS, (2,) * 5, (1, 11)])
@pytest.mark.parametrize("p", [0.15, 0.4])
def test_the_chosen_share_has_the_mean_p_and_the_deviation_of_the_formula(p, lengths):
    mean, std, none = share_law(p, lengths)
    assert mean == pytest.approx(p, rel=1e-12)
    assert ma.masked_share_std(p, sum(lengths), lengths) == pytest.approx(std, rel=1e-12)
    assert ma.none_chosen(p, sum(lengths), lengths) == pytest.approx(none, rel=1e-12)


def test_whole_words_spread_the_share_as_if_the_text_were_shorter():
    """By the length of the word around a random token, which is that of a random word only if all are alike."""
    assert ma.masked_share_std(0.15, 128) == pytest.approx(math.sqrt(0.15 * 0.85 / 128), rel=1e-14)
    assert ma.masked_share_std(0.15, 128) == pytest.approx(0.03156, abs=5e-6)
    assert ma.masked_share_std(0.15, 128, [2]) == pytest.approx(ma.masked_share_std(0.15, 64), rel=1e-14)
    around = sum(length**2 for length in LENGTHS) / sum(LENGTHS)
    assert around > sum(LENGTHS) / len(LENGTHS)
    ratio = ma.masked_share_std(0.15, 128, LENGTHS) / ma.masked_share_std(0.15, 128)
    assert ratio == pytest.approx(math.sqrt(around), rel=1e-14)


def test_draws_of_words_have_the_mean_and_the_deviation_of_the_formula():
    draws = 20_011
    share = ma.chosen_words(noise(draws, 6), 0.15, WORDS)[:, WORDS >= 0].mean(-1)
    std = ma.masked_share_std(0.15, sum(LENGTHS), LENGTHS)
    assert abs(share.mean() - 0.15) < 5 * std / math.sqrt(draws)
    assert share.std() == pytest.approx(std, rel=0.03)
    assert (share == 0).mean() == pytest.approx(ma.none_chosen(0.15, sum(LENGTHS), LENGTHS), abs=0.02)


def test_a_fixed_number_has_no_spread_and_every_set_is_as_likely():
    u, maskable = noise(30_011, 5), np.array([True, True, False, True, True])
    chosen = ma.chosen_exactly(u, 2, maskable)
    assert (chosen.sum(-1) == 2).all()
    assert not chosen[:, 2].any()
    for pair in itertools.combinations((0, 1, 3, 4), 2):
        assert abs(chosen[:, pair].all(-1).mean() - 1 / 6) < spread(1 / 6, len(u))


def test_each_text_may_have_a_number_of_its_own():
    counts = np.array([[0], [2], [5]])
    got = ma.chosen_exactly(noise(B, N), counts, np.ones(N, bool))
    np.testing.assert_array_equal(got.sum(-1), counts[:, 0])


def test_the_count_of_bert_is_at_least_one_and_at_most_its_bound():
    got = [ma.mask_count(n) for n in (1, 3, 10, 13, 30, 128, 133, 137, 512)]
    assert got == [1, 1, 2, 2, 4, 19, 20, 20, 20]
    assert ma.mask_count(512, most=80) == 77


# ---------------------------------------------------------------------------------------------------------------
# n-grams


def test_the_lengths_of_n_grams_fall_like_one_over_n():
    assert ma.ngram_probabilities() == pytest.approx((6 / 11, 3 / 11, 2 / 11))
    for most in (1, 2, 5, 13):
        p = ma.ngram_probabilities(most)
        assert sum(p) == pytest.approx(1)
        mean = sum(length * share for length, share in enumerate(p, 1))
        assert mean == pytest.approx(most / sum(1 / k for k in range(1, most + 1)))


def test_noise_becomes_lengths_with_these_probabilities():
    u = (np.arange(1100) + 0.5) / 1100
    np.testing.assert_array_equal(np.bincount(ma.ngram_lengths(u))[1:], [600, 300, 200])
    assert (ma.ngram_lengths(u, 1) == 1).all()


def test_a_span_covers_its_start_and_what_follows():
    u, lengths = np.ones(N), np.ones(N, int)
    u[[2, 5, 6, N - 1]], lengths[[2, 5, 6, N - 1]] = 0, (3, 1, 2, 3)
    (places,) = ma.chosen_spans(u, 0.5, lengths).nonzero()
    np.testing.assert_array_equal(places, [2, 3, 4, 5, 6, 7, N - 1])


def test_spans_of_one_token_are_single_tokens():
    u = noise(B, N)
    np.testing.assert_array_equal(ma.chosen_spans(u, 0.3, np.ones(N, int)), ma.chosen_tokens(u, 0.3, np.ones(N, bool)))
    assert ma.span_share(0.3, [1.0]) == pytest.approx(0.3)


def test_the_share_that_spans_cover_is_the_formula_away_from_the_beginning():
    rate, shape = 0.09, (6007, 13)
    chosen = ma.chosen_spans(noise(*shape), rate, ma.ngram_lengths(noise(*shape, seed=1)))
    want = ma.span_share(rate, ma.ngram_probabilities())
    assert want == pytest.approx(1 - (1 - rate) * (1 - rate * 5 / 11) * (1 - rate * 2 / 11))
    # tokens at a distance of 3 have no start in common
    for place in (2, 5, 8, 11):
        assert abs(chosen[:, place].mean() - want) < spread(want, shape[0])
    assert abs(chosen[:, 0].mean() - rate) < spread(rate, shape[0])


# ---------------------------------------------------------------------------------------------------------------
# the loss


def test_the_loss_is_the_mean_over_all_gaps_of_the_batch():
    loss, chosen = noise(B, N), noise(B, N, seed=1) < 0.3
    assert ma.masked_mean(loss, chosen) == pytest.approx(loss[chosen].mean(), rel=1e-14)
    assert ma.masked_mean(loss, chosen[0]) == pytest.approx(loss[:, chosen[0]].mean(), rel=1e-14)
    assert ma.masked_mean(loss, np.zeros((B, N), bool)) == 0
    assert ma.masked_mean(loss, loss == loss.max()) == loss.max()


def test_what_is_not_chosen_does_not_touch_the_loss_even_where_it_is_not_a_number():
    loss, chosen = noise(B, N), np.arange(N) < 3
    want = ma.masked_mean(loss, chosen)
    loss[:, 3:] = np.nan
    assert ma.masked_mean(loss, chosen) == want


@pytest.mark.torch
def test_the_loss_is_that_of_torch_with_its_ignored_labels():
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    logits, x = torch.tensor(noise(B, N, V), requires_grad=True), torch.tensor(ids(B, N))
    chosen = torch.tensor(noise(B, N, seed=1) < 0.3)
    ours = ma.masked_mean(F.cross_entropy(logits.mT, x, reduction="none"), chosen)
    theirs = F.cross_entropy(logits.flatten(0, 1), torch.where(chosen, x, -100).flatten())
    torch.testing.assert_close(ours, theirs)
    (a,), (b,) = (torch.autograd.grad(loss, logits) for loss in (ours, theirs))
    torch.testing.assert_close(a, b)
    assert (a.abs().sum(-1) > 0).equal(chosen)


@pytest.mark.torch
def test_gaps_are_counted_in_float32_where_bfloat16_could_not():
    torch = pytest.importorskip("torch")
    loss = torch.full((3, 257), 2.0, dtype=torch.bfloat16)
    got = ma.masked_mean(loss, torch.ones(257, dtype=torch.bool))
    assert (got.item(), got.dtype) == (2.0, torch.bfloat16)


# ---------------------------------------------------------------------------------------------------------------
# masks of attention


@pytest.mark.parametrize(("s", "t"), [(5, 3), (1, 7), (0, 4), (6, 0)])
def test_unilm_admits_so_many_pairs(s, t):
    """The source sees itself, S²; the target the source, T·S, and itself back to the start, T(T + 1)/2."""
    mask = unilm_mask(np.array([0] * s + [1] * t))
    assert mask.sum() == s * s + t * s + t * (t + 1) // 2


def test_in_the_order_of_places_the_permutation_mask_is_causal_and_without_one_it_hides_nothing():
    np.testing.assert_array_equal(ma.permutation_mask(np.arange(N)), causal_mask(N, np.zeros(1)))
    assert ma.permutation_mask(np.zeros((B, N), int)).all()
    target = np.array([0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(ma.permutation_mask(np.cumsum(target)), unilm_mask(target))


def test_the_permutation_mask_is_the_causal_one_with_rows_and_columns_permuted():
    order = np.random.default_rng(0).permutation(N)
    mask, places = ma.permutation_mask(order), np.argsort(order)
    np.testing.assert_array_equal(mask[places][:, places], causal_mask(N, np.zeros(1)))
    assert mask.sum() == N * (N + 1) // 2


# ---------------------------------------------------------------------------------------------------------------
# slow and obvious


def one_by_one(x, u, d, substitutes, share):
    """One token at a time, as a script would write it."""
    seen = []
    for token, chance, die, other in zip(x, u, d, substitutes, strict=True):
        if chance >= share or 0.8 <= die < 0.9:
            seen.append(token)
        else:
            seen.append(MASK if die < 0.8 else other)
    return seen


def test_it_is_what_a_loop_over_the_tokens_does():
    x, u, d, substitutes = ids(B, N), noise(B, N), noise(B, N, seed=6), ids(B, N, seed=4)
    seen = ma.masked_ids(x, ma.chosen_tokens(u, 0.6, x > 0), d, substitutes, MASK)
    np.testing.assert_array_equal(seen, [one_by_one(*row, 0.6) for row in zip(x, u, d, substitutes, strict=True)])


# ---------------------------------------------------------------------------------------------------------------
# dialects


def formulas(floats, others):
    x, u, words = others(ids(B, N)), floats(noise(B, N)), others(np.tile(WORDS, (B, 1)))
    maskable = words >= 0
    chosen = ma.chosen_tokens(u, 0.5, maskable)
    counts = others(np.array([[1], [4], [9]]))
    lengths = ma.ngram_lengths(u)
    return [
        chosen,
        ma.chosen_exactly(u, counts, maskable),
        ma.chosen_words(floats(noise(B, 7)), 0.5, words),
        ma.chosen_words(floats(noise(B, 7)), 0.5, words[0, :]),
        lengths,
        ma.chosen_spans(u, 0.2, lengths),
        ma.masked_ids(x, chosen, u, x + V, MASK),
        ma.masked_mean(u, chosen),
        ma.permutation_mask(x),
    ]


@pytest.mark.parametrize("dialect", [pytest.param("torch", marks=pytest.mark.torch), "array_api_strict"])
def test_all_dialects_agree(dialect):
    xp = pytest.importorskip(dialect)
    dialects.assert_same(formulas(np.asarray, np.asarray), formulas(xp.asarray, xp.asarray), xp, rtol=1e-14)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_ids_keep_their_type(kind):
    x, u = ids(B, N).astype(kind), noise(B, N).astype(np.float32)
    assert ma.masked_ids(x, u < 0.5, u, x, MASK).dtype == kind
    assert ma.masked_mean(u, u < 0.5).dtype == np.float32


# ---------------------------------------------------------------------------------------------------------------
# an independent oracle

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def collated():
    """What the collator of transformers makes of one text, many times: the text, what is seen, what is asked."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.BertTokenizer(vocab={piece: i for i, piece in enumerate([*SPECIAL, *"abcdefghijklmn"])})
    torch.manual_seed(0)
    collator = transformers.DataCollatorForLanguageModeling(tokenizer)
    text = torch.tensor([2, *range(5, 18), 3])
    batch = collator([{"input_ids": text} for _ in range(8009)])
    return text.numpy(), batch["input_ids"].numpy(), batch["labels"].numpy()


@pytest.mark.torch
def test_the_collator_of_transformers_follows_the_same_law(collated):
    """For each token the counts of: not asked, [MASK], itself, each of the others; by a chi-square of both samples."""
    text, seen, labels = collated
    rows, ours = len(seen), np.random.default_rng(0)
    maskable = np.isin(text, (2, 3), invert=True)
    chosen = ma.chosen_tokens(ours.random(seen.shape), 0.15, maskable)
    got = ma.masked_ids(text, chosen, ours.random(seen.shape), ours.integers(0, 19, seen.shape), 4)
    np.testing.assert_array_equal(labels[labels != -100], np.tile(text, (rows, 1))[labels != -100])
    assert not ((labels != -100) & ~maskable).any()
    for asked, ids_seen in ((labels != -100, seen), (chosen, got)):
        mask, same, other = ma.mask_fractions()
        want = {"asked": 0.15, "mask": mask + other / 19, "same": same + other / 19, "other": other * 17 / 19}
        cases = {
            "asked": asked,
            "mask": asked & (ids_seen == 4),
            "same": asked & (ids_seen == text),
            "other": asked & (ids_seen != 4) & (ids_seen != text),
        }
        for name, case in cases.items():
            assert abs(case[:, maskable].mean() - want[name]) < spread(want[name], rows * maskable.sum()), name
        std = asked[:, maskable].mean(-1).std()
        assert std == pytest.approx(ma.masked_share_std(0.15, int(maskable.sum())), rel=0.03)


@pytest.mark.torch
def test_the_substitutes_of_transformers_are_uniform_over_all_ids_the_special_ones_too(collated):
    text, seen, labels = collated
    swapped = (labels != -100) & (seen != text) & (seen != 4)
    counts = np.bincount(seen[swapped], minlength=19)
    # at each of the 13 places 17 ids can be told from the text and from [MASK]
    want = counts.sum() / (13 * 17) * np.array([0 if i == 4 else 12 if 5 <= i < 18 else 13 for i in range(19)])
    assert counts[4] == 0
    rest = np.arange(19) != 4
    assert ((counts - want)[rest] ** 2 / want[rest]).sum() < 50  # 17 degrees of freedom: 17 ± 6


# ---------------------------------------------------------------------------------------------------------------
# bad input

u, flags, numbers = noise(B, N), np.ones((B, N), bool), np.zeros((B, N), int)

BAD = [
    (lambda: ma.chosen_tokens(u, 15, flags), "share is a share between 0 and 1, got 15; 15 % is 0.15"),
    (lambda: ma.chosen_tokens(u, math.nan, flags), "share is a share"),
    (lambda: ma.chosen_tokens(numbers, 0.15, flags), "must hold floats"),
    (lambda: ma.chosen_tokens(u, 0.15, numbers), "maskable must be boolean, one flag for each token, got dtype int64"),
    (lambda: ma.chosen_tokens([0.5], 0.15, flags), "must be an array, got list"),
    (lambda: ma.chosen_exactly(u, -1, flags), "count is a number of tokens, at least 0; got -1"),
    (lambda: ma.chosen_exactly(u, 2, numbers), "maskable must be boolean"),
    (lambda: ma.mask_count(0), "count tokens, at least 1 each; got n = 0, most = 20"),
    (lambda: ma.mask_count(7, most=0), "n = 7, most = 0"),
    (lambda: ma.mask_count(7, -0.1), "share is a share"),
    (lambda: ma.chosen_words(u, 0.15, u), "words must hold integers, got dtype float64"),
    (lambda: ma.chosen_words(u[:, :0], 0.15, numbers), r"a number for each word, at least one; got shape \(3, 0\)"),
    (lambda: ma.ngram_probabilities(0), "longest n-gram, at least 1; got 0"),
    (lambda: ma.ngram_lengths(u, 0), "longest n-gram, at least 1; got 0"),
    (lambda: ma.chosen_spans(u, 1.5, numbers), "rate is a share between 0 and 1, got 1.5"),
    (lambda: ma.chosen_spans(u, 0.5, u), "lengths must hold integers"),
    (lambda: ma.span_share(-1, [1.0]), "rate is a share"),
    (lambda: ma.masked_ids(u, flags, u, numbers, 4), "ids must hold integers"),
    (lambda: ma.masked_ids(numbers, numbers, u, numbers, 4), "chosen must be boolean"),
    (lambda: ma.masked_ids(numbers, flags, u, u, 4), "substitutes must hold integers"),
    (lambda: ma.masked_ids(numbers, flags, u, numbers, 4, mask=1.1), "mask is a share"),
    (
        lambda: ma.masked_ids(numbers, flags, u, numbers, 4, same=0.3),
        r"mask \+ same is a share between 0 and 1, got 1.1",
    ),
    (lambda: ma.masked_mean(u, numbers), "chosen must be boolean"),
    (lambda: ma.mask_fractions(mask=0.9, same=0.2), r"mask \+ same is a share"),
    (lambda: ma.masked_share_std(2, 7), "share is a share"),
    (lambda: ma.masked_share_std(0.15, 0), "must be positive, got n = 0 and 1 lengths"),
    (lambda: ma.masked_share_std(0.15, 7, []), "n = 7 and 0 lengths"),
    (lambda: ma.none_chosen(0.15, 7, [1, 0]), "must be positive"),
    (lambda: ma.none_chosen(-0.1, 7), "share is a share"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "words"), BAD)
def test_a_bad_argument_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
