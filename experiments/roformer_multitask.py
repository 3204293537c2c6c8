r"""Does a second stage of labelled tasks help a small RoFormerV2 to learn a new task from few labels?

A network of 2 layers is trained in one of three ways: not at all (`none`), on masked words alone (`mlm`), or for the
first half of the same steps on masked words, and in the second half on masked words and on the labels of two sets
(`multi`): the groups of 20 Newsgroups and the topics of Reuters R52, one task a step. The texts are the same. Then it
is fine-tuned, whole, on few labels of a set that it has not seen. The sections of BBC News are topics again, as the
tasks of the second stage are. The verdicts of Rotten Tomatoes are of another kind, and there the labels of topics may
well be of no use.

A text is its first 32 words, and its vector the mean over them. The words are the most frequent of the texts of the
pre-training. Fine-tuning is done at two rates, with labels drawn anew each time; the test set is a fixed one. What is
counted there is the mean of the classes' recalls, since the classes are of different sizes in the test and of the same
size in the fine-tuning; naming the commonest always gives 1 over their number.

Source: Su Jianlin, Scientific Spaces 8998.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minilib import corpora
from minilib.attention import padding_mask
from minilib.roformer import RoformerSizes
from minilib.roformer_torch import RoformerV2
from minilib.training import Config as Training
from minilib.training import Cosine, generator, train

PAD, UNKNOWN, MASK, SPECIAL = 0, 1, 2, 3
"""Numbers of no word, of a word that is not among the most frequent and of the mask; the words begin at SPECIAL."""

SHARE = 0.15
STAGES = {"none": {}, "mlm": {"mlm": 1.0}, "multi": {"mlm": 0.5, "newsgroups": 0.25, "reuters": 0.25}}
"""How often a step in the second half of the pre-training is one of each task; in the first half all are of "mlm"."""

SEEN = ("newsgroups", "reuters")
FEW = {"bbc": 10, "rotten": 500}
"""Labels of each class for the fine-tuning."""


@dataclass(frozen=True)
class Config:
    """One run: the pre-training, and the fine-tunings after it (all with Adam, a cosine rate, clipped at norm 1)."""

    stage: str
    seed: int
    d: int = 64
    heads: int = 2
    layers: int = 2
    words: int = 4000
    length: int = 32
    batch: int = 32
    steps: int = 3000
    rate: float = 3e-3
    tuning_steps: int = 100
    tuning_rates: tuple[float, ...] = (1e-3, 5e-3)
    draws: int = 3
    tested: int = 1000


def grid(quick: bool) -> list[Config]:
    """The three ways, five seeds; or, quick, each once, tiny."""
    if quick:
        tiny = {"d": 8, "layers": 1, "words": 100, "length": 8, "batch": 4, "steps": 3, "tuning_steps": 2, "tested": 20}
        return [Config(stage, 0, draws=1, tuning_rates=(1e-3,), **tiny) for stage in STAGES]
    return [Config(stage, seed) for seed, stage in product(range(5), STAGES)]


# ---------------------------------------------------------------------------------------------------------------
# texts


class Labelled(NamedTuple):
    """Texts as numbers (texts, length), padded at the end, and a label for each (texts,)."""

    x: Tensor
    y: Tensor


def split_words(text: str) -> list[str]:
    """Words of letters, as the packer of Newsgroups and Reuters has left them; other texts are made like these."""
    return re.sub("[^a-z]+", " ", text.lower()).split()


@cache
def texts(name: str, split: str) -> Mapping[str, str]:
    """A set's texts and their labels."""
    if name == "bbc":
        return {f"{one.headline} {one.body}": one.section for one in corpora.bbc(split)}
    if name == "rotten":
        return corpora.rotten_tomatoes(split)
    return corpora.labelled_newsgroups(split) if name == "newsgroups" else corpora.reuters(split, 52)


