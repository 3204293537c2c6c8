"""Drawings of what depth does to a signal, to the update of a step, and to training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import depth as dep
from .views import drawing

STYLES = (
    ("C0", "-", "o"),
    ("C1", "--", "s"),
    ("C2", "-.", "^"),
    ("C3", ":", "D"),
    ("C4", (0, (5, 1)), "v"),
    ("0.3", (0, (1, 1)), "X"),
    ("C5", (0, (3, 1, 1, 1)), "P"),
)
"""Colour, line and marker of the first, second, … series."""


@drawing(panels=(1, 2), size=(10, 4))
def draw_shares(axes: Any, ratio: float = 1.0, layers: int = 48) -> dict[str, float]:
    """What is left of a stack's input, and the size of each branch against its skip, from the closed forms.

    `ratio` is that of a branch to a normed input at the start; DeepNorm divides it by $\\alpha$ and multiplies it by
    $\\beta^2$.
    """
    left, right = axes
    alpha, beta = dep.deepnorm(layers)
    small, depths = ratio * beta**2 / alpha, range(2 * layers + 1)
    shares = {
        "post-norm": [dep.identity_share(ratio, k) for k in depths],
        "pre-norm": [dep.pre_norm_cosine(ratio, k) for k in depths],
        "DeepNorm": [dep.identity_share(small, k) for k in depths],
    }
    steps = {
        "post-norm": np.full(len(depths), ratio),
        "pre-norm": [dep.pre_norm_step(ratio, k) for k in depths],
        "DeepNorm": np.full(len(depths), small),
    }
    for panel, curves in ((left, shares), (right, steps)):
        for (name, curve), (color, line, _) in zip(curves.items(), STYLES, strict=False):
            panel.plot(depths, curve, color=color, linestyle=line, label=name)
        panel.set(xlim=(0, 100), yscale="log", xlabel="sub-layers passed")
    left.set(ylim=(1e-6, 2), ylabel="share of the input left (skips alone)")
    right.set(ylim=(1e-4, 3), ylabel="next branch relative to its skip")
    left.legend(loc="lower right")
    right.legend(loc="lower right")
    return {f"{name}: share after {2 * layers} sub-layers": float(curve[-1]) for name, curve in shares.items()}


@drawing(panels=(1, 3), size=(12, 4))
def draw_exponents(
    axes: Any, layers: Sequence[int], increments: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
) -> dict[str, float]:
    """First-order change of the loss by one step against depth: a panel for each optimiser, a line for each rule.

    ``increments[optimizer][rule]`` has a row for each seed and a column for each number of layers. Each line is drawn
    relative to its value at the first depth; grey lines are the predicted powers.
    """
    n, numbers = np.array(layers, dtype=float), {}
    for panel, (optimizer, rules) in zip(axes, increments.items(), strict=False):
        for (rule, runs), (color, line, marker) in zip(rules.items(), STYLES, strict=False):
            predicted = dep.increment_exponent(optimizer, dep.RULES[rule])
            named = "predicted" if rule == next(iter(rules)) else None
            panel.plot(n, (n / n[0]) ** predicted, color="0.8", linewidth=4, zorder=1, label=named)
            relative = np.array(runs) / np.array(runs)[:, :1]
            mean = np.exp(np.log(relative).mean(0))
            panel.plot(n, mean, color=color, linestyle=line, marker=marker, markersize=5, label=f"{rule} rule")
            panel.vlines(n, relative.min(0), relative.max(0), color=color, linewidth=1)
            numbers[f"{optimizer}, {rule} rule: exponent"] = float(dep.power_exponent(n, mean))
        panel.set(xscale="log", yscale="log", xlim=(n[0] / 1.2, n[-1] * 1.2), ylim=(0.03, 40))
        panel.set(xlabel="layers N (two sub-layers each)", ylabel=f"change of the loss by a step, {optimizer}")
        panel.set_xticks(n, [f"{k:g}" for k in n])
        panel.minorticks_off()
        panel.legend(loc="upper left", fontsize=9)
    return numbers


@drawing(panels=(1, 5), size=(13, 3.6))
def draw_heat_map(
    axes: Any, losses: Mapping[str, Mapping[tuple[int, float], float]], best: float, worst: float
) -> dict[str, float]:
    """Final loss at each depth and learning rate, one panel for each stack; dark is good, empty was not run.

    ``losses[stack][layers, rate]`` is NaN for a run that diverged. `best` and `worst` are the ends of the colours; a
    loss that is not 0.05 below `worst` is marked as stuck.
    """
    cells = {key for seen in losses.values() for key in seen}
    depths, rates = sorted({key[0] for key in cells}), sorted({key[1] for key in cells})
    for panel, (name, seen) in zip(axes, losses.items(), strict=False):
        grid = np.array([[seen.get((n, rate), np.nan) for rate in rates] for n in depths])
        panel.imshow(grid, cmap="viridis", vmin=best, vmax=worst, aspect="auto", origin="lower", zorder=2)
        for (row, n), (column, rate) in _cells(depths, rates):
            _write(panel, column, row, seen.get((n, rate)), best, worst)
        panel.set(xlim=(-0.5, len(rates) - 0.5), ylim=(-0.5, len(depths) - 0.5))
        panel.set(xlabel=f"learning rate\n{name}", ylabel="layers")
        panel.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates], fontsize=8)
        panel.set_yticks(range(len(depths)), [str(n) for n in depths])
        panel.grid(False)
    return {
        f"{name}: runs that learned, of {len(seen)}": int(sum(loss < worst - 0.05 for loss in seen.values()))
        for name, seen in losses.items()
    }


def _cells(depths: Sequence[int], rates: Sequence[float]) -> list[tuple[tuple[int, int], tuple[int, float]]]:
    return [(row, column) for row in enumerate(depths) for column in enumerate(rates)]


def _write(panel: Any, x: int, y: int, loss: float | None, best: float, worst: float) -> None:
    """The loss inside its cell, in words where it is none."""
    if loss is None:
        return
    if not np.isfinite(loss):
        text, color = "diverged", "black"
    else:
        stuck = loss >= worst - 0.05
        text, color = (
            (f"{loss:.2f}\nstuck" if stuck else f"{loss:.2f}"),
            "black" if loss > (best + worst) / 2 else "white",
        )
    panel.text(x, y, text, ha="center", va="center", fontsize=8, color=color, zorder=3)


@drawing(size=(8, 4.5))
def draw_curves(
    axes: Any, steps: Sequence[int], curves: Mapping[str, Sequence[Sequence[float]]], levels: Mapping[str, float]
) -> dict[str, float]:
    """Held-out loss against the step: the mean over seeds with its range, and `levels` to compare it with.

    ``curves[name]`` has a row for each seed and a column for each of the `steps`.
    """
    numbers = {}
    for (name, runs), (color, line, marker) in zip(curves.items(), STYLES, strict=False):
        mean = np.mean(runs, axis=0)
        axes.plot(steps, mean, color=color, linestyle=line, marker=marker, markersize=4, label=name)
        axes.fill_between(steps, np.min(runs, axis=0), np.max(runs, axis=0), color=color, alpha=0.15, linewidth=0)
        numbers[f"{name}: final loss"] = float(mean[-1])
    for name, level in levels.items():
        axes.axhline(level, color="0.6", linewidth=0.8)
        axes.annotate(name, (steps[-1], level), xytext=(-2, 4), textcoords="offset points", ha="right", fontsize=9)
    axes.set(xlim=(0, steps[-1]), ylim=(min(levels.values()) - 0.15, max(levels.values()) + 0.35))
    axes.set(xlabel="step", ylabel="held-out loss (nats per character)")
    axes.legend(loc="upper right", ncols=2, fontsize=9)
    return numbers


@drawing(panels=(1, 2), size=(10, 4))
def draw_layers(
    axes: Any, ratios: Mapping[str, Sequence[float]], moves: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    r"""Branch over skip of each block, and how far one step moves the signal at each depth, $\|\Delta x_l\|/\|x_l\|$.

    Each name has a value for each block in `ratios`, and one for each state $x_0 … x_L$ in `moves`.
    """
    numbers = {}
    for panel, values in zip(axes, (ratios, moves), strict=True):
        for (name, curve), (color, line, marker) in zip(values.items(), STYLES, strict=False):
            first = 1 if panel is axes[0] else 0
            at = np.arange(first, first + len(curve))
            panel.plot(at, curve, color=color, linestyle=line, marker=marker, markersize=4, markevery=6, label=name)
        panel.set(xlim=(0, max(map(len, ratios.values()))), ylim=(1e-3, 10), yscale="log", xlabel="sub-layer")
    axes[0].set_ylabel("branch relative to its skip")
    axes[1].set_ylabel("move of the signal by one step")
    axes[0].legend(loc="upper right", fontsize=9, ncols=2)
    axes[1].legend(loc="lower right", fontsize=9)
    for name in ratios:
        numbers[f"{name}: mean branch over skip"] = float(np.mean(ratios[name]))
        numbers[f"{name}: move of the output"] = float(moves[name][-1])
    return numbers
