r"""Dropout twice on numbers: a small classifier trained to the end under R-Drop, and all the sub-models that it has.

Points of three classes, with so few features that all masks can be counted: nothing in here is drawn at random but the
data. The loss is half the paper's, $\overline{-\log p_y} + \tfrac\alpha2\,\mathbb EJ + \tfrac\kappa2\|W\|^2$, with the
mean over all masks and all pairs of masks; $\kappa$ is small and keeps W finite.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from . import r_drop as rd

CLASSES, POINTS, WIDEST = 3, 12, 5
"""Classes, points of each class, and the most features a point may have."""

KAPPA = 0.01
"""The weight of the squared weights."""


class Points(NamedTuple):
    """Features (N, n) and labels (N,)."""

    x: np.ndarray
    y: np.ndarray


@functools.lru_cache(maxsize=8)
def points(n: int) -> Points:
    """Points around three centres. Each further feature tells a little more of the class."""
    if not 1 <= n <= WIDEST:
        raise ValueError(f"a point has 1 to {WIDEST} features, so that all masks can be counted; got {n}")
    rng, y = np.random.default_rng(4), np.repeat(np.arange(CLASSES), POINTS)
    sheet = rng.normal(size=(CLASSES, WIDEST))[y] + rng.normal(size=(len(y), WIDEST))
    return Points(sheet[:, :n], y)


def features(x: np.ndarray, rate: float, hidden: bool) -> np.ndarray:
    r"""What the last layer sees under each mask, (N, K, h): $m \circ x/(1-\rho)$, or relu of a fixed map of it."""
    seen = x[:, None] * (rd.dropout_masks(x.shape[1], x) / (1 - rate))
    return _relu(seen) if hidden else seen


def _relu(x: np.ndarray) -> np.ndarray:
    """A hidden layer of n units with random weights, which stay."""
    n = x.shape[-1]
    return np.maximum(x @ np.random.default_rng(5).normal(size=(n, n)) / n**0.5, 0)


def expected_loss_gradient(z: np.ndarray, weights: np.ndarray, y: np.ndarray, alpha: float) -> tuple[float, np.ndarray]:
    r"""$L = \sum_k \omega_k(-\log p^{(k)}_y) + \tfrac\alpha2\,\mathbb EJ$, mean over N points, and its gradient by z.

    With $a^{(k)} = \log p^{(k)}$ and its mean $\bar a$, $\mathbb EJ = \sum_k \omega_k\,p^{(k)}\cdot c^{(k)}$,
    $c^{(k)} = a^{(k)} - \bar a$, and
    $$\frac{\partial\,\mathbb EJ}{\partial z^{(k)}} =
    \omega_k\bigl[p^{(k)} - \bar p + p^{(k)}\circ(c^{(k)} - p^{(k)}\cdot c^{(k)})\bigr].$$
    Here, and only here, classes come first, z (C, N, K): so few are summed several times as fast along the first axis.
    """
    right = np.arange(len(z))[:, None] == y
    a = z - z.max(0)
    a -= np.log(np.exp(a).sum(0))
    p, hit = np.exp(a), (a * right[..., None]).sum(0) @ weights
    c = a - (a @ weights)[..., None]
    inner = (p * c).sum(0)
    slope = p * (1 + alpha / 2 * (1 + c - inner)) - (alpha / 2 * (p @ weights) + right)[..., None]
    loss = alpha / 2 * (inner @ weights).sum() - hit.sum()
    return float(loss) / len(y), slope * (weights / len(y))


@functools.lru_cache(maxsize=512)
def trained(rate: float, alpha: float, n: int, hidden: bool = False, steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Weights (C, h) and offsets (C,) at the minimum of the expected loss, nearly: the loss is within 0.002 of it.

    Each step is one of Newton's with a fixed bound in place of the second derivative (Böhning 1992), and momentum.
    """
    x, y = points(n)
    h, weights = features(x, rate, hidden), rd.mask_probabilities(rd.dropout_masks(n, x), rate)
    rows = np.concatenate([h, np.ones((*h.shape[:2], 1))], -1).reshape(-1, h.shape[-1] + 1)
    shape, decay = (CLASSES, *h.shape[:2]), KAPPA * (np.arange(rows.shape[1]) < h.shape[-1])
    bound = 0.5 * (1 + alpha) * (rows.T * np.tile(weights, len(y))) @ rows / len(y)
    inverse = np.linalg.inv(bound + KAPPA * np.eye(len(bound)))
    columns = np.ascontiguousarray(rows.T)
    theta = ahead = np.zeros((CLASSES, len(bound)))
    for k in range(steps):
        _, slope = expected_loss_gradient((ahead @ columns).reshape(shape), weights, y, alpha)
        new = ahead - (slope.reshape(CLASSES, -1) @ rows + decay * ahead) @ inverse
        theta, ahead = new, new + k / (k + 3) * (new - theta)
    W, b = theta[:, :-1].copy(), theta[:, -1].copy()
    for a in (W, b):
        a.setflags(write=False)  # the cache hands the same arrays to everyone
    return W, b


def random_sub_models(
    rate: float, scale: float, models: int, n: int = 8, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of all sub-models of random softmax layers, (models, 2^n, C), and how often each mask is drawn, (2^n,).

    Features and offsets are standard normal, weights have the standard deviation `scale` over the root of n.
    """
    rng = np.random.default_rng(seed)
    x, W, b = (rng.normal(size=shape) for shape in ((models, 1, n), (models, n, CLASSES), (models, 1, CLASSES)))
    masks = rd.dropout_masks(n, x)
    return (x * (masks / (1 - rate))) @ (scale / n**0.5 * W) + b, rd.mask_probabilities(masks, rate)


class Seen(NamedTuple):
    """Logits of all sub-models (N, K, C), their weights (K,), the logits without dropout (N, C), and the labels."""

    z: np.ndarray
    weights: np.ndarray
    off: np.ndarray
    y: np.ndarray


def sub_models(rate: float, alpha: float, n: int, scale: float = 1.0, hidden: bool = False) -> Seen:
    """All sub-models of the classifier that :func:`trained` gives, its weights multiplied by `scale` afterwards."""
    (x, y), (W, b) = points(n), trained(rate, alpha, n, hidden)
    off = (_relu(x) if hidden else x) @ W.T
    z = features(x, rate, hidden) @ W.T
    weights = rd.mask_probabilities(rd.dropout_masks(n, x), rate)
    return Seen(scale * z + b, weights, scale * off + b, y)


class Summary(NamedTuple):
    """Means over the points: cross-entropy without dropout, what dropout adds, E J, right answers, both gaps."""

    off: float
    added: float
    divergence: float
    right: float
    arithmetic: float
    geometric: float


def summary(seen: Seen) -> Summary:
    """What all sub-models together say about each point, on average."""
    z, weights, off, y = seen
    rows = np.arange(len(y))
    own = rd.cross_entropy(off, y)
    mean = -(rd.log_probabilities(z)[rows, :, y] @ weights)
    p = np.exp(rd.log_probabilities(off))
    arithmetic, geometric = (np.abs(f(z, weights) - p).max(-1) for f in (rd.arithmetic_mean, rd.geometric_mean))
    values = own, mean - own, rd.expected_symmetric_kl(z, weights), off.argmax(-1) == y, arithmetic, geometric
    return Summary(*(round(float(np.mean(value)), 12) for value in values))  # what is 0 but for rounding is 0
