r"""The encoder of BERT: embeddings, a stack of blocks, and what is read off at the end.

Each token is the sum of three vectors: of its piece, of the part of the text that it is in, and of its position. A
block lets the tokens attend to each other and then passes each through a feed-forward layer; the normalisation comes
after each sum (post-norm). Positions are the second last axis, features the last. Weights have PyTorch's layout: a
matrix of shape (out, in), and $y = Wx + b$.

There is one network and no flag. Who may look at whom is a mask: none for the encoder, the causal one for a language
model, UniLM's for writing what follows a text. What is read off is a function of the last states: words by
:func:`mlm_logits`, a yes or no about two parts by :func:`nsp_logits`, a vector by :func:`mean_pooled`. ALBERT is the
same network with one :class:`BlockWeights` in all places, and narrow tables that :func:`albert_embedding` widens.

The encoder returns the states before and after each block and nothing else. Queries, keys, scores and weights of every
layer are a function of the states before it: ``bert_queries_keys(state, block, heads)``, and peeping costs nothing
unless one peeps.

Sources: Devlin et al. 2019 (BERT); Vaswani et al. 2017 (the block); Lan et al. 2020 (ALBERT); Dong et al. 2019
(UniLM); Reimers & Gurevych 2019 (the mean of the states); Su Jianlin, Scientific Spaces 6915 and bert4keras.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from .arrays import Array, exact_gelu, expect_shape, namespace
from .attention import attention_weights, for_all_heads, merge_heads, padding_mask, split_heads
from .layernorm import layer_norm

EPS = 1e-12
r"""BERT's $\epsilon$ in the normalisation. float16 rounds it to 0, and a vector of equal features becomes NaN."""

# ---------------------------------------------------------------------------------------------------------------
# sizes


@dataclass(frozen=True)
class BertSizes:
    """Pieces in the vocabulary, width d, layers L, heads, width f inside the feed-forward layer; how many parameters.

    `table` is the width e of the tables, which is d unless they are factorised, and `shared` says that one block stands
    in all L places: both are ALBERT's. Raises ValueError where heads do not divide d.
    """

    vocabulary: int
    d: int
    layers: int
    heads: int
    inner: int
    positions: int = 512
    segments: int = 2
    table: int | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        sizes = (self.vocabulary, self.d, self.layers, self.heads, self.inner, self.positions, self.segments)
        if min(*sizes, self.width) < 1:
            raise ValueError(f"every size must be at least 1, got {self}")
        if self.d % self.heads:
            raise ValueError(f"{self.d} features cannot be shared out among {self.heads} heads; take a divisor")

    @property
    def width(self) -> int:
        """Features of a row of the tables: e, or d."""
        return self.d if self.table is None else self.table

    @property
    def embedding(self) -> int:
        r"""$(V + S + N)\,e + 2e$ for three tables and a norm, and $ed + d$ for what widens them, if e is given."""
        tables = (self.vocabulary + self.segments + self.positions + 2) * self.width
        return tables + (0 if self.table is None else self.table * self.d + self.d)

    @property
    def block(self) -> int:
        r"""$4d^2 + 2df$ for six matrices, $5d + f$ for their biases, $4d$ for two norms: $12d^2 + 13d$ if f = 4d."""
        return 4 * self.d**2 + 2 * self.d * self.inner + 9 * self.d + self.inner

    @property
    def encoder(self) -> int:
        """The embedding and all different blocks."""
        return self.embedding + self.block * (1 if self.shared else self.layers)

    @property
    def pooler(self) -> int:
        r"""$d^2 + d$, see :func:`bert_pooled`."""
        return self.d**2 + self.d

    @property
    def mlm_head(self) -> int:
        r"""$de + e$, $2e$ for a norm, V for the biases, see :func:`mlm_logits`; the table is the embedding's."""
        return self.d * self.width + 3 * self.width + self.vocabulary

    @property
    def nsp_head(self) -> int:
        r"""$2d + 2$, see :func:`nsp_logits`."""
        return 2 * self.d + 2

    @property
    def total(self) -> int:
        """Encoder and pooler: what is usually counted."""
        return self.encoder + self.pooler

    @property
    def pretraining(self) -> int:
        """All that BERT trains at first: with both heads."""
        return self.total + self.mlm_head + self.nsp_head


