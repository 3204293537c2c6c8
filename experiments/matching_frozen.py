r"""Six matching tasks on frozen vectors: does it pay to tell a small network which task it is at, and in which way?

Texts of BBC News are vectors, the mean of the last states of all-MiniLM-L6-v2, which is frozen. A pair has the features
[u∘v, |u−v|, cos], and a network of one hidden layer, linear map, norm, relu, says whether it is a match
(:mod:`minilib.matching_corpora`: loose or strict, short or long). The ways to tell it the task:

    none     not at all
    token    six more inputs, one of which is 1, or 5
    heads    each task has its own last map
    beta     a condition of 16 features reaches the shift of the norm
    gamma    it reaches the scale
    full     it reaches both
    models   six networks, each of which sees its task alone

All see the same pairs in the same order and start from the same weights of the seed, where they have the same; each of
the six networks makes a sixth of the steps. Two thirds of the reports have a pair that is a match for A and none for B,
so that a network that does not see the task is right in at most 5/6 of the cases; `blind` says what such a one could
reach on the tested pairs if it knew the kind of each.

Steps, rate and dropout were chosen on the "valid" part for "none" and "full"; the test part was not looked at. Adam
moves what an input of size 5 says five times as fast as what one of size 1 says: a rate of its own for the token.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minilib.bert_corpora import BertNetwork, minilm
from minilib.bert_torch import Bert, text_vectors
from minilib.layernorm_torch import ConditionalLayerNorm
from minilib.matching import TASKS, margins, pair_features
from minilib.matching_corpora import pairs
from minilib.matching_torch import Facts, TaskEmbedding, alike, blind_scores, facts_of, spoken, summary, with_thresholds
from minilib.training import Config as Training
from minilib.training import Cosine, generator, train

K = 16
"""Features of a condition."""


@dataclass(frozen=True)
class Config:
    """One run: the way to tell the task, how many reports for training (None: all), and the training (Adam, cosine).

    `size` is that of the token's input. Thresholds are set by `held_out` reports of the "valid" part.
    """

    way: str
    seed: int
    reports: int | None = None
    pieces: int = 64
    width: int = 128
    dropout: float = 0.5
    batch: int = 64
    steps: int = 1500
    learning_rate: float = 3e-3
    draws: int = 1000
    examined: str = "test"
    size: float = 1.0
    held_out: int = 60


def grid(quick: bool) -> list[Config]:
    """Each way with five seeds, and the token in two sizes; or, quick, each once, tiny."""
    if quick:
        tiny = {"reports": 30, "pieces": 4, "width": 5, "batch": 6, "steps": 6, "draws": 3, "held_out": 30}
        return [Config(way, 0, **tiny) for way in WAYS]
    larger = [Config("token", seed, size=5.0) for seed in range(5)]
    return [Config(way, seed) for way, seed in product(WAYS, range(5))] + larger


# ---------------------------------------------------------------------------------------------------------------
# vectors


class Data(NamedTuple):
    """The features of each pair, and what is known of it."""

    x: Tensor
    facts: Facts


@cache
def network() -> BertNetwork:
    return minilm()


@cache
def encoder() -> Bert:
    return Bert.from_weights(network().weights, network().heads).eval()


def vectors(texts: Sequence[str], pieces: int) -> Tensor:
    """A vector of length 1 for each text, of its first pieces: this is what takes long."""
    # Far more characters than there are pieces to come are not split.
    rows = [network().tokenizer.encode(text[: 20 * pieces], longest=pieces).ids for text in texts]
    return text_vectors(encoder(), rows)


@cache
def data(part: str, reports: int | None, pieces: int) -> Data:
    """The pairs of a part; each text is embedded once."""
    found = pairs(part, reports)
    number = {text: k for k, text in enumerate(dict.fromkeys(text for pair in found for text in pair[:2]))}
    v = vectors(list(number), pieces)
    first, second = (v[[number[pair[k]] for pair in found]] for k in range(2))
    # Products of unit vectors are small: their features are brought to the size of 1.
    scale = torch.cat((torch.full((v.shape[1],), float(v.shape[1])), torch.full((v.shape[1],), v.shape[1] ** 0.5)))
    x = pair_features(first, second)
    x[:, :-1] *= scale
    return Data(x, facts_of(found))


# ---------------------------------------------------------------------------------------------------------------
# networks


class Batch(NamedTuple):
    x: Tensor
    task: Tensor
    label: Tensor


class Judge(nn.Module):
    """Linear map, norm, relu, linear map; the task is not looked at."""

    def __init__(self, inputs: int, config: Config, classes: int = 2) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(inputs, config.width), nn.Linear(config.width, classes)
        self.norm, self.dropout = nn.LayerNorm(config.width), nn.Dropout(config.dropout)

    def normalised(self, b: Batch) -> Tensor:
        return self.norm(self.inner(self.dropout(b.x)))

    def forward(self, b: Batch) -> Tensor:
        return self.outer(self.dropout(self.normalised(b).relu()))


class JudgeWithInput(Judge):
    """Six more inputs; their part of the inner map is a shift of the hidden units for each task, before the norm."""

    def __init__(self, inputs: int, config: Config) -> None:
        super().__init__(inputs, config)
        self.told, self.size = nn.Embedding(len(TASKS), config.width), config.size
        nn.init.normal_(self.told.weight, std=inputs**-0.5)

    def normalised(self, b: Batch) -> Tensor:
        return self.norm(self.inner(self.dropout(b.x)) + self.size * self.told(b.task))


class JudgeWithHeads(Judge):
    """Six last maps."""

    def __init__(self, inputs: int, config: Config) -> None:
        super().__init__(inputs, config, 2 * len(TASKS))

    def forward(self, b: Batch) -> Tensor:
        z = super().forward(b).unflatten(-1, (len(TASKS), 2))
        return z[torch.arange(len(z)), b.task]


class ConditionalJudge(Judge):
    """The norm follows a condition."""

    def __init__(self, inputs: int, config: Config, *, scale: bool = True, shift: bool = True) -> None:
        super().__init__(inputs, config)
        self.norm = ConditionalLayerNorm(config.width, K, scale=scale, shift=shift)
        self.condition = TaskEmbedding(len(TASKS), K)

    def normalised(self, b: Batch) -> Tensor:
        return self.norm(self.inner(self.dropout(b.x)), self.condition(b.task))


WAYS = {
    "none": Judge,
    "token": JudgeWithInput,
    "heads": JudgeWithHeads,
    "beta": partial(ConditionalJudge, scale=False),
    "gamma": partial(ConditionalJudge, shift=False),
    "full": ConditionalJudge,
    "models": Judge,
}


def build(config: Config, inputs: int) -> Judge:
    """The network before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return WAYS[config.way](inputs, config)


