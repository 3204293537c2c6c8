"""Recurrent networks on numbers: a cell run over a sequence, and what its last state still owes to the first inputs.

A :class:`Network` is a finished run. It comes from weights and inputs of any origin (:func:`rnn_network`,
:func:`lstm_network`, :func:`gru_network`, :func:`gru_reset_after_network`) or from an untrained cell on white noise
(:func:`untrained`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import recurrence as rec
from .arrays import relu

CELLS = ("tanh RNN", "relu RNN", "LSTM", "GRU")


class Network(NamedTuple):
    """One run of a cell over T steps from the zero state, and all that the derivative of each step needs.

    `states`, `gates` and `slopes` are what the cell's formulas return, time first; `dominant`, (T, *batch, d), is the
    gate that keeps the old state, NaN in a simple RNN, which has none.
    """

    states: Any
    gates: Any
    slopes: Any
    U: np.ndarray
    dominant: np.ndarray
    vjp: Callable[..., Any]
    jacobian: Callable[..., np.ndarray]

    def jacobians(self) -> np.ndarray:
        r"""$J_t = \partial s_t/\partial s_{t-1}$ for t = 1 … T, (T, *batch, m, m); m = 2d for the LSTM, else d."""
        return self.jacobian(self.slopes, self.U)

    def products(self) -> np.ndarray:
        r"""$\partial s_T/\partial s_{T-k}$ for k = 0 … T, (T+1, *batch, m, m)."""
        return rec.jacobian_products(self.jacobians())


def _zero_state(x: np.ndarray, U: np.ndarray) -> np.ndarray:
    return np.zeros((*x.shape[1:-1], U.shape[1]))


def rnn_network(
    x: np.ndarray,
    W: np.ndarray,
    U: np.ndarray,
    b: np.ndarray,
    phi: Callable[[Any], Any] = np.tanh,
    slope: Callable[[Any], Any] = rec.tanh_slope,
) -> Network:
    r"""Run a simple RNN over `x` (T, *batch, d_x); `slope` is $\phi'$ in terms of the value of `phi`."""
    h = rec.rnn_scan(x, _zero_state(x, U), W, U, b, phi)
    return Network(h, (), slope(h), U, np.full_like(h, np.nan), rec.rnn_vjp, rec.rnn_jacobian)


