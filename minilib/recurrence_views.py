"""Untrained recurrent networks on white noise, and drawings of what they remember."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import recurrence as rec
from .arrays import relu
from .views import drawing, explore

# ---------------------------------------------------------------------------------------------------------------
# what is drawn

CELLS = ("tanh RNN", "relu RNN", "LSTM", "GRU")


class Network(NamedTuple):
    """One run of a cell: its slopes at all steps, its matrix U, and the gate that dominates its derivative."""

    slopes: Any
    U: np.ndarray
    dominant: np.ndarray
    vjp: Callable[..., Any]
    jacobian: Callable[..., np.ndarray]


def _run_rnn(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray, phi: Callable, slope: Callable) -> Network:
    h = rec.rnn_scan(x, np.zeros(U.shape[1]), W, U, b, phi)
    return Network(slope(h), U, np.full_like(h, np.nan), rec.rnn_vjp, rec.rnn_jacobian)


def _run_lstm(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> Network:
    zero = np.zeros(U.shape[1])
    states = rec.lstm_scan(x, zero, zero, W, U, b)
    gates = rec.lstm_gates(x, rec.preceding(states.h, zero), W, U, b)
    slopes = rec.lstm_slopes(gates, rec.preceding(states.c, zero))
    return Network(slopes, U, gates.f, rec.lstm_vjp, rec.lstm_jacobian)


def _run_gru(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> Network:
    zero = np.zeros(U.shape[1])
    before = rec.preceding(rec.gru_scan(x, zero, W, U, b), zero)
    gates = rec.gru_gates(x, before, W, U, b)
    return Network(rec.gru_slopes(gates, before), U, gates.z, rec.gru_vjp, rec.gru_jacobian)


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
    `memory_bias` goes to the LSTM's forget gate or the GRU's update gate, `input_bias` to the LSTM's input gate, and
    neither to a simple RNN, whose `dominant` gate is NaN.
    """
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
    rng, gates = np.random.default_rng(seed), {"LSTM": 4, "GRU": 3}.get(cell, 1)
    x = input_std * rng.normal(size=(length, width))
    W = rng.normal(size=(gates * width, width)) / width**0.5
    U = np.concatenate([gain * rec.orthogonal(rng.normal(size=(width, width))) for _ in range(gates)])
    b = np.zeros(gates * width)
    if gates == 1:
        linear = (np.tanh, rec.tanh_slope) if cell == "tanh RNN" else (relu, rec.relu_slope)
        return _run_rnn(x, W, U, b, *linear)
    b[width : 2 * width] = memory_bias
    if cell == "GRU":
        return _run_gru(x, W, U, b)
    b[:width] = input_bias
    return _run_lstm(x, W, U, b)


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
    return Memory(np.sqrt(np.append(1.0, squares)), np.append(1.0, gates), terms)


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
        h = np.tanh(g * (h @ U.T) + input_std * rng.normal(size=(1, width)))
        v = rec.tanh_slope(h) * (g * (v @ U.T))
        norm = np.linalg.norm(v, axis=-1)
        total += np.log(norm) * (t >= warm_up)
        v /= norm[:, None]
    return total / steps


# ---------------------------------------------------------------------------------------------------------------
# drawings

FLOOR, CEILING = 1e-16, 1e8
"""The window of the logarithmic axes. It never moves, so that two settings can be compared by eye."""


def _log_lags(axes: Any, longest: int, label: str) -> None:
    axes.set(xlim=(0, longest), ylim=(FLOOR, CEILING), yscale="log", xlabel="lag k (steps back from the end)")
    axes.set_ylabel(label)
    axes.axhline(1, color="0.6", linewidth=0.8)


def _shown(values: np.ndarray) -> np.ndarray:
    """Values moved to the edge of the window where they leave it, so that a curve never silently ends."""
    return np.clip(values, FLOOR, CEILING)


@drawing(panels=(1, 2), size=(10, 4))
def draw_memory(
    axes: Any,
    cell: str = "LSTM",
    gain: float = 1.0,
    memory_bias: float = 1.0,
    input_bias: float = 0.0,
    input_std: float = 1.0,
    length: int = 100,
    width: int = 32,
    clip: float = 100.0,
) -> dict[str, float]:
    """Each lag's term of a clipped gradient, and the gain of the Jacobian product against the product of gates."""
    settings = {"cell": cell, "gain": gain, "memory_bias": memory_bias, "input_bias": input_bias}
    seen = memory(**settings, input_std=input_std, length=length, width=width)
    left, right = axes
    total = np.sqrt((seen.terms**2).sum())
    scale = min(1.0, clip / total) if total > 0 else 1.0
    _log_lags(left, 200, "norm of the lag's term")
    left.stairs(_shown(scale * seen.terms), np.arange(length + 1), baseline=FLOOR, fill=True, color="C0")
    _log_lags(right, 200, "gain over k steps")
    right.plot(_shown(seen.gain), color="C0", label="Jacobian product")
    right.plot(_shown(seen.gate), color="C1", linestyle="--", label="dominant gate alone")
    right.legend(loc="upper left")
    return {
        "growth per step (nats)": _log(seen.gain[-1]) / length,
        "gain over 10 steps": seen.gain[min(10, length)],
        f"gain over all {length} steps": seen.gain[-1],
        f"gate product over all {length} steps": seen.gate[-1],
        "share of the last 10 steps in the squared terms": (seen.terms[:10] ** 2).sum() / max(total**2, FLOOR**2),
        "factor that clipping applies": scale,
    }


