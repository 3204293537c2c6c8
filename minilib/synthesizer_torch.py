r"""Synthesizers as torch modules: the parameters, and the formulas of :mod:`minilib.synthesizer`.

A layer is a module of scores, which may be looked at alone, with the values and the output around it. It is called like
:class:`minilib.attention_torch.MultiHeadAttention` and takes its place for self-attention. All scores begin with a
variance near 1 if the input has it, those of queries and keys as well, so that what is compared is the mechanism.

float16 ends at 65,504: larger scores become infinite there, and their rows NaN, as in any attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import synthesizer as formulas
from .attention import attention_scores, for_all_heads, merge_heads, split_heads
from .attention_torch import keep_variance_

LAYOUTS = {"tile": formulas.tiled_scores, "interleave": formulas.interleaved_scores}
"""How the second factor of factorized dense scores is laid out; the first is always tiled."""


# ---------------------------------------------------------------------------------------------------------------
# scores


class Scores(nn.Module):
    """What all modules of scores share: (…, n, d) to (…, heads, n, n), for at most `longest` tokens."""

    def __init__(self, d: int, heads: int, longest: int | None = None) -> None:
        super().__init__()
        if heads < 1 or d < 1 or d % heads:
            raise ValueError(f"{d} features cannot be shared out among {heads} heads; take a divisor")
        if longest is not None and longest < 1:
            raise ValueError(f"longest must be at least 1 token, got {longest}")
        self.d, self.heads, self.longest = d, heads, longest

    def extra_repr(self) -> str:
        return f"d={self.d}, heads={self.heads}, longest={self.longest}"


class DotScores(Scores):
    r"""$B = QK^\top/\sqrt{d_h}$, for mixtures: the scores of multi-head attention, which know no longest sequence."""

    def __init__(self, d: int, heads: int, *, bias: bool = True) -> None:
        super().__init__(d, heads)
        self.W_q, self.W_k = (keep_variance_(nn.Linear(d, d, bias=bias)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return attention_scores(*(split_heads(W(x), self.heads) for W in (self.W_q, self.W_k)))


class _Second(nn.Module):
    """The second layer of dense scores, on the hidden features of a head: `rows` outputs, for each head or shared.

    Its input comes out of relu, with half the mean square; hence the 2 in the variance (He et al. 2015).
    """

    def __init__(self, d: int, heads: int, rows: int, shared: bool, bias: bool) -> None:
        super().__init__()
        lead, width = () if shared else (heads,), d // heads
        self.weight = nn.Parameter(math.sqrt(2 / width) * torch.randn(*lead, rows, width))
        self.register_parameter("bias", nn.Parameter(torch.zeros(*lead, rows)) if bias else None)


class DenseScores(Scores):
    r"""$B = \mathrm{relu}(XW_1^\top + b_1)\,W_2^\top + b_2$: :func:`minilib.synthesizer.dense_scores` in each head.

    `shared`: one second layer for all heads, as in the authors' code.
    """

    def __init__(self, d: int, heads: int, longest: int, *, shared: bool = False, bias: bool = True) -> None:
        super().__init__(d, heads, longest)
        self.W_1, self.W_2 = keep_variance_(nn.Linear(d, d, bias=bias)), _Second(d, heads, longest, shared, bias)

    def forward(self, x: Tensor) -> Tensor:
        return formulas.dense_scores(split_heads(self.W_1(x), self.heads), self.W_2.weight, self.W_2.bias)


class FactorizedDenseScores(Scores):
    """As :class:`DenseScores`, each row a product of a + b numbers; `layout` is a key of :data:`LAYOUTS`.

    Raises ValueError unless a·b is `longest`.
    """

    def __init__(
        self,
        d: int,
        heads: int,
        longest: int,
        a: int,
        b: int,
        layout: str = "tile",
        *,
        shared: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(d, heads, longest)
        if a < 1 or b < 1 or a * b != longest:
            raise ValueError(f"a · b must be the longest length {longest}, got {a} · {b} = {a * b}")
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        self.a, self.b, self.layout = a, b, layout
        self.W_1 = keep_variance_(nn.Linear(d, d, bias=bias))
        self.W_a, self.W_b = (_Second(d, heads, rows, shared, bias) for rows in (a, b))

    def forward(self, x: Tensor) -> Tensor:
        hidden = split_heads(self.W_1(x), self.heads).relu()
        return LAYOUTS[self.layout](*(_affine(hidden, layer) for layer in (self.W_a, self.W_b)))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, a={self.a}, b={self.b}, layout={self.layout!r}"


def _affine(hidden: Tensor, layer: _Second) -> Tensor:
    out = hidden @ layer.weight.mT
    return out if layer.bias is None else out + layer.bias[..., None, :]


class RandomScores(Scores):
    r"""$B = R$, drawn from $N(0, \mathrm{std}^2)$ and trained, or not. Returns (heads, n, n), for any batch."""

    def __init__(self, d: int, heads: int, longest: int, *, trained: bool = True, std: float = 1.0) -> None:
        super().__init__(d, heads, longest)
        R = std * torch.randn(heads, longest, longest)
        if trained:
            self.R = nn.Parameter(R)
        else:
            self.register_buffer("R", R)

    def forward(self, x: Tensor) -> Tensor:
        return formulas.random_scores(self.R, x.shape[-2])


class FactorizedRandomScores(Scores):
    r"""$B = R_1R_2^\top$ of rank `rank` at most, with the standard deviation `std` at first. Returns (heads, n, n)."""

    def __init__(self, d: int, heads: int, longest: int, rank: int, *, std: float = 1.0) -> None:
        super().__init__(d, heads, longest)
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        # A sum of k products of two such numbers has the variance k (std / √k)².
        draw = math.sqrt(std / math.sqrt(rank)) * torch.randn(2, heads, longest, rank)
        self.R_1, self.R_2 = nn.Parameter(draw[0]), nn.Parameter(draw[1])

    def forward(self, x: Tensor) -> Tensor:
        return formulas.factorized_random_scores(self.R_1, self.R_2, x.shape[-2])


class MixedScores(Scores):
    r"""$B = \sum_i \alpha_i B_i$, $\alpha = \mathrm{softmax}(w)$, one set of weights for all heads, equal at first."""

    def __init__(self, parts: Sequence[Scores]) -> None:
        super().__init__(*_common(parts))
        self.parts = nn.ModuleList(parts)
        self.w = nn.Parameter(torch.zeros(len(parts)))

    def forward(self, x: Tensor) -> Tensor:
        return formulas.softmax_mixture([part(x) for part in self.parts], self.w)


class GatedScores(Scores):
    r"""$B = (1-\sigma(a))\,B_1 + \sigma(a)\,B_2$ with one number $a$ for all heads, 0 at first: the authors' code."""

    def __init__(self, dot: Scores, synthetic: Scores) -> None:
        super().__init__(*_common([dot, synthetic]))
        self.dot, self.synthetic = dot, synthetic
        self.a = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return formulas.gated_mixture(self.dot(x), self.synthetic(x), self.a)


