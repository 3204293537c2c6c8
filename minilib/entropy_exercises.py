r"""The exercises of the chapter on the entropy of attention, from a logarithm to scores to invent.

Each right answer stands here as a function that a reader could have written, so its names are those of the question.
"""

from __future__ import annotations

import math

import numpy as np

from . import entropy as en
from .attention import attention, causal_mask, masked_softmax, padding_mask
from .exercises import Exercise, Mistake, OpenExercise, Requirement

N, M, D, D_V = 3, 5, 7, 2
"""Queries, keys, features and features of a value: different, so that no two axes can be mistaken."""

# ---------------------------------------------------------------------------------------------------------------
# laws


def length_factor():
    return math.log(2048, 512)


def _length_factor_in_doublings():
    doublings = 0
    while 2**doublings < 2048:
        doublings += 1
    return doublings / 9  # 512 is the ninth power of 2


LENGTH_FACTOR = Exercise(
    id="2.1",
    title="How much sharper at 2048?",
    question=r"""
    The law $\lambda = \log_{512} n/\sqrt d$ equals the standard scale $1/\sqrt d$ at $n = 512$. By which factor does
    it multiply the standard scores at $n = 2048$? No calculator is needed.
    """,
    reference=length_factor,
    because=r"$512 = 2^9$ and $2048 = 2^{11}$, so $\log_{512} 2048 = \tfrac{11}{9}$.",
    hints=("Write both lengths as powers of 2.", r"$\log_b n = \ln n/\ln b$, and the logarithm to any base will do."),
    accepted=(_length_factor_in_doublings, lambda: 1 + np.log(4) / np.log(512), lambda: np.log2(2048) / np.log2(512)),
    mistakes=(
        Mistake("ratio of lengths", 4, "The text is that many times longer. The law takes a logarithm."),
        Mistake("log of the ratio", math.log(4), "The logarithm of a ratio is not the ratio of two logarithms."),
        Mistake(
            "the root law",
            math.sqrt(1 + 2 * math.log(4)),
            "This is the law of the root, which is sharper. Here the factor is a logarithm of $n$.",
        ),
        Mistake("natural log", math.log(2048), "This is the natural logarithm. Where is the factor 1?"),
        Mistake("inverted", 9 / 11, "Below 1 the scores would be flatter than at 512. Which length is the base?"),
        Mistake("added", 2, "Two doublings, yes. But each adds only its share of all the doublings that make 512."),
    ),
    tolerance=2e-3,
)


def kappa(d, m):
    return math.sqrt(d) / math.log(m)


def _kappa_from_the_scale(d, m):
    wanted = en.standard_scale(m, d)
    return d * wanted / np.log(m)


def _kappa_by_bisection(d, m):
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * math.log(m) / d < d**-0.5 else (low, middle)
    return low


