r"""What does a small BERT learn from masked words alone, and how does it begin?

A BERT of 2 layers and width 64, with an own vocabulary of 2,000 pieces, is trained from scratch on newsgroup postings
(letters and spaces): 30 pieces between [CLS] and [SEP], 15 % of them chosen, of these 80 % shown as [MASK], 10 % as
they are, 10 % as another piece. Now and then a batch is shorter, as in BERT's script, so that a sentence is nothing
unheard of. It starts with weights of BERT's deviation 0.02, or with $1/\sqrt d$; at BERT's own width of 768 these are
0.02 and 0.036, at 64 they are 0.02 and 0.125.

At the start the logits are those of a random table against normalised vectors, and the loss is
$\ln V + \sigma^2/2$ with $\sigma^2 = d\,\mathrm{std}^2$. Two losses mark the way: that of the frequencies of the pieces
("unigram"), and that of both neighbours under a Markov chain counted on the same text ("chain"), below which a network
must have used more than the two neighbours. What counts are the tokens shown as [MASK]: of the chosen ones that are
shown as they are, a network soon learns to name what it sees, which lowers the mean and has nothing to do with reading.
The control at the end: the same held-out excerpts with all pieces that are not asked for in random order, which leaves
what is talked about and takes away where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minilib import corpora
from minilib.bert import BertSizes, initial_mlm_loss
from minilib.bert_torch import STD, Bert
from minilib.masking import chosen_tokens, masked_ids
from minilib.training import Config as Training
from minilib.training import PiecewiseLinear, generator, train
from minilib.wordpiece import CLS, MASK, SEP, SPECIAL, Tokenizer, count_words, train_vocabulary

LENGTH, SHORT = 32, 0.1
"""Pieces of an excerpt with [CLS] and [SEP], and the share of the batches that are shorter."""
SHARE = 0.15
RARE = 3
"""Words must occur so often in the training text to count for the vocabulary."""
PRIOR = 300.0
"""How many imagined occurrences of the pieces' own frequencies smooth the pairs of the chain; chosen
on a tenth of the training text that was left out of the counts."""

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
    """One run: the start, the network, and its training (Adam, clipped at 1, warm-up over a tenth, then to 0)."""

    std: float
    seed: int
    pieces: int = 2000
    d: int = 64
    layers: int = 2
    heads: int = 2
    batch: int = 32
    steps: int = 8000
    rate: float = 3e-3
    held_out: int = 2048
    points: int = 20
    every: int = 1


def grid(quick: bool) -> list[Config]:
    """Both starts, three seeds; or, quick, one, tiny."""
    if quick:
        return [Config(STD, 0, pieces=100, d=8, layers=1, heads=2, batch=8, steps=3, held_out=4, points=3, every=50)]
    return [Config(std, seed) for seed, std in product(range(3), (STD, Config.d**-0.5))]


# ---------------------------------------------------------------------------------------------------------------
# text


class Text(NamedTuple):
    """The tokenizer, and all pieces of the training and of the held-out postings in a row each."""

    tokenizer: Tokenizer
    training: Tensor
    held_out: Tensor


@cache
def text(pieces: int, every: int = 1) -> Text:
    """The postings, or one of `every` so many, in a vocabulary that was learned from the training part."""
    training, held_out = (corpora.newsgroups(split)[::every] for split in ("train", "test"))
    counts = {word: count for word, count in count_words(training).items() if count >= RARE}
    tokenizer = Tokenizer(train_vocabulary(counts, pieces))
    rows = ([k for t in texts for k in tokenizer.encode(t).ids[1:-1]] for texts in (training, held_out))
    return Text(tokenizer, *map(torch.tensor, rows))


class Excerpts(NamedTuple):
    """Pieces as they are, as the network sees them, and which of them are asked for: shape (rows, n) each."""

    ids: Tensor
    seen: Tensor
    chosen: Tensor


def excerpts(row: Tensor, tokenizer: Tokenizer, size: int, length: int, source: torch.Generator) -> Excerpts:
    """Random stretches of a row (they may cross from one posting to the next), masked."""
    first, last, mask = tokenizer.ids((CLS, SEP, MASK))
    start = torch.randint(len(row) - length, (size, 1), generator=source)
    ids = torch.full((size, length), first)
    ids[:, 1:-1], ids[:, -1] = row[start + torch.arange(length - 2)], last
    maskable = (ids != first) & (ids != last)
    chosen = chosen_tokens(torch.rand(ids.shape, generator=source), SHARE, maskable)
    substitutes = torch.randint(len(SPECIAL), len(tokenizer.pieces), ids.shape, generator=source)
    return Excerpts(ids, masked_ids(ids, chosen, torch.rand(ids.shape, generator=source), substitutes, mask), chosen)


def batch(config: Config, k: int) -> Excerpts:
    known, source = text(config.pieces, config.every), generator(config.seed, k)
    short = torch.rand((), generator=source) < SHORT
    length = int(torch.randint(8, LENGTH, (), generator=source)) if short else LENGTH
    return excerpts(known.training, known.tokenizer, config.batch, length, source)


@cache
def held_out(config: Config) -> Excerpts:
    """The same excerpts for all seeds."""
    known = text(config.pieces, config.every)
    return excerpts(known.held_out, known.tokenizer, config.held_out, LENGTH, generator(0, -1))


def shuffled(e: Excerpts) -> Excerpts:
    """The pieces that are not asked for in random order, the others and the special ones in their place."""
    seen, source = e.seen.clone(), generator(0, -3)
    free = ~e.chosen
    free[:, 0] = free[:, -1] = False
    for row, places in zip(seen, free, strict=True):
        inner = row[places]
        row[places] = inner[torch.randperm(len(inner), generator=source)]
    return e._replace(seen=seen)


# ---------------------------------------------------------------------------------------------------------------
# what counting achieves


def references(config: Config, e: Excerpts) -> dict[str, float]:
    """Loss and accuracy on the tokens shown as [MASK] of the pieces' frequencies, and of the chain."""
    unigram, pairs = frequencies(text(config.pieces, config.every).training, config.pieces)
    hidden = e.chosen & (e.seen == text(config.pieces, config.every).tokenizer.ids([MASK])[0])
    answer = e.ids[hidden]
    left, right = (torch.roll(e.seen, by, dims=1)[hidden] for by in (1, -1))
    parts = [chain(unigram, pairs, a, b) for a, b in zip(left.split(500), right.split(500), strict=True)]
    found = {"unigram": unigram.log().expand(len(answer), -1), "chain": torch.cat(parts)}
    return {f"{name}_{what}": value for name, z in found.items() for what, value in score(z, answer).items()}


