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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .arrays import exact_gelu
from .attention import merge_heads, padding_mask, split_heads
from .attention_torch import Law, MultiHeadAttention
from .bert import (
    EPS,
    AffineWeights,
    BertSizes,
    BertWeights,
    BlockWeights,
    EmbeddingWeights,
    HeadWeights,
    mean_pooled,
    sizes_of,
    unit,
)
from .depth_torch import FeedForward
from .wordpiece import pad

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


class BertAttention(MultiHeadAttention):
    """Attention whose weights have dropout, too: in training a token looks away from some of the others.

    Then it is the formula, which holds the n × n weights; else torch's fused kernel.
    """

    def __init__(self, d: int, heads: int, *, dropout: float = 0.0, scale: Law | None = None) -> None:
        super().__init__(d, heads, scale=scale)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """As its parent's, :meth:`minilib.attention_torch.MultiHeadAttention.forward`."""
        if not self.training or not self.dropout.p:
            return super().forward(x, memory, mask)
        A = self.dropout(self.weights(x, memory, mask))
        return self.W_o(merge_heads(A @ split_heads(self.W_v(x if memory is None else memory), self.heads)))


class BertBlock(nn.Module):
    r"""$y = \mathrm{LN}(x + \mathrm{attention}(x))$, then $\mathrm{LN}(y + \mathrm{feed}(y))$; branches have dropout.

    `scale` is $1/\sqrt{d/h}$ unless a law is given, as in :class:`minilib.attention_torch.MultiHeadAttention`.
    """

    def __init__(
        self,
        sizes: BertSizes,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        phi: Callable[[Tensor], Tensor] = exact_gelu,
        scale: Law | None = None,
    ) -> None:
        super().__init__()
        self.attention = BertAttention(sizes.d, sizes.heads, dropout=attention_dropout, scale=scale)
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
    ``model.mlm(model(ids)[masked])``. `dropout` acts on the embedding and on what each sub-layer adds, and
    `attention_dropout` on attention weights; BERT has 0.1 at all three. `phi` is the activation; ALBERT's is
    :func:`minilib.arrays.gelu`.
    """

    def __init__(
        self,
        sizes: BertSizes,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        phi: Callable[[Tensor], Tensor] = exact_gelu,
        scale: Law | None = None,
    ) -> None:
        super().__init__()
        self.sizes, self.phi = sizes, phi
        self.embedding = BertEmbedding(sizes, dropout=dropout)
        number = 1 if sizes.shared else sizes.layers
        options = {"dropout": dropout, "attention_dropout": attention_dropout, "phi": phi, "scale": scale}
        blocks = [BertBlock(sizes, **options) for _ in range(number)]
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
        h = self.embedding(ids, segments)
        for block in self.blocks:  # without a gradient, one state is held at a time
            h = block(h, mask)
        return h

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

    @classmethod
    def from_weights(
        cls,
        weights: BertWeights,
        heads: int,
        head: HeadWeights | None = None,
        nsp: AffineWeights | None = None,
        widen: AffineWeights | None = None,
        **options: Any,
    ) -> Bert:
        """A model of the sizes and the precision of these weights, with copies of them; see :meth:`load`.

        `options` are those of the class. A head that is not given begins as BERT begins one.
        """
        model = cls(sizes_of(weights, heads, factorised=widen is not None), **options)
        return model.to(torch.as_tensor(weights.W_pool).dtype).load(weights, head, nsp, widen)

    def weights(self) -> BertWeights:
        """The encoder's weights, to be run by the formulas of :mod:`minilib.bert`; no copies.

        ALBERT's map is not among them, :meth:`widening`.
        """
        blocks = tuple(block.weights() for block in self.blocks)
        if self.sizes.shared:
            blocks = blocks[:1] * self.sizes.layers
        return BertWeights(self.embedding.weights(), blocks, self.pool.weight, self.pool.bias)

    def head(self) -> HeadWeights:
        """The weights of :meth:`mlm`, to be run by :func:`minilib.bert.mlm_logits`; no copies."""
        return HeadWeights(self.dense.weight, self.dense.bias, self.norm.weight, self.norm.bias, self.bias)

    def nsp_head(self) -> AffineWeights:
        """The weights of :meth:`nsp`, to be run by :func:`minilib.bert.nsp_logits`; no copies."""
        return AffineWeights(self.follows.weight, self.follows.bias)

    def widening(self) -> AffineWeights | None:
        """The map of :func:`minilib.bert.albert_embedding`; None where the tables are as wide as the states."""
        if self.sizes.table is None:
            return None
        return AffineWeights(self.embedding.widen.weight, self.embedding.widen.bias)

    def load(
        self,
        weights: BertWeights,
        head: HeadWeights | None = None,
        nsp: AffineWeights | None = None,
        widen: AffineWeights | None = None,
    ) -> Bert:
        """Copy weights of the formulas into this module, of any array library; all of them or, with ValueError, none.

        Raises ValueError where a shape is another one, an entry is not finite, different blocks are meant for a shared
        one, or `widen` is missing or out of place. A head that is not given stays as it is.
        """
        if (widen is None) != (self.sizes.table is None):
            raise ValueError(f"table={self.sizes.table}, so widen must {'' if widen is None else 'not '}be given")
        parts = {"": (self.weights(), weights), "head.": (self.head(), head), "nsp.": (self.nsp_head(), nsp)}
        parts["widen."] = self.widening(), widen
        given = [(mine, theirs, name) for name, (mine, theirs) in parts.items() if theirs is not None]
        pairs = [_fitting(*pair) for part in given for pair in _beside(*part)]
        _expect_one_source(pairs)
        with torch.no_grad():
            for _, mine, theirs in pairs:
                mine.copy_(theirs)
        return self


@torch.no_grad()
def text_vectors(model: Bert, rows: Sequence[Sequence[int]], batch: int = 32) -> Tensor:
    """A vector (texts, d) of length 1 for each text, the mean of its last states; `rows` are the ids of its pieces.

    Texts of similar lengths are read together, so that little is padded. Dropout is on if the model is in training.
    Raises ValueError if there is no text.
    """
    if not rows:
        raise ValueError("there must be a text at least, got none")
    order = sorted(range(len(rows)), key=lambda k: len(rows[k]))
    found = model.embedding.positions.weight.new_empty(len(rows), model.sizes.d)
    for part in (order[k : k + batch] for k in range(0, len(order), batch)):
        ids, lengths = torch.tensor(pad([rows[k] for k in part])), torch.tensor([len(rows[k]) for k in part])
        found[part] = unit(mean_pooled(model(ids, mask=padding_mask(lengths, ids.shape[1])), lengths))
    return found


def _beside(mine: tuple, theirs: tuple, name: str = "") -> Iterator[tuple[str, Tensor, Any]]:
    """Each of our arrays with its name, beside the one that stands in the same place."""
    if len(mine) != len(theirs):
        raise ValueError(f"there are {len(mine)} blocks here and {len(theirs)} there; nothing was loaded")
    names = getattr(mine, "_fields", range(len(mine)))
    for part, ours, other in zip(names, mine, theirs, strict=True):
        if isinstance(ours, tuple):
            yield from _beside(ours, other, f"{name}{part}.")
        else:
            yield f"{name}{part}", ours, other


def _fitting(name: str, mine: Tensor, theirs: Any) -> tuple[str, Tensor, Tensor]:
    """The same with the other as a tensor, if it may be copied into ours."""
    found = torch.as_tensor(theirs)
    if mine.shape != found.shape:
        raise ValueError(f"{name} must have shape {tuple(mine.shape)}, got {tuple(found.shape)}; nothing loaded")
    if not found.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinity, so the file is damaged; nothing was loaded")
    return name, mine, found


def _expect_one_source(pairs: Iterable[tuple[str, Tensor, Tensor]]) -> None:
    """A parameter that stands in several places must be given the same numbers in all of them."""
    first: dict[Tensor, tuple[str, Tensor]] = {}
    for name, mine, theirs in pairs:
        other, known = first.setdefault(mine, (name, theirs))
        if theirs is not known and not torch.equal(theirs, known):
            raise ValueError(f"{name} is not {other}, but here one block is in all places; nothing was loaded")
