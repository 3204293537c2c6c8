r"""RoFormer and RoFormerV2 as one torch module, put together from parts that can be changed one at a time.

:class:`Roformer` with none of the :class:`minilib.roformer.Changes` is RoFormer, with all of them RoFormerV2, and with
some of them what an ablation needs.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .arrays import exact_gelu, relu
from .attention_torch import Law, MultiHeadAttention
from .bert import EPS, BlockWeights
from .depth_torch import FeedForward, truncated_normal_
from .roformer import (
    V1,
    V2,
    Changes,
    RoformerEmbeddingWeights,
    RoformerSizes,
    RoformerV2BlockWeights,
    RoformerV2Weights,
    RoformerWeights,
    v2_std,
)

STD = 0.02
"""Of the weights of the first version at the start, as of BERT's."""


def _norm(d: int, changes: Changes) -> nn.Module:
    return nn.RMSNorm(d, EPS, elementwise_affine=False) if changes.rms else nn.LayerNorm(d, EPS)


class RoformerBlock(nn.Module):
    r"""$y = N(x + \mathrm{attention}(x))$, then $N(y + \mathrm{feed}(y))$, with dropout on what is added.

    `scale` is $1/\sqrt{d/h}$ unless a law is given, as in :class:`minilib.attention_torch.MultiHeadAttention`.
    """

    def __init__(
        self, sizes: RoformerSizes, changes: Changes = V1, *, dropout: float = 0.0, scale: Law | None = None
    ) -> None:
        super().__init__()
        bias, phi = not changes.no_bias, relu if changes.relu else exact_gelu
        self.attention = MultiHeadAttention(sizes.d, sizes.heads, scale=scale, rotary=True, bias=bias)
        self.feed = FeedForward(sizes.d, sizes.inner, phi, bias)
        self.norm_1, self.norm_2 = (_norm(sizes.d, changes) for _ in range(2))
        self.dropout, self.changes = nn.Dropout(dropout), changes

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map `x` (…, n, d) to the same shape; `mask` (…, n, n) or (…, 1, n) is True where a token may look."""
        y = self.norm_1(x + self.dropout(self.attention(x, mask=mask)))
        return self.norm_2(y + self.dropout(self.feed(y)))

    def weights(self) -> BlockWeights | RoformerV2BlockWeights:
        """The block's weights as the formulas take them; of a mixed block, which no formula takes, ValueError."""
        a, f = self.attention, self.feed
        maps = (a.W_q, a.W_k, a.W_v, a.W_o, f.W_1, f.W_2)
        if self.changes.no_bias != self.changes.rms or self.changes.rms != self.changes.relu:
            raise ValueError(f"the formulas are of the first version or of the second, got a mixture: {self.changes}")
        if self.changes.no_bias:
            return RoformerV2BlockWeights(*(W.weight for W in maps))
        pairs = ((part.weight, part.bias) for part in (*maps[:4], self.norm_1, *maps[4:], self.norm_2))
        return BlockWeights(*itertools.chain(*pairs))


class RoformerEmbedding(nn.Module):
    r"""$N(E_{\mathrm{ids}_i} + S_{\mathrm{segments}_i})$, dropout before the norm or after it. No positions."""

    def __init__(self, sizes: RoformerSizes, changes: Changes = V1, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.pieces, self.segments = nn.Embedding(sizes.vocabulary, sizes.d), nn.Embedding(sizes.segments, sizes.d)
        self.norm, self.dropout = _norm(sizes.d, changes), nn.Dropout(dropout)
        self.dropout_first = changes.embedding_order

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """The tokens (…, n, d) of `ids` (…, n); `segments`, of the same shape, are 0 unless given."""
        segments = torch.zeros_like(ids) if segments is None else segments
        if segments.shape != ids.shape:
            raise ValueError(
                f"each of the ids has its segment, got shapes {tuple(ids.shape)} and {tuple(segments.shape)}"
            )
        x = self.pieces(ids) + self.segments(segments)
        return self.norm(self.dropout(x)) if self.dropout_first else self.dropout(self.norm(x))


class RoformerHead(nn.Module):
    r"""From a state to what is compared with the table: $N(\varphi(W h + b))$. The second version has none."""

    def __init__(self, sizes: RoformerSizes, changes: Changes = V1) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.d, sizes.d, bias=not changes.no_bias)
        self.phi, self.norm = relu if changes.relu else exact_gelu, _norm(sizes.d, changes)

    def forward(self, h: Tensor) -> Tensor:
        return self.norm(self.phi(self.dense(h)))


