r"""BERT as a torch module: the parameters, and the formulas of :mod:`minilib.bert`.

One network, with no flag for what it is used for. ``model(ids, segments, mask)`` gives the last states. Without a mask,
or with that of the padding, it is the encoder; with :func:`minilib.attention.causal_mask` a language model; with
:func:`minilib.attention.unilm_mask` it writes what follows a text. Words, and a yes or no, are read off the states:
:meth:`Bert.mlm` and :meth:`Bert.nsp`. Everything inside can be looked at: :meth:`Bert.states` are the states of all
layers, and ``block.attention.weights(state, mask=mask)`` the maps of a block.

Sources: Devlin et al. 2019 (BERT); Lan et al. 2020 (ALBERT).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .arrays import exact_gelu
from .attention_torch import Law, MultiHeadAttention
from .bert import EPS, BertSizes, BertWeights, BlockWeights, EmbeddingWeights, HeadWeights
from .depth_torch import FeedForward

STD = 0.02
"""The standard deviation with which BERT draws its matrices and tables."""


class BertEmbedding(nn.Module):
    r"""$\mathrm{LN}(E_{\mathrm{ids}_i} + S_{\mathrm{segments}_i} + P_i)$ with dropout; then ALBERT's map, if any.

    Raises ValueError for more tokens than there are positions.
    """

    def __init__(self, sizes: BertSizes, *, dropout: float = 0.0) -> None:
        super().__init__()
        tables = (nn.Embedding(rows, sizes.width) for rows in (sizes.vocabulary, sizes.segments, sizes.positions))
        self.pieces, self.segments, self.positions = tables
        self.norm, self.dropout = nn.LayerNorm(sizes.width, EPS), nn.Dropout(dropout)
        self.widen = nn.Identity() if sizes.table is None else nn.Linear(sizes.width, sizes.d)

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """The tokens (…, n, d) of `ids` (…, n); `segments`, of the same shape, are 0 unless given."""
        segments = torch.zeros_like(ids) if segments is None else segments
        n, longest = ids.shape[-1], self.positions.num_embeddings
        if segments.shape != ids.shape:
            raise ValueError(
                f"each of the ids has its segment, got shapes {tuple(ids.shape)} and {tuple(segments.shape)}"
            )
        if n > longest:
            raise ValueError(f"this encoder knows {longest} positions, got {n} tokens; shorten the text")
        x = self.pieces(ids) + self.segments(segments) + self.positions.weight[:n]
        return self.widen(self.dropout(self.norm(x)))

    def weights(self) -> EmbeddingWeights:
        """The tables and the norm, as the formulas take them; no copies."""
        return EmbeddingWeights(
            self.pieces.weight, self.segments.weight, self.positions.weight, self.norm.weight, self.norm.bias
        )


class BertBlock(nn.Module):
    r"""$y = \mathrm{LN}(x + \mathrm{attention}(x))$, then $\mathrm{LN}(y + \mathrm{feed}(y))$; branches have dropout.

    `scale` is $1/\sqrt{d/h}$ unless a law is given, as in :class:`minilib.attention_torch.MultiHeadAttention`.
    """

    def __init__(
        self,
        sizes: BertSizes,
        *,
        dropout: float = 0.0,
        phi: Callable[[Tensor], Tensor] = exact_gelu,
        scale: Law | None = None,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(sizes.d, sizes.heads, scale=scale)
        self.feed = FeedForward(sizes.d, sizes.inner, phi)
        self.norm_1, self.norm_2 = (nn.LayerNorm(sizes.d, EPS) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map `x` (…, n, d) to the same shape; `mask` (…, n, n) or (…, 1, n) is True where a token may look."""
        y = self.norm_1(x + self.dropout(self.attention(x, mask=mask)))
        return self.norm_2(y + self.dropout(self.feed(y)))

    def weights(self) -> BlockWeights:
        """The block's weights, as the formulas take them; no copies."""
        a, f = self.attention, self.feed
        parts = (a.W_q, a.W_k, a.W_v, a.W_o, self.norm_1, f.W_1, f.W_2, self.norm_2)
        return BlockWeights(*itertools.chain.from_iterable((part.weight, part.bias) for part in parts))


