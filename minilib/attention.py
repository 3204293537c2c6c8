r"""Scaled dot-product attention: masks, heads, and a form whose memory grows with n instead of n².

Positions are the second last axis, features the last; heads, where there are any, come before both. A mask says where
a query may look: boolean, True for yes, queries on the rows and keys on the columns, of any shape that broadcasts to
that of the scores. A query that may look nowhere gets weights 0 and output 0.

Source: Vaswani et al. 2017; for the masks Dong et al. 2019 (UniLM), for the lean form Milakov & Gimelshein 2018 and
Rabe & Staats 2021.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from .arrays import Array, at_least_float32, expect_shape, namespace, positions, running_sum, softmax

# ---------------------------------------------------------------------------------------------------------------
# attention


def _expect_pair(q: Array, k: Array) -> None:
    namespace(q=q, k=k)
    if q.ndim < 2 or k.ndim < 2 or q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"q and k must have shapes (…, n, d) and (…, m, d) with the same number of features d, "
            f"got {tuple(q.shape)} and {tuple(k.shape)}"
        )
    if k.shape[-2] == 0:
        raise ValueError(f"attention needs at least one key, got k of shape {tuple(k.shape)}")


def _scaled(q: Array, scale: float | Array | None) -> Array:
    return q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)


def attention_scores(
    q: Float[Array, "*#batch n d"], k: Float[Array, "*#batch m d"], scale: float | Float[Array, "*rows"] | None = None
) -> Float[Array, "*batch n m"]:
    r"""$s_{ij} = \lambda\, q_i \cdot k_j$ with $\lambda$ = `scale`, $1/\sqrt d$ unless given.

    A scale that depends on the row is an array of shape (…, n, 1). It multiplies the queries, n·d products instead of
    n·m, and they are small before they meet: float16 overflows at 65,504.
    """
    _expect_pair(q, k)
    return _scaled(q, scale) @ k.mT


def expect_mask(mask: Array, like: Array) -> None:
    """Raise ValueError unless `mask` is boolean, in the array library of `like`."""
    if mask.dtype != namespace(like=like).bool:
        raise ValueError(
            f"mask must be boolean, True where a query may look, got dtype {mask.dtype}; compare, e.g. > 0"
        )


def masked_softmax(
    scores: Float[Array, "*batch n m"], mask: Bool[Array, "*any"] | None = None
) -> Float[Array, "*batch n m"]:
    r"""$a_{ij} = m_{ij} e^{s_{ij}} / \sum_l m_{il} e^{s_{il}}$: softmax of each row over the keys that `mask` admits.

    A row without any admitted key is 0. A score of −∞ has the weight 0; +∞ or NaN makes its row NaN, as in softmax.
    """
    if mask is None:
        return softmax(scores)
    xp = namespace(scores=scores)
    expect_mask(mask, scores)
    # The lowest finite number, not −∞: a row without any key is then uniform, and the product makes it 0, not NaN.
    lowest = xp.asarray(xp.finfo(scores.dtype).min, dtype=scores.dtype, device=scores.device)
    return softmax(xp.where(mask, scores, lowest)) * xp.astype(mask, scores.dtype)


def attention_weights(
    q: Float[Array, "*#batch n d"],
    k: Float[Array, "*#batch m d"],
    mask: Bool[Array, "*any"] | None = None,
    scale: float | Float[Array, "*rows"] | None = None,
) -> Float[Array, "*batch n m"]:
    r"""$A = \mathrm{softmax}(\lambda\, q k^\top)$, each row a distribution over the keys; see :func:`attention`."""
    return masked_softmax(attention_scores(q, k, scale), mask)


def attention(
    q: Float[Array, "*#batch n d"],
    k: Float[Array, "*#batch m d"],
    v: Float[Array, "*#batch m e"],
    mask: Bool[Array, "*any"] | None = None,
    scale: float | Float[Array, "*rows"] | None = None,
) -> Float[Array, "*batch n e"]:
    r"""$o_i = \sum_j a_{ij} v_j$ with $a_{ij} = e^{\lambda q_i\cdot k_j}/\sum_l e^{\lambda q_i\cdot k_l}$.

    `mask` is True where query i may look at key j. `scale` is $\lambda$, $1/\sqrt d$ unless given: a number, or
    an array (…, n, 1) for a scale of each row's own; the laws are in :mod:`minilib.entropy`. Raises ValueError if
    shapes do not fit. Vaswani et al. 2017.
    """
    namespace(q=q, k=k, v=v)
    expect_shape("v", v, (k.shape[-2], None), f"there is one value for each of the {k.shape[-2]} keys")
    return attention_weights(q, k, mask, scale) @ v


# ---------------------------------------------------------------------------------------------------------------
# the lean form


class _Partial(NamedTuple):
    """Attention to some of the keys: the largest score t, and the sums of $e^{s-t}$ and of $e^{s-t} v$."""

    top: Array
    total: Array
    output: Array


def _attend(q: Array, k: Array, v: Array, mask: Array | None) -> _Partial:
    xp = namespace(q=q)
    scores, lowest = q @ k.mT, xp.finfo(q.dtype).min
    if mask is not None:
        expect_mask(mask, q)
        scores = xp.where(mask, scores, xp.asarray(lowest, dtype=q.dtype, device=q.device))
    top = xp.clip(xp.max(scores, axis=-1, keepdims=True), min=lowest)
    e = xp.exp(scores - top)
    e = e if mask is None else e * xp.astype(mask, q.dtype)
    wide = at_least_float32(q)
    return _Partial(*(xp.astype(a, wide) for a in (top, xp.sum(xp.astype(e, wide), axis=-1, keepdims=True), e @ v)))


def _merged(a: _Partial, b: _Partial) -> _Partial:
    xp = namespace(a=a.top, b=b.top)
    top = xp.maximum(a.top, b.top)
    share_a, share_b = xp.exp(a.top - top), xp.exp(b.top - top)
    return _Partial(top, share_a * a.total + share_b * b.total, share_a * a.output + share_b * b.output)


def _cuts(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]


def _expect_lean(size: int, mask: object) -> None:
    if size < 1:
        raise ValueError(f"size must be at least 1 position, got {size}")
    if mask is not None and not callable(mask):
        raise ValueError(
            "mask must be a function of positions, e.g. lambda i, j: j <= i, so that no n × n array need exist; "
            f"got {type(mask).__name__}; an array m is given as lambda i, j: m[..., i, j]"
        )


def lean_attention(
    q: Float[Array, "*#batch n d"],
    k: Float[Array, "*#batch m d"],
    v: Float[Array, "*#batch m e"],
    mask: Callable[[Array, Array], Array] | None = None,
    scale: float | Float[Array, "*rows"] | None = None,
    size: int = 256,
) -> Float[Array, "*batch n e"]:
    r"""As :func:`attention`, block by block: $o = \sum_b e^{t_b - t} o_b \big/ \sum_b e^{t_b - t} z_b$, $t = \max t_b$.

    $t_b$, $z_b$, $o_b$ are the largest score of a row in block b of the keys, and the sums of $e^{s_{ij} - t_b}$ and
    of $e^{s_{ij} - t_b} v_j$. Blocks have `size` queries and keys, and one is held at a time: memory grows with n, time
    still with n². `mask` is a function of two arrays of positions, queries (n, 1) and keys (1, m), called for each
    block: ``lambda i, j: j <= i``. A row whose scores are all −∞ is 0. Milakov & Gimelshein 2018; Rabe & Staats 2021.

    Under torch's autograd every block is kept for the way back; a fused kernel avoids that.
    """
    xp = namespace(q=q, k=k, v=v)
    _expect_pair(q, k)
    expect_shape("v", v, (k.shape[-2], None), f"there is one value for each of the {k.shape[-2]} keys")
    _expect_lean(size, mask)
    q, outputs = _scaled(q, scale), []
    rows, columns = positions(q.shape[-2], q)[:, None], positions(k.shape[-2], q)[None, :]
    for i in _cuts(q.shape[-2], size):
        parts = (
            _attend(q[..., i, :], k[..., j, :], v[..., j, :], None if mask is None else mask(rows[i, :], columns[:, j]))
            for j in _cuts(k.shape[-2], size)
        )
        _, total, output = functools.reduce(_merged, parts)
        outputs.append(xp.astype(output / xp.where(total > 0, total, xp.ones_like(total)), v.dtype))
    return xp.concat(outputs, axis=-2)


# ---------------------------------------------------------------------------------------------------------------
# masks


def padding_mask(lengths: Int[Array, "*batch"], n: int) -> Bool[Array, "*batch 1 n"]:
    r"""$m_{ij} = [j < \ell]$: nobody looks at the padding after `lengths` $\ell$ tokens. Shape (…, 1, n)."""
    return positions(n, lengths) < lengths[..., None, None]


def causal_mask(n: int, like: Array) -> Bool[Array, "n n"]:
    r"""$m_{ij} = [j \le i]$: every token looks at itself and back. On the device of `like`."""
    i = positions(n, like)
    return i[None, :] <= i[:, None]


def unilm_mask(target: Int[Array, "*batch n"]) -> Bool[Array, "*batch n n"]:
    r"""$m_{ij} = [c_j \le c_i]$, $c$ the running sum of `target`: 0 for a token of the source, 1 for one of the target.

    The source sees itself in both directions; the target sees the source and, causally, itself. Dong et al. 2019.
    """
    c = running_sum(target)
    return c[..., None, :] <= c[..., :, None]


def visible_keys(mask: Bool[Array, "*any n #m"], k: Float[Array, "*batch m d"]) -> Float[Array, "*any n 1"]:
    r"""$n_i = \max(1, \sum_j m_{ij})$: how many of the keys `k` each query may look at, shape (…, n, 1).

    It is what a scale law takes for the length: i + 1 under a causal mask, the true length under padding. At least 1,
    so that a law may take its logarithm even where a query sees nothing; float32 at least.
    """
    xp = namespace(k=k)
    expect_mask(mask, k)
    count = xp.sum(xp.astype(mask, xp.int64), axis=-1, keepdims=True) * (k.shape[-2] // mask.shape[-1])
    return xp.astype(xp.clip(count, min=1), at_least_float32(k))


# ---------------------------------------------------------------------------------------------------------------
# heads


def split_heads(x: Float[Array, "*batch n d"], heads: int) -> Float[Array, "*batch h n d_h"]:
    """Cut the features of each token into `heads` equal pieces: (…, n, h·d_h) to (…, h, n, d_h)."""
    if heads < 1 or x.shape[-1] % heads:
        raise ValueError(f"{x.shape[-1]} features cannot be shared out among {heads} heads; take a divisor")
    xp = namespace(x=x)
    pieces = xp.reshape(x, (*x.shape[:-1], heads, x.shape[-1] // heads))
    return xp.moveaxis(pieces, -2, -3)


def merge_heads(x: Float[Array, "*batch h n d_h"]) -> Float[Array, "*batch n d"]:
    """Put the heads' features side by side again: the inverse of :func:`split_heads`."""
    xp = namespace(x=x)
    pieces = xp.moveaxis(x, -3, -2)
    return xp.reshape(pieces, (*pieces.shape[:-2], pieces.shape[-2] * pieces.shape[-1]))


