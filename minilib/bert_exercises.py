r"""The exercises of the chapter on BERT, from a count of parameters to a language to invent.

Each right answer stands here as a function that a reader could have written, so its names are those of the question.
"""

from __future__ import annotations

import math
from itertools import accumulate, product

import numpy as np

from . import bert
from .attention import unilm_mask
from .decoding import beam_search, greedy, keep_top_p
from .exercises import Exercise, Mistake, OpenExercise, Requirement
from .masking import masked_ids, masked_share_std
from .wordpiece import cut_word

# ---------------------------------------------------------------------------------------------------------------
# parameters


def parameters(V, d, L, f):
    embeddings = (V + 512 + 2) * d + 2 * d
    attention = 4 * (d * d + d)
    feed_forward = (d * f + f) + (f * d + d)
    norms = 2 * 2 * d
    pooler = d * d + d
    return embeddings + L * (attention + feed_forward + norms) + pooler


def _parameters_by_the_library(V, d, L, f):
    return bert.BertSizes(V, d, L, 1, f).total


def _parameters_by_shapes(V, d, L, f):
    block = [(d, d), (d,)] * 4 + [(f, d), (f,), (d, f), (d,)] + [(d,)] * 4
    once = [(V, d), (512, d), (2, d), (d,), (d,), (d, d), (d,)]
    return sum(math.prod(shape) for shape in once) + L * sum(math.prod(shape) for shape in block)


COUNT = Exercise(
    id="5.1",
    title="Count the parameters",
    question=r"""
    An encoder has $V$ pieces, 512 positions and 2 segments, the width $d$, $L$ layers and the width $f$ inside the
    feed-forward layer. Count *all* its numbers to the last one, with biases, norms and the pooler, without the heads
    of the pre-training. For yourself: put in the numbers of the Chinese BERT-base, $V = 21128$, $d = 768$, $L = 12$,
    $f = 3072$.
    """,
    inputs=lambda rng: (
        int(rng.integers(1000, 40_000)),
        int(rng.integers(64, 1024)),
        int(rng.integers(2, 24)),
        int(rng.integers(64, 4096)),
    ),
    reference=parameters,
    because=r"""$(V + 512 + 2)d + 2d$ for tables and norm, $4d^2 + 4d$ for attention, $2df + f + d$ for the feed-forward
    layer, $4d$ for two norms, $d^2 + d$ for the pooler. The Chinese BERT-base has 102,267,648 and a sixth of them, or
    sixteen million, are in the table of pieces.""",
    hints=(
        "List the arrays: three tables and a norm; six matrices, six biases and two norms a layer; a map at the end.",
        "A norm has a gain and an offset. The matrices of a layer are four of $d\\times d$ and two of $d\\times f$.",
    ),
    accepted=(_parameters_by_the_library, _parameters_by_shapes),
    mistakes=(
        Mistake(
            "no biases",
            lambda V, d, L, f: parameters(V, d, L, f) - L * (5 * d + f) - d,
            "Which numbers belong to a matrix besides its entries? Count them for all matrices.",
        ),
        Mistake(
            "no norms",
            lambda V, d, L, f: parameters(V, d, L, f) - (4 * L + 2) * d,
            "The norms are missing. How many numbers does one have, and how many norms are there?",
        ),
        Mistake(
            "no pooler", lambda V, d, L, f: parameters(V, d, L, f) - d * d - d, "The last matrix of all is missing."
        ),
        Mistake(
            "no norm of the embedding",
            lambda V, d, L, f: parameters(V, d, L, f) - 2 * d,
            "Nearly. What happens to the sum of the three rows, before the first layer?",
        ),
        Mistake(
            "no positions",
            lambda V, d, L, f: parameters(V, d, L, f) - 514 * d,
            "Only the pieces were given a table. What else is added to them?",
        ),
        Mistake(
            "three matrices",
            lambda V, d, L, f: parameters(V, d, L, f) - L * (d * d + d),
            "Queries, keys and values: and what puts the heads together again?",
        ),
        Mistake(
            "one layer", lambda V, d, L, f: parameters(V, d, 1, f), "This is ALBERT's trick: is there only one layer?"
        ),
        Mistake(
            "four times as wide",
            lambda V, d, L, f: parameters(V, d, L, 4 * d),
            "Here f is free; $12d^2 + 13d$ was for f = 4d.",
        ),
        Mistake(
            "one norm a layer",
            lambda V, d, L, f: parameters(V, d, L, f) - 2 * d * L,
            "How often is something added and normalised in a layer?",
        ),
        Mistake(
            "biases of attention alone",
            lambda V, d, L, f: parameters(V, d, L, f) - L * (d + f),
            "The maps of the feed-forward layer have biases, too.",
        ),
    ),
    tolerance=1e-9,
)