def _common(parts: Sequence[Scores]) -> tuple[int, int, int | None]:
    """Width and heads, on which all parts must agree, and the shortest of their longest lengths."""
    if not parts:
        raise ValueError("a mixture needs at least one module of scores, got none")
    sizes = {(part.d, part.heads) for part in parts}
    if len(sizes) != 1:
        raise ValueError(f"the parts of a mixture must have the same d and heads, got {sorted(sizes)}")
    return *sizes.pop(), min((part.longest for part in parts if part.longest is not None), default=None)


# ---------------------------------------------------------------------------------------------------------------
# layers


class Synthesizer(nn.Module):
    r"""$W_o\,[o_1; \dots; o_h]$ with $o_r = \mathrm{softmax}(B_r)\,V_r$, the scores $B$ from a module of scores.

    In the place of :class:`minilib.attention_torch.MultiHeadAttention`, for self-attention.
    """

    def __init__(self, scores: Scores, *, bias: bool = True) -> None:
        super().__init__()
        self.d, self.heads, self.longest = scores.d, scores.heads, scores.longest
        self.scores = scores
        self.W_v, self.W_o = (keep_variance_(nn.Linear(self.d, self.d, bias=bias)) for _ in range(2))

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Mix the tokens of `x` (…, n, d); `mask` (…, n, n), True where a token may look, is for all heads.

        Raises ValueError if there is a `memory`, since scores without keys know none, or more than `longest` tokens.
        """
        self._check(x, memory)
        mask = None if mask is None else for_all_heads(mask)
        v = split_heads(self.W_v(x), self.heads)
        return self.W_o(merge_heads(formulas.synthetic_attention(self.scores(x), v, mask)))

    def weights(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The attention weights (…, heads, n, n) that :meth:`forward` uses, also where they are equal in a batch."""
        self._check(x, memory)
        A = formulas.synthetic_weights(self.scores(x), None if mask is None else for_all_heads(mask))
        return A.expand(*x.shape[:-2], *A.shape[-3:])

    def _check(self, x: Tensor, memory: Tensor | None) -> None:
        if memory is not None:
            raise ValueError(
                "a synthesizer attends to its own input only: its scores come from no keys, so they know no memory; "
                "use MultiHeadAttention for cross-attention"
            )
        if x.ndim < 2 or x.shape[-1] != self.d:
            raise ValueError(f"expected shape (…, n, {self.d}), positions before features, got {tuple(x.shape)}")