class Roformer(nn.Module):
    r"""A masked language model with rotary positions; `changes` make the second version out of the first.

    ``model(ids)`` are the last states, ``model.mlm(h)`` the logits of such states, all or a selection:
    ``model.mlm(model(ids)[masked])``. `dropout` acts on the embedding and on what each sub-layer adds, not on attention
    weights. `scale` is the law of the attention's scale, one for all layers.
    """

    def __init__(
        self, sizes: RoformerSizes, changes: Changes = V1, *, dropout: float = 0.0, scale: Law | None = None
    ) -> None:
        super().__init__()
        self.sizes, self.changes = sizes, changes
        self.embedding = RoformerEmbedding(sizes, changes, dropout=dropout)
        self.blocks = nn.ModuleList(
            RoformerBlock(sizes, changes, dropout=dropout, scale=scale) for _ in range(sizes.layers)
        )
        self.head = nn.Identity() if changes.plain_head else RoformerHead(sizes, changes)
        biased = not (changes.plain_head or changes.no_bias)
        self.bias = nn.Parameter(torch.empty(sizes.vocabulary)) if biased else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        r"""Draw weights from normals cut off at two deviations, 0.02 or :func:`minilib.roformer.v2_std`; biases 0.

        The fan-in is ``weight.shape[1]``, for maps of torch's layout (out, in) and for tables (pieces, d) alike.
        """
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Embedding)):
                fan_in, L = part.weight.shape[1], self.sizes.layers
                truncated_normal_(part.weight, v2_std(fan_in, L) if self.changes.v2_init else STD)
            elif isinstance(part, nn.LayerNorm):
                part.reset_parameters()
            if isinstance(bias := getattr(part, "bias", None), Tensor):
                nn.init.zeros_(bias)

    def forward(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The last states (…, n, d) of `ids` (…, n). A padded batch needs :func:`minilib.attention.padding_mask`."""
        return self.states(ids, segments, mask)[-1]

    def states(self, ids: Tensor, segments: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """The states before the first block and after each: L + 1 of them."""
        states = [self.embedding(ids, segments)]
        for block in self.blocks:
            states.append(block(states[-1], mask))
        return tuple(states)

    def mlm(self, h: Tensor) -> Tensor:
        r"""Logits $E\,g(h) + b$ for each piece, with the table E of the embedding; g and b are of the first version."""
        return F.linear(self.head(h), self.embedding.pieces.weight, self.bias)

    def weights(self) -> RoformerWeights | RoformerV2Weights:
        """The encoder's weights, to be run by the formulas of :mod:`minilib.roformer`; no copies.

        Raises ValueError where the encoder is neither that of the first version nor that of the second.
        """
        blocks, embedding = tuple(block.weights() for block in self.blocks), self.embedding
        tables = embedding.pieces.weight, embedding.segments.weight
        if self.changes.rms:
            return RoformerV2Weights(*tables, blocks)
        return RoformerWeights(RoformerEmbeddingWeights(*tables, embedding.norm.weight, embedding.norm.bias), blocks)


class RoformerV2(Roformer):
    """:class:`Roformer` with all changes."""

    def __init__(self, sizes: RoformerSizes, *, dropout: float = 0.0, scale: Law | None = None) -> None:
        super().__init__(sizes, V2, dropout=dropout, scale=scale)
