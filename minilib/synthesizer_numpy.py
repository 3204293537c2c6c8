"""Synthesizers on numbers: one head of each variant on a sentence, and how well a fixed mixing does two small tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from . import synthesizer as syn
from .attention import attention_scores

_TEXT = "the cat saw the dog and the dog saw the bird but the bird saw that the cat had seen the dog run away"

SENTENCE = tuple(_TEXT.split())
"""24 words, of which many occur more than once: equal tokens, which a map may or may not tell apart."""

LONGEST = len(SENTENCE)

VARIANTS = ("QKᵀ", "dense", "factorized dense, tiled", "factorized dense, interleaved", "random", "factorized random")

ACTIONS = ("none", "change a word", "swap two words")

TOUCHED = (1, 4)
"""The positions of "cat" and "dog": one is changed to "fox", or the two are swapped."""


def act(words: Sequence[str], action: str) -> list[str]:
    """Return the words after one of the :data:`ACTIONS`."""
    if action not in ACTIONS:
        raise ValueError(f"action must be one of {', '.join(ACTIONS)}, got {action!r}")
    words, (one, other) = list(words), TOUCHED
    if action == "change a word":
        words[other] = "fox"
    elif action == "swap two words":
        words[one], words[other] = words[other], words[one]
    return words


def embed(words: Sequence[str], d: int, seed: int = 0) -> np.ndarray:
    """A normal vector for each different word, (n, d), so that equal words are equal tokens. No positions."""
    table = {word: np.random.default_rng([seed, *word.encode()]).normal(size=d) for word in sorted(set(words))}
    return np.stack([table[word] for word in words])


def head_scores(
    variant: str, x: np.ndarray, width: int = 16, rank: int = 4, a: int = 4, std: float = 1.0, seed: int = 0
) -> np.ndarray:
    """The scores (n, n) of one untrained head of `width` features on tokens `x` (n, d), n at most :data:`LONGEST`.

    Matrices keep the variance; random scores have the standard deviation `std`. `rank` is that of factorized random
    scores, `a` the first factor of factorized dense ones. The same seed gives the same weights. Raises ValueError if
    there is no such variant or a does not divide LONGEST.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    rng, n, d = np.random.default_rng([seed, VARIANTS.index(variant)]), *x.shape
    if variant == "random":
        return syn.random_scores(std * rng.normal(size=(LONGEST, LONGEST)), n)
    if variant == "factorized random":
        R = math.sqrt(std / math.sqrt(rank)) * rng.normal(size=(2, LONGEST, rank))
        return syn.factorized_random_scores(R[0], R[1], n)
    q = x @ rng.normal(size=(d, width)) / math.sqrt(d)
    if variant == "QKᵀ":
        return attention_scores(q, x @ rng.normal(size=(d, width)) / math.sqrt(d))
    if variant == "dense":
        return syn.dense_scores(q, math.sqrt(2 / width) * rng.normal(size=(LONGEST, width)))
    return _factorized_dense(variant, q, a, rng)


def _factorized_dense(variant: str, q: np.ndarray, a: int, rng: np.random.Generator) -> np.ndarray:
    if a < 1 or LONGEST % a:
        raise ValueError(f"a must divide the longest length {LONGEST}, got {a}")
    hidden, spread = np.maximum(q, 0), math.sqrt(2 / q.shape[-1])
    u, v = (hidden @ (spread * rng.normal(size=(q.shape[-1], size))) for size in (a, LONGEST // a))
    return (syn.tiled_scores if variant.endswith("tiled") else syn.interleaved_scores)(u, v)


def moved_rows(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Which rows of two maps (n, m) differ by more than rounding, as booleans (n,)."""
    return np.abs(after - before).max(axis=-1) > 1e-9


# ---------------------------------------------------------------------------------------------------------------
# two tasks for one layer

TASKS = ("copy", "retrieve")


def task(kind: str, n: int, samples: int, seed: int = 0, d: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens (samples, n, d), what is wanted (samples, m, d), and the place where it stands (samples, m).

    Tokens are normal noise. "copy" wants the token before each but the first (m = n − 1), "retrieve" the one at a
    random place (m = 1).
    """
    if kind not in TASKS:
        raise ValueError(f"kind must be one of {', '.join(TASKS)}, got {kind!r}")
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, n, d))
    place = (
        np.broadcast_to(np.arange(n - 1), (samples, n - 1)) if kind == "copy" else rng.integers(n, size=(samples, 1))
    )
    return x, np.take_along_axis(x, place[:, :, None], axis=1), place


def fixed_error(kind: str, n: int, samples: int = 4000, seed: int = 0) -> float:
    """Mean square error of the best fixed mixing, relative to the mean square of what is wanted, on fresh samples."""
    M = syn.best_mixing(*task(kind, n, samples, seed)[:2])
    x, y, _ = task(kind, n, samples, seed + 1000)
    return float(((M @ x - y) ** 2).mean() / (y**2).mean())


def looking_error(kind: str, n: int, samples: int = 4000, seed: int = 0, strength: float = 50.0) -> float:
    """The same for attention that looks: each token carries its place, and a query the place that is wanted.

    Keys and queries are one-hot, the score of the right key is `strength`, all others 0.
    """
    x, y, place = task(kind, n, samples, seed)
    A = np.exp(strength * (np.eye(n)[place] - 1))
    A /= A.sum(axis=-1, keepdims=True)
    return float(((A @ x - y) ** 2).mean() / (y**2).mean())
