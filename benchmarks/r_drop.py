"""What a step of R-Drop costs, beside a plain step, and what its rivals cost; ours all of them.

A network of the shape of MiniLM, with a smaller vocabulary, classifies texts, with dropout 0.1 everywhere. Against a
plain step on the same samples R-Drop needs about twice the time and memory, which is no aim but what the method is.
Against a plain step on a doubled batch it should cost nothing: both do the same, but for a divergence of a few numbers.
The official code for BERT makes two passes one after the other instead of one of the doubled batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from minilib.bert import BertSizes
from minilib.r_drop import r_drop_loss
from minilib.r_drop_torch import (
    TextClassifier,
    gradient_penalty,
    same_masks,
    shifted,
    supervised,
    virtual_adversarial,
)
from minilib.training import disturbed

from . import Row, learning, side_by_side

SIZES = BertSizes(vocabulary=4000, d=384, layers=6, heads=12, inner=1536)
CLASSES, BATCH, ALPHA, EPSILON = 20, 4, 4.0, 0.1


def rivals(model: TextClassifier, x: Tensor, y: Tensor) -> dict[str, Callable[[], None]]:
    """Forward and backward of each method on the same samples."""

    def plain() -> Tensor:
        return cross_entropy(model(x), y)

    def penalized() -> Tensor:
        loss = plain()
        return loss + gradient_penalty(loss, model.words.weight)

    def run(delta: Tensor) -> Tensor:
        with shifted(model.words, delta):
            return model(x)

    def vat() -> Tensor:
        return plain() + virtual_adversarial(same_masks(run), torch.randn(*x.shape, SIZES.d), EPSILON)

    def fgm() -> None:
        plain().backward()
        with disturbed(model.words.weight, EPSILON):
            plain().backward()
        for parameter in model.parameters():
            parameter.grad = None

    losses = {
        "R-Drop": lambda: supervised(model, x, y, ALPHA),
        "R-Drop in two passes": lambda: r_drop_loss(model(x), model(x), y, ALPHA).mean(),
        "a gradient penalty": penalized,
        "VAT": vat,
    }
    return {name: learning(loss, model.parameters()) for name, loss in losses.items()} | {"FGM": fgm}


def at(n: int, rounds: int) -> Iterator[Row]:
    """All methods at one length."""
    model = TextClassifier(SIZES, CLASSES, dropout=0.1).train()
    x, y = torch.randint(1, SIZES.vocabulary, (BATCH, n)), torch.randint(CLASSES, (BATCH,))
    steps = rivals(model, x, y)
    once, twice = (
        learning(lambda x=x, y=y: cross_entropy(model(x), y), model.parameters())
        for x, y in ((x, y), (torch.cat((x, x)), torch.cat((y, y))))
    )
    for name, step in steps.items():
        yield side_by_side(f"a step of {name}", n, step, "a plain step", once, rounds)
    aims = {"aim": 0.9, "memory_aim": 0.9}
    yield side_by_side("a step of R-Drop", n, steps["R-Drop"], "a plain step, batch doubled", twice, rounds, **aims)
    peer = "R-Drop in two passes"
    yield side_by_side("a step of R-Drop", n, steps["R-Drop"], peer, steps[peer], rounds, aim=0.9, memory_aim=0.9)


def run(quick: bool) -> list[Row]:
    """Each comparison at two lengths, the rows of one comparison one after the other."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths, rounds = ((16,), 3) if quick else ((32, 128), 5)
    rows = [row for n in lengths for row in at(n, rounds)]
    return sorted(rows, key=lambda row: (row.what, row.peer))