# ---------------------------------------------------------------------------------------------------------------
# the first loss


CUT = 0.7737


def first_loss(V, d, sigma):
    return math.log(V) + CUT * d * sigma**2 / 2


def _first_loss_by_an_integral(V, d, sigma):
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    return np.log(V * (weight @ np.exp(sigma * (CUT * d) ** 0.5 * z)) / weight.sum())


FIRST_LOSS = Exercise(
    id="5.2",
    title="The loss before the first step",
    question=r"""
    A masked language model starts: what leaves the last norm has mean square 1 in each of its $d$ features, the rows of
    the table are drawn from $N(0, \sigma^2)$, and what lies beyond $2\sigma$ is drawn again, which leaves 0.7737 of the
    variance. There are $V$ rows, and the bias is 0. What is the loss in nats, on average and for large $V$? For
    yourself: what is it for Google's BERT-base, $V = 30522$, $d = 768$, $\sigma = 0.02$?
    """,
    inputs=lambda rng: (int(rng.integers(1000, 60_000)), int(rng.integers(128, 1024)), float(rng.uniform(0.01, 0.05))),
    reference=first_loss,
    because=r"""A logit is a sum of $d$ products, so nearly normal with the variance $0.7737\,d\sigma^2 = s^2$ for a
    state of length $\sqrt d$, though its parts are cut. The mean of $e^z$ over $V$ of them is $e^{s^2/2}$, and the
    right word's own logit is 0 on average: $\ln V + s^2/2$. For BERT-base that is 10.326 + 0.119 = 10.445.""",
    hints=(
        "How are the logits distributed? The loss is the logarithm of a sum, less the logit of the right word.",
        r"For $z \sim N(0, s^2)$ the mean of $e^z$ is $e^{s^2/2}$. What is $s^2$, and how many terms has the sum?",
    ),
    accepted=(_first_loss_by_an_integral, lambda V, d, sigma: bert.initial_mlm_loss(V, d, CUT**0.5 * sigma)),
    mistakes=(
        Mistake(
            "uniform",
            lambda V, d, sigma: math.log(V),
            "That is the loss of equal logits. These differ a little, and a wrong confidence costs something.",
        ),
        Mistake(
            "not cut",
            lambda V, d, sigma: math.log(V) + d * sigma**2 / 2,
            "This is the loss without the cut. What is left of the variance?",
        ),
        Mistake(
            "not halved",
            lambda V, d, sigma: math.log(V) + CUT * d * sigma**2,
            "Close: look up the mean of the exponential of a normal number again.",
        ),
        Mistake(
            "width forgotten",
            lambda V, d, sigma: math.log(V) + CUT * sigma**2 / 2,
            "This is the variance of one entry of the table. A logit is a sum over the features.",
        ),
        Mistake(
            "deviation",
            lambda V, d, sigma: math.log(V) + math.sqrt(CUT * d) * sigma / 2,
            "A deviation stands where a variance belongs.",
        ),
        Mistake(
            "minus",
            lambda V, d, sigma: math.log(V) - CUT * d * sigma**2 / 2,
            "That is the *entropy* of the guesses, which is smaller. The loss of a guess at random is larger.",
        ),
        Mistake(
            "base 2",
            lambda V, d, sigma: math.log2(V) + CUT * d * sigma**2 / 2,
            "Nats, please: the natural logarithm.",
        ),
    ),
    tolerance=1e-6,
)

# ---------------------------------------------------------------------------------------------------------------
# masks


def unilm(flags):
    n = len(flags)
    mask = np.zeros((n, n), dtype=int)
    for i in range(n):
        for j in range(n):
            if flags[j] == 0 or (flags[i] == 1 and j <= i):
                mask[i, j] = 1
    return mask


def _unilm_by_sums(flags):
    c = np.cumsum(flags)
    return (c[None, :] <= c[:, None]).astype(int)


def _unilm_by_the_library(flags):
    return unilm_mask(np.asarray(flags)).astype(int)


def _flags(rng):
    return (np.repeat([0, 1], [int(rng.integers(3, 7)), int(rng.integers(3, 6))]),)


