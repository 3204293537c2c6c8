"""A norm that follows a condition against a plain one inside BERT's block, and alone against those of x-transformers.

The block has the shape of BERT's base, and both its norms follow a condition of 128 features, one for each of four
texts; it may take at most a tenth longer than one with plain norms. x-transformers has norms with a scale and no shift,
so ours is made without a matrix for one, and both compute the same; but our LayerNorm still has its beta, an addition
and a gradient more, and may be slower by them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from x_transformers.x_transformers import AdaptiveLayerNorm, AdaptiveRMSNorm

from minilib.bert import BERT_SIZES
from minilib.bert_torch import BertBlock
from minilib.layernorm_torch import ConditionalLayerNorm, ConditionalRMSNorm, conditioned, make_conditional

from . import Row, agree, learning, side_by_side

BASE, BATCH, K = BERT_SIZES["BERT base, uncased"], 4, 128
PLAIN = 1 / 1.1
PEERS = {"LayerNorm": 0.8, "RMSNorm": 0.9}


def blocks(n: int, rounds: int) -> Row:
    """One block of BERT's base, forward and backward."""
    plain, ours = BertBlock(BASE), BertBlock(BASE)
    ours.load_state_dict(plain.state_dict())
    make_conditional(ours, K)
    x, c = torch.randn(BATCH, n, BASE.d), torch.randn(BATCH, K, requires_grad=True)

    def under_condition() -> Tensor:
        with conditioned(ours, c):
            return ours(x)

    agree(under_condition, lambda: plain(x))
    passes = learning(under_condition, [*ours.parameters(), c]), learning(lambda: plain(x), plain.parameters())
    what = "BERT's block with conditional norms, forward and backward"
    return side_by_side(what, n, passes[0], "plain norms", passes[1], rounds, aim=PLAIN)


def norms(n: int, rounds: int) -> Iterator[Row]:
    """The norms alone, each with random matrices."""
    x, c = torch.randn(BATCH, n, BASE.d, requires_grad=True), torch.randn(BATCH, K, requires_grad=True)
    pairs = {
        "LayerNorm": (ConditionalLayerNorm(BASE.d, K, shift=False), AdaptiveLayerNorm(BASE.d, K)),
        "RMSNorm": (ConditionalRMSNorm(BASE.d, K), AdaptiveRMSNorm(BASE.d, K)),
    }
    for name, (ours, theirs) in pairs.items():
        nn.init.normal_(ours.W_gamma, std=0.1)
        with torch.no_grad():
            theirs.to_gamma.weight.copy_(ours.W_gamma)
        ends = (lambda ours=ours: ours(x, c)), (lambda theirs=theirs: theirs(x, condition=c))
        agree(*ends)
        leaves = [x, c, *ours.parameters()], [x, c, *theirs.parameters()]
        passes = [learning(end, some) for end, some in zip(ends, leaves, strict=True)]
        what = f"conditional {name} alone, forward and backward"
        yield side_by_side(what, n, passes[0], f"x-transformers, Adaptive{name}", passes[1], rounds, aim=PEERS[name])


def run(quick: bool) -> list[Row]:
    """Both comparisons at two lengths."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths, rounds = ((64,), 5) if quick else ((128, 512), 9)
    return [*(blocks(n, rounds) for n in lengths), *(row for n in lengths for row in norms(n, 3 * rounds))]
