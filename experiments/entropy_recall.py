r"""Does a network that looks things up among 32 pairs still find them among 1024, and does the scale law decide it?

The task: n pairs of a key and a value are shown, then a key is asked for, and the network has to name its value, one of
16; chance is 1/16. Keys are drawn afresh for each sequence, uniform on a sphere, so nothing but a comparison of
contents can find the right one, and every key is closer to itself than to any other at every n. There are no positions:
the answer does not depend on the order of the pairs, and nothing but the number of keys changes with n. With `noise`
the question is a blurred copy of the key, and then even the best reader is less sure the more keys there are.

A network is trained at n = 32 only and tested up to n = 1024. The laws with base 32 equal $1/\sqrt d$ at the length of
the training, so one and the same network is tested under each of them: what differs is the scale, and the scale alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from minilib.attention_torch import Law, MultiHeadAttention
from minilib.entropy import distribution_entropy, ln_scale, log_scale, sqrt_log_scale, standard_scale
from minilib.entropy_torch import SSMax
from minilib.training import Config as Training
from minilib.training import constant, generator, train

FEATURES, VALUES = 16, 16
LENGTH = 32
LENGTHS = (32, 64, 128, 256, 512, 1024)
FACTORS = tuple(2 ** (k / 4) for k in range(-4, 7))
"""Multiples of the trained scale, among which the best for each length is looked for."""


@dataclass(frozen=True)
class Config:
    """One run: the law of the training, the noise of the question, and how it is trained (Adam, clipped at norm 1)."""

    law: str
    noise: float
    seed: int
    d: int = 32
    batch: int = 64
    steps: int = 1000
    rate: float = 3e-3
    held_out: int = 512
    lengths: tuple[int, ...] = LENGTHS


TRAINED: dict[str, Callable[[], Law]] = {
    "standard": lambda: standard_scale,
    "ln": lambda: ln_scale,
    "ssmax": lambda: SSMax(heads=1, base=LENGTH),
}
"""The laws of the training, each made afresh, since one of them has a parameter."""

TESTED: dict[str, dict[str, Law]] = {
    "standard": {
        "standard": standard_scale,
        "log": partial(log_scale, base=LENGTH),
        "sqrt log": partial(sqrt_log_scale, base=LENGTH),
    },
    "ln": {"ln": ln_scale, "ln held": lambda n, d: ln_scale(LENGTH, d)},
    "ssmax": {},
}
"""The laws under which a trained network is tested; all of a group agree at n = 32. That of "ssmax" is its own."""


def grid(quick: bool) -> list[Config]:
    """Three laws and clear questions, one law and blurred ones, five seeds; or, quick, each once, tiny."""
    kinds = [(law, 0.0) for law in TRAINED] + [("standard", 1.0)]
    if quick:
        tiny = {"d": 5, "batch": 3, "steps": 8, "held_out": 7, "lengths": (32, 37)}
        return [Config(law, noise, seed=0, **tiny) for law, noise in kinds]
    return [Config(law, noise, seed) for (law, noise), seed in product(kinds, range(5))]


# ---------------------------------------------------------------------------------------------------------------
# task and network


@dataclass(frozen=True)
class Batch:
    """Pairs (size, n, FEATURES + VALUES), questions (size, 1, FEATURES), where the asked pair stands, and its value."""

    pairs: Tensor
    question: Tensor
    place: Tensor
    value: Tensor


def batch(size: int, n: int, noise: float, source: torch.Generator) -> Batch:
    """Draw `size` sequences of n pairs; keys and one-hot values have a mean square of 1 per feature."""
    keys = _on_sphere(torch.randn(size, n, FEATURES, generator=source))
    values = torch.randint(VALUES, (size, n), generator=source)
    place, each = torch.randint(n, (size,), generator=source), torch.arange(size)
    blurred = keys[each, place] + noise * torch.randn(size, FEATURES, generator=source)
    shown = nn.functional.one_hot(values, VALUES) * VALUES**0.5
    return Batch(torch.cat([keys, shown], dim=-1), _on_sphere(blurred)[:, None], place, values[each, place])


def _on_sphere(x: Tensor) -> Tensor:
    return nn.functional.normalize(x, dim=-1) * FEATURES**0.5


class Lookup(nn.Module):
    """One attention from the question to the pairs, and a linear map from what it fetched to the values."""

    def __init__(self, d: int, law: Law) -> None:
        super().__init__()
        self.ask, self.show = nn.Linear(FEATURES, d), nn.Linear(FEATURES + VALUES, d)
        self.attention = MultiHeadAttention(d, heads=1, scale=law)
        self.head = nn.Linear(d, VALUES)

    def forward(self, b: Batch) -> Tensor:
        return self.head(self.attention(self.ask(b.question), self.show(b.pairs))[:, 0])

    def weights(self, b: Batch) -> Tensor:
        """The attention of the question to each pair, (size, n)."""
        return self.attention.weights(self.ask(b.question), self.show(b.pairs))[:, 0, 0]


def build(config: Config) -> Lookup:
    """The network before training; the same law and seed give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Lookup(config.d, TRAINED[config.law]())