@cache
def numbers(words: int) -> dict[str, int]:
    """Number of each of the most frequent words in the texts of the pre-training."""
    pretraining = (text for name in SEEN for text in texts(name, "train"))
    counts = Counter(word for text in pretraining for word in text.split())
    return {word: k for k, (word, _) in enumerate(counts.most_common(words), SPECIAL)}


@cache
def labelled(name: str, split: str, words: int, length: int) -> Labelled:
    """A set as numbers; the labels are numbered in the order of the alphabet, as they occur in training."""
    number, found = numbers(words), texts(name, split)
    label = {kind: k for k, kind in enumerate(sorted(set(texts(name, "train").values())))}
    # Of a long text only the beginning is split, far more than `length` words need.
    rows = [[number.get(word, UNKNOWN) for word in split_words(text[: 20 * length])[:length]] for text in found]
    padded = torch.tensor([row + [PAD] * (length - len(row)) for row in rows])
    return Labelled(padded, torch.tensor([label[kind] for kind in found.values()]))


def some_of_each(data: Labelled, few: int, source: torch.Generator) -> Labelled:
    """Draw `few` texts of each class."""
    order = torch.randperm(len(data.y), generator=source)
    kept = torch.cat([order[data.y[order] == kind][:few] for kind in data.y.unique()])
    return Labelled(data.x[kept], data.y[kept])


# ---------------------------------------------------------------------------------------------------------------
# network


class Reader(nn.Module):
    """A RoFormerV2, and a linear map for each task that gives classes to texts."""

    def __init__(self, config: Config, classes: Mapping[str, int]) -> None:
        super().__init__()
        sizes = RoformerSizes(config.words + SPECIAL, config.d, config.layers, config.heads, 4 * config.d)
        self.encoder = RoformerV2(sizes)
        self.heads = nn.ModuleDict({name: nn.Linear(config.d, number) for name, number in classes.items()})

    def forward(self, x: Tensor) -> Tensor:
        # A text without a word is taken to have one, which is padding: a softmax over nothing has no value.
        return self.encoder(x, mask=padding_mask((x != PAD).sum(-1).clamp(min=1), x.shape[-1]))

    def classify(self, x: Tensor, task: str) -> Tensor:
        """Logits of the classes, from the mean over the words."""
        there = (x != PAD).unsqueeze(-1)
        return self.heads[task]((self(x) * there).sum(-2) / there.sum(-2).clamp(min=1))


def loss(model: Reader, b: tuple[str, Tensor, Tensor]) -> Tensor:
    """Of a batch (task, texts, labels), or ("mlm", texts, where they are masked)."""
    task, x, y = b
    if task == "mlm":
        h = model(x.masked_fill(y, MASK))[y]
        return nn.functional.cross_entropy(model.encoder.mlm(h), x[y])
    return nn.functional.cross_entropy(model.classify(x, task), y)


# ---------------------------------------------------------------------------------------------------------------
# pre-training


def masked(x: Tensor, source: torch.Generator) -> Tensor:
    """Where a word is masked: a random share of the known ones."""
    return (torch.rand(x.shape, generator=source) < SHARE) & (x >= SPECIAL)


def batch(config: Config, k: int) -> tuple[str, Tensor, Tensor]:
    """Step k of the pre-training: draw a task by its share, and texts. Masked words come from both sets together."""
    source = generator(config.seed, k)
    shares = STAGES["mlm" if 2 * k < config.steps else config.stage]
    task = list(shares)[int(torch.multinomial(torch.tensor(list(shares.values())), 1, generator=source))]
    data = pool(config) if task == "mlm" else labelled(task, "train", config.words, config.length)
    rows = torch.randint(len(data.y), (config.batch,), generator=source)
    x = data.x[rows]
    return task, x, masked(x, source) if task == "mlm" else data.y[rows]


