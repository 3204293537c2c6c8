r"""Six matching tasks, the whole encoder trained: what does it bring to tell it the task, and in which way?

The baseline of the Sohu contest on news of the BBC (:mod:`minilib.matching_corpora`). The encoder is all-MiniLM-L6-v2;
it reads ``[CLS] first [SEP] second [SEP]``, and the mean of its last states goes to one head of two classes. "full"
tells it the task by a condition of 128 features that reaches all 13 LayerNorms; the other ways are those of
:data:`minilib.matching_torch.WAYS`, and "models" are six encoders, each of which sees its task alone. All begin with
the same weights; those of the head are the seed's.

As in the baseline: the pairs of all tasks together, batches of 16, Adam at a constant rate, answers with the running
average of the weights. Otherwise: a smaller encoder, fewer pairs, an average over some hundred steps and not ten
thousand, since there are so few, and batches of similar lengths. Dropout is 0.1, but not on attention weights, which
would cost torch's fused kernel. Pairs of two short texts are far shorter than the others, so a batch is of "ss" or of
the rest; A and B are in all of them.

The rate is 5e-5, not the baseline's 2e-5: of 2e-5, 5e-5 and 1e-4 it was the best for "none", "token", "heads" and
"full" after three epochs, on `examined` = "valid" with seeds that the grid does not have. Six epochs were better still,
and which way is best may depend on that, so both are in the grid. A run of three epochs takes a quarter of an hour on
one core; the stored ones come from a GPU.

Each of six "models" makes a sixth of the steps, so few after three epochs that its average still holds $0.99^{96}$ =
38 % of the weights at the start: that run warns of comparing at equal cost, and is no verdict on six models. After
twelve epochs, at four times the cost, it is 2 %.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from minilib.bert import BertSizes
from minilib.bert_corpora import BertNetwork, minilm
from minilib.bert_torch import Bert
from minilib.matching import TASKS, bucketed, margins, padding_share
from minilib.matching_corpora import Pair, encoded, pairs
from minilib.matching_torch import (
    WAYS,
    ConditionalMatcher,
    Matcher,
    PairBatch,
    alike,
    batched,
    blind_scores,
    facts_of,
    spoken,
    summary,
    with_thresholds,
)
from minilib.training import Config as Training
from minilib.training import constant, generator, train
from minilib.wordpiece import Encoded


@dataclass(frozen=True)
class Config:
    """One run: the way to tell the task, reports for training and for the test (12 pairs each), and the training.

    `layers` None is the trained encoder; a number makes a narrow one with so many layers and random weights. Thresholds
    are set by `held_out` reports of the "valid" part.
    """

    way: str
    seed: int
    reports: int = 250
    tested: int = 150
    longest: int = 96
    batch: int = 16
    epochs: int = 3
    rate: float = 5e-5
    average: float = 0.99
    dropout: float = 0.1
    draws: int = 1000
    examined: str = "test"
    layers: int | None = None
    held_out: int = 60


ALL = (*WAYS, "models")


def grid(quick: bool) -> list[Config]:
    """Each way with three epochs and with six, five seeds each; or, quick, each once, tiny."""
    if quick:
        tiny = {"reports": 30, "tested": 30, "longest": 10, "batch": 180, "epochs": 1, "draws": 3}
        return [Config(way, 0, **tiny, layers=1, held_out=30) for way in ALL]
    told = [Config(way, seed, epochs=epochs) for epochs, way, seed in product((3, 6), WAYS, range(5))]
    return [*told, Config("models", 0), *(Config("models", seed, epochs=12) for seed in range(3))]


# ---------------------------------------------------------------------------------------------------------------
# pairs


@cache
def network() -> BertNetwork:
    return minilm()


@cache
def read(part: str, number: int, longest: int) -> tuple[tuple[Pair, ...], tuple[Encoded, ...]]:
    """The pairs of a part, and the pieces of each."""
    found = pairs(part, number)
    return found, tuple(encoded(pair, network().tokenizer, longest) for pair in found)


def chosen(config: Config, part: str, number: int, task: int | None) -> tuple[list[Pair], list[Encoded]]:
    """The pairs of one task, or of all."""
    found, rows = read(part, number, config.longest)
    at = [k for k, pair in enumerate(found) if task in (None, pair.task)]
    return [found[k] for k in at], [rows[k] for k in at]


class Batches:
    """Step k: batches of similar lengths, drawn anew for each epoch; seed and step alone decide which."""

    def __init__(self, config: Config, task: int | None) -> None:
        self.config = config
        self.pairs, self.rows = chosen(config, "train", config.reports, task)
        self.lengths = [len(row.ids) for row in self.rows]
        self.each = -(-len(self.rows) // config.batch)
        self.epoch = cache(self._epoch)

    def _epoch(self, number: int) -> list[list[int]]:
        noise = torch.rand(len(self.rows), generator=generator(self.config.seed, number))
        return bucketed(self.lengths, self.config.batch, noise.tolist())

    def __call__(self, k: int) -> PairBatch:
        return together(self.pairs, self.rows, self.epoch(k // self.each)[k % self.each])


def together(found: Sequence[Pair], rows: Sequence[Encoded], at: Sequence[int]) -> PairBatch:
    return batched([rows[k] for k in at], [found[k].task for k in at], [found[k].label for k in at])


# ---------------------------------------------------------------------------------------------------------------
# networks


def build(config: Config) -> Matcher:
    """The matcher before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.layers is None:
            encoder = Bert.from_weights(network().weights, network().heads, dropout=config.dropout)
        else:
            pieces = len(network().tokenizer.pieces)
            encoder = Bert(BertSizes(pieces, 8, config.layers, 2, 16), dropout=config.dropout)
        return WAYS.get(config.way, Matcher)(encoder, len(TASKS))


