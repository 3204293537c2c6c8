"""Our gated attention unit and FLASH against FLASH-pytorch, with the same weights: batch 1, d = 256, e = 512, s = 128.

FLASH-pytorch adds a norm, biases, a table of relative positions and, in FLASH, the input. The norm and the table are
taken out, the biases are 0, and our FLASH adds its input, too; rotary positions are off. Both then compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import flash_pytorch
import torch
from torch import Tensor, nn

from minilib.gau_torch import FLASH, GAU

from . import Row, modules_side_by_side

D, S, CHUNK = 256, 128, 128


class NoTable(nn.Module):
    """In the place of the relative positions."""

    def forward(self, scores: Tensor) -> float:
        return 0.0


@torch.no_grad()
def same_weights(ours: nn.Module, theirs: nn.Module, offsets: nn.Module, out: nn.Linear, order: list[int]) -> None:
    """Theirs has the order [v, u], and the parts of its scale-offset in `order`."""
    theirs.norm, theirs.rel_pos_bias = nn.Identity(), NoTable()
    v, u = theirs.to_hidden[0].weight.chunk(2)
    ours.W.copy_(torch.cat([u, v, theirs.to_qk[0].weight]))
    ours.W_o.copy_(out.weight)
    offsets.gamma.normal_()
    ours.gamma.copy_(offsets.gamma[order])
    for linear in (theirs.to_hidden[0], theirs.to_qk[0], out):
        linear.bias.zero_()


def pairs(n: int, rounds: int) -> Iterator[Row]:
    """Both units at one length."""
    x, options = torch.randn(1, n, D), {"s": S, "kernel": "relu2/n2", "rotary": False}
    ours, theirs = GAU(D, **options), flash_pytorch.GAU(dim=D, query_key_dim=S, add_residual=False)
    same_weights(ours, theirs, theirs.offsetscale, theirs.to_out[0], [0, 1])
    calls = lambda: ours(x), lambda: theirs(x)
    yield modules_side_by_side("GAU", n, (ours, theirs), calls, "flash_pytorch.GAU", rounds)
    lean, other = FLASH(D, chunk=CHUNK, **options), flash_pytorch.FLASH(dim=D, query_key_dim=S, group_size=CHUNK)
    same_weights(lean, other, other.qk_offset_scale, other.to_out, [0, 2, 1, 3])
    calls = lambda: lean(x) + x, lambda: other(x)
    yield modules_side_by_side("FLASH", n, (lean, other), calls, "flash_pytorch.FLASH", rounds)


def run(quick: bool) -> list[Row]:
    """Both units at three lengths, the rows of one comparison one after the other."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths, rounds = ((128, 512), 3) if quick else ((128, 512, 2048), 5)
    rows = [row for n in lengths for row in pairs(n, rounds)]
    return sorted(rows, key=lambda row: (row.what, row.peer))
