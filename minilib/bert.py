r"""The encoder of BERT: embeddings, a stack of blocks, and what is read off at the end.

Each token is the sum of three vectors: of its piece, of the part of the text that it is in, and of its position. A
block lets the tokens attend to each other and then passes each through a feed-forward layer; the normalisation comes
after each sum (post-norm). Positions are the second last axis, features the last. Weights have PyTorch's layout: a
matrix of shape (out, in), and $y = Wx + b$.

The encoder returns the states before and after each block and nothing else. Queries, keys, scores and weights of every
layer are a function of the states before it: ``bert_queries_keys(state, block, heads)``, and peeping costs nothing
unless one peeps.

Sources: Devlin et al. 2019 (BERT); Vaswani et al. 2017 (the block); Reimers & Gurevych 2019 (the mean of the states).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from .arrays import Array, exact_gelu, expect_shape, namespace
from .attention import attention_weights, for_all_heads, merge_heads, padding_mask, split_heads
from .layernorm import layer_norm

EPS = 1e-12
r"""BERT's $\epsilon$ in the normalisation. float16 rounds it to 0, and a vector of equal features becomes NaN."""

# ---------------------------------------------------------------------------------------------------------------
# weights


class EmbeddingWeights(NamedTuple):
    """One row for each piece (V, d), each part of the text (S, d) and each position (N, d); gamma, beta (d,)."""

    pieces: Array
    segments: Array
    positions: Array
    gamma: Array
    beta: Array


class BlockWeights(NamedTuple):
    """Attention: W_q to W_o (d, d) and their b (d,). Feed-forward layer: W_1 (f, d), b_1 (f,), W_2 (d, f), b_2 (d,).

    gamma_1, beta_1 (d,) belong to the normalisation after attention, gamma_2, beta_2 (d,) to the other.
    """

    W_q: Array
    b_q: Array
    W_k: Array
    b_k: Array
    W_v: Array
    b_v: Array
    W_o: Array
    b_o: Array
    gamma_1: Array
    beta_1: Array
    W_1: Array
    b_1: Array
    W_2: Array
    b_2: Array
    gamma_2: Array
    beta_2: Array


class BertWeights(NamedTuple):
    """All of an encoder: the embeddings, its blocks, and W_pool (d, d), b_pool (d,) of :func:`bert_pooled`."""

    embedding: EmbeddingWeights
    blocks: tuple[BlockWeights, ...]
    W_pool: Array
    b_pool: Array

    def converted(self, convert: Callable[[Array], Array]) -> BertWeights:
        """The same weights with each array replaced by ``convert(array)``, e.g. ``torch.asarray``."""
        embedding = EmbeddingWeights(*map(convert, self.embedding))
        blocks = tuple(BlockWeights(*map(convert, block)) for block in self.blocks)
        return BertWeights(embedding, blocks, convert(self.W_pool), convert(self.b_pool))


# ---------------------------------------------------------------------------------------------------------------
# embeddings


def _rows(table: Float[Array, "rows d"], numbers: Int[Array, "*batch n"], what: str) -> Float[Array, "*batch n d"]:
    xp = namespace(table=table)
    flat = xp.reshape(numbers, (-1,))
    if flat.shape[0] and not 0 <= int(xp.min(flat)) <= int(xp.max(flat)) < table.shape[0]:
        raise ValueError(
            f"{what} must lie between 0 and {table.shape[0] - 1}, one for each row of the table; "
            f"got {int(xp.min(flat))} to {int(xp.max(flat))}"
        )
    return xp.reshape(xp.take(table, flat, axis=0), (*numbers.shape, table.shape[1]))


def bert_embedding(
    ids: Int[Array, "*batch n"], segments: Int[Array, "*batch n"], weights: EmbeddingWeights, eps: float = EPS
) -> Float[Array, "*batch n d"]:
    r"""$x_i = \mathrm{LN}(E_{\mathrm{ids}_i} + S_{\mathrm{segments}_i} + P_i)$, E, S, P: pieces, segments, positions.

    Raises ValueError for more tokens than there are positions, and for a number without a row.
    """
    namespace(**weights._asdict())
    n, longest = ids.shape[-1], weights.positions.shape[0]
    if tuple(segments.shape) != tuple(ids.shape):
        raise ValueError(f"each of the ids has its segment, got shapes {tuple(ids.shape)} and {tuple(segments.shape)}")
    if n > longest:
        raise ValueError(f"this encoder knows {longest} positions, got {n} tokens; shorten the text")
    x = _rows(weights.pieces, ids, "ids") + _rows(weights.segments, segments, "segments") + weights.positions[:n, :]
    return layer_norm(x, weights.gamma, weights.beta, eps)


# ---------------------------------------------------------------------------------------------------------------
# a block


def _linear(x: Array, W: Array, b: Array) -> Array:
    return x @ W.T + b


def _expect_block(x: Array, block: BlockWeights) -> None:
    namespace(x=x, **block._asdict())
    d, f = x.shape[-1], block.W_1.shape[0]
    for name, a in block._asdict().items():
        if name in ("W_1", "b_1", "W_2"):
            shape = {"W_1": (f, d), "b_1": (f,), "W_2": (d, f)}[name]
        else:
            shape = (d, d) if name.startswith("W") else (d,)
        expect_shape(name, a, shape, f"it fits tokens of {d} features and a feed-forward layer of {f}")


