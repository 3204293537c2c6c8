"""Entropy of attention on numbers: random keys, planted keys, and rows of any length measured block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .arrays import softmax
from .attention import attention_scores
from .entropy import attention_entropy, distribution_entropy

Law = Callable[[float, int], float]
"""A scale law: the scale from the number of keys and the number of features."""


def sphere(shape: Sequence[int], d: int, seed: int = 0) -> np.ndarray:
    r"""Vectors of length $\sqrt d$ in uniform directions, (*shape, d): their features have mean square 1."""
    if d < 1:
        raise ValueError(f"a direction needs at least 1 feature, got {d}")
    x = np.random.default_rng(seed).normal(size=(*shape, d))
    return x * (math.sqrt(d) / np.linalg.norm(x, axis=-1, keepdims=True))


def sphere_scores(n: int, d: int, queries: int = 1, seed: int = 0) -> np.ndarray:
    r"""Scores $q\cdot k_j/\sqrt d$ of n keys from :func:`sphere` for each of several queries, (queries, n).

    A query has keys of its own, so the rows are independent. The keys themselves are never made: seen from q, a cosine
    is $g/\sqrt{g^2+\chi^2}$ with a normal g and a chi-square of the d − 1 other directions.
    """
    if n < 1 or d < 2:
        raise ValueError(f"sphere_scores needs at least 1 key and 2 features, got n = {n}, d = {d}")
    rng = np.random.default_rng(seed)
    along = rng.normal(size=(queries, n))
    return math.sqrt(d) * along / np.sqrt(along**2 + rng.chisquare(d - 1, size=(queries, n)))


class Attended(NamedTuple):
    """Means over queries: entropy (nats), weight of the planted keys together, largest weight of another key."""

    entropy: float | np.ndarray
    planted: float | np.ndarray
    other: float | np.ndarray


def attended(scores: np.ndarray, sharpness: float, planted: int = 0, gap: float = 0.0) -> Attended:
    r"""Measure rows of scores (queries, n) that are multiplied by `sharpness`, the first `planted` being `gap`.

    `sharpness` is $\lambda\sqrt d$, the scale in units of the standard one.
    """
    if not 0 <= planted < scores.shape[-1]:
        raise ValueError(f"planted must leave one of the {scores.shape[-1]} keys, got {planted}")
    s = sharpness * scores
    s[:, :planted] = sharpness * gap
    a = softmax(s)
    parts = distribution_entropy(a), a[:, :planted].sum(axis=-1), a[:, planted:].max(axis=-1)
    return Attended(*(float(part.mean()) for part in parts))


def attended_by_length(
    scores: np.ndarray, lengths: Sequence[int], law: Law, d: int, planted: int = 0, gap: float = 0.0
) -> Attended:
    """:func:`attended` under a scale law to the first n keys, for each n of `lengths`: three arrays."""
    rows = [attended(scores[:, :n], law(n, d) * math.sqrt(d), planted, gap) for n in lengths]
    return Attended(*(np.array(column) for column in zip(*rows, strict=True)))


def entropy_of_long_attention(
    q: np.ndarray, k: np.ndarray, scale: float | None = None, causal: bool = False, size: int = 256
) -> np.ndarray:
    """Entropy of each query of q (n, d) over keys (m, d), `size` rows of scores at a time: memory grows with m."""
    rows, keys = [], np.arange(k.shape[0])
    for start in range(0, q.shape[0], size):
        block = q[start : start + size]
        mask = keys <= np.arange(start, start + block.shape[0])[:, None] if causal else None
        rows.append(attention_entropy(attention_scores(block, k, scale), mask))
    return np.concatenate(rows)