def frequencies(row: Tensor, pieces: int) -> tuple[Tensor, Tensor]:
    """Shares of the pieces (V,), each counted once more, and how often one follows the other (V, V)."""
    counts = torch.bincount(row, minlength=pieces) + 1.0
    pairs = torch.bincount(row[:-1] * pieces + row[1:], minlength=pieces**2).view(pieces, pieces)
    return counts / counts.sum(), pairs.float()


def chain(unigram: Tensor, pairs: Tensor, left: Tensor, right: Tensor) -> Tensor:
    r"""$\log p(x \mid l, r)$ with $p \propto p(x \mid l)\,p(r \mid x)$, both smoothed; a special one says nothing."""
    after = (pairs[left] + PRIOR * unigram) / (pairs[left].sum(1, keepdim=True) + PRIOR)
    before = (pairs[:, right].T + PRIOR * unigram[right, None]) / (pairs.sum(1) + PRIOR)
    # Left of a special piece nothing was counted, so `after` is the unigram; to the right it has to be said.
    before = torch.where(right[:, None] < len(SPECIAL), 1.0, before)
    return torch.log_softmax(after.log() + before.log(), -1)


def score(z: Tensor, answer: Tensor) -> dict[str, float]:
    """The loss in nats for each token, how often the answer is named first, how often among five."""
    found = z.topk(min(5, z.shape[-1])).indices == answer[:, None]
    return {
        "loss": round(nn.functional.cross_entropy(z, answer).item(), 4),
        "top1": round(found[:, 0].double().mean().item(), 4),
        "top5": round(found.any(-1).double().mean().item(), 4),
    }


# ---------------------------------------------------------------------------------------------------------------
# network


