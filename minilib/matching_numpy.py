r"""One head for several strictnesses, small enough to be trained while a slider moves.

A pair is nothing but a score s in [0, 1], how well its texts fit; task t says "yes" where s lies above its threshold
$t_t$. Features of the score are normalised, $\hat x(s)$, and a head (w, b) stands on a conditional LayerNorm:
$$z_t(s) = \langle w,\; (\gamma + W_\gamma c_t) \circ \hat x(s) + \beta + W_\beta c_t\rangle + b.$$
All of it is trained on all scores and tasks at once, by Adam, with the gradients written out. The ways to tell the
task are those of :mod:`minilib.matching_torch`, without the token, since there is no text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .arrays import sigmoid
from .layernorm import layer_norm
from .matching import Bands

WAYS = ("none", "heads", "beta", "gamma", "full")
"""No task, a head (w, b) for each, a condition of the shift, of the scale, of both."""

SCORES, FEATURES, STEEP, SPREAD = 100, 16, 8.0, 0.05
"""Scores that are judged, features of a score, how steep these are, and how large a condition is at first."""


class Story(NamedTuple):
    """A training, at step 0, 1, …: probabilities (steps, T, scores), loss and accuracy (steps,), and the norms of the
    gradients of both matrices together and of the conditions (steps,), NaN where there are none.

    `labels` (T, scores) are what was to be said, `parameters` what the way adds to a head that knows no task.
    """

    labels: np.ndarray
    p: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    matrices: np.ndarray
    conditions: np.ndarray
    parameters: int

    def accuracies(self, step: int) -> np.ndarray:
        """The accuracy of each task after `step` steps."""
        return ((self.p[step] > 0.5) == self.labels).mean(-1)

    def crossings(self, step: int) -> np.ndarray:
        """The score at which each task's answer first changes; NaN where it never does."""
        changes = np.diff(self.p[step] > 0.5, axis=-1)
        return np.where(changes.any(-1), (changes.argmax(-1) + 1) / SCORES, np.nan)


@functools.cache
def scores() -> np.ndarray:
    """The scores, in the middles of as many equal parts of [0, 1]."""
    return (np.arange(SCORES) + 0.5) / SCORES


@functools.cache
def features() -> np.ndarray:
    r"""$\hat x(s)$ for each score, (scores, d): the normalised features $\tanh(8(s - u_j))$, $u_j$ evenly spaced."""
    places = (np.arange(FEATURES) + 0.5) / FEATURES
    return layer_norm(np.tanh(STEEP * (scores()[:, None] - places)), eps=0.0)


def labels_of(thresholds: Sequence[float], turned: bool = False) -> np.ndarray:
    """1 where a score is above a task's threshold, (T, scores); if `turned`, below that of the last task."""
    y = (scores() > np.array(thresholds)[:, None]).astype(float)
    if turned:
        y[-1] = 1 - y[-1]
    return y


def kinds_of(labels: np.ndarray) -> Bands:
    """The scores as kinds of pairs, for :func:`minilib.matching.best_blind_accuracy` and its loss."""
    return Bands((1 / SCORES,) * labels.shape[1], tuple(labels.mean(0).tolist()))


class Parts(NamedTuple):
    """What is trained: w (heads, d), b (heads,), γ, β (d,), W_γ, W_β (d, k) and the conditions (T, k)."""

    w: np.ndarray
    b: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    W_gamma: np.ndarray
    W_beta: np.ndarray
    c: np.ndarray


def begun(tasks: int, way: str, k: int, seed: int) -> Parts:
    """Before training: both matrices 0, the head small, the conditions as small as those of Keras."""
    rng, heads = np.random.default_rng(seed), tasks if way == "heads" else 1
    w = np.tile(rng.normal(size=FEATURES) / FEATURES**0.5, (heads, 1))
    zero = np.zeros((FEATURES, k))
    one, c = np.ones(FEATURES), rng.uniform(-SPREAD, SPREAD, (tasks, k))
    return Parts(w, np.zeros(heads), one, 0 * one, zero, zero.copy(), c)


def logits(parts: Parts) -> np.ndarray:
    """z of each task and score, (T, scores)."""
    scale, shift = parts.gamma + parts.c @ parts.W_gamma.T, parts.beta + parts.c @ parts.W_beta.T
    return (scale * parts.w) @ features().T + ((shift * parts.w).sum(-1) + parts.b)[:, None]