class Bert(nn.Module):
    """BERT, or with `sizes` that say so ALBERT: the encoder, its pooler, and both heads of its first training.

    ``model(ids)`` are the last states, ``model.mlm(h)`` the logits of such states, all or a selection:
    ``model.mlm(model(ids)[masked])``. `dropout` acts on the embedding and on what each sub-layer adds, not on attention
    weights. `phi` is the activation; ALBERT's is :func:`minilib.arrays.gelu`.
    """

    def __init__(
        self,
        sizes: BertSizes,
        *,
        dropout: float = 0.0,
        phi: Callable[[Tensor], Tensor] = exact_gelu,
        scale: Law | None = None,
    ) -> None:
        super().__init__()
        self.sizes, self.phi = sizes, phi
        self.embedding = BertEmbedding(sizes, dropout=dropout)
        number = 1 if sizes.shared else sizes.layers
        blocks = [BertBlock(sizes, dropout=dropout, phi=phi, scale=scale) for _ in range(number)]
        # A shared block is one module in several places, so it has one gradient, the sum of those of all places.
        self.blocks = nn.ModuleList(blocks * sizes.layers if sizes.shared else blocks)
        self.pool = nn.Linear(sizes.d, sizes.d)
        self.dense, self.norm = nn.Linear(sizes.d, sizes.width), nn.LayerNorm(sizes.width, EPS)
        self.bias = nn.Parameter(torch.empty(sizes.vocabulary))
        self.follows = nn.Linear(sizes.d, 2)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, std: float = STD, limit: float | None = 2.0) -> None:
        r"""Draw matrices and tables from $N(0, \sigma^2)$ with $\sigma$ = `std`; biases 0, $\gamma = 1$, $\beta = 0$.

        BERT cuts the normal distribution off at two deviations, `limit`, and does not make up for it: what is drawn has
        0.8796 σ. None cuts nothing off, as the BERT of Hugging Face does.
        """
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Embedding)):
                if limit is None:
                    nn.init.normal_(part.weight, std=std)
                else:
                    nn.init.trunc_normal_(part.weight, std=std, a=-limit * std, b=limit * std)
            elif isinstance(part, nn.LayerNorm):
                part.reset_parameters()
            if isinstance(bias := getattr(part, "bias", None), Tensor):
                nn.init.zeros_(bias)

    # -----------------------------------------------------------------------------------------------------------
    # what it computes

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
        r"""$E\,\mathrm{LN}(\varphi(W h + b)) + \text{bias}$ for each piece, with the table E of the embedding."""
        return F.linear(self.norm(self.phi(self.dense(h))), self.embedding.pieces.weight, self.bias)

    def pooled(self, h: Tensor) -> Tensor:
        r"""$\tanh(W h_0 + b)$ of the first token of `h` (…, n, d)."""
        return self.pool(h[..., 0, :]).tanh()

    def nsp(self, h: Tensor) -> Tensor:
        """Two logits from the states `h` (…, n, d): the second part follows the first, or is from elsewhere."""
        return self.follows(self.pooled(h))

    # -----------------------------------------------------------------------------------------------------------
    # weights

    def weights(self) -> BertWeights:
        """The encoder's weights, to be run by the formulas of :mod:`minilib.bert`; no copies.

        ALBERT's map is not among them: ``model.embedding.widen``.
        """
        blocks = tuple(block.weights() for block in self.blocks)
        return BertWeights(self.embedding.weights(), blocks, self.pool.weight, self.pool.bias)

    def head(self) -> HeadWeights:
        """The weights of :meth:`mlm`, to be run by :func:`minilib.bert.mlm_logits`; no copies."""
        return HeadWeights(self.dense.weight, self.dense.bias, self.norm.weight, self.norm.bias, self.bias)

    def load(self, weights: BertWeights, head: HeadWeights | None = None) -> Bert:
        """Copy weights of the formulas into this module, of any array library; all of them or, with ValueError, none.

        Raises ValueError where a shape is another one, or an entry is not finite. Without a `head` that of the module
        stays as it is.
        """
        pairs = [*_beside(self.weights(), weights), *(_beside(self.head(), head) if head is not None else ())]
        found = [(name, mine, torch.as_tensor(theirs)) for name, mine, theirs in pairs]
        for name, mine, theirs in found:
            if mine.shape != theirs.shape:
                raise ValueError(
                    f"{name} must have shape {tuple(mine.shape)}, got {tuple(theirs.shape)}; nothing loaded"
                )
            if not theirs.isfinite().all():
                raise ValueError(f"{name} holds NaN or infinity, so the file is damaged; nothing was loaded")
        with torch.no_grad():
            for _, mine, theirs in found:
                mine.copy_(theirs)
        return self


def _beside(mine: tuple, theirs: tuple, name: str = "") -> Iterator[tuple[str, Tensor, object]]:
    """Each of our arrays with its name, beside the one that stands in the same place."""
    if len(mine) != len(theirs):
        raise ValueError(f"there are {len(mine)} blocks here and {len(theirs)} there; nothing was loaded")
    names = getattr(mine, "_fields", range(len(mine)))
    for part, ours, other in zip(names, mine, theirs, strict=True):
        if isinstance(ours, tuple):
            yield from _beside(ours, other, f"{name}{part}.")
        else:
            yield f"{name}{part}", ours, other