def _log(value: float) -> float:
    return float(np.log(value)) if value > 0 else -np.inf


def explore_memory() -> Any:
    """The widget of the chapter: every knob of an untrained cell."""
    return explore(
        draw_memory,
        alt="Left: size of each lag's term in the gradient. Right: gain of the Jacobian product and of the gate alone.",
        presets={
            "tanh RNN": {"cell": "tanh RNN"},
            "tanh RNN in chaos": {"cell": "tanh RNN", "gain": 2.0, "input_std": 0.0},
            "LSTM, forget bias 0": {"cell": "LSTM", "memory_bias": 0.0},
            "LSTM, forget bias 4": {"cell": "LSTM", "memory_bias": 4.0},
            "GRU, update bias 4": {"cell": "GRU", "memory_bias": 4.0},
            "one unit, no input": {"cell": "tanh RNN", "gain": 2.0, "input_std": 0.0, "width": 1},
        },
        cell=list(CELLS),
        gain=(0.0, 3.0, 0.05),
        memory_bias=(-2.0, 6.0, 0.25),
        input_bias=(-6.0, 2.0, 0.25),
        input_std=(0.0, 3.0, 0.1),
        length=(10, 200, 5),
        width=(1, 64),
        clip=(1e-3, 100.0, "log"),
    )


@drawing(panels=(1, 2), size=(10, 4))
def draw_tanh_step(axes: Any, h: float = 0.5, largest: float = 8.0) -> dict[str, float]:
    """A scalar tanh step as a function of its weight: from a given state, and where it settles by itself."""
    left, right = axes
    u = np.linspace(0, largest, 801)
    for state, style in ((0.1, ":"), (h, "-"), (0.9, "--")):
        left.plot(u, rec.tanh_slope(np.tanh(u * state)) * u, linestyle=style, label=f"$h_{{t-1}}$ = {state:g}")
    left.plot(u, u, color="0.6", linewidth=0.8, label="linear or active relu")
    left.axhline(BOUND / h, color="C1", linewidth=0.8)
    left.set(xlim=(0, largest), ylim=(0, 5), xlabel="weight u", ylabel=r"$\partial h_t/\partial h_{t-1}$")
    left.legend(loc="center right")
    settled = np.full_like(u, 0.5)
    for _ in range(2000):
        settled = np.tanh(u * settled)
    right.plot(u, u * rec.tanh_slope(settled), label="multiplier at rest")
    right.plot(u, settled, linestyle="--", label="state at rest $h^*$")
    right.axhline(1, color="0.6", linewidth=0.8)
    right.set(xlim=(0, largest), ylim=(0, 1.2), xlabel="weight u", ylabel=r"$u\,(1-h^{*2})$")
    right.legend(loc="center right")
    at_two = np.interp(2.0, u, u * rec.tanh_slope(settled))
    return {"bound 0.4477/h": BOUND / h, "weight at the bound": 0.771703 / h, "multiplier at u = 2": at_two}


BOUND = 0.447743
r"""$\max_y y\,\mathrm{sech}^2 y$, reached at $y = 0.771703$ where $y\tanh y = 1/2$."""


@drawing(size=(6, 4))
def draw_transient(axes: Any, radius: float = 0.9, shear: float = 5.0, steps: int = 100) -> dict[str, float]:
    """Norm of the powers of a non-normal matrix against the powers of its spectral radius."""
    A = np.array([[radius, shear], [0.0, radius]])
    norms = rec.spectral_norm(rec.jacobian_products(np.broadcast_to(A, (steps, 2, 2))))
    axes.plot(norms, label=r"$\|A^t\|_2$")
    axes.plot(radius ** np.arange(steps + 1), linestyle="--", label=r"$\rho(A)^t$")
    axes.set(xlim=(0, steps), ylim=(1e-5, 1e3), yscale="log", xlabel="steps t", ylabel="norm")
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.legend(loc="upper right")
    return {"largest norm": norms.max(), "reached after steps": int(norms.argmax()), "norm at the end": norms[-1]}


