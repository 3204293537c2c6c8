r"""The exercises of the chapter on dropout twice, from a divergence to three sub-models to invent.

Each right answer stands here as a function that a reader could have written, so its names are those of the question.
"""

from __future__ import annotations

import math

import numpy as np

from . import r_drop as rd
from .arrays import softmax
from .exercises import Exercise, Mistake, OpenExercise, Requirement

B, C, K, N = 3, 5, 4, 6
"""Samples, classes, sub-models and units of the random inputs: no two axes can be mistaken."""


def _answers(rng, rows):
    return rng.dirichlet(np.ones(C), size=rows)


def _kl(p, q):
    return np.sum(p * np.log(p / q), axis=-1)


# ---------------------------------------------------------------------------------------------------------------
# the loss


def divergence(p, q):
    return np.sum((p - q) * np.log(p / q), axis=-1) / 2


def _divergence_one_by_one(p, q):
    out = []
    for a, b in zip(p, q, strict=True):
        there = sum(i * math.log(i / j) for i, j in zip(a, b, strict=True))
        back = sum(j * math.log(j / i) for i, j in zip(a, b, strict=True))
        out.append((there + back) / 2)
    return out


DIVERGENCE = Exercise(
    id="8.1",
    title="How far two answers are apart",
    question=r"""
    `p` and `q` hold the answers of two passes to the same samples, probabilities of shape (samples, classes). Write
    $J = \frac12[\mathrm{KL}(p\Vert q) + \mathrm{KL}(q\Vert p)]$ of each sample, natural logarithms.
    """,
    inputs=lambda rng: tuple(_answers(rng, 2 * B).reshape(2, B, C)),
    reference=divergence,
    because=r"Both directions share their logarithms: $\frac12\sum_i(p_i - q_i)\log\frac{p_i}{q_i}$.",
    hints=(
        "Write one direction first, and mind the axis over which it is summed.",
        "Swap the two for the other direction, add, halve. There is one number for each sample.",
    ),
    accepted=(_divergence_one_by_one, lambda p, q: rd.symmetric_kl(np.log(p), np.log(q))),
    mistakes=(
        Mistake("one way", _kl, "This is one direction. The other one counts as much."),
        Mistake("other way", lambda p, q: _kl(q, p), "This is one direction. The other one counts as much."),
        Mistake("not halved", lambda p, q: 2 * divergence(p, q), "Both directions are there. What stands before them?"),
        Mistake(
            "middle",
            lambda p, q: (_kl(p, (p + q) / 2) + _kl(q, (p + q) / 2)) / 2,
            "This compares both with their mean: the Jensen–Shannon divergence, a different measure.",
        ),
        Mistake("base two", lambda p, q: divergence(p, q) / math.log(2), "The logarithms are to the base 2."),
        Mistake(
            "mean over classes",
            lambda p, q: divergence(p, q) / C,
            "This is a mean over the classes where a sum is wanted, as a `reduction='mean'` makes it.",
        ),
        Mistake(
            "squares", lambda p, q: np.sum((p - q) ** 2, axis=-1) / 2, "There is no logarithm in it: these are squares."
        ),
    ),
)


def doubled_batch(z, labels, alpha):
    half = len(z) // 2
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    first, second = log_p[:half], log_p[half:]
    rows = np.arange(half)
    entropies = -first[rows, labels] - second[rows, labels]
    apart = ((np.exp(first) - np.exp(second)) * (first - second)).sum(axis=1) / 2
    return np.mean(entropies + alpha * apart)


def _doubled_batch_sample_by_sample(z, labels, alpha):
    half, total = len(labels), 0.0
    for i, y in enumerate(labels):
        p, q = softmax(z[i]), softmax(z[i + half])
        total -= np.log(p[y] * q[y])
        total += alpha / 2 * (np.log(p / q) @ p + np.log(q / p) @ q)
    return total / half


def _doubled_batch_by_the_library(z, labels, alpha):
    return np.mean(rd.r_drop_loss(*rd.halves(z), labels, alpha))


def _doubled_pairs(z, labels, alpha):
    """What comes of taking neighbours for a pair."""
    return np.mean(rd.r_drop_loss(*rd.consecutive_pairs(z), labels, alpha))


def _split(z, labels):
    first, second = rd.halves(z)
    return rd.cross_entropy(first, labels) + rd.cross_entropy(second, labels), rd.symmetric_kl(first, second)


