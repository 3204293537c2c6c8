"""Drawings of attention whose scores are dense, random, factorized or mixed: maps above all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.ticker import FixedFormatter, FixedLocator

from . import synthesizer as syn
from .arrays import softmax
from .attention import causal_mask
from .entropy import distribution_entropy
from .synthesizer_numpy import (
    LONGEST,
    SENTENCE,
    TOUCHED,
    VARIANTS,
    act,
    embed,
    fixed_error,
    head_scores,
    looking_error,
    moved_rows,
)
from .views import drawing, explore

FACTORS = {f"{a} · {LONGEST // a}": a for a in (2, 3, 4, 6, 8, 12)}
"""The two factors of factorized dense scores as they stand on the buttons, and the first of them."""

ACTIONS = {"nothing": "none", "change “dog”": "change a word", "swap “cat”, “dog”": "swap two words"}


def _map(axes: Any, A: np.ndarray, signed: bool = False, start: float = 0.0) -> None:
    """A map as squares from `start` on, the colours on a root scale, so that small weights are seen. White is 0."""
    n, m = A.shape
    shown = np.sign(A) * np.sqrt(np.abs(A)) if signed else A
    look = {"cmap": "RdBu_r", "norm": Normalize(-1, 1)} if signed else {"cmap": "Blues", "norm": PowerNorm(0.5, 0, 1)}
    axes.imshow(shown, extent=(start, start + m, n, 0), aspect="auto", interpolation="nearest", **look)
    axes.grid(False)


def _frame(axes: Any, size: int, xlabel: str, ylabel: str, title: str) -> None:
    axes.set(xlim=(-1.5, size + 1.5), ylim=(size + 0.5, -1.5), xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, fontsize=10)


def _words_on(
    axis: Any, words: Sequence[str], size: float = 7.0, rotation: float = 0.0, places: Sequence[float] | None = None
) -> None:
    # Not set_ticks, which would make every tick anew at each drawing of a widget.
    axis.set_major_locator(FixedLocator(np.array(range(len(words)) if places is None else places) + 0.5))
    axis.set_major_formatter(FixedFormatter(list(words)))
    axis.set_tick_params(length=0, labelsize=size, labelrotation=rotation)


def _mark(axes: Any, places: Sequence[int], rows: np.ndarray, start: float = 0.0) -> None:
    """Point at the words that were touched, and put a dot at the right of each row that moved."""
    middle, edge = np.array(places) + 0.5, np.full(len(places), -0.8)
    axes.plot(start + edge, middle, linestyle="none", marker=">", color="C1", markersize=5)
    axes.plot(start + middle, edge, linestyle="none", marker="v", color="C1", markersize=5)
    moved = np.flatnonzero(rows) + 0.5
    right = np.full(len(moved), start + len(rows) + 0.8)
    axes.plot(right, moved, linestyle="none", marker="o", color="k", markersize=3)


def _touched(action: str) -> tuple[int, ...]:
    return {"none": (), "change a word": TOUCHED[1:]}.get(action, TOUCHED)


# ---------------------------------------------------------------------------------------------------------------
# the widget


def _scores(variant: str, words: Sequence[str], d: int, mix: float, **options: Any) -> np.ndarray:
    x = embed(words, d)
    scores = head_scores(variant, x, **options)
    if mix == 1 or variant == VARIANTS[0]:
        return scores
    dot = head_scores(VARIANTS[0], x, width=options["width"])
    return syn.mixed_scores([dot, scores], np.array([1 - mix, mix]))


def _cost(variant: str, n: int, width: int, heads: int, rank: int, a: int, mix: float) -> syn.Cost:
    d = width * heads
    dot = syn.dot_cost(d, n)
    factorized = syn.factorized_dense_cost(d, heads, a, LONGEST // a, n)
    own = {
        "QKᵀ": dot,
        "dense": syn.dense_cost(d, heads, LONGEST, n),
        "random": syn.random_cost(heads, LONGEST),
        "factorized random": syn.factorized_random_cost(heads, LONGEST, rank, n),
    }.get(variant, factorized)
    mixed = syn.mixture_cost(heads, n, dot, own)
    return own if mix == 1 or variant == VARIANTS[0] else dot if mix == 0 else mixed


@drawing(size=(13, 4.8))
def draw_head(
    axes: Any,
    variant: str = "QKᵀ",
    action: str = "change “dog”",
    n: int = 24,
    width: int = 16,
    heads: int = 4,
    rank: int = 4,
    factors: str = "4 · 6",
    std: float = 1.0,
    mix: float = 1.0,
    causal: bool = False,
) -> dict[str, float]:
    """One untrained head on one sentence, before and after something was done to a word, and what it costs."""
    a, done = FACTORS[factors], ACTIONS[action]
    options = {"width": width, "rank": rank, "a": a, "std": std}
    words = SENTENCE[:n]
    scores = [_scores(variant, w, width * heads, mix, **options) for w in (words, act(words, done))]
    mask = causal_mask(n, scores[0]) if causal else None
    before, after = (syn.synthetic_weights(B, mask) for B in scores)
    rows, columns = moved_rows(before, after), moved_rows(before.T, after.T)
    _three(axes, before, after, _touched(done), rows)
    cost, dot = _cost(variant, n, width, heads, rank, a, mix), syn.dot_cost(width * heads, n)
    layer, standard = (syn.layer_cost(c, width * heads, n).macs for c in (cost, dot))
    sight = math.log(n) if mask is None else np.log(mask.sum(-1)).mean()
    return {
        "rows that moved": float(rows.sum()),
        "columns that moved": float(columns.sum()),
        "largest change of a weight": float(np.abs(after - before).max()),
        "rank of the scores": float(np.linalg.matrix_rank(scores[0])),
        "different columns of the scores": float(len(np.unique(scores[0].round(9), axis=1).T)),
        "entropy of a row over that of a uniform one": float(distribution_entropy(before).mean() / sight),
        f"weights of the scores, {LONGEST} words at most": float(cost.parameters),
        "as a share of those of QKᵀ": cost.parameters / dot.parameters,
        "multiplications of the layer as a share of standard attention's": layer / standard,
        "break-even length of random scores": syn.break_even_length(width * heads, heads),
    }


def _three(axes: Any, before: np.ndarray, after: np.ndarray, places: Sequence[int], rows: np.ndarray) -> None:
    """Both maps and their difference side by side, in one frame: three would take a widget three times as long."""
    apart, still = LONGEST + 4, np.zeros(len(rows), dtype=bool)
    shown = ("before", before, still), ("after", after, rows), ("after − before", after - before, rows)
    for k, (title, A, moved) in enumerate(shown):
        _map(axes, A, k == 2, k * apart)
        _mark(axes, places, moved, k * apart)
        axes.text(k * apart + LONGEST / 2, -1.9, title, ha="center", fontsize=10)
    _frame(axes, LONGEST, "key", "query", " ")
    axes.set_xlim(-1.5, 3 * apart - 2)
    _words_on(axes.yaxis, SENTENCE, 7.5)
    keys = [k * apart + j for k in range(3) for j in range(LONGEST)]
    _words_on(axes.xaxis, SENTENCE * 3, 7.5, 90, keys)


def explore_head() -> Any:
    """The widget of the chapter: a sentence, a variant, and something that is done to a word."""
    return explore(
        draw_head,
        alt="Attention of one head before and after a word was touched, and the difference; dots mark rows that moved.",
        labels={
            "variant": "scores",
            "action": "do",
            "n": "words n",
            "width": "features of a head",
            "heads": "heads h",
            "rank": "rank k",
            "factors": "a · b",
            "std": "std of random scores",
            "mix": "share of these scores",
            "causal": "causal mask",
        },
        presets={
            "dense, one word changed": {"variant": "dense"},
            "dense, two words swapped": {"variant": "dense", "action": "swap “cat”, “dog”"},
            "random, as small as weights often begin": {"variant": "random", "std": 0.02},
            "tiled, columns repeated": {"variant": VARIANTS[2], "factors": "2 · 12"},
            "random scores of rank 1": {"variant": "factorized random", "rank": 1},
            "random dearer than QKᵀ": {"variant": "random", "width": 4, "heads": 8},
            "half random": {"variant": "random", "mix": 0.5},
        },
        variant=list(VARIANTS),
        action=list(ACTIONS),
        n=(6, LONGEST),
        width=(1, 32),
        heads=(1, 16),
        rank=(1, 16),
        factors=list(FACTORS),
        std=(0.0, 4.0, 0.02),
        mix=(0.0, 1.0, 0.05),
        causal=bool,
    )


# ---------------------------------------------------------------------------------------------------------------
# who looks at whom


@drawing(panels=(3, 6), size=(14, 7.5))
def draw_maps(axes: Any, d: int = 64, width: int = 16, words: int = 11) -> dict[str, float]:
    """The same sentence through every variant: as it is, with one word changed, and with two swapped."""
    numbers, sentence = {}, SENTENCE[:words]
    for k, variant in enumerate(VARIANTS):
        start = softmax(head_scores(variant, embed(sentence, d), width))
        for row, action in enumerate(ACTIONS.values()):
            done = act(sentence, action)
            A = softmax(head_scores(variant, embed(done, d), width))
            moved = moved_rows(start, A)
            one = axes[row * len(VARIANTS) + k]
            _map(one, A)
            _mark(one, _touched(action), moved)
            _frame(one, words, "key" if row == 2 else " ", "query" if k == 0 else " ", variant if row == 0 else "")
            _words_on(one.yaxis, done, 7)
            _words_on(one.xaxis, done, 7, rotation=90)
            if row:
                numbers[f"{variant}, {action}: rows that moved"] = float(moved.sum())
    return numbers


LOOKS = {
    "QKᵀ": ("0.3", "-", "o"),
    "dense": ("C0", "--", "s"),
    "factorized dense, tiled": ("C4", ":", "v"),
    "factorized dense, interleaved": ("C5", "-.", "^"),
    "random": ("C1", "-", "D"),
    "factorized random": ("C2", "--", "<"),
}


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_cost(axes: Any, d: int = 512, heads: int = 8, rank: int = 8) -> dict[str, float]:
    """Weights of the scores against the longest length, and products of the whole layer for each token."""
    left, right = axes
    lengths = 2 ** np.arange(4, 14)
    for variant, (color, line, marker) in LOOKS.items():
        if variant == "factorized dense, interleaved":
            continue
        costs = [_cost_at(variant, int(N), d, heads, rank) for N in lengths]
        look = {"color": color, "linestyle": line, "marker": marker, "markersize": 4, "label": variant.split(",")[0]}
        left.plot(lengths, [c.parameters for c in costs], **look)
        per_token = [syn.layer_cost(c, d, int(N)).macs / N for c, N in zip(costs, lengths, strict=True)]
        right.plot(lengths, per_token, **look)
    even = syn.break_even_length(d, heads)
    left.axvline(even, color="0.6", linewidth=0.8)
    for one, top in ((left, (1e4, 1e9)), (right, (1e5, 3e7))):
        one.set(xscale="log", yscale="log", xlim=(lengths[0], lengths[-1]), ylim=top, xlabel="longest length N = n")
    left.set_ylabel("weights of the scores")
    right.set_ylabel("multiplications of the layer per token")
    left.legend(loc="upper left")
    right.legend(loc="upper left")
    wide = syn.random_cost(heads, 512).parameters / syn.dot_cost(d, 512).parameters
    saved = syn.layer_cost(syn.random_cost(heads, 512), d, 512).macs / syn.layer_cost(syn.dot_cost(d, 512), d, 512).macs
    return {
        "break-even length d√(2/h)": even,
        "weights of random scores over those of QKᵀ at 512": wide,
        "products of the layer, random over standard, at 512": saved,
    }


def _cost_at(variant: str, N: int, d: int, heads: int, rank: int) -> syn.Cost:
    """At full length; factorized dense with the two factors as near to each other as powers of 2 can be."""
    a = 2 ** (round(math.log2(N)) // 2)
    return {
        "QKᵀ": syn.dot_cost(d, N),
        "dense": syn.dense_cost(d, heads, N, N),
        "random": syn.random_cost(heads, N),
        "factorized random": syn.factorized_random_cost(heads, N, rank, N),
    }.get(variant, syn.factorized_dense_cost(d, heads, a, N // a, N))


@drawing(panels=(1, 3), size=(12, 4))
def draw_columns(axes: Any, a: int = 4, b: int = 6, largest: int = 16) -> dict[str, float]:
    """Scores of one factorized dense row tiled and interleaved, and which pairs of factors leave columns equal."""
    numbers, first, second = {}, np.tile(np.arange(a * 1.0), (a * b, 1)), np.tile(np.arange(b * 1.0), (a * b, 1))
    layouts = {"tiled": syn.tiled_scores, "interleaved": syn.interleaved_scores}
    for one, (name, layout) in zip(axes, layouts.items(), strict=False):
        # With one factor all ones, a row of scores says which entry of the other stands where.
        at = (layout(first, np.ones_like(second))[0], layout(np.ones_like(first), second)[0])
        pairs = np.zeros((a, b))
        np.add.at(pairs, tuple(index.astype(int) for index in at), 1)
        _map(one, pairs / 4)
        for (i, j), times in np.ndenumerate(pairs):
            one.text(j + 0.5, i + 0.5, f"{times:.0f}", ha="center", va="center", fontsize=9)
        one.set(xlim=(0, b), ylim=(a, 0), xlabel="entry of v", ylabel="entry of u")
        one.set_title(f"{name}: how often each pair occurs", fontsize=10)
        _words_on(one.xaxis, [str(k) for k in range(b)], 8)
        _words_on(one.yaxis, [str(k) for k in range(a)], 8)
        numbers[f"{name}: different columns of {a * b}"] = float((pairs > 0).sum())
    _share(axes[2], largest)
    return numbers


def _share(axes: Any, largest: int) -> None:
    sizes = np.arange(1, largest + 1)
    share = 1 / np.gcd.outer(sizes, sizes)
    axes.imshow(share, extent=(0.5, largest + 0.5, 0.5, largest + 0.5), origin="lower", cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    axes.set(xlim=(0.5, largest + 0.5), ylim=(0.5, largest + 0.5), xlabel="b", ylabel="a", aspect="auto")
    axes.set_title("tiled: share of columns that differ, 1/gcd(a, b)", fontsize=10)


@drawing(size=(7, 4))
def draw_start(axes: Any, n: int = 256, seeds: int = 3) -> dict[str, float]:
    """Entropy of an untrained random map against the standard deviation of its scores."""
    stds = np.linspace(0, 5, 26)
    R = np.random.default_rng(0).normal(size=(seeds, n, n))
    measured = np.array([distribution_entropy(softmax(s * R)).mean() for s in stds])
    s = np.linspace(0, 5, 201)
    axes.plot(s, np.log(n) - s**2 / 2, linestyle="--", color="C1", label="log n − std²/2")
    axes.plot(stds, measured, linestyle="none", marker="o", markersize=4, color="C0", label=f"measured, n = {n}")
    axes.axhline(math.log(n), color="0.6", linewidth=0.8)
    axes.set(xlim=(0, 5), ylim=(0, 6.5), xlabel="standard deviation of R", ylabel="entropy of a row (nats)")
    axes.legend(loc="upper right")
    return {"entropy at std 0": measured[0], "entropy at std 1": measured[5], "entropy at std 4": measured[20]}


@drawing(size=(7, 4))
def draw_singular_values(axes: Any, n: int = 24, width: int = 12, rank: int = 8) -> dict[str, float]:
    """Singular values of the scores of each variant, on n different words."""
    x, numbers = embed([f"word {k}" for k in range(n)], 64), {}
    for variant, (color, line, marker) in LOOKS.items():
        B = head_scores(variant, x, width, rank)
        values = np.linalg.svd(B, compute_uv=False)
        kept = values > 1e-9 * values[0]
        look = {"color": color, "linestyle": line, "marker": marker, "markersize": 4, "label": variant}
        axes.plot(np.arange(1, kept.sum() + 1), (values / values[0])[kept], **look)
        numbers[f"{variant}: rank"] = float(kept.sum())
    axes.set(
        xlim=(0, n + 1),
        ylim=(1e-3, 1.5),
        yscale="log",
        xlabel="number of the singular value",
        ylabel="singular value over the first",
    )
    axes.legend(loc="lower left", fontsize=8)
    return numbers


@drawing(size=(7, 4))
def draw_tasks(axes: Any, lengths: Sequence[int] = (2, 3, 4, 6, 8, 12, 16), samples: int = 4000) -> dict[str, float]:
    """The error of the best fixed mixing, and of attention that looks, for the two tasks against the length."""
    n, numbers = np.linspace(2, max(lengths), 100), {}
    axes.plot(n, 1 - 1 / n, color="k", linestyle="--", linewidth=0.8, zorder=3, label="1 − 1/n")
    shown = ("retrieve", "copy"), (("fixed", fixed_error, "C1"), ("looking", looking_error, "C0"))
    for task, line, marker in zip(shown[0], ("-", ":"), ("D", "o"), strict=True):
        for name, error, color in shown[1]:
            values = [error(task, k, samples) for k in lengths]
            style = {"color": color, "linestyle": line, "marker": marker, "markersize": 4 + 3 * (name == "fixed")}
            axes.plot(lengths, values, label=f"{task}, {name} map", **style)
            numbers[f"{task}, {name}: error at n = {lengths[-1]}"] = round(values[-1], 3)
    axes.set(xlim=(1.5, max(lengths) + 0.5), ylim=(-0.05, 1.05), xlabel="tokens n", ylabel="relative square error")
    axes.legend(loc="center right", fontsize=9)
    return numbers


# ---------------------------------------------------------------------------------------------------------------
# trained maps


@drawing(size=(8, 4.2))
def draw_shares(axes: Any, shares: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How much of each head's attention a fixed map explains, layer by layer; `shares` has (layers, heads) arrays."""
    numbers, looks = {}, zip(("C0", "C1", "0.5", "C2"), ("o", "s", "x", "^"), strict=True)
    for k, ((name, share), (color, marker)) in enumerate(zip(shares.items(), looks, strict=False)):
        layers, heads = share.shape
        at = np.arange(1, layers + 1) + 0.2 * (k - (len(shares) - 1) / 2)
        axes.plot(
            np.repeat(at, heads), share.ravel(), color=color, marker=marker, markersize=4, linestyle="none", label=name
        )
        axes.hlines(share.mean(1), at - 0.08, at + 0.08, color=color, linewidth=2)
        numbers[f"{name}: mean share"] = round(float(share.mean()), 2)
    axes.set(xlim=(0.5, layers + 0.5), ylim=(-0.1, 1.05), xlabel="layer", ylabel="share that a fixed map explains")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    return numbers


