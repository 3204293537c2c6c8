"""Drawings of the gated attention unit: its magnitude at the start, what that means for depth, its cost, FLASH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import gau
from .depth import identity_share
from .gau_numpy import Predicted, Start, predicted, start
from .views import drawing, explore

LENGTHS = tuple(2**k for k in range(4, 13))
"""Numbers of tokens of the logarithmic axes."""

HEAT = (-3.0, 2.0)
"""Ends of the colours of A: powers of ten of n times an entry, 1 being the mean of a row that sums to 1."""


def _heat(axes: Any, A: np.ndarray, n: int) -> None:
    """The corner of A. Entries are shown as multiples of 1/n, in colours that never move."""
    with np.errstate(divide="ignore"):
        powers = np.log10(n * A)
    axes.imshow(np.maximum(powers, HEAT[0]), cmap="viridis", vmin=HEAT[0], vmax=HEAT[1], zorder=2, aspect="auto")
    axes.set(
        xlim=(-0.5, 31.5), ylim=(31.5, -0.5), xlabel="key j = 0 … 31", ylabel="query i = 0 … 31", xticks=[], yticks=[]
    )
    axes.grid(False)


def _tokens_axis(axes: Any, label: str) -> None:
    axes.set(xscale="log", xlim=(16, 4096), xlabel="tokens n", yscale="log", ylabel=label)
    axes.set_xticks(LENGTHS[::2], [str(n) for n in LENGTHS[::2]])
    axes.minorticks_off()


@drawing(panels=(1, 3), size=(12, 4))
def draw_start(
    axes: Any,
    kernel: str = "relu2/ns",
    init: str = "LeCun",
    rotary: bool = False,
    n: int = 512,
    s: int = 128,
    d: int = 768,
    lam: float = 1.0,
    layers: int = 24,
) -> dict[str, float]:
    """An untrained unit: the corner of A, weights and output against n, and the input's share in a stack of units.

    Lines are formulas, points are measured. The dotted line at the right is a branch as large as its skip.
    """
    unit = {"s": s, "d": d, "init": init, "kernel": kernel, "lam": lam, "rotary": rotary}
    seen, said = start(n, seed=1, **unit), predicted(n, **unit)
    heat, sizes, stack = axes
    _heat(heat, seen.corner, n)
    _sizes(sizes, n, seen, [predicted(k, **unit) for k in LENGTHS[:8]])
    at, ratio = np.arange(101), 1 + seen.rms**2
    stack.plot(at, ratio ** (-at / 2), color="C0", label="this unit")
    stack.plot(at, 2.0 ** (-at / 2), color="0.4", linestyle=":")
    stack.plot([layers], [ratio ** (-layers / 2)], color="C0", marker="o")
    stack.set(xlim=(0, 100), ylim=(0, 1.05), xlabel="units in a post-norm stack", ylabel="share of the input left")
    return {
        "rms of the output": seen.rms,
        "corrected formula": said.rms,
        "essay": said.essay,
        "weight on the diagonal": seen.diagonal,
        "weight off it": seen.rest,
        f"share of the input left after {layers} units": identity_share(seen.rms, layers),
    }


def _sizes(axes: Any, n: int, seen: Start, said: Sequence[Predicted]) -> None:
    """Against n: the weight of a row on and off the diagonal, and the output, with the essay's estimate of it."""
    looks = ((LOW, "C2", "-.", "^"), (HIGH, "C1", "--", "s"), (OUT, "C0", "-", "o"))
    lines = [p.mass.diagonal for p in said], [p.mass.rest for p in said], [p.rms for p in said]
    for (name, color, line, marker), values, one in zip(
        looks, lines, (seen.diagonal, seen.rest, seen.rms), strict=True
    ):
        axes.plot(LENGTHS[:8], values, color=color, linestyle=line, label=name)
        axes.plot([n], [max(one, 1e-30)], color=color, marker=marker)
    axes.plot(LENGTHS[:8], [p.essay for p in said], color="0.4", linestyle=":", label="output, by the essay")
    axes.set(xscale="log", xlim=(16, 2048), yscale="log", ylim=(1e-8, 1e3), xlabel="tokens n", ylabel="size")
    axes.minorticks_off()
    axes.legend(loc="lower left", fontsize=9)


LOW, HIGH, OUT = "weight on the diagonal", "weight off it", "output (rms)"


