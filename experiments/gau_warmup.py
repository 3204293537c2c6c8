r"""Which deep stacks learn without warm-up, and is it the small branch that makes the gated attention unit easy?

The task: predict the next character of 20 Newsgroups postings (letters and spaces, 64 characters of context, causal).
Two losses mark the way: that of the letters' frequencies (`unigram`), where a stack stays that learns nothing but its
last bias, and that of pairs of letters (`bigram`), below which a stack must have used its branches. Adam, no clipping.

A layer is attention and feed-forward, or two gated attention units, so a stack of N layers has 2N residual blocks and
nearly the same number of parameters. As controls, the branch of each block can be set to a given size relative to its
skip at the start, in two ways: by the skip's factor $\alpha$, which holds for the whole training, or by the weights of
the branch's last map, which training may undo.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from minilib.attention_torch import MultiHeadAttention
from minilib.corpora import newsgroups
from minilib.depth import deepnorm, relative_size
from minilib.depth_torch import FeedForward, ResidualStack, Trace, gradients, signal, updates, xavier_
from minilib.gau_torch import GAU
from minilib.training import Config as Training
from minilib.training import Diverged, constant, generator, train, warm_up

D, S, HEADS = 32, 16, 2
"""Width of the stream, width of the shared z of a GAU (also that of a head), heads of the attention."""

LETTERS = 27
STUCK = 0.05
"""Nats per character below the unigram loss, which a stack must reach to count as learning."""


@dataclass(frozen=True)
class Config:
    """One run: a stack, its depth, the learning rate of Adam, and what is done to its branches at the start."""

    unit: str
    layers: int
    rate: float
    seed: int
    warm_up: int = 0
    ratio: float | None = None
    by: str = ""
    steps: int = 200
    batch: int = 8
    length: int = 64
    held_out: int = 64
    points: int = 10


# ---------------------------------------------------------------------------------------------------------------
# text


@functools.cache
def text(split: str, characters: int = 2_000_000) -> Tensor:
    """The first characters of the postings, one after the other: 0 for a space, 1 … 26 for the letters."""
    joined = " ".join(newsgroups(split))[:characters].encode("ascii")
    code = torch.from_numpy(np.frombuffer(joined, dtype=np.uint8).astype(np.int64))
    return torch.where(code == ord(" "), 0, code - ord("a") + 1)


def excerpts(split: str, size: int, length: int, noise: torch.Generator) -> Tensor:
    """Return `size` random stretches of `length` + 1 characters."""
    letters = text(split)
    start = torch.randint(len(letters) - length, (size, 1), generator=noise)
    return letters[start + torch.arange(length + 1)]


@functools.cache
def references() -> dict[str, float]:
    """Cross-entropy of the test text under the frequencies of single letters and of pairs in the training text."""
    seen, held_out = text("train"), text("test")
    pairs = torch.bincount(seen[:-1] * LETTERS + seen[1:], minlength=LETTERS**2).view(LETTERS, LETTERS) + 1.0
    single, given = pairs.sum(0) / pairs.sum(), pairs / pairs.sum(1, keepdim=True)
    before, after = held_out[:-1], held_out[1:]
    return {
        "unigram": round(-single[after].log().mean().item(), 3),
        "bigram": round(-given[before, after].log().mean().item(), 3),
    }


# ---------------------------------------------------------------------------------------------------------------
# stacks


def _gau(layers: int, kernel: str) -> ResidualStack:
    return ResidualStack([GAU(D, s=S, kernel=kernel) for _ in range(2 * layers)], D)


def _transformer(layers: int, kind: str = "post", alpha: float = 1.0, beta: float = 1.0) -> ResidualStack:
    """Attention and feed-forward with Xavier's initialisation, times `beta` but for queries and keys."""
    pairs = [(MultiHeadAttention(D, HEADS, rotary=True), FeedForward(D, 4 * D)) for _ in range(layers)]
    stack = ResidualStack([sublayer for pair in pairs for sublayer in pair], D, kind, alpha)
    return xavier_(stack, beta, ("W_q", "W_k"))