def pool(config: Config, split: str = "train") -> Labelled:
    """The texts of the pre-training together; the labels mean nothing."""
    both = [labelled(name, split, config.words, config.length) for name in SEEN]
    return Labelled(*(torch.cat(parts) for parts in zip(*both, strict=True)))


def pretrained(config: Config) -> Reader:
    """The network after its pre-training; the same seed gives the same weights before it."""
    sets = {name: labelled(name, "train", config.words, config.length) for name in (*SEEN, *FEW)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Reader(config, {name: int(data.y.max()) + 1 for name, data in sets.items()})
    if STAGES[config.stage]:
        rate = Cosine(config.rate, config.steps, warm_up=config.steps // 10)
        train(model, loss, partial(batch, config), Training(config.steps, rate, seed=config.seed))
    return model


# ---------------------------------------------------------------------------------------------------------------
# one run


def run(config: Config) -> dict[str, Any]:
    """Pre-train, fine-tune, and return what the tests found.

    `mlm` is the loss on masked words of held-out texts, `unigram` that of the words' frequencies; `seen` the share of
    held-out texts that get the right label in the two sets of the pre-training; `tuned` for each new task and rate the
    mean recalls of the draws, and `chance` what naming one class always gives.
    """
    model = pretrained(config)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    result: dict[str, Any] = mlm_scores(model, config)
    result["seen"] = {name: round(found(model, name, config)[0].mean().item(), 4) for name in SEEN}
    result["tuned"], result["chance"] = {}, {}
    for task in FEW:
        result["chance"][task] = round(1 / len(test_set(task, config).y.unique()), 4)
        result["tuned"][task] = {}
        for rate in config.tuning_rates:
            recalls = []
            for draw in range(config.draws):
                model.load_state_dict(start)
                recalls.append(tuned(model, task, rate, draw, config))
            result["tuned"][task][str(rate)] = recalls
    return result


def tuned(model: Reader, task: str, rate: float, draw: int, config: Config) -> float:
    """Fine-tune on few labels, and return the mean recall; draw and seed decide the labels, whatever the stage."""
    seed = 100 * config.seed + draw
    few = some_of_each(labelled(task, "train", config.words, config.length), FEW[task], generator(seed, -1))

    def some(k: int) -> tuple[str, Tensor, Tensor]:
        rows = torch.randperm(len(few.y), generator=generator(seed, k))[: config.batch]
        return task, few.x[rows], few.y[rows]

    schedule = Cosine(rate, config.tuning_steps, warm_up=config.tuning_steps // 10)
    train(model, loss, some, Training(config.tuning_steps, schedule, seed=seed))
    right, y = found(model, task, config)
    return round(torch.stack([right[y == kind].mean() for kind in y.unique()]).mean().item(), 4)


def test_set(task: str, config: Config) -> Labelled:
    """The same held-out texts for all."""
    data = labelled(task, "test", config.words, config.length)
    rows = torch.randperm(len(data.y), generator=generator(0, -2))[: config.tested]
    return Labelled(data.x[rows], data.y[rows])


@torch.no_grad()
def found(model: Reader, task: str, config: Config) -> tuple[Tensor, Tensor]:
    """For each held-out text 1 if it gets the right label, else 0; and the labels."""
    model.eval()
    data = test_set(task, config)
    return (model.classify(data.x, task).argmax(-1) == data.y).double(), data.y


@torch.no_grad()
def mlm_scores(model: Reader, config: Config) -> dict[str, float]:
    model.eval()
    source, known = generator(0, -3), pool(config).x
    held_out = pool(config, "test").x
    x = held_out[torch.randperm(len(held_out), generator=source)[: config.tested]]
    y = masked(x, source)
    counts = torch.bincount(known[known >= SPECIAL], minlength=config.words + SPECIAL) + 1.0
    return {
        "mlm": round(loss(model, ("mlm", x, y)).item(), 4),
        "unigram": round(-(counts / counts.sum())[x[y]].log().mean().item(), 4),
    }
