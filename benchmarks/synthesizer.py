"""Synthesizers against standard attention, ours all of them: no other library has a synthesizer.

A synthesizer spares the products of queries and keys but has to hold its n × n scores, since torch's fused kernel makes
its scores itself. So there are two peers: standard attention with scores held in the same way, which shows what the
mechanism saves, and the fused one, which shows what it costs. Batch 1, 8 heads of 32 features; a table of scores grows
with the length, and so do its parameters and their gradients.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from minilib.attention_torch import MultiHeadAttention
from minilib.synthesizer_torch import (
    DenseSynthesizer,
    DotScores,
    FactorizedDenseSynthesizer,
    FactorizedRandomSynthesizer,
    RandomSynthesizer,
    Synthesizer,
)

from . import Row, learning, side_by_side

HEADS, D = 8, 256
FACTORS = {128: (8, 16), 512: (16, 32), 2048: (32, 64)}


def variants(n: int) -> dict[str, nn.Module]:
    """Each kind with room for n tokens."""
    return {
        "dense": DenseSynthesizer(D, HEADS, n),
        "factorized dense": FactorizedDenseSynthesizer(D, HEADS, n, *FACTORS[n]),
        "random": RandomSynthesizer(D, HEADS, n),
        "fixed random": RandomSynthesizer(D, HEADS, n, trained=False),
        "factorized random": FactorizedRandomSynthesizer(D, HEADS, n, rank=8),
    }


def at(n: int, rounds: int) -> Iterator[Row]:
    """All kinds at one length."""
    x = torch.randn(1, n, D)
    peers = {"scores held": Synthesizer(DotScores(D, HEADS)), "fused": MultiHeadAttention(D, HEADS)}
    for name, ours in variants(n).items():
        for kind, theirs in peers.items():
            mine, its = (learning(lambda m=m: m(x), m.parameters()) for m in (ours, theirs))
            yield side_by_side(f"{name} synthesizer", n, mine, f"standard attention, {kind}", its, rounds)


def run(quick: bool) -> list[Row]:
    """Forward and backward at three lengths, the rows of one comparison one after the other."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths, rounds = ((128, 512), 2) if quick else ((128, 512, 2048), 3)
    rows = [row for n in lengths for row in at(n, rounds)]
    return sorted(rows, key=lambda row: (row.what, row.peer))
