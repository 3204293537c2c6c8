"""A scale law with a parameter that is learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .entropy import ssmax_scale


class SSMax(nn.Module):
    r"""The law $\lambda = s \ln n/\sqrt d$ with a learnable s for each head: :func:`minilib.entropy.ssmax_scale`.

    Give it to :class:`minilib.attention_torch.MultiHeadAttention` as `scale`. s starts at $1/\ln b$, so that at
    n = b = `base` the law is the standard scale. Source: Nakanishi 2025, Scalable-Softmax.
    """

    def __init__(self, heads: int, base: float = 512.0) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"SSMax needs at least one head, got {heads}")
        if not base > 1:
            raise ValueError(f"base, the length at which the law starts as 1/√d, must be above 1, got {base}")
        self.base = base
        self.s = nn.Parameter(torch.empty(heads, 1, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start at 1/ln base in every head."""
        nn.init.constant_(self.s, 1 / math.log(self.base))

    def extra_repr(self) -> str:
        return f"heads={len(self.s)}, base={self.base:g}"

    def forward(self, n: int | Tensor, d: int) -> Tensor:
        """Return the scale of each head, (heads, 1, 1), or (…, heads, n, 1) for an array n of shape (…, 1, n, 1)."""
        return ssmax_scale(n, d, self.s)
