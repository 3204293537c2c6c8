r"""Six matching tasks for one model: their score, what it can do without knowing the task, what it costs to tell it.

Two texts are to match, loosely (A) or strictly (B), and each is short or long: the tasks are ssA, ssB, slA, slB, llA
and llB, numbered in this order, so that even numbers are A. The same two texts can be a match for A and none for B. A
model learns the task as a *condition* c, one vector for each task, which reaches every LayerNorm
(:func:`minilib.layernorm.conditional_layer_norm`).

Sources: the Sohu text matching contest of 2021; Su Jianlin, Scientific Spaces 8337 (its baseline), 8870 and 8896
(losses and gradients of several tasks); Reimers & Gurevych 2019 (features of a pair).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float, Int

from .arrays import Array, expect_shape, namespace, running_sum
from .bert import BertSizes, unit
from .layernorm import followed

TASKS = ("ssA", "ssB", "slA", "slB", "llA", "llB")
"""Lengths of the two texts, and how strict the match must be; the number of a task is its place here."""

# ---------------------------------------------------------------------------------------------------------------
# the score of the contest


def margins(z: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    r"""$z_1 - z_0$, the logit of "yes" less that of "no": its sign is the answer, unless a threshold is set."""
    namespace(z=z)
    expect_shape("z", z, (2,), "there are two logits, of no and of yes")
    return z[..., 1] - z[..., 0]


def f1(
    predicted: Float[Array, "pairs"], labels: Int[Array, "pairs"], weights: Float[Array, "*draws pairs"] | None = None
) -> Float[Array, "*draws"]:
    r"""$F_1 = \frac{2\sum_i w_i p_i y_i}{\sum_i w_i (p_i + y_i)}$, the harmonic mean of precision and recall.

    `predicted` p and `labels` y are 0 or 1. `weights` w, 1 unless given, say how often a pair counts: 0 leaves it out,
    and one row for each draw is a bootstrap. Raises ValueError where all pairs that count have the same label: without
    a "yes" among them $F_1$ is 0 or 0/0 whatever is predicted, and without a "no" always saying "yes" has 1.
    """
    xp = namespace(predicted=predicted)
    if tuple(labels.shape) != tuple(predicted.shape) or not xp.isdtype(labels.dtype, "integral"):
        raise ValueError(f"labels must be integers, one for each of the {predicted.shape}, got {labels.shape}")
    y, one = xp.astype(labels, predicted.dtype), xp.ones_like(predicted)
    for name, a in (("predicted", predicted), ("labels", y)):
        if bool(xp.any((a != 0) & (a != 1))):
            raise ValueError(f"{name} must be 0 or 1; of probabilities ask first whether they are above a half")
    w = one if weights is None else weights
    expect_shape("weights", w, tuple(predicted.shape), "there is one for each pair")
    yes, no = xp.sum(w * y, axis=-1), xp.sum(w * (1 - y), axis=-1)
    if bool(xp.any(yes == 0)) or bool(xp.any(no == 0)):
        raise ValueError("all labels that count are the same, so F1 says nothing; score pairs of both kinds together")
    return 2 * xp.sum(w * predicted * y, axis=-1) / (xp.sum(w * predicted, axis=-1) + yes)


class ContestF1(NamedTuple):
    """F1 over all pairs of the loose tasks, over all of the strict ones, and the mean of the two, which counts."""

    loose: Array
    strict: Array
    mean: Array


def contest_f1(
    predicted: Float[Array, "pairs"],
    labels: Int[Array, "pairs"],
    tasks: Int[Array, "pairs"],
    weights: Float[Array, "*draws pairs"] | None = None,
) -> ContestF1:
    r"""$\tfrac12(F_1^A + F_1^B)$: the pairs of all lengths are pooled first. It is not the mean over the six tasks."""
    xp = namespace(predicted=predicted)
    if tuple(tasks.shape) != tuple(predicted.shape):
        raise ValueError(f"each of the {predicted.shape} pairs has the number of its task, got {tasks.shape}")
    is_loose = xp.astype(tasks % 2 == 0, predicted.dtype)
    w = xp.ones_like(predicted) if weights is None else weights
    loose, strict = f1(predicted, labels, w * is_loose), f1(predicted, labels, w * (1 - is_loose))
    return ContestF1(loose, strict, (loose + strict) / 2)


def best_threshold(
    margins: Float[Array, "pairs"], labels: Int[Array, "pairs"], groups: Int[Array, "pairs"] | None = None
) -> float:
    r"""$\theta$ such that the answers $[m_i > \theta]$ have the largest $F_1$, in the middle between two margins.

    `margins` m are logits of "yes" less those of "no". A network trained by cross-entropy answers at $\theta = 0$,
    best for the accuracy. For $F_1$ a lower one is best, at the probability of half the $F_1$ that it reaches: a false
    "yes" costs less than a missed one. Lipton, Elkan & Naryanaswamy 2014. With `groups`, whose numbers begin at 0, the
    mean of their $F_1$ is the largest, at one threshold for all of them.
    """
    xp = namespace(margins=margins)
    f1(xp.ones_like(margins), labels)  # complains of labels that do not fit, or that are all the same
    of = xp.zeros_like(labels) if groups is None else groups
    if tuple(of.shape) != tuple(margins.shape):
        raise ValueError(f"each of the {margins.shape} margins has the number of its group, got {of.shape}")
    order = xp.argsort(margins, descending=True)
    z, labels, of = (xp.take(part, order, axis=0) for part in (margins, labels, of))
    y, scores = xp.astype(labels, z.dtype), xp.zeros_like(z)
    for group in range(int(xp.max(of)) + 1):
        counts = xp.astype(of == group, z.dtype)
        f1(xp.ones_like(z), labels, counts)  # complains if those of this group are the same
        hits, said = running_sum(counts * y), running_sum(counts)
        scores = scores + 2 * hits / (said + hits[-1])
    below = xp.concat([z[1:], z[-1:] - 2])
    best = int(xp.argmax(xp.where(below < z, scores, 0 * z)))  # no threshold stands between equal margins
    return float(z[best] + below[best]) / 2


def packed(predicted: Sequence[float]) -> str:
    """Answers 0 or 1 in hexadecimal digits, four in each: what a network said to all pairs of a test, to be stored."""
    bits = "".join(str(int(p)) for p in predicted)
    return f"{int(bits + '0' * (-len(bits) % 4), 2):0{-(-len(bits) // 4)}x}" if bits else ""


def unpacked(text: str, number: int) -> list[int]:
    """The first `number` answers in what :func:`packed` has made."""
    if not number <= 4 * len(text) < number + 4:
        raise ValueError(f"{number} answers stand in {-(-number // 4)} digits, got {len(text)}")
    return [int(bit) for digit in text for bit in f"{int(digit, 16):04b}"][:number]


# ---------------------------------------------------------------------------------------------------------------
# a model that does not know the task


class Bands(NamedTuple):
    """Kinds of pairs: how often each occurs, and in which share of the tasks it is a match."""

    widths: tuple[float, ...]
    shares: tuple[float, ...]


def bands(thresholds: Sequence[float]) -> Bands:
    r"""Task k says "yes" to a pair whose score s, uniform on [0, 1], lies above its threshold $t_k$.

    T thresholds cut the scores into T + 1 bands; those between the smallest and the largest are contested.
    """
    if not thresholds or not all(0 <= t <= 1 for t in thresholds):
        raise ValueError(f"thresholds of scores must lie between 0 and 1, at least one, got {list(thresholds)}")
    edges = [0.0, *sorted(thresholds), 1.0]
    widths = [right - left for left, right in pairwise(edges)]
    return Bands(tuple(widths), tuple(k / len(thresholds) for k in range(len(widths))))


def _expect_bands(kinds: Bands) -> None:
    if len(kinds.widths) != len(kinds.shares) or not math.isclose(sum(kinds.widths), 1.0, abs_tol=1e-9):
        raise ValueError(f"there must be one share for each width, and the widths must sum to 1, got {kinds}")
    if min(kinds.widths) < 0 or not all(0 <= p <= 1 for p in kinds.shares):
        raise ValueError(f"widths and shares are probabilities, got {kinds}")


def best_blind_accuracy(kinds: Bands) -> float:
    r"""$\mathbb E\max(p, 1-p)$ with p the share of the tasks in which a pair matches.

    No model that sees the pair but not the task is right more often. For two thresholds it is $1 - |t_1 - t_2|/2$.
    """
    _expect_bands(kinds)
    return math.fsum(w * max(p, 1 - p) for w, p in zip(*kinds, strict=True))


def best_blind_loss(kinds: Bands) -> float:
    r"""$\mathbb E\,[-p\ln p - (1-p)\ln(1-p)]$: the least cross-entropy, in nats, of a model blind to the task."""
    _expect_bands(kinds)
    entropies = (-sum(q * math.log(q) for q in (p, 1 - p) if q > 0) for p in kinds.shares)
    return math.fsum(w * h for w, h in zip(kinds.widths, entropies, strict=True))


# ---------------------------------------------------------------------------------------------------------------
# pairs as vectors, batches of pairs


def pair_features(u: Float[Array, "*batch d"], v: Float[Array, "*batch d"]) -> Float[Array, "*batch features"]:
    r"""$[u \circ v,\; |u - v|,\; \cos(u, v)]$, 2d + 1 features, the same if u and v are exchanged.

    Reimers & Gurevych 2019 have u and v themselves in place of the product.
    """
    xp = namespace(u=u, v=v)
    if tuple(u.shape) != tuple(v.shape) or u.ndim < 1:
        raise ValueError(f"u and v must have one shape (…, d), got {tuple(u.shape)} and {tuple(v.shape)}")
    cosine = xp.sum(unit(u) * unit(v), axis=-1, keepdims=True)
    return xp.concat([u * v, xp.abs(u - v), cosine], axis=-1)


def bucketed(lengths: Sequence[int], size: int, noise: Sequence[float], window: int = 50) -> list[list[int]]:
    """Batches of `size` texts of similar lengths, as lists of their numbers; the last may be smaller.

    The texts are put in the order of the `noise`, sorted by length inside each stretch of `window` batches, and cut.
    The batches then come in the order of the noise of their first texts: long ones are not all at the end.
    """
    if size < 1 or window < 1 or len(noise) != len(lengths):
        raise ValueError(
            f"size and window must be at least 1 and each text needs its noise, got {size}, {window}, "
            f"{len(lengths)} lengths and {len(noise)} numbers of noise"
        )
    order = sorted(range(len(lengths)), key=noise.__getitem__)
    batches = []
    for start in range(0, len(order), size * window):
        part = sorted(order[start : start + size * window], key=lengths.__getitem__)
        batches += [part[k : k + size] for k in range(0, len(part), size)]
    return sorted(batches, key=lambda batch: noise[batch[0]])


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    r"""$1 - \sum_i \ell_i / \sum_b |b| \max_{i \in b} \ell_i$: how much of what is computed is padding."""
    computed = sum(len(batch) * max(lengths[k] for k in batch) for batch in batches)
    return 1 - sum(lengths[k] for batch in batches for k in batch) / computed


# ---------------------------------------------------------------------------------------------------------------
# what a condition can say


def conditional_table(
    conditions: Float[Array, "tasks k"], matrices: Sequence[Float[Array, "_ k"]]
) -> Float[Array, "tasks offsets"]:
    r"""$[W_1 c_t, W_2 c_t, \dots]$ for each task t: what it adds to each $\gamma$ and $\beta$ of a network, in a row.

    It is a product $C\,[W_1^\top, W_2^\top, \dots]$, so its rank is at most min(T, k): with six tasks all the matrices
    together hold six different vectors.
    """
    xp = namespace(conditions=conditions, **{f"W_{i}": W for i, W in enumerate(matrices)})
    for i, W in enumerate(matrices):
        expect_shape(f"W_{i}", W, (None, conditions.shape[-1]), "it maps a condition to features")
    return xp.concat([conditions @ W.T for W in matrices], axis=-1)


def rank(table: Float[Array, "rows columns"], tolerance: float = 1e-5) -> int:
    r"""How many singular values are above `tolerance` times the largest; 0 for a table of zeros."""
    xp = namespace(table=table)
    values = xp.linalg.svdvals(table)
    return int(xp.sum(xp.astype(values > tolerance * xp.max(values), xp.int64)))


def leading_share(table: Float[Array, "rows columns"]) -> float:
    r"""$\sigma_1^2 / \sum_i \sigma_i^2$ of the singular values: 1 if every row is a multiple of one of them.

    The rank counts directions, however small; this says how much of the table a single one holds. Raises ValueError
    for a table of zeros.
    """
    xp = namespace(table=table)
    squares = xp.linalg.svdvals(table) ** 2
    if not bool(xp.any(squares > 0)):
        raise ValueError("a table of zeros has no direction")
    return float(squares[0] / xp.sum(squares))


class Heads(NamedTuple):
    r"""A direction $w_t$ and a threshold $\theta_t$ for each task; its logit is $\langle w_t, h\rangle - \theta_t$."""

    directions: Array
    thresholds: Array


def effective_heads(
    conditions: Float[Array, "tasks k"],
    gamma: Float[Array, "d"],
    beta: Float[Array, "d"],
    W_gamma: Float[Array, "d k"] | None,
    W_beta: Float[Array, "d k"] | None,
    w: Float[Array, "d"],
    b: float | Float[Array, ""] = 0.0,
) -> Heads:
    r"""$w_t = w \circ (\gamma + W_\gamma c_t)$ and $\theta_t = -b - \langle w, \beta + W_\beta c_t\rangle$.

    What a shared head (w, b) after the last conditional LayerNorm is to each task: $W_\gamma$ weighs the features, and
    $W_\beta$ is a threshold and nothing else. h is the normalised state of a token, or its mean over tokens: since all
    tokens have the same $\gamma$ and $\beta$, the mean may be taken first. Of a softmax of two, $w = w_1 - w_0$.
    """
    namespace(conditions=conditions, gamma=gamma, beta=beta, w=w)
    expect_shape("w", w, tuple(gamma.shape), "it weighs each feature")
    every = conditions[:, :1] * 0 + 1  # a row for each task, also where nothing follows the condition
    scales, shifts = followed(conditions, gamma, W_gamma), followed(conditions, beta, W_beta)
    return Heads(every * scales * w, -b - (every * shifts) @ w)


# ---------------------------------------------------------------------------------------------------------------
# what it costs


def norms(sizes: BertSizes) -> int:
    """LayerNorms in an encoder: one of the embedding, two in each block."""
    return 2 * (1 if sizes.shared else sizes.layers) + 1


def conditional_parameters(
    sizes: BertSizes, tasks: int, k: int = 128, matrices: int = 2, hidden: int | None = None
) -> int:
    r"""$(2L+1)\,m\,kd + Tk$ with m = `matrices` in each norm, 2 or 1; with a narrow layer $(2L+1)(kh + m\,hd) + Tk$.

    The norm of factorised tables is as narrow as they are.
    """
    if min(tasks, k, k if hidden is None else hidden) < 1 or matrices not in (1, 2):
        raise ValueError(f"tasks, k and hidden are at least 1, matrices 1 or 2; got {tasks}, {k}, {hidden}, {matrices}")
    features, inside = sizes.width + (norms(sizes) - 1) * sizes.d, k if hidden is None else hidden
    return matrices * features * inside + (0 if hidden is None else norms(sizes) * k * hidden) + tasks * k


def worthwhile_hidden(d: int, k: int) -> float:
    r"""$h < \frac{2kd}{k + 2d}$: only a narrow layer of fewer features saves parameters."""
    if d < 1 or k < 1:
        raise ValueError(f"d and k count features, at least 1 of each; got {d} and {k}")
    return 2 * k * d / (k + 2 * d)


def task_parameters(sizes: BertSizes, tasks: int, k: int = 128) -> dict[str, int]:
    r"""What each way to tell the tasks apart adds to an encoder with one head of two classes, by its name.

    "table" is what can be said at most: every task has each $\gamma$ and $\beta$ as numbers of its own. It costs less
    than "full" for up to k tasks, and a little more.
    """
    one = conditional_parameters(sizes, tasks, k, 1)
    features = sizes.width + (norms(sizes) - 1) * sizes.d
    return {
        "none": 0,
        "token": tasks * sizes.width,
        "heads": (tasks - 1) * (2 * sizes.d + 2),
        "beta": one,
        "gamma": one,
        "full": conditional_parameters(sizes, tasks, k),
        "table": tasks * 2 * features,
        "models": (tasks - 1) * (sizes.encoder + 2 * sizes.d + 2),
    }


# ---------------------------------------------------------------------------------------------------------------
# tasks that pull in different directions


def contested_gradients(p: float) -> tuple[float, float]:
    r"""$(p - 1, p)$: what A, for which a pair is a match, and B, for which it is not, say to the logit of $p$.

    They pull in opposite directions, whatever p is; at p = ½ equally strongly, and a model that does not know the task
    stays there.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is the probability of a match, between 0 and 1; got {p}")
    return p - 1, p