def gradients(parts: Parts, error: np.ndarray) -> Parts:
    """The gradient of a loss by each part, from `error` (T, scores), its gradient by z."""
    w, _, gamma, beta, W_gamma, W_beta, c = parts
    G, H = error @ features(), error.sum(-1, keepdims=True)
    each_w = (gamma + c @ W_gamma.T) * G + (beta + c @ W_beta.T) * H
    scale, shift = w * G, w * H
    alone = len(w) == 1
    return Parts(
        each_w.sum(0, keepdims=True) if alone else each_w,
        H.sum(0) if alone else H[:, 0],
        scale.sum(0),
        shift.sum(0),
        scale.T @ c,
        shift.T @ c,
        scale @ W_gamma + shift @ W_beta,
    )


def _held(way: str) -> set[str]:
    """The parts that a way leaves as they are."""
    without = {"gamma": {"W_beta"}, "beta": {"W_gamma"}, "full": set()}
    return without.get(way, {"W_gamma", "W_beta", "c"})


def _free(parts: Parts, way: str) -> np.ndarray:
    """1 for each number that moves, 0 for the others."""
    held = _held(way)
    return np.concatenate([np.full(a.size, float(n not in held)) for n, a in zip(Parts._fields, parts, strict=True)])


def _flat(parts: Parts) -> np.ndarray:
    return np.concatenate([part.ravel() for part in parts])


def _places(parts: Parts) -> list[int]:
    """Where each part begins among all numbers, and where the last one ends."""
    return np.cumsum([0, *(part.size for part in parts)]).tolist()


def _views(flat: np.ndarray, like: Parts) -> Parts:
    """The parts as views of one array, so that a step moves all of them at once."""
    ends = _places(like)
    return Parts(*(flat[i:j].reshape(a.shape) for i, j, a in zip(ends, ends[1:], like, strict=False)))


@functools.lru_cache(maxsize=64)
def trained(
    thresholds: tuple[float, ...],
    way: str = "full",
    k: int = 8,
    turned: bool = False,
    steps: int = 200,
    rate: float = 0.02,
    seed: int = 0,
) -> Story:
    """Train on all scores and tasks at once, and tell the whole story. `turned` reverses the answers of the last task.

    Raises ValueError for an unknown way, or unless there are a task, a feature of the condition and a step at least.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    if min(len(thresholds), k, steps) < 1:
        raise ValueError(f"tasks, k and steps are at least 1, got {len(thresholds)}, {k} and {steps}")
    parts, y = begun(len(thresholds), way, k, seed), labels_of(thresholds, turned)
    flat, free = _flat(parts), _free(parts, way)
    g, mean, square = np.zeros((3, flat.size))
    parts, found = _views(flat, parts), _views(g, parts)
    matrices, conditions = _places(parts)[4], _places(parts)[6]  # where W_γ begins, and where c does
    p, norms = np.empty((steps + 1, *y.shape)), np.full((steps + 1, 2), np.nan)
    for step in range(steps + 1):
        p[step] = sigmoid(logits(parts))
        for into, value in zip(found, gradients(parts, (p[step] - y) / y.size), strict=True):
            into[...] = value
        g *= free
        if "c" not in _held(way):
            squares = g * g
            norms[step] = squares[matrices:conditions].sum(), squares[conditions:].sum()
        mean += 0.1 * (g - mean)
        square += 0.001 * (g * g - square)
        rates = rate / (1 - 0.9 ** (step + 1)), (1 - 0.999 ** (step + 1)) ** -0.5
        flat -= rates[0] * mean / (rates[1] * np.sqrt(square) + 1e-8)
    norms **= 0.5
    q = np.clip(np.where(y > 0, p, 1 - p), 1e-300, None)
    right = ((p > 0.5) == y).mean((1, 2))
    return Story(y, p, -np.log(q).mean((1, 2)), right, *norms.T, added(len(thresholds), way, k))


def added(tasks: int, way: str, k: int) -> int:
    """Numbers that a way adds to one head."""
    matrices = 2 - len(_held(way) & {"W_gamma", "W_beta"})
    if way == "heads":
        return (tasks - 1) * (FEATURES + 1)
    return matrices * FEATURES * k + tasks * k if matrices else 0
