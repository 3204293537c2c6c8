r"""Which change from RoFormer to RoFormerV2 helps or harms a small network that fills in masked letters, and how far?

Networks of 4 layers see 64 characters of newsgroup postings (letters and spaces), 15 % of them replaced by a mask, and
name what was there. There is one network for each of the six changes alone, one with none of them (RoFormer) and one
with all (RoFormerV2); and one with the plain head and the new start together, since the plain head alone needs long to
leave the loss of the frequencies. For a seed all see the same text under the same masks, for the same number of steps,
at the same rate. RoFormer, RoFormerV2 and the plain head are also trained at a lower and a higher rate. Dropout is 0.1,
since one of the changes is its place.

Each network is then tested on the very same masked characters in longer texts: stretches of 1024, cut into pieces of
each length; with the scale $1/\sqrt d$ of the training, and with $\log_{64}n/\sqrt d$, equal at 64 and then larger.

Two losses mark the way: that of the frequencies of the characters (`unigram`), where a network stays that looks at
nothing, and that of a character given its two neighbours as counted (`neighbours`).

Sources: Su Jianlin, Scientific Spaces 8998 (the changes), 8823 (the scale).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minilib.attention_torch import Law
from minilib.corpora import newsgroups
from minilib.entropy import log_scale, standard_scale
from minilib.roformer import V1, V2, Changes, RoformerSizes
from minilib.roformer_torch import Roformer
from minilib.training import Config as Training
from minilib.training import Cosine, Diverged, generator, train

LETTERS = 27
"""The space and a … z; the mask has the next number."""

SHARE = 0.15
PAIR = "plain_head, v2_init"
VERSIONS = {
    "V1": V1,
    **{name: replace(V1, **{name: True}) for name in Changes.names()},
    PAIR: replace(V1, plain_head=True, v2_init=True),
    "V2": V2,
}
"""RoFormer, each change alone, the one pair, and all of them."""


LENGTHS = (64, 256, 1024)
LAWS: dict[str, Law] = {"standard": standard_scale, "log 64": partial(log_scale, base=64.0)}


@dataclass(frozen=True)
class Config:
    """One run: what is changed, the network, and how it is trained (Adam, cosine rate, clipped at norm 1)."""

    version: str
    seed: int
    rate: float = 3e-3
    d: int = 32
    heads: int = 2
    layers: int = 4
    batch: int = 16
    steps: int = 1500
    dropout: float = 0.1
    held_out: int = 32
    lengths: tuple[int, ...] = LENGTHS


def grid(quick: bool) -> list[Config]:
    """All versions, three seeds, and three of them at other rates; or, quick, two of them, tiny."""
    if quick:
        tiny = {"d": 8, "layers": 2, "batch": 2, "steps": 3, "held_out": 2, "lengths": (16, 64)}
        return [Config(version, 0, **tiny) for version in ("V1", "V2")]
    seeds = [Config(version, seed) for seed, version in product(range(3), VERSIONS)]
    return seeds + [Config(version, 0, rate) for rate, version in product((1e-3, 1e-2), ("V1", "plain_head", "V2"))]


# ---------------------------------------------------------------------------------------------------------------
# text


@cache
def text(split: str, characters: int = 2_000_000) -> Tensor:
    """The first characters of the postings, one after the other: 0 for a space, 1 … 26 for the letters."""
    joined = " ".join(newsgroups(split))[:characters].encode("ascii")
    code = torch.from_numpy(np.frombuffer(joined, dtype=np.uint8).astype(np.int64))
    return torch.where(code == ord(" "), 0, code - ord("a") + 1)


def excerpts(split: str, size: int, length: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random stretches of the text, and where they are masked, both (`size`, `length`)."""
    letters = text(split)
    start = torch.randint(len(letters) - length + 1, (size, 1), generator=source)
    return letters[start + torch.arange(length)], torch.rand(size, length, generator=source) < SHARE


