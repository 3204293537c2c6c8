"""Drawings of rotary positions: one turn, both layouts, wavelengths, and what a distance does to a product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.markers import TICKDOWN, TICKUP

from .rope import decay_bound, halves_order, mean_product, rope, rope_angles, rope_halves, wavelengths
from .rope_numpy import cloud, first_rise, products, shares_of_bound
from .views import Explorer, drawing, explore

LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
MARKS = ("o", "s", "^", "D", "v", "P")

# ---------------------------------------------------------------------------------------------------------------
# the turn

LAYOUTS: Mapping[str, tuple[Any, Any]] = {
    "neighbours": (rope, rope),
    "halves": (rope_halves, rope_halves),
    "mixed": (rope, rope_halves),
}
"""How queries and keys are turned: alike, or each in a layout of its own, which is a mistake."""

SHIFTS = np.arange(65)
REACH = np.arange(-48, 49)


def _dial_pair(d: int) -> np.ndarray:
    """A query and a key of length 1, the same for every setting of the dial."""
    pair = np.random.default_rng(3).standard_normal((2, 64))[:, :d]
    return pair / np.linalg.norm(pair, axis=-1, keepdims=True)


def _turned(x: np.ndarray, turn: Any, at: np.ndarray, base: float) -> np.ndarray:
    """One vector at many positions, a row for each."""
    return turn(np.broadcast_to(x, (len(at), len(x))), rope_angles(np.asarray(at), len(x), x, base))


def _point(x: np.ndarray, plane: int, halves: bool) -> np.ndarray:
    """The coordinates of a vector in one plane."""
    return x[[plane, plane + len(x) // 2]] if halves else x[2 * plane : 2 * plane + 2]


@drawing(panels=(1, 3), size=(12, 4))
def draw_dial(
    axes: Any,
    m: int = 12,
    n: int = 5,
    shift: int = 0,
    plane: int = 0,
    planes: int = 4,
    base: float = 10_000.0,
    layout: str = "neighbours",
) -> dict[str, float]:
    """A query at m and a key at n: one plane of them, their product as both move on, and as only the query does.

    Left: dashed as they are, solid as they are turned, both made as long as the longer one in this plane. Middle and
    right: the cosine of the two whole vectors.
    """
    d, plane = 2 * planes, min(plane, planes - 1)
    (q, k), (turn_q, turn_k) = _dial_pair(d), LAYOUTS[layout]
    at_m, at_n = (_turned(x, f, place + SHIFTS, base) for x, f, place in ((q, turn_q, m), (k, turn_k, n)))
    _plane_panel(axes[0], q, k, at_m[shift], at_n[shift], plane, layout)
    moved = np.sum(at_m * at_n, -1)
    axes[1].plot(SHIFTS, moved, color="C0", label="product")
    axes[1].plot([shift], [moved[shift]], color="C0", marker="o")
    axes[1].set(xlim=(0, 64), ylim=(-1.05, 1.05), xlabel="both moved on by Δ", ylabel="cosine of query and key")
    for name, place, color, line in (("key at 0", 0, "C1", "--"), ("key at n", n, "C2", ":")):
        key = _turned(k, turn_k, np.full(len(REACH), place), base)
        by_distance = np.sum(_turned(q, turn_q, place + REACH, base) * key, -1)
        axes[2].plot(REACH, by_distance, color=color, linestyle=line, linewidth=2.2, label=name)
    axes[2].plot([np.clip(m - n, -48, 48)], [moved[0]], color="C0", marker="o")
    axes[2].set(xlim=(-48, 48), ylim=(-1.05, 1.05), xlabel="distance m − n", ylabel="cosine of query and key")
    axes[2].legend(loc="upper right", fontsize=9)
    turn = float(rope_angles(2, d, q, base)[1, plane])
    return {
        "distance m − n": m - n,
        "degrees by which the query is turned in this plane": float(np.degrees((m + shift) * turn) % 360),
        "degrees of (m − n)θ": float(np.degrees((m - n) * turn) % 360),
        "positions in one turn of this plane": wavelengths(d, base)[plane],
        "cosine of query and key": float(moved[shift]),
        "largest change as both move on": round(float(np.ptp(moved)), 9),  # rounding differs between machines
    }


def _plane_panel(
    axes: Any, q: np.ndarray, k: np.ndarray, q_m: np.ndarray, k_n: np.ndarray, plane: int, layout: str
) -> None:
    """The query and the key in one plane, before the turn and after it."""
    halves = {"neighbours": (False, False), "halves": (True, True), "mixed": (False, True)}[layout]
    looks = (("query", "C0", "-", ":"), ("key", "C1", "-.", "--"))
    for (name, color, line, thin), before, after, half in zip(looks, (q, k), (q_m, k_n), halves, strict=True):
        points = [_point(x, plane, half) for x in (before, after)]
        (x, y), (turned_x, turned_y) = np.array(points) / max(np.linalg.norm(points[0]), 1e-12)
        axes.plot([0, x], [0, y], color=color, linestyle=thin, linewidth=1.2, label=f"{name} as it is")
        look = {"linestyle": line, "linewidth": 2.5, "marker": ".", "markersize": 12, "markevery": [1]}
        axes.plot([0, turned_x], [0, turned_y], color=color, label=name, **look)
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.5), xlabel="first coordinate of the plane", ylabel="second coordinate")
    axes.set_aspect("equal")
    axes.legend(loc="upper center", fontsize=8, ncols=2)


def explore_dial() -> Explorer:
    """The rotation dial: move a query and a key, alone and together, and mix the layouts."""
    return explore(
        draw_dial,
        alt="Left: query and key in one plane, before and after their turn. Middle: their product as both move on. "
        "Right: their product against the distance.",
        labels={
            "m": "query at m",
            "n": "key at n",
            "shift": "both moved on by Δ",
            "plane": "plane j",
            "planes": "planes d/2",
            "base": "base",
            "layout": "planes made of",
        },
        presets={
            "both far away": {"shift": 60},
            "slow plane": {"plane": 3},
            "small base": {"base": 10.0},
            "mixed layouts": {"layout": "mixed"},
        },
        m=(0, 64),
        n=(0, 64),
        shift=(0, 64),
        plane=(0, 31),
        planes=(2, 32),
        base=(10.0, 1e6, "log"),
        layout=list(LAYOUTS),
    )


@drawing(panels=(1, 3), size=(11, 3.9))
def draw_layouts(axes: Any, m: int = 3, d: int = 12, base: float = 100.0) -> dict[str, float]:
    r"""The matrix $R_m$ in both layouts, and the permutation that leads from the one to the other."""
    angles = np.broadcast_to(rope_angles(m + 1, d, np.zeros(1), base)[m], (d, d // 2))
    order = np.eye(d)[halves_order(d)]
    shown = {"neighbours": rope(np.eye(d), angles).T, "halves": rope_halves(np.eye(d), angles).T, "P": order}
    for one, (name, matrix) in zip(axes, shown.items(), strict=True):
        one.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, zorder=2)
        one.set(xlim=(-0.5, d - 0.5), ylim=(d - 0.5, -0.5), xlabel=f"feature in\n{name}", ylabel="feature out")
        one.set_xticks(range(0, d, 2))
        one.set_yticks(range(0, d, 2))
        one.grid(False)
    R, H = shown["neighbours"], shown["halves"]
    return {
        "entries that are not 0": int((R != 0).sum()),
        "largest entry of H − P R Pᵀ": float(np.abs(H - order @ R @ order.T).max()),
        "largest entry of H − R": float(np.abs(H - R).max()),
    }


@drawing(size=(7.5, 4.2))
def draw_wavelengths(
    axes: Any, n: int = 512, bases: Sequence[float] = (100.0, 10_000.0, 500_000.0)
) -> dict[str, float]:
    """Positions in one turn of each plane, for a head of 64 features; above the grey line no text of n turns once."""
    numbers = {}
    for k, base in enumerate(bases):
        lengths = wavelengths(64, base)
        look = {"color": f"C{k}", "linestyle": LINES[k], "marker": MARKS[k], "markersize": 4, "markevery": 4}
        axes.plot(range(32), lengths, label=f"base {base:g}", **look)
        numbers[f"base {base:g}: planes that turn more slowly than once in {n}"] = sum(one > n for one in lengths)
    axes.axhline(n, color="0.5", linewidth=1)
    axes.annotate(f"{n} tokens", (31, n), xytext=(0, 4), textcoords="offset points", ha="right", fontsize=9)
    axes.set(xlim=(0, 31), ylim=(1, 1e7), yscale="log", xlabel="plane j", ylabel="positions in one turn")
    axes.minorticks_off()
    axes.legend(loc="upper left")
    return numbers


# ---------------------------------------------------------------------------------------------------------------
# what a distance does

DISTANCES = np.unique(np.geomspace(1, 4096, 140).round().astype(int))
"""Distances of the logarithmic axes."""

DRAWS = 100
"""Pairs of a cloud in the widget."""


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_decay(
    axes: Any,
    planes: int = 64,
    base: float = 10_000.0,
    alike: float = 1.0,
    behind: int = 0,
    distance: int = 64,
) -> dict[str, float]:
    """Products of queries and keys against their distance, over d; and the bound, with the share of it they reach.

    Left: the mean by the formula, the mean and the spread of a hundred pairs. Right: the Abel index over its value at
    distance 0, and the products over the same bound.
    """
    d = 2 * planes
    q, k = cloud(DRAWS, d, alike, behind, base)
    seen = products(q, k, DISTANCES, base) / d
    index = decay_bound(DISTANCES.astype(float), d, base) / decay_bound(np.zeros(1), d, base)
    share = shares_of_bound(q, k, DISTANCES, base)
    left, right = axes
    mean = alike * mean_product((DISTANCES - behind).astype(float), d, base) / d
    left.fill_between(
        DISTANCES, seen.mean(0) - seen.std(0), seen.mean(0) + seen.std(0), color="C1", alpha=0.2, linewidth=0
    )
    left.plot(DISTANCES, seen.mean(0), color="C1", linestyle="--", label="mean of 100 pairs, and spread")
    left.plot(DISTANCES, mean, color="C0", label="mean by the formula")
    left.axvline(distance, color="0.6", linewidth=1)
    left.set(ylim=(-1.2, 1.2), ylabel="product over d")
    right.plot(DISTANCES, index, color="C2", label="the bound, over its value at 0")
    right.plot(DISTANCES, index * share.max(0), color="C1", linestyle="--", label="largest of 100 pairs")
    right.plot(DISTANCES, index * np.median(share, 0), color="C3", linestyle=":", label="median of them")
    right.axvline(distance, color="0.6", linewidth=1)
    right.set(yscale="log", ylim=(1e-5, 2), ylabel="bound, and what it bounds")
    for one in axes:
        one.set(xscale="log", xlim=(1, 4096), xlabel="distance m − n")
        one.set_xticks([1, 4, 16, 64, 256, 1024, 4096], ["1", "4", "16", "64", "256", "1024", "4096"])
        one.minorticks_off()
    left.legend(loc="upper right", fontsize=9)
    right.legend(loc="lower left", fontsize=9)
    at = np.array([distance])
    pair = products(q, k, at, base)[:, 0] / d
    return {
        "mean product over d, by the formula": float(alike * mean_product(at - float(behind), d, base)[0] / d),
        "mean of 100 pairs": float(pair.mean()),
        "spread of them": float(pair.std()),
        "bound over its value at 0": float(decay_bound(at.astype(float), d, base)[0] / ((d / 2 + 1) / 2)),
        "largest share of the bound that a pair reaches": float(shares_of_bound(q, k, at, base).max()),
        "the bound first rises at distance": first_rise(d, base),
    }


def explore_decay() -> Explorer:
    """The decay explorer: how much of *RoPE decays* is in the bound, and how much in what queries and keys share."""
    return explore(
        draw_decay,
        alt="Left: products of a hundred queries and keys against their distance, with the formula of the mean. Right: "
        "the bound, and how little of it they reach.",
        labels={
            "planes": "planes d/2",
            "base": "base",
            "alike": "cosine of q and k",
            "behind": "keys turned by s positions",
            "distance": "distance read out",
        },
        presets={
            "the same vector": {},
            "independent": {"alike": 0.0},
            "opposite": {"alike": -1.0},
            "looks 64 back": {"behind": 64},
            "base 1,000,000": {"base": 1e6},
        },
        planes=(4, 128, 4),
        base=(10.0, 1e6, "log"),
        alike=(-1.0, 1.0, 0.05),
        behind=(0, 512),
        distance=(1, 4096, "log"),
    )


@drawing(size=(7.5, 4.2))
def draw_index(
    axes: Any, widths: Sequence[int] = (64, 128), base: float = 10_000.0, reach: int = 256
) -> dict[str, float]:
    r"""$\frac2d\sum_j|S_j|$ at each distance; strokes below are where it is larger than at the distance before."""
    at, numbers = np.arange(reach + 1.0), {}
    for k, d in enumerate(widths):
        index = decay_bound(at, d, base)
        rises = np.flatnonzero(np.diff(index) > 0) + 1
        axes.plot(at, index, color=f"C{k}", linestyle=LINES[k], label=f"d = {d}")
        marker = ("|", TICKUP, TICKDOWN)[k % 3]  # strokes all of them
        strokes = {"color": f"C{k}", "linestyle": "none", "marker": marker, "markersize": 7, "markeredgewidth": 0.9}
        axes.plot(at[rises], np.full(len(rises), 1.0 + 1.7 * k), **strokes, label=f"d = {d}, where it rises")
        numbers[f"d = {d}: at distance 0"] = float(index[0])
        numbers[f"d = {d}: at distance {reach}"] = float(index[-1])
        numbers[f"d = {d}: first rise at distance"] = int(rises[0])
        numbers[f"d = {d}: distances at which it rises, of {reach}"] = len(rises)
    axes.set(xlim=(0, reach), ylim=(0, 35), xlabel="distance m − n", ylabel="index")
    axes.legend(loc="upper right")
    return numbers


@drawing(size=(8, 4.4))
def draw_heads(axes: Any, d: int = 64, base: float = 10_000.0, reach: int = 64) -> dict[str, float]:
    """Four queries and keys of the same norms: products over d at each distance, rotary positions being the same."""
    at, numbers = np.arange(reach + 1), {}
    q = np.ones((1, d))
    slow = np.repeat(np.arange(d // 2) >= d // 4, 2)  # the half of the planes that turn slowly
    keys = {
        "key = query": q,
        "key turned by 20": cloud_key(q, 20, base),
        "fast planes against": np.where(slow, q, -q),
        "fast planes only": np.where(slow, 0, np.sqrt(2) * q),
    }
    for k, (name, key) in enumerate(keys.items()):
        values = products(q, key, at, base)[0] / d
        axes.plot(at, values, color=f"C{k}", linestyle=LINES[k], label=name)
        numbers[f"{name}: largest at distance"] = int(at[values.argmax()])
        numbers[f"{name}: at distance 0"] = float(values[0])
        numbers[f"{name}: at distance {reach}"] = float(values[-1])
    axes.set(xlim=(0, reach), ylim=(-0.2, 1.3), xlabel="distance m − n", ylabel="product over d")
    axes.legend(loc="upper center", ncols=2, fontsize=9)
    return numbers


def cloud_key(q: np.ndarray, s: int, base: float = 10_000.0) -> np.ndarray:
    r"""$R_s q$: the key that answers the query q best from s positions before it."""
    return _turned(q[0], rope, np.array([s]), base)
