r"""Masked language modelling: which tokens a network has to guess, and what it sees in their place.

A share p of the tokens is chosen (0.15 in BERT). Of a chosen token the network sees [MASK] in 8 cases of 10, the token
itself in one, and a random token in one; it has to name the token in all of them, and nothing is asked of the others.
Tokens are the last axis. Randomness is an argument: `noise` and `dice` are uniform in [0, 1), `substitutes` are
uniform ids. A text that is read again with new noise has new gaps, whereas BERT's script stored ten copies.

Sources: Devlin et al. 2019 (BERT) and its script for whole words; Lan et al. 2020 (ALBERT: n-grams); Yang et al. 2019
(XLNet: permutations). The mask of UniLM is :func:`minilib.attention.unilm_mask`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from .arrays import Array, at_least_float32, namespace, positions

# ---------------------------------------------------------------------------------------------------------------
# what is chosen


def _expect_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is a share between 0 and 1, got {share}; 15 % is 0.15")


def _expect_integers(like: Array, **arrays: Array) -> None:
    xp = namespace(like=like)
    for name, a in arrays.items():
        if not xp.isdtype(a.dtype, "integral"):
            raise ValueError(f"{name} must hold integers, got dtype {a.dtype}; convert it, e.g. to int64")


def _expect_flags(like: Array, **arrays: Array) -> None:
    xp = namespace(like=like)
    for name, a in arrays.items():
        if a.dtype != xp.bool:
            raise ValueError(f"{name} must be boolean, one flag for each token, got dtype {a.dtype}; compare, e.g. > 0")


def chosen_tokens(
    noise: Float[Array, "*#batch n"], share: float, maskable: Bool[Array, "*#batch n"]
) -> Bool[Array, "*batch n"]:
    r"""$c_i = [u_i < p]\,m_i$: each token by itself with probability p = `share`, where `maskable` admits it.

    Special tokens and padding are not maskable. How many are chosen is left to chance, see :func:`masked_share_std`.
    """
    _expect_share("share", share)
    _expect_flags(noise, maskable=maskable)
    return (noise < share) & maskable


def chosen_exactly(
    noise: Float[Array, "*#batch n"], count: int | Int[Array, "*#batch 1"], maskable: Bool[Array, "*#batch n"]
) -> Bool[Array, "*batch n"]:
    r"""$c_i = [\mathrm{rank}(u_i) < k]\,m_i$: the k = `count` maskable tokens of the least noise, each set alike.

    `count` is a number, or one for each row, (…, 1); :func:`mask_count` is BERT's. All, where there are no more than k.
    """
    xp = namespace(noise=noise)
    _expect_flags(noise, maskable=maskable)
    if isinstance(count, int) and count < 0:
        raise ValueError(f"count is a number of tokens, at least 0; got {count}")
    last = xp.where(maskable, noise, xp.full_like(noise, math.inf))
    rank = xp.argsort(xp.argsort(last, axis=-1), axis=-1)
    return (rank < count) & maskable


def mask_count(n: int, share: float = 0.15, most: int = 20) -> int:
    r"""$k = \min(\text{most}, \max(1, \mathrm{round}(pn)))$: how many of n tokens BERT's script chooses.

    n counts the special tokens, too. 20 is its bound for a length of 128. A half goes to the even neighbour.
    """
    _expect_share("share", share)
    if n < 1 or most < 1:
        raise ValueError(f"n and most count tokens, at least 1 each; got n = {n}, most = {most}")
    return min(most, max(1, round(share * n)))


def chosen_words(
    noise: Float[Array, "*batch w"], share: float, words: Int[Array, "*#batch n"]
) -> Bool[Array, "*batch n"]:
    r"""$c_i = [u_{w(i)} < p]$: whole words, each with probability p = `share`; −1 in `words` is never chosen.

    `words` numbers the word of each token, `noise` holds one number for each word. The expected share of chosen tokens
    is p as before, its deviation is wider: see :func:`masked_share_std`.
    """
    xp = namespace(noise=noise)
    _expect_share("share", share)
    _expect_integers(noise, words=words)
    if noise.shape[-1] == 0:
        raise ValueError(f"noise must hold a number for each word, at least one; got shape {tuple(noise.shape)}")
    words = xp.broadcast_to(words, (*noise.shape[:-1], words.shape[-1]))
    return xp.take_along_axis(noise < share, xp.clip(words, min=0), axis=-1) & (words >= 0)


# ---------------------------------------------------------------------------------------------------------------
# n-grams


def ngram_probabilities(most: int = 3) -> tuple[float, ...]:
    r"""$p(l) = \frac{1/l}{\sum_{k=1}^{N} 1/k}$ for l = 1, …, N = `most`: the lengths of n-grams in ALBERT.

    $N/\sum_k \frac1k$ on average, for each length adds the same.
    """
    if most < 1:
        raise ValueError(f"most is the length of the longest n-gram, at least 1; got {most}")
    total = sum(1 / k for k in range(1, most + 1))
    return tuple(1 / length / total for length in range(1, most + 1))


def ngram_lengths(noise: Float[Array, "*shape"], most: int = 3) -> Int[Array, "*shape"]:
    r"""$l = 1 + \#\{k < N : u \ge p(1) + \dots + p(k)\}$: lengths that follow :func:`ngram_probabilities`."""
    xp = namespace(noise=noise)
    lengths, below = xp.ones(noise.shape, dtype=xp.int64, device=noise.device), 0.0
    for probability in ngram_probabilities(most)[:-1]:
        below += probability
        lengths = lengths + xp.astype(noise >= below, xp.int64)
    return lengths