MIXERS = (
    "standard",
    "dense",
    "random",
    "fixed random",
    "factorized dense",
    "factorized dense, tiled",
    "factorized random",
    "random + standard",
    "dense + standard",
    "none",
)
"""The self-attentions that the experiments compare, in the order in which they are drawn."""


def _named(axes: Any, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set(xlim=(-0.6, len(names) - 0.4), xlabel="self-attention")


def _points(axes: Any, groups: Mapping[float, Sequence[float]], color: str, marker: str, label: str) -> None:
    """At each place a point for each run, and a bar at their mean."""
    places = [place for place, values in groups.items() for _ in values]
    values = [value for group in groups.values() for value in group]
    axes.plot(places, values, color=color, marker=marker, markersize=4, linestyle="none", label=label)
    at, means = np.array([*groups]), [np.mean(group) for group in groups.values()]
    axes.hlines(means, at - 0.15, at + 0.15, color=color, linewidth=2)


@drawing(panels=(1, 2), size=(12, 4.6))
def draw_speller(axes: Any, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Words spelled out right by each self-attention, and how fixed its trained maps are.

    `records` are those of the experiment ``synthesizer_g2p``; a point is a run.
    """
    left, right = axes
    seeing, blind = ([r for r in records if r["config"]["positions"] is p] for p in (True, False))
    names, numbers = [m for m in MIXERS if _of(seeing, m)], {}
    for runs, color, marker, label in ((seeing, "C0", "o", "with positions"), (blind, "C1", "s", "without positions")):
        words = {k: [r["result"]["exact"] for r in _of(runs, m)] for k, m in enumerate(names) if _of(runs, m)}
        _points(left, words, color, marker, label)
        numbers |= {f"{names[k]}, {label}: words right": float(np.mean(w)) for k, w in words.items()}
    for kind, color, marker, shift in (("letters", "C2", "^", -0.2), ("phonemes", "C3", "v", 0.2)):
        shares = [[np.mean(r["result"][f"fixed_share_{kind}"]) for r in _of(seeing, m)] for m in names]
        _points(right, {k + shift: share for k, share in enumerate(shares)}, color, marker, f"among {kind}")
    _named(left, names)
    _named(right, names)
    left.set(ylim=(0, 0.5), ylabel="held-out words exactly right")
    right.set(ylim=(0, 1.05), ylabel="share that a fixed map explains")
    left.legend(loc="upper right", fontsize=9)
    right.legend(loc="lower left", fontsize=9)
    return numbers


@drawing(panels=(1, 2), size=(12, 4.4))
def draw_toy(axes: Any, records: Sequence[Mapping[str, Any]], n: int = 8) -> dict[str, float]:
    """Error after training to copy and to retrieve, for each attention; `records` of ``synthesizer_toy``."""
    numbers = {}
    for one, kind in zip(axes, ("copy", "retrieve"), strict=True):
        runs = [r for r in records if r["config"]["task"] == kind and r["config"]["n"] == n]
        names = [m for m in MIXERS if _of(runs, m)]
        looks = ((False, "C1", "s", -0.2), (True, "C0", "o", 0.2))
        for positions, color, marker, shift in looks:
            label = "with positions" if positions else "without positions"
            chosen = [r for r in runs if r["config"]["positions"] is positions]
            errors = {k + shift: [r["result"]["error"] for r in _of(chosen, m)] for k, m in enumerate(names)}
            _points(one, {k: e for k, e in errors.items() if e}, color, marker, label)
            numbers |= {f"{kind}, {m}, {label}": _mean(_of(chosen, m)) for m in names if _of(chosen, m)}
        one.axhline(1 - 1 / n, color="0.6", linewidth=0.8)
        one.set_title(f"{kind}, n = {n}", fontsize=10)
        _named(one, names)
        one.set(ylim=(-0.05, 1.05), ylabel="relative square error")
    axes[0].legend(loc="center right", fontsize=9)
    axes[1].legend(loc="center right", fontsize=9)
    return numbers


def _mean(records: Sequence[Mapping[str, Any]]) -> float:
    return round(float(np.mean([r["result"]["error"] for r in records])), 3)


SHOWN = ("standard", "dense", "random", "fixed random", "factorized dense", "random + standard")


@drawing(panels=(4, 6), size=(14, 10))
def draw_trained_maps(axes: Any, records: Sequence[Mapping[str, Any]], letters: str = "nightmare") -> dict[str, float]:
    """The four heads of the trained encoder on one word, for six of the self-attentions of ``synthesizer_g2p``."""
    stored = {r["config"]["mixer"]: r["result"] for r in records if "maps_letters" in r["result"] and _plain(r)}
    numbers = {}
    for k, name in enumerate(SHOWN):
        maps = np.array(stored[name]["maps_letters"])
        for head, A in enumerate(maps):
            one = axes[head * len(SHOWN) + k]
            _map(one, A)
            _frame(
                one, len(letters), "looked at" if head == 3 else " ", "letter" if k == 0 else " ", "" if head else name
            )
            _words_on(one.xaxis, letters, 8)
            _words_on(one.yaxis, letters, 8)
        numbers[f"{name}: mean of the largest weight of a row"] = float(maps.max(-1).mean())
    return numbers


def _plain(record: Mapping[str, Any]) -> bool:
    return record["config"]["positions"] and record["config"]["seed"] == 0


def _of(records: Sequence[Mapping[str, Any]], mixer: str) -> list[Mapping[str, Any]]:
    return [r for r in records if r["config"]["mixer"] == mixer]
