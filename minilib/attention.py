r"""Scaled dot-product attention: masks, heads, and a form whose memory grows with n instead of n².

Positions are the second last axis, features the last; heads, where there are any, come before both. A mask says where
a query may look: boolean, True for yes, queries on the rows and keys on the columns, of any shape that broadcasts to
that of the scores. A query that may look nowhere gets weights 0 and output 0.

Source: Vaswani et al. 2017; for the masks Dong et al. 2019 (UniLM), for the lean form Milakov & Gimelshein 2018 and
Rabe & Staats 2021.
"""

from __future__ import annotations

import math

from jaxtyping import Bool, Float, Int

from .arrays import Array, expect_shape, namespace, positions, running_sum, softmax

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


def attention_scores(
    q: Float[Array, "*#batch n d"], k: Float[Array, "*#batch m d"], scale: float | Float[Array, "*any"] | None = None
) -> Float[Array, "*batch n m"]:
    r"""$s_{ij} = \lambda\, q_i \cdot k_j$ with $\lambda$ = `scale`, $1/\sqrt d$ unless given.

    A scale that depends on the row is an array of shape (…, n, 1). It multiplies the queries, n·d products instead of
    n·m, and they are small before they meet: float16 overflows at 65,504.
    """
    _expect_pair(q, k)
    return (q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)) @ k.mT


def masked_softmax(
    scores: Float[Array, "*batch n m"], mask: Bool[Array, "*any"] | None = None
) -> Float[Array, "*batch n m"]:
    r"""$a_{ij} = m_{ij} e^{s_{ij}} / \sum_l m_{il} e^{s_{il}}$: softmax of each row over the keys that `mask` admits.

    A row without any admitted key is 0. Scores that are not finite give NaN in their row, as softmax does.
    """
    if mask is None:
        return softmax(scores)
    xp = namespace(scores=scores)
    if mask.dtype != xp.bool:
        raise ValueError(
            f"mask must be boolean, True where a query may look, got dtype {mask.dtype}; compare, e.g. > 0"
        )
    # The lowest finite number, not −∞: a row without any key is then uniform, and the product makes it 0, not NaN.
    lowest = xp.asarray(xp.finfo(scores.dtype).min, dtype=scores.dtype, device=scores.device)
    return softmax(xp.where(mask, scores, lowest)) * xp.astype(mask, scores.dtype)


def attention_weights(
    q: Float[Array, "*#batch n d"],
    k: Float[Array, "*#batch m d"],
    mask: Bool[Array, "*any"] | None = None,
    scale: float | Float[Array, "*any"] | None = None,
) -> Float[Array, "*batch n m"]:
    r"""$A = \mathrm{softmax}(\lambda\, q k^\top)$, each row a distribution over the keys; see :func:`attention`."""
    return masked_softmax(attention_scores(q, k, scale), mask)


def attention(
    q: Float[Array, "*#batch n d"],
    k: Float[Array, "*#batch m d"],
    v: Float[Array, "*#batch m e"],
    mask: Bool[Array, "*any"] | None = None,
    scale: float | Float[Array, "*any"] | None = None,
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
