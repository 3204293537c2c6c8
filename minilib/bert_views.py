"""Drawings of BERT and of what comes before it: pieces of words, masks, gaps, parameters, the first loss, heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import exact_gelu, gelu, sigmoid
from .attention import causal_mask, unilm_mask
from .bert import BertSizes
from .bert_numpy import masked_shares, untrained_loss, word_of_each_token
from .masking import mask_fractions, masked_share_std, none_chosen, permutation_mask
from .views import Explorer, drawing, explore
from .wordpiece import SPECIAL, Tokenizer

# ---------------------------------------------------------------------------------------------------------------
# who sees whom

MOST = 8
"""The longest source and target of the mask composer."""


def mask_of(kind: str, source: int, target: int) -> np.ndarray:
    """The mask of a model by its name: who, on the rows, may look at whom."""
    n, flags = source + target, np.repeat([0, 1], [source, target])
    if kind == "encoder":
        return np.ones((n, n), dtype=bool)
    if kind == "LM":
        return causal_mask(n, flags)
    if kind == "UniLM":
        return unilm_mask(flags)
    return permutation_mask(np.random.default_rng(n).permutation(n))


def allowed_pairs(kind: str, source: int, target: int) -> int:
    r"""n² for an encoder, $S^2 + ST + \frac{T(T+1)}2$ for UniLM, $\frac{n(n+1)}2$ for all that go in an order."""
    n = source + target
    if kind == "encoder":
        return n * n
    return source**2 + source * target + target * (target + 1) // 2 if kind == "UniLM" else n * (n + 1) // 2


KINDS = ("encoder", "LM", "UniLM", "permutation")


def _grid(axes: Any, mask: np.ndarray, most: int, source: int | None = None) -> None:
    """The mask as a square of squares; the lines separate the source from the target."""
    n = len(mask)
    shown = np.full((most, most), np.nan)
    shown[:n, :n] = mask
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=1.4, zorder=2)
    if source:
        ends = [source - 0.5, source - 0.5], [-0.5, n - 0.5]
        axes.plot(*ends, color="C1", linewidth=1.2)
        axes.plot(*ends[::-1], color="C1", linewidth=1.2)
    axes.set(xlim=(-0.5, most - 0.5), ylim=(most - 0.5, -0.5), ylabel="query i", xticks=[], yticks=[])
    axes.grid(False)


@drawing(size=(5, 5))
def draw_mask(axes: Any, kind: str = "UniLM", source: int = 6, target: int = 5) -> dict[str, float]:
    """Who may look at whom under one mask, and how many pairs that makes."""
    mask = mask_of(kind, source, target)
    _grid(axes, mask, 2 * MOST, source)
    axes.set_xlabel("key j (the source is left of the line, the target right)")
    return {
        "allowed pairs": int(mask.sum()),
        "by the formula": allowed_pairs(kind, source, target),
        "share of all pairs": float(mask.mean()),
        "tokens that the first one sees": int(mask[0].sum()),
        "tokens that the last one sees": int(mask[-1].sum()),
    }


@drawing(panels=(1, 4), size=(12, 3.4))
def draw_masks(axes: Any, source: int = 6, target: int = 5) -> dict[str, float]:
    """The four masks side by side."""
    for one, kind in zip(axes, KINDS, strict=True):
        _grid(one, mask_of(kind, source, target), source + target, source)
        one.set_xlabel(f"key j\n{kind}")
    return {f"{kind}: allowed pairs": int(mask_of(kind, source, target).sum()) for kind in KINDS}


def explore_mask() -> Explorer:
    """The widget that composes attention masks."""
    return explore(
        draw_mask,
        alt="A square for each pair of tokens, filled where the row may look at the column.",
        labels={"kind": "model", "source": "tokens of the source S", "target": "tokens of the target T"},
        presets={
            "8 into 3": {"source": 8, "target": 3},
            "no source": {"source": 0, "target": 8},
            "language model": {"kind": "LM"},
            "any order": {"kind": "permutation"},
        },
        kind=list(KINDS),
        source=(0, MOST),
        target=(1, MOST),
    )


# ---------------------------------------------------------------------------------------------------------------
# gaps


@drawing(panels=(1, 2), size=(10, 4))
def draw_masking(
    axes: Any,
    share: float = 0.15,
    mask: float = 0.8,
    same: float = 0.1,
    n: int = 128,
    whole_words: bool = True,
    length: float = 1.5,
) -> dict[str, float]:
    """One text masked 400 times: the share of its tokens that is asked for, and what the network sees in their place.

    The dashed line is the normal distribution with the deviation of the formula. `length` is the mean of a word's.
    """
    words = word_of_each_token(n, length) if whole_words else np.arange(n)
    lengths = np.bincount(words).astype(float)
    found, std = masked_shares(share, words), masked_share_std(share, n, lengths)
    left, right = axes
    left.step(np.sort(found), np.arange(1, len(found) + 1) / len(found), where="post", label="measured")
    x = np.linspace(0, 0.6, 241)
    for name, deviation, look in (("formula", std, "--"), ("single tokens", masked_share_std(share, n), ":")):
        left.plot(
            x, [0.5 * math.erfc((share - at) / deviation * math.sqrt(0.5)) for at in x], linestyle=look, label=name
        )
    left.set(xlim=(0, 0.6), ylim=(0, 1.02), xlabel="share of the tokens", ylabel="draws that choose no more")
    left.legend(loc="lower right")
    same = min(same, 1 - mask)
    parts = mask_fractions(share, mask, same)
    names = ("[MASK]", "itself", "another")
    right.bar(range(3), [100 * part for part in parts], color=("C0", "C2", "C3"), zorder=2)
    right.set(xlim=(-0.6, 2.6), ylim=(0, 60), ylabel="percent of all tokens", xlabel="what the network sees")
    right.set_xticks(range(3), names)
    return {
        "mean share chosen": float(found.mean()),
        "standard deviation, measured": float(found.std()),
        "standard deviation, formula": std,
        "probability that none is": none_chosen(share, n, lengths),
        "percent seen as [MASK]": 100 * parts.mask,
        "percent seen as itself": 100 * parts.same,
        "percent seen as another": 100 * parts.substitute,
    }


def explore_masking() -> Explorer:
    """The widget of the masked language model's dice."""
    return explore(
        draw_masking,
        alt="Left: how often no more than a share of the tokens is chosen. Right: what is seen in their place.",
        labels={
            "share": "share chosen p",
            "mask": "of these [MASK]",
            "same": "of these unchanged",
            "n": "tokens n",
            "whole_words": "whole words",
            "length": "mean length of a word",
        },
        presets={
            "BERT": {"whole_words": False},
            "whole words": {},
            "short texts": {"n": 16, "whole_words": False},
            "long words": {"length": 4.0},
            "only [MASK]": {"mask": 1.0, "same": 0.0, "whole_words": False},
        },
        share=(0.05, 0.4, 0.05),
        mask=(0.0, 1.0, 0.1),
        same=(0.0, 1.0, 0.1),
        n=(16, 512, "log"),
        whole_words=bool,
        length=(1.0, 4.0, 0.25),
    )


