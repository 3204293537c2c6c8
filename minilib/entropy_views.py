"""Drawings of the entropy of attention, and of the scale laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import entropy as en
from .entropy_numpy import attended, attended_by_length, sphere_scores
from .views import drawing, explore

Law = Callable[[float, int], float]

LENGTHS = tuple(2**k for k in range(4, 17))
"""16 … 65,536."""


def laws(base: float) -> dict[str, Law]:
    """The scale laws by their names on the buttons, those that have one calibrated at the length `base`."""
    return {
        "1/√d": en.standard_scale,
        "log n": partial(en.log_scale, base=base),
        "ln n": en.ln_scale,
        "√log n": partial(en.sqrt_log_scale, base=base),
        "Qwen": partial(en.qwen_scale, base=base),
        "YaRN": partial(en.yarn_scale, base=base),
    }


def _over_lengths(axes: Any, label: str, **limits: Any) -> None:
    axes.set(xscale="log", xlim=(LENGTHS[0], LENGTHS[-1]), xlabel="number of keys n", ylabel=label, **limits)
    axes.set_xticks([10**k for k in range(2, 5)])


def _predicted(n: int, d: int, law: Law, planted: int, gap: float) -> tuple[float, float]:
    """Entropy and planted weight in closed form; without planted keys the exact one of the sphere."""
    lam = law(n, d)
    if not planted:
        return max(0.0, en.sphere_entropy(n, d, lam)), 0.0
    beta = lam * math.sqrt(d)
    parts = n, beta, beta * gap, planted
    return en.noisy_planted_entropy(*parts), en.noisy_planted_probability(*parts)


# ---------------------------------------------------------------------------------------------------------------
# the widget


@drawing(panels=(1, 2), size=(10, 4))
def draw_attention(
    axes: Any,
    n: int = 512,
    law: str = "1/√d",
    calibration: int = 512,
    d: int = 64,
    planted: int = 4,
    gap: float = 5.0,
) -> dict[str, float]:
    """Entropy against the number of keys, and the weight of planted keys beside the largest of the others."""
    left, right = axes
    scale, scores = laws(calibration)[law], sphere_scores(LENGTHS[-1], d)
    seen = attended_by_length(scores, LENGTHS, scale, d, planted, gap)
    told = np.array([_predicted(m, d, scale, planted, gap) for m in LENGTHS])
    _over_lengths(left, "entropy (nats)", ylim=(0, 12))
    left.plot(LENGTHS, np.log(LENGTHS), color="0.6", linewidth=0.8, label="uniform weights: ln n")
    left.plot(LENGTHS, told[:, 0], color="C0", linestyle="--", label="formula")
    left.plot(LENGTHS, seen.entropy, color="C0", marker="o", markersize=4, linestyle="none", label="measured")
    _over_lengths(right, "weight", ylim=(0, 1.02))
    right.plot(LENGTHS, told[:, 1], color="C2", linestyle="--", label="planted keys, formula")
    right.plot(LENGTHS, seen.planted, color="C2", marker="o", markersize=4, linestyle="none", label="planted, measured")
    right.plot(LENGTHS, seen.other, color="C1", marker="v", markersize=4, linestyle=":", label="largest other key")
    for panel, place in ((left, "upper left"), (right, "upper right")):
        panel.axvline(n, color="0.6", linewidth=0.8)
        panel.legend(loc=place)
    sharpness = scale(n, d) * math.sqrt(d)
    here = attended(scores[:, :n], sharpness, planted, gap)
    return {
        "multiplier λ√d": sharpness,
        "entropy (nats)": here.entropy,
        "entropy of uniform weights": math.log(n),
        "keys looked at: exp of the entropy": math.exp(here.entropy),
        "weight of the planted keys": here.planted,
        "largest weight of another key": here.other,
    }


def explore_attention() -> Any:
    """The widget of the chapter: a scale law, random keys, and some that matter."""
    return explore(
        draw_attention,
        alt="Left: entropy against the number of keys. Right: the planted keys' weight, and the largest other.",
        labels={
            "n": "keys n",
            "law": "scale law",
            "calibration": "calibrated at",
            "d": "features d",
            "planted": "planted keys k",
            "gap": "their standard score",
        },
        presets={
            "random keys only": {"planted": 0},
            "random keys, log n": {"planted": 0, "law": "log n"},
            "random keys, √log n": {"planted": 0, "law": "√log n"},
            "random keys, ln n": {"planted": 0, "law": "ln n"},
            "planted, log n": {"law": "log n"},
            "one key, far off": {"planted": 1, "gap": 8.0, "law": "log n", "n": 65_536},
        },
        n=(16, 65_536, "log"),
        law=list(laws(512)),
        calibration=(16, 8192, "log"),
        d=(2, 256),
        planted=(0, 8),
        gap=(0.0, 12.0, 0.25),
    )


# ---------------------------------------------------------------------------------------------------------------
# random keys


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_chord(axes: Any, d: int = 64) -> dict[str, float]:
    """The entropy that scaling takes away per feature against the scale, and at the standard scale against d."""
    left, right = axes
    _draw_per_feature(left)
    features = np.arange(2, 257)
    missing = [-en.sphere_entropy(1, int(k), 1 / math.sqrt(k)) for k in features]
    right.plot(features, missing, label="exact")
    right.plot(features, 0.240606 * np.sqrt(features), linestyle="--", label=r"$0.24\,\sqrt{d}$")
    right.axhline(0.5, color="0.6", linewidth=0.8)
    right.set(
        xlim=(0, 256), ylim=(0, 4), xlabel="features d", ylabel=r"$\ln n - \mathcal{H}$ at $\lambda = 1/\sqrt{d}$"
    )
    right.legend(loc="upper left")
    return {
        "missing at 1/√d, exact": -en.sphere_entropy(1, d, 1 / math.sqrt(d)),
        "missing at 1/√d, linear law": 0.240606 * math.sqrt(d),
        "missing at λ = 1 per feature": -en.sphere_entropy_limit(1, 1, 1.0),
    }


def _draw_per_feature(axes: Any) -> None:
    lam = np.linspace(0, 2, 201)
    axes.plot(lam, [en.sphere_entropy_limit(1, 1, x) for x in lam], label=r"$\frac{1}{2}\ln(1-c^{*2})$")
    axes.plot(lam, -0.5 * lam**2, linestyle=":", label=r"$-\lambda^2/2$")
    axes.plot(lam, lam * en.sphere_entropy_limit(1, 1, 1.0), linestyle="--", label=r"$-0.24\,\lambda$")
    for d, marker in ((16, "v"), (64, "o"), (256, "^")):
        x, name = 1 / math.sqrt(d), rf"$\lambda = 1/\sqrt{{{d}}}$"
        axes.plot(x, en.sphere_entropy_limit(1, 1, x), color="C3", linestyle="none", marker=marker, label=name)
    axes.set(xlim=(0, 2), ylim=(-0.6, 0.02), xlabel=r"scale $\lambda$", ylabel=r"$(\mathcal{H} - \ln n)/d$")
    axes.legend(loc="lower left")


SHOWN = (("1/√d", "C0", "o", "-"), ("log n", "C1", "s", "--"), ("√log n", "C2", "^", "-."), ("ln n", "C3", "D", ":"))


@drawing(size=(8, 4.5))
def draw_random_keys(axes: Any, d: int = 64, base: int = 512, queries: int = 10) -> dict[str, float]:
    """Entropy over random keys against their number, for four laws: measured (markers) and by formula (lines)."""
    scores, numbers = sphere_scores(LENGTHS[-1], d, queries), {}
    axes.plot(LENGTHS, np.log(LENGTHS), color="0.6", linewidth=0.8, label="uniform: ln n")
    for name, color, marker, style in SHOWN:
        law = laws(base)[name]
        seen = attended_by_length(scores, LENGTHS, law, d)
        told = [max(0.0, en.sphere_entropy(n, d, law(n, d))) for n in LENGTHS]
        axes.plot(LENGTHS, seen.entropy, color=color, marker=marker, markersize=5, linestyle="none", label=name)
        axes.plot(LENGTHS, told, color=color, linestyle=style, linewidth=1.2)
        numbers |= {f"{name}: entropy at n = {n}": seen.entropy[LENGTHS.index(n)] for n in (512, 65_536)}
    _over_lengths(axes, "entropy (nats)", ylim=(0, 12))
    axes.plot([], color="0.4", linewidth=1.2, label="lines: formula")
    axes.legend(loc="upper left")
    return numbers


@drawing(size=(8, 4.5))
def draw_freezing(axes: Any, queries: int = 20, seed: int = 0) -> dict[str, float]:
    """Entropy of normal scores against their standard deviation: measured, and the law of random energies."""
    betas, numbers = np.linspace(0, 10, 41), {}
    shown = (256, "C0", "o", "-"), (4096, "C1", "s", "--"), (65_536, "C2", "^", "-.")
    for n, color, marker, style in shown:
        z = np.random.default_rng(seed).normal(size=(queries, n))
        seen = [attended(z, beta).entropy for beta in betas]
        axes.plot(betas, seen, color=color, marker=marker, markersize=4, linestyle="none", label=f"n = {n:,}")
        fine = np.linspace(0, 10, 501)
        axes.plot(fine, [en.random_energy_entropy(n, b) for b in fine], color=color, linestyle=style, linewidth=1.2)
        axes.plot(en.freezing_scale(n), 0, color=color, marker="|", markersize=18, clip_on=False)
        axes.plot(2 * en.freezing_scale(n), 0, color=color, marker="|", markersize=9, clip_on=False)
        numbers |= {
            f"freezing point at n = {n}": en.freezing_scale(n),
            f"entropy at twice that, n = {n}": attended(z, 2 * en.freezing_scale(n)).entropy,
        }
    axes.set(xlim=(0, 10), ylim=(0, 12), xlabel=r"standard deviation $\beta$ of the scores", ylabel="entropy (nats)")
    axes.legend(loc="upper right")
    return numbers


@drawing(size=(7, 4))
def draw_homogeneous(axes: Any, n: int = 1024, seed: int = 0) -> dict[str, float]:
    """Entropy of softmax and of normalised relu² of the same scores against what multiplies them."""
    s = np.random.default_rng(seed).normal(size=(50, n))
    sharpness, numbers = np.geomspace(0.25, 8, 21), {}
    curves = {
        "softmax": ([en.attention_entropy(x * s).mean() for x in sharpness], "-"),
        "relu² over its sum": ([en.distribution_entropy(en.power_weights(x * s)).mean() for x in sharpness], "--"),
    }
    for name, (curve, style) in curves.items():
        axes.plot(sharpness, curve, linestyle=style, label=name)
        numbers |= {f"{name}: at 0.25": curve[0], f"{name}: at 8": curve[-1]}
    axes.axhline(math.log(n), color="0.6", linewidth=0.8)
    axes.set(xscale="log", xlim=(0.25, 8), ylim=(0, 7.5), xlabel="multiplier of the scores", ylabel="entropy (nats)")
    axes.legend(loc="lower left")
    return numbers


# ---------------------------------------------------------------------------------------------------------------
# keys that matter


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_boundary(axes: Any) -> dict[str, float]:
    """Weight of a planted key whose score is κ ln n above the others, and the entropy, against κ."""
    left, right = axes
    kappas, numbers = np.linspace(0, 2, 201), {}
    for n, style in ((10**2, ":"), (10**4, "--"), (10**8, "-")):
        gaps = kappas * math.log(n)
        left.plot(kappas, [en.planted_probability(n, g) for g in gaps], linestyle=style, label=f"n = {n:,}")
        right.plot(kappas, [en.planted_entropy(n, g) for g in gaps], linestyle=style, label=f"n = {n:,}")
        numbers |= {
            f"weight at κ = 0.8, n = {n:,}": en.planted_probability(n, 0.8 * math.log(n)),
            f"weight at κ = 1.2, n = {n:,}": en.planted_probability(n, 1.2 * math.log(n)),
        }
    for panel in axes:
        panel.axvline(1, color="0.6", linewidth=0.8)
        panel.set(xlim=(0, 2), xlabel=r"gap in units of $\ln n$: $\kappa$")
    left.set(ylim=(0, 1.02), ylabel="weight p of the planted key")
    right.set(ylim=(0, 20), ylabel="entropy (nats)")
    left.legend(loc="upper left")
    right.legend(loc="upper right")
    return numbers


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_planted(axes: Any, planted: int = 4, gap: float = 5.0, d: int = 64, base: int = 512) -> dict[str, float]:
    """Weight of planted keys among random ones, and the entropy, against the number of keys, for four laws."""
    left, right = axes
    scores, numbers = sphere_scores(LENGTHS[-1], d, queries=10), {}
    for name, color, marker, style in SHOWN:
        law = laws(base)[name]
        seen = attended_by_length(scores, LENGTHS, law, d, planted, gap)
        left.plot(LENGTHS, seen.planted, color=color, marker=marker, markersize=5, linestyle=style, label=name)
        right.plot(LENGTHS, seen.entropy, color=color, marker=marker, markersize=5, linestyle=style, label=name)
        numbers |= {f"{name}: planted weight at n = {n}": seen.planted[LENGTHS.index(n)] for n in (64, 16_384)}
    _over_lengths(left, f"weight of the {planted} planted keys", ylim=(0, 1.02))
    _over_lengths(right, "entropy (nats)", ylim=(0, 12))
    right.legend(loc="upper left")
    left.legend(loc="center right")
    return numbers


@drawing(size=(8, 4.5))
def draw_follow_ups(axes: Any, base: int = 2048) -> dict[str, float]:
    """What each law multiplies the standard scores by, against the position or the number of keys."""
    n = np.unique(np.geomspace(16, 2**20, 400).astype(int)).astype(float)
    followed = (
        ("1/√d", en.standard_scale, "0.5", "-", 1.0),
        ("log n (also SSMax)", partial(en.log_scale, base=base), "C1", "--", 1.8),
        ("Qwen", partial(en.qwen_scale, base=base), "C0", "-", 1.8),
        ("YaRN", partial(en.yarn_scale, base=base), "C2", "-.", 1.8),
        ("√log n", partial(en.sqrt_log_scale, base=base), "C4", ":", 1.8),
        ("Llama 4", en.llama4_scale, "C3", "-", 2.6),
    )
    numbers = {}
    for name, law, color, style, width in followed:
        axes.plot(n, np.broadcast_to(law(n, 1), n.shape), color=color, linestyle=style, linewidth=width, label=name)
        numbers |= {f"{name}: at n = {k:,}": float(law(k, 1)) for k in (512, 32_768)}
    axes.axvline(base, color="0.6", linewidth=0.8)
    axes.set(
        xscale="log", xlim=(16, 2**20), ylim=(0, 3), xlabel="number of keys n", ylabel=r"multiplier $\lambda\sqrt{d}$"
    )
    axes.legend(loc="upper left")
    return numbers


# ---------------------------------------------------------------------------------------------------------------
# trained networks


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_heads(
    axes: Any, lengths: Sequence[int], trained: np.ndarray, control: np.ndarray, name: str = "random weights"
) -> dict[str, float]:
    """Entropy of each head of a trained encoder against the length, beside a control.

    `trained` and `control` have the shape (lengths, layers, heads).
    """
    numbers, ceiling = {}, 1.02 * math.log(max(lengths))
    for panel, values, title in zip(axes, (trained, control), ("trained", name), strict=True):
        panel.plot(lengths, np.log(lengths), color="0.6", linewidth=0.8, label="uniform: ln n")
        layers = values.shape[1]
        for layer, style in ((0, "-"), (layers // 2, "--"), (layers - 1, "-.")):
            mean = values[:, layer].mean(axis=-1)
            (line,) = panel.plot(lengths, mean, linestyle=style, label=f"layer {layer + 1}, mean of heads")
            low, high = values[:, layer].min(axis=-1), values[:, layer].max(axis=-1)
            panel.fill_between(lengths, low, high, color=line.get_color(), alpha=0.15)
            numbers[f"{title}, layer {layer + 1}: nats at n = {lengths[-1]}"] = float(mean[-1])
        panel.set(xscale="log", xlim=(lengths[0], lengths[-1]), ylim=(0, ceiling), title=title)
        panel.set(xlabel="tokens n", ylabel="entropy (nats)")
        panel.set_xticks(lengths, [str(n) for n in lengths])
        panel.minorticks_off()
        panel.legend(loc="upper left")
    return numbers


def _mean_and_range(
    axes: Any, lengths: Sequence[int], runs: np.ndarray, label: str, look: tuple[str, str, str]
) -> None:
    """The mean over runs (seeds, lengths), with a band from the lowest to the highest."""
    color, marker, style = look
    axes.plot(lengths, runs.mean(axis=0), color=color, marker=marker, markersize=5, linestyle=style, label=label)
    axes.fill_between(lengths, runs.min(axis=0), runs.max(axis=0), color=color, alpha=0.12)


def _doublings(axes: Any, lengths: Sequence[int], label: str, **limits: Any) -> None:
    axes.set(xscale="log", xlim=(lengths[0], lengths[-1]), **limits)
    axes.set_xticks(lengths, [str(n) for n in lengths])
    axes.minorticks_off()
    axes.set(xlabel=label)


RECALLING = {
    ("standard", "standard"): ("trained and tested with 1/√d", ("C0", "o", "-")),
    ("standard", "log"): ("the same, tested with log n", ("C1", "s", "--")),
    ("standard", "sqrt log"): ("the same, tested with √log n", ("C2", "^", "-.")),
    ("ln", "ln"): ("trained and tested with ln n", ("C3", "D", ":")),
    ("ssmax", "ssmax"): ("SSMax, s learnt", ("C4", "v", "--")),
}
"""Law of the training and of the test: what to call them, and how they look."""


@drawing(panels=(1, 2), size=(11, 4.2))
def draw_recall(
    axes: Any, records: Sequence[Mapping[str, Any]], noise: float = 0.0, lowest: float = 0.9
) -> dict[str, float]:
    """Accuracy and entropy of trained look-ups against the number of pairs, for the laws of the test.

    `records` are those of the experiment ``entropy_recall``; shown are those of one noise, mean and range over seeds,
    and accuracies from `lowest` on.
    """
    left, right = axes
    numbers, lengths = {}, records[0]["result"]["lengths"]
    for (trained, law), (name, look) in RECALLING.items():
        runs = [r["result"]["tested"][law] for r in records if _is(r, law=trained, noise=noise)]
        if not runs:
            continue
        for panel, what in ((left, "accuracy"), (right, "entropy")):
            values = np.array([run[what][-1] for run in runs])
            _mean_and_range(panel, lengths, values, name, look)
            numbers[f"{name}: {what} at n = {lengths[-1]}"] = float(values[:, -1].mean())
    right.plot(lengths, np.log(lengths), color="0.6", linewidth=0.8, label="uniform: ln n")
    _doublings(left, lengths, "pairs n (trained at 32)", ylim=(lowest, 1 + 0.02 * (1 - lowest)), ylabel="accuracy")
    _doublings(right, lengths, "pairs n", ylim=(0, 7), ylabel="entropy (nats)")
    for panel, place in ((left, "lower left"), (right, "upper left")):
        panel.legend(loc=place)
    return numbers


def _is(record: Mapping[str, Any], **config: Any) -> bool:
    return all(record["config"][name] == value for name, value in config.items())


READING = {
    ("standard", "standard"): ("O: trained and tested with 1/√d", ("C0", "o", "-")),
    ("standard", "log 64"): ("O, tested with log₆₄ n", ("C2", "^", "-.")),
    ("log 512", "log 512"): ("E: trained and tested with log₅₁₂ n", ("C1", "s", "--")),
    ("log 512", "held"): ("E, tested with its scale held", ("C3", "D", ":")),
}
"""Law of the training and of the test: what to call them, and how they look."""


@drawing(panels=(1, 2), size=(11, 4.5))
def draw_reading(axes: Any, records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy on masked words against the length, everything in sight, and with distances clipped to the trained ones.

    `records` are those of the experiment ``entropy_mlm``; mean and range over seeds.
    """
    numbers, lengths = {}, records[0]["result"]["lengths"]
    for panel, sight in zip(axes, ("all", "clipped"), strict=True):
        for (trained, law), (name, look) in READING.items():
            runs = [r["result"]["tested"][f"{law}, {sight}"] for r in records if _is(r, law=trained)]
            values = np.array([run["accuracy"] for run in runs])
            _mean_and_range(panel, lengths, values, name, look)
            numbers[f"{name}, {sight}: accuracy at n = {lengths[-1]}"] = float(values[:, -1].mean())
        panel.axhline(records[0]["result"]["unigram"], color="0.6", linewidth=0.8)
        _doublings(panel, lengths, "words n (trained at 64)", ylim=(0, 0.27), ylabel="masked words named")
        panel.legend(loc="upper right")
    for panel, title in zip(axes, ("distances as they are", "distances beyond 63 count as 63"), strict=True):
        panel.set_title(title)
    return numbers