def multi_head_attention(
    x: Float[Array, "*batch n d"],
    memory: Float[Array, "*batch m d"],
    W_q: Float[Array, "d d"],
    W_k: Float[Array, "d d"],
    W_v: Float[Array, "d d"],
    W_o: Float[Array, "d d"],
    heads: int,
    mask: Bool[Array, "*any"] | None = None,
    scale: float | Float[Array, "*rows"] | None = None,
) -> Float[Array, "*batch n d"]:
    r"""$W_o\,[o_1; \dots; o_h]$, head r attending with the r-th piece of $W_q x$, $W_k x'$, $W_v x'$; $x'$ = `memory`.

    `memory` is `x` itself for self-attention. Weights have shape (out, in), as in PyTorch. `mask` of shape (…, n, m) is
    the same for all heads; `scale` broadcasts to (…, heads, n, 1) and is $1/\sqrt{d/h}$ unless given.
    """
    namespace(x=x, memory=memory, W_q=W_q, W_k=W_k, W_v=W_v, W_o=W_o)
    q, k, v = (split_heads(a @ W.mT, heads) for a, W in ((x, W_q), (memory, W_k), (memory, W_v)))
    mask = None if mask is None else for_all_heads(mask)
    return merge_heads(attention(q, k, v, mask, scale)) @ W_o.mT


def for_all_heads(a: Array) -> Array:
    """Give a mask or a scale of shape (…, n, m) an axis for the heads: (…, 1, n, m)."""
    if a.ndim < 2:
        raise ValueError(f"expected shape (…, n, m), with an axis for queries and one for keys, got {tuple(a.shape)}")
    return a[..., None, :, :]
