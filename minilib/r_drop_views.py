"""Drawings of dropout twice: clouds of sub-models, an approximation and its limits, and what training made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import r_drop as rd
from .r_drop_numpy import Seen, random_sub_models, sub_models, summary
from .views import drawing, explore

SHOWN = 3
"""Which of the points has its sub-models drawn; its class is the first."""


def _drawn(seen: Seen, number: int) -> np.ndarray:
    """So many masks, drawn as dropout draws them."""
    uniform = np.random.default_rng(0).random(256)[:number]
    return np.minimum(np.searchsorted(np.cumsum(seen.weights), uniform), len(seen.weights) - 1)


def _cloud(axes: Any, seen: Seen, drawn: np.ndarray) -> None:
    """Sub-models of one point on the triangle of probabilities, both averages, and the network without dropout."""
    z = seen.z[SHOWN]
    p = np.exp(rd.log_probabilities(z))[drawn]
    axes.plot([0, 1, 0, 0], [0, 0, 1, 0], color="0.4", linewidth=1, label="_triangle")
    axes.plot(p[:, 0], p[:, 1], "o", color="C0", markersize=6, alpha=0.35, markeredgewidth=0, label="a sub-model")
    off = np.exp(rd.log_probabilities(seen.off[SHOWN]))
    looks = (("s", "C1", "arithmetic mean"), ("^", "C2", "geometric mean"), ("x", "black", "dropout off"))
    places = rd.arithmetic_mean(z, seen.weights), rd.geometric_mean(z, seen.weights), off
    for (marker, color, name), place in zip(looks, places, strict=True):
        axes.plot(*place[:2], marker, color=color, markersize=11, fillstyle="none", markeredgewidth=2, label=name)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="probability of class 1, the right one")
    axes.set_ylabel("probability of class 2")
    axes.legend(loc="upper right", fontsize=9)


@drawing(panels=(1, 2), size=(10, 4.6))
def draw_sub_models(
    axes: Any,
    rate: float = 0.3,
    alpha: float = 0.0,
    n: int = 5,
    scale: float = 1.0,
    samples: int = 64,
    hidden: bool = False,
) -> dict[str, float]:
    """The sub-models of one point under a classifier trained with R-Drop, and its losses over all points."""
    cloud, bars = axes
    seen = sub_models(rate, alpha, n, scale, hidden)
    s, drawn = summary(seen), _drawn(seen, samples)
    _cloud(cloud, seen, drawn)
    values = (s.off, s.added, s.divergence)
    for at, (value, color) in enumerate(zip(values, ("0.55", "C1", "C0"), strict=True)):
        bars.bar(at, max(value, 0.0), color=color, width=0.6)
    bars.axhline(2 * max(s.added, 0.0), color="C1", linestyle=":", linewidth=2, label="twice what dropout adds")
    bars.set(xlim=(-0.6, 2.6), ylim=(0, 2), ylabel="mean over all points, nats", xlabel="part of the loss")
    bars.set_xticks([0, 1, 2], ["cross-entropy,\ndropout off", "what dropout\nadds to it", "J of\ntwo masks"])
    bars.legend(loc="upper right", fontsize=9)
    one = rd.expected_symmetric_kl(seen.z[SHOWN][drawn], np.full(len(drawn), 1 / len(drawn)))
    return {
        "cross-entropy, dropout off": s.off,
        "what dropout adds": s.added,
        "J of two masks": s.divergence,
        "J of this point, from the masks drawn": float(one) * len(drawn) / (len(drawn) - 1),
        "J of this point, all masks": float(rd.expected_symmetric_kl(seen.z[SHOWN], seen.weights)),
        "arithmetic mean to dropout off": s.arithmetic,
        "geometric mean to dropout off": s.geometric,
        "right answers": s.right,
    }


def explore_sub_models() -> Any:
    """The widget of the chapter: what dropout, alpha, width and scale do to the sub-models."""
    return explore(
        draw_sub_models,
        alt="Left: a cloud of sub-models on the triangle of probabilities, with their two means and the network "
        "without dropout. Right: bars of the cross-entropy, of what dropout adds, and of J.",
        labels={
            "rate": "dropout rate ρ",
            "alpha": "weight α",
            "n": "features n",
            "scale": "all weights times s",
            "samples": "masks drawn",
            "hidden": "hidden relu layer",
        },
        presets={
            "plain dropout": {},
            "R-Drop, α = 4": {"alpha": 4.0},
            "equivalent rate": {"rate": 0.7},
            "little dropout": {"rate": 0.05},
            "large weights": {"scale": 4.0},
            "hidden layer": {"hidden": True},
            "hidden layer, α = 10": {"hidden": True, "alpha": 10.0},
        },
        rate=(0.05, 0.7, 0.05),
        alpha=(0.0, 10.0, 0.5),
        n=(2, 5),
        scale=(0.25, 4.0, "log"),
        samples=(4, 128, 4),
        hidden=bool,
    )


@drawing(panels=(1, 2), size=(10, 4.6))
def draw_averages(axes: Any, rate: float = 0.5, alpha: float = 0.0) -> dict[str, float]:
    """The sub-models of a softmax layer, and of one behind a hidden relu layer: which mean is the whole network?"""
    numbers = {}
    for one, (name, hidden) in zip(axes, (("softmax layer", False), ("hidden relu layer", True)), strict=True):
        seen = sub_models(rate, alpha, 5, hidden=hidden)
        _cloud(one, seen, _drawn(seen, 128))
        one.set_title(name, fontsize=11)
        s = summary(seen)
        numbers[f"{name}: arithmetic mean to dropout off"] = s.arithmetic
        numbers[f"{name}: geometric mean to dropout off"] = s.geometric
    return numbers


SCALES = 2.0 ** np.arange(-5, 3.5, 0.5)
"""Factors on the weights, the logarithmic axis of :func:`draw_twice`."""


@drawing(panels=(1, 2), size=(10, 4.4))
def draw_twice(axes: Any, models: int = 100) -> dict[str, float]:
    """J over what dropout adds, against the size of the weights and against the rate: median and nine tenths."""
    numbers, (left, right) = {}, axes

    def ratios(rate: float, scale: float) -> np.ndarray:
        z, weights = random_sub_models(rate, scale, models)
        found = rd.expected_symmetric_kl(z, weights) / rd.implicit_penalty(z, weights)
        return np.quantile(found, (0.05, 0.5, 0.95))

    for panel, at, curves in (
        (left, SCALES, {f"ρ = {rate}": [ratios(rate, s) for s in SCALES] for rate in (0.05, 0.5)}),
        (right, RATES, {f"s = {s:g}": [ratios(rate, s) for rate in RATES] for s in (0.25, 1.0, 4.0)}),
    ):
        for (name, values), color, line in zip(curves.items(), ("C0", "C1", "C2"), ("-", "--", "-."), strict=False):
            low, middle, high = np.transpose(values)
            panel.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
            panel.plot(at, middle, color=color, linestyle=line, label=name)
        panel.axhline(2, color="0.3", linewidth=1)
        panel.set(xscale="log", ylim=(0, 6), ylabel="J over what dropout adds")
        panel.minorticks_off()
        panel.legend(loc="upper left")
    left.set(xlim=(SCALES[0], SCALES[-1]), xlabel="all weights times s")
    left.set_xticks(2.0 ** np.arange(-4, 4, 2), ["1/16", "1/4", "1", "4"])
    right.set(xlim=(RATES[0], RATES[-1]), xlabel="dropout rate ρ")
    right.set_xticks([0.001, 0.01, 0.1, 0.5], ["0.001", "0.01", "0.1", "0.5"])
    for rate, scale in ((0.05, 1 / 16), (0.5, 1 / 16), (0.05, 4.0), (0.5, 4.0)):
        numbers[f"ρ = {rate}, s = {scale:g}: median ratio"] = float(ratios(rate, scale)[1])
    return numbers


RATES = np.geomspace(0.001, 0.5, 12)
"""The rates of the second panel of :func:`draw_twice`."""


@drawing(panels=(1, 3), size=(12, 4))
def draw_alpha(
    axes: Any, alphas: Sequence[float], found: Mapping[str, Any], plain: Mapping[str, Any], at: float = 4.0
) -> dict[str, float]:
    """Against alpha: J and twice what dropout adds, how far the mean of the sub-models is from the network, the loss.

    `found` has "divergence", "added", "gap" and "loss", each a row of seeds for each of `alphas`; `plain` the same for
    plain dropout at the equivalent rate of the alpha `at`, a value for each seed. Means over seeds are shown, to two
    digits, which a training has in common on all machines.
    """
    mean = {name: np.array([_short(row) for row in rows]) for name, rows in found.items()}
    other = {name: _short(values) for name, values in plain.items()}
    both = {"J of two masks": mean["divergence"], "twice what dropout adds": 2 * mean["added"]}
    panels = (
        ("J, nats", (0.005, 0.01, 0.03, 0.1, 0.3, 1), both),
        ("arithmetic mean to dropout off", (0.003, 0.01, 0.03, 0.1), {"R-Drop": mean["gap"]}),
        ("loss on other texts, nats", (0.4, 0.5, 0.7, 1, 1.4, 2), {"R-Drop": mean["loss"]}),
    )
    places = np.arange(len(alphas))
    for panel, (label, ticks, lines), key in zip(axes, panels, ("divergence", "gap", "loss"), strict=True):
        for k, (name, values) in enumerate(lines.items()):
            panel.plot(places, values, color=f"C{k}", linestyle="-:"[k], marker="os"[k], label=name)
        panel.plot([list(alphas).index(at)], other[key], "x", color="C3", markersize=12, mew=3, label="plain, rate ρ'")
        panel.set(xlim=(-0.4, len(alphas) - 0.6), xlabel="weight α", ylabel=label, yscale="log")
        panel.set_ylim(ticks[0], ticks[-1])
        panel.set_xticks(places, [f"{alpha:g}" for alpha in alphas])
        panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.legend(loc="upper right", fontsize=9)
    shown = {"divergence": "J", "gap": "arithmetic mean to dropout off", "loss": "loss"}
    numbers = {f"α = {alphas[0]:g}: {label}": float(mean[key][0]) for key, label in shown.items()}
    numbers |= {f"α = {at:g}: {label}": float(mean[key][list(alphas).index(at)]) for key, label in shown.items()}
    return numbers | {f"plain, rate ρ': {label}": other[key] for key, label in shown.items()}


def _short(values: Sequence[float]) -> float:
    return float(f"{np.mean(values):.2g}")


def results(records: Sequence[Mapping[str, Any]], method: str, **wanted: Any) -> list[Mapping[str, Any]]:
    """What stored `records` of one method and of these settings found, in the order of their seeds."""
    wanted = {"method": method, **wanted}
    chosen = [record for record in records if wanted.items() <= record["config"].items()]
    return [record["result"] for record in sorted(chosen, key=lambda record: record["config"]["seed"])]


def gains(
    records: Sequence[Mapping[str, Any]], method: str, over: str, what: str = "accuracy", **wanted: Any
) -> list[float]:
    """How much `what` is larger with one method than with another, for each seed that both have."""
    both = zip(results(records, method, **wanted), results(records, over, **wanted), strict=True)
    return [ours[what] - theirs[what] for ours, theirs in both]


@drawing(panels=(1, 2), size=(11, 4.6))
def draw_paired(
    axes: Any,
    differences: Mapping[str, Mapping[str, Sequence[float]]],
    half_width: Callable[[Sequence[float]], float],
    against: str = "plain dropout",
) -> dict[str, float]:
    """Of two tasks, how much better each method is than another one, in points: a dot for each seed, and the interval.

    `half_width` gives half the width of the interval of the mean of some values: :func:`minilib.claims.half_width`.
    """
    numbers = {}
    limits = _limits([v for one in differences.values() for values in one.values() for v in values])
    for panel, (task, methods) in zip(axes, differences.items(), strict=True):
        names = list(methods)
        for at, name in enumerate(names):
            values = 100 * np.asarray(methods[name])
            mean, half = float(values.mean()), half_width(values.tolist())
            color = "C0" if mean - half > 0 else "C1" if mean + half < 0 else "0.45"
            panel.plot(values, np.full(len(values), at), "o", color=color, alpha=0.4, markersize=5, label="_seeds")
            panel.plot([mean - half, mean + half], [at, at], color=color, linewidth=2.5, label="_interval")
            panel.plot([mean], [at], "|", color=color, markersize=16, markeredgewidth=2.5, label="_mean")
            numbers[f"{task}, {name}: points"] = mean
            numbers[f"{task}, {name}: ±"] = half
        panel.axvline(0, color="0.3", linewidth=1)
        panel.set(xlim=limits, ylim=(len(names) - 0.5, -0.5), xlabel=f"accuracy less that of {against}, points")
        panel.set_yticks(range(len(names)), names)
        panel.set_ylabel("method")
        panel.set_title(task, fontsize=11)
    return numbers


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """The same axis for both tasks, ending at whole points."""
    return float(np.floor(100 * min(values))) - 0.5, float(np.ceil(100 * max(values))) + 0.5