def _albert(d: int, layers: int, heads: int) -> BertSizes:
    return BertSizes(30_000, d, layers, heads, 4 * d, table=128, shared=True)


BERT_SIZES = {
    "BERT base, uncased": BertSizes(30_522, 768, 12, 12, 3072),
    "BERT base, cased": BertSizes(28_996, 768, 12, 12, 3072),
    "BERT base, Chinese": BertSizes(21_128, 768, 12, 12, 3072),
    "BERT large, uncased": BertSizes(30_522, 1024, 24, 16, 4096),
    "MiniLM": BertSizes(30_522, 384, 6, 12, 1536),
    "ALBERT base": _albert(768, 12, 12),
    "ALBERT large": _albert(1024, 24, 16),
    "ALBERT xlarge": _albert(2048, 24, 16),
    "ALBERT xxlarge": _albert(4096, 12, 64),
}
"""Networks whose weights were published."""

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
        if all(block is self.blocks[0] for block in self.blocks):  # a shared block stays one
            blocks = (BlockWeights(*map(convert, self.blocks[0])),) * len(self.blocks)
        else:
            blocks = tuple(BlockWeights(*map(convert, block)) for block in self.blocks)
        return BertWeights(embedding, blocks, convert(self.W_pool), convert(self.b_pool))


class HeadWeights(NamedTuple):
    """The head that names masked tokens: W (e, d), b, gamma and beta (e,), and a bias for each piece (V,)."""

    W: Array
    b: Array
    gamma: Array
    beta: Array
    bias: Array


class AffineWeights(NamedTuple):
    """W (out, in) and b (out,): the head of the next sentence, :func:`nsp_logits`, or what widens ALBERT's tables."""

    W: Array
    b: Array


def sizes_of(weights: BertWeights, heads: int, factorised: bool = False) -> BertSizes:
    """The sizes of an encoder, read off the shapes of its weights; how many heads there are they do not tell.

    It is shared if all its blocks are one and the same object. `factorised` says that its tables have to be widened.
    """
    (V, e), (f, d) = weights.embedding.pieces.shape, weights.blocks[0].W_1.shape
    others = weights.embedding.positions.shape[0], weights.embedding.segments.shape[0]
    shared = len(weights.blocks) > 1 and all(block is weights.blocks[0] for block in weights.blocks)
    return BertSizes(V, d, len(weights.blocks), heads, f, *others, e if factorised else None, shared)


# ---------------------------------------------------------------------------------------------------------------
# embeddings


def rows(table: Float[Array, "rows d"], numbers: Int[Array, "*batch n"], what: str) -> Float[Array, "*batch n d"]:
    """The rows of a table with these numbers, which are called `what` where one of them is too large or negative."""
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
    x = rows(weights.pieces, ids, "ids") + rows(weights.segments, segments, "segments") + weights.positions[:n, :]
    return layer_norm(x, weights.gamma, weights.beta, eps)


def albert_embedding(
    ids: Int[Array, "*batch n"],
    segments: Int[Array, "*batch n"],
    weights: EmbeddingWeights,
    W: Float[Array, "d e"],
    b: Float[Array, "d"],
    eps: float = EPS,
) -> Float[Array, "*batch n d"]:
    r"""$W\,\mathrm{LN}(E_{\mathrm{ids}_i} + S_{\mathrm{segments}_i} + P_i) + b$: narrow tables, and a map that widens.

    V·e + e·d numbers in place of V·d. Lan et al. 2020.
    """
    return _linear(bert_embedding(ids, segments, weights, eps), W, b)


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
    x: Float[Array, "*batch n d"],
    A: Float[Array, "*any h n n"],
    block: BlockWeights,
    eps: float = EPS,
    phi: Callable[[Array], Array] = exact_gelu,
) -> Float[Array, "*batch n d"]:
    r"""$\mathrm{LN}(y + W_2\,\varphi(W_1 y + b_1) + b_2)$ of $y = \mathrm{LN}(x + W_o\,[o_1 \dots o_h] + b_o)$.

    $o_r = A_r(W_v x + b_v)_r$ with the attention weights `A`, which may be others than the block's own, and may
    be the same for a whole batch. $\varphi$ = `phi` is gelu; ALBERT's is :func:`minilib.arrays.gelu`, the tanh form.
    """
    _expect_block(x, block)
    v = split_heads(_linear(x, block.W_v, block.b_v), A.shape[-3])
    y = layer_norm(x + _linear(merge_heads(A @ v), block.W_o, block.b_o), block.gamma_1, block.beta_1, eps)
    inner = phi(_linear(y, block.W_1, block.b_1))
    return layer_norm(y + _linear(inner, block.W_2, block.b_2), block.gamma_2, block.beta_2, eps)


