"""What the exercises on BERT promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilib import bert, decoding, masking, wordpiece
from minilib import bert_exercises as ex
from minilib.attention import unilm_mask
from minilib.bert_numpy import untrained_loss
from minilib.depth import truncated_variance

# What would give an exercise away, written as a reader would recognise it; for tests/test_exercises.py.
SECRETS = {
    "5.9": [r"best\[start\]", r"one more than for some"],
    "5.1": [r"102,267,648", r"2df \+ f \+ d", r"d \* f \+ f"],
    "5.2": [r"10\.445", r"s\^2/2\$\. For", r"sigma\*\*2 / 2"],
    "5.3": [r"c_j \\le c_i", r"flags\[j\] == 0"],
    "5.4": [r"655", r"T\(T\+1\)/2", r"T \* \(T \+ 1\)"],
    "5.5": [r"dice\[i\] < 0\.9"],
    "5.6": [r"\\sum l\^2", r"length\*\*2", r"sqrt2"],
    "5.7": [r"x @ query", r"W = K\^\\top"],
    "5.8": [r"0\.095", r"1 - beta \*\* len"],
    "5.10": [r"mass >= p"],
    "5.11": [r"0\.55", r"0\.45"],
}

LEAST_MISTAKES = 3
"""The open exercise has three requirements."""


# ---------------------------------------------------------------------------------------------------------------
# the reference solutions, against what defines them


@pytest.mark.parametrize("word", ["abcd", "abcabd", "bcca", "dab", "abab", "abcab", "acbc", "a"])
def test_the_fewest_pieces_are_no_more_than_greed_finds_and_make_up_the_word(word):
    greedy, least = wordpiece.cut_word(word, ex.PIECES), ex.fewest(word, ex.PIECES)
    assert least == ex._fewest_by_trying_all(word, ex.PIECES)
    if greedy:
        assert 1 <= least <= len(greedy)


def test_the_vocabulary_of_the_exercise_has_words_that_greed_loses_and_words_that_it_cuts_too_fine():
    assert wordpiece.cut_word("abcd", ex.PIECES) is None
    assert ex.fewest("abcd", ex.PIECES) == 2
    assert ex.fewest("dab", ex.PIECES) == 0
    assert len(wordpiece.cut_word("abcab", ex.PIECES)) > ex.fewest("abcab", ex.PIECES)


def test_the_count_is_that_of_published_networks():
    assert ex.parameters(21_128, 768, 12, 3072) == 102_267_648
    assert ex.parameters(30_522, 384, 6, 1536) == bert.BERT_SIZES["MiniLM"].total == 22_713_216


def test_the_first_loss_is_that_of_an_untrained_head():
    got = ex.first_loss(4001, 128, 0.05)
    assert untrained_loss(4001, 128, 0.05, limit=2.0) == pytest.approx(got, abs=0.01)
    assert ex.first_loss(30_522, 768, 0.02) == pytest.approx(10.445, abs=1e-3)
    assert pytest.approx(truncated_variance(), abs=1e-4) == ex.CUT


def test_the_mask_of_the_exercise_is_unilms_and_its_pairs_are_counted():
    for S, T in ((1, 3), (5, 2), (0, 7), (20, 10)):
        flags = np.repeat([0, 1], [S, T])
        np.testing.assert_array_equal(ex.unilm(flags), unilm_mask(flags))
        assert ex.pairs(S, T) == unilm_mask(flags).sum()
    assert ex.pairs(20, 10) == 655


def test_what_is_seen_is_what_the_library_shows():
    rng = np.random.default_rng(0)
    for _ in range(5):
        arguments = ex._dice(rng)
        np.testing.assert_array_equal(ex.seen(*arguments), masking.masked_ids(*arguments))


def test_the_deviation_is_that_of_texts_masked_many_times():
    lengths = np.array([1, 3, 2, 1, 4, 1])
    words = np.repeat(np.arange(6), lengths)
    noise = np.random.default_rng(0).random((100_003, 6))
    measured = masking.chosen_words(noise, 0.15, words).mean(axis=-1).std()
    assert measured == pytest.approx(ex.share_deviation(0.15, lengths), rel=0.01)


@pytest.mark.torch
def test_a_kernel_of_tensorflow_is_a_transposed_weight_of_torch():
    torch = pytest.importorskip("torch")
    x, kernels = np.random.default_rng(0).normal(size=(3, 5)), np.random.default_rng(1).normal(size=(2, 5, 5))
    layers = [torch.nn.Linear(5, 5, bias=False).double() for _ in kernels]
    with torch.no_grad():
        for layer, kernel in zip(layers, kernels, strict=True):
            layer.weight.copy_(torch.from_numpy(kernel.T))
        want = layers[1](layers[0](torch.from_numpy(x))).numpy()
    np.testing.assert_allclose(ex.from_tensorflow(x, kernels), want, rtol=1e-12)


def test_the_corrected_average_of_a_constant_is_the_constant():
    for beta, steps in ((0.9, 3), (0.9999, 1000)):
        assert ex.corrected_average(np.full(steps, 0.7), beta) == pytest.approx(0.7)
    assert ex._shadow(np.ones(1000), 0.9999) == pytest.approx(0.0952, abs=1e-4)


def test_the_nucleus_is_what_top_p_keeps():
    rng = np.random.default_rng(0)
    for _ in range(7):
        probabilities, p = ex._probabilities(rng)
        kept = ex.nucleus(probabilities, p) > 0
        np.testing.assert_array_equal(kept, np.isfinite(decoding.keep_top_p(np.log(probabilities), p)))
        assert probabilities[kept].sum() >= p > probabilities[kept].sum() - probabilities[kept].min()


def test_in_the_invented_language_greed_loses_half_and_two_beams_nothing():
    for answer in ex.LANGUAGE.right_answers:
        one, two, best = ex._found(answer)
        assert one < best / 2
        assert two == pytest.approx(best)
    assert ex._found(ex.language())[0] == pytest.approx(0.55 * 0.34)
    assert math.isclose(ex._found(ex.language())[2], 0.45)
