r"""RoFormer, which is BERT with rotary positions, and RoFormerV2, from which all was taken that could be spared.

RoFormer's block is BERT's, but that queries and keys are turned by their positions (:func:`minilib.rope.rope`) before
they meet, head by head; values are not turned. There is no table of positions, so there is no longest text either.

RoFormerV2 keeps that and changes six things, each of which can be made alone (:class:`Changes`). With $R$ the turn by
position and $N(x) = x/\mathrm{rms}(x)$ its block is
$$y = N\bigl(x + W_o\,\mathrm{attention}(R\,W_q x,\, R\,W_k x,\, W_v x)\bigr),\qquad
x' = N\bigl(y + W_2\,\mathrm{relu}(W_1 y)\bigr)$$
and holds six matrices and nothing else. Weights have PyTorch's layout, outputs on the rows, as in :mod:`minilib.bert`.

Sources: Su et al. 2021 (RoFormer), Su Jianlin, Scientific Spaces 8265; for the second version 8998 and bert4keras;
Raffel et al. 2020 (T5, whose norms do not centre and whose maps have no bias).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from .arrays import Array, expect_shape, namespace, relu
from .attention import attention_weights, for_all_heads, merge_heads, split_heads
from .bert import EPS, BlockWeights, bert_block_with_map, bert_queries_keys, rows
from .depth import identity_share, lecun_std
from .layernorm import layer_norm, rms_norm
from .rope import rope, rope_angles

# ---------------------------------------------------------------------------------------------------------------
# sizes


@dataclass(frozen=True)
class Changes:
    r"""The six changes from RoFormer to RoFormerV2; with none of them it is RoFormer.

    - `no_bias`: no linear map has a bias, nor have the logits.
    - `rms`: a norm does not centre, and has neither gamma nor beta.
    - `relu`: in place of gelu.
    - `embedding_order`: dropout before the norm of the embedding, not after it.
    - `plain_head`: the logits are $E h$, without a dense layer, an activation and a norm before, and a bias after.
    - `v2_init`: weights of deviation $1/\sqrt{L\,\mathrm{fan\_in}}$ in place of 0.02; see :func:`v2_std`.
    """

    no_bias: bool = False
    rms: bool = False
    relu: bool = False
    embedding_order: bool = False
    plain_head: bool = False
    v2_init: bool = False

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the six."""
        return tuple(field.name for field in fields(cls))


V1, V2 = Changes(), Changes(*[True] * 6)
"""RoFormer, with none of the changes, and RoFormerV2, with all."""


@dataclass(frozen=True)
class RoformerSizes:
    """Pieces in the vocabulary, width d, layers, heads, width f inside the feed-forward layer, parts of a text."""

    vocabulary: int
    d: int
    layers: int
    heads: int
    inner: int
    segments: int = 2

    def __post_init__(self) -> None:
        if min(astuple(self)) < 1:
            raise ValueError(f"every size must be at least 1, got {self}")
        if self.d % (2 * self.heads):
            raise ValueError(
                f"each head must have an even number of features, since two make a plane; got {self.d} / {self.heads}"
            )

    def embedding(self, changes: Changes) -> int:
        """Parameters of the two tables and of the norm."""
        return (self.vocabulary + self.segments) * self.d + self._norm(changes)

    def block(self, changes: Changes) -> int:
        r"""$4d^2 + 2df$, and unless they are left out $5d + f$ for biases and $4d$ for two norms."""
        biases = 0 if changes.no_bias else 5 * self.d + self.inner
        return 4 * self.d**2 + 2 * self.d * self.inner + biases + 2 * self._norm(changes)

    def head(self, changes: Changes) -> int:
        r"""$d^2$ for the dense layer, its norm, a bias for it and one for each piece; the table is the embedding's."""
        if changes.plain_head:
            return 0
        return self.d**2 + self._norm(changes) + (0 if changes.no_bias else self.d + self.vocabulary)

    def encoder(self, changes: Changes) -> int:
        """Parameters of the embedding and all blocks."""
        return self.embedding(changes) + self.layers * self.block(changes)

    def total(self, changes: Changes) -> int:
        """Parameters of the masked language model."""
        return self.encoder(changes) + self.head(changes)

    def _norm(self, changes: Changes) -> int:
        return 0 if changes.rms else 2 * self.d


V2_SIZES = {
    "small": RoformerSizes(12_000, 384, 6, 6, 1536),
    "base": RoformerSizes(12_000, 768, 12, 12, 3072),
    "large": RoformerSizes(12_000, 1024, 24, 16, 4096),
}
r"""The three that were published. All of a RoFormerV2 is $12000\,d + 2d + 12Ld^2$ numbers."""

# ---------------------------------------------------------------------------------------------------------------
# weights


class RoformerEmbeddingWeights(NamedTuple):
    """One row for each piece (V, d) and each part of the text (S, d); gamma and beta (d,)."""

    pieces: Array
    segments: Array
    gamma: Array
    beta: Array


class RoformerWeights(NamedTuple):
    """All of an encoder of the first version; its blocks hold what BERT's do."""

    embedding: RoformerEmbeddingWeights
    blocks: tuple[BlockWeights, ...]