KAPPA = Exercise(
    id="2.2",
    title="Calibrate the law",
    question=r"""
    The derivation from the uniform sphere ends with $\lambda = \kappa\,\frac{\ln n}{d}$, with a constant $\kappa$ that
    it leaves open. Which $\kappa$ makes $\lambda$ the standard scale $1/\sqrt d$ at the length $n = m$? Then think:
    $\kappa$ was said to be a constant. On what does it depend now?
    """,
    inputs=lambda rng: (int(rng.integers(4, 512)), int(rng.integers(16, 8192))),
    reference=kappa,
    because=r"""$\kappa\ln m/d = 1/\sqrt d$ gives $\kappa = \sqrt d/\ln m$, e.g. 1.2824 for $d = 64$, $m = 512$. So
    $\kappa$ depends on $d$: the derivation wanted $1/d$, and the calibration puts $1/\sqrt d$ back in its place.""",
    hints=(
        "Set the two scales equal at the one length where they shall agree.",
        r"$\kappa\,\frac{\ln m}{d} = \frac{1}{\sqrt d}$: solve for $\kappa$, and mind what $d/\sqrt d$ is.",
    ),
    accepted=(_kappa_from_the_scale, _kappa_by_bisection),
    mistakes=(
        Mistake("d kept", lambda d, m: d / math.log(m), "This makes the scale 1 at the length $m$."),
        Mistake(
            "d lost",
            lambda d, m: 1 / math.log(m),
            r"This fits the form $\kappa\ln n/\sqrt d$. The question has $d$ below the line, not its root.",
        ),
        Mistake(
            "root on the wrong side",
            lambda d, m: 1 / (math.sqrt(d) * math.log(m)),
            "The $d$ below the line was divided by where it had to be multiplied with.",
        ),
        Mistake("log not divided by", lambda d, m: math.sqrt(d), r"The law holds at $m$. What is $\ln n$ there?"),
        Mistake(
            "log multiplied",
            lambda d, m: math.sqrt(d) * math.log(m),
            "At the length $m$ this is far too sharp: the logarithm is in the law already, and comes in twice.",
        ),
        Mistake("log to base 2", lambda d, m: math.sqrt(d) / math.log2(m), "The question has a natural logarithm."),
        Mistake("log to base 10", lambda d, m: math.sqrt(d) / math.log10(m), "This is the logarithm to base 10."),
        Mistake(
            "of zero entropy",
            lambda d, m: 1 / 0.24,
            "This one makes the entropy of the linear law zero. Here the scale is to be the standard one at $m$.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# attention and its entropy


def _attention_inputs(rng):
    return rng.normal(size=(N, D)), rng.normal(size=(M, D)), rng.normal(size=(M, D_V))


def attend(q, k, v):
    scores = q @ k.T / math.sqrt(q.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True) @ v


def _attend_query_by_query(q, k, v):
    rows = []
    for query in q:
        e = [math.exp(sum(query * key) / len(query) ** 0.5) for key in k]
        rows.append(sum(w * value for w, value in zip(e, v, strict=True)) / sum(e))
    return np.array(rows)


def _softmax(s, axis=-1):
    e = np.exp(s - s.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


ATTEND = Exercise(
    id="2.3",
    title="Attention in three lines",
    question=r"""
    Write scaled dot-product attention without a mask: `q` holds a query on each row, `k` and `v` a key and a value on
    each row. Return the output, one row for each query.
    """,
    inputs=_attention_inputs,
    reference=attend,
    because=r"""Row $i$ of the scores is $q_i\cdot k_j/\sqrt d$ over the keys $j$; softmax along the keys makes it a
    distribution, whose mean of the values is the output.""",
    hints=(
        "First a matrix of scores, one row for each query. Which sum in each row has to be 1?",
        r"Scores $q k^\top$ over the root of the number of features, softmax over the keys (the last axis), times $v$.",
    ),
    accepted=(_attend_query_by_query, lambda q, k, v: attention(q, k, v)),
    mistakes=(
        Mistake(
            "softmax over the queries",
            lambda q, k, v: _softmax(q @ k.T / math.sqrt(D), axis=0) @ v,
            "The columns of your weights sum to 1. Each *query* has a whole to share out.",
        ),
        Mistake("no scale", lambda q, k, v: _softmax(q @ k.T) @ v, "The softmax is right, its scores are too large."),
        Mistake(
            "divided by d",
            lambda q, k, v: _softmax(q @ k.T / D) @ v,
            "The *variance* of a score grows like the number of features. By what must a score be divided then?",
        ),
        Mistake(
            "root of the number of keys",
            lambda q, k, v: _softmax(q @ k.T / math.sqrt(M)) @ v,
            "The root is of the number of keys here. Of which sum does a score consist?",
        ),
        Mistake(
            "scaled after the softmax",
            lambda q, k, v: _softmax(q @ k.T) / math.sqrt(D) @ v,
            "The weights of a query no longer sum to 1. The scale belongs to the scores.",
        ),
        Mistake("no softmax", lambda q, k, v: q @ k.T / math.sqrt(D) @ v, "These are scores, not yet weights."),
        Mistake(
            "exponentials not shared out",
            lambda q, k, v: np.exp(q @ k.T / math.sqrt(D)) @ v,
            "The exponentials have not been divided by their sum.",
        ),
        Mistake(
            "weights returned",
            lambda q, k, v: _softmax(q @ k.T / math.sqrt(D)),
            "These are the weights. The output is a mean of the values.",
        ),
    ),
)


def _wild_scores(rng):
    scores = rng.normal(scale=2.0, size=(M, D)) + 1000.0
    scores[rng.uniform(size=(M, D)) < 0.15] = -3000.0
    scores[:, rng.integers(D)] = 1000.0
    return (scores,)


def row_entropies(scores):
    s = scores - scores.max(axis=1, keepdims=True)
    e = np.exp(s)
    return np.log(e.sum(axis=1)) - (e * s).sum(axis=1) / e.sum(axis=1)


def _row_entropies_of_what_is_not_zero(scores):
    found = []
    for p in _softmax(scores):
        p = p[p > 0]
        found.append(-np.sum(p * np.log(p)))
    return found


ROW_ENTROPIES = Exercise(
    id="2.4",
    title="The entropy of a row, safely",
    question=r"""
    `scores` has a query on each row and a key on each column. Return the entropy $-\sum_j a_j\ln a_j$ of the softmax
    $a$ of each row. Beware: the scores lie near 1000, and some at $-3000$, so that their weight is exactly 0 in
    floating point; $0\ln 0$ counts as 0.
    """,
    inputs=_wild_scores,
    reference=row_entropies,
    because=r"""With $s$ shifted by its maximum and $z = \sum_j e^{s_j}$, $\ln a_j = s_j - \ln z$, so the entropy is
    $\ln z - \sum_j e^{s_j}s_j/z$: no logarithm of a weight, and so none of 0. Leaving out the zeros does as well.""",
    hints=(
        "What does `np.exp(1000.0)` give? And what may be subtracted from a row without changing its softmax?",
        r"$\ln a_j$ is a score less the logarithm of a sum. Put that into the entropy, and no weight is ever under a "
        "logarithm. Or leave out the keys of weight 0.",
    ),
    accepted=(_row_entropies_of_what_is_not_zero, lambda scores: en.attention_entropy(scores)),
    mistakes=(
        Mistake(
            "rows with a zero lost",
            lambda scores: [-np.nan_to_num((p * np.log(p)).sum()) for p in _softmax(scores)],
            "Rows whose weights are all above 0 are right, the others came out as 0: the logarithm of 0 made them NaN.",
        ),
        Mistake(
            "log of a zero weight",
            lambda scores: [-(p * np.log(p)).sum() for p in _softmax(scores)],
            r"Rows in which a weight is 0 come out as NaN: $0\ln 0$ has to count as 0.",
        ),
        Mistake(
            "exponential of a thousand",
            lambda scores: [-(p * np.log(p)).sum() for p in np.exp(scores) / np.exp(scores).sum(1, keepdims=True)],
            "`np.exp(1000.0)` is infinite. What may be subtracted from a row without changing its softmax?",
        ),
        Mistake(
            "bits",
            lambda scores: row_entropies(scores) / math.log(2),
            "These are bits. The unit here is the nat.",
        ),
        Mistake("sign", lambda scores: -row_entropies(scores), "An entropy is not negative."),
        Mistake(
            "mean instead of sum",
            lambda scores: row_entropies(scores) / D,
            "This is a mean over the keys. The weights are in the sum already.",
        ),
        Mistake(
            "over the queries",
            lambda scores: en.attention_entropy(scores.T.copy()),
            "One number for each *key*: the softmax runs over the queries here.",
        ),
        Mistake(
            "in units of the largest",
            lambda scores: row_entropies(scores) / math.log(D),
            "This is the share of the largest possible entropy. The question asks for nats.",
        ),
        Mistake(
            "keys in effect",
            lambda scores: np.exp(row_entropies(scores)),
            "So many keys are looked at in effect. One step too far: the question is the entropy itself.",
        ),
        Mistake(
            "log of the sum only",
            lambda scores: np.log(np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)),
            "This is the logarithm of the softmax's denominator. What is still to be subtracted?",
        ),
        Mistake(
            "uniform",
            lambda scores: np.full(len(scores), math.log(scores.shape[1])),
            "This is the entropy if all keys are looked at alike: the ceiling, not the value.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# which n?


def _ragged_inputs(rng):
    return 3 * rng.normal(size=(2, D, D)), rng.integers(2, D - 1, size=2), float(rng.choice([16, 64, 512]))


def visible_weights(scores, lengths, base):
    j = np.arange(scores.shape[-1])
    mask = (j[None, :] <= j[:, None]) & (j < lengths[:, None, None])
    n = mask.sum(axis=-1, keepdims=True)
    e = np.where(mask, np.exp(scores * np.log(n) / np.log(base)), 0)
    return e / e.sum(axis=-1, keepdims=True)


def _visible_weights_row_by_row(scores, lengths, base):
    a = np.zeros_like(scores)
    for b, length in enumerate(lengths):
        for i in range(scores.shape[1]):
            n = min(i + 1, length)
            a[b, i, :n] = _softmax(scores[b, i, :n] * math.log(n, base))
    return a


def _weights_with(scores, lengths, base, n=None, causal=True, padding=True):
    """The weights with another n in the law, or with a mask left out."""
    mask = np.ones(scores.shape, dtype=bool)
    if causal:
        mask &= causal_mask(scores.shape[-1], scores)
    if padding:
        mask &= padding_mask(lengths, scores.shape[-1])
    n = mask.sum(axis=-1, keepdims=True) if n is None else n
    return masked_softmax(scores * (np.log(n) / np.log(base)), mask)


def _sight(scores, lengths):
    return causal_mask(scores.shape[-1], scores) & padding_mask(lengths, scores.shape[-1])


def _keys(scores, lengths):
    return _sight(scores, lengths).sum(axis=-1, keepdims=True)


VISIBLE_WEIGHTS = Exercise(
    id="2.5",
    title="Which n is it?",
    question=r"""
    A batch of texts of different lengths is padded at the end to a common length, and read by a causal language model.
    `scores` of shape (batch, common length, common length) are $q\cdot k/\sqrt d$, queries on the rows; `lengths` are
    the true lengths. Return the weights under the law $\lambda = \log_b n/\sqrt d$, $b$ = `base`: nobody looks at
    padding or ahead, and $n$ is what the law says it is, the number of keys that a query can see. (Queries in the
    padding see all of their text.)
    """,
    inputs=_ragged_inputs,
    reference=visible_weights,
    because=r"""Query $i$ (from 0) of a text of length $\ell$ sees $n = \min(i + 1, \ell)$ keys. So the scale differs
    from row to row, and neither the common length nor the text's own is right. The first query sees one key, where the
    law gives 0 and every scale the weight 1.""",
    hints=(
        "Build the mask first. The number of keys in sight can be read off it.",
        r"$n$ is the sum of the mask along the keys, one for each query; multiply the scores of its row by "
        r"$\ln n/\ln b$, then take the softmax over what the mask admits.",
    ),
    accepted=(_visible_weights_row_by_row, lambda scores, lengths, base: _weights_with(scores, lengths, base)),
    mistakes=(
        Mistake(
            "common length",
            lambda scores, lengths, base: _weights_with(scores, lengths, base, n=scores.shape[-1]),
            "The common length of the batch is taken for $n$: beside other texts, a text would be read otherwise.",
        ),
        Mistake(
            "length of the text",
            lambda scores, lengths, base: _weights_with(scores, lengths, base, n=lengths[:, None, None]),
            "This would be right for an encoder. In a causal model an early query does not see the whole text.",
        ),
        Mistake(
            "padding counted",
            lambda scores, lengths, base: _weights_with(scores, lengths, base, n=np.arange(1, D + 1)[:, None]),
            "Right for queries within the text. Those in the padding count keys that they do not look at.",
        ),
        Mistake(
            "natural log",
            lambda scores, lengths, base: _weights_with(scores, lengths, math.e),
            "The natural logarithm makes the rows too sharp. What became of `base`?",
        ),
        Mistake(
            "counted from 0",
            lambda scores, lengths, base: _weights_with(
                scores, lengths, base, n=np.maximum(np.minimum(np.arange(D), lengths[:, None] - 1), 1)[..., None]
            ),
            "One key too few is counted: a query sees itself, too.",
        ),
        Mistake(
            "padding seen",
            lambda scores, lengths, base: _weights_with(scores, lengths, base, padding=False),
            "Queries in the padding look at padding here. The mask of the lengths is missing.",
        ),
        Mistake(
            "future seen",
            lambda scores, lengths, base: _weights_with(scores, lengths, base, causal=False),
            "Queries look ahead here.",
        ),
        Mistake(
            "standard scale",
            lambda scores, lengths, base: _weights_with(scores, lengths, base, n=base),
            "The masks are right, and the scale is the standard one.",
        ),
        Mistake(
            "masked before scaled",
            lambda scores, lengths, base: _softmax(
                np.where(_sight(scores, lengths), scores, -np.inf) * np.log(_keys(scores, lengths)) / np.log(base)
            ),
            "The first row is NaN: there the law is 0, and 0 times −∞ is no number. Scale first, mask afterwards.",
        ),
        Mistake(
            "masked by zeros",
            lambda scores, lengths, base: _softmax(
                np.where(_sight(scores, lengths), scores * np.log(_keys(scores, lengths)) / np.log(base), 0)
            ),
            "A score of 0 hides nothing: $e^0 = 1$. What has the exponential 0?",
        ),
        Mistake(
            "scale after the softmax",
            lambda scores, lengths, base: (
                _weights_with(scores, lengths, base, n=base)
                * (np.log(np.minimum(np.arange(1, D + 1), lengths[:, None])) / np.log(base))[..., None]
            ),
            "The rows no longer sum to 1. The scale belongs to the scores.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# one key among many


def gap_for_weight(n, p):
    return math.log(p / (1 - p)) + math.log(n - 1)


def _gap_as_one_logarithm(n, p):
    return np.log((n - 1) * p / (1 - p))


def _gap_by_bisection(n, p):
    low, high = -20.0, 40.0
    for _ in range(80):
        gap = (low + high) / 2
        low, high = (gap, high) if 1 / (1 + (n - 1) * math.exp(-gap)) < p else (low, gap)
    return gap


GAP_FOR_WEIGHT = Exercise(
    id="2.6",
    title="How far must one key stand out?",
    question=r"""
    One of $n$ keys has a score that lies $\Delta$ above those of all others, which are equal. Which $\Delta$ gives it
    the weight $p$? Then think: how must $\Delta$ grow with $n$ if the weight shall stay?
    """,
    inputs=lambda rng: (int(np.exp(rng.uniform(1.5, 9))), float(rng.uniform(0.05, 0.95))),
    reference=gap_for_weight,
    because=r"""$p = e^\Delta/(e^\Delta + n - 1)$, so $e^\Delta = \frac{p}{1-p}(n-1)$ and
    $\Delta = \ln\frac{p}{1-p} + \ln(n-1)$. To hold $p$ the gap has to grow like $\ln n$: this is the case for
    a scale that does. For $n = 10^4$ and $p = 0.9$ it is 11.41.""",
    hints=(
        r"Subtract the score of the others from all scores. What is $e^0$, and how often does it occur?",
        r"Write $p$ with $e^\Delta$ over $e^\Delta$ plus the others, and solve for $e^\Delta$ first.",
    ),
    accepted=(_gap_as_one_logarithm, _gap_by_bisection, lambda n, p: en.planted_gap(n, p)),
    mistakes=(
        Mistake(
            "counts itself",
            lambda n, p: math.log(p / (1 - p)) + math.log(n),
            "Close for many keys. How many *others* are there?",
        ),
        Mistake("log of all", lambda n, p: math.log(n), "Nearly the gap of the weight ½. Where is the given weight?"),
        Mistake("weight forgotten", lambda n, p: math.log(n - 1), "At this gap the key has the weight ½."),
        Mistake(
            "weight for odds",
            lambda n, p: math.log(p * (n - 1)),
            r"The key itself is in the denominator, too. Solve for $e^\Delta$ once more.",
        ),
        Mistake(
            "others' weight",
            lambda n, p: math.log((1 - p) / p) + math.log(n - 1),
            "With this gap all the *others* together have the weight $p$.",
        ),
        Mistake(
            "one rival",
            lambda n, p: math.log(p / (1 - p)),
            "This would be right if there were a single other key.",
        ),
        Mistake("no log", lambda n, p: p / (1 - p) * (n - 1), r"This is $e^\Delta$. The question is $\Delta$ itself."),
        Mistake("log to base 10", lambda n, p: math.log10(p / (1 - p) * (n - 1)), "The softmax has base e, not 10."),
    ),
)


def scalable_softmax(n, s, gap):
    return 1 / (1 + (n - 1) * n ** (-s * gap))


def _scalable_softmax_in_full(n, s, gap):
    z = np.zeros(n)
    z[0] = gap
    return _softmax(s * np.log(n) * z)[0]


SCALABLE_SOFTMAX = Exercise(
    id="2.7",
    title="Softmax to base n",
    question=r"""
    SSMax makes weights $a_j = n^{s z_j}/\sum_l n^{s z_l}$ of scores $z_j$, with a learnt number $s$. One of $n$ keys
    has a score `gap` above all others, which are equal. What is its weight? Then think: let $n$ grow without end. For
    which gaps does the weight go to 1, and for which to 0?
    """,
    inputs=lambda rng: (int(np.exp(rng.uniform(1.5, 8))), float(rng.uniform(0.2, 1)), float(rng.uniform(0.2, 4))),
    reference=scalable_softmax,
    because=r"""Each of the others is $n^{-s\Delta}$ times the weight of the one, so
    $a = 1/(1 + (n-1)\,n^{-s\Delta})$. As $n^{1-s\Delta}$ goes to 0 or to infinity, the weight goes to 1 or 0: the
    boundary is $\Delta = 1/s$. With softmax instead, every gap is lost in the end.""",
    hints=(
        "Divide numerator and denominator by the numerator.",
        "What is the ratio of another key's weight to that of the one, as a power of $n$? How many others are there?",
    ),
    accepted=(_scalable_softmax_in_full, lambda n, s, gap: en.planted_probability(n, s * math.log(n) * gap)),
    mistakes=(
        Mistake(
            "softmax",
            lambda n, s, gap: 1 / (1 + (n - 1) * math.exp(-s * gap)),
            "This is softmax. What is raised to the power here?",
        ),
        Mistake(
            "counts itself", lambda n, s, gap: 1 / (1 + n ** (1 - s * gap)), "Close for many keys. How many *others*?"
        ),
        Mistake("one rival", lambda n, s, gap: 1 / (1 + n ** (-s * gap)), "This has a single other key."),
        Mistake(
            "sign",
            lambda n, s, gap: 1 / (1 + (n - 1) * n ** (s * gap)),
            "A larger gap gives a smaller weight here. Look at the sign of the power.",
        ),
        Mistake(
            "s left out",
            lambda n, s, gap: 1 / (1 + (n - 1) * n**-gap),
            "The gap is in the exponent, and one factor is not.",
        ),
        Mistake(
            "not shared out",
            lambda n, s, gap: n ** (s * gap),
            "This is the numerator, if the others have the score 0. A weight is below 1.",
        ),
        Mistake(
            "of another key",
            lambda n, s, gap: n ** (-s * gap) / (1 + (n - 1) * n ** (-s * gap)),
            "This is the weight of one of the others.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# random keys


def _entropy_inputs(rng):
    n = int(np.exp(rng.uniform(4, 12)))
    return n, float(rng.uniform(0.1, 0.9) * np.log(n))


def spread_for_entropy(n, H):
    return math.sqrt(2 * (math.log(n) - H))


def _spread_by_bisection(n, H):
    low, high = 0.0, en.freezing_scale(n)
    for _ in range(80):
        beta = (low + high) / 2
        low, high = (beta, high) if en.random_energy_entropy(n, beta) > H else (low, beta)
    return beta


SPREAD_FOR_ENTROPY = Exercise(
    id="2.8",
    title="Random scores of a given entropy",
    question=r"""
    For $n$ independent normal scores of standard deviation $\beta$ the softmax has, as long as it is not frozen, the
    entropy $H = \ln n - \tfrac12\beta^2$. Which $\beta$ gives the entropy $H$ at $n$ keys? Then think: which law for
    the scale would hold $H$ constant, and is it the one with $\ln n$?
    """,
    inputs=_entropy_inputs,
    reference=spread_for_entropy,
    because=r"""$\beta = \sqrt{2(\ln n - H)}$. A scale that holds the entropy of *random* keys constant grows like the
    root of $\ln n$. The law with $\ln n$ belongs to keys that stand out by a fixed gap.""",
    hints=("Solve for the square first.", r"$\tfrac12\beta^2$ is what is missing to the entropy of the uniform row."),
    accepted=(_spread_by_bisection, lambda n, H: np.log(n**2 / np.exp(2 * H)) ** 0.5),
    mistakes=(
        Mistake("factor 2", lambda n, H: math.sqrt(math.log(n) - H), "Where did the ½ go?"),
        Mistake("variance", lambda n, H: 2 * (math.log(n) - H), r"This is the variance, $\beta^2$."),
        Mistake("half", lambda n, H: math.sqrt((math.log(n) - H) / 2), "The ½ went to the wrong side."),
        Mistake(
            "frozen",
            lambda n, H: math.sqrt(2 * math.log(n)),
            "At this standard deviation the entropy reaches zero: it is where the row freezes.",
        ),
        Mistake(
            "linear in the log",
            lambda n, H: math.log(n) - H,
            "The entropy falls with the *square* of the standard deviation.",
        ),
        Mistake("bits", lambda n, H: math.sqrt(2 * (math.log2(n) - H)), "Entropy in nats, logarithm in bits."),
    ),
)


def saddle_point(lam):
    return (math.sqrt(1 + 4 * lam**2) - 1) / (2 * lam)


def _saddle_point_of_the_polynomial(lam):
    return np.roots([lam, 1, -lam]).max()  # λ(1 − s²) = s


def _saddle_point_by_bisection(lam):
    low, high = 0.0, 1.0
    for _ in range(60):
        s = (low + high) / 2
        low, high = (s, high) if lam > s / (1 - s * s) else (low, s)
    return s


SADDLE_POINT = Exercise(
    id="2.9",
    title="Which keys count?",
    question=r"""
    For keys in random directions, $q\cdot k = d\,c$ with a cosine $c$ whose density is proportional to
    $(1-c^2)^{(d-3)/2}$; for large $d$ the mean of $e^{\lambda d c}$ is ruled by the $c$ at which
    $\lambda c + \tfrac12\ln(1-c^2)$ is largest. Find it for a given $\lambda > 0$. Then put $\lambda = 1$: which famous
    number is it?
    """,
    inputs=lambda rng: (float(np.exp(rng.uniform(-2, 1.5))),),
    reference=saddle_point,
    because=r"""The derivative vanishes where $\lambda(1-c^2) = c$, a quadratic equation whose root in $(0, 1)$ is
    $c^* = (\sqrt{1+4\lambda^2}-1)/(2\lambda)$. It also says $1 - c^{*2} = c^*/\lambda$. At $\lambda = 1$ it is
    0.618, the inverse of the golden ratio, and the entropy per dimension, $\tfrac12\ln(1-c^{*2})$, is $-0.2406$.""",
    hints=(
        r"Differentiate by $c$. The derivative of $\tfrac12\ln(1-c^2)$ is a fraction.",
        "The condition is a quadratic equation in $c$. Only one of its roots is a cosine.",
    ),
    accepted=(_saddle_point_of_the_polynomial, _saddle_point_by_bisection, lambda lam: en.saddle(lam)),
    mistakes=(
        Mistake(
            "other root",
            lambda lam: (-math.sqrt(1 + 4 * lam**2) - 1) / (2 * lam),
            "This solves the equation, but a cosine lies between −1 and 1.",
        ),
        Mistake(
            "half forgotten",
            lambda lam: (math.sqrt(1 + lam**2) - 1) / lam,
            "This maximises the sum without the ½ before the logarithm.",
        ),
        Mistake("to first order", lambda lam: lam, r"True for small $\lambda$ only. A cosine is never above 1."),
        Mistake(
            "value for place",
            lambda lam: lam * en.saddle(lam) + 0.5 * math.log(1 - en.saddle(lam) ** 2),
            "This is the largest value. The question is where it is taken.",
        ),
        Mistake("score alone", lambda lam: 1.0, "The best key has this cosine, but how many keys are there like it?"),
        Mistake(
            "denominator",
            lambda lam: math.sqrt(1 + 4 * lam**2) - 1,
            "The numerator of the root is right. What stands before $c^2$ in the equation?",
        ),
        Mistake(
            "plus for minus",
            lambda lam: (math.sqrt(1 + 4 * lam**2) + 1) / (2 * lam),
            "This is above 1, and a cosine is not. Look at the sign before the 1.",
        ),
        Mistake("sign", lambda lam: -en.saddle(lam), "These keys point away from the query."),
    ),
)


def entropy_lost(d):
    lam = 1 / math.sqrt(d)
    s = (math.sqrt(1 + 4 * lam**2) - 1) / (2 * lam)
    return -d / 2 * math.log(1 - s**2)


def _entropy_lost_by_the_other_form(d):
    return -d / 2 * np.log(en.saddle(d**-0.5) * np.sqrt(d))


ENTROPY_LOST = Exercise(
    id="2.10",
    title="What the linear law says at the working point",
    question=r"""
    For keys in random directions and large $d$ the entropy is $H = \ln n + \tfrac d2\ln(1-c^2)$, where $c$ solves
    $\lambda(1-c^2) = c$. By how much does it lie below $\ln n$ under the standard scale $\lambda = 1/\sqrt d$?
    Return that number. Then think: how many times too large is the essay's linear law $0.24\,\lambda d$, at
    $d = 64$ and at $d = 1024$?
    """,
    inputs=lambda rng: (int(rng.integers(4, 1024)),),
    reference=entropy_lost,
    because=r"""Put $\lambda = 1/\sqrt d$ into $c^* = (\sqrt{1+4\lambda^2}-1)/(2\lambda)$ and that into
    $-\tfrac d2\ln(1-c^{*2})$. It is 0.489 at $d = 64$ and tends to $\tfrac12$: for small $\lambda$ it is
    $\tfrac12\lambda^2 d$. The chord $0.24\,\lambda d = 0.24\sqrt d$ says 1.92 at 64, four times too much, and 7.7 at
    1024, fifteen times.""",
    hints=(
        r"Solve the quadratic equation for $c$ at $\lambda = 1/\sqrt d$ first.",
        r"The answer is a positive number of nats, $-\tfrac d2\ln(1-c^2)$. For large $d$ it hardly depends on $d$.",
    ),
    accepted=(_entropy_lost_by_the_other_form, lambda d: math.log(9) - en.sphere_entropy_limit(9, d, d**-0.5)),
    mistakes=(
        Mistake(
            "linear law",
            lambda d: -math.sqrt(d) / 2 * math.log((math.sqrt(5) - 1) / 2),
            r"This is the chord, true at $\lambda = 1$ only, drawn down to $1/\sqrt d$. The curve is no line.",
        ),
        Mistake(
            "linear law in two digits",
            lambda d: 0.24 * math.sqrt(d),
            r"This is what the linear law says. Take the curve, at $\lambda = 1/\sqrt d$.",
        ),
        Mistake(
            "cosine equal to the scale",
            lambda d: -d / 2 * math.log(1 - 1 / d),
            r"Here $c = \lambda$, which is true to first order only. Solve the quadratic equation.",
        ),
        Mistake(
            "at scale one",
            lambda d: -d / 2 * math.log((math.sqrt(5) - 1) / 2),
            r"This is the loss at $\lambda = 1$. The standard scale is far smaller.",
        ),
        Mistake(
            "limit",
            lambda d: 0.5,
            "This is the limit of large $d$. Close, but the question has a given $d$.",
        ),
        Mistake(
            "per dimension", lambda d: entropy_lost(d) / d, "This is the loss per dimension. There are $d$ of them."
        ),
        Mistake("half forgotten", lambda d: 2 * entropy_lost(d), "Where did the ½ before the logarithm go?"),
        Mistake("sign", lambda d: -entropy_lost(d), "How far *below*: a positive number."),
        Mistake(
            "scale of one over d",
            lambda d: -d / 2 * math.log(1 - en.saddle(1 / d) ** 2),
            r"This has $\lambda = 1/d$. The standard scale has a root.",
        ),
    ),
)


# ---------------------------------------------------------------------------------------------------------------
# what no scale can steer

KEYS = 16
"""So many scores are to be invented in the last exercise."""


def sharp_and_flat():
    return np.array([32.0] + [24.0] * 15)


def _sharp_and_flat_with_a_gentle_slope():
    return np.append(np.linspace(15, 20, KEYS - 1), 30.0)


def _sharp_and_flat_with_two_levels():
    scores = np.full(KEYS, 35.0)
    scores[3], scores[7:] = 45.0, 30.0
    return scores


def _softmax_entropy(scores):
    return en.attention_entropy(scores[None, :]).item()


def _power_entropy(scores):
    return en.distribution_entropy(en.power_weights(scores[None, :])).item()


SHARP_AND_FLAT = OpenExercise(
    id="2.11",
    title="A scale that one of them does not feel",
    question=rf"""
    Invent {KEYS} scores, none above 50 in size, such that their softmax has an entropy below 0.1 nats, the softmax of a
    *tenth* of each has more than 2 nats, and the weights $a_j = \mathrm{{relu}}(s_j)^2/\sum_l\mathrm{{relu}}(s_l)^2$ of
    the same scores have more than 2 nats as well. Then think: what does a tenth do to the latter, and why can no scale
    law hold its entropy constant?
    """,
    reference=sharp_and_flat,
    because=r"""Softmax sees differences: 32 against 24 fifteen times is $e^8$ against 15, and after a tenth $e^{0.8}$
    against 15. Squares see ratios: 1024 against 576 is nearly flat. Multiplying all scores by one number changes
    no ratio, so $\mathrm{relu}(\lambda s)^2$ over its sum is the same for every $\lambda > 0$.""",
    hints=(
        "What can be added to all scores without changing the softmax, and what does that do to the squares?",
        "All scores high, one of them higher still by a few nats: how many must it be above the rest for the first "
        "condition, and how few for the second?",
    ),
    accepted=(_sharp_and_flat_with_a_gentle_slope, _sharp_and_flat_with_two_levels),
    mistakes=(
        Requirement(
            "too large",
            [1000.0] + [900.0] * (KEYS - 1),
            "A score is above 50 in size.",
            holds=lambda s: bool(np.abs(s).max() <= 50),
        ),
        Requirement(
            "softmax not sharp",
            [32.0] + [30.0] * (KEYS - 1),
            "The softmax of the scores has more than 0.1 nats. Let one key stand out further.",
            holds=lambda s: _softmax_entropy(s) < 0.1,
        ),
        Requirement(
            "too sharp at a tenth",
            [50.0] + [0.1] * (KEYS - 1),
            "A tenth of the scores is still too sharp. The one key stands out too far.",
            holds=lambda s: _softmax_entropy(s / 10) > 2,
        ),
        Requirement(
            "squares sharp",
            [8.0] + [0.5] * (KEYS - 1),
            "The softmax does what it shall, and the squares are too sharp. They see ratios, not differences.",
            holds=lambda s: _power_entropy(s) > 2,
        ),
    ),
)


EXERCISES = (
    LENGTH_FACTOR,
    KAPPA,
    ATTEND,
    ROW_ENTROPIES,
    VISIBLE_WEIGHTS,
    GAP_FOR_WEIGHT,
    SCALABLE_SOFTMAX,
    SPREAD_FOR_ENTROPY,
    SADDLE_POINT,
    ENTROPY_LOST,
    SHARP_AND_FLAT,
)
"""All exercises of the chapter, easy to open-ended."""
