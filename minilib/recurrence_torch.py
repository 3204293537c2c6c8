"""RNN, LSTM and GRU as torch modules: the parameters, and the formulas of :mod:`minilib.recurrence`.

Each module is one layer in one direction; stack them for depth, reverse the input for the other direction. Sequences
have time first: (T, *batch, d_x). Weights pass to and from ``torch.nn.RNN``, ``LSTM`` and ``GRU`` unchanged, because
the layout is the same; PyTorch adds a second bias, which only the candidate of its GRU needs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import recurrence
from .arrays import relu
from .recurrence import LSTMState, chrono_forget_bias, orthogonal


class Output(NamedTuple):
    """All states h of shape (T, *batch, d), and the last state, from which a next sequence can go on."""

    h: Tensor
    last: Tensor | LSTMState


class _Cell(nn.Module):
    """Parameters W, U, b of a cell and their default initialisation."""

    gates: int
    peer: type[nn.RNNBase]

    def __init__(self, d_x: int, d: int) -> None:
        super().__init__()
        if d_x < 1 or d < 1:
            raise ValueError(f"input and state need at least one feature, got d_x = {d_x}, d = {d}")
        self.d_x, self.d = d_x, d
        self.W = nn.Parameter(torch.empty(self.gates * d, d_x))
        self.U = nn.Parameter(torch.empty(self.gates * d, d))
        self.b = nn.Parameter(torch.empty(self.gates * d))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Draw W from $N(0, 1/d_x)$, each block of U orthogonal, b = 0."""
        for U in self.U.detach().chunk(self.gates):
            U.copy_(orthogonal(torch.randn_like(U)))
        nn.init.normal_(self.W, std=1 / math.sqrt(self.d_x))
        nn.init.zeros_(self.b)

    def extra_repr(self) -> str:
        return f"d_x={self.d_x}, d={self.d}"

    def _check(self, x: Tensor) -> None:
        # Under torch.compile a look at the values would break the graph.
        if not torch.compiler.is_compiling() and not torch.isfinite(x).all():
            raise ValueError("x must be finite, got NaN or infinity; look for the batch that brings it in")

    def _zeros(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[1:-1], self.d)

    @classmethod
    def from_torch(cls, module: nn.RNNBase, layer: int = 0, reverse: bool = False) -> _Cell:
        """Copy one layer and direction of a ``torch.nn`` module; raise ValueError if the kind does not fit."""
        if not isinstance(module, cls.peer):
            raise ValueError(f"{cls.__name__} takes its weights from {cls.peer.__name__}, got {type(module).__name__}")
        if not 0 <= layer < module.num_layers or (reverse and not module.bidirectional):
            raise ValueError(f"the module has {module.num_layers} layers, bidirectional: {module.bidirectional}")
        if module.proj_size:
            raise ValueError("projections (proj_size) are not part of this cell")
        suffix = f"_l{layer}" + "_reverse" * reverse
        W, U = (getattr(module, f"weight_{kind}{suffix}").detach() for kind in ("ih", "hh"))
        zero = W.new_zeros(len(W))
        b, b_hh = (getattr(module, f"bias_{kind}{suffix}", zero).detach() for kind in ("ih", "hh"))
        cell = cls._like(module, W.shape[1], U.shape[1]).to(W)
        cell._load(W, U, b, b_hh)
        return cell

    @classmethod
    def _like(cls, module: nn.RNNBase, d_x: int, d: int) -> _Cell:
        return cls(d_x, d)

    @torch.no_grad()
    def _load(self, W: Tensor, U: Tensor, b: Tensor, b_hh: Tensor) -> None:
        self.W.copy_(W)
        self.U.copy_(U)
        self.b.copy_(b + b_hh)

    def to_torch(self) -> nn.RNNBase:
        """Return a ``torch.nn`` module of one layer with the same weights (its second bias is zero where unused)."""
        module = self._peer().to(self.W)
        with torch.no_grad():
            for name, value in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), self._save(), strict=True):
                getattr(module, f"{name}_l0").copy_(value)
        return module

    def _peer(self) -> nn.RNNBase:
        return self.peer(self.d_x, self.d)

    def _save(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.W, self.U, self.b, torch.zeros_like(self.b)


class RNN(_Cell):
    r"""$h_t = \phi(W x_t + U h_{t-1} + b)$ with $\phi = \tanh$, or relu for ``nonlinearity="relu"``.

    With relu, U starts as the identity (IRNN; Le, Jaitly & Hinton 2015), with tanh as an orthogonal matrix.
    """

    gates, peer = 1, nn.RNN

    def __init__(self, d_x: int, d: int, nonlinearity: str = "tanh") -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(d_x, d)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.nonlinearity == "relu":
            nn.init.eye_(self.U)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Output:
        """Scan `x` of shape (T, *batch, d_x) from the state `h` of shape (*batch, d), zeros if not given."""
        self._check(x)
        phi = torch.tanh if self.nonlinearity == "tanh" else relu
        states = recurrence.rnn_scan(x, self._zeros(x) if h is None else h, self.W, self.U, self.b, phi)
        return Output(states, states[-1])

    @classmethod
    def _like(cls, module: nn.RNNBase, d_x: int, d: int) -> RNN:
        return cls(d_x, d, module.nonlinearity)

    def _peer(self) -> nn.RNN:
        return nn.RNN(self.d_x, self.d, nonlinearity=self.nonlinearity)


class LSTM(_Cell):
    r"""$c_t = f \circ c_{t-1} + i \circ \hat c$, $h_t = o \circ \tanh c_t$: :func:`minilib.recurrence.lstm_step`.

    `forget_bias` starts the forget gate at $\sigma$ of it (Gers et al. 2000; 1 is Keras' default, 0 PyTorch's).
    `longest` starts the gates as a spectrum of time constants up to so many steps instead (chrono initialisation).
    """

    gates, peer = 4, nn.LSTM

    def __init__(self, d_x: int, d: int, forget_bias: float = 1.0, longest: float | None = None) -> None:
        self.forget_bias, self.longest = forget_bias, longest
        super().__init__(d_x, d)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        i, f, _, _ = self.b.chunk(4)
        if self.longest is None:
            f.fill_(self.forget_bias)
        else:
            f.copy_(chrono_forget_bias(torch.rand_like(f), self.longest))
            i.copy_(-f)

    def forward(self, x: Tensor, state: LSTMState | tuple[Tensor, Tensor] | None = None) -> Output:
        """Scan `x` of shape (T, *batch, d_x) from `state` = (c, h), each (*batch, d), zeros if not given.

        Mind the order: PyTorch's own state is (h, c).
        """
        self._check(x)
        c, h = (self._zeros(x), self._zeros(x)) if state is None else state
        states = recurrence.lstm_scan(x, c, h, self.W, self.U, self.b)
        return Output(states.h, LSTMState(states.c[-1], states.h[-1]))


class GRU(_Cell):
    r"""$h_t = z \circ h_{t-1} + (1-z) \circ \hat h$, reset after the matrix: PyTorch's GRU.

    The formula is :func:`minilib.recurrence.gru_reset_after_step`. `update_bias` starts the update gate, the share
    kept, at $\sigma$ of it.
    """

    gates, peer = 3, nn.GRU

    def __init__(self, d_x: int, d: int, update_bias: float = 0.0) -> None:
        self.update_bias = update_bias
        super().__init__(d_x, d)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.b.chunk(3)[1].fill_(self.update_bias)
        if not hasattr(self, "b_u"):
            self.b_u = nn.Parameter(torch.empty(self.d))
        nn.init.zeros_(self.b_u)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Output:
        """Scan `x` of shape (T, *batch, d_x) from the state `h` of shape (*batch, d), zeros if not given."""
        self._check(x)
        h = self._zeros(x) if h is None else h
        states = recurrence.gru_reset_after_scan(x, h, self.W, self.U, self.b, self.b_u)
        return Output(states, states[-1])

    @torch.no_grad()
    def _load(self, W: Tensor, U: Tensor, b: Tensor, b_hh: Tensor) -> None:
        b_gates, b_u = b_hh.split((2 * self.d, self.d))
        super()._load(W, U, b, torch.cat([b_gates, torch.zeros_like(b_u)]))
        self.b_u.copy_(b_u)

    def _save(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.W, self.U, self.b, torch.cat([torch.zeros_like(self.b[: 2 * self.d]), self.b_u])