UNILM = Exercise(
    id="5.3",
    title="One mask for reading and writing",
    question=r"""
    `flags` has a 0 for each token of the source and then a 1 for each of the target. Return the mask as a matrix of 0
    and 1, a row for each token that looks: the source sees all of itself and nothing of the target, the target sees
    the source, and of itself what came before and its own place. For yourself: which flags give an encoder, and which a
    language model?
    """,
    inputs=_flags,
    reference=unilm,
    because=r"""With the running sum $c$ of the flags it is $[c_j \le c_i]$. All 0 is the encoder, all 1 the language
    model: three models differ in a row of flags.""",
    hints=(
        "Draw it for two and two tokens: which of the sixteen squares are filled?",
        "Take the running sum of the flags. Who may look at whom, in terms of that sum?",
    ),
    accepted=(_unilm_by_sums, _unilm_by_the_library),
    mistakes=(
        Mistake(
            "causal",
            lambda flags: np.tril(np.ones((len(flags), len(flags)), dtype=int)),
            "A language model: here the source may not see its own later tokens.",
        ),
        Mistake(
            "transposed", lambda flags: unilm(flags).T, "Rows look and columns are looked at. This is the other way."
        ),
        Mistake(
            "everything",
            lambda flags: np.ones((len(flags), len(flags)), dtype=int),
            "Everyone sees everyone: the target would read its own answer.",
        ),
        Mistake(
            "not itself",
            lambda flags: unilm(flags) - np.diag(flags),
            "A token of the target may look at its own place, too.",
        ),
        Mistake(
            "source of its own",
            lambda flags: (
                unilm(flags) * (np.asarray(flags)[None, :] <= np.asarray(flags)[:, None])
                - np.outer(flags, 1 - np.asarray(flags))
            ),
            "What is the source there for, if the target does not see it?",
        ),
        Mistake(
            "less and not equal",
            lambda flags: (np.cumsum(flags)[None, :] < np.cumsum(flags)[:, None]).astype(int),
            "Equal sums may look at each other, too: else the source sees nothing at all.",
        ),
        Mistake(
            "flags compared",
            lambda flags: (np.asarray(flags)[None, :] <= np.asarray(flags)[:, None]).astype(int),
            "With the flags themselves the target sees its own future. They have to be summed up first.",
        ),
    ),
)


def pairs(S, T):
    return S * S + T * S + T * (T + 1) // 2


def _pairs_by_the_mask(S, T):
    return unilm_mask(np.repeat([0, 1], [S, T])).sum()