@cache
def references() -> dict[str, float]:
    """Cross-entropy of the test text under counts of the training text: of characters, and given both neighbours."""
    seen, held_out = text("train"), text("test")
    code = partial(_triple, LETTERS)
    counts = torch.bincount(code(seen), minlength=LETTERS**3).view(LETTERS, LETTERS, LETTERS) + 1.0
    single, given = counts.sum((0, 1)) / counts.sum(), counts / counts.sum(2, keepdim=True)
    return {
        "unigram": round(-single[held_out[1:-1]].log().mean().item(), 3),
        "neighbours": round(-given.flatten()[code(held_out)].log().mean().item(), 3),
    }


def _triple(base: int, x: Tensor) -> Tensor:
    """The number of each character and its neighbours, the character last: left, right, itself."""
    return (x[:-2] * base + x[2:]) * base + x[1:-1]


# ---------------------------------------------------------------------------------------------------------------
# one run


def build(config: Config) -> Roformer:
    """The network before training; the characters and one more piece, the mask."""
    sizes = RoformerSizes(LETTERS + 1, config.d, config.layers, config.heads, 4 * config.d)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Roformer(sizes, VERSIONS[config.version], dropout=config.dropout)


def logits(model: Roformer, x: Tensor, mask: Tensor) -> Tensor:
    """For the masked characters, (number of them, 28)."""
    return model.mlm(model(x.masked_fill(mask, LETTERS))[mask])


def loss(model: Roformer, b: tuple[Tensor, Tensor]) -> Tensor:
    x, mask = b
    return nn.functional.cross_entropy(logits(model, x, mask), x[mask])


def run(config: Config) -> dict[str, Any]:
    """Train, and return what each test found; the held-out text is the same for all.

    `tested` has for each law the `accuracy` and `loss` on the masked characters, one for each of `lengths`, the first
    of which is that of the training. `start` is the loss before training, `losses` are the means over tenths of the
    training (none if it diverged), `step` is the processor time of a step in milliseconds.
    """
    model = build(config)
    held_out = excerpts("test", config.held_out, max(LENGTHS), generator(0, -1))
    start = score(model, *held_out, standard_scale, config.lengths[0])["loss"]
    schedule = Cosine(config.rate, config.steps, warm_up=config.steps // 10)
    settings, losses, diverged = Training(config.steps, schedule, seed=config.seed), [], None
    before = time.process_time()
    try:
        losses = train(model, loss, partial(batch, config), settings).losses
    except Diverged as stop:
        diverged = stop.step
    spent = time.process_time() - before
    tests = {law: [score(model, *held_out, LAWS[law], n) for n in config.lengths] for law in LAWS}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        **references(),
        "step": round(1e3 * spent / (diverged or config.steps), 1),
        "start": start,
        "losses": tenths(losses),
        "diverged": diverged,
        "lengths": list(config.lengths),
        "tested": {law: {what: [one[what] for one in found] for what in found[0]} for law, found in tests.items()},
    }


def batch(config: Config, k: int) -> tuple[Tensor, Tensor]:
    return excerpts("train", config.batch, config.lengths[0], generator(config.seed, k))


def tenths(losses: list[float]) -> list[float]:
    """Means over ten equal parts, or the losses themselves where there are fewer."""
    size = max(1, math.ceil(len(losses) / 10))
    parts = [losses[k : k + size] for k in range(0, len(losses), size)]
    return [round(sum(part) / len(part), 3) for part in parts]


@torch.no_grad()
def score(model: Roformer, x: Tensor, mask: Tensor, law: Law, n: int) -> dict[str, float]:
    """Cross-entropy and accuracy on the masked characters of texts that are cut into pieces of n."""
    model.eval()
    for block in model.blocks:
        block.attention.scale = law
    z, answers, rows = [], [], max(1, 8192 // n)
    for some, hidden in zip(x.view(-1, n).split(rows), mask.view(-1, n).split(rows), strict=True):
        z.append(logits(model, some, hidden))
        answers.append(some[hidden])
    named, wanted = torch.cat(z), torch.cat(answers)
    return {
        "loss": round(nn.functional.cross_entropy(named, wanted).item(), 4),
        "accuracy": round((named.argmax(-1) == wanted).double().mean().item(), 4),
    }