DOUBLED_BATCH = Exercise(
    id="8.2",
    title="A batch behind itself",
    question=r"""
    A batch of $B$ samples went through the network *behind itself*: row $i$ and row $B + i$ of the logits `z`, shape
    $(2B, C)$, are two passes of sample $i$. `labels` has $B$ entries. Give the mean over the samples of
    $-\log p_y - \log q_y + \alpha J$.
    """,
    inputs=lambda rng: (rng.normal(size=(2 * B, C)), rng.integers(0, C, B), float(rng.uniform(1, 5))),
    reference=doubled_batch,
    because="The upper half is one pass, the lower half the other; everything is added for a sample, then averaged.",
    hints=(
        "Which rows belong to the same sample? Cut the logits accordingly.",
        "Take `z[:B]` and `z[B:]`. Each sample has two cross-entropies and one J; the mean is over B samples.",
    ),
    accepted=(_doubled_batch_sample_by_sample, _doubled_batch_by_the_library),
    mistakes=(
        Mistake(
            "neighbours",
            _doubled_pairs,
            "Rows 0 and 1 are taken for a pair. In this layout they are two samples.",
        ),
        Mistake(
            "mean over rows",
            lambda z, labels, alpha: (lambda e, j: np.mean(e) / 2 + alpha * np.mean(j))(*_split(z, labels)),
            "The cross-entropies are averaged over all rows, and J over the samples: then alpha counts twice.",
        ),
        Mistake(
            "half of all",
            lambda z, labels, alpha: doubled_batch(z, labels, alpha) / 2,
            "This is half of it, which has the same minimum. The formula *adds* the two cross-entropies.",
        ),
        Mistake(
            "first pass only",
            lambda z, labels, alpha: np.mean(rd.cross_entropy(z[:B], labels) + alpha * _split(z, labels)[1]),
            "Only one of the passes has a cross-entropy.",
        ),
        Mistake(
            "not halved",
            lambda z, labels, alpha: doubled_batch(z, labels, 2 * alpha),
            "J is the *mean* of both directions; this adds them.",
        ),
        Mistake(
            "divergence summed",
            lambda z, labels, alpha: (lambda e, j: np.mean(e) + alpha * np.sum(j))(*_split(z, labels)),
            "J is summed over the batch: alpha would grow with B, as in section 2.",
        ),
        Mistake(
            "one way",
            lambda z, labels, alpha: np.mean(_split(z, labels)[0] + alpha * _kl(softmax(z[:B]), softmax(z[B:]))),
            "J has both directions; this has one.",
        ),
        Mistake(
            "other layout of labels",
            lambda z, labels, alpha: (
                2 * np.mean(rd.cross_entropy(z, np.repeat(labels, 2))) + alpha * np.mean(_split(z, labels)[1])
            ),
            "The labels are repeated one by one, as in the other layout. Row B belongs to the first label again.",
        ),
        Mistake(
            "mean over classes",
            lambda z, labels, alpha: doubled_batch(z, labels, alpha / C),
            "J is averaged over the classes, as a `reduction='mean'` does. It is a sum over them.",
        ),
        Mistake(
            "other way",
            lambda z, labels, alpha: np.mean(_split(z, labels)[0] + alpha * _kl(softmax(z[B:]), softmax(z[:B]))),
            "J has both directions; this has one.",
        ),
        Mistake(
            "summed",
            lambda z, labels, alpha: B * doubled_batch(z, labels, alpha),
            "This is the sum over the samples.",
        ),
        Mistake("no divergence", lambda z, labels, alpha: doubled_batch(z, labels, 0.0), "J is missing, or alpha is."),
    ),
)


def effective_alpha(alpha, batch, classes):
    return 2 * alpha / classes


def _effective_alpha_by_measuring(alpha, batch, classes):
    rng = np.random.default_rng(0)
    z, w, y = rng.normal(size=(batch, classes)), rng.normal(size=(batch, classes)), np.zeros(batch, dtype=int)
    entropies = rd.cross_entropy(z, y) + rd.cross_entropy(w, y)
    p, q = softmax(z), softmax(w)
    loss = entropies.mean() / 2 + alpha * ((p - q) * np.log(p / q) / 2).mean()
    return (2 * loss - entropies.mean()) / rd.symmetric_kl(z, w).mean()