# ---------------------------------------------------------------------------------------------------------------
# training and test


def run(config: Config) -> dict[str, Any]:
    """Train, and return what the tests found after a quarter, a half and the whole of the training.

    `tested` holds for each law of the test `accuracy`, `loss`, `entropy` of the attention and `weight` on the asked
    pair: a row for each of `steps`, a column for each of `lengths`. `best_factor` is, for each length, the multiple of
    the scale of the training with the smallest loss after it; the law "ssmax" has its learnt `s` instead.
    """
    model, steps = build(config), [config.steps // k for k in (4, 2, 1)]
    held_out = [batch(config.held_out, n, config.noise, generator(config.seed, -n)) for n in config.lengths]
    laws = TESTED[config.law] or {config.law: model.attention.scale}
    tested: dict[str, dict[str, list]] = {law: {what: [] for what in MEASURES} for law in laws}

    def watch(step: int, model: nn.Module) -> None:
        if step in steps:
            for name, law in laws.items():
                rows = zip(*(score(model, b, law) for b in held_out), strict=True)
                for what, row in zip(MEASURES, rows, strict=True):
                    tested[name][what].append(list(row))

    fit(model, config, watch)
    result = {"steps": steps, "lengths": list(config.lengths), "tested": tested}
    if config.law == "ssmax":
        return result | {"s": round(model.attention.scale.s.item(), 4)}
    return result | {"best_factor": [best_factor(model, b, config) for b in held_out]}


MEASURES = ("accuracy", "loss", "entropy", "weight")


def fit(model: Lookup, config: Config, watch: Callable[[int, nn.Module], None]) -> None:
    """Train at n = 32."""

    def draw(k: int) -> Batch:
        return batch(config.batch, LENGTH, config.noise, generator(config.seed, k))

    settings = Training(config.steps, rate=constant(config.rate), clip=1.0, seed=config.seed)
    train(model, lambda model, b: nn.functional.cross_entropy(model(b), b.value), draw, settings, watch=watch)


@torch.no_grad()
def score(model: Lookup, b: Batch, law: Law) -> tuple[float, float, float, float]:
    """Accuracy, cross-entropy, entropy of the attention and weight on the asked pair, under `law`."""
    own, model.attention.scale = model.attention.scale, law
    logits, a = model(b), model.weights(b)
    model.attention.scale = own
    right = (logits.argmax(-1) == b.value).double().mean().item()
    weight = a.gather(-1, b.place[:, None]).mean().item()
    loss = nn.functional.cross_entropy(logits, b.value).item()
    return tuple(round(x, 4) for x in (right, loss, distribution_entropy(a).mean().item(), weight))


def best_factor(model: Lookup, b: Batch, config: Config) -> float:
    """The one of FACTORS by which the scale of the training has to be multiplied for the smallest loss."""
    trained = TRAINED[config.law]()(LENGTH, config.d)
    return round(min(FACTORS, key=lambda c: score(model, b, lambda n, d: c * trained)[1]), 4)