def chosen_spans(
    noise: Float[Array, "*#batch n"], rate: float, lengths: Int[Array, "*#batch n"]
) -> Bool[Array, "*batch n"]:
    r"""$c_i = \bigvee_j\, [u_j < r]\,[j \le i < j + l_j]$: a span starts at each place with probability r = `rate`.

    `lengths` are those of the spans that may start at each place. Spans overlap where it so happens, and one that
    reaches past the end is cut off. The caller takes out what is not maskable. It makes n² flags.
    """
    xp = namespace(noise=noise)
    _expect_share("rate", rate)
    _expect_integers(noise, lengths=lengths)
    i = positions(noise.shape[-1], noise)
    since = i[:, None] - i[None, :]
    reached = (since >= 0) & (since < lengths[..., None, :])
    return xp.any(reached & (noise < rate)[..., None, :], axis=-1)


def span_share(rate: float, probabilities: Iterable[float]) -> float:
    r"""$1 - \prod_{k=0}^{N-1} \bigl(1 - r\,P(l > k)\bigr)$: the share that spans cover which start at the rate r.

    A token stays visible if none of the N starts that could reach it does: the one k places before needs a length above
    k. Away from the beginning of the text, where fewer starts reach.
    """
    _expect_share("rate", rate)
    visible, longer = 1.0, 1.0
    for probability in probabilities:
        visible *= 1 - rate * longer
        longer -= probability
    return 1 - visible


# ---------------------------------------------------------------------------------------------------------------
# what is seen, and what is asked


def masked_ids(
    ids: Int[Array, "*#batch n"],
    chosen: Bool[Array, "*#batch n"],
    dice: Float[Array, "*#batch n"],
    substitutes: Int[Array, "*#batch n"],
    mask_id: int,
    mask: float = 0.8,
    same: float = 0.1,
) -> Int[Array, "*batch n"]:
    r"""$x'_i$ = [MASK] if $d_i < 0.8$, $x_i$ if $d_i < 0.9$, else the substitute; $x_i$ where i is not chosen.

    `mask` and `same` are the shares of the first two cases. A substitute out of V ids is the token itself once in V
    cases, and may be a special token if it is drawn from all ids: BERT's script lets both happen.
    """
    xp = namespace(dice=dice)
    _expect_integers(dice, ids=ids, substitutes=substitutes)
    _expect_flags(dice, chosen=chosen)
    _expect_share("mask", mask)
    _expect_share("same", same)
    _expect_share("mask + same", mask + same)
    seen = xp.where(dice < mask + same, ids, substitutes)
    seen = xp.where(dice < mask, xp.full_like(seen, mask_id), seen)
    return xp.where(chosen, seen, ids)


