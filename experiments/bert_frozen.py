r"""Can a trained BERT encoder fill in blanks if only a new head is trained on top of it?

The encoder is all-MiniLM-L6-v2, whose file has no head for masked tokens. It is frozen; its states are computed once,
and a head $E\,\mathrm{LN}(\mathrm{gelu}(Wh + b)) + \text{bias}$ learns to name tokens of newsgroup postings (letters
and spaces, 62 pieces between [CLS] and [SEP]). E is the frozen table of pieces ("tied"), or a matrix that the head
learns as well ("free"). Only the most frequent pieces are asked for, and only they are named.

Two questions are asked of each state. "hidden": 15 % of the tokens are shown as [MASK], and the head names what was
there. "shown": nothing is masked, and the head names the token that stands there. So it can be told apart whether an
encoder does not carry what a token is, or cannot guess it. The states before the first layer are a control: for hidden
tokens they hold nothing but [MASK] and a position, for shown ones the token itself. The other control is the same
encoder with random weights.

What it cannot tell: MiniLM was distilled from a larger network's attention and then trained on pairs of sentences. As
far as is known it never had to name a masked token in either, so what is missing here may never have been there.

The heads are trained for 300 steps and have not converged: asked for hidden tokens, those that see nothing but [MASK]
end a little above the loss of the frequencies, which they could reach. So what is found is a lower bound for a head.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minilib import corpora
from minilib.bert import bert_embedding, bert_states
from minilib.bert_corpora import BertNetwork, minilm, untrained
from minilib.masking import chosen_tokens, masked_ids
from minilib.training import Config as Training
from minilib.training import Cosine, generator, train
from minilib.wordpiece import CLS, MASK, SEP

LENGTH = 64
"""Pieces of an excerpt, with [CLS] and [SEP]."""

SENTENCES = (
    "the team won the last [MASK] of the season",
    "you need a faster [MASK] to run this program",
    "does anyone [MASK] how to fix this problem",
    "thanks in [MASK] for your help",
    "he was born in the united [MASK]",
    "the doctor gave the patient a new [MASK]",
    "we went to [MASK] on sunday morning",
    "the capital of france is [MASK]",
)
"""Written for this course; like the postings without punctuation."""


@dataclass(frozen=True)
class Config:
    """One head: whose states it reads, after which layer, what it is asked, and how it is trained (Adam, cosine)."""

    body: str
    layer: int
    asked: str
    head: str
    seed: int
    pieces: int = 4000
    excerpts: int = 2500
    held_out: int = 500
    steps: int = 300
    batch: int = 256
    rate: float = 2e-3


LAYERS = (0, 2, 4, 6)


def grid(quick: bool) -> list[Config]:
    """Every other layer of the trained encoder under both questions; the last with a free head; the untrained one."""
    if quick:
        tiny = {"pieces": 50, "excerpts": 3, "held_out": 2, "steps": 3, "batch": 2}
        return [Config(body, 6, asked, "tied", 0, **tiny) for body, asked in product(BODIES, QUESTIONS)]
    made = [
        Config("trained", layer, asked, "tied", seed) for asked, layer, seed in product(QUESTIONS, LAYERS, range(3))
    ]
    made += [Config("trained", 6, "hidden", "free", seed) for seed in range(3)]
    return made + [Config("untrained", 6, asked, "tied", seed) for asked, seed in product(QUESTIONS, range(3))]


# ---------------------------------------------------------------------------------------------------------------
# text


class Text(NamedTuple):
    """All pieces of the training and of the held-out postings in a row each, and the pieces that are asked for."""

    training: Tensor
    held_out: Tensor
    common: Tensor


@cache
def network() -> BertNetwork:
    return minilm()


@cache
def text(pieces: int) -> Text:
    """The postings in the pieces of MiniLM; the `pieces` most frequent of the training part, the first the commonest.

    A fifth of each part: more than all excerpts need.
    """
    encode = network().tokenizer.encode
    rows = [[k for t in corpora.newsgroups(split)[::5] for k in encode(t).ids[1:-1]] for split in ("train", "test")]
    common = [piece for piece, _ in Counter(rows[0]).most_common(pieces)]
    return Text(*map(torch.tensor, rows), torch.tensor(common))


class Excerpts(NamedTuple):
    """Pieces as they are, as the encoder sees them, and which of them are asked for: shape (excerpts, 64) each."""

    ids: Tensor
    seen: Tensor
    asked: Tensor


QUESTIONS = ("hidden", "shown")
SHARE = 0.15
"""How many of the frequent pieces are asked for, the same under both questions."""


def excerpts(row: Tensor, number: int, asked: str, common: Tensor, source: torch.Generator) -> Excerpts:
    """Random stretches of a row between [CLS] and [SEP]; the same tokens are asked for under both questions."""
    first, last, mask = network().tokenizer.ids((CLS, SEP, MASK))
    start = torch.randint(len(row) - LENGTH, (number, 1), generator=source)
    inner = row[start + torch.arange(LENGTH - 2)]
    ids = nn.functional.pad(nn.functional.pad(inner, (1, 0), value=first), (0, 1), value=last)
    maskable = torch.isin(ids, common)
    chosen = chosen_tokens(torch.rand(ids.shape, generator=source), SHARE, maskable)
    hidden = masked_ids(ids, chosen, torch.zeros(ids.shape), ids, mask, mask=1.0, same=0.0)
    return Excerpts(ids, hidden if asked == "hidden" else ids, chosen)


# ---------------------------------------------------------------------------------------------------------------
# states


BODIES = ("trained", "untrained")


@cache
def body(which: str) -> BertNetwork:
    """MiniLM, or the same with random weights; the weights are torch's, which is the faster with gelu."""
    net = network() if which == "trained" else untrained(network(), seed=0)
    return replace(net, weights=net.weights.converted(torch.from_numpy))