class RoformerV2BlockWeights(NamedTuple):
    """Attention: W_q to W_o (d, d). Feed-forward layer: W_1 (f, d), W_2 (d, f)."""

    W_q: Array
    W_k: Array
    W_v: Array
    W_o: Array
    W_1: Array
    W_2: Array


class RoformerV2Weights(NamedTuple):
    """All of the second version: one row for each piece (V, d) and each part of the text (S, d), and the blocks."""

    pieces: Array
    segments: Array
    blocks: tuple[RoformerV2BlockWeights, ...]


# ---------------------------------------------------------------------------------------------------------------
# the first version


def _sum_of_rows(ids: Array, segments: Array, pieces: Array, parts: Array) -> Array:
    if tuple(segments.shape) != tuple(ids.shape):
        raise ValueError(f"each of the ids has its segment, got shapes {tuple(ids.shape)} and {tuple(segments.shape)}")
    return rows(pieces, ids, "ids") + rows(parts, segments, "segments")


def roformer_embedding(
    ids: Int[Array, "*batch n"], segments: Int[Array, "*batch n"], weights: RoformerEmbeddingWeights, eps: float = EPS
) -> Float[Array, "*batch n d"]:
    r"""$x_i = \mathrm{LN}(E_{\mathrm{ids}_i} + S_{\mathrm{segments}_i})$: BERT's without the positions."""
    namespace(**weights._asdict())
    return layer_norm(_sum_of_rows(ids, segments, *weights[:2]), weights.gamma, weights.beta, eps)


def roformer_queries_keys(
    x: Float[Array, "*batch n d"], block: BlockWeights, heads: int, angles: Float[Array, "n half"]
) -> tuple[Float[Array, "*batch h n d_h"], Float[Array, "*batch h n d_h"]]:
    r"""$R_m(W_q x_m + b_q)$ and $R_m(W_k x_m + b_k)$: BERT's queries and keys, each head's turned by `angles`.

    `angles` are ``rope_angles(n, d // heads, x)``: of the width of a head, not of the whole.
    """
    q, k = bert_queries_keys(x, block, heads)
    return rope(q, angles), rope(k, angles)


def roformer_attention_weights(
    x: Float[Array, "*batch n d"],
    block: BlockWeights,
    heads: int,
    angles: Float[Array, "n half"],
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
) -> Float[Array, "*batch h n n"]:
    r"""$\mathrm{softmax}_j(\lambda\, q_i^\top R_{j-i}\, k_j)$ of each head; `x` is the state before the block."""
    q, k = roformer_queries_keys(x, block, heads, angles)
    return attention_weights(q, k, None if mask is None else for_all_heads(mask), scale)


