r"""Do texts without labels help a classifier that has 200 labels, if two dropout masks must agree on them, or with VAT?

What is classified are vectors: the mean of the last states of all-MiniLM-L6-v2, which is frozen, of unit length times
$\sqrt{384}$. A network of one hidden layer with dropout 0.3 on its input and inside learns the verdicts of film critics
(2 classes) or the groups of 20 Newsgroups (20) from 200 labelled texts, and may see 3000 more without their labels.

"none" sees the labels alone. "R-Drop, labels" has the divergence J of two masks on the same texts, $\alpha$ = 4.
"R-Drop" has J on texts without labels instead, "VAT" the divergence under the adversarial disturbance of the vectors,
"both" both, and "both, halved" both with half their weights. "R-Drop, other texts" has J on as many texts of the other
task: is it these texts that help, or any? "all labels" is what could be had: the 3000 texts with their labels. The
labelled texts are those of the seed, so that methods are compared in pairs; so are the weights at the start.

The weights of J and VAT and the length of VAT's disturbance were chosen on training texts that are in neither part
(`examined` = "rest"), with seeds that the grid does not have. There are 2000 of them, ten times as many labels as
the method is said to need: whoever has only 200 would have to choose with less, so this flatters both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from minilib import corpora
from minilib.bert_corpora import BertNetwork, minilm
from minilib.bert_torch import Bert, text_vectors
from minilib.r_drop_torch import agreement, same_masks, scored, supervised, unsupervised, virtual_adversarial
from minilib.training import Config as Training
from minilib.training import Cosine, generator, train

ALPHA = 4.0
"""The weight of the divergence where it is on labelled texts."""

EPSILON = {"rotten": 0.5, "news": 2.0}
"""The length of VAT's disturbance, for vectors of length 19.6. One length for both tasks did worse than none on one."""

FOR_CHOICE = 2000
"""Training texts on which the strengths were chosen; the runs of the grid do not see them."""


@dataclass(frozen=True)
class Config:
    """One run: task and method, how many texts of each kind, and the training (Adam, warm-up, cosine)."""

    task: str
    method: str
    seed: int
    labels: int = 200
    without: int = 3000
    pieces: int = 48
    width: int = 128
    dropout: float = 0.3
    batch: int = 32
    batch_without: int = 64
    steps: int = 500
    learning_rate: float = 1e-3
    weight: float = 1.0
    vat_weight: float = 1.0
    epsilon: float = 1.0
    passes: int = 32
    tested: int = 2000
    examined: str = "test"


def grid(quick: bool) -> list[Config]:
    """Each method on both tasks, ten seeds; or, quick, each once on one of them, tiny."""
    if quick:
        tiny = {"labels": 6, "without": 9, "pieces": 8, "width": 5, "batch": 4, "batch_without": 3, "steps": 3}
        return [Config("rotten", method, 0, tested=8, passes=2, **tiny) for method in METHODS]
    return [Config(*one, epsilon=EPSILON[one[0]]) for one in product(TASKS, METHODS, range(10))]


# ---------------------------------------------------------------------------------------------------------------
# vectors


class Labelled(NamedTuple):
    """A vector (texts, 384) and a label for each text."""

    x: Tensor
    y: Tensor

    def at(self, rows: Tensor | slice) -> Labelled:
        return Labelled(self.x[rows], self.y[rows])


TASKS: dict[str, Callable[[str], Mapping[str, str]]] = {
    "rotten": corpora.rotten_tomatoes,
    "news": corpora.labelled_newsgroups,
}
"""From "train" or "test" to texts and labels; of the critics the films of the two parts are different ones."""


@cache
def texts(task: str, split: str) -> tuple[list[str], Tensor]:
    """The texts in a random order that is always the same, and their labels."""
    found = TASKS[task](split)
    label = {kind: k for k, kind in enumerate(sorted(set(found.values())))}
    order = torch.randperm(len(found), generator=generator(0, -1)).tolist()
    pairs = list(found.items())
    return [pairs[k][0] for k in order], torch.tensor([label[pairs[k][1]] for k in order])


@cache
def network() -> BertNetwork:
    return minilm()


@cache
def encoder() -> Bert:
    return Bert.from_weights(network().weights, network().heads).eval()


@cache
def vectors(task: str, split: str, start: int, stop: int, pieces: int) -> Labelled:
    """The vectors of some of the texts, each of its first `pieces` pieces: this is what takes long."""
    words, y = texts(task, split)
    rows = [network().tokenizer.encode(text[: 20 * pieces], longest=pieces).ids for text in words[start:stop]]
    found = text_vectors(encoder(), rows)
    return Labelled(found * found.shape[1] ** 0.5, y[start:stop])


class Parts(NamedTuple):
    """Texts with labels, texts whose labels nobody sees but "all labels", and those that are examined."""

    labelled: Labelled
    without: Labelled
    test: Labelled