class Asked(NamedTuple):
    """For each token asked for: its states before the first layer and after each (L+1, N, d), and which piece it is."""

    states: Tensor
    answer: Tensor


@lru_cache(maxsize=4)
def asked(which: str, split: str, question: str, pieces: int, number: int, batch: int = 50) -> Asked:
    """Run the frozen encoder over excerpts, which are the same for all encoders and seeds."""
    net, known = body(which), text(pieces)
    row, source = (known.training, generator(0, -2)) if split == "train" else (known.held_out, generator(0, -1))
    drawn = excerpts(row, number, question, known.common, source)
    found = [
        states(net, ids)[:, chosen]
        for ids, chosen in zip(drawn.seen.split(batch), drawn.asked.split(batch), strict=True)
    ]
    number_of = torch.empty(len(net.tokenizer.pieces), dtype=torch.int64)
    number_of[known.common] = torch.arange(len(known.common))
    return Asked(torch.cat(found, dim=1), number_of[drawn.ids[drawn.asked]])


def states(net: BertNetwork, ids: Tensor) -> Tensor:
    """The states of rows of pieces before the first layer and after each, shape (L+1, rows, n, d)."""
    x = bert_embedding(ids, torch.zeros_like(ids), net.weights.embedding, net.eps)
    return torch.stack(bert_states(x, net.weights.blocks, net.heads, eps=net.eps))


# ---------------------------------------------------------------------------------------------------------------
# head


class Head(nn.Module):
    r"""$E\,\mathrm{LN}(\mathrm{gelu}(Wh + b)) + \text{bias}$, E frozen or learned from the same start."""

    def __init__(self, table: Tensor, tied: bool, eps: float) -> None:
        super().__init__()
        d = table.shape[1]
        self.dense, self.norm = nn.Linear(d, d), nn.LayerNorm(d, eps)
        self.table = nn.Parameter(table.clone(), requires_grad=not tied)
        self.bias = nn.Parameter(torch.zeros(len(table)))

    def forward(self, h: Tensor) -> Tensor:
        return self.norm(nn.functional.gelu(self.dense(h))) @ self.table.T + self.bias


def build(config: Config) -> Head:
    """The head before training, over the rows of the encoder's table that belong to the frequent pieces."""
    net = body(config.body)
    table = net.weights.embedding.pieces[text(config.pieces).common]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Head(table, config.head == "tied", net.eps)


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, Any]:
    """Train one head; return how often the piece is the first, or among the first five, that it names.

    `frequent` is the same for the most frequent pieces of the training excerpts, whatever the context; `unigram` is the
    loss under their frequencies, each counted once more. `covered` is the share of the held-out pieces that may be
    asked for. `filled` has the five most probable pieces for each of the sentences, if tokens are hidden.
    """
    known = text(config.pieces)
    data, test = (
        asked(config.body, split, config.asked, config.pieces, number)
        for split, number in (("train", config.excerpts), ("test", config.held_out))
    )
    h, answer, model = data.states[config.layer], data.answer, build(config)
    settings = Training(config.steps, Cosine(config.rate, config.steps, config.steps // 20), seed=config.seed)

    def batch(k: int) -> Tensor:
        return torch.randint(len(answer), (config.batch,), generator=generator(config.seed, k))

    record = train(model, lambda head, at: nn.functional.cross_entropy(head(h[at]), answer[at]), batch, settings)
    counts = torch.bincount(answer, minlength=len(known.common)) + 1.0
    shares = (counts / counts.sum()).log().expand(len(test.answer), -1)
    result = {
        "asked": len(answer),
        "held_out": len(test.answer),
        **score(logits(model, test.states[config.layer]), test),
    }
    result |= {f"{name}_frequent": value for name, value in score(shares, test).items()}
    result["covered"] = round(torch.isin(known.held_out, known.common).double().mean().item(), 4)
    result["train_loss"] = round(sum(record.losses[-20:]) / len(record.losses[-20:]), 3)
    if config.asked == "hidden":
        result["filled"] = filled(model, config)
    return result


@torch.no_grad()
def logits(model: Head, h: Tensor) -> Tensor:
    return torch.cat([model(some) for some in h.split(1024)])


def score(z: Tensor, test: Asked) -> dict[str, float]:
    """Top-1, top-5 and the loss in nats for each token."""
    found = z.topk(min(5, z.shape[-1])).indices == test.answer[:, None]
    return {
        "top1": round(found[:, 0].double().mean().item(), 4),
        "top5": round(found.any(-1).double().mean().item(), 4),
        "loss": round(nn.functional.cross_entropy(z, test.answer).item(), 3),
    }


@torch.no_grad()
def filled(model: Head, config: Config) -> dict[str, list[str]]:
    """The five most probable pieces for the blank of each sentence."""
    net, common = body(config.body), text(config.pieces).common
    found = {}
    for sentence in SENTENCES:
        ids = torch.from_numpy(net.ids(sentence))
        h = states(net, ids[None])[config.layer, 0][ids == net.tokenizer.ids([MASK])[0]]
        found[sentence] = net.tokenizer.tokens(common[model(h)[0].topk(min(5, len(common))).indices])
    return found