def conflicts(gradients: Float[Array, "tasks n"]) -> Float[Array, "tasks tasks"]:
    r"""$\cos(g_s, g_t)$ of the gradients of the tasks' losses: below 0 a step for one is a step against the other."""
    namespace(gradients=gradients)
    expect_shape("gradients", gradients, (None, None), "there is one row for each task")
    return unit(gradients) @ unit(gradients).T


def balanced(gradients: Float[Array, "tasks n"]) -> Float[Array, "n"]:
    r"""$u = \sum_t g_t/\|g_t\|$: a step along −u raises neither of two losses, to first order, whatever their scales.

    $\langle g_1, u\rangle = \|g_1\|(1 + \cos) \ge 0$. Of $g_1 + g_2$ that need not be true where one is much longer,
    nor of u with more than two tasks. Scientific Spaces 8896.
    """
    xp = namespace(gradients=gradients)
    expect_shape("gradients", gradients, (None, None), "there is one row for each task")
    return xp.sum(unit(gradients), axis=0)


def scale_free_loss(losses: Float[Array, "tasks"]) -> Float[Array, ""]:
    r"""$\sum_t \ln L_t$, whose gradient $\sum_t \nabla L_t / L_t$ takes no notice of the losses' units.

    The same gradient as that of $\sum_t L_t/\mathrm{sg}(L_t)$, sg: held fixed. Scientific Spaces 8870.
    """
    xp = namespace(losses=losses)
    return xp.sum(xp.log(losses))
