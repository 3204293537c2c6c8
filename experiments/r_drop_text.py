r"""Is a text classifier better for two dropout masks, or would more dropout or more steps have done the same?

A small BERT of word vectors is trained from nothing on the verdicts of film critics (2 classes) or on the groups of 20
Newsgroups (20 classes). The methods differ in what a step minimises; the samples, their order and the weights at the
start are those of the seed, so that two methods are compared in pairs.

"none" is dropout at the rate 0.1. "R-Drop" has the same rate, and $\alpha$ = 4 as in the essay. Its rivals are
"dropout", the rate at which plain dropout has R-Drop's penalty to second order; "FGM", a second pass with the words'
table disturbed along the gradient; and "penalty", half the squared gradient by the table. A step of R-Drop costs two of
"none", so there are two fair comparisons: after the same number of samples, and after the same number of passes
("none, twice" and "dropout, twice" make twice the steps). "two masks" is R-Drop with $\alpha$ = 0, which has both its
cost and its samples but no divergence. "R-Drop at 0.3" has the essay's rate of dropout, too; "none at 0.3" is its
peer. "none at 0.2" is between the two rates of plain dropout.

What is reported is the end of training, with a learning rate that falls to 0. The strengths of FGM and of the penalty
were chosen on the rest of the training texts (`examined` = "rest") with seeds that the grid does not have; R-Drop's was
not chosen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
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
from minilib.matching import packed
from minilib.r_drop import equivalent_rate
from minilib.r_drop_torch import Labelled, TextClassifier, agreement, gradient_penalty, scored, supervised
from minilib.training import Config as Training
from minilib.training import Cosine, epoch_rows, fgm_loss, generator, train

PAD, UNKNOWN, SPECIAL = 0, 1, 2
"""Numbers of no word and of a word that is not among the most frequent; the words begin at SPECIAL."""

ALPHA, RATE = 4.0, 0.1
"""The weight of the divergence, and the share that dropout takes away."""


@dataclass(frozen=True)
class Config:
    """One run: the task, the method, and the training (Adam, warm-up and cosine rate, clipped at norm 1)."""

    task: str
    method: str
    seed: int
    d: int = 64
    heads: int = 2
    layers: int = 1
    words: int = 8000
    length: int = 40
    samples: int = 4000
    batch: int = 32
    steps: int = 500
    learning_rate: float = 1e-3
    epsilon: float = 0.15
    weight: float = 0.1
    passes: int = 16
    points: int = 4
    examined: str = "test"


def grid(quick: bool) -> list[Config]:
    """Each method on both tasks, five seeds; or, quick, each once on the smaller, tiny."""
    if quick:
        tiny = {"d": 8, "layers": 1, "words": 50, "length": 8, "samples": 40, "batch": 4, "steps": 3, "passes": 2}
        return [Config("rotten", method, 0, **tiny) for method in METHODS]
    return [Config(*one) for one in product(TASKS, METHODS, range(5))]


# ---------------------------------------------------------------------------------------------------------------
# texts


TASKS: dict[str, Callable[[str], Mapping[str, str]]] = {
    "rotten": corpora.rotten_tomatoes,
    "news": corpora.labelled_newsgroups,
}
"""From "train" or "test" to texts and labels; of the critics the films of the two parts are different ones."""


@cache
def texts(task: str, split: str, length: int) -> dict[tuple[str, ...], str]:
    """The first words and marks of each text, with its label; texts without any are left out."""
    # Of a long text only the beginning is split, far more than `length` words need.
    cut = re.compile(r"[^\W_]+|[^\w\s]").findall
    found = ((tuple(cut(text[: 20 * length].lower())[:length]), label) for text, label in TASKS[task](split).items())
    return {words: label for words, label in found if words}


@cache
def labelled(task: str, split: str, words: int, length: int) -> Labelled:
    """A task as numbers; words and labels are those of its training part."""
    training = texts(task, "train", length)
    common = Counter(word for text in training for word in text).most_common(words)
    number = {word: k for k, (word, _) in enumerate(common, SPECIAL)}
    label = {kind: k for k, kind in enumerate(sorted(set(training.values())))}
    found = texts(task, split, length)
    rows = [[number.get(word, UNKNOWN) for word in text] + [PAD] * (length - len(text)) for text in found]
    return Labelled(torch.tensor(rows), torch.tensor([label[kind] for kind in found.values()]))


def parts(config: Config) -> tuple[Labelled, Labelled]:
    """The samples of a seed, the same for all methods, and what is examined: the test set, or the rest of training."""
    data = labelled(config.task, "train", config.words, config.length)
    order = torch.randperm(len(data.y), generator=generator(config.seed, -1))
    if config.examined == "rest":
        return data.at(order[: config.samples]), data.at(order[config.samples :])
    return data.at(order[: config.samples]), labelled(config.task, "test", config.words, config.length)


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


def penalized(weight: float, model: TextClassifier, b: Labelled) -> Tensor:
    loss = plain(model, b)
    return loss + weight * gradient_penalty(loss, model.words.weight)


def fgm(epsilon: float, model: TextClassifier, b: Labelled) -> Tensor:
    return fgm_loss(lambda: plain(model, b), model.words.weight, epsilon)


class Method(NamedTuple):
    """The rate of dropout, how many times the steps, and the loss for a configuration."""

    rate: float
    longer: int
    loss: Callable[[Config], Loss]


HIGHER = equivalent_rate(RATE, ALPHA)
METHODS = {
    "none": Method(RATE, 1, lambda config: plain),
    "none, twice": Method(RATE, 2, lambda config: plain),
    "dropout": Method(HIGHER, 1, lambda config: plain),
    "dropout, twice": Method(HIGHER, 2, lambda config: plain),
    "two masks": Method(RATE, 1, lambda config: partial(twice, 0.0)),
    "R-Drop": Method(RATE, 1, lambda config: partial(twice, ALPHA)),
    "FGM": Method(RATE, 1, lambda config: partial(fgm, config.epsilon)),
    "penalty": Method(RATE, 1, lambda config: partial(penalized, config.weight)),
    "none at 0.2": Method(0.2, 1, lambda config: plain),
    "none at 0.3": Method(0.3, 1, lambda config: plain),
    "R-Drop at 0.3": Method(0.3, 1, lambda config: partial(twice, ALPHA)),
}
"""What is compared."""


def build(config: Config) -> TextClassifier:
    """The network before training; the weights are those of the seed, whatever the method."""
    sizes = BertSizes(config.words + SPECIAL, config.d, config.layers, config.heads, 2 * config.d, config.length)
    classes = int(labelled(config.task, "train", config.words, config.length).y.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return TextClassifier(sizes, classes, dropout=METHODS[config.method].rate)


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, Any]:
    """Train one network and return what the test set says of it.

    `accuracy` and `loss` are without dropout, and `right` says of each text whether it is among the right answers, by
    :func:`minilib.matching.packed`. Of `passes` sub-models on some of the texts see
    :func:`minilib.r_drop_torch.agreement`; `one` and `one_loss` are without dropout on these. `accuracies` are those at
    `steps` on 1000 of the texts, and `train_loss` is that on as many of its own samples, without dropout.
    """
    method, model, (data, test) = METHODS[config.method], build(config), parts(config)
    few = test.at(torch.randperm(len(test.y), generator=generator(0, -3))[:1000])
    total, steps, accuracies = method.longer * config.steps, [], []

    def watch(step: int, model: TextClassifier) -> None:
        if step % max(1, total // config.points) == 0:
            steps.append(step)
            accuracies.append(score(model, few)["accuracy"])

    rate = Cosine(config.learning_rate, total, warm_up=total // 10)
    settings = Training(total, rate, seed=config.seed)
    record = train(model, method.loss(config), partial(batch, data, config), settings, watch=watch)
    own = data.at(torch.arange(min(len(data.y), 1000)))
    z = logits(model.eval(), test)
    return {
        "steps": steps,
        "accuracies": accuracies,
        **scored(z, test.y),
        "right": packed((z.argmax(-1) == test.y).tolist()),
        **{f"train_{name}": value for name, value in score(model, own).items()},
        **sub_models(model, test, config),
        "objective": round(fmean(record.losses[-max(1, total // 20) :]), 4),
    }


@torch.no_grad()
def logits(model: TextClassifier, data: Labelled) -> Tensor:
    return torch.cat([model(x) for x in data.x.split(256)])


def score(model: TextClassifier, data: Labelled) -> dict[str, float]:
    """Accuracy and loss without dropout."""
    model.eval()
    return scored(logits(model, data), data.y)


def sub_models(model: TextClassifier, test: Labelled, config: Config, texts: int = 500) -> dict[str, float]:
    """How the sub-models of the network agree, on some of the test texts and at the rate that all have in common."""
    some = test.at(torch.randperm(len(test.y), generator=generator(0, -2))[:texts])
    model.eval()
    off = logits(model, some)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = RATE
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        z = torch.stack([logits(model, some) for _ in range(config.passes)], dim=1)
    one = scored(off, some.y)
    return {"one": one["accuracy"], "one_loss": one["loss"], **agreement(z, off, some.y)}
