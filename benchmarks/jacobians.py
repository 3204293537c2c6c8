"""All Jacobian products of an LSTM over a sequence: the closed form against what torch offers.

Wanted are the derivatives of the last state by the state before every step, T matrices of 2d × 2d. The closed form
multiplies T matrices. torch's reverse mode walks back through the graph for each of the 2d rows: one after the other,
or all at once with ``jacrev``. And ``jacrev`` is asked once for each lag, as one would first write it, or once for
all: with a push added to every state, whose derivatives come out of one walk. That is the best that torch can do; it
makes the same products, and what remains of the difference is the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilib import recurrence as rec

from . import Row, in_turn


class Task:
    """One LSTM of width d on one sequence, from the zero state."""

    def __init__(self, d: int, T: int) -> None:
        noise = torch.Generator().manual_seed(0)
        self.d, self.T, self.zero, self.b = d, T, torch.zeros(d), torch.zeros(4 * d)
        self.W = torch.randn(4 * d, d, generator=noise) / d**0.5
        self.U = torch.cat([rec.orthogonal(torch.randn(d, d, generator=noise)) for _ in range(4)])
        self.x = torch.randn(T, d, generator=noise)

    def closed_form(self) -> Tensor:
        """States, gates, slopes, Jacobians, products: nothing is taken as known."""
        states = rec.lstm_scan(self.x, self.zero, self.zero, self.W, self.U, self.b)
        gates = rec.lstm_gates(self.x, rec.preceding(states.h, self.zero), self.W, self.U, self.b)
        slopes = rec.lstm_slopes(gates, rec.preceding(states.c, self.zero))
        return rec.jacobian_products(rec.lstm_jacobian(slopes, self.U))[1:]

    def last_state(self, pushes: Tensor) -> Tensor:
        """The last state as a function of a push (T, 2d) that is added to the state before each step."""
        c = h = self.zero
        for x, push in zip(self.x, pushes, strict=True):
            c, h = rec.lstm_step(x, c + push[: self.d], h + push[self.d :], self.W, self.U, self.b)
        return torch.cat([c, h])

    def jacrev_at_once(self) -> Tensor:
        """The same by one call of ``torch.func.jacrev``, lag by lag like the closed form."""
        return torch.func.jacrev(self.last_state)(torch.zeros(self.T, 2 * self.d)).transpose(0, 1).flip(0)

    def jacrev_lag_by_lag(self) -> Tensor:
        """The same by T calls of ``torch.func.jacrev``, each from one state to the last."""
        states = rec.lstm_scan(self.x, self.zero, self.zero, self.W, self.U, self.b)
        before = torch.cat([rec.preceding(states.c, self.zero), rec.preceding(states.h, self.zero)], dim=-1)
        return torch.stack([self._product(before[-k], self.x[-k:]) for k in range(1, self.T + 1)])

    def _product(self, state: Tensor, x: Tensor) -> Tensor:
        def last(s: Tensor) -> Tensor:
            c, h = rec.lstm_scan(x, s[: self.d], s[self.d :], self.W, self.U, self.b)
            return torch.cat([c[-1], h[-1]])

        return torch.func.jacrev(last)(state)

    def row_by_row(self) -> Tensor:
        """The same by ``torch.autograd.grad``, one row after the other."""
        pushes = torch.zeros(self.T, 2 * self.d, requires_grad=True)
        last = self.last_state(pushes)
        rows = [torch.autograd.grad(entry, pushes, retain_graph=True)[0] for entry in last]
        return torch.stack(rows).transpose(0, 1).flip(0)


def run(quick: bool) -> list[Row]:
    """Time the four ways, once they have been seen to agree."""
    torch.set_num_threads(1)
    T, d = (50 if quick else 100), 64
    task = Task(d, T)
    ways = task.closed_form, task.jacrev_lag_by_lag, task.row_by_row, task.jacrev_at_once
    for way in ways[1:]:
        torch.testing.assert_close(way(), task.closed_form())
    ours, lag_by_lag, rows, at_once = in_turn(*ways, rounds=3 if quick else 9)
    what = f"LSTM, all {T} Jacobian products, d = {d}"
    return [
        Row(what, ours, peer="torch.func.jacrev, lag by lag", peers=lag_by_lag, aim=20),
        Row(what, ours, peer="torch.autograd.grad, row by row", peers=rows, aim=20),
        Row(what, ours, peer="torch.func.jacrev, all lags at once", peers=at_once, aim=1),
    ]