PAIRS = Exercise(
    id="5.4",
    title="How many pairs?",
    question=r"""
    The same mask for $S$ tokens of the source and $T$ of the target: how many pairs (who looks, who is looked at) does
    it allow? For yourself: which share of all pairs is that, for $S = 20$ and $T = 10$?
    """,
    inputs=lambda rng: (int(rng.integers(3, 40)), int(rng.integers(3, 40))),
    reference=pairs,
    because=r"""$S^2$ for the source, $TS$ for the target's looks at it, and a triangle with its diagonal, $T(T+1)/2$.
    For 20 and 10 it is 655 of 900.""",
    hints=(
        "Count the looks of the source first, then those of the first, the second, the last token of the target.",
        r"Token $t$ of the target sees $S + t$ tokens, $t = 1, \dots, T$.",
    ),
    accepted=(_pairs_by_the_mask, lambda S, T: sum(S + max(t, 0) for t in range(1 - S, T + 1))),
    mistakes=(
        Mistake("all", lambda S, T: (S + T) ** 2, "This allows everything, as an encoder does."),
        Mistake("causal", lambda S, T: (S + T) * (S + T + 1) // 2, "A language model would allow these."),
        Mistake(
            "no diagonal",
            lambda S, T: S * S + T * S + T * (T - 1) // 2,
            "Does a token of the target see its own place?",
        ),
        Mistake(
            "both ways", lambda S, T: S * S + 2 * T * S + T * (T + 1) // 2, "Does the source see the target, as well?"
        ),
        Mistake("no source", lambda S, T: S * S + T * (T + 1) // 2, "Two texts that do not know of each other?"),
        Mistake("full target", lambda S, T: S * S + T * S + T * T, "The target sees its own future here."),
        Mistake(
            "half a square",
            lambda S, T: S * S + T * S + T * T / 2,
            "A triangle is half a square, and half of the diagonal more.",
        ),
        Mistake("share", lambda S, T: pairs(S, T) / (S + T) ** 2, "This is the share. The number was asked for."),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# gaps


def seen(ids, chosen, dice, substitutes, mask_id):
    found = []
    for i, token in enumerate(ids):
        if not chosen[i] or 0.8 <= dice[i] < 0.9:
            found.append(token)
        else:
            found.append(mask_id if dice[i] < 0.8 else substitutes[i])
    return np.array(found)


def _seen_by_choice(ids, chosen, dice, substitutes, mask_id):
    shown = np.select([dice < 0.8, dice < 0.9], [np.full_like(ids, mask_id), ids], substitutes)
    return np.where(chosen, shown, ids)


def _seen_by_the_library(ids, chosen, dice, substitutes, mask_id):
    return masked_ids(ids, chosen, dice, substitutes, mask_id)


def _dice(rng):
    ids, substitutes = rng.integers(5, 1000, size=(2, 61))
    return ids, rng.random(61) < 0.4, rng.random(61), substitutes, 4


SEEN = Exercise(
    id="5.5",
    title="Three ways to hide a token",
    question=r"""
    What does the network see? Of the tokens that are `chosen` (a row of booleans) it gets `mask_id` where the `dice`,
    uniform in $[0, 1)$, are below 0.8, the token itself where they are below 0.9, and that of `substitutes` where
    they are not. The others it sees as they are. Return the row of ids.
    """,
    inputs=_dice,
    reference=seen,
    because=r"""Eight in ten of the chosen become [MASK], one stays, one is replaced: 12, 1.5 and 1.5 % of all tokens at
    15 %. The loss counts all three kinds, also the token that stayed.""",
    hints=(
        "Three cases for a chosen token, one for the others.",
        "Start from the case of the largest dice, and let the smaller ones overwrite it; look at `chosen` last.",
    ),
    accepted=(_seen_by_choice, _seen_by_the_library),
    mistakes=(
        Mistake(
            "always masked",
            lambda ids, chosen, dice, substitutes, mask_id: np.where(chosen, mask_id, ids),
            "Every chosen token became [MASK]. BERT does that in most cases, not in all.",
        ),
        Mistake(
            "all tokens",
            lambda ids, chosen, dice, substitutes, mask_id: _seen_by_choice(
                ids, np.ones_like(chosen), dice, substitutes, mask_id
            ),
            "The tokens that were not chosen have to be left alone.",
        ),
        Mistake(
            "order",
            lambda ids, chosen, dice, substitutes, mask_id: _seen_by_choice(
                ids, chosen, np.where(dice < 0.8, dice, 1.7 - dice), substitutes, mask_id
            ),
            "The two rare cases have changed places.",
        ),
        Mistake(
            "never the same",
            lambda ids, chosen, dice, substitutes, mask_id: np.where(
                chosen, np.where(dice < 0.8, mask_id, substitutes), ids
            ),
            "There is a third case, in which a chosen token is shown as it is.",
        ),
        Mistake(
            "last cases swapped",
            lambda ids, chosen, dice, substitutes, mask_id: np.where(
                chosen, np.where(dice < 0.8, mask_id, np.where(dice < 0.9, substitutes, ids)), ids
            ),
            "The last two cases have changed places.",
        ),
        Mistake(
            "the others",
            lambda ids, chosen, dice, substitutes, mask_id: masked_ids(
                ids, ~np.asarray(chosen, bool), dice, substitutes, mask_id
            ),
            "Those were changed that were *not* chosen.",
        ),
        Mistake(
            "eighty percent of all",
            lambda ids, chosen, dice, substitutes, mask_id: np.where(dice < 0.8, mask_id, ids),
            "Who was chosen? The dice alone decide here.",
        ),
    ),
)


def share_deviation(share, lengths):
    variance = sum(share * (1 - share) * length**2 for length in lengths)
    return math.sqrt(variance) / sum(lengths)


def _share_deviation_by_the_library(share, lengths):
    return masked_share_std(share, int(np.sum(lengths)), lengths.astype(float))


def _share_deviation_by_enumeration(share, lengths):
    sums, chances = np.zeros(1), np.ones(1)
    for length in lengths:
        sums = np.concatenate([sums, sums + length])
        chances = np.concatenate([chances * (1 - share), chances * share])
    mean = chances @ sums
    return np.sqrt(chances @ (sums - mean) ** 2) / np.sum(lengths)


WHOLE_WORDS = Exercise(
    id="5.6",
    title="Whole words scatter more",
    question=r"""
    A text consists of words of `lengths` tokens. Each *word* is masked as a whole with the probability $p$ = `share`,
    independently. What is the standard deviation of the share of its *tokens* that is masked? For yourself: what
    happens to it if all words are twice as long and there are half as many?
    """,
    inputs=lambda rng: (float(rng.uniform(0.05, 0.4)), rng.integers(1, 5, size=9)),
    reference=share_deviation,
    because=r"""A word of $l$ tokens adds $l$ with probability $p$, variance $p(1-p)l^2$. Words are independent, so the
    variances add: $\sqrt{p(1-p)\sum l^2}/\sum l$. Twice the length and half the number make it $\sqrt2$ as wide.""",
    hints=(
        "What is the variance of the number of masked tokens that *one* word contributes?",
        r"A number that is $l$ with probability $p$ and else 0 has the variance $p(1-p)l^2$. Add them up.",
    ),
    accepted=(_share_deviation_by_the_library, _share_deviation_by_enumeration),
    mistakes=(
        Mistake(
            "single tokens",
            lambda share, lengths: math.sqrt(share * (1 - share) / sum(lengths)),
            "This is the deviation if each token is chosen by itself. Tokens of a word go together.",
        ),
        Mistake(
            "share of words",
            lambda share, lengths: math.sqrt(share * (1 - share) / len(lengths)),
            "This is the share of *words*. A long word weighs more.",
        ),
        Mistake(
            "variance",
            lambda share, lengths: share_deviation(share, lengths) ** 2,
            "This is the variance. And its root?",
        ),
        Mistake(
            "number",
            lambda share, lengths: share_deviation(share, lengths) * sum(lengths),
            "This is the deviation of the *number* of tokens. The share was asked for.",
        ),
        Mistake(
            "outside the root",
            lambda share, lengths: (
                math.sqrt(share * (1 - share) / sum(lengths)) * np.mean(lengths**2) / np.mean(lengths)
            ),
            "The factor by which whole words scatter more belongs to the variance, so under the root.",
        ),
        Mistake(
            "deviations added",
            lambda share, lengths: math.sqrt(share * (1 - share)),
            "The deviations were added up. It is the variances that add, for independent words.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# weights and training


def from_tensorflow(x, kernels):
    query, output = kernels  # (in, out) each, as TensorFlow stores them
    return (x @ query) @ output


def _from_tensorflow_as_torch(x, kernels):
    W_q, W_o = (kernel.T for kernel in kernels)
    return (W_o @ (W_q @ x.T)).T


LOAD = Exercise(
    id="5.7",
    title="A kernel is not a weight",
    question=r"""
    A TensorFlow checkpoint holds two `kernels` of the shape (in, out); PyTorch stores `weight` as (out, in) and
    computes $xW^\top$. Apply the two layers one after the other to the rows of `x`, without biases. All are square, so
    that nothing stops you from loading them the wrong way round.
    """,
    inputs=lambda rng: (rng.normal(size=(3, 5)), rng.normal(size=(2, 5, 5))),
    reference=from_tensorflow,
    because=r"""$x$ times kernel; or transpose each kernel, $W = K^\top$, and let PyTorch undo it. Square matrices hide
    the mistake: shapes fit, and the outputs are noise. A check of the loaded network on a real text finds it.""",
    hints=(
        "Write down the shapes: what must the last axis of x meet?",
        "In PyTorch the weight is the transposed kernel, and the layer transposes it again.",
    ),
    accepted=(_from_tensorflow_as_torch, lambda x, kernels: np.einsum("ni,io,op->np", x, *kernels)),
    mistakes=(
        Mistake(
            "not transposed",
            lambda x, kernels: x @ kernels[0].T @ kernels[1].T,
            "The kernels were taken for weights. Both layers are the wrong way round.",
        ),
        Mistake(
            "first transposed",
            lambda x, kernels: x @ kernels[0].T @ kernels[1],
            "The first of the two layers is the wrong way round.",
        ),
        Mistake(
            "second transposed",
            lambda x, kernels: x @ kernels[0] @ kernels[1].T,
            "The second of the two layers is the wrong way round.",
        ),
        Mistake("order", lambda x, kernels: x @ kernels[1] @ kernels[0], "The layers are applied in the wrong order."),
        Mistake("one layer", lambda x, kernels: x @ kernels[0], "Only the first layer was applied."),
    ),
)


def corrected_average(values, beta):
    shadow = 0.0
    for value in values:
        shadow = beta * shadow + (1 - beta) * value
    return shadow / (1 - beta ** len(values))


def _corrected_average_by_weights(values, beta):
    weights = beta ** np.arange(len(values))[::-1]
    return weights @ values / weights.sum()


def _corrected_average_as_it_goes(values, beta):
    *_, last = accumulate(
        enumerate(values, 1),
        lambda mean, pair: mean + (1 - beta) / (1 - beta ** pair[0]) * (pair[1] - mean),
        initial=0.0,
    )
    return last


def _shadow(values, beta, start=0.0):
    for value in values:
        start = beta * start + (1 - beta) * value
    return start


AVERAGE = Exercise(
    id="5.8",
    title="An average that starts at zero",
    question=r"""
    A running average of a weight is kept as $m_t = \beta m_{t-1} + (1-\beta)\,\theta_t$ with $m_0 = 0$. Return the
    average after all of `values` $\theta_1, \dots, \theta_T$, corrected so that constant weights have themselves as
    their average.
    """,
    inputs=lambda rng: (rng.normal(2.0, 1.0, size=int(rng.integers(3, 12))), float(rng.uniform(0.8, 0.999))),
    reference=corrected_average,
    because=r"""The weights of the values sum to $1-\beta^T$, so divide by that. With $\beta = 0.9999$ and 1000 steps
    the raw average of a constant is 0.095 of it: uncorrected, the network would be a tenth of itself.""",
    hints=(
        r"Let all values be 1. What is $m_T$?",
        r"$m_T$ of ones is $1 - \beta^T$. Which factor repairs it?",
    ),
    accepted=(_corrected_average_by_weights, _corrected_average_as_it_goes),
    mistakes=(
        Mistake("not corrected", _shadow, "Without the correction: a constant weight would come out too small."),
        Mistake(
            "one step late",
            lambda values, beta: _shadow(values, beta) / (1 - beta ** (len(values) - 1)),
            "Off by one: how many values have gone in?",
        ),
        Mistake(
            "one step early",
            lambda values, beta: _shadow(values, beta) / (1 - beta ** (len(values) + 1)),
            "Off by one: how many values have gone in?",
        ),
        Mistake(
            "one step of the past",
            lambda values, beta: _shadow(values, beta) / (1 - beta),
            "This would be right after a single value.",
        ),
        Mistake(
            "first value",
            lambda values, beta: _shadow(values[1:], beta, values[0]),
            "This starts from the first value, which then weighs far more than the others.",
        ),
        Mistake(
            "plain mean", lambda values, beta: np.mean(values), r"All values weigh the same here. What does $\beta$ do?"
        ),
        Mistake(
            "multiplied",
            lambda values, beta: _shadow(values, beta) * (1 - beta ** len(values)),
            "The correction goes the wrong way.",
        ),
        Mistake(
            "swapped",
            lambda values, beta: _shadow(values, 1 - beta) / (1 - (1 - beta) ** len(values)),
            r"$\beta$ belongs to the old average, $1 - \beta$ to the new value.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# pieces


def fewest(word, pieces):
    best = {0: 0}  # how many pieces reach so far, at least
    for end in range(1, len(word) + 1):
        options = [
            best[start] + 1
            for start in range(end)
            if start in best and ("##" if start else "") + word[start:end] in pieces
        ]
        if options:
            best[end] = min(options)
    return best.get(len(word), 0)


def _fewest_by_recursion(word, pieces, mark=""):
    found = []
    for size in range(1, len(word) + 1):
        if mark + word[:size] in pieces:
            rest = _fewest_by_recursion(word[size:], pieces, "##")
            found += [1 + rest] if rest or size == len(word) else []
    return min(found, default=0)


def _fewest_by_trying_all(word, pieces):
    found = []
    for cuts in product((False, True), repeat=len(word) - 1):
        text = word[0] + "".join(" ##" * cut + letter for cut, letter in zip(cuts, word[1:], strict=True))
        found += [sum(cuts) + 1] if pieces.issuperset(text.split()) else []
    return min(found) if found else 0


def _most(word, pieces):
    best = {0: 0}
    for end, start in product(range(1, len(word) + 1), range(len(word))):
        if start < end and start in best and ("##" if start else "") + word[start:end] in pieces:
            best[end] = max(best.get(end, 0), best[start] + 1)
    return best.get(len(word), 0)


def _first_way(word, pieces, mark=""):
    """The first way that is found if the longest piece is tried first, and taken back where it leads nowhere."""
    for size in range(len(word), 0, -1):
        if mark + word[:size] in pieces:
            rest = _first_way(word[size:], pieces, "##") if size < len(word) else 0
            if rest or size == len(word):
                return 1 + rest
    return 0


def _reached(word, pieces):
    """How many pieces greed has found where it got stuck, or at the end."""
    found, start = 0, 0
    while start < len(word):
        ends = range(len(word), start, -1)
        end = next((e for e in ends if ("##" if start else "") + word[start:e] in pieces), None)
        if end is None:
            break
        found, start = found + 1, end
    return found


PIECES = frozenset({"a", "b", "c", "ab", "abc", "bc", "##a", "##b", "##cd", "##ca", "##abd", "##cab"})
"""A vocabulary in which greed fails now and then: there is no ##d, so "abcd" cannot begin with abc."""


def _word(rng):
    fixed = ("abcd", "abcabd", "bcca", "dab", "abab", "abcab", "acbc")
    if rng.random() < 0.7:
        return fixed[rng.integers(len(fixed))], PIECES
    return "".join(rng.choice(list("abcd"), size=int(rng.integers(3, 7)))), PIECES


FEWEST = Exercise(
    id="5.9",
    title="Better than greed",
    question=r"""
    What would a tokenizer do that is not greedy? Return the *smallest number* of `pieces` (a set of strings) that make
    up `word`, and 0 if there is no way at all. What is not the start of the word is looked for with `##` in front.
    """,
    inputs=_word,
    reference=fewest,
    because=r"""Keep for each end the smallest number of pieces that reach it: it is one more than for some earlier end.
    That is n²/2 look-ups for n letters. With ab, abc and ##cd it cuts "abcd" in two, where the greedy way finds
    nothing; it also needs fewer pieces now and then where greed does find a way.""",
    hints=(
        "Solve it for the first letters of the word first. How does a longer beginning follow from shorter ones?",
        "To reach a place, the last piece must start at an earlier place that can be reached. Try all of them.",
    ),
    accepted=(_fewest_by_recursion, _fewest_by_trying_all),
    mistakes=(
        Mistake(
            "greedy",
            lambda word, pieces: len(cut_word(word, pieces) or ()),
            "This is what the tokenizer does: it never takes a piece back, and so it misses a way now and then.",
        ),
        Mistake(
            "marks forgotten",
            lambda word, pieces: fewest(word, pieces | {f"##{piece}" for piece in pieces}),
            "A piece without its mark was taken inside the word.",
        ),
        Mistake("most", _most, "This is the largest number of pieces."),
        Mistake(
            "first way", _first_way, "This finds *a* way, taking pieces back where greed is stuck. Is it the shortest?"
        ),
        Mistake(
            "never marked",
            lambda word, pieces: fewest(word, {mark + p for p in pieces if p[0] != "#" for mark in ("", "##")}),
            "What is not the start of the word is looked for with ## in front.",
        ),
        Mistake("minus one", lambda word, pieces: fewest(word, pieces) or -1, "No way at all is 0."),
        Mistake("stuck", _reached, "These are the pieces up to the point where it got stuck, or the end."),
        Mistake("letters", lambda word, pieces: len(word), "Every letter by itself? Longer pieces save some."),
    ),
    points=48,
)

# ---------------------------------------------------------------------------------------------------------------
# writing


def nucleus(probabilities, p):
    kept, mass = np.zeros_like(probabilities), 0.0
    for token in np.argsort(-probabilities):
        if mass >= p:
            break
        kept[token] = probabilities[token]
        mass += probabilities[token]
    return kept / kept.sum()


def _nucleus_by_the_library(probabilities, p):
    kept = np.exp(keep_top_p(np.log(probabilities), p))
    return kept / kept.sum()


def _nucleus_by_sorting(probabilities, p):
    ordered = np.sort(probabilities)[::-1]
    least = ordered[np.searchsorted(np.cumsum(ordered), p)]
    kept = np.where(probabilities >= least, probabilities, 0)
    return kept / kept.sum()


def _nucleus_below(probabilities, p):
    order = np.argsort(-probabilities)
    kept = np.zeros_like(probabilities)
    inside = order[np.cumsum(probabilities[order]) <= p]
    inside = inside if len(inside) else order[:1]
    kept[inside] = probabilities[inside]
    return kept / kept.sum()


def _probabilities(rng):
    probabilities = rng.dirichlet(np.full(7, 2.0))
    low = float(np.sort(probabilities)[-2:].sum())
    return probabilities, float(rng.uniform(low + 0.01, 0.97))


NUCLEUS = Exercise(
    id="5.10",
    title="The nucleus of a distribution",
    question=r"""
    Top-p sampling keeps the most probable tokens, as few as possible, whose probabilities together come to at least
    $p$; the others get 0, and what is kept is scaled to sum to 1. Return the new distribution, tokens in their places.
    """,
    inputs=_probabilities,
    reference=nucleus,
    because=r"""Go down the sorted probabilities until the mass *reaches* $p$; the token that reaches it is kept, so
    that at least one always is.""",
    hints=(
        "Sort, add up, and find the first place where the sum is large enough.",
        "A token is kept if the mass *before* it is still below p.",
    ),
    accepted=(_nucleus_by_the_library, _nucleus_by_sorting),
    mistakes=(
        Mistake("one too few", _nucleus_below, "The token that carries the mass over $p$ is missing."),
        Mistake(
            "not scaled",
            lambda probabilities, p: nucleus(probabilities, p) * probabilities[nucleus(probabilities, p) > 0].sum(),
            "What is kept no longer sums to 1.",
        ),
        Mistake(
            "threshold",
            lambda probabilities, p: (
                np.where(probabilities >= probabilities.max() * (1 - p), probabilities, 0)
                / probabilities[probabilities >= probabilities.max() * (1 - p)].sum()
            ),
            "This compares single probabilities with a bound. It is their sum that counts.",
        ),
        Mistake(
            "each above the rest",
            lambda probabilities, p: (
                np.where(probabilities >= min(1 - p, probabilities.max()), probabilities, 0)
                / probabilities[probabilities >= min(1 - p, probabilities.max())].sum()
            ),
            "This compares single probabilities with $1 - p$. It is their sum that counts.",
        ),
        Mistake(
            "sorted",
            lambda probabilities, p: np.sort(nucleus(probabilities, p))[::-1],
            "The tokens have lost their places by the sorting.",
        ),
        Mistake("all", lambda probabilities, p: probabilities, "Nothing was left out."),
        Mistake(
            "best only",
            lambda probabilities, p: (probabilities == probabilities.max()).astype(float),
            "This is greedy: only the best token is kept.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# a language to invent


def language():
    return np.array([[0.55, 0.45, 0.0], [0.34, 0.33, 0.33], [1.0, 0.0, 0.0]])


def _step(p):
    def step(rows):
        with np.errstate(divide="ignore"):
            return np.log(np.stack([p[0] if len(row) == 1 else p[min(1 + row[-1], 2)] for row in rows]))

    return step


def _found(p):
    """The probability of the sequence that greed finds, of the one that two beams find, and of the best of all."""
    best = max(p[0, a] * p[min(1 + a, 2), b] for a in range(3) for b in range(3))
    one = greedy(_step(p), [0], -1, 2).log_probability
    two = beam_search(_step(p), [0], -1, 2, 2)[0].log_probability
    return math.exp(one), math.exp(two), best


def _is_distribution(p):
    return bool((p >= 0).all() and np.allclose(p.sum(axis=1), 1, atol=1e-6))


LANGUAGE = OpenExercise(
    id="5.11",
    title="A language that punishes greed",
    question=r"""
    Invent a language of two-word sentences over three words. An array of shape (3, 3): row 0 holds the probabilities of
    the first word, row 1 those of the second word after word 0, row 2 those of the second word after word 1 or 2. It
    shall be such that taking the most probable word each time finds a sentence that is less than *half* as probable
    as the best one, while a beam of two finds the best. For yourself: how many beams does a language of longer
    sentences need to be safe?
    """,
    reference=language,
    because=r"""Word 0 is the best start, but what follows it is uncertain; word 1 is a little less probable and
    determines the rest: 0.55 · 0.34 = 0.19 against 0.45 · 1. No fixed number of beams is safe: the uncertainty may come
    later.""",
    hints=(
        "Greed takes word 0 if it is a little more probable. What must follow word 0 so that this was a mistake?",
        "Let word 0 be a little more probable than word 1, but let three words follow it with nearly equal chances.",
    ),
    accepted=(
        lambda: np.stack([np.array([0.52, 0, 0.48]), np.ones(3) / 3, np.eye(3)[2]]),
        lambda: np.array([[0.51, 0.49, 0.0], [0.35, 0.35, 0.3], [0.0, 0.96, 0.04]]),
    ),
    mistakes=(
        Requirement(
            "distribution",
            [[0.5, 0.4, 0.3], [0.4, 0.3, 0.3], [1.0, 0.0, 0.0]],
            "Each row holds probabilities: none negative, and together 1.",
            holds=_is_distribution,
        ),
        Requirement(
            "greed finds it",
            [[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [1.0, 0.0, 0.0]],
            "Greed finds the best sentence here, or one more than half as probable.",
            holds=lambda p: _found(p)[0] < 0.5 * _found(p)[2],
        ),
        Requirement(
            "two beams miss it",
            [[0.32, 0.34, 0.34], [1.0, 0.0, 0.0], [0.34, 0.33, 0.33]],
            "Two beams do not find the best sentence.",
            holds=lambda p: math.isclose(_found(p)[1], _found(p)[2], rel_tol=1e-9),
        ),
    ),
)

EXERCISES = (
    COUNT,
    FIRST_LOSS,
    UNILM,
    PAIRS,
    SEEN,
    WHOLE_WORDS,
    LOAD,
    AVERAGE,
    FEWEST,
    NUCLEUS,
    LANGUAGE,
)
"""All exercises of the chapter, easy to open-ended."""