def explore_start() -> Any:
    """The widget of the chapter: every knob of an untrained gated attention unit."""
    return explore(
        draw_start,
        alt="Left: corner of the matrix A. Middle: weight on and off its diagonal and size of the output against the "
        "number of tokens. Right: share of the input left in a stack.",
        labels={
            "kernel": "kernel of A",
            "init": "initialisation",
            "rotary": "rotary positions",
            "n": "tokens n",
            "s": "width s of z",
            "d": "width d",
            "lam": "all weights times λ",
            "layers": "units in the stack",
        },
        presets={
            "the essay's setting": {},
            "with rotary positions": {"rotary": True},
            "short text": {"n": 32},
            "softmax": {"kernel": "softmax"},
            "Xavier": {"init": "Xavier"},
            "half of all weights": {"lam": 0.5},
            "as the paper's code starts": {"kernel": "relu2/n2", "init": "0.02", "rotary": True},
        },
        kernel=list(gau.KERNELS),
        init=list(gau.INITS),
        rotary=bool,
        n=(16, 512, "log"),
        s=(8, 256, 8),
        d=(64, 768, 64),
        lam=(0.125, 2.0, "log"),
        layers=(1, 100),
    )


@drawing(size=(8, 4.5))
def draw_magnitude(axes: Any, lengths: Sequence[int] = (16, 32, 64, 128, 256, 512), seeds: int = 3) -> dict[str, float]:
    """rms(O) at the start against the number of tokens: measured, by the corrected formula, and by the essay's."""
    numbers, series = {}, SERIES.items()
    for (name, unit), color, line, marker in zip(series, ("C0", "C2", "C3"), ("-", "-.", ":"), "os^", strict=True):
        measured = np.mean([[start(n, seed=k, rows=n, **unit).rms for n in lengths] for k in range(seeds)], axis=0)
        axes.plot(LENGTHS, [predicted(n, **unit).rms for n in LENGTHS], color=color, linestyle=line, label=f"{name}")
        axes.plot(lengths, measured, color=color, marker=marker, linestyle="none", label=f"{name}, measured")
        numbers[f"{name}, n = {lengths[-1]}: measured"] = measured[-1]
        numbers[f"{name}, n = {lengths[-1]}: formula"] = predicted(lengths[-1], **unit).rms
    essay = [predicted(n).essay for n in LENGTHS]
    axes.plot(LENGTHS, essay, color="0.4", linestyle="--", label=r"essay: $s\nu^6/n$")
    _tokens_axis(axes, "rms of the output")
    axes.set_ylim(1e-3, 1)
    axes.legend(loc="lower left", fontsize=9)
    return numbers | {f"essay, n = {lengths[-1]}": predicted(lengths[-1]).essay}


SERIES: Mapping[str, Mapping[str, Any]] = {
    "relu²/(ns)": {},
    "relu²/(ns), rotary": {"rotary": True},
    "softmax": {"kernel": "softmax"},
}
"""The units of :func:`draw_magnitude`, all with LeCun's initialisation, s = 128, d = 768."""


@drawing(size=(7, 4))
def draw_exponent(axes: Any, n: int = 512) -> dict[str, float]:
    r"""Local exponent of $\lambda$ in rms(O) when all weights are multiplied by it, for three lengths."""
    lams, numbers = 2.0 ** np.linspace(-9, 1, 41), {}
    for k, line in ((64, ":"), (n, "-"), (8192, "-.")):
        logs = np.log([predicted(k, lam=float(lam)).rms for lam in lams])
        axes.plot(lams[1:] / 2**0.125, np.diff(logs) / np.diff(np.log(lams)), linestyle=line, label=f"n = {k}")
    halves = [start(n, lam=2.0**-j, rows=n).rms for j in range(6)]
    measured = np.log2(np.divide(halves[:-1], halves[1:]))
    axes.plot(
        2.0 ** -(np.arange(5) + 0.5), measured, color="C1", marker="o", linestyle="none", label=f"measured, n = {n}"
    )
    axes.axhline(7, color="0.4", linewidth=1, linestyle="--")
    axes.set(xscale="log", xlim=(lams[0], 2), ylim=(6.5, 10.5), ylabel="exponent of λ")
    axes.set_xlabel("all weights times λ")
    axes.set_xticks(2.0 ** np.arange(-8, 2, 2), ["1/256", "1/64", "1/16", "1/4", "1"])
    axes.minorticks_off()
    axes.legend(loc="upper left")
    for j, exponent in enumerate(measured[:4]):
        numbers[f"exponent from λ = 1/{2**j} to 1/{2 ** (j + 1)}"] = exponent
    return numbers


