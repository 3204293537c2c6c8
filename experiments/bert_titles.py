r"""Does a trained BERT encoder learn to write headlines from UniLM's mask alone, and what are its weights worth for it?

The first 32 pieces of a BBC report and its headline are one text, ``[CLS] body [SEP] headline [SEP]``. Under UniLM's
mask the body sees itself, the headline sees the body and, causally, itself; the loss is that of the pieces of the
headline, each named from the state before it. The network is all-MiniLM-L6-v2 with a new head, all of it trained, on
1,656 reports; the control is the same network from random weights.

Two measures on reports that were held out: the loss for each piece, also when the body is that of another report (what
then is left was not read but guessed), and the overlap of written and true headlines in words, beside that of the
body's first words. The overlap is an F1 of words, in any order (as ROUGE-1) and in the same order (as ROUGE-L). The
headlines that are stored are those of reports written for this course.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minilib import corpora
from minilib.attention import unilm_mask
from minilib.bert import BERT_SIZES
from minilib.bert_corpora import BertNetwork, minilm
from minilib.bert_torch import Bert
from minilib.decoding import beam_search, greedy, keep_top_k, keep_top_p, sampled
from minilib.training import Config as Training
from minilib.training import PiecewiseLinear, generator, train
from minilib.wordpiece import PAD, SEP, split_words

BODY, TITLE = 32, 12
"""Pieces of the body with [CLS] and [SEP], and of the headline with [SEP]; longer ones are cut off."""
BEAMS, K, P = 4, 10, 0.8
FIRST = 6
"""Words of the body in the baseline, as many as a headline has on average."""

REPORTS = (
    "The city council voted on Tuesday to close the old bridge over the river for two years while it is repaired. "
    "Drivers will have to take a longer way through the northern suburbs, and shop owners fear that they will lose "
    "customers. The mayor said that the work could not wait any longer, because rust has eaten into the steel.",
    "Rovers came from behind to beat United 3-2 in the cup on Saturday, with a goal from their young striker in the "
    "last minute of extra time. United had led by two goals at half time and looked certain to reach the final. The "
    "coach praised his players and said that they had never stopped believing in themselves.",
    "The software company has warned users of a new virus that spreads by e-mail and steals passwords from computers. "
    "It has released a free update that closes the hole and advises everybody to install it at once. Experts said that "
    "thousands of machines had been infected within a few hours, most of them in small offices.",
    "Shares in the airline fell sharply on Monday after it said that high oil prices would cut its profits by a third "
    "this year. The company plans to save money by selling older planes and closing routes that make a loss. Analysts "
    "had expected a smaller fall, and some of them now doubt that it can pay a dividend.",
)
"""Written for this course; what they report has not happened."""


@dataclass(frozen=True)
class Config:
    """One run: the weights it starts from, and its training (Adam, clipped at 1, warm-up over a tenth, then linear)."""

    start: str
    seed: int
    batch: int = 16
    steps: int = 200
    rate: float = 3e-4
    articles: int = 436
    written: int = 60
    points: int = 10


def grid(quick: bool) -> list[Config]:
    """MiniLM with three seeds, and one from random weights; or, quick, one that does next to nothing."""
    if quick:
        return [Config("random", 0, batch=2, steps=2, articles=3, written=1, points=2)]
    return [*(Config("trained", seed) for seed in range(3)), Config("random", 0)]


# ---------------------------------------------------------------------------------------------------------------
# text


@cache
def network() -> BertNetwork:
    return minilm()


class Reports(NamedTuple):
    """Pieces of bodies (N, 32) and of headlines (N, 12), filled up by [PAD]."""

    bodies: Tensor
    titles: Tensor


def body(report: str) -> list[int]:
    """``[CLS] body [SEP]``, cut off; a body must be long enough to be cut."""
    ids = network().tokenizer.encode(report, longest=BODY).ids
    if len(ids) < BODY:
        raise ValueError(f"a body must have at least {BODY - 2} pieces, got {len(ids) - 2}; write a longer one")
    return ids


@cache
def reports(split: str) -> Reports:
    """The reports of a split with bodies that are long enough."""
    tokenizer = network().tokenizer
    pad, titles, bodies = tokenizer.ids([PAD]), [], []
    for article in corpora.bbc(split):
        title = tokenizer.encode(article.headline, longest=TITLE + 1).ids[1:]
        bodies.append(body(article.body))
        titles.append(title + pad * (TITLE - len(title)))
    return Reports(torch.tensor(bodies), torch.tensor(titles))


def batch(config: Config, k: int) -> Reports:
    known = reports("train")
    chosen = torch.randint(len(known.bodies), (config.batch,), generator=generator(config.seed, k))
    return Reports(*(part[chosen] for part in known))


# ---------------------------------------------------------------------------------------------------------------
# network


def build(config: Config) -> Bert:
    """The network before training: MiniLM with a new head, or all new; the same head for the same seed."""
    if config.start not in ("trained", "random"):
        raise ValueError(f'start must be "trained" or "random", got {config.start!r}')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Bert(BERT_SIZES["MiniLM"])
    return model.load(network().weights) if config.start == "trained" else model


def states(model: Bert, bodies: Tensor, titles: Tensor) -> Tensor:
    """The states from which the pieces of `titles` and one more are named: (N, T + 1, d)."""
    ids = torch.cat([bodies, titles], dim=1)
    target = torch.zeros_like(ids)
    target[:, bodies.shape[1] :] = 1
    # Padding stands behind the headline, where the mask lets nobody look at it.
    return model(ids, target, unilm_mask(target))[:, bodies.shape[1] - 1 :]


def losses(model: Bert, r: Reports) -> Tensor:
    """The loss of each piece of the headlines, one after the other."""
    asked = r.titles != network().tokenizer.ids([PAD])[0]
    z = model.mlm(states(model, r.bodies, r.titles[:, :-1])[asked])
    return nn.functional.cross_entropy(z, r.titles[asked], reduction="none")


def loss(model: Bert, r: Reports) -> Tensor:
    return losses(model, r).mean()


@torch.no_grad()
def held_out_loss(model: Bert, r: Reports, rows: int = 32) -> float:
    """The mean over all pieces of all headlines."""
    model.eval()
    parts = [losses(model, Reports(*part)) for part in zip(r.bodies.split(rows), r.titles.split(rows), strict=True)]
    return round(torch.cat(parts).mean().item(), 4)


# ---------------------------------------------------------------------------------------------------------------
# writing


@torch.no_grad()
def next_pieces(
    model: Bert, one: Tensor, rows: Sequence[tuple[int, ...]], cut: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Log-probabilities of the piece after each of the rows of a headline, for one body (32,); `cut` leaves some."""
    titles = torch.tensor(rows, dtype=torch.int64).view(len(rows), -1)
    z = model.mlm(states(model, one.expand(len(rows), -1), titles)[:, -1])
    return torch.log_softmax(z if cut is None else cut(z), -1)


