"""BERT on numbers: what its heads look at, heads switched off, gaps drawn at random, the loss before any training."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from .bert import BertWeights, HeadWeights, mlm_logits
from .layernorm import layer_norm
from .masking import chosen_words

# ---------------------------------------------------------------------------------------------------------------
# heads


class Looks(NamedTuple):
    """How much weight each head (layers, heads) gives to itself, its neighbours, the special tokens, its own kind.

    `same` is the weight on other tokens with the same piece, over the tokens that have such.
    """

    itself: np.ndarray
    previous: np.ndarray
    next: np.ndarray
    first: np.ndarray
    separator: np.ndarray
    same: np.ndarray


def head_looks(maps: Sequence[np.ndarray], texts: Sequence[np.ndarray]) -> Looks:
    """The mean weights of heads, `maps` (L, h, n, n) of each text, over all tokens but the first and the last.

    A text is a row of ids with ``[CLS]`` in front and ``[SEP]`` at the end. For chance level give uniform maps.
    """
    sums, counts = np.zeros((6, *maps[0].shape[:2])), np.zeros(6)
    for A, ids in zip(maps, texts, strict=True):
        i = np.arange(1, len(ids) - 1)
        alike = (ids[:, None] == ids[None, :]) & ~np.eye(len(ids), dtype=bool)
        kin = i[alike[i].any(axis=1)]
        columns = [A[..., i, i], A[..., i, i - 1], A[..., i, i + 1], A[..., i, 0], A[..., i, -1]]
        columns.append((A[..., kin, :] * alike[kin]).sum(axis=-1))
        sums += [c.sum(axis=-1, dtype=np.float64) for c in columns]
        counts += [c.shape[-1] for c in columns]
    with np.errstate(invalid="ignore"):  # without any repeated piece `same` is NaN
        return Looks(*(sums / counts[:, None, None]))


def without_heads(weights: BertWeights, heads: int, off: Iterable[tuple[int, int]]) -> BertWeights:
    r"""The same encoder with the heads (layer, head) in `off`, counted from 0, silent: their columns of $W_o$ are 0.

    Raises ValueError for a head that there is not.
    """
    blocks = list(weights.blocks)
    for layer, head in off:
        if not (0 <= layer < len(blocks) and 0 <= head < heads):
            raise ValueError(f"there are {len(blocks)} layers of {heads} heads, counted from 0; got {(layer, head)}")
        W_o, width = blocks[layer].W_o.copy(), blocks[layer].W_o.shape[1] // heads
        W_o[:, head * width : (head + 1) * width] = 0
        blocks[layer] = blocks[layer]._replace(W_o=W_o)
    return weights._replace(blocks=tuple(blocks))


# ---------------------------------------------------------------------------------------------------------------
# masking


@functools.lru_cache(maxsize=64)
def word_of_each_token(n: int, mean: float, seed: int = 0) -> np.ndarray:
    """Number the words of `n` tokens; a word goes on after each of its tokens with probability 1 − 1/`mean`."""
    if not mean >= 1:
        raise ValueError(f"a word has at least one token, got a mean of {mean}")
    begins = np.random.default_rng(seed).random(n) < 1 / mean
    begins[0] = True
    words = np.cumsum(begins) - 1
    words.setflags(write=False)  # the cache hands the same array to everyone
    return words


@functools.lru_cache(maxsize=4)
def _sheet(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, columns))


def masked_shares(share: float, words: np.ndarray, draws: int = 400, seed: int = 0) -> np.ndarray:
    """Mask one text `draws` times, by whole words; the share of its tokens that is chosen each time."""
    noise = _sheet(draws, max(512, int(words[-1]) + 1), seed)[:, : int(words[-1]) + 1]
    return chosen_words(noise, share, words).mean(axis=-1)


# ---------------------------------------------------------------------------------------------------------------
# before any training


def cut_normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, limit: float = math.inf) -> np.ndarray:
    r"""Draw from $N(0, \sigma^2)$ in float32; what lies beyond `limit` $\cdot\,\sigma$ is drawn again."""
    x = rng.standard_normal(shape, np.float32)
    while (far := np.abs(x) > limit).any():
        x[far] = rng.standard_normal(int(far.sum()), np.float32)
    return x * np.float32(std)


def untrained_loss(
    vocabulary: int, d: int, std: float, limit: float = math.inf, tokens: int = 64, seed: int = 0
) -> float:
    r"""The mean loss of an untrained head for masked words, whose table and matrix are drawn with `std`.

    States are white noise, normalised. As nothing is known of the right word yet, the mean is over all words. `limit`
    cuts the normal distribution off at so many standard deviations.
    """
    rng = np.random.default_rng(seed)
    h = layer_norm(rng.standard_normal((tokens, d), np.float32))
    zeros, ones = np.zeros(d, np.float32), np.ones(d, np.float32)
    head = HeadWeights(cut_normal(rng, (d, d), std, limit), zeros, ones, zeros, np.zeros(vocabulary, np.float32))
    logits = mlm_logits(h, head, cut_normal(rng, (vocabulary, d), std, limit))
    top = logits.max(axis=-1)
    total = np.log(np.exp(logits - top[:, None]).sum(axis=-1)) + top
    return float((total - logits.mean(axis=-1)).mean())