@drawing(panels=(1, 2), size=(10, 4))
def draw_identity(
    axes: Any, ratios: Mapping[str, Sequence[float]], cosines: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    r"""Untrained stacks: branch over skip of each sub-layer, and the cosine of $x_l$ and $x_0$.

    Both as :func:`minilib.depth_torch.signal` measures them: each name has a ratio for each sub-layer, and a cosine
    for each state $x_0 … x_L$.
    """
    left, right = axes
    numbers, longest = {}, max(map(len, ratios.values()))
    for k, name in enumerate(ratios):
        look = {"color": f"C{k}", "linestyle": LINES[k % 5], "marker": "osv^D"[k % 5], "markersize": 4, "markevery": 8}
        left.plot(np.arange(1, len(ratios[name]) + 1), ratios[name], label=name, **look)
        right.plot(cosines[name], label=name, **look)
        numbers[f"{name}: mean branch over skip"] = float(np.mean(ratios[name]))
        numbers[f"{name}: cosine at the end"] = float(cosines[name][-1])
    left.set(xlim=(0, longest), ylim=(1e-5, 3), yscale="log", xlabel="sub-layer l")
    left.set_ylabel("branch relative to its skip")
    right.set(xlim=(0, longest), ylim=(-0.6, 1.05), xlabel="sub-layer l", ylabel=r"$\cos(x_l, x_0)$")
    for one in axes:
        one.legend(loc="lower left", fontsize=8, ncols=2)
    return numbers


LINES = ("-", "--", "-.", ":", (0, (5, 1)))


@drawing(panels=(1, 2), size=(10, 4))
def draw_cost(axes: Any, d: int = 768, s: int = 128, heads: int = 12, chunk: int = 256) -> dict[str, float]:
    """Multiplications per token, and numbers kept for the backward pass, of two units against attention + FFN."""
    lengths, e = np.array([2**k for k in range(6, 15)]), 2 * d
    macs, kept = axes
    block = np.array([gau.block_macs(int(n), d) for n in lengths])
    two = np.array([2 * gau.gau_macs(int(n), d, e, s) for n in lengths])
    flash = np.array([2 * gau.flash_macs(int(n), d, e, s, chunk) for n in lengths])
    macs.plot(lengths, block / 1e6, color="0.3", marker="o", markersize=4, label="attention + feed-forward")
    macs.plot(lengths, two / 1e6, color="C0", linestyle="--", marker="s", markersize=4, label="two GAU")
    macs.plot(
        lengths, flash / 1e6, color="C2", linestyle="-.", marker="^", markersize=4, label=f"two FLASH, chunk {chunk}"
    )
    macs.set(ylim=(3, 100), ylabel="multiplications per token (millions)")
    held = np.array([gau.block_kept(int(n), d, heads) for n in lengths])
    units = np.array([2 * gau.gau_kept(int(n), d, e, s) for n in lengths])
    kept.plot(
        lengths, held / 1e3, color="0.3", marker="o", markersize=4, label=f"attention, {heads} heads, + feed-forward"
    )
    kept.plot(lengths, units / 1e3, color="C0", linestyle="--", marker="s", markersize=4, label="two GAU")
    crossing = gau.kept_crossing(d, e, s, heads)
    kept.axvline(crossing, color="C1", linewidth=1, linestyle=":")
    kept.set(ylim=(3, 300), ylabel="numbers kept per token (thousands)")
    for one in axes:
        one.set(xscale="log", yscale="log", xlim=(64, 16384), xlabel="tokens n")
        one.set_xticks([64, 256, 1024, 4096, 16384], ["64", "256", "1024", "4096", "16384"])
        one.minorticks_off()
        one.legend(loc="upper left", fontsize=9)
    ratios = {f"multiplications, n = {n}": two[i] / block[i] for i, n in enumerate(lengths) if n in (128, 512, 4096)}
    return ratios | {"two GAU keep less beyond n": crossing}


@drawing(panels=(1, 3), size=(12, 4.2))
def draw_chunks(axes: Any, n: int = 32, chunk: int = 8, s: int = 16, seed: int = 0) -> dict[str, float]:
    """The matrix that multiplies the values: a causal unit, causal FLASH, and FLASH in both directions."""
    pieces = np.abs(np.random.default_rng(seed).normal(size=(4, n, s)))  # positive, so that nothing hides the structure
    q, k, q_lin, k_lin = pieces
    lower = np.tril(np.ones((n, n), dtype=bool))
    shown = {
        "causal unit": gau.squared_relu(q, k, lower),
        "causal FLASH": gau.mixed_chunk_weights(q, k, q_lin, k_lin, chunk, True),
        "FLASH, both ways": gau.mixed_chunk_weights(q, k, q_lin, k_lin, chunk),
    }
    for one, (name, A) in zip(axes, shown.items(), strict=True):
        with np.errstate(divide="ignore"):
            one.imshow(np.log10(A), cmap="viridis", vmin=-2, vmax=2, zorder=2)
        one.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel=f"key j\n{name}", ylabel="query i")
        one.grid(False)
    later = np.triu(np.ones((n, n), dtype=bool), 1)
    return {f"{name}: pairs that look ahead": int((A[later] != 0).sum()) for name, A in shown.items()}