def writers(seed: int) -> dict[str, Callable[[Bert, Tensor], tuple[int, ...]]]:
    """Four ways to write the headline of a body; the noise of the last two depends on the seed and the body."""
    end, vocabulary = network().tokenizer.ids([SEP])[0], len(network().tokenizer.pieces)

    def drawn(cut: Callable[[Tensor], Tensor], model: Bert, one: Tensor) -> tuple[int, ...]:
        noise = torch.rand((TITLE, vocabulary), generator=generator(seed, int(one.sum())))
        return sampled(partial(next_pieces, model, one, cut=cut), (), end, noise).ids

    return {
        "greedy": lambda model, one: greedy(partial(next_pieces, model, one), (), end, TITLE).ids,
        "beam": lambda model, one: beam_search(partial(next_pieces, model, one), (), end, BEAMS, TITLE, 1.0)[0].ids,
        "top-k": partial(drawn, partial(keep_top_k, k=K)),
        "top-p": partial(drawn, partial(keep_top_p, p=P)),
    }


def overlap(written: Sequence[str], true: Sequence[str]) -> float:
    r"""$F_1 = 2c/(m + n)$, c the words that two texts of m and n words have in common, each as often as in both."""
    common = (Counter(written) & Counter(true)).total()
    return 2 * common / max(1, len(written) + len(true))