UNITS: dict[str, Callable[[int], ResidualStack]] = {
    "GAU relu²": lambda layers: _gau(layers, "relu2/ns"),
    "GAU softmax": lambda layers: _gau(layers, "softmax"),
    "Post-LN": _transformer,
    "DeepNorm": lambda layers: _transformer(layers, "post", *deepnorm(layers)),
    "Pre-LN": lambda layers: _transformer(layers, "pre"),
}
"""The stacks as functions of the number of layers. GAU is post-norm with LeCun's initialisation."""


class Speller(nn.Module):
    """Letters to vectors, a stack that looks back, and a linear map to the next letter."""

    def __init__(self, stack: ResidualStack, length: int) -> None:
        super().__init__()
        self.embedding, self.stack, self.head = nn.Embedding(LETTERS, D), stack, nn.Linear(D, LETTERS)
        self.register_buffer("mask", torch.ones(length, length, dtype=torch.bool).tril())

    def forward(self, letters: Tensor) -> Tensor:
        return self.head(self.stack(self.embedding(letters), self.mask))

    def trace(self, letters: Tensor) -> Trace:
        return self.stack.trace(self.embedding(letters), self.mask)


def build(config: Config) -> Speller:
    """The network before training; the same stack, depth and seed give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Speller(UNITS[config.unit](config.layers), config.length)
    if config.ratio is not None:
        sample = excerpts("train", config.batch, config.length, generator(config.seed, -2))
        set_ratio(model, sample[:, :-1], config.ratio, config.by)
    return model


@torch.no_grad()
def set_ratio(model: Speller, letters: Tensor, ratio: float, by: str) -> None:
    """Give the branch of each post-norm block in turn the size `ratio` relative to its skip, on these letters."""
    x = model.embedding(letters)
    for block in model.stack.blocks:
        skip, branch = block.terms(x, model.mask)
        factor = ratio / relative_size(branch, skip).item()
        if by == "skip":
            block.alpha /= factor
        elif by == "weights":
            _last_map(block.sublayer).mul_(factor)
        else:
            raise ValueError(f'by must be "skip" or "weights", got {by!r}')
        x = block(x, model.mask)


def _last_map(sublayer: nn.Module) -> Tensor:
    last = sublayer.W_2 if isinstance(sublayer, FeedForward) else sublayer.W_o
    return last.weight if isinstance(last, nn.Linear) else last


# ---------------------------------------------------------------------------------------------------------------
# the grid

SEEDS = range(5)
RATES, RATE = (3e-4, 1e-3, 3e-3, 1e-2), 1e-3
SMALL, GAUS, LARGE = 0.1, 0.27, 1.0
"""Branch over skip in the controls: small, as a gated unit of relu² has it here, and as large as the skip."""


def grid(quick: bool) -> list[Config]:
    """All stacks at four depths, more seeds at 24 layers, the controls, and other rates (up to 3e-3 at 24).

    Or, quick, each kind of run once, tiny.
    """
    if quick:
        tiny = {"layers": 1, "rate": 1e-3, "seed": 0, "steps": 4, "batch": 2, "length": 8, "held_out": 4, "points": 2}
        scaled = [Config("Post-LN", **tiny, ratio=SMALL, by=by) for by in ("skip", "weights")]
        return [Config(unit, **tiny) for unit in UNITS] + scaled
    others = [rate for rate in RATES if rate != RATE]
    at_rate = [Config(unit, layers, RATE, 0) for layers, unit in product((6, 12, 24, 48), UNITS)]
    seeds = [Config(unit, 24, RATE, seed) for seed in SEEDS[1:3] for unit in UNITS]
    seeds += [Config(unit, 24, RATE, seed) for seed in SEEDS[3:] for unit in ("GAU relu²", "Post-LN")]
    rates = [Config(unit, layers, rate, 0) for layers, rate, unit in product((6, 12), others, UNITS)]
    rates += [Config(unit, 24, rate, 0) for rate, unit in product((3e-4, 3e-3), UNITS)]
    return at_rate + seeds + controls() + rates


def controls() -> list[Config]:
    """At 24 layers and rate 1e-3 Post-LN with warm-up or small branches, GAU with warm-up or large ones.

    Post-LN's branches are also given the size that GAU's have. And Post-LN for three times as long, with a slow warm-up
    and, at 12 layers, without.
    """
    warm = product(SEEDS[:3], ("Post-LN", "GAU relu²", "GAU softmax"))
    made = [Config(unit, 24, RATE, seed, warm_up=100) for seed, unit in warm]
    made += [Config("Post-LN", 24, RATE, seed, ratio=GAUS, by="skip") for seed in SEEDS[:3]]
    for seed, by in product(SEEDS[:3], ("skip", "weights")):
        made.append(Config("Post-LN", 24, RATE, seed, ratio=SMALL, by=by))
        made.append(Config("GAU relu²", 24, RATE, seed, ratio=LARGE, by=by))
    for seed, (layers, slow) in product(SEEDS[:3], ((12, 0), (12, 300), (24, 300))):
        made.append(Config("Post-LN", layers, RATE, seed, warm_up=slow, steps=600))
    return made


# ---------------------------------------------------------------------------------------------------------------
# one run


def loss_on(model: nn.Module, letters: Tensor) -> Tensor:
    """Cross-entropy of each next letter, in nats per character."""
    return nn.functional.cross_entropy(model(letters[:, :-1]).flatten(0, 1), letters[:, 1:].flatten())


def run(config: Config) -> dict[str, object]:
    """Train one stack; return its curve on held-out text and what each block does, at the start and on the way.

    `learned` says whether the final loss lies clearly below that of the letters' frequencies.
    """
    model = build(config)
    watch = Watch(config, model)
    result: dict[str, object] = {"parameters": sum(p.numel() for p in model.parameters()), **references()}
    result["gradients"] = start_gradients(model, watch.sample)
    schedule = warm_up(config.rate, config.warm_up) if config.warm_up else constant(config.rate)
    settings = Training(config.steps, schedule, clip=None, seed=config.seed)
    try:
        train(model, loss_on, watch.batch, settings, watch=watch)
        result["diverged"] = None
    except Diverged as stop:
        result["diverged"] = stop.step
    result |= watch.record
    result["loss"] = result["losses"][-1]
    result["learned"] = result["diverged"] is None and result["loss"] < result["unigram"] - STUCK
    return result


def start_gradients(model: Speller, letters: Tensor) -> list[float]:
    """Norm of the loss's gradient by the parameters of each block, before training."""
    trace = model.trace(letters[:, :-1])
    loss = nn.functional.cross_entropy(model.head(trace.output).flatten(0, 1), letters[:, 1:].flatten())
    return _digits(gradients(model.stack, trace, loss).blocks)