def batch(known: Data, config: Config, k: int) -> Batch:
    """Step k: random pairs of all tasks."""
    rows = torch.randint(len(known.x), (config.batch,), generator=generator(config.seed, k))
    return Batch(known.x[rows], known.facts.task[rows], known.facts.label[rows])


def loss(model: Judge, b: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(b), b.label)


def trained(known: Data, config: Config, steps: int) -> Judge:
    model = build(config, known.x.shape[1])
    settings = Training(steps, Cosine(config.learning_rate, steps, steps // 10), seed=config.seed)
    train(model, loss, partial(batch, known, config), settings)
    return model.eval()


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, Any]:
    """Train, and return what the examined pairs say (:func:`minilib.matching_torch.summary`).

    `parameters` counts those of all networks, `seconds` is the processor time of the training; `blind` is what can be
    had without the task, `thresholds` are answers by :func:`minilib.matching_torch.with_thresholds`. Of a network that
    is told the task, how `alike` it says A and B; of a condition, `rank` and `leading` share of all that it says.
    """
    known = data("train", config.reports, config.pieces)
    parts = [data(config.examined, config.reports, config.pieces), data("valid", config.held_out, config.pieces)]
    start, said, models = time.process_time(), [torch.empty(len(part.x)) for part in parts], []
    for task in range(len(TASKS)) if config.way == "models" else [None]:
        seen = of_task(known, task)
        models.append(trained(seen, config, config.steps if task is None else max(1, config.steps // len(TASKS))))
        for margin, part in zip(said, parts, strict=True):
            margin[part.facts.of(task)] = heard(models[-1], of_task(part, task))
    seconds = round(time.process_time() - start, 1)
    result = {"parameters": sum(p.numel() for model in models for p in model.parameters()), "seconds": seconds}
    test = parts[0].facts
    if config.way not in ("none", "models"):
        other = parts[0]._replace(facts=test._replace(task=test.task ^ 1))
        result["alike"] = alike(said[0], heard(models[0], other), test.task)
    if isinstance(models[0], ConditionalJudge):
        norm = models[0].norm
        result |= spoken(models[0].condition.weight, [W for W in (norm.W_gamma, norm.W_beta) if W is not None])
    result |= {"blind": blind_scores(test), "thresholds": with_thresholds(said[0], test, said[1], parts[1].facts)}
    return result | summary((said[0] > 0).float(), test, config.draws, generator(0, -1))


def of_task(part: Data, task: int | None) -> Data:
    at = part.facts.of(task)
    return Data(part.x[at], part.facts.at(at))


@torch.no_grad()
def heard(model: Judge, part: Data) -> Tensor:
    """The margins of all pairs of a part, (pairs,)."""
    return margins(model(Batch(part.x, part.facts.task, part.facts.label)))
