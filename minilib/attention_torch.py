"""Multi-head attention as a torch module: the parameters, and the formulas of :mod:`minilib.attention`.

The scores are scaled by a law, a function of the number of keys that a query can see and of the features of a head;
the laws are in :mod:`minilib.entropy`. The sum over values is taken by torch's fused kernel, which equals the formula
and never holds the weights; :meth:`MultiHeadAttention.weights` computes them where one wants to look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import attention_weights, expect_mask, for_all_heads, merge_heads, split_heads, visible_keys
from .rope import rope, rope_angles

Law = Callable[[int | Tensor, int], float | Tensor]
r"""$\lambda = $ law(n, d), n keys in sight of a query, d features of a head. n is a number, or where a mask makes it
differ between queries, an array of shape (…, 1, n, 1)."""


def keep_variance_(linear: nn.Linear) -> nn.Linear:
    r"""Draw the weight from $N(0, 1/d)$, d the width of the input, and set the bias to 0."""
    nn.init.normal_(linear.weight, std=1 / math.sqrt(linear.in_features))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


class MultiHeadAttention(nn.Module):
    r"""$W_o\,[o_1; \dots; o_h]$: :func:`minilib.attention.multi_head_attention`, with biases.

    `scale` is $1/\sqrt{d/h}$ unless a law is given, which may be a module with parameters of its own. `rotary` turns
    queries and keys by their positions (:func:`minilib.rope.rope`). Raises ValueError if `heads` does not divide `d`.
    """

    def __init__(
        self, d: int, heads: int, *, scale: Law | None = None, rotary: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        if heads < 1 or d < 1 or d % heads:
            raise ValueError(f"{d} features cannot be shared out among {heads} heads; take a divisor")
        if rotary and (d // heads) % 2:
            raise ValueError(f"rotary needs heads of an even number of features, got {d} / {heads} = {d // heads}")
        self.d, self.heads, self.scale, self.rotary = d, heads, scale, rotary
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Linear(d, d, bias=bias) for _ in range(4))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Draw the weights from $N(0, 1/d)$, so that queries and keys keep the variance of their input; biases 0."""
        for W in (self.W_q, self.W_k, self.W_v, self.W_o):
            keep_variance_(W)

    def extra_repr(self) -> str:
        return f"d={self.d}, heads={self.heads}, rotary={self.rotary}"

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attend from `x` (…, n, d) to `memory` (…, m, d), or to `x` itself; `mask` (…, n, m) is for all heads.

        A query whose mask admits no key gets the value 0, and so the bias of W_o. NaN spreads, even from a position
        that nobody may look at, since 0 · NaN is NaN.
        """
        memory = x if memory is None else memory
        q, k = self._queries_and_keys(x, memory, mask)
        v = split_heads(self.W_v(memory), self.heads)
        if mask is not None:
            expect_mask(mask, x)  # a mask of floats, torch would add to the scores
            mask = for_all_heads(mask)
        return self.W_o(merge_heads(F.scaled_dot_product_attention(q, k, v, mask, scale=1.0)))

    def weights(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """The attention weights (…, heads, n, m) that :meth:`forward` uses, computed by the formula."""
        q, k = self._queries_and_keys(x, x if memory is None else memory, mask)
        return attention_weights(q, k, None if mask is None else for_all_heads(mask), scale=1.0)

    def _queries_and_keys(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Queries, turned and scaled, and keys, turned: their products are the scores."""
        self._check(x, memory)
        q, k = split_heads(self.W_q(x), self.heads), split_heads(self.W_k(memory), self.heads)
        if self.rotary:
            angles = rope_angles(max(q.shape[-2], k.shape[-2]), q.shape[-1], q)
            q, k = (rope(a, angles[: a.shape[-2]]) for a in (q, k))
        return q * self._lambda(k, mask, q), k

    def _lambda(self, k: Tensor, mask: Tensor | None, q: Tensor) -> float | Tensor:
        m, d = k.shape[-2:]
        if self.scale is None:
            return 1 / math.sqrt(d)
        scale = self.scale(m if mask is None else visible_keys(for_all_heads(mask), k), d)
        return scale.to(q.dtype) if isinstance(scale, Tensor) else scale

    def _check(self, *arrays: Tensor) -> None:
        for x in arrays:
            if x.ndim < 2 or x.shape[-1] != self.d:
                raise ValueError(f"expected shape (…, n, {self.d}), positions before features, got {tuple(x.shape)}")

    @classmethod
    def from_torch(cls, module: nn.MultiheadAttention, **options: Law | bool) -> MultiHeadAttention:
        """Copy the weights of ``nn.MultiheadAttention``; `options` are `scale` and `rotary`, which it has not.

        Raises ValueError if the module does more than these weights say: dropout, extra keys, other widths.
        """
        if not isinstance(module, nn.MultiheadAttention):
            raise ValueError(f"the weights come from nn.MultiheadAttention, got {type(module).__name__}")
        if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn or module.dropout:
            raise ValueError("kdim, vdim, add_bias_kv, add_zero_attn and dropout are not part of this attention")
        bias = module.in_proj_bias is not None
        ours = cls(module.embed_dim, module.num_heads, bias=bias, **options).to(module.in_proj_weight)
        with torch.no_grad():
            for mine, theirs in ours._beside(module):
                mine.copy_(theirs)
        return ours

    def to_torch(self) -> nn.MultiheadAttention:
        """Return a batch-first ``nn.MultiheadAttention`` with the same weights; ValueError with a law or rotary."""
        if self.scale is not None or self.rotary:
            raise ValueError("nn.MultiheadAttention has neither a scale law nor rotary positions")
        bias = self.W_q.bias is not None
        module = nn.MultiheadAttention(self.d, self.heads, bias=bias, batch_first=True).to(self.W_q.weight)
        with torch.no_grad():
            for mine, theirs in self._beside(module):
                theirs.copy_(mine)
        return module

    def _beside(self, module: nn.MultiheadAttention) -> Iterator[tuple[Tensor, Tensor]]:
        """Our parameters, each beside the part of the torch module's that means the same."""
        inward = (self.W_q, self.W_k, self.W_v)
        yield from zip((W.weight for W in inward), module.in_proj_weight.chunk(3), strict=True)
        yield self.W_o.weight, module.out_proj.weight
        if self.W_o.bias is not None:
            yield from zip((W.bias for W in inward), module.in_proj_bias.chunk(3), strict=True)
            yield self.W_o.bias, module.out_proj.bias