# ---------------------------------------------------------------------------------------------------------------
# parameters


def _parts(sizes: BertSizes) -> dict[str, int]:
    blocks = sizes.encoder - sizes.embedding
    return {"embeddings": sizes.embedding, "blocks": blocks, "pooler": sizes.pooler, "MLM head": sizes.mlm_head}


@drawing(size=(7, 4.2))
def draw_sizes(
    axes: Any,
    vocabulary: int = 30_522,
    d: int = 768,
    layers: int = 12,
    ratio: int = 4,
    narrow: int = 0,
    shared: bool = False,
) -> dict[str, float]:
    """How many numbers an encoder consists of. Heads do not count: they share out the same matrices.

    `ratio` is the width of the feed-forward layer over `d`, `narrow` the width of the table where it is factorised.
    """
    sizes = BertSizes(vocabulary, d, layers, 1, ratio * d, table=narrow or None, shared=shared)
    parts = _parts(sizes)
    axes.bar(range(4), [max(count, 1) for count in parts.values()], color=("C0", "C1", "C2", "C3"), zorder=2)
    for place, count in enumerate(parts.values()):
        axes.text(place, 1.15 * max(count, 1), f"{count:,}", ha="center", fontsize=9)
    total = sizes.total
    axes.text(3.5, 1.2e9, f"without the MLM head: {total:,}", ha="right", fontsize=11)
    axes.set(xlim=(-0.6, 3.6), yscale="log", ylim=(1e4, 4e9), ylabel="numbers to learn", xlabel="part")
    axes.set_xticks(range(4), list(parts))
    axes.minorticks_off()
    millions, rest = divmod(total, 1_000_000)
    return {
        "numbers without the MLM head: whole millions": millions,
        "and thousands": rest // 1000,
        "and ones": rest % 1000,
        "share of the embeddings": parts["embeddings"] / total,
        "millions that a step multiplies, a token": (4 + 2 * ratio) * d * d * layers / 1e6,
    }