def parts(config: Config) -> Parts:
    """The texts of a seed: which of those that are embedded have a label is drawn, in equal numbers of each class."""
    pool = vectors(config.task, "train", 0, config.labels + config.without, config.pieces)
    order = torch.randperm(len(pool.y), generator=generator(config.seed, -1))
    # Place of each text among those of its class: the first few of each class get their label.
    place = (pool.y[order][:, None] == pool.y[order][None, :]).tril().sum(1)
    order = order[place.argsort(stable=True)]
    if config.examined == "rest":
        start = len(pool.y)
        test = vectors(config.task, "train", start, start + FOR_CHOICE, config.pieces)
    else:
        test = vectors(config.task, "test", 0, config.tested, config.pieces)
    without = pool.at(order[config.labels :])
    if config.method == "R-Drop, other texts":
        (other,) = TASKS.keys() - {config.task}
        without = vectors(other, "train", 0, config.without, config.pieces)
    return Parts(pool.at(order[: config.labels]), without, test)


# ---------------------------------------------------------------------------------------------------------------
# methods


class Batch(NamedTuple):
    """Texts with labels, vectors of texts without, and noise of their shape for the start of VAT."""

    labelled: Labelled
    without: Tensor
    noise: Tensor


def batch(p: Parts, config: Config, k: int) -> Batch:
    """Step k: random texts with labels (from all of them for "all labels"), and random texts without."""
    source = generator(config.seed, k)
    data = (
        Labelled(*map(torch.cat, zip(p.labelled, p.without, strict=True)))
        if config.method == "all labels"
        else p.labelled
    )
    rows = torch.randint(len(data.y), (config.batch,), generator=source)
    without = p.without.x[torch.randint(len(p.without.y), (config.batch_without,), generator=source)]
    return Batch(data.at(rows), without, torch.randn(without.shape, generator=source))


def plain(config: Config, model: nn.Module, b: Batch) -> Tensor:
    return cross_entropy(model(b.labelled.x), b.labelled.y)


def on_labels(config: Config, model: nn.Module, b: Batch) -> Tensor:
    return 0.5 * supervised(model, b.labelled.x, b.labelled.y, ALPHA)


def agreeing(config: Config, model: nn.Module, b: Batch) -> Tensor:
    return plain(config, model, b) + config.weight * unsupervised(model, b.without)


def both(share: float, config: Config, model: nn.Module, b: Batch) -> Tensor:
    return plain(config, model, b) + share * (config.weight * unsupervised(model, b.without) + vat(config, model, b))


def vat(config: Config, model: nn.Module, b: Batch) -> Tensor:
    run = same_masks(lambda delta: model(b.without + delta))
    return config.vat_weight * virtual_adversarial(run, b.noise, config.epsilon)


METHODS: dict[str, Callable[[Config, nn.Module, Batch], Tensor]] = {
    "none": plain,
    "R-Drop, labels": on_labels,
    "R-Drop": agreeing,
    "VAT": lambda config, model, b: plain(config, model, b) + vat(config, model, b),
    "both": partial(both, 1.0),
    "both, halved": partial(both, 0.5),
    "R-Drop, other texts": agreeing,
    "all labels": plain,
}
"""What is compared."""


def build(config: Config) -> nn.Sequential:
    """The network before training; the weights are those of the seed, whatever the method."""
    classes = int(texts(config.task, "train")[1].max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        inner, outer = nn.Linear(encoder().sizes.d, config.width), nn.Linear(config.width, classes)
    return nn.Sequential(nn.Dropout(config.dropout), inner, nn.ReLU(), nn.Dropout(config.dropout), outer)


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, Any]:
    """Train one network and return what the texts that are examined say of it.

    `accuracy` and `loss` are without dropout, `fitted` is the accuracy on the labelled texts. Of `passes` sub-models
    see :func:`minilib.r_drop_torch.agreement`.
    """
    p, model = parts(config), build(config)
    rate = Cosine(config.learning_rate, config.steps, warm_up=config.steps // 10)
    settings = Training(config.steps, rate, seed=config.seed)
    train(model, partial(METHODS[config.method], config), partial(batch, p, config), settings)
    return {"fitted": score(model, p.labelled)["accuracy"], **score(model, p.test), **sub_models(model, p.test, config)}


@torch.no_grad()
def score(model: nn.Module, data: Labelled) -> dict[str, float]:
    """Accuracy and loss without dropout."""
    return scored(model.eval()(data.x), data.y)


@torch.no_grad()
def sub_models(model: nn.Module, data: Labelled, config: Config) -> dict[str, float]:
    """How the sub-models of the network agree."""
    off = model.eval()(data.x)
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        z = torch.stack([model(data.x) for _ in range(config.passes)], dim=1)
    return agreement(z, off, data.y)
