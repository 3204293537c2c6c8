r"""For which task do tokens have to look at one another, and for which does it do to know their places?

n tokens carry a random content of 7 numbers (mean 0, variance 1), one of them at a random place a mark. Each token is
to answer with the content of another: ``copy``, of the one before it (the first: of the last), or ``retrieve``, of the
one with the mark. One layer of attention between linear maps, so that only the scores are not linear; no mask.

The relative mean square error (1 for the answer 0) has floors that follow from what the scores can know, see
:func:`floors`. Without positions in the inputs the ranking flips from task to task: random scores, tied to places, copy
and cannot retrieve; products of queries and keys retrieve and cannot copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from minilib.attention_torch import MultiHeadAttention
from minilib.synthesizer_torch import (
    DenseScores,
    DenseSynthesizer,
    DotScores,
    FactorizedDenseSynthesizer,
    FactorizedRandomSynthesizer,
    Mixture,
    RandomScores,
    RandomSynthesizer,
)
from minilib.training import Config as Training
from minilib.training import Cosine, generator, train

CONTENT = 7


@dataclass(frozen=True)
class Config:
    """One run: task, what mixes the tokens, and how it is trained (Adam, warm-up, cosine, clipped at norm 1)."""

    task: str
    positions: bool
    mixer: str
    seed: int
    n: int = 8
    d: int = 32
    heads: int = 4
    batch: int = 32
    steps: int = 600
    rate: float = 1e-2
    held_out: int = 16384


MIXERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "standard": lambda d, h, n: MultiHeadAttention(d, h),
    "dense": DenseSynthesizer,
    "random": RandomSynthesizer,
    "fixed random": lambda d, h, n: RandomSynthesizer(d, h, n, trained=False),
    "factorized random": lambda d, h, n: FactorizedRandomSynthesizer(d, h, n, rank=2),
    "factorized dense": lambda d, h, n: FactorizedDenseSynthesizer(d, h, n, n // 4, 4, "interleave"),
    "random + standard": lambda d, h, n: Mixture([RandomScores(d, h, n), DotScores(d, h)]),
    "dense + standard": lambda d, h, n: Mixture([DenseScores(d, h, n), DotScores(d, h)]),
}
"""Attention as a function of width, heads and the number of tokens, which has to be a multiple of 4."""

TASKS = ("copy", "retrieve")


def grid(quick: bool) -> list[Config]:
    """Both tasks with and without positions, all mixers, five seeds; and without positions twice the length.

    Or, quick, every mixer once, tiny.
    """
    if quick:
        return [Config("copy", True, m, seed=0, d=8, heads=2, batch=4, steps=5, held_out=16) for m in MIXERS]
    seeds, cases = range(5), tuple(product(TASKS, (True, False)))
    longer = product(TASKS, ("standard", "dense", "random"), seeds)
    return [
        *(Config(*case, mixer, seed) for case, mixer, seed in product(cases, MIXERS, seeds)),
        *(Config(task, False, mixer, seed, n=16) for task, mixer, seed in longer),
    ]


def floors(task: str, positions: bool, n: int) -> dict[str, float]:
    r"""The least relative error that scores of each kind allow, whatever the weights.

    * A fixed map can copy; retrieving it can only answer with the mean of all: $1 - 1/n$.
    * Dense scores know their own token, and look at places. With its place in the token the marked one answers with
      itself, and the others, which know that it is none of them, with the mean of the rest:
      $\tfrac1n 0 + \tfrac{n-1}n(1 - \tfrac1{n-1}) = 1 - 2/n$; and they copy. Without it no token knows which place is
      its own, and in either task there is nothing better than the mean of all: $1 - 1/n$.
    * Products of queries and keys retrieve. They copy if the tokens contain their places; otherwise all the tokens but
      itself look alike: $1 - 1/(n-1)$.
    """
    if task == "retrieve":
        return {"standard": 0.0, "dense": 1 - (2 if positions else 1) / n, "random": 1 - 1 / n}
    blind = {"standard": 1 - 1 / (n - 1), "dense": 1 - 1 / n, "random": 0.0}
    return dict.fromkeys(blind, 0.0) if positions else blind


def sequences(config: Config, size: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return tokens (size, n, CONTENT + 1 + n), content, mark and place (zeros without positions), and the answers."""
    content = torch.randn(size, config.n, CONTENT, generator=noise)
    marked = torch.randint(config.n, (size,), generator=noise)
    mark = nn.functional.one_hot(marked, config.n)[..., None].float()
    place = torch.eye(config.n).expand(size, -1, -1) * config.positions
    tokens = torch.cat([content, mark, place], dim=-1)
    if config.task == "copy":
        return tokens, content.roll(1, dims=1)
    return tokens, content[torch.arange(size), marked][:, None].expand_as(content)


class Layer(nn.Module):
    """A linear map in, attention, a linear map out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.into = nn.Linear(CONTENT + 1 + config.n, config.d)
        self.mixer = MIXERS[config.mixer](config.d, config.heads, config.n)
        self.out = nn.Linear(config.d, CONTENT)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.mixer(self.into(tokens)))


def build(config: Config) -> Layer:
    """The network before training; the same mixer, sizes and seed give the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Layer(config)


def run(config: Config) -> dict[str, float]:
    """Train, and return the relative mean square error on new sequences."""
    model = build(config)

    def batch(k: int) -> tuple[Tensor, Tensor]:
        return sequences(config, config.batch, generator(config.seed, k))

    rate = Cosine(config.rate, config.steps, warm_up=config.steps // 10)
    train(model, loss, batch, Training(config.steps, rate=rate, clip=1.0, seed=config.seed))
    tokens, answers = sequences(config, config.held_out, generator(config.seed, -1))
    with torch.no_grad():
        error = loss(model, (tokens, answers)) / answers.square().mean()
    return {"error": round(error.item(), 4)}


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean square error."""
    return nn.functional.mse_loss(model(batch[0]), batch[1])