def explore_sizes() -> Explorer:
    """The widget that counts parameters; the presets are published models."""
    return explore(
        draw_sizes,
        alt="Four bars on a logarithmic axis: embeddings, blocks, pooler and head, with their exact counts.",
        labels={
            "vocabulary": "pieces V",
            "d": "width d",
            "layers": "layers L",
            "ratio": "feed-forward, times d",
            "narrow": "width of the table (0: d)",
            "shared": "all layers the same",
        },
        presets={
            "BERT-base": {},
            "BERT-large": {"d": 1024, "layers": 24},
            "BERT-base Chinese": {"vocabulary": 21_128},
            "MiniLM-L6": {"d": 384, "layers": 6},
            "ALBERT-base": {"vocabulary": 30_000, "narrow": 128, "shared": True},
            "ALBERT-xxlarge": {"vocabulary": 30_000, "narrow": 128, "shared": True, "d": 4096},
        },
        vocabulary=(1000, 60_000, 2),
        d=(64, 4096, 64),
        layers=(1, 48),
        ratio=(1, 8),
        narrow=(0, 1024, 32),
        shared=bool,
    )


# ---------------------------------------------------------------------------------------------------------------
# before training


@drawing(size=(7, 4))
def draw_first_loss(
    axes: Any, vocabulary: int = 8192, d: int = 192, stds: Sequence[float] = (0.02, 0.07, 0.14, 0.22, 0.32, 0.42)
) -> dict[str, float]:
    r"""The loss before training against the deviation $s = \sigma\sqrt d$ of the logits; the marks are measured."""
    s, top = np.linspace(0, 6.2, 200), math.sqrt(2 * math.log(vocabulary))
    axes.plot(s, math.log(vocabulary) + s**2 / 2, label=r"$\ln V + s^2/2$")
    axes.plot(s, np.where(s > top, s * top, np.nan), linestyle="--", label=r"$s\sqrt{2\ln V}$: the largest logit alone")
    measured = [untrained_loss(vocabulary, d, std) for std in stds]
    at = [std * math.sqrt(d) for std in stds]
    axes.plot(at, measured, color="C2", marker="o", linestyle="none", label="measured")
    axes.axhline(math.log(vocabulary), color="0.4", linewidth=1, linestyle=":")
    axes.set(xlim=(0, 6.2), ylim=(8, 30), xlabel=r"standard deviation of a logit, $s = \sigma\sqrt{d}$")
    axes.set_ylabel("loss before training (nats)")
    axes.legend(loc="upper left")
    formula = [math.log(vocabulary) + x**2 / 2 for x in at]
    shown = zip(at, measured, formula, strict=True)
    return {f"measured over formula at s = {x:.2f}": loss / said for x, loss, said in shown}


@drawing(panels=(1, 2), size=(10, 3.8))
def draw_gelu(axes: Any) -> dict[str, float]:
    """GELU as it is defined, its two approximations, and how far they are off."""
    x, (left, right) = np.linspace(-4, 4, 1601), axes
    exact, others = exact_gelu(x), {"tanh form": gelu(x), "x σ(1.702 x)": x * sigmoid(1.702 * x)}
    left.plot(x, exact, label="exact")
    numbers = {"smallest value of GELU": float(exact.min())}
    for k, (name, y) in enumerate(others.items()):
        look = {"linestyle": ("--", "-.")[k], "color": f"C{k + 1}"}
        left.plot(x, y, label=name, **look)
        right.plot(x, np.maximum(np.abs(y - exact), 1e-7), label=name, **look)
        numbers[f"{name}: largest error"] = float(np.abs(y - exact).max())
        numbers[f"{name}: at x ="] = float(abs(x[np.abs(y - exact).argmax()]))
    left.set(xlim=(-4, 4), ylim=(-0.3, 2), xlabel="x", ylabel="GELU")
    right.set(xlim=(-4, 4), ylim=(1e-7, 1), yscale="log", xlabel="x", ylabel="distance from the exact form")
    left.legend(loc="upper left")
    right.legend(loc="upper left", fontsize=9)
    return numbers