def lstm_network(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> Network:
    """Run an LSTM over `x` (T, *batch, d_x); its dominant gate is f."""
    zero = _zero_state(x, U)
    states = rec.lstm_scan(x, zero, zero, W, U, b)
    gates = rec.lstm_gates(x, rec.preceding(states.h, zero), W, U, b)
    slopes = rec.lstm_slopes(gates, rec.preceding(states.c, zero))
    return Network(states, gates, slopes, U, gates.f, rec.lstm_vjp, rec.lstm_jacobian)


def gru_network(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> Network:
    """Run a GRU, reset before the matrix, over `x` (T, *batch, d_x); its dominant gate is z."""
    zero = _zero_state(x, U)
    h = rec.gru_scan(x, zero, W, U, b)
    before = rec.preceding(h, zero)
    gates = rec.gru_gates(x, before, W, U, b)
    return Network(h, gates, rec.gru_slopes(gates, before), U, gates.z, rec.gru_vjp, rec.gru_jacobian)


def gru_reset_after_network(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray, b_u: np.ndarray) -> Network:
    """Run a GRU, reset after the matrix, over `x` (T, *batch, d_x); its dominant gate is z."""
    zero = _zero_state(x, U)
    h = rec.gru_reset_after_scan(x, zero, W, U, b, b_u)
    before = rec.preceding(h, zero)
    gates = rec.gru_reset_after_gates(x, before, W, U, b, b_u)
    slopes = rec.gru_reset_after_slopes(gates, before)
    return Network(h, gates, slopes, U, gates.z, rec.gru_reset_after_vjp, rec.gru_reset_after_jacobian)


def untrained(
    cell: str = "LSTM",
    gain: float = 1.0,
    memory_bias: float = 0.0,
    input_bias: float = 0.0,
    input_std: float = 1.0,
    length: int = 100,
    width: int = 32,
    seed: int = 0,
) -> Network:
    r"""Run an untrained cell of `width` d over `length` steps of white noise $x_t \sim N(0, \sigma^2)$ in d dimensions.

    σ is `input_std`; W is drawn from $N(0, 1/d)$; each block of U is `gain` times a random orthogonal matrix.
    `memory_bias` goes to the LSTM's forget gate or the GRU's update gate, `input_bias` to the LSTM's input gate or the
    GRU's reset gate, and neither to a simple RNN, whose `dominant` gate is NaN.
    """
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
    rng, gates = np.random.default_rng(seed), {"LSTM": 4, "GRU": 3}.get(cell, 1)
    x = input_std * rng.normal(size=(length, width))
    W = rng.normal(size=(gates * width, width)) / width**0.5
    U = np.concatenate([gain * rec.orthogonal(rng.normal(size=(width, width))) for _ in range(gates)])
    b = np.zeros(gates * width)
    if gates == 1:
        return rnn_network(x, W, U, b, *((relu, rec.relu_slope) if cell == "relu RNN" else ()))
    b[:width], b[width : 2 * width] = input_bias, memory_bias
    return (gru_network if cell == "GRU" else lstm_network)(x, W, U, b)


class Memory(NamedTuple):
    r"""What a network passes back from its last state, against the lag k.

    `gain` (T+1,): root mean square gain of $\partial s_T/\partial s_{T-k}$, estimated with a few random rows.
    `gate` (T+1,): product of the dominant gate over the last k steps, mean over units; NaN where there is none.
    `terms` (T,): norm of the term that step T−k adds to the gradient by the bias, for a loss of unit slope at $h_T$.
    """

    gain: np.ndarray
    gate: np.ndarray
    terms: np.ndarray


@functools.lru_cache(maxsize=32)
def memory(rows: int = 12, **network: Any) -> Memory:
    """Follow `rows` random unit gradients back through :func:`untrained`, and one that starts in h alone."""
    net, parts = untrained(**network), 2 if network.get("cell", "LSTM") == "LSTM" else 1
    d = net.U.shape[1]
    start = np.random.default_rng(0).normal(size=(1 + rows, parts, d))
    start[0, : parts - 1] = 0
    start /= np.sqrt((start**2).sum((1, 2), keepdims=True))
    back = rec.back_through_time(net.vjp, tuple(start[:, p] for p in range(parts)), net.slopes, net.U)
    squares = sum((part**2).sum(-1) for part in back[:-1])[::-1, 1:].mean(-1)
    gates = np.cumprod(net.dominant[::-1], axis=0).mean(-1)
    terms = np.sqrt((back.a[::-1, 0] ** 2).sum(-1))
    seen = Memory(np.sqrt(np.append(1.0, squares)), np.append(1.0, gates), terms)
    for kept in seen:  # the cache hands the same arrays to everyone
        kept.setflags(write=False)
    return seen


def top_lyapunov_exponent(
    gains: Sequence[float], width: int, input_std: float = 0.0, steps: int = 400, warm_up: int = 100, seed: int = 0
) -> np.ndarray:
    r"""Growth rate of a small perturbation of $h_t = \tanh(g\,U h_{t-1} + x_t)$, in nats a step, for each gain g.

    U is Gaussian with variance 1/d, all gains share it and the noise. The first `warm_up` steps are not counted.
    """
    rng, g = np.random.default_rng(seed), np.asarray(gains)[:, None]
    U, h, v = rng.normal(size=(width, width)) / width**0.5, *rng.normal(size=(2, 1, width))
    total = np.zeros(len(g))
    for t in range(warm_up + steps):
        a = g * (h @ U.T) + input_std * rng.normal(size=(1, width))
        h, v = np.tanh(a), g * (v @ U.T) / np.cosh(a) ** 2  # 1 − h² would be 0 where h rounds to 1
        norm = np.linalg.norm(v, axis=-1)
        total += np.log(norm) * (t >= warm_up)
        v /= norm[:, None]
    return total / steps


def unit_terms(u: float, length: int = 60, input_std: float = 1.0, seed: int = 0) -> np.ndarray:
    r"""Terms of $dh_T/du$ for one unit $h_t = \tanh(x_t + u h_{t-1})$, by lag k = 0 … T−1, with T = `length`.

    Term k is $\bigl(\prod_{j>T-k}\partial h_j/\partial h_{j-1}\bigr)\,\partial h_{T-k}/\partial u$; $h_0 = 1/2$ and the
    $x_t$ are normal with standard deviation `input_std`. Source: Scientific Spaces 7888.
    """
    x = input_std * np.random.default_rng(seed).normal(size=(length, 1))
    one, U, h0 = np.ones((1, 1)), np.full((1, 1), float(u)), np.full(1, 0.5)
    h = rec.rnn_scan(x, h0, one, U, np.zeros(1))
    slope = rec.tanh_slope(h)
    direct = (slope * rec.preceding(h, h0))[::-1, 0]
    return rec.jacobian_products(rec.rnn_jacobian(slope, U))[:-1, 0, 0] * direct