def ordered_overlap(written: Sequence[str], true: Sequence[str]) -> float:
    r"""$F_1 = 2c/(m + n)$, c the length of the longest sequence of words that both contain in this order."""
    longest = [0] * (len(true) + 1)
    for word in written:
        row = [0]
        for k, other in enumerate(true):
            row.append(longest[k] + 1 if word == other else max(row[k], longest[k + 1]))
        longest = row
    return 2 * longest[-1] / max(1, len(written) + len(true))


def compare(written: list[list[str]], true: list[list[str]], read: list[list[str]]) -> dict[str, float]:
    """Mean overlaps with the true headlines and with those of the next report; length; the share of words copied."""
    other = true[1:] + true[:1]
    words = [(word, text) for title, text in zip(written, read, strict=True) for word in title]
    found = {
        "overlap": fmean(map(overlap, written, true)),
        "ordered": fmean(map(ordered_overlap, written, true)),
        "other": fmean(map(overlap, written, other)),
        "words": fmean(map(len, written)),
        "copied": sum(word in text for word, text in words) / max(1, len(words)),
    }
    return {name: round(value, 4) for name, value in found.items()}


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, Any]:
    """Train one network; return its curve, what it writes is worth, and what it writes about our own reports.

    `loss` is that on all held-out reports, `loss_other` with the body of another report, `unigram` that of the pieces'
    frequencies in the training headlines. `written` has the overlaps for each way to write and for the body's first
    words, on the first held-out reports.
    """
    model, test = build(config), Reports(*(part[: config.articles] for part in reports("test")))
    few = Reports(*(part[: max(1, config.articles // 4)] for part in test))
    steps, curve = [0], [held_out_loss(model, few)]

    def watch(step: int, model: Bert) -> None:
        if step % max(1, config.steps // config.points) == 0:
            steps.append(step)
            curve.append(held_out_loss(model, few))

    rate = PiecewiseLinear(((-1, 0.0), (config.steps // 10, config.rate), (config.steps, 0.0)))
    record = train(model, loss, partial(batch, config), Training(config.steps, rate, seed=config.seed), watch=watch)
    recent = record.losses[-max(1, config.steps // config.points) :]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "uniform": round(math.log(len(network().tokenizer.pieces)), 4),
        "unigram": unigram(test),
        "steps": steps,
        "losses": curve,
        "train_loss": round(fmean(recent), 4),
        "loss": held_out_loss(model, test),
        "loss_other": held_out_loss(model, test._replace(bodies=test.bodies.roll(1, 0))),
        "written": written(model, Reports(*(part[: config.written] for part in test)), config.seed),
        "own": own(model, config.seed),
    }


def unigram(test: Reports) -> float:
    """The loss of the frequencies of pieces in the training headlines, each piece counted once more."""
    pad, titles = network().tokenizer.ids([PAD])[0], reports("train").titles
    counts = torch.bincount(titles[titles != pad], minlength=len(network().tokenizer.pieces)) + 1.0
    return round(-(counts / counts.sum()).log()[test.titles[test.titles != pad]].mean().item(), 4)


def written(model: Bert, r: Reports, seed: int) -> dict[str, dict[str, float]]:
    """What each way to write is worth, and the first words of the body, cut off where the network stops reading."""
    words = lambda ids: split_words(network().tokenizer.decode(ids))  # noqa: E731
    model.eval()
    true, read = ([words(row.tolist()) for row in part] for part in (r.titles, r.bodies))
    found = {
        way: compare([words(write(model, one)) for one in r.bodies], true, read) for way, write in writers(seed).items()
    }
    return found | {"first words": compare([text[:FIRST] for text in read], true, read)}


def own(model: Bert, seed: int) -> list[dict[str, str]]:
    """The headlines of our own reports."""
    bodies = torch.tensor([body(report) for report in REPORTS])
    decode = network().tokenizer.decode
    return [{way: decode(write(model, one)) for way, write in writers(seed).items()} for one in bodies]