# ---------------------------------------------------------------------------------------------------------------
# heads


@drawing(panels=(1, 5), size=(13, 3))
def draw_looks(axes: Any, looks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The weight that each head gives to five kinds of tokens: a square for each head, a row for each layer.

    Dark is 0, yellow 1; the number is the largest of a panel.
    """
    numbers = {}
    for one, (name, share) in zip(axes, looks.items(), strict=True):
        layers, heads = share.shape
        one.imshow(share, cmap="viridis", vmin=0, vmax=1, zorder=2, aspect="auto")
        one.set(xlim=(-0.5, heads - 0.5), ylim=(layers - 0.5, -0.5), xlabel=f"head\n{name}", ylabel="layer")
        one.set_xticks(range(0, heads, 4), [str(k + 1) for k in range(0, heads, 4)])
        one.set_yticks(range(layers), [str(k + 1) for k in range(layers)])
        one.grid(False)
        row, column = np.unravel_index(share.argmax(), share.shape)
        dark = share.max() < 0.6  # the ground of the number
        one.text(column, row, f"{share.max():.1f}", ha="center", va="center", fontsize=8, color="w" if dark else "k")
        numbers[f"{name}: the largest of all heads"] = float(share.max())
    return numbers


@drawing(size=(6.4, 5.6))
def draw_map(axes: Any, tokens: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    """The map of one head on one text: each row says where a token looks."""
    _map(axes, tokens, weights)
    return _of_map(tokens, weights)


def _map(axes: Any, tokens: Sequence[str], weights: np.ndarray, most: int | None = None) -> None:
    """Words are drawn as texts, not as ticks, so that a widget need not lay out its panel anew."""
    n, most = len(tokens), most or len(tokens)
    shown = np.full((most, most), np.nan)
    shown[:n, :n] = weights
    axes.imshow(shown, cmap="viridis", vmin=0, vmax=1, zorder=2)
    size = min(10.0, 170 / most)
    for place, token in enumerate(tokens):
        axes.text(-0.8, place, token, ha="right", va="center", fontsize=size)
        axes.text(place, -0.8, token, ha="left", va="bottom", rotation=60, rotation_mode="anchor", fontsize=size)
    room = 0.3 * most
    axes.set(
        xlim=(-room, most - 0.5), ylim=(most - 0.5, -room), xlabel="looked at", ylabel="looks", xticks=[], yticks=[]
    )
    axes.grid(False)


def _of_map(tokens: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    i = np.arange(len(tokens))
    return {
        "weight on itself": float(weights[i, i].mean()),
        "on the token before": float(weights[i[1:], i[:-1]].mean()),
        "on the token after": float(weights[i[:-1], i[1:]].mean()),
        "on [CLS]": float(weights[:, 0].mean()),
        "on [SEP]": float(weights[:, -1].mean()),
        "tokens": len(tokens),
    }


def attention_lab(read: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> Explorer:
    """A widget of real maps: `read` names texts, each with its tokens and its maps (layers, heads, n, n).

    Texts of your own come in by reading them: ``{s: (net.tokens(s), net.attention(s)) for s in sentences}``.
    """
    texts = list(read)
    layers, heads = read[texts[0]][1].shape[:2]
    most = max(len(tokens) for tokens, _ in read.values())

    @drawing(size=(6.4, 5.8))
    def draw(axes: Any, text: str = texts[0], layer: int = 1, head: int = 1) -> dict[str, float]:
        tokens, maps = read[text]
        _map(axes, tokens, maps[layer - 1, head - 1], most)
        return _of_map(tokens, maps[layer - 1, head - 1])

    alt = "A map of attention: rows are the tokens that look, columns those looked at."
    return explore(draw, alt=alt, text=texts, layer=(1, layers), head=(1, heads))


@drawing(panels=(1, 2), size=(11, 3.8))
def draw_silenced(axes: Any, each: np.ndarray, growing: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What becomes of the vectors of sentences without some heads.

    `each` (layers, heads) is the mean distance 1 − cosine without that head alone. `growing` has for each order of
    silencing the mean cosine to the whole network after 0, 1, … heads, or several runs of it.
    """
    left, right = axes
    layers, heads = each.shape
    low, high = -4.0, -0.5
    left.imshow(np.clip(np.log10(each), low, high), cmap="viridis", vmin=low, vmax=high, zorder=2, aspect="auto")
    for (row, column), value in np.ndenumerate(each):
        color = "white" if math.log10(value) < -1.6 else "black"
        left.text(column, row, f"{1e3 * value:.0f}", ha="center", va="center", fontsize=8, color=color, zorder=3)
    left.set(xlim=(-0.5, heads - 0.5), ylim=(layers - 0.5, -0.5), xlabel="head switched off", ylabel="layer")
    left.set_xticks(range(heads), [str(k + 1) for k in range(heads)])
    left.set_yticks(range(layers), [str(k + 1) for k in range(layers)])
    left.grid(False)
    numbers = {
        "largest change, 1000 (1 − cosine)": 1e3 * float(each.max()),
        "median, 1000 (1 − cosine)": 1e3 * float(np.median(each)),
    }
    for k, (name, runs) in enumerate(growing.items()):
        runs = np.atleast_2d(runs)
        x = np.linspace(0, layers * heads, runs.shape[1])
        right.fill_between(x, runs.min(axis=0), runs.max(axis=0), color=f"C{k}", alpha=0.2, linewidth=0)
        look = {"linestyle": ("-", "--", "-.", ":")[k], "marker": "os^D"[k], "markersize": 4, "color": f"C{k}"}
        right.plot(x, runs.mean(axis=0), label=name, **look)
        numbers[f"{name}: cosine at half of the heads"] = float(np.interp(layers * heads / 2, x, runs.mean(axis=0)))
    right.set(
        xlim=(0, layers * heads), ylim=(-0.1, 1.05), xlabel="heads switched off", ylabel="cosine to the whole network"
    )
    right.legend(loc="lower left")
    return numbers


# ---------------------------------------------------------------------------------------------------------------
# pieces


def tokenizer_lab(pieces: Sequence[str], texts: Mapping[str, str]) -> Explorer:
    """A widget that cuts `texts` with the first pieces of a vocabulary: how many is a knob.

    `pieces` is what ``wordpiece.train_vocabulary`` returns, in which the first pieces are a smaller vocabulary.
    """
    least = len(SPECIAL) + sum(len(piece.removeprefix("##")) == 1 for piece in pieces[len(SPECIAL) :])
    names = list(texts)

    @drawing(size=(9, 3.0))
    def draw(
        axes: Any, text: str = names[0], size: int = len(pieces), lower: bool = True, cap: int = 100
    ) -> dict[str, float]:
        tokenizer = Tokenizer(tuple(pieces[:size]), lower, cap)
        found = tokenizer.tokenize(texts[text])
        _pieces(axes, found)
        words = tokenizer.word_numbers(tokenizer.ids(found))
        return {
            "pieces": len(found),
            "words": max(words, default=-1) + 1,
            "pieces per word": len(found) / max(1, max(words, default=-1) + 1),
            "words that became [UNK]": found.count("[UNK]"),
        }

    return explore(
        draw,
        alt="The pieces of a text as boxes, in rows; grey boxes go on a word, red ones are unknown words.",
        labels={"size": "pieces in the vocabulary", "lower": "lower case, no accents", "cap": "longest word"},
        text=names,
        size=(least, len(pieces)),
        lower=bool,
        cap=(1, 200),
    )


def _pieces(axes: Any, found: Sequence[str], width: float = 78.0, rows: int = 7) -> None:
    """Pieces as boxes in rows, some eighty characters to each; what does not fit is left out."""
    at, row = 0.5, 0
    for piece in found:
        if at + len(piece) + 1 > width:
            at, row = 0.5, row + 1
        if row < rows:
            color = "#f4b6a6" if piece == "[UNK]" else "0.88" if piece.startswith("##") else "#cfe4f3"
            box = {"boxstyle": "round,pad=0.2", "facecolor": color, "edgecolor": "none"}
            axes.text(at, row, piece, fontsize=9, va="center", family="DejaVu Sans Mono", bbox=box)
        at += len(piece) + 1.3
    axes.set(xlim=(0, width), ylim=(rows - 0.5, -0.7), xticks=[], yticks=[])
    axes.set(xlabel="from left to right", ylabel="row by row")
    axes.grid(False)


# ---------------------------------------------------------------------------------------------------------------
# stored results

Records = Sequence[Mapping[str, Any]]


@drawing(size=(7, 4))
def draw_frozen(axes: Any, records: Records) -> dict[str, float]:
    """How often a head on a frozen encoder names the right piece, by the layer that it reads: tokens shown or hidden.

    The mean and the range over seeds of experiments/bert_frozen.py; the dotted line is the most frequent piece.
    """
    numbers = {}
    for k, (asked, words) in enumerate((("shown", "token shown: which is it?"), ("hidden", "token hidden: guess it"))):
        runs = [r for r in records if (r["config"]["body"], r["config"]["head"]) == ("trained", "tied")]
        runs = [r for r in runs if r["config"]["asked"] == asked]
        layers = sorted({r["config"]["layer"] for r in runs})
        named = [[r["result"]["top1"] for r in runs if r["config"]["layer"] == layer] for layer in layers]
        low, high = [min(row) for row in named], [max(row) for row in named]
        axes.fill_between(layers, low, high, color=f"C{k}", alpha=0.25, linewidth=0)
        look = {"marker": "os"[k], "linestyle": ("-", "--")[k], "color": f"C{k}"}
        axes.plot(layers, [np.mean(row) for row in named], label=words, **look)
        numbers[f"{asked}: share named after layer {layers[-1]}"] = float(np.mean(named[-1]))
    frequent = records[0]["result"]["top1_frequent"]
    axes.axhline(frequent, color="0.4", linewidth=1, linestyle=":")
    axes.set(xlim=(-0.3, 6.3), ylim=(0, 1.05), xlabel="states after layer", ylabel="share named right")
    axes.set_xticks(range(7))
    axes.legend(loc="center left")
    return numbers | {"most frequent piece": frequent}


@drawing(panels=(1, 2), size=(10.5, 4))
def draw_pretraining(axes: Any, records: Records) -> dict[str, float]:
    """A small BERT from two starts: loss of the tokens shown as [MASK], and at the end the share named by each method.

    Mean and range over the seeds of experiments/bert_mlm.py, on held-out text.
    """
    left, right = axes
    known = records[0]["result"]["references"]
    numbers, names, shares = {}, ["frequencies", "neighbours"], [[known[f"{w}_top1"]] for w in ("unigram", "chain")]
    for k, std in enumerate(sorted({r["config"]["std"] for r in records})):
        results = [r["result"] for r in records if r["config"]["std"] == std]
        steps, losses, look = results[0]["steps"], np.array([r["masked"] for r in results]), f"C{k}"
        left.fill_between(steps, losses.min(axis=0), losses.max(axis=0), color=look, alpha=0.25, linewidth=0)
        left.plot(steps, losses.mean(axis=0), color=look, linestyle=("-", "--")[k], label=f"BERT, start {std:g}")
        names += [f"BERT\n{std:g}", f"BERT\n{std:g}\nshuffled"]
        shares += [[r[part]["mask"]["top1"] for r in results] for part in ("shown", "shuffled")]
        numbers[f"loss at the end, start {std:g}"] = float(losses[:, -1].mean())
        numbers[f"share named, start {std:g}"] = float(np.mean(shares[-2]))
    for k, (name, words) in enumerate((("unigram", "frequencies alone"), ("chain", "both neighbours")), 2):
        level = np.full(len(steps), known[f"{name}_loss"])
        left.plot(steps, level, color=f"C{k}", linestyle=("-.", ":")[k - 2], label=words)
    left.set(xlim=(0, steps[-1]), ylim=(3, 8.5), xlabel="step", ylabel="loss of hidden tokens (nats)")
    left.legend(loc="lower left", fontsize=9)
    means = [float(np.mean(values)) for values in shares]
    spread = [[m - min(v) for m, v in zip(means, shares, strict=True)]]
    spread += [[max(v) - m for m, v in zip(means, shares, strict=True)]]
    right.bar(range(len(names)), means, yerr=spread, color=("C2", "C3", "C0", "C0", "C1", "C1"), zorder=2, capsize=4)
    right.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, 0.3), xlabel="method", ylabel="share of hidden tokens named")
    right.set_xticks(range(len(names)), names, fontsize=8)
    return numbers | {"loss of the neighbours": known["chain_loss"], "share named by the neighbours": means[1]}