def bert_queries_keys(
    x: Float[Array, "*batch n d"], block: BlockWeights, heads: int
) -> tuple[Float[Array, "*batch h n d_h"], Float[Array, "*batch h n d_h"]]:
    r"""Queries $W_q x + b_q$ and keys $W_k x + b_k$ of a block, cut into heads; `x` is the state before the block.

    With :func:`minilib.attention.attention_scores` they give the scores, under any scale.
    """
    _expect_block(x, block)
    q, k = (_linear(x, W, b) for W, b in ((block.W_q, block.b_q), (block.W_k, block.b_k)))
    return split_heads(q, heads), split_heads(k, heads)


def bert_attention_weights(
    x: Float[Array, "*batch n d"],
    block: BlockWeights,
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
) -> Float[Array, "*batch h n n"]:
    r"""$A = \mathrm{softmax}(\lambda\, q k^\top)$ of each head; `x` is the state before the block."""
    q, k = bert_queries_keys(x, block, heads)
    return attention_weights(q, k, None if mask is None else for_all_heads(mask), scale)


def bert_block_with_map(
    x: Float[Array, "*batch n d"], A: Float[Array, "*any h n n"], block: BlockWeights, eps: float = EPS
) -> Float[Array, "*batch n d"]:
    r"""$\mathrm{LN}(y + W_2\,\mathrm{gelu}(W_1 y + b_1) + b_2)$ of $y = \mathrm{LN}(x + W_o\,[o_1 \dots o_h] + b_o)$.

    $o_r = A_r(W_v x + b_v)_r$ with the attention weights `A`, which may be others than the block's own, and may
    be the same for a whole batch.
    """
    _expect_block(x, block)
    v = split_heads(_linear(x, block.W_v, block.b_v), A.shape[-3])
    y = layer_norm(x + _linear(merge_heads(A @ v), block.W_o, block.b_o), block.gamma_1, block.beta_1, eps)
    inner = exact_gelu(_linear(y, block.W_1, block.b_1))
    return layer_norm(y + _linear(inner, block.W_2, block.b_2), block.gamma_2, block.beta_2, eps)


def bert_block(
    x: Float[Array, "*batch n d"],
    block: BlockWeights,
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> Float[Array, "*batch n d"]:
    r""":func:`bert_block_with_map` with the block's own map, :func:`bert_attention_weights`.

    `mask` of shape (…, n, n) or (…, 1, n) is the same for all heads; `scale` broadcasts to (…, heads, n, 1) and is
    $1/\sqrt{d/h}$ unless given.
    """
    return bert_block_with_map(x, bert_attention_weights(x, block, heads, mask, scale), block, eps)


# ---------------------------------------------------------------------------------------------------------------
# the encoder


def bert_states(
    x: Float[Array, "*batch n d"],
    blocks: Sequence[BlockWeights],
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> tuple[Float[Array, "*batch n d"], ...]:
    """The states before the first block, which is `x`, and after each of the L blocks: L + 1 arrays."""
    states = [x]
    for block in blocks:
        states.append(bert_block(states[-1], block, heads, mask, scale, eps))
    return tuple(states)


def bert_encoder(
    ids: Int[Array, "*batch n"],
    segments: Int[Array, "*batch n"],
    weights: BertWeights,
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> Float[Array, "*batch n d"]:
    """The last state of each token. A padded batch needs `mask`: :func:`minilib.attention.padding_mask`."""
    x = bert_embedding(ids, segments, weights.embedding, eps)
    return bert_states(x, weights.blocks, heads, mask, scale, eps)[-1]


def bert_attention_maps(
    states: Sequence[Float[Array, "*batch n d"]],
    blocks: Sequence[BlockWeights],
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
) -> Float[Array, "layers *batch h n n"]:
    """The attention weights of each layer and head, from the `states` of :func:`bert_states`.

    With the `mask` and the `scale` that made the states these are the weights the network used; with another scale they
    are what the same queries and keys would give.
    """
    maps = [bert_attention_weights(x, block, heads, mask, scale) for x, block in zip(states[:-1], blocks, strict=True)]
    return namespace(x=states[0]).stack(maps)


# ---------------------------------------------------------------------------------------------------------------
# one vector for the whole text


def bert_pooled(
    h: Float[Array, "*batch n d"], W: Float[Array, "d d"], b: Float[Array, "d"]
) -> Float[Array, "*batch d"]:
    r"""$\tanh(W h_0 + b)$ of the first token, ``[CLS]``: what BERT's next-sentence head and its classifiers read."""
    return namespace(h=h, W=W, b=b).tanh(_linear(h[..., 0, :], W, b))


def mean_pooled(h: Float[Array, "*batch n d"], lengths: Int[Array, "*batch"] | None = None) -> Float[Array, "*batch d"]:
    r"""$\frac1\ell\sum_{i<\ell} h_i$, the mean over the first $\ell$ = `lengths` tokens, or over all of them.

    Raises ValueError where a text has no token or fewer than its length says.
    """
    xp = namespace(h=h)
    if lengths is None:
        return xp.mean(h, axis=-2)
    n = h.shape[-2]
    if not 1 <= int(xp.min(lengths)) <= int(xp.max(lengths)) <= n:
        raise ValueError(f"lengths must lie between 1 and {n}, the number of tokens, got {lengths}")
    real = xp.astype(padding_mask(lengths, n), h.dtype)
    return (real @ h)[..., 0, :] / xp.astype(lengths, h.dtype)[..., None]


def unit(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    r"""$x / \|x\|$, so that a product of two vectors is the cosine of their angle; 0 stays 0."""
    xp = namespace(x=x)
    norm = xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True))
    return x / xp.where(norm > 0, norm, xp.ones_like(norm))