def masked_mean(loss: Float[Array, "*#batch n"], chosen: Bool[Array, "*#batch n"]) -> Float[Array, ""]:
    r"""$\sum_i c_i \ell_i \,/\, \max(1, \sum_i c_i)$ over the whole batch: the loss of the chosen tokens, 0 if none is.

    A token weighs the same wherever it stands, so a row with more gaps weighs more than one with few.
    Summed in float32 at least.
    """
    xp, wide = namespace(loss=loss), at_least_float32(loss)
    _expect_flags(loss, chosen=chosen)
    zeros = xp.zeros_like(loss, dtype=wide)
    number = xp.sum(xp.astype(chosen, wide) + zeros)
    total = xp.sum(xp.where(chosen, xp.astype(loss, wide), zeros))
    return xp.astype(total / xp.clip(number, min=1), loss.dtype)


# ---------------------------------------------------------------------------------------------------------------
# how many


class Fractions(NamedTuple):
    """Shares of all tokens: shown as [MASK], shown as they are, shown as a substitute."""

    mask: float
    same: float
    substitute: float


def mask_fractions(share: float = 0.15, mask: float = 0.8, same: float = 0.1) -> Fractions:
    r"""$p\,(0.8,\ 0.1,\ 0.1)$ = 12 %, 1.5 % and 1.5 % of all tokens: what a network meets in its input."""
    for name, value in (("share", share), ("mask", mask), ("same", same), ("mask + same", mask + same)):
        _expect_share(name, value)
    return Fractions(share * mask, share * same, share * (1 - mask - same))


def masked_share_std(share: float, n: int, lengths: Iterable[float] = (1,)) -> float:
    r"""$\sqrt{\frac{p(1-p)}{n}\,\frac{E[l^2]}{E[l]}}$: standard deviation of the share of n tokens that is chosen.

    `lengths` are those of the words that are chosen whole, in tokens: a sample of them, or all words of one text, for
    which it is exact; 1 for single tokens. Of w words the chosen number of tokens has the variance
    $p(1-p)\sum_w l_w^2$, and n tokens hold $n/E[l]$ words. $E[l^2]/E[l]$ is the length of the word around a random
    token, at least $E[l]$: a long word holds more of the tokens.
    """
    _expect_share("share", share)
    first, second = _moments(n, lengths)
    return math.sqrt(share * (1 - share) / n * second / first)


def none_chosen(share: float, n: int, lengths: Iterable[float] = (1,)) -> float:
    r"""$(1-p)^{n/E[l]}$: the probability that none of n tokens is chosen, and a text teaches nothing.

    `lengths` as in :func:`masked_share_std`; exact for all words of one text.
    """
    _expect_share("share", share)
    return (1 - share) ** (n / _moments(n, lengths)[0])


def _moments(n: int, lengths: Iterable[float]) -> tuple[float, float]:
    lengths = [float(length) for length in lengths]
    if n < 1 or not lengths or min(lengths) <= 0:
        raise ValueError(f"n tokens and the lengths of words must be positive, got n = {n} and {len(lengths)} lengths")
    return sum(lengths) / len(lengths), sum(length**2 for length in lengths) / len(lengths)


# ---------------------------------------------------------------------------------------------------------------
# another way to hide


def permutation_mask(order: Int[Array, "*batch n"]) -> Bool[Array, "*batch n n"]:
    r"""$m_{ij} = [o_j \le o_i]$: a token looks at those that come no later in `order`, wherever they stand. XLNet.

    In the order of places it is the causal mask, with one number for all it hides nothing, and the running sum of
    UniLM's flags makes UniLM's mask. Rows and columns of the causal mask are permuted; the tokens stay in place.
    """
    return order[..., None, :] <= order[..., :, None]