def bert_block(
    x: Float[Array, "*batch n d"],
    block: BlockWeights,
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
    phi: Callable[[Array], Array] = exact_gelu,
) -> Float[Array, "*batch n d"]:
    r""":func:`bert_block_with_map` with the block's own map, :func:`bert_attention_weights`.

    `mask` of shape (…, n, n) or (…, 1, n) is the same for all heads; `scale` broadcasts to (…, heads, n, 1) and is
    $1/\sqrt{d/h}$ unless given.
    """
    return bert_block_with_map(x, bert_attention_weights(x, block, heads, mask, scale), block, eps, phi)


# ---------------------------------------------------------------------------------------------------------------
# the encoder


def bert_states(
    x: Float[Array, "*batch n d"],
    blocks: Sequence[BlockWeights],
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
    phi: Callable[[Array], Array] = exact_gelu,
) -> tuple[Float[Array, "*batch n d"], ...]:
    """The states before the first block, which is `x`, and after each of the L blocks: L + 1 arrays."""
    states = [x]
    for block in blocks:
        states.append(bert_block(states[-1], block, heads, mask, scale, eps, phi))
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
# words


def mlm_logits(
    h: Float[Array, "*batch d"],
    head: HeadWeights,
    table: Float[Array, "V e"],
    eps: float = EPS,
    phi: Callable[[Array], Array] = exact_gelu,
) -> Float[Array, "*batch V"]:
    r"""$E\,\mathrm{LN}(\varphi(W h + b)) + \text{bias}$: a logit for each piece, from the state h of a token.

    E = `table` is that of the embedding: the weights are tied. `h` may hold the masked tokens only, which is cheaper.
    """
    namespace(h=h, table=table, **head._asdict())
    expect_shape("table", table, (head.bias.shape[-1], head.W.shape[0]), "it has a row for each bias, as wide as W")
    return layer_norm(phi(_linear(h, head.W, head.b)), head.gamma, head.beta, eps) @ table.T + head.bias


def initial_mlm_loss(vocabulary: int, d: int, std: float = 0.02) -> float:
    r"""$\ln V + \tfrac12 d\sigma^2$: the loss in nats before training, $\sigma$ = `std` of the table's entries.

    What leaves the norm has the length $\sqrt d$, so its products with rows of $N(0, \sigma^2)$ are logits of variance
    $d\sigma^2$ about 0, and $\ln\sum_j e^{z_j} \approx \ln V + d\sigma^2/2$. They are independent of what was masked.
    """
    if vocabulary < 1 or d < 1 or not std >= 0:
        raise ValueError(f"vocabulary and d are at least 1 and std at least 0, got {vocabulary}, {d} and {std}")
    return math.log(vocabulary) + d * std**2 / 2


# ---------------------------------------------------------------------------------------------------------------
# one vector for the whole text


def bert_pooled(
    h: Float[Array, "*batch n d"], W: Float[Array, "d d"], b: Float[Array, "d"]
) -> Float[Array, "*batch d"]:
    r"""$\tanh(W h_0 + b)$ of the first token, ``[CLS]``: what BERT's next-sentence head and its classifiers read."""
    return namespace(h=h, W=W, b=b).tanh(_linear(h[..., 0, :], W, b))


def nsp_logits(
    pooled: Float[Array, "*batch d"], W: Float[Array, "classes d"], b: Float[Array, "classes"]
) -> Float[Array, "*batch classes"]:
    r"""$W\,\mathrm{pooled} + b$: does the second part follow the first (class 0), or is it from elsewhere (class 1)?"""
    namespace(pooled=pooled, W=W, b=b)
    return _linear(pooled, W, b)


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
