"""Drawings of RoFormerV2: what was taken from its block, how it starts, and what its trainings came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import exact_gelu, relu
from .depth import identity_share
from .layernorm import layer_norm
from .roformer import V1, V2_SIZES, Changes, RoformerSizes
from .roformer_numpy import KINDS, Kind, branch_sizes, plain_deviations, start, v2_deviations
from .views import Explorer, drawing, explore

LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
MARKS = ("o", "s", "^", "D", "v", "P")

# ---------------------------------------------------------------------------------------------------------------
# the block


def parts(sizes: RoformerSizes, changes: Changes) -> dict[str, int]:
    """Parameters of a masked language model by what they are."""
    d, f, L = sizes.d, sizes.inner, sizes.layers
    biases = 0 if changes.no_bias else L * (5 * d + f)
    norms = 0 if changes.rms else 2 * d * (2 * L + 1)
    return {
        "tables": (sizes.vocabulary + sizes.segments) * d,
        "matrices": L * (4 * d * d + 2 * d * f),
        "biases of the blocks": biases,
        "γ and β": norms,
        "head for masked words": sizes.head(changes),
    }


@drawing(panels=(1, 2), size=(11, 4))
def draw_changes(
    axes: Any,
    size: str = "base",
    no_bias: bool = True,
    rms: bool = True,
    relu_: bool = True,
    embedding_order: bool = True,
    plain_head: bool = True,
    v2_init: bool = True,
    n: int = 128,
) -> dict[str, float]:
    """From RoFormer to RoFormerV2 change by change: where the parameters are, and what is left of the input.

    Left: parameters by kind, on a logarithmic axis. Right: the input's share along the skips of an untrained encoder,
    by the formula, for tokens half alike. Dropout is 0.1.
    """
    sizes, changes = V2_SIZES[size], Changes(no_bias, rms, relu_, embedding_order, plain_head, v2_init)
    found, left, right = parts(sizes, changes), *axes
    left.barh(range(len(found)), [max(count, 1) for count in found.values()], color="C0", zorder=2)
    left.set(xscale="log", xlim=(1e3, 1e9), ylim=(len(found) - 0.4, -0.6), xlabel="parameters", ylabel="kind")
    left.set_yticks(range(len(found)), list(found))
    left.minorticks_off()
    kind = Kind(v2_deviations if v2_init else plain_deviations, relu if relu_ else exact_gelu, layer_norm)
    branches = branch_sizes(kind, sizes.d, sizes.inner, sizes.layers, n, 0.5)
    at = range(sizes.layers + 1)
    share = [math.prod(identity_share(r, k) for r in branches) for k in at]
    right.plot(at, share, color="C0", marker="o", markersize=4)
    right.set(xlim=(0, 24), ylim=(0, 1.05), xlabel="layers", ylabel="share of the input left")
    total = sum(found.values())
    return {
        "million parameters": total / 1e6,
        "share of RoFormer's that is gone, in percent": 100 * (1 - total / sizes.total(V1)),
        "branch of attention over its skip": branches.attention,
        "branch of the feed-forward layer": branches.feed,
        "share of the input left": share[-1],
        "size of a token in training, dropout 0.1": 1.0 if embedding_order else 1 / math.sqrt(0.9),
    }


def explore_changes() -> Explorer:
    """The block diff: make the six changes one by one, and see which of them removes parameters, and which moves."""
    none = dict.fromkeys(("no_bias", "rms", "relu_", "embedding_order", "plain_head", "v2_init"), False)
    return explore(
        draw_changes,
        alt="Left: parameters by kind. Right: share of the input left after each layer of an untrained encoder.",
        labels={
            "size": "size",
            "no_bias": "no biases",
            "rms": "RMS norm, no γ and β",
            "relu_": "relu, not gelu",
            "embedding_order": "dropout before the norm",
            "plain_head": "no head for masked words",
            "v2_init": "deviation 1/√(L·fan-in)",
            "n": "tokens in sight",
        },
        presets={
            "RoFormerV2": {},
            "RoFormer": none,
            "only the initialisation": none | {"v2_init": True},
            "large, RoFormer": none | {"size": "large"},
        },
        size=list(V2_SIZES),
        no_bias=bool,
        rms=bool,
        relu_=bool,
        embedding_order=bool,
        plain_head=bool,
        v2_init=bool,
        n=(1, 512, "log"),
    )


# ---------------------------------------------------------------------------------------------------------------
# the start


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_start(axes: Any, layers: int = 6, d: int = 384, n: int = 128) -> dict[str, float]:
    """Untrained encoders, f = 4d, heads of 64: branch over skip of each sub-layer, and the cosine with the input.

    Points are measured, the broad bands behind them are the formulas.
    """
    numbers, at = {}, np.arange(2 * layers + 1)
    for k, (name, kind) in enumerate(KINDS.items()):
        seen, said = start(name, layers, d, d // 64, n), branch_sizes(kind, d, 4 * d, layers, n, 0.5)
        look = {"color": f"C{k}", "linestyle": LINES[k], "marker": MARKS[k], "markersize": 5, "label": name}
        axes[0].plot(at[1:], seen.ratios, **look)
        axes[1].plot(at, seen.cosines, **look)
        for r in said:
            axes[0].axhline(r, color=f"C{k}", linewidth=6, alpha=0.25, zorder=1)
        numbers[f"{name}: branch of attention, mean"] = float(np.mean(seen.ratios[::2]))
        numbers[f"{name}: by the formula"] = said.attention
        numbers[f"{name}: branch of the feed-forward layer, mean"] = float(np.mean(seen.ratios[1::2]))
        numbers[f"{name}: the same, by the formula"] = said.feed
        numbers[f"{name}: cosine at the end"] = seen.cosines[-1]
    axes[0].set(xlim=(0.5, 2 * layers + 0.5), ylim=(0, 0.6), ylabel="branch relative to its skip")
    axes[1].set(xlim=(0, 2 * layers), ylim=(0, 1.05), ylabel=r"$\cos(x_l, x_0)$")
    for one in axes:
        one.set_xlabel("sub-layer l")
    axes[0].legend(loc="upper right", fontsize=9)
    axes[1].legend(loc="lower left", fontsize=9)
    return numbers


# ---------------------------------------------------------------------------------------------------------------
# trainings


@drawing(size=(8, 4.4))
def draw_dots(
    axes: Any, values: Mapping[str, Sequence[float]], label: str = "held-out loss", pad: float = 0.1
) -> dict[str, float]:
    """One row for each name: a dot for each seed and a bar for their mean; the line is the mean of the first row."""
    numbers, pooled = {}, np.concatenate([np.asarray(v, dtype=float) for v in values.values()])
    low, high = pooled.min(), pooled.max()
    room = max(pad * (high - low), 1e-3)
    for k, (name, runs) in enumerate(values.items()):
        axes.plot(runs, [k] * len(runs), color="C0", linestyle="none", marker="o", markersize=5, alpha=0.7)
        axes.plot([np.mean(runs)], [k], color="C1", linestyle="none", marker="|", markersize=18, markeredgewidth=2.5)
        numbers[f"{name}: mean"] = float(np.mean(runs))
    axes.axvline(np.mean(next(iter(values.values()))), color="0.6", linewidth=1)
    axes.set(xlim=(low - room, high + room), ylim=(len(values) - 0.5, -0.5), xlabel=label, ylabel="model")
    axes.set_yticks(range(len(values)), list(values))
    return numbers


@drawing(size=(7.5, 4.2))
def draw_lengths(
    axes: Any, lengths: Sequence[int], scores: Mapping[str, Sequence[Sequence[float]]], label: str = "accuracy"
) -> dict[str, float]:
    """A score against the length of the text: mean over seeds and range; ``scores[name]`` has a row for each seed."""
    numbers, highest = {}, max(np.max(runs) for runs in scores.values())
    for k, (name, runs) in enumerate(scores.items()):
        mean = np.mean(runs, axis=0)
        look = {"color": f"C{k}", "linestyle": LINES[k], "marker": MARKS[k], "markersize": 5}
        axes.plot(lengths, mean, label=name, **look)
        axes.fill_between(lengths, np.min(runs, axis=0), np.max(runs, axis=0), color=f"C{k}", alpha=0.15, linewidth=0)
        for end in (0, -1):
            numbers[f"{name}: n = {lengths[end]}"] = float(mean[end])
    axes.set(xscale="log", xlim=(lengths[0] / 1.1, lengths[-1] * 1.1), ylim=(0, 1.15 * highest))
    axes.set(xlabel="tokens n", ylabel=label)
    axes.set_xticks(list(lengths), [str(n) for n in lengths])
    axes.minorticks_off()
    axes.legend(loc="best")
    return numbers