class DenseSynthesizer(Synthesizer):
    """Each token makes its row of scores by itself: :class:`DenseScores`."""

    def __init__(self, d: int, heads: int, longest: int, *, shared: bool = False, bias: bool = True) -> None:
        super().__init__(DenseScores(d, heads, longest, shared=shared, bias=bias), bias=bias)


class RandomSynthesizer(Synthesizer):
    """The scores are parameters, or with ``trained=False`` numbers that stay as drawn: :class:`RandomScores`."""

    def __init__(
        self, d: int, heads: int, longest: int, *, trained: bool = True, std: float = 1.0, bias: bool = True
    ) -> None:
        super().__init__(RandomScores(d, heads, longest, trained=trained, std=std), bias=bias)


class FactorizedDenseSynthesizer(Synthesizer):
    """Each token makes the a + b numbers of which its row is a product: :class:`FactorizedDenseScores`."""

    def __init__(
        self,
        d: int,
        heads: int,
        longest: int,
        a: int,
        b: int,
        layout: str = "tile",
        *,
        shared: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(FactorizedDenseScores(d, heads, longest, a, b, layout, shared=shared, bias=bias), bias=bias)


class FactorizedRandomSynthesizer(Synthesizer):
    """The scores are a product of two narrow matrices of parameters: :class:`FactorizedRandomScores`."""

    def __init__(self, d: int, heads: int, longest: int, rank: int, *, std: float = 1.0, bias: bool = True) -> None:
        super().__init__(FactorizedRandomScores(d, heads, longest, rank, std=std), bias=bias)


class Mixture(Synthesizer):
    """A weighted sum of several modules of scores: :class:`MixedScores`."""

    def __init__(self, parts: Sequence[Scores], *, bias: bool = True) -> None:
        super().__init__(MixedScores(parts), bias=bias)


class GatedMixture(Synthesizer):
    """Two modules of scores weighed by a gate: :class:`GatedScores`."""

    def __init__(self, dot: Scores, synthetic: Scores, *, bias: bool = True) -> None:
        super().__init__(GatedScores(dot, synthetic), bias=bias)