class Watch:
    """Looks at a model in training: the held-out loss at `points`, and single steps block by block."""

    def __init__(self, config: Config, model: Speller) -> None:
        self.config, self.every = config, max(1, config.steps // config.points)
        self.held_out = excerpts("test", config.held_out, config.length, generator(0, -1))
        self.sample = self.held_out[: config.batch]
        self.looks = sorted({0, config.steps // 20, config.steps // 4, config.steps - 1})
        self.record: dict[str, list] = {
            "steps": [],
            "losses": [],
            "looks": [],
            "ratios": [],
            "cosines": [],
            "moves": [],
        }
        self(0, model)

    def batch(self, k: int) -> Tensor:
        return excerpts("train", self.config.batch, self.config.length, generator(self.config.seed, k))

    @torch.no_grad()
    def __call__(self, step: int, model: Speller) -> None:
        if step - 1 in self.looks:
            self.record["moves"].append(_digits(updates(self.before, model.trace(self.sample[:, :-1]))))
        if step in self.looks:
            self.before = model.trace(self.sample[:, :-1])
            seen = signal(self.before)
            self.record["looks"].append(step)
            self.record["ratios"].append(_digits(seen.ratio))
            self.record["cosines"].append(_digits(seen.cosine))
        if step % self.every == 0 or step == self.config.steps:
            loss = loss_on(model, self.held_out).item()
            self.record["steps"].append(step)
            self.record["losses"].append(round(loss, 3) if math.isfinite(loss) else None)


def _digits(values: list[float]) -> list[float | None]:
    """Three digits; None for what is not finite."""
    return [float(f"{value:.3g}") if math.isfinite(value) else None for value in values]