@drawing(size=(7, 4))
def draw_lyapunov(axes: Any, input_std: float = 0.0, widths: Sequence[int] = (1, 16, 128)) -> dict[str, float]:
    """Top Lyapunov exponent of a tanh RNN against the gain of its matrix, for several widths."""
    gains = np.linspace(0.25, 3, 23)
    axes.plot(gains, np.log(gains), color="0.6", linewidth=0.8, label="linear network, log g")
    numbers = {}
    for width, style in zip(widths, (":", "--", "-"), strict=True):
        rates = _exponents(tuple(gains), width, input_std)
        axes.plot(gains, rates, linestyle=style, label=f"tanh, d = {width}")
        numbers[f"exponent at g = 2, d = {width}"] = np.interp(2.0, gains, rates)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set(xlim=(0.25, 3), ylim=(-2, 1.2), xlabel="gain g", ylabel="growth (nats a step)")
    axes.legend(loc="lower right")
    return numbers


@functools.lru_cache(maxsize=32)
def _exponents(gains: tuple[float, ...], width: int, input_std: float, seeds: int = 3) -> np.ndarray:
    return np.mean([top_lyapunov_exponent(gains, width, input_std, seed=s) for s in range(seeds)], axis=0)


@drawing(size=(8, 4.5))
def draw_biases(axes: Any, length: int = 50, width: int = 64) -> dict[str, float]:
    """Gain against lag for untrained cells of several memory biases, each with the product of its gate."""
    numbers = {}
    for cell, bias, color in BIASED:
        seen = memory(cell=cell, memory_bias=bias, length=length, width=width)
        name = cell if cell == "tanh RNN" else f"{cell}, bias {bias:g}"
        axes.plot(seen.gain, color=color, linestyle="-" if cell == "LSTM" else "-.", label=name)
        axes.plot(seen.gate, color=color, linewidth=1, linestyle=":")
        numbers[f"{name}: gain over {length} steps"] = seen.gain[-1]
    axes.set(xlim=(0, length), ylim=(FLOOR, 1e3), yscale="log")
    axes.set(xlabel="lag k (steps back from the end)", ylabel="gain over k steps (dotted: gate alone)")
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.legend(loc="lower left", ncols=2)
    return numbers


BIASED = (
    ("tanh RNN", 0.0, "0.3"),
    ("LSTM", 0.0, "C0"),
    ("LSTM", 1.0, "C1"),
    ("LSTM", 4.0, "C2"),
    ("GRU", 0.0, "C3"),
    ("GRU", 4.0, "C4"),
)


@drawing(size=(5, 4.5))
def draw_clipping(axes: Any, threshold: float = 1.0, angle: float = 7.6, length: float = 3.0) -> dict[str, float]:
    """One gradient of two weights, clipped by norm and clipped by value."""
    g = length * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    clipped = {"gradient": g, "by norm": rec.clip_norm(g, threshold), "by value": rec.clip_value(g, threshold)}
    numbers = {}
    for (name, v), color, style in zip(clipped.items(), ("0.6", "C0", "C1"), ("-", "-", "--"), strict=True):
        axes.plot([0, v[0]], [0, v[1]], color=color, linestyle=style, marker="o", markevery=[1], label=name)
        numbers[f"{name}: length"] = float(np.linalg.norm(v))
        numbers[f"{name}: turned (degrees)"] = float(np.degrees(np.arctan2(v[1], v[0])) - angle)
    circle = np.linspace(0, np.pi / 2, 91)
    axes.plot(threshold * np.cos(circle), threshold * np.sin(circle), color="C0", linewidth=0.8)
    axes.plot([threshold, threshold, 0], [0, threshold, threshold], color="C1", linewidth=0.8)
    axes.set(xlim=(0, 3.2), ylim=(0, 3.2), xlabel="gradient by the first weight", ylabel="by the second weight")
    axes.set_aspect("equal")
    axes.legend(loc="upper right")
    return numbers


@drawing(panels=(1, 2), size=(10, 4))
def draw_trained(
    axes: Any, norms: Mapping[str, np.ndarray], gates: Mapping[str, np.ndarray], steps: int = 40
) -> dict[str, float]:
    """Norm of the Jacobian product against lag, and the histogram of a gate, of trained and untrained networks."""
    left, right = axes
    numbers = {}
    for (name, norm), style in zip(norms.items(), ("-", "--", "-.", ":"), strict=False):
        left.plot(norm[: steps + 1], linestyle=style, label=name)
        numbers[f"{name}: norm at lag {steps}"] = norm[steps]
    left.set(xlim=(0, steps), ylim=(1e-9, 1e3), yscale="log", xlabel="lag k (steps back)")
    left.set_ylabel(r"$\|\partial s_T/\partial s_{T-k}\|_2$")
    left.axhline(1, color="0.6", linewidth=0.8)
    left.legend(loc="lower left")
    for (name, values), style in zip(gates.items(), ("-", "--", "-.", ":"), strict=False):
        share, edges = np.histogram(values, bins=25, range=(0, 1))
        right.stairs(share / values.size, edges, linestyle=style, linewidth=1.6, label=name)
        numbers[f"{name}: above 0.9"] = float((values > 0.9).mean())
    right.set(xlim=(0, 1), xlabel="forget gate", ylabel="share of units and steps")
    right.legend(loc="upper center")
    return numbers