def loss(model: Matcher, b: PairBatch) -> Tensor:
    return nn.functional.cross_entropy(model(b), b.labels)


@torch.no_grad()
def heard(model: Matcher, found: Sequence[Pair], rows: Sequence[Encoded], batch: int = 32) -> Tensor:
    """The margins of pairs, (pairs,), in their order."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda k: len(rows[k].ids))
    said = torch.empty(len(rows))
    for at in (order[k : k + batch] for k in range(0, len(order), batch)):
        said[at] = margins(model(together(found, rows, at)))
    return said


# ---------------------------------------------------------------------------------------------------------------
# one run


def trained(config: Config, task: int | None) -> tuple[Matcher, dict[str, Any]]:
    """A matcher with its averaged weights, trained on one task or on all, and what the training was like."""
    batches, model = Batches(config, task), build(config)
    steps = config.epochs * batches.each
    settings = Training(steps, constant(config.rate), clip=None, average=config.average, seed=config.seed)
    record = train(model, loss, batches, settings)
    model.load_state_dict(record.average)
    tenths = [record.losses[k * steps // 10 : (k + 1) * steps // 10] for k in range(10)]
    return model, {
        "steps": steps,
        "losses": [round(sum(part) / len(part), 4) for part in tenths if part],
        "padding": round(padding_share(batches.lengths, batches.epoch(0)), 4),
    }


def run(config: Config) -> dict[str, Any]:
    """Train, and return what the examined pairs say (:func:`minilib.matching_torch.summary`).

    `training` has for each model its steps, the mean `losses` over tenths of them, and the share of `padding` in what
    was computed; `seconds` is the processor time of the training, and `parameters` counts those of all networks.
    `blind` is what can be had without the task, `thresholds` are answers by
    :func:`minilib.matching_torch.with_thresholds`. Of a network that is told the task, how `alike` it says A and B; of
    a condition, `rank` and `leading` share of all that it says.
    """
    parts = ((config.examined, config.tested), ("valid", config.held_out))
    known = [facts_of(chosen(config, *part, None)[0]) for part in parts]
    said = [torch.empty(len(facts.task)) for facts in known]
    result: dict[str, Any] = {"parameters": 0, "seconds": 0.0, "training": []}
    for task in range(len(TASKS)) if config.way == "models" else [None]:
        start = time.process_time()
        model, story = trained(config, task)
        result["seconds"] = round(result["seconds"] + time.process_time() - start, 1)
        result["training"].append(story)
        result["parameters"] += sum(p.numel() for p in model.parameters())
        for margin, facts, part in zip(said, known, parts, strict=True):
            margin[facts.of(task)] = heard(model, *chosen(config, *part, task))
    if config.way not in ("none", "models"):
        found, rows = chosen(config, *parts[0], None)
        others = heard(model, [pair._replace(task=pair.task ^ 1) for pair in found], rows)
        result["alike"] = alike(said[0], others, known[0].task)
    if isinstance(model, ConditionalMatcher):
        result |= spoken(model.condition.weight, model.matrices())
    thresholds = with_thresholds(said[0], known[0], said[1], known[1])
    result |= {"blind": blind_scores(known[0]), "thresholds": thresholds}
    return result | summary((said[0] > 0).float(), known[0], config.draws, generator(0, -1))
