"""Our recurrent modules against those of ``torch.nn``, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minilib.recurrence_torch import GRU, LSTM, RNN

from . import Row, in_turn

PEERS = {"LSTM": (LSTM, nn.LSTM), "GRU": (GRU, nn.GRU), "RNN": (RNN, nn.RNN)}
# oneDNN runs the peer's LSTM as one fused kernel; its GRU and RNN are loops like ours, in C++.
NOTES = {"LSTM": "the peer is one fused kernel", "GRU": "the peer is a loop in C++", "RNN": "the peer is a loop in C++"}


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """One training step without the optimiser."""

    def forward_and_backward() -> None:
        module.zero_grad()
        module(x)[0].square().mean().backward()

    return forward_and_backward


def run(quick: bool) -> list[Row]:
    """Time one forward and backward pass of each cell, both modules with the same weights."""
    torch.set_num_threads(1)
    T, batch, d = 100, 32, 256
    torch.manual_seed(0)
    x, found = torch.randn(T, batch, d), []
    for name, (kind, peer) in PEERS.items():
        theirs = peer(d, d)
        mine = kind.from_torch(theirs)
        torch.testing.assert_close(mine(x).h, theirs(x)[0], rtol=1e-4, atol=1e-5)
        ours, peers = in_turn(step(mine, x), step(theirs, x), rounds=2 if quick else 11)
        what = f"{name} forward and backward, batch {batch}, T = {T}, d = {d}"
        found.append(Row(what, ours, peer=f"torch.nn.{name}", peers=peers, aim=0.5, note=NOTES[name]))
    return found