EFFECTIVE_ALPHA = Exercise(
    id="8.3",
    title="A seventh program",
    question=r"""
    A program takes half of the sum of both mean cross-entropies, and adds its own `alpha` times a divergence. For that
    it calls `kl_div` in both directions with `reduction="mean"`, which averages over *all entries* of the
    `batch` × `classes` matrix, and takes half of the sum of the two. Which $\alpha$ of the formula
    $-\log p_y - \log q_y + \alpha J$ (mean over the batch) has the same minimum?
    """,
    inputs=lambda rng: (float(rng.uniform(0.5, 5)), int(rng.integers(4, 33)), int(rng.integers(3, 21))),
    reference=effective_alpha,
    because=r"""A mean over all entries is the mean of $J$ over the batch, divided by the number of classes. The
    entropies are halved, so the whole has to be doubled for the formula: $2\alpha/C$. With 20 classes an `alpha` of 4
    is hardly there.""",
    hints=(
        "J is a sum over the classes. What does averaging over them make of it?",
        "Multiply the program's loss by what makes its cross-entropies those of the formula, then look at J.",
    ),
    accepted=(_effective_alpha_by_measuring, lambda alpha, batch, classes: alpha / (classes / 2)),
    mistakes=(
        Mistake(
            "not doubled",
            lambda alpha, batch, classes: alpha / classes,
            "The divergence is right. What about the half before the cross-entropies?",
        ),
        Mistake(
            "halved",
            lambda alpha, batch, classes: alpha / (2 * classes),
            "The half of the cross-entropies goes the other way.",
        ),
        Mistake(
            "by the batch",
            lambda alpha, batch, classes: 2 * alpha / (batch * classes),
            "The formula is averaged over the batch, too. Which of the two means does it not have?",
        ),
        Mistake(
            "summed over classes",
            lambda alpha, batch, classes: 2 * alpha,
            "This would be right if the program summed over the classes.",
        ),
        Mistake(
            "summed over the batch",
            lambda alpha, batch, classes: 2 * alpha * batch,
            "This is a program that sums everything. This one averages.",
        ),
        Mistake(
            "as it stands",
            lambda alpha, batch, classes: alpha,
            "Two things change it: the half before the entropies, and the mean over the classes.",
        ),
        Mistake(
            "multiplied by the classes",
            lambda alpha, batch, classes: 2 * alpha * classes,
            "A mean over the classes makes the divergence smaller, not larger.",
        ),
        Mistake(
            "sum of both directions",
            lambda alpha, batch, classes: 4 * alpha / classes,
            "The program takes half of the sum of both directions, and so does J.",
        ),
        Mistake(
            "times the batch",
            lambda alpha, batch, classes: 2 * alpha * batch / classes,
            "Both losses are means over the batch; only over the classes they differ.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# sub-models


def geometric(p, weights):
    powers = np.exp(weights @ np.log(p))
    return powers / powers.sum()


def _geometric_by_products(p, weights):
    powers = np.prod(p ** weights[:, None], axis=0)
    return powers / np.sum(powers)


def _sub_model_inputs(rng):
    return _answers(rng, K), rng.dirichlet(np.ones(K))


GEOMETRIC = Exercise(
    id="8.4",
    title="The geometric mean of sub-models",
    question=r"""
    `p` holds the answers of $K$ sub-models to one sample, shape $(K, C)$, and `weights` how often each is drawn, with
    the sum 1. Give their weighted geometric mean as a distribution over the classes.
    """,
    inputs=_sub_model_inputs,
    reference=geometric,
    because="The mean of the logarithms, back by the exponential, and divided by its sum: products of powers do not "
    "sum to 1 by themselves.",
    hints=(
        "A geometric mean is an arithmetic mean of logarithms.",
        "Average the logarithms with the weights, take the exponential, and make the result sum to 1.",
    ),
    accepted=(_geometric_by_products, lambda p, weights: rd.geometric_mean(np.log(p), weights)),
    mistakes=(
        Mistake("arithmetic", lambda p, weights: weights @ p, "This is the arithmetic mean."),
        Mistake(
            "not normalised",
            lambda p, weights: np.exp(weights @ np.log(p)),
            "Right but for one thing: these numbers do not sum to 1.",
        ),
        Mistake(
            "unweighted",
            lambda p, weights: geometric(p, np.full(len(p), 1 / len(p))),
            "All sub-models count alike here. They are not drawn equally often.",
        ),
        Mistake(
            "harmonic",
            lambda p, weights: (lambda a: a / a.sum())(1 / (weights @ (1 / p))),
            "This is the mean of the inverses, the harmonic mean.",
        ),
        Mistake(
            "logarithms",
            lambda p, weights: (lambda a: a / a.sum())(weights @ np.log(p)),
            "These are averaged logarithms, made to sum to 1. The way back is missing.",
        ),
        Mistake(
            "divided twice",
            lambda p, weights: geometric(p, weights / len(p)),
            "The weights sum to 1 already: there is nothing to divide by.",
        ),
        Mistake(
            "product",
            lambda p, weights: (lambda a: a / a.sum())(p.prod(axis=0)),
            "This is a product without its root.",
        ),
    ),
)


def fixed_side(p, w, tau):
    q = np.exp(w / tau - np.max(w / tau))
    return (q / q.sum() - p) / tau


def _fixed_side_by_differences(p, w, tau):
    def loss(v):
        return -(p @ (v / tau)) + np.log(np.sum(np.exp(v / tau)))

    h = 1e-6
    return np.array([loss(w + h * e) - loss(w - h * e) for e in np.eye(len(w))]) / (2 * h)


def _fixed_side_by_the_rule(p, w, tau):
    q = softmax(w / tau)
    slope = (np.diag(q) - np.outer(q, q)) / tau
    return -slope @ (p / q)


FIXED_SIDE = Exercise(
    id="8.5",
    title="One side held fixed",
    question=r"""
    A teacher's answer `p`, $C$ probabilities, is held fixed. The student says $q = \mathrm{softmax}(w/\tau)$ with the
    logits `w` and the temperature `tau`. Give the gradient of $\mathrm{KL}(p\Vert q)$ by $w$.
    """,
    inputs=lambda rng: (_answers(rng, 1)[0], rng.normal(size=C), float(rng.uniform(0.3, 3))),
    reference=fixed_side,
    because=r"""Only $-\sum_i p_i\log q_i = -p\cdot w/\tau + \log\sum_j e^{w_j/\tau}$ moves, since p sums to 1. Its
    gradient is $(q - p)/\tau$: the student goes up where it says less than the teacher. This is the part that VAT
    keeps of J's gradient.""",
    hints=(
        "Which terms of the divergence do not depend on w at all?",
        "Write log q as w/tau less the logarithm of a sum. The derivative of that logarithm is q, but for a factor.",
    ),
    accepted=(_fixed_side_by_differences, _fixed_side_by_the_rule),
    mistakes=(
        Mistake("sign", lambda p, w, tau: -fixed_side(p, w, tau), "The sign is turned: this goes uphill."),
        Mistake("no temperature", lambda p, w, tau: tau * fixed_side(p, w, tau), "The chain rule has one more factor."),
        Mistake(
            "temperature twice",
            lambda p, w, tau: fixed_side(p, w, tau) / tau,
            "The temperature has got in once too often.",
        ),
        Mistake(
            "softmax without it",
            lambda p, w, tau: softmax(w) - p,
            "The student's answer is not the softmax of w itself.",
        ),
        Mistake(
            "halved",
            lambda p, w, tau: fixed_side(p, w, tau) / 2,
            "This is the half that stands in J. Here one direction stands alone.",
        ),
        Mistake(
            "softmax without it, divided",
            lambda p, w, tau: (softmax(w) - p) / tau,
            "The factor is right. The student's answer is the softmax of w/tau.",
        ),
        Mistake(
            "by q",
            lambda p, w, tau: -p / softmax(w / tau),
            "This is the gradient by the probabilities q. Go on to the logits.",
        ),
        Mistake(
            "both directions",
            lambda p, w, tau: (lambda q: (q * (np.log(q / p) - q @ np.log(q / p)) + q - p) / (2 * tau))(
                softmax(w / tau)
            ),
            "This is the gradient of J, both directions halved. Here one direction stands alone.",
        ),
        Mistake(
            "temperature multiplied",
            lambda p, w, tau: tau * (softmax(w / tau) - p),
            "The logits are divided by the temperature. What does the chain rule make of that?",
        ),
        Mistake(
            "other direction",
            lambda p, w, tau: (lambda q: q * (np.log(q / p) - q @ np.log(q / p)) / tau)(softmax(w / tau)),
            "This is the gradient of the other direction, where q comes first.",
        ),
    ),
    tolerance=1e-5,
)


def paired_units(x, w, rate):
    pairs = (x * w).reshape(-1, 2).sum(axis=1)
    return rate / (1 - rate) * np.sum(pairs**2)


def _paired_units_by_counting(x, w, rate):
    masks = np.repeat(rd.dropout_masks(len(x) // 2, x), 2, axis=1)
    share = rd.mask_probabilities(masks[:, ::2], rate)
    logit = masks / (1 - rate) @ (x * w)
    return share @ (logit - share @ logit) ** 2


def _paired_units_in_a_loop(x, w, rate):
    total = 0.0
    for j in range(0, len(x), 2):
        both = x[j] * w[j] + x[j + 1] * w[j + 1]
        total += both * both * (1 / (1 - rate) - 1)
    return total


PAIRED_UNITS = Exercise(
    id="8.6",
    title="Units that go in pairs",
    question=r"""
    One logit is $\sum_j w_jm_jx_j/(1-\rho)$ with an even number of units; `w` is one row of the weights $W$. The mask
    takes units away *in pairs*: units 0 and 1 are both kept or both gone, so are 2 and 3, and so on; each pair is gone
    with the probability `rate`, independently of the others. What is the variance of the logit over the masks?
    """,
    inputs=lambda rng: (rng.normal(size=N), rng.normal(size=N), float(rng.uniform(0.05, 0.6))),
    reference=paired_units,
    because=r"""A pair is one unit of the value $x_jw_j + x_{j+1}w_{j+1}$. A mask entry over $1-\rho$ has the variance
    $\rho(1-\rho)/(1-\rho)^2 = \rho/(1-\rho)$, and independent variances add. Dropping whole words or channels moves
    logits more than dropping as many single numbers, where these go together.""",
    hints=(
        "What does a pair contribute to the logit when it is there?",
        "Variances of independent pairs add. Within a pair, add before you square.",
    ),
    accepted=(_paired_units_by_counting, _paired_units_in_a_loop),
    mistakes=(
        Mistake(
            "single units",
            lambda x, w, rate: rate / (1 - rate) * np.sum((x * w) ** 2),
            "This would be right for single units. Within a pair they go together.",
        ),
        Mistake(
            "distant pairs",
            lambda x, w, rate: rate / (1 - rate) * np.sum((x * w).reshape(2, -1).sum(axis=0) ** 2),
            "Here unit 0 goes with a unit of the second half. Which entries does your reshape put side by side?",
        ),
        Mistake(
            "all together",
            lambda x, w, rate: rate / (1 - rate) * np.sum(x * w) ** 2,
            "This is for all units going together.",
        ),
        Mistake(
            "not scaled up",
            lambda x, w, rate: (1 - rate) ** 2 * paired_units(x, w, rate),
            "The kept units are divided by $1-\\rho$. That counts squared.",
        ),
        Mistake(
            "scaled once",
            lambda x, w, rate: (1 - rate) * paired_units(x, w, rate),
            "The division by $1-\\rho$ counts squared in a variance.",
        ),
        Mistake("no rate", lambda x, w, rate: paired_units(x, w, 0.5), "The rate is missing."),
        Mistake(
            "kept for gone",
            lambda x, w, rate: paired_units(x, w, 1 - rate),
            "The rate is the share that is taken away, not the share that is kept.",
        ),
        Mistake("deviation", lambda x, w, rate: math.sqrt(paired_units(x, w, rate)), "This is the standard deviation."),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# equivalences


def translated_alpha(rate, higher, batch):
    needed = higher / (1 - higher) * (1 - rate) / rate - 1
    return needed / (2 * batch)


def _translated_alpha_by_trying(rate, higher, batch):
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        if rd.equivalent_rate(rate, 2 * batch * middle) < higher:
            low = middle
        else:
            high = middle
    return low


def _translated_alpha_by_the_library(rate, higher, batch):
    (readme,) = (one for one in rd.CONVENTIONS if one.name == "readme")
    return rd.equivalent_alpha(rate, higher) / readme.effective(batch, 1.0)


TRANSLATED_ALPHA = Exercise(
    id="8.7",
    title="More dropout, in the README's words",
    question=r"""
    A softmax layer is to get the penalty of plain dropout at the rate `higher` (to second order), but from R-Drop at
    the lower rate `rate`. The program is that of the README of section 2, whose $\alpha$ is multiplied by twice the
    number `batch` of samples. Which $\alpha$ is to be written into it?
    """,
    inputs=lambda rng: (float(rng.uniform(0.05, 0.3)), float(rng.uniform(0.4, 0.8)), int(rng.integers(4, 65))),
    reference=translated_alpha,
    because=r"""The odds of `higher` over those of `rate` are $1+\alpha$ of the formula. The program's is smaller by
    $2B$. With rates 0.1 and 0.5 and 16 samples it is $8/32 = \frac14$.""",
    hints=(
        "First the alpha of the formula: what is multiplied by 1 + alpha, the rate or something made of it?",
        "Odds are rate/(1 − rate). Take their quotient, subtract 1, and translate by the table of section 2.",
    ),
    accepted=(_translated_alpha_by_trying, _translated_alpha_by_the_library),
    mistakes=(
        Mistake(
            "rates for odds",
            lambda rate, higher, batch: (higher / rate - 1) / (2 * batch),
            "The quotient is one of rates. Dropout's variance goes with another function of the rate.",
        ),
        Mistake(
            "two without the batch",
            lambda rate, higher, batch: batch * translated_alpha(rate, higher, batch),
            "That program sums J over the batch.",
        ),
        Mistake(
            "one forgotten",
            lambda rate, higher, batch: translated_alpha(rate, higher, batch) + 1 / (2 * batch),
            "Even without J there is dropout's own penalty.",
        ),
        Mistake(
            "not translated",
            lambda rate, higher, batch: 2 * batch * translated_alpha(rate, higher, batch),
            "This is the alpha of the formula. The program multiplies its own.",
        ),
        Mistake(
            "wrong way",
            lambda rate, higher, batch: (2 * batch) ** 2 * translated_alpha(rate, higher, batch),
            "The translation goes the other way.",
        ),
        Mistake(
            "batch alone",
            lambda rate, higher, batch: 2 * translated_alpha(rate, higher, batch),
            "The factor is not the batch alone: that program halves the cross-entropies, too.",
        ),
        Mistake(
            "odds upside down",
            lambda rate, higher, batch: ((1 - higher) / higher * rate / (1 - rate) - 1) / (2 * batch),
            "The odds are upside down: the result is negative.",
        ),
    ),
)


def more_passes(bias, variance, passes, alpha):
    pairs = passes * (passes - 1) / 2
    return passes * (bias**2 + variance) + alpha * pairs * 2 * variance


def _more_passes_by_counting(bias, variance, passes, alpha):
    """Two values in place of a distribution; each pass is one of them."""
    f = bias + math.sqrt(variance) * np.array([-1.0, 1.0])
    grids = np.meshgrid(*[f] * int(passes))
    total = sum(g**2 for g in grids)
    for a in range(len(grids)):
        for b in range(a):
            total = total + alpha * (grids[a] - grids[b]) ** 2
    return total.mean()


MORE_PASSES = Exercise(
    id="8.8",
    title="More than two passes",
    question=r"""
    Regression with `passes` $= M$ independent masks: the loss of one sample is
    $\sum_k (f_k - t)^2 + \alpha\sum_{k<l}(f_k - f_l)^2$, with the answers $f_k$ of the $M$ passes and the target $t$.
    Over masks $f$ has the mean $t +$ `bias` and the variance `variance`. What is the mean of the loss?
    """,
    inputs=lambda rng: (
        float(rng.normal()),
        float(rng.uniform(0.2, 2)),
        int(rng.integers(3, 7)),
        float(rng.uniform(0.5, 5)),
    ),
    reference=more_passes,
    because=r"""Each square about t has the mean $\mathrm{bias}^2 + \mathrm{var}$, each squared difference of two passes
    $2\,\mathrm{var}$, and there are $M(M-1)/2$ pairs: $M\,[\mathrm{bias}^2 + (1 + (M-1)\alpha)\,\mathrm{var}]$. So a
    third pass does what a larger $\alpha$ does.""",
    hints=(
        "Count the pairs, and find the mean of one squared difference.",
        "Two independent values with the same variance: the variance of their difference is the sum.",
    ),
    accepted=(
        _more_passes_by_counting,
        lambda bias, variance, passes, alpha: passes * (bias * bias + (1 + (passes - 1) * alpha) * variance),
    ),
    mistakes=(
        Mistake(
            "two passes",
            lambda bias, variance, passes, alpha: 2 * (bias**2 + (1 + alpha) * variance),
            "This is the value for two passes.",
        ),
        Mistake(
            "difference",
            lambda bias, variance, passes, alpha: more_passes(bias, variance, passes, alpha / 2),
            "The pairs are counted right. What is the mean of a squared difference of two independent values?",
        ),
        Mistake(
            "pairs twice",
            lambda bias, variance, passes, alpha: more_passes(bias, variance, passes, 2 * alpha),
            "Each pair is counted twice, once in each order.",
        ),
        Mistake(
            "with itself",
            lambda bias, variance, passes, alpha: (
                passes * (bias**2 + variance) + alpha * passes * (passes + 1) * variance
            ),
            "A pass is not compared with itself.",
        ),
        Mistake(
            "all ordered pairs",
            lambda bias, variance, passes, alpha: passes * (bias**2 + variance) + alpha * passes**2 * variance,
            "A pass is not paired with itself.",
        ),
        Mistake(
            "one partner",
            lambda bias, variance, passes, alpha: passes * (bias**2 + (1 + alpha) * variance),
            "Each pass has more than one partner.",
        ),
        Mistake(
            "no variance alone",
            lambda bias, variance, passes, alpha: more_passes(bias, variance, passes, alpha) - passes * variance,
            "Each pass scatters about its own mean, too.",
        ),
        Mistake(
            "per pass",
            lambda bias, variance, passes, alpha: more_passes(bias, variance, passes, alpha) / passes,
            "This is the mean over the passes; the loss is a sum.",
        ),
        Mistake(
            "bias in pairs",
            lambda bias, variance, passes, alpha: (
                more_passes(bias, variance, passes, alpha) + alpha * passes * (passes - 1) / 2 * bias**2
            ),
            "In a difference of two passes the bias cancels.",
        ),
    ),
)


def perfect_doubles(pairs, tau, cosine):
    return math.log(1 + (2 * pairs - 2) * math.exp((cosine - 1) / tau))


def _perfect_doubles_by_softmax(pairs, tau, cosine):
    others = np.full(2 * pairs - 2, cosine / tau)
    row = np.append(others, 1 / tau)
    return -np.log(softmax(row))[-1]


def _perfect_doubles_by_vectors(pairs, tau, cosine):
    gram = (1 - cosine) * np.eye(pairs) + cosine
    values, turn = np.linalg.eigh(gram)
    v = turn * np.sqrt(np.clip(values, 0, None))
    return rd.simcse_loss(np.repeat(v, 2, axis=0), 1 / tau)


PERFECT_DOUBLES = Exercise(
    id="8.9",
    title="Doubles that agree perfectly",
    question=r"""
    `pairs` sentences went through an encoder twice, and each vector looks for its double among *all* the others, by a
    softmax over cosines divided by `tau`. Both vectors of a sentence are the same, and any two sentences have the
    cosine `cosine`. What is the loss, the mean of $-\log$ of the probability of the double?
    """,
    inputs=lambda rng: (int(rng.integers(3, 20)), float(rng.uniform(0.05, 1)), float(rng.uniform(0, 0.9))),
    reference=perfect_doubles,
    because=r"""Besides its double a vector has $2B - 2$ others, each weighing $e^{(c-1)/\tau}$ times as much as the
    double. So a perfect encoder still has a loss, and what lowers it is to spread different sentences apart.""",
    hints=(
        "How many vectors compete with the double? The vector itself is not among them.",
        "Divide numerator and denominator by the double's term.",
    ),
    accepted=(_perfect_doubles_by_softmax, _perfect_doubles_by_vectors),
    mistakes=(
        Mistake(
            "itself too",
            lambda pairs, tau, cosine: math.log(2 + (2 * pairs - 2) * math.exp((cosine - 1) / tau)),
            "The vector competes with itself here. The diagonal is left out.",
        ),
        Mistake(
            "one too many",
            lambda pairs, tau, cosine: math.log(1 + (2 * pairs - 1) * math.exp((cosine - 1) / tau)),
            "There is one rival too many.",
        ),
        Mistake(
            "second pass only",
            lambda pairs, tau, cosine: math.log(1 + (pairs - 1) * math.exp((cosine - 1) / tau)),
            "Here only the vectors of the other pass compete, as in the paper. The question says all.",
        ),
        Mistake(
            "temperature multiplied",
            lambda pairs, tau, cosine: perfect_doubles(pairs, 1 / tau, cosine),
            "The cosines are multiplied by the temperature where they are to be divided by it.",
        ),
        Mistake(
            "double at zero",
            lambda pairs, tau, cosine: math.log(1 + (2 * pairs - 2) * math.exp(cosine / tau)),
            "The double's own cosine is 1, not 0.",
        ),
        Mistake(
            "right angles",
            lambda pairs, tau, cosine: perfect_doubles(pairs, tau, 0.0),
            "Here any two sentences have the cosine `cosine`, not 0.",
        ),
        Mistake(
            "summed",
            lambda pairs, tau, cosine: 2 * pairs * perfect_doubles(pairs, tau, cosine),
            "This is the sum over the vectors; the loss is their mean.",
        ),
        Mistake(
            "no temperature",
            lambda pairs, tau, cosine: perfect_doubles(pairs, 1.0, cosine),
            "The temperature is missing.",
        ),
    ),
)

# ---------------------------------------------------------------------------------------------------------------
# to invent


def two_winners():
    sure, opposed = [3.0, 1.0, -3.0], [-6.0, 1.0, 0.0]
    return np.array([sure, sure, opposed])


def _two_winners_turned():
    return np.array([[-5.0, -2.0, 2.0], [4.0, -3.0, 2.0], [4.0, -3.0, 2.0]])


def _two_winners_found_by_search():
    rng = np.random.default_rng(0)
    while True:
        z = rng.uniform(-5, 5, size=(3, 3))
        if all(requirement.holds(z) for requirement in TWO_WINNERS.mistakes):
            return z


def _lead(p, winner):
    return p[winner] - np.delete(p, winner).max()


def _mean(z):
    return softmax(z).mean(axis=0)


TWO_WINNERS = OpenExercise(
    id="8.10",
    title="Two averages, two winners",
    question=r"""
    Invent three sub-models that are drawn equally often: an array of logits of shape (3, 3), sub-models on the rows,
    classes in the columns, no entry beyond $\pm 6$. Their *arithmetic* mean shall give class 0 the largest probability
    by at least 0.05, and their *geometric* mean class 1, or class 2, by at least 0.05. Then think: which of the two
    does a softmax layer use when dropout is off, and does training with a large $\alpha$ leave room for such a case?
    """,
    reference=two_winners,
    because=r"""In a product one sub-model has a *veto*: a class that it thinks impossible is out, whatever the others
    say. In a sum it has but one voice in three. So two that are sure of class 0, and one that is sure of anything
    else. Dropout off is the geometric mean. A large weight on J makes the sub-models alike, and then so are both
    means.""",
    hints=(
        "What does one very small probability do to a product, and what to a sum?",
        "Let two sub-models be sure of class 0, and let the third think it impossible.",
    ),
    accepted=(_two_winners_turned, _two_winners_found_by_search),
    mistakes=(
        Requirement(
            "too large",
            [[9, 0, 0], [9, 0, 0], [-9, 0, 0]],
            "An entry lies beyond 6 in size.",
            holds=lambda z: bool((np.abs(z) <= 6).all()),
        ),
        Requirement(
            "probabilities",
            [[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]],
            "These look like probabilities: every row sums to 1. Logits are wanted.",
            holds=lambda z: not bool(np.allclose(z.sum(axis=1), 1) and (z >= 0).all()),
        ),
        Requirement(
            "arithmetic",
            [[0, 2, 0], [0, 2, 0], [0, 2, 0]],
            "The arithmetic mean does not give class 0 the largest probability by 0.05.",
            holds=lambda z: bool(_lead(_mean(z), 0) >= 0.05),
        ),
        Requirement(
            "geometric",
            [[2, 0, 0], [2, 0, 0], [2, 0, 0]],
            "The geometric mean gives class 0 the largest probability too, or leads by less than 0.05.",
            holds=lambda z: bool(max(_lead(softmax(z.mean(axis=0)), k) for k in (1, 2)) >= 0.05),
        ),
    ),
)


EXERCISES = (
    DIVERGENCE,
    DOUBLED_BATCH,
    EFFECTIVE_ALPHA,
    GEOMETRIC,
    FIXED_SIDE,
    PAIRED_UNITS,
    TRANSLATED_ALPHA,
    MORE_PASSES,
    PERFECT_DOUBLES,
    TWO_WINNERS,
)
"""All exercises of the chapter, easy to open-ended."""
