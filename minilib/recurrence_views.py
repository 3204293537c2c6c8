"""Drawings of what recurrent networks remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import recurrence as rec
from .recurrence_numpy import CELLS, memory, unit_terms
from .views import drawing, explore

FLOOR, CEILING = 1e-16, 1e8
"""The window of the logarithmic axes. It never moves, so that two settings can be compared by eye."""


def _log_lags(axes: Any, longest: int, label: str) -> None:
    axes.set(xlim=(0, longest), ylim=(FLOOR, CEILING), yscale="log", xlabel="lag k (steps back from the end)")
    axes.set_ylabel(label)
    axes.axhline(1, color="0.6", linewidth=0.8)


def _shown(values: np.ndarray) -> np.ndarray:
    """Values kept far outside the window where they leave it, zero and infinity among them: a curve runs out of it."""
    return np.clip(values, FLOOR**3, CEILING**3)


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
    if not np.isnan(seen.gate).any():
        right.plot(_shown(seen.gate), color="C1", linestyle="--", label="product of the dominant gate")
    right.legend(loc="upper left")
    return {
        "gain per step, on average": seen.gain[-1] ** (1 / length),
        "gain over 10 steps": seen.gain[min(10, length)],
        f"gain over all {length} steps": seen.gain[-1],
        f"gate product over all {length} steps": seen.gate[-1],
        "share of the last 10 steps in the squared terms": (seen.terms[:10] ** 2).sum() / max(total**2, FLOOR**2),
        "factor that clipping applies": scale,
    }


def explore_memory() -> Any:
    """The widget of the chapter: every knob of an untrained cell."""
    return explore(
        draw_memory,
        alt="Left: size of each lag's term in the gradient. Right: gain of the Jacobian product and of the gate alone.",
        labels={
            "gain": "scale g of U",
            "memory_bias": "forget/update bias",
            "input_bias": "input/reset bias",
            "input_std": "input scale",
            "length": "steps T",
            "width": "width d",
            "clip": "clip gradient at",
        },
        presets={
            "tanh RNN": {"cell": "tanh RNN"},
            # Not 0: without any input the state stays at 0, where tanh is linear.
            "tanh RNN in chaos": {"cell": "tanh RNN", "gain": 2.0, "input_std": 0.1},
            "LSTM, forget bias 0": {"cell": "LSTM", "memory_bias": 0.0},
            "LSTM, forget bias 4": {"cell": "LSTM", "memory_bias": 4.0},
            "GRU, update bias 4": {"cell": "GRU", "memory_bias": 4.0},
            "one unit, same gain": {"cell": "tanh RNN", "gain": 2.0, "input_std": 0.1, "width": 1},
        },
        cell=list(CELLS),
        gain=(0.0, 3.0, 0.05),
        memory_bias=(-2.0, 6.0, 0.25),
        input_bias=(-6.0, 4.0, 0.25),
        input_std=(0.0, 3.0, 0.1),
        length=(10, 200, 5),
        width=(1, 64),
        clip=(1e-3, 100.0, "log"),
    )


@drawing(panels=(1, 2), size=(10, 4))
def draw_unit(axes: Any, u: float = 0.8, input_std: float = 1.0, length: int = 60, seed: int = 0) -> dict[str, float]:
    """The gradient of a single tanh unit: the term of each lag, and what they add up to."""
    terms, (left, right) = unit_terms(u, length, input_std, seed), axes
    total, near = np.append(0.0, np.cumsum(terms)), min(10, length)
    _log_lags(left, 100, "size of the lag's term")
    left.stairs(_shown(np.abs(terms)), np.arange(length + 1), baseline=FLOOR, fill=True)
    right.plot(np.clip(total, -2, 2), color="C1", marker=".", markersize=4)
    right.axhline(0, color="0.6", linewidth=0.8)
    right.set(xlim=(0, 100), ylim=(-2, 2), xlabel="lags summed, from the last step back", ylabel="sum of their terms")
    return {
        "whole gradient": total[-1],
        "part of the last 10 steps": total[near],
        "part of all steps before": total[-1] - total[near],
        "size of the term of lag 0": abs(terms[0]),
        f"size of the term of lag {length - 1}": abs(terms[-1]),
    }


def explore_unit() -> Any:
    """The first widget of the course: one unit, four knobs."""
    return explore(
        draw_unit,
        alt="Left: size of each lag's term in the gradient of one tanh unit. Right: their running sum.",
        labels={"u": "weight u", "input_std": "input scale", "length": "steps T", "seed": "other inputs"},
        presets={
            "hardly any input": {"u": 1.0, "input_std": 0.05, "length": 100},
            "large weight": {"u": 3.0},
            "large weight, no input": {"u": 3.0, "input_std": 0.0},
        },
        u=(-3.0, 3.0, 0.05),
        input_std=(0.0, 3.0, 0.05),
        length=(10, 100, 5),
        seed=(0, 9),
    )


@drawing(panels=(1, 2), size=(10, 4))
def draw_tanh_step(axes: Any, h: float = 0.5, largest: float = 8.0) -> dict[str, float]:
    """A scalar tanh step as a function of its weight: from a given state, and where it settles by itself."""
    left, right = axes
    u = np.linspace(0, largest, 801)
    for state, style in ((0.1, ":"), (h, "-"), (0.9, "--")):
        left.plot(u, rec.tanh_slope(np.tanh(u * state)) * u, linestyle=style, label=f"$h_{{t-1}}$ = {state:g}")
    left.plot(u, u, color="0.6", linewidth=0.8, label="linear or active relu")
    left.axhline(BOUND / h, color="C1", linewidth=0.8, linestyle="-.", label=f"0.4478/{h:g}")
    left.set(xlim=(0, largest), ylim=(0, 5), xlabel="weight u", ylabel=r"$\partial h_t/\partial h_{t-1}$")
    left.legend(loc="center right")
    settled = np.full_like(u, 0.5)
    for _ in range(2000):
        settled = np.tanh(u * settled)
    right.plot(u, u * rec.tanh_slope(settled), label=r"multiplier $u\,(1-h^{*2})$")
    right.plot(u, settled, linestyle="--", label="state $h^*$")
    right.axhline(1, color="0.6", linewidth=0.8)
    right.set(xlim=(0, largest), ylim=(0, 1.2), xlabel="weight u", ylabel="value at rest")
    right.legend(loc="center right")
    at_two = np.interp(2.0, u, u * rec.tanh_slope(settled))
    return {"bound 0.4478/h": BOUND / h, "weight at the bound": 0.771703 / h, "multiplier at u = 2": at_two}


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
def draw_lyapunov(axes: Any, gains: Sequence[float], rates: Mapping[int, np.ndarray]) -> dict[str, float]:
    """Top Lyapunov exponent of a tanh RNN without input against the gain of its matrix.

    `rates` maps a width to its exponents, one row for each seed, one column for each of the `gains`.
    """
    axes.plot(gains, np.log(gains), color="0.6", linewidth=0.8, label="without tanh: log g")
    y = np.linspace(1e-3, 3, 301)  # one unit at rest, from the chapter's derivation: g = y / tanh y
    below = np.linspace(min(gains), 1, 50)
    lone = np.append(below, 2 * y / np.sinh(2 * y))
    axes.plot(np.append(below, y / np.tanh(y)), np.log(lone), linestyle=":", label="tanh, one unit (formula)")
    numbers = {}
    for (width, seeds), style in zip(rates.items(), ("--", "-"), strict=False):
        (line,) = axes.plot(gains, np.mean(seeds, axis=0), linestyle=style, label=f"tanh, d = {width}")
        axes.fill_between(gains, np.min(seeds, axis=0), np.max(seeds, axis=0), color=line.get_color(), alpha=0.15)
        numbers[f"mean exponent at g = 2, d = {width}"] = float(np.interp(2.0, gains, np.mean(seeds, axis=0)))
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set(xlim=(min(gains), max(gains)), ylim=(-2, 1.2), xlabel="scale g of U", ylabel="growth (nats a step)")
    axes.legend(loc="upper left")
    return numbers


@drawing(size=(8, 4.5))
def draw_biases(axes: Any, length: int = 50, width: int = 64) -> dict[str, float]:
    """Gain against lag for untrained cells of several memory biases, each with the product of its gate."""
    numbers = {}
    for cell, bias, color, style in BIASED:
        seen = memory(cell=cell, memory_bias=bias, length=length, width=width)
        name = cell if cell == "tanh RNN" else f"{cell}, bias {bias:g}"
        line = "-" if cell == "LSTM" else "-."
        axes.plot(seen.gain, color=color, linestyle=line, marker=style, markersize=5, markevery=10, label=name)
        axes.plot(seen.gate, color=color, linewidth=1, linestyle=":")
        numbers[f"{name}: gain over {length} steps"] = seen.gain[-1]
    axes.set(xlim=(0, length), ylim=(FLOOR, 1e3), yscale="log")
    axes.set(xlabel="lag k (steps back from the end)", ylabel="gain over k steps")
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.plot([], color="0.4", linewidth=1, linestyle=":", label="product of the gate")
    axes.legend(loc="lower left", ncols=2)
    return numbers


BIASED = (
    ("tanh RNN", 0.0, "0.3", "o"),
    ("LSTM", 0.0, "C0", "v"),
    ("LSTM", 1.0, "C1", "^"),
    ("LSTM", 4.0, "C2", "D"),
    ("GRU", 0.0, "C3", "<"),
    ("GRU", 4.0, "C4", ">"),
)


@drawing(size=(8, 4.5))
def draw_input_scale(axes: Any, length: int = 50, width: int = 64, seeds: int = 3) -> dict[str, float]:
    """Gain per step of the cells of :func:`draw_biases` against the standard deviation of their input."""
    stds, numbers = np.linspace(0, 3, 13), {}
    for cell, bias, color, style in BIASED:
        runs = [
            [
                memory(cell=cell, memory_bias=bias, input_std=s, length=length, width=width, seed=k).gain[-1]
                for s in stds
            ]
            for k in range(seeds)
        ]
        rates = np.exp(np.mean(np.log(runs), axis=0) / length)
        name = cell if cell == "tanh RNN" else f"{cell}, bias {bias:g}"
        axes.plot(
            stds, rates, color=color, linestyle="-" if cell == "LSTM" else "-.", marker=style, markersize=5, label=name
        )
        numbers |= {f"{name}: no input": rates[0], f"{name}: unit input": rates[4]}
    axes.set(xlim=(0, 3), ylim=(0.3, 1.3), xlabel="standard deviation of the input", ylabel="gain per step")
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.legend(loc="lower left", ncols=2)
    return numbers


@drawing(size=(5, 4.5))
def draw_clipping(axes: Any, threshold: float = 1.0, first: float = 3.0, second: float = 0.4) -> dict[str, float]:
    """One gradient of two weights, clipped by norm and clipped by value."""
    g, angle = np.array([first, second]), np.degrees(np.arctan2(second, first))
    clipped = {"gradient": g, "by norm": rec.clip_norm(g, threshold), "by value": rec.clip_value(g, threshold)}
    numbers = {}
    for (name, v), color, style in zip(clipped.items(), ("0.6", "C0", "C1"), ("-", "-.", "--"), strict=True):
        axes.plot([0, v[0]], [0, v[1]], color=color, linestyle=style, marker="o", markevery=[1], label=name)
        numbers[f"{name}: length"] = float(np.linalg.norm(v))
        # Rounded, since what is left of an exact zero differs between machines.
        numbers[f"{name}: turned (degrees)"] = round(float(np.degrees(np.arctan2(v[1], v[0])) - angle), 6) + 0.0
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
    right.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="forget gate", ylabel="share of units and steps")
    right.legend(loc="upper center")
    return numbers


RECALLING = {
    "rnn": ("0.3", "o"),
    "rnn gain 2": ("0.6", "s"),
    "lstm bias 0": ("C0", "v"),
    "lstm bias 1": ("C1", "^"),
    "lstm bias 4": ("C2", "D"),
    "lstm bias 4/-4": ("C5", "X"),
    "lstm chrono": ("C6", "P"),
    "gru bias 0": ("C3", "<"),
    "gru bias 4": ("C4", ">"),
}


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_recall(axes: Any, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy of trained cells against the lag, and against the gain of the first input at initialisation.

    `records` are those of the experiment ``recurrence_memory``; on the left the mean over seeds with its range, the
    cells set a little apart; on the right a point for each run.
    """
    left, right = axes
    lags, numbers = sorted({r["config"]["lag"] for r in records}), {}
    for k, (cell, (color, marker)) in enumerate(RECALLING.items()):
        runs = [r for r in records if r["config"]["cell"] == cell]
        accuracy = [[r["result"]["accuracy"] for r in runs if r["config"]["lag"] == lag] for lag in lags]
        at, mean = np.array(lags) * 1.03 ** (k - 3.5), np.mean(accuracy, axis=1)
        left.vlines(at, np.min(accuracy, axis=1), np.max(accuracy, axis=1), color=color, linewidth=1)
        left.plot(at, mean, color=color, marker=marker, markersize=5, linewidth=1)
        gains = [max(r["result"]["gain_input"], FLOOR) for r in runs]
        hits = [r["result"]["accuracy"] for r in runs]
        right.plot(gains, hits, color=color, marker=marker, markersize=5, linestyle="none", label=cell)
        numbers |= {f"{cell}: mean accuracy at lag {lag}": m for lag, m in zip(lags, mean, strict=True)}
    left.set(xscale="log", xlim=(lags[0] / 1.3, 1.3 * lags[-1]), ylim=(0, 1.05))
    left.set(xlabel="lag (steps to remember)", ylabel="accuracy after training")
    left.set_xticks(lags, [str(lag) for lag in lags])
    left.minorticks_off()
    right.set(xscale="log", xlim=(FLOOR / 3, 1e4), ylim=(0, 1.05), xlabel="gain of the first input at initialisation")
    right.set_ylabel("accuracy after training")
    for one in axes:
        one.axhline(1 / 8, color="0.6", linewidth=0.8)
    right.legend(loc="center left", fontsize=9)
    return numbers