def build(config: Config) -> Bert:
    """The network before training; the same seed gives the same weights."""
    sizes = BertSizes(config.pieces, config.d, config.layers, config.heads, 4 * config.d, positions=LENGTH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Bert(sizes)
        model.reset_parameters(config.std)
    return model


def logits(model: Bert, e: Excerpts) -> Tensor:
    """For the tokens asked for, (number of them, pieces)."""
    return model.mlm(model(e.seen)[e.chosen])


def loss(model: Bert, e: Excerpts) -> Tensor:
    return nn.functional.cross_entropy(logits(model, e), e.ids[e.chosen])


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, Any]:
    """Train one network; return its curve on held-out text, and at the end what it names and what it fills in.

    `start` has the loss at step 0 and what is predicted for it: for the deviation that the table has after the cut at
    two deviations, and for the one that it is drawn with. `losses` are those of all chosen tokens, `masked` of those
    shown as [MASK]. `shown` has the scores by what the network saw in place of a piece, `shuffled` the same with the
    others in random order, and `references` those of counting for the ones shown as [MASK]. `filled` has the five most
    probable pieces for each blank, with their probabilities.
    """
    model, test, tokenizer = build(config), held_out(config), text(config.pieces, config.every).tokenizer
    std = model.embedding.pieces.weight.std().item()
    start = {
        "loss": held_out_loss(model, test),
        "predicted": round(initial_mlm_loss(config.pieces, config.d, std), 4),
        "predicted_uncut": round(initial_mlm_loss(config.pieces, config.d, config.std), 4),
        "std": round(std, 5),
    }
    few = Excerpts(*(part[: max(2, config.held_out // 4)] for part in test))
    steps, losses, masked = [0], [held_out_loss(model, few)], [masked_loss(model, few, tokenizer)]

    def watch(step: int, model: Bert) -> None:
        if step % max(1, config.steps // config.points) == 0:
            steps.append(step)
            losses.append(held_out_loss(model, few))
            masked.append(masked_loss(model, few, tokenizer))

    rate = PiecewiseLinear(((-1, 0.0), (config.steps // 10, config.rate), (config.steps, 0.0)))
    record = train(model, loss, partial(batch, config), Training(config.steps, rate, seed=config.seed), watch=watch)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "start": start,
        "steps": steps,
        "losses": losses,
        "masked": masked,
        "train_losses": thin(record.losses, config.points),
        "held_out": score(*answers(model, test)),
        "shown": by_what_was_shown(model, test, tokenizer),
        "shuffled": by_what_was_shown(model, shuffled(test), tokenizer),
        "references": references(config, test),
        "filled": filled(model, tokenizer),
    }


def thin(losses: list[float], points: int) -> list[float]:
    """Means over equal parts of the training."""
    size = max(1, len(losses) // points)
    parts = [losses[k : k + size] for k in range(0, len(losses), size)]
    return [round(sum(part) / len(part), 3) for part in parts]


@torch.no_grad()
def answers(model: Bert, e: Excerpts, rows: int = 64) -> tuple[Tensor, Tensor]:
    """Logits for all tokens asked for, and the pieces that they were."""
    model.eval()
    parts = zip(*(part.split(rows) for part in e), strict=True)
    return torch.cat([logits(model, Excerpts(*part)) for part in parts]), e.ids[e.chosen]


def held_out_loss(model: Bert, e: Excerpts) -> float:
    return round(nn.functional.cross_entropy(*answers(model, e)).item(), 4)


def masked_loss(model: Bert, e: Excerpts, tokenizer: Tokenizer) -> float:
    """The loss of the tokens shown as [MASK] alone."""
    return by_what_was_shown(model, e, tokenizer)["mask"]["loss"]


def by_what_was_shown(model: Bert, e: Excerpts, tokenizer: Tokenizer) -> dict[str, dict[str, float]]:
    """The scores of the tokens shown as [MASK], as they are, and as another piece."""
    z, answer = answers(model, e)
    seen, mask = e.seen[e.chosen], tokenizer.ids([MASK])[0]
    kinds = {"mask": seen == mask, "same": seen == answer, "other": (seen != mask) & (seen != answer)}
    return {kind: {"tokens": int(at.sum())} | score(z[at], answer[at]) for kind, at in kinds.items() if at.any()}


@torch.no_grad()
def filled(model: Bert, tokenizer: Tokenizer) -> dict[str, list[list[Any]]]:
    """The five most probable pieces for the blank of each sentence, with their probabilities."""
    model.eval()
    found, mask = {}, tokenizer.ids([MASK])[0]
    for sentence in SENTENCES:
        ids = torch.tensor(tokenizer.encode(sentence).ids)
        best = model.mlm(model(ids[None])[0][ids == mask])[0].softmax(-1).topk(5)
        pieces = tokenizer.tokens(best.indices.tolist())
        found[sentence] = [[piece, round(p, 3)] for piece, p in zip(pieces, best.values.tolist(), strict=True)]
    return found
