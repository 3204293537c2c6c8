"""Our attention against torch's and that of x-transformers, with the same weights: batch 1, 8 heads of 32 features.

torch computes attention by one fused kernel that never holds the n × n weights, and so do the modules here. The plain
formula holds them, several times over on the way back; the lean one holds a block of them, and is a loop in Python.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from x_transformers.x_transformers import Attention

from minilib.attention import attention, lean_attention
from minilib.attention_torch import MultiHeadAttention

from . import Row, agree, learning, modules_side_by_side, side_by_side

HEADS, D = 8, 256
FUSED = "torch.nn.functional.scaled_dot_product_attention"


def formulas(n: int, rounds: int) -> Iterator[Row]:
    """The plain formula against the fused kernel, the lean one against both; of these only memory has an aim."""
    leaves = [torch.randn(1, HEADS, n, D // HEADS, requires_grad=True) for _ in range(3)]

    def plain() -> Tensor:
        return attention(*leaves)

    def fused() -> Tensor:
        return F.scaled_dot_product_attention(*leaves)

    def lean() -> Tensor:
        return lean_attention(*leaves)

    agree(plain, fused)
    agree(lean, fused)
    ours, peers = learning(plain, leaves), learning(fused, leaves)
    yield side_by_side("attention, forward and backward", n, ours, FUSED, peers, rounds)
    lean, plain, fused = map(torch.no_grad(), (lean, plain, fused))
    yield side_by_side("lean_attention, forward", n, lean, FUSED, fused, rounds)
    # Its memory grows as n, that of the plain formula as n²: equal at some 400 tokens, and at 2048 a fifth.
    aim = n / 512 if n > 512 else None
    yield side_by_side("lean_attention, forward", n, lean, "attention", plain, rounds, memory_aim=aim)


def modules(n: int, rounds: int) -> Iterator[Row]:
    """The module against two others."""
    x, what = torch.randn(1, n, D), "MultiHeadAttention"
    theirs = nn.MultiheadAttention(D, HEADS, batch_first=True)
    ours = MultiHeadAttention.from_torch(theirs)
    calls = lambda: ours(x), lambda: theirs(x, x, x, need_weights=False)[0]
    yield modules_side_by_side(what, n, (ours, theirs), calls, "torch.nn.MultiheadAttention", rounds)
    bare, other = MultiHeadAttention(D, HEADS, bias=False), Attention(D, dim_head=D // HEADS, heads=HEADS, flash=True)
    with torch.no_grad():
        for name in "qkv":
            getattr(bare, f"W_{name}").weight.copy_(getattr(other, f"to_{name}").weight)
        bare.W_o.weight.copy_(other.to_out.weight)
    calls = lambda: bare(x), lambda: other(x)
    yield modules_side_by_side(what, n, (bare, other), calls, "x_transformers.Attention", rounds)


def run(quick: bool) -> list[Row]:
    """Each comparison at three lengths, the rows of one comparison one after the other."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths, rounds = ((128, 512), 3) if quick else ((128, 512, 2048), 5)
    rows = [row for n in lengths for part in (formulas, modules) for row in part(n, rounds)]
    return sorted(rows, key=lambda row: (row.what, row.peer))