def roformer_block(
    x: Float[Array, "*batch n d"],
    block: BlockWeights,
    heads: int,
    angles: Float[Array, "n half"],
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> Float[Array, "*batch n d"]:
    """BERT's block with the map of :func:`roformer_attention_weights`. Su et al. 2021."""
    return bert_block_with_map(x, roformer_attention_weights(x, block, heads, angles, mask, scale), block, eps)


def roformer_states(
    x: Float[Array, "*batch n d"],
    blocks: Sequence[BlockWeights],
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> tuple[Float[Array, "*batch n d"], ...]:
    """The states before the first block, which is `x`, and after each of the L blocks: L + 1 arrays."""
    states, angles = [x], rope_angles(x.shape[-2], x.shape[-1] // heads, x)
    for block in blocks:
        states.append(roformer_block(states[-1], block, heads, angles, mask, scale, eps))
    return tuple(states)


def roformer_encoder(
    ids: Int[Array, "*batch n"],
    segments: Int[Array, "*batch n"],
    weights: RoformerWeights,
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> Float[Array, "*batch n d"]:
    """The last state of each token. A padded batch needs `mask`: :func:`minilib.attention.padding_mask`."""
    x = roformer_embedding(ids, segments, weights.embedding, eps)
    return roformer_states(x, weights.blocks, heads, mask, scale, eps)[-1]


# ---------------------------------------------------------------------------------------------------------------
# the second version


def roformer_v2_embedding(
    ids: Int[Array, "*batch n"],
    segments: Int[Array, "*batch n"],
    pieces: Float[Array, "V d"],
    parts: Float[Array, "S d"],
    eps: float = EPS,
) -> Float[Array, "*batch n d"]:
    r"""$x_i = N(E_{\mathrm{ids}_i} + S_{\mathrm{segments}_i})$, E = `pieces`, S = `parts`.

    In training there is dropout on the sum, before N makes its root mean square 1; BERT has it after the norm.
    """
    namespace(pieces=pieces, parts=parts)
    return rms_norm(_sum_of_rows(ids, segments, pieces, parts), eps=eps)


def _expect_v2_block(x: Array, block: RoformerV2BlockWeights) -> None:
    namespace(x=x, **block._asdict())
    d, f = x.shape[-1], block.W_1.shape[0]
    for name, W in block._asdict().items():
        shape = {"W_1": (f, d), "W_2": (d, f)}.get(name, (d, d))
        expect_shape(name, W, shape, f"it fits tokens of {d} features and a feed-forward layer of {f}")


def roformer_v2_attention_weights(
    x: Float[Array, "*batch n d"],
    block: RoformerV2BlockWeights,
    heads: int,
    angles: Float[Array, "n half"],
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
) -> Float[Array, "*batch h n n"]:
    r"""As :func:`roformer_attention_weights`, without biases: a token that is 0 looks everywhere alike."""
    _expect_v2_block(x, block)
    q, k = (rope(split_heads(x @ W.T, heads), angles) for W in (block.W_q, block.W_k))
    return attention_weights(q, k, None if mask is None else for_all_heads(mask), scale)


def roformer_v2_block(
    x: Float[Array, "*batch n d"],
    block: RoformerV2BlockWeights,
    heads: int,
    angles: Float[Array, "n half"],
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> Float[Array, "*batch n d"]:
    r"""$N(y + W_2\,\mathrm{relu}(W_1 y))$ of $y = N(x + W_o\,[o_1 \dots o_h])$, $N(x) = x/\mathrm{rms}(x)$.

    $o_r = A_r(W_v x)_r$ with the map A of :func:`roformer_v2_attention_weights`.
    """
    A = roformer_v2_attention_weights(x, block, heads, angles, mask, scale)
    o = merge_heads(A @ split_heads(x @ block.W_v.T, heads))
    y = rms_norm(x + o @ block.W_o.T, eps=eps)
    return rms_norm(y + relu(y @ block.W_1.T) @ block.W_2.T, eps=eps)


def roformer_v2_states(
    x: Float[Array, "*batch n d"],
    blocks: Sequence[RoformerV2BlockWeights],
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> tuple[Float[Array, "*batch n d"], ...]:
    """The states before the first block, which is `x`, and after each of the L blocks: L + 1 arrays."""
    states, angles = [x], rope_angles(x.shape[-2], x.shape[-1] // heads, x)
    for block in blocks:
        states.append(roformer_v2_block(states[-1], block, heads, angles, mask, scale, eps))
    return tuple(states)


def roformer_v2_encoder(
    ids: Int[Array, "*batch n"],
    segments: Int[Array, "*batch n"],
    weights: RoformerV2Weights,
    heads: int,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, "..."] | None = None,
    eps: float = EPS,
) -> Float[Array, "*batch n d"]:
    r"""The last state h of each token; the logits of a masked language model are ``h @ weights.pieces.T``."""
    x = roformer_v2_embedding(ids, segments, weights.pieces, weights.segments, eps)
    return roformer_v2_states(x, weights.blocks, heads, mask, scale, eps)[-1]


# ---------------------------------------------------------------------------------------------------------------
# how the second version starts


def v2_std(fan_in: int, layers: int) -> float:
    r"""$\sigma = L^{-1/2}/\sqrt{\mathrm{fan\_in}}$ for L = `layers`: LeCun's deviation, made smaller for depth.

    $\lambda = L^{-1/2}$ is, up to $\sqrt2$, the rule "LAMB" of :data:`minilib.depth.RULES`, which counts 2L sub-layers.
    The fan-in of a table is d: as the last map it takes d features to logits. bert4keras draws from a normal that is
    cut off at two deviations, and so much wider that this deviation remains.
    """
    if layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}")
    return lecun_std(fan_in) / math.sqrt(layers)


class BranchSizes(NamedTuple):
    """Root mean square of what attention and the feed-forward layer add to a token of root mean square 1."""

    attention: float
    feed: float


def v2_branches(layers: int, seen: float = 1.0, alike: float = 0.0) -> BranchSizes:
    r"""$\frac1L\sqrt{\rho + \frac{1-\rho}{n}}$ and $\frac1{\sqrt2\,L}$ at the start, for L = `layers`.

    Each matrix multiplies by $\lambda = L^{-1/2}$, relu by $1/\sqrt2$. Attention is nearly uniform at the start, a
    mean over the n = `seen` tokens in sight, whose cosines with each other are $\rho$ = `alike`. Behind the embedding
    that is 1/2, since all tokens of a part share the vector of that part.
    """
    if not (seen >= 1 and 0 <= alike <= 1):
        raise ValueError(f"expected seen ≥ 1 tokens and a cosine alike from 0 to 1, got {seen} and {alike}")
    size = v2_std(1, layers) ** 2
    return BranchSizes(size * math.sqrt(alike + (1 - alike) / seen), size / math.sqrt(2))


def v2_identity_share(layers: int, seen: float = 1.0, alike: float = 0.0) -> float:
    r"""$\prod_l (1 + r_l^2)^{-1/2}$ over all 2L sub-layers, r of :func:`v2_branches`: what is left of $x_0$ at the end.

    It tends to 1 with the depth, $1 - \frac{3}{4L}$ for r = 1/L and $1/\sqrt2\,L$, where the plain post-norm stack's
    falls: :func:`minilib.depth.identity_share`.
    """
    return math.prod(identity_share(r, layers) for r in v2_branches(layers, seen, alike))
